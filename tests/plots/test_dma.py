"""Pictures of degradation modes: fits with their residual, modes with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from batterykit.plots.dma import modes_over_ageing, voltage_fits
from tests.plots.data import MODES, STARTS_DISAGREE, history, modes


def visible(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_visible() and axis.get_label() != "<colorbar>"]


def lines(axis: Axes) -> list[Line2D]:
    """The lines that join points; not markers, nor the caps of bars."""
    return [line for line in axis.lines if line.get_linestyle() != "None"]


def test_each_cell_has_its_voltage_and_below_it_the_residual_in_mv(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = modes()
    path = voltage_fits(found, tmp_path / "new" / "fit.png", "title")
    assert path.read_bytes().startswith(b"\x89PNG")
    upper, _, lower, _ = visible(drawn[0])
    assert upper.get_title() == "E5-A, RMSE 1.4 mV"
    expected = 1e3 * (found["voltage_measured"] - found["voltage_fit"]).values[0, 0]
    np.testing.assert_allclose(lower.lines[0].get_ydata(), expected)
    assert len(upper.lines) == 2 * 4  # measured and fit of four check-ups
    assert lower.get_ylim()[1] > expected.max()


def test_one_spike_at_a_curves_end_does_not_flatten_the_residuals(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = modes()
    found["voltage_measured"].values[:, :, -1] += 0.5
    voltage_fits(found, tmp_path / "fit.png", "title")
    assert visible(drawn[0])[2].get_ylim()[1] < 5  # [mV]


def test_a_check_up_with_a_flag_is_dotted_and_one_without_a_fit_is_left_out(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = modes(("E5-A",), (2,))
    found["quality_flag"].values[0, 1] = STARTS_DISAGREE
    voltage_fits(found, tmp_path / "fit.png", "title")
    assert [line.get_linestyle() for line in visible(drawn[0])[1].lines[:2]] == ["-", ":"]
    for name in ("voltage_fit", "voltage_measured", "charge"):
        found[name].values[:] = np.nan
    voltage_fits(found, tmp_path / "none.png", "title")
    assert visible(drawn[1])[0].get_title() == "E5-A, no fit"


def test_every_mode_has_a_panel_in_percent_with_90_percent_intervals(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    modes_over_ageing(modes(), tmp_path / "modes.png", "title", history())
    panels = visible(drawn[0])
    titles = ["LLI", "LAM PE", "LAM NE", "LAM graphite", "LAM silicon"]
    assert [axis.get_title() for axis in panels] == titles
    for axis, rate in zip(panels, MODES.values(), strict=True):
        line = lines(axis)[0]
        np.testing.assert_array_equal(line.get_xdata(), [0, 700, 1400, 2100])
        np.testing.assert_allclose(line.get_ydata(), 100 * rate * np.arange(4))
    bars = panels[0].collections[0].get_segments()
    half = [np.ptp(bar[:, 1]) / 2 for bar in bars]
    # 1.6449 standard errors, from tables of the normal distribution; of 0.1 % a check-up
    np.testing.assert_allclose(half, 0.16449 * np.arange(4), rtol=1e-4)


def test_the_axis_counts_check_ups_where_a_throughput_is_not_known(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    incomplete = history()
    incomplete["charge_throughput"].values[0, 2] = np.nan
    modes_over_ageing(modes(), tmp_path / "modes.png", "title", incomplete)
    assert drawn[0].get_supxlabel() == "check-up (RPT)"
    np.testing.assert_array_equal(lines(visible(drawn[0])[0])[0].get_xdata(), [0, 1, 2, 3])


def test_an_electrode_of_one_phase_has_no_panels_of_graphite_and_silicon(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = modes()
    for name in ("lam_ne_gr", "lam_ne_si"):
        found[name].values[:] = np.nan
    modes_over_ageing(found, tmp_path / "modes.png", "title")
    assert [axis.get_title() for axis in visible(drawn[0])] == ["LLI", "LAM PE", "LAM NE"]


def test_a_flagged_check_up_has_a_hollow_marker_and_the_legend_says_so(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = modes()
    found["quality_flag"].values[0, 2] = STARTS_DISAGREE
    modes_over_ageing(found, tmp_path / "modes.png", "title", history())
    hollow = [
        line
        for line in visible(drawn[0])[0].lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert [line.get_xdata().tolist() for line in hollow] == [[1400.0]]
    assert "flagged" in [text.get_text() for text in drawn[0].legends[0].get_texts()]


def test_a_cell_without_a_reference_is_drawn_as_nothing(tmp_path: Path) -> None:
    found = modes()
    for name in MODES:
        found[name].values[:] = np.nan
        found[f"{name}_se"].values[:] = np.nan
    assert modes_over_ageing(found, tmp_path / "modes.png", "title").exists()
