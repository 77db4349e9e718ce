"""Tuning of the peers: a grid of settings for each, tried on curves of another seed.

`python -m benchmarks.tuning` writes `settings.json`, which `benchmarks.ica` takes. Each peer is
tuned by itself for each number of points and noise. The score of a setting is the sum of its dQ/dV
error, peak error (median and 95th percentile), missed and false peaks, each over what is asked of
us (`SCALES`); among settings within 5 % of the best score the fastest is taken.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import Accuracy, Truth, assess
from benchmarks.curves import Curves, generate
from benchmarks.methods import PEERS, SETTINGS_FILE, Outcome, Settings, find_truths, run_peer
from benchmarks.venvs import DEFAULT_FOLDER

SEED = 1000  # the benchmark itself uses 0
CURVES = 20
CURVES_TRIED = 10
POINTS, NOISES = (4_000, 40_000), (1e-4, 1e-3)
BUDGET = 8.0  # [s] for one setting
CLOSE = 1.05  # [1] of the best score
PROMINENCES = (0.01, 0.015, 0.02, 0.03, 0.04)  # [1] of the range
SCALES = {"dqdv": 0.014, "median": 5e-4, "p95": 3e-3, "missed": 0.01, "false": 0.02}


def _gaussian(widths: float) -> list[float]:
    taps = np.exp(-0.5 * (np.arange(-round(3 * widths), round(3 * widths) + 1) / widths) ** 2)
    return [float(tap) for tap in taps / taps.sum()]


def _product(**choices: list[Any]) -> list[Settings]:
    return [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]


GRIDS: dict[str, list[Settings]] = {
    "cellpy": _product(
        voltage_resolution=[None, 0.0005, 0.001],
        voltage_fwhm=[0.004, 0.008, 0.012, 0.016],
        savgol_filter_window_divisor_default=[8, 12, 18, 25],
        savgol_filter_window_order=[2, 3],
        max_points=[None, 4000],
    ),
    "PyProBE LEAN": _product(
        bin=[0.001, 0.002, 0.003, 0.005],
        # the default (5 taps), the source's 7 taps, and Gaussians: its parameter takes any filter
        filter=[
            None,
            [0.1059, 0.121, 0.1745, 0.1972, 0.1745, 0.121, 0.1059],
            _gaussian(2.0),
            _gaussian(4.0),
            _gaussian(6.0),
        ],
    ),
    "PyProBE spline": _product(
        **{
            "lambda": [10.0 ** (0.5 * k) for k in range(-7, 3)],
            "interval": [None, 0.001],
        }
    ),
    "scipy": _product(window=[0.02, 0.03, 0.04, 0.055, 0.07, 0.09, 0.12, 0.16], order=[2, 3, 4, 5]),
    "scipy, averaged": _product(
        window=[0.02, 0.03, 0.04, 0.055, 0.07, 0.09, 0.12, 0.16],
        order=[2, 3, 4, 5],
        blocks=[200, 500, 1000, 2000],
    ),
}


def score(found: Accuracy) -> float:
    """Return how far a method is from what is asked, the less the better; NaN is worst."""
    parts = (
        found.dqdv_error / SCALES["dqdv"],
        found.peak_error_median / SCALES["median"],
        found.peak_error_p95 / SCALES["p95"],
        (1.0 - found.recall) / SCALES["missed"],
        found.false_peaks / SCALES["false"],
    )
    total = sum(parts)
    return total if np.isfinite(total) else float("inf")


def with_prominence(outcome: Outcome, prominence: float) -> Outcome:
    """Return the outcome with only the peaks that are so prominent."""
    assert outcome.prominences is not None
    pairs = list(zip(outcome.estimates, outcome.prominences, strict=True))
    return replace(
        outcome,
        estimates=[replace(e, peaks=e.peaks[share >= prominence]) for e, share in pairs],
        prominences=[share[share >= prominence] for _, share in pairs],
    )


def tune(name: str, curves: Curves, truths: list[Truth], venvs: Path) -> dict[str, Any]:
    """Return the best of the grid for one peer: a row of `settings.json`."""
    outcomes = run_peer(name, curves, GRIDS[name], repeats=1, budget=BUDGET, venvs=venvs)
    tried = []
    for settings, outcome in zip(GRIDS[name], outcomes, strict=True):
        for prominence in PROMINENCES:
            part = with_prominence(outcome, prominence)
            found = assess([truths[k] for k in part.which], part.estimates)
            seconds = float(np.mean(outcome.seconds))
            tried.append((score(found), seconds, settings | {"prominence": prominence}, found))
    best = min(row[0] for row in tried)
    points, seconds, settings, found = min(
        (row for row in tried if row[0] <= CLOSE * best), key=lambda row: (row[1], row[0])
    )
    return {
        "method": name,
        "settings": settings,
        "score": round(points, 3),
        "tried": len(GRIDS[name]) * len(PROMINENCES),
        "found": f"{1e3 * seconds:.2f} ms, dQ/dV {100 * found.dqdv_error:.2f} %, peaks "
        f"{1e3 * found.peak_error_median:.2f} / {1e3 * found.peak_error_p95:.2f} mV, "
        f"recall {100 * found.recall:.1f} %, false {found.false_peaks:.2f}",
    }


def main() -> None:
    """Tune the peers and write the settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--points", nargs="+", type=int, default=list(POINTS))
    parser.add_argument("--venvs", type=Path, default=DEFAULT_FOLDER)
    options = parser.parse_args()
    for n in options.points:
        for noise in NOISES:
            curves = generate(n, noise, curves=CURVES, seed=SEED)
            part = curves.part(np.linspace(0, CURVES - 1, CURVES_TRIED).astype(np.int64))
            truths = find_truths(part) or []
            for name in options.methods:
                row = tune(name, part, truths, options.venvs)
                row = {"method": row.pop("method"), "points": n, "noise_mV": 1e3 * noise} | row
                old = json.loads(SETTINGS_FILE.read_text()) if SETTINGS_FILE.exists() else []
                key = ("method", "points", "noise_mV")
                old = [other for other in old if any(other[k] != row[k] for k in key)] + [row]
                SETTINGS_FILE.write_text(json.dumps(old, indent=1) + "\n")
                print(f"{name}, {n}, {1e3 * noise:g} mV: {row['found']}", file=sys.stderr)


if __name__ == "__main__":
    main()
