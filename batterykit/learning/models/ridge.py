"""Ridge regression on the departure from the mean course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from batterykit.learning.design import Cleaner, Course, averages_by_experiment, departures
from batterykit.learning.models.base import Listen, Model
from batterykit.learning.splits import Fold
from batterykit.learning.tasks import LAWS, Sequences

ALPHAS = tuple(float(value) for value in np.logspace(-1.5, 3, 10))
"""Strength of the penalty per training row, on standardised inputs."""

Choice = tuple[str, float]
"""Set of inputs and penalty."""


class Ridge(Model):
    """The departure is linear in each input and in each input times the square root of throughput.

    The second lets a difference between cells grow as they age. Where there are several experiments
    each has further weights of its own. There is no intercept: under a
    strong penalty the prediction is the mean course. Penalty and set of inputs (see `_groups`) are
    chosen on the inner folds by squared error.
    """

    name = "ridge"

    def _fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen) -> None:
        by_experiment = averages_by_experiment(train, valid)
        groups = _groups(train)
        errors: dict[Choice, list[np.ndarray]] = {}
        for fold in valid:
            inner, test = train.take(fold.train), train.take(fold.test)
            course = Course.fit(inner, by_experiment=by_experiment)
            for group, names in groups.items():
                cleaner = Cleaner.fit(inner, names)
                weights = _solve(inner, course, cleaner, ALPHAS)
                base, rows = course.at(test), _rows(test, course, cleaner)
                for alpha, weight in zip(ALPHAS, weights, strict=True):
                    error = (base + rows @ weight - test.y)[test.scored]
                    errors.setdefault((group, alpha), []).append(error)
        error_of = {key: np.concatenate(parts) for key, parts in errors.items()}
        rmse = {key: float(np.sqrt(np.mean(error**2))) for key, error in error_of.items()}
        group, alpha = min(rmse, key=lambda key: (rmse[key], -key[1]))
        inner_mae = float(np.abs(error_of[group, alpha]).mean())
        listen(f"inner MAE {100 * inner_mae:.2f} pp")
        course = Course.fit(train, by_experiment=by_experiment)
        cleaner = Cleaner.fit(train, groups[group])
        self.history = [
            {"inputs": group, "alpha": alpha, "valid_rmse": error}
            for (group, alpha), error in rmse.items()
        ]
        self.state |= {
            "course": asdict(course),
            "cleaner": asdict(cleaner),
            "weights": _solve(train, course, cleaner, [alpha])[0].tolist(),
            "choices": {
                "inputs": group,
                "alpha": alpha,
                "by_experiment": by_experiment,
                "inner_mae": inner_mae,
            },
        }

    def _predict(self, data: Sequences) -> np.ndarray:
        course, cleaner = Course(**self.state["course"]), Cleaner(**self.state["cleaner"])
        departure = _rows(data, course, cleaner) @ np.array(self.state["weights"])
        return np.asarray(course.at(data) + departure)


def _groups(train: Sequences) -> dict[str, list[str]]:
    """Return the sets of inputs to choose from.

    Those of each law; the same with the ICA peaks, if there are any; all, where there are at least
    as many training cells as inputs (rows of one cell are too alike to count as more).
    """
    groups = {name: list(inputs) for name, inputs in LAWS.items()}
    peaks = [name for name in train.names if name.startswith("ica_")]
    if peaks:
        groups |= {f"{name} and ICA": [*inputs, *peaks] for name, inputs in LAWS.items()}
    if len(train.cells) >= len(train.names):
        groups["all"] = list(train.names)
    return groups


def _rows(data: Sequences, course: Course, cleaner: Cleaner) -> np.ndarray:
    """Return the regressors, (cell, step, term)."""
    levels = cleaner.clean(data)
    off = departures(data, course.at(data)) * 100
    off = np.broadcast_to(off[:, None, :], (*levels.shape[:2], off.shape[-1]))
    terms = np.concatenate([levels, off], axis=-1)
    own = [_where_real(data, name) for name in data.names if name.startswith("experiment_")]
    terms = np.concatenate([terms, *(terms * one[:, :, None] for one in own)], axis=-1)
    far = _where_real(data, "sqrt_throughput") / np.sqrt(max(course.grids["all"][-1], 1.0))
    return np.concatenate([terms, terms * far[:, :, None]], axis=-1)


def _where_real(data: Sequences, name: str) -> np.ndarray:
    """Return a column that is never missing, (cell, step), 0 in the padding."""
    return np.where(data.mask, data.column(name), 0.0)


def _solve(
    train: Sequences, course: Course, cleaner: Cleaner, alphas: Sequence[float]
) -> list[np.ndarray]:
    rows = _rows(train, course, cleaner)[train.scored]
    answers = (train.y - course.at(train))[train.scored]
    gram, moment = rows.T @ rows, rows.T @ answers
    eye = np.eye(gram.shape[0])
    return [np.linalg.solve(gram + alpha * len(rows) * eye, moment) for alpha in alphas]
