"""Which cells train and which are scored; a cell is never on both sides of a fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batterykit.errors import UsageError
from batterykit.learning.tasks import Sequences

SPLITS = {
    "loco": "leave one cell out",
    "temperature": "leave one chamber temperature out",
}
MOST_INNER_FOLDS = 6


@dataclass(frozen=True)
class Fold:
    """One way to divide cells: indices into the cells of a `Sequences`, int64, sorted."""

    name: str
    train: np.ndarray
    test: np.ndarray


def outer_folds(data: Sequences, split: str) -> list[Fold]:
    """Return the folds of a split; every cell is tested exactly once.

    Parameters
    ----------
    data
        The cells to divide.
    split
        `loco`: one fold a cell, named after it. `temperature`: one fold a chamber temperature
        ("train 10+40, test 25" and each other direction).

    Raises
    ------
    UsageError
        Unknown split, or too few cells or temperatures for it.
    """
    if split == "loco":
        if len(data.cells) < 3:
            raise UsageError(
                f"{len(data.cells)} cell(s) are too few to leave one out and tune on the rest",
                fix="ingest at least 3 cells, or name more experiments with --expt",
            )
        return _folds(np.arange(len(data.cells)), list(data.cells))
    if split == "temperature":
        values, group = np.unique(data.temperature, return_inverse=True)
        if len(values) < 2:
            raise UsageError(
                f"all cells were aged at {values[0]:g} degC, so no temperature can be held out",
                fix="use --split loco, or name more experiments with --expt",
            )
        folds = _folds(group, [f"{value:g}degC" for value in values])
        if min(len(fold.train) for fold in folds) < 2:
            raise UsageError(
                "holding out one temperature leaves fewer than 2 training cells",
                fix="use --split loco, or name more experiments with --expt",
            )
        return folds
    raise UsageError(f"there is no split '{split}'", fix=f"use one of {', '.join(SPLITS)}")


def inner_folds(train: Sequences, split: str) -> list[Fold]:
    """Return the folds inside the training cells that tune a model and stop it early.

    They repeat in small what the outer split asks: with `temperature` a training temperature is
    held out (one cell, where only one temperature is left), else one cell, or a sixth of them
    dealt out so that every fold has each experiment and temperature.

    Parameters
    ----------
    train
        The training cells of one outer fold.
    split
        The outer split.
    """
    if split == "temperature":
        values, group = np.unique(train.temperature, return_inverse=True)
        if len(values) > 1:
            return _folds(group, [f"inner {value:g}degC" for value in values])
    order = np.lexsort((np.array(train.cells), train.temperature, train.experiment))
    count = min(len(order), MOST_INNER_FOLDS)
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.arange(len(order)) % count
    return _folds(group, [f"inner {number}" for number in range(count)])


def _folds(group: np.ndarray, names: list[str]) -> list[Fold]:
    return [
        Fold(name, np.flatnonzero(group != number), np.flatnonzero(group == number))
        for number, name in enumerate(names)
    ]
