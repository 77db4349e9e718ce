"""R(SOC) against the resistance that made the pulses, and what it does to the peaks of dQ/dV."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batterykit import halfcell
from batterykit.datasets import twin
from batterykit.datasets.ingest import ingest
from batterykit.features.ica import analyse
from batterykit.features.resistance import (
    SOC,
    profiles,
    pulse_resistances,
    refine,
    smooth_profile,
)
from batterykit.store import Store
from tests.features.data import NAN, curves, raw_summary

CAPACITY = 4.8  # [Ah]
REST = 1800.0  # [s]


def true_resistance(soc: np.ndarray) -> np.ndarray:
    """[Ohm]: flat, and rising towards the empty cell."""
    return 0.05 + 0.15 * np.exp(-soc / 0.05)


def open_circuit(soc: np.ndarray) -> np.ndarray:
    """[V]: smooth and bent, from 2.8 V to 4.2 V."""
    return 3.4 + 0.7 * soc + 0.05 * np.sin(9 * soc) - 0.6 * np.exp(-soc / 0.03) + 0.08 * soc**8


class PulseTest(NamedTuple):
    """Samples of one pulse test [s, V, A, Ah]."""

    time: np.ndarray
    voltage: np.ndarray
    current: np.ndarray
    charge: np.ndarray


def pulse_test(
    pulses: int = 25,
    current: float = 0.5,
    noise: float = 0.0,
    growth: float = 1.0,
    span: tuple[float, float] = (1.0, 0.0),
    slow: tuple[float, float] = (0.0, 1.0),
    sampling: float = 30.0,
    seed: int = 0,
) -> PulseTest:
    """A discharge from one SOC to another in pulses with rests.

    `slow` is the share of the overpotential that comes and goes exponentially, and its time
    constant [s]; the rest of it comes and goes at once.
    """
    length = abs(span[0] - span[1]) * CAPACITY / current * 3600 / pulses
    share, tau = slow
    columns: list[np.ndarray] = []
    begin, passed, built_up = 0.0, 0.0, 0.0
    for number in range(2 * pulses + 1):
        loaded = number % 2 == 1
        duration = length if loaded else REST
        t = np.concatenate([[0.1], np.arange(sampling, duration - 1, sampling), [duration]])
        q = passed + (current * t / 3600 if loaded else 0 * t)
        built = loaded + (built_up - loaded) * np.exp(-t / tau)
        soc = span[0] - q / CAPACITY
        lost = current * growth * true_resistance(soc) * ((1 - share) * loaded + share * built)
        i = np.full(len(t), -current if loaded else 0.0)
        columns.append(np.stack([begin + t, open_circuit(soc) - lost, i, q]))
        begin, passed, built_up = begin + duration, q[-1], built[-1]
    time, voltage, i, charge = np.concatenate(columns, axis=1)
    return PulseTest(
        time, voltage + np.random.default_rng(seed).normal(0, noise, len(time)), i, charge
    )


def node(
    tests: Sequence[PulseTest], rpts: Sequence[int] | None = None, cell: str = "E5-A"
) -> xr.Dataset:
    raw = curves([(t.voltage, t.charge) for t in tests], [cell] * len(tests), rpts)
    for name in ("time", "current"):
        joined = np.concatenate([np.empty(0), *(getattr(t, name) for t in tests)])
        raw[name] = ("sample", joined, raw[name].attrs)
    return raw


def summary(resistance: Sequence[float], capacity: float = CAPACITY) -> xr.Dataset:
    return raw_summary(
        ["E5-A"],
        n_rpt=[len(resistance)],
        resistance_0p1s=[resistance],
        capacity_c10=[[capacity] * len(resistance)],
    )


def known(
    rpt: int, resistance: Sequence[float], pulses: xr.Dataset | None, factor: float = 2.0
) -> xr.Dataset:
    return profiles(["E5-A"], [rpt], summary(resistance), pulses, factor).isel(curve=0)


# -- one pulse --------------------------------------------------------------------------------


def test_the_resistance_is_the_one_that_made_the_pulse_at_the_soc_of_its_end() -> None:
    test = pulse_test()
    found = pulse_resistances(*test[:3], 1 - test.charge / CAPACITY)
    np.testing.assert_allclose(found.soc, 1 - np.arange(1, 26) / 25, atol=1e-9)
    np.testing.assert_allclose(found.resistance, true_resistance(found.soc), rtol=0.01)
    np.testing.assert_allclose(found.current, 0.5)


def test_all_of_an_overpotential_that_relaxes_slowly_is_counted() -> None:
    tau = 200.0
    test = pulse_test(slow=(0.6, tau))
    found = pulse_resistances(*test[:3], 1 - test.charge / CAPACITY)
    # what has built up by the end of a pulse of 1382 s, less what is left at the end of the rest
    pulse = CAPACITY / 25 / 0.5 * 3600
    seen = 0.4 + 0.6 * (1 - np.exp(-pulse / tau))
    flat = found.soc > 0.3
    np.testing.assert_allclose(
        found.resistance[flat], seen * true_resistance(found.soc[flat]), rtol=0.01
    )


@pytest.mark.parametrize("noise", [2e-4, 1e-3])
def test_standard_errors_are_those_that_the_noise_makes(noise: float) -> None:
    scores = []
    for seed in range(12):
        test = pulse_test(noise=noise, seed=seed)
        found = pulse_resistances(*test[:3], 1 - test.charge / CAPACITY)
        scores.append((found.resistance - true_resistance(found.soc)) / found.error)
    assert 0.3 < np.std(scores) < 1.3  # errors never fall below 1 % of the resistance
    assert abs(np.mean(scores)) < 0.3


@pytest.mark.parametrize("charging", [False, True])
def test_a_pulse_in_either_direction_has_a_positive_resistance(charging: bool) -> None:
    test = pulse_test(noise=2e-4)
    if charging:  # the mirror image: current, overpotential and SOC the other way round
        test = PulseTest(test.time, 7 - test.voltage, -test.current, test.charge)
    found = pulse_resistances(*test[:3], 1 - test.charge / CAPACITY)
    assert len(found.resistance) == 25
    assert (found.resistance > 0.04).all()


def test_a_spike_of_the_current_and_a_ramp_between_pulse_and_rest_do_no_harm() -> None:
    test = pulse_test()
    current = test.current.copy()
    current[7] = -40.0
    ends = np.flatnonzero((current[:-1] != 0) & (current[1:] == 0))
    current[ends + 1] = -0.1  # the cycler is still on its way to zero
    found = pulse_resistances(test.time, test.voltage, current, 1 - test.charge / CAPACITY)
    assert len(found.resistance) >= 24
    np.testing.assert_allclose(found.resistance, true_resistance(found.soc), rtol=0.01)


# -- the profile ------------------------------------------------------------------------------


def test_without_noise_the_profile_is_within_2_percent() -> None:
    profile = known(0, [0.026], node([pulse_test(), pulse_test(5)], [0, 0]))
    assert profile["resistance_source"] == "pulses"
    assert float(profile["pulse_current"]) == pytest.approx(0.5)
    measured = SOC >= 0.15
    np.testing.assert_allclose(
        profile["resistance"][measured], true_resistance(SOC[measured]), rtol=0.02
    )
    assert float(profile["resistance"][0]) == pytest.approx(0.2, rel=0.02)


def test_with_a_millivolt_of_noise_the_profile_is_within_3_percent() -> None:
    tests = [pulse_test(n, noise=1e-3, seed=k) for k in range(8) for n in (25, 5)]
    rpts = [k for k in range(8) for _ in (25, 5)]
    found = profiles(["E5-A"] * 8, range(8), summary([0.026] * 8), node(tests, rpts), 1.0)
    measured = SOC >= 0.15
    error = found["resistance"].values[:, measured] / true_resistance(SOC[measured]) - 1
    assert np.sqrt((error**2).mean()) < 0.03


def test_outside_the_pulses_the_profile_keeps_its_end_values() -> None:
    half = pulse_test(12, span=(1.0, 0.52))
    resistance = known(0, [0.026], node([half]))["resistance"].values
    np.testing.assert_allclose(resistance[SOC <= 0.52], resistance[SOC >= 0.52][0], rtol=0.01)
    assert resistance[-1] == pytest.approx(resistance[SOC <= 0.96][-1], rel=0.01)


def test_two_parts_in_two_files_are_one_profile() -> None:
    parts = [pulse_test(12, span=(1.0, 0.52)), pulse_test(13, span=(0.52, 0.0))]
    parts[1].voltage[-70] = 2.5  # the cut-off: the charge of the second part is counted from here
    found = known(0, [0.026], node(parts, [0, 0]))["resistance"].values
    whole = known(0, [0.026], node([pulse_test()]))["resistance"].values
    np.testing.assert_allclose(found[SOC > 0.1], whole[SOC > 0.1], rtol=0.02)


def test_of_pulses_at_several_currents_the_slowest_are_used() -> None:
    tests = [pulse_test(current=2.5, growth=0.8), pulse_test(current=0.5)]
    found = known(0, [0.026], node(tests, [0, 0]))
    assert float(found["pulse_current"]) == pytest.approx(0.5)
    assert float(found["resistance"][20]) == pytest.approx(0.05, rel=0.01)
    only_fast = known(0, [0.026], node(tests[:1], [0]))
    assert float(only_fast["pulse_current"]) == pytest.approx(2.5)


def test_the_curves_own_charge_tells_the_soc_where_the_summary_has_no_capacity() -> None:
    test = pulse_test()
    test.voltage[-70] = 2.5
    found = profiles(["E5-A"], [0], summary([0.026], NAN), node([test]), 1.0)
    assert found["resistance_source"].values.tolist() == ["pulses"]
    assert float(found["resistance"][0, 0]) == pytest.approx(0.2, rel=0.05)


@settings(deadline=None, max_examples=50)
@given(
    soc=st.lists(st.floats(-0.02, 1.02), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
    error=st.floats(1e-4, 1.0),
)
@example(soc=[1.0, 0.0, 1.192092896e-07], seed=0, error=0.25)
def test_any_pulses_give_a_positive_finite_profile(
    soc: list[float], seed: int, error: float
) -> None:
    resistance = np.exp(np.random.default_rng(seed).normal(-3, 1, len(soc)))
    profile = smooth_profile(np.array(soc), resistance, error * resistance)
    assert profile.shape == SOC.shape
    assert (np.isfinite(profile) & (profile > 0)).all()
    assert (profile <= 3.01 * resistance.max()).all()
    assert (profile >= resistance.min() / 3.01).all()


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.1, 10))
def test_scaling_the_pulses_scales_the_profile(scale: float) -> None:
    soc = np.linspace(0, 1, 26)
    one = true_resistance(soc) * np.random.default_rng(1).normal(1, 0.02, 26)
    np.testing.assert_allclose(
        smooth_profile(soc, scale * one, scale * 0.02 * one),
        scale * smooth_profile(soc, one, 0.02 * one),
        rtol=1e-6,
    )


def test_refined_profiles_pass_through_the_nodes_and_follow_the_curve_between() -> None:
    coarse = np.stack([true_resistance(SOC), np.full(41, 0.05), np.zeros(41), np.full(41, NAN)])
    fine = refine(coarse, 10)
    assert fine.shape == (4, 401)
    np.testing.assert_allclose(fine[:, ::10], coarse)
    np.testing.assert_allclose(fine[0], true_resistance(np.linspace(0, 1, 401)), rtol=0.005)
    np.testing.assert_allclose(fine[1], 0.05)
    assert (fine[2] == 0).all()


# -- where the resistance comes from ----------------------------------------------------------


@pytest.mark.parametrize(
    ("rpt", "source", "origin", "level"),
    [
        (0, "none", NAN, NAN),
        (1, "summary", 1, 2 * 0.020),
        (2, "pulses", 2, 0.05),
        (3, "pulses_scaled", 2, 0.05),  # no newer 0.1 s resistance than at the pulses
        (4, "pulses_scaled", 2, 0.05 * 0.030 / 0.025),
        (5, "pulses_scaled", 2, 0.05 * 0.030 / 0.025),
        (9, "pulses_scaled", 2, 0.05 * 0.030 / 0.025),  # past the summary
    ],
)
def test_the_newest_pulses_come_first_then_older_ones_scaled_then_the_summary(
    rpt: int, source: str, origin: float, level: float
) -> None:
    resistance = [NAN, 0.020, 0.025, NAN, 0.030, NAN]
    found = known(rpt, resistance, node([pulse_test()], [2]))
    assert found["resistance_source"] == source
    np.testing.assert_equal(float(found["resistance_rpt"]), origin)
    assert float(found["resistance"][30]) == pytest.approx(level, rel=0.01, nan_ok=True)
    assert np.isnan(float(found["pulse_current"])) == (not source.startswith("pulses"))


def test_the_last_resistance_is_carried_forward_times_the_factor() -> None:
    found = profiles(["E5-A"] * 4, range(4), summary([0.02, NAN, 0.03, NAN]), None, 1.5)
    assert found["resistance_source"].values.tolist() == ["summary"] * 4
    expected = [0.03, 0.03, 0.045, 0.045]
    np.testing.assert_allclose(
        found["resistance"], np.repeat(np.array(expected)[:, None], 41, axis=1)
    )


def test_where_the_growth_is_unknown_earlier_pulses_are_taken_as_they_are() -> None:
    found = known(2, [NAN, NAN, 0.04], node([pulse_test()], [0]))
    assert found["resistance_source"] == "pulses_scaled"
    assert float(found["resistance"][30]) == pytest.approx(0.05, rel=0.01)


@settings(deadline=None, max_examples=25)
@given(
    later=st.lists(st.sampled_from([NAN, 0.02, 0.09, -1.0]), min_size=3, max_size=3),
    pulses_at=st.sets(st.integers(3, 5)),
)
def test_nothing_measured_later_changes_what_is_known_now(
    later: list[float], pulses_at: set[int]
) -> None:
    resistance = [0.02, NAN, 0.025]
    now = profiles(["E5-A"] * 3, range(3), summary(resistance), node([quick_test()], [1]), 2.0)
    rpts = [1, *pulses_at]
    tests = [quick_test(), *(pulse_test(5, growth=3.0, sampling=300) for _ in pulses_at)]
    then = profiles(["E5-A"] * 3, range(3), summary(resistance + later), node(tests, rpts), 2.0)
    xr.testing.assert_identical(now, then)


@lru_cache
def quick_test() -> PulseTest:
    return pulse_test(5, sampling=300)


@pytest.mark.parametrize("bad", [0.0, -0.03, np.inf, NAN])
def test_a_resistance_that_is_not_positive_and_finite_is_as_good_as_none(bad: float) -> None:
    assert known(0, [bad], None)["resistance_source"] == "none"
    assert np.isnan(known(0, [bad], None)["resistance"].values).all()
    found = known(1, [0.02, bad], None)
    assert float(found["resistance"][0]) == pytest.approx(0.04)
    scaled = known(1, [0.02, bad], node([pulse_test()], [0]))
    assert float(scaled["resistance"][30]) == pytest.approx(0.05, rel=0.01)


def broken(name: str) -> PulseTest:
    whole = pulse_test()
    first_rest, first_pulse = slice(0, 61), slice(61, 108)
    return {
        "empty": PulseTest(*(column[:0] for column in whole)),
        "one sample": PulseTest(*(column[:1] for column in whole)),
        "not a number": whole._replace(voltage=np.full_like(whole.voltage, NAN)),
        "no current": whole._replace(current=0 * whole.current),
        "no rests": PulseTest(*(column[whole.current != 0] for column in whole)),
        "one rest": PulseTest(*(column[first_rest] for column in whole)),
        "one pulse": PulseTest(*(column[first_pulse] for column in whole)),
        "broken off": PulseTest(*(column[:200] for column in whole)),
        "time stands still": whole._replace(time=0 * whole.time),
        "neither full nor empty": pulse_test(10, span=(0.8, 0.3)),
        "voltage rises under load": whole._replace(voltage=8.0 - whole.voltage),
        "more charge than the cell holds": whole._replace(charge=2 * whole.charge),
        "a charge": whole._replace(current=-whole.current),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "empty", "one sample", "not a number", "no current", "no rests", "one rest", "one pulse",
        "broken off", "time stands still", "neither full nor empty", "voltage rises under load",
        "more charge than the cell holds", "a charge",
    ],
)  # fmt: skip
def test_pulse_tests_that_cannot_be_used_are_left_aside(name: str) -> None:
    found = known(0, [0.026], node([broken(name)]))
    assert found["resistance_source"] == "summary"
    assert float(found["resistance"][0]) == pytest.approx(0.052)
    with_good = known(2, [0.026] * 3, node([pulse_test(), broken(name)], [0, 2]))
    assert with_good["resistance_source"] == "pulses_scaled"
    beside_good = known(0, [0.026], node([pulse_test(), broken(name)], [0, 0]))
    assert beside_good["resistance_source"] == "pulses"
    assert float(beside_good["resistance"][30]) == pytest.approx(0.05, rel=0.01)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0, 0.5),
    column=st.sampled_from(["time", "voltage", "current", "charge"]),
)
def test_no_samples_whatever_raise_or_give_a_resistance_below_zero(
    seed: int, share: float, column: str
) -> None:
    generator = np.random.default_rng(seed)
    test = pulse_test(8, sampling=120)
    values = getattr(test, column).copy()
    wild = generator.random(len(values)) < share
    values[wild] = generator.choice([NAN, np.inf, -np.inf, 0.0, 1e300, -5.0], wild.sum())
    with np.errstate(all="ignore"):
        found = known(0, [0.026], node([test._replace(**{column: values})]))["resistance"].values
    assert (np.isfinite(found) & (found > 0)).all()


def test_unknown_cells_and_other_cells_pulses_give_nothing() -> None:
    found = profiles(
        ["E5-B", "E5-A"], [0, 0], summary([NAN]), node([pulse_test()], cell="E5-C"), 2.0
    )
    assert found["resistance_source"].values.tolist() == ["none", "none"]


def test_no_curves_give_an_empty_dataset_with_its_nodes() -> None:
    found = profiles([], [], summary([0.02]), None, 2.0)
    assert dict(found.sizes) == {"curve": 0, "soc": 41}


@pytest.mark.parametrize("factor", [-1.0, NAN, np.inf])
def test_a_factor_that_makes_no_sense_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="factor"):
        profiles(["E5-A"], [0], summary([0.02]), None, factor)


def test_cells_and_check_ups_belong_together() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        profiles(["E5-A"], [0, 1], summary([0.02]), None, 1.0)


def test_every_number_says_its_unit() -> None:
    for values in known(0, [0.02], None).variables.values():
        assert values.dtype.kind != "f" or "units" in values.attrs


# -- what it is for: resistance growing by half and nothing else ----------------------------------

FRESH, GROWN = 26.4e-3, 39.6e-3  # [Ohm] after 0.1 s
SAMPLES = 35_000


def mean_cell(resistance: float) -> halfcell.Electrodes:
    graphite = halfcell.MEAN_NE * halfcell.MEAN_GRAPHITE_FRACTION
    values: tuple[Any, ...] = (
        halfcell.MEAN_PE, graphite, halfcell.MEAN_NE - graphite, halfcell.MEAN_OFFSET, resistance,
    )  # fmt: skip
    return halfcell.Electrodes(*map(np.float64, values))


def gitt_of(cell: halfcell.Electrodes, pulses: int, noise: float, seed: int) -> PulseTest:
    """What the half-cells give: at rest the open circuit, in a pulse the C/10 curve."""
    balance = halfcell.solve_balance(cell)
    full = float(balance.capacity)
    shape = pulse_test(pulses)
    charge = shape.charge * full / CAPACITY
    lithiated = balance.ne_hi - np.minimum(charge, full) / cell.negative
    potential = halfcell.negative_potential(lithiated, cell.graphite_fraction)
    voltage = np.where(
        shape.current == 0,
        halfcell.terminal_voltage(potential, cell, loaded=False),
        halfcell.terminal_voltage(potential, cell),
    )
    voltage += np.random.default_rng(seed).normal(0, noise, len(voltage))
    return shape._replace(voltage=voltage, charge=charge)


def shifts(noise: float, how: str, factor: float = 1.0) -> np.ndarray:
    """Return how far each of the fresh cell's true peaks appears to move [V], median of 5 noises.

    `how` is "raw", "pulses" (GITT at both check-ups) or "summary" (the 0.1 s resistance only).
    """
    cells = [mean_cell(FRESH), mean_cell(GROWN)]
    true = [halfcell.simulate_discharge(cell) for cell in cells]
    peaks = twin.true_peaks(true[0])
    own = summary([FRESH, GROWN])
    own["capacity_c10"][:] = [[one.charge[-1] for one in true]]
    moved = []
    for seed in range(5):
        tests = [gitt_of(c, n, noise, 100 * seed + n) for c in cells for n in (25, 5)]
        pulses = node(tests, [0, 0, 1, 1]) if how == "pulses" else None
        found = profiles(["E5-A"] * 2, [0, 1], own, pulses, factor)
        fine = refine(found["resistance"].values * (how != "raw"))
        pairs = []
        for k, one in enumerate(true):
            charge = np.linspace(0, one.charge[-1], SAMPLES)
            voltage = np.interp(charge, one.charge, one.voltage)
            voltage += np.random.default_rng(10 * seed + k).normal(0, noise, SAMPLES)
            soc = 1 - charge / charge[-1]
            pairs.append(
                (voltage + 0.5 * np.interp(soc, np.linspace(0, 1, fine.shape[1]), fine[k]), charge)
            )
        features = analyse(curves(pairs, rpts=[0, 1]))
        first, then = features["candidate_voltage"].values
        lifted = 0.5 * float(found["resistance"][0, 20]) if how != "raw" else 0.0
        at = first[[np.nanargmin(np.abs(first - v - lifted)) for v in peaks[:, 0]]]
        moved.append([then[np.nanargmin(np.abs(then - v))] - v for v in at])
    return np.median(moved, axis=0)[peaks[:, 2] > 0.3]  # the others are lost in the noise


@pytest.mark.parametrize("noise", [1e-4, 2e-4])
def test_pulses_keep_every_peak_within_1_mv_where_the_raw_ones_move_by_13(noise: float) -> None:
    raw, corrected = 1e3 * shifts(noise, "raw"), 1e3 * shifts(noise, "pulses")
    assert len(raw) >= 5
    assert ((raw > -14.5) & (raw < -12.5)).all()
    assert np.abs(corrected).max() <= 1.0


@pytest.mark.parametrize(("factor", "left"), [(1.0, -6.6), (2.0, 0.0)])
def test_of_the_summary_alone_factor_1_leaves_half_and_factor_2_nothing(
    factor: float, left: float
) -> None:
    np.testing.assert_allclose(1e3 * shifts(1e-4, "summary", factor), left, atol=1.0)


# -- through the twin, ingest and the store --------------------------------------------------------


def test_the_twins_gitt_files_give_the_resistance_that_the_twin_has(tmp_path: Path) -> None:
    twin.write_twin(tmp_path / "twin", cells=1, sampling=600.0, experiments=[4], gitt=True)
    store = Store.open_or_create(tmp_path / "store.zarr")
    ingest(store, tmp_path / "twin", [4])
    raw, own = (store.read(f"raw/expt4/{what}") for what in ("curves/GITT", "summary"))
    truth = xr.open_dataset(tmp_path / "twin" / "truth" / "electrodes.nc").sel(cell="E4-A")
    found = profiles(["E4-A"] * 10, range(10), own, raw, 2.0)
    assert found["resistance_source"].values.tolist() == ["pulses", "pulses_scaled"] * 5
    plateau = np.median(found["resistance"].values[::2], axis=1)
    expected = halfcell.DC_PER_PULSE_RESISTANCE * truth["resistance_0p1s"].values[:10:2]
    np.testing.assert_allclose(plateau, expected, rtol=0.05)
    np.testing.assert_allclose(found["pulse_current"], 0.5, rtol=1e-3)
