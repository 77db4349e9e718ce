"""The parts of the kernels, each beside the mathematics that it stands for."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.interpolate import PPoly, RegularGridInterpolator
from scipy.optimize import brentq

import batterykit.pack
from batterykit.pack import kernels
from batterykit.pack.balance import aged
from batterykit.pack.cell import Cells
from batterykit.pack.kernels import FARADAY
from batterykit.pack.network import build
from batterykit.pack.parameters import CellParameters, read_parameters
from batterykit.pack.simulator import CURRENT, MODES, Limits, PackSimulator

FloatArray = npt.NDArray[np.float64]

ALONE = build(1, 1, busbar=0.0, terminal=0.0)


@pytest.fixture(scope="module")
def chen() -> CellParameters:
    return read_parameters("Chen2020")


def isothermal(parameters: CellParameters, soc: float = 0.5) -> PackSimulator:
    """Return one cell whose temperature never moves."""
    window = aged(parameters)
    cells = Cells(
        x_0=window.x_0,
        x_100=window.x_100,
        y_0=window.y_0,
        y_100=window.y_100,
        soc=soc,
        heat_capacity=1e12,
    )
    return PackSimulator(parameters, ALONE, cells, model="spme", threads=1)


# --- particles -----------------------------------------------------------------------------------


def sphere_response(time: FloatArray, terms: int = 4000) -> FloatArray:
    """Crank (1975) eq. 6.45: surface less mean after a step of flux, in units of j R / (F c D)."""
    roots = [
        brentq(lambda b: np.sin(b) - b * np.cos(b), n * np.pi + 1e-9, (n + 0.5) * np.pi)
        for n in range(1, 60)
    ]
    # beyond: tan b = b has b -> (n + 1/2) pi - 1 / ((n + 1/2) pi)
    n = (np.arange(60, terms) + 0.5) * np.pi
    squares = np.append(np.square(roots), np.square(n - 1 / n))
    sums = np.array([np.sum(np.exp(-squares * one) / squares) for one in time])
    tail = 0.1 - np.sum(1 / squares)  # sum of 1 / b2 is 1/10: what the terms left out add at once
    return np.asarray(0.2 - 2 * (sums + tail * (time == 0)))


def test_the_modes_step_response_is_that_of_a_sphere_within_seven_in_ten_thousand() -> None:
    time = np.geomspace(1e-6, 10, 2000)
    modal = np.zeros_like(time)
    for decay, weight in MODES:
        modal += weight * (1 - np.exp(-decay * time))
    error = np.abs(modal - sphere_response(time)) / 0.2
    assert error.max() <= 7.5e-4


def test_the_modes_response_is_no_further_off_at_shorter_times() -> None:
    time = np.geomspace(1e-12, 1e-6, 300)
    modal = sum(weight * (1 - np.exp(-decay * time)) for decay, weight in MODES)
    first = 2 * np.sqrt(time / np.pi)  # of a half-space; the sphere's own to 3 t
    assert np.abs(modal - first + 0.0).max() / 0.2 <= 6e-3


def test_the_weights_of_the_modes_sum_to_a_fifth(chen: CellParameters) -> None:
    assert sum(weight for _, weight in MODES) == pytest.approx(0.2, rel=1e-5)
    used = isothermal(chen)._model[0]["weight"]
    assert used.sum() == pytest.approx(0.2, rel=1e-15)


def radial(diffusivity: float, radius: float, flux: float, times: FloatArray) -> FloatArray:
    """Solve Fick's law in a sphere by finite volumes in scipy; surface stoichiometry less start.

    `flux` is -dc/dr D at the surface in stoichiometries, positive outwards.
    """
    faces = radius * np.sin(0.5 * np.pi * np.linspace(0, 1, 401))  # crowded at the surface
    centres = 0.5 * (faces[1:] + faces[:-1])
    volumes = np.diff(faces**3) / 3
    distance = np.diff(centres)

    def change(_: float, c: FloatArray) -> FloatArray:
        through = np.zeros(len(faces))
        through[1:-1] = -diffusivity * faces[1:-1] ** 2 * np.diff(c) / distance
        through[-1] = flux * radius**2
        return -np.diff(through) / volumes

    bands = 1
    found = solve_ivp(
        change,
        (0, times[-1]),
        np.zeros(len(centres)),
        method="LSODA",
        t_eval=times,
        rtol=1e-8,
        atol=1e-11,
        lband=bands,
        uband=bands,
    )
    assert found.success
    return np.asarray(found.y[-1] - flux / diffusivity * (radius - centres[-1]))


@pytest.mark.parametrize("steps", [[1.0] * 100, [50.0, 50.0], [100.0]], ids=len)
def test_a_particle_at_constant_flux_is_that_of_scipy_whatever_the_steps(
    chen: CellParameters, steps: list[float]
) -> None:
    simulator = isothermal(chen)
    particle = simulator._states["negative"]
    start = float(particle["mean"][0, 0])
    for step in steps:
        simulator.step(CURRENT, 5.0, step)
    e = chen.negative
    diffusivity = float(
        np.exp(np.interp(1 / 298.15, chen.inverse_temperature_grid, e.log_diffusivity))
    )
    j = float(particle["flux"][0, 0])  # A/m2
    flux = j / (FARADAY * e.max_concentration)
    surface = radial(diffusivity, e.particle_radius, flux, np.array([100.0]))[0]
    weight = simulator._model[0]["weight"]
    found = float(particle["mean"][0, 0] + particle["mode"][0, 0] @ weight) - start
    scale = abs(flux) * e.particle_radius / diffusivity / 5
    assert found == pytest.approx(surface, abs=7.5e-4 * scale)
    surface_area = 3 * e.active_fraction / e.particle_radius
    assert j == pytest.approx(-5.0 / (chen.electrode_area * surface_area * e.thickness), rel=1e-12)


def test_long_steps_and_short_ones_end_at_the_same_modes(chen: CellParameters) -> None:
    one, many = isothermal(chen), isothermal(chen)
    one.step(CURRENT, 5.0, 100.0)
    for _ in range(100):
        many.step(CURRENT, 5.0, 1.0)
    for side in ("negative", "positive"):
        for part in ("mean", "mode"):
            np.testing.assert_allclose(
                one._states[side][part], many._states[side][part], rtol=1e-11, atol=1e-15
            )


# --- electrolyte ---------------------------------------------------------------------------------


def plain_salt(parameters: CellParameters) -> CellParameters:
    """Return the cell with an electrolyte of constant diffusivity."""
    constant = np.full_like(parameters.electrolyte_diffusivity, 2e-10)
    return replace(parameters, electrolyte_diffusivity=constant)


def salt_after(simulator: PackSimulator, current: float, dt: float, steps: int) -> FloatArray:
    simulator.reset()
    for _ in range(steps):
        simulator.step(CURRENT, current, dt)
    return np.asarray(simulator._states["salt"][0].copy())


def steady_salt(p: CellParameters, current: float, edges: FloatArray) -> FloatArray:
    """Return the mean over each volume of the parabolas that constant i settles at [mol/m3]."""
    i = current / p.electrode_area
    thickness = (p.negative.thickness, p.separator_thickness, p.positive.thickness)
    transport = (
        p.negative.transport_efficiency,
        p.separator_transport_efficiency,
        p.positive.transport_efficiency,
    )
    porosity = (p.negative.porosity, p.separator_porosity, p.positive.porosity)
    a, b = thickness[0], thickness[0] + thickness[1]
    end = sum(thickness)
    drive = -(1 - p.transference) * i / FARADAY / 2e-10
    points = np.linspace(0, end, 200001)
    middle = 0.5 * (points[1:] + points[:-1])
    # ionic current -i x/L_n, -i, -i (end - x)/L_p on charge; the flux of salt balances it
    share = np.clip(np.minimum(middle / a, (end - middle) / thickness[2]), 0, 1)
    where = np.digitize(middle, [a, b])
    slope = -drive * share / np.asarray(transport)[where]
    c = np.cumsum(slope) * np.diff(points)
    weight = np.asarray(porosity)[where]
    c += p.electrolyte_concentration - np.average(c, weights=weight)
    return np.array([c[(middle > lo) & (middle < hi)].mean() for lo, hi in pairwise(edges)])


def test_salt_settles_at_the_parabolas_of_the_analytic_solution(chen: CellParameters) -> None:
    parameters = plain_salt(chen)
    simulator = isothermal(parameters)
    for _ in range(100):  # ten times its slowest time constant, at almost no change of charge
        simulator.step(CURRENT, 0.5, 20.0)
    width = simulator._model[0]["width"]
    expected = steady_salt(parameters, 0.5, np.append(0, np.cumsum(width)))
    found = simulator._states["salt"][0]
    assert np.ptp(expected) > 10
    assert np.abs(found - expected).max() < 2e-3 * np.ptp(expected)


def test_the_step_of_the_salt_is_of_second_order(chen: CellParameters) -> None:
    simulator = isothermal(plain_salt(chen))
    exact = salt_after(simulator, 5.0, 0.125, 1280)
    errors = [
        np.abs(salt_after(simulator, 5.0, dt, int(160 / dt)) - exact).max() for dt in (8, 4, 2)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(orders > 1.7), (errors, orders)


def test_a_very_long_step_damps_what_the_salt_remembers(chen: CellParameters) -> None:
    simulator = isothermal(plain_salt(chen), 0.5)
    before = np.ptp(salt_after(simulator, 5.0, 10.0, 20))
    simulator.step(CURRENT, 0.0, 1e6)
    assert np.ptp(simulator._states["salt"][0]) < 0.01 * before


# --- circuits and tables -------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(nodes=st.integers(1, 30), band=st.integers(0, 6), seed=st.integers(0, 2**32 - 1))
def test_banded_ldl_solves_what_numpy_solves(nodes: int, band: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    band = min(band, nodes - 1)
    factor = np.tril(random.normal(size=(nodes, nodes)))
    factor[np.subtract.outer(np.arange(nodes), np.arange(nodes)) > band] = 0.0
    matrix = factor @ factor.T + np.eye(nodes)
    lower = np.zeros((nodes, band + 1))
    for k in range(nodes):
        for r in range(min(band + 1, nodes - k)):
            lower[k, r] = matrix[k + r, k]
    side = random.normal(size=nodes)
    found = side.copy()
    kernels._factorise(lower)
    kernels._substitute(lower, found)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, side), rtol=1e-8, atol=1e-10)


def test_potentials_are_scipys_piecewise_cubics_and_straight_lines_beyond(
    chen: CellParameters,
) -> None:
    table = chen.negative.potential
    scipy = PPoly(table.T, np.linspace(0, 1, len(table) + 1))
    at = np.random.default_rng(0).uniform(0, 1, 500)
    found = np.array([kernels._cubic(table, one) for one in at])
    np.testing.assert_allclose(found[:, 0], scipy(at), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[:, 1], scipy(at, 1), rtol=1e-9, atol=1e-12)
    for edge, beyond in ((0.0, -0.01), (1.0, 1.01)):
        value, slope = kernels._cubic(table, edge)
        assert kernels._cubic(table, beyond) == pytest.approx(
            (value + slope * (beyond - edge), slope), rel=1e-12
        )


def test_the_electrolytes_tables_are_scipys_bilinear_ones_and_held_at_their_ends(
    chen: CellParameters,
) -> None:
    model = isothermal(chen)._model[0]
    scipy = RegularGridInterpolator(
        (chen.temperature_grid, chen.concentration_grid), chen.conductivity
    )
    random = np.random.default_rng(0)
    for _ in range(200):
        kelvin = random.uniform(chen.temperature_grid[0], chen.temperature_grid[-1])
        salt = random.uniform(0, chen.concentration_grid[-1])
        found = look_up(model, kelvin, salt)
        assert found == pytest.approx(float(scipy((kelvin, salt))), rel=1e-6, abs=1e-9)
    last = float(scipy((300.0, chen.concentration_grid[-1])))
    assert look_up(model, 300.0, 1e6) == pytest.approx(last, rel=1e-5)
    assert look_up(model, 1000.0, 1000.0) == pytest.approx(
        float(scipy((chen.temperature_grid[-1], 1000.0))), rel=1e-5
    )


def look_up(model: np.void, kelvin: float, salt: float) -> float:
    position = (kelvin - model["cold"]) / model["kelvin"]
    position = min(max(position, 0.0), len(model["conductivity"]) - 1.000001)
    row = int(position)
    column = salt / model["salt_step"]
    return float(kernels._bilinear(model["conductivity"], row, position - row, column))


# --- compiled code -------------------------------------------------------------------------------


def test_all_compiled_functions_of_the_packs_are_in_one_file() -> None:
    """Numba's cache notices a change of a function's own file and of no other."""
    folder = Path(batterykit.pack.__file__).parent
    compiling = {
        file.name: [
            ast.unparse(node)
            for node in ast.walk(ast.parse(file.read_bytes()))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("jit")
        ]
        for file in folder.rglob("*.py")
    }
    assert {name for name, calls in compiling.items() if calls} == {"kernels.py"}
    assert all("cache=True" in call for call in compiling["kernels.py"])


SECOND_PROCESS = """
import sys
import numba.core.event as event
from batterykit.pack.cell import Cells
from batterykit.pack.network import build
from batterykit.pack.parameters import read_parameters
from batterykit.pack.simulator import CURRENT, Limits, PackSimulator

cells = Cells(x_0=0.03, x_100=0.9, y_0=0.85, y_100=0.27, soc=0.5)
with event.install_recorder("numba:compile") as recorder:
    for model in ("spme", "dfn"):
        for packs in (1, 3):
            simulator = PackSimulator(
                read_parameters("Chen2020"), build(2, 3), cells, packs=packs, model=model, threads=2
            )
            simulator.step(CURRENT, 10.0, 10.0)
            simulator.advance(CURRENT, 10.0, 10.0, Limits(cell_voltage_max=4.2))
names = [entry.data["dispatcher"].py_func.__name__ for _, entry in recorder.buffer]
print("compiled:", sorted(set(names)))
"""


def test_a_second_process_compiles_nothing(chen: CellParameters) -> None:
    """The first process is this one; any circuit, number of packs and control mode will do."""
    for model in ("spme", "dfn"):
        simulator = PackSimulator(
            chen,
            ALONE,
            isothermal(chen).cells,
            model=model,
            threads=1,  # type: ignore[arg-type]
        )
        simulator.advance(CURRENT, 1.0, 1.0, Limits())
    done = subprocess.run(
        [sys.executable, "-c", SECOND_PROCESS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "compiled: []"
