"""Degradation mode analysis beside PyProBE and plain least squares: accuracy and time in one run.

`python -m benchmarks.dma [--json]`. C/10 discharges of the twin's 40 cells at all their check-ups,
with noise and the truth. Everyone fits the same curves with the same half-cell potentials, in one
thread. The peers, being slow, fit some of the cells, from one start: the twin's mean cell. PyProBE
knows no resistance, so it is given the curve with the true ohmic drop at C/10 added; plain least
squares fits it, with the very model that made the curves.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit import halfcell
from batterykit.datasets.ageing import simulate_truth
from batterykit.errors import BatterykitError
from benchmarks.curves import VOLTAGE_STEP, Curves, as_dataset
from benchmarks.methods import PYPROBE
from benchmarks.venvs import DEFAULT_FOLDER, PeerError, find_python, run_module

FloatArray = npt.NDArray[np.float64]

POINTS, NOISE_MV = 4_000, 1.0
PEER_CELLS = 3
PEER_POINTS = 400  # block means of the curve, for the peers
SCIPY_POINTS = 200
STANDARD_90 = 1.6449  # standard errors either side of a 90 % interval
MODES = ("lli", "lam_pe", "lam_ne", "lam_ne_gr", "lam_ne_si")

# Bounds of what PyProBE fits: lithium content of the positive electrode and stoichiometry of the
# negative one, discharged and charged, and graphite's share.
PYPROBE_BOUNDS = ((0.7, 1.0), (0.0, 0.2), (0.0, 0.1), (0.6, 1.0), (0.5, 1.0))


@dataclass(frozen=True)
class Row:
    """One method on the twin; errors are 95th percentiles in percentage points."""

    method: str
    cells: int
    curves: int
    points: int
    noise_mV: float  # noqa: N815
    threads: int
    ms_per_curve: float
    lli_p95_points: float | None
    lam_pe_p95_points: float | None
    lam_ne_p95_points: float | None
    lam_ne_gr_p95_points: float | None
    lam_ne_si_p95_points: float | None
    worst_median_points: float | None
    coverage_90_pct: float | None
    coverage_90_worst_pct: float | None
    fit_rmse_mV: float | None  # noqa: N815
    fitted_pct: float


@dataclass(frozen=True)
class Fits:
    """What a method found, (cell, rpt), NaN where nothing.

    Parameters
    ----------
    modes
        LLI and LAM [1].
    errors
        One standard error of each [1]; None from methods that tell none.
    rmse
        Of the fitted curve [V].
    seconds
        For each curve.
    """

    modes: dict[str, FloatArray]
    errors: dict[str, FloatArray] | None
    rmse: FloatArray
    seconds: float


@dataclass(frozen=True)
class Twin:
    """The twin's curves and truth of some cells, in the order of their cells and check-ups."""

    curves: Curves
    truth: xr.Dataset
    where: list[tuple[int, int]]


def make_twin(cells: int, points: int, noise: float, seed: int = 0) -> Twin:
    """Return curves of cells spread over the twin's 40.

    Parameters
    ----------
    cells
        How many.
    points
        Samples of each curve, evenly spaced in charge.
    noise
        Standard deviation of the voltage noise [V]; quantised to 0.1 mV afterwards.
    seed
        Of the cells' lives and of the noise.
    """
    truth = simulate_truth(seed)
    chosen = np.unique(np.linspace(0, truth.sizes["cell"] - 1, cells).astype(int))
    truth = truth.isel(cell=chosen)
    rng = np.random.default_rng([seed, points, 1])
    voltage, charge, names, rpts, where = [], [], [], [], []
    for k, name in enumerate(truth["cell"].values):
        for rpt in range(int(truth["n_rpt"].values[k])):
            model = halfcell.simulate_discharge(_electrodes(truth, k, rpt))
            q = np.linspace(0.0, model.charge[-1], points)
            noisy = np.interp(q, model.charge, model.voltage) + rng.normal(0.0, noise, points)
            voltage.append(np.round(noisy / VOLTAGE_STEP) * VOLTAGE_STEP)
            charge.append(q)
            names.append(str(name))
            rpts.append(rpt)
            where.append((k, rpt))
    curves = Curves(
        np.concatenate(voltage),
        np.concatenate(charge),
        points * np.arange(len(voltage) + 1, dtype=np.int64),
        names,
        np.array(rpts, dtype=np.int64),
        noise=noise,
    )
    return Twin(curves, truth, where)


def _electrodes(truth: xr.Dataset, cell: int, rpt: int) -> halfcell.Electrodes:
    def value(name: str) -> FloatArray:
        return np.asarray(truth[name].values[cell, rpt])

    return halfcell.Electrodes(
        positive=value("pe_capacity"),
        graphite=value("ne_gr_capacity"),
        silicon=value("ne_si_capacity"),
        offset=value("electrode_offset"),
        resistance=value("resistance_0p1s"),
    )


def fit_ours(twin: Twin, threads: int) -> Fits:
    """Run `features.dma` with its default options."""
    from batterykit.features.dma import dma

    dataset = as_dataset(twin.curves)
    few = as_dataset(twin.curves.part(np.arange(2, dtype=np.int64)))
    dma(few, threads=threads)  # warm up
    begin = time.perf_counter()
    found = dma(dataset, threads=threads)
    seconds = (time.perf_counter() - begin) / len(twin.curves)
    found = found.set_index(cell="cell") if "cell" not in found.indexes else found
    found = found.sel(cell=[str(name) for name in twin.truth["cell"].values])
    shape = twin.truth["lli"].shape

    def grid(name: str) -> FloatArray:
        values = np.full(shape, np.nan)
        got = found[name].transpose("cell", "rpt").values[:, : shape[1]]
        values[:, : got.shape[1]] = got
        return values

    return Fits(
        {mode: grid(mode) for mode in MODES},
        {mode: grid(f"{mode}_se") for mode in MODES},
        grid("fit_rmse"),
        seconds,
    )


def fit_pyprobe(twin: Twin, venvs: Path) -> Fits:
    """Run PyProBE's fit in its own environment.

    Raises
    ------
    PeerError
        It cannot be installed, or fails.
    """
    python = find_python(venvs, "pyprobe", PYPROBE)
    parts = []
    for k, (cell, rpt) in enumerate(twin.where):
        v, q = _averaged(twin.curves, k, PEER_POINTS)
        resistance = float(twin.truth["resistance_0p1s"].values[cell, rpt])
        drop = halfcell.C10_CURRENT * halfcell.DC_PER_PULSE_RESISTANCE * resistance
        parts.append((v + drop, q))
    z = np.linspace(0.005, 0.995, 2001)
    potential = np.linspace(halfcell.NE_POTENTIAL_RANGE[0], 0.98, 20_001)[::-1]
    negative, positive = halfcell.MEAN_NE, halfcell.MEAN_PE
    discharged = (halfcell.MEAN_OFFSET + halfcell.MEAN_NE_LO * negative) / positive
    start = [
        1.0 - discharged,
        1.0 - discharged - halfcell.MEAN_CELL_CAPACITY / positive,
        halfcell.MEAN_NE_LO,
        halfcell.MEAN_NE_LO + halfcell.MEAN_CELL_CAPACITY / negative,
        halfcell.MEAN_GRAPHITE_FRACTION,
    ]
    with tempfile.TemporaryDirectory(prefix="batterykit-benchmark-") as scratch:
        source, target = Path(scratch, "curves.npz"), Path(scratch, "found.npz")
        np.savez(
            source,
            v_flat=np.concatenate([v for v, _ in parts]),
            q_flat=np.concatenate([q for _, q in parts]),
            offsets=np.cumsum([0, *(len(v) for v, _ in parts)]),
            pe_content=(1.0 - z)[::-1],
            pe_potential=halfcell.positive_potential(z)[::-1],
            gr_content=halfcell.graphite_stoichiometry(potential),
            gr_potential=potential,
            si_content=halfcell.silicon_stoichiometry(potential),
            si_potential=potential,
            start=np.array(start),
            bounds=np.array(PYPROBE_BOUNDS),
        )
        run_module(python, "benchmarks.peers.pyprobe_dma", [str(source), str(target)])
        with np.load(target, allow_pickle=False) as file:
            fits, seconds = file["fits"], file["seconds"]
    pe, ne, inventory, share, rmse = fits.T
    return _as_fits(twin, pe, ne * share, ne * (1 - share), inventory, rmse, float(seconds.mean()))


def fit_scipy(twin: Twin) -> Fits:
    """Fit with `scipy.optimize.least_squares` and the model that made the curves."""
    from scipy.optimize import least_squares

    mean = np.array(
        [
            halfcell.MEAN_PE,
            halfcell.MEAN_NE * halfcell.MEAN_GRAPHITE_FRACTION,
            halfcell.MEAN_NE * (1 - halfcell.MEAN_GRAPHITE_FRACTION),
            halfcell.MEAN_OFFSET,
            halfcell.MEAN_RESISTANCE,
        ]
    )
    rows, begin = [], time.perf_counter()
    for k in range(len(twin.curves)):
        v, q = _averaged(twin.curves, k, SCIPY_POINTS)

        def residual(share: FloatArray, v: FloatArray = v, q: FloatArray = q) -> FloatArray:
            values = [np.array(value) for value in mean * share]
            try:
                model = halfcell.simulate_discharge(halfcell.Electrodes(*values))
            except ValueError:  # no such cell
                return np.full(len(v), 1.0)
            left = np.interp(q, model.charge, model.voltage) - v
            return np.asarray(left)

        found = least_squares(
            residual, np.ones(5), bounds=([0.6, 0.5, 0.02, 0.3, 0.3], [1.2, 1.2, 1.5, 2.0, 5.0])
        )
        rows.append([*(mean * found.x), math.sqrt(float(np.mean(found.fun**2)))])
    seconds = (time.perf_counter() - begin) / len(twin.curves)
    pe, graphite, silicon, offset, _, rmse = np.array(rows).T
    return _as_fits(twin, pe, graphite, silicon, pe - offset, rmse, seconds)


def _averaged(curves: Curves, k: int, blocks: int) -> tuple[FloatArray, FloatArray]:
    """Return block means of one curve, its very first and last sample kept as they are."""
    part = slice(curves.offsets[k], curves.offsets[k + 1])
    v, q = curves.voltage[part], curves.charge[part]
    size = max(1, len(v) // blocks)
    n = len(v) // size * size
    means = [a[:n].reshape(-1, size).mean(axis=1) for a in (v, q)]
    return (
        np.concatenate([v[:1], means[0], v[-1:]]),
        np.concatenate([q[:1], means[1], q[-1:]]),
    )


def _as_fits(
    twin: Twin,
    positive: FloatArray,
    graphite: FloatArray,
    silicon: FloatArray,
    inventory: FloatArray,
    rmse: FloatArray,
    seconds: float,
) -> Fits:
    """Turn capacities and inventory [Ah] of each curve into degradation modes."""
    shape = twin.truth["lli"].shape
    grids = []
    for values in (positive, graphite + silicon, graphite, silicon, inventory, rmse):
        grid = np.full(shape, np.nan)
        for place, value in zip(twin.where, values, strict=True):
            grid[place] = value
        grids.append(grid)
    capacity = np.array([float(twin.curves.charge[end - 1]) for end in twin.curves.offsets[1:]])
    fresh = np.array(
        [capacity[twin.where.index((cell, 0))] for cell in range(twin.truth.sizes["cell"])]
    )
    modes = {
        name: 1.0 - grid / grid[:, :1]
        for name, grid in zip(("lam_pe", "lam_ne", "lam_ne_gr", "lam_ne_si"), grids, strict=False)
    }
    modes["lli"] = (grids[4][:, :1] - grids[4]) / fresh[:, None]
    return Fits(modes, None, grids[5], seconds)


def make_row(method: str, twin: Twin, fits: Fits, threads: int) -> Row:
    """Return the row of one method; check-up 0, where every loss is zero, is left out."""
    wrong = {mode: (fits.modes[mode] - twin.truth[mode].values)[:, 1:] for mode in MODES}
    exists = np.zeros(twin.truth["lli"].shape, dtype=bool)
    exists[tuple(np.transpose(twin.where))] = True
    exists = exists[:, 1:]
    fitted = exists & np.all([np.isfinite(values) for values in wrong.values()], axis=0)

    def points(values: FloatArray, share: float) -> float | None:
        usable = np.abs(values[fitted])
        return round(100 * float(np.quantile(usable, share)), 4) if len(usable) else None

    coverage = worst = None
    if fits.errors is not None and np.any(fitted):
        inside = [np.abs(wrong[mode]) <= STANDARD_90 * fits.errors[mode][:, 1:] for mode in MODES]
        shares = [100 * float(np.mean(part[fitted])) for part in inside]
        coverage = round(float(np.mean(shares)), 2)
        farthest: float = max(shares, key=lambda share: abs(share - 90.0))
        worst = round(farthest, 2)
    medians = [value for mode in MODES if (value := points(wrong[mode], 0.5)) is not None]
    rmse = float(np.nanmedian(fits.rmse)) if np.any(np.isfinite(fits.rmse)) else math.nan
    return Row(
        method,
        twin.truth.sizes["cell"],
        len(twin.curves),
        int(np.median(np.diff(twin.curves.offsets))),
        round(1e3 * (twin.curves.noise or 0.0), 6),
        threads,
        round(1e3 * fits.seconds, 3),
        points(wrong["lli"], 0.95),
        points(wrong["lam_pe"], 0.95),
        points(wrong["lam_ne"], 0.95),
        points(wrong["lam_ne_gr"], 0.95),
        points(wrong["lam_ne_si"], 0.95),
        max(medians, default=None),
        coverage,
        worst,
        round(1e3 * rmse, 4) if math.isfinite(rmse) else None,
        round(100 * float(np.mean(fitted[exists])), 2),
    )


HEADINGS = (
    "method",
    "cells",
    "curves",
    "threads",
    "ms a curve",
    "LLI",
    "LAM PE",
    "LAM NE",
    "LAM Gr",
    "LAM Si",
    "90 % covers",
    "worst",
    "RMSE mV",
    "fitted %",
)


def print_report(rows: list[Row], markdown: bool) -> None:
    """Print the table for people."""

    def show(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    cells = [list(HEADINGS)] + [
        [
            row.method,
            str(row.cells),
            str(row.curves),
            str(row.threads),
            f"{row.ms_per_curve:.1f}",
            *(show(getattr(row, f"{mode}_p95_points"), ".2f") for mode in MODES),
            show(row.coverage_90_pct, ".0f"),
            show(row.coverage_90_worst_pct, ".0f"),
            show(row.fit_rmse_mV, ".2f"),
            show(row.fitted_pct, ".1f"),
        ]
        for row in rows
    ]
    widths = [max(len(line[k]) for line in cells) for k in range(len(HEADINGS))]
    lines = [
        [
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in cells
    ]
    print(
        f"LLI, LAM: 95th percentile of the error in percentage points; "
        f"{rows[0].points} points a curve, {rows[0].noise_mV:g} mV noise.\n"
    )
    if markdown:
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        print("\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]]))
    else:
        print("\n".join("  ".join(line) for line in lines))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dma", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="print one list of rows, nothing else")
    parser.add_argument("--markdown", action="store_true", help="print the table for a page")
    parser.add_argument("--cells", type=int, default=40, help="of the twin [40]")
    parser.add_argument("--peer-cells", type=int, default=PEER_CELLS, help="for the peers [3]")
    parser.add_argument("--points", type=int, default=POINTS, help="samples a curve [4000]")
    parser.add_argument("--noise", type=float, default=NOISE_MV, help="voltage noise in mV [1]")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="ours [1 2]")
    parser.add_argument("--peers", default="all", help="all, none, or names: pyprobe,scipy")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_FOLDER, help="peers' environments")
    options = parser.parse_args(arguments)
    packages = ["pyprobe", "scipy"]
    options.methods = {"all": packages, "none": []}.get(
        options.peers, options.peers.lower().split(",")
    )
    unknown = [name for name in options.methods if name not in packages]
    if unknown:
        parser.error(f"--peers: no peer {unknown[0]!r}; choose from {', '.join(packages)}")
    for name in ("cells", "peer_cells"):
        if not 1 <= getattr(options, name) <= 40:
            parser.error(f"--{name.replace('_', '-')}: from 1 to 40")
    if options.points < 100 or options.noise < 0 or min(options.threads) < 1:
        parser.error("--points: 100 or more; --noise: 0 or more; --threads: 1 or more")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print it; return the exit status."""
    options = parse(arguments)
    rows: list[Row] = []
    try:
        twin = make_twin(options.cells, options.points, 1e-3 * options.noise)
        for threads in options.threads:
            rows.append(make_row("batterykit", twin, fit_ours(twin, threads), threads))
        few = make_twin(options.peer_cells, options.points, 1e-3 * options.noise)
        if options.methods:
            rows.append(make_row("batterykit, same curves", few, fit_ours(few, 1), 1))
        for name in options.methods:
            try:
                fits = fit_pyprobe(few, options.venvs) if name == "pyprobe" else fit_scipy(few)
            except PeerError as error:
                print(error, file=sys.stderr)
                continue
            label = "PyProBE" if name == "pyprobe" else "scipy least_squares"
            rows.append(make_row(label, few, fits, 1))
    except BatterykitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.json:
        found: list[dict[str, Any]] = [asdict(row) for row in rows]
        print(json.dumps(found, indent=2))
        return 0
    print_report(rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
