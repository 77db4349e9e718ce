"""Scores of predictions, and how far they would move with other cells. Pure functions on arrays.

All take `true` and `predicted` of one shape, float64, in the target's unit, without NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BOOTSTRAP_DRAWS = 2000
Metric = Callable[[np.ndarray, np.ndarray], float]


def mae(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean absolute error [target's unit]."""
    return float(np.mean(np.abs(true - predicted)))


def rmse(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the root mean squared error [target's unit]."""
    return float(np.sqrt(np.mean((true - predicted) ** 2)))


def mape(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean absolute error relative to the true value [1]; NaN where one of them is 0."""
    if np.any(true == 0):
        return float("nan")
    return float(np.mean(np.abs((true - predicted) / true)))


def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the variance explained [1]; NaN where the true values do not vary."""
    total = np.sum((true - np.mean(true)) ** 2)
    return float(1 - np.sum((true - predicted) ** 2) / total) if total > 0 else float("nan")


METRICS: dict[str, Metric] = {"mae": mae, "rmse": rmse, "mape": mape, "r2": r2}


def scores(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return every metric of `METRICS` by name."""
    return {name: metric(true, predicted) for name, metric in METRICS.items()}


def skill(true: np.ndarray, predicted: np.ndarray, reference: np.ndarray) -> float:
    """Return 1 - MAE/MAE of the reference: 1 perfect, 0 no better, below 0 worse."""
    worst = mae(true, reference)
    return 1 - mae(true, predicted) / worst if worst > 0 else float("nan")


def cell_bootstrap(
    metric: Callable[..., float],
    cell: np.ndarray,
    *arrays: np.ndarray,
    seed: int,
    draws: int = BOOTSTRAP_DRAWS,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a metric when cells, not rows, are drawn anew.

    Rows of a cell are alike, so intervals from rows would be far too narrow. Draws whose metric is
    NaN do not count; NaN twice where none counts.

    Parameters
    ----------
    metric
        Takes `arrays` and returns a number.
    cell
        (row,) which cell each row belongs to.
    arrays
        (row,) each: true, predicted and, for `skill`, the reference.
    seed
        Of the draws.
    draws
        Number of draws.
    level
        Share of the draws inside the interval.

    Source
    ------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    generator = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(cell == name) for name in np.unique(cell)]
    values = []
    for _ in range(draws):
        chosen = generator.integers(len(rows_of), size=len(rows_of))
        rows = np.concatenate([rows_of[index] for index in chosen])
        values.append(metric(*(array[rows] for array in arrays)))
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
