"""Incremental capacity analysis: dQ/dV of slow curves and its peaks, tracked over ageing.

Curves in, one dataset out; pure, no I/O. `analyse` works on each curve by itself (that is what the
cache keeps), `track_peaks` gives the peaks their names from all curves together, `ica` does both.
The numbers are made in `kernels`; here they get names, units and an identity.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batterykit.errors import UsageError
from batterykit.features import kernels
from batterykit.features.options import IcaOptions
from batterykit.features.resistance import refine
from batterykit.features.tracking import PEAK_COLUMNS, track_peaks
from batterykit.progress import no_track

if TYPE_CHECKING:
    from batterykit.progress import Track

CURVES_PER_TASK = 6

CURVE_FLAGS = {
    "samples_dropped": kernels.SAMPLES_DROPPED,
    "not_in_order_of_charge": kernels.NOT_IN_ORDER,
    "too_few_samples": kernels.TOO_SHORT,
    "window_not_covered": kernels.WINDOW_UNCOVERED,
    "dqdv_doubtful": kernels.DOUBTFUL,
    "several_current_steps": kernels.SEVERAL_STEPS,
    "peaks_left_out": kernels.PEAKS_LEFT_OUT,
    "no_resistance": kernels.NO_RESISTANCE,
}
"""Bits of `quality_flag`; no finite samples are dropped and no value is made up because of them."""

_QUALITY_COLUMNS = {
    "noise": ("V", "standard deviation of the voltage noise"),
    "window_coverage": ("1", "share of the voltage window that the curve covers"),
    "backward_share": ("1", "share of samples that step backwards in voltage"),
    "current_steps": (
        "1",
        "times that current flows anew or at another level; one for an unbroken curve",
    ),
    "charge_in_window": ("Ah", "charge passed in the voltage window"),
    "kernel_width": ("Ah", "mean standard deviation of the smoothing kernels"),
    "charge_passed": ("Ah", "charge passed in the whole curve"),
}


def ica(
    curves: xr.Dataset,
    options: IcaOptions | None = None,
    *,
    threads: int | None = None,
    track: Track = no_track,
) -> xr.Dataset:
    """Return dQ/dV of curves and its peaks, tracked over each cell's check-ups.

    Parameters
    ----------
    curves
        `raw/expt{N}/curves/{kind}`: a contiguous ragged array, dims (curve,) and (sample,); to
        correct the ohmic drop also resistance (curve, soc) [Ohm] on even steps from empty to full.
    options
        Window, grid, smoothing and peaks.
    threads
        How many threads to share the curves among; all processors when None. The result is the
        same with any number.
    track
        Progress.

    Returns
    -------
    xr.Dataset
        Dims (curve, voltage), (curve, candidate) and (curve, peak); see `analyse` and
        `track_peaks`.
    """
    return track_peaks(analyse(curves, options, threads=threads, track=track), options)


def analyse(
    curves: xr.Dataset,
    options: IcaOptions | None = None,
    *,
    threads: int | None = None,
    track: Track = no_track,
) -> xr.Dataset:
    """Return dQ/dV, candidate peaks and quality of each curve by itself.

    Parameters
    ----------
    curves, options, threads, track
        As for `ica`.

    Returns
    -------
    xr.Dataset
        dqdv (curve, voltage) [Ah/V] at the centres of the voltage bins, positive for charge and
        discharge alike, NaN where the curve has no samples; its sum times the bin width is
        charge_in_window [Ah], where there is any. dvdq (curve, depth) [V/Ah], positive too, at the
        middles of equal steps of the curve's charge from the smallest count, with charge
        (curve, depth) [Ah] beside it. candidate_*
        (curve, candidate): voltage [V], height [Ah/V], prominence [Ah/V], width [V], area [Ah], in
        order of voltage, NaN when there are fewer. Per curve: noise [V], window_coverage [1],
        backward_share [1], current_steps [1], kernel_width [Ah], charge_passed [Ah] and
        quality_flag with the bits of `CURVE_FLAGS`. A curve that cannot be analysed has NaN and
        flags, never an exception.

    Raises
    ------
    UsageError
        The ohmic drop is to be corrected and the curves come without resistance.
    """
    options = options or IcaOptions()
    if options.ir_correct and "resistance" not in curves:
        raise UsageError(
            "the curves have no resistance to correct the ohmic drop with",
            fix="add the variable 'resistance' (curve, soc) in Ohm, or set ir_correct to False",
        )
    low, high = options.window
    n_bins = max(1, round((high - low) / options.grid_step))
    step = (high - low) / n_bins
    n = curves.sizes["curve"]
    starts = np.concatenate([[0], np.cumsum(curves["row_size"].values)]).astype(np.int64)
    voltage, charge, current = (
        np.ascontiguousarray(curves[name].values, dtype=np.float64)
        for name in ("voltage", "charge", "current")
    )
    resistance = np.empty((0, 0))
    if options.ir_correct:
        resistance = refine(curves["resistance"].values)
    widths = kernels.NARROWEST * kernels.WIDER ** np.arange(kernels.KERNELS)
    if options.kernel_width is not None:
        widths = np.array([options.kernel_width])
    slopes, spreads = kernels.kernel_weights(options.charge_steps, widths)
    dqdv, dvdq = np.empty((n, n_bins)), np.empty((n, options.charge_steps))
    quality = np.empty((n, kernels.N_QUALITY))
    flags = np.zeros(n, dtype=np.int64)
    peaks = np.empty((n, kernels.MOST_CANDIDATES, kernels.N_PEAK))

    def work(first: int) -> None:
        some = slice(first, min(first + CURVES_PER_TASK, n))
        kernels.analyse_curves(
            voltage,
            charge,
            current,
            starts[some.start : some.stop + 1],
            resistance[some],
            widths,
            slopes,
            spreads,
            low,
            step,
            options.prominence,
            options.significance,
            dqdv[some],
            dvdq[some],
            quality[some],
            flags[some],
            peaks[some],
        )

    tasks = range(0, n, CURVES_PER_TASK)
    with ThreadPoolExecutor(max_workers=threads or os.cpu_count()) as pool:
        for _ in track(pool.map(work, tasks), "dQ/dV of curves", len(tasks)):
            pass

    grid = low + (np.arange(n_bins) + 0.5) * step
    return _described(curves, grid, dqdv, dvdq, quality, flags, peaks)


def _described(
    curves: xr.Dataset,
    grid: np.ndarray,
    dqdv: np.ndarray,
    dvdq: np.ndarray,
    quality: np.ndarray,
    flags: np.ndarray,
    peaks: np.ndarray,
) -> xr.Dataset:
    """Return what the kernels found, with names and units."""
    by_curve = {name: quality[:, column] for column, name in enumerate(_QUALITY_COLUMNS)}
    depth = (np.arange(dvdq.shape[1]) + 0.5) / dvdq.shape[1]
    charge = by_curve["charge_passed"][:, None] * depth
    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]] = {
        "voltage": (("voltage",), grid, _said("V", "centre of the voltage bin")),
        "dqdv": (("curve", "voltage"), dqdv, _said("Ah/V", "differential capacity")),
        "depth": (
            ("depth",),
            depth,
            _said("1", "share of the curve's charge that has passed"),
        ),
        "charge": (
            ("curve", "depth"),
            charge,
            _said("Ah", "charge passed since the start of the curve"),
        ),
        "dvdq": (("curve", "depth"), dvdq, _said("V/Ah", "differential voltage")),
    }
    for column, (name, (units, text)) in enumerate(PEAK_COLUMNS.items()):
        said = _said(units, f"{text}, before tracking")
        variables[f"candidate_{name}"] = (("curve", "candidate"), peaks[:, :, column], said)
    for name, (units, text) in _QUALITY_COLUMNS.items():
        variables[name] = (("curve",), by_curve[name], _said(units, text))
    meanings = {
        "flag_masks": list(CURVE_FLAGS.values()),
        "flag_meanings": " ".join(CURVE_FLAGS),
    }
    said = _said("1", "what is wrong with the curve")
    variables["quality_flag"] = (("curve",), flags, said | meanings)
    return xr.Dataset(variables, coords=_curve_coords(curves))  # all at once: ten times faster


def _said(units: str, text: str) -> dict[str, Any]:
    return {"units": units, "long_name": text}


def _curve_coords(curves: xr.Dataset) -> dict[str, xr.Variable]:
    names = (
        "cell",
        "rpt",
        "direction",
        "protocol",
        "experiment",
        "content_hash",
        "resistance_source",
    )
    return {name: curves[name].variable for name in names if name in curves.variables}
