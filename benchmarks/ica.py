"""Incremental capacity analysis beside cellpy, PyProBE and scipy: accuracy and time in one run.

`python -m benchmarks.ica [--json]`. Everyone gets the same curves (`benchmarks.curves`, or a file
of your own), is judged by the same definitions (`benchmarks.accuracy`), and runs in one thread, the
peers in a process of their own with settings tuned for them (`benchmarks.tuning`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batterykit.errors import BatterykitError
from benchmarks import footprint
from benchmarks.accuracy import Accuracy, Truth, assess
from benchmarks.curves import CELLS, CHECK_UPS, Curves, generate, read_curves
from benchmarks.methods import (
    CANDIDATES,
    OURS,
    PEERS,
    Outcome,
    find_truths,
    load_settings,
    run_ours,
    run_peer,
)
from benchmarks.venvs import DEFAULT_FOLDER, PeerError

POINTS, NOISES_MV, THREADS = (4_000, 40_000), (0.1, 1.0), (1, 2)
QUICK_CURVES, QUICK_POINTS = 12, (4_000,)
REPEATS, PEER_REPEATS = 9, 3
NOISE_BLOCK = 64  # [samples]
BUDGET = 30.0  # [s] for one peer on one set of curves
EQUAL = 1.1  # [1] an accuracy no worse than this times ours is equal


@dataclass(frozen=True)
class Row:
    """One method on one set of curves; the keys of `--json`. None is what cannot be known."""

    method: str
    points: int
    noise_mV: float | None  # noqa: N815 the field's own unit, asked for by readers of the JSON
    threads: int
    ms_per_curve: float
    peak_error_median_mV: float | None  # noqa: N815
    peak_error_p95_mV: float | None  # noqa: N815
    dqdv_error_pct: float | None
    recall_pct: float | None
    false_peaks_per_curve: float | None


@dataclass(frozen=True)
class Group:
    """All rows of one set of curves, and how many curves each method did."""

    rows: list[Row]
    curves: list[int]


def make_row(
    method: str, curves: Curves, truths: list[Truth] | None, threads: int, outcome: Outcome
) -> Row:
    """Return the row of one method."""
    sizes = np.diff(curves.offsets)
    nan = float("nan")
    found = Accuracy(nan, nan, nan, nan, nan, nan)
    if truths is not None:
        found = assess([truths[k] for k in outcome.which], outcome.estimates)

    def known(value: float, digits: int = 6) -> float | None:
        return round(value, digits) if math.isfinite(value) else None

    return Row(
        method,
        int(np.median(sizes)),
        None if curves.noise is None else round(1e3 * curves.noise, 6),
        threads,
        round(1e3 * float(np.mean(outcome.seconds)), 4),
        known(1e3 * found.peak_error_median, 4),
        known(1e3 * found.peak_error_p95, 4),
        known(1e2 * found.dqdv_error, 4),
        known(1e2 * found.recall, 3),
        known(found.false_peaks, 4),
    )


def estimate_noise(curves: Curves) -> float:
    """Return the standard deviation of white voltage noise, from second differences [V]."""
    found = [0.0]
    for first, last in itertools.pairwise(curves.offsets):
        second = np.diff(curves.voltage[first:last], 2)
        for block in np.array_split(second, max(1, len(second) // NOISE_BLOCK)):
            found.append(math.sqrt(float(np.var(block)) / 6) if len(block) else 0.0)
    return float(np.median(found))


def measure(
    curves: Curves, threads: Iterable[int], peers: Iterable[str], options: argparse.Namespace
) -> Group:
    """Run everyone on one set of curves; a peer that fails is named on stderr and left out."""
    truths = find_truths(curves)
    rows, counts = [], []

    def add(method: str, n_threads: int, outcome: Outcome) -> None:
        rows.append(make_row(method, curves, truths, n_threads, outcome))
        counts.append(len(outcome.which))

    repeats = 2 if options.quick else REPEATS
    for n in threads:
        add(OURS, n, run_ours(curves, n, repeats))
    if truths is not None:
        add(CANDIDATES, 1, run_ours(curves, 1, repeats, tracked=False))
    noise = estimate_noise(curves) if curves.noise is None else curves.noise
    for name in peers:
        try:
            settings = load_settings(name, float(np.median(np.diff(curves.offsets))), noise)
            [outcome] = run_peer(
                name,
                curves,
                [settings],
                repeats=1 if options.quick else PEER_REPEATS,
                budget=options.budget,
                venvs=options.venvs,
            )
        except PeerError as error:
            print(error, file=sys.stderr)
            continue
        add(name, 1, outcome)
    return Group(rows, counts)


def _errors(row: Row) -> list[float]:
    values = (row.dqdv_error_pct, row.peak_error_median_mV, row.peak_error_p95_mV)
    return [math.inf if value is None else value for value in values]


def is_equal(row: Row, ours: Row) -> bool:
    """Tell whether a peer is as accurate: errors within 1.1 times ours, no fewer peaks found."""
    close = all(a <= EQUAL * b for a, b in zip(_errors(row), _errors(ours), strict=True))
    return close and (row.recall_pct or 0.0) >= (ours.recall_pct or 0.0)


def find_rival(rows: list[Row]) -> tuple[Row, bool] | None:
    """Return the fastest peer as accurate as we are, else the most accurate, and which it is.

    What has to be written by hand is no tool and does not count; without truth the fastest peer is
    taken. None without peers.
    """
    ours = next(row for row in rows if row.method == OURS)
    peers = [row for row in rows if row.method in PEERS and not PEERS[row.method].by_hand]
    if not peers:
        return None
    if ours.dqdv_error_pct is None:
        return min(peers, key=lambda row: row.ms_per_curve), False
    equal = [row for row in peers if is_equal(row, ours)]
    if equal:
        return min(equal, key=lambda row: row.ms_per_curve), True
    return min(peers, key=lambda row: math.prod(_errors(row))), False


HEADINGS = (
    "method",
    "points",
    "noise mV",
    "threads",
    "curves",
    "ms a curve",
    "x ours",
    "dQ/dV error %",
    "peak median mV",
    "peak 95 % mV",
    "recall %",
    "false a curve",
)


def table(group: Group) -> list[list[str]]:
    """Return the cells of one set's table, without headings."""

    def show(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    ours = next(row for row in group.rows if row.method == OURS and row.threads == 1)
    return [
        [
            row.method,
            str(row.points),
            show(row.noise_mV, "g"),
            str(row.threads),
            str(n),
            f"{row.ms_per_curve:.3f}",
            f"{row.ms_per_curve / ours.ms_per_curve:.2f}",
            show(row.dqdv_error_pct, ".2f"),
            show(row.peak_error_median_mV, ".2f"),
            show(row.peak_error_p95_mV, ".2f"),
            show(row.recall_pct, ".1f"),
            show(row.false_peaks_per_curve, ".3f"),
        ]
        for row, n in zip(group.rows, group.curves, strict=True)
    ]


def conclude(group: Group) -> str:
    """Return the sentences below a table."""
    rival = find_rival(group.rows)
    ours = next(row for row in group.rows if row.method == OURS and row.threads == 1)
    known = ours.dqdv_error_pct is not None
    said = []
    if rival is None:
        said.append("No peer was run.")
    else:
        row, equal = rival
        what = "The fastest peer (no truth to compare by)"
        if known:
            what = "No peer is as accurate; the most accurate"
        if equal:
            what = "The fastest peer of equal accuracy"
        said.append(f"{what}: {row.method}, {row.ms_per_curve / ours.ms_per_curve:.1f} x our time.")
    for row in group.rows:
        if row.method in PEERS and PEERS[row.method].by_hand and known:
            but = "as accurate" if is_equal(row, ours) else "not as accurate"
            ratio = row.ms_per_curve / ours.ms_per_curve
            said.append(f"Written by hand ({row.method}): {ratio:.1f} x our time, {but}.")
        if row.method == OURS and row.threads > 1:
            gain = ours.ms_per_curve / row.ms_per_curve
            said.append(f"{row.threads} threads: {gain:.2f} x as fast as one.")
    return " ".join(said)


def print_report(groups: list[Group], markdown: bool) -> None:
    """Print the tables for people."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}{load}\n")
    for group in groups:
        rows = table(group)
        widths = [max(len(row[k]) for row in [list(HEADINGS), *rows]) for k in range(len(HEADINGS))]
        lines = [
            [
                cell.ljust(width) if k == 0 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            for row in [list(HEADINGS), *rows]
        ]
        if markdown:
            rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            print("\n".join(f"| {' | '.join(cells)} |" for cells in [lines[0], rule, *lines[1:]]))
        else:
            print("\n".join("  ".join(cells) for cells in lines))
        print(f"\n{conclude(group)}\n", flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ica", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="print one list of rows, nothing else")
    parser.add_argument("--markdown", action="store_true", help="print the tables for a page")
    parser.add_argument("--quick", action="store_true", help="12 curves of 4,000 points, few runs")
    parser.add_argument("--curves", type=Path, metavar="FILE.npz", help="v_flat, q_flat, offsets")
    parser.add_argument("--set", choices=("lgm50", "composite"), default="lgm50", dest="curve_set")
    parser.add_argument("--points", nargs="+", type=int, help="samples a curve [4000 40000]")
    parser.add_argument("--noise", nargs="+", type=float, help="voltage noise in mV [0.1 1]")
    parser.add_argument("--threads", nargs="+", type=int, default=list(THREADS), help="ours [1 2]")
    parser.add_argument("--peers", default="all", help="all, none, or names: cellpy,pyprobe,scipy")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds a peer and set [30]")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_FOLDER, help="peers' environments")
    parser.add_argument("--no-footprint", action="store_true", help="leave out start and memory")
    options = parser.parse_args(arguments)
    packages = sorted({peer.package for peer in PEERS.values()})
    wanted = {"all": packages, "none": []}.get(options.peers, options.peers.lower().split(","))
    unknown = [name for name in wanted if name not in packages]
    if unknown:
        parser.error(f"--peers: no peer {unknown[0]!r}; choose from {', '.join(packages)}")
    options.methods = [name for name, peer in PEERS.items() if peer.package in wanted]
    for name, least in (("points", 100), ("noise", 0.0), ("threads", 1)):
        if any(value < least for value in getattr(options, name) or []):
            parser.error(f"--{name}: must be {least} or more")
    options.threads = [1, *(n for n in dict.fromkeys(options.threads) if n != 1)]
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print it; return the exit status."""
    options = parse(arguments)
    groups = []
    try:
        if options.curves is not None:
            sets = [(read_curves(options.curves), "")]
        else:
            points = options.points or (QUICK_POINTS if options.quick else POINTS)
            noises = options.noise or NOISES_MV
            sets = [(None, (n, noise)) for n in points for noise in noises]  # type: ignore[misc]
        for given, kind in sets:
            curves = given or generate(
                int(kind[0]),
                float(kind[1]) * 1e-3,
                curve_set=options.curve_set,
                curves=QUICK_CURVES if options.quick else CELLS * CHECK_UPS,
            )
            groups.append(measure(curves, options.threads, options.methods, options))
        if options.json:
            rows: list[dict[str, Any]] = [asdict(row) for group in groups for row in group.rows]
            print(json.dumps(rows, indent=2))
            return 0
        print_report(groups, options.markdown)
        if not (options.quick or options.no_footprint or options.curves):
            print(footprint.describe())
    except BatterykitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
