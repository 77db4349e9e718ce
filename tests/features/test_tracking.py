"""Peaks of dQ/dV keep their names."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.features.ica import ica
from batterykit.features.options import IcaOptions
from batterykit.features.tracking import align
from tests.features.data import STEPS, Step, curves, discharge


def crossing(rpts: int = 9) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two peaks that drift and cross in height half way."""
    pairs = []
    for age in np.linspace(0, 1, rpts):
        low = Step(3.50 + 0.03 * age, 0.02, 1.4 - 0.9 * age)
        high = Step(3.70 + 0.05 * age, 0.02, 0.5 + 0.9 * age)
        pairs.append(discharge([low, high], noise=5e-4))
    return pairs


def test_peaks_that_cross_in_height_keep_their_names() -> None:
    features = ica(curves(crossing()), IcaOptions(peaks=2))
    height, voltage = features["peak_height"].values, features["peak_voltage"].values
    assert height[0, 0] > height[0, 1]
    assert height[-1, 0] < height[-1, 1]
    np.testing.assert_allclose(voltage[:, 0], np.linspace(3.50, 3.53, 9), atol=0.003)
    np.testing.assert_allclose(voltage[:, 1], np.linspace(3.70, 3.75, 9), atol=0.003)


def test_an_absent_peak_is_nan_and_flagged_and_its_neighbours_keep_their_names() -> None:
    three = [Step(3.4, 0.02, 0.8), Step(3.6, 0.02, 0.6), Step(3.8, 0.02, 0.8)]
    without = [three[0], three[2]]
    pairs = [discharge(steps, noise=2e-4) for steps in (three, without, three)]
    features = ica(curves(pairs), IcaOptions(peaks=3))
    assert features["peak_present"].values.tolist() == [[True] * 3, [True, False, True], [True] * 3]
    for name in ("voltage", "height", "width", "area"):
        assert np.isnan(features[f"peak_{name}"].values[1, 1])


def test_a_peak_missing_in_a_fresh_cell_does_not_rename_the_others_of_another_cell() -> None:
    three = [Step(3.4, 0.02, 0.8), Step(3.6, 0.02, 0.6), Step(3.8, 0.02, 0.8)]
    pairs = [discharge([three[0], three[2]]), discharge(three)]
    features = ica(curves(pairs, cells=["E5-A", "E5-B"], rpts=[0, 0]), IcaOptions(peaks=3))
    np.testing.assert_allclose(features["peak_voltage"].values[0], [3.4, np.nan, 3.8], atol=0.003)
    np.testing.assert_allclose(features["peak_voltage"].values[1], [3.4, 3.6, 3.8], atol=0.003)


def test_names_do_not_depend_on_the_order_of_the_curves() -> None:
    raw = [*crossing(5), *crossing(5)]
    cells, rpts = ["E5-A"] * 5 + ["E5-B"] * 5, [*range(5), *range(5)]
    features = ica(curves(raw, cells, rpts))
    order = np.random.default_rng(3).permutation(10)
    shuffled = ica(
        curves([raw[k] for k in order], [cells[k] for k in order], [rpts[k] for k in order])
    )
    np.testing.assert_array_equal(
        shuffled["peak_voltage"].values, features["peak_voltage"].values[order]
    )


def test_of_more_peaks_than_wanted_the_most_prominent_stay() -> None:
    features = ica(curves([discharge()]), IcaOptions(peaks=2))
    tallest = sorted(STEPS, key=lambda s: s.charge / s.width)[-2:]
    expected = sorted(s.voltage for s in tallest)
    np.testing.assert_allclose(features["peak_voltage"].values[0], expected, atol=0.003)


def test_a_peak_that_appears_late_has_the_same_name_in_cells_that_aged_differently() -> None:
    def ageing(speed: float) -> list[tuple[np.ndarray, np.ndarray]]:
        pairs = []
        for rpt in range(5):
            moved = speed * rpt
            steps = [Step(3.40 + moved, 0.015, 0.6), Step(3.80 + moved, 0.015, 0.6)]
            late = [Step(3.60 + moved, 0.015, 0.4)] if rpt >= 3 else []
            pairs.append(discharge([*steps, *late]))
        return pairs

    pairs = ageing(0.002) + ageing(0.025)
    cells, rpts = ["E5-A"] * 5 + ["E5-B"] * 5, [*range(5)] * 2
    present = ica(curves(pairs, cells, rpts), IcaOptions(peaks=3))["peak_present"].values
    assert present.tolist() == ([[True, False, True]] * 3 + [[True] * 3] * 2) * 2


ASCENDING = st.lists(st.floats(0, 1), max_size=5, unique=True).map(sorted)


@given(before=ASCENDING, after=ASCENDING, tolerance=st.floats(0.01, 0.5))
def test_alignment_is_the_cheapest_of_all_that_keep_the_order(
    before: list[float], after: list[float], tolerance: float
) -> None:
    def cost(pairs: list[tuple[int, int]]) -> float:
        paired = sum(abs(before[i] - after[j]) for i, j in pairs)
        return paired + 0.5 * tolerance * (len(before) + len(after) - 2 * len(pairs))

    every = (
        list(zip(left, right, strict=True))
        for n in range(min(len(before), len(after)) + 1)
        for left in itertools.combinations(range(len(before)), n)
        for right in itertools.combinations(range(len(after)), n)
    )
    found = align(before, after, tolerance)
    assert cost(found) == pytest.approx(min(map(cost, every)))
    assert all(abs(before[i] - after[j]) <= tolerance + 1e-12 for i, j in found)
