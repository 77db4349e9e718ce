"""How far a dQ/dV and its peaks are from the truth: the definitions that every method is held to.

- **A true peak** is a local maximum of the analytic dQ/dV whose prominence is at least 5 % of the
  range of the true dQ/dV (its largest less its smallest value).
- **Found.** True peaks and found peaks are matched one to one, nearest pair first; a true peak is
  found if its partner lies within 20 mV. Peak errors are the distances of these pairs, recall the
  share of true peaks that have a partner.
- **False** is a found peak with no local maximum of the truth within 20 mV, however small: down to
  0.1 % of the range. So a method may, but need not, report the small true maxima.
- **dQ/dV error** is the root mean square of (found - true) over the voltages that the curve
  covers, every millivolt, over the range of the true dQ/dV; the mean over the curves. What a method
  gives is interpolated linearly and held at its ends: leaving out difficult ends does not pay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

TRUE_PROMINENCE = 0.05  # [1] of the range
SMALLEST_PROMINENCE = 0.001  # [1] of the range
TOLERANCE = 0.020  # [V]
GRID_STEP = 0.001  # [V]


@dataclass(frozen=True)
class Truth:
    """The noise-free curve, by rising voltage.

    Parameters
    ----------
    voltage, dqdv
        Nodes [V], [Ah/V].
    peaks
        Voltages of the true peaks [V].
    maxima
        Voltages of all its maxima, down to the smallest that count [V].
    """

    voltage: FloatArray
    dqdv: FloatArray
    peaks: FloatArray
    maxima: FloatArray


@dataclass(frozen=True)
class Estimate:
    """What a method made of one curve.

    Parameters
    ----------
    voltage, dqdv
        Its dQ/dV [V], [Ah/V], in any order; what is not finite is ignored.
    peaks
        Voltages of its peaks [V]; NaN is none.
    """

    voltage: FloatArray
    dqdv: FloatArray
    peaks: FloatArray


@dataclass(frozen=True)
class Accuracy:
    """Of one method over many curves; NaN where there was nothing to measure.

    Parameters
    ----------
    dqdv_error
        [1] of the range of the true dQ/dV.
    peak_error_median, peak_error_p95
        [V].
    recall
        [1] of the true peaks.
    false_peaks
        For each curve [1].
    true_peaks
        For each curve [1].
    """

    dqdv_error: float
    peak_error_median: float
    peak_error_p95: float
    recall: float
    false_peaks: float
    true_peaks: float


def find_truth(voltage: FloatArray, dqdv: FloatArray) -> Truth:
    """Return the truth of one curve with its peaks, from nodes in any order."""
    from scipy.signal import find_peaks

    order = np.argsort(voltage, kind="stable")
    voltage, dqdv = voltage[order], dqdv[order]
    spread = float(np.ptp(dqdv))
    if not spread > 0:
        return Truth(voltage, dqdv, np.empty(0), np.empty(0))
    top, found = find_peaks(dqdv, prominence=SMALLEST_PROMINENCE * spread)
    large = found["prominences"] >= TRUE_PROMINENCE * spread
    return Truth(voltage, dqdv, voltage[top[large]], voltage[top])


def match(true: FloatArray, found: FloatArray, tolerance: float = TOLERANCE) -> FloatArray:
    """Return the distances of the pairs, matched one to one and nearest first [V]."""
    distance = np.abs(np.subtract.outer(true, found))
    pairs = []
    while distance.size and np.min(distance) <= tolerance:
        i, j = np.unravel_index(int(np.argmin(distance)), distance.shape)
        pairs.append(float(distance[i, j]))
        distance[i, :] = np.inf
        distance[:, j] = np.inf
    return np.array(pairs)


def measure_dqdv_error(truth: Truth, estimate: Estimate) -> float:
    """Return the error of one curve's dQ/dV [1]; NaN if the estimate is empty."""
    usable = np.isfinite(estimate.voltage) & np.isfinite(estimate.dqdv)
    if not np.any(usable):
        return float("nan")
    voltage, dqdv = estimate.voltage[usable], estimate.dqdv[usable]
    order = np.argsort(voltage, kind="stable")
    first, last = np.ceil(truth.voltage[[0, -1]] / GRID_STEP)
    grid = (np.arange(first, last - 1) + 0.5) * GRID_STEP
    true = np.interp(grid, truth.voltage, truth.dqdv)
    error = np.interp(grid, voltage[order], dqdv[order]) - true
    return float(np.sqrt(np.mean(error**2)) / np.ptp(true))


def assess(truths: list[Truth], estimates: list[Estimate]) -> Accuracy:
    """Return the accuracy over all curves."""
    pairs, false, wanted = [], 0, 0
    for truth, estimate in zip(truths, estimates, strict=True):
        found = estimate.peaks[np.isfinite(estimate.peaks)]
        pairs.append(match(truth.peaks, found))
        wanted += len(truth.peaks)
        distance = np.abs(np.subtract.outer(found, truth.maxima))
        false += int(np.sum(np.min(distance, axis=1, initial=np.inf) > TOLERANCE))
    errors = np.concatenate([np.empty(0), *pairs])
    nan = float("nan")
    return Accuracy(
        float(np.mean([measure_dqdv_error(t, e) for t, e in zip(truths, estimates, strict=True)])),
        float(np.median(errors)) if len(errors) else nan,
        float(np.quantile(errors, 0.95)) if len(errors) else nan,
        len(errors) / wanted if wanted else nan,
        false / len(truths),
        wanted / len(truths),
    )
