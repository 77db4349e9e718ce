"""A batch of packs, stepped together: the arrays around the kernels.

Takes parameters, a circuit and the cells, lays them out for `kernels`, and keeps state and outputs
as arrays that the caller reads. Protocols, files and pictures are elsewhere.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from batterykit.errors import BatterykitError
from batterykit.pack import kernels
from batterykit.pack.cell import Cells
from batterykit.pack.kernels import CELL_VOLTAGE, CURRENT, POWER, VOLTAGE
from batterykit.pack.network import Network
from batterykit.pack.parameters import CellParameters, ElectrodeParameters

__all__ = [
    "CELL_VOLTAGE",
    "CURRENT",
    "POWER",
    "REASONS",
    "VOLTAGE",
    "Limits",
    "PackSimulator",
    "level",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]
Name = Literal["dfn", "spme", "dfn-fine"]
ArrayLike = npt.ArrayLike

# lambda and w of the sums that stand for the modes of a sphere, sum w = 1/5: least largest
# difference to the exact step response over D t / R2 from 1e-6 to 3, which is 7e-4 of 1/5.
MODES = (
    (20.7496, 0.105175),
    (86.8793, 0.0489494),
    (414.987, 0.0263399),
    (2636.31, 0.0125919),
    (26027.1, 0.0051384),
    (634097.0, 0.00180555),
)

# Finite volumes in each electrode and in the separator, and how much narrower each is than the one
# behind it on the way to the separator, where the reaction crowds.
MESHES = {"spme": (18, 5, 1.0), "dfn": (8, 4, 0.9), "dfn-fine": (20, 8, 0.95)}

LEVELLING = 12 * 3600.0  # s
LEVELLING_STEP = 60.0  # s

REASONS = {
    kernels.OK: "",
    kernels.CELL_VOLTAGE_MAX: "cell_voltage_max",
    kernels.CELL_VOLTAGE_MIN: "cell_voltage_min",
    kernels.PACK_VOLTAGE_MAX: "pack_voltage_max",
    kernels.PACK_VOLTAGE_MIN: "pack_voltage_min",
    kernels.TEMPERATURE_MAX: "temperature_max",
    kernels.PLATING_MIN: "plating_min",
    kernels.SOC_MAX: "soc_max",
    kernels.SOC_MIN: "soc_min",
    kernels.CURRENT_MIN: "current_min",
    kernels.DEPLETED: "electrolyte_depleted",
    kernels.STOICHIOMETRY: "stoichiometry",
    kernels.TEMPERATURE_RANGE: "temperature_range",
    kernels.NO_SOLUTION: "no_solution",
}


class Limits(NamedTuple):
    """What ends a step of `PackSimulator.advance`; NaN is no limit.

    Parameters
    ----------
    cell_voltage_max, cell_voltage_min
        Of any cell [V].
    pack_voltage_max, pack_voltage_min
        Of the pack's terminals [V].
    temperature_max
        Of any cell [K].
    plating_min
        Plating potential of any cell [V].
    soc_max, soc_min
        Of the pack: the mean of its connected cells, by their capacity (1).
    current_min
        The pack's current has fallen to this magnitude [A].
    """

    cell_voltage_max: float = math.nan
    cell_voltage_min: float = math.nan
    pack_voltage_max: float = math.nan
    pack_voltage_min: float = math.nan
    temperature_max: float = math.nan
    plating_min: float = math.nan
    soc_max: float = math.nan
    soc_min: float = math.nan
    current_min: float = math.nan


class PackSimulator:
    """N packs of M cells that differ, stepped together.

    Attributes
    ----------
    state
        (packs, size, columns), all there is to know of the cells; copy it to branch off, assign
        to it (`simulator.state[...] = kept`) to go back.
    current, voltage, soc, temperature, plating_potential
        (packs, size) [A, V, 1, K, V] at the end of the last step; current is positive on charge,
        and its mean over the step (a long step is cut into parts where salt runs short). The
        plating potential is that of the negative electrode's separator side, less the film's
        drop; below zero lithium metal can form.
    heat, heat_reversible, heat_mixing
        (packs, size) [W]: what warms the cell, its reversible part, and the heat of mixing, which
        (as in PyBaMM's default) warms nothing.
    pack_current, pack_voltage
        (packs,) [A, V].
    elapsed, reason
        (packs,): seconds that the last `advance` took, and why it stopped (key of `REASONS`).
    time
        (packs,) [s] since `reset`.
    """

    def __init__(
        self,
        parameters: CellParameters,
        network: Network,
        cells: Cells,
        *,
        packs: int = 1,
        model: Name = "dfn",
        coupling: float = 0.0,
        threads: int | None = None,
    ) -> None:
        """Lay out the arrays and put every cell to rest.

        Parameters
        ----------
        parameters
            What all cells share.
        network
            The circuit of one pack.
        cells
            What tells the cells apart; broadcast to (packs, size).
        packs
            Number of packs.
        model
            "dfn": the reaction resolved through the electrodes; "spme": spread evenly;
            "dfn-fine": as "dfn" with 20 finite volumes in an electrode instead of 8, to judge it.
        coupling
            Heat that passes between neighbouring cells [W/K].
        threads
            Packs worked on at once; by default as many as there are processors.

        Raises
        ------
        BatterykitError
            Cells that cannot be, open cells that leave a part of the circuit without a path, or
            an option that cannot be.
        """
        _check(model, coupling, threads)
        size = network.cells
        self.parameters = parameters
        self.network = network
        self.packs = packs
        self.size = size
        self.cells = cells.broadcast(packs, size)
        _check_paths(network, np.asarray(self.cells.connected))
        self._layout, self._model = _model(parameters, model)
        self._data = _cell_data(parameters, self._layout, self.cells)
        self._circuit = _circuit(network, coupling)
        if 4 * coupling * kernels.SHORTEST > self._data["heat_capacity"].min():
            raise BatterykitError(
                f"a coupling of {coupling:g} W/K makes neighbouring cells one",
                fix="couple them by less than the heat capacity of a cell over two seconds",
            )
        self._states = np.zeros(packs * size, self._layout.state)
        self._rows = self._states.view(np.float64).reshape(packs * size, -1)
        self.state: FloatArray = self._rows.reshape(packs, size, -1)
        self._outputs = np.zeros(packs * size, self._layout.output)
        self._pack_out = np.zeros((packs, 2))
        outputs = self._outputs.reshape(packs, size)
        self.current: FloatArray = outputs["current"]
        self.voltage: FloatArray = outputs["voltage"]
        self.soc: FloatArray = outputs["soc"]
        self.temperature: FloatArray = outputs["temperature"]
        self.plating_potential: FloatArray = outputs["plating"]
        self.heat: FloatArray = outputs["heat"]
        self.heat_reversible: FloatArray = outputs["reversible"]
        self.heat_mixing: FloatArray = outputs["mixing"]
        self.pack_current: FloatArray = self._pack_out[:, 0]
        self.pack_voltage: FloatArray = self._pack_out[:, 1]
        self.time = np.zeros(packs)
        self.elapsed = np.zeros(packs)
        self.reason = np.zeros(packs, dtype=np.int64)
        workers = max(1, min(threads or _processors(), packs))
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork
        self._scratch = [
            (
                np.zeros(size, self._layout.work),
                np.zeros_like(self._circuit.conductance),
                np.zeros((2, network.nodes)),
                np.zeros((size, self.state.shape[2])),
                np.zeros(size, self._layout.output),
                np.zeros((size, self.state.shape[2])),
            )
            for _ in range(workers)
        ]
        self._mode = np.zeros(packs, dtype=np.int64)
        self._setpoint = np.zeros(packs)
        self._dt = np.zeros(packs)
        self._entries: dict[Any, Callable[..., None]] = {}
        self.reset()

    def reset(
        self,
        soc: ArrayLike | None = None,
        temperature: ArrayLike | None = None,
        packs: Sequence[int] | npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Put cells to rest at a state of charge (1) and a temperature [K].

        By default those of `cells`, in all packs; `packs` (numbers, or true for each) says in
        which. Values are one number, one a cell, or (packs, size). The outputs are those of the
        circuit with no pack current: unequal cells in parallel exchange currents from the first
        moment.

        Raises
        ------
        BatterykitError
            A state of charge or temperature that cannot be.
        """
        soc = self._every(self.cells.soc if soc is None else soc)
        temperature = self._every(self.cells.ambient if temperature is None else temperature)
        x_0, x_100, y_0, y_100 = (
            np.asarray(getattr(self.cells, name)) for name in ("x_0", "x_100", "y_0", "y_100")
        )
        x = x_0 + soc * (x_100 - x_0)
        y = y_0 + soc * (y_100 - y_0)
        for name, stoichiometry in (("negative", x), ("positive", y)):
            if not np.all((stoichiometry > 0) & (stoichiometry < 1)):
                raise BatterykitError(
                    f"a state of charge from {soc.min():g} to {soc.max():g} needs stoichiometries "
                    f"of the {name} electrode from {stoichiometry.min():.3g} to "
                    f"{stoichiometry.max():.3g}",
                    fix="give a state of charge between 0 and 1",
                )
        low, high = self.parameters.temperature_grid[[0, -1]]
        if not np.all((temperature >= low) & (temperature <= high)):
            raise BatterykitError(
                f"the temperature is {temperature.min():g} to {temperature.max():g} K, and the "
                f"parameters reach from {low:g} to {high:g} K",
                fix="give temperatures in kelvin and in this range",
            )
        chosen = np.full(self.packs, packs is None)
        if packs is not None:
            chosen[packs] = True
        states = self._states.reshape(self.packs, self.size)
        self.state[chosen] = 0.0
        states["temperature"][chosen] = temperature[chosen]
        states["negative"]["mean"][chosen] = x[chosen, :, None]
        states["positive"]["mean"][chosen] = y[chosen, :, None]
        states["salt"][chosen] = self._model["salt"]
        self.step(CURRENT, 0.0, np.where(chosen, 0.0, np.nan))
        if self.reason.any():
            raise BatterykitError(
                f"pack {int(np.argmax(self.reason != 0))} has no state of rest: "
                + REASONS[int(self.reason.max())],
                fix="start with states of charge that are closer to one another",
            )
        self.time[chosen] = 0.0

    def _every(self, value: ArrayLike) -> FloatArray:
        """Return one number, one a cell, or one a pack and cell, as (packs, size).

        Raises
        ------
        BatterykitError
            Another shape.
        """
        try:
            return np.broadcast_to(np.asarray(value, dtype=np.float64), (self.packs, self.size))
        except ValueError as error:
            raise BatterykitError(
                f"an array of shape {np.shape(value)} does not fit {self.packs} packs of "
                f"{self.size} cells",
                fix="give one number, one per cell, or an array of shape (packs, cells)",
            ) from error

    def step(self, mode: ArrayLike, setpoint: ArrayLike, dt: ArrayLike) -> None:
        """Take every pack through one step.

        Parameters
        ----------
        mode
            `CURRENT` [A], `VOLTAGE` [V] or `POWER` [W] of the pack, or `CELL_VOLTAGE` [V], which
            holds the highest cell; one or (packs,).
        setpoint
            In the mode's unit, positive on charge; one or (packs,).
        dt
            Length [s]; one or (packs,). 0 gives the outputs at this set-point now; NaN leaves the
            pack as it is.

        Notes
        -----
        `reason` tells of packs for which there is no solution, or none that is physical any more;
        they are left as they were.
        """
        self._set(mode, setpoint, dt)
        self._run(kernels.step_packs)
        self.elapsed[:] = np.where(np.isnan(self._dt) | (self.reason != 0), 0.0, self._dt)
        self.time += self.elapsed

    def advance(self, mode: ArrayLike, setpoint: ArrayLike, dt: ArrayLike, limits: Limits) -> None:
        """Step, but stop each pack at most 10 ms after the first limit that it crosses.

        Limits are looked at where the step begins (a pack that is beyond one goes no further) and
        where it ends: take steps as short as what matters in between.

        Parameters as in `step`; `elapsed` and `reason` tell how far each pack came, and why.
        """
        self._set(mode, setpoint, dt)
        table = np.full((self.packs, len(REASONS)), np.nan)
        table[:, 1 : 1 + len(limits)] = limits
        self.elapsed[:] = 0.0
        self._run(kernels.advance_packs, table, self.elapsed)
        self.time += self.elapsed

    def _set(self, mode: ArrayLike, setpoint: ArrayLike, dt: ArrayLike) -> None:
        """Take one number or one a pack of each; refuse what is not a step.

        Raises
        ------
        BatterykitError
            A set-point that is not a number, or a negative dt.
        """
        for name, kept, value in (
            ("mode", self._mode, mode),
            ("set-point", self._setpoint, setpoint),
            ("dt", self._dt, dt),
        ):
            try:
                kept[:] = value
            except ValueError as error:
                raise BatterykitError(
                    f"the {name} has shape {np.shape(value)}, and there are {self.packs} packs",
                    fix="give one number, or one for each pack",
                ) from error
        if np.asarray(mode).dtype.kind not in "iu":
            raise self._no_step(0)

    def _no_step(self, pack: int) -> BatterykitError:
        return BatterykitError(
            "a step needs a mode from 0 to 3, a number as set-point and a length of 0 s or more; "
            f"pack {pack} was given {self._mode[pack]}, {self._setpoint[pack]:g} and "
            f"{self._dt[pack]:g} s",
            fix="correct the protocol or the controller that asks for it",
        )

    def _run(self, kernel: Callable[..., None], *more: FloatArray) -> None:
        """Call a kernel on every pack, from as many threads as there is scratch for."""
        self.reason[:] = kernels.OK
        shared = (self._model, self._circuit, self._data, self._states, self._outputs)
        steps = (self._mode, self._setpoint, self._dt, self.reason)
        threads = len(self._scratch)

        def arguments(thread: int) -> tuple[Any, ...]:
            work, matrix, sides, kept, said, start = self._scratch[thread]
            scratch = (self._pack_out, work, matrix, sides, self._rows, kept, said, start)
            return (*shared, *scratch, thread, threads, *steps, *more)

        entry = self._entries.get(kernel)
        if entry is None:
            entry = self._entries[kernel] = _entry(kernel, arguments(0))
        if threads == 1:
            entry(*arguments(0))
        else:
            if os.getpid() not in self._pools:
                self._pools[os.getpid()] = ThreadPoolExecutor(threads)
            pool = self._pools[os.getpid()]
            list(pool.map(lambda thread: entry(*arguments(thread)), range(threads)))
        if self.reason.max() == kernels.NO_STEP:
            raise self._no_step(int(self.reason.argmax()))


def equations(model: Name) -> Literal["dfn", "spme"]:
    """Return which equations a model solves, whatever its mesh."""
    return "spme" if model == "spme" else "dfn"


def level(
    parameters: CellParameters, network: Network, cells: Cells, *, model: Name = "dfn"
) -> Cells:
    """Return the cells as they are after twelve hours of rest in their circuit.

    Cells in parallel always have one voltage (but for the busbars'): left alone, those with more
    charge give to those with less. A scenario draws every cell's state of charge by itself.

    Parameters
    ----------
    parameters, network, model
        As for `PackSimulator`.
    cells
        Of any number of packs.

    Raises
    ------
    BatterykitError
        Cells that cannot be, or that exchange more than they hold.
    """
    if network.parallel == 1:
        return cells
    shapes = [np.shape(getattr(cells, field.name)) for field in fields(cells)]
    packs = np.broadcast_shapes(*shapes, (1, network.cells))[0]
    resting = PackSimulator(parameters, network, cells, packs=packs, model=model)
    for _ in range(round(LEVELLING / LEVELLING_STEP)):
        resting.step(CURRENT, 0.0, LEVELLING_STEP)
        if resting.reason.any():
            raise BatterykitError(
                "cells in parallel are so unequal that they cannot level: "
                + REASONS[int(resting.reason.max())],
                fix="start with states of charge that are closer to one another",
            )
    return replace(cells, soc=resting.soc.clip(0.0, 1.0))


def _entry(
    kernel: Any,  # noqa: ANN401 - a dispatcher of numba, which has no types
    arguments: tuple[Any, ...],
) -> Callable[..., None]:
    """Return the machine code for these arguments, compiled or from the cache on disk.

    Called directly it takes 5 us; numba's own dispatch looks at every field of every record first
    and takes 80.
    """
    from numba import typeof

    signature = tuple(typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    kernel.compile(signature)
    entry: Callable[..., None] = kernel.get_overload(signature)
    return entry


def _check(model: str, coupling: float, threads: int | None) -> None:
    """Refuse options that cannot be."""
    if model not in MESHES:
        raise BatterykitError(
            f"there is no model '{model}'", fix=f"use one of {', '.join(sorted(MESHES))}"
        )
    if not 0 <= coupling < math.inf:
        raise BatterykitError(
            f"the coupling between neighbours is {coupling} W/K", fix="give 0 W/K or more"
        )
    if threads is not None and threads < 1:
        raise BatterykitError(f"{threads} threads cannot work", fix="give 1 or more, or none")


def _check_paths(network: Network, connected: npt.NDArray[np.bool_]) -> None:
    """Refuse packs of which open cells cut a part off.

    Raises
    ------
    BatterykitError
        With the first such pack.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    for pack in np.flatnonzero(~connected.all(axis=1)):
        cells = np.column_stack([network.plus, network.minus])[connected[pack]]
        ends = np.concatenate([cells, network.resistor_nodes]) % (network.nodes + 1)
        size = network.nodes + 1  # the last one is ground, -1
        graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
        if connected_components(graph, directed=False, return_labels=False) > 1:
            raise BatterykitError(
                f"open cells cut off a part of pack {pack}",
                fix="connect one cell of every series group",
            )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _model(p: CellParameters, model: Name) -> tuple[kernels.Layout, Records]:
    """Return the layout of all records, and what the cells share, (1,)."""
    nodes, between, narrowing = MESHES[model]
    decay, weight = (np.array(column) for column in zip(*MODES, strict=True))
    layout = kernels.layout(
        nodes,
        between,
        particles=1 if equations(model) == "spme" else nodes,
        modes=len(MODES),
        pieces=p.negative.potential.shape,
        stoichiometries=p.negative.relative_diffusivity.shape,
        inverses=p.inverse_temperature_grid.shape,
        salts=p.conductivity.shape,
    )
    record = np.zeros(1, layout.model)
    grades = narrowing ** np.arange(nodes)
    grades /= grades.sum()
    counts = (nodes, between, nodes)
    width = np.concatenate(
        [
            p.negative.thickness * grades,
            np.full(between, p.separator_thickness / between),
            p.positive.thickness * grades[::-1],
        ]
    )
    share = np.concatenate([-grades, np.zeros(between), grades[::-1]])
    transport = np.repeat(
        [
            p.negative.transport_efficiency,
            p.separator_transport_efficiency,
            p.positive.transport_efficiency,
        ],
        counts,
    )
    length = width / transport
    porosity = np.repeat([p.negative.porosity, p.separator_porosity, p.positive.porosity], counts)
    for name, e, sign, first in (
        ("negative", p.negative, -1, 0),
        ("positive", p.positive, 1, 2 * nodes + between - 1),
    ):
        _fill(record[name], _electrode(e) | {"sign": sign, "first": first, "step": -sign})
        record[name]["width"] = e.thickness * grades
    _fill(
        record,
        {
            "dfn": equations(model) == "dfn",
            "decay": decay,
            "weight": weight * (0.2 / weight.sum()),
            "width": width,
            "transport": transport,
            "volume": porosity * width,
            "nearness": 1 / (0.5 * (length + np.append(length[1:], np.inf))),
            "unit": (1 - p.transference) / kernels.FARADAY * share,
            "separator": nodes,
            "separator_end": nodes + between,
            "salt": p.electrolyte_concentration,
            # What PyBaMM uses as the mean concentration of the SPMe: mean(eps c) mean(1 / eps),
            # which no current changes. Marquis et al. (2019) use the initial concentration.
            "property_salt": p.electrolyte_concentration
            * np.average(porosity, weights=width)
            * np.average(1 / porosity, weights=width),
            "transference": p.transference,
            "conductivity": p.conductivity,
            "diffusivity": p.electrolyte_diffusivity,
            "thermodynamic": p.thermodynamic,
            "cold": p.temperature_grid[0],
            "hot": p.temperature_grid[-1],
            "kelvin": p.temperature_grid[1] - p.temperature_grid[0],
            "salt_step": p.concentration_grid[1],
            "cold_inverse": p.inverse_temperature_grid[0],
            "inverse_step": p.inverse_temperature_grid[1] - p.inverse_temperature_grid[0],
            "reference_temperature": p.reference_temperature,
            "collector_resistance": p.collector_resistance * p.electrode_area,
        },
    )
    return layout, record


def _electrode(e: ElectrodeParameters) -> dict[str, ArrayLike]:
    salt, full, empty = e.exchange_exponents
    return {
        "thickness": e.thickness,
        "radius": e.particle_radius,
        "conductivity": e.conductivity,
        "max_concentration": e.max_concentration,
        "potential": e.potential,
        "entropic": e.entropic,
        "has_entropic": np.any(e.entropic),
        "log_diffusivity": e.log_diffusivity,
        "relative_diffusivity": e.relative_diffusivity,
        "varying_diffusivity": np.ptp(e.relative_diffusivity) > 1e-9,
        "log_rate": e.log_rate,
        "salt_exponent": salt,
        "full_exponent": full,
        "empty_exponent": empty,
        "square_roots": np.allclose(e.exchange_exponents, 0.5, rtol=0, atol=1e-9),
    }


def _cell_data(p: CellParameters, layout: kernels.Layout, cells: Cells) -> Records:
    """Return what tells the cells apart, (packs * size,)."""
    records = np.zeros(np.size(cells.area), layout.cell)
    neg = p.negative
    area = p.electrode_area * np.ravel(cells.area)
    window = np.ravel(cells.x_100) - np.ravel(cells.x_0)
    full = kernels.FARADAY * neg.max_concentration * neg.active_fraction * neg.thickness
    for name in ("ne_diffusivity", "pe_diffusivity", "ne_rate", "pe_rate", "film_resistance"):
        records[name] = np.ravel(getattr(cells, name))
    _fill(
        records,
        {
            "area": area,
            "ne_surface": 3 * neg.active_fraction / neg.particle_radius * np.ravel(cells.ne_active),
            "pe_surface": 3
            * p.positive.active_fraction
            / p.positive.particle_radius
            * np.ravel(cells.pe_active),
            "contact_resistance": p.contact_resistance + np.ravel(cells.contact_resistance),
            "cooling": p.cooling * np.ravel(cells.cooling),
            "heat_capacity": p.heat_capacity * np.ravel(cells.heat_capacity),
            "ambient": np.ravel(cells.ambient),
            "x_0": np.ravel(cells.x_0),
            "x_window": window,
            "capacity": full * np.ravel(cells.ne_active) * area * window,
            "connected": np.ravel(cells.connected),
        },
    )
    return records


def _fill(records: Records, values: Mapping[str, ArrayLike]) -> None:
    for name, value in values.items():
        records[name] = value


def _circuit(network: Network, coupling: float) -> kernels.Circuit:
    band = np.zeros((network.nodes, network.bandwidth + 1))
    for (a, b), resistance in zip(network.resistor_nodes, network.resistance, strict=True):
        for node in (a, b):
            if node >= 0:
                band[node, 0] += 1.0 / resistance
        if a >= 0 and b >= 0:
            band[min(a, b), abs(a - b)] -= 1.0 / resistance
    neighbours = np.full((network.cells, 4), -1, dtype=np.int64)
    counts = np.zeros(network.cells, dtype=np.int64)
    for a, b in network.neighbours:
        for one, other in ((a, b), (b, a)):
            neighbours[one, counts[one]] = other
            counts[one] += 1
    return kernels.Circuit(
        plus=np.ascontiguousarray(network.plus, dtype=np.int64),
        minus=np.ascontiguousarray(network.minus, dtype=np.int64),
        series_resistance=_array(network.series_resistance),
        conductance=band,
        terminal=int(network.terminal),
        terminal_resistance=float(network.terminal_resistance),
        series=network.series,
        share=1.0 / network.parallel,
        neighbours=neighbours,
        coupling=float(coupling),
    )


def _array(values: ArrayLike) -> FloatArray:
    return np.array(values, dtype=np.float64, order="C")
