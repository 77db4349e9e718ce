"""One case for three engines: our simulator, PyBaMM for a single cell, liionpack for a pack.

Each returns the same dataset, so that their differences can be counted. What a reference cannot do
is an error that says what it can. PyBaMM runs on the fine mesh of `pack.reference`; liionpack on
PyBaMM's default mesh, since the fine one takes seconds a step: it is itself 3 mV off at 1C, and up
to ten times that in the first seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from batterykit.charge.protocols import Protocol, Rating, Step
from batterykit.charge.simulate import (
    INSTANT,
    PER_CELL,
    PER_PACK,
    PROTOCOL_END,
    ZERO_CELSIUS,
    check_dt,
    simulate,
    trajectory,
)
from batterykit.errors import BatterykitError, UsageError
from batterykit.pack import balance
from batterykit.pack.simulator import (
    CELL_VOLTAGE,
    CURRENT,
    POWER,
    VOLTAGE,
    Limits,
    Name,
    PackSimulator,
    equations,
    level,
)
from batterykit.progress import Track, no_track

if TYPE_CHECKING:
    import xarray as xr

    from batterykit.pack import reference
    from batterykit.pack.cell import Cells
    from batterykit.pack.network import Network
    from batterykit.pack.parameters import CellParameters

FloatArray = npt.NDArray[np.float64]
Engine = Literal["batterykit", "pybamm", "liionpack"]

SECONDS_PER_HOUR = 3600.0
AT_LIMIT = 0.005  # V, by which a cell at rest may be beyond its limits
# That PyBaMM is given to find the end of a step [s]; it keeps room for as many samples beforehand.
LONGEST_STEPS = (2 * SECONDS_PER_HOUR, 8 * SECONDS_PER_HOUR, 32 * SECONDS_PER_HOUR)
_MODES: dict[int, Literal["current", "voltage", "power"]] = {
    CURRENT: "current",
    CELL_VOLTAGE: "voltage",
    POWER: "power",
}


@dataclass(frozen=True)
class Case:
    """A pack and what is done with it.

    Parameters
    ----------
    source
        The parameter set by name, or a file, as `read_parameters` takes it.
    parameters
        What was read from it.
    network
        The circuit.
    cells
        Of one pack.
    protocol
        What is done.
    model
        Of the cells.
    dt
        Time step [s].
    truth
        What is known of the cells, name -> (1, cell).
    """

    source: str
    parameters: CellParameters
    network: Network
    cells: Cells
    protocol: Protocol
    model: Name
    dt: float
    truth: Mapping[str, FloatArray]


class Difference(NamedTuple):
    """How far two runs are apart in a quantity: root mean square and largest, over common times."""

    what: str
    units: str
    rms: float
    largest: float


def prepare(
    parameters: CellParameters, network: Network, cells: Cells, soc: float, model: Name
) -> Cells:
    """Return the cells of one pack as they begin: with this mean state of charge, and levelled.

    Parameters
    ----------
    parameters, network, model
        As for `PackSimulator`.
    cells
        As drawn: their mean is near `soc`, not at it.
    soc
        Mean over the pack, by capacity (1); where cells would be beyond empty or full, they stop
        there.
    """
    capacity = balance.capacity(parameters, cells)
    drawn = np.broadcast_to(np.asarray(cells.soc, dtype=np.float64), capacity.shape)
    mean = np.average(drawn, weights=capacity)
    shifted = np.clip(drawn + soc - mean, 0.0, 1.0)
    return level(parameters, network, replace(cells, soc=shifted), model=model)


def check_start(case: Case, rating: Rating) -> None:
    """Refuse cells that are beyond the limits of voltage before anything is done to them.

    Raises
    ------
    UsageError
        With the voltages at which they begin.
    """
    resting = PackSimulator(case.parameters, case.network, case.cells, model=case.model).voltage
    low, high = resting.min(), resting.max()
    if low < rating.voltage_min - AT_LIMIT or high > rating.voltage_max + AT_LIMIT:
        raise UsageError(
            f"the cells begin at {low:.3f} to {high:.3f} V, and must stay between "
            f"{rating.voltage_min:g} and {rating.voltage_max:g} V",
            fix="take another state of charge at the start, or other limits of voltage",
        )


def run(
    case: Case,
    engine: Engine = "batterykit",
    *,
    track: Track = no_track,
    listen: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Run a case on one of the engines.

    Parameters
    ----------
    case, engine
        What, and by whom.
    track, listen
        See `simulate`; of a reference there is only the time that it takes.

    Returns
    -------
    xarray.Dataset
        As `trajectory` makes it, of one pack.

    Raises
    ------
    UsageError
        The engine cannot do the case, or the time step is none.
    BatterykitError
        The engine failed.
    """
    check_dt(case.dt)
    if engine != "batterykit":
        check_engine(case, engine)
        reference = {"pybamm": _run_pybamm, "liionpack": _run_liionpack}[engine]
        (found,) = [runner(case) for runner in track([reference], engine, total=1)]
        return _on_grid(case, found)
    simulator = PackSimulator(case.parameters, case.network, case.cells, model=case.model)
    return simulate(
        simulator, case.protocol, dt=case.dt, truth=case.truth, track=track, listen=listen
    )


def check_engine(case: Case, engine: Engine) -> None:
    """Refuse a case that an engine cannot do.

    Raises
    ------
    UsageError
        With what the engine can do.
    """
    if engine == "pybamm":
        can = "PyBaMM runs single cells (--pack 1p1s), any protocol with --hold cell"
        if case.network.cells > 1:
            raise UsageError(
                f"PyBaMM has no packs, and this one has {case.network.cells} cells",
                fix=f"{can}; packs are for --engine liionpack",
            )
        if any(step.mode == VOLTAGE for step in case.protocol.steps):
            raise UsageError(
                "PyBaMM has no terminals of a pack to hold at a voltage", fix=f"use these: {can}"
            )
    elif engine == "liionpack":
        can = (
            "liionpack runs packs and cells with --protocol cc and --model spme; for constant "
            "voltage, stages and profiles there is --engine batterykit, or pybamm with --pack 1p1s"
        )
        if case.protocol.name != "cc":
            raise UsageError(
                f"liionpack knows only constant current, not {case.protocol.name}", fix=can
            )
        if case.model != "spme":
            raise UsageError("liionpack is run with the model SPMe, not DFN", fix=can)


def reference_for(case: Case) -> Engine:
    """Return the reference that a case is compared with: PyBaMM for a cell, liionpack for more."""
    return "pybamm" if case.network.cells == 1 else "liionpack"


def differences(ours: xr.Dataset, theirs: xr.Dataset) -> list[Difference]:
    """Return how far two runs of a case are apart, where both were under way.

    The first sample (before or after the current is switched on) and the last of each (at its own
    end) are left out, and so is what nothing can be said of: shares of a current that is zero.

    Parameters
    ----------
    ours, theirs
        Of one pack, with the same time step.
    """
    rows = slice(1, min(ours.sizes["time"], theirs.sizes["time"]) - 1)
    one, other = ours.isel(pack=0, time=rows), theirs.isel(pack=0, time=rows)
    pack_current = float(np.sqrt((one["pack_current"] ** 2).mean()))
    found = []
    for what, name, units, scale in (
        ("cell voltage", "voltage", "mV", 1e3),
        ("plating potential", "plating_potential", "mV", 1e3),
        ("temperature", "temperature", "K", 1.0),
        (
            "branch current",
            "current",
            "% of the pack's",
            100 / pack_current if pack_current else math.nan,
        ),
        ("state of charge", "soc", "pp", 1e2),
    ):
        apart = scale * (one[name].values - other[name].values)
        if apart.size and not np.isnan(apart).all():
            rms, largest = np.sqrt(np.nanmean(apart**2)), np.nanmax(np.abs(apart))
            found.append(Difference(what, units, float(rms), float(largest)))
    return found


class _Found(NamedTuple):
    """What a reference recorded, up to where it stopped.

    Attributes
    ----------
    times
        Of the samples [s]; one at a switch is of what ends there.
    values
        The variables of `PER_CELL` (sample, cell) and `PER_PACK` (sample,).
    ends
        Of the steps that were begun, the last one where it stopped [s].
    reason
        Why.
    engine
        Who recorded it.
    """

    times: FloatArray
    values: dict[str, FloatArray]
    ends: FloatArray
    reason: str
    engine: str


def _run_pybamm(case: Case) -> _Found:
    from batterykit.pack import reference

    steps = case.protocol.steps
    given = case.protocol.name == "profile" and all(step.mode == CURRENT for step in steps)
    for longest in LONGEST_STEPS:
        load = _as_profile(steps) if given else [_as_step(case, step, longest) for step in steps]
        found = reference.pybamm_cell(
            case.source, case.cells, load, model=equations(case.model), period=case.dt
        )
        ends, reasons = (
            found["step_end"].values,
            [str(text) for text in found["stop_reason"].values],
        )
        last = _last(steps, reasons)
        if reasons[last] or math.isfinite(steps[last].duration):
            break
    else:
        raise BatterykitError(
            f"PyBaMM came to no end of the step '{steps[last].label}' in {longest / 3600:g} h",
            fix="take a higher --cutoff or --crate",
        )
    resistance = case.network.terminal_resistance + float(case.network.series_resistance[0])
    values = {name: found[name].values[:, None] for name in PER_CELL}
    values["pack_current"] = found["current"].values
    values["pack_voltage"] = found["voltage"].values + resistance * found["current"].values
    if given:  # one load for PyBaMM, which knows none of our limits
        ends = np.cumsum([step.duration for step in steps])
        ends = np.append(ends[ends < found["step_end"].values[0] - INSTANT], found["step_end"])
    recorded = _Found(
        found["time"].values,
        values,
        ends if given else ends[: last + 1],
        reasons[last] or PROTOCOL_END,
        found.attrs["engine"],
    )
    return _up_to_limit(recorded, steps) if given else recorded


def _run_liionpack(case: Case) -> _Found:
    from batterykit.pack import balance, reference

    (step,) = case.protocol.steps
    capacity = balance.capacity(case.parameters, case.cells).ravel()
    until = step.limits.soc_max if step.setpoint > 0 else step.limits.soc_min
    to_go = until - np.ravel(case.cells.soc)
    # each series group carries the pack's current
    duration = SECONDS_PER_HOUR * float(capacity @ to_go) / (case.network.series * step.setpoint)
    whole = case.dt * math.ceil(duration / case.dt)
    load = reference.Profile(np.array([0.0, whole]), np.full(2, step.setpoint))
    found = reference.liionpack_pack(
        case.source, case.cells, case.network, load, mesh="default", period=case.dt
    )
    values = {
        name: np.concatenate([np.full((1, *found[name].shape[1:]), np.nan), found[name].values])
        for name in (*PER_CELL, *PER_PACK)
    }
    values["soc"][0], values["temperature"][0] = case.cells.soc, case.cells.ambient
    stopped = str(found["stop_reason"].values[0])
    times = np.append(0.0, found["time"].values)
    recorded = _Found(
        times,
        values,
        np.array([times[-1] if stopped else duration]),
        stopped or ("soc_max" if step.setpoint > 0 else "soc_min"),
        found.attrs["engine"],
    )
    return _up_to_limit(recorded, case.protocol.steps)


def _as_profile(steps: Sequence[Step]) -> reference.Profile:
    from batterykit.pack import reference

    ends = np.cumsum([step.duration for step in steps])
    currents = np.array([step.setpoint for step in steps])
    return reference.Profile(np.append(0.0, ends), np.append(currents, currents[-1]))


def _as_step(case: Case, step: Step, longest: float) -> reference.Step:
    from batterykit.pack import reference

    if step.mode == CURRENT and step.setpoint:
        # twice as long as it takes to fill or to empty the cell
        longest = 2 * case.parameters.nominal_capacity * SECONDS_PER_HOUR / abs(step.setpoint)
    until = {
        name: float(value)
        for name, value in zip(Limits._fields, step.limits, strict=True)
        if not math.isnan(value)
    }
    return reference.Step(_MODES[step.mode], step.setpoint, min(step.duration, longest), until)


def _last(steps: Sequence[Step], reasons: Sequence[str]) -> int:
    """Return the step with which the run stops, given why each one ended."""
    for index, (step, reason) in enumerate(zip(steps, reasons, strict=False)):
        if reason and reason not in step.goes_on:
            return index
    return len(reasons) - 1


def _up_to_limit(found: _Found, steps: Sequence[Step]) -> _Found:
    """Return what was recorded, cut where a limit of the step under way was first crossed."""
    at = np.minimum(np.searchsorted(found.ends, found.times - INSTANT), len(found.ends) - 1)
    excess = {}
    for name, quantity, sign in (
        ("cell_voltage_max", "voltage", 1),
        ("cell_voltage_min", "voltage", -1),
        ("temperature_max", "temperature", 1),
    ):
        limit = np.array([getattr(step.limits, name) for step in steps])[at]
        excess[name] = (sign * found.values[quantity]).max(axis=1) - sign * limit
    end, reason = found.ends[-1], found.reason
    for name, over in excess.items():
        crossed = np.flatnonzero((over[1:] > 0) & (over[:-1] <= 0))
        if len(crossed):
            before, after = crossed[0], crossed[0] + 1
            share = over[before] / (over[before] - over[after])
            when = found.times[before] + share * (found.times[after] - found.times[before])
            if when < end:
                end, reason = when, name
    ends = np.append(found.ends[found.ends < end], end)
    return found._replace(ends=ends, reason=reason)


def _on_grid(case: Case, found: _Found) -> xr.Dataset:
    """Return a reference's run on our time grid.

    A point between a switch and the next sample, or between a sample and the next switch, has no
    value of what jumps there.
    """
    end = float(found.ends[-1])
    grid: FloatArray = case.dt * np.arange(math.ceil(end / case.dt - INSTANT) + 1.0)
    grid[-1] = end
    switches = np.append(0.0, found.ends)
    after = np.minimum(np.searchsorted(found.times, grid - INSTANT), len(found.times) - 1)
    before = np.where(np.abs(found.times[after] - grid) < INSTANT, after, np.maximum(after - 1, 0))
    step = np.searchsorted(found.ends, grid - INSTANT)
    known = (found.times[before] > switches[step] + INSTANT) | (step == 0)
    known &= (found.times[after] <= switches[step + 1] + INSTANT) | (step == len(found.ends) - 1)
    recorded: dict[str, npt.NDArray[np.generic]] = {}
    for name, values in found.values.items():
        columns = (values - ZERO_CELSIUS if name == "temperature" else values).reshape(
            len(found.times), -1
        )
        onto = np.stack([np.interp(grid, found.times, column) for column in columns.T], axis=-1)
        if name not in ("soc", "temperature"):
            onto[~known] = np.nan
        recorded[name] = onto.reshape(1, len(grid), *values.shape[1:])
    labels = case.protocol.labels
    done = [labels.index(step.label) for step in case.protocol.steps[: len(found.ends)]]
    recorded["step"] = np.array(done)[step][None, :]
    stage_end = np.full((1, len(labels)), np.nan)
    for index, until in zip(done, found.ends, strict=True):
        stage_end[0, index] = until
    dataset = trajectory(
        grid,
        recorded,
        parallel=case.network.parallel,
        series=case.network.series,
        labels=labels,
        stage_end=stage_end,
        stop_reason=[found.reason],
        duration=np.array([end]),
        truth=case.truth,
    )
    return dataset.assign_attrs(engine_version=found.engine)
