"""dQ/dV against its analytic truth and its peaks against scipy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from scipy.signal import peak_prominences, peak_widths

from batterykit.errors import UsageError
from batterykit.features.ica import CURVE_FLAGS, analyse, ica
from batterykit.features.kernels import spread_charge
from batterykit.features.options import IcaOptions
from tests.features.data import (
    STEPS,
    Step,
    charge_below,
    curves,
    discharge,
    true_dqdv,
)

NARROW = IcaOptions(kernel_width=0.01)


def inner(features: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The grid and dQ/dV of the first curve where it has samples."""
    voltage, dqdv = features["voltage"].values, features["dqdv"].values[0]
    here = np.isfinite(dqdv) & (voltage < 4.18)
    return voltage[here], dqdv[here]


# -- accuracy ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "noise", "bar"),
    [(4_000, 0.0, 0.1), (4_000, 1e-4, 0.2), (4_000, 1e-3, 0.7), (36_000, 1e-3, 0.3)],
)
def test_dqdv_follows_the_analytic_derivative(samples: int, noise: float, bar: float) -> None:
    voltage, dqdv = inner(ica(curves([discharge(samples=samples, noise=noise)])))
    truth = true_dqdv(voltage)
    error = np.sqrt(np.mean((dqdv - truth) ** 2))
    assert 100 * error / truth.max() < bar  # per cent of the tallest peak


@pytest.mark.parametrize(("samples", "noise"), [(4_000, 1e-4), (36_000, 1e-3)])
def test_exactly_the_true_peaks_are_found_within_3_mv(samples: int, noise: float) -> None:
    pairs = [discharge(samples=samples, noise=noise, seed=seed) for seed in range(8)]
    features = ica(curves(pairs, rpts=range(8)))
    fine = np.linspace(2.6, 4.15, 200_001)
    truth = true_dqdv(fine)
    tops = fine[1:-1][(truth[1:-1] > truth[:-2]) & (truth[1:-1] > truth[2:])]
    assert len(tops) == len(STEPS)
    found = features["peak_voltage"].values
    assert (features["peak_present"].values.sum(axis=1) == len(STEPS)).all()
    assert np.abs(found[:, : len(tops)] - tops).max() < 0.003


def test_peak_height_and_area_are_those_of_the_step() -> None:
    lone = [Step(3.6, 0.02, 1.0)]
    features = ica(curves([discharge(lone, samples=20_000)]))
    peak = features.isel(curve=0, peak=0)
    assert float(peak["peak_height"]) == pytest.approx(1.0 / (4 * 0.02) + 0.4, rel=2e-3)
    # all of the step's charge, and the background over the whole curve
    whole = charge_below(np.array([2.5, 4.18]), lone)
    assert float(peak["peak_area"]) == pytest.approx(whole[1] - whole[0], rel=2e-3)
    # full width at half maximum of a logistic peak: 2 ln(3 + sqrt 8) times its width
    assert float(peak["peak_width"]) == pytest.approx(2 * np.log(3 + 8**0.5) * 0.02, rel=5e-3)


def test_a_sharp_top_on_a_broad_plateau_is_not_drawn_to_the_plateaus_middle() -> None:
    plateau = [Step(3.59, 0.035, 0.9), Step(3.55, 0.007, 0.05), Step(3.64, 0.007, 0.06)]
    features = ica(curves([discharge(plateau, samples=36_000, noise=5e-4)]))
    fine = np.linspace(3.5, 3.7, 20_001)
    truth = true_dqdv(fine, plateau)
    tops = fine[1:-1][(truth[1:-1] > truth[:-2]) & (truth[1:-1] > truth[2:])]
    found = features["candidate_voltage"].values[0]
    for sharp in (tops[0], tops[-1]):
        assert np.nanmin(np.abs(found - sharp)) < 0.002


def test_the_silicon_region_is_part_of_the_window() -> None:
    features = ica(curves([discharge(noise=1e-3, samples=36_000)]))
    silicon = features["peak_voltage"].values[0, 0]
    assert silicon == pytest.approx(STEPS[0].voltage, abs=0.003)


def test_candidates_have_the_prominence_and_width_that_scipy_gives() -> None:
    features = analyse(curves([discharge(samples=36_000, noise=1e-3)]))
    voltage, dqdv = inner(features)
    step = voltage[1] - voltage[0]
    found = features.isel(curve=0).dropna("candidate", subset=["candidate_voltage"])
    near = np.searchsorted(voltage + step / 2, found["candidate_voltage"].values)
    tops = np.array([k - 12 + np.argmax(dqdv[k - 12 : k + 13]) for k in near])
    prominence = peak_prominences(dqdv, tops)
    np.testing.assert_allclose(found["candidate_prominence"], prominence[0])
    width = peak_widths(dqdv, tops, rel_height=0.5, prominence_data=prominence)[0] * step
    np.testing.assert_allclose(found["candidate_width"], width, rtol=1e-9)


def test_areas_of_neighbouring_peaks_add_up_to_the_charge() -> None:
    features = ica(curves([discharge()]))
    areas = np.nansum(features["peak_area"].values)
    assert areas == pytest.approx(float(features["charge_in_window"][0]), rel=2e-3)


# -- properties -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    low=st.floats(2.32, 3.6), width=st.floats(0.2, 0.6), noise=st.sampled_from([0.0, 1e-4, 1e-3])
)
def test_area_over_any_window_is_the_charge_passed_in_it(
    low: float, width: float, noise: float
) -> None:
    voltage, charge = discharge(noise=noise)
    options = IcaOptions(window=(low, low + width))
    features = analyse(curves([(voltage, charge)]), options)
    n = features.sizes["voltage"]
    # of each straight segment, the share inside the window
    a, b = np.minimum(voltage[1:], voltage[:-1]), np.maximum(voltage[1:], voltage[:-1])
    share = np.clip(np.minimum(b, low + width) - np.maximum(a, low), 0, None)
    passed = float((np.diff(charge) * share / (b - a)).sum())
    area = float(np.nansum(features["dqdv"].values)) * width / n
    assert area == pytest.approx(passed, rel=1e-9)


@settings(deadline=None, max_examples=20)
@given(shift=st.floats(-0.5, 0.5))
def test_shifting_the_voltage_shifts_the_peaks_and_nothing_else(shift: float) -> None:
    voltage, charge = discharge(noise=1e-4)
    here = analyse(curves([(voltage, charge)]), NARROW)
    options = NARROW.model_copy(update={"window": (2.5 + shift, 4.2 + shift)})
    there = analyse(curves([(voltage + shift, charge)]), options)
    # rounding can move the bins at the curve's ends (4.18 V and 2.5 V) between two estimates
    np.testing.assert_allclose(there["dqdv"], here["dqdv"], atol=0.05)
    away_from_ends = slice(40, 1640)
    np.testing.assert_allclose(
        there["dqdv"].values[0, away_from_ends],
        here["dqdv"].values[0, away_from_ends],
        rtol=1e-4,
    )
    for name, moved in {"voltage": shift, "height": 0.0, "width": 0.0, "area": 0.0}.items():
        a, b = here[f"candidate_{name}"].values, there[f"candidate_{name}"].values
        np.testing.assert_allclose(b, a + moved, rtol=1e-3, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-100, 100))
def test_scaling_the_charge_scales_dqdv_and_an_offset_does_nothing(
    factor: float, offset: float
) -> None:
    voltage, charge = discharge(noise=1e-4)
    one = analyse(curves([(voltage, charge)]))
    other = analyse(curves([(voltage, charge * factor + offset)]))
    tolerance = 1e-9 + 1e-10 * abs(offset) / factor  # what adding the offset rounds away
    np.testing.assert_allclose(
        other["dqdv"].values / factor, one["dqdv"].values, rtol=1e-6, atol=1e4 * tolerance
    )
    np.testing.assert_allclose(
        other["candidate_voltage"], one["candidate_voltage"], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_charge_and_discharge_along_the_same_line_have_the_same_dqdv(noise: float) -> None:
    voltage, charge = discharge(noise=noise)
    back = voltage[::-1], (charge[-1] - charge)[::-1]
    one, other = (analyse(curves([pair]))["dqdv"].values for pair in ((voltage, charge), back))
    # the noise is estimated on blocks from the other end, so the kernels differ a little
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=0.01 if noise else 0.0)


def test_samples_in_another_order_give_the_same_result_and_a_flag() -> None:
    voltage, charge = discharge(noise=1e-3)
    order = np.random.default_rng(1).permutation(len(charge))
    one = analyse(curves([(voltage, charge)]))
    other = analyse(curves([(voltage[order], charge[order])]))
    np.testing.assert_array_equal(one["dqdv"], other["dqdv"])
    assert other["quality_flag"].values[0] & CURVE_FLAGS["not_in_order_of_charge"]


@settings(deadline=None, max_examples=200)
@given(
    voltage=arrays(float, st.integers(0, 40), elements=st.floats(allow_nan=True)),
    charge=arrays(float, 40, elements=st.floats(-10, 10) | st.floats()),
    rising=st.booleans(),
)
def test_no_curve_whatever_raises_or_gives_an_infinite_value(
    voltage: np.ndarray, charge: np.ndarray, rising: bool
) -> None:
    charge = charge[: len(voltage)]
    features = ica(curves([(voltage, np.sort(charge) if rising else charge)]))
    for name, values in features.data_vars.items():
        assert not np.isinf(values.values.astype(float)).any(), name


@pytest.mark.parametrize(
    ("voltage", "charge", "flag"),
    [
        ([], [], "too_few_samples"),
        ([3.5] * 100, [1.0] * 100, "too_few_samples"),
        (np.linspace(4.1, 4.0, 500), np.linspace(0, 1, 500), "window_not_covered"),
        (np.linspace(5.1, 5.0, 500), np.linspace(0, 1, 500), "too_few_samples"),
        (np.r_[np.linspace(4.2, 2.5, 500), np.nan], np.linspace(0, 1, 501), "samples_dropped"),
    ],
)
def test_a_curve_that_cannot_be_trusted_says_why(
    voltage: np.ndarray, charge: np.ndarray, flag: str
) -> None:
    features = ica(curves([(np.asarray(voltage), np.asarray(charge))]))
    assert features["quality_flag"].values[0] & CURVE_FLAGS[flag]


def test_outside_the_samples_dqdv_is_unknown_not_zero() -> None:
    features = ica(curves([discharge(ends=(3.2, 4.0))]))
    known = np.isfinite(features["dqdv"].values[0])
    voltage = features["voltage"].values
    assert not known[(voltage < 3.195) | (voltage > 4.005)].any()
    assert known[(voltage > 3.205) & (voltage < 3.995)].all()
    assert float(features["window_coverage"][0]) == pytest.approx(0.8 / 1.7, abs=1e-3)


@pytest.mark.parametrize("noise", [1e-4, 5e-4, 2e-3])
def test_noise_is_estimated_from_the_curve(noise: float) -> None:
    features = analyse(curves([discharge(samples=10_000, noise=noise)]))
    assert float(features["noise"][0]) == pytest.approx(noise, rel=0.1)


def test_interrupted_current_is_counted_and_flagged() -> None:
    raw = curves([discharge()])
    raw["current"][1000:1010] = 0.0
    features = analyse(raw)
    assert float(features["current_steps"][0]) == 2
    assert features["quality_flag"].values[0] & CURVE_FLAGS["several_current_steps"]


@pytest.mark.parametrize("other", [-1.5, 0.5])
def test_another_current_without_a_pause_is_a_new_step(other: float) -> None:
    raw = curves([discharge()])
    raw["current"][1000:2000] = other
    features = analyse(raw)
    assert float(features["current_steps"][0]) == 3
    assert features["quality_flag"].values[0] & CURVE_FLAGS["several_current_steps"]


@pytest.mark.parametrize("width", [0.03, 0.05, 0.1, 0.2])
def test_a_wider_kernel_makes_fewer_peaks_not_more(width: float) -> None:
    raw = curves([discharge(samples=2_000, noise=1e-3)])
    found = np.isfinite(analyse(raw, IcaOptions(kernel_width=width))["candidate_voltage"]).sum()
    assert 1 <= int(found) <= len(STEPS) + 2


@settings(deadline=None, max_examples=40)
@given(
    voltage=arrays(float, 30, elements=st.floats(2.0, 5.0)),
    charge=arrays(float, 30, elements=st.floats(0, 1)),
)
def test_spreading_charge_over_bins_loses_none(voltage: np.ndarray, charge: np.ndarray) -> None:
    passed = np.cumsum(charge)
    bins = spread_charge(voltage, passed, 1.9, 0.01, 320)
    assert bins.sum() == pytest.approx(passed[-1] - passed[0], rel=1e-9, abs=1e-12)


@given(wild=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20))
def test_voltages_beyond_any_grid_put_no_charge_anywhere_else(wild: list[float]) -> None:
    passed = np.arange(float(len(wild)))
    bins = spread_charge(np.array(wild), passed, 2.5, 0.01, 170)
    assert (bins >= -1e-12).all()  # rounding
    assert bins.sum() <= passed[-1] + 1e-9


def test_any_number_of_threads_gives_the_same_numbers() -> None:
    raw = curves([discharge(seed=k, noise=1e-3) for k in range(20)], rpts=range(20))
    assert ica(raw, threads=1).identical(ica(raw, threads=2))


# -- what the samples may look like -----------------------------------------------------------


@pytest.mark.parametrize("resolution", [1e-3, 2e-3])
def test_a_coarse_voltage_reading_makes_no_peaks_of_its_own(resolution: float) -> None:
    voltage, charge = discharge(samples=4_000)
    features = ica(curves([(np.round(voltage / resolution) * resolution, charge)]))
    assert int(features["peak_present"].sum()) == len(STEPS)
    grid, dqdv = inner(features)
    truth = true_dqdv(grid)
    assert 100 * np.sqrt(np.mean((dqdv - truth) ** 2)) / truth.max() < 0.6


@settings(deadline=None, max_examples=20)
@given(samples=st.integers(3_000, 40_000), other=st.integers(3_000, 40_000))
def test_the_sampling_rate_does_not_matter(samples: int, other: int) -> None:
    one, two = (inner(ica(curves([discharge(samples=n)]))) for n in (samples, other))
    tallest = true_dqdv(one[0]).max()
    np.testing.assert_allclose(np.interp(one[0], *two), one[1], atol=3e-3 * tallest)


def test_the_order_of_samples_at_one_charge_or_of_equal_voltage_does_not_matter() -> None:
    voltage, charge = discharge(samples=2_000, noise=1e-3)
    voltage = np.round(voltage, 3)
    rng = np.random.default_rng(0)
    order = np.arange(len(voltage))
    for level in np.unique(voltage):  # each voltage's samples among themselves
        alike = np.flatnonzero(voltage == level)
        order[alike] = rng.permutation(alike)
    one = analyse(curves([(voltage, charge)]))
    other = analyse(curves([(voltage[order], charge[order])]))
    np.testing.assert_array_equal(one["dqdv"], other["dqdv"])


def test_a_curve_written_backwards_in_charge_gives_the_same_and_says_so() -> None:
    voltage, charge = discharge(noise=1e-3)
    one = analyse(curves([(voltage, charge)]))
    back = analyse(curves([(voltage[::-1], charge[::-1])]))
    np.testing.assert_array_equal(one["dqdv"], back["dqdv"])
    assert back["quality_flag"].values[0] & CURVE_FLAGS["not_in_order_of_charge"]


# -- dV/dQ ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "noise", "bar"), [(4_000, 1e-4, 0.6), (36_000, 1e-3, 1.6)])
def test_dvdq_is_one_over_the_analytic_dqdv(samples: int, noise: float, bar: float) -> None:
    voltage, charge = discharge(samples=samples, noise=noise)
    features = analyse(curves([(voltage, charge)])).isel(curve=0)
    exact, at = discharge(samples=100_001)
    truth = 1 / true_dqdv(np.interp(features["charge"].values, at, exact))
    inside = slice(10, -10)
    error = np.sqrt(np.mean((features["dvdq"].values - truth)[inside] ** 2))
    assert 100 * error / np.ptp(truth[inside]) < bar


def test_dvdq_adds_up_to_the_voltage_of_the_curve() -> None:
    voltage, charge = discharge()
    features = analyse(curves([(voltage, charge)])).isel(curve=0)
    step = float(features["charge_passed"]) / features.sizes["depth"]
    assert float(features["dvdq"].sum()) * step == pytest.approx(voltage[0] - voltage[-1], rel=1e-3)


# -- the ohmic drop ---------------------------------------------------------------------------


def with_drop(resistance: np.ndarray) -> xr.Dataset:
    """A discharge at 0.5 A that loses current times resistance (soc), empty to full [Ohm]."""
    voltage, charge = discharge(samples=20_000, noise=1e-4)
    soc = 1 - charge / charge[-1]
    drop = 0.5 * np.interp(soc, np.linspace(0, 1, len(resistance)), resistance)
    raw = curves([(voltage - drop, charge)])
    raw["resistance"] = ("curve", "soc"), resistance[None, :], {"units": "Ohm"}
    return raw


CORRECTED = IcaOptions(ir_correct=True)


@pytest.mark.parametrize(
    "resistance", [np.full(41, 0.05), 0.05 + 0.03 * np.exp(-np.linspace(0, 1, 41) / 0.1)]
)
def test_without_the_ohmic_drop_the_peaks_are_where_they_are_at_rest(
    resistance: np.ndarray,
) -> None:
    at_rest = analyse(with_drop(np.zeros(41)))["candidate_voltage"].values[0, : len(STEPS)]
    raw = analyse(with_drop(resistance))["candidate_voltage"].values[0, : len(STEPS)]
    corrected = analyse(with_drop(resistance), CORRECTED)["candidate_voltage"].values[0]
    assert np.abs(raw - at_rest).min() > 0.02
    np.testing.assert_allclose(corrected[: len(STEPS)], at_rest, atol=5e-4)


def test_a_charge_is_corrected_to_the_other_side() -> None:
    voltage, charge = discharge(samples=20_000, noise=1e-4)
    raw = curves([(voltage[::-1] + 0.5 * 0.05, charge)], direction="charge")
    raw["current"] = -raw["current"]
    raw["resistance"] = ("curve", "soc"), np.full((1, 41), 0.05), {"units": "Ohm"}
    corrected = analyse(raw, CORRECTED)["candidate_voltage"].values[0, : len(STEPS)]
    at_rest = analyse(with_drop(np.zeros(41)))["candidate_voltage"].values[0, : len(STEPS)]
    np.testing.assert_allclose(corrected, at_rest, atol=5e-4)


def test_the_full_end_is_that_of_higher_voltage_however_the_charge_is_counted() -> None:
    resistance = 0.05 + 0.03 * np.exp(-np.linspace(0, 1, 41) / 0.1)
    raw = with_drop(resistance)
    negated = raw.assign(charge=-raw["charge"])
    one, other = (analyse(each, CORRECTED)["candidate_voltage"].values for each in (raw, negated))
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_a_corrected_curve_covers_the_window_that_was_measured() -> None:
    corrected = analyse(with_drop(np.full(41, 0.4)), CORRECTED)
    assert not corrected["quality_flag"].values[0] & CURVE_FLAGS["window_not_covered"]


def test_an_unknown_resistance_gives_nothing_and_says_why() -> None:
    raw = with_drop(np.full(41, np.nan))
    features = ica(raw, CORRECTED)
    assert np.isnan(features["dqdv"]).all()
    assert features["quality_flag"].values[0] & CURVE_FLAGS["no_resistance"]


def test_correcting_curves_that_bring_no_resistance_is_refused() -> None:
    with pytest.raises(UsageError, match="resistance"):
        analyse(curves([discharge()]), CORRECTED)


# -- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": (4.2, 2.5)},
        {"grid_step": 0.0},
        {"kernel_width": 1e-4},
        {"peaks": 0},
        {"prominence": 1.0},
        {"kernel_widht": 0.01},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        IcaOptions(**wrong)


def test_every_number_says_its_unit() -> None:
    features = ica(curves([discharge()]))
    for values in features.variables.values():
        assert values.dtype.kind != "f" or "units" in values.attrs


# -- the record -------------------------------------------------------------------------------


def real_curve(record: Path, direction: str) -> tuple[np.ndarray, np.ndarray]:
    file = next(record.rglob(f"*cell C - RPT0 - 0.1C {direction} data.csv"))
    table = np.loadtxt(file, delimiter=",", skiprows=1, encoding="utf-8-sig")
    return table[:, 1], table[:, 3] / 1000.0


@pytest.mark.parametrize(
    ("direction", "tallest", "silicon"), [("discharge", 4.060, 3.11), ("charge", 4.127, None)]
)
def test_of_the_real_curve_the_tallest_peak_is_what_plain_differences_say(
    real_record: Path, direction: str, tallest: float, silicon: float | None
) -> None:
    voltage, charge = real_curve(real_record, direction)
    features = ica(curves([(voltage, charge)], direction=direction))
    assert float(features["noise"][0]) < 1e-4
    found = features["candidate_voltage"].values[0]
    highest = np.nanargmax(features["candidate_height"].values[0])
    assert found[highest] == pytest.approx(tallest, abs=0.002)
    if silicon is not None:
        assert np.nanmin(np.abs(found - silicon)) < 0.01
    # an independent estimate: differences between the means of 200 samples, 2 mV apart at the peak
    n = len(voltage) // 200 * 200
    v, q = voltage[:n].reshape(-1, 200).mean(axis=1), charge[:n].reshape(-1, 200).mean(axis=1)
    dqdv, at = np.abs(np.diff(q) / np.diff(v)), 0.5 * (v[1:] + v[:-1])
    near = np.abs(at - tallest) < 0.02
    assert at[near][np.argmax(dqdv[near])] == pytest.approx(found[highest], abs=0.003)
    height = features["candidate_height"].values[0, highest]
    assert dqdv[near].max() == pytest.approx(height, rel=0.02)
