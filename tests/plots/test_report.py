"""The report of a feature set: its pictures as files, and one page that holds them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batterykit.features.ica import ica
from batterykit.features.options import IcaOptions
from batterykit.plots.report import MOST_CELLS, Origin, Report, _experiments, dma_report, ica_report
from tests.features.data import curves, discharge
from tests.plots.browser import Browser
from tests.plots.data import history, modes
from tests.plots.test_page import Seen

NODE = "raw/expt5/curves/0.1C"
ORIGIN = Origin("features/dma/0123456789ab", {NODE: "cafe" * 8}, {NODE: "measured somewhere"})


def curve_features(rpts: int = 2) -> xr.Dataset:
    cells = ["E1-A"] * rpts + ["E5-A"] * rpts
    features = ica(curves([discharge(samples=800)] * len(cells), cells, [*range(rpts)] * 2))
    features.attrs = {"parameters": IcaOptions().model_dump_json(), "fingerprint": "beef" * 8}
    return features


def names(report: Report) -> list[str]:
    return [path.name for path in report.pictures]


def test_each_experiment_has_its_pictures_and_the_page_holds_all_of_them(tmp_path: Path) -> None:
    report = ica_report(curve_features(), tmp_path / "new", ORIGIN, history())
    for expt in ("E1", "E5"):
        assert f"ica-{expt}-0.1C-discharge.png" in names(report)
        assert f"ica-peaks-{expt}-0.1C-discharge.png" in names(report)
    assert report.page == tmp_path / "new" / "ica.html"
    images = Seen(report.page.read_text(encoding="utf-8")).of("img")
    assert len(images) == len(report.pictures)
    assert all("E1-A" in str(i["alt"]) or "E5-A" in str(i["alt"]) for i in images)


def test_dvdq_is_drawn_where_it_was_computed(tmp_path: Path) -> None:
    features = curve_features(1).drop_vars(["dvdq", "charge"], errors="ignore")
    assert not any("dvdq" in name for name in names(ica_report(features, tmp_path, ORIGIN)))
    features["charge"] = ("charge", np.linspace(0, 5, 20), {"units": "Ah"})
    features["dvdq"] = (("curve", "charge"), np.ones((2, 20)), {"units": "V/Ah"})
    report = ica_report(features, tmp_path, ORIGIN)
    assert [name for name in names(report) if "dvdq" in name] == [
        "ica-dvdq-E1-0.1C-discharge.png",
        "ica-dvdq-E5-0.1C-discharge.png",
    ]


def test_a_single_check_up_has_no_course_over_ageing(tmp_path: Path) -> None:
    assert not any(
        "peaks" in name for name in names(ica_report(curve_features(1), tmp_path, ORIGIN))
    )
    one = dma_report(modes(("E5-A",), (1,)), tmp_path, ORIGIN)
    assert names(one) == ["dma-fit-E5-0.1C-discharge.png"]


def test_the_page_tells_provenance_parameters_and_quality(tmp_path: Path) -> None:
    report = dma_report(modes(), tmp_path, ORIGIN, history())
    text = Seen(report.page.read_text(encoding="utf-8")).text
    for wanted in (
        "features/dma/0123456789ab",
        "f00d" * 8,
        "batterykit 9.9.9",
        "fingerprint cafecafe, measured somewhere",
        "starts",
        "7 of 7 check-ups have no flag",
    ):
        assert wanted in text
    assert "ynthetic" not in text


def test_made_up_data_are_called_so_before_anything_else(tmp_path: Path) -> None:
    twin = Origin(ORIGIN.node, ORIGIN.inputs, {NODE: "synthetic: made by the twin"})
    text = Seen(dma_report(modes(), tmp_path, twin).page.read_text(encoding="utf-8")).text
    assert text.index("Synthetic data: nothing here was measured.") < text.index("Electrode")


@pytest.mark.parametrize("cells", [1, 9, 2 * MOST_CELLS + 1])
def test_no_picture_has_too_many_cells_and_no_cell_is_lost(cells: int) -> None:
    wanted = [f"E5-{k:02d}" for k in range(cells)]
    parts = list(_experiments(wanted))
    assert [cell for _, mine, _ in parts for cell in mine] == wanted
    assert max(len(mine) for _, mine, _ in parts) <= MOST_CELLS
    assert len({(expt, number) for expt, _, number in parts}) == len(parts)


def test_a_browser_shows_the_whole_report(tmp_path: Path, browser: Browser) -> None:
    report = dma_report(modes(), tmp_path, ORIGIN, history())
    browser.open(report.page, width=390)
    decoded = "Promise.all([...document.images].map(i => i.decode())).then(() => true)"
    assert browser.evaluate(decoded)
    assert browser.evaluate("document.images.length") == len(report.pictures)
    assert min(browser.evaluate("[...document.images].map(i => i.naturalWidth)")) > 500
    assert browser.requested() == [report.page.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
