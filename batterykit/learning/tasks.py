"""The two tasks, as padded sequences per cell: what a model may see and what it is asked.

`estimate`: the state at a check-up from that check-up's measurements other than capacity, and from
what the cell has been through. `forecast`: the later trajectory from the first check-ups and the
planned use. The two are never mixed, and nothing here knows a fold: scaling and imputing belong to
the training cells of one (`design`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from batterykit.errors import InputError, UsageError
from batterykit.features.build import refresh
from batterykit.progress import Track, no_track
from batterykit.store import Store

TASKS = ("estimate", "forecast")
TARGETS = {"soh": 1.0, "lli": 0.0, "lam_pe": 0.0, "lam_ne": 0.0}
"""Each target with its value at RPT0, which holds by definition and is therefore never scored."""

DEFAULT_CONTEXT = 3
MILDEST_TEMPERATURE = 25.0
"""[degC] where lithium-ion cells age slowest; Waldmann et al., J. Power Sources 262 (2014) 129."""

ICA_COLUMNS = ("voltage", "height", "prominence")
ICA_PEAKS = 4
"""Peaks that every C/10 discharge of the LG M50T shows, fresh and aged."""

FULL_WINDOW = (4, 5)
"""Experiments that cycle from 0 to 100 % SoC; Kirkaldy et al., J. Power Sources 603 (2024)."""

PROXY = re.compile(r"capacity|charge_c\d|soh|lli|lam_|_area|offset|_lo$|_hi$|gr_frac|ocv_fit")
"""Names of quantities that are the target, or follow from the capacity measured at the check-up."""

LAWS = {
    "arrhenius": ("warmth", "coldness", "resistance_growth"),
    "parabola": ("temperature_cell", "temperature_squared", "resistance_growth"),
}
"""The few inputs that say how a cell ages apart from how far it has gone, by rival laws of
temperature; the inner folds of each fit choose between them."""

MEASURED = (
    "charge_throughput",
    "days",
    "temperature_cell",
    "arrhenius_throughput",
    "arrhenius_sqrt_days",
    "resistance_last",
    "resistance_age_days",
)
"""Summary features that enter as they are; `inputs` derives the rest."""


@dataclass(frozen=True)
class Sequences:
    """Cells as padded sequences over check-ups (step = RPT number).

    Attributes
    ----------
    task, target
        Of `TASKS`, `TARGETS`.
    cells
        (cell) names.
    experiment, temperature
        (cell) experiment number int64; chamber temperature float64 [degC].
    names, units
        (feature) of `x`.
    x
        (cell, step, feature) float64, NaN where unknown or padded. Row j holds nothing measured
        after check-up j; in `forecast` nothing measured after the context.
    y
        (cell, step) float64 target [1], NaN where padded (everywhere, once hidden).
    seen
        (cell, step) float64 target values that the task gives away, NaN elsewhere.
    mask
        (cell, step) bool: the check-up exists.
    scored
        (cell, step) bool: the task asks for it.
    time
        (cell, step) float64 [d] each cell's own grid, from 0, strictly increasing; NaN padded.
    """

    task: str
    target: str
    cells: tuple[str, ...]
    experiment: np.ndarray
    temperature: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    seen: np.ndarray
    mask: np.ndarray
    scored: np.ndarray
    time: np.ndarray

    def __post_init__(self) -> None:
        shape = self.mask.shape
        if len(self.cells) != shape[0] or self.x.shape != (*shape, len(self.names)):
            raise ValueError(f"x {self.x.shape} does not fit cells, steps {shape} and names")
        for array in (self.y, self.seen, self.scored, self.time):
            if array.shape != shape:
                raise ValueError(f"shape {array.shape} does not fit cells and steps {shape}")

    @property
    def origin(self) -> float:
        """The target's value at RPT0."""
        return TARGETS[self.target]

    def column(self, name: str) -> np.ndarray:
        """Return one feature, (cell, step)."""
        return self.x[:, :, self.names.index(name)]

    def take(self, cells: np.ndarray | Sequence[int]) -> Sequences:
        """Return some of the cells, by index."""
        index = np.asarray(cells, dtype=np.int64)
        per_cell = ("experiment", "temperature", "x", "y", "seen", "mask", "scored", "time")
        return replace(
            self,
            cells=tuple(self.cells[number] for number in index),
            **{name: getattr(self, name)[index] for name in per_cell},
        )

    def hidden(self) -> Sequences:
        """Return the same without the answers: this is what a model predicts from."""
        return replace(self, y=np.full(self.y.shape, np.nan))

    def require_answers(self) -> None:
        """Raise unless every scored check-up has its target.

        Raises
        ------
        InputError
            Naming the cells without.
        """
        missing = self.scored & ~np.isfinite(self.y)
        if missing.any():
            cell, step = np.argwhere(missing)[0]
            raise InputError(
                f"{int(missing.sum())} check-up(s) have no {self.target}, the first is RPT{step} "
                f"of cell {self.cells[cell]}",
                fix="repair the Performance Summary and ingest it again, or choose another "
                "--target",
            )


def build_sequences(
    summary: xr.Dataset,
    sequence: xr.Dataset,
    targets: xr.DataArray,
    *,
    task: str = "estimate",
    context: int = DEFAULT_CONTEXT,
    ica: xr.Dataset | None = None,
) -> tuple[Sequences, list[str]]:
    """Return the sequences of a task, and what the user should know about them.

    Parameters
    ----------
    summary, sequence
        Feature sets `features/summary`, `features/sequence`: dims (cell, rpt).
    targets
        (cell, rpt) the target [1], named after it; the cells to use, in their order.
    task
        `estimate` or `forecast`.
    context
        `forecast`: how many check-ups are given, RPT0 counted.
    ica
        Feature set `features/ica` with a C/10 discharge of every check-up: voltages and heights
        of the most prominent candidate peaks are used, areas are not. None leaves them out.

    Raises
    ------
    UsageError
        Unknown task or target, or a context that leaves nothing to see or to forecast.
    InputError
        A check-up without its target or its place in time.
    """
    target = str(targets.name)
    if task not in TASKS:
        raise UsageError(f"there is no task '{task}'", fix=f"use one of {', '.join(TASKS)}")
    if target not in TARGETS:
        raise UsageError(f"there is no target '{target}'", fix=f"use one of {', '.join(TARGETS)}")
    cells = [str(name) for name in targets["cell"].values]
    summary, sequence = summary.sel(cell=cells), sequence.sel(cell=cells)
    steps = targets.sizes["rpt"]
    summary, sequence = summary.isel(rpt=slice(steps)), sequence.isel(rpt=slice(steps))
    mask = np.arange(steps) < summary["n_rpt"].values[:, None]
    columns = inputs(summary, sequence)
    notes = []
    if ica is not None:
        columns |= _ica_columns(ica, cells, mask)
        notes.append(
            f"ICA: voltages and heights of the {ICA_PEAKS} most prominent peaks of each C/10 "
            "discharge, no areas"
        )
    columns |= _experiment_columns(summary["experiment"].values, steps)
    refuse_proxies(columns)

    y = np.where(mask, targets.transpose("cell", "rpt").values.astype(np.float64), np.nan)
    scored = mask.copy()
    scored[:, 0] = False
    seen = np.full(y.shape, np.nan)
    seen[:, 0] = TARGETS[target]
    if task == "forecast":
        _check_context(context, mask, cells)
        scored[:, :context] = False
        seen[:, :context] = y[:, :context]
        columns = plan(columns, summary["ageing_cycles"].values, context)
        notes.append(
            f"forecast from the first {context} check-ups: {context} given, later ones scored; "
            "planned use = recorded days and cycles at the throughput per cycle and the cell "
            "temperature of the given check-ups"
        )
    else:
        notes.append(f"RPT0 is not scored: its {target} is {TARGETS[target]:g} by definition")
    several = len(np.unique(summary["experiment"].values))
    if several > 1:
        notes.append(
            f"the mean trajectory is over {several} experiments at once, which is easily beaten; "
            "name one with --expt for a fair reference"
        )
    full = sorted(set(FULL_WINDOW) & set(summary["experiment"].values.tolist()))
    if full:
        told = "days that its cycles take" if task == "forecast" else "measured throughput"
        notes.append(
            f"experiment {' and '.join(map(str, full))} cycles the full window, so the {told} "
            "tells something of the capacity"
        )
    data = Sequences(
        task=task,
        target=target,
        cells=tuple(cells),
        experiment=summary["experiment"].values.astype(np.int64),
        temperature=summary["temperature_chamber"].values.astype(np.float64),
        names=tuple(columns),
        units=tuple(unit for _, unit in columns.values()),
        x=np.stack([np.where(mask, values, np.nan) for values, _ in columns.values()], axis=-1),
        y=y,
        seen=seen,
        mask=mask,
        scored=scored,
        time=np.where(mask, sequence["time"].values.astype(np.float64), np.nan),
    )
    data.require_answers()
    _check_time(data)
    return data, notes


@dataclass(frozen=True)
class Loaded:
    """A task's data and where they come from.

    Attributes
    ----------
    data
        The sequences.
    notes
        What the user should know about them.
    fingerprints
        Node of the store -> content hash, of everything that was read.
    """

    data: Sequences
    notes: list[str]
    fingerprints: dict[str, str]


def load_task(
    store: Store,
    *,
    task: str = "estimate",
    target: str = "soh",
    experiments: Sequence[int] = (),
    context: int = DEFAULT_CONTEXT,
    track: Track = no_track,
) -> Loaded:
    """Return a task on the cells of the store, making the features that it needs.

    Parameters
    ----------
    store
        Holds `raw/expt{N}/summary`, and C/10 curves if ICA features are to be used.
    task, target, context
        See `build_sequences`.
    experiments
        Experiment numbers; none means all in the store.
    track
        Progress of the features.

    Raises
    ------
    UsageError
        An experiment is not in the store, or what `build_sequences` raises.
    StoreError
        Nothing was ingested.
    """
    if target not in TARGETS:
        raise UsageError(f"there is no target '{target}'", fix=f"use one of {', '.join(TARGETS)}")
    held = [node for node in store.nodes("raw/") if node.endswith("/summary")]
    wanted = [f"raw/expt{number}/summary" for number in sorted(set(experiments))] or held
    missing = [node.split("/")[1] for node in wanted if node not in held]
    if missing or not wanted:
        here = ", ".join(node.split("/")[1] for node in held)
        raise UsageError(
            f"{', '.join(missing)} is not in the store, which has {here}"
            if here
            else "the store holds no experiment",
            fix="run `batterykit ingest --expt N` first",
        )
    names = {kind: refresh(store, kind, track=track).node for kind in ("summary", "sequence")}
    summary, sequence = (store.read(names[kind]).load() for kind in ("summary", "sequence"))
    raw = [store.read(node)[[target, "n_rpt", "content_hash"]].load() for node in wanted]
    _check_distinct(raw)
    targets = xr.concat([part[target] for part in raw], dim="cell", join="outer")
    nodes = [*wanted, *names.values()]
    curves = _curve_check_ups(store, wanted)
    needed = [
        (str(cell), rpt)
        for part in raw
        for cell, count in zip(part["cell"].values, part["n_rpt"].values, strict=True)
        for rpt in range(count)
    ]
    without = sum(place not in curves for place in needed)
    ica, notes = None, []
    if without:
        notes.append(
            f"ICA features are left out: {without} of {len(needed)} check-ups have no C/10 "
            "discharge curve"
        )
    else:
        nodes.append(refresh(store, "ica", track=track).node)
        ica = store.read(nodes[-1])[[f"candidate_{name}" for name in ICA_COLUMNS]].load()
    data, more = build_sequences(summary, sequence, targets, task=task, context=context, ica=ica)
    prints = {node: str(store.attrs(node)["fingerprint"]) for node in nodes}
    return Loaded(data, notes + more, prints)


def _curve_check_ups(store: Store, summaries: Iterable[str]) -> set[tuple[str, int]]:
    """Return (cell, rpt) of every C/10 discharge curve."""
    found: set[tuple[str, int]] = set()
    for summary in summaries:
        node = summary.replace("/summary", "/curves/0.1C")
        if store.has(node):
            curves = store.read(node)
            discharge = curves["direction"].values == "discharge"
            cells, rpts = curves["cell"].values[discharge], curves["rpt"].values[discharge]
            found |= {(str(cell), int(rpt)) for cell, rpt in zip(cells, rpts, strict=True)}
    return found


Columns = dict[str, tuple[np.ndarray, str]]
"""Values (cell, step) and unit, by the feature's name."""


def inputs(summary: xr.Dataset, sequence: xr.Dataset) -> Columns:
    """Return the inputs that both tasks start from, computed from the cell's past alone.

    Besides `MEASURED`: square roots of throughput and days (diffusion-limited ageing is linear in
    them); the mean Arrhenius factor of use, and its inverse (SEI grows faster when warm, lithium
    plates more when cold); the squared distance from the mildest temperature; the mean voltage of
    use; the growth of the resistance since the cell's first measurement (its level says more about
    contacts than about ageing); the temperature of the last ageing set.
    """
    columns: Columns = {
        name: (summary[name].values.astype(np.float64), str(summary[name].attrs["units"]))
        for name in MEASURED
    }
    throughput, days = columns["charge_throughput"][0], columns["days"][0]
    resistance = columns["resistance_last"][0]
    energy = summary["energy_throughput"].values.astype(np.float64)
    used = np.where(throughput > 0, throughput, np.nan)
    warmth = columns["arrhenius_throughput"][0] / used
    return columns | {
        "sqrt_throughput": (np.sqrt(throughput), "Ah^0.5"),
        "sqrt_days": (np.sqrt(days), "d^0.5"),
        "warmth": (warmth, "1"),
        "coldness": (1 / warmth, "1"),
        "temperature_squared": (
            (columns["temperature_cell"][0] - MILDEST_TEMPERATURE) ** 2,
            "degC^2",
        ),
        "mean_voltage": (energy / used, "V"),
        "resistance_growth": (resistance / _first_known(resistance) - 1, "1"),
        "interval_temperature": (
            sequence["interval_temperature"].values.astype(np.float64),
            "degC",
        ),
    }


def refuse_proxies(names: Iterable[str]) -> None:
    """Raise if a feature is the target in disguise.

    Raises
    ------
    UsageError
        A name says capacity, SoH, LLI, LAM, an electrode's balance or a full-window area.
    """
    found = [name for name in names if PROXY.search(name.lower())]
    if found:
        raise UsageError(
            f"{', '.join(found)} would give the answer away: full-window capacities, areas, SoH, "
            "LLI and LAM are not measurements other than capacity",
            fix="use features that are measured without a full discharge",
        )


def plan(columns: Columns, cycles: np.ndarray, context: int) -> Columns:
    """Return the inputs with everything measured after the context replaced by what was planned.

    A plan knows days and cycles. Throughput follows from the cycles at the throughput per cycle
    seen so far (later measured throughput would tell the capacity, in a full window), Arrhenius
    terms follow at the temperature seen so far; all else stays as last measured.

    Parameters
    ----------
    columns
        From `inputs`.
    cycles
        (cell, step) ageing cycles so far; where unknown, a set counts like the mean one so far.
    context
        Number of check-ups given.
    """
    last = context - 1
    held = {
        name: (np.concatenate([v[:, :context], _repeat(v[:, last], v.shape[1] - context)], 1), unit)
        for name, (v, unit) in columns.items()
    }
    days, throughput = columns["days"][0], columns["charge_throughput"][0]
    done = cycles[:, last] - cycles[:, 0]
    per_set = np.diff(cycles[:, last:], axis=1) / done[:, None] * last
    shares = np.cumsum(np.where(np.isfinite(per_set) & (per_set > 0), per_set, 1.0), axis=1)
    growth = (throughput[:, last] - throughput[:, 0]) / last
    planned = throughput.copy()
    planned[:, context:] = throughput[:, [last]] + growth[:, None] * shares
    sqrt_days = columns["arrhenius_sqrt_days"][0]
    hot = columns["arrhenius_throughput"][0]
    held |= {
        "days": (days, "d"),
        "sqrt_days": (np.sqrt(days), "d^0.5"),
        "charge_throughput": (planned, "Ah"),
        "sqrt_throughput": (np.sqrt(planned), "Ah^0.5"),
        "arrhenius_throughput": (_scaled(hot, planned, last), "Ah"),
        "arrhenius_sqrt_days": (np.sqrt(_scaled(sqrt_days**2, days, last)), "d^0.5"),
        "resistance_age_days": (
            held["resistance_age_days"][0] + np.maximum(days - days[:, [last]], 0),
            "d",
        ),
    }
    return held


def _scaled(values: np.ndarray, clock: np.ndarray, last: int) -> np.ndarray:
    later = values.copy()
    later[:, last + 1 :] = (values[:, [last]] / clock[:, [last]]) * clock[:, last + 1 :]
    return later


def _repeat(column: np.ndarray, times: int) -> np.ndarray:
    return np.repeat(column[:, None], times, axis=1)


def _first_known(values: np.ndarray) -> np.ndarray:
    """Return each cell's first known value, (cell, step), NaN before it."""
    known = np.isfinite(values)
    first = np.where(known.any(axis=1), known.argmax(axis=1), 0)
    value = np.take_along_axis(values, first[:, None], axis=1)
    return np.where(np.arange(values.shape[1]) >= first[:, None], value, np.nan)


def _ica_columns(ica: xr.Dataset, cells: list[str], mask: np.ndarray) -> Columns:
    """Return voltages and heights of the most prominent peaks by check-up, from discharge curves.

    The peaks are numbered by voltage within their own curve. The numbers that the feature set gives
    them come from all cells and check-ups together: those that are held out or lie ahead too.
    """
    place = {name: index for index, name in enumerate(cells)}
    chosen = np.flatnonzero(
        (ica["direction"].values == "discharge")
        & [str(name) in place for name in ica["cell"].values]
        & (ica["rpt"].values < mask.shape[1])
    )
    rows = [place[str(name)] for name in ica["cell"].values[chosen]]
    steps = ica["rpt"].values[chosen]
    prominence = np.nan_to_num(ica["candidate_prominence"].values[chosen], nan=-1.0)
    most = np.argsort(-prominence, axis=1, kind="stable")[:, :ICA_PEAKS]
    voltage = np.take_along_axis(ica["candidate_voltage"].values[chosen], most, axis=1)
    by_voltage = np.take_along_axis(most, np.argsort(voltage, axis=1), axis=1)
    columns: Columns = {}
    for name in ("voltage", "height"):
        source = ica[f"candidate_{name}"]
        found = np.take_along_axis(source.values[chosen], by_voltage, axis=1)
        for peak in range(found.shape[1]):
            values = np.full(mask.shape, np.nan)
            values[rows, steps] = found[:, peak]
            columns[f"ica_peak_{name}_{peak}"] = (values, str(source.attrs["units"]))
    return columns


def _experiment_columns(experiment: np.ndarray, steps: int) -> Columns:
    """Return 1 for the cells of each experiment, where there are several: protocols differ."""
    numbers = np.unique(experiment)
    if len(numbers) == 1:
        return {}
    return {
        f"experiment_{number}": (_repeat((experiment == number).astype(float), steps), "1")
        for number in numbers
    }


def _check_distinct(raw: Sequence[xr.Dataset]) -> None:
    """Raise if two cells hold the same table: one would be trained on and the other tested."""
    first: dict[str, str] = {}
    for part in raw:
        for cell, content in zip(part["cell"].values, part["content_hash"].values, strict=True):
            twin = first.setdefault(str(content), str(cell))
            if twin != str(cell):
                raise InputError(
                    f"cells {twin} and {cell} hold the same Performance Summary, value for value",
                    fix="ingest the right file for one of them, or remove it",
                )


def _check_context(context: int, mask: np.ndarray, cells: list[str]) -> None:
    if context < 2:
        raise UsageError(
            f"a context of {context} check-up(s) shows no ageing to forecast from",
            fix="use --context 2 or more",
        )
    short = [name for name, row in zip(cells, mask, strict=True) if row.sum() <= context]
    if short:
        raise UsageError(
            f"cells {', '.join(short)} have no check-up after the first {context}",
            fix="use a smaller --context",
        )


def _check_time(data: Sequences) -> None:
    for cell, time, mask in zip(data.cells, data.time, data.mask, strict=True):
        known = time[mask]
        if not (np.isfinite(known).all() and (np.diff(known) > 0).all()):
            raise InputError(
                f"cell {cell}: days of degradation are missing or do not rise from check-up to "
                "check-up",
                fix="repair 'Days of degradation' in its Performance Summary and ingest it again",
            )
