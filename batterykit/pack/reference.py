"""Other people's simulators run on our terms: PyBaMM for one cell.

References to test and compare with, never on the hot path. They take the same `Cells` as the
simulator and return the same quantities with the same signs: **current is positive on charge**
(PyBaMM counts discharge as positive; nothing outside this file has to know). A value at the moment
of a switch belongs to what ends there.

**PyBaMM** (IDAKLU, lumped temperature, contact resistance switched on). The error of its spatial
mesh, measured at 25 degC from 10 % state of charge on Chen2020 against twice the points in x and
four times those in the particle (SPMe) or half as many again (DFN):

==================  ==========================  ==================  ===================
model, mesh         points x_n, x_s, x_p, r     1C: V, plating, T   2C: V, plating, T
==================  ==========================  ==================  ===================
SPMe default        20, 20, 20, 20 equal        3.2 / 0.8 mV, 1 mK  8.2 / 2.3 mV, 114 mK
SPMe fine           120, 60, 120, 100 graded    see below           0.03 / 0.02 mV, 1.3 mK
DFN default         20, 20, 20, 20 equal                            9.1 / 2.3 mV, 70 mK
DFN fine            60, 30, 60, 40 graded                           0.16 / 0.02 mV, 9 mK
==================  ==========================  ==================  ===================

PyBaMM leaves the loss in a film on the particles out of its heat.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from batterykit.errors import BatterykitError, UsageError
from batterykit.pack.cell import Cells

if TYPE_CHECKING:
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
    """Return a copy of PyBaMM's `ParameterValues`: by the set's name, from a BPX file, or given.

    Raises
    ------
    UsageError
        No such set or file.
    """
    pybamm = _pybamm()
    if not isinstance(source, str | Path):
        return source.copy()
    if str(source) in pybamm.parameter_sets:
        return pybamm.ParameterValues(str(source))
    if Path(source).is_file():
        return pybamm.ParameterValues.create_from_bpx(str(source))
    raise UsageError(
        f"no parameter set or BPX file '{source}'",
        fix=f"use a file that exists or one of {', '.join(sorted(pybamm.parameter_sets))}",
    )


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
    one = {
        item.name: float(getattr(cell.broadcast(1, 1), item.name)[0, 0]) for item in fields(cell)
    }
    options = _apply(values, one)
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


def _pybamm() -> Any:  # noqa: ANN401
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    return pybamm


def _apply(values: Any, cell: Mapping[str, Any]) -> dict[str, str]:  # noqa: ANN401
    """Write a cell's own numbers (or symbols) into parameter values; return the model's options."""
    changes: dict[str, Any] = {
        "Ambient temperature [K]": cell["ambient"],
        "Initial temperature [K]": cell["ambient"],
        "Contact resistance [Ohm]": values["Contact resistance [Ohm]"] + cell["contact_resistance"],
    }

    def scale(name: str, factor: Any) -> None:  # noqa: ANN401
        value = values[name]
        if callable(value):
            changes[name] = lambda *arguments: factor * value(*arguments)
        else:
            changes[name] = factor * value

    scale("Number of electrodes connected in parallel to make a cell", cell["area"])
    scale("Total heat transfer coefficient [W.m-2.K-1]", cell["cooling"])
    for part in (
        *("Negative electrode", "Positive electrode", "Separator"),
        *("Negative current collector", "Positive current collector"),
    ):
        scale(f"{part} specific heat capacity [J.kg-1.K-1]", cell["heat_capacity"])
    for short, side, stoichiometry in (("ne", "negative", "x"), ("pe", "positive", "y")):
        title = side.capitalize()
        scale(f"{title} electrode active material volume fraction", cell[f"{short}_active"])
        scale(f"{title} particle diffusivity [m2.s-1]", cell[f"{short}_diffusivity"])
        scale(f"{title} electrode exchange-current density [A.m-2]", cell[f"{short}_rate"])
        empty, full = cell[f"{stoichiometry}_0"], cell[f"{stoichiometry}_100"]
        changes[f"Initial concentration in {side} electrode [mol.m-3]"] = (
            empty + cell["soc"] * (full - empty)
        ) * values[f"Maximum concentration in {side} electrode [mol.m-3]"]
    options = {"thermal": "lumped", "contact resistance": "true"}
    if not (isinstance(cell["film_resistance"], float) and cell["film_resistance"] == 0):
        # A layer 1 m "thick" whose resistivity is the film's area resistance; it does not grow.
        changes |= {
            "SEI resistivity [Ohm.m]": cell["film_resistance"],
            "Initial SEI thickness [m]": 1.0,
            "SEI partial molar volume [m3.mol-1]": 1.0,
            "Ratio of lithium moles to SEI moles": 1.0,
        }
        options |= {"SEI": "constant", "SEI film resistance": "distributed"}
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


def _run_profile(
    simulation: Mapping[str, Any], profile: Profile, period: float
) -> list[tuple[Any, str]]:
    pybamm = _pybamm()
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
