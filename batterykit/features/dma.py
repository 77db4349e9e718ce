"""Degradation mode analysis: electrode capacities, LLI and LAM from slow curves.

Curves in, one dataset out; pure, no I/O but half-cell files. Each curve is condensed to some
hundred points, its model is fitted from many starts (`dma_kernels`), and the modes are the change
since the cell's first check-up (RPT 0). Definitions are those of the record (Kirkaldy et al.,
J. Power Sources 603 (2024) 234185) and of `batterykit.halfcell`.

**Trust.** Every fit begins at `DmaOptions.starts` points spread over all plausible electrodes
(Latin hypercube). The fit of the check-up before is one more start, but never the judge: an optimum
counts only when cold starts reach it as well; else more are drawn, and at last the flag
`starts_disagree` is raised. A start that ends where a step would still gain something (so one that
never moved) counts for nothing.

**Voltage and dV/dQ.** The weight between them follows from the residuals themselves: see
`dma_kernels`. Standard errors are those of the generalised fit, so they grow with model error and
are the ordinary ones for white noise. Fits of different check-ups count as independent: model error
that is the same in both cancels in LLI and LAM, and their errors are then smaller than stated.

**Beginning of a curve.** Its first 2 % are not fitted: polarisation builds up over minutes there,
which the model does not hold. They are part of `fit_rmse`.

**Charge curves.** Silicon then follows its lithiation curve (the other branch of its hysteresis),
and what the record calls 4.2 V at rest is the end of the charge under current.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit import halfcell
from batterykit.errors import InputError
from batterykit.features import dma_kernels as kernels
from batterykit.features.halfcell_csv import csv_tables
from batterykit.features.options import DmaOptions
from batterykit.halfcell import PotentialTables
from batterykit.progress import no_track

if TYPE_CHECKING:
    from batterykit.progress import Track

FloatArray = npt.NDArray[np.float64]

FLAGS = {
    "no_curve": 1,
    "curve_unusable": 2,
    "window_not_covered": 4,
    "at_bound": 8,
    "starts_disagree": 16,
    "poor_fit": 32,
    "no_reference": 64,
    "reference_doubtful": 128,
}
"""Bits of `quality_flag`; the last at all check-ups whose LLI and LAM rest on a flagged RPT 0."""

FEWEST_SAMPLES = 50
LEAST_FINITE = 0.95  # share of samples
LEAST_STEADY = 0.99  # share of samples with the curve's current, within half of it
LEAST_SPAN = 0.3  # V
LARGEST_VOLTAGE, LARGEST_CHARGE = 10.0, 1e5  # V, Ah; beyond any cell, counts as not finite
NOT_FITTED = 0.02  # share of the charge, see above
WIDE_BINS, NARROW_BINS = 300, 120
NARROW_SHARE = 0.12  # of the charge, at the empty end, where the voltage falls off
NARROWING = 1.5  # power by which the bins narrow towards the end

COVERED_TOP, COVERED_BOTTOM = 0.1, 0.1  # V short of the window's ends that count as covered
COVERED_BOTTOM_ON_CHARGE = 0.6  # V; a charge begins at rest, where an empty cell has 2.9 V
POOR_RMSE = 0.010  # V of model error, noise taken out; the published fits have 4.3 to 9.7 mV
NO_FIT_RMSE = 0.05  # V; a model so far off tells nothing of the electrodes

SAME_OPTIMUM = 0.1  # difference of chi-squared below which two ends are one optimum
NEARLY_AS_GOOD = 10.0  # difference of chi-squared below which another optimum is a rival
ARRIVED = 1e-4  # share of chi-squared that one more step may still promise
CONFIRMING = 2  # cold starts that must reach the optimum
MOST_ROUNDS = 4  # of cold starts
MODEL_ERROR_ROUNDS = 4
LEAST_EVIDENCE = 3.0  # log-likelihood that model error must gain to be believed
STEADY_RATIO = 1.05  # of model error from one round to the next: it has settled

# Where starts lie: stoichiometries of the discharged and charged cell, graphite's share, and what
# the plateau's and the empty electrode's polarisation cost [V].
_START_RANGES = {
    "pe_lo": (0.03, 0.30),
    "pe_hi": (0.85, 1.0),
    "ne_lo": (0.001, 0.06),
    "ne_hi": (0.75, 0.98),
    "gr_frac": (0.75, 1.0),
    "plateau": (0.005, 0.06),
    "rise": (0.05, 1.0),
}
# Bounds, in units of the charge passed or of 1 V over the current. The last, on the resistance of
# the empty NE, matters: without such a rise the discharge would end because silicon is exhausted,
# and the real curve has a second optimum like that, with 20 % less silicon. But then the cell would
# stay at 2.5 V at rest, and the record's begins its charge at 2.92 V. The mean cell of `halfcell`
# has 0.15 V.
_LOWEST = np.array([0.8, 0.2, 0.0, -1.0, 0.3, 0.0, 0.05])
_HIGHEST = np.array([5.0, 5.0, 2.0, 3.0, 5.0, 0.3, 10.0])

_FITTED = {
    "pe_capacity": ("Ah", "capacity of the positive electrode"),
    "ne_capacity": ("Ah", "capacity of the negative electrode"),
    "ne_gr_capacity": ("Ah", "capacity of the graphite in the negative electrode"),
    "ne_si_capacity": ("Ah", "capacity of the silicon in the negative electrode"),
    "electrode_offset": ("Ah", "electrode offset, z PE - x NE"),
    "gr_frac": ("1", "graphite's share of the negative electrode's capacity"),
    "resistance_c10": ("Ohm", "fitted resistance at the curve's current over the plateau"),
}
_MODES = {
    "lli": ("1", "loss of lithium inventory"),
    "lam_pe": ("1", "loss of active material, positive electrode"),
    "lam_ne": ("1", "loss of active material, negative electrode"),
    "lam_ne_gr": ("1", "loss of active material, graphite"),
    "lam_ne_si": ("1", "loss of active material, silicon"),
}
_LOST = {
    "lam_pe": "pe_capacity",
    "lam_ne": "ne_capacity",
    "lam_ne_gr": "ne_gr_capacity",
    "lam_ne_si": "ne_si_capacity",
}
_OTHERS = {
    "cell_capacity": ("Ah", "charge between the ends of the curve"),
    "pe_lo": ("1", "delithiated fraction of the positive electrode, discharged"),
    "ne_lo": ("1", "lithiated fraction of the negative electrode, discharged"),
    "pe_hi": ("1", "delithiated fraction of the positive electrode, charged"),
    "ne_hi": ("1", "lithiated fraction of the negative electrode, charged"),
    "fit_rmse": ("V", "root mean square of the fit's residual over the whole curve"),
    "starts_agreeing": ("1", "share of the cold starts that reached the same optimum"),
}
_PHASES = ("ne_gr_capacity", "ne_si_capacity", "gr_frac")
_CURVES = {
    "charge": ("Ah", "charge passed since the curve's beginning"),
    "voltage_measured": ("V", "measured voltage"),
    "voltage_fit": ("V", "fitted voltage"),
}


@dataclass(frozen=True)
class _HalfCells:
    """Potentials to fit with; `window` [V] is None where the cell's own is not known."""

    tables: PotentialTables
    composite: bool
    rises: bool
    window: tuple[float, float] | None


class _Curve(NamedTuple):
    """A usable curve as a discharge: charge [Ah] rises from 0, voltage [V] falls, (sample,)."""

    charge: FloatArray
    voltage: FloatArray
    current: float
    on_charge: bool


class _Data(NamedTuple):
    """What the kernels take to fit a curve."""

    charge: FloatArray
    voltage: FloatArray
    samples: FloatArray
    current: float
    tables: PotentialTables
    lowest: FloatArray
    highest: FloatArray


class _Ends(NamedTuple):
    """Where the starts ended, (start, 7), their chi-squared, and whether they arrived."""

    theta: FloatArray
    cost: FloatArray
    arrived: npt.NDArray[np.bool_]

    def best(self) -> int:
        return int(np.argmin(np.where(self.arrived, self.cost, np.inf)))


class _Fit(NamedTuple):
    """A fitted curve: parameters (7,), their covariance, and what is kept of it."""

    theta: FloatArray
    covariance: FloatArray
    values: dict[str, float]
    points: FloatArray
    flag: int


def dma(
    curves: xr.Dataset,
    options: DmaOptions | None = None,
    *,
    threads: int | None = None,
    track: Track = no_track,
) -> xr.Dataset:
    """Return electrode capacities, LLI and LAM of cells from the slow curves of their check-ups.

    Parameters
    ----------
    curves
        `raw/expt{N}/curves/0.1C`: a contiguous ragged array, dims (curve,) and (sample,), of one or
        many cells; curves in the other direction are ignored.
    options
        Direction, starts, half cells.
    threads
        How many threads to share the cells among; all processors when None. The result is the same
        with any number.
    track
        Progress.

    Returns
    -------
    xr.Dataset
        Dims (cell, rpt): pe_capacity, ne_capacity, ne_gr_capacity, ne_si_capacity,
        electrode_offset, cell_capacity [Ah], gr_frac [1], resistance_c10 [Ohm]; pe_lo, ne_lo,
        pe_hi, ne_hi [1] at the ends of the curve (or, where it ends short of the LG M50's window,
        where the model reaches 2.5 V under load and 4.2 V at rest); lli, lam_pe, lam_ne, lam_ne_gr,
        lam_ne_si [1]; `<name>_se`, one standard error, of the fitted ones and the modes; fit_rmse
        [V], starts_agreeing [1], and quality_flag with the bits of `FLAGS`.
        Dims (cell, rpt, point): charge [Ah], voltage_measured, voltage_fit [V].
        NaN and a flag where there is nothing to tell, never an exception because of a curve.

    Raises
    ------
    InputError
        A half-cell file is not what it must be.
    """
    options = options or DmaOptions()
    half = _half_cells(options)
    cell_of = np.array([str(cell) for cell in curves["cell"].values], dtype=object)
    direction_of = np.array([str(way) for way in curves["direction"].values])
    rpt_of = curves["rpt"].values.astype(int)
    cells = sorted(set(cell_of))
    n_rpt = [int(rpt_of[cell_of == cell].max()) + 1 for cell in cells]
    shape = (len(cells), max(n_rpt, default=0))
    stops = np.cumsum(curves["row_size"].values)
    samples = [curves[name].values for name in ("charge", "voltage", "current")]

    def fit_cell(cell: str) -> list[tuple[int, _Fit | int]]:
        chosen = (cell_of == cell) & (direction_of == options.direction)
        fits: list[tuple[int, _Fit | int]] = []
        warm: FloatArray | None = None
        for index in sorted(np.flatnonzero(chosen), key=lambda k: (rpt_of[k], k)):
            first = int(stops[index] - curves["row_size"].values[index])
            columns = (column[first : int(stops[index])] for column in samples)
            curve = _usable(*columns, on_charge=options.direction == "charge")
            if curve is None:
                fits.append((rpt_of[index], FLAGS["curve_unusable"]))
                continue
            fit = _fit(curve, half, options, warm)
            if isinstance(fit, _Fit):
                warm = fit.theta
            fits.append((rpt_of[index], fit))
        return fits

    with ThreadPoolExecutor(max_workers=threads or os.cpu_count()) as pool:
        found = list(track(pool.map(fit_cell, cells), "degradation modes", len(cells)))
    result = _dataset(shape, found, half, options)
    result["cell"] = ("cell", np.array(cells, dtype=object))
    result["rpt"] = ("rpt", np.arange(shape[1]), {"long_name": "check-up (RPT)"})
    result = result.assign_coords(n_rpt=("cell", np.array(n_rpt, dtype=int)))
    if "experiment" in curves.variables:
        of_cell = dict(zip(cell_of, curves["experiment"].values.astype(int), strict=True))
        numbers = np.array([of_cell[cell] for cell in cells], dtype=int)
        result = result.assign_coords(experiment=("cell", numbers))
    return result


def _half_cells(options: DmaOptions) -> _HalfCells:
    if options.positive is None or options.negative is None:
        tables = halfcell.potential_tables(options.direction)
        return _HalfCells(tables, True, True, (halfcell.LOWER_CUTOFF, halfcell.UPPER_CUTOFF))
    tables = csv_tables(options.positive, options.negative, options.silicon)
    if np.median(tables.positive) <= np.median(tables.potential):
        raise InputError(
            "the positive electrode's potential lies below the negative's",
            fix="exchange the two half-cell files",
            file=options.positive,
        )
    return _HalfCells(tables, options.silicon is not None, False, None)


# ---- curves -------------------------------------------------------------------------------------


def _usable(
    charge: npt.ArrayLike, voltage: npt.ArrayLike, current: npt.ArrayLike, *, on_charge: bool
) -> _Curve | None:
    """Return the curve as a discharge, or None if it is not one unbroken slow curve."""
    q, v, i = (np.asarray(column, dtype=np.float64) for column in (charge, voltage, current))
    with np.errstate(invalid="ignore"):
        finite = (np.abs(q) < LARGEST_CHARGE) & (np.abs(v) < LARGEST_VOLTAGE) & np.isfinite(i)
    if finite.sum() < FEWEST_SAMPLES or finite.mean() < LEAST_FINITE:
        return None
    q, v, i = q[finite], v[finite], i[finite]
    typical = float(np.median(i))
    steady = np.abs(i - typical) <= 0.5 * abs(typical)
    if not abs(typical) > 0 or steady.mean() < LEAST_STEADY:
        return None
    q, v = np.abs(q[steady] - q[steady][0]), v[steady]
    if (np.diff(q) < 0).any():
        order = np.argsort(q, kind="stable")
        q, v = q[order], v[order]
    tenth = max(1, len(v) // 10)
    fall = float(np.mean(v[:tenth]) - np.mean(v[-tenth:])) * (-1 if on_charge else 1)
    if not (q[-1] > 1e-6 and fall > 0 and np.ptp(v) >= LEAST_SPAN):
        return None
    if on_charge:
        q, v = (q[-1] - q)[::-1].copy(), v[::-1].copy()
    return _Curve(q, v, -abs(typical) if on_charge else abs(typical), on_charge)


def _bins(curve: _Curve) -> FloatArray:
    """Return edges of bins [Ah]: equal in charge, and narrower where the cell runs empty."""
    total = curve.charge[-1]
    narrow = 1 - np.linspace(1, 0, NARROW_BINS + 1) ** NARROWING
    shares = np.concatenate(
        [
            np.linspace(0, 1 - NARROW_SHARE, WIDE_BINS + 1)[:-1],
            1 - NARROW_SHARE + NARROW_SHARE * narrow,
        ]
    )
    inside = shares <= 1 - NOT_FITTED if curve.on_charge else shares >= NOT_FITTED
    edges: FloatArray = total * shares[inside]
    return edges


def _covered(curve: _Curve, window: tuple[float, float] | None) -> tuple[bool, bool]:
    """Return whether the curve reaches the window's lower and upper end."""
    if window is None:
        return True, True
    bottom = COVERED_BOTTOM_ON_CHARGE if curve.on_charge else COVERED_BOTTOM
    return (
        bool(curve.voltage.min() <= window[0] + bottom),
        bool(curve.voltage.max() >= window[1] - COVERED_TOP),
    )


# ---- one fit ------------------------------------------------------------------------------------


def _fit(
    curve: _Curve, half: _HalfCells, options: DmaOptions, warm: FloatArray | None
) -> _Fit | int:
    """Fit a curve; the flag alone when it cannot be fitted."""
    charge, voltage, count = kernels.condense(curve.charge, curve.voltage, _bins(curve))
    if len(charge) < 3 * kernels.N_PARAMETERS:
        return FLAGS["curve_unusable"]
    scale = np.full(kernels.N_PARAMETERS, curve.charge[-1])
    scale[[kernels.RESISTANCE, kernels.RISE]] = 1 / abs(curve.current)
    lowest, highest = _LOWEST * scale, _HIGHEST * scale
    for parameter, fitted in ((kernels.SILICON, half.composite), (kernels.RISE, half.rises)):
        if not fitted:
            highest[parameter] = lowest[parameter] = 0.0
    data = _Data(charge, voltage, count, curve.current, half.tables, lowest, highest)
    ends, gains, agreeing, flag = _search(data, scale, options, warm)
    if not ends.arrived.any():
        return FLAGS["curve_unusable"] | FLAGS["starts_disagree"] | FLAGS["poor_fit"]
    theta = ends.theta[ends.best()]
    covariance, _ = kernels.covariance(
        theta, lowest, highest, charge, voltage, curve.current, half.tables, gains
    )
    model = np.empty_like(curve.voltage)
    kernels.evaluate(theta, curve.charge, curve.current, half.tables, model, _NO_JACOBIAN)
    rmse = float(np.sqrt(np.mean((model - curve.voltage) ** 2)))
    free = highest > lowest
    if ((theta <= lowest) | (theta >= highest))[free].any():
        flag |= FLAGS["at_bound"]
    if not rmse**2 - _noise(curve.voltage) ** 2 <= POOR_RMSE**2:
        flag |= FLAGS["poor_fit"]
    if not all(_covered(curve, half.window)):
        flag |= FLAGS["window_not_covered"]
    values = _state(theta, curve, half) | {"fit_rmse": rmse, "starts_agreeing": agreeing}
    return _Fit(theta, covariance, values, _kept(curve, model, options.points), flag)


def _noise(voltage: FloatArray) -> float:
    """Return the standard deviation of white noise [V], from second differences."""
    return float(np.sqrt(np.mean(np.diff(voltage, 2) ** 2) / 6))


_NO_JACOBIAN = np.empty((0, kernels.N_PARAMETERS))


def _search(
    data: _Data, scale: FloatArray, options: DmaOptions, warm: FloatArray | None
) -> tuple[_Ends, FloatArray, float, int]:
    """Return all ends (cold ones first), the filter, the share of cold starts in the best, flag."""
    generator = np.random.default_rng(options.seed)
    starts = np.empty((0, kernels.N_PARAMETERS))
    for _ in range(MOST_ROUNDS):
        starts = np.concatenate([starts, _cold_starts(generator, options.starts, scale, data)])
        tried = starts if warm is None else np.concatenate([starts, warm[None]])
        ends, gains = _optimise(data, tried)
        same, rivals = _compare(ends, len(data.charge))
        cold = same[: len(starts)]
        if cold.sum() >= CONFIRMING:
            break
    flag = FLAGS["starts_disagree"] if _disagree(same, len(starts), rivals) else 0
    return ends, gains, float(cold.mean()), flag


def _disagree(same: npt.NDArray[np.bool_], cold: int, rivals: bool) -> bool:
    """Return whether an optimum cannot be trusted; the first `cold` starts were cold ones."""
    return bool(rivals or same[:cold].sum() < CONFIRMING or not same[cold:].all())


def _cold_starts(
    generator: np.random.Generator, number: int, scale: FloatArray, data: _Data
) -> FloatArray:
    """Return starts over all plausible electrodes, by Latin hypercube, (start, 7)."""
    unit = {
        name: low
        + (high - low) * (generator.permutation(number) + generator.random(number)) / number
        for name, (low, high) in _START_RANGES.items()
    }
    passed = scale[kernels.POSITIVE]
    positive = passed / (unit["pe_hi"] - unit["pe_lo"])
    negative = passed / (unit["ne_hi"] - unit["ne_lo"])
    graphite = unit["gr_frac"] if data.highest[kernels.SILICON] > 0 else np.ones(number)
    lithium = unit["ne_hi"] * negative
    starts = np.column_stack(
        [
            positive,
            graphite * negative,
            (1 - graphite) * negative,
            unit["pe_hi"] * positive - lithium,
            lithium,
            unit["plateau"] * scale[kernels.RESISTANCE],
            unit["rise"] * scale[kernels.RISE],
        ]
    )
    clipped: FloatArray = np.clip(starts, data.lowest, data.highest)
    return clipped


def _optimise(data: _Data, starts: FloatArray) -> tuple[_Ends, FloatArray]:
    """Fit all starts in voltage, then with the model error that the best residual shows."""
    begin = np.clip(starts, data.lowest, data.highest)
    share, length = 0.0, float(data.charge[-1] - data.charge[0])
    weight = np.ones_like(data.charge)
    gains, _ = kernels.filter_gains(data.charge, data.samples, weight, share, length)
    ends = _run(data, begin, gains)
    for _ in range(MODEL_ERROR_ROUNDS):
        if not ends.arrived.any():
            break
        best = ends.theta[ends.best()]
        weight = kernels.error_weight(best, data.charge, data.voltage, data.current, data.tables)
        found = kernels.model_error(
            best,
            data.lowest,
            data.highest,
            data.charge,
            data.voltage,
            data.samples,
            weight,
            data.current,
            data.tables,
            LEAST_EVIDENCE,
        )
        settled = found[0] <= STEADY_RATIO * share and share <= STEADY_RATIO * found[0]
        settled &= found[1] <= STEADY_RATIO * length and length <= STEADY_RATIO * found[1]
        if settled:
            break
        share, length = found
        gains, _ = kernels.filter_gains(data.charge, data.samples, weight, share, length)
        ends = _run(data, ends.theta, gains)
    return ends, gains


def _run(data: _Data, starts: FloatArray, gains: FloatArray) -> _Ends:
    theta, told = kernels.fit_starts(
        starts,
        data.lowest,
        data.highest,
        data.charge,
        data.voltage,
        data.current,
        data.tables,
        gains,
        kernels.MOST_STEPS,
    )
    arrived = np.isfinite(told[:, 0]) & (told[:, 1] < ARRIVED)
    return _Ends(theta, told[:, 0], arrived)


def _compare(ends: _Ends, samples: int) -> tuple[npt.NDArray[np.bool_], bool]:
    """Return which starts reached the best optimum, and whether another is nearly as good."""
    if not ends.arrived.any():
        return np.zeros(len(ends.cost), dtype=bool), False
    lowest = max(ends.cost[ends.best()], samples * kernels.FINEST_NOISE**2)
    excess = (ends.cost - lowest) / lowest * (samples - kernels.N_PARAMETERS)
    same = ends.arrived & (excess < SAME_OPTIMUM)
    rivals = ends.arrived & ~same & (excess < NEARLY_AS_GOOD)
    return same, bool(rivals.any())


def _state(theta: FloatArray, curve: _Curve, half: _HalfCells) -> dict[str, float]:
    """Return stoichiometries at the ends and the charge between them."""
    lithium_hi = float(theta[kernels.LITHIUM])
    lithium_lo = lithium_hi - float(curve.charge[-1])
    reaches_lo, reaches_hi = _covered(curve, half.window)
    if half.window is not None and not (reaches_lo and reaches_hi):
        ends = _lithium_at_cutoffs(theta, curve, half.tables, half.window)
        lithium_lo = lithium_lo if reaches_lo else ends[0]
        lithium_hi = lithium_hi if reaches_hi else ends[1]
    positive, offset = theta[kernels.POSITIVE], theta[kernels.OFFSET]
    negative = theta[kernels.GRAPHITE] + theta[kernels.SILICON]
    return {
        "cell_capacity": lithium_hi - lithium_lo,
        "pe_lo": float((offset + lithium_lo) / positive),
        "pe_hi": float((offset + lithium_hi) / positive),
        "ne_lo": float(lithium_lo / negative),
        "ne_hi": float(lithium_hi / negative),
    }


def _lithium_at_cutoffs(
    theta: FloatArray, curve: _Curve, tables: PotentialTables, window: tuple[float, float]
) -> tuple[float, float]:
    """Return the NE's lithium [Ah] where the model has 2.5 V under load and 4.2 V at rest."""
    lithium = theta[kernels.GRAPHITE] * tables.graphite + theta[kernels.SILICON] * tables.silicon
    passed = lithium[0] - lithium
    at = theta.copy()
    at[kernels.LITHIUM] = lithium[0]
    loaded, rest = np.empty_like(passed), np.empty_like(passed)
    kernels.evaluate(at, passed, abs(curve.current), tables, loaded, _NO_JACOBIAN)
    kernels.evaluate(at, passed, 0.0, tables, rest, _NO_JACOBIAN)
    found = (np.interp(-window[0], -loaded, lithium), np.interp(-window[1], -rest, lithium))
    return float(found[0]), float(found[1])


def _kept(curve: _Curve, fitted: FloatArray, points: int) -> FloatArray:
    """Return (3, point): charge since the beginning, measured and fitted voltage of some samples.

    They are spread evenly over the charge, both ends included; NaN after the last if there are
    fewer samples than points.
    """
    wanted = np.searchsorted(curve.charge, np.linspace(0, curve.charge[-1], points))
    chosen = np.unique(np.minimum(wanted, len(curve.charge) - 1))
    if len(curve.charge) <= points:
        chosen = np.arange(len(curve.charge))
    charge, voltage, model = curve.charge[chosen], curve.voltage[chosen], fitted[chosen]
    kept = np.full((3, points), np.nan)
    kept[:, : len(chosen)] = charge, voltage, model
    if curve.on_charge:
        kept[:, : len(chosen)] = kept[:, : len(chosen)][:, ::-1]
        kept[0] = curve.charge[-1] - kept[0]
    return kept


# ---- results ------------------------------------------------------------------------------------


def _quantities(fit: _Fit, half: _HalfCells) -> tuple[dict[str, float], dict[str, float]]:
    """Return the fitted quantities and their standard errors; the inventory is among them."""
    theta = fit.theta
    unit = np.eye(kernels.N_PARAMETERS)
    graphite, silicon = theta[kernels.GRAPHITE], theta[kernels.SILICON]
    negative = graphite + silicon
    share = graphite / negative
    both = unit[kernels.GRAPHITE] + unit[kernels.SILICON]
    gradients = {
        "pe_capacity": (theta[kernels.POSITIVE], unit[kernels.POSITIVE]),
        "ne_capacity": (negative, both),
        "ne_gr_capacity": (graphite, unit[kernels.GRAPHITE]),
        "ne_si_capacity": (silicon, unit[kernels.SILICON]),
        "electrode_offset": (theta[kernels.OFFSET], unit[kernels.OFFSET]),
        "gr_frac": (share, (unit[kernels.GRAPHITE] - share * both) / negative),
        "resistance_c10": (theta[kernels.RESISTANCE], unit[kernels.RESISTANCE]),
        "inventory": (
            theta[kernels.POSITIVE] - theta[kernels.OFFSET],
            unit[kernels.POSITIVE] - unit[kernels.OFFSET],
        ),
    }  # fmt: skip
    values, errors = {}, {}
    for name, (value, gradient) in gradients.items():
        variance = float(gradient @ fit.covariance @ gradient)
        known = half.composite or name not in _PHASES
        values[name] = float(value) if known else np.nan
        errors[name] = float(np.sqrt(variance)) if known and variance > 0 else np.nan
    return values, errors


def _modes(
    now: dict[str, float],
    now_se: dict[str, float],
    first: dict[str, float],
    first_se: dict[str, float],
    capacity: float,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return LLI and LAM against the first check-up, and their standard errors (delta method)."""
    if now is first:
        zeros = {
            name: 0.0 if name == "lli" or np.isfinite(first[_LOST[name]]) else np.nan
            for name in _MODES
        }
        return zeros, zeros
    values = {"lli": (first["inventory"] - now["inventory"]) / capacity}
    errors = {"lli": float(np.hypot(first_se["inventory"], now_se["inventory"])) / capacity}
    for mode, name in _LOST.items():
        usable = first[name] > 0
        left = now[name] / first[name] if usable else np.nan
        values[mode] = 1 - left
        errors[mode] = (
            float(np.hypot(now_se[name], left * first_se[name]) / first[name]) if usable else np.nan
        )
    return values, errors


def _dataset(
    shape: tuple[int, int],
    found: Iterable[list[tuple[int, _Fit | int]]],
    half: _HalfCells,
    options: DmaOptions,
) -> xr.Dataset:
    columns = _columns()
    table = {name: np.full(shape, np.nan) for name in columns}
    kept = np.full((len(_CURVES), *shape, options.points), np.nan)
    flags = np.full(shape, FLAGS["no_curve"] | FLAGS["no_reference"])
    for row, fits in enumerate(found):
        first: tuple[dict[str, float], dict[str, float], float] | None = None
        for rpt, fit in fits:
            if not isinstance(fit, _Fit):
                if flags[row, rpt] & FLAGS["no_curve"]:
                    flags[row, rpt] = fit | FLAGS["no_reference"]
                continue
            flags[row, rpt] = fit.flag
            kept[:, row, rpt] = fit.points
            if fit.values["fit_rmse"] > NO_FIT_RMSE:
                flags[row, rpt] |= FLAGS["no_reference"]
                for name in ("fit_rmse", "starts_agreeing"):
                    table[name][row, rpt] = fit.values[name]
                continue
            values, errors = _quantities(fit, half)
            if rpt == 0:
                first = values, errors, fit.values["cell_capacity"]
            if first is None:
                flags[row, rpt] |= FLAGS["no_reference"]
            else:
                modes, modes_se = _modes(values, errors, *first)
                values, errors = values | modes, errors | modes_se
            told = values | fit.values | {f"{name}_se": error for name, error in errors.items()}
            for name in columns:
                table[name][row, rpt] = told.get(name, np.nan)
            if rpt > 0 and first is not None and flags[row, 0]:
                flags[row, rpt] |= FLAGS["reference_doubtful"]
    dims = ("cell", "rpt")
    result = xr.Dataset(
        {
            name: (dims, table[name], {"units": units, "long_name": text})
            for name, (units, text) in columns.items()
        }
    )
    result["quality_flag"] = (
        dims,
        flags.astype(np.int64),
        {
            "units": "1",
            "long_name": "what is wrong with the curve or its fit",
            "flag_masks": list(FLAGS.values()),
            "flag_meanings": " ".join(FLAGS),
        },
    )
    for values_of, (name, (units, text)) in zip(kept, _CURVES.items(), strict=True):
        attrs = {"units": units, "long_name": f"{text}, at some samples of the curve"}
        result[name] = ((*dims, "point"), values_of, attrs)
    return result


def _columns() -> dict[str, tuple[str, str]]:
    with_errors = _FITTED | _MODES
    errors = {
        f"{name}_se": (units, f"standard error of the {text}")
        for name, (units, text) in with_errors.items()
    }
    return with_errors | errors | _OTHERS
