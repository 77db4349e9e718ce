"""What `pack.balance` promises: PyBaMM's eSOH to the last digit, and no cell that cannot be."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batterykit.errors import UsageError
from batterykit.pack import balance
from batterykit.pack.cell import Cells
from batterykit.pack.parameters import CellParameters, read_parameters

SETS = ("Chen2020", "OKane2022")
# PyBaMM has OKane's graphite as straight lines between measured points; a smooth table cuts their
# corners by up to 0.13 mV.
CLOSE = {"Chen2020": 1e-7, "OKane2022": 2e-5}
CHEN = "Chen2020"


@pytest.fixture(scope="module", params=SETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reference(name: str) -> tuple[Any, dict[str, float]]:
    """PyBaMM's solver, and the capacities it finds in the parameter set [Ah]."""
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    values, symbols = pybamm.ParameterValues(name), pybamm.LithiumIonParameters()
    capacities = {
        "Q_n": symbols.n.Q_init,
        "Q_p": symbols.p.Q_init,
        "Q_Li": symbols.Q_Li_particles_init,
    }
    solver = pybamm.lithium_ion.ElectrodeSOHSolver(values, symbols)
    return solver, {key: float(values.evaluate(symbol)) for key, symbol in capacities.items()}


def aged_cells(parameters: CellParameters, lam_ne: float = 0.1, **losses: float) -> Cells:
    window = balance.aged(parameters, lam_ne=lam_ne, **losses)
    return Cells(
        x_0=window.x_0,
        x_100=window.x_100,
        y_0=window.y_0,
        y_100=window.y_100,
        soc=0.5,
        ne_active=1 - lam_ne,
        pe_active=1 - losses.get("lam_pe", 0.0),
        area=losses.get("area", 1.0),
    )


# ---- against PyBaMM -----------------------------------------------------------------------------


def test_a_fresh_cells_capacities_and_lithium_are_pybamms(name: str) -> None:
    _, capacities = reference(name)
    np.testing.assert_allclose(
        balance.fresh(read_parameters(name)),
        [capacities[key] for key in ("Q_n", "Q_p", "Q_Li")],
        rtol=1e-9,
    )


def test_windows_and_capacities_of_aged_cells_are_those_of_pybamms_esoh(name: str) -> None:
    solver, new = reference(name)
    random = np.random.default_rng(0)
    lli, lam_pe = random.uniform(0.12, 0.3, 25), random.uniform(0, 0.15, 25)
    lam_ne = random.uniform(0, 0.12, 25)
    parameters = read_parameters(name)
    found = balance.aged(parameters, lli=lli, lam_pe=lam_pe, lam_ne=lam_ne)
    unaged = solver.solve(new)["Q"]
    for cell in range(25):
        expected = solver.solve(
            {
                "Q_n": new["Q_n"] * (1 - lam_ne[cell]),
                "Q_p": new["Q_p"] * (1 - lam_pe[cell]),
                "Q_Li": new["Q_Li"] - lli[cell] * unaged,
            }
        )
        for key in ("x_0", "x_100", "y_0", "y_100"):
            assert getattr(found, key)[cell] == pytest.approx(expected[key], abs=CLOSE[name])
        assert found.capacity[cell] == pytest.approx(expected["Q"], rel=CLOSE[name])


def test_pybamms_states_of_charge_lie_on_the_straight_line_through_the_window(name: str) -> None:
    solver, _ = reference(name)
    window = balance.aged(read_parameters(name))
    for soc in (0.0, 0.1, 0.5, 0.8, 1.0):
        x, y = solver.get_initial_stoichiometries(soc)
        assert window.x_0 + soc * (window.x_100 - window.x_0) == pytest.approx(x, abs=CLOSE[name])
        assert window.y_0 + soc * (window.y_100 - window.y_0) == pytest.approx(y, abs=CLOSE[name])


# ---- what must hold for every cell --------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    lli=st.floats(0.1, 0.4),
    lam_pe=st.floats(0, 0.2),
    lam_ne=st.floats(0, 0.1),
    area=st.floats(0.5, 2),
)
def test_lithium_is_conserved_and_the_ends_have_the_cut_off_voltages(
    lli: float, lam_pe: float, lam_ne: float, area: float
) -> None:
    parameters = read_parameters(CHEN)
    new = balance.fresh(parameters)
    unaged = balance.aged(parameters).capacity
    found = balance.aged(parameters, lli=lli, lam_pe=lam_pe, lam_ne=lam_ne, area=area)
    lithium = area * (new.lithium - lli * unaged)
    for x, y, voltage in ((found.x_0, found.y_0, 2.5), (found.x_100, found.y_100, 4.2)):
        held = area * (new.negative * (1 - lam_ne) * x + new.positive * (1 - lam_pe) * y)
        assert held == pytest.approx(lithium, rel=1e-12)
        upper = balance.potential(parameters.positive, y)[0]
        assert upper - balance.potential(parameters.negative, x)[0] == pytest.approx(voltage)
    cells = aged_cells(parameters, lli=lli, lam_pe=lam_pe, lam_ne=lam_ne, area=area)
    assert balance.capacity(parameters, cells) == pytest.approx(found.capacity, rel=1e-12)


def test_cells_are_the_same_alone_and_in_a_batch_of_any_shape() -> None:
    parameters = read_parameters(CHEN)
    lli = np.linspace(0.05, 0.3, 12).reshape(3, 4)
    together = balance.aged(parameters, lli=lli, lam_pe=0.02)
    alone = [balance.aged(parameters, lli=one, lam_pe=0.02).x_100 for one in lli.ravel()]
    np.testing.assert_allclose(together.x_100.ravel(), alone, rtol=0, atol=1e-12)
    assert together.y_0.shape == (3, 4)


def test_lost_lithium_shrinks_a_cell_by_nearly_as_much() -> None:
    parameters = read_parameters(CHEN)
    capacity = balance.aged(parameters, lli=[0.0, 0.05, 0.1]).capacity
    np.testing.assert_allclose(1 - capacity / capacity[0], [0, 0.05, 0.1], atol=0.01)
    assert (np.diff(capacity) < 0).all()


def test_a_cell_of_twice_the_area_has_the_same_window_and_twice_the_capacity() -> None:
    one, two = (balance.aged(read_parameters(CHEN), lli=0.1, area=area) for area in (1.0, 2.0))
    assert two.x_100 == pytest.approx(one.x_100, abs=1e-12)
    assert two.capacity == pytest.approx(2 * one.capacity)


def test_the_slope_of_a_potential_is_its_derivative() -> None:
    electrode = read_parameters(CHEN).negative
    x, step = np.linspace(0.02, 0.98, 4001), 1e-7
    above, below = (balance.potential(electrode, x + sign * step)[0] for sign in (1, -1))
    slope = balance.potential(electrode, x)[1]
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-4, atol=1e-5)


# ---- cells that cannot be -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"lli": [0.1, 0.1, 2.0]}, "lithium of cell 2 is -"),
        ({"lam_ne": [[0.0, 1.0]]}, "negative electrode of cell 1 in pack 0 is 0 Ah"),
        ({"area": [1.0, 0.0]}, "cell 1 is 0 Ah"),
        ({"lli": np.nan}, "lithium is nan Ah"),
        ({"lam_ne": [0.0, 0.3]}, "the negative electrode of cell 1 is full at 4.0"),
        ({"lam_pe": 0.5}, "the positive electrode is full at 3.3"),
        ({"lli": 1.4}, "the positive electrode is empty at 4.1"),
    ],
)
def test_losses_without_a_solution_are_refused_by_cell_and_reason(
    losses: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        balance.aged(read_parameters(CHEN), **losses)
    assert caught.value.fix


def test_pybamms_answer_next_to_a_full_electrode_is_refused() -> None:
    """PyBaMM adds 1 V at a stoichiometry of 1, and so charges a graphite that is full to 0.9996."""
    solver, new = reference(CHEN)
    small = new | {"Q_n": 0.88 * new["Q_n"]}
    assert solver.solve(small)["x_100"] > 0.9995
    with pytest.raises(UsageError, match=r"negative electrode is full at 4\.1"):
        balance.aged(read_parameters(CHEN), lam_ne=0.12)


def test_the_check_of_cells_finds_electrodes_that_disagree() -> None:
    parameters = read_parameters(CHEN)
    cells = aged_cells(parameters, lli=0.2, lam_ne=0.1)
    assert balance.capacity(parameters, cells) == pytest.approx(
        balance.aged(parameters, lli=0.2, lam_ne=0.1).capacity
    )
    forgotten = Cells(cells.x_0, cells.x_100, cells.y_0, cells.y_100, soc=0.5)
    with pytest.raises(UsageError, match="same active material"):
        balance.capacity(parameters, forgotten)


def test_the_check_of_cells_finds_a_window_of_other_voltages() -> None:
    parameters = read_parameters(CHEN)
    window = balance.aged(parameters)
    lower = window.x_100 - 0.1
    y = window.y_100 + 0.1 * balance.fresh(parameters).negative / balance.fresh(parameters).positive
    with pytest.raises(UsageError, match=r"has 4\.\d+ V instead of 4.2 V"):
        balance.capacity(parameters, Cells(window.x_0, lower, window.y_0, y, soc=0.5))
