"""The resistance of a cell over its state of charge (SOC), for the IR correction of slow curves.

From pulse tests (GITT, hybrid) where a check-up has them, from the 0.1 s resistance of the
Performance Summary where it has none; for each curve only from what was measured at its own or an
earlier check-up. Pure functions on datasets and arrays, no I/O; the correction is made elsewhere,
``V - I R(SOC)`` with the current negative on discharge.

**A pulse's resistance** is the overpotential that vanishes after it, over the change of current::

    R = (V_relaxed - V_end) / (I_rest - I_pulse)

V_relaxed is the mean over the last fifth of the rest, V_end the end of a parabola through the last
samples of the pulse, both at the same charge. This is the resistance to direct current: ohmic drop,
charge transfer and what diffusion has built up by the pulse's end. Pulses at the current of the
curve to be corrected give exactly what is wanted; of others it is an estimate (`pulse_current` says
which it was), best from the slowest, so faster pulses of the same check-up are left out. The
record's are at C/2, and the shorter ones of 5 minutes end before diffusion has come to rest.

**Its SOC** is that of the pulse's end: from the charge counted in the curve since the full cell, or
until the empty one, so that the files of a test in parts need not be put together. The full
capacity is the summary's C/10 capacity of that check-up, which makes it the SOC of the C/10 curve;
without it the charge of the curve itself, if that leads from full to empty. Tests that charge the
cell are not used; the record has none.

**The profile** is the smoothest ln R(SOC) that agrees with the pulses within their standard errors
(second differences penalised: P. Eilers, Anal. Chem. 75 (2003) 3631; strength by the discrepancy
principle: V. Morozov, Sov. Math. Dokl. 7 (1966) 414). Below 20 % SOC bends count less, by SOC
squared, as they would in a plot over ln SOC: there the resistance rises steeply. Below the lowest
and above the highest pulse the profile keeps its last value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit import halfcell

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SOC = np.linspace(0.0, 1.0, 41)
"""Nodes of the profiles [1]."""

SOURCES = ("pulses", "pulses_scaled", "summary", "none")
"""Values of `resistance_source`: pulses of this check-up; an earlier check-up's pulses, times the
growth of the 0.1 s resistance since; the last 0.1 s resistance, times `factor`; nothing known."""

LOAD_LEVEL = 0.95  # quantile of |current| that is a pulse's: spikes are rarer, pulses are not
LEAST_LOAD = 0.5  # of that level; below is no pulse
MOST_REST = 0.05  # of that level; above is no rest
LEAST_PULSE, LEAST_REST = 60.0, 300.0  # s; shorter ones show a part of the overpotential only
RELAXED_SHARE = 0.2  # of a rest, its end
WINDOW = 0.02  # SOC; the part of a pulse, half of it at most, that its end is read from
BAD_FIT = 1.5  # residuals over noise; the window is halved until they are below
DEFAULT_NOISE = 1e-3  # V, of curves with too few samples to tell; the record has 0.2 to 1 mV
LEAST_NOISE = 1e-5  # V, a quarter of the cycler's step
LEAST_ERROR = 0.01  # of a pulse's resistance: currents and temperatures repeat to about 1 %
MOST_RESISTANCE = 1.0  # Ohm, as for the summary's column; a nearly empty cell reaches 0.4
LEAST_PULSES = 3  # of a profile
SLOWEST = 1.5  # pulses up to this multiple of a check-up's smallest current are used
GAP = 0.002  # SOC between a pulse's end and its rest; more has been passed by something else
NEAR_FULL = 0.1  # V below the upper cut-off, at rest
NEAR_EMPTY = 0.05  # V above the lower cut-off, under load
WHOLE = 0.05  # what a curve from full to empty may differ from the full capacity, relative
MOST_BEYOND = 3.0  # times the largest resistance of the pulses, or below the least: no profile is
STEEP_BELOW = 0.2  # SOC
STRENGTHS = 10.0 ** np.arange(6.0, -6.01, -0.25)  # of smoothing, strongest first


class Pulses(NamedTuple):
    """Pulses of one curve, arrays (pulse,).

    Parameters
    ----------
    soc
        At the pulse's end [1].
    resistance, error
        See the head of the module, and its standard error [Ohm].
    current
        Magnitude [A].
    """

    soc: FloatArray
    resistance: FloatArray
    error: FloatArray
    current: FloatArray


class Profile(NamedTuple):
    """A check-up's resistance at the nodes `SOC` [Ohm] (soc,), and the pulses' current [A]."""

    resistance: FloatArray
    current: float


def profiles(
    cells: Sequence[str],
    rpts: Sequence[int],
    summary: xr.Dataset,
    pulses: xr.Dataset | None,
    factor: float,
) -> xr.Dataset:
    """Return the resistance over the state of charge for each of some curves.

    Parameters
    ----------
    cells, rpts
        Cell and check-up of each curve, (curve,).
    summary
        `raw/expt{N}/summary`: dims (cell, rpt); resistance_0p1s [Ohm], capacity_c10 [Ah].
    pulses
        `raw/expt{N}/curves/GITT`, or hybrid, or both in one: a ragged array, dims (curve,) and
        (sample,); None if there are none.
    factor
        Resistance at the curves' current over that after 0.1 s [1]; for "summary" only.

    Returns
    -------
    xr.Dataset
        resistance (curve, soc) [Ohm], NaN where nothing is known, on the coordinate soc [1];
        resistance_source (curve), one of `SOURCES`; resistance_rpt (curve) [1], the check-up of the
        pulses or of the 0.1 s resistance, NaN for "none"; pulse_current (curve) [A], NaN without
        pulses. Pulses that cannot be used (too few, no rests, no known SOC, broken values) are as
        good as none. Where the growth of the 0.1 s resistance is not known, there is none.

    Raises
    ------
    ValueError
        `cells` and `rpts` differ in length, or the factor is negative or not finite.
    """
    if not (np.isfinite(factor) and factor >= 0):
        raise ValueError(f"the factor must be finite and not negative, but is {factor}")
    n = len(cells)
    resistance = np.full((n, len(SOC)), np.nan)
    source = np.full(n, "none", dtype=object)
    origin, current = np.full(n, np.nan), np.full(n, np.nan)
    after_pulse = _History(summary, "resistance_0p1s")
    capacity = _History(summary, "capacity_c10")
    tests = _tests(pulses)
    done: dict[tuple[str, int], Profile | None] = {}
    for k, (cell, rpt) in enumerate(zip(map(str, cells), map(int, rpts), strict=True)):
        last, last_rpt = after_pulse.last(cell, rpt)
        for earlier in sorted((r for r in tests.get(cell, {}) if r <= rpt), reverse=True):
            if pulses is not None and (cell, earlier) not in done:
                rows = tests[cell][earlier]
                done[cell, earlier] = _profile(pulses, rows, capacity.at(cell, earlier))
            profile = done[cell, earlier]
            if profile is not None:
                growth = last / after_pulse.last(cell, earlier)[0]
                resistance[k] = profile.resistance * (growth if np.isfinite(growth) else 1.0)
                source[k] = "pulses" if earlier == rpt else "pulses_scaled"
                origin[k], current[k] = earlier, profile.current
                break
        else:
            if np.isfinite(last):
                resistance[k], source[k], origin[k] = factor * last, "summary", last_rpt
    return xr.Dataset(
        {
            "resistance": (
                ("curve", "soc"),
                resistance,
                {"units": "Ohm", "long_name": "resistance for the IR correction"},
            ),
            "resistance_source": (
                "curve",
                source,
                {"long_name": "where the resistance comes from: " + ", ".join(SOURCES)},
            ),
            "resistance_rpt": (
                "curve",
                origin,
                {"units": "1", "long_name": "check-up where the resistance was measured"},
            ),
            "pulse_current": (
                "curve",
                current,
                {"units": "A", "long_name": "magnitude of the current of the pulses used"},
            ),
        },
        coords={"soc": ("soc", SOC, {"units": "1", "long_name": "state of charge"})},
    )


def pulse_resistances(
    time: FloatArray, voltage: FloatArray, current: FloatArray, soc: FloatArray
) -> Pulses:
    """Return the resistance of every pulse of a curve that has a rest after it.

    Parameters
    ----------
    time, voltage, current, soc
        Of the curve, in order of time [s, V, A, 1], (sample,), finite.

    Returns
    -------
    Pulses
        In order of time; none that is not positive and finite, beyond `MOST_RESISTANCE`, or with
        a standard error as large as itself.
    """
    events = _pulses_before_rests(time, current, soc)
    noise = _noise([voltage[rest] for _, rest in events])
    rows = []
    for load, rest in events:
        end = float(soc[rest].mean())
        voltage_end, share = _value_at_end(soc[load] - end, voltage[load], noise)
        step = float(current[rest].mean() - np.median(current[load]))
        value = (float(voltage[rest].mean()) - voltage_end) / step
        spread = noise * np.sqrt(share + 1 / len(rest)) / abs(step)
        rows.append((end, value, np.hypot(spread, LEAST_ERROR * value), abs(step)))
    found = np.array(rows, dtype=np.float64).reshape(-1, len(Pulses._fields))
    resistance, error = found[:, 1], found[:, 2]
    sound = (resistance > 0) & (resistance <= MOST_RESISTANCE) & (error < resistance)
    return Pulses(*found[sound & np.isfinite(found).all(axis=1)].T)


def smooth_profile(soc: FloatArray, resistance: FloatArray, error: FloatArray) -> FloatArray:
    """Return the smoothest profile that agrees with the pulses within their standard errors.

    Parameters
    ----------
    soc, resistance, error
        Of the pulses [1, Ohm, Ohm], (pulse,) in any order; resistance and error are positive.

    Returns
    -------
    numpy.ndarray
        Resistance at the nodes `SOC` [Ohm], (soc,), positive; the end values are kept outside the
        range of the pulses.
    """
    soc = np.clip(soc, 0.0, 1.0)
    step = SOC[1] - SOC[0]
    left = np.clip((soc / step).astype(np.int64), 0, len(SOC) - 2)
    share = soc / step - left
    first, last = int(left.min()), int(left.max()) + 1
    basis = np.zeros((len(soc), last - first + 1))
    basis[np.arange(len(soc)), left - first] = 1 - share
    basis[np.arange(len(soc)), left - first + 1] = share
    weight = resistance / error
    target = weight * np.log(resistance)
    weighted = weight[:, None] * basis
    rise = np.minimum(1.0, SOC[first + 1 : last] / STEEP_BELOW) ** 2
    bending = rise[:, None] * np.diff(np.eye(basis.shape[1]), 2, axis=0)
    normal, penalty = weighted.T @ weighted, bending.T @ bending
    tiny = 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))  # two nodes, one pulse
    values = np.zeros(basis.shape[1])
    for strength in STRENGTHS:
        values = np.linalg.solve(normal + tiny + strength * penalty, weighted.T @ target)
        if np.sum((weighted @ values - target) ** 2) <= len(soc):
            break
    # pulses at nearly one SOC that contradict each other would send the nodes around them anywhere
    margin = np.log(MOST_BEYOND)
    values = np.clip(values, np.log(resistance.min()) - margin, np.log(resistance.max()) + margin)
    inside = np.clip(SOC, soc.min(), soc.max())
    profile: FloatArray = np.exp(np.interp(inside, SOC[first : last + 1], values))
    return profile


def refine(resistance: FloatArray, parts: int = 10) -> FloatArray:
    """Return profiles on more nodes, for those who interpolate linearly.

    A kink of R(SOC) is a step of dV/dQ: between the nodes of a nearly empty cell, where R falls
    sevenfold in 0.1 SOC, steps high enough to look like peaks of dQ/dV.

    Parameters
    ----------
    resistance
        At even nodes [Ohm], (curve, soc).
    parts
        Of each interval.

    Returns
    -------
    numpy.ndarray
        At `parts` times as many intervals [Ohm]: cubic in ln R, with a continuous slope (E. Catmull
        and R. Rom, in Computer Aided Geometric Design (1974) 317), and through the nodes; linear in
        R for profiles that are not positive everywhere.
    """
    log = np.all(resistance > 0, axis=1, keepdims=True)
    values = np.log(resistance, out=np.array(resistance, dtype=np.float64), where=log)
    ends = 2 * values[:, [0, -1]] - values[:, [1, -2]]
    around = np.concatenate([ends[:, :1], values, ends[:, 1:]], axis=1)[:, :, None]
    before, here, there, after = (around[:, k : around.shape[1] - 3 + k] for k in range(4))
    t = np.arange(parts) / parts
    cubic = here + 0.5 * t * (
        there
        - before
        + t * (2 * before - 5 * here + 4 * there - after)
        + t**2 * (3 * (here - there) + after - before)
    )
    straight = here + t * (there - here)
    log = log[:, :, None]
    inner = np.where(log, np.exp(np.where(log, cubic, 0.0)), straight).reshape(len(values), -1)
    refined: FloatArray = np.concatenate([inner, resistance[:, -1:]], axis=1)
    return refined


class _History:
    """A column of the summary by cell and check-up; values not positive and finite are unknown."""

    def __init__(self, summary: xr.Dataset, name: str) -> None:
        values = summary[name].transpose("cell", "rpt").values.astype(np.float64)
        usable = np.isfinite(values) & (values > 0)
        rpts = [int(rpt) for rpt in summary["rpt"].values]
        self._known: Mapping[str, dict[int, float]] = {
            str(cell): {rpts[k]: float(row[k]) for k in np.flatnonzero(good)}
            for cell, row, good in zip(summary["cell"].values, values, usable, strict=True)
        }

    def at(self, cell: str, rpt: int) -> float:
        return self._known.get(cell, {}).get(rpt, np.nan)

    def last(self, cell: str, rpt: int) -> tuple[float, float]:
        """Return the newest value up to a check-up, and its check-up; NaN if there is none."""
        known = self._known.get(cell, {})
        newest = max((at for at in known if at <= rpt), default=None)
        return (np.nan, np.nan) if newest is None else (known[newest], float(newest))


def _tests(pulses: xr.Dataset | None) -> dict[str, dict[int, list[slice]]]:
    """Return by cell and check-up where the samples of its pulse tests are."""
    found: dict[str, dict[int, list[slice]]] = {}
    if pulses is None:
        return found
    stops = np.cumsum(pulses["row_size"].values.astype(np.int64))
    starts = stops - pulses["row_size"].values
    for cell, rpt, start, stop in zip(
        pulses["cell"].values, pulses["rpt"].values, starts, stops, strict=True
    ):
        rows = found.setdefault(str(cell), {}).setdefault(int(rpt), [])
        rows.append(slice(int(start), int(stop)))
    return found


def _profile(pulses: xr.Dataset, rows: Sequence[slice], capacity: float) -> Profile | None:
    """Return a check-up's profile from all its pulse tests; None if they cannot give one."""
    parts = [np.empty((0, len(Pulses._fields)))]
    for row in rows:
        time, voltage, current, charge = _finite(
            *(
                pulses[name].isel(sample=row).values.astype(np.float64)
                for name in ("time", "voltage", "current", "charge")
            )
        )
        soc = _state_of_charge(voltage, current, charge, capacity)
        if soc is not None:
            parts.append(np.column_stack(pulse_resistances(time, voltage, current, soc)))
    known = np.concatenate(parts)
    known = known[known[:, 3] <= SLOWEST * known[:, 3].min(initial=np.inf)]
    if len(known) < LEAST_PULSES:
        return None
    soc, resistance, error, current = known.T
    return Profile(smooth_profile(soc, resistance, error), float(np.median(current)))


def _finite(*columns: FloatArray) -> tuple[FloatArray, ...]:
    good = np.all([np.isfinite(column) for column in columns], axis=0)
    return tuple(column[good] for column in columns)


def _state_of_charge(
    voltage: FloatArray, current: FloatArray, charge: FloatArray, capacity: float
) -> FloatArray | None:
    """Return the SOC of a discharge's samples; None if nothing tells it."""
    if len(charge) == 0 or not current.sum() < 0:
        return None
    passed: FloatArray = np.abs(charge - charge[0])
    whole = float(passed[-1])
    from_full = float(voltage[0]) >= halfcell.UPPER_CUTOFF - NEAR_FULL
    to_empty = float(voltage[-len(voltage) // 2 :].min()) <= halfcell.LOWER_CUTOFF + NEAR_EMPTY
    if not np.isfinite(capacity) and from_full and to_empty:
        capacity = whole
    if not whole <= (1 + WHOLE) * capacity:
        return None
    if from_full or whole >= (1 - WHOLE) * capacity:
        return 1 - passed / capacity
    return (whole - passed) / capacity if to_empty else None


def _pulses_before_rests(
    time: FloatArray, current: FloatArray, soc: FloatArray
) -> list[tuple[IntArray, IntArray]]:
    """Return the samples of each pulse and of the relaxed part of the rest after it."""
    size = np.abs(current)
    level = np.quantile(size, LOAD_LEVEL) if len(size) else 0.0
    loaded, resting = size >= LEAST_LOAD * level, size <= MOST_REST * level
    known = np.flatnonzero(loaded != resting)  # not the samples in between, nor a dead curve
    breaks = np.flatnonzero(np.diff(loaded[known])) + 1
    runs = np.split(known, breaks)
    events = []
    for load, rest in pairwise(runs):
        duration = time[rest[-1]] - time[rest[0]]
        lasting = duration >= LEAST_REST and time[load[-1]] - time[load[0]] >= LEAST_PULSE
        if resting[rest[0]] and lasting and abs(soc[rest[0]] - soc[load[-1]]) <= GAP:
            relaxed = time[rest] >= time[rest[-1]] - RELAXED_SHARE * duration
            events.append((load, rest[relaxed]))
    return events


def _noise(rests: Sequence[FloatArray]) -> float:
    """Return the standard deviation of a curve's voltage noise [V], from its rests."""
    bends = np.concatenate([np.empty(0), *(np.diff(voltage, 2) for voltage in rests)])
    if len(bends) < 3:
        return DEFAULT_NOISE
    # of white noise: the second difference has the variance 1 + 4 + 1, the median of its magnitude
    # is 0.6745 standard deviations
    return max(LEAST_NOISE, float(np.median(np.abs(bends)) / (0.6745 * np.sqrt(6.0))))


def _value_at_end(soc: FloatArray, voltage: FloatArray, noise: float) -> tuple[float, float]:
    """Return a pulse's voltage at its end (soc 0) [V], and its variance over that of the noise."""
    distance = np.abs(soc)
    width = min(WINDOW, 0.5 * float(distance.max()))
    while width > 0:
        near = distance <= width
        count = int(near.sum())
        degree = min(2, (count - 1) // 2)  # so that at least as many samples are left to judge it
        if degree < 1:
            break
        powers = (distance[near, None] / width) ** np.arange(degree + 1)
        inverse = np.linalg.pinv(powers)
        fit = inverse @ voltage[near]
        residual = voltage[near] - powers @ fit
        free = count - degree - 1
        if np.sqrt(residual @ residual / free) <= BAD_FIT * noise:
            return float(fit[0]), float(inverse[0] @ inverse[0])
        width /= 2
    return float(voltage[-1]), 1.0
