"""What the simulator of packs promises, beside the references of other files.

Here the measure is physics and arithmetic: Kirchhoff's laws, charge, salt, energy, the same numbers
whatever the company, and events that are found where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batterykit.errors import BatterykitError
from batterykit.pack.balance import potential
from batterykit.pack.kernels import FARADAY
from batterykit.pack.network import Network, Terminals, Topology, build
from batterykit.pack.parameters import CellParameters, ElectrodeParameters, read_parameters
from batterykit.pack.scenario import draw
from batterykit.pack.simulator import (
    CELL_VOLTAGE,
    CURRENT,
    POWER,
    REASONS,
    VOLTAGE,
    Limits,
    PackSimulator,
)

FloatArray = npt.NDArray[np.float64]
Model = Literal["dfn", "spme"]

ALONE = build(1, 1, busbar=0.0, terminal=0.0)
MODELS = ("spme", "dfn")
EVENT_TIME = 0.01  # s
LIMIT = list(Limits._fields)


@pytest.fixture(scope="module")
def chen() -> CellParameters:
    return read_parameters("Chen2020")


def simulator(
    parameters: CellParameters,
    network: Network = ALONE,
    *,
    scenario: str = "fresh",
    seed: int = 0,
    packs: int = 1,
    soc: float = 0.4,
    model: Model = "spme",
    threads: int = 1,
    coupling: float = 0.0,
    **changes: npt.ArrayLike,
) -> PackSimulator:
    cells = replace(
        draw(scenario, seed, packs, network.cells, parameters, soc=soc).cells, **changes
    )
    return PackSimulator(
        parameters, network, cells, packs=packs, model=model, threads=threads, coupling=coupling
    )


def reasons(packs: PackSimulator) -> list[str]:
    return [REASONS[int(reason)] for reason in packs.reason]


def mean_stoichiometry(packs: PackSimulator, side: str) -> FloatArray:
    """Return the mean over the electrode, (packs * size,)."""
    mean = packs._states[side]["mean"]
    if mean.shape[1] == 1:
        return np.asarray(mean[:, 0].copy())
    width = packs._model[0][side]["width"]
    return np.asarray(mean @ width / width.sum())


def electrode_charge(packs: PackSimulator, side: str) -> FloatArray:
    """Return what fills the electrode from 0 to 1 [C], (packs * size,)."""
    p = packs.parameters
    e: ElectrodeParameters = getattr(p, side)
    active = np.ravel({"negative": packs.cells.ne_active, "positive": packs.cells.pe_active}[side])
    volume = p.electrode_area * np.ravel(packs.cells.area) * e.thickness
    return np.asarray(FARADAY * e.max_concentration * e.active_fraction * active * volume)


def salt(packs: PackSimulator) -> FloatArray:
    return np.asarray(packs._states["salt"] @ packs._model[0]["volume"])


# --- Kirchhoff -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("topology", ["series-groups", "parallel-strings"])
@pytest.mark.parametrize("terminals", ["left", "right", "left-right", "right-left"])
@pytest.mark.parametrize("busbar", [0.0, 1e-4, 1e-3])
def test_the_currents_of_every_group_sum_to_the_packs_in_every_step(
    chen: CellParameters, model: Model, terminals: Terminals, topology: Topology, busbar: float
) -> None:
    network = build(3, 4, busbar=busbar, connection=5e-4, terminals=terminals, topology=topology)
    packs = simulator(chen, network, scenario="aged", packs=2, model=model)
    for current, dt in ((15.0, 1.0), (15.0, 30.0), (-30.0, 30.0), (0.0, 30.0), (30.0, 30.0)):
        packs.step(CURRENT, current, dt)
        groups = packs.current.reshape(2, 4, 3).sum(axis=2)
        assert np.abs(groups - current).max() <= 1e-9
        assert reasons(packs) == ["", ""]
    assert np.ptp(packs.current[0]) > 1e-3, "the cells are unequal"


@pytest.mark.parametrize(
    ("parallel", "series"),
    [
        (1, 100),
        (3, 6),
        (8, 4),
        (3, 30),
        (20, 30),
    ],
)
def test_packs_of_any_shape_keep_kirchhoffs_current_law(
    chen: CellParameters, parallel: int, series: int
) -> None:
    packs = simulator(chen, build(parallel, series), scenario="spread")
    for dt in (1.0, 30.0):
        packs.step(CURRENT, 5.0 * parallel, dt)
        groups = packs.current.reshape(series, parallel).sum(axis=1)
        assert np.abs(groups - 5.0 * parallel).max() <= 1e-9


def circuit_residual(packs: PackSimulator) -> float:
    """Return the least residual [V] that any potentials of the nodes leave in Kirchhoff's laws.

    Currents at the nodes are counted in volts, by the resistance of a busbar.
    """
    n = packs.network
    row = np.eye(n.nodes + 1)[:, :-1]  # of a node; ground, the last, is zero
    cells = row[n.plus] - row[n.minus]
    across = packs.voltage[0] + packs.current[0] * n.series_resistance
    bars = row[n.resistor_nodes[:, 0]] - row[n.resistor_nodes[:, 1]]
    law = bars.T @ (bars / n.resistance[:, None])
    flow = packs.pack_current[0] * row[n.terminal] - cells.T @ packs.current[0]
    scale = float(n.resistance[0])
    matrix = np.vstack([cells, scale * law, row[n.terminal]])
    leads = packs.pack_current[0] * n.terminal_resistance
    side = np.concatenate([across, scale * flow, [packs.pack_voltage[0] - leads]])
    found = np.linalg.lstsq(matrix, side, rcond=None)[0]
    return float(np.abs(matrix @ found - side).max())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("topology", ["series-groups", "parallel-strings"])
@pytest.mark.parametrize("terminals", ["left", "left-right"])
def test_one_set_of_potentials_explains_all_voltages_and_currents(
    chen: CellParameters, model: Model, terminals: Terminals, topology: Topology
) -> None:
    network = build(3, 3, busbar=1e-3, connection=1e-3, terminals=terminals, topology=topology)
    packs = simulator(chen, network, scenario="aged", model=model)
    for current, dt in ((15.0, 10.0), (-15.0, 30.0)):
        packs.step(CURRENT, current, dt)
        assert circuit_residual(packs) < 2e-7


def test_without_busbars_cells_in_parallel_have_one_voltage(chen: CellParameters) -> None:
    packs = simulator(chen, build(4, 2, busbar=0.0), scenario="aged", model="dfn")
    packs.step(CURRENT, 20.0, 10.0)
    groups = packs.voltage.reshape(2, 4)
    assert np.ptp(groups, axis=1).max() < 1e-7
    assert packs.pack_voltage[0] == pytest.approx(
        groups[:, 0].sum() + 20.0 * packs.network.terminal_resistance, abs=1e-7
    )


def test_equal_cells_without_busbars_share_equally(chen: CellParameters) -> None:
    packs = simulator(chen, build(3, 2, busbar=0.0))
    packs.step(CURRENT, 15.0, 10.0)
    np.testing.assert_allclose(packs.current, 5.0, rtol=1e-12)


# --- charge, salt, energy ------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "longest"), [("spme", 30.0), ("dfn", 3.0), ("dfn", 30.0)])
def test_charge_and_salt_are_kept_in_every_cell(
    chen: CellParameters, model: Model, longest: float
) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged", packs=2, model=model)
    start = {side: mean_stoichiometry(packs, side) for side in ("negative", "positive")}
    salt_before, charge = salt(packs), np.zeros(8)
    random = np.random.default_rng(0)
    for _ in range(150):
        dt = random.uniform(0.1, longest)
        packs.step(CURRENT, random.uniform(-8, 12), dt)
        charge += np.ravel(packs.current) * dt
    assert reasons(packs) == ["", ""]
    assert np.abs(charge).min() > 100  # C
    for side, sign in (("negative", 1), ("positive", -1)):
        filled = mean_stoichiometry(packs, side) - start[side]
        np.testing.assert_allclose(sign * filled * electrode_charge(packs, side), charge, rtol=1e-9)
    np.testing.assert_allclose(salt(packs), salt_before, rtol=1e-11)
    window = np.ravel(packs.cells.x_100) - np.ravel(packs.cells.x_0)
    soc = (mean_stoichiometry(packs, "negative") - np.ravel(packs.cells.x_0)) / window
    np.testing.assert_allclose(np.ravel(packs.soc), soc, rtol=1e-12)


def stored_energy(packs: PackSimulator, soc_from: float, soc_to: float) -> float:
    """Return the integral of the equilibrium voltage over charge [J], of one cell."""
    c = {name: float(np.ravel(getattr(packs.cells, name))[0]) for name in ("x_0", "x_100")}
    c |= {name: float(np.ravel(getattr(packs.cells, name))[0]) for name in ("y_0", "y_100")}
    soc = np.linspace(soc_from, soc_to, 20001)
    soc = 0.5 * (soc[1:] + soc[:-1])
    p = packs.parameters
    x, y = c["x_0"] + soc * (c["x_100"] - c["x_0"]), c["y_0"] + soc * (c["y_100"] - c["y_0"])
    voltage = potential(p.positive, y)[0] - potential(p.negative, x)[0]
    charge = electrode_charge(packs, "negative")[0] * (c["x_100"] - c["x_0"]) * (soc_to - soc_from)
    return float(np.mean(voltage) * charge)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["Chen2020", "OKane2022"])
def test_energy_in_is_stored_or_heat(name: str, model: Model) -> None:
    """Charge at 1C, rest until all has evened out, discharge, rest; OCVs without entropy."""
    cell = simulator(read_parameters(name), soc=0.3, model=model)
    start = float(cell.soc[0, 0])
    energy = heat = through = 0.0
    for current, duration, dt in (
        (5.0, 1800, 2),
        (0.0, 20000, 50),
        (-5.0, 1800, 2),
        (0, 20000, 50),
    ):
        for _ in range(int(duration / dt)):
            cell.step(CURRENT, current, dt)
            energy += current * cell.voltage[0, 0] * dt
            heat += (cell.heat - cell.heat_reversible + cell.heat_mixing)[0, 0] * dt
            through += abs(current) * cell.voltage[0, 0] * dt
        if current == 0.0:
            stored = stored_energy(cell, start, float(cell.soc[0, 0]))
            assert abs(energy - stored - heat) <= 1e-3 * through
            assert abs(cell.voltage[0, 0] - rest_voltage(cell)) < 1e-3
    assert abs(energy - heat) <= 0.02 * heat
    assert stored == pytest.approx(0.0, abs=1e-3)


def rest_voltage(cell: PackSimulator) -> float:
    p = cell.parameters
    y, x = mean_stoichiometry(cell, "positive"), mean_stoichiometry(cell, "negative")
    return float((potential(p.positive, y)[0] - potential(p.negative, x)[0])[0])


def test_reversible_heat_is_that_of_the_entropic_coefficients() -> None:
    """Of opposite sign on charge and discharge: I T d(OCV)/dT."""
    parameters = read_parameters("Chen2020")
    tables = np.zeros_like(parameters.positive.entropic)
    tables[:, 3] = 2e-4  # V/K
    positive = replace(parameters.positive, entropic=tables)
    parameters = replace(parameters, positive=positive)
    for current in (5.0, -5.0):
        cell = simulator(parameters)
        cell.step(CURRENT, current, 1.0)
        assert cell.heat_reversible[0, 0] == pytest.approx(current * 298.15 * 2e-4, rel=1e-4)


# --- steps of time -------------------------------------------------------------------------------


def charged(
    parameters: CellParameters, model: Model, dt: float, times: FloatArray
) -> dict[str, FloatArray]:
    cell = simulator(parameters, soc=0.1, model=model)
    found: dict[str, list[float]] = {"voltage": [], "plating_potential": [], "temperature": []}
    for step in range(1, round(times[-1] / dt) + 1):
        cell.step(CURRENT, 5.0, dt)
        if np.any(np.isclose(times, step * dt)):
            for name, values in found.items():
                values.append(float(getattr(cell, name)[0, 0]))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("model", MODELS)
def test_ten_second_steps_are_within_a_millivolt_of_one_second_steps(
    chen: CellParameters, model: Model
) -> None:
    """At 1C, 25 degC: 0.6 mV after the first minute and 0.9 mV within it."""
    times = np.arange(10.0, 2410.0, 10.0)
    short, long = (charged(chen, model, dt, times) for dt in (1.0, 10.0))
    later = times > 60
    for name in ("voltage", "plating_potential"):
        off = np.abs(long[name] - short[name])
        assert off[later].max() <= 0.7e-3
        assert off.max() <= 1e-3
    assert np.abs(long["temperature"] - short["temperature"]).max() <= 0.025


@pytest.mark.parametrize("model", MODELS)
def test_the_error_of_a_step_is_of_first_order(chen: CellParameters, model: Model) -> None:
    """Temperature, diffusivities and the split of the current lag by a step; the rest is exact."""
    times = np.array([160.0, 320.0, 640.0, 1280.0])
    exact = charged(chen, model, 0.25, times)
    errors = {dt: charged(chen, model, dt, times) for dt in (10.0, 5.0, 2.5)}
    for name in ("voltage", "temperature"):
        size = [np.abs(errors[dt][name] - exact[name]).max() for dt in (10.0, 5.0, 2.5)]
        orders = np.log2(np.divide(size[:-1], size[1:]))
        assert np.all((orders > 0.8) & (orders < 2.2))


# --- events --------------------------------------------------------------------------------------

# limit -> its value, mode and set-point that lead to it within an hour, from 40 % charge
TO_LIMIT: dict[str, tuple[float, int, float]] = {
    "cell_voltage_max": (4.1, CURRENT, 5.0),
    "cell_voltage_min": (3.2, CURRENT, -5.0),
    "pack_voltage_max": (8.1, CURRENT, 5.0),
    "pack_voltage_min": (6.6, CURRENT, -5.0),
    "temperature_max": (303.0, CURRENT, 5.0),
    "plating_min": (0.03, CURRENT, 5.0),
    "soc_max": (0.55, CURRENT, 5.0),
    "soc_min": (0.25, CURRENT, -5.0),
    "current_min": (2.0, VOLTAGE, 7.8),
}


def quantity(packs: PackSimulator, limit: str) -> float:
    """Return what a limit looks at, in pack 0."""
    values = {
        "cell_voltage_max": packs.voltage[0].max(),
        "cell_voltage_min": packs.voltage[0].min(),
        "pack_voltage_max": packs.pack_voltage[0],
        "pack_voltage_min": packs.pack_voltage[0],
        "temperature_max": packs.temperature[0].max(),
        "plating_min": packs.plating_potential[0].min(),
        "current_min": abs(packs.pack_current[0]),
    }
    if limit.startswith("soc"):
        weights = np.ravel(packs.cells.ne_active) * np.ravel(packs.cells.area)
        weights = weights * (np.ravel(packs.cells.x_100) - np.ravel(packs.cells.x_0))
        return float(np.average(packs.soc[0], weights=weights))
    return float(values[limit])


def beyond(packs: PackSimulator, limit: str, value: float) -> bool:
    found = quantity(packs, limit)
    return found >= value if limit.endswith("max") else found <= value


def test_every_limit_has_a_test() -> None:
    assert set(TO_LIMIT) == set(LIMIT)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("limit", LIMIT)
def test_a_step_over_a_limit_stops_within_ten_milliseconds_after_it(
    chen: CellParameters, limit: str, model: Model
) -> None:
    value, mode, setpoint = TO_LIMIT[limit]
    packs = simulator(chen, build(1, 2), scenario="spread", model=model, soc=0.4)
    start = packs.state.copy()
    packs.advance(mode, setpoint, 3600.0, Limits(**{limit: value}))
    assert reasons(packs) == [limit]
    stopped = float(packs.elapsed[0])
    assert 1.0 < stopped < 3600.0
    assert beyond(packs, limit, value)
    packs.state[...] = start
    packs.step(mode, setpoint, stopped - EVENT_TIME)
    assert not beyond(packs, limit, value)


@pytest.mark.parametrize("limit", LIMIT)
def test_events_are_where_a_run_in_steps_of_ten_milliseconds_finds_them(
    chen: CellParameters, limit: str
) -> None:
    """Near the event: what a step's length itself changes is another test's matter."""
    value, mode, setpoint = TO_LIMIT[limit]
    packs = simulator(chen, build(1, 2), scenario="spread", soc=0.4)

    def go(dt: float) -> FloatArray:
        """Step until the limit is exceeded; return the state before that step."""
        while True:
            before = packs.state.copy()
            packs.step(mode, setpoint, dt)
            if beyond(packs, limit, value):
                packs.state[...] = before
                return before

    go(1.0)
    before = go(0.1)
    packs.advance(mode, setpoint, 0.1, Limits(**{limit: value}))
    assert reasons(packs) == [limit]
    found = float(packs.elapsed[0])
    packs.state[...] = before
    start = packs.time[0]
    go(EVENT_TIME)
    assert found == pytest.approx(packs.time[0] - start, abs=EVENT_TIME)


def test_time_and_state_after_an_event_are_those_of_a_step_that_ends_there(
    chen: CellParameters,
) -> None:
    stopped, stepped = (simulator(chen, build(2, 2), scenario="aged", model="dfn") for _ in "12")
    stopped.advance(CURRENT, 10.0, 3600.0, Limits(soc_max=0.45))
    stepped.step(CURRENT, 10.0, stopped.elapsed)
    assert stopped.time[0] == stopped.elapsed[0]
    assert np.array_equal(stopped.state, stepped.state)
    for packs in (stopped, stepped):
        packs.advance(CELL_VOLTAGE, 4.0, 20.0, Limits())
    assert np.array_equal(stopped.state, stepped.state)
    assert stopped.time[0] == stepped.time[0]


def test_packs_stop_each_at_its_own_time(chen: CellParameters) -> None:
    packs = simulator(chen, build(1, 2), packs=4, soc=0.4, scenario="fresh")
    packs.reset(soc=[[0.3], [0.5], [0.6], [0.2]])
    limits = Limits(soc_max=0.62)
    packs.advance(CURRENT, 5.0, 600.0, limits)
    charge = packs._data["capacity"].reshape(4, 2)[:, 0]
    expected = (0.62 - np.array([0.3, 0.5, 0.6, 0.2])) * charge / 5.0
    stops = expected < 600.0
    assert stops.tolist() == [False, True, True, False] or stops.tolist() == [
        False,
        True,
        True,
        False,
    ]
    assert reasons(packs) == ["soc_max" if stop else "" for stop in stops]
    assert np.all(packs.elapsed[~stops] == 600.0)
    late = packs.elapsed[stops] - expected[stops]
    assert np.all((late >= -1e-6) & (late <= EVENT_TIME))
    np.testing.assert_array_equal(packs.time, packs.elapsed)


def test_of_several_limits_the_first_that_is_crossed_stops_the_step(chen: CellParameters) -> None:
    limits = {"cell_voltage_max": 4.1, "soc_max": 0.5, "temperature_max": 330.0}
    packs = simulator(chen, soc=0.4)
    packs.advance(CURRENT, 5.0, 3600.0, Limits(**limits))
    assert reasons(packs) == ["soc_max"]
    packs = simulator(chen, soc=0.4)
    packs.advance(CURRENT, 5.0, 3600.0, Limits(**(limits | {"cell_voltage_max": 3.95})))
    assert reasons(packs) == ["cell_voltage_max"]


@pytest.mark.parametrize("dt", [0.0, 0.005, 10.0, 3600.0])
def test_a_limit_that_is_exceeded_at_the_start_stops_at_once(
    chen: CellParameters, dt: float
) -> None:
    packs = simulator(chen, soc=0.6)
    packs.advance(CURRENT, 5.0, dt, Limits(soc_max=0.5, cell_voltage_max=3.5))
    assert reasons(packs)[0] in ("soc_max", "cell_voltage_max")
    assert packs.elapsed[0] <= EVENT_TIME


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("current", [5.0, -5.0])
def test_an_hour_over_every_limit_stops_cleanly(
    chen: CellParameters, model: Model, current: float
) -> None:
    limits = Limits(4.2, 2.5, 8.4, 5.0, 330.0, 0.0, 1.0, 0.0)
    packs = simulator(chen, build(1, 2), scenario="aged", model=model)
    packs.advance(CURRENT, current, 36000.0, limits)
    assert reasons(packs)[0] in LIMIT
    assert np.all(np.isfinite(packs.state))
    assert 2.49 < packs.voltage.min() <= packs.voltage.max() < 4.21


def test_no_limit_stops_nothing(chen: CellParameters) -> None:
    packs = simulator(chen)
    packs.advance(CURRENT, 5.0, 10.0, Limits())
    assert reasons(packs) == [""]
    assert packs.elapsed[0] == 10.0


def test_a_cell_that_is_open_circuit_has_no_limit_of_voltage_or_charge(
    chen: CellParameters,
) -> None:
    packs = simulator(chen, build(2, 1), connected=np.array([True, False]))
    packs.reset(soc=[0.4, 0.95])
    packs.advance(CURRENT, 1.0, 10.0, Limits(cell_voltage_max=4.0, soc_max=0.5))
    assert packs.voltage[0, 1] > 4.05
    assert reasons(packs) == [""]


# --- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dt", [0.0, 1.0, 30.0])
def test_voltage_is_held(chen: CellParameters, model: Model, dt: float) -> None:
    packs = simulator(chen, build(3, 2), scenario="aged", packs=2, model=model)
    for target in ([7.6, 7.4], [7.5, 7.7]):
        packs.step(VOLTAGE, target, dt)
        assert reasons(packs) == ["", ""]
        np.testing.assert_allclose(packs.pack_voltage, target, rtol=0, atol=1e-6)
        assert circuit_residual(packs) < 2e-7


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dt", [0.0, 1.0, 5.0])  # a longer step may be cut: see `current`
def test_power_is_held_on_charge_and_discharge(
    chen: CellParameters, model: Model, dt: float
) -> None:
    packs = simulator(chen, build(3, 2), scenario="aged", packs=3, model=model)
    target = np.array([100.0, -150.0, 0.0])
    packs.step(POWER, target, dt)
    np.testing.assert_allclose(packs.pack_voltage * packs.pack_current, target, rtol=0, atol=1e-6)
    assert np.sign(packs.pack_current).tolist() == [1, -1, 0]
    assert reasons(packs) == ["", "", ""]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dt", [0.0, 1.0, 30.0])
def test_the_highest_cell_is_held_and_no_other_is_higher(
    chen: CellParameters, model: Model, dt: float
) -> None:
    packs = simulator(chen, build(3, 3), scenario="aged", model=model)
    for target in (4.05, 4.0, 4.1):
        packs.step(CELL_VOLTAGE, target, dt)
        assert packs.voltage.max() == pytest.approx(target, abs=1e-6)


def test_modes_may_differ_from_pack_to_pack(chen: CellParameters) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged", packs=4)
    packs.step(
        [CURRENT, VOLTAGE, POWER, CELL_VOLTAGE], [6.0, 7.7, -50.0, 4.0], [1.0, 5.0, 10.0, 30.0]
    )
    assert packs.pack_current[0] == pytest.approx(6.0, abs=1e-9)
    assert packs.pack_voltage[1] == pytest.approx(7.7, abs=1e-6)
    assert packs.pack_current[2] * packs.pack_voltage[2] == pytest.approx(-50.0, abs=1e-6)
    assert packs.voltage[3].max() == pytest.approx(4.0, abs=1e-6)
    assert packs.elapsed.tolist() == [1.0, 5.0, 10.0, 30.0]


@pytest.mark.parametrize("model", MODELS)
def test_a_hold_of_a_voltage_ends_at_rest_at_that_voltage(
    chen: CellParameters, model: Model
) -> None:
    cell = simulator(chen, soc=0.5, model=model)
    for _ in range(600):
        cell.step(VOLTAGE, 4.0, 30.0)
    assert abs(cell.current[0, 0]) < 1e-3
    assert rest_voltage(cell) == pytest.approx(4.0, abs=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", MODELS)
def test_a_power_that_cannot_be_met_is_a_reason_and_other_packs_go_on(
    chen: CellParameters, model: Model, threads: int
) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged", packs=3, model=model, threads=threads)
    before = packs.state.copy()
    target = np.array([20.0, -1e5, -20.0])
    for advance in (False, True):
        packs.state[...] = before
        if advance:
            packs.advance(POWER, target, 10.0, Limits())
            assert packs.elapsed.tolist() == [10.0, 0.0, 10.0]
        else:
            packs.step(POWER, target, 10.0)
        assert reasons(packs) == ["", "no_solution", ""]
        assert not advance or np.array_equal(packs.state[1], before[1])
        np.testing.assert_allclose((packs.pack_voltage * packs.pack_current)[[0, 2]], [20, -20])
    packs.state[...] = before
    packs.step(CURRENT, 5.0, 10.0)
    assert reasons(packs) == ["", "", ""], "a pack that failed goes on when asked what it can do"


@pytest.mark.parametrize("model", MODELS)
def test_salt_that_runs_out_stops_a_pack(chen: CellParameters, model: Model) -> None:
    cell = simulator(chen, soc=0.1, model=model)
    cell.advance(CURRENT, 40.0, 3600.0, Limits())
    assert reasons(cell) == ["electrolyte_depleted"]
    assert 1.0 < cell.elapsed[0] < 60.0
    assert np.all(np.isfinite(cell.state))
    assert cell._states["salt"].min() > 0


def test_a_particle_that_is_full_or_empty_stops_a_pack(chen: CellParameters) -> None:
    for current in (5.0, -5.0):
        cell = simulator(chen)
        cell.advance(CURRENT, current, 36000.0, Limits())
        assert reasons(cell) == ["stoichiometry"]
        assert np.all(np.isfinite(cell.state))


def test_a_temperature_outside_of_the_tables_stops_a_pack(chen: CellParameters) -> None:
    cell = simulator(chen, cooling=0.0, heat_capacity=0.01)
    cell.advance(CURRENT, 10.0, 3600.0, Limits())
    assert reasons(cell) == ["temperature_range"]
    assert cell.temperature[0, 0] == pytest.approx(chen.temperature_grid[-1], abs=0.5)


CURRENTS = np.array([-15.0, -10.0, -7.5, -5.0, -1.0, 0.0, 1.0, 5.0, 7.5, 10.0, 15.0])  # A


@pytest.mark.parametrize(
    ("model", "celsius"),
    [
        ("spme", 0),
        ("spme", 25),
        ("spme", 45),
        ("dfn", 0),
        ("dfn", 25),
        ("dfn", 45),
    ],
)
def test_any_step_of_current_has_a_solution(
    chen: CellParameters, model: Model, celsius: float
) -> None:
    """Half a minute at one current, then another, at once and over ten seconds."""
    first, second = (values.ravel() for values in np.meshgrid(CURRENTS, CURRENTS))
    packs = simulator(chen, packs=len(first), soc=0.5, model=model, ambient=273.15 + celsius)
    for dt in (0.0, 10.0, 10.0, 10.0):
        packs.step(CURRENT, first, dt)
    good = packs.reason == 0
    assert np.all(good[np.abs(first) <= 10.0])
    before = packs.state.copy()
    for dt in (0.0, 10.0):
        packs.state[...] = before
        packs.step(CURRENT, second, dt)
        failed = good & np.array([reason == "no_solution" for reason in reasons(packs)])
        assert not failed.any(), list(zip(first[failed], second[failed], strict=True))


# --- broken and odd cells ------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("busbar", [0.0, 1e-4])
def test_a_cell_that_is_open_circuit_carries_nothing_and_the_others_share(
    chen: CellParameters, model: Model, busbar: float
) -> None:
    connected = np.array([True, True, True, False, True, True])
    network = build(3, 2, busbar=busbar)
    packs = simulator(chen, network, scenario="spread", model=model, connected=connected)
    rested = packs.voltage[0, 3]
    for current in (15.0, -15.0):
        packs.step(CURRENT, current, 30.0)
        assert packs.current[0, 3] == 0.0
        assert packs.current[0, 4:].sum() == pytest.approx(current, abs=1e-9)
    assert packs.voltage[0, 3] == pytest.approx(rested, abs=1e-6)
    assert packs.soc[0, 3] == pytest.approx(np.ravel(packs.cells.soc)[3], abs=1e-15)


@pytest.mark.parametrize(
    ("topology", "connected"),
    [
        ("series-groups", [False, False, True, True, True, True]),
        ("parallel-strings", [False, True, False, True, True, True]),
    ],
    ids=["a whole group", "two cells of a string"],
)
def test_open_cells_that_interrupt_the_circuit_are_refused(
    chen: CellParameters, topology: Topology, connected: list[bool]
) -> None:
    with pytest.raises(
        BatterykitError, match=r"open cells cut off a part of pack 0.*connect one cell"
    ):
        simulator(chen, build(2, 3, topology=topology), connected=np.array(connected))


def test_a_cell_short_of_capacity_sees_its_limit_first(chen: CellParameters) -> None:
    area = np.array([1.0, 0.8, 1.0])
    packs = simulator(chen, build(1, 3), area=area)
    packs.advance(CURRENT, 5.0, 36000.0, Limits(cell_voltage_max=4.2))
    assert packs.voltage[0].argmax() == 1
    assert packs.soc[0, 1] > packs.soc[0, 0] == pytest.approx(packs.soc[0, 2], abs=1e-9)
    gained = packs.soc[0] - 0.4
    assert gained[1] / gained[0] == pytest.approx(1 / 0.8, rel=1e-9)


def test_a_smaller_cell_in_parallel_takes_less_current(chen: CellParameters) -> None:
    packs = simulator(chen, build(2, 1, busbar=0.0), area=np.array([1.0, 0.5]), soc=0.5)
    packs.step(CURRENT, 7.5, 1.0)
    assert packs.current[0] == pytest.approx([5.0, 2.5], rel=1e-9)


# --- heat ----------------------------------------------------------------------------------------


def test_an_adiabatic_cell_keeps_all_of_its_heat(chen: CellParameters) -> None:
    cell = simulator(chen, cooling=0.0)
    heat = 0.0
    for _ in range(60):
        cell.step(CURRENT, 10.0, 10.0)
        heat += cell.heat[0, 0] * 10.0
    assert heat > 100
    assert (cell.temperature[0, 0] - 298.15) * chen.heat_capacity == pytest.approx(heat, rel=1e-9)


def test_a_hot_cell_at_rest_cools_exponentially(chen: CellParameters) -> None:
    cell = simulator(chen, soc=0.5)
    cell.reset(temperature=320.0)
    for dt in (10.0, 100.0, 390.0):
        cell.step(CURRENT, 0.0, dt)
    expected = 298.15 + (320.0 - 298.15) * np.exp(-chen.cooling * 500.0 / chen.heat_capacity)
    assert cell.temperature[0, 0] == pytest.approx(expected, abs=1e-6)


def exchanged(
    parameters: CellParameters, dt: float, capacity: npt.ArrayLike
) -> tuple[float, float, float]:
    """Return the last difference of two coupled cells [K], and what one gained and was made [J]."""
    pack = simulator(parameters, build(1, 2), coupling=0.5, cooling=0.0, heat_capacity=capacity)
    pack.reset(temperature=np.array([300.0, 330.0]))
    heat = parameters.heat_capacity * np.ravel(pack.cells.heat_capacity)
    before = heat @ pack.temperature[0]
    for _ in range(round(100 / dt)):
        pack.step(CURRENT, 0.0, dt)
    t = pack.temperature[0]
    return float(t[1] - t[0]), float(heat[0] * (t[0] - 300.0)), float(heat @ t - before)


def test_two_coupled_cells_even_out_as_the_analytic_solution_to_first_order(
    chen: CellParameters,
) -> None:
    exact = 30.0 * np.exp(-2 * 0.5 * 100 / chen.heat_capacity)
    errors = [abs(exchanged(chen, dt, 1.0)[0] - exact) for dt in (4.0, 2.0, 1.0, 0.1)]
    orders = np.log2(np.divide(errors[:2], errors[1:3]))
    assert np.all((orders > 0.85) & (orders < 1.15))
    assert errors[-1] < 3e-3 * exact


def test_coupling_moves_heat_and_makes_none(chen: CellParameters) -> None:
    for dt in (1.0, 10.0):
        _, gained, made = exchanged(chen, dt, 1.0)
        assert abs(made) <= 1e-9 * gained


def test_coupling_of_cells_of_unequal_heat_capacity_moves_heat_and_makes_none(
    chen: CellParameters,
) -> None:
    _, gained, made = exchanged(chen, 10.0, np.array([1.0, 2.0]))
    assert abs(made) <= 1e-3 * gained


def test_no_coupling_keeps_neighbours_apart(chen: CellParameters) -> None:
    pack = simulator(chen, build(1, 2), cooling=0.0)
    pack.reset(temperature=np.array([300.0, 330.0]))
    pack.step(CURRENT, 0.0, 100.0)
    assert pack.temperature[0] == pytest.approx([300.0, 330.0], abs=1e-9)


# --- the same numbers ----------------------------------------------------------------------------


def run(packs: PackSimulator, loads: list[tuple[int, float, float]]) -> FloatArray:
    for mode, setpoint, dt in loads:
        packs.step(mode, setpoint, dt)
    return packs.state.copy()


LOADS: list[tuple[int, float, float]] = [
    (CURRENT, 10.0, 10.0),
    (CURRENT, -5.0, 3.0),
    (VOLTAGE, 7.9, 20.0),
    (CELL_VOLTAGE, 4.0, 5.0),
    (POWER, -30.0, 10.0),
]


@pytest.mark.parametrize("model", MODELS)
def test_threads_and_company_change_no_bit(chen: CellParameters, model: Model) -> None:
    network = build(2, 2)
    states = {}
    for threads in (1, 2, 3):
        packs = simulator(chen, network, scenario="aged", packs=5, model=model, threads=threads)
        states[threads] = run(packs, LOADS)
    assert np.array_equal(states[1], states[2])
    assert np.array_equal(states[1], states[3])
    cells = draw("aged", 0, [3], 4, chen, soc=0.4).cells
    alone = PackSimulator(chen, network, cells, model=model, threads=1)
    assert np.array_equal(run(alone, LOADS)[0], states[1][3])


@pytest.mark.parametrize("model", MODELS)
def test_advance_without_a_limit_is_a_step(chen: CellParameters, model: Model) -> None:
    stepped, advanced = (simulator(chen, build(2, 2), scenario="aged", model=model) for _ in "12")
    run(stepped, LOADS)
    for mode, setpoint, dt in LOADS:
        advanced.advance(mode, setpoint, dt, Limits())
    assert np.array_equal(stepped.state, advanced.state)
    assert np.array_equal(stepped.time, advanced.time)


@pytest.mark.parametrize("model", MODELS)
def test_reset_makes_a_new_simulator(chen: CellParameters, model: Model) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged", model=model)
    first = packs.state.copy()
    once = run(packs, LOADS)
    packs.reset()
    assert np.array_equal(packs.state, first)
    assert packs.time[0] == 0.0
    assert np.array_equal(run(packs, LOADS), once)


@pytest.mark.parametrize("model", MODELS)
def test_a_state_that_was_saved_goes_on_as_if_nothing_had_happened(
    chen: CellParameters, model: Model
) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged", model=model)
    packs.step(CURRENT, 8.0, 10.0)
    saved = packs.state.copy()
    once = run(packs, LOADS)
    packs.state[...] = saved
    assert np.array_equal(run(packs, LOADS), once)


@pytest.mark.parametrize("model", MODELS)
def test_a_state_that_was_saved_goes_on_to_nanovolts_in_another_simulator_too(
    chen: CellParameters, model: Model
) -> None:
    one, other = (simulator(chen, build(2, 2), scenario="aged", model=model) for _ in "12")
    one.step(CURRENT, 8.0, 10.0)
    other.state[...] = one.state
    run(one, LOADS)
    run(other, LOADS)
    np.testing.assert_allclose(other.voltage, one.voltage, rtol=0, atol=1e-8)
    np.testing.assert_allclose(other.current, one.current, rtol=0, atol=1e-6)


def test_a_pack_whose_step_is_nan_is_left_alone(chen: CellParameters) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged", packs=2)
    packs.step(CURRENT, 8.0, 10.0)
    state, voltage = packs.state[0].copy(), packs.voltage[0].copy()
    for step in (packs.step, lambda *load: packs.advance(*load, Limits(soc_max=0.0))):
        step(CURRENT, [np.nan, 8.0], [np.nan, 10.0])
        assert np.array_equal(packs.state[0], state)
        assert np.array_equal(packs.voltage[0], voltage)
        assert packs.elapsed[0] == 0.0
        assert packs.time[0] == 10.0
        assert reasons(packs)[0] == ""
    assert not np.array_equal(packs.state[1], state)


@pytest.mark.parametrize("model", MODELS)
def test_a_step_of_no_length_tells_the_outputs_and_moves_nothing(
    chen: CellParameters, model: Model
) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged", model=model)
    run(packs, LOADS[:2])
    before = packs._states.copy()
    time = packs.time.copy()
    packs.step(CURRENT, 0.0, 0.0)
    rest = packs.voltage.copy()
    packs.step(CURRENT, 20.0, 0.0)
    assert np.all(packs.voltage > rest + 0.05)
    after = packs._states
    np.testing.assert_allclose(after["temperature"], before["temperature"], rtol=1e-15)
    np.testing.assert_allclose(after["salt"], before["salt"], rtol=1e-14)
    for side in ("negative", "positive"):
        assert np.array_equal(after[side]["mean"], before[side]["mean"])
        np.testing.assert_allclose(after[side]["mode"], before[side]["mode"], rtol=0, atol=1e-15)
    assert np.array_equal(packs.time, time)


def test_a_new_cell_is_at_the_equilibrium_of_its_state_of_charge(chen: CellParameters) -> None:
    for soc, voltage in ((0.0, 2.5), (1.0, 4.2)):
        cell = simulator(chen, soc=0.5)
        cell.reset(soc=soc)
        assert cell.voltage[0, 0] == pytest.approx(voltage, abs=1e-5)
        assert cell.soc[0, 0] == pytest.approx(soc, abs=1e-12)
        assert cell.voltage[0, 0] == pytest.approx(rest_voltage(cell), abs=1e-9)


def test_a_step_allocates_no_memory_that_stays(chen: CellParameters) -> None:
    packs = simulator(chen, build(2, 2), scenario="aged")
    views = [packs.state, packs.voltage, packs.current, packs.pack_voltage]
    addresses = [view.ctypes.data for view in views]
    run(packs, LOADS)
    now = [packs.state, packs.voltage, packs.current, packs.pack_voltage]
    assert [view.ctypes.data for view in now] == addresses


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "demand"),
    [
        ("soc", 1.2, "must be between 0 and 1"),
        ("soc", -0.1, "must be between 0 and 1"),
        ("soc", np.nan, "must be a finite number"),
        ("x_100", 1.3, "must be between 0 and 1"),
        ("y_0", 1.01, "must be between 0 and 1"),
        ("x_100", 0.0, "must be greater than x_0"),
        ("y_0", 0.1, "must be greater than y_100"),
        ("area", 0.0, "must be greater than zero"),
        ("area", np.inf, "must be a finite number"),
        ("ne_active", 0.0, "must be greater than zero"),
        ("pe_active", -1.0, "must be greater than zero"),
        ("pe_diffusivity", 0.0, "must be greater than zero"),
        ("ne_rate", np.nan, "must be a finite number"),
        ("heat_capacity", 0.0, "must be greater than zero"),
        ("cooling", -1.0, "must not be negative"),
        ("contact_resistance", -1e-3, "must not be negative"),
        ("film_resistance", -1e-3, "must not be negative"),
    ],
)
def test_cells_that_cannot_be_are_refused_by_name_and_place(
    chen: CellParameters, field: str, value: float, demand: str
) -> None:
    good = draw("spread", 0, 2, 4, chen).cells
    values = np.array(np.broadcast_to(np.asarray(getattr(good, field), float), (2, 4)))
    values[1, 2] = value
    with pytest.raises(BatterykitError, match=f"'{field}' of cell 2 in pack 1.*{demand}"):
        PackSimulator(chen, build(2, 2), replace(good, **{field: values}), packs=2)


def test_cells_of_another_shape_are_refused_by_name(chen: CellParameters) -> None:
    cells = draw("spread", 0, 1, 4, chen).cells
    with pytest.raises(
        BatterykitError, match=r"has shape \(1, 4\), which does not fit 1 packs of 6"
    ):
        PackSimulator(chen, build(3, 2), cells)


def test_a_temperature_in_degrees_celsius_is_refused(chen: CellParameters) -> None:
    with pytest.raises(BatterykitError, match="kelvin"):
        simulator(chen, ambient=25.0)
    with pytest.raises(BatterykitError, match="kelvin"):
        simulator(chen).reset(temperature=25.0)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda cell: cell.reset(soc=1.5), "state of charge"),
        (lambda cell: cell.reset(soc=-0.5), "state of charge"),
        (lambda cell: cell.reset(soc=np.nan), "state of charge"),
        (lambda cell: cell.reset(temperature=np.nan), "temperature"),
        (lambda cell: cell.reset(soc=[0.1, 0.2]), r"shape \(2,\)"),
        (lambda cell: cell.step(CURRENT, 5.0, -1.0), "length of 0 s or more"),
        (lambda cell: cell.step(CURRENT, np.nan, 1.0), "set-point"),
        (lambda cell: cell.step(CURRENT, np.inf, 1.0), "set-point"),
        (lambda cell: cell.step(CURRENT, [1.0, 2.0], 1.0), r"set-point has shape \(2,\)"),
        (lambda cell: cell.step(CURRENT, 1.0, [1.0, 2.0]), r"dt has shape \(2,\)"),
        (lambda cell: cell.advance(CURRENT, 5.0, -1.0, Limits()), "length of 0 s or more"),
    ],
)
def test_what_is_no_step_and_no_state_is_refused(
    chen: CellParameters, action: Callable[[PackSimulator], Any], message: str
) -> None:
    cell = simulator(chen)
    before = cell.state.copy()
    with pytest.raises(BatterykitError, match=message):
        action(cell)
    assert np.array_equal(cell.state, before)


@pytest.mark.parametrize(
    "action",
    [
        lambda chen: simulator(chen).step(7, 5.0, 1.0),
        lambda chen: simulator(chen).step(1.5, 5.0, 1.0),
        lambda chen: simulator(chen).step(CURRENT, 5.0, np.inf),
        lambda chen: simulator(chen, build(1, 2), coupling=-1.0),
        lambda chen: simulator(chen, build(1, 2), coupling=np.nan),
        lambda chen: simulator(chen, model="p2d"),
    ],
    ids=["mode 7", "mode 1.5", "endless step", "negative coupling", "no coupling", "model"],
)
def test_unknown_modes_and_models_and_endless_steps_are_refused(
    chen: CellParameters, action: Callable[[CellParameters], Any]
) -> None:
    with pytest.raises(BatterykitError):
        action(chen)


# --- anything ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    parallel=st.integers(1, 4),
    series=st.integers(1, 4),
    model=st.sampled_from(MODELS),
    loads=st.lists(st.tuples(st.floats(-1, 1), st.sampled_from([0.0, 0.1, 1, 10])), max_size=12),
)
def test_whatever_the_currents_laws_are_kept(
    seed: int, parallel: int, series: int, model: Model, loads: list[tuple[float, float]]
) -> None:
    chen = read_parameters("Chen2020")
    packs = simulator(
        chen, build(parallel, series), scenario="aged", seed=seed, model=model, soc=0.5
    )
    start, charge, before = mean_stoichiometry(packs, "negative"), 0.0, salt(packs)
    for crate, dt in loads:
        current = crate * 5.0 * parallel
        packs.step(CURRENT, current, dt)
        assert reasons(packs) == [""]
        groups = packs.current[0].reshape(series, parallel).sum(axis=1)
        assert np.abs(groups - current).max() <= 1e-9
        charge = charge + packs.current[0] * dt
        assert np.all(np.isfinite(packs.state))
        assert np.all((packs.voltage > 2.0) & (packs.voltage < 4.8))
    gained = (mean_stoichiometry(packs, "negative") - start) * electrode_charge(packs, "negative")
    np.testing.assert_allclose(gained, charge, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(salt(packs), before, rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), crate=st.floats(0.05, 2.0), model=st.sampled_from(MODELS))
def test_a_discharge_empties_and_a_charge_fills_every_cell_in_series(
    seed: int, crate: float, model: Model
) -> None:
    chen = read_parameters("Chen2020")
    for sign in (-1, 1):
        packs = simulator(chen, build(1, 3), scenario="aged", seed=seed, model=model, soc=0.5)
        last = packs.soc.copy()
        for _ in range(5):
            packs.step(CURRENT, sign * crate * 5.0, 10.0)
            assert np.all(sign * (packs.soc - last) > 0)
            last = packs.soc.copy()


@pytest.mark.parametrize(
    ("field", "value", "rises"),
    [
        ("contact_resistance", 0.01, True),
        ("film_resistance", 0.01, True),
        ("area", 0.5, True),
        ("ne_rate", 0.1, True),
        ("pe_rate", 0.1, True),
        ("ne_diffusivity", 0.5, True),
        ("pe_diffusivity", 0.5, True),
        ("ne_active", 0.7, True),
        ("pe_active", 0.7, True),
        ("ambient", 318.15, False),
    ],
)
def test_a_worse_cell_needs_more_voltage_for_the_same_current(
    chen: CellParameters, field: str, value: float, rises: bool
) -> None:
    equal = {"ambient": 298.15, "contact_resistance": 0.0, "film_resistance": 0.0}.get(field, 1.0)
    for model in MODELS:
        packs = simulator(chen, build(1, 2), model=model, **{field: np.array([equal, value])})
        packs.step(CURRENT, 5.0, 10.0)
        assert (packs.voltage[0, 1] > packs.voltage[0, 0]) == rises


@pytest.mark.parametrize(
    ("mode", "setpoint", "dt", "celsius"),
    [
        (VOLTAGE, 22.97, 10.0, 25),
        (VOLTAGE, 23.588, 1.0, 25),
        (CELL_VOLTAGE, 3.954, 30.0, -10),
        (CELL_VOLTAGE, 3.911, 10.0, 0),
    ],
)
def test_a_voltage_far_from_that_of_a_pack_at_rest_is_reached_in_one_step(
    chen: CellParameters, mode: int, setpoint: float, dt: float, celsius: float
) -> None:
    packs = simulator(
        chen, build(3, 6), scenario="aged", ambient=celsius + 273.15, soc=0.5, model="dfn"
    )
    packs.step(mode, setpoint, dt)
    assert reasons(packs) == [""]


def test_a_limit_that_is_exceeded_when_the_current_begins_stops_the_pack_there(
    chen: CellParameters,
) -> None:
    packs = simulator(chen, soc=0.6)
    packs.step(CELL_VOLTAGE, 4.2, 0.0)
    at_once = packs.plating_potential[0, 0]
    packs.advance(CELL_VOLTAGE, 4.2, 600.0, Limits(plating_min=at_once + 1e-3))
    assert reasons(packs) == ["plating_min"]
    assert packs.elapsed[0] == 0.0


def test_a_step_that_cannot_be_taken_leaves_the_pack_as_it_was(chen: CellParameters) -> None:
    packs = simulator(chen, soc=0.9)
    packs.step(CURRENT, 1.0, 10.0)
    before = packs.state.copy(), packs.voltage.copy(), packs.time.copy()
    packs.step(CURRENT, 50.0, 3600.0)
    assert reasons(packs)[0] != ""
    for kept, now in zip(before, (packs.state, packs.voltage, packs.time), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_some_packs_begin_again_while_others_go_on(chen: CellParameters) -> None:
    packs = simulator(chen, build(2, 1), packs=3)
    packs.step(CURRENT, 10.0, 60.0)
    before = packs.state.copy()
    packs.reset(soc=0.1, packs=[1])
    assert packs.time.tolist() == [60.0, 0.0, 60.0]
    assert packs.soc[1] == pytest.approx(0.1)
    np.testing.assert_array_equal(packs.state[[0, 2]], before[[0, 2]])
    packs.reset(packs=np.array([True, False, True]))
    assert packs.soc[[0, 2]] == pytest.approx(0.4)


@pytest.mark.parametrize("current", [-2.0, -1.0, 0.0, 1.0, 2.0])
def test_a_pack_can_rest_after_a_strong_pulse_in_the_cold(current: float) -> None:
    okane = read_parameters("OKane2022")
    packs = simulator(okane, build(3, 2), scenario="shifted", packs=50, model="dfn")
    packs.reset(0.2, 273.15)
    for _ in range(10):
        packs.step(CURRENT, 60.0, 1.0)
    packs.step(CURRENT, current, 1.0)
    assert set(reasons(packs)) == {""}
