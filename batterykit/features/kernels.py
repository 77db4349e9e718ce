"""Numba kernels of incremental capacity analysis: charge by voltage, smoothing, peaks.

Pure functions on numpy arrays; compiled once and cached on disk, they release the GIL so that
threads can share the curves. Volts and ampere-hours everywhere.

The estimate. Charge is known far better than voltage, so a curve is smoothed as voltage over
charge: a local cubic with Gaussian weights (Fan & Gijbels, Local Polynomial Modelling, 1996,
section 3.2) through the mean voltages of equal steps of charge gives dV/dQ anywhere, the ends of
the curve included. How wide the weights are is chosen at every step of the curve by itself: the
widest at which the slope still agrees, within the noise, with those of all narrower ones (the
intersection of confidence intervals: Goldenshluger & Nemirovski, Math. Methods Statist. 6 (1997)
135; Katkovnik, IEEE Trans. Signal Process. 47 (1999) 2567). The slope is summed up to the smooth
curve, and where the sum drifts away from the samples the slope is mended, over the widest weights.
(Smoothing the charge over voltage instead, with a kernel of one width in volts and the noise's own
blur taken out, was tried first: at equal noise its error was four to seven times larger.)

dQ/dV is the charge that the smooth curve spends in each bin of voltage: finite where the curve is
flat, right where it turns back; and what it spends in all bins together is set to what the samples
spent there, so that no charge is lost or invented.

All of it is in one file because numba's cache on disk knows a file's own changes only: a kernel
would go on calling the old machine code of one that was edited elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Chosen on simulated C/10 curves (Chen2020, Chen2020_composite, and logistic steps with deep
# valleys between them) with noise of 0.1 and 1 mV; the error is flat around these values.
NARROWEST = 0.003  # [1] share of the curve's charge: the narrowest kernel
WIDER = 1.4  # [1] each kernel is this much wider than the one before
KERNELS = 8
CONFIDENCE = 1.1  # [1] standard deviations to either side of a slope
LEVELLING = 0.012  # [1] share of the charge over which the choice of kernel is smoothed
SAMPLES_A_WIDTH = 1.5  # [1] at least

KERNEL_REACH = 4.0  # [1] kernel widths at which the kernel is cut: exp(-4^2/2) is 3e-4
CUBIC = 4  # coefficients of a cubic
SUBSTEPS_A_BIN = 4  # the smooth curve is followed in pieces this much smaller than a voltage bin
MOST_SUBSTEPS = 1000  # between two steps of charge

# A top is placed by a cubic through its crown: a wide crown is proof against noise, a narrow one
# does not mind a lopsided peak; like the kernel, the best width grows slowly with the noise.
CROWN = 0.5  # [1] of a peak's width on either side of its top, at CROWN_NOISE
CROWN_NOISE = 0.03  # [1] standard deviation of dQ/dV over the peak's prominence
CROWN_POWER = 1.0 / 6.0
FLAT = 1e-3  # [1] of a peak's prominence: a valley that rises by less is still its bottom
NARROWEST_CROWN, WIDEST_CROWN = 0.15, 0.5  # [1]

NOISE_BLOCK = 64  # [samples] noise is the median over blocks of this length
MOST_NOISE_BLOCKS = 256  # more tell no more about the noise
SAME_VOLTAGE = 1e-9  # [1] bins: voltages closer than this count as one
CURRENT_ON = 0.05  # [1] share of the largest current above which current counts as flowing
OTHER_CURRENT = 0.1  # [1] share of the largest current by which it changes in a new step
FEWEST_SAMPLES = 8
FEWEST_BINS = 2.0  # a curve that moves less in voltage has no dQ/dV
LARGEST = 1e6  # [V], [Ah]: beyond any cell; such a sample counts as not finite
MOST_CANDIDATES = 16

SAMPLES_DROPPED = 1
NOT_IN_ORDER = 2
TOO_SHORT = 4
WINDOW_UNCOVERED = 8
DOUBTFUL = 16
SEVERAL_STEPS = 32
PEAKS_LEFT_OUT = 64
NO_RESISTANCE = 128
COVERED = 0.95  # [1] smallest coverage of the window that is not flagged
NOISY_SHARE = 0.1  # [1] a standard deviation of dQ/dV above this share of its top is flagged

N_QUALITY = 7  # columns of the quality array: see `analyse_curves`
N_PEAK = 5  # columns of the peak array: see `analyse_curves`


@njit(cache=True, nogil=True)
def analyse_curves(
    voltage: np.ndarray,
    charge: np.ndarray,
    current: np.ndarray,
    starts: np.ndarray,
    resistance: np.ndarray,
    widths: np.ndarray,
    slopes: np.ndarray,
    spreads: np.ndarray,
    low: float,
    step: float,
    prominence: float,
    significance: float,
    dqdv: np.ndarray,
    dvdq: np.ndarray,
    quality: np.ndarray,
    flags: np.ndarray,
    peaks: np.ndarray,
) -> None:
    """Analyse curves one after the other, writing into the last five arrays.

    Parameters
    ----------
    voltage, charge, current
        Samples of all curves, (sample,) float64 [V], [Ah], [A].
    starts
        First sample of each curve and the end of the last, (curve + 1,) int64.
    resistance
        To correct the voltage with [Ohm], (curve, node) from empty to full in even steps; shape
        (0, 0) to correct nothing.
    low, step
        Lower end of the voltage window and width of its bins [V].
    widths, slopes, spreads
        The kernels to choose from; see `kernel_weights`.
    prominence
        Smallest prominence of a peak, as a share of its height [1].
    significance
        Smallest prominence of a peak in standard deviations of the noise of dQ/dV there [1].
    dqdv
        Out: (curve, bin) [Ah/V], NaN where the curve has no samples.
    dvdq
        Out: (curve, step) [V/Ah] at the middles of equal steps of the curve's charge.
    quality
        Out: (curve, 7): voltage noise [V], coverage of the window [1], share of samples that step
        backwards in voltage [1], steps of current [1], charge in the window [Ah], mean kernel width
        [Ah], charge of the curve [Ah].
    flags
        Out: (curve,) int64, the bits named at the top of this module.
    peaks
        Out: (curve, candidate, 5): voltage [V], height [Ah/V], prominence [Ah/V], full width at
        half prominence [V], area between the flanking minima [Ah]; by voltage, NaN when fewer.
    """
    for curve in range(len(starts) - 1):
        first, last = starts[curve], starts[curve + 1]
        quality[curve, :] = np.nan
        peaks[curve, :, :] = np.nan
        dqdv[curve, :] = np.nan
        dvdq[curve, :] = np.nan
        v, q, i = voltage[first:last], charge[first:last], current[first:last]
        flag = 0
        if len(resistance) > 0:
            if not math.isfinite(np.sum(resistance[curve])):
                flag |= NO_RESISTANCE
            v = _without_drop(v, q, i, resistance[curve])
        v, q, order = _ordered(v, q)
        flag |= order
        quality[curve, 3] = _current_steps(i)
        if quality[curve, 3] > 1:
            flag |= SEVERAL_STEPS
        if len(v) < FEWEST_SAMPLES or not q[-1] > q[0]:
            flags[curve] = flag | TOO_SHORT | WINDOW_UNCOVERED
            quality[curve, 1] = 0.0
            continue
        total, n = q[-1] - q[0], dvdq.shape[1]
        noise, resolution, together = _noise(v)
        # the error of a resolution stays alike over the samples that show the same voltage
        variance = noise**2 + resolution**2 / 12.0 * together
        narrowest = 0
        while narrowest < len(widths) - 1 and widths[narrowest] < SAMPLES_A_WIDTH / len(v):
            narrowest += 1
        smooth, slope, doubt, width = _smooth(
            _mean_voltages(v, q, n),
            math.sqrt(variance * n / len(v)),
            widths[narrowest:],
            slopes[narrowest:],
            spreads[narrowest:],
        )
        lowest, highest = _extremes(smooth)
        high = low + step * dqdv.shape[1]
        bottom, top = lowest, highest
        if len(resistance) > 0:  # whether a curve is whole shows in the voltage as it was measured
            least, most = _extremes(voltage[first:last])
            bottom, top = min(lowest, least), max(highest, most)
        covered = max(0.0, min(high, top) - max(low, bottom)) / (high - low)
        quality[curve, 0] = noise
        quality[curve, 1] = covered
        quality[curve, 2] = _backward_share(v)
        quality[curve, 4] = _charge_between(v, q, low, high)
        quality[curve, 5] = width * total
        quality[curve, 6] = total
        if covered < COVERED:
            flag |= WINDOW_UNCOVERED
        if highest - lowest < FEWEST_BINS * step or not quality[curve, 4] > 0.0:
            flags[curve] = flag | TOO_SHORT
            continue
        sign = 1.0 if v[-1] > v[0] else -1.0
        for k in range(n):
            dvdq[curve, k] = sign * slope[k + 1] * n / total
        _density(smooth, slope, total, low, step, lowest, highest, quality[curve, 4], dqdv[curve])
        doubt *= n / total
        if _tallest_is_doubtful(dqdv[curve], smooth, doubt, low, step):
            flag |= DOUBTFUL
        if _find_peaks(
            dqdv[curve], smooth, doubt, low, step, prominence, significance, peaks[curve]
        ):
            flag |= PEAKS_LEFT_OUT
        flags[curve] = flag


@njit(cache=True, nogil=True)
def _without_drop(
    voltage: np.ndarray, charge: np.ndarray, current: np.ndarray, resistance: np.ndarray
) -> np.ndarray:
    """Return the voltage less current times resistance, which depends on the state of charge.

    The curve is taken to lead from full to empty or back; its full end is that of higher voltage,
    whichever way the charge is counted.
    """
    least, most, mean, known = math.inf, -math.inf, 0.0, 0
    for i in range(len(charge)):
        if abs(charge[i]) < LARGEST and abs(voltage[i]) < LARGEST:
            least, most = min(least, charge[i]), max(most, charge[i])
            mean += voltage[i]
            known += 1
    middle, mean, lean = 0.5 * (least + most), mean / max(1, known), 0.0
    for i in range(len(charge)):
        if abs(charge[i]) < LARGEST and abs(voltage[i]) < LARGEST:
            lean += (charge[i] - middle) * (voltage[i] - mean)
    rest = np.empty(len(voltage))
    intervals = len(resistance) - 1
    per_charge = intervals / (most - least) if most > least else 0.0
    for i in range(len(voltage)):
        if not (abs(charge[i]) < LARGEST and abs(voltage[i]) < LARGEST):
            rest[i] = np.nan
            continue
        passed = (charge[i] - least) * per_charge
        place = passed if lean > 0.0 else intervals - passed
        below = min(int(place), intervals - 1)
        here = resistance[below] + (place - below) * (resistance[below + 1] - resistance[below])
        rest[i] = voltage[i] - current[i] * here
    return rest


@njit(cache=True, nogil=True)
def _ordered(voltage: np.ndarray, charge: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Drop samples that are not finite (or beyond any cell) and order the rest by charge."""
    n = len(voltage)
    finite, rising, falling = True, True, True
    for i in range(n):
        finite &= abs(voltage[i]) < LARGEST and abs(charge[i]) < LARGEST
        if i:
            rising &= charge[i] >= charge[i - 1]
            falling &= charge[i] <= charge[i - 1]
    if finite and rising:
        return voltage, charge, 0
    flag = 0
    if not finite:
        keep = (np.abs(voltage) < LARGEST) & (np.abs(charge) < LARGEST)
        voltage, charge, flag = voltage[keep], charge[keep], SAMPLES_DROPPED
    if falling and finite:
        return voltage[::-1].copy(), charge[::-1].copy(), NOT_IN_ORDER
    order = np.argsort(charge, kind="mergesort")
    for i in range(1, len(order)):
        if order[i] < order[i - 1]:
            flag |= NOT_IN_ORDER
            break
    return voltage[order], charge[order], flag


@njit(cache=True, nogil=True)
def _extremes(x: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest value, NaN ignored; four at a time, for speed."""
    low0 = low1 = low2 = low3 = math.inf
    high0 = high1 = high2 = high3 = -math.inf
    whole = len(x) // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        low0 = a if a < low0 else low0
        low1 = b if b < low1 else low1
        low2 = c if c < low2 else low2
        low3 = d if d < low3 else low3
        high0 = a if a > high0 else high0
        high1 = b if b > high1 else high1
        high2 = c if c > high2 else high2
        high3 = d if d > high3 else high3
    for i in range(whole, len(x)):
        low0 = x[i] if x[i] < low0 else low0
        high0 = x[i] if x[i] > high0 else high0
    return min(min(low0, low1), min(low2, low3)), max(max(high0, high1), max(high2, high3))


@njit(cache=True, nogil=True)
def _current_steps(current: np.ndarray) -> int:
    """Return how often current flows anew or at another level."""
    least, most = _extremes(current)
    largest = max(-least, most)
    on, other = CURRENT_ON * largest, OTHER_CURRENT * largest
    if most - least <= other and (most < -on or least > on):
        return 1  # it never stops and never changes
    steps, level = 0, 0.0
    for value in current:
        if not abs(value) > on:
            level = 0.0
        elif level == 0.0 or abs(value - level) > other:
            steps += 1
            level = value
    return steps


@njit(cache=True, nogil=True)
def _noise(v: np.ndarray) -> tuple[float, float, float]:
    """Return the white noise on v from its second differences, and how finely v was read.

    Returns
    -------
    noise
        Standard deviation [V].
    resolution
        Smallest step between two samples [V].
    together
        How many samples in a row show the same voltage, in the mean [1].
    """
    there = max(1, (len(v) - 2) // NOISE_BLOCK)
    length = (len(v) - 2) // there
    n_blocks = min(there, MOST_NOISE_BLOCKS)
    margin = (len(v) - 2 - there * length) // 2  # the same from either end
    variances = np.empty(n_blocks)
    smallest, moves = math.inf, 0
    for block in range(n_blocks):
        first = 1 + margin + (2 * block + 1) * there // (2 * n_blocks) * length
        total, square = 0.0, 0.0
        for i in range(first, first + length):
            rise, next_rise = v[i] - v[i - 1], v[i + 1] - v[i]
            second = next_rise - rise
            total += second
            square += second * second
            size = abs(rise)
            moves += 1 if size > 0.0 else 0
            smallest = size if 0.0 < size < smallest else smallest
        variances[block] = max(0.0, square / length - (total / length) ** 2) / 6.0
    resolution = smallest if moves else 0.0
    return math.sqrt(float(np.median(variances))), resolution, n_blocks * length / max(1, moves)


@njit(cache=True, nogil=True)
def _backward_share(v: np.ndarray) -> float:
    direction = 1.0 if v[-1] > v[0] else -1.0
    backward = 0
    for i in range(1, len(v)):
        if (v[i] - v[i - 1]) * direction < 0.0:
            backward += 1
    return backward / (len(v) - 1)


@njit(cache=True, nogil=True)
def spread_charge(v: np.ndarray, q: np.ndarray, low: float, step: float, n_bins: int) -> np.ndarray:
    """Return the charge passed in each voltage bin: (bin,) [Ah], exact for straight segments.

    A segment's density is a step up at one end and a step down at the other, and a step at u adds
    what lies above it to its own bin and one bin's worth to every bin beyond. So a sample costs
    two additions (no loop over the bins of its segment, no branch), and one running sum at the
    end does the rest. Steps beyond the bins are put at their edge, one bin outside.
    """
    own, beyond = np.zeros(n_bins + 2), np.zeros(n_bins + 2)  # one bin more at either end
    per_volt, outside = 1.0 / step, float(n_bins + 1)
    offset = 1.0 - low * per_volt
    here, density = v[0] * per_volt + offset, 0.0
    for i in range(1, len(v)):
        there, passed = v[i] * per_volt + offset, q[i] - q[i - 1]
        at = min(max(here, 0.0), outside)
        before = density
        if abs(there - here) > SAME_VOLTAGE:
            density = passed / (there - here)
        else:
            density = 0.0
            _add_step(own, beyond, min(max(here - 0.5, 0.0), outside), passed)
            _add_step(own, beyond, min(max(here + 0.5, 0.0), outside), -passed)
        _add_step(own, beyond, at, density - before)
        here = there
    _add_step(own, beyond, min(max(here, 0.0), outside), -density)
    mass = np.empty(n_bins)
    level = beyond[0]
    for k in range(n_bins):
        mass[k] = level + own[k + 1]
        level += beyond[k + 1]
    return mass


@njit(cache=True, nogil=True, inline="always")
def _add_step(own: np.ndarray, beyond: np.ndarray, at: float, height: float) -> None:
    k = int(at)
    own[k] += height * (k + 1 - at)
    beyond[k] += height


@njit(cache=True, nogil=True)
def _charge_between(v: np.ndarray, q: np.ndarray, low: float, high: float) -> float:
    """Return the charge passed between two voltages [Ah], exact for straight segments."""
    total = 0.0
    for i in range(1, len(v)):
        a, b, passed = min(v[i - 1], v[i]), max(v[i - 1], v[i]), q[i] - q[i - 1]
        if a >= low and b <= high:
            total += passed
        elif a < high and b > low:
            total += passed * (min(b, high) - max(a, low)) / (b - a)
    return total


@njit(cache=True, nogil=True)
def _mean_voltages(v: np.ndarray, q: np.ndarray, n: int) -> np.ndarray:
    """Return the mean voltage over each of n equal steps of charge, exact for straight segments."""
    mean = np.empty(n)
    step = (q[-1] - q[0]) / n
    k, filled, edge = 0, 0.0, q[0] + step
    for i in range(1, len(v)):
        a, here = q[i - 1], v[i - 1]
        while q[i] > edge and k < n - 1:
            there = v[i - 1] + (v[i] - v[i - 1]) * ((edge - q[i - 1]) / (q[i] - q[i - 1]))
            mean[k] = (filled + (here + there) * (edge - a)) / (2.0 * step)
            k, filled, a, here = k + 1, 0.0, edge, there
            edge = q[0] + step * (k + 1)
        filled += (here + v[i]) * (q[i] - a)
    mean[k] = filled / (2.0 * step)
    return mean


@njit(cache=True, nogil=True)
def kernel_weights(n: int, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of local cubics on n equal steps, to be used for any number of curves.

    Parameters
    ----------
    n
        Number of steps.
    widths
        Standard deviations of the Gaussian weights, as shares of the n steps [1], ascending.

    Returns
    -------
    slopes
        (width, row, column): what gives the slope per step. Row 0 is for the start of the curve,
        row 1 + k for the middle of step k, the last row used for all steps far from the ends; the
        columns are the steps from the first that the kernel reaches. The end of the curve is the
        mirror image.
    spreads
        (width, row): standard deviation of that slope over that of the values [1].
    """
    reaches = _reaches(n, widths)
    slopes = np.zeros((len(widths), reaches[-1] + 2, 2 * reaches[-1] + 1))
    spreads = np.zeros((len(widths), reaches[-1] + 2))
    for level in range(len(widths)):
        reach, width = reaches[level], max(1.0, widths[level] * n)
        for row in range(reach + 2):
            at = row - 1.0 if row else -0.5
            weights = _slope_weights(max(0, row - 1) + reach + 1, at, width)
            slopes[level, row, : len(weights)] = weights
            spreads[level, row] = math.sqrt(np.sum(weights**2))
    return slopes, spreads


@njit(cache=True, nogil=True)
def _reaches(n: int, widths: np.ndarray) -> np.ndarray:
    reaches = np.empty(len(widths), np.int64)
    for level in range(len(widths)):
        wanted = max(CUBIC, math.ceil(KERNEL_REACH * widths[level] * n))
        reaches[level] = min(wanted, (n - 1) // 2)
    return reaches


@njit(cache=True, nogil=True)
def _slope_weights(count: int, at: float, width: float) -> np.ndarray:
    """Return what gives the slope at `at` of a weighted cubic through values at 0..count-1.

    The weights of the fit are a Gaussian of standard deviation `width` around `at`.
    """
    moments = np.zeros(2 * CUBIC - 1)
    for j in range(count):
        x = (j - at) / width
        term = math.exp(-0.5 * x * x)
        for power in range(2 * CUBIC - 1):
            moments[power] += term
            term *= x
    normal, wanted = np.empty((CUBIC, CUBIC)), np.zeros(CUBIC)
    for row in range(CUBIC):
        normal[row] = moments[row : row + CUBIC]
    wanted[1] = 1.0
    c = np.linalg.solve(normal, wanted)
    weights = np.empty(count)
    for j in range(count):
        x = (j - at) / width
        cubic = c[0] + x * (c[1] + x * (c[2] + x * c[3]))
        weights[j] = math.exp(-0.5 * x * x) * cubic / width
    return weights


@njit(cache=True, nogil=True)
def _smooth(
    mean: np.ndarray,
    unsure: float,
    widths: np.ndarray,
    slopes: np.ndarray,
    spreads: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return the smooth curve at its start, at the middles of its n steps of charge and at its end.

    Parameters
    ----------
    mean
        Mean voltage of each step, (n,) [V].
    unsure
        Its standard deviation [V].

    Returns
    -------
    voltage, slope, doubt
        (n + 2,) [V], [V per step] and the standard deviation of the slope.
    width
        The mean of the kernel widths used [1].
    """
    n = len(mean)
    reaches = _reaches(n, widths)
    level, each, spread = _choose(mean, unsure, reaches, slopes, spreads)
    level = _levelled(level, LEVELLING * n)
    slope, doubt, width = np.empty(n + 2), np.empty(n + 2), 0.0
    for k in range(n + 2):
        below = min(int(level[k]), max(0, len(widths) - 2))
        above = min(below + 1, len(widths) - 1)
        share = level[k] - below
        slope[k] = (1.0 - share) * each[below, k] + share * each[above, k]
        doubt[k] = (1.0 - share) * spread[below, k] + share * spread[above, k]
        width += ((1.0 - share) * widths[below] + share * widths[above]) / (n + 2)
    # what the sum drifts away from the samples is taken back, as a slope again: value and slope of
    # the smooth curve must agree, or dQ/dV has teeth as wide as a step
    drift = mean - _summed(slope)[1:-1]
    slope += _weighted(drift, slopes[-1], reaches[-1])
    voltage = _summed(slope)
    return voltage + np.mean(mean - voltage[1:-1]), slope, doubt, width


@njit(cache=True, nogil=True)
def _summed(slope: np.ndarray) -> np.ndarray:
    """Return what the slope adds up to since the start: half a step to the first middle."""
    total = np.zeros(len(slope))
    for k in range(1, len(slope)):
        length = 0.5 if k in (1, len(slope) - 1) else 1.0
        total[k] = total[k - 1] + 0.5 * length * (slope[k - 1] + slope[k])
    return total


@njit(cache=True, nogil=True)
def _choose(
    mean: np.ndarray, unsure: float, reaches: np.ndarray, slopes: np.ndarray, spreads: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the widest kernel at each place that agrees with all narrower ones, and all slopes."""
    n = len(mean)
    each, spread = np.empty((len(slopes), n + 2)), np.empty((len(slopes), n + 2))
    lowest, highest = np.full(n + 2, -math.inf), np.full(n + 2, math.inf)
    level = np.zeros(n + 2)
    for width in range(len(slopes)):
        reach = reaches[width]
        each[width] = _weighted(mean, slopes[width], reach)
        spread[width, :] = unsure * spreads[width, reach + 1]
        for row in range(reach + 1):
            spread[width, row] = spread[width, n + 1 - row] = unsure * spreads[width, row]
        for k in range(n + 2):
            lowest[k] = max(lowest[k], each[width, k] - CONFIDENCE * spread[width, k])
            highest[k] = min(highest[k], each[width, k] + CONFIDENCE * spread[width, k])
            if level[k] == width - 1 and lowest[k] <= highest[k]:
                level[k] = width
    return level, each, spread


@njit(cache=True, nogil=True)
def _weighted(x: np.ndarray, weights: np.ndarray, reach: int) -> np.ndarray:
    """Return weighted sums of x at the start, at every step and at the end: (n + 2,).

    Turned round, the weights change sign, as slopes do.
    """
    n = len(x)
    result = np.zeros(n + 2)
    for row in range(reach + 1):
        for j in range(max(0, row - 1) + reach + 1):
            result[row] += weights[row, j] * x[j]
            result[n + 1 - row] -= weights[row, j] * x[n - 1 - j]
    inner = result[reach + 1 : n + 1 - reach]
    for j in range(2 * reach + 1):
        weight = weights[reach + 1, j]
        for k in range(len(inner)):
            inner[k] += weight * x[k + j]
    return result


@njit(cache=True, nogil=True)
def _levelled(x: np.ndarray, width: float) -> np.ndarray:
    """Return x averaged with Gaussian weights of a standard deviation in places."""
    reach, n = math.ceil(3.0 * width), len(x)
    longer = np.empty(n + 2 * reach)
    longer[:reach], longer[reach : n + reach], longer[n + reach :] = x[0], x, x[-1]
    total, weight = np.zeros(n), 0.0
    for shift in range(2 * reach + 1):
        w = math.exp(-0.5 * ((shift - reach) / width) ** 2)
        weight += w
        for k in range(n):
            total[k] += w * longer[k + shift]
    return total / weight


@njit(cache=True, nogil=True)
def _density(
    smooth: np.ndarray,
    slope: np.ndarray,
    total: float,
    low: float,
    step: float,
    lowest: float,
    highest: float,
    in_window: float,
    dqdv: np.ndarray,
) -> None:
    """Fill dQ/dV: what the smooth curve spends in each bin, NaN where it does not go."""
    n = len(smooth) - 2
    v, place = _refined(smooth, slope, step / SUBSTEPS_A_BIN)
    mass = spread_charge(v, place, low, step, len(dqdv))
    charge, area = total / n, 0.0
    for i in range(len(dqdv)):
        bottom = low + i * step
        covered = (min(bottom + step, highest) - max(bottom, lowest)) / step
        if covered > 0.5:
            dqdv[i] = max(0.0, mass[i]) * charge / (covered * step)
            area += dqdv[i] * step
    if area > 0.0:
        for i in range(len(dqdv)):
            dqdv[i] *= in_window / area


@njit(cache=True, nogil=True)
def _refined(smooth: np.ndarray, slope: np.ndarray, fine: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the smooth curve about `fine` apart in voltage: cubics between its nodes.

    The second array tells where they are, in steps of charge from 0 to n.
    """
    n = len(smooth) - 2
    pieces = np.empty(n + 1, np.int64)
    for k in range(n + 1):
        pieces[k] = 1 + int(min(abs(smooth[k + 1] - smooth[k]) / fine, MOST_SUBSTEPS))
    points = 1 + np.sum(pieces)
    v, place = np.empty(points), np.empty(points)
    v[0], place[0] = smooth[0], 0.0
    here, filled = 0.0, 1
    for k in range(n + 1):
        length = 0.5 if k in (0, n) else 1.0
        for piece in range(1, pieces[k] + 1):
            t = piece / pieces[k]
            s = 1.0 - t
            v[filled] = (
                s * s * (1.0 + 2.0 * t) * smooth[k]
                + t * t * (1.0 + 2.0 * s) * smooth[k + 1]
                + s * t * length * (s * slope[k] - t * slope[k + 1])
            )
            place[filled] = here + t * length
            filled += 1
        here += length
    return v, place


@njit(cache=True, nogil=True)
def _error(f: float, smooth: np.ndarray, doubt: np.ndarray, voltage: float) -> float:
    """Return the standard deviation of dQ/dV at a voltage, which is one over the slope."""
    worst = 0.0
    for k in range(len(smooth) - 1):
        if min(smooth[k], smooth[k + 1]) <= voltage <= max(smooth[k], smooth[k + 1]):
            worst = max(worst, doubt[k], doubt[k + 1])
    return worst * f * f


@njit(cache=True, nogil=True)
def _tallest_is_doubtful(
    f: np.ndarray, smooth: np.ndarray, doubt: np.ndarray, low: float, step: float
) -> bool:
    top = -1
    for i in range(len(f)):
        if math.isfinite(f[i]) and (top < 0 or f[i] > f[top]):
            top = i
    if top < 0:
        return False
    return bool(_error(f[top], smooth, doubt, low + (top + 0.5) * step) > NOISY_SHARE * f[top])


@njit(cache=True, nogil=True)
def _find_peaks(
    f: np.ndarray,
    smooth: np.ndarray,
    doubt: np.ndarray,
    low: float,
    step: float,
    prominence: float,
    significance: float,
    peaks: np.ndarray,
) -> bool:
    """Fill the peaks of f, by voltage; return whether more were found than there is room for."""
    n, room = len(f), len(peaks)
    index, height_above, errors = np.empty(n, np.int64), np.empty(n), np.empty(n)
    found = 0
    for top in _maxima(f):
        above = f[top] - max(_lowest_before_higher(f, top, -1), _lowest_before_higher(f, top, 1))
        if above < prominence * f[top] or above <= 0.0:
            continue
        error = _error(f[top], smooth, doubt, low + (top + 0.5) * step)
        if above >= significance * error:
            index[found], height_above[found], errors[found] = top, above, error
            found += 1
    chosen = np.sort(np.argsort(-height_above[:found], kind="mergesort")[:room])
    for k in range(len(chosen)):
        top, above, error = index[chosen[k]], height_above[chosen[k]], errors[chosen[k]]
        before = index[chosen[k - 1]] if k else -1
        after = index[chosen[k + 1]] if k + 1 < len(chosen) else n
        level = f[top] - 0.5 * above
        left, right = _crossing(f, top, level, -1), _crossing(f, top, level, 1)
        slack = error + FLAT * above
        valley = _valley(f, top, before, -1, slack if before < 0 else 0.0)
        next_valley = _valley(f, top, after, 1, slack if after == n else 0.0)
        share = CROWN * (error / above / CROWN_NOISE) ** CROWN_POWER
        share = min(WIDEST_CROWN, max(NARROWEST_CROWN, share))
        crown = min(share * (right - left), float(min(top - valley, next_valley - top)))
        place = _place_of_top(f, top, crown)
        peaks[k, 0] = low + (place + 0.5) * step
        peaks[k, 1] = _value_at(f, place)
        peaks[k, 2] = above
        peaks[k, 3] = (right - left) * step
        peaks[k, 4] = _area(f, valley, next_valley) * step
    return found > room


@njit(cache=True, nogil=True)
def _maxima(f: np.ndarray) -> np.ndarray:
    """Return the indices of local maxima; of a flat top, its middle."""
    tops = np.empty(len(f), np.int64)
    found, i = 0, 1
    while i < len(f) - 1:
        if f[i] > f[i - 1]:
            j = i
            while j + 1 < len(f) and f[j + 1] == f[i]:
                j += 1
            if j + 1 < len(f) and f[j + 1] < f[i]:
                tops[found] = (i + j) // 2
                found += 1
            i = j
        i += 1
    return tops[:found]


@njit(cache=True, nogil=True)
def _lowest_before_higher(f: np.ndarray, top: int, direction: int) -> float:
    lowest, i = f[top], top + direction
    while 0 <= i < len(f) and f[i] <= f[top]:
        lowest = min(lowest, f[i])
        i += direction
    return float(lowest)


@njit(cache=True, nogil=True)
def _place_of_top(f: np.ndarray, top: int, reach: float) -> float:
    """Return where the top is [bins], by a cubic through the bins around it.

    A broad peak's highest bin wanders with the noise; the cubic uses the whole crown, and being
    odd as well as even it follows a crown that leans to one side.
    """
    place = float(top)
    for _ in range(2):
        middle = round(place)
        r = 0
        while (
            r < max(2.0, reach)
            and middle - r - 1 >= 0
            and middle + r + 1 < len(f)
            and math.isfinite(f[middle - r - 1])
            and math.isfinite(f[middle + r + 1])
        ):
            r += 1
        if r < 2:
            return place
        s2 = s4 = s6 = t1 = t2 = t3 = 0.0
        t0 = f[middle]
        for i in range(1, r + 1):
            x = i / r
            even, odd = f[middle + i] + f[middle - i], f[middle + i] - f[middle - i]
            s2 += 2.0 * x**2
            s4 += 2.0 * x**4
            s6 += 2.0 * x**6
            t0 += even
            t2 += even * x**2
            t1 += odd * x
            t3 += odd * x**3
        s0 = 2.0 * r + 1.0
        c2 = (s0 * t2 - s2 * t0) / (s0 * s4 - s2 * s2)
        c1 = (s6 * t1 - s4 * t3) / (s2 * s6 - s4 * s4)
        c3 = (s2 * t3 - s4 * t1) / (s2 * s6 - s4 * s4)
        inside = c2 * c2 - 3.0 * c1 * c3
        if inside < 0.0 or math.sqrt(inside) - c2 <= 0.0:
            return place
        place = middle + r * min(1.0, max(-1.0, c1 / (math.sqrt(inside) - c2)))
    return place


@njit(cache=True, nogil=True)
def _value_at(f: np.ndarray, place: float) -> float:
    below = min(math.floor(place), len(f) - 2)
    return float(f[below] + (place - below) * (f[below + 1] - f[below]))


@njit(cache=True, nogil=True)
def _crossing(f: np.ndarray, top: int, level: float, direction: int) -> float:
    i = top
    while 0 <= i + direction < len(f) and f[i + direction] > level:
        i += direction
    beyond = i + direction
    if not 0 <= beyond < len(f) or not math.isfinite(f[beyond]):
        return float(i)
    return float(i + direction * (f[i] - level) / (f[i] - f[beyond]))


@njit(cache=True, nogil=True)
def _valley(f: np.ndarray, top: int, stop: int, direction: int, slack: float) -> int:
    """Return where f is lowest between a top and `stop`; where it is flat, the end far from it."""
    lowest, i = math.inf, top + direction
    while i != stop:
        lowest = f[i] if f[i] < lowest else lowest
        i += direction
    valley, i = top + direction, top + direction
    while i != stop:
        valley = i if f[i] <= lowest + slack else valley
        i += direction
    return valley


@njit(cache=True, nogil=True)
def _area(f: np.ndarray, first: int, last: int) -> float:
    total = 0.5 * (f[first] + f[last])
    for i in range(first + 1, last):
        total += f[i]
    return float(total)
