"""The reference that is hard to beat: the training cells' mean at the same check-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batterykit.learning.models.base import Listen, Model
from batterykit.learning.splits import Fold
from batterykit.learning.tasks import Sequences


class MeanTrajectory(Model):
    """Predicts the training cells' mean at the same RPT; after their last one, its value."""

    name = "mean_trajectory"

    def _fit(self, train: Sequences, valid: Sequence[Fold], listen: Listen) -> None:
        del valid, listen
        reached = int(train.mask.any(axis=0).sum())
        total = np.where(train.mask, train.y, 0.0).sum(axis=0)
        count = train.mask.sum(axis=0)
        self.state["mean"] = (total[:reached] / count[:reached]).tolist()

    def _predict(self, data: Sequences) -> np.ndarray:
        mean = np.array(self.state["mean"])
        steps = np.minimum(np.arange(data.mask.shape[1]), len(mean) - 1)
        return np.broadcast_to(mean[steps], data.mask.shape)
