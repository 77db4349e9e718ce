"""Pictures of packs, and the page that holds them, of runs of the real simulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from batterykit.charge.protocols import Protocol, Rating, Way, cc, cccv, default_stages, multistage
from batterykit.charge.simulate import REASON_TEXTS, extremes, simulate, stages
from batterykit.errors import UsageError
from batterykit.pack.network import build
from batterykit.pack.parameters import read_parameters
from batterykit.pack.scenario import draw
from batterykit.pack.simulator import PackSimulator
from batterykit.plots import pack, style
from batterykit.plots.charge import charge_pictures, charge_report, compare_pictures
from batterykit.plots.page import PNG_SIGNATURE
from tests.plots.browser import Browser
from tests.plots.test_page import Seen

CHARGE = Way(0.1, 0.9)
LIMITS = {"v_max_V": 4.2, "v_min_V": 2.5, "t_max_degC": 60.0}


def run(
    parallel: int,
    series: int,
    make: Callable[[Rating], Protocol],
    *,
    scenario: str = "spread",
    soc: float = 0.1,
    packs: int = 1,
    dt: float = 30.0,
) -> xr.Dataset:
    cell = read_parameters("Chen2020")
    drawn = draw(scenario, 0, packs, parallel * series, cell, soc=soc)
    simulator = PackSimulator(
        cell, build(parallel, series), drawn.cells, packs=packs, model="spme", threads=1
    )
    rating = Rating(parallel, series, cell.nominal_capacity, 4.2, 2.5)
    dataset = simulate(simulator, make(rating), dt=dt, truth=drawn.truth)
    dataset.attrs = {
        "protocol": "cccv",
        "crate": 1.5,
        "scenario": scenario,
        "engine": "batterykit",
        "parameters": cell.name,
        "busbar_Ohm": 1e-4,
        **LIMITS,
    }
    return dataset


@pytest.fixture(scope="module")
def charged() -> xr.Dataset:
    """An unequal pack of 18 cells, charged by CC-CV so fast that lithium plates."""
    return run(3, 6, lambda rating: cccv(rating, CHARGE, 1.5), scenario="aged")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What was drawn, to be asked what the PNG cannot tell."""
    kept: list[Figure] = []

    def save_and_keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return style.save(figure, path)

    monkeypatch.setattr(pack, "save", save_and_keep)
    return kept


def panel(figure: Figure, title: str) -> Axes:
    """The panel whose title begins with these words."""
    (found,) = (axis for axis in figure.axes if axis.get_title().startswith(title))
    return found


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def curves(axis: Axes, samples: int) -> list[np.ndarray]:
    """The lines of the cells: those with a point for each sample."""
    found = [np.asarray(line.get_ydata(), dtype=float) for line in axis.lines]
    return [values for values in found if len(values) == samples]


def test_a_pack_has_three_pictures_and_the_page_holds_them(
    charged: xr.Dataset, tmp_path: Path
) -> None:
    report = charge_report(charged, tmp_path / "new")
    assert [path.name for path in report.pictures] == [
        "charge-cells.png",
        "charge-branches.png",
        "charge-worst.png",
    ]
    assert all(path.read_bytes().startswith(PNG_SIGNATURE) for path in report.pictures)
    assert report.page == tmp_path / "new" / "charge.html"


def test_a_single_cell_has_neither_branches_nor_a_map(tmp_path: Path) -> None:
    one = run(1, 1, lambda rating: cc(rating, CHARGE, 1.0))
    assert charge_pictures(one, tmp_path / "new") == [tmp_path / "new" / "charge-cells.png"]
    assert not (tmp_path / "new" / "charge.html").exists()


def test_a_string_of_cells_has_a_map_and_no_branches(tmp_path: Path, figures: list[Figure]) -> None:
    string = run(1, 4, lambda rating: cc(rating, CHARGE, 1.0))
    assert not any("branches" in path.name for path in charge_pictures(string, tmp_path))
    assert not any("current" in axis.get_title() for axis in figures[-1].axes)


def test_several_packs_are_refused_with_a_way_to_choose_one(tmp_path: Path) -> None:
    both = run(2, 1, lambda rating: cc(rating, CHARGE, 1.0), packs=2)
    with pytest.raises(UsageError, match=r"2 packs.*one") as error:
        charge_pictures(both, tmp_path)
    assert "isel(pack=[0])" in str(error.value)
    assert charge_pictures(both.isel(pack=[1]), tmp_path)


def test_every_cell_is_drawn_as_it_was_in_each_panel(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    pack.cells_over_time(charged, tmp_path / "cells.png")
    (figure,) = figures
    samples = charged.sizes["time"]
    for title, name, scale, first in (
        ("Current", "current", 1, 1),
        ("Voltage", "voltage", 1, 1),
        ("Plating potential", "plating_potential", 1e3, 1),
        ("Temperature", "temperature", 1, 0),
        ("State of charge", "soc", 1e2, 0),
        ("Heat", "heat", 1, 1),
    ):
        drawn = np.array(curves(panel(figure, title), samples - first))
        assert drawn == pytest.approx(scale * charged[name].values[0, first:].T)


def test_the_titles_name_the_cells_that_stand_out_and_rings_mark_them(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    pack.cells_over_time(charged, tmp_path / "cells.png")
    for title, what, scale in (
        ("Plating potential: lowest", "lowest plating potential", 1e3),
        ("Voltage: highest", "highest voltage", 1.0),
        ("Temperature: highest", "highest temperature", 1.0),
        ("Current: most", "most current", 1.0),
    ):
        (found,) = (one for one in extremes(charged) if one.what == what)
        axis = panel(figures[0], title)
        assert axis.get_title().endswith(f"in {found.place}")
        (ring,) = (line for line in axis.lines if line.get_marker() == "o")
        shown = np.asarray(ring.get_xydata(), dtype=float)[0]
        assert shown == pytest.approx([found.time / 60, scale * found.value])


def test_limits_are_drawn_and_the_plating_limit_always(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    pack.cells_over_time(charged, tmp_path / "cells.png")
    voltage, plating = (panel(figures[0], title) for title in ("Voltage", "Plating"))
    assert "limit 4.2 V" in texts(voltage)
    assert voltage.get_ylim()[1] > 4.2
    assert "lithium plates below 0 mV" in texts(plating)
    assert plating.get_ylim()[0] < 0
    assert any("limit 60 °C" in text for text in texts(panel(figures[0], "Temperature")))


def test_a_limit_far_off_is_told_and_does_not_flatten_the_curves(
    tmp_path: Path, figures: list[Figure]
) -> None:
    cool = run(2, 1, lambda rating: cc(rating, Way(0.4, 0.5), 0.2), soc=0.4)
    pack.cells_over_time(cool, tmp_path / "cells.png")
    temperature = panel(figures[0], "Temperature")
    assert texts(temperature) == ["↑ limit 60 °C"]
    assert temperature.get_ylim()[1] < 40


def test_discharge_has_the_lower_limit_and_no_word_of_plating(
    tmp_path: Path, figures: list[Figure]
) -> None:
    emptied = run(2, 2, lambda rating: cc(rating, Way(0.9, 0.02), 1.0), soc=0.9)
    report = charge_report(emptied, tmp_path)
    voltage = panel(figures[0], "Voltage: lowest")
    assert [text for text in texts(voltage) if "limit" in text] == ["limit 2.5 V"]
    assert texts(panel(figures[0], "Plating potential")) == []
    assert "lithium would plate" not in report.page.read_text(encoding="utf-8")


def test_steps_are_shaded_and_named_where_there_is_room(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    pack.cells_over_time(charged, tmp_path / "cells.png")
    staged = run(2, 1, lambda rating: multistage(rating, CHARGE, default_stages(CHARGE, 1.0)))
    pack.cells_over_time(staged, tmp_path / "staged.png")
    for figure, dataset in zip(figures, (charged, staged), strict=True):
        assert texts(figure.axes[0]) == [stage.label for stage in stages(dataset)]
    short = charged.copy(deep=True)
    short["stage_end"][0, 0] = 0.92 * short["duration"][0]
    pack.cells_over_time(short, tmp_path / "short.png")
    assert texts(figures[-1].axes[0]) == ["CC 1.5C", "CV"]


def test_no_text_of_a_picture_covers_another(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    charge_report(charged, tmp_path)
    for figure in figures:
        drawn = [t for axis in figure.axes for t in (axis.title, *axis.texts) if t.get_text()]
        boxes = [text.get_window_extent() for text in drawn]
        pairs = [(k, i) for k in range(len(boxes)) for i in range(k)]
        assert not [
            (drawn[k].get_text(), drawn[i].get_text())
            for k, i in pairs
            if boxes[k].overlaps(boxes[i])
        ]


def test_branch_currents_of_a_group_leave_nothing_over(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    pack.branch_currents(charged, tmp_path / "branches.png")
    titles = [axis.get_title() for axis in figures[0].axes if axis.get_title()]
    assert [title.partition(":")[0] for title in titles] == [f"group {k}" for k in range(1, 7)]
    for title in titles:
        drawn = curves(panel(figures[0], title), charged.sizes["time"] - 1)
        assert len(drawn) == 3
        assert np.sum(drawn, axis=0) == pytest.approx(0, abs=1e-8)  # Kirchhoff


def test_of_many_groups_the_least_equal_are_shown(tmp_path: Path, figures: list[Figure]) -> None:
    many = run(2, 15, lambda rating: cc(rating, Way(0.1, 0.3), 1.0))
    pack.branch_currents(many, tmp_path / "branches.png")
    share = many["pack_current"].values[0, 1:, None] / 2
    apart = np.abs(many["current"].values[0, 1:] - share).max(axis=0).reshape(15, 2).max(axis=1)
    wanted = sorted(np.argsort(-apart)[: pack.MOST_GROUPS] + 1)
    titles = [axis.get_title() for axis in figures[0].axes if axis.get_title()]
    assert [int(title.split(":")[0].split()[1]) for title in titles] == wanted
    assert "12 least equal groups" in figures[0].get_suptitle()


def test_maps_show_each_cell_at_its_place_and_frame_the_worst(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    pack.worst_cells(charged, tmp_path / "worst.png")
    lowest = 1e3 * charged["plating_potential"].values[0].min(axis=0)
    axis = panel(figures[0], "Lowest plating potential [mV]")
    shown = {text.get_position(): text.get_text().replace(pack.MINUS, "-") for text in axis.texts}
    for cell, value in enumerate(lowest):
        place = (charged["parallel"].values[cell], charged["series"].values[cell])
        assert float(shown[place]) == pytest.approx(value, abs=0.051)
    (frame,) = axis.patches
    assert isinstance(frame, Rectangle)
    worst = int(lowest.argmin())
    assert frame.get_xy() == (worst % 3 + 0.5, worst // 3 + 0.5)
    assert axis.get_ylim() == (0.5, 6.5)  # the negative terminal is below


def test_maps_do_not_blow_up_what_is_alike(tmp_path: Path, figures: list[Figure]) -> None:
    same = run(2, 2, lambda rating: cc(rating, Way(0.1, 0.2), 0.2), scenario="fresh")
    pack.worst_cells(same, tmp_path / "worst.png")
    titles = [axis.get_title() for axis in figures[0].axes if axis.get_title()]
    assert "Highest temperature [°C]" in titles
    assert not any("Capacity" in title for title in titles)
    (image,) = panel(figures[0], "Highest temperature").images
    assert np.ptp(np.asarray(image.get_array())) < 0.1


def test_a_large_pack_has_maps_of_a_size_to_look_at_and_no_numbers(
    tmp_path: Path, figures: list[Figure]
) -> None:
    large = run(12, 40, lambda rating: cc(rating, Way(0.1, 0.2), 1.0), dt=60.0)
    pack.worst_cells(large, tmp_path / "worst.png")
    assert max(figures[0].get_size_inches()) < 20
    assert texts(panel(figures[0], "Highest voltage")) == []


def test_a_run_that_ends_at_once_is_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    full = run(2, 1, lambda rating: cc(rating, Way(0.999, 1.0), 2.0), soc=0.999)
    assert full.sizes["time"] == 2
    charge_report(full, tmp_path)
    lines = panel(figures[0], "Voltage").lines
    assert [line.get_marker() for line in lines[:2]] == [".", "."]


def shifted(dataset: xr.Dataset, **by: float) -> xr.Dataset:
    """A reference that is off by known amounts."""
    other = dataset.copy(deep=True).assign_attrs(engine_version="pybamm 26.10")
    for name, value in by.items():
        other[name] = other[name] - value
    return other


def test_a_comparison_shows_the_difference_of_every_cell(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    other = shifted(charged, voltage=2e-3, temperature=0.5)
    (path,) = compare_pictures(charged, other, tmp_path)
    assert path.name == "charge-comparison.png"
    assert panel(figures[0], "Cell voltage").get_title().endswith("RMS 2, at most 2 mV")
    assert "batterykit less PyBaMM 26.10" in figures[0].get_suptitle()
    samples = charged.sizes["time"] - 2
    below = [axis for axis in figures[0].axes if axis.get_ylabel() == "difference [mV]"]
    assert np.array(curves(below[0], samples)) == pytest.approx(2.0)
    assert len(curves(below[0], samples)) == 18


def test_rounding_is_not_blown_up_to_a_difference(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    compare_pictures(charged, shifted(charged, current=1e-12), tmp_path)
    assert panel(figures[0], "Branch current").get_title().startswith("Branch current: RMS < 0.001")
    below = [axis for axis in figures[0].axes if axis.get_ylabel().startswith("difference")]
    assert all(np.ptp(axis.get_ylim()) > 1e-3 for axis in below)


def test_what_the_reference_does_not_know_is_left_out(
    charged: xr.Dataset, tmp_path: Path, figures: list[Figure]
) -> None:
    other = shifted(charged, plating_potential=np.nan)
    compare_pictures(charged, other, tmp_path)
    assert not any(axis.get_title().startswith("Plating") for axis in figures[0].axes)


def test_runs_of_other_cells_or_other_times_are_not_compared(
    charged: xr.Dataset, tmp_path: Path
) -> None:
    for other in (charged.isel(cell=slice(0, 3)), charged.assign_coords(time=charged["time"] * 2)):
        with pytest.raises(UsageError, match="same cells and the same time step"):
            compare_pictures(charged, other, tmp_path)
    with pytest.raises(UsageError, match="no time in common"):
        compare_pictures(charged.isel(time=[0, 1]), charged, tmp_path)


def test_the_page_tells_what_was_done_and_which_cells_suffer(
    charged: xr.Dataset, tmp_path: Path
) -> None:
    report = charge_report(charged, tmp_path, node="charge/a-run/trajectory")
    seen = Seen(report.page.read_text(encoding="utf-8"))
    below = int((charged["plating_potential"] < 0).any("time").sum())
    for wanted in (
        "3p6s, aged, CC-CV at 1.5C",
        REASON_TEXTS[str(charged["stop_reason"].values[0])],
        f"falls below 0 in {below} of 18 cells",
        "lowest plating potential",
        "CV 4.2 V",
        "charge/a-run/trajectory",
        "busbar [Ohm]",
        "v max [V]",
        "LAM NE [%]",
    ):
        assert wanted in seen.text
    assert len(seen.of("img")) == len(report.pictures)


def test_the_table_of_cells_begins_with_the_least_plating_margin(
    charged: xr.Dataset, tmp_path: Path
) -> None:
    text = Seen(charge_report(charged, tmp_path).page.read_text(encoding="utf-8")).text
    table = text[text.index("What each cell went through") :]
    (worst,) = (one for one in extremes(charged) if one.what == "lowest plating potential")
    order = np.argsort(charged["plating_potential"].values[0].min(axis=0))
    places = [f"s{cell // 3 + 1}p{cell % 3 + 1}" for cell in order]
    assert places[0] == worst.place
    assert sorted(places, key=table.index) == places


def test_a_browser_shows_the_page_in_light_and_dark_and_on_a_telephone(
    charged: xr.Dataset, tmp_path: Path, browser: Browser
) -> None:
    report = charge_report(charged, tmp_path, other=shifted(charged, voltage=1e-3))
    assert report.pictures[-1].name == "charge-comparison.png"
    decoded = "Promise.all([...document.images].map(i => i.decode())).then(() => true)"
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for dark in (False, True):
        browser.open(report.page, dark=dark)
        assert browser.evaluate(decoded)
        assert browser.complaints() == []
        seen.append(browser.evaluate(ground))
    assert seen[0] != seen[1]
    browser.open(report.page, width=390)
    assert browser.evaluate("document.images.length") == len(report.pictures)
    assert browser.requested() == [report.page.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
