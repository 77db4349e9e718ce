"""Numba kernels of degradation mode analysis: the cell's voltage, and its fit to a slow curve.

Pure functions on numpy arrays; compiled once and cached on disk, they release the GIL so that
threads can share the cells. Volts, amperes, ohms and ampere-hours everywhere. No compiled function
uses a constant or a function of another file: numba's cache on disk would not notice its change.

**Model.** With the charge q discharged so far, the negative electrode (NE) holds ``L0 - q`` of
lithium, and graphite and silicon share it at one potential U::

    G x_Gr(U) + S x_Si(U) = L0 - q,        z = (O + L0 - q) / P
    V = U_p(z) - U - I [R + B exp((U - U_ref) / w)]

(the conventions of `batterykit.halfcell`; I is negative on charge). U(q) is found on a table of the
two phases by one march through it, exactly within the table's cubics; the derivatives follow from
the implicit function, so a step of the fit costs one pass over the samples.

**Errors of the model.** A residual is white noise of the instrument (variance s^2 a sample) plus
the error of the half-cell potentials, which is the same over long stretches of charge: an
Ornstein-Uhlenbeck process of variance ``share s^2`` and correlation length ``length``
(Kennedy & O'Hagan, J. R. Stat. Soc. B 63 (2001) 425). Half cells err in charge as well as in
potential, so it grows where the voltage falls off: ``weight = sqrt(1 + (c Q/span dV/dq)^2)`` times
the process (c = CHARGE_ERROR; Q and span are the curve's ranges of charge and voltage).
Generalised least squares whitens it with the process's scalar Kalman filter (innovations). Without
model error it is the ordinary fit in voltage; when model error rules it approaches a fit in dV/dQ,
so the weight between the two is not chosen by hand: share and length maximise the restricted
likelihood (Patterson & Thompson, Biometrika 58 (1971) 545).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from batterykit.halfcell import PotentialTables

N_PARAMETERS = 7  # P, G, S, O, L0, R, B
POSITIVE, GRAPHITE, SILICON, OFFSET, LITHIUM, RESISTANCE, RISE = range(N_PARAMETERS)

MOST_STEPS = 80
MOST_TRIES = 14  # of one step, with more and more damping
FIRST_DAMPING = 1e-2
CHARGE_ERROR = 0.3  # [1] error in charge over error in potential, as shares of the curve's ranges;
# 0.2 to 0.5 make the C/10 curve of the record's cell E2-C most likely
SMALLEST_GAIN = 1e-9  # [1] relative gain of a step below which the fit has arrived
FINEST_NOISE = 1e-6  # V: a curve without noise counts as having this much


@njit(cache=True, nogil=True)
def condense(
    charge: np.ndarray, voltage: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average a curve in bins of charge; empty bins are left out.

    Parameters
    ----------
    charge, voltage
        Samples in order of charge, (sample,) [Ah], [V].
    edges
        Of the bins, rising, (bin + 1,) [Ah]; samples outside are left out.

    Returns
    -------
    tuple
        Mean charge [Ah], mean voltage [V] and number of samples, each (filled bin,) float64.
    """
    n = len(edges) - 1
    q, v, count = np.zeros(n), np.zeros(n), np.zeros(n)
    b = 0
    for i in range(len(charge)):
        if charge[i] < edges[0] or charge[i] > edges[n]:
            continue
        while b < n - 1 and charge[i] >= edges[b + 1]:
            b += 1
        q[b] += charge[i]
        v[b] += voltage[i]
        count[b] += 1.0
    filled = count > 0.0
    return q[filled] / count[filled], v[filled] / count[filled], count[filled]


@njit(cache=True, nogil=True)
def evaluate(
    theta: np.ndarray,
    charge: np.ndarray,
    current: float,
    tables: PotentialTables,
    voltage: np.ndarray,
    jacobian: np.ndarray,
) -> None:
    """Write the model's voltage, and its derivatives if there is room for them.

    Parameters
    ----------
    theta
        P, G, S, O, L0 [Ah], R, B [Ohm], (7,).
    charge
        Discharged so far, rising, (sample,) [Ah].
    current
        [A], positive on discharge.
    tables
        Of the half cells.
    voltage
        Out: (sample,) [V].
    jacobian
        Out: (sample, 7), derivatives by `theta`; or (0, 7): they are not wanted.
    """
    positive, graphite, silicon = theta[POSITIVE], theta[GRAPHITE], theta[SILICON]
    last = len(tables.potential) - 2
    k = 0
    for i in range(len(charge)):
        lithium = theta[LITHIUM] - charge[i]
        while k < last and (
            graphite * tables.graphite[k + 1] + silicon * tables.silicon[k + 1] > lithium
        ):
            k += 1
        u, x_gr, x_si, slope = _potential_at(lithium, graphite, silicon, k, tables)
        z = (theta[OFFSET] + lithium) / positive
        u_p, u_p_slope = _positive_at(z, tables)
        rise = math.exp(min((u - tables.empty_potential) / tables.empty_width, 50.0))
        voltage[i] = u_p - u - current * (theta[RESISTANCE] + theta[RISE] * rise)
        if len(jacobian):
            by_z = u_p_slope / positive
            by_lithium = (-1.0 - current * theta[RISE] * rise / tables.empty_width) / slope
            jacobian[i, POSITIVE] = -by_z * z
            jacobian[i, GRAPHITE] = -by_lithium * x_gr
            jacobian[i, SILICON] = -by_lithium * x_si
            jacobian[i, OFFSET] = by_z
            jacobian[i, LITHIUM] = by_z + by_lithium
            jacobian[i, RESISTANCE] = -current
            jacobian[i, RISE] = -current * rise


@njit(cache=True, nogil=True)
def _potential_at(
    lithium: float, graphite: float, silicon: float, k: int, tables: PotentialTables
) -> tuple[float, float, float, float]:
    """Return U, x_Gr, x_Si and dL/dU where the NE holds `lithium`, in the table's interval k.

    Beyond the table's ends the phases go on as straight lines, so that a fit can come back.
    """
    g0, g1 = tables.graphite[k], tables.graphite[k + 1]
    s0, s1 = tables.silicon[k], tables.silicon[k + 1]
    gd0, gd1 = tables.graphite_slope[k], tables.graphite_slope[k + 1]
    sd0, sd1 = tables.silicon_slope[k], tables.silicon_slope[k + 1]
    low, step = tables.potential[k], tables.potential[k + 1] - tables.potential[k]
    l0, l1 = graphite * g0 + silicon * s0, graphite * g1 + silicon * s1
    d0, d1 = graphite * gd0 + silicon * sd0, graphite * gd1 + silicon * sd1
    if lithium > l0:
        slope = min(d0, -1e-9)
        away = (lithium - l0) / slope
        return low + away, g0 + away * gd0, s0 + away * sd0, slope
    if lithium < l1:
        slope = min(d1, -1e-9)
        away = (lithium - l1) / slope
        return low + step + away, g1 + away * gd1, s1 + away * sd1, slope
    t = (lithium - l0) / (l1 - l0) if l1 < l0 else 0.0
    slope = (l1 - l0) / step
    for _ in range(4):
        value, slope = _hermite(t, step, l0, l1, d0, d1)
        if not slope < -1e-12:
            slope = min((l1 - l0) / step, -1e-12)
            break
        move = (lithium - value) / (slope * step)
        t = min(1.0, max(0.0, t + move))
        if abs(move) < 1e-10:
            break
    x_gr, _ = _hermite(t, step, g0, g1, gd0, gd1)
    x_si, _ = _hermite(t, step, s0, s1, sd0, sd1)
    return low + t * step, x_gr, x_si, slope


@njit(cache=True, nogil=True)
def _positive_at(z: float, tables: PotentialTables) -> tuple[float, float]:
    """Return U_p and its slope at z; straight lines beyond the table."""
    last = len(tables.positive) - 2
    place = (z - tables.positive_start) / tables.positive_step
    if place <= 0.0:
        slope = tables.positive_slope[0]
        return tables.positive[0] + place * tables.positive_step * slope, slope
    if place >= last + 1.0:
        slope = tables.positive_slope[last + 1]
        away = (place - last - 1.0) * tables.positive_step
        return tables.positive[last + 1] + away * slope, slope
    k = min(int(place), last)
    return _hermite(
        place - k,
        tables.positive_step,
        tables.positive[k],
        tables.positive[k + 1],
        tables.positive_slope[k],
        tables.positive_slope[k + 1],
    )


@njit(cache=True, nogil=True)
def _hermite(
    t: float, step: float, y0: float, y1: float, d0: float, d1: float
) -> tuple[float, float]:
    """Return value and slope of the cubic through two values with two slopes, t from 0 to 1."""
    rest = y1 - y0
    c2 = 3.0 * rest - step * (2.0 * d0 + d1)
    c3 = step * (d0 + d1) - 2.0 * rest
    value = y0 + t * (step * d0 + t * (c2 + t * c3))
    return value, d0 + t * (2.0 * c2 + 3.0 * t * c3) / step


@njit(cache=True, nogil=True)
def error_weight(
    theta: np.ndarray,
    charge: np.ndarray,
    voltage: np.ndarray,
    current: float,
    tables: PotentialTables,
) -> np.ndarray:
    """Return how much larger the model error is than on a curve without slope, (bin,) [1]."""
    work = _linearise(theta, charge, voltage, current, tables)
    spans = (charge[-1] - charge[0]) / (np.max(voltage) - np.min(voltage))
    slope: np.ndarray = work[:, LITHIUM]  # V depends on L0 - q alone
    weight: np.ndarray = np.sqrt(1.0 + (CHARGE_ERROR * spans * slope) ** 2)
    return weight


@njit(cache=True, nogil=True)
def filter_gains(
    charge: np.ndarray, count: np.ndarray, weight: np.ndarray, share: float, length: float
) -> tuple[np.ndarray, float]:
    """Return the Kalman filter that whitens the residuals.

    Parameters
    ----------
    charge, count
        Of the condensed curve, (bin,) [Ah], [1].
    weight
        Of `error_weight`.
    share
        Variance of the model error over that of the noise of one sample [1]; 0 for none.
    length
        Correlation length of the model error [Ah].

    Returns
    -------
    tuple
        (bin, 4): how much of the state lasts, its weight, gain, and one over the innovation's
        standard deviation in units of the noise; and the logarithm of the covariance's
        determinant.
    """
    gains = np.empty((len(charge), 4))
    variance, logarithm = share, 0.0
    for i in range(len(charge)):
        lasts = math.exp(-(charge[i] - charge[i - 1]) / length) if i else 0.0
        variance = lasts * lasts * variance + share * (1.0 - lasts * lasts)
        innovation = weight[i] * weight[i] * variance + 1.0 / count[i]
        gain = variance * weight[i] / innovation
        gains[i, 0], gains[i, 1], gains[i, 2] = lasts, weight[i], gain
        gains[i, 3] = 1.0 / math.sqrt(innovation)
        variance *= 1.0 - gain * weight[i]
        logarithm += math.log(innovation)
    return gains, logarithm


@njit(cache=True, nogil=True)
def _whiten(gains: np.ndarray, values: np.ndarray) -> None:
    """Whiten the columns of (bin, column) in place."""
    state = np.zeros(values.shape[1])
    for i in range(len(values)):
        for column in range(values.shape[1]):
            state[column] *= gains[i, 0]
            innovation = values[i, column] - gains[i, 1] * state[column]
            state[column] += gains[i, 2] * innovation
            values[i, column] = innovation * gains[i, 3]


@njit(cache=True, nogil=True)
def _solve(
    matrix: np.ndarray, right: np.ndarray, free: np.ndarray, damping: float
) -> tuple[np.ndarray, float]:
    """Solve for the free unknowns by Cholesky, the others stay 0; and log det of what is free.

    The diagonal is scaled to one and raised by `damping`; NaN when not positive definite.
    """
    p = len(right)
    scale = np.ones(p)
    for i in range(p):
        if free[i] and matrix[i, i] > 0.0:
            scale[i] = 1.0 / math.sqrt(matrix[i, i])
    lower = np.zeros((p, p))
    logarithm = 0.0
    x = np.zeros(p)
    for i in range(p):
        if not free[i]:
            continue
        for j in range(i + 1):
            if not free[j]:
                continue
            total = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                if free[k]:
                    total -= lower[i, k] * lower[j, k]
            if i == j:
                total += damping
                if not total > 1e-14:
                    return np.full(p, np.nan), np.nan
                lower[i, i] = math.sqrt(total)
                logarithm += math.log(total) - 2.0 * math.log(scale[i])
            else:
                lower[i, j] = total / lower[j, j]
    for i in range(p):
        if free[i]:
            total = right[i] * scale[i]
            for k in range(i):
                if free[k]:
                    total -= lower[i, k] * x[k]
            x[i] = total / lower[i, i]
    for i in range(p - 1, -1, -1):
        if free[i]:
            total = x[i]
            for k in range(i + 1, p):
                if free[k]:
                    total -= lower[k, i] * x[k]
            x[i] = total / lower[i, i]
    return x * scale, logarithm


@njit(cache=True, nogil=True)
def _normal_equations(work: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return J'J, J'r and r'r of whitened columns (bin, 7 + 1), the residual last."""
    p = N_PARAMETERS
    matrix, right, squares = np.zeros((p, p)), np.zeros(p), 0.0
    for i in range(len(work)):
        r = work[i, p]
        squares += r * r
        for a in range(p):
            if free[a]:
                right[a] += work[i, a] * r
                for b in range(a + 1):
                    matrix[a, b] += work[i, a] * work[i, b]
    for a in range(p):
        for b in range(a):
            matrix[b, a] = matrix[a, b]
    return matrix, right, squares


@njit(cache=True, nogil=True)
def _linearise(
    theta: np.ndarray,
    charge: np.ndarray,
    voltage: np.ndarray,
    current: float,
    tables: PotentialTables,
) -> np.ndarray:
    """Return derivatives and residual at theta: (bin, 7 + 1), not whitened."""
    model, work = np.empty(len(charge)), np.empty((len(charge), N_PARAMETERS + 1))
    evaluate(theta, charge, current, tables, model, work[:, :N_PARAMETERS])
    work[:, N_PARAMETERS] = model - voltage
    return work


@njit(cache=True, nogil=True)
def _cost(
    theta: np.ndarray,
    charge: np.ndarray,
    voltage: np.ndarray,
    current: float,
    tables: PotentialTables,
    gains: np.ndarray,
) -> float:
    residual = np.empty((len(charge), 1))
    evaluate(theta, charge, current, tables, residual[:, 0], np.empty((0, N_PARAMETERS)))
    residual[:, 0] -= voltage
    _whiten(gains, residual)
    total = 0.0
    for i in range(len(residual)):
        total += residual[i, 0] * residual[i, 0]
    return total


@njit(cache=True, nogil=True)
def _unbound(
    theta: np.ndarray, right: np.ndarray, lowest: np.ndarray, highest: np.ndarray
) -> np.ndarray:
    """Return which parameters may move: not fixed, and not pushed against their bound."""
    free = highest > lowest
    for i in range(len(theta)):
        if (theta[i] <= lowest[i] and right[i] > 0.0) or (
            theta[i] >= highest[i] and right[i] < 0.0
        ):
            free[i] = False
    return free


@njit(cache=True, nogil=True)
def fit_starts(
    starts: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    charge: np.ndarray,
    voltage: np.ndarray,
    current: float,
    tables: PotentialTables,
    gains: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit from every start by Levenberg-Marquardt with bounds (projected steps).

    Parameters
    ----------
    starts
        (start, 7), inside the bounds.
    lowest, highest
        Bounds, (7,); equal for a parameter that is not fitted.
    charge, voltage, current, tables
        The condensed curve and the half cells; see `evaluate`.
    gains
        Of `filter_gains`.
    steps
        At most.

    Returns
    -------
    tuple
        Where the fits ended, (start, 7); and (start, 3): sum of the whitened squares at the end,
        what one more full step would still gain over it, and the number of steps that improved.
    """
    ends, ends_told = starts.copy(), np.empty((len(starts), 3))
    floor = len(charge) * FINEST_NOISE**2
    for start in range(len(starts)):
        theta = starts[start].copy()
        cost = _cost(theta, charge, voltage, current, tables, gains)
        damping, improved, promised = FIRST_DAMPING, 0, np.inf
        for _ in range(steps):
            work = _linearise(theta, charge, voltage, current, tables)
            _whiten(gains, work)
            matrix, right, _ = _normal_equations(work, highest > lowest)
            free = _unbound(theta, right, lowest, highest)
            full, _ = _solve(matrix, right, free, 1e-12)
            promised = 0.0
            for i in range(N_PARAMETERS):
                promised += full[i] * right[i]
            accepted, gain = False, 0.0
            for _ in range(MOST_TRIES):
                step, _ = _solve(matrix, right, free, damping)
                trial = np.minimum(highest, np.maximum(lowest, theta - step))
                new = _cost(trial, charge, voltage, current, tables, gains)
                if new < cost:
                    gain, accepted = cost - new, True
                    theta, cost = trial, new
                    damping = max(1e-10, 0.1 * damping)
                    break
                damping = min(1e8, 5.0 * max(damping, 1e-9))
            if not accepted:
                break
            improved += 1
            if gain < SMALLEST_GAIN * max(cost, floor):
                break
        ends[start] = theta
        ends_told[start, 0] = cost
        ends_told[start, 1] = promised / max(cost, floor)
        ends_told[start, 2] = improved
    return ends, ends_told


@njit(cache=True, nogil=True)
def _restricted_likelihood(
    work: np.ndarray,
    free: np.ndarray,
    charge: np.ndarray,
    count: np.ndarray,
    weight: np.ndarray,
    share: float,
    length: float,
) -> float:
    """Return the logarithm, up to a constant, at the optimum of the linearised model."""
    gains, logarithm = filter_gains(charge, count, weight, share, length)
    white = work.copy()
    _whiten(gains, white)
    matrix, right, squares = _normal_equations(white, free)
    step, of_matrix = _solve(matrix, right, free, 0.0)
    left = squares
    for i in range(N_PARAMETERS):
        left -= step[i] * right[i]
    freedom = len(charge) - int(np.sum(free))
    if not (left > 0.0 and freedom > 0):
        return -np.inf
    value: float = -0.5 * (freedom * math.log(left / freedom) + logarithm + of_matrix)
    return value


@njit(cache=True, nogil=True)
def model_error(
    theta: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    charge: np.ndarray,
    voltage: np.ndarray,
    count: np.ndarray,
    weight: np.ndarray,
    current: float,
    tables: PotentialTables,
    least_evidence: float,
) -> tuple[float, float]:
    """Return share and length of the model error that make the residuals most likely.

    Parameters
    ----------
    theta, lowest, highest, charge, voltage, count, weight, current, tables
        See `fit_starts` and `filter_gains`.
    least_evidence
        Gain of the logarithm of the likelihood below which there is no model error.

    Returns
    -------
    tuple
        share [1] (0 when there is none) and length [Ah], as for `filter_gains`.
    """
    work = _linearise(theta, charge, voltage, current, tables)
    free = (highest > lowest) & (theta > lowest) & (theta < highest)
    span = charge[-1] - charge[0]
    nothing = _restricted_likelihood(work, free, charge, count, weight, 0.0, span)
    best, share, length = nothing, 0.0, span
    for decade in range(-2, 8):
        for third in range(6):
            trial_share, trial_length = 10.0**decade, span * 10.0 ** (-third / 3.0)
            value = _restricted_likelihood(
                work, free, charge, count, weight, trial_share, trial_length
            )
            if value > best:
                best, share, length = value, trial_share, trial_length
    if not best > nothing + least_evidence:
        return 0.0, span
    for halving in range(1, 5):
        centre_share, centre_length = share, length
        for a in range(-1, 2):
            for b in range(-1, 2):
                trial_share = centre_share * 10.0 ** (a * 0.5**halving)
                trial_length = min(span, centre_length * 10.0 ** (b * 0.5**halving / 3.0))
                value = _restricted_likelihood(
                    work, free, charge, count, weight, trial_share, trial_length
                )
                if value > best:
                    best, share, length = value, trial_share, trial_length
    return share, length


@njit(cache=True, nogil=True)
def covariance(
    theta: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    charge: np.ndarray,
    voltage: np.ndarray,
    current: float,
    tables: PotentialTables,
    gains: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Return the parameters' covariance (7, 7) and the variance of one sample's noise [V2].

    A parameter at a bound counts as known; its row and column are 0.
    """
    work = _linearise(theta, charge, voltage, current, tables)
    _whiten(gains, work)
    free = (highest > lowest) & (theta > lowest) & (theta < highest)
    matrix, _, squares = _normal_equations(work, free)
    variance = squares / max(1, len(charge) - int(np.sum(free)))
    result = np.zeros((N_PARAMETERS, N_PARAMETERS))
    for i in range(N_PARAMETERS):
        if free[i]:
            unit = np.zeros(N_PARAMETERS)
            unit[i] = 1.0
            column, _ = _solve(matrix, unit, free, 0.0)
            for j in range(N_PARAMETERS):
                result[j, i] = column[j] * variance
    return result, variance
