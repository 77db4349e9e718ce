"""What `batterykit.halfcell` promises: PyBaMM's potentials, and a balance that adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from batterykit import halfcell
from batterykit.halfcell import Electrodes

# Published fit of a real cell: Expt 2,2, cell C, RPT 0 (data DOI 10.5281/zenodo.10637534).
CELL_C = Electrodes(*(np.float64(value) for value in (5.57002, 4.50898, 0.77137, 0.54112, 0.0271)))
CELL_C_CAPACITY = 4.8323  # Ah
CELL_C_STOICHIOMETRIES = {"pe_lo": 0.1044, "ne_lo": 0.0077, "pe_hi": 0.9720, "ne_hi": 0.9228}
MEAN_CELL = Electrodes(*(np.float64(value) for value in (5.634, 4.471, 0.801, 0.563, 0.0264)))


@pytest.mark.parametrize("phase", ["graphite", "silicon"])
def test_the_inverse_of_a_phase_returns_to_pybamms_function_within_10_microvolts(
    phase: str,
) -> None:
    inverse = {
        "graphite": halfcell.graphite_stoichiometry,
        "silicon": halfcell.silicon_stoichiometry,
    }[phase]
    potential = np.linspace(0.1, 0.95, 5000)

    returned = halfcell.pybamm_potential(phase, inverse(potential))

    np.testing.assert_allclose(returned, potential, rtol=0, atol=1e-5)


def test_the_positive_electrode_is_pybamms_function_on_an_affine_map() -> None:
    z = np.linspace(0.05, 1.0, 500)
    potential = halfcell.positive_potential(z)
    content = np.linspace(0.15, 0.998, 200_001)
    reference = halfcell.pybamm_potential("positive", content)

    found = np.interp(-potential, -reference, content)

    slope, start = np.polyfit(z, found, 1)
    np.testing.assert_allclose(found, slope * z + start, atol=1e-6)
    assert -0.80 < slope < -0.70


@settings(max_examples=60, deadline=None)
@given(x=st.floats(0.003, 0.98), share=st.floats(0.75, 0.99))
def test_stoichiometry_to_potential_and_back_is_the_identity(x: float, share: float) -> None:
    potential = halfcell.negative_potential(x, share)

    assert halfcell.negative_stoichiometry(potential, share) == pytest.approx(x, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(0.06, 0.95), step=st.floats(1e-4, 0.2), share=st.floats(0.75, 0.99)
)  # fmt: skip
def test_the_negative_electrode_empties_as_its_potential_rises(
    low: float, step: float, share: float
) -> None:
    high = min(low + step, 0.985)

    assert halfcell.negative_stoichiometry(high, share) < halfcell.negative_stoichiometry(
        low, share
    )


def test_slopes_of_the_potentials_are_those_of_finite_differences() -> None:
    potential, z, h = np.linspace(0.11, 0.9, 200), np.linspace(0.1, 0.98, 200), 1e-6

    for function, at in (
        (lambda u, d=0: halfcell.negative_stoichiometry(u, 0.85, d), potential),
        (halfcell.positive_potential, z),
        (lambda u, d=0: halfcell.polarisation(u, 0.03, d), potential),
    ):
        difference = (function(at + h) - function(at - h)) / (2 * h)
        np.testing.assert_allclose(function(at, 1), difference, rtol=2e-4, atol=1e-6)


def test_the_mean_cell_has_the_published_capacity_at_the_published_stoichiometries() -> None:
    balance = halfcell.solve_balance(MEAN_CELL)

    assert balance.capacity == pytest.approx(4.857, rel=1e-3)
    assert balance.ne_lo == pytest.approx(halfcell.MEAN_NE_LO, abs=2e-4)


def test_a_real_cells_published_electrodes_give_nearly_its_capacity_and_stoichiometries() -> None:
    balance = halfcell.solve_balance(CELL_C)

    assert balance.capacity == pytest.approx(CELL_C_CAPACITY, rel=0.01)
    for name, published in CELL_C_STOICHIOMETRIES.items():
        assert float(getattr(balance, name)) == pytest.approx(published, abs=0.015), name


def test_the_balance_is_that_of_brentq_on_pybamms_own_functions() -> None:
    cell, share = MEAN_CELL, float(MEAN_CELL.graphite_fraction)
    content = np.linspace(0.0017, 0.9978, 400_001)
    graphite = halfcell.pybamm_potential("graphite", content)
    silicon_content = np.linspace(0, 1, 400_001)
    silicon = halfcell.pybamm_potential("silicon", silicon_content)

    def x_of(potential: float) -> float:
        return share * float(np.interp(-potential, -graphite, content)) + (1 - share) * float(
            np.interp(-potential, -silicon, silicon_content)
        )

    def open_circuit(x: float) -> float:
        potential = brentq(lambda u: x_of(u) - x, 0.041, 0.984, xtol=1e-12)
        z = (float(cell.offset) + float(cell.negative) * x) / float(cell.positive)
        return float(halfcell.positive_potential(z)) - potential

    def at_c10(x: float) -> float:
        potential = brentq(lambda u: x_of(u) - x, 0.041, 0.984, xtol=1e-12)
        return open_circuit(x) - float(halfcell.polarisation(potential, cell.resistance))

    balance = halfcell.solve_balance(cell)

    assert balance.ne_hi == pytest.approx(brentq(lambda x: open_circuit(x) - 4.2, 0.8, 0.97), 1e-6)
    assert balance.ne_lo == pytest.approx(brentq(lambda x: at_c10(x) - 2.5, 0.004, 0.1), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    positive=st.floats(5.2, 5.9),
    graphite=st.floats(4.0, 4.7),
    silicon=st.floats(0.1, 0.85),
    ne_hi=st.floats(0.8, 0.95),
    resistance=st.floats(0.02, 0.05),
)
def test_capacity_counts_the_same_in_both_electrodes(
    positive: float, graphite: float, silicon: float, ne_hi: float, resistance: float
) -> None:
    offset = 0.97 * positive - ne_hi * (graphite + silicon)
    cell = Electrodes(*(np.array([v]) for v in (positive, graphite, silicon, offset, resistance)))

    balance = halfcell.solve_balance(cell)

    in_pe = (balance.pe_hi - balance.pe_lo) * positive
    np.testing.assert_allclose(in_pe, balance.capacity, rtol=1e-12)
    np.testing.assert_allclose(
        balance.pe_lo * positive - balance.ne_lo * (graphite + silicon), offset, rtol=1e-12
    )


def test_the_wanted_capacity_is_met_by_the_offset_found_for_it() -> None:
    capacity = np.array([4.80, 4.857, 4.90])
    cells = Electrodes(
        *(np.full(3, float(v)) for v in (5.634, 4.471, 0.801, 0.0, 0.0264))
    )  # fmt: skip

    offset = halfcell.offset_for_capacity(cells, capacity)

    found = halfcell.solve_balance(halfcell.replace(cells, offset=offset)).capacity
    np.testing.assert_allclose(found, capacity, atol=1e-9)


def test_many_cells_are_solved_as_one_by_one() -> None:
    rows = np.array([[5.6, 4.4, 0.8, 0.55, 0.026], [5.3, 4.2, 0.4, 0.7, 0.03]])

    together = halfcell.solve_balance(Electrodes(*rows.T)).capacity

    alone = [float(halfcell.solve_balance(Electrodes(*row)).capacity) for row in rows]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_electrodes_that_make_no_cell_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no balance at (2\.5|4\.2) V"):
        halfcell.solve_balance(
            Electrodes(*(np.float64(v) for v in (5.6, 4.4, 0.8, 5.5, 0.026)))
        )  # fmt: skip


def test_a_discharge_runs_from_full_to_the_cut_off_and_dqdv_is_its_derivative() -> None:
    curve = halfcell.simulate_discharge(MEAN_CELL)

    assert curve.charge[0] == 0
    assert curve.charge[-1] == pytest.approx(float(halfcell.solve_balance(MEAN_CELL).capacity))
    assert curve.voltage[0] == pytest.approx(4.2 - 0.5 * 2 * 0.0264, abs=1e-3)
    assert curve.voltage[-1] == pytest.approx(2.5, abs=1e-9)
    assert (np.diff(curve.voltage) < 0).all()
    assert (np.diff(curve.charge) > 0).all()

    voltage = np.arange(2.6, 4.15, 0.0005)
    charge = np.interp(-voltage, -curve.voltage, curve.charge)
    difference = -np.diff(charge) / 0.0005
    middle = np.interp(-(voltage[1:] + voltage[:-1]) / 2, -curve.voltage, curve.dqdv)
    np.testing.assert_allclose(middle, difference, rtol=0.02, atol=0.01)
    area = np.trapezoid(curve.dqdv, -curve.voltage)
    assert area == pytest.approx(curve.charge[-1], rel=1e-4)


def test_between_its_nodes_a_discharge_is_exact_to_a_fiftieth_of_a_millivolt() -> None:
    curve = halfcell.simulate_discharge(MEAN_CELL)
    balance = halfcell.solve_balance(MEAN_CELL)
    span = float(balance.potential_lo) - float(balance.potential_hi)
    potential = float(balance.potential_hi) + span * np.random.default_rng(3).random(20_000) ** 3

    x = halfcell.negative_stoichiometry(potential, MEAN_CELL.graphite_fraction)
    charge = float(MEAN_CELL.negative) * (float(balance.ne_hi) - x)
    voltage = np.interp(charge, curve.charge, curve.voltage)

    exact = halfcell.terminal_voltage(potential, MEAN_CELL)
    np.testing.assert_allclose(voltage, exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("direction", ["discharge", "charge"])
def test_tables_for_compiled_code_hold_the_same_half_cells(direction: str) -> None:
    tables = halfcell.potential_tables(direction)
    z = tables.positive_start + tables.positive_step * np.arange(len(tables.positive))

    graphite = halfcell.graphite_stoichiometry(tables.potential)
    np.testing.assert_allclose(tables.graphite, graphite, rtol=1e-12)
    np.testing.assert_allclose(tables.positive, halfcell.positive_potential(z), rtol=1e-12)
    phase = "silicon" if direction == "discharge" else "silicon_lithiation"
    inside = (tables.potential > 0.1) & (tables.potential < 0.95)
    returned = halfcell.pybamm_potential(phase, tables.silicon[inside])
    np.testing.assert_allclose(returned, tables.potential[inside], rtol=0, atol=1e-5)


def test_lithiating_silicon_lies_below_delithiating_silicon() -> None:
    charge, discharge = (halfcell.potential_tables(way) for way in ("charge", "discharge"))
    inside = (discharge.potential > 0.15) & (discharge.potential < 0.9)

    assert (charge.silicon < discharge.silicon)[inside].all()
