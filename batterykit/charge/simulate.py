"""A run of the pack simulator under a protocol, as a dataset; and what stands out in it.

All packs go through the steps of a protocol at their own pace, and are recorded on one time grid.
A limit is met between two of its points: the pack then does the next step for the rest of the
interval, so that all packs stand at the grid's points together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit.charge.protocols import Protocol
from batterykit.errors import StoreError, UsageError
from batterykit.pack.scenario import TRUTH
from batterykit.pack.simulator import REASONS, PackSimulator
from batterykit.progress import Track, no_track

if TYPE_CHECKING:
    from batterykit.store import Store

FloatArray = npt.NDArray[np.float64]

ZERO_CELSIUS = 273.15  # K
INSTANT = 1e-6  # s; what is left of an interval below this is the rounding of sums
ALIKE = 6  # decimals: cells that differ by less stand out together, and the first is named
NO_STEP = -1  # of `step`, past a pack's end

PROTOCOL_END = "protocol_end"
REASON_TEXTS = {
    PROTOCOL_END: "the protocol is over",
    "soc_max": "state of charge reached",
    "soc_min": "state of charge reached",
    "current_min": "current fallen to the cut-off",
    "cell_voltage_max": "a cell reached its highest voltage",
    "cell_voltage_min": "a cell reached its lowest voltage",
    "pack_voltage_max": "the pack reached its highest voltage",
    "pack_voltage_min": "the pack reached its lowest voltage",
    "temperature_max": "a cell reached its highest temperature",
    "plating_min": "a cell reached its lowest plating potential",
    "electrolyte_depleted": "a cell ran out of salt in its electrolyte",
    "stoichiometry": "an electrode of a cell is full or empty",
    "temperature_range": "a cell left the temperatures that its parameters are for",
    "no_solution": "the pack cannot give or take what was asked",
}
"""What a table says for a reason of `PackSimulator.advance`, and for the end of the last step."""

PER_CELL = {
    "current": ("A", "current, positive on charge"),
    "voltage": ("V", "terminal voltage of the cell"),
    "soc": ("1", "state of charge in the cell's own window"),
    "temperature": ("degC", "temperature"),
    "plating_potential": (
        "V",
        "potential of solid against electrolyte at the negative electrode's separator side",
    ),
    "heat": ("W", "heat generated"),
}
PER_PACK = {
    "pack_current": ("A", "current, positive on charge"),
    "pack_voltage": ("V", "terminal voltage of the pack"),
}


class Extreme(NamedTuple):
    """The cell that stands out.

    Attributes
    ----------
    what, units
        Which variable's highest or lowest value, and its unit.
    value
        The value.
    cell
        Index of the cell.
    place
        Series group and column, both from 1: "s3p2".
    time
        When [s].
    soc
        Mean state of charge of the pack then (1).
    """

    what: str
    units: str
    value: float
    cell: int
    place: str
    time: float
    soc: float


class Stage(NamedTuple):
    """What became of one step of the protocol: where it ended [s], (1), and what it met."""

    label: str
    start: float
    end: float
    soc: float
    voltage_max: float
    temperature_max: float


def check_dt(dt: float) -> None:
    """Refuse a time step that is none.

    Raises
    ------
    UsageError
        dt is not a positive number.
    """
    if not 0 < dt < np.inf:
        raise UsageError(f"a time step of {dt:g} s is none", fix="give --dt in seconds, such as 1")


def simulate(
    simulator: PackSimulator,
    protocol: Protocol,
    *,
    dt: float = 1.0,
    truth: Mapping[str, FloatArray] | None = None,
    track: Track = no_track,
    listen: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Take every pack from its present state through a protocol.

    Parameters
    ----------
    simulator
        Is left in the state of the end.
    protocol
        What is done.
    dt
        Distance of the recorded points, and the longest step of the simulator [s].
    truth
        What is known of the cells, `Scenario.truth`; becomes variables of the dataset.
    track, listen
        Progress in percent of the way, and a few words with the live figures.

    Returns
    -------
    xarray.Dataset
        As `trajectory` makes it.

    Raises
    ------
    UsageError
        dt is not a positive number.
    """
    check_dt(dt)
    run = _Run(simulator, protocol, dt)
    for _ in track(run.percents(), protocol.name, total=100):
        if listen is not None:
            listen(run.live())
    network = simulator.network
    return trajectory(
        run.times(),
        {name: np.stack(rows, axis=1) for name, rows in run.recorded.items()},
        parallel=network.parallel,
        series=network.series,
        labels=protocol.labels,
        stage_end=run.stage_end,
        stop_reason=run.stop_reason,
        duration=run.duration,
        truth=truth or {},
    )


def trajectory(
    time: FloatArray,
    recorded: Mapping[str, npt.NDArray[np.generic]],
    *,
    parallel: int,
    series: int,
    labels: Sequence[str],
    stage_end: FloatArray,
    stop_reason: Sequence[str],
    duration: FloatArray,
    truth: Mapping[str, FloatArray],
) -> xr.Dataset:
    """Return the dataset of `charge/{run_id}/trajectory`.

    Parameters
    ----------
    time
        Common grid, (time,) [s]. A pack that ends between two points has its last values at the
        later one; what follows is not a number.
    recorded
        The variables of `PER_CELL` (pack, time, cell) and `PER_PACK` (pack, time), and `step`
        (pack, time): index of the label of the step that led there, `NO_STEP` past the end.
    parallel, series
        Of the pack.
    labels
        Of the steps.
    stage_end
        When each of them was over, (pack, label) [s]; NaN where it was never reached.
    stop_reason
        Why each pack stopped.
    duration
        When, to 10 ms, (pack,) [s].
    truth
        What is known of the cells, `Scenario.truth`.
    """
    cells = np.arange(parallel * series)
    variables: dict[str, Any] = {}
    for names, dims in ((PER_CELL, ("pack", "time", "cell")), (PER_PACK, ("pack", "time"))):
        for name, (units, long_name) in names.items():
            variables[name] = (dims, recorded[name], {"units": units, "long_name": long_name})
    about_step = {"long_name": "step of the protocol, -1 past its end", "step_labels": list(labels)}
    variables["step"] = (("pack", "time"), recorded["step"], about_step)
    variables["stage_end"] = (
        ("pack", "stage"),
        stage_end,
        {"units": "s", "long_name": "end of each step of the protocol"},
    )
    variables["stop_reason"] = ("pack", np.array(stop_reason, dtype=object))
    variables["duration"] = (
        "pack",
        duration,
        {"units": "s", "long_name": "time at which the pack stopped, to 10 ms"},
    )
    for name, values in truth.items():
        units, long_name = TRUTH[name]
        variables[name] = (("pack", "cell"), values, {"units": units, "long_name": long_name})
    return xr.Dataset(
        variables,
        coords={
            "pack": np.arange(len(duration)),
            "time": ("time", time, {"units": "s", "long_name": "time since the start"}),
            "cell": ("cell", cells, {"long_name": "index: series group * columns + column"}),
            "series": (
                "cell",
                cells // parallel + 1,
                {"long_name": "series group, 1 at the negative terminal"},
            ),
            "parallel": ("cell", cells % parallel + 1, {"long_name": "column, from 1"}),
            "stage": ("stage", np.array(labels, dtype=object)),
        },
    )


def write_run(
    store: Store, dataset: xr.Dataset, *, name: Sequence[str], command: str, note: str
) -> str:
    """Write a trajectory under a name that no run has, and return the name.

    Parameters
    ----------
    store
        Gets the node `charge/{run_id}/trajectory`.
    dataset
        Of `trajectory`.
    name
        What the run is, in words that follow the time.
    command, note
        For the store's log.

    Raises
    ------
    StoreError
        The store cannot be written.
    """
    stamp = "-".join([f"{datetime.now(UTC):%Y%m%d-%H%M%S}", *name])
    number = 1
    while True:
        run_id = stamp if number == 1 else f"{stamp}-{number}"
        node = f"charge/{run_id}/trajectory"
        try:
            store.write(node, dataset, command=command, note=note)
            return run_id
        except StoreError:
            if not store.has(node):
                raise
            number += 1


def place(dataset: xr.Dataset, cell: int) -> str:
    """Return where a cell sits, such as "s3p2": third group, second column."""
    return f"s{int(dataset['series'][cell])}p{int(dataset['parallel'][cell])}"


def pack_soc(dataset: xr.Dataset, pack: int = 0) -> FloatArray:
    """Return a pack's state of charge over time: the mean of its cells, by their capacity (1)."""
    one = dataset.isel(pack=pack)
    weights = one["capacity"].values if "capacity" in one else np.ones(one.sizes["cell"])
    soc: FloatArray = one["soc"].values @ weights / weights.sum()
    return soc


def extremes(dataset: xr.Dataset, pack: int = 0) -> list[Extreme]:
    """Return the cells of a pack that stand out, and when they did."""
    wanted = (
        ("lowest plating potential", "plating_potential", np.nanargmin),
        ("highest voltage", "voltage", np.nanargmax),
        ("lowest voltage", "voltage", np.nanargmin),
        ("highest temperature", "temperature", np.nanargmax),
        ("most current", "current", lambda values: np.nanargmax(np.abs(values))),
    )
    one = dataset.isel(pack=pack)
    soc = pack_soc(dataset, pack)
    times = np.minimum(dataset["time"].values, float(one["duration"]))
    found = []
    for what, name, choose in wanted:
        values = one[name].values
        if np.isnan(values).all():  # a reference that does not know it
            continue
        row, cell = (int(i) for i in np.unravel_index(choose(values.round(ALIKE)), values.shape))
        found.append(
            Extreme(
                what,
                str(one[name].attrs["units"]),
                float(values[row, cell]),
                cell,
                place(dataset, cell),
                float(times[row]),
                float(soc[row]),
            )
        )
    return found


def stages(dataset: xr.Dataset, pack: int = 0) -> list[Stage]:
    """Return what became of each step that a pack began."""
    one = dataset.isel(pack=pack)
    soc = pack_soc(dataset, pack)
    running = np.isfinite(soc)
    times = np.minimum(dataset["time"].values[running], float(one["duration"]))
    result, start = [], 0.0
    for index, label in enumerate(dataset["stage"].values):
        end = float(one["stage_end"][index])
        if np.isnan(end):
            break
        inside = (one["step"] == index).values
        held = one[["voltage", "temperature"]].isel(time=np.flatnonzero(inside))
        highest = {
            name: float(held[name].max()) if inside.any() else np.nan for name in held.data_vars
        }
        result.append(
            Stage(
                str(label),
                start,
                end,
                float(np.interp(end, times, soc[running])),
                highest["voltage"],
                highest["temperature"],
            )
        )
        start = end
    return result


class _Run:
    """The packs on their way: which step each is at, and what has been recorded."""

    def __init__(self, simulator: PackSimulator, protocol: Protocol, dt: float) -> None:
        self.simulator, self.protocol, self.dt = simulator, protocol, dt
        packs = simulator.packs
        self.at = np.zeros(packs, dtype=np.int64)
        self.left = np.full(packs, protocol.steps[0].duration)
        self.duration = np.zeros(packs)
        self.running = np.ones(packs, dtype=np.bool_)
        self.stop_reason = [""] * packs
        self.labels = protocol.labels
        self.stage_end = np.full((packs, len(self.labels)), np.nan)
        self.recorded: dict[str, list[npt.NDArray[np.generic]]] = {
            name: [] for name in (*PER_CELL, *PER_PACK, "step")
        }
        self._label_of = np.array([self.labels.index(step.label) for step in protocol.steps])
        self._record(self.running, self._label_of[self.at])
        self._start = simulator.soc.mean(axis=1)

    def percents(self) -> Iterator[int]:
        """Go all the way; yield each time that another percent of it is done."""
        shown = 0
        while self.running.any():
            self._interval()
            done = min(int(self._done()), 100)
            yield from range(shown + 1, done + 1)
            shown = max(shown, done)

    def live(self) -> str:
        """Return the figures of the moment in a few words."""
        simulator = self.simulator
        return (
            f"SOC {100 * simulator.soc.mean():.1f} %, highest {simulator.voltage.max():.3f} V, "
            f"{simulator.temperature.max() - ZERO_CELSIUS:.1f} degC"
        )

    def times(self) -> FloatArray:
        """Return the grid; the last point is where the last pack stopped."""
        grid: FloatArray = self.dt * np.arange(float(len(self.recorded["step"])))
        grid[-1] = self.duration.max()
        return grid

    def _done(self) -> float:
        """Return how far the pack that has come least is [%]."""
        if self.protocol.way is None:
            whole = sum(step.duration for step in self.protocol.steps)
            return float(100 * self.duration.min() / whole)
        way = self.protocol.way.end - self._start
        gone = self.simulator.soc.mean(axis=1) - self._start
        return float(100 * np.where(way == 0, 1.0, gone / np.where(way == 0, 1.0, way)).min())

    def _interval(self) -> None:
        """Take each pack that is under way to the grid's next point, or to its end."""
        began, label = self.running.copy(), self._label_of[self.at]
        remaining = np.where(self.running, self.dt, 0.0)
        while (busy := remaining > INSTANT).any():
            at = self.at.copy()
            for index in np.unique(at[busy]):  # packs at the same step go together
                mine = busy & (at == index)
                label[mine] = self._label_of[index]
                remaining -= self._advance(int(index), mine, remaining)
            remaining[~self.running] = 0.0
        self._record(began, label)

    def _advance(
        self, index: int, mine: npt.NDArray[np.bool_], remaining: FloatArray
    ) -> FloatArray:
        """Let the packs at a step do some of it; return how long each did [s]."""
        simulator, step = self.simulator, self.protocol.steps[index]
        piece = np.where(mine, np.minimum(remaining, self.left), np.nan)  # NaN: leave it alone
        simulator.advance(step.mode, step.setpoint, piece, step.limits)
        elapsed = np.where(mine, simulator.elapsed, 0.0)
        self.left -= elapsed
        self.duration += elapsed
        for pack in np.flatnonzero(mine & ((simulator.reason != 0) | (self.left <= INSTANT))):
            self._next(int(pack), REASONS[int(simulator.reason[pack])])
        return elapsed

    def _next(self, pack: int, reason: str) -> None:
        """Let a pack, whose step has ended, begin the next one or stop."""
        steps = self.protocol.steps
        step = steps[self.at[pack]]
        self.stage_end[pack, self._label_of[self.at[pack]]] = self.duration[pack]
        last = self.at[pack] == len(steps) - 1
        if last or (reason and reason not in step.goes_on):
            self.running[pack] = False
            self.stop_reason[pack] = reason or PROTOCOL_END
        else:
            self.at[pack] += 1
            self.left[pack] = steps[self.at[pack]].duration

    def _record(self, running: npt.NDArray[np.bool_], label: npt.NDArray[np.int64]) -> None:
        for name in PER_CELL:
            values = np.where(running[:, None], getattr(self.simulator, name), np.nan)
            self.recorded[name].append(values - ZERO_CELSIUS if name == "temperature" else values)
        for name in PER_PACK:
            self.recorded[name].append(np.where(running, getattr(self.simulator, name), np.nan))
        self.recorded["step"].append(np.where(running, label, NO_STEP))
