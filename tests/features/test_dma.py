"""What `features.dma` promises: the truth of known electrodes, honest errors, no silent failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from batterykit import halfcell
from batterykit.errors import InputError
from batterykit.features import dma as module
from batterykit.features import dma_kernels as kernels
from batterykit.features.dma import FLAGS, dma
from batterykit.features.halfcell_csv import csv_tables, read_half_cell
from batterykit.features.options import DmaOptions
from batterykit.halfcell import Electrodes
from batterykit.store.schema import check
from tests.features.data import curves

NAN = np.nan
FRESH = Electrodes(*(np.float64(value) for value in (5.634, 4.471, 0.801, 0.563, 0.0264)))
MODES = ("lli", "lam_pe", "lam_ne", "lam_ne_gr", "lam_ne_si")
QUICK = DmaOptions(starts=6)


def aged(share: float) -> Electrodes:
    """The fresh cell with PE, graphite and silicon shrunk and lithium lost, in known proportion."""
    positive, graphite, silicon = 1 - 0.06 * share, 1 - 0.08 * share, 1 - 0.5 * share
    lost = 0.14 * share * float(halfcell.solve_balance(FRESH).capacity)
    return Electrodes(
        positive=FRESH.positive * positive,
        graphite=FRESH.graphite * graphite,
        silicon=FRESH.silicon * silicon,
        offset=FRESH.positive * positive - (FRESH.inventory - lost),
        resistance=FRESH.resistance * (1 + 0.2 * share),
    )


def measured(
    cell: Electrodes, noise: float = 1e-3, every: float = 10.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A C/10 discharge as a cycler shows it: voltage [V] in steps of 0.1 mV, and charge [Ah]."""
    truth = halfcell.simulate_discharge(cell)
    charge = np.arange(0, truth.charge[-1], halfcell.C10_CURRENT * every / 3600)
    voltage = np.interp(charge, truth.charge, truth.voltage)
    voltage += np.random.default_rng(seed).normal(0, noise, len(charge))
    return np.round(voltage, 4), charge


def life(shares: tuple[float, ...] = (0.0, 0.5, 1.0), **more: float) -> xr.Dataset:
    return curves([measured(aged(s), seed=k, **more) for k, s in enumerate(shares)])  # type: ignore[arg-type]


def flags(result: xr.Dataset, rpt: int = 0, cell: int = 0) -> set[str]:
    value = int(result["quality_flag"].values[cell, rpt])
    return {name for name, bit in FLAGS.items() if value & bit}


def one(result: xr.Dataset, name: str, rpt: int = 0) -> float:
    return float(result[name].values[0, rpt])


def theta_of(cell: Electrodes) -> np.ndarray:
    """The kernels' parameters of a cell of `halfcell`."""
    balance = halfcell.solve_balance(cell)
    resistance = halfcell.DC_PER_PULSE_RESISTANCE * float(cell.resistance)
    rise = float(halfcell.polarisation(halfcell.EMPTY_POTENTIAL, cell.resistance))
    return np.array(
        [cell.positive, cell.graphite, cell.silicon, cell.offset,
         float(balance.ne_hi * cell.negative), resistance,
         rise / halfcell.C10_CURRENT - resistance]
    )  # fmt: skip


# ---- the model ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1))
def test_the_kernels_voltage_is_that_of_the_half_cells_within_2_microvolts(share: float) -> None:
    cell = aged(share)
    balance = halfcell.solve_balance(cell)
    potential = np.linspace(float(balance.potential_hi), float(balance.potential_lo), 3000)
    x = halfcell.negative_stoichiometry(potential, cell.graphite_fraction)
    charge = float(cell.negative) * (float(balance.ne_hi) - x)
    voltage = np.empty(3000)

    kernels.evaluate(
        theta_of(cell), charge, 0.5, halfcell.potential_tables(), voltage, np.empty((0, 7))
    )

    exact = halfcell.terminal_voltage(potential, cell)
    np.testing.assert_allclose(voltage, exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("direction", "current"), [("discharge", 0.5), ("charge", -0.5)])
def test_the_kernels_derivatives_are_those_of_finite_differences(
    direction: str, current: float
) -> None:
    theta, tables = theta_of(FRESH), halfcell.potential_tables(direction)
    charge = np.linspace(0.05, 4.8, 500)
    jacobian, none = np.empty((500, 7)), np.empty((0, 7))
    voltage, above, below = np.empty((3, 500))
    kernels.evaluate(theta, charge, current, tables, voltage, jacobian)

    for parameter in range(7):
        step = np.zeros(7)
        step[parameter] = 1e-6
        kernels.evaluate(theta + step, charge, current, tables, above, none)
        kernels.evaluate(theta - step, charge, current, tables, below, none)
        difference = (above - below) / 2e-6
        np.testing.assert_allclose(jacobian[:, parameter], difference, rtol=1e-4, atol=1e-5)


def test_beyond_the_tables_the_model_goes_on_without_a_jump() -> None:
    theta, none = theta_of(FRESH), np.empty((0, 7))
    theta[kernels.LITHIUM] = 5.9  # more than the electrode can hold, and then less than nothing
    charge = np.linspace(0, 6.5, 20_001)
    voltage = np.empty(20_001)

    kernels.evaluate(theta, charge, 0.0, halfcell.potential_tables(), voltage, none)

    assert np.isfinite(voltage).all()
    assert (np.diff(voltage) < 0).all()


def test_the_filter_whitens_as_the_dense_covariance_does() -> None:
    generator = np.random.default_rng(1)
    charge = np.sort(generator.uniform(0, 4.8, 60))
    count, weight = generator.integers(1, 90, 60).astype(float), generator.uniform(1, 3, 60)
    share, length = 250.0, 0.7
    residual = generator.normal(size=60)
    process = share * np.exp(-np.abs(charge[:, None] - charge) / length)
    dense = weight[:, None] * weight * process + np.diag(1 / count)

    gains, logarithm = kernels.filter_gains(charge, count, weight, share, length)
    white = residual[:, None].copy()
    kernels._whiten(gains, white)

    assert np.sum(white**2) == pytest.approx(residual @ np.linalg.solve(dense, residual), rel=1e-9)
    assert logarithm == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-9)


# ---- the fit ------------------------------------------------------------------------------------


def data_of(voltage: np.ndarray, charge: np.ndarray) -> tuple[module._Data, np.ndarray]:
    curve = module._usable(charge, voltage, np.full(len(charge), -0.5), on_charge=False)
    assert curve is not None
    bins = kernels.condense(curve.charge, curve.voltage, module._bins(curve))
    scale = np.full(7, curve.charge[-1])
    scale[5:] = 2.0
    return (
        module._Data(
            *bins,
            0.5,
            halfcell.potential_tables(),
            module._LOWEST * scale,
            module._HIGHEST * scale,
        ),
        scale,
    )


def test_scipys_least_squares_finds_the_same_optimum_and_covariance() -> None:
    data, scale = data_of(*measured(FRESH))
    starts = module._cold_starts(np.random.default_rng(0), 6, scale, data)
    root = np.sqrt(data.samples)

    def residual(theta: np.ndarray) -> np.ndarray:
        voltage = np.empty_like(data.charge)
        kernels.evaluate(theta, data.charge, 0.5, data.tables, voltage, np.empty((0, 7)))
        return (voltage - data.voltage) * root

    ends, gains = module._optimise(data, starts)
    found = ends.theta[ends.best()]
    peer = least_squares(residual, starts[0], x_scale=scale, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    covariance, variance = kernels.covariance(
        found, data.lowest, data.highest, data.charge, data.voltage, 0.5, data.tables, gains
    )

    assert ends.cost[ends.best()] <= 2 * peer.cost * (1 + 1e-9)
    np.testing.assert_allclose(found, peer.x, rtol=1e-4)
    degrees = len(data.charge) - 7
    expected = np.linalg.inv(peer.jac.T @ peer.jac) * 2 * peer.cost / degrees
    np.testing.assert_allclose(np.diag(covariance), np.diag(expected), rtol=0.01)
    assert np.sqrt(variance) == pytest.approx(1e-3, rel=0.1)


def test_lli_and_lam_of_an_ageing_cell_are_within_half_a_percentage_point() -> None:
    result = dma(life())

    for rpt, share in enumerate((0.0, 0.5, 1.0)):
        first, now = aged(0), aged(share)
        truth = {
            "lli": float(first.inventory - now.inventory)
            / float(halfcell.solve_balance(first).capacity),
            "lam_pe": 1 - float(now.positive / first.positive),
            "lam_ne": 1 - float(now.negative / first.negative),
            "lam_ne_gr": 1 - float(now.graphite / first.graphite),
            "lam_ne_si": 1 - float(now.silicon / first.silicon),
        }
        for name in MODES:
            error = one(result, name, rpt) - truth[name]
            assert abs(error) < 0.005, name
            assert abs(error) <= 4 * one(result, f"{name}_se", rpt), name
        assert flags(result, rpt) == set()


def test_the_balance_holds_and_is_that_of_the_half_cells() -> None:
    result = dma(life((0.0,)), QUICK)
    balance = halfcell.solve_balance(FRESH)

    capacity, positive, negative = (
        one(result, name) for name in ("cell_capacity", "pe_capacity", "ne_capacity")
    )
    assert (one(result, "pe_hi") - one(result, "pe_lo")) * positive == pytest.approx(capacity)
    assert (one(result, "ne_hi") - one(result, "ne_lo")) * negative == pytest.approx(capacity)
    offset = one(result, "pe_lo") * positive - one(result, "ne_lo") * negative
    assert one(result, "electrode_offset") == pytest.approx(offset)
    assert one(result, "ne_gr_capacity") == pytest.approx(one(result, "gr_frac") * negative)
    assert capacity == pytest.approx(float(balance.capacity), abs=2e-3)
    for name in ("pe_lo", "ne_lo", "pe_hi", "ne_hi"):
        assert one(result, name) == pytest.approx(float(getattr(balance, name)), abs=2e-3), name
    resistance = halfcell.DC_PER_PULSE_RESISTANCE * float(FRESH.resistance)
    assert one(result, "resistance_c10") == pytest.approx(resistance, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1.0, 10.0])
def test_nine_tenths_of_the_90_percent_intervals_hold_the_truth(every: float) -> None:
    shares = tuple(np.linspace(0, 1, 80))
    result = dma(life(shares, every=every))

    for name, field in (
        ("pe_capacity", "positive"),
        ("ne_gr_capacity", "graphite"),
        ("ne_si_capacity", "silicon"),
        ("electrode_offset", "offset"),
    ):
        truth = np.array([float(getattr(aged(share), field)) for share in shares])
        score = (result[name].values[0] - truth) / result[f"{name}_se"].values[0]
        held = np.mean(np.abs(score) < 1.645)
        assert 0.80 <= held <= 0.99, name  # 80 curves: 0.9 +- 0.034 (one standard deviation)
        assert np.std(score) == pytest.approx(1, abs=0.25), name


def test_model_error_widens_the_intervals_and_white_noise_does_not() -> None:
    voltage, charge = measured(FRESH)
    wave = 0.004 * np.sin(2 * np.pi * charge / 0.9)

    plain = dma(curves([(voltage, charge)]), QUICK)
    bent = dma(curves([(voltage + wave, charge)]), QUICK)

    for name in ("pe_capacity", "ne_gr_capacity"):
        assert one(bent, f"{name}_se") > 5 * one(plain, f"{name}_se")
    truth = float(FRESH.positive)
    assert abs(one(bent, "pe_capacity") - truth) < 3 * one(bent, "pe_capacity_se")


def test_a_fit_does_not_depend_on_the_check_up_before() -> None:
    both = dma(life((0.0, 1.0)), QUICK)
    alone = dma(curves([measured(aged(1.0), seed=1)], rpts=[1]), QUICK)

    for name in ("pe_capacity", "ne_gr_capacity", "ne_si_capacity", "electrode_offset"):
        difference = one(both, name, 1) - one(alone, name, 1)
        assert abs(difference) < 0.01 * one(alone, f"{name}_se", 1), name


def test_a_fit_that_stays_where_it_began_has_not_arrived() -> None:
    data, scale = data_of(*measured(FRESH))
    starts = module._cold_starts(np.random.default_rng(0), 3, scale, data)
    white, _ = kernels.filter_gains(data.charge, data.samples, np.ones_like(data.charge), 0.0, 1.0)

    _, told = kernels.fit_starts(
        starts, data.lowest, data.highest, data.charge, data.voltage, 0.5, data.tables, white, 0
    )
    ends = module._run(data, starts, white)

    assert (told[:, 2] == 0).all()
    assert not (np.isfinite(told[:, 1]) & (told[:, 1] < module.ARRIVED)).any()
    assert ends.arrived.all()


def ends_at(*costs: float, arrived: tuple[bool, ...] | None = None) -> module._Ends:
    return module._Ends(
        np.zeros((len(costs), 7)), np.array(costs), np.array(arrived or [True] * len(costs))
    )


@pytest.mark.parametrize(
    ("ends", "disagree"),
    [
        pytest.param(ends_at(1.0, 1.0, 1.5, 1.0), False, id="two cold starts and the warm one"),
        pytest.param(ends_at(1.5, 1.5, 1.5, 1.0), True, id="the warm start alone"),
        pytest.param(ends_at(1.0, 1.0, 1.0, 1.5), True, id="the warm start elsewhere"),
        pytest.param(ends_at(1.0, 1.0, 1.001, 1.0), True, id="another optimum nearly as good"),
        pytest.param(ends_at(1.0, 1.5, 1.5, 1.0), True, id="one cold start"),
        pytest.param(
            ends_at(1.0, 1.0, 1.0, 1.0, arrived=(True, False, False, True)), True, id="stuck starts"
        ),
    ],
)
def test_an_optimum_counts_when_cold_starts_confirm_it(ends: module._Ends, disagree: bool) -> None:
    same, rivals = module._compare(ends, samples=407)

    assert module._disagree(same, 3, rivals) is disagree


def test_a_cell_without_silicon_is_found_to_have_none() -> None:
    none_left = Electrodes(
        FRESH.positive, FRESH.graphite, np.float64(0.0), np.float64(1.15), FRESH.resistance
    )

    result = dma(curves([measured(none_left)]), QUICK)

    assert one(result, "ne_si_capacity") == pytest.approx(0, abs=0.01)
    assert one(result, "ne_gr_capacity") == pytest.approx(float(FRESH.graphite), rel=5e-3)
    assert not np.isinf(result["ne_si_capacity_se"].values).any()


# ---- many curves, threads, seeds ----------------------------------------------------------------


def test_any_number_of_threads_gives_the_same_numbers() -> None:
    pairs = [measured(aged(s), every=60.0, seed=k) for k, s in enumerate((0, 1, 0.2, 0.7, 0.4))]
    node = curves(pairs, cells=["E1-A", "E1-A", "E1-B", "E1-C", "E1-C"], rpts=[0, 1, 0, 0, 1])

    xr.testing.assert_identical(dma(node, QUICK, threads=1), dma(node, QUICK, threads=3))
    xr.testing.assert_identical(dma(node, QUICK), dma(node, QUICK))


def test_another_seed_gives_the_same_optimum() -> None:
    first, second = (dma(life((0.5,)), DmaOptions(seed=seed)) for seed in (0, 1))

    difference = one(first, "pe_capacity") - one(second, "pe_capacity")
    assert abs(difference) < 1e-3 * one(first, "pe_capacity_se")


def test_the_result_is_what_the_store_wants_with_gaps_flagged() -> None:
    pairs = [measured(aged(s), every=60.0) for s in (0.0, 0.3, 0.1)]
    node = curves(pairs, cells=["E5-B", "E5-B", "E5-A"], rpts=[0, 2, 0])

    result = dma(node, QUICK)

    check("features/dma/0123", result)
    assert dict(result.sizes) == {"cell": 2, "rpt": 3, "point": 200}
    assert list(result["cell"].values) == ["E5-A", "E5-B"]
    assert list(result["n_rpt"].values) == [1, 3]
    assert flags(result, rpt=1, cell=1) == {"no_curve", "no_reference"}
    assert np.isnan(result["pe_capacity"].values[1, 1])
    assert float(result["lam_pe"].values[1, 2]) == pytest.approx(0.018, abs=0.005)


def test_the_kept_points_are_samples_of_the_curve_and_the_fit_runs_through_them() -> None:
    voltage, charge = measured(FRESH)
    result = dma(curves([(voltage, charge)]), DmaOptions(starts=6, points=50))

    kept = result["charge"].values[0, 0]
    assert kept.shape == (50,)
    assert kept[0] == charge[0]
    assert kept[-1] == charge[-1]
    np.testing.assert_array_equal(
        result["voltage_measured"].values[0, 0], voltage[np.searchsorted(charge, kept)]
    )
    residual = result["voltage_measured"] - result["voltage_fit"]
    assert float(residual.std()) == pytest.approx(1e-3, rel=0.4)


@settings(max_examples=10, deadline=None)
@given(offset=st.floats(-20, 20), seed=st.integers(0, 1000))
def test_neither_a_charge_offset_nor_the_order_of_samples_changes_a_fit(
    offset: float, seed: int
) -> None:
    voltage, charge = measured(FRESH, every=60.0)
    order = np.concatenate([[0], 1 + np.random.default_rng(seed).permutation(len(charge) - 1)])

    plain = dma(curves([(voltage, charge)]), QUICK)
    moved = dma(curves([(voltage[order], charge[order] + offset)]), QUICK)

    for name in ("pe_capacity", "ne_si_capacity"):
        assert one(moved, name) == pytest.approx(one(plain, name), rel=1e-6)


# ---- curves that are not what they should be ----------------------------------------------------

Bend = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.mark.parametrize(
    ("bend", "flag"),
    [
        pytest.param(lambda v, q: (v[:30], q[:30]), "curve_unusable", id="30 samples"),
        pytest.param(lambda v, q: (v[:0], q[:0]), "curve_unusable", id="no samples"),
        pytest.param(lambda v, q: (v * NAN, q), "curve_unusable", id="all NaN"),
        pytest.param(
            lambda v, q: (np.where(np.arange(len(v)) % 3, v, NAN), q), "curve_unusable", id="NaN"
        ),
        pytest.param(lambda v, q: (np.full_like(v, 3.7), q), "curve_unusable", id="flat"),
        pytest.param(lambda v, q: (v, q * 0), "curve_unusable", id="no charge"),
        pytest.param(lambda v, q: (v[::-1], q), "curve_unusable", id="rising on discharge"),
        pytest.param(lambda v, q: (v * 1e300, q), "curve_unusable", id="huge voltage"),
        pytest.param(lambda v, q: (v, q + np.inf), "curve_unusable", id="infinite charge"),
        pytest.param(lambda v, q: (v[200:], q[200:]), "window_not_covered", id="upper part lost"),
        pytest.param(lambda v, q: (v[v > 3.3], q[v > 3.3]), "window_not_covered", id="to 3.3 V"),
        pytest.param(lambda v, q: (4.2 - q / q[-1], q), "poor_fit", id="a straight line"),
        pytest.param(lambda v, q: (v - 1.5, q), "poor_fit", id="another chemistry"),
    ],
)
def test_a_bad_curve_gets_a_flag_and_no_infinite_number(bend: Bend, flag: str) -> None:
    result = dma(curves([bend(*measured(FRESH, every=60.0))]), DmaOptions(starts=2))

    assert flag in flags(result)
    for name, column in result.data_vars.items():
        assert not np.isinf(column.values.astype(float)).any(), name
    if flag == "curve_unusable":
        assert np.isnan(one(result, "pe_capacity"))


def test_a_model_that_is_far_off_tells_nothing_of_the_electrodes() -> None:
    voltage, charge = measured(FRESH, every=60.0)
    result = dma(curves([(voltage - 1.5, charge)]), DmaOptions(starts=2))
    assert one(result, "fit_rmse") > 0.05
    assert np.isnan(one(result, "pe_capacity"))
    assert flags(result) >= {"poor_fit", "no_reference"}


def test_losses_since_a_doubtful_first_check_up_are_flagged() -> None:
    voltage, charge = measured(FRESH, every=60.0)
    bent = voltage + 0.02 * np.sin(6 * charge)
    result = dma(curves([(bent, charge), (voltage, charge)]), DmaOptions(starts=2))
    assert "poor_fit" in flags(result)
    later = int(result["quality_flag"].values[0, 1])
    assert later & FLAGS["reference_doubtful"]
    assert not later & FLAGS["poor_fit"]


def test_exchanged_half_cells_are_refused(tmp_path: Path) -> None:
    share = np.linspace(0, 1, 50)
    for name, top in (("high.csv", 4.4), ("low.csv", 0.7)):
        rows = [f"{x:.6f},{top - 0.6 * x:.6f}" for x in share]
        (tmp_path / name).write_text("\n".join(["stoichiometry,potential [V]", *rows]) + "\n")
    exchanged = DmaOptions(positive=tmp_path / "low.csv", negative=tmp_path / "high.csv")
    with pytest.raises(InputError, match="exchange"):
        dma(curves([measured(FRESH, every=60.0)]), exchanged)


def test_a_curve_in_several_steps_of_current_is_not_fitted() -> None:
    node = life((0.0,))
    current = node["current"].values.copy()
    current[1000:1200] = 0.0
    node["current"] = ("sample", current, {"units": "A"})

    result = dma(node, QUICK)

    assert flags(result) == {"curve_unusable", "no_reference"}


def test_a_few_lost_samples_do_no_harm() -> None:
    voltage, charge = measured(FRESH)
    voltage[[100, 500, 501]] = NAN

    result = dma(curves([(voltage, charge)]), QUICK)

    assert flags(result) == set()
    assert one(result, "pe_capacity") == pytest.approx(5.634, rel=2e-3)


def test_a_curve_that_ends_early_still_tells_the_electrodes_and_where_the_window_ends() -> None:
    voltage, charge = measured(FRESH)
    part = voltage > 2.8

    result = dma(curves([(voltage[part], charge[part])]), QUICK)

    assert flags(result) == {"window_not_covered"}
    balance = halfcell.solve_balance(FRESH)
    assert one(result, "cell_capacity") == pytest.approx(float(balance.capacity), abs=0.02)
    assert one(result, "pe_capacity") == pytest.approx(float(FRESH.positive), rel=5e-3)


def test_a_cell_without_its_first_check_up_has_capacities_but_no_modes() -> None:
    result = dma(curves([measured(aged(0.5))], rpts=[3]), QUICK)

    assert "no_reference" in flags(result, rpt=3)
    assert one(result, "pe_capacity", 3) > 0
    for name in MODES:
        assert np.isnan(one(result, name, 3))
        assert np.isnan(one(result, f"{name}_se", 3))


def test_curves_in_the_other_direction_are_ignored() -> None:
    node = curves([measured(FRESH)], direction="charge")

    assert flags(dma(node, QUICK)) == {"no_curve", "no_reference"}


def test_no_curves_give_an_empty_result() -> None:
    node = life((0.0,)).isel(curve=slice(0, 0), sample=slice(0, 0))

    assert dma(node, QUICK).sizes["cell"] == 0


def test_a_charge_curve_is_fitted_with_silicons_lithiation_branch() -> None:
    theta = theta_of(FRESH)
    passed = np.arange(0, 4.75, 10 * 0.5 / 3600)
    voltage = np.empty_like(passed)
    kernels.evaluate(
        theta, passed, -0.5, halfcell.potential_tables("charge"), voltage, np.empty((0, 7))
    )
    noise = np.random.default_rng(0).normal(0, 1e-3, len(passed))
    node = curves([((voltage + noise)[::-1], passed)], direction="charge")

    result = dma(node, DmaOptions(direction="charge"))

    assert "starts_disagree" not in flags(result)
    for name, parameter in (("pe_capacity", 0), ("ne_gr_capacity", 1), ("ne_si_capacity", 2)):
        assert one(result, name) == pytest.approx(theta[parameter], rel=0.01), name
    assert np.nanmin(np.diff(result["charge"].values[0, 0])) > 0
    assert np.nanmean(np.diff(result["voltage_measured"].values[0, 0])) > 0


# ---- half cells from files ----------------------------------------------------------------------


def write(path: Path, content: np.ndarray, potential: np.ndarray, header: str) -> Path:
    lines = [f"{x:.9f},{u:.9f}" for x, u in zip(content, potential, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def pybamm_half_cells() -> tuple[Callable, Callable]:  # type: ignore[type-arg]
    """Chen2020's own functions: NMC and the graphite-silicon electrode as one phase."""
    import pybamm

    values = pybamm.ParameterValues("Chen2020")

    def of(name: str) -> Callable:  # type: ignore[type-arg]
        return lambda x: np.asarray(values[name](pybamm.Vector(x)).evaluate()).ravel()

    return of("Positive electrode OCP [V]"), of("Negative electrode OCP [V]")


def test_capacities_of_cells_made_with_pybamms_functions_are_found_through_csv(
    tmp_path: Path,
) -> None:
    positive, negative = pybamm_half_cells()
    x, y = np.linspace(0.001, 0.999, 800), np.linspace(0.2, 0.95, 500)
    shuffled = np.random.default_rng(0).permutation(800)
    options = DmaOptions(
        positive=write(tmp_path / "pe.csv", y, positive(y), "sto,Potential [V]"),
        negative=write(
            tmp_path / "ne.csv", negative(x)[shuffled], x[shuffled], "OCP [V],stoichiometry [-]"
        ),
    )
    pe, ne, resistance = 7.6, 5.4, 0.05
    charge = np.arange(0, 4.8, 10 * 0.5 / 3600)
    at_x, at_y = 0.92 - charge / ne, 0.265 + charge / pe
    voltage = positive(at_y) - negative(at_x) - 0.5 * resistance
    voltage += np.random.default_rng(1).normal(0, 1e-3, len(charge))

    result = dma(curves([(voltage, charge)]), options)

    assert flags(result) == set()
    assert one(result, "pe_capacity") == pytest.approx(pe, rel=2e-3)
    assert one(result, "ne_capacity") == pytest.approx(ne, rel=2e-3)
    assert one(result, "ne_hi") == pytest.approx(0.92, abs=2e-3)
    assert one(result, "pe_hi") == pytest.approx(1 - 0.265, abs=2e-3)
    assert one(result, "resistance_c10") == pytest.approx(resistance, rel=0.2)
    for name in ("ne_gr_capacity", "ne_si_capacity", "gr_frac", "lam_ne_si", "lam_ne_gr"):
        assert np.isnan(one(result, name)), name
    assert one(result, "lam_ne") == 0


def test_two_phases_from_files_are_a_composite_electrode(tmp_path: Path) -> None:
    potential = np.concatenate([np.linspace(0.06, 0.25, 1200), np.linspace(0.251, 0.98, 600)])
    z = np.linspace(0.0, 1.1, 600)
    content = 1 - z / 1.2  # any affine map: capacity then counts per unit of the file's content
    options = DmaOptions(
        positive=write(tmp_path / "pe.csv", content, halfcell.positive_potential(z), "y,U [V]"),
        negative=write(
            tmp_path / "gr.csv", halfcell.graphite_stoichiometry(potential), potential, "x,U [V]"
        ),
        silicon=write(
            tmp_path / "si.csv",
            halfcell.silicon_stoichiometry(potential[potential > 0.1]),
            potential[potential > 0.1],
            "x,U [V]",
        ),
    )
    cell = FRESH
    voltage, charge = measured(cell)
    nearly_empty = halfcell.simulate_discharge(cell)
    loss = halfcell.polarisation(
        halfcell.negative_potential(
            float(halfcell.solve_balance(cell).ne_hi) - charge / float(cell.negative),
            cell.graphite_fraction,
        ),
        cell.resistance,
    )
    voltage = voltage + loss - 0.02  # files know no rise of the empty electrode's resistance
    assert nearly_empty.charge[-1] > charge[-1]

    result = dma(curves([(voltage, charge)]), options)

    assert one(result, "pe_capacity") == pytest.approx(1.2 * float(cell.positive), rel=5e-3)
    assert one(result, "ne_gr_capacity") == pytest.approx(float(cell.graphite), rel=5e-3)
    assert one(result, "ne_si_capacity") == pytest.approx(float(cell.silicon), rel=0.02)


def test_a_file_of_delithiated_fractions_is_turned_round(tmp_path: Path) -> None:
    x = np.linspace(0.1, 0.9, 40)
    lithiated = write(tmp_path / "a.csv", x, 4.3 - x, "x,U [V]")
    delithiated = write(tmp_path / "b.csv", 1 - x, 4.3 - x, "z,U [V]")

    for first, second in zip(read_half_cell(lithiated), read_half_cell(delithiated), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-8)


def test_tables_from_files_return_the_rows_of_the_files(tmp_path: Path) -> None:
    x = np.linspace(0.02, 0.98, 50)
    potential = 0.9 - 0.8 * x + 0.05 * np.sin(6 * x)
    tables = csv_tables(
        write(tmp_path / "pe.csv", x, 4.3 - x, "x,U"),
        write(tmp_path / "ne.csv", x, potential, "x,U"),
        None,
    )

    found = np.interp(potential, tables.potential, tables.graphite)
    np.testing.assert_allclose(found, x, atol=5e-5)
    assert (np.diff(tables.graphite) < 0).all()
    z = tables.positive_start + tables.positive_step * np.arange(len(tables.positive))
    np.testing.assert_allclose(tables.positive, 4.3 - (1 - z), atol=2e-5)


ROWS = [f"{k / 10},{1 - k / 20}" for k in range(11)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        (["x,U"], "0 rows"),
        (["x,U", *ROWS[:9]], "9 rows of a half cell, at least 10"),
        (["x,U,T", *ROWS], "3 columns"),
        (["x", *ROWS], "1 columns"),
        (ROWS, "no header"),
        (["x,U", *ROWS[:4], "0.35,abc", *ROWS[5:]], "column 'U', line 6: 'abc' is not a number"),
        (["x,U", *ROWS[:4], "nan,0.8", *ROWS[5:]], "column 'x', line 6: 'nan' is not a number"),
        (["x,U", *ROWS[:4], "0.4", *ROWS[5:]], "line 6: 1 values, wanted two"),
        (["x,U", *ROWS[:4], "1.4,0.45", *ROWS[5:]], "column 'x', line 6: 1.4 is outside 0 to 1"),
        (["x,U", *ROWS[:4], "0.4,840", *ROWS[5:]], "column 'U', line 6: 840 is outside 0 to 6"),
        (["x,U", *ROWS[:4], "0.4,0.9", *ROWS[5:]], "column 'U', line 6: the potential is not"),
        (
            ["x,U", *(f"{k / 10},0.1" for k in range(11))],
            "column 'U': the potential changes by 0",
        ),
        (["x,U", *ROWS, "0.4,0.81"], "column 'x', line 13: the stoichiometry 0.4 comes twice"),
    ],
)
def test_a_wrong_half_cell_file_is_refused_by_file_column_and_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    path = tmp_path / "half cell.csv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")

    with pytest.raises(InputError, match="Fix: ") as caught:
        read_half_cell(path)

    assert "half cell.csv" in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_half_cell_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    options = DmaOptions(positive=tmp_path / "no.csv", negative=tmp_path / "no.csv")

    with pytest.raises(InputError, match=r"no\.csv"):
        dma(life((0.0,)), options)


# ---- the record ---------------------------------------------------------------------------------


def real_curve(real_record: Path, direction: str) -> xr.Dataset:
    (path,) = real_record.rglob(f"*cell C - RPT0 - 0.1C {direction} data.csv")
    table = pd.read_csv(path)
    node = curves(
        [(table["Voltage (V)"].to_numpy(), table["Charge (mA.h)"].to_numpy() / 1e3)],
        cells=["E2-C"],
        direction=direction,
    )
    node["current"] = ("sample", table["Current (mA)"].to_numpy() / 1e3, {"units": "A"})
    return node


def published(real_record: Path) -> pd.Series:
    (path,) = real_record.rglob("*cell C (25degC) - Processed Data.csv")
    return pd.read_csv(path).iloc[0]


def test_the_real_curve_is_fitted_closer_than_published_with_nearly_the_published_electrodes(
    real_record: Path,
) -> None:
    record = published(real_record)

    result = dma(real_curve(real_record, "discharge"))

    assert flags(result) == set()
    assert one(result, "fit_rmse") < record["RMSE of OCV-fitting [V]"]
    assert one(result, "fit_rmse") < 0.009
    for name, column, within in (
        ("pe_capacity", "PE Capacity [mA h]", 0.03),
        ("ne_capacity", "NE Capacity [mA h]", 0.03),
        ("ne_gr_capacity", "NE_Gr Capacity [mA h]", 0.03),
        ("ne_si_capacity", "NE_Si Capacity [mA h]", 0.06),
        ("electrode_offset", "Electrode Offset [mA h]", 0.06),
    ):
        assert one(result, name) == pytest.approx(record[column] / 1e3, rel=within), name


def test_the_real_curve_has_one_answer_for_any_seed_and_sampling(real_record: Path) -> None:
    node = real_curve(real_record, "discharge")
    every = node.isel(sample=slice(None, None, 20))
    every["row_size"] = ("curve", [every.sizes["sample"]], {"sample_dimension": "sample"})

    results = [dma(node), dma(node, DmaOptions(seed=1, starts=20)), dma(every)]

    for name in ("pe_capacity", "ne_gr_capacity", "ne_si_capacity"):
        found = [one(result, name) for result in results]
        assert np.ptp(found) < one(results[0], f"{name}_se"), name


def test_the_real_cell_at_rest_is_where_the_fit_puts_the_discharged_cell(
    real_record: Path,
) -> None:
    result = dma(real_curve(real_record, "discharge"))
    charge = real_curve(real_record, "charge")
    rested = float(charge["voltage"].values[0])  # under 0.5 A, just begun: 13 mV above the rest

    negative = halfcell.negative_potential(one(result, "ne_lo"), one(result, "gr_frac"))
    open_circuit = halfcell.positive_potential(one(result, "pe_lo")) - negative

    assert float(open_circuit) == pytest.approx(rested - 0.013, abs=0.08)
