"""The mean course and the cleaner: fitted on training cells alone, never making things up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from batterykit.learning.design import Cleaner, Course, averages_by_experiment, departures
from batterykit.learning.splits import inner_folds
from batterykit.learning.tasks import Sequences
from tests.learning.cells import made_raw, sequences


def together(*parts: Sequences) -> Sequences:
    """Cells of several sequences of one length, one after the other."""
    first = parts[0]
    names = ("experiment", "temperature", "x", "y", "seen", "mask", "scored", "time")
    return replace(
        first,
        cells=tuple(cell for part in parts for cell in part.cells),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
    )


def test_the_course_of_cells_with_one_grid_is_their_mean() -> None:
    data = sequences(made_raw())
    column = data.names.index("charge_throughput")
    data.x[:, :, column] = data.x[:1, :, column]
    course = Course.fit(data, by_experiment=False).at(data)
    np.testing.assert_allclose(course, np.broadcast_to(data.y.mean(axis=0), course.shape))


def test_a_cell_that_ends_early_leaves_no_jump_in_the_course() -> None:
    data = sequences(made_raw(cells=2, rpts=8))
    data.y[1] -= np.where(np.arange(8) > 0, 0.05, 0)
    data.mask[1, 4:] = data.scored[1, 4:] = False
    course = Course.fit(data, by_experiment=False).at(data)[0]
    steps = np.diff(course)
    np.testing.assert_allclose(steps[4:], np.diff(data.y[0])[4:], rtol=0.2)


def test_past_the_last_training_check_up_the_course_goes_on_falling() -> None:
    data = sequences(made_raw(rpts=10))
    short = replace(data, mask=data.mask & (np.arange(10) < 7))
    beyond = Course.fit(short, by_experiment=False).at(data)[:, 7:]
    assert (np.diff(beyond, axis=1) < 0).all()


def test_a_course_for_each_experiment_is_chosen_where_experiments_differ() -> None:
    one = sequences(made_raw(cells=4))
    other = replace(sequences(made_raw(cells=4, seed=1, experiment=2)), cells=tuple("WXYZ"))
    other = replace(other, y=1 - 2 * (1 - other.y))
    both = together(one, other)
    assert averages_by_experiment(both, inner_folds(both, "loco"))
    alike = together(one, replace(one, cells=tuple("WXYZ"), experiment=one.experiment - 1))
    assert not averages_by_experiment(alike, inner_folds(alike, "loco"))
    assert not averages_by_experiment(one, inner_folds(one, "loco"))


def test_missing_inputs_become_the_training_median_and_a_flag_never_zero() -> None:
    data = sequences(made_raw())
    column = data.names.index("mean_voltage")
    data.x[:, :, column] = np.arange(36).reshape(6, 6)
    data.x[0, 1, column] = np.nan
    train = data.take([0, 1, 2])
    cleaner = Cleaner.fit(train, ["mean_voltage"])
    median = np.nanmedian(train.x[train.scored][:, column])
    assert cleaner.median == [median]
    clean = cleaner.clean(data)
    assert clean.shape == (6, 6, 2)
    np.testing.assert_allclose(clean[0, 1, 0] * cleaner.scale[0] + cleaner.mean[0], median)
    assert clean[0, 1, 1] == 1
    assert clean[1:, 1:, 1].sum() == 0


def test_inputs_outside_of_what_training_spans_are_moved_to_its_limit() -> None:
    data = sequences(made_raw())
    train = data.take([1, 4])
    cleaner = Cleaner.fit(train, ["temperature_cell", "days"])
    clean = cleaner.clean(data)
    assert clean[data.scored].min(axis=0) == pytest.approx(cleaner.low)
    assert clean[data.scored].max(axis=0) == pytest.approx(cleaner.high)


def test_an_input_that_does_not_vary_in_training_says_nothing() -> None:
    data = sequences(made_raw())
    cleaner = Cleaner.fit(data.take([1, 4]), ["temperature_cell"])
    assert (cleaner.clean(data)[data.scored] == 0).all()


def test_an_input_never_measured_in_training_is_left_out() -> None:
    data = sequences(made_raw())
    data.x[:3, :, data.names.index("mean_voltage")] = np.nan
    assert Cleaner.fit(data.take([0, 1, 2]), ["mean_voltage", "days"]).names == ["days"]


def test_departures_come_from_the_given_check_ups_alone_and_are_0_in_estimate() -> None:
    forecast = sequences(made_raw(), task="forecast", context=3)
    course = np.full(forecast.y.shape, 0.9)
    given = forecast.y[:, 1:3] - 0.9
    found = departures(forecast.hidden(), course)
    np.testing.assert_allclose(found[:, 0], given[:, 1])
    np.testing.assert_allclose(found[:, 1], given.mean(axis=1))
    assert (departures(sequences(made_raw()), course) == 0).all()
