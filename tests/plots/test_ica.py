"""The picture of dQ/dV over ageing is written, for one cell or many."""

from __future__ import annotations

from pathlib import Path

import pytest

from batterykit.features.ica import ica
from batterykit.plots.ica import dqdv_over_ageing
from tests.features.data import curves, discharge


@pytest.mark.parametrize("cells", [["E5-A"], ["E5-A", "E5-B", "E5-C", "E5-D"]])
def test_a_png_with_a_panel_for_each_cell_is_written(tmp_path: Path, cells: list[str]) -> None:
    features = ica(curves([discharge() for _ in cells], cells, [0] * len(cells)))
    path = dqdv_over_ageing(features, tmp_path / "new folder" / "ica.png", "title")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_curve_without_anything_in_it_is_drawn_as_nothing(tmp_path: Path) -> None:
    features = ica(curves([([], []), discharge()]))
    assert dqdv_over_ageing(features, tmp_path / "ica.png", "title").exists()
