"""Pictures of dQ/dV, dV/dQ and peaks: one cell or many, and all that is there is shown."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batterykit.errors import BatterykitError
from batterykit.features.ica import ica
from batterykit.plots.ica import (
    _spread,
    dqdv_over_ageing,
    dvdq_over_ageing,
    peak_trajectories,
)
from tests.features.data import STEPS, curves, discharge
from tests.plots.data import history


def features(cells: list[str], rpts: list[int] | None = None) -> xr.Dataset:
    rpts = rpts or [0] * len(cells)
    return ica(curves([discharge(samples=800) for _ in cells], cells, rpts))


def visible(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_visible() and axis.get_label() != "<colorbar>"]


@pytest.mark.parametrize("cells", [["E5-A"], ["E5-A", "E5-B", "E5-C", "E5-D"]])
def test_a_png_with_a_panel_for_each_cell_is_written(
    tmp_path: Path, drawn: list[Figure], cells: list[str]
) -> None:
    path = dqdv_over_ageing(features(cells), tmp_path / "new folder" / "ica.png", "title")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [axis.get_title().split(",")[0] for axis in visible(drawn[0])] == cells


def test_a_curve_without_anything_in_it_is_drawn_as_nothing(tmp_path: Path) -> None:
    empty = ica(curves([([], []), discharge()]))
    assert dqdv_over_ageing(empty, tmp_path / "ica.png", "title").exists()
    nothing = ica(curves([([], [])]))
    assert dqdv_over_ageing(nothing, tmp_path / "no ica.png", "title").exists()
    assert peak_trajectories(nothing, tmp_path / "no peaks.png", "title").exists()


def test_every_peak_is_named_and_no_name_covers_another(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = features(["E5-A"])
    dqdv_over_ageing(found, tmp_path / "ica.png", "title")
    axis = visible(drawn[0])[0]
    assert [text.get_text() for text in axis.texts] == [f"P{k}" for k in range(len(STEPS))]
    right = [axis.transData.transform(text.xyann)[0] for text in axis.texts]
    assert np.diff(right).min() > 20  # [px], wider than a name of two letters


def test_a_flagged_curve_is_dashed_and_its_peaks_are_hollow(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = features(["E5-A", "E5-A"], [0, 1])
    found["quality_flag"].values[:] = [0, 8]
    dqdv_over_ageing(found, tmp_path / "ica.png", "title")
    clean, clean_peaks, flagged, flagged_peaks = visible(drawn[0])[0].lines
    assert (clean.get_linestyle(), flagged.get_linestyle()) == ("-", "--")
    assert flagged_peaks.get_markerfacecolor() == "white"
    assert clean_peaks.get_markerfacecolor() != "white"


def test_the_scale_of_check_ups_is_left_out_where_there_is_only_the_first(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    dqdv_over_ageing(features(["E5-A"]), tmp_path / "one.png", "title")
    dqdv_over_ageing(features(["E5-A", "E5-A"], [0, 1]), tmp_path / "two.png", "title")
    assert [len(figure.axes) for figure in drawn] == [1, 2]


def test_the_lowest_panel_of_every_column_has_numbers(tmp_path: Path, drawn: list[Figure]) -> None:
    dqdv_over_ageing(features([f"E5-{c}" for c in "ABCD"]), tmp_path / "ica.png", "title")
    numbered = [
        axis.xaxis.get_tick_params()["labelbottom"] for axis in drawn[0].axes if axis.get_visible()
    ]
    assert numbered == [False, True, True, True]


def test_dvdq_shows_its_valleys_and_cuts_off_its_steep_ends(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    charge = np.linspace(0, 5, 500)
    inside = 0.2 + 0.05 * np.sin(6 * charge)
    found = features(["E5-A"]).drop_vars(["dvdq", "charge"], errors="ignore")
    found["charge"] = (("curve", "depth"), charge[None], {"units": "Ah"})
    steep = np.where((charge > 0.2) & (charge < 4.8), inside, 30.0)
    found["dvdq"] = (("curve", "depth"), steep[None], {"units": "V/Ah"})
    dvdq_over_ageing(found, tmp_path / "dvdq.png", "title")
    top = visible(drawn[0])[0].get_ylim()[1]
    assert inside.max() < top < 2 * inside.max()


def test_every_quantity_of_every_peak_has_a_panel_over_throughput(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = features(["E5-A"] * 3 + ["E5-B"] * 3, [0, 1, 2] * 2)
    peak_trajectories(found, tmp_path / "peaks.png", "title", history())
    panels = visible(drawn[0])
    assert len(panels) == 3 * len(STEPS)
    assert drawn[0].get_supxlabel() == "charge throughput [Ah]"
    for k, quantity in enumerate(("voltage", "height", "area")):
        line = panels[k].lines[0]
        np.testing.assert_array_equal(line.get_xdata(), [0, 700, 1400])
        np.testing.assert_array_equal(line.get_ydata(), found[f"peak_{quantity}"].values[:3, 0])
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["E5-A, 10 °C", "E5-B, 40 °C"]


def test_an_absent_peak_breaks_the_line_and_a_peak_never_found_has_no_panel(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = features(["E5-A"] * 3, [0, 1, 2])
    for name in ("voltage", "height", "area"):
        found[f"peak_{name}"].values[1, 0] = np.nan
        found[f"peak_{name}"].values[:, 1] = np.nan
    found["peak_present"].values[1, 0] = False
    found["peak_present"].values[:, 1] = False
    peak_trajectories(found, tmp_path / "peaks.png", "title")
    panels = visible(drawn[0])
    assert len(panels) == 3 * (len(STEPS) - 1)
    assert np.isnan(panels[0].lines[0].get_ydata()).tolist() == [False, True, False]
    assert panels[3].get_title(loc="left").startswith("P2,")


def test_many_cells_and_check_ups_stay_legible(tmp_path: Path) -> None:
    cells = [f"E5-{chr(65 + k)}" for k in range(9) for _ in range(16)]
    found = features(cells, list(range(16)) * 9)
    picture = peak_trajectories(
        found, tmp_path / "peaks.png", "title", history(sorted({*cells}), 16)
    )
    height, width = matplotlib.image.imread(picture).shape[:2]
    assert 1200 < width < 2000
    assert height / (len(STEPS) + 1) > 150  # [px] of a panel


def test_a_place_where_no_picture_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BatterykitError, match="picture cannot be written"):
        dqdv_over_ageing(features(["E5-A"]), tmp_path / "file" / "ica.png", "title")


@given(st.lists(st.floats(2.5, 4.2), max_size=12), st.floats(0.01, 0.2))
def test_names_keep_their_order_and_distance_and_stay_where_they_may(
    places: list[float], apart: float
) -> None:
    before = np.array(places)
    after = _spread(before, apart)
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= apart * (1 - 1e-9)).all()
    if (np.diff(before[order]) >= apart).all():
        np.testing.assert_allclose(after, before, atol=1e-9)
