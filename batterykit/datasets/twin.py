"""The twin: synthetic ageing data in the record's layout, with the truth beside them.

Writes the CSV files that the LG M50T record would hold for the same 40 cells, names, temperatures,
windows and numbers of check-ups (RPTs): Performance Summary, tables per ageing set and per cycle,
and a C/10 discharge at every RPT. Nothing in them is measured; the folder says so in `TWIN.json`
and `README.txt`. What really happened to each cell is kept in `truth/` (NetCDF): the oracle for
features and degradation-mode fits. Reads no file and knows no store.

**Fresh cells.** Electrode capacities, C/10 capacity and resistance are drawn with the means, spread
and correlations of the record's 40 cells at RPT 0 (`FRESH`); the drawn population is centred, so
its means are the published ones for every seed. The electrode offset is the one with which the
balance of `batterykit.halfcell` gives the drawn capacity.

**Ageing**, between check-ups, at the cell's own temperature T (chamber plus self-heating), t in
years, Q charge throughput in kAh, A(E) = exp[-E/R (1/T - 1/298.15 K)]:

- lithium lost to SEI: ``sei A(E_SEI) d sqrt(t)``, growth limited by transport through the layer
  (Pinson and Bazant, J. Electrochem. Soc. 160 (2013) A243);
- lithium plated: ``plating A(E_PLATING) dQ`` with E_PLATING < 0, more of it the colder the cell
  (Waldmann et al., J. Power Sources 262 (2014) 129);
- silicon lost: ``dSi/Si = -silicon A(E_SILICON) dQ``, fast where the window uses silicon: in Expt 1
  at 40 degC 80 % in 4 kAh (Kirkaldy et al., ACS Appl. Energy Mater. 5 (2022) 13367, abstract);
- lithium with it: ``LITHIUM_PER_SILICON d(LAM_Si)``, SEI on fresh cracks and lithium left in
  particles without contact (same paper);
- graphite and PE lost: ``(graphite or positive) d sqrt(Q)``, fast at first, as in the record;
- resistance: ``dR/R_0 = RESISTANCE_PER_LITHIUM A(E_RESISTANCE) dLLI``, for the layers that bind the
  lithium carry the current.

The coefficients per experiment (`REGIMES`) were fitted to the record: to SoH at RPT 8 by experiment
and temperature (`SOH_AT_RPT8`); for Expt 2,2, whose six summaries were at hand, also to LLI, LAM,
resistance and throughput to the end. Cells differ by lognormal factors per mechanism, and intervals
by further small ones. What was not at hand is assumed: dates, days between sets, throughput per set
of Expt 4 (drive cycle), LAM of PE and graphite outside Expt 2,2.

**Curves.** Voltage of `halfcell.simulate_discharge`, read at 1 Hz with white noise of 0.2-1 mV and
the cycler's steps; current about -500 mA; temperature near 25 degC with self-heating. As in the
record, time does not start at 0 and the last row lies above the cut-off again. The summary holds
the true electrode state (no fit is made), so every definition holds; its fit error is that of the
true state against the noisy curve. The published fits' repeated stoichiometries are not imitated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from batterykit import __version__, halfcell
from batterykit.datasets import lgm50t
from batterykit.errors import InputError, UsageError
from batterykit.halfcell import Balance, Discharge, Electrodes
from batterykit.progress import Track, no_track

FloatArray = npt.NDArray[np.float64]

MARKER = "TWIN.json"
WARNING = "Synthetic data made by batterykit's twin. Nothing here was measured."
THREADS = 2

GAS_CONSTANT = 8.314  # J/(mol K)
REFERENCE_K = 298.15
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Regime:
    """How one experiment ages its cells.

    Parameters
    ----------
    label, folder, cell_folder
        As the record writes them in file and folder names.
    cycles
        Per ageing set.
    window
        State of charge, low and high.
    voltage
        Open-circuit voltage at the middle of the window [V].
    start
        Date of RPT 0.
    sei
        LLI per square root of a year at 25 degC.
    plating
        LLI per kAh at 25 degC.
    silicon
        Relative loss rate per kAh at 25 degC.
    positive, graphite
        LAM per square root of a kAh.
    """

    label: str
    folder: str
    cell_folder: str
    cycles: int
    window: tuple[float, float]
    voltage: float
    start: str
    sei: float
    plating: float
    silicon: float
    positive: float
    graphite: float


REGIMES = {
    1: Regime(
        "1", "Expt 1 - Si-based Degradation", "cell", 257, (0.0, 0.30), 3.45, "2020-07-06",
        sei=0.072, plating=0.0003, silicon=0.217, positive=0.016, graphite=0.030,
    ),
    2: Regime(
        "2,2", "Expt 2,2 - C-based Degradation 2", "cell", 517, (0.70, 0.85), 3.93, "2020-10-13",
        sei=0.068, plating=0.00165, silicon=0.0165, positive=0.0175, graphite=0.0215,
    ),
    3: Regime(
        "3", "Expt 3 - Cathode Degradation and Li-Plating", "cell", 515, (0.85, 1.0), 4.08,
        "2021-02-15", sei=0.100, plating=0.0084, silicon=0.02, positive=0.035, graphite=0.026,
    ),
    4: Regime(
        "4", "Expt 4 - Drive Cycle Aging (Control)", "cell", 78, (0.0, 1.0), 3.68, "2021-06-21",
        sei=0.031, plating=0.0125, silicon=0.10, positive=0.024, graphite=0.028,
    ),
    5: Regime(
        "5", "Expt 5 - Standard Cycle Aging (Control)", "Cell", 78, (0.0, 1.0), 3.68, "2021-09-06",
        sei=0.038, plating=0.0091, silicon=0.10, positive=0.024, graphite=0.028,
    ),
}  # fmt: skip

E_SEI = 7e3  # J/mol, effective: fitted with the regimes' coefficients
E_PLATING = -70e3  # J/mol, likewise
E_SILICON = 30e3  # J/mol, likewise
E_RESISTANCE = 15e3  # J/mol; Expt 2,2: growth of 3 % at 16 degC and 8 % at 41 degC for like LLI
LITHIUM_PER_SILICON = 0.18  # LLI per LAM_Si
RESISTANCE_PER_LITHIUM = 0.55  # relative growth per LLI, Expt 2,2

# SoH (C/10 capacity over that at RPT 0) at RPT 8 in the record, lowest and highest cell, by
# experiment and chamber temperature [degC].
SOH_AT_RPT8 = {
    1: {10: (0.855, 0.891), 25: (0.791, 0.813), 40: (0.788, 0.795)},
    2: {10: (0.911, 0.919), 25: (0.925, 0.930), 40: (0.908, 0.917)},
    3: {10: (0.739, 0.868), 25: (0.846, 0.886), 40: (0.882, 0.896)},
    4: {10: (0.697, 0.889), 25: (0.876, 0.877), 40: (0.839, 0.842)},
    5: {10: (0.804, 0.821), 25: (0.863, 0.866), 40: (0.850, 0.853)},
}
# SoH at the last RPT, lowest and highest cell. Expt 2,2: from its six summaries. The others' last
# RPTs were not at hand: the range at RPT 8 carried on at the slope that leads there, +-0.03.
SOH_AT_END = {
    1: (0.70, 0.86),
    2: (0.892, 0.918),
    3: (0.64, 0.89),
    4: (0.63, 0.89),
    5: (0.62, 0.83),
}

# Fresh cells: mean, standard deviation over the record's 40 cells (data README; spread computed
# from the same RPT 0 rows), in Ah and Ohm, and their correlations.
FRESH = {
    "positive": (5.634, 0.064),
    "graphite": (4.471, 0.085),
    "silicon": (0.800, 0.0218),
    "capacity": (4.857, 0.0214),
    "resistance": (26.4e-3, 0.78e-3),
}
FRESH_CORRELATION = np.array(
    [
        [1.00, 0.47, 0.68, 0.15, 0.0],
        [0.47, 1.00, 0.22, 0.49, 0.0],
        [0.68, 0.22, 1.00, -0.03, 0.0],
        [0.15, 0.49, -0.03, 1.00, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)

# Spread of each mechanism's rate between cells: sigma of a lognormal factor. Expt 2,2 for all but
# plating, which is from the spread at 10 degC in Expts 3 and 4.
CELL_SPREAD = {
    "sei": 0.05, "plating": 0.25, "silicon": 0.08, "positive": 0.2, "graphite": 0.2,
    "resistance": 0.15,
}  # fmt: skip
INTERVAL_SPREAD = 0.10  # the same, of every interval between check-ups
THROUGHPUT_SPREAD = 0.003  # relative, between cells, Expt 2,2

SELF_HEATING = {10: 6.3, 25: 3.2, 40: 0.8}  # K above the chamber, mean of Expt 2,2
SELF_HEATING_CELL = 0.3  # K, standard deviation between cells
SELF_HEATING_SET = 0.5  # K, between ageing sets
SET_DAYS = 14  # length of an ageing set, Expt 2,2
FIRST_SET_DAY = 9  # from RPT 0 to the first ageing set, Expt 2,2
REST_DAYS = (6, 11)  # from the end of a set to the next, Expt 2,2
RPT_DELAY_DAYS = (1, 4)  # from the end of a set to its RPT

WINDOW_CAPACITY = 4.9  # Ah per unit of SoC window, from 1.469 Ah per cycle in Expt 2,2
RATE_CAPACITY = 0.965  # 1C over C/10 capacity; an assumption
HALF_C_CAPACITY = 0.0128  # C/2 capacity is this much below C/10 (fresh), mean of Expt 2,2
CHARGE_CURRENT = 1.5  # A, 0.3C
DISCHARGE_CURRENT = 5.0  # A, 1C
COULOMBIC_EFFICIENCY = 0.9997
FIT_SHORTFALL = 1.9e-6  # fitted cell capacity below C/10 capacity, relative; the record's

# What the cycler shows, read from the record's C/10 curve: steps and noise.
VOLTAGE_STEP = 3.94e-5  # V
CURRENT_STEP = 0.01971  # mA
TEMPERATURE_STEP = 0.00788  # degC
VOLTAGE_NOISE = (0.2e-3, 1.0e-3)  # V, standard deviation; each curve has its own
CURRENT_NOISE = 0.04  # mA
TEMPERATURE_NOISE = 0.12  # K
START_TEMPERATURE = 24.6  # degC
LAST_ROWS_GAP = 0.002  # s between the row below the cut-off and the one that rises again

DQDV_GRID = np.round(np.arange(2.5, 4.2001, 0.001), 3)  # V
PEAK_PROMINENCE = 0.1  # Ah/V
MAX_PEAKS = 10

_ORDER = (5, 2, 1, 3, 4)
_EXPERIMENT_CELLS = {
    number: [cell for cell in sorted(lgm50t.N_RPT) if cell.startswith(f"E{number}-")]
    for number in _ORDER
}
ALL_CELLS = [cell for cells in _EXPERIMENT_CELLS.values() for cell in cells]


@dataclass(frozen=True)
class TwinReport:
    """What was written.

    Parameters
    ----------
    out
        The folder.
    cells, curves, files, size
        How many, and bytes of CSV.
    soh_at_end
        SoH at each cell's last RPT.
    """

    out: Path
    cells: list[str]
    curves: int
    files: int
    size: int
    soh_at_end: dict[str, float]


def choose_cells(cells: int, experiments: Iterable[int] | None = None) -> list[str]:
    """Return the first cells in the twin's order: Expt 5, 2,2, 1, 3, 4.

    Parameters
    ----------
    cells
        How many; fewer if the experiments have fewer.
    experiments
        Only cells of these; None for all.

    Raises
    ------
    UsageError
        A number of cells or an experiment that the record does not have.
    """
    wanted = set(_ORDER if experiments is None else experiments)
    if not wanted or wanted - set(_ORDER):
        raise UsageError(
            f"there is no experiment {sorted(wanted - set(_ORDER))}",
            fix="choose from 1, 2, 3, 4, 5",
        )
    if not 1 <= cells <= len(ALL_CELLS):
        raise UsageError(f"{cells} cells asked for", fix="choose from 1 to 40 cells")
    return [cell for cell in ALL_CELLS if int(cell[1]) in wanted][:cells]


def simulate_truth(seed: int) -> xr.Dataset:
    """Age the whole population of 40 cells.

    Always the whole population: a cell's life does not depend on how many are written.

    Parameters
    ----------
    seed
        Of every draw.

    Returns
    -------
    xarray.Dataset
        Dims (cell, rpt) with rpt from 0 to 15, NaN past a cell's last RPT (`n_rpt`): electrode
        state, stoichiometries, degradation modes, resistance, time, throughput, temperature.
    """
    number = np.array([int(cell[1]) for cell in ALL_CELLS])
    chamber = np.array([lgm50t.CHAMBER_DEGC[cell] for cell in ALL_CELLS])
    last = np.array([lgm50t.N_RPT[cell] for cell in ALL_CELLS]) - 1
    generators = [_generator(seed, cell) for cell in ALL_CELLS]
    fresh, fresh_capacity = _draw_fresh(generators)
    factors = _draw_factors(generators, last.max())
    heating = _draw_heating(generators, chamber, last.max())
    reach = np.array([1 + THROUGHPUT_SPREAD * one.standard_normal() for one in generators])
    days = np.stack([_schedule(seed, experiment)["days"] for experiment in number])

    state = fresh
    history: list[dict[str, FloatArray]] = []
    lli = np.zeros(len(ALL_CELLS))
    throughput = np.zeros(len(ALL_CELLS))
    growth = np.zeros(len(ALL_CELLS))
    loss = {name: np.zeros(len(ALL_CELLS)) for name in ("positive", "graphite", "silicon")}
    capacity = fresh_capacity
    for rpt in range(last.max() + 1):
        if rpt:
            kelvin = chamber + heating[:, rpt - 1] + 273.15
            rate = {name: factors[name][:, rpt - 1] for name in factors}
            passed = reach * _throughput_of_set(number, capacity)
            before, throughput = throughput, throughput + passed
            root_kah = np.sqrt(throughput / 1e3) - np.sqrt(before / 1e3)
            root_years = np.sqrt(days[:, rpt] / DAYS_PER_YEAR) - np.sqrt(
                days[:, rpt - 1] / DAYS_PER_YEAR
            )
            silicon_lost = (1 - loss["silicon"]) * -np.expm1(
                -_coefficient("silicon", number)
                * rate["silicon"] * _arrhenius(E_SILICON, kelvin) * passed / 1e3
            )  # fmt: skip
            lithium_lost = (
                _coefficient("sei", number) * rate["sei"] * _arrhenius(E_SEI, kelvin) * root_years
                + _coefficient("plating", number)
                * rate["plating"] * _arrhenius(E_PLATING, kelvin) * passed / 1e3
                + LITHIUM_PER_SILICON * silicon_lost
            )  # fmt: skip
            lli = lli + lithium_lost
            growth = growth + (
                RESISTANCE_PER_LITHIUM
                * rate["resistance"] * _arrhenius(E_RESISTANCE, kelvin) * lithium_lost
            )  # fmt: skip
            loss = {
                "silicon": loss["silicon"] + silicon_lost,
                "positive": loss["positive"]
                + _coefficient("positive", number) * rate["positive"] * root_kah,
                "graphite": loss["graphite"]
                + _coefficient("graphite", number) * rate["graphite"] * root_kah,
            }
            positive = fresh.positive * (1 - loss["positive"])
            state = Electrodes(
                positive=positive,
                graphite=fresh.graphite * (1 - loss["graphite"]),
                silicon=fresh.silicon * (1 - loss["silicon"]),
                offset=positive - (fresh.inventory - lli * fresh_capacity),
                resistance=fresh.resistance * (1 + growth),
            )
        balance = halfcell.solve_balance(state)
        capacity = balance.capacity
        if rpt == 0:
            fresh_capacity = capacity
        history.append(
            _columns(state, balance, fresh, fresh_capacity)
            | {"charge_throughput": throughput, "days_of_degradation": days[:, rpt]}
            | {"cell_temperature": chamber + heating[:, rpt - 1] if rpt else np.nan * chamber}
        )
    return _truth_dataset(history, last, chamber)


def write_twin(
    out: Path,
    *,
    cells: int = 40,
    seed: int = 0,
    sampling: float = 1.0,
    experiments: Sequence[int] | None = None,
    track: Track = no_track,
) -> TwinReport:
    """Write the twin's CSV files and the truth beside them.

    Parameters
    ----------
    out
        A new or empty folder, or one that holds a twin, which is replaced.
    cells, experiments
        As for `choose_cells`.
    seed
        Same seed, same bytes for a cell, whatever the number of cells.
    sampling
        Seconds between the rows of a curve.
    track
        Shows progress.

    Raises
    ------
    InputError
        The folder holds something else, or cannot be written.
    UsageError
        No such cells, or a sampling that is not positive.
    """
    names = choose_cells(cells, experiments)
    if not (np.isfinite(sampling) and sampling > 0):
        raise UsageError(f"a sampling of {sampling} s", fix="give a positive number of seconds")
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative", fix="give a seed of 0 or more")
    _prepare_folder(out)
    try:
        return _write(out, names, seed, sampling, track)
    except OSError as error:
        raise InputError(
            f"the twin could not be written: {error.strerror or error}",
            fix="choose another folder, or make room (40 cells take about 1 GB at 1 Hz and 0.1 GB "
            "with --sampling 10)",
            file=out,
        ) from error


def _write(out: Path, names: list[str], seed: int, sampling: float, track: Track) -> TwinReport:
    details = {"synthetic": True, "note": WARNING, "batterykit": __version__, "seed": seed}
    details |= {"sampling_s": sampling, "cells": names}
    _write_marker(out, details | {"complete": False})
    truth = simulate_truth(seed).sel(cell=names)
    jobs = [(cell, rpt) for cell in names for rpt in range(lgm50t.N_RPT[cell])]
    for cell in names:
        for folder in _folders(out, cell):
            folder.mkdir(parents=True, exist_ok=True)

    states = [_electrodes(truth, names.index(cell), rpt) for cell, rpt in jobs]

    def write_one(index: int) -> _Written:
        return _write_curve(out, *jobs[index], states[index], seed, sampling)

    halfcell.simulate_discharge(states[0])  # fills the tables before the threads need them
    with ThreadPoolExecutor(THREADS) as pool:
        written = list(track(pool.map(write_one, range(len(jobs))), "writing curves", len(jobs)))
    for column, unit, attribute in (
        ("capacity_c10", "Ah", "charge"),
        ("ocv_fit_rmse", "V", "rmse"),
    ):
        values = np.full(truth.soh.shape, np.nan)
        for (cell, rpt), one in zip(jobs, written, strict=True):
            values[names.index(cell), rpt] = getattr(one, attribute)
        truth[column] = (("cell", "rpt"), values, {"units": unit})
    for cell in names:
        _write_tables(out, cell, truth.sel(cell=cell), seed)
    _write_truth(out / "truth", truth, jobs, written, details)
    (out / "README.txt").write_text(_readme(details), encoding="utf-8")
    files = [path for cell in names for path in _cell_files(out, cell)]
    _write_marker(out, details | {"complete": True})
    return TwinReport(
        out=out,
        cells=names,
        curves=len(jobs),
        files=len(files),
        size=sum(path.stat().st_size for path in files),
        soh_at_end={
            cell: float(truth.soh.sel(cell=cell, rpt=lgm50t.N_RPT[cell] - 1)) for cell in names
        },
    )


# ---- fresh cells and ageing ---------------------------------------------------------------------


def _generator(seed: int, cell: str, stream: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, int(cell[1]), ord(cell[-1]), stream])


def _draw_fresh(generators: Sequence[np.random.Generator]) -> tuple[Electrodes, FloatArray]:
    draws = np.stack([generator.standard_normal(len(FRESH)) for generator in generators])
    draws = (draws - draws.mean(axis=0)) / draws.std(axis=0)
    draws = draws @ np.linalg.cholesky(FRESH_CORRELATION).T
    values = {
        name: mean + deviation * draws[:, column]
        for column, (name, (mean, deviation)) in enumerate(FRESH.items())
    }
    capacity = values.pop("capacity")
    cells = Electrodes(offset=np.full_like(capacity, halfcell.MEAN_OFFSET), **values)
    offset = halfcell.offset_for_capacity(cells, capacity)
    return Electrodes(offset=offset, **values), capacity


def _draw_factors(
    generators: Sequence[np.random.Generator], intervals: int
) -> dict[str, FloatArray]:
    """Return lognormal factors with mean 1, per mechanism (cell, interval)."""
    factors: dict[str, FloatArray] = {}
    for name, sigma in CELL_SPREAD.items():
        rows = []
        for generator in generators:
            own = sigma * generator.standard_normal() - sigma**2 / 2
            path = INTERVAL_SPREAD * generator.standard_normal(intervals) - INTERVAL_SPREAD**2 / 2
            rows.append(np.exp(own + path))
        factors[name] = np.stack(rows)
    return factors


def _draw_heating(
    generators: Sequence[np.random.Generator], chamber: FloatArray, intervals: int
) -> FloatArray:
    """Return self-heating [K], (cell, interval)."""
    return np.stack(
        [
            SELF_HEATING[round(temperature)]
            + SELF_HEATING_CELL * generator.standard_normal()
            + SELF_HEATING_SET * generator.standard_normal(intervals)
            for generator, temperature in zip(generators, chamber, strict=True)
        ]
    )


def _schedule(seed: int, experiment: int) -> dict[str, npt.NDArray[Any]]:
    """Return the dates of sets and check-ups, shared by an experiment's cells, and days of ageing.

    Arrays of 16 elements; the first, of RPT 0, has no ageing set before it.
    """
    generator = np.random.default_rng([seed, experiment])
    start = np.datetime64(REGIMES[experiment].start, "D")
    begin = np.zeros(16, dtype=int)
    for rpt in range(1, 16):
        rest = FIRST_SET_DAY if rpt == 1 else SET_DAYS + int(generator.integers(*REST_DAYS))
        begin[rpt] = begin[rpt - 1] + rest
    end = begin + SET_DAYS
    check = end + generator.integers(*RPT_DELAY_DAYS, size=16)
    check[0] = 0
    return {
        "set_start": start + begin,
        "set_end": start + end,
        "rpt_start": start + check,
        "days": np.concatenate([[0.0], (end[1:] - FIRST_SET_DAY).astype(float)]),
    }


def _arrhenius(energy: float, kelvin: FloatArray) -> FloatArray:
    factor: FloatArray = np.exp(-energy / GAS_CONSTANT * (1 / kelvin - 1 / REFERENCE_K))
    return factor


def _coefficient(name: str, number: npt.NDArray[np.int_]) -> FloatArray:
    return np.array([getattr(REGIMES[experiment], name) for experiment in number])


def _throughput_of_set(number: npt.NDArray[np.int_], capacity: FloatArray) -> FloatArray:
    """Return the charge passed in both directions [Ah] in one ageing set."""
    window = np.array([REGIMES[experiment].window for experiment in number])
    span = window[:, 1] - window[:, 0]
    per_cycle = 2 * np.where(span < 1, span * WINDOW_CAPACITY, RATE_CAPACITY * capacity)
    return per_cycle * np.array([REGIMES[experiment].cycles for experiment in number])


def _columns(
    state: Electrodes, balance: Balance, fresh: Electrodes, fresh_capacity: FloatArray
) -> dict[str, FloatArray]:
    return {
        "cell_capacity": balance.capacity,
        "pe_capacity": state.positive,
        "ne_capacity": state.negative,
        "ne_gr_capacity": state.graphite,
        "ne_si_capacity": state.silicon,
        "electrode_offset": state.offset,
        "resistance_0p1s": state.resistance,
        "soh": balance.capacity / fresh_capacity,
        "lam_pe": 1 - state.positive / fresh.positive,
        "lam_ne": 1 - state.negative / fresh.negative,
        "lam_ne_gr": 1 - state.graphite / fresh.graphite,
        "lam_ne_si": 1 - state.silicon / fresh.silicon,
        "lli": (fresh.inventory - state.inventory) / fresh_capacity,
        "pe_lo": balance.pe_lo,
        "ne_lo": balance.ne_lo,
        "pe_hi": balance.pe_hi,
        "ne_hi": balance.ne_hi,
        "gr_frac": state.graphite_fraction,
    }


def _truth_dataset(
    history: list[dict[str, FloatArray]], last: npt.NDArray[np.int_], chamber: FloatArray
) -> xr.Dataset:
    known = {column.name: column for column in lgm50t.SUMMARY_COLUMNS}
    alive = np.arange(len(history)) <= last[:, None]
    variables = {}
    for name in history[0]:
        values = np.where(alive, np.stack([row[name] for row in history], axis=1), np.nan)
        attrs = (
            {"units": known[name].unit, "long_name": known[name].long_name}
            if name in known
            else {"units": "degC", "long_name": "temperature of the cell in the set before"}
        )
        variables[name] = (("cell", "rpt"), values, attrs)
    return xr.Dataset(
        variables,
        coords={
            "cell": ("cell", np.array(ALL_CELLS, dtype=object)),
            "rpt": ("rpt", np.arange(len(history))),
            "n_rpt": ("cell", last + 1),
            "temperature_chamber": ("cell", chamber, {"units": "degC"}),
        },
    )


# ---- curves -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Written:
    """A curve's end charge [Ah], error against the truth [V], and the truth's dQ/dV and peaks."""

    charge: float
    rmse: float
    dqdv: FloatArray
    peaks: FloatArray


def _electrodes(truth: xr.Dataset, cell: int, rpt: int) -> Electrodes:
    names = (
        "pe_capacity", "ne_gr_capacity", "ne_si_capacity", "electrode_offset", "resistance_0p1s"
    )  # fmt: skip
    return Electrodes(*(truth[name].values[cell, rpt] for name in names))


def true_peaks(discharge: Discharge) -> FloatArray:
    """Return the peaks of a noise-free dQ/dV curve.

    Parameters
    ----------
    discharge
        On nodes dense enough to see its peaks, as `halfcell.simulate_discharge` gives it.

    Returns
    -------
    numpy.ndarray
        Shape (peak, 3), by voltage: voltage [V], height [Ah/V], prominence [Ah/V]; all maxima
        whose prominence is at least `PEAK_PROMINENCE`.
    """
    from scipy.signal import find_peaks

    top, found = find_peaks(discharge.dqdv, prominence=PEAK_PROMINENCE)
    peaks = np.column_stack([discharge.voltage[top], discharge.dqdv[top], found["prominences"]])
    return peaks[np.argsort(peaks[:, 0])]


def _write_curve(
    out: Path, cell: str, rpt: int, electrodes: Electrodes, seed: int, sampling: float
) -> _Written:
    import pyarrow as pa
    from pyarrow import csv

    generator = _generator(seed, cell, 1000 + rpt)
    truth = halfcell.simulate_discharge(electrodes)
    current = -1e3 * halfcell.C10_CURRENT + generator.uniform(-0.015, 0.015)  # mA
    capacity = truth.charge[-1] * (1 + FIT_SHORTFALL)
    end = capacity / -current * 3.6e6
    time = np.arange(0.0, end - LAST_ROWS_GAP, sampling)
    time = np.concatenate([time, [end, end + LAST_ROWS_GAP]])
    charge = time * -current / 3600
    model = np.interp(charge / 1e3, truth.charge, truth.voltage)

    spread = np.exp(generator.uniform(*np.log(VOLTAGE_NOISE)))
    voltage = model + spread * generator.standard_normal(len(time), dtype=np.float32)
    # The cycler stops at the first value below the cut-off: no earlier one may be there.
    voltage = halfcell.LOWER_CUTOFF + np.abs(voltage - halfcell.LOWER_CUTOFF) + VOLTAGE_STEP
    voltage[-2:] = halfcell.LOWER_CUTOFF + np.array([-2, 4]) * VOLTAGE_STEP
    shown_current = current + CURRENT_NOISE * generator.standard_normal(len(time), np.float32)
    progress = charge / charge[-1]
    warmth = START_TEMPERATURE + 0.6 * progress + 1.2 * progress**12 + 0.3 * generator.random()
    temperature = warmth + TEMPERATURE_NOISE * generator.standard_normal(len(time), np.float32)

    voltage = _steps(voltage, VOLTAGE_STEP)
    columns = (
        np.round(time + generator.uniform(12000, 20000), 4),
        voltage.astype(np.float32),
        _steps(shown_current, CURRENT_STEP).astype(np.float32),
        np.round(charge, 6),
        _steps(temperature, TEMPERATURE_STEP).astype(np.float32),
    )
    headers = [column.header for column in lgm50t.CURVE_COLUMNS]
    table = pa.table(dict(zip(headers, columns, strict=True)))
    with _curve_path(out, cell, rpt).open("wb") as file:
        file.write((",".join(headers) + "\n").encode())
        csv.write_csv(table, file, csv.WriteOptions(include_header=False, batch_size=8192))

    rising = slice(None, None, -1)
    dqdv = np.interp(
        DQDV_GRID, truth.voltage[rising], truth.dqdv[rising], left=np.nan, right=np.nan
    )
    return _Written(
        charge=float(np.round(charge[-1], 6)) / 1e3,
        rmse=float(np.sqrt(np.mean((voltage - model)[:-2] ** 2))),
        dqdv=dqdv,
        peaks=true_peaks(truth),
    )


def _steps(values: npt.NDArray[Any], step: float) -> npt.NDArray[Any]:
    return np.rint(values / step) * step


# ---- tables -------------------------------------------------------------------------------------


def _write_tables(out: Path, cell: str, truth: xr.Dataset, seed: int) -> None:
    """Write a cell's Performance Summary and its tables per set and per cycle."""
    count = lgm50t.N_RPT[cell]
    regime = REGIMES[int(cell[1])]
    schedule = {name: days[:count] for name, days in _schedule(seed, int(cell[1])).items()}
    generator = _generator(seed, cell, 1)
    values = {str(name): truth[name].values[:count] for name in truth.data_vars}
    cycles = _cycle_table(values, regime, generator)
    energy = (
        cycles["Charge Energy [W h]"] + cycles["Discharge Energy [W h]"]
    ).to_numpy().reshape(count - 1, -1)  # fmt: skip
    values["energy_throughput"] = np.concatenate([[0.0], energy.sum(axis=1).cumsum()])
    summary = _summary_table(values, schedule, regime, generator)
    summary.to_csv(_summary_path(out, cell), index=False)
    cycles.to_csv(_cycles_path(out, cell), index=False)
    dates = {"start": summary["Age set start date"], "end": summary["Age set end date"]}
    sets = pd.DataFrame(
        {
            "Ageing Set": np.arange(1, count),
            "Age set start date": dates["start"].to_numpy()[1:],
            "Age set end date": dates["end"].to_numpy()[1:],
            "Ageing Cycles": np.full(count - 1, regime.cycles),
            "Age set av. temperature [\N{DEGREE SIGN}C]": values["cell_temperature"][1:],
            "Charge Throughput [A h]": np.diff(values["charge_throughput"]),
            "Energy Throughput [W h]": np.diff(values["energy_throughput"]),
        }
    )
    sets.to_csv(_sets_path(out, cell), index=False)


def _summary_table(
    values: dict[str, FloatArray],
    schedule: dict[str, npt.NDArray[Any]],
    regime: Regime,
    generator: np.random.Generator,
) -> pd.DataFrame:
    count = len(values["soh"])
    rpt = np.arange(count)
    aged = rpt > 0
    even = rpt % 2 == 0
    half_c = 1 - HALF_C_CAPACITY * values["resistance_0p1s"] / values["resistance_0p1s"][0]
    half_c = (
        half_c + 0.003 * generator.standard_normal() + 0.0005 * generator.standard_normal(count)
    )
    columns: dict[str, Any] = {
        column.name: 1e3 * values[column.name] if "[mA h]" in column.header else values[column.name]
        for column in lgm50t.SUMMARY_COLUMNS
        if column.name in values
    }
    columns |= {
        "ageing_sets": rpt,
        "ageing_cycles": rpt * regime.cycles,
        "age_set_start_date": np.where(aged, schedule["set_start"].astype(str), ""),
        "age_set_end_date": np.where(aged, schedule["set_end"].astype(str), ""),
        "rpt_start_date": schedule["rpt_start"].astype(str),
        "days_of_degradation": np.where(aged, values["days_of_degradation"], np.nan),
        "age_set_temperature": values["cell_temperature"],
        "capacity_c2": np.where(even, half_c * columns["capacity_c10"], np.nan),
        "resistance_0p1s": np.where(even, values["resistance_0p1s"], np.nan),
    }
    return pd.DataFrame({column.header: columns[column.name] for column in lgm50t.SUMMARY_COLUMNS})


def _cycle_table(
    values: dict[str, FloatArray], regime: Regime, generator: np.random.Generator
) -> pd.DataFrame:
    """Return every ageing cycle of a cell; each set's charge adds up to its throughput."""
    sets = len(values["soh"]) - 1
    shape = (sets, regime.cycles)
    share = 1 + 2e-4 * generator.standard_normal(shape)
    share /= share.sum(axis=1, keepdims=True)
    passed = np.diff(values["charge_throughput"])[:, None] * share
    discharged = passed * COULOMBIC_EFFICIENCY / (1 + COULOMBIC_EFFICIENCY)
    charged = passed - discharged
    resistance = halfcell.DC_PER_PULSE_RESISTANCE * values["resistance_0p1s"][:-1, None]
    noise = 5e-4 * generator.standard_normal((2, *shape))
    discharge_voltage = regime.voltage - DISCHARGE_CURRENT * resistance + noise[0]
    charge_voltage = regime.voltage + CHARGE_CURRENT * resistance + noise[1]
    wobble = 0.1 * generator.standard_normal(shape)
    temperature = values["cell_temperature"][1:, None] + wobble - wobble.mean(axis=1)[:, None]
    return pd.DataFrame(
        {
            "Ageing Set": np.repeat(np.arange(1, sets + 1), regime.cycles),
            "Cycle": np.arange(1, sets * regime.cycles + 1),
            "Charge Capacity [A h]": charged.ravel().round(6),
            "Discharge Capacity [A h]": discharged.ravel().round(6),
            "Charge Energy [W h]": (charged * charge_voltage).ravel().round(6),
            "Discharge Energy [W h]": (discharged * discharge_voltage).ravel().round(6),
            "Av. Charge Voltage [V]": charge_voltage.ravel().round(5),
            "Av. Discharge Voltage [V]": discharge_voltage.ravel().round(5),
            "Av. Discharge Temperature [\N{DEGREE SIGN}C]": temperature.ravel().round(3),
        }
    )


# ---- truth --------------------------------------------------------------------------------------


def _write_truth(
    folder: Path,
    truth: xr.Dataset,
    jobs: Sequence[tuple[str, int]],
    written: Sequence[_Written],
    details: dict[str, Any],
) -> None:
    """Write `electrodes.nc` (cell, rpt) and `curves.nc` (curve, voltage or peak)."""
    folder.mkdir(exist_ok=True)
    attrs = {"title": WARNING, "seed": details["seed"], "batterykit": __version__}
    last = int(truth.n_rpt.max())
    truth = truth.isel(rpt=slice(0, last)).assign_attrs(
        attrs, description="what the twin's cells went through, without any noise"
    )
    peaks = np.full((len(jobs), MAX_PEAKS, 3), np.nan)
    for row, one in enumerate(written):
        peaks[row, : len(one.peaks)] = one.peaks[:MAX_PEAKS]
    curves = xr.Dataset(
        {
            "dqdv": (
                ("curve", "voltage"),
                np.stack([one.dqdv for one in written]),
                {"units": "Ah/V", "long_name": "magnitude of dQ/dV of the noise-free curve"},
            ),
            "peak_voltage": (("curve", "peak"), peaks[..., 0], {"units": "V"}),
            "peak_height": (("curve", "peak"), peaks[..., 1], {"units": "Ah/V"}),
            "peak_prominence": (("curve", "peak"), peaks[..., 2], {"units": "Ah/V"}),
        },
        coords={
            "cell": ("curve", np.array([cell for cell, _ in jobs], dtype=object)),
            "rpt": ("curve", np.array([rpt for _, rpt in jobs])),
            "voltage": ("voltage", DQDV_GRID, {"units": "V", "long_name": "terminal voltage"}),
        },
        attrs=attrs
        | {"description": f"dQ/dV at C/10 with its maxima of prominence >= {PEAK_PROMINENCE} Ah/V"},
    )
    for name, dataset in (("electrodes", truth), ("curves", curves)):
        encoding = {
            variable: {"zlib": True, "complevel": 1}
            for variable in dataset.data_vars
            if dataset[variable].dtype.kind == "f"
        }
        dataset.to_netcdf(folder / f"{name}.nc", engine="h5netcdf", encoding=encoding)


# ---- files and folders --------------------------------------------------------------------------


def _experiment_folder(out: Path, cell: str) -> Path:
    return out / REGIMES[int(cell[1])].folder


def _curve_folder(out: Path, cell: str) -> Path:
    own = f"{REGIMES[int(cell[1])].cell_folder} {cell[-1]}"
    return _experiment_folder(out, cell) / "Processed Timeseries Data" / "0.1C Voltage Curves" / own


def _curve_path(out: Path, cell: str, rpt: int) -> Path:
    label = REGIMES[int(cell[1])].label
    return (
        _curve_folder(out, cell)
        / f"Expt {label} - cell {cell[-1]} - RPT{rpt} - 0.1C discharge data.csv"
    )


def _summary_path(out: Path, cell: str) -> Path:
    label, degc = REGIMES[int(cell[1])].label, round(lgm50t.CHAMBER_DEGC[cell])
    folder = _experiment_folder(out, cell) / "Summary Data" / "Performance Summary"
    return folder / f"Expt {label} - cell {cell[-1]} ({degc}degC) - Processed Data.csv"


def _sets_path(out: Path, cell: str) -> Path:
    folder = _experiment_folder(out, cell) / "Summary Data" / "Ageing Sets Summary"
    label = REGIMES[int(cell[1])].label
    return folder / "Summary per Set" / f"expt {label} - cell {cell[-1]} - set_data.csv"


def _cycles_path(out: Path, cell: str) -> Path:
    folder = _experiment_folder(out, cell) / "Summary Data" / "Ageing Sets Summary"
    label = REGIMES[int(cell[1])].label
    return folder / "Summary per Cycle" / f"expt {label} - cell {cell[-1]} - cycle_data.csv"


def _cell_files(out: Path, cell: str) -> list[Path]:
    tables = [_summary_path(out, cell), _sets_path(out, cell), _cycles_path(out, cell)]
    return tables + [_curve_path(out, cell, rpt) for rpt in range(lgm50t.N_RPT[cell])]


def _folders(out: Path, cell: str) -> list[Path]:
    return [path.parent for path in _cell_files(out, cell)[:4]]


def _prepare_folder(out: Path) -> None:
    """Make the folder, or empty it of an earlier twin; refuse anything else."""
    try:
        if out.exists() and not out.is_dir():
            raise InputError("this is a file", fix="name a new folder with --out", file=out)
        if out.is_dir() and any(out.iterdir()):
            if not _is_twin(out):
                raise InputError(
                    "this folder is not empty and holds no twin; nothing was written",
                    fix="name a new or empty folder with --out, or an earlier twin to replace it",
                    file=out,
                )
            for regime in REGIMES.values():
                shutil.rmtree(out / regime.folder, ignore_errors=True)
            shutil.rmtree(out / "truth", ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder cannot be made: {error.strerror or error}",
            fix="choose a folder in which you may write",
            file=out,
        ) from error


def _is_twin(out: Path) -> bool:
    try:
        marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("synthetic") is True


def _write_marker(out: Path, details: dict[str, Any]) -> None:
    (out / MARKER).write_text(json.dumps(details, indent=2) + "\n", encoding="utf-8")


def _readme(details: dict[str, Any]) -> str:
    return f"""{WARNING}

The files have the layout and the names of the LG M50T ageing record (Zenodo 10637534), so that
programs read both alike. Do not publish them, or results on them, as measurements.

Cells: {len(details["cells"])}   seed: {details["seed"]}   rows every {details["sampling_s"]} s
Made by batterykit {details["batterykit"]}; how, and from which sources, is told at the head of
batterykit/datasets/twin.py. truth/electrodes.nc and truth/curves.nc hold what the cells really went
through: electrode capacities, stoichiometries, LLI, LAM, and the noise-free dQ/dV with its peaks.
"""
