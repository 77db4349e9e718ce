"""The two simplest references: the training mean, and nothing changes any more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batterykit.learning.models.base import Listen, Model
from batterykit.learning.splits import Fold
from batterykit.learning.tasks import Sequences


class Dummy(Model):
    """Predicts the mean of the training cells' scored check-ups, whatever the input."""

    name = "dummy"

    def _fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen) -> None:
        del valid, listen
        self.state["mean"] = float(train.y[train.scored].mean())

    def _predict(self, data: Sequences) -> np.ndarray:
        return np.full(data.mask.shape, self.state["mean"])


class Persistence(Model):
    """Predicts the last value that the task gives away: in `estimate` that of RPT0."""

    name = "persistence"

    def _fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen) -> None:
        del train, valid, listen
        self.state["last"] = "given"

    def _predict(self, data: Sequences) -> np.ndarray:
        steps = np.arange(data.seen.shape[1])
        newest = np.where(np.isfinite(data.seen), steps, -1).max(axis=1)
        last = np.take_along_axis(data.seen, newest[:, None], axis=1)
        return np.repeat(last, len(steps), axis=1)
