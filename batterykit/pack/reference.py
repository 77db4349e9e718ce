"""Other people's simulators run on our terms: PyBaMM for a cell, liionpack for a pack.

References to test and compare with, never on the hot path. They take the same `Cells` and `Network`
as the simulator and return the same quantities with the same signs: **current is positive on
charge** (both count discharge as positive; nothing outside this file has to know). A value at the
moment of a switch belongs to what ends there. Both are imported when they are first used.

**PyBaMM** (IDAKLU, lumped temperature, contact resistance switched on). The largest error of its
spatial mesh, measured on a charge of Chen2020 from 10 % state of charge at 25 degC, without the
ends, against twice the points in x and four times those in the particle (SPMe) or half as many
again (DFN). It is no larger at 0 degC, nor for OKane2022 but for 0.2 mV of plating potential in the
DFN at 2C:

=============  ============  =======================  ==========================
model, mesh    points        1C: V, plating, T        2C: V, plating, T
=============  ============  =======================  ==========================
SPMe default   20 each       3.2 mV, 0.83 mV, 2 mK    8.2 mV, 2.3 mV, 108 mK
SPMe fine      120, 60, 100  0.02 mV, 0.001 mV, 0 mK  0.04 mV, 0.03 mV, 2 mK
DFN default    20 each       3.7 mV, 0.86 mV, 40 mK   9.2 mV, 2.4 mV, 84 mK
DFN fine       60, 30, 40    0.08 mV, 0.007 mV, 5 mK  0.20 mV, 0.03 mV, 13 mK
=============  ============  =======================  ==========================

Points are those of each electrode, of the separator and of the particles, which are graded in the
fine meshes. The tolerances of time add less than 0.001 mV. PyBaMM leaves the loss in a film on the
particles out of its heat; that in a contact resistance is `heat_contact`.

**liionpack** 0.4.0 (Tranter et al., J. Open Source Softw. 7 (2022) 4051) is no longer developed and
breaks on every PyBaMM that the rest of the project can use: `REPAIRS` are five repairs that hold
while it runs and are undone afterwards (so let only one thread at a time run it). What it can do:
SPMe with any PyBaMM parameters in cells that differ, in any circuit, with a current in steps; each
cell is then PyBaMM to 0.01 mV. What it cannot: hold a voltage (a power it can, not used here), stop
at a limit other than the cut-off voltages, leave a cell open-circuit, start at rest, or change the
length of its steps. Its split of the current is explicit: a cell keeps its current for a whole
step, and its resistance is |OCV - V| / |I| of the step before, so where a cell's own current
crosses zero that number means nothing. For an unequal 3P6S pack at 1C, steps of 10 s differ from
steps of 1 s by 0.06 % of the pack's current (rms; 0.012 % after the first minute) and 0.2 mV (rms;
2.7 mV in the first minute). It imports ray, lcapy and plotly, which it does not need here: 4 to 6 s
for the import, 240 MB on the disk for ray alone.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from batterykit.errors import BatterykitError, UsageError
from batterykit.pack.cell import Cells
from batterykit.pack.network import Network
from batterykit.pack.parameters import SETS, read_parameters, scaled

if TYPE_CHECKING:
    import pandas as pd
    import pybamm
    import xarray as xr

FloatArray = npt.NDArray[np.float64]
Model = Literal["spme", "dfn"]
Mesh = Literal["fine", "default"]

# Points in both electrodes, the separator and the particles; see the head of this module.
_FINE = {"spme": (120, 60, 100), "dfn": (60, 30, 40)}
_PARTICLE_STRETCH = 2.3  # of PyBaMM's exponential mesh: the outermost shell is 1/20 of a mean one
_TOLERANCE = {"rtol": 1e-6, "atol": 1e-8}
_SWITCH = 1e-6  # s, in which a stepwise current goes from one value to the next

_FIRST_VOLTAGE = 3.7  # V, with which liionpack guesses the first currents ...
_FIRST_RESISTANCE = 0.02  # Ohm, ... and this
_LEAST_RESISTANCE = 1e-8  # Ohm; liionpack divides by it
_MIDDLE_VOLTAGE = 3.4  # V; above it a cell that stopped was full
_NOTHING = object()

_VARIABLES = {
    "voltage": ("Voltage [V]", "V"),
    "temperature": ("Volume-averaged cell temperature [K]", "K"),
    "plating_potential": (
        "Negative electrode surface potential difference at separator interface [V]",
        "V",
    ),
    "x": ("Negative electrode stoichiometry", "1"),
    "y": ("Positive electrode stoichiometry", "1"),
    "heat_ohmic": ("Ohmic heating [W]", "W"),
    "heat_reaction": ("Irreversible electrochemical heating [W]", "W"),
    "heat_reversible": ("Reversible heating [W]", "W"),
    "heat_contact": ("Lumped contact resistance heating [W]", "W"),
}
_PARTS = (  # that have a heat capacity
    *("Negative electrode", "Positive electrode", "Separator"),
    *("Negative current collector", "Positive current collector"),
)
_CHANGED = (  # by a cell's own numbers
    "Number of electrodes connected in parallel to make a cell",
    "Total heat transfer coefficient [W.m-2.K-1]",
    *(f"{part} specific heat capacity [J.kg-1.K-1]" for part in _PARTS),
    *(f"{side} electrode active material volume fraction" for side in ("Negative", "Positive")),
    *(f"{side} particle diffusivity [m2.s-1]" for side in ("Negative", "Positive")),
    *(f"{side} electrode exchange-current density [A.m-2]" for side in ("Negative", "Positive")),
)
_WINDOW = ("x_0", "x_100", "y_0", "y_100", "soc")  # fields that are no parameters of a model
_STOPS = {  # PyBaMM's own events -> the simulator's reasons
    "Minimum voltage [V]": "cell_voltage_min",
    "Maximum voltage [V]": "cell_voltage_max",
    "Event exceeded in initial conditions": "over before it began",
}


@dataclass(frozen=True)
class Profile:
    """A current that is given in time.

    Parameters
    ----------
    time
        Rising from 0, (n,) [s].
    current
        Positive on charge, (n,) [A].
    linear
        True: straight lines between the points. False: each value holds until the next time, and
        the last one is not used.
    """

    time: npt.ArrayLike
    current: npt.ArrayLike
    linear: bool = False


@dataclass(frozen=True)
class Step:
    """One step of a protocol.

    Parameters
    ----------
    mode
        What is held.
    setpoint
        [A], [V] or [W]; current and power are positive on charge.
    duration
        The longest that it may take [s].
    until
        Limits that end it: cell_voltage_max, cell_voltage_min [V], temperature_max [K], plating_min
        [V], soc_max, soc_min (1), current_min [A] (the magnitude falls below).
    """

    mode: Literal["current", "voltage", "power"]
    setpoint: float
    duration: float
    until: Mapping[str, float] = field(default_factory=dict)


def load_parameters(source: str | Path | pybamm.ParameterValues) -> Any:  # noqa: ANN401
    """Return PyBaMM's `ParameterValues`, a copy, of whatever `read_parameters` takes.

    Raises
    ------
    BatterykitError
        Those of `read_parameters`.
    """
    pybamm = _pybamm()
    if not isinstance(source, str | Path):
        return source.copy()
    ours = SETS / f"{source}.json"
    if str(source) in pybamm.parameter_sets and not ours.is_file():
        return pybamm.ParameterValues(str(source))
    read_parameters(source)  # says what is wrong with the name or the file
    path = ours if ours.is_file() else Path(source)
    content = json.loads(path.read_text(encoding="utf-8"))
    if "Parameterisation" in content:
        return pybamm.ParameterValues.create_from_bpx(path)
    values = pybamm.ParameterValues(content["base"])
    for name, change in content["changes"].items():
        value = scaled(values[name], change["factor"]) if isinstance(change, dict) else change
        values.update({name: value}, check_already_exists=False)
    return values


def fresh_cells(
    source: str | Path | pybamm.ParameterValues,
    soc: npt.ArrayLike,
    **others: npt.ArrayLike,
) -> Cells:
    """Return cells with the stoichiometry window that PyBaMM finds for a parameter set.

    Parameters
    ----------
    source
        See `load_parameters`.
    soc
        State of charge at the start (1).
    **others
        Other fields of `Cells`.
    """
    pybamm = _pybamm()
    solver = pybamm.lithium_ion.ElectrodeSOHSolver(load_parameters(source))
    x_0, x_100, y_100, y_0 = (float(value) for value in solver.get_min_max_stoichiometries())
    return Cells(x_0=x_0, x_100=x_100, y_0=y_0, y_100=y_100, soc=soc, **others)


def pybamm_cell(
    source: str | Path | pybamm.ParameterValues,
    cell: Cells,
    load: Profile | Sequence[Step],
    *,
    model: Model = "spme",
    mesh: Mesh = "fine",
    period: float = 10.0,
) -> xr.Dataset:
    """Run one cell in PyBaMM.

    Parameters
    ----------
    source
        See `load_parameters`.
    cell
        One cell.
    load
        A current in time, or steps one after the other.
    model
        "spme" or "dfn".
    mesh
        "fine", or PyBaMM's default; see the head of this module.
    period
        Of the output [s], counted from the start of the profile or of each step.

    Returns
    -------
    xarray.Dataset
        Along time [s]: current (positive on charge), voltage, soc, temperature [K],
        plating_potential, mean stoichiometries x and y, heat and its parts, step. Along step:
        stop_reason, empty where a step or the profile took its full time, and step_end [s]. A step
        that was over before it began has no samples.

    Raises
    ------
    UsageError
        A load that cannot be.
    BatterykitError
        PyBaMM did not solve it, or stopped for a reason that nobody asked for.
    """
    pybamm = _pybamm()
    values = load_parameters(source)
    one = {name: float(value[0]) for name, value in _numbers(cell, 1).items()}
    options = _apply(values, one, model)
    simulation = {
        "model": {"spme": pybamm.lithium_ion.SPMe, "dfn": pybamm.lithium_ion.DFN}[model](options),
        "parameter_values": values,
        "solver": pybamm.IDAKLUSolver(**_TOLERANCE),
        **(_fine_mesh(model) if mesh == "fine" else {}),
    }
    try:
        if isinstance(load, Profile):
            pieces = _run_profile(simulation, load, period)
        else:
            pieces = _run_steps(simulation, load, one, period)
    except pybamm.SolverError as error:
        raise BatterykitError(
            f"PyBaMM could not solve the cell: {error}",
            fix="start further from the limits of voltage and stoichiometry, or lower the current",
        ) from error
    return _dataset(pieces, one, {"engine": f"pybamm {pybamm.__version__}", "model": model})


def liionpack_pack(
    source: str | Path | pybamm.ParameterValues,
    cells: Cells,
    network: Network,
    load: Profile,
    *,
    mesh: Mesh = "fine",
    period: float = 10.0,
) -> xr.Dataset:
    """Run a pack in liionpack: SPMe with lumped temperature in every cell.

    Parameters
    ----------
    source
        See `load_parameters`.
    cells
        Of one pack; fields that differ between cells become inputs of the model.
    network
        The circuit; liionpack gets the same nodes and resistances.
    load
        Current of the pack, in steps that last whole periods, not at rest in the first.
    mesh
        "fine", or PyBaMM's default.
    period
        Length of liionpack's explicit steps and of the output [s].

    Returns
    -------
    xarray.Dataset
        Along (time, cell): current (positive on charge), voltage, soc, temperature [K],
        plating_potential, x, y, heat and its parts. Along time: pack_current, pack_voltage. The
        first time is one period after the start. stop_reason and step_end as in `pybamm_cell`; the
        period in which a cell crosses a cut-off voltage is left out.

    Raises
    ------
    UsageError
        A load or cells that liionpack cannot take.
    BatterykitError
        It did not solve them.
    """
    pybamm = _pybamm()
    currents = _whole_steps(load, period)
    numbers = _numbers(cells, network.cells)
    values = load_parameters(source)
    inputs = {
        name: value
        for name, value in numbers.items()
        if name not in _WINDOW and np.any(value != value[0])
    }
    options = _apply(
        values,
        {name: float(value[0]) for name, value in numbers.items()}
        | {name: pybamm.InputParameter(name) for name in inputs},
        "spme",
    )

    def simulation(values: Any) -> Any:  # noqa: ANN401
        import liionpack

        with warnings.catch_warnings():  # PyBaMM means to drop the only solver liionpack can use
            warnings.simplefilter("ignore", DeprecationWarning)
            solver = pybamm.CasadiSolver(mode="safe", **_TOLERANCE)
        return pybamm.Simulation(
            liionpack.add_events_to_model(pybamm.lithium_ion.SPMe(options)),
            parameter_values=values,
            solver=solver,
            **(_fine_mesh("spme") if mesh == "fine" else {}),
        )

    with _repaired() as liionpack:
        try:
            output = liionpack.solve(
                netlist=_netlist(network),
                sim_func=simulation,
                parameter_values=values,
                experiment=_experiment(currents, period),
                inputs=inputs or None,
                output_variables=[name for name, _ in _VARIABLES.values()],
            )
        except (pybamm.SolverError, RuntimeError) as error:
            raise BatterykitError(
                f"liionpack could not solve the pack: {error}",
                fix="start further from the limits of voltage and stoichiometry, or lower the "
                "current",
            ) from error
    return _pack_dataset(output, numbers, network, currents, period)


def _pybamm() -> Any:  # noqa: ANN401
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    return pybamm


def _numbers(cells: Cells, size: int) -> dict[str, FloatArray]:
    """Return every field of one pack's cells as an array (cell,), with x and y at the start."""
    full = cells.broadcast(1, size)
    numbers = {item.name: np.asarray(getattr(full, item.name)[0]) for item in fields(full)}
    if not np.all(numbers.pop("connected")):
        raise UsageError(
            "the references know no cell that is open-circuit",
            fix="leave the cell out of the comparison, or use the engine batterykit",
        )
    for side in ("x", "y"):
        empty, charged = numbers[f"{side}_0"], numbers[f"{side}_100"]
        numbers[side] = empty + numbers["soc"] * (charged - empty)
    return numbers


def _apply(values: Any, cell: Mapping[str, Any], model: Model) -> dict[str, str]:  # noqa: ANN401
    """Write a cell's own numbers (or symbols) into parameter values; return the model's options."""
    missing = [name for name in _CHANGED if name not in list(values.keys())]
    if missing:
        raise UsageError(
            f"the parameter set has no '{missing[0]}'",
            fix="take a set of a whole lithium-ion cell with lumped thermal parameters",
        )
    changes: dict[str, Any] = {
        "Ambient temperature [K]": cell["ambient"],
        "Initial temperature [K]": cell["ambient"],
        "Contact resistance [Ohm]": values.get("Contact resistance [Ohm]", 0.0)  # BPX has none
        + cell["contact_resistance"],
    }

    def scale(name: str, factor: Any) -> None:  # noqa: ANN401
        changes[name] = scaled(values[name], factor)

    scale("Number of electrodes connected in parallel to make a cell", cell["area"])
    scale("Total heat transfer coefficient [W.m-2.K-1]", cell["cooling"])
    for part in _PARTS:
        scale(f"{part} specific heat capacity [J.kg-1.K-1]", cell["heat_capacity"])
    for short, side, start in (("ne", "negative", "x"), ("pe", "positive", "y")):
        title = side.capitalize()
        scale(f"{title} electrode active material volume fraction", cell[f"{short}_active"])
        scale(f"{title} particle diffusivity [m2.s-1]", cell[f"{short}_diffusivity"])
        scale(f"{title} electrode exchange-current density [A.m-2]", cell[f"{short}_rate"])
        changes[f"Initial concentration in {side} electrode [mol.m-3]"] = (
            cell[start] * values[f"Maximum concentration in {side} electrode [mol.m-3]"]
        )
    options = {"thermal": "lumped", "contact resistance": "true"}
    if not (isinstance(cell["film_resistance"], float) and cell["film_resistance"] == 0):
        # A layer 1 m "thick" whose resistivity is the film's area resistance; it does not grow.
        changes |= {
            "SEI resistivity [Ohm.m]": cell["film_resistance"],
            "Initial SEI thickness [m]": 1.0,
            "SEI partial molar volume [m3.mol-1]": 1.0,
            "Ratio of lithium moles to SEI moles": 1.0,
        }
        where = {"spme": "average", "dfn": "distributed"}[model]
        options |= {"SEI": "constant", "SEI film resistance": where}
    values.update(changes, check_already_exists=False)
    return options


def _fine_mesh(model: Model) -> dict[str, Any]:
    pybamm = _pybamm()
    electrode, separator, particle = _FINE[model]
    graded = pybamm.MeshGenerator(
        pybamm.Exponential1DSubMesh,
        submesh_params={"side": "right", "stretch": _PARTICLE_STRETCH},
    )
    submeshes = pybamm.lithium_ion.SPMe().default_submesh_types
    submeshes |= dict.fromkeys(("negative particle", "positive particle"), graded)
    points = {"x_n": electrode, "x_p": electrode, "x_s": separator}
    return {
        "var_pts": points | dict.fromkeys(("r_n", "r_p"), particle),
        "submesh_types": submeshes,
    }


def _points(profile: Profile) -> tuple[FloatArray, FloatArray]:
    time, current = (np.asarray(array, np.float64) for array in (profile.time, profile.current))
    if (
        time.shape != current.shape
        or time.ndim != 1
        or len(time) < 2
        or time[0] != 0
        or not np.all(np.diff(time) > _SWITCH)
        or not np.all(np.isfinite(current))
    ):
        raise UsageError(
            "a profile needs at least two times that rise from 0 s and as many finite currents",
            fix="sort the profile by time, drop what is missing and let it start at 0 s",
        )
    return time, current


def _run_profile(
    simulation: Mapping[str, Any], profile: Profile, period: float
) -> list[tuple[Any, str]]:
    pybamm = _pybamm()
    time, current = _points(profile)
    knots, level = time, current
    if not profile.linear:
        knots = np.concatenate([time[:1], *([t, t + _SWITCH] for t in time[1:-1]), time[-1:]])
        level = np.repeat(current[:-1], 2)
    simulation["parameter_values"]["Current function [A]"] = pybamm.Interpolant(
        knots, -level, pybamm.t
    )
    end = time[-1]
    wanted = np.unique(np.append(np.arange(0.0, end, period), end))
    solution = pybamm.Simulation(**simulation).solve(knots, t_interp=wanted)
    reason = "" if solution.termination == "final time" else _stop(solution.termination)
    return [(solution, reason)]


def _run_steps(
    simulation: Mapping[str, Any], steps: Sequence[Step], cell: Mapping[str, float], period: float
) -> list[tuple[Any, str]]:
    pybamm = _pybamm()
    if not steps:
        raise UsageError("a protocol without steps", fix="give at least one step")
    kinds = {
        "current": (pybamm.step.current, -1),
        "voltage": (pybamm.step.voltage, 1),
        "power": (pybamm.step.power, -1),
    }
    experiment = []
    for step in steps:
        kind, sign = kinds[step.mode]
        experiment.append(
            kind(
                sign * step.setpoint,
                duration=step.duration,
                period=min(period, step.duration),
                termination=[_limit(name, value, cell) for name, value in step.until.items()],
            )
        )
    solution = pybamm.Simulation(
        experiment=pybamm.Experiment([tuple(experiment)]), **simulation
    ).solve(calc_esoh=False)
    done = solution.cycles[0].steps
    pieces = []
    for number, (step, part) in enumerate(zip(steps, done, strict=False), start=1):
        skipped = isinstance(part, pybamm.EmptySolution)
        reason = "" if part.termination == "final time" else _stop(part.termination)
        if not skipped and reason and reason not in step.until:
            raise BatterykitError(
                f"step {number} ({step.mode} {step.setpoint:g}) ended at {reason}, "
                "which is none of its limits",
                fix="give the step that limit, or steps that keep inside the cut-off voltages",
            )
        pieces.append((None if skipped else part, reason))
    if len(done) < len(steps):
        raise BatterykitError(
            f"PyBaMM stopped after step {len(done)} of {len(steps)}",
            fix="lower the current, or let the step before end earlier",
        )
    return pieces


def _limit(name: str, value: float, cell: Mapping[str, float]) -> Any:  # noqa: ANN401
    """Return PyBaMM's event for one limit: positive before it, zero at it."""
    pybamm = _pybamm()
    sources = {
        "cell_voltage": "Voltage [V]",
        "temperature": "Volume-averaged cell temperature [K]",
        "plating": _VARIABLES["plating_potential"][0],
        "soc": "Negative electrode stoichiometry",
        "current": "Current [A]",
    }
    quantity, _, side = name.rpartition("_")
    if quantity not in sources or side not in ("min", "max"):
        raise UsageError(
            f"unknown limit '{name}'",
            fix="use a limit that Step names, such as cell_voltage_max or current_min",
        )
    if quantity == "soc":
        value = cell["x_0"] + value * (cell["x_100"] - cell["x_0"])

    def distance(variables: Mapping[str, Any]) -> Any:  # noqa: ANN401
        found = variables[sources[quantity]]
        found = abs(found) if quantity == "current" else found
        return found - value if side == "min" else value - found

    return pybamm.step.CustomTermination(name, distance)


def _stop(termination: str) -> str:
    """Return the simulator's word for what ended a solution."""
    event = termination.removeprefix("event: ").removesuffix(" [experiment]")
    return _STOPS.get(event, event)


def _dataset(
    pieces: Sequence[tuple[Any, str]], cell: Mapping[str, float], attributes: Mapping[str, str]
) -> xr.Dataset:
    import xarray as xr

    columns: dict[str, list[FloatArray]] = {
        name: [] for name in ("time", "step", "current", *_VARIABLES)
    }
    ends, now = [], 0.0
    for number, (piece, _) in enumerate(pieces):
        if piece is not None:
            # A value at a switch is of what ends there: drop those right after one.
            keep = np.diff(piece.t, prepend=-np.inf if number == 0 else now) > 2 * _SWITCH
            columns["time"].append(piece.t[keep])
            columns["step"].append(np.full(np.count_nonzero(keep), number))
            columns["current"].append(-piece["Current [A]"].entries[keep])
            for name, (source, _) in _VARIABLES.items():
                columns[name].append(piece[source].entries[keep])
            now = float(piece.t[-1])
        ends.append(now)
    data = {name: np.concatenate(parts) for name, parts in columns.items()}
    time = data.pop("time")
    units = {name: unit for name, (_, unit) in _VARIABLES.items()}
    units |= {"current": "A", "soc": "1", "heat": "W", "step": "1"}
    data["soc"] = (data["x"] - cell["x_0"]) / (cell["x_100"] - cell["x_0"])
    data["heat"] = np.sum([data[name] for name in data if name.startswith("heat_")], axis=0)
    dataset = xr.Dataset(
        {name: ("time", value, {"units": units[name]}) for name, value in data.items()},
        coords={"time": ("time", time, {"units": "s"})},
        attrs=dict(attributes),
    )
    dataset["stop_reason"] = ("steps", [reason for _, reason in pieces])
    dataset["step_end"] = ("steps", np.array(ends), {"units": "s"})
    return dataset


def _whole_steps(load: Profile, period: float) -> FloatArray:
    """Return the current of each period [A], positive on charge."""
    time, current = _points(load)
    counts = np.diff(time) / period
    if load.linear or np.any(np.abs(counts - np.round(counts)) > 1e-6) or current[0] == 0:
        raise UsageError(
            "liionpack takes a stepwise current whose steps last whole periods, and none at rest "
            "first",
            fix=f"round the profile to {period:g} s, or start it where a current flows",
        )
    return np.repeat(current[:-1], np.round(counts).astype(int))


def _experiment(currents: FloatArray, period: float) -> Any:  # noqa: ANN401
    """Return a drive cycle: liionpack lengthens the first of constant steps by one period."""
    pybamm = _pybamm()
    values = np.append(currents, currents[-1])  # the last one is never seen in the output
    cycle = np.column_stack([np.arange(len(values)) * period, -values])
    return pybamm.Experiment(
        [pybamm.step.current(cycle, period=period)], period=f"{period} seconds"
    )


def _netlist(network: Network) -> pd.DataFrame:
    """Write the circuit as liionpack reads it: nodes from 1, ground 0, cells in our order."""
    import pandas as pd

    plus, minus = network.plus + 1, network.minus + 1
    cell = np.arange(network.cells)
    inner = network.nodes + 1 + cell  # between a cell's voltage source and its resistance
    outer = inner + network.cells  # between its resistance and its connection
    parts = [
        ("V", inner, minus, np.full(network.cells, _FIRST_VOLTAGE)),
        ("Ri", outer, inner, np.full(network.cells, _FIRST_RESISTANCE)),
        ("Rc", plus, outer, network.series_resistance),
        ("Rb", *(network.resistor_nodes + 1).T, network.resistance),
    ]
    top = network.terminal + 1
    end = network.nodes + 2 * network.cells + 1
    parts += [
        ("Rt", np.array([top]), np.array([end]), np.array([network.terminal_resistance])),
        ("I", np.array([end]), np.array([0]), np.array([0.0])),
    ]
    netlist = pd.concat(
        pd.DataFrame(
            {
                "desc": [f"{kind}{number}" for number in range(len(value))],
                "node1": first,
                "node2": second,
                "value": np.maximum(value, _LEAST_RESISTANCE) if kind[0] == "R" else value,
            }
        )
        for kind, first, second, value in parts
    )
    return netlist.reset_index(drop=True)


def _pack_dataset(
    output: Mapping[str, FloatArray],
    numbers: Mapping[str, FloatArray],
    network: Network,
    currents: FloatArray,
    period: float,
) -> xr.Dataset:
    import liionpack
    import xarray as xr

    rows = len(output["Time [s]"])  # of states 0, 1, ...; those of cells out of limits are missing
    columns = {name: output[source][1:] for name, (source, _) in _VARIABLES.items()}
    columns["current"] = -output["Cell current [A]"][:-1]
    columns["soc"] = (columns["x"] - numbers["x_0"]) / (numbers["x_100"] - numbers["x_0"])
    columns["heat"] = np.sum([columns[name] for name in columns if name.startswith("heat_")], 0)
    units = {name: unit for name, (_, unit) in _VARIABLES.items()}
    units |= {"current": "A", "soc": "1", "heat": "W"}
    dataset = xr.Dataset(
        {
            name: (("time", "cell"), value.astype(np.float64), {"units": units[name]})
            for name, value in columns.items()
        },
        coords={"time": ("time", period * np.arange(1, rows), {"units": "s"})},
        attrs={"engine": f"liionpack {liionpack.__version__}", "model": "spme"},
    )
    applied = currents[: rows - 1]
    dataset["pack_current"] = ("time", applied, {"units": "A"})
    branches = dataset["voltage"].values + dataset["current"].values * network.series_resistance
    dataset["pack_voltage"] = (
        "time",
        branches @ _weights(network) + applied * network.terminal_resistance,
        {"units": "V"},
    )
    reason = ""
    if rows <= len(currents):
        full = output["Terminal voltage [V]"][-1].mean() > _MIDDLE_VOLTAGE
        reason = "cell_voltage_max" if full else "cell_voltage_min"
    dataset["stop_reason"] = ("steps", [reason])
    dataset["step_end"] = ("steps", [period * (rows - 1)], {"units": "s"})
    return dataset


def _weights(network: Network) -> FloatArray:
    """Return what each branch's voltage adds to that of the terminal, by least squares, (cell,)."""
    nodes = np.arange(network.nodes)
    incidence = (network.plus[:, None] == nodes) * 1.0 - (network.minus[:, None] == nodes)
    weights: FloatArray = np.linalg.pinv(incidence)[network.terminal]
    return weights


@contextmanager
def _repaired() -> Iterator[Any]:
    """Import liionpack and make it work beside this PyBaMM while the block runs."""
    _pybamm()
    import liionpack
    import liionpack.solvers

    level = liionpack.logger.level
    liionpack.logger.setLevel(logging.ERROR)
    with ExitStack() as undo:
        undo.callback(liionpack.logger.setLevel, level)
        undo.enter_context(
            _replaced(liionpack.solvers, "tqdm", partial(liionpack.solvers.tqdm, disable=True))
        )
        for repair in REPAIRS.values():
            for owner, name, value in repair(liionpack):
                undo.enter_context(_replaced(owner, name, value))
        yield liionpack


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:  # noqa: ANN401
    before = vars(owner).get(name, _NOTHING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _NOTHING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _count_no_sensitivities(_: Any) -> list[tuple[Any, str, Any]]:  # noqa: ANN401
    """1. PyBaMM's models no longer count the states of sensitivities; there are none here."""
    base = _pybamm().BaseModel
    return [(base, "len_rhs_sens", 0), (base, "len_alg_sens", 0)]


def _give_integrator_its_state(_: Any) -> list[tuple[Any, str, Any]]:  # noqa: ANN401
    """2. `CasadiSolver.create_integrator` wants a state, and inputs as one column."""
    import casadi

    solver = _pybamm().CasadiSolver
    original = solver.create_integrator

    def create_integrator(
        self: Any,  # noqa: ANN401
        model: Any,  # noqa: ANN401
        y0: Any = None,  # noqa: ANN401
        inputs: Any = None,  # noqa: ANN401
        t_eval: Any = None,  # noqa: ANN401
        use_event_switch: bool = False,
    ) -> Any:  # noqa: ANN401
        if isinstance(inputs, list):  # liionpack's: one dict for each cell
            inputs = casadi.vertcat(*inputs[0].values())
            y0 = np.zeros(model.len_rhs + model.len_alg)
        return original(self, model, y0, inputs, t_eval, use_event_switch)

    return [(solver, "create_integrator", create_integrator)]


def _copy_the_mask(liionpack: Any) -> list[tuple[Any, str, Any]]:  # noqa: ANN401
    """3. `power_loss` writes into a mask that pandas 3 made read-only."""

    def power_loss(netlist: Any, include_Ri: bool = False) -> None:  # noqa: ANN401, N803
        node_voltage = liionpack.solve_circuit(netlist)[0]
        counted = netlist["desc"].str.startswith("R")
        if not include_Ri:
            counted &= ~netlist["desc"].str.startswith("Ri")
        part = netlist[counted]
        drop = node_voltage[part["node1"]] - node_voltage[part["node2"]]
        netlist["power_loss"] = 0.0
        netlist.loc[counted, "power_loss"] = drop**2 / part["value"]

    return [(liionpack, "power_loss", power_loss)]


def _sort_inputs(liionpack: Any) -> list[tuple[Any, str, Any]]:  # noqa: ANN401
    """4. Inputs are stacked as they come, while PyBaMM's functions take them by name's order."""
    original = liionpack.build_inputs_dict

    def build_inputs_dict(*arguments: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        return [dict(sorted(one.items())) for one in original(*arguments)]

    return [(liionpack, "build_inputs_dict", build_inputs_dict)]


def _give_cells_their_own_state(liionpack: Any) -> list[tuple[Any, str, Any]]:  # noqa: ANN401
    """5. Copies of a solution share its states, so that all cells start as the last one does."""
    import casadi

    pybamm = _pybamm()
    original = liionpack.solvers.cco

    def create(inputs: list[dict[str, Any]], simulation: Any, *rest: Any) -> dict[str, Any]:  # noqa: ANN401
        made: dict[str, Any] = original(inputs, simulation, *rest)
        model = simulation.built_model
        zeros = np.zeros((model.len_rhs + model.len_alg, 1))
        made["initial_solutions"] = [
            pybamm.Solution(
                solution.t,
                model.initial_conditions_eval(0, zeros, casadi.vertcat(*one.values())),
                model,
                one,
            )
            for solution, one in zip(made["initial_solutions"], inputs, strict=True)
        ]
        return made

    return [(liionpack.solvers, "cco", create)]


REPAIRS: dict[str, Callable[[Any], list[tuple[Any, str, Any]]]] = {
    "sensitivities": _count_no_sensitivities,
    "integrator": _give_integrator_its_state,
    "power loss": _copy_the_mask,
    "order of inputs": _sort_inputs,
    "initial states": _give_cells_their_own_state,
}
