from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import Estimate, assess, find_truth, match, measure_dqdv_error

VOLTAGE = np.arange(2.5, 4.2, 1e-4)
TALL, LOW, TINY = (3.6, 0.04, 10.0), (3.9, 0.03, 1.0), (3.2, 0.02, 0.05)  # [V], [V], [Ah/V]
NONE = np.empty(0)


def hills(*peaks: tuple[float, float, float]) -> np.ndarray:
    return sum(h * np.exp(-0.5 * ((VOLTAGE - v) / w) ** 2) for v, w, h in peaks)


TRUTH = find_truth(VOLTAGE, hills(TALL, LOW, TINY))


def test_true_peaks_are_those_of_five_percent_and_tiny_ones_are_known() -> None:
    np.testing.assert_allclose(TRUTH.peaks, [3.6, 3.9], atol=1e-4)
    np.testing.assert_allclose(TRUTH.maxima, [3.2, 3.6, 3.9], atol=1e-4)


def test_the_truth_may_come_in_any_order() -> None:
    falling = find_truth(VOLTAGE[::-1], hills(TALL, LOW, TINY)[::-1])
    np.testing.assert_array_equal(falling.peaks, TRUTH.peaks)


def test_the_truth_itself_has_no_error() -> None:
    found = assess([TRUTH], [Estimate(VOLTAGE, TRUTH.dqdv, TRUTH.peaks)])
    assert found.dqdv_error == pytest.approx(0, abs=1e-12)
    assert (found.peak_error_median, found.recall, found.false_peaks) == (0, 1, 0)


def test_a_shift_is_the_peak_error_and_a_constant_share_of_the_range_the_dqdv_error() -> None:
    raised = TRUTH.dqdv + 0.1  # [Ah/V], of a range of 10
    found = assess([TRUTH], [Estimate(VOLTAGE, raised, TRUTH.peaks + np.array([0.003, -0.005]))])
    assert found.dqdv_error == pytest.approx(0.01, rel=1e-3)
    assert found.peak_error_median == pytest.approx(0.004)
    assert found.recall == 1


def test_a_peak_beyond_the_tolerance_is_missed_and_false() -> None:
    found = assess([TRUTH], [Estimate(VOLTAGE, TRUTH.dqdv, np.array([3.6, 3.95]))])
    assert found.recall == pytest.approx(0.5)
    assert found.false_peaks == 1


def test_a_tiny_true_maximum_may_be_found_but_need_not() -> None:
    for peaks in ([3.2, 3.6, 3.9], [3.6, 3.9]):
        found = assess([TRUTH], [Estimate(VOLTAGE, TRUTH.dqdv, np.array(peaks))])
        assert (found.recall, found.false_peaks) == (1, 0)


def test_absent_peaks_are_no_peaks() -> None:
    found = assess([TRUTH], [Estimate(VOLTAGE, TRUTH.dqdv, np.array([3.6, np.nan]))])
    assert (found.recall, found.false_peaks) == (0.5, 0)


def test_pairs_are_made_one_to_one_and_nearest_first() -> None:
    one_for_two = match(np.array([3.600, 3.610]), np.array([3.608]))
    np.testing.assert_allclose(one_for_two, [0.002])
    chain = match(np.array([3.600, 3.610]), np.array([3.608, 3.616]))
    np.testing.assert_allclose(chain, [0.002, 0.016])
    assert len(match(NONE, np.array([3.6]))) == len(match(np.array([3.6]), NONE)) == 0


def test_leaving_out_a_difficult_end_does_not_pay() -> None:
    truth = find_truth(VOLTAGE, hills(TALL) + 5 * (VOLTAGE - 2.5))
    inside = VOLTAGE < 4.0
    assert measure_dqdv_error(truth, Estimate(VOLTAGE[inside], truth.dqdv[inside], NONE)) > 0.01


def test_what_is_not_finite_is_ignored_and_nothing_at_all_has_no_error_to_tell() -> None:
    gaps = np.where(np.arange(len(VOLTAGE)) % 3, TRUTH.dqdv, np.nan)
    assert measure_dqdv_error(TRUTH, Estimate(VOLTAGE, gaps, NONE)) < 1e-5
    assert np.isnan(measure_dqdv_error(TRUTH, Estimate(NONE, NONE, NONE)))
