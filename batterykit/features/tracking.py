"""Peaks of dQ/dV that keep their names: over a cell's ageing, between cells, between data sets.

Pure functions of what `ica.analyse` found in each curve by itself; no I/O. Heights and areas play
no part in which peak is which: two peaks that cross in height never swap.

**Templates.** A name belongs to a peak of a template: a list of voltages of a fresh cell. For the
LG M50 it is a constant (`LG_M50`), so that the name of a peak depends on the cell's own curves
only. Whether a cell is of that chemistry is read from its first check-ups. Cells that are not get
the consensus of the earliest check-ups of all such cells, and after it the peaks that appear later.

**Following.** Peaks that the graphite makes move together when a cell loses lithium, because its
electrodes slip against each other; peaks near the top of charge stay. So a peak is expected at::

    template + mobility * slip + deviation

`slip` is the cell's at that check-up and carries the peaks that are out of sight as well;
`deviation`, the peak's own, is learned slowly. Expected and found voltages are matched in their
order by dynamic programming: a pair costs its distance and its difference in distance from the
pair before it, and gains the tolerance (less for names that are faint in the template, so that a
ripple does not take the place of a peak). A curve of an aged cell thus gets the right names without
the check-ups before it, in nearly all cases.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from numba import njit

from batterykit.features.options import IcaOptions

NO_NAME = -1

PEAK_COLUMNS = {
    "voltage": ("V", "voltage of the peak"),
    "height": ("Ah/V", "dQ/dV at the peak"),
    "prominence": ("Ah/V", "height of the peak above the higher of its two valleys"),
    "width": ("V", "full width of the peak at half its prominence"),
    "area": ("Ah", "charge between the minima on both sides of the peak"),
}
"""What is known of a peak: name -> unit and meaning, in the order of the kernel's columns."""


class ReferencePeak(NamedTuple):
    """A peak of a fresh cell.

    Attributes
    ----------
    voltage
        At C/10 [V]; where there are a computed and a measured reference, the computed.
    prominence
        [Ah/V].
    mobility
        How far it moves when the cell loses lithium, relative to the graphite peaks [1].
    measured
        Voltage in the measured reference [V]; NaN where that does not show the peak.
    broad
        So broad that its voltage tells little.
    """

    voltage: float
    prominence: float
    mobility: float
    measured: float = math.nan
    broad: bool = False


LG_M50: Mapping[str, tuple[ReferencePeak, ...]] = {
    "discharge": (
        ReferencePeak(3.134, 0.04, 1.00, 3.110, broad=True),  # silicon
        ReferencePeak(3.358, 0.58, 1.00, 3.371),
        ReferencePeak(3.430, 3.94, 1.00, 3.453),  # graphite
        ReferencePeak(3.487, 0.24, 1.00),
        ReferencePeak(3.546, 1.34, 1.00),
        ReferencePeak(3.597, 0.04, 0.75),
        ReferencePeak(3.616, 0.03, 1.00),
        ReferencePeak(3.634, 0.32, 1.00, 3.599),
        ReferencePeak(3.811, 0.85, 0.50, 3.782),
        ReferencePeak(3.921, 0.18, 1.00, 3.885),
        ReferencePeak(4.060, 17.6, 0.00, 4.060),
    ),
    "charge": (
        ReferencePeak(3.465, 1.78, 1.00),
        ReferencePeak(3.583, 0.12, 1.00),
        ReferencePeak(3.654, 5.45, 0.75),
        ReferencePeak(3.931, 1.79, 0.50),
        ReferencePeak(4.127, 9.70, 0.00),
    ),
}
"""Peaks of the fresh LG M50 at C/10, for each direction of current.

Discharge: all maxima of prominence 0.02 Ah/V of `halfcell.simulate_discharge` for the mean cell of
the record; mobility is the slope of a peak's voltage against that of the graphite peak while the
mean cell loses up to 10 % of its lithium, as long as the peak is there, and 1 at most. Charge: the
half-cell potentials are those of discharge, so the peaks are measured ones (`ica.analyse` of the
record's Expt 2,2, cell C, RPT 0; Kirkaldy et al., J. Power Sources 603 (2024) 234185), and the
mobilities those of the discharge peaks nearest by.
"""

# What follows was chosen on the twin (seeds 0, 1, 2; 40 cells, 511 curves each, noise 0.2-1 mV)
# and is not sensitive.
DISTANCE_COST = 0.5  # [1] of a pair, per volt of its distance
STRAIN_COST = 0.6  # [1] of two pairs in a row, per volt of difference in distance
BROAD_SHARE = 0.25  # [1] of these costs, for a broad peak
SLIP_COST = 0.2  # [1] of a trial slip, per volt
FIRST_SLIPS = np.arange(-6, 17) * 0.01  # [V] tried for a cell's first curve: LLI to about 20 %
NEXT_SLIPS = np.array([-0.01, 0.0, 0.01])  # [V] tried between two check-ups
MOVING = 0.75  # [1] least mobility of a peak that tells the slip
MEMORY = 0.25  # [1] share of what is new in a peak's deviation
FULL_PROMINENCE = 0.3  # [Ah/V] in the template, from which on a name has full weight
FAINT_WEIGHT = 0.4  # [1] least weight of a name
FULL_PRESENCE = 0.5  # [1] share of curves with the peak from which on its name has full weight

FEWEST_KNOWN = 4  # peaks of the reference, its most prominent among them, tell a chemistry
EXPLAINED_SHARE = 0.85  # [1] of the peaks found: that many must be of the reference
CHECK_UPS_TO_TELL = 3  # the first ones; one of them is enough


def track_peaks(analysed: xr.Dataset, options: IcaOptions | None = None) -> xr.Dataset:
    """Return the dataset with its candidate peaks named: the same peak has the same number.

    Charge and discharge are numbered by themselves. For cells of a known chemistry (`LG_M50`) a
    number stands for a peak of the reference, whatever other cells there are: of the reference's
    peaks the `peaks` most prominent are numbered, from low to high voltage; others found stay
    unnamed (they are still among the candidates). Other cells are numbered by their consensus,
    of which the most prominent peaks stay. The result does not depend on the order of the curves.

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
        peak_present, bool (curve, peak); peak_reference [V], float64 (curve, peak): where the peak
        of that number is in the fresh cell of the template, NaN for numbers that are not in use.
    """
    options = options or IcaOptions()
    order = np.argsort(analysed["candidate_voltage"].values, axis=1, kind="stable")
    values = {
        name: np.take_along_axis(analysed[f"candidate_{name}"].values, order, axis=1)
        for name in PEAK_COLUMNS
    }
    n = len(order)
    number = np.full(order.shape, NO_NAME)
    reference = np.full((n, options.peaks), np.nan)
    for group in _groups(analysed, ["direction", "protocol"]):
        direction = str(analysed["direction"].values[group[0]]) if "direction" in analysed else ""
        cells = _cells(analysed, group)
        _name_peaks(values, cells, LG_M50.get(direction, ()), options, number, reference)

    curve, candidate = np.nonzero(number != NO_NAME)
    peaks: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]] = {}
    for name, (units, text) in PEAK_COLUMNS.items():
        named = np.full((n, options.peaks), np.nan)
        named[curve, number[curve, candidate]] = values[name][curve, candidate]
        peaks[f"peak_{name}"] = (("curve", "peak"), named, {"units": units, "long_name": text})
    text = "voltage of the peak of this number in the fresh cell that gives the names"
    peaks["peak_reference"] = (("curve", "peak"), reference, {"units": "V", "long_name": text})
    text = "the peak was found; where not, its values are NaN"
    present = np.isfinite(peaks["peak_voltage"][1])
    peaks["peak_present"] = (("curve", "peak"), present, {"units": "1", "long_name": text})
    unnamed = np.isfinite(values["voltage"]).sum(axis=1) - present.sum(axis=1)
    text = "peaks that were found and bear no number"
    peaks["peaks_unnamed"] = (("curve",), unnamed, {"units": "1", "long_name": text})
    text = "number of the peak, by voltage, for each direction of current by itself"
    peaks["peak"] = (("peak",), np.arange(options.peaks), {"long_name": text})
    return analysed.drop_dims("peak", errors="ignore").assign(peaks)


class _Template(NamedTuple):
    """What is looked for; arrays (name,), by voltage."""

    voltage: np.ndarray  # (variant, name) [V]: the variant that fits a cell best is used
    mobility: np.ndarray
    weight: np.ndarray
    give: np.ndarray  # share of the costs of distance
    slips: np.ndarray  # [V] to try at first
    next_slips: np.ndarray  # [V] to try then
    memory: float
    sway: float  # share of their neighbours' deviations that peaks follow


def _reference_template(peaks: Sequence[ReferencePeak]) -> _Template:
    prominence = np.array([peak.prominence for peak in peaks])
    return _Template(
        voltage=_variants(peaks),
        mobility=np.array([peak.mobility for peak in peaks]),
        weight=np.clip(prominence / FULL_PROMINENCE, FAINT_WEIGHT, 1.0),
        give=np.array([BROAD_SHARE if peak.broad else 1.0 for peak in peaks]),
        slips=FIRST_SLIPS,
        next_slips=NEXT_SLIPS,
        memory=MEMORY,
        sway=0.0,
    )


def _variants(peaks: Sequence[ReferencePeak]) -> np.ndarray:
    """Return the computed voltages and the measured ones, where there are any: (variant, name)."""
    computed = np.array([peak.voltage for peak in peaks])
    measured = np.array([peak.measured for peak in peaks])
    there = np.isfinite(measured)
    if not there.any():
        return computed[None]
    apart = np.interp(computed, computed[there], (measured - computed)[there])
    return np.stack([computed, computed + apart])


def _free_template(voltage: np.ndarray, weight: np.ndarray) -> _Template:
    """Return a template of peaks of which nothing is known but where they are."""
    none = np.zeros(1)
    still = np.zeros(len(voltage))
    return _Template(voltage[None], still, weight, still + 1.0, none, none, memory=1.0, sway=1.0)


def _name_peaks(
    values: Mapping[str, np.ndarray],
    cells: Sequence[np.ndarray],
    known: Sequence[ReferencePeak],
    options: IcaOptions,
    number: np.ndarray,
    reference: np.ndarray,
) -> None:
    """Fill the numbers and their reference voltages for the curves of these cells, in place."""
    voltage = values["voltage"]
    others = list(cells)
    if known:
        template = _reference_template(known)
        prominence = np.array([peak.prominence for peak in known])
        kept = _most(prominence, options.peaks)
        others = []
        for curves in cells:
            names, _ = _follow(voltage[curves], *template, options.track_tolerance)
            if _recognised(names, voltage[curves], known):
                number[curves] = _renumber(names, kept)
                reference[curves, : len(kept)] = template.voltage[0, kept]
            else:
                others.append(curves)
    if others:
        template = _consensus(voltage, others, options.track_tolerance)
        followed = [
            _follow(voltage[curves], *template, options.track_tolerance)[0] for curves in others
        ]
        prominence = np.zeros(len(template.weight))
        for curves, names in zip(others, followed, strict=True):
            share = _shares(values["prominence"][curves])
            np.add.at(prominence, names[names != NO_NAME], share[names != NO_NAME])
        kept = _most(prominence, options.peaks)
        kept = kept[prominence[kept] > 0]
        for curves, names in zip(others, followed, strict=True):
            number[curves] = _renumber(names, kept)
            reference[curves, : len(kept)] = template.voltage[0, kept]


def _recognised(names: np.ndarray, voltage: np.ndarray, known: Sequence[ReferencePeak]) -> bool:
    """Tell whether one of the cell's first check-ups shows the peaks of the reference."""
    landmark = int(np.argmax([peak.prominence for peak in known]))
    candidates = np.isfinite(voltage).sum(axis=1)
    first = np.flatnonzero(candidates)[:CHECK_UPS_TO_TELL]
    found = (names[first] != NO_NAME).sum(axis=1)
    return bool(
        np.any(
            (found >= FEWEST_KNOWN)
            & (found >= EXPLAINED_SHARE * candidates[first])
            & (names[first] == landmark).any(axis=1)
        )
    )


def _consensus(voltage: np.ndarray, cells: Sequence[np.ndarray], tolerance: float) -> _Template:
    """Return the peaks of the cells' earliest check-ups, and those that appear later."""
    earliest = [found for found in (_first(voltage[curves]) for curves in cells) if len(found)]
    start, _ = _slots(earliest, tolerance)
    template = _free_template(start, np.ones(len(start)))
    seen = np.zeros(len(start))
    late: list[np.ndarray] = []
    for curves in cells:
        names, now = _follow(voltage[curves], *template, tolerance)
        np.add.at(seen, names[names != NO_NAME], 1.0)
        for row, name in enumerate(names):
            found = voltage[curves[row]][(name == NO_NAME) & np.isfinite(voltage[curves[row]])]
            if len(found):
                moved = np.interp(found, now[row], now[row] - start) if len(start) else 0.0
                late.append(np.sort(found - moved))
    appeared, times = _slots(late, tolerance)
    every, presence = np.concatenate([start, appeared]), np.concatenate([seen, times])
    order = np.argsort(every, kind="stable")
    # the weight keeps what was seen a few times from taking the place of a peak that is there
    share = presence[order] / max(1, sum(map(len, cells)))
    return _free_template(every[order], np.clip(share / FULL_PRESENCE, FAINT_WEIGHT, 1.0))


def _first(voltage: np.ndarray) -> np.ndarray:
    """Return the peaks of the first check-up that has any."""
    has = np.flatnonzero(np.isfinite(voltage[:, :1]).any(axis=1))
    row = voltage[has[0]] if len(has) else np.empty(0)
    return row[np.isfinite(row)]


def _slots(lists: Sequence[np.ndarray], tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean voltages of the peaks in lists of voltages, and how many lists have each."""
    total, count = np.empty(0), np.empty(0)
    for found in lists:
        pairs = align(total / count, found, tolerance)
        old, new = [k for k, _ in pairs], [k for _, k in pairs]
        total[old] += found[new]
        count[old] += 1
        more = np.setdiff1d(np.arange(len(found)), new)
        total = np.concatenate([total, found[more]])
        count = np.concatenate([count, np.ones(len(more))])
        order = np.argsort(total / count, kind="stable")
        total, count = total[order], count[order]
    return total / count, count


def _most(prominence: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the most prominent peaks, ascending."""
    return np.sort(np.argsort(-prominence, kind="stable")[:count])


def _renumber(names: np.ndarray, kept: np.ndarray) -> np.ndarray:
    table = np.full(max(names.max(initial=0), kept.max(initial=0)) + 2, NO_NAME)
    table[kept] = np.arange(len(kept))
    number: np.ndarray = table[names]  # NO_NAME picks the last, which is NO_NAME
    return number


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
    expected, found = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    ones = np.ones(len(expected))
    partner, _ = _match(expected, ones, ones, found, tolerance, 1.0, 0.0)
    return [(k, int(other)) for k, other in enumerate(partner) if other != NO_NAME]


@njit(cache=True, nogil=True)
def _match(
    expected: np.ndarray,
    weight: np.ndarray,
    give: np.ndarray,
    found: np.ndarray,
    tolerance: float,
    distance_cost: float,
    strain_cost: float,
) -> tuple[np.ndarray, float]:
    """Match expected to found voltages in their order at the least cost, exactly.

    A pair of distance d costs ``distance_cost |d| - weight tolerance``, and two pairs in a row
    ``strain_cost`` times the difference of their distances; no pair is farther apart than the
    tolerance. Returns for each expected peak the index of the one found, or -1, and the cost.
    """
    n, m = len(expected), len(found)
    left, right = np.empty(n * m, np.int64), np.empty(n * m, np.int64)
    moved, best = np.empty(n * m), np.empty(n * m)
    before = np.full(n * m, NO_NAME)
    pairs, last, lowest = 0, NO_NAME, 0.0
    for i in range(n):
        for j in range(m):
            distance = found[j] - expected[i]
            if not abs(distance) <= tolerance:
                continue
            k = pairs
            left[k], right[k], moved[k] = i, j, distance
            cost = 0.0
            for p in range(k):
                if left[p] < i and right[p] < j:
                    strain = strain_cost * min(give[left[p]], give[i])
                    total = best[p] + strain * abs(distance - moved[p])
                    if total < cost:
                        cost, before[k] = total, p
            best[k] = cost + distance_cost * give[i] * abs(distance) - weight[i] * tolerance
            if best[k] < lowest:
                lowest, last = best[k], k
            pairs += 1
    partner = np.full(n, NO_NAME)
    while last != NO_NAME:
        partner[left[last]] = right[last]
        last = before[last]
    return partner, lowest


@njit(cache=True, nogil=True)
def _follow(
    voltage: np.ndarray,
    template: np.ndarray,
    mobility: np.ndarray,
    weight: np.ndarray,
    give: np.ndarray,
    slips: np.ndarray,
    next_slips: np.ndarray,
    memory: float,
    sway: float,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Follow one cell's peaks through its check-ups.

    Parameters
    ----------
    voltage
        Of the peaks found, (check-up, candidate) [V], each row ascending, NaN at its end.
    template, mobility, weight, give, slips, next_slips, memory, sway
        Of the template, see `_Template`.
    tolerance
        [V].

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        The name of each peak, (check-up, candidate), -1 for none; where each name was or was
        expected, (check-up, name) [V].
    """
    n, n_names = len(voltage), len(weight)
    names = np.full(voltage.shape, NO_NAME)
    now = np.empty((n, n_names))
    fresh, deviation, slip = template[0], np.zeros(n_names), 0.0
    seen = np.zeros(n_names)
    started = False
    for k in range(n):
        count = np.isfinite(voltage[k]).sum()
        found = voltage[k, :count]
        expected, partner = fresh + deviation + slip * mobility, np.full(n_names, NO_NAME)
        if count:
            lowest, start, variants = np.inf, slip, 1 if started else len(template)
            for variant in range(variants):
                base = fresh if started else template[variant]
                for trial in next_slips if started else slips:
                    there = base + deviation + (start + trial) * mobility
                    pairs, cost = _match(
                        there, weight, give, found, tolerance, DISTANCE_COST, STRAIN_COST
                    )
                    cost += SLIP_COST * abs(trial)
                    if cost < lowest:
                        lowest, slip, fresh = cost, start + trial, base
                        expected, partner = there, pairs
            started = True
            moved = np.zeros(n_names)
            for i in range(n_names):
                if partner[i] != NO_NAME:
                    moved[i] = found[partner[i]] - expected[i]
                    names[k, partner[i]] = i
            slipped = _slip_of(moved, partner, mobility, give)
            slip += slipped
            moved -= slipped * mobility
            for i in range(n_names):
                deviation[i] += sway * _neighbours(moved, partner, expected, i)
                if partner[i] != NO_NAME:
                    seen[i] += 1.0
                    share = max(memory, 1.0 / (1.0 + seen[i]))
                    own = found[partner[i]] - fresh[i] - slip * mobility[i]
                    deviation[i] += share * (own - deviation[i])
        now[k] = fresh + deviation + slip * mobility
    return names, now


@njit(cache=True, nogil=True)
def _slip_of(
    moved: np.ndarray, partner: np.ndarray, mobility: np.ndarray, give: np.ndarray
) -> float:
    """Return the slip that the moving peaks tell: the median."""
    slips = np.empty(len(moved))
    count = 0
    for i in range(len(moved)):
        if partner[i] != NO_NAME and mobility[i] >= MOVING and give[i] == 1.0:
            slips[count] = moved[i] / mobility[i]
            count += 1
    return float(np.median(slips[:count])) if count else 0.0


@njit(cache=True, nogil=True)
def _neighbours(moved: np.ndarray, partner: np.ndarray, expected: np.ndarray, i: int) -> float:
    """Return how far the peaks on both sides of peak i moved, interpolated to it."""
    low, high = i - 1, i + 1
    while low >= 0 and partner[low] == NO_NAME:
        low -= 1
    while high < len(moved) and partner[high] == NO_NAME:
        high += 1
    if low < 0 and high >= len(moved):
        return 0.0
    if low < 0:
        return float(moved[high])
    if high >= len(moved):
        return float(moved[low])
    apart = expected[high] - expected[low]
    share = (expected[i] - expected[low]) / apart if apart > 0.0 else 0.5
    return float(moved[low] + share * (moved[high] - moved[low]))


def _groups(analysed: xr.Dataset, names: list[str]) -> list[np.ndarray]:
    """Return the indices of the curves that agree in these coordinates, in sorted order."""
    columns = [analysed[name].values.tolist() for name in names if name in analysed]
    members: dict[tuple[Hashable, ...], list[int]] = {}
    for k in range(analysed.sizes["curve"]):
        members.setdefault(tuple(column[k] for column in columns), []).append(k)
    return [np.array(members[key]) for key in sorted(members, key=str)]


def _cells(analysed: xr.Dataset, group: np.ndarray) -> list[np.ndarray]:
    """Return the indices of each cell's curves in order of age, cells in sorted order."""
    cell = analysed["cell"].values[group].tolist()
    rpt = analysed["rpt"].values[group]
    members: dict[str, list[int]] = {}
    for k in np.argsort(rpt, kind="stable").tolist():
        members.setdefault(str(cell[k]), []).append(int(group[k]))
    return [np.array(members[name]) for name in sorted(members)]


def _shares(prominence: np.ndarray) -> np.ndarray:
    """Return each candidate's prominence as a share of its curve's largest: (curve, candidate)."""
    prominence = np.nan_to_num(prominence)
    largest = prominence.max(axis=1, keepdims=True, initial=0.0)
    share: np.ndarray = np.divide(
        prominence, largest, out=np.zeros_like(prominence), where=largest > 0
    )
    return share
