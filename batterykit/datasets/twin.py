"""The twin: synthetic ageing data in the record's layout, with the truth beside them.

Writes the CSV files that the LG M50T record would hold for the same 40 cells, names, temperatures,
windows and numbers of check-ups (RPTs): Performance Summary, tables per ageing set and per cycle,
and a C/10 discharge at every RPT. Nothing in them is measured: `TWIN.json`, in the folder and in
each experiment's folder, says so, and `README.txt` does. What really happened to each cell is kept
in `truth/` (NetCDF): the oracle for features and degradation-mode fits. How the cells age is
`datasets.ageing`'s business. Reads no data and knows no store.

**Curves.** Voltage of `halfcell.simulate_discharge`, read at 1 Hz with white noise of 0.2-1 mV and
the cycler's steps; current about -500 mA; temperature near 25 degC with self-heating. As in the
record, time does not start at 0 and the last row lies above the cut-off again. The summary holds
the true electrode state (no fit is made), so every definition holds; its fit error is that of the
true state against the noisy curve. The published fits' repeated stoichiometries are not imitated.

**GITT**, on demand, at even RPTs like the record's: 25 pulses, and in a file of its own 5 pulses,
each after a rest. The record's are C/2 pulses; the twin knows the polarisation at C/10, so its
pulses are at C/10 and its files say `25-pulse GITT 0.1C`. The cell relaxes at once (there is no
diffusion in it): at rest it shows the open-circuit voltage, in a pulse that of the C/10 curve.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from batterykit import __version__, halfcell
from batterykit.datasets import lgm50t
from batterykit.datasets.ageing import (
    ALL_CELLS,
    CELL_ORDER,
    REGIMES,
    Regime,
    random_generator,
    schedule,
    simulate_truth,
)
from batterykit.errors import InputError, UsageError
from batterykit.halfcell import Balance, Discharge, Electrodes
from batterykit.progress import Track, no_track

FloatArray = npt.NDArray[np.float64]

WARNING = "Synthetic data made by batterykit's twin. Nothing here was measured."
THREADS = 2
SAMPLING_RANGE = (0.1, 3600.0)  # s; a curve takes 35,000 s

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

GITT_PULSES = (25, 5)  # of equal charge, from full to empty; a file each, as in the record
GITT_STEP = 2  # every other RPT, as in the record
GITT_SAMPLING = 30.0  # s between rows, at least; keeps a file near 0.1 MB
GITT_REST = 1800.0  # s before the first pulse and after each; an assumption
GITT_SWITCH = 0.1  # s from the last row of a step to the first of the next; the record's 10 Hz

DQDV_GRID = np.round(np.arange(2.5, 4.2001, 0.001), 3)  # V
PEAK_PROMINENCE = 0.1  # Ah/V
MAX_PEAKS = 10


@dataclass(frozen=True)
class TwinReport:
    """What was written.

    Parameters
    ----------
    out
        The folder.
    cells, curves, files, size
        How many, and bytes of CSV; `curves` are those at C/10.
    gitt_curves
        How many GITT curves.
    soh_at_end
        SoH at each cell's last RPT.
    """

    out: Path
    cells: list[str]
    curves: int
    files: int
    size: int
    soh_at_end: dict[str, float]
    gitt_curves: int = 0


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
    wanted = set(CELL_ORDER if experiments is None else experiments)
    if not wanted or wanted - set(CELL_ORDER):
        raise UsageError(
            f"there is no experiment {sorted(wanted - set(CELL_ORDER))}",
            fix="choose from 1, 2, 3, 4, 5",
        )
    if not 1 <= cells <= len(ALL_CELLS):
        raise UsageError(f"{cells} cells asked for", fix="choose from 1 to 40 cells")
    return [cell for cell in ALL_CELLS if int(cell[1]) in wanted][:cells]


def write_twin(
    out: Path,
    *,
    cells: int = 40,
    seed: int = 0,
    sampling: float = 1.0,
    experiments: Sequence[int] | None = None,
    gitt: bool = False,
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
        Seconds between the rows of a curve; of a GITT curve `GITT_SAMPLING` or more.
    gitt
        Write GITT curves, too; every other file is the same with and without.
    track
        Shows progress.

    Raises
    ------
    InputError
        The folder holds something else, or cannot be written.
    UsageError
        No such cells, or a sampling outside `SAMPLING_RANGE`.
    """
    names = choose_cells(cells, experiments)
    shortest, longest = SAMPLING_RANGE
    if not shortest <= sampling <= longest:
        raise UsageError(
            f"a sampling of {sampling} s", fix=f"give {shortest:g} to {longest:g} seconds"
        )
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative", fix="give a seed of 0 or more")
    _prepare_folder(out)
    try:
        return _write(out, names, seed, sampling, gitt, track)
    except OSError as error:
        raise InputError(
            f"the twin could not be written: {error.strerror or error}",
            fix="choose another folder, or make room (40 cells take about 1 GB at 1 Hz and 0.1 GB "
            "with --sampling 10)",
            file=out,
        ) from error


def _write(
    out: Path, names: list[str], seed: int, sampling: float, gitt: bool, track: Track
) -> TwinReport:
    details = {"synthetic": True, "note": WARNING, "batterykit": __version__, "seed": seed}
    details |= {"sampling_s": sampling, "cells": names} | ({"gitt": True} if gitt else {})
    marked = [out, *sorted({_experiment_folder(out, cell) for cell in names})]
    for folder in marked:
        _write_marker(folder, details | {"complete": False})
    truth = simulate_truth(seed).sel(cell=names)
    jobs = [(cell, rpt) for cell in names for rpt in range(lgm50t.N_RPT[cell])]
    for cell in names:
        for folder in _folders(out, cell, gitt):
            folder.mkdir(parents=True, exist_ok=True)

    states = _electrodes(truth, [names.index(cell) for cell, _ in jobs], [rpt for _, rpt in jobs])
    balances = halfcell.solve_balance(states)

    def write_one(index: int) -> _Written:
        state, balance = _one(states, index), _one(balances, index)
        discharge = halfcell.simulate_discharge(state, balance)
        if gitt and jobs[index][1] % GITT_STEP == 0:
            for pulses in GITT_PULSES:
                _write_gitt(out, *jobs[index], pulses, state, balance, discharge, seed, sampling)
        return _write_curve(out, *jobs[index], discharge, seed, sampling)

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
    files = [path for cell in names for path in _cell_files(out, cell, gitt)]
    for folder in marked:
        _write_marker(folder, details | {"complete": True})
    return TwinReport(
        out=out,
        cells=names,
        curves=len(jobs),
        files=len(files),
        size=sum(path.stat().st_size for path in files),
        soh_at_end={
            cell: float(truth.soh.sel(cell=cell, rpt=lgm50t.N_RPT[cell] - 1)) for cell in names
        },
        gitt_curves=sum(len(_gitt_paths(out, cell)) for cell in names) if gitt else 0,
    )


# ---- curves -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Written:
    """A curve's end charge [Ah], error against the truth [V], and the truth's dQ/dV and peaks."""

    charge: float
    rmse: float
    dqdv: FloatArray
    peaks: FloatArray


def _electrodes(truth: xr.Dataset, cells: list[int], rpts: list[int]) -> Electrodes:
    names = (
        "pe_capacity", "ne_gr_capacity", "ne_si_capacity", "electrode_offset", "resistance_0p1s"
    )  # fmt: skip
    return Electrodes(*(truth[name].values[cells, rpts] for name in names))


_Arrays = TypeVar("_Arrays", Electrodes, Balance)


def _one(arrays: _Arrays, index: int) -> _Arrays:
    return type(arrays)(*(getattr(arrays, field.name)[index] for field in fields(arrays)))


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
    out: Path, cell: str, rpt: int, truth: Discharge, seed: int, sampling: float
) -> _Written:
    generator = random_generator(seed, cell, 1000 + rpt)
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
    start = generator.uniform(12000, 20000)
    _write_rows(
        _curve_path(out, cell, rpt), time + start, voltage, shown_current, charge, temperature
    )

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


def _write_gitt(
    out: Path,
    cell: str,
    rpt: int,
    pulses: int,
    state: Electrodes,
    balance: Balance,
    truth: Discharge,
    seed: int,
    sampling: float,
) -> None:
    """Write a discharge in pulses, with the same noise and steps as the C/10 curve's."""
    generator = random_generator(seed, cell, 10_000 + 100 * rpt + pulses)
    current = -1e3 * halfcell.C10_CURRENT + generator.uniform(-0.015, 0.015)  # mA
    capacity = truth.charge[-1] * (1 + FIT_SHORTFALL)
    time, passed, loaded = _gitt_rows(
        pulses, capacity / -current * 3.6e6, max(sampling, GITT_SAMPLING)
    )
    charge = passed * -current / 3600  # mAh
    voltage = np.interp(charge / 1e3, truth.charge, truth.voltage)
    rests, which = np.unique(charge[~loaded], return_inverse=True)
    lithiated = balance.ne_hi - np.minimum(rests / 1e3, truth.charge[-1]) / state.negative
    potential = halfcell.negative_potential(lithiated, state.graphite_fraction)
    voltage[~loaded] = halfcell.terminal_voltage(potential, state, loaded=False)[which]

    spread = np.exp(generator.uniform(*np.log(VOLTAGE_NOISE)))
    voltage += spread * generator.standard_normal(len(time))
    voltage = halfcell.LOWER_CUTOFF + np.abs(voltage - halfcell.LOWER_CUTOFF) + VOLTAGE_STEP
    voltage[np.flatnonzero(loaded)[-1]] = halfcell.LOWER_CUTOFF - 2 * VOLTAGE_STEP
    shown_current = np.where(loaded, current, 0.0)
    shown_current += CURRENT_NOISE * generator.standard_normal(len(time))
    warmth = START_TEMPERATURE + 0.3 * generator.random()
    temperature = warmth + TEMPERATURE_NOISE * generator.standard_normal(len(time))
    start = generator.uniform(12000, 20000)
    _write_rows(
        _gitt_path(out, cell, rpt, pulses),
        time + start,
        _steps(voltage, VOLTAGE_STEP),
        shown_current,
        charge,
        temperature,
    )


def _gitt_rows(
    pulses: int, duration: float, sampling: float
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return for each row the time [s], the time under load so far [s], and whether it is loaded.

    A rest, then pulses that take `duration` together, each with a rest after it; a row at the
    beginning and the end of each.
    """
    pulse = duration / pulses
    steps = []
    for length in (GITT_REST, pulse):
        inside = np.arange(sampling, length - GITT_SWITCH, sampling)
        steps.append(np.concatenate([[GITT_SWITCH], inside, [length]]))
    rest, load = steps
    time, passed, loaded = [rest], [np.zeros_like(rest)], [np.zeros(len(rest), dtype=bool)]
    for number in range(pulses):
        begin = GITT_REST + number * (pulse + GITT_REST)
        time += [begin + load, begin + pulse + rest]
        passed += [number * pulse + load, np.full_like(rest, (number + 1) * pulse)]
        loaded += [np.ones(len(load), dtype=bool), np.zeros(len(rest), dtype=bool)]
    return np.concatenate(time), np.concatenate(passed), np.concatenate(loaded)


def _write_rows(
    path: Path,
    time: FloatArray,
    voltage: npt.NDArray[Any],
    current: npt.NDArray[Any],
    charge: FloatArray,
    temperature: npt.NDArray[Any],
) -> None:
    """Write a curve's file: time [s], voltage [V] in steps, current [mA], charge [mAh], [degC]."""
    import pyarrow as pa
    from pyarrow import csv

    columns = (
        np.round(time, 4),
        voltage.astype(np.float32),
        _steps(current, CURRENT_STEP).astype(np.float32),
        np.round(charge, 6),
        _steps(temperature, TEMPERATURE_STEP).astype(np.float32),
    )
    headers = [column.header for column in lgm50t.CURVE_COLUMNS]
    table = pa.table(dict(zip(headers, columns, strict=True)))
    with path.open("wb") as file:
        file.write((",".join(headers) + "\n").encode())
        csv.write_csv(table, file, csv.WriteOptions(include_header=False, batch_size=8192))


def _steps(values: npt.NDArray[Any], step: float) -> npt.NDArray[Any]:
    return np.rint(values / step) * step


# ---- tables -------------------------------------------------------------------------------------


def _write_tables(out: Path, cell: str, truth: xr.Dataset, seed: int) -> None:
    """Write a cell's Performance Summary and its tables per set and per cycle."""
    count = lgm50t.N_RPT[cell]
    regime = REGIMES[int(cell[1])]
    dates = {name: days[:count] for name, days in schedule(seed, int(cell[1])).items()}
    generator = random_generator(seed, cell, 1)
    values = {str(name): truth[name].values[:count] for name in truth.data_vars}
    cycles = _cycle_table(values, regime, generator)
    energy = (
        cycles["Charge Energy [W h]"] + cycles["Discharge Energy [W h]"]
    ).to_numpy().reshape(count - 1, -1)  # fmt: skip
    values["energy_throughput"] = np.concatenate([[0.0], energy.sum(axis=1).cumsum()])
    summary = _summary_table(values, dates, regime, generator)
    summary.to_csv(_summary_path(out, cell), index=False)
    cycles.to_csv(_cycles_path(out, cell), index=False)
    sets = pd.DataFrame(
        {
            "Ageing Set": np.arange(1, count),
            "Age set start date": dates["set_start"][1:].astype(str),
            "Age set end date": dates["set_end"][1:].astype(str),
            "Ageing Cycles": np.full(count - 1, regime.cycles),
            "Age set av. temperature [\N{DEGREE SIGN}C]": values["age_set_temperature"][1:],
            "Charge Throughput [A h]": np.diff(values["charge_throughput"]),
            "Energy Throughput [W h]": np.diff(values["energy_throughput"]),
        }
    )
    sets.to_csv(_sets_path(out, cell), index=False)


def _summary_table(
    values: dict[str, FloatArray],
    dates: dict[str, npt.NDArray[Any]],
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
        "age_set_start_date": np.where(aged, dates["set_start"].astype(str), ""),
        "age_set_end_date": np.where(aged, dates["set_end"].astype(str), ""),
        "rpt_start_date": dates["rpt_start"].astype(str),
        "days_of_degradation": np.where(aged, values["days_of_degradation"], np.nan),
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
    temperature = values["age_set_temperature"][1:, None] + wobble - wobble.mean(axis=1)[:, None]
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


def _curve_folder(out: Path, cell: str, kind: str) -> Path:
    own = f"{REGIMES[int(cell[1])].cell_folder} {cell[-1]}"
    curves = _experiment_folder(out, cell) / "Processed Timeseries Data"
    return curves / f"{kind} Voltage Curves" / own


def _curve_path(out: Path, cell: str, rpt: int) -> Path:
    return _curve_folder(out, cell, "0.1C") / _curve_name(cell, rpt, "0.1C")


def _gitt_path(out: Path, cell: str, rpt: int, pulses: int) -> Path:
    name = _curve_name(cell, rpt, f"{pulses}-pulse GITT 0.1C")
    return _curve_folder(out, cell, "GITT") / name


def _gitt_paths(out: Path, cell: str) -> list[Path]:
    rpts = range(0, lgm50t.N_RPT[cell], GITT_STEP)
    return [_gitt_path(out, cell, rpt, pulses) for rpt in rpts for pulses in GITT_PULSES]


def _curve_name(cell: str, rpt: int, protocol: str) -> str:
    label = REGIMES[int(cell[1])].label
    return f"Expt {label} - cell {cell[-1]} - RPT{rpt} - {protocol} discharge data.csv"


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


def _cell_files(out: Path, cell: str, gitt: bool) -> list[Path]:
    tables = [_summary_path(out, cell), _sets_path(out, cell), _cycles_path(out, cell)]
    curves = [_curve_path(out, cell, rpt) for rpt in range(lgm50t.N_RPT[cell])]
    return tables + curves + (_gitt_paths(out, cell) if gitt else [])


def _folders(out: Path, cell: str, gitt: bool) -> list[Path]:
    return sorted({path.parent for path in _cell_files(out, cell, gitt)})


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
            folders = [out / regime.folder for regime in REGIMES.values()]
            _check_only_twins(folders)
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(out / "truth", ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder cannot be made: {error.strerror or error}",
            fix="choose a folder in which you may write",
            file=out,
        ) from error


def _check_only_twins(folders: Iterable[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and any(folder.iterdir()) and not _is_twin(folder):
            raise InputError(
                "the twin did not write this folder; nothing was removed or written",
                fix="name a new or empty folder with --out, so that measured and synthetic data "
                "stay apart",
                file=folder,
            )


def _is_twin(out: Path) -> bool:
    try:
        marker = json.loads((out / lgm50t.MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("synthetic") is True


def _write_marker(folder: Path, details: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / lgm50t.MARKER).write_text(json.dumps(details, indent=2) + "\n", encoding="utf-8")


def _readme(details: dict[str, Any]) -> str:
    return f"""{WARNING}

The files have the layout and the names of the LG M50T ageing record (Zenodo 10637534), so that
programs read both alike. Do not publish them, or results on them, as measurements.

Cells: {len(details["cells"])}   seed: {details["seed"]}   rows every {details["sampling_s"]} s
Made by batterykit {details["batterykit"]}; how, and from which sources, is told at the head of
batterykit/datasets/twin.py. truth/electrodes.nc and truth/curves.nc hold what the cells really went
through: electrode capacities, stoichiometries, LLI, LAM, and the noise-free dQ/dV with its peaks.
"""
