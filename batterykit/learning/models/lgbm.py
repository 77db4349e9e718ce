"""LightGBM on the departure from the mean course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np

from batterykit.errors import BatterykitError, StoreError
from batterykit.learning.design import Course, averages_by_experiment, departures
from batterykit.learning.models.base import Listen, Model
from batterykit.learning.splits import Fold
from batterykit.learning.tasks import Sequences

TREES_FILE = "trees.txt"
MOST_TREES = 300
CANDIDATES: tuple[dict[str, Any], ...] = (
    {"num_leaves": 3, "min_data_in_leaf": 8},
    {"num_leaves": 6, "min_data_in_leaf": 8},
    {"num_leaves": 6, "min_data_in_leaf": 20},
)
"""Sizes of tree to choose from: small, as tables have 50 to 500 rows from few cells."""

FIXED: dict[str, Any] = {
    "objective": "l2",
    "learning_rate": 0.05,
    "lambda_l2": 1.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "max_bin": 63,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class Lgbm(Model):
    """Boosted trees; size and number of trees are chosen on the inner folds by mean absolute error.

    No tree at all, the mean course itself, is among the choices. Missing inputs are left to the
    trees, which learn a side for them.
    """

    name = "lgbm"

    def __init__(self, seed: int = 0, device: str = "auto") -> None:
        super().__init__(seed, device)
        self.booster: Any = None

    def _fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen) -> None:
        by_experiment = averages_by_experiment(train, valid)
        curves = [np.zeros(MOST_TREES + 1) for _ in CANDIDATES]
        rows = 0
        for fold in valid:
            inner, test = train.take(fold.train), train.take(fold.test)
            course = Course.fit(inner, by_experiment=by_experiment)
            answers = (test.y - course.at(test))[test.scored]
            rows += len(answers)
            for curve, candidate in zip(curves, CANDIDATES, strict=True):
                booster = self._boost(inner, course, candidate, MOST_TREES)
                curve += np.abs(_staged(booster, _table(test, course)) - answers).sum(axis=1)
        means = [curve / rows for curve in curves]
        chosen = int(np.argmin([curve.min() for curve in means]))
        trees = int(np.argmin(means[chosen]))
        listen(f"inner MAE {100 * means[chosen][trees]:.2f} pp with {trees} trees")
        self.history = [
            {"trees": count, "leaves": candidate["num_leaves"], "valid_mae": float(error)}
            | {"least_rows": candidate["min_data_in_leaf"]}
            for curve, candidate in zip(means, CANDIDATES, strict=True)
            for count, error in enumerate(curve)
            if count % 10 == 0 or count == trees
        ]
        course = Course.fit(train, by_experiment=by_experiment)
        self.booster = self._boost(train, course, CANDIDATES[chosen], trees) if trees else None
        self.state |= {
            "course": asdict(course),
            "choices": {
                **CANDIDATES[chosen],
                "trees": trees,
                "by_experiment": by_experiment,
                "inner_mae": float(means[chosen][trees]),
            },
        }

    def _predict(self, data: Sequences) -> np.ndarray:
        course = Course(**self.state["course"])
        prediction = course.at(data)
        if self.booster is not None:
            prediction[data.scored] += self.booster.predict(_table(data, course), num_threads=1)
        return prediction

    def _boost(
        self, train: Sequences, course: Course, candidate: dict[str, Any], trees: int
    ) -> Any:  # noqa: ANN401 - lightgbm is imported when it is used
        lightgbm = _lightgbm()
        answers = (train.y - course.at(train))[train.scored]
        params = FIXED | candidate | {"seed": self.seed}
        dataset = lightgbm.Dataset(_table(train, course), answers, params={"verbosity": -1})
        return lightgbm.train(params, dataset, num_boost_round=trees)

    def save(self, folder: Path) -> None:
        """Write the choices as JSON and the trees in LightGBM's own text format."""
        super().save(folder)
        if self.booster is not None:
            text = self.booster.model_to_string()
            (folder / TREES_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Self:
        """Read what `save` wrote; see `Model.load`."""
        model = super().load(folder, device)
        if model.state["choices"]["trees"]:
            try:
                text = (folder / TREES_FILE).read_text(encoding="utf-8")
            except OSError as error:
                raise StoreError(
                    f"the saved trees cannot be read ({error})",
                    fix="train again",
                    file=folder / TREES_FILE,
                ) from error
            model.booster = _lightgbm().Booster(model_str=text)
        return model


def _table(data: Sequences, course: Course) -> np.ndarray:
    """Return the scored check-ups as rows: inputs, then the cell's departure so far."""
    off = departures(data, course.at(data))
    off = np.broadcast_to(off[:, None, :], (*data.mask.shape, off.shape[-1]))
    return np.asarray(np.concatenate([data.x, off], axis=-1)[data.scored])


def _staged(booster: Any, rows: np.ndarray) -> np.ndarray:  # noqa: ANN401 - see `_boost`
    """Return predictions after 0, 1, 2, ... trees: (trees + 1, row)."""
    leaves = np.asarray(booster.predict(rows, pred_leaf=True, num_threads=1), dtype=np.int64)
    leaves = leaves.reshape(len(rows), -1)
    staged = np.zeros((MOST_TREES + 1, len(rows)))
    for tree in range(leaves.shape[1]):
        values = {leaf: booster.get_leaf_output(tree, leaf) for leaf in np.unique(leaves[:, tree])}
        staged[tree + 1] = [values[leaf] for leaf in leaves[:, tree]]
    return np.asarray(np.cumsum(staged, axis=0))


def _lightgbm() -> ModuleType:
    try:
        import lightgbm
    except OSError as error:
        raise BatterykitError(
            f"LightGBM cannot start: the system has no OpenMP library ({error})",
            fix="install it (Debian, Ubuntu: apt-get install libgomp1; macOS: brew install libomp)",
        ) from error
    return lightgbm
