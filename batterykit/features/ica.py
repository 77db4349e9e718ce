"""Incremental capacity analysis: dQ/dV of slow curves and its peaks, tracked over ageing.

Curves in, one dataset out; pure, no I/O. `analyse` works on each curve by itself (that is what the
cache keeps), `track_peaks` gives the peaks their names from all curves together, `ica` does both.
The numbers are made in `kernels`; here they get names, units and an identity.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batterykit.features import kernels
from batterykit.features.options import IcaOptions
from batterykit.progress import no_track

if TYPE_CHECKING:
    from batterykit.progress import Track

CURVES_PER_TASK = 8
NO_TRACK = -1
CHOOSE_BY_NOISE = 0.0  # what the kernels take for no kernel width

CURVE_FLAGS = {
    "samples_dropped": kernels.SAMPLES_DROPPED,
    "not_in_order_of_charge": kernels.NOT_IN_ORDER,
    "too_few_samples": kernels.TOO_SHORT,
    "window_not_covered": kernels.WINDOW_UNCOVERED,
    "noise_beyond_kernel": kernels.NOISY,
    "several_current_steps": kernels.SEVERAL_STEPS,
    "peaks_left_out": kernels.PEAKS_LEFT_OUT,
}
"""Bits of `quality_flag`; no finite samples are dropped and no value is made up because of them."""

_PEAK_COLUMNS = {
    "voltage": ("V", "voltage of the peak"),
    "height": ("Ah/V", "dQ/dV at the peak"),
    "prominence": ("Ah/V", "height of the peak above the higher of its two valleys"),
    "width": ("V", "full width of the peak at half its prominence"),
    "area": ("Ah", "charge between the minima on both sides of the peak"),
}
_QUALITY_COLUMNS = {
    "noise": ("V", "standard deviation of the voltage noise"),
    "window_coverage": ("1", "share of the voltage window that the curve covers"),
    "backward_share": ("1", "share of samples that step backwards in voltage"),
    "current_steps": ("1", "number of times that current flows; one for an unbroken curve"),
    "charge_in_window": ("Ah", "charge passed in the voltage window"),
    "kernel_width": ("V", "standard deviation of the smoothing kernel"),
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
        `raw/expt{N}/curves/{kind}`: a contiguous ragged array, dims (curve,) and (sample,).
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
        charge_in_window [Ah]. candidate_* (curve, candidate): voltage [V], height [Ah/V],
        prominence [Ah/V], width [V], area [Ah], in order of voltage, NaN when there are fewer.
        Per curve: noise [V], window_coverage [1], backward_share [1], current_steps [1],
        kernel_width [V] and quality_flag with the bits of `CURVE_FLAGS`. A curve that cannot be
        analysed has NaN and flags, never an exception.
    """
    options = options or IcaOptions()
    low, high = options.window
    n_bins = max(1, round((high - low) / options.grid_step))
    step = (high - low) / n_bins
    n = curves.sizes["curve"]
    starts = np.concatenate([[0], np.cumsum(curves["row_size"].values)]).astype(np.int64)
    voltage, charge, current = (
        np.ascontiguousarray(curves[name].values, dtype=np.float64)
        for name in ("voltage", "charge", "current")
    )
    dqdv = np.empty((n, n_bins))
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
            low,
            step,
            options.kernel_width or CHOOSE_BY_NOISE,
            options.prominence,
            options.significance,
            dqdv[some],
            quality[some],
            flags[some],
            peaks[some],
        )

    tasks = range(0, n, CURVES_PER_TASK)
    with ThreadPoolExecutor(max_workers=threads or os.cpu_count()) as pool:
        for _ in track(pool.map(work, tasks), "dQ/dV of curves", len(tasks)):
            pass

    result = xr.Dataset(coords=_curve_coords(curves))
    result["voltage"] = (
        "voltage",
        low + (np.arange(n_bins) + 0.5) * step,
        {"units": "V", "long_name": "centre of the voltage bin"},
    )
    result["dqdv"] = (
        ("curve", "voltage"),
        dqdv,
        {"units": "Ah/V", "long_name": "differential capacity"},
    )
    for column, (name, (units, text)) in enumerate(_PEAK_COLUMNS.items()):
        attrs = {"units": units, "long_name": f"{text}, before tracking"}
        result[f"candidate_{name}"] = (("curve", "candidate"), peaks[:, :, column], attrs)
    for column, (name, (units, text)) in enumerate(_QUALITY_COLUMNS.items()):
        result[name] = ("curve", quality[:, column], {"units": units, "long_name": text})
    result["quality_flag"] = (
        "curve",
        flags,
        {
            "units": "1",
            "long_name": "what is wrong with the curve",
            "flag_masks": list(CURVE_FLAGS.values()),
            "flag_meanings": " ".join(CURVE_FLAGS),
        },
    )
    return result


def track_peaks(analysed: xr.Dataset, options: IcaOptions | None = None) -> xr.Dataset:
    """Return the dataset with its candidate peaks named: the same peak has the same number.

    Peaks are followed through a cell's check-ups, in their order, by voltage and by their order on
    the voltage axis; heights play no part, so two peaks that cross in height keep their names. The
    tracks of all cells are then matched in the same way, so that a number means the same peak in
    every cell; charge and discharge are numbered by themselves. Of more peaks than wanted the most
    prominent stay. The result depends on the set of curves only, not on their order.

    Parameters
    ----------
    analysed
        From `analyse`.
    options
        `peaks` and `track_tolerance` are used.

    Returns
    -------
    xr.Dataset
        With peak_voltage [V], peak_height [Ah/V], peak_prominence [Ah/V], peak_width [V],
        peak_area [Ah], float64 (curve, peak), numbered from low to high voltage, NaN where absent;
        peak_present, bool (curve, peak).
    """
    options = options or IcaOptions()
    n, n_candidates = analysed["candidate_voltage"].shape
    values = {name: analysed[f"candidate_{name}"].values for name in _PEAK_COLUMNS}
    number = np.full((n, n_candidates), NO_TRACK)
    for group in _groups(analysed, ["direction", "protocol"]):
        number[group] = _number_peaks(
            analysed.isel(curve=group), values["voltage"][group], _weights(analysed, group), options
        )
    result = analysed.drop_dims("peak", errors="ignore")
    curve, candidate = np.nonzero(number != NO_TRACK)
    for name, (units, text) in _PEAK_COLUMNS.items():
        named = np.full((n, options.peaks), np.nan)
        named[curve, number[curve, candidate]] = values[name][curve, candidate]
        result[f"peak_{name}"] = (("curve", "peak"), named, {"units": units, "long_name": text})
    result["peak"] = (
        "peak",
        np.arange(options.peaks),
        {"long_name": "number of the peak, by voltage, for each direction of current by itself"},
    )
    result["peak_present"] = (
        ("curve", "peak"),
        np.isfinite(result["peak_voltage"].values),
        {"units": "1", "long_name": "the peak was found; where not, its values are NaN"},
    )
    return result


@dataclass
class _Track:
    """One peak of one cell through its check-ups."""

    places: list[tuple[int, int]]  # (curve, candidate) where it was found
    fresh: float  # [V] where it is, or would have been, at the cell's first check-up
    now: float  # [V] where it is, or is expected while absent, at the newest check-up


def _number_peaks(
    analysed: xr.Dataset, voltage: np.ndarray, weight: np.ndarray, options: IcaOptions
) -> np.ndarray:
    """Return the number of each candidate (curve, candidate), -1 for those left out."""
    slots: list[list[_Track]] = []
    rpt = analysed["rpt"].values
    for group in _groups(analysed, ["cell"]):
        in_order = group[np.argsort(rpt[group], kind="stable")]
        tracks = sorted(
            _follow(voltage, in_order, options.track_tolerance), key=lambda track: track.fresh
        )
        pairs = align([t.fresh for t in tracks], _means(slots), options.track_tolerance)
        matched = dict(pairs)
        for k, track in enumerate(tracks):
            if k in matched:
                slots[matched[k]].append(track)
            else:
                slots.append([track])
        slots = [slots[k] for k in np.argsort(_means(slots), kind="stable")]

    prominent = [sum(weight[place] for t in slot for place in t.places) for slot in slots]
    kept = np.sort(np.argsort(-np.asarray(prominent), kind="stable")[: options.peaks])
    number = np.full(voltage.shape, NO_TRACK)
    for name, slot in enumerate(kept):
        for track in slots[slot]:
            for place in track.places:
                number[place] = name
    return number


def _means(slots: list[list[_Track]]) -> list[float]:
    return [float(np.mean([track.fresh for track in slot])) for slot in slots]


def _follow(voltage: np.ndarray, curves: np.ndarray, tolerance: float) -> list[_Track]:
    """Return the tracks of one cell, whose curves are given in order of age.

    A peak that is absent for a while, or appears late, is taken to have moved with its neighbours.
    """
    tracks: list[_Track] = []
    for curve in curves:
        found = voltage[curve][np.isfinite(voltage[curve])]
        before = np.array([track.now for track in tracks])
        pairs = align(before, found, tolerance)
        old, new = [k for k, _ in pairs], [k for _, k in pairs]
        moved = found[new] - before[old]
        aged = found[new] - np.array([tracks[k].fresh for k in old])
        matched = dict(pairs)
        for k, track in enumerate(tracks):
            if k in matched:
                track.places.append((int(curve), matched[k]))
                track.now = float(found[matched[k]])
            elif pairs:
                track.now += float(np.interp(before[k], before[old], moved))
        for k in sorted(set(range(len(found))) - set(new)):
            shift = float(np.interp(found[k], found[new], aged)) if pairs else 0.0
            tracks.append(_Track([(int(curve), k)], float(found[k]) - shift, float(found[k])))
        tracks.sort(key=lambda track: track.now)
    return tracks


def align(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray, tolerance: float
) -> list[tuple[int, int]]:
    """Match two ascending lists of voltages, keeping their order, by the least total distance.

    A pair costs its distance, a voltage left alone half the tolerance: so no pair lies farther
    apart than the tolerance [V], and the solution is found exactly by dynamic programming
    (Needleman & Wunsch, J. Mol. Biol. 48 (1970) 443).

    Returns
    -------
    list of (int, int)
        Indices into `before` and `after`, ascending.
    """
    n, m = len(before), len(after)
    alone = 0.5 * tolerance
    cost = np.zeros((n + 1, m + 1))
    cost[:, 0] = alone * np.arange(n + 1)
    cost[0, :] = alone * np.arange(m + 1)
    distance = np.abs(np.subtract.outer(np.asarray(before), np.asarray(after)))
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            cost[i, j] = min(
                cost[i - 1, j - 1] + distance[i - 1, j - 1],
                cost[i - 1, j] + alone,
                cost[i, j - 1] + alone,
            )
    pairs = []
    i, j = n, m
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + distance[i - 1, j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + alone:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _groups(analysed: xr.Dataset, names: list[str]) -> list[np.ndarray]:
    """Return the indices of the curves that agree in these coordinates, in sorted order."""
    keys: list[tuple[Hashable, ...]] = list(
        zip(*(analysed[name].values.tolist() for name in names if name in analysed), strict=True)
    )
    return [
        np.array([k for k, key in enumerate(keys) if key == wanted])
        for wanted in sorted(set(keys), key=str)
    ]


def _weights(analysed: xr.Dataset, group: np.ndarray) -> np.ndarray:
    """Return each candidate's prominence as a share of its curve's largest: (curve, candidate)."""
    prominence = np.nan_to_num(analysed["candidate_prominence"].values[group])
    largest = prominence.max(axis=1, keepdims=True, initial=0.0)
    share: np.ndarray = np.divide(
        prominence, largest, out=np.zeros_like(prominence), where=largest > 0
    )
    return share


def _curve_coords(curves: xr.Dataset) -> dict[str, xr.Variable]:
    names = ("cell", "rpt", "direction", "protocol", "experiment", "content_hash")
    return {name: curves[name].variable for name in names if name in curves.variables}
