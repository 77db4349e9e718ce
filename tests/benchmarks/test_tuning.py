from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import Accuracy, Estimate
from benchmarks.methods import PEERS, Outcome
from benchmarks.tuning import GRIDS, score, with_prominence


def test_what_just_meets_every_bar_scores_one_for_each() -> None:
    assert score(Accuracy(0.014, 5e-4, 3e-3, 0.99, 0.02, 3.0)) == pytest.approx(5)


def test_a_method_without_any_peak_scores_worst() -> None:
    assert score(Accuracy(0.01, float("nan"), float("nan"), 0.0, 0.0, 3.0)) == np.inf


def test_peaks_of_less_prominence_are_left_out() -> None:
    estimate = Estimate(np.empty(0), np.empty(0), np.array([3.2, 3.6, 3.9]))
    outcome = Outcome(np.zeros(1, int), np.ones(1), [estimate], [np.array([0.01, 0.9, 0.05])])
    [left] = with_prominence(outcome, 0.05).estimates
    assert left.peaks.tolist() == [3.6, 3.9]


def test_every_peer_has_a_grid() -> None:
    assert set(GRIDS) == set(PEERS)
