"""Numba kernels of incremental capacity analysis: charge by voltage, smoothing, peaks.

Pure functions on numpy arrays; compiled once and cached on disk, they release the GIL so that
threads can share the curves. Volts and ampere-hours everywhere.

The estimate. A curve V(q) moves its charge onto the voltage axis; dQ/dV is the density of that
charge. Each segment between two samples spreads its charge evenly between its two voltages, so no
charge is lost or invented whatever the noise does. The density is then smoothed by the kernel::

    K(x) = phi_h(x) (1 + a (1 - (x/h)^2)),    a = (1 + s^2/h^2) / 2

a Gaussian of standard deviation h times a Hermite polynomial (Wand & Jones, Kernel Smoothing,
1995, section 2.8). Its second moment h^2 (1 - 2a) = -s^2 cancels the blur s^2 that measuring noise
and bins have already added, so what is left of the bias is of fourth order in h. Where the kernel
would reach past an end of the curve, a straight line fitted there takes over (Fan & Gijbels, Local
Polynomial Modelling, 1996, section 3.2).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# The kernel width that balances noise against bias grows with the 1/11th power of (noise^2 / number
# of samples) for a fourth-order kernel (Wand & Jones, section 2.8); so the width found best for one
# noise serves for others. Found on simulated C/10 curves of the LG M50 (Chen2020 potentials).
BEST_WIDTH = 0.006  # [V] at BEST_NOISE and BEST_SAMPLES
BEST_NOISE = 0.001  # [V]
BEST_SAMPLES = 36_000
WIDTH_POWER = 1.0 / 11.0
NARROWEST, WIDEST = 0.003, 0.03  # [V]

TOP_SHARE = 0.5  # [1] of a peak's width on either side of its top: what is fitted to place the top

KERNEL_REACH = 5.0  # [1] kernel widths at which the kernel is cut: phi(5) is 1.5e-6
NOISE_BLOCK = 64  # [samples] noise is the median over blocks of this length
EDGE_WIDTHS = 1.5  # [1] kernel widths: the standard deviation of the weights at a curve's ends
EDGE_SAMPLES = 64  # [samples] at most this many tell where a curve ends
CURRENT_ON = 0.05  # [1] share of the largest current above which current counts as flowing
FEWEST_SAMPLES = 8
LARGEST = 1e6  # [V], [Ah]: beyond any cell; such a sample counts as not finite
MOST_CANDIDATES = 16

SAMPLES_DROPPED, NOT_IN_ORDER, TOO_SHORT, WINDOW_UNCOVERED, NOISY, SEVERAL_STEPS, PEAKS_LEFT_OUT = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
)
COVERED = 0.95  # [1] smallest coverage of the window that is not flagged
NOISY_SHARE = 0.5  # [1] noise above this share of the kernel width is flagged

N_QUALITY = 6  # columns of the quality array: see `analyse_curves`
N_PEAK = 5  # columns of the peak array: see `analyse_curves`


@njit(cache=True, nogil=True)
def analyse_curves(
    voltage: np.ndarray,
    charge: np.ndarray,
    current: np.ndarray,
    starts: np.ndarray,
    low: float,
    step: float,
    width: float,
    prominence: float,
    significance: float,
    dqdv: np.ndarray,
    quality: np.ndarray,
    flags: np.ndarray,
    peaks: np.ndarray,
) -> None:
    """Analyse curves one after the other, writing into the last four arrays.

    Parameters
    ----------
    voltage, charge, current
        Samples of all curves, (sample,) float64 [V], [Ah], [A].
    starts
        First sample of each curve and the end of the last, (curve + 1,) int64.
    low, step
        Lower end of the voltage window and width of its bins [V].
    width
        Standard deviation h of the smoothing kernel [V]; 0 for the one that suits each curve's
        noise.
    prominence
        Smallest prominence of a peak, as a share of its height [1].
    significance
        Smallest prominence of a peak in standard deviations of the noise of dQ/dV there [1].
    dqdv
        Out: (curve, bin) [Ah/V], NaN where the curve has no samples.
    quality
        Out: (curve, 6): voltage noise [V], coverage of the window [1], share of samples that step
        backwards in voltage [1], runs of current [1], charge in the window [Ah], kernel width [V].
    flags
        Out: (curve,) int64, the bits named at the top of this module.
    peaks
        Out: (curve, candidate, 5): voltage [V], height [Ah/V], prominence [Ah/V], full width at
        half prominence [V], area between the flanking minima [Ah]; by voltage, NaN when fewer.
    """
    for curve in range(len(starts) - 1):
        first, last = starts[curve], starts[curve + 1]
        v, q, flag = _ordered(voltage[first:last], charge[first:last])
        quality[curve, :] = np.nan
        peaks[curve, :, :] = np.nan
        dqdv[curve, :] = np.nan
        quality[curve, 3] = _current_runs(current[first:last])
        if quality[curve, 3] > 1:
            flag |= SEVERAL_STEPS
        if len(v) < FEWEST_SAMPLES or not q[-1] > q[0]:
            flags[curve] = flag | TOO_SHORT | WINDOW_UNCOVERED
            quality[curve, 1] = 0.0
            continue
        noise = _noise(v)
        high = low + step * dqdv.shape[1]
        h = width if width > 0.0 else max(2.0 * step, _best_width(noise, len(v)))
        lowest, highest = _ends(v, noise, h)
        covered = max(0.0, min(high, highest) - max(low, lowest)) / (high - low)
        quality[curve, 0] = noise
        quality[curve, 1] = covered
        quality[curve, 2] = _backward_share(v)
        quality[curve, 5] = h
        if covered < COVERED:
            flag |= WINDOW_UNCOVERED
        if noise > NOISY_SHARE * h:
            flag |= NOISY
        shape, mean_charge = _density(
            v, q, low, step, h, noise, lowest, highest, dqdv[curve], quality[curve]
        )
        if not quality[curve, 4] > 0.0:
            flags[curve] = flag | TOO_SHORT
            dqdv[curve, :] = np.nan
            continue
        noise_scale = noise * math.sqrt(mean_charge * _roughness(shape) / h**3)
        if _find_peaks(dqdv[curve], low, step, prominence, significance, noise_scale, peaks[curve]):
            flag |= PEAKS_LEFT_OUT
        flags[curve] = flag


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
        return voltage[::-1].copy(), charge[::-1].copy(), flag
    order = np.argsort(charge, kind="mergesort")
    for i in range(1, len(order)):
        if order[i] < order[i - 1]:
            flag |= NOT_IN_ORDER
            break
    return voltage[order], charge[order], flag


@njit(cache=True, nogil=True)
def _current_runs(current: np.ndarray) -> int:
    largest = 0.0
    for value in current:
        if math.isfinite(value):
            largest = max(largest, abs(value))
    runs, on = 0, False
    for value in current:
        now = abs(value) > CURRENT_ON * largest
        if now and not on:
            runs += 1
        on = now
    return runs


@njit(cache=True, nogil=True)
def _noise(v: np.ndarray) -> float:
    """Return the standard deviation of white noise on v, from its second differences."""
    n_blocks = max(1, (len(v) - 2) // NOISE_BLOCK)
    length = (len(v) - 2) // n_blocks
    variances = np.empty(n_blocks)
    for block in range(n_blocks):
        first = block * length + 1
        total, square = 0.0, 0.0
        for i in range(first, first + length):
            second = v[i - 1] - 2.0 * v[i] + v[i + 1]
            total += second
            square += second * second
        variances[block] = max(0.0, square / length - (total / length) ** 2) / 6.0
    return math.sqrt(float(np.median(variances)))


@njit(cache=True, nogil=True)
def _best_width(noise: float, samples: int) -> float:
    variance = (noise / BEST_NOISE) ** 2 * BEST_SAMPLES / samples
    return min(WIDEST, max(NARROWEST, BEST_WIDTH * float(variance**WIDTH_POWER)))


@njit(cache=True, nogil=True)
def _ends(v: np.ndarray, noise: float, width: float) -> tuple[float, float]:
    """Return the lowest and highest voltage of the curve, freed of noise at its two ends."""
    first, last = _end_of(v, noise, width), _end_of(v[::-1], noise, width)
    lowest, highest = min(first, last), max(first, last)
    if np.min(v) < lowest - 5.0 * noise:
        lowest = np.min(v)
    if np.max(v) > highest + 5.0 * noise:
        highest = np.max(v)
    return lowest, highest


@njit(cache=True, nogil=True)
def _end_of(v: np.ndarray, noise: float, width: float) -> float:
    m = min(EDGE_SAMPLES, len(v))
    while m > FEWEST_SAMPLES and abs(v[m - 1] - v[0]) > 0.5 * width + 4.0 * noise:
        m -= 1
    if noise < 1e-9:
        return float(v[0])
    middle, mean, slope, squares = 0.5 * (m - 1), 0.0, 0.0, 0.0
    for i in range(m):
        mean += v[i] / m
        slope += (i - middle) * v[i]
        squares += (i - middle) ** 2
    return mean - slope / squares * middle


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
    """Return the charge passed in each voltage bin: (bin,) [Ah], exact for straight segments."""
    mass = np.zeros(n_bins)
    per_volt = 1.0 / step
    here = (v[0] - low) * per_volt
    for i in range(1, len(v)):
        there = (v[i] - low) * per_volt
        passed = q[i] - q[i - 1]
        a, b = min(here, there), max(here, there)
        here = there
        if passed <= 0.0 or b < 0.0 or a >= n_bins:
            continue
        per_bin = passed / (b - a) if b > a else 0.0
        a, b = max(a, -1.0), min(b, n_bins + 1.0)
        first, last = math.floor(a), math.floor(b)
        if first == last:
            mass[first] += passed
            continue
        if first >= 0:
            mass[first] += per_bin * (first + 1 - a)
        for k in range(max(first + 1, 0), min(last, n_bins)):
            mass[k] += per_bin
        if last < n_bins:
            mass[last] += per_bin * (b - last)
    return mass


@njit(cache=True, nogil=True)
def _density(
    v: np.ndarray,
    q: np.ndarray,
    low: float,
    step: float,
    width: float,
    noise: float,
    lowest: float,
    highest: float,
    dqdv: np.ndarray,
    quality: np.ndarray,
) -> tuple[float, float]:
    """Fill dQ/dV and the charge in the window; return the kernel's shape and a sample's charge."""
    n = len(dqdv)
    reach = math.ceil(KERNEL_REACH * width / step)
    mass = spread_charge(v, q, low - reach * step, step, n + 2 * reach)
    total = 0.0
    for i in range(n):
        total += mass[reach + i]
    quality[4] = total
    blur = 2.0 / 3.0 * noise * noise + step * step / 12.0
    shape = min(1.0, 0.5 * (1.0 + blur / width**2))
    weights = _kernel(shape, width, step, reach)
    margin = 4.0 * noise + step
    bottom = low - reach * step
    sure_first = max(0, math.ceil((lowest + margin - bottom) / step))
    sure_last = min(len(mass) - 1, math.floor((highest - margin - bottom) / step) - 1)
    area = 0.0
    for i in range(n):
        centre = low + (i + 0.5) * step
        if centre < lowest - 0.5 * step or centre > highest + 0.5 * step:
            continue
        k = i + reach
        if k - reach >= sure_first and k + reach <= sure_last:
            value = 0.0
            for j in range(2 * reach + 1):
                value += weights[j] * mass[i + j]
        else:
            value = _local_line(mass, k, sure_first, sure_last, width / step)
        dqdv[i] = max(0.0, value) / step
        area += dqdv[i] * step
    if area > 0.0:
        for i in range(n):
            dqdv[i] *= total / area
    moving = 0
    for i in range(1, len(q)):
        moving += q[i] > q[i - 1]
    return shape, (q[-1] - q[0]) / moving


@njit(cache=True, nogil=True)
def _kernel(shape: float, width: float, step: float, reach: int) -> np.ndarray:
    weights = np.empty(2 * reach + 1)
    for j in range(2 * reach + 1):
        x = (j - reach) * step / width
        weights[j] = math.exp(-0.5 * x * x) * (1.0 + shape * (1.0 - x * x))
    return weights / np.sum(weights)


@njit(cache=True, nogil=True)
def _roughness(shape: float) -> float:
    """Return h^3 times the integral of K'(x)^2, which scales the variance of dQ/dV."""
    a = shape
    moments = (1 + 3 * a) ** 2 / 2 - 1.5 * a * (1 + 3 * a) + 1.875 * a * a
    return moments / (2.0 * math.sqrt(math.pi))


@njit(cache=True, nogil=True)
def _local_line(mass: np.ndarray, k: int, first: int, last: int, width: float) -> float:
    """Return the value at bin k of a weighted straight line through the sure bins around it."""
    h = EDGE_WIDTHS * width
    s0 = s1 = s2 = t0 = t1 = 0.0
    for j in range(max(first, math.ceil(k - 3.0 * h)), min(last, math.floor(k + 3.0 * h)) + 1):
        x = (j - k) / h
        w = math.exp(-0.5 * x * x)
        s0 += w
        s1 += w * x
        s2 += w * x * x
        t0 += w * mass[j]
        t1 += w * x * mass[j]
    determinant = s0 * s2 - s1 * s1
    if last - first < 2 or determinant < 1e-9 * s0 * s0:
        return float(mass[k])
    return (t0 * s2 - t1 * s1) / determinant


@njit(cache=True, nogil=True)
def _find_peaks(
    f: np.ndarray,
    low: float,
    step: float,
    prominence: float,
    significance: float,
    noise_scale: float,
    peaks: np.ndarray,
) -> bool:
    """Fill the peaks of f, by voltage; return whether more were found than there is room for."""
    n, room = len(f), len(peaks)
    index, height_above = np.empty(n, np.int64), np.empty(n)
    found = 0
    for top in _maxima(f):
        above = f[top] - max(_lowest_before_higher(f, top, -1), _lowest_before_higher(f, top, 1))
        noise = noise_scale * math.sqrt(f[top])
        if above >= max(prominence * f[top], significance * noise) and above > 0.0:
            index[found], height_above[found] = top, above
            found += 1
    chosen = np.sort(np.argsort(-height_above[:found], kind="mergesort")[:room])
    for k in range(len(chosen)):
        top, above = index[chosen[k]], height_above[chosen[k]]
        before = index[chosen[k - 1]] if k else -1
        after = index[chosen[k + 1]] if k + 1 < len(chosen) else n
        level = f[top] - 0.5 * above
        left, right = _crossing(f, top, level, -1), _crossing(f, top, level, 1)
        valley, next_valley = _lowest(f, before, top), _lowest(f, top, after)
        crown = min(TOP_SHARE * (right - left), float(min(top - valley, next_valley - top)))
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
def _lowest(f: np.ndarray, after: int, before: int) -> int:
    """Return where f is lowest strictly between two indices, nearest to the far end of a tie."""
    best = -1
    for i in range(after + 1, before):
        if math.isfinite(f[i]) and (best < 0 or f[i] < f[best]):
            best = i
    return best


@njit(cache=True, nogil=True)
def _area(f: np.ndarray, first: int, last: int) -> float:
    total = 0.5 * (f[first] + f[last])
    for i in range(first + 1, last):
        total += f[i]
    return float(total)
