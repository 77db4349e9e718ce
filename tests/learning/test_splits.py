"""Splits: no cell on both sides, every cell tested once, inner folds inside the training cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.errors import UsageError
from batterykit.learning.splits import MOST_INNER_FOLDS, inner_folds, outer_folds
from batterykit.learning.tasks import Sequences
from tests.learning.cells import made_raw, sequences

chambers = st.lists(st.sampled_from([10.0, 25.0, 40.0]), min_size=3, max_size=24)
splits = st.sampled_from(["loco", "temperature"])


def cells_at(temperatures: list[float]) -> Sequences:
    """Cells without any check-up worth mentioning, aged at these temperatures."""
    n = len(temperatures)
    empty = np.zeros((n, 1))
    return Sequences(
        task="estimate",
        target="soh",
        cells=tuple(f"E5-{number}" for number in range(n)),
        experiment=np.full(n, 5),
        temperature=np.array(temperatures),
        names=(),
        units=(),
        x=np.zeros((n, 1, 0)),
        y=empty,
        seen=empty,
        mask=empty == 0,
        scored=empty == 0,
        time=empty,
    )


def outer_or_none(data: Sequences, split: str) -> list:
    try:
        return outer_folds(data, split)
    except UsageError:
        return []


@given(chambers, splits)
def test_no_cell_is_on_both_sides_of_a_fold(temperatures: list[float], split: str) -> None:
    for fold in outer_or_none(cells_at(temperatures), split):
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) | set(fold.test) == set(range(len(temperatures)))
        assert len(fold.train) >= 2


@given(chambers, splits)
def test_every_cell_is_tested_exactly_once(temperatures: list[float], split: str) -> None:
    folds = outer_or_none(cells_at(temperatures), split)
    if folds:
        tested = np.concatenate([fold.test for fold in folds])
        assert sorted(tested) == list(range(len(temperatures)))


@given(chambers, splits)
def test_inner_folds_test_every_training_cell_once_and_never_train_on_it(
    temperatures: list[float], split: str
) -> None:
    data = cells_at(temperatures)
    for fold in outer_or_none(data, split):
        train = data.take(fold.train)
        inner = inner_folds(train, split)
        assert len(inner) <= max(MOST_INNER_FOLDS, 3)
        assert sorted(np.concatenate([f.test for f in inner])) == list(range(len(train.cells)))
        for one in inner:
            assert not set(one.train) & set(one.test)
            assert len(one.train) >= 1


@given(chambers)
def test_the_temperature_split_never_trains_on_the_tested_temperature(
    temperatures: list[float],
) -> None:
    data = cells_at(temperatures)
    for fold in outer_or_none(data, "temperature"):
        assert not set(data.temperature[fold.train]) & set(data.temperature[fold.test])
        assert len(set(data.temperature[fold.test])) == 1


def test_inner_folds_of_the_temperature_split_hold_out_a_training_temperature() -> None:
    train = cells_at([10.0, 10.0, 25.0, 25.0])
    assert [fold.test.tolist() for fold in inner_folds(train, "temperature")] == [[0, 1], [2, 3]]


def test_few_cells_one_temperature_and_unknown_splits_are_refused() -> None:
    with pytest.raises(UsageError, match="too few to leave one out"):
        outer_folds(cells_at([10.0, 25.0]), "loco")
    with pytest.raises(UsageError, match="no temperature can be held out"):
        outer_folds(cells_at([10.0, 10.0, 10.0]), "temperature")
    with pytest.raises(UsageError, match="fewer than 2 training cells"):
        outer_folds(cells_at([10.0, 25.0, 25.0]), "temperature")
    with pytest.raises(UsageError, match="no split 'random'"):
        outer_folds(cells_at([10.0, 25.0, 25.0]), "random")


def test_loco_folds_are_named_after_the_cell_that_they_test() -> None:
    data = sequences(made_raw(cells=3))
    assert [fold.name for fold in outer_folds(data, "loco")] == ["E5-A", "E5-B", "E5-C"]
