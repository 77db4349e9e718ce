"""How far our packs are from PyBaMM and liionpack: cases, references, errors.

A case is one cell at one load and temperature. References are solved in processes of their own,
two at a time, because their time is not what is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from multiprocessing import get_context
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit.pack import network, scenario
from batterykit.pack.cell import Cells
from batterykit.pack.parameters import CellParameters, read_parameters
from batterykit.pack.reference import (
    Mesh,
    Model,
    Profile,
    Step,
    fresh_cells,
    liionpack_pack,
    pybamm_cell,
)
from batterykit.pack.simulator import CURRENT, REASONS, PackSimulator

FloatArray = npt.NDArray[np.float64]
Spread = Literal["fresh", "spread"]
Load = Literal["1C charge", "drive cycle"]
LOADS: tuple[Load, ...] = ("1C charge", "drive cycle")

SOURCES = ("Chen2020", "OKane2022")
KELVINS = (273.15, 298.15, 318.15)
RATES = (0.1, 0.5, 1.0, 2.0)
CHARGE_RATES = (0.5, 1.0, 2.0)  # against DFN
WINDOW, CHARGE_WINDOW = (0.1, 0.9), (0.1, 0.8)  # states of charge (1), SPMe and DFN
AWAY = (2.7, 4.15)  # V, away from the cut-offs at 2.5 and 4.2 V ...
AWAY_SECONDS = 20.0  # ... and so long before a cell reaches one: without salt it falls 1 V in 10 s
PERIOD, SLOW_PERIOD = 10.0, 60.0  # s, of what is compared; the latter below SLOW C
SLOW = 0.2

DRIVE_SECONDS, DRIVE_SOC, DRIVE_SEED = 600, 0.6, 5
DRIVE_MEAN, DRIVE_SPREAD, DRIVE_LIMITS, DRIVE_MEMORY = -0.5, 0.8, (-2.0, 1.0), 8.0  # C, C, C, s

PACK = (3, 6)  # parallel, series
PACK_SECONDS, PACK_PERIOD = 300.0, 1.0  # liionpack's explicit currents need steps this short
SOURCE = SOURCES[0]  # of all packs


@dataclass(frozen=True)
class Errors:
    """Differences to a reference [V, V, V, K, 1]; NaN where there is none."""

    voltage_rms: float = math.nan
    voltage_max: float = math.nan
    plating_rms: float = math.nan
    temperature_max: float = math.nan
    current_rms: float = math.nan


@dataclass(frozen=True)
class Case:
    """One cell at one load.

    Parameters
    ----------
    source, model
        Parameter set and PyBaMM's model.
    kelvin
        Ambient temperature.
    crate
        Positive on charge; None for the drive cycle.
    """

    source: str
    model: Model
    kelvin: float
    crate: float | None

    @property
    def load(self) -> str:
        """What is asked of the cell, for people."""
        if self.crate is None:
            return "drive cycle"
        return f"{abs(self.crate):g}C {'charge' if self.crate > 0 else 'discharge'}"

    @property
    def cell(self) -> Cells:
        """The cell at its start."""
        low, high = CHARGE_WINDOW if self.model == "dfn" else WINDOW
        soc = DRIVE_SOC if self.crate is None else (low if self.crate > 0 else high)
        return _fresh(self.source, soc, self.kelvin)

    def current(self, seconds: float) -> float:
        """Return the current in the second that ends at a time [A]."""
        capacity = read_parameters(self.source).nominal_capacity
        if self.crate is None:
            return capacity * float(drive(1)[round(seconds) - 1])
        return capacity * self.crate


@dataclass(frozen=True)
class Compared:
    """A case, the step, and how far we were off; `stop` says why we did not get to its end."""

    case: Case
    dt: float
    samples: int
    errors: Errors
    stop: str


def cases(model: Model, *, quick: bool = False) -> list[Case]:
    """Return what one model is compared in."""
    if quick:
        return [Case(SOURCE, model, 298.15, 1.0)]
    rates: list[float | None] = [*CHARGE_RATES]
    if model == "spme":
        rates = [*(sign * rate for rate in RATES for sign in (1, -1)), None]
    return [Case(s, model, t, rate) for s in SOURCES for t in KELVINS for rate in rates]


@lru_cache(maxsize=4)
def drive(hold: int, seconds: int = DRIVE_SECONDS) -> FloatArray:
    """Return a made-up drive cycle: current of each second, held for some, positive on charge [C].

    Noise with a memory of 8 s around 0.5C discharge, cut off at 2C discharge and 1C charge.
    """
    rng = np.random.default_rng(DRIVE_SEED)
    keep = math.exp(-hold / DRIVE_MEMORY)
    levels, now = [], 0.0
    for noise in rng.normal(0.0, DRIVE_SPREAD * math.sqrt(1 - keep**2), seconds // hold):
        now = keep * now + noise
        levels.append(now)
    return np.repeat(np.clip(DRIVE_MEAN + np.array(levels), *DRIVE_LIMITS), hold)


@lru_cache(maxsize=32)
def _fresh(source: str, soc: float, kelvin: float) -> Cells:
    return fresh_cells(source, soc, ambient=kelvin)


@contextmanager
def workers(count: int = 2) -> Iterator[ProcessPoolExecutor]:
    """Give processes to solve references in."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield pool


def solve(case: Case, mesh: Mesh) -> xr.Dataset:
    """Run a case in PyBaMM."""
    if case.crate is None:
        seconds = np.arange(DRIVE_SECONDS + 1.0)
        held = [case.current(second) for second in seconds[1:]]
        profile = Profile(seconds, [*held, held[-1]])
        return pybamm_cell(case.source, case.cell, profile, model=case.model, mesh=mesh, period=1.0)
    low, high = CHARGE_WINDOW if case.model == "dfn" else WINDOW
    parameters = read_parameters(case.source)
    if case.crate > 0:
        until = {"soc_max": high, "cell_voltage_max": parameters.upper_voltage}
    else:
        until = {"soc_min": low, "cell_voltage_min": parameters.lower_voltage}
    step = Step("current", case.current(0.0), 3600.0 / abs(case.crate), until)
    period = SLOW_PERIOD if abs(case.crate) < SLOW else PERIOD
    found = pybamm_cell(case.source, case.cell, [step], model=case.model, mesh=mesh, period=period)
    if str(found.stop_reason.values[0]).startswith("cell_voltage"):
        found = found.isel(time=found.time.values <= float(found.step_end[0]) - AWAY_SECONDS)
    return found


def solve_pack(spread: Spread, mesh: Mesh, period: float, seconds: float) -> xr.Dataset:
    """Run the 18-cell pack at 1C in liionpack."""
    parallel, series = PACK
    return liionpack_pack(
        SOURCE,
        _pack_cells(spread),
        network.build(parallel, series),
        Profile([0.0, seconds], [_pack_current()] * 2),
        mesh=mesh,
        period=period,
    )


def replay(cell: Cells, current: FloatArray, dt: float, model: Model, mesh: Mesh) -> xr.Dataset:
    """Run one cell of a pack in PyBaMM, with the current that it had in each step [A]."""
    profile = Profile(dt * np.arange(len(current) + 1.0), [*current, current[-1]])
    return pybamm_cell(SOURCE, cell, profile, model=model, mesh=mesh, period=dt)


def compare(case: Case, dt: float, wanted: xr.Dataset) -> Compared | None:
    """Run a case with our model and compare it; None if a step would span two loads."""
    if case.crate is None and dt > 1:
        return None
    simulator = PackSimulator(
        read_parameters(case.source), network.build(1, 1), case.cell, model=case.model, threads=1
    )
    keep = on_grid(wanted.time.values, dt)
    wanted = wanted.isel(time=keep)
    counts = np.round(wanted.time.values / dt).astype(int)
    found = np.full((3, len(counts)), np.nan)
    done, stop = 0, ""
    for k, count in enumerate(counts):
        while done < count and not stop:
            done += 1
            simulator.step(CURRENT, case.current(done * dt), dt)
            stop = REASONS[int(simulator.reason[0])]
        if stop:
            stop = f"{stop} at {done * dt:g} s of {wanted.time.values[-1]:g} s"
            break
        found[:, k] = [
            values[0, 0]
            for values in (simulator.voltage, simulator.plating_potential, simulator.temperature)
        ]
    voltage = wanted.voltage.values
    inside = (voltage > AWAY[0]) & (voltage < AWAY[1]) & np.isfinite(found[0])
    errors = differences(found[:, inside], wanted.isel(time=inside))
    return Compared(case, dt, int(np.count_nonzero(inside)), errors, stop)


def compare_datasets(found: xr.Dataset, wanted: xr.Dataset) -> Errors:
    """Compare two runs of one cell where both have samples, away from the cut-offs."""
    times = [np.round(one.time.values, 3) for one in (found, wanted)]
    shared = np.intersect1d(*times)
    shared = shared[shared > 0]
    a, b = (
        one.isel(time=np.isin(time, shared))
        for one, time in zip((found, wanted), times, strict=True)
    )
    inside = (b.voltage.values > AWAY[0]) & (b.voltage.values < AWAY[1])
    a, b = a.isel(time=inside), b.isel(time=inside)
    return differences(
        np.array([a.voltage.values, a.plating_potential.values, a.temperature.values]), b
    )


def on_grid(times: FloatArray, dt: float) -> npt.NDArray[np.bool_]:
    """Tell which times, not 0, are whole steps."""
    counts = times / dt
    whole = np.abs(counts - np.round(counts)) < 1e-6
    return np.asarray(whole & (times > 0))


def differences(
    found: FloatArray, wanted: xr.Dataset, current: FloatArray | None = None, pack: float = 1.0
) -> Errors:
    """Return the errors of voltage, plating potential and temperature (in this order).

    Parameters
    ----------
    found
        Along (3, ...), as `wanted` has them.
    wanted
        The reference.
    current, pack
        Of the cells, and of the pack that its error is related to [A].
    """
    voltage, plating, temperature = (
        found[k] - wanted[name].values
        for k, name in enumerate(("voltage", "plating_potential", "temperature"))
    )
    if voltage.size == 0:
        return Errors()
    branch = math.nan if current is None else _rms(current - wanted.current.values) / pack
    return Errors(
        _rms(voltage),
        float(np.abs(voltage).max()),
        _rms(plating),
        float(np.abs(temperature).max()),
        branch,
    )


def _rms(values: FloatArray) -> float:
    return math.sqrt(float(np.mean(values**2)))


def worst(errors: list[Errors]) -> Errors:
    """Return the largest of each error."""

    def largest(name: str) -> float:
        values = [value for one in errors if not math.isnan(value := getattr(one, name))]
        return max(values, default=math.nan)

    return Errors(**{field.name: largest(field.name) for field in fields(Errors)})


def _pack_cells(spread: Spread) -> Cells:
    size = PACK[0] * PACK[1]
    return scenario.draw(spread, 0, 1, size, read_parameters(SOURCE), soc=WINDOW[0]).cells


def _pack_current() -> float:
    return PACK[0] * read_parameters(SOURCE).nominal_capacity


def compare_pack(spread: Spread, model: Model, dt: float, wanted: xr.Dataset) -> Errors:
    """Run the 18-cell pack with one of our models and compare it to liionpack."""
    simulator = PackSimulator(
        read_parameters(SOURCE),
        network.build(*PACK),
        _pack_cells(spread),
        model=model,
        threads=1,
    )
    wanted = wanted.isel(time=on_grid(wanted.time.values, dt))
    outputs = (
        *(simulator.voltage, simulator.plating_potential),
        *(simulator.temperature, simulator.current),
    )
    found = np.empty((4, wanted.sizes["time"], simulator.size))
    for k in range(wanted.sizes["time"]):
        simulator.step(CURRENT, _pack_current(), dt)
        found[:, k] = [values[0] for values in outputs]
    return differences(found[:3], wanted, found[3], _pack_current())


def compare_packs(found: xr.Dataset, wanted: xr.Dataset) -> Errors:
    """Compare two runs of liionpack."""
    times = np.intersect1d(found.time.values, wanted.time.values)
    a, b = found.sel(time=times), wanted.sel(time=times)
    return differences(
        np.array([a.voltage.values, a.plating_potential.values, a.temperature.values]),
        b,
        a.current.values,
        _pack_current(),
    )


@dataclass(frozen=True)
class Order:
    """How the error of one model falls with the length of its steps, against steps of 0.1 s.

    Parameters
    ----------
    model, load
        What was run.
    errors
        Of each length of step [s].
    order
        Slope of log(RMS of the voltage) over log(dt).
    ten_to_one
        Steps of 10 s against steps of 1 s.
    """

    model: Model
    load: str
    errors: dict[float, Errors]
    order: float
    ten_to_one: Errors


def find_order(model: Model, load: Load, steps: tuple[float, ...]) -> Order:
    """Measure the order of convergence at 25 degC, at the times that all steps share."""
    parameters: CellParameters = read_parameters(SOURCE)
    longest = max(steps)
    if load == "1C charge":
        low, high = CHARGE_WINDOW
        current = np.full(round((high - low) * 3600), parameters.nominal_capacity)
        start = low
    else:
        current = parameters.nominal_capacity * drive(int(longest), 2 * DRIVE_SECONDS)
        start = DRIVE_SOC
    simulator = PackSimulator(
        parameters,
        network.build(1, 1),
        _fresh(SOURCE, start, parameters.ambient_temperature),
        model=model,
        threads=1,
    )

    def run(dt: float) -> xr.Dataset:
        simulator.reset()
        rows = []
        per = round(longest / dt)
        for first in range(0, len(current), int(longest)):
            for _ in range(per):
                simulator.step(CURRENT, current[first], dt)
            rows.append(
                [
                    float(values[0, 0])
                    for values in (
                        *(simulator.voltage, simulator.plating_potential),
                        simulator.temperature,
                    )
                ]
            )
        names = ("voltage", "plating_potential", "temperature")
        columns = zip(names, np.array(rows).T, strict=True)
        return xr.Dataset({name: ("time", column) for name, column in columns})

    runs = {dt: run(dt) for dt in (0.1, *steps)}
    errors = {dt: differences(runs[dt].to_array().values, runs[0.1]) for dt in steps}
    slope = np.polyfit(np.log(steps), np.log([errors[dt].voltage_rms for dt in steps]), 1)[0]
    ten_to_one = (
        differences(runs[10.0].to_array().values, runs[1.0])
        if {1.0, 10.0} <= set(steps)
        else Errors()
    )
    return Order(model, load, errors, float(slope), ten_to_one)
