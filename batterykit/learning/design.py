"""What the learned models share: the mean course of ageing, and clean inputs, both fold-wise.

With a handful of training cells, how a new cell departs from their mean course can be learned and
the course itself cannot: ridge, LightGBM and the neural ODE therefore learn the departure. Every
number here is fitted on the training cells of one fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batterykit.learning.splits import Fold
from batterykit.learning.tasks import Sequences

AXIS = "charge_throughput"
TAIL = 0.2
"""Share of the axis whose slope carries the course on beyond the last training check-up."""


@dataclass(frozen=True)
class Course:
    """The training cells' mean course over charge throughput, from the target's value at RPT0.

    Increments are averaged, not levels, so that a cell that ends early leaves no jump behind.

    Attributes
    ----------
    grids, values
        By experiment number ("all": any other): throughput [Ah], rising; the course [1].
    """

    grids: dict[str, list[float]]
    values: dict[str, list[float]]

    @classmethod
    def fit(cls, train: Sequences, *, by_experiment: bool) -> Course:
        """Average the training cells, all together and, if asked, each experiment by itself."""
        groups = {"all": np.arange(len(train.cells))}
        if by_experiment:
            groups |= {
                str(number): np.flatnonzero(train.experiment == number)
                for number in np.unique(train.experiment)
            }
        grids, values = {}, {}
        for name, members in groups.items():
            grids[name], values[name] = _mean_course(train.take(members))
        return cls(grids, values)

    def at(self, data: Sequences) -> np.ndarray:
        """Return the course at every check-up, (cell, step), NaN where padded."""
        along = data.column(AXIS)
        result = np.full(along.shape, np.nan)
        for row, number in enumerate(data.experiment):
            name = str(number) if str(number) in self.grids else "all"
            grid, values = np.array(self.grids[name]), np.array(self.values[name])
            result[row] = np.interp(along[row], grid, values)
            reach = grid >= grid[-1] * (1 - TAIL)
            start = np.flatnonzero(reach)[0] if reach.sum() > 1 else len(grid) - 2
            slope = (values[-1] - values[start]) / (grid[-1] - grid[start])
            result[row] += slope * np.maximum(along[row] - grid[-1], 0)
        return np.where(data.mask, result, np.nan)


def averages_by_experiment(train: Sequences, inner: Sequence[Fold]) -> bool:
    """Return whether a course for each experiment errs less on the inner folds than one for all."""
    if len(np.unique(train.experiment)) == 1:
        return False
    errors = []
    for by_experiment in (False, True):
        parts = []
        for fold in inner:
            test = train.take(fold.test)
            course = Course.fit(train.take(fold.train), by_experiment=by_experiment)
            parts.append(np.abs(course.at(test) - test.y)[test.scored])
        errors.append(float(np.concatenate(parts).mean()))
    return errors[1] < errors[0]


def _mean_course(train: Sequences) -> tuple[list[float], list[float]]:
    along = train.column(AXIS)
    grid = np.unique(np.concatenate([[0.0], along[train.mask]]))
    levels = np.full((len(train.cells), len(grid)), np.nan)
    for row in range(len(train.cells)):
        own = train.mask[row]
        levels[row] = np.interp(
            grid,
            along[row, own],
            np.where(np.arange(own.sum()) == 0, train.origin, train.y[row, own]),
            right=np.nan,
        )
    steps = np.diff(levels, axis=1)
    mean = np.nanmean(steps, axis=0)
    return grid.tolist(), np.concatenate([[train.origin], train.origin + np.cumsum(mean)]).tolist()


@dataclass(frozen=True)
class Cleaner:
    """Imputes, standardises and limits features to what the training cells span.

    Attributes
    ----------
    names
        (feature) the features used; those never measured in training are left out.
    flagged
        Names that get a second column: 1 where the value was missing.
    median, mean, scale, low, high
        (feature) of the training rows; low and high of the standardised values. A value outside is
        moved to the limit: a fit to a handful of cells says nothing out there.
    """

    names: list[str]
    flagged: list[str]
    median: list[float]
    mean: list[float]
    scale: list[float]
    low: list[float]
    high: list[float]

    @classmethod
    def fit(cls, train: Sequences, names: Sequence[str], like: Cleaner | None = None) -> Cleaner:
        """Take medians, scales and limits from the training cells' scored rows.

        Parameters
        ----------
        train
            The training cells.
        names
            Features to use; those that were never measured are left out.
        like
            Use this one's features and flags instead, so that columns agree.
        """
        rows = train.x[train.scored]
        finite = np.isfinite(rows)
        if like is None:
            kept = [name for name in names if finite[:, train.names.index(name)].any()]
            flagged = [name for name in kept if not finite[:, train.names.index(name)].all()]
        else:
            kept, flagged = like.names, like.flagged
        values = rows[:, [train.names.index(name) for name in kept]]
        median = np.array(
            [np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else 0.0 for v in values.T]
        )
        filled = np.where(np.isfinite(values), values, median)
        mean, scale = filled.mean(axis=0), filled.std(axis=0)
        scale = np.where(scale > 1e-9 * np.maximum(np.abs(mean), 1e-9), scale, np.inf)
        standard = (filled - mean) / scale
        return cls(
            names=kept,
            flagged=flagged,
            median=median.tolist(),
            mean=mean.tolist(),
            scale=[value if np.isfinite(value) else 0.0 for value in scale],
            low=standard.min(axis=0).tolist(),
            high=standard.max(axis=0).tolist(),
        )

    def clean(self, data: Sequences) -> np.ndarray:
        """Return (cell, step, feature + flag) float64 without NaN; padded rows are meaningless."""
        values = data.x[:, :, [data.names.index(name) for name in self.names]]
        missing = ~np.isfinite(values)
        scale = np.array([value or np.inf for value in self.scale])
        standard = (np.where(missing, self.median, values) - self.mean) / scale
        flags = missing[:, :, [self.names.index(name) for name in self.flagged]]
        return np.concatenate([np.clip(standard, self.low, self.high), flags], axis=-1)


def departures(data: Sequences, course: np.ndarray) -> np.ndarray:
    """Return how far each cell's given check-ups lie from the course, (cell, 2).

    The last given one, and the mean of all given after RPT0; both 0 where only RPT0 is given.

    Parameters
    ----------
    data
        The cells; `seen` alone is used of their targets.
    course
        (cell, step) from `Course.at`.
    """
    off = np.where(np.isfinite(data.seen), data.seen - course, np.nan)
    off[:, 0] = np.nan
    known = np.isfinite(off)
    count = known.sum(axis=1)
    mean = np.where(known, off, 0).sum(axis=1) / np.maximum(count, 1)
    newest = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    last = np.where(count > 0, np.take_along_axis(off, newest[:, None], 1)[:, 0], 0.0)
    return np.stack([last, mean], axis=-1)
