"""Evaluation: folds kept apart, scores that add up, the reference figures of the real cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batterykit.learning.evaluate import evaluate, predictions_dataset, report
from batterykit.learning.models.ode import LatentOde
from batterykit.learning.splits import outer_folds
from batterykit.learning.tasks import Sequences
from batterykit.learning.trainer import TrainOptions
from tests.learning.cells import made_raw, real_raw, sequences

MODELS = ("dummy", "persistence", "mean_trajectory", "ridge", "lgbm", "ode")


def run(data: Sequences, model: str, split: str = "loco"):  # noqa: ANN201
    return evaluate(data, outer_folds(data, split), split, model)


def test_the_dummy_and_the_mean_trajectory_have_the_published_errors_on_the_real_cells(
    real_record: Path, tmp_path: Path
) -> None:
    data = sequences(real_raw(real_record, tmp_path))
    metrics = report(run(data, "mean_trajectory"))
    assert metrics["overall"]["rows"] == 6 * 12
    assert 100 * metrics["reference_mae"]["dummy"] == pytest.approx(2.11, abs=0.005)
    assert 100 * metrics["overall"]["mae"] == pytest.approx(0.75, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["estimate", "forecast"])
def test_the_ode_gives_the_same_numbers_twice_on_the_real_cells(
    task: str, real_record: Path, tmp_path: Path
) -> None:
    data = sequences(real_raw(real_record, tmp_path), task=task)
    first, again = run(data, "ode"), run(data, "ode")
    np.testing.assert_array_equal(first.flat("ode"), again.flat("ode"))


@pytest.mark.parametrize("model", MODELS)
def test_poisoned_answers_of_the_tested_cells_change_no_prediction(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LatentOde, "options", TrainOptions(epochs=10))
    data = sequences(made_raw(cells=5, rpts=5))
    poisoned = replace(data, y=data.y.copy())
    poisoned.y[2] = 1e3
    fold = [outer_folds(data, "loco")[2]]
    clean = evaluate(data, fold, "loco", model).predicted[model]
    np.testing.assert_array_equal(clean, evaluate(poisoned, fold, "loco", model).predicted[model])


def test_poisoned_inputs_of_the_tested_cells_change_nothing_that_was_learned() -> None:
    data = sequences(made_raw(cells=5))
    poisoned = replace(data, x=data.x.copy())
    poisoned.x[2] *= 1e3
    fold = [outer_folds(data, "loco")[2]]
    clean, dirty = (evaluate(one, fold, "loco", "ridge") for one in (data, poisoned))
    assert clean.choices == dirty.choices


def test_folds_in_two_processes_give_the_numbers_of_one() -> None:
    data = sequences(made_raw(cells=3, rpts=3))
    folds = outer_folds(data, "loco")
    one, two = (evaluate(data, folds, "loco", "ode", jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.flat("ode"), two.flat("ode"))
    assert one.choices == two.choices
    assert one.history == two.history


def test_all_groups_of_the_report_add_up_to_the_whole() -> None:
    data = sequences(made_raw(cells=7, rpts=6, ragged=True))
    result = run(data, "ridge")
    metrics = report(result)
    overall = metrics["overall"]
    assert overall["rows"] == data.scored.sum()
    for group in ("by_cell", "by_temperature", "by_experiment", "by_fold"):
        parts = metrics[group].values()
        assert sum(part["rows"] for part in parts) == overall["rows"]
        total = sum(part["rows"] * part["mae"] for part in parts)
        assert total / overall["rows"] == pytest.approx(overall["mae"])
    low, high = metrics["interval"]["mae"]
    assert low <= overall["mae"] <= high
    worst = metrics["worst_cell"]
    assert metrics["by_cell"][worst]["mae"] == max(c["mae"] for c in metrics["by_cell"].values())
    skill = 1 - overall["mae"] / metrics["reference_mae"]["dummy"]
    assert metrics["skill"]["dummy"] == pytest.approx(skill)


def test_predictions_stand_where_a_fold_tests_and_nowhere_else() -> None:
    data = sequences(made_raw(cells=6, ragged=True), task="forecast")
    result = run(data, "mean_trajectory", "temperature")
    dataset = predictions_dataset(result)
    assert dataset["y_pred"].dims == ("fold", "cell", "rpt")
    for number, fold in enumerate(result.folds):
        asked = np.zeros(data.mask.shape, dtype=bool)
        asked[fold.test] = data.scored[fold.test]
        for name in ("y_true", "y_pred", "y_mean_trajectory"):
            np.testing.assert_array_equal(np.isfinite(dataset[name].values[number]), asked)
    known = np.nan_to_num(dataset["y_true"].values).sum(axis=0)
    np.testing.assert_array_equal(known[data.scored], data.y[data.scored])


@pytest.mark.parametrize("model", ["ridge", "lgbm"])
@pytest.mark.parametrize("task", ["estimate", "forecast"])
def test_learned_models_beat_the_mean_trajectory_where_there_is_a_law_to_learn(
    model: str, task: str
) -> None:
    data = sequences(made_raw(cells=12, rpts=8), task=task)
    assert report(run(data, model))["skill"]["mean_trajectory"] > 0.3
