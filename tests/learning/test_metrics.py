"""Metrics against scikit-learn, skill by hand, intervals by what they must do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics

from batterykit.learning import metrics

pairs = arrays(
    np.float64,
    st.tuples(st.integers(2, 30), st.just(2)),
    elements=st.floats(0.01, 2.0),
    unique=True,
)


@given(pairs)
def test_every_metric_is_that_of_scikit_learn(pair: np.ndarray) -> None:
    true, predicted = pair.T
    found = metrics.scores(true, predicted)
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(true, predicted))
    assert found["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(true, predicted))
    assert found["mape"] == pytest.approx(
        sklearn_metrics.mean_absolute_percentage_error(true, predicted)
    )
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(true, predicted))


def test_what_is_not_defined_is_nan_and_not_a_number_made_up() -> None:
    assert np.isnan(metrics.mape(np.array([0.0, 1.0]), np.array([0.1, 1.0])))
    assert np.isnan(metrics.r2(np.array([0.9, 0.9]), np.array([0.8, 0.9])))
    assert np.isnan(metrics.skill(np.ones(2), np.zeros(2), reference=np.ones(2)))


def test_skill_is_1_for_a_perfect_and_0_for_the_reference_itself() -> None:
    true, reference = np.array([0.9, 0.8, 0.7]), np.array([0.8, 0.8, 0.8])
    assert metrics.skill(true, true, reference) == 1
    assert metrics.skill(true, reference, reference) == 0
    assert metrics.skill(true, 2 * reference - true, reference) == pytest.approx(-1)


def test_the_cell_bootstrap_of_equal_cells_has_no_width() -> None:
    true, cell = np.tile([0.9, 0.8], 3), np.repeat([0, 1, 2], 2)
    low, high = metrics.cell_bootstrap(metrics.mae, cell, true, true + 0.01, seed=0)
    assert low == pytest.approx(0.01)
    assert high == pytest.approx(0.01)


def test_the_cell_bootstrap_matches_all_resamples_of_three_cells() -> None:
    errors = np.array([0.0, 0.1, 0.4])
    every = [np.mean(errors[[a, b, c]]) for a in range(3) for b in range(3) for c in range(3)]
    cell = np.repeat([0, 1, 2], 5)
    true = np.zeros(15)
    found = metrics.cell_bootstrap(
        metrics.mae, cell, true, np.repeat(errors, 5), seed=1, draws=20_000, level=0.8
    )
    assert found == pytest.approx(np.quantile(every, [0.1, 0.9]), abs=1e-9)


def test_the_cell_bootstrap_is_wider_than_one_of_rows() -> None:
    random = np.random.default_rng(0)
    errors = np.repeat(random.uniform(0, 1, 6), 20)
    cells = metrics.cell_bootstrap(metrics.mae, np.repeat(range(6), 20), 0 * errors, errors, seed=0)
    rows = metrics.cell_bootstrap(metrics.mae, np.arange(120), 0 * errors, errors, seed=0)
    assert cells[1] - cells[0] > 2 * (rows[1] - rows[0])


def test_the_same_seed_draws_the_same_interval() -> None:
    random = np.random.default_rng(0)
    true, predicted, cell = random.normal(size=30), random.normal(size=30), np.arange(30) // 5
    first = metrics.cell_bootstrap(metrics.rmse, cell, true, predicted, seed=3)
    assert first == metrics.cell_bootstrap(metrics.rmse, cell, true, predicted, seed=3)


@pytest.mark.filterwarnings("error")
def test_a_metric_that_no_draw_defines_has_no_interval() -> None:
    cell = np.repeat([0, 1, 2], 4)
    zeros = np.zeros(12)
    found = metrics.cell_bootstrap(metrics.skill, cell, zeros, zeros, zeros, seed=0)
    assert np.isnan(found).all()
