"""The contract that every model of the registry keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batterykit.errors import InputError, StoreError, UsageError
from batterykit.learning.models import REGISTRY, model_class
from batterykit.learning.models.base import Model
from batterykit.learning.models.ode import LatentOde
from batterykit.learning.splits import inner_folds
from batterykit.learning.tasks import Sequences
from batterykit.learning.trainer import TrainOptions
from tests.learning.cells import made_raw, sequences

TASKS = ("estimate", "forecast")
FITTED: dict[tuple[str, str], Model] = {}


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LatentOde, "options", TrainOptions(epochs=30))


def cells(task: str) -> Sequences:
    """Nine cells, every second one shorter, one with a resistance missing from the start."""
    raw = made_raw(cells=9, rpts=7, ragged=True)
    raw["resistance_0p1s"][2, :3] = np.nan
    return sequences(raw, task=task)


def fit(name: str, task: str, train: Sequences, seed: int = 0) -> Model:
    assert train.task == task
    return model_class(name)(seed).fit(train, inner_folds(train, "loco"))


def fitted(name: str, task: str) -> tuple[Model, Sequences]:
    """Return a model fitted on six cells (once for all tests) and three others."""
    data = cells(task)
    if (name, task) not in FITTED:
        FITTED[name, task] = fit(name, task, data.take(range(6)))
    return FITTED[name, task], data.take(range(6, 9))


every_model = pytest.mark.parametrize("name", REGISTRY)
every_task = pytest.mark.parametrize("task", TASKS)


@every_model
@every_task
def test_it_predicts_a_number_wherever_the_task_asks_and_nowhere_else(name: str, task: str) -> None:
    model, test = fitted(name, task)
    np.testing.assert_array_equal(np.isfinite(model.predict(test)), test.scored)


@every_model
@every_task
def test_the_same_seed_gives_the_same_numbers_twice(name: str, task: str) -> None:
    model, test = fitted(name, task)
    again = fit(name, task, cells(task).take(range(6)))
    np.testing.assert_array_equal(model.predict(test), again.predict(test))
    assert model.choices == again.choices


@every_model
@every_task
def test_a_cell_is_predicted_the_same_alone_and_in_company(name: str, task: str) -> None:
    model, test = fitted(name, task)
    together = model.predict(test)
    for number in range(len(test.cells)):
        alone = model.predict(test.take([number]))[0]
        np.testing.assert_allclose(alone, together[number], rtol=0, atol=1e-12)


@every_model
@every_task
def test_padding_changes_nothing(name: str, task: str) -> None:
    model, test = fitted(name, task)
    more = {
        field: np.pad(getattr(test, field), ((0, 0), (0, 3)), constant_values=value)
        for field, value in {
            "y": np.nan,
            "seen": np.nan,
            "time": np.nan,
            "mask": False,
            "scored": False,
        }.items()
    }
    longer = np.pad(test.x, ((0, 0), (0, 3), (0, 0)), constant_values=np.nan)
    padded = model.predict(replace(test, x=longer, **more))
    np.testing.assert_allclose(padded[:, :-3], model.predict(test), rtol=0, atol=1e-12)


@every_model
@every_task
def test_no_prediction_moves_with_a_later_input(name: str, task: str) -> None:
    model, test = fitted(name, task)
    before = model.predict(test)
    for rpt in (4, 5):
        later = replace(test, x=test.x.copy(), time=test.time.copy())
        later.x[:, rpt:] = later.x[:, rpt:] * 1.3 + 1
        later.time[:, rpt:] += 50
        after = model.predict(later)
        np.testing.assert_allclose(after[:, :rpt], before[:, :rpt], rtol=0, atol=1e-12)


@every_model
@every_task
def test_it_does_not_look_at_the_answers_of_what_it_predicts(name: str, task: str) -> None:
    model, test = fitted(name, task)
    np.testing.assert_array_equal(
        model.predict(test), model.predict(replace(test, y=test.y * 0 + 7))
    )


@every_model
@every_task
def test_a_saved_and_loaded_model_predicts_exactly_the_same(
    name: str, task: str, tmp_path: Path
) -> None:
    model, test = fitted(name, task)
    model.save(tmp_path / "fold")
    loaded = model_class(name).load(tmp_path / "fold")
    np.testing.assert_array_equal(loaded.predict(test), model.predict(test))
    assert loaded.choices == model.choices
    assert loaded.seed == model.seed
    endings = {path.suffix for path in (tmp_path / "fold").iterdir()}
    assert endings <= {".json", ".txt", ".safetensors"}


@every_model
def test_an_unfitted_model_says_so(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' has not been fitted"):
        model_class(name)().predict(cells("estimate"))


@every_model
def test_a_missing_target_is_refused(name: str) -> None:
    train = cells("estimate").take(range(6))
    train.y[1, 3] = np.nan
    with pytest.raises(InputError, match="RPT3 of cell E5-B"):
        fit(name, "estimate", train)


@every_model
def test_data_of_another_task_is_refused(name: str) -> None:
    model, _ = fitted(name, "estimate")
    with pytest.raises(UsageError, match="fitted for task estimate, not forecast"):
        model.predict(cells("forecast"))


@every_model
def test_a_folder_without_the_model_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no saved model"):
        model_class(name).load(tmp_path)
    (tmp_path / "model.json").write_text('{"model": "another"}')
    with pytest.raises(StoreError, match=f"not a saved '{name}'"):
        model_class(name).load(tmp_path)


@every_model
def test_it_learns_from_two_cells_of_one_temperature(name: str) -> None:
    data = cells("estimate")
    model = fit(name, "estimate", data.take([0, 3]))
    np.testing.assert_array_equal(np.isfinite(model.predict(data)), data.scored)


def test_an_unknown_model_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(UsageError, match=r"no model 'oracle'.*dummy.*ode"):
        model_class("oracle")
