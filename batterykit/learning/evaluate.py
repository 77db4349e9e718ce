"""Every fold, honestly: fit on its training cells, predict its test cells once, score them all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import xarray as xr

from batterykit.learning import metrics
from batterykit.learning.models import REFERENCES, model_class
from batterykit.learning.models.base import Listen, no_listener
from batterykit.learning.splits import Fold, inner_folds
from batterykit.learning.tasks import Sequences
from batterykit.progress import Track, no_track


@dataclass
class Evaluation:
    """What a model said about cells that it had not seen.

    Attributes
    ----------
    model, split, seed
        What was evaluated.
    data
        The cells with their answers.
    folds
        The outer folds.
    predicted
        (fold, cell, step) [1] by model name, the evaluated one and `REFERENCES`; NaN where a fold
        does not test.
    choices
        (fold) what the inner folds decided.
    history
        Entries of all fits, each with its fold.
    seconds
        (fold) to fit and predict with the evaluated model.
    """

    model: str
    split: str
    seed: int
    data: Sequences
    folds: list[Fold]
    predicted: dict[str, np.ndarray]
    choices: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def flat(self, model: str) -> np.ndarray:
        """Return a model's predictions (cell, step), each cell from the fold that tested it."""
        result = np.full(self.data.mask.shape, np.nan)
        for number, fold in enumerate(self.folds):
            result[fold.test] = self.predicted[model][number, fold.test]
        return result


def evaluate(
    data: Sequences,
    folds: Sequence[Fold],
    split: str,
    model: str,
    *,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    jobs: int = 1,
    track: Track = no_track,
    listen: Listen = no_listener,
) -> Evaluation:
    """Fit and test a model and the references on every fold.

    Parameters
    ----------
    data
        The cells with their answers.
    folds, split
        The outer folds and the name of their split, which inner folds repeat.
    model
        Of the registry.
    seed, device
        Of the model.
    folder
        Where to save the fitted models, one folder a fold; None saves nothing.
    jobs
        Processes for the folds of a slow model; the numbers do not depend on it. More than one
        needs a main module that can be imported (`if __name__ == "__main__":`).
    track, listen
        Progress by fold, and live numbers beside it.
    """
    names = dict.fromkeys([model, *REFERENCES])
    shape = (len(folds), *data.mask.shape)
    result = Evaluation(
        model, split, seed, data, list(folds), {name: np.full(shape, np.nan) for name in names}
    )
    one = partial(
        _one_fold, data, split=split, model=model, seed=seed, device=device, folder=folder
    )
    jobs = min(jobs, len(folds)) if model_class(model).slow else 1
    with ExitStack() as stack:
        if jobs > 1:
            pool = ProcessPoolExecutor(
                jobs, mp_context=get_context("spawn"), initializer=_end_with_parent
            )
            tested: Iterable[_Tested] = stack.enter_context(pool).map(one, folds)
        else:
            tested = map(partial(one, listen=listen), folds)
        for number, found in enumerate(track(tested, f"{model}, {split} folds", len(folds))):
            fold = folds[number]
            for name, predicted in found.predicted.items():
                result.predicted[name][number, fold.test] = predicted
            result.choices.append(found.choices)
            result.history += [{"fold": fold.name, **entry} for entry in found.history]
            result.seconds.append(found.seconds)
            if "inner_mae" in found.choices:
                listen(f"{fold.name}: inner MAE {100 * found.choices['inner_mae']:.2f} pp")
    return result


def _end_with_parent() -> None:
    """End this process when the one that started it is killed; else it would wait for ever."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class _Tested:
    """What one fold gave: predictions (cell, step) of its tested cells by model, and how."""

    predicted: dict[str, np.ndarray]
    choices: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float


def _one_fold(
    data: Sequences,
    fold: Fold,
    *,
    split: str,
    model: str,
    seed: int,
    device: str,
    folder: Path | None,
    listen: Listen = no_listener,
) -> _Tested:
    train, test = data.take(fold.train), data.take(fold.test).hidden()
    inner = inner_folds(train, split)
    predicted = {
        name: model_class(name)().fit(train, inner).predict(test)
        for name in REFERENCES
        if name != model
    }
    began = time.perf_counter()
    fitted = model_class(model)(seed, device).fit(train, inner, listen)
    predicted[model] = fitted.predict(test)
    seconds = time.perf_counter() - began
    if folder is not None:
        fitted.save(folder / fold.name)
    return _Tested(predicted, fitted.choices, fitted.history, seconds)


def report(evaluation: Evaluation) -> dict[str, Any]:
    """Return every score of an evaluation as plain numbers, in the target's unit [1].

    Rows of all tested cells count alike. Keys: `overall` (mae, rmse, mape, r2, rows), `interval`
    (95 %, cells drawn anew), `skill` and `skill_interval` and `reference_mae` by reference,
    `worst_cell`, `by_cell`, `by_temperature`, `by_experiment`, `by_fold`.
    """
    data = evaluation.data
    chosen = data.scored
    true, predicted = data.y[chosen], evaluation.flat(evaluation.model)[chosen]
    cell = np.broadcast_to(np.arange(len(data.cells))[:, None], chosen.shape)[chosen]
    references = {name: evaluation.flat(name)[chosen] for name in REFERENCES}
    seed = evaluation.seed

    def group(labels: Sequence[Any]) -> dict[str, dict[str, float]]:
        index = {label: [i for i, other in enumerate(labels) if other == label] for label in labels}
        return {
            str(label): {
                **metrics.scores(true[np.isin(cell, cells)], predicted[np.isin(cell, cells)]),
                "rows": int(np.isin(cell, cells).sum()),
            }
            for label, cells in index.items()
        }

    by_cell = group(data.cells)
    for number, name in enumerate(data.cells):
        by_cell[name] |= {
            "experiment": int(data.experiment[number]),
            "temperature": float(data.temperature[number]),
        }
        by_cell[name] |= {
            f"mae_{reference}": metrics.mae(true[cell == number], values[cell == number])
            for reference, values in references.items()
        }
    fold_of = {index: fold.name for fold in evaluation.folds for index in fold.test.tolist()}
    return {
        "overall": {**metrics.scores(true, predicted), "rows": len(true)},
        "interval": {
            name: metrics.cell_bootstrap(metric, cell, true, predicted, seed=seed)
            for name, metric in metrics.METRICS.items()
        },
        "reference_mae": {name: metrics.mae(true, values) for name, values in references.items()},
        "skill": {
            name: metrics.skill(true, predicted, values) for name, values in references.items()
        },
        "skill_interval": {
            name: metrics.cell_bootstrap(metrics.skill, cell, true, predicted, values, seed=seed)
            for name, values in references.items()
        },
        "worst_cell": max(by_cell, key=lambda name: by_cell[name]["mae"]),
        "by_cell": by_cell,
        "by_temperature": group([f"{value:g}" for value in data.temperature]),
        "by_experiment": group([str(value) for value in data.experiment]),
        "by_fold": group([fold_of[index] for index in range(len(data.cells))]),
    }


def predictions_dataset(evaluation: Evaluation) -> xr.Dataset:
    """Return `runs/{run_id}/predictions`: y_true, y_pred and the mean trajectory [1].

    Dims (fold, cell, rpt); NaN except where a fold tests a cell at a check-up that the task asks
    for. `days` (cell, rpt) [d] says when that was.
    """
    data = evaluation.data
    predicted = evaluation.predicted[evaluation.model]
    asked = np.isfinite(predicted)
    dims = ("fold", "cell", "rpt")
    values = {
        "y_true": (np.where(asked, data.y[None], np.nan), f"{data.target}, measured"),
        "y_pred": (predicted, f"{data.target}, predicted by {evaluation.model}"),
        "y_mean_trajectory": (
            evaluation.predicted["mean_trajectory"],
            f"{data.target}, mean of the training cells at the same check-up",
        ),
    }
    return xr.Dataset(
        {
            **{n: (dims, v, {"units": "1", "long_name": text}) for n, (v, text) in values.items()},
            "days": (("cell", "rpt"), data.time, {"units": "d", "long_name": "days of ageing"}),
        },
        coords={
            "fold": np.array([fold.name for fold in evaluation.folds], dtype=object),
            "cell": np.array(data.cells, dtype=object),
            "rpt": np.arange(data.mask.shape[1]),
            "experiment": ("cell", data.experiment),
            "temperature_chamber": ("cell", data.temperature, {"units": "degC"}),
        },
    )
