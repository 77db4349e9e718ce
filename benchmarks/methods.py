"""Ours and the peers under one roof: curves in, dQ/dV, peaks and times out."""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from batterykit.features.ica import analyse, ica
from benchmarks.accuracy import Estimate, Truth, find_truth
from benchmarks.curves import Curves, as_dataset
from benchmarks.venvs import find_python, run_module

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Settings = dict[str, Any]

OURS, CANDIDATES = "batterykit", "batterykit, untracked"
SETTINGS_FILE = Path(__file__).parent / "settings.json"


@dataclass(frozen=True)
class Peer:
    """One peer's method.

    Parameters
    ----------
    package
        Whose it is: `--peers` takes it, and the virtual environment has its name.
    module
        Below `benchmarks.peers`.
    requirements
        For pip; none where batterykit's own environment serves.
    by_hand
        No tool does this as it is: someone has to write it.
    """

    package: str
    module: str
    requirements: tuple[str, ...] = ()
    by_hand: bool = False


CELLPY = ("cellpy==1.0.3", "numpy==2.4.6", "scipy==1.17.1", "pandas==2.3.3")
PYPROBE = ("PyProBE-Data==2.6.1", "numpy==2.4.6", "scipy==1.17.1", "polars==1.44.2")

PEERS = {
    "cellpy": Peer("cellpy", "cellpy", CELLPY),
    "PyProBE LEAN": Peer("pyprobe", "pyprobe_lean", PYPROBE),
    "PyProBE spline": Peer("pyprobe", "pyprobe_spline", PYPROBE),
    "scipy": Peer("scipy", "scipy"),
    "scipy, averaged": Peer("scipy", "scipy", by_hand=True),
}


@dataclass(frozen=True)
class Outcome:
    """What a method made of some curves.

    Parameters
    ----------
    which
        Indices of the curves that were done.
    seconds
        For each of them, the best of several runs [s].
    estimates
        For each of them.
    prominences
        Of the peaks of each, as a share of the range [1]; None for ours.
    """

    which: IntArray
    seconds: FloatArray
    estimates: list[Estimate]
    prominences: list[FloatArray] | None = None


def find_truths(curves: Curves) -> list[Truth] | None:
    """Return the truth of each curve, None where the curves have none."""
    if curves.voltage_truth is None or curves.dqdv_truth is None:
        return None
    pairs = zip(curves.voltage_truth, curves.dqdv_truth, strict=True)
    return [find_truth(voltage, dqdv) for voltage, dqdv in pairs]


def run_ours(
    curves: Curves, threads: int, repeats: int, *, tracked: bool = True, budget: float = math.inf
) -> Outcome:
    """Run `features.ica` on all curves, with its default options.

    Parameters
    ----------
    curves, threads
        What to analyse, and shared among how many threads.
    repeats
        Times are the best of so many.
    tracked
        All of `ica`, peaks named; else `analyse` alone with its candidate peaks.
    budget
        No repetition begins after so long [s].
    """
    dataset = as_dataset(curves)
    work = ica if tracked else analyse
    found = work(dataset, threads=threads)  # warm up
    best, start = math.inf, time.perf_counter()
    for _ in range(repeats):
        begin = time.perf_counter()
        found = work(dataset, threads=threads)
        best = min(best, time.perf_counter() - begin)
        if time.perf_counter() - start > budget:
            break
    peaks = found["peak_voltage" if tracked else "candidate_voltage"].values
    voltage = found["voltage"].values
    n = len(curves)
    return Outcome(
        np.arange(n),
        np.full(n, best / n),
        [Estimate(voltage, found["dqdv"].values[k], peaks[k]) for k in range(n)],
    )


def run_peer(
    name: str,
    curves: Curves,
    settings: list[Settings],
    *,
    repeats: int,
    budget: float,
    venvs: Path,
) -> list[Outcome]:
    """Run a peer in its own environment, once with each of the settings.

    Parameters
    ----------
    name
        A key of `PEERS`.
    curves, settings
        What to analyse, and how.
    repeats
        Times are the best of so many, curve by curve.
    budget
        No curve is begun after so long with one of the settings [s].
    venvs
        Folder of the virtual environments.

    Raises
    ------
    PeerError
        It cannot be installed, or fails.
    """
    peer = PEERS[name]
    python = find_python(venvs, peer.package, peer.requirements)
    with tempfile.TemporaryDirectory(prefix="batterykit-benchmark-") as scratch:
        source, target = Path(scratch, "curves.npz"), Path(scratch, "found.npz")
        job = {"settings": settings, "repeats": repeats, "budget_s": budget}
        np.savez(
            source,
            v_flat=curves.voltage,
            q_flat=curves.charge,
            offsets=curves.offsets,
            job=np.array(json.dumps(job)),
        )
        run_module(python, f"benchmarks.peers.{peer.module}", [str(source), str(target)])
        with np.load(target, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    return [_outcome(arrays, k) for k in range(len(settings))]


def _outcome(arrays: dict[str, npt.NDArray[Any]], k: int) -> Outcome:
    def parts(values: str, offsets: str) -> list[FloatArray]:
        return np.split(arrays[f"{k}_{values}"], arrays[f"{k}_{offsets}"][1:-1])

    columns = (
        parts("voltage", "offsets"),
        parts("dqdv", "offsets"),
        parts("peaks", "peak_offsets"),
    )
    return Outcome(
        arrays[f"{k}_curves"],
        arrays[f"{k}_seconds"],
        [Estimate(v, d, p) for v, d, p in zip(*columns, strict=True)],
        parts("prominences", "peak_offsets"),
    )


def load_settings(name: str, points: float, noise: float) -> Settings:
    """Return the peer's tuned settings for the nearest number of points and noise [V].

    Raises
    ------
    KeyError
        None were ever tuned for this peer.
    """
    tuned = [row for row in json.loads(SETTINGS_FILE.read_text()) if row["method"] == name]
    if not tuned:
        raise KeyError(name)

    def distance(row: dict[str, Any]) -> float:
        noises = math.log(max(noise, 1e-6) / (row["noise_mV"] * 1e-3))
        return math.log(points / row["points"]) ** 2 + noises**2

    found: Settings = min(tuned, key=distance)["settings"]
    return found
