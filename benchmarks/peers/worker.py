"""Run a peer on curves from a file and write what it found, with the time of each curve.

`python -m benchmarks.peers.NAME INPUT.npz OUTPUT.npz`. INPUT holds v_flat, q_flat, offsets and
`job`, JSON: settings (a list; each is run), repeats, budget_s. OUTPUT holds for setting k the
arrays k_curves (which curves were done), k_seconds (best of the repeats), k_voltage, k_dqdv,
k_offsets (what the peer returned, end to end), k_peaks, k_prominences, k_peak_offsets. Only the
peer's own computation is timed: no import, no file, no making of its input type. Curves are taken
in a fixed order that scatters them, until all are done or the budget is spent.

Nothing of batterykit is imported here: this runs in a peer's own virtual environment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Settings = dict[str, Any]
Differentiate = Callable[[], tuple[FloatArray, FloatArray]]
Prepare = Callable[[FloatArray, FloatArray, Settings], Differentiate]

LOWEST_PROMINENCE = 0.01  # [1] of the range; settings may ask for more


def find_peaks(dqdv: FloatArray, prominence: float) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return index and prominence [1 of the range] of the peaks, by scipy."""
    from scipy import signal

    dqdv = np.nan_to_num(dqdv, nan=0.0, posinf=0.0, neginf=0.0)
    spread = float(np.ptp(dqdv)) if len(dqdv) else 0.0
    if not spread > 0:
        return np.empty(0, np.int64), np.empty(0)
    top, found = signal.find_peaks(dqdv, prominence=prominence * spread)
    return top, found["prominences"] / spread


def run(prepare: Prepare, *, own_peaks: bool = False) -> None:
    """Do what the command line asks for.

    Parameters
    ----------
    prepare
        Takes voltage [V] and charge [Ah] of a discharge and the settings; returns what to time: a
        function that gives voltages [V] and the magnitude of dQ/dV there [Ah/V].
    own_peaks
        Finding the peaks is the peer's own work, and timed.
    """
    source, target = sys.argv[1:]
    with np.load(source, allow_pickle=False) as file:
        voltage, charge, offsets = file["v_flat"], file["q_flat"], file["offsets"]
        job = json.loads(str(file["job"]))
    order = np.random.default_rng(0).permutation(len(offsets) - 1)
    results: dict[str, npt.NDArray[Any]] = {}
    for k, settings in enumerate(job["settings"]):
        prominence = settings.get("prominence", LOWEST_PROMINENCE)
        done: list[int] = []
        seconds, curves, peaks = [], [], []
        start = time.perf_counter()
        for curve in order:
            if done and time.perf_counter() - start > job["budget_s"]:
                break
            part = slice(offsets[curve], offsets[curve + 1])
            work = prepare(voltage[part].copy(), charge[part].copy(), settings)
            times = []
            for _ in range(job["repeats"] + (not done)):  # once more to warm up
                begin = time.perf_counter()
                v, d = work()
                if own_peaks:
                    find_peaks(d, prominence)
                times.append(time.perf_counter() - begin)
            top, share = find_peaks(d, prominence)
            done.append(int(curve))
            seconds.append(min(times))
            curves.append((v, d))
            peaks.append((v[top], share))
        results |= {f"{k}_curves": np.array(done), f"{k}_seconds": np.array(seconds)}
        results |= _joined(f"{k}_", ("voltage", "dqdv", "offsets"), curves)
        results |= _joined(f"{k}_", ("peaks", "prominences", "peak_offsets"), peaks)
    np.savez(target, **results)  # type: ignore[arg-type]


def _joined(
    prefix: str, names: tuple[str, str, str], pairs: list[tuple[FloatArray, FloatArray]]
) -> dict[str, npt.NDArray[Any]]:
    return {
        prefix + names[0]: np.concatenate([pair[0] for pair in pairs]),
        prefix + names[1]: np.concatenate([pair[1] for pair in pairs]),
        prefix + names[2]: np.cumsum([0, *(len(pair[0]) for pair in pairs)]),
    }
