"""Pictures of runs: real PNG files that show what they are given."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from batterykit.errors import BatterykitError
from batterykit.learning.evaluate import evaluate, predictions_dataset
from batterykit.learning.splits import outer_folds
from batterykit.plots import runs as runs_module
from batterykit.plots.runs import draw_run, trajectories
from tests.learning.cells import made_raw, sequences


@pytest.mark.parametrize(("cells", "task"), [(3, "estimate"), (7, "forecast")])
def test_both_pictures_of_a_run_are_drawn_for_any_number_of_cells(
    cells: int, task: str, tmp_path: Path
) -> None:
    data = sequences(made_raw(cells=cells, ragged=True), task=task)
    result = evaluate(data, outer_folds(data, "loco"), "loco", "mean_trajectory")
    paths = draw_run(predictions_dataset(result), tmp_path / "new folder", "a title")
    assert [path.name for path in paths] == ["predicted-measured.png", "trajectories.png"]
    for path in paths:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 300
        assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 50


def test_a_place_where_no_picture_can_be_written_is_named(tmp_path: Path) -> None:
    data = sequences(made_raw(cells=3))
    result = evaluate(data, outer_folds(data, "loco"), "loco", "mean_trajectory")
    (tmp_path / "file").write_text("")
    with pytest.raises(BatterykitError, match="picture cannot be written"):
        draw_run(predictions_dataset(result), tmp_path / "file", "a title")


def test_the_lowest_panel_of_every_column_says_its_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sequences(made_raw(cells=6))
    result = evaluate(data, outer_folds(data, "loco"), "loco", "mean_trajectory")
    figures: list[Figure] = []
    monkeypatch.setattr(runs_module, "save", lambda figure, path: figures.append(figure))
    trajectories(predictions_dataset(result), tmp_path / "x.png", "a title")
    labelled = [axis.xaxis.get_tick_params()["labelbottom"] for axis in figures[0].axes[:6]]
    assert labelled == [False, False, True, True, True, True]
