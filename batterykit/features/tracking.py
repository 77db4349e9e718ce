"""Peaks of dQ/dV that keep their names: followed over a cell's ageing, matched between cells.

Pure functions of what `ica.analyse` found in each curve by itself; no I/O.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from batterykit.features.options import IcaOptions

NO_TRACK = -1

PEAK_COLUMNS = {
    "voltage": ("V", "voltage of the peak"),
    "height": ("Ah/V", "dQ/dV at the peak"),
    "prominence": ("Ah/V", "height of the peak above the higher of its two valleys"),
    "width": ("V", "full width of the peak at half its prominence"),
    "area": ("Ah", "charge between the minima on both sides of the peak"),
}
"""What is known of a peak: name -> unit and meaning, in the order of the kernel's columns."""


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
    values = {name: analysed[f"candidate_{name}"].values for name in PEAK_COLUMNS}
    number = np.full((n, n_candidates), NO_TRACK)
    for group in _groups(analysed, ["direction", "protocol"]):
        number[group] = _number_peaks(
            analysed.isel(curve=group), values["voltage"][group], _weights(analysed, group), options
        )
    result = analysed.drop_dims("peak", errors="ignore")
    curve, candidate = np.nonzero(number != NO_TRACK)
    for name, (units, text) in PEAK_COLUMNS.items():
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
