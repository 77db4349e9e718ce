"""Sequences: each cell on its own time grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.features.options import SequenceOptions
from batterykit.features.sequence import sequence
from batterykit.features.summary import FLAGS
from tests.features.data import NAN, raw_summary

DAYS = SequenceOptions(clock="days")
THROUGHPUT = SequenceOptions(clock="throughput")
SHORT = {
    "charge_throughput": [[0.0, 100.0, 400.0]],
    "days_of_degradation": [[NAN, 10.0, 30.0]],
    "age_set_temperature": [[NAN, 10.0, 40.0]],
    "resistance_0p1s": [[0.026, NAN, 0.028]],
}


def one_cell(
    options: SequenceOptions = DAYS, **columns: list[list[float]]
) -> dict[str, np.ndarray]:
    raw = raw_summary(["E5-A"], n_rpt=[3], **(SHORT | columns))
    features = sequence(raw, options)
    return {str(name): values.values[0] for name, values in features.data_vars.items()}


@pytest.mark.parametrize(
    ("options", "unit", "expected"), [(DAYS, "d", [0, 10, 30]), (THROUGHPUT, "Ah", [0, 100, 400])]
)
def test_the_time_grid_counts_days_or_ah_from_zero(
    options: SequenceOptions, unit: str, expected: list[float]
) -> None:
    assert one_cell(options)["time"].tolist() == expected
    assert sequence(raw_summary(), options)["time"].attrs["units"] == unit


def test_each_cell_keeps_its_own_grid() -> None:
    raw = raw_summary(days_of_degradation=[[NAN, 10, 30, 31], [NAN, 7, 9, 100]])
    assert sequence(raw)["time"].values.tolist() == [[0, 10, 30, 31], [0, 7, 9, 100]]


def test_intervals_stand_at_the_check_up_that_ends_them() -> None:
    result = one_cell()
    np.testing.assert_array_equal(result["interval_days"], [NAN, 10, 20])
    np.testing.assert_array_equal(result["interval_throughput"], [NAN, 100, 300])
    np.testing.assert_array_equal(result["interval_temperature"], [NAN, 10, 40])


def test_resistance_carries_its_age_on_the_same_clock() -> None:
    assert one_cell(DAYS)["resistance_age"].tolist() == [0, 10, 0]
    assert one_cell(THROUGHPUT)["resistance_age"].tolist() == [0, 100, 0]


def test_a_check_up_whose_time_is_unknown_is_masked_and_flagged() -> None:
    result = one_cell(days_of_degradation=[[NAN, NAN, 30.0]])
    assert result["mask"].tolist() == [True, False, True]
    np.testing.assert_array_equal(result["time"], [0, NAN, 30])
    assert result["quality_flag"][1] & FLAGS["days_missing"]


def test_a_check_up_that_goes_back_in_time_is_masked_and_flagged() -> None:
    result = one_cell(days_of_degradation=[[NAN, 10.0, 10.0]])
    assert result["mask"].tolist() == [True, True, False]
    assert result["quality_flag"][2] & FLAGS["days_not_increasing"]


@given(st.lists(st.one_of(st.just(NAN), st.floats(-10, 100)), min_size=3, max_size=8))
def test_masked_times_start_at_zero_and_rise_strictly_whatever_the_record_says(
    days: list[float],
) -> None:
    raw = raw_summary(["E5-A"], n_rpt=[len(days)], days_of_degradation=[days])
    features = sequence(raw)
    time = features["time"].values[0][features["mask"].values[0]]
    assert time[0] == 0
    assert (np.diff(time) > 0).all()


def test_past_a_cells_last_check_up_nothing_is_known() -> None:
    features = sequence(raw_summary(n_rpt=[2, 4]))
    assert not features["mask"].values[0, 2:].any()
    assert np.isnan(features["interval_days"].values[0, 2:]).all()
