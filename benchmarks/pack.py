"""The pack simulator beside PyBaMM and liionpack: accuracy, time and memory in one run.

`python -m benchmarks.pack [--json]`. `benchmarks.pack_accuracy` says what is compared with what,
`benchmarks.pack_cost` what is timed. First all references are solved, by two processes; then
everything is timed, one after the other, ours with as many threads as a row says. A reference is
always PyBaMM or liionpack with the fine mesh of `batterykit.pack.reference`; the peers' own rows
are with PyBaMM's default mesh, which is what they use unless told otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
import xarray as xr

from batterykit.errors import BatterykitError
from batterykit.pack.reference import Model
from benchmarks import pack_accuracy as accuracy
from benchmarks import pack_cost as cost
from benchmarks.pack_accuracy import Compared, Errors, Order, Spread
from benchmarks.pack_cost import DT

MODELS: tuple[Model, ...] = ("spme", "dfn")
PEERS = ("pybamm", "liionpack")
LIIONPACK = "liionpack spme"
CELLS, QUICK_CELLS = (1, 18, 200, 1_000, 10_000), (1, 18, 40)
THREADS = (1, 2)
DTS, QUICK_DTS = (1.0, 2.0, 5.0, 10.0, 30.0), (1.0, 10.0)
PACK = math.prod(accuracy.PACK)
STEP_COUNTS = (20, 200, 2000)  # of 1 s
QUICK_SECONDS, QUICK_STEPS = 100.0, 10  # of a pack in liionpack: compared, timed
BUDGET = 60.0  # s, for one peer, one number of cells and one number of threads
MEMORY_STEPS = 50


@dataclass(frozen=True)
class Row:
    """One engine with some cells; the keys of `--json`. None is what was not measured.

    Where an engine is compared in several cases, each error is that of the worst.
    """

    engine: str
    cells: int
    threads: int
    dt_s: float
    ms_per_step: float | None
    voltage_rms_mV: float | None  # noqa: N815 the units that readers of the JSON asked for
    voltage_max_mV: float | None  # noqa: N815
    plating_rms_mV: float | None  # noqa: N815
    temperature_max_K: float | None  # noqa: N815
    current_rms_pct: float | None


def make_row(
    engine: str, cells: int, threads: int, dt: float, seconds: float | None, errors: Errors
) -> Row:
    """Return a row; NaN becomes None."""

    def known(value: float | None, digits: int) -> float | None:
        return None if value is None or not math.isfinite(value) else round(value, digits)

    return Row(
        engine,
        cells,
        threads,
        dt,
        known(None if seconds is None else 1e3 * seconds, 5),
        known(1e3 * errors.voltage_rms, 4),
        known(1e3 * errors.voltage_max, 4),
        known(1e3 * errors.plating_rms, 4),
        known(errors.temperature_max, 5),
        known(100 * errors.current_rms, 5),
    )


@dataclass
class Found:
    """All that one run measured.

    Parameters
    ----------
    rows
        Of `--json`.
    cases
        Our single cells against PyBaMM.
    coarse
        PyBaMM's default mesh against its fine one, in the same cases.
    packs
        An engine's 18 cells of a scenario against liionpack.
    batches
        A model's cells, by their number and threads, against PyBaMM with the same currents.
    orders
        Convergence in the length of the step.
    notes
        Sentences on cost.
    """

    rows: list[Row] = field(default_factory=list)
    cases: list[Compared] = field(default_factory=list)
    coarse: dict[Model, list[Errors]] = field(default_factory=dict)
    packs: dict[tuple[str, str], Errors] = field(default_factory=dict)
    batches: dict[tuple[Model, int, int], Errors] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure(options: argparse.Namespace) -> Found:
    """Run everything; say on stderr how far it is."""
    found = Found()
    begin = time.perf_counter()
    stages: dict[str, Callable[[Found, argparse.Namespace], None]] = {
        "references": _compare,
        "steps of other lengths": _find_orders,
        "our time": _time_ours,
    }
    if "pybamm" in options.peers:
        stages["PyBaMM's time"] = _time_pybamm
    if "liionpack" in options.peers:
        stages["liionpack's time"] = _time_liionpack
    if not options.quick:
        stages["memory and compiling"] = _measure_processes
    for name, stage in stages.items():
        print(f"{time.perf_counter() - begin:4.0f} s  {name}", file=sys.stderr, flush=True)
        stage(found, options)
    print(f"{time.perf_counter() - begin:4.0f} s  done", file=sys.stderr, flush=True)
    return found


def _compare(found: Found, options: argparse.Namespace) -> None:
    with accuracy.workers() as pool:
        # Packs first: the two longest runs.
        compare_packs = _submit_packs(found, pool, options)
        compare_cells = _submit_cells(found, pool, options)
        _compare_batches(found, pool, options)
        compare_cells()
        compare_packs()


def _submit_packs(
    found: Found, pool: ProcessPoolExecutor, options: argparse.Namespace
) -> Callable[[], None]:
    """Start liionpack's references; return what compares 18 cells with them."""
    seconds = QUICK_SECONDS if options.quick else accuracy.PACK_SECONDS
    spreads: tuple[Spread, ...] = ("fresh", "spread") if "liionpack" in options.peers else ()
    fine = {
        name: pool.submit(accuracy.solve_pack, name, "fine", accuracy.PACK_PERIOD, seconds)
        for name in spreads
    }
    coarse = {
        name: pool.submit(accuracy.solve_pack, name, "default", DT, seconds) for name in spreads
    }

    def compare() -> None:
        for name in spreads:
            wanted = fine[name].result()
            found.packs[_ours("spme"), name] = accuracy.compare_pack(name, "spme", DT, wanted)
            found.packs[LIIONPACK, name] = accuracy.compare_packs(coarse[name].result(), wanted)

    return compare


def _submit_cells(
    found: Found, pool: ProcessPoolExecutor, options: argparse.Namespace
) -> Callable[[], None]:
    """Start PyBaMM's references; return what compares single cells with them."""
    cases = [case for model in MODELS for case in accuracy.cases(model, quick=options.quick)]
    fine = {case: pool.submit(accuracy.solve, case, "fine") for case in cases}
    coarse = {
        case: pool.submit(accuracy.solve, case, "default")
        for case in cases
        if "pybamm" in options.peers
    }

    def compare() -> None:
        for case in cases:
            wanted = fine[case].result()
            for dt in options.dts:
                compared = accuracy.compare(case, dt, wanted)
                if compared is not None:
                    found.cases.append(compared)
            if case in coarse:
                errors = accuracy.compare_datasets(coarse[case].result(), wanted)
                found.coarse.setdefault(case.model, []).append(errors)

    return compare


def _compare_batches(found: Found, pool: ProcessPoolExecutor, options: argparse.Namespace) -> None:
    """Have PyBaMM run some cells of our batches again, with the currents that they had."""
    records, replays = {}, {}
    for model in MODELS:
        for n in (n for n in options.cells if n >= PACK):
            for threads in _useful(options.threads, n):
                batch = cost.Batch(n, model, threads)
                records[model, n, threads] = batch.record()
            first = records[model, n, 1]
            replays[model, n] = {
                k: pool.submit(
                    accuracy.replay, batch.cell(k), first.current.values[:, k], DT, model, "fine"
                )
                for k in _extremes(first)
            }
    for (model, n, threads), record in records.items():
        found.batches[model, n, threads] = accuracy.worst(
            [
                accuracy.compare_datasets(record.isel(cell=k), replay.result())
                for k, replay in replays[model, n].items()
            ]
        )


def _extremes(record: xr.Dataset) -> list[int]:
    """Return the cells with the most current, the lowest plating potential, the most warmth."""
    places = (
        np.argmax(record.current.values.max(axis=0)),
        np.argmin(record.plating_potential.values.min(axis=0)),
        np.argmax(record.temperature.values.max(axis=0)),
    )
    return sorted({int(place) for place in places})


def _useful(threads: list[int], cells: int) -> list[int]:
    """Return the numbers of threads that there are packs for."""
    return [n for n in threads if n == 1 or cells >= n * PACK]


def _find_orders(found: Found, options: argparse.Namespace) -> None:
    for model in MODELS:
        for load in accuracy.LOADS[: 1 if options.quick else None]:
            found.orders.append(accuracy.find_order(model, load, options.dts))


def _time_ours(found: Found, options: argparse.Namespace) -> None:
    for model in MODELS:
        seconds = {}
        for n in options.cells:
            for threads in _useful(options.threads, n):
                batch = cost.Batch(n, model, threads)
                for dt in options.dts if n == 1 else (DT,):
                    errors = found.batches.get((model, n, threads), Errors())
                    if n == 1:
                        errors = accuracy.worst(
                            [
                                one.errors
                                for one in found.cases
                                if (one.case.model, one.dt) == (model, dt)
                            ]
                        )
                    elif n == PACK and model == "spme" and found.packs:
                        errors = accuracy.worst(
                            [e for (who, _), e in found.packs.items() if who == _ours(model)]
                        )
                    spent = cost.time_ours(batch, dt=dt)
                    seconds[n, threads] = spent
                    found.rows.append(make_row(_ours(model), n, threads, dt, spent, errors))
        for threads in options.threads:
            counts = [n for n in options.cells if (n, threads) in seconds and n >= PACK]
            if len(counts) > 1:
                power = cost.fit_exponent(counts, [seconds[n, threads] for n in counts])
                found.notes.append(
                    f"{_ours(model)}, {_many(threads, 'thread')}: cost grows as cells to the power "
                    f"{power:.3f} from {counts[0]:,} to {counts[-1]:,} cells."
                )
        counts = list(STEP_COUNTS[:2] if options.quick else STEP_COUNTS)
        batch = cost.Batch(PACK, model, 1)
        totals = [n * cost.time_ours(batch, n, 1.0) for n in counts]
        found.notes.append(
            f"{_ours(model)}: cost grows as steps to the power "
            f"{cost.fit_exponent(counts, totals):.3f} from {counts[0]} to {counts[-1]} steps of "
            f"1 s with {PACK} cells."
        )


def _time_pybamm(found: Found, options: argparse.Namespace) -> None:
    for model in MODELS:
        name = f"pybamm {model}"
        errors = accuracy.worst(found.coarse.get(model, []))
        for threads in options.threads:
            peer, seconds, before = cost.PyBaMM(model, threads), 0.0, 1
            for n in options.cells:
                if _cut(found, (name, n, threads), seconds * cost.STEPS, before):
                    continue
                seconds, before = peer.time(n), n
                found.rows.append(
                    make_row(name, n, threads, DT, seconds, errors if n == 1 else Errors())
                )


def _time_liionpack(found: Found, options: argparse.Namespace) -> None:
    setup, seconds, before = 0.0, 0.0, 1
    errors = accuracy.worst([e for (who, _), e in found.packs.items() if who == LIIONPACK])
    for n in options.cells:
        steps = QUICK_STEPS if options.quick else cost.steps_of_liionpack(n)
        if _cut(found, (LIIONPACK, n, 1), cost.total_of_liionpack(setup, seconds, steps), before):
            continue
        seconds, setup = cost.time_liionpack(n, steps)
        before = n
        found.rows.append(make_row(LIIONPACK, n, 1, DT, seconds, errors if n == PACK else Errors()))
        found.notes.append(f"{LIIONPACK}, {_many(n, 'cell')}: {setup:.1f} s of set-up not counted.")
    times = {
        row.engine: row.ms_per_step
        for row in found.rows
        if (row.cells, row.dt_s) == (PACK, DT) and row.threads == 1
    }
    theirs = times.get(LIIONPACK)
    for model in MODELS:
        ours = times.get(_ours(model))
        if ours and theirs:
            found.notes.append(
                f"A step of {PACK} cells: liionpack {theirs:.1f} ms, {_ours(model)} "
                f"{1e3 * ours:.0f} us; {theirs / ours:.0f} times as fast."
            )


def _cut(found: Found, what: tuple[str, int, int], fewer: float, before: int) -> bool:
    """Leave a peer out where it would take too long, judged by its time for fewer cells."""
    engine, cells, threads = what
    guess = fewer * cells / before
    if guess <= BUDGET or cells <= PACK:
        return False
    found.rows.append(make_row(engine, cells, threads, DT, None, Errors()))
    found.notes.append(
        f"{engine}, {_many(cells, 'cell')}, {_many(threads, 'thread')}: left out; it would take "
        f"some {guess:.0f} s if its time for {_many(before, 'cell')} grows as the cells do."
    )
    return True


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _measure_processes(found: Found, options: argparse.Namespace) -> None:
    for model in MODELS:
        n = max(options.cells)
        memory = cost.measure_memory(model, n, MEMORY_STEPS)
        found.notes.append(
            f"{_ours(model)}, {n:,} cells: a simulator takes {memory['made_mb']:.1f} MB of "
            f"resident memory ({1e3 * memory['made_mb'] / n:.2f} kB a cell), of which "
            f"{memory['state_mb']:.1f} MB are state; {MEMORY_STEPS} more steps add "
            f"{memory['grown_mb']:.2f} MB."
        )
        spent = cost.measure_compile(model)
        found.notes.append(
            f"{_ours(model)}: the first use costs {spent['empty_s']:.1f} s more than a later one "
            f"with nothing in numba's cache, {spent['warm_s']:.2f} s in the next process (imports "
            f"and parameters {spent['import_s']:.1f} s)."
        )


def _ours(model: Model) -> str:
    return f"batterykit {model}"


def _show(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _errors(errors: Errors) -> list[str]:
    return [
        _show(1e3 * errors.voltage_rms, ".3f"),
        _show(1e3 * errors.voltage_max, ".3f"),
        _show(1e3 * errors.plating_rms, ".3f"),
        _show(errors.temperature_max, ".4f"),
    ]


ERRORS = ("V RMS mV", "V max mV", "plating RMS mV", "T max K")


def table_rows(found: Found) -> list[list[str]]:
    """Return the table of `--json`, with headings."""
    lines = [["engine", "cells", "threads", "dt s", "ms a step", *ERRORS, "current RMS %"]]
    for row in found.rows:
        lines.append(
            [
                row.engine,
                f"{row.cells:,}",
                str(row.threads),
                f"{row.dt_s:g}",
                _show(row.ms_per_step, ".4g"),
                _show(row.voltage_rms_mV, ".3f"),
                _show(row.voltage_max_mV, ".3f"),
                _show(row.plating_rms_mV, ".3f"),
                _show(row.temperature_max_K, ".4f"),
                _show(row.current_rms_pct, ".4f"),
            ]
        )
    return lines


def table_cases(found: Found, dt: float) -> list[list[str]]:
    """Return our errors in every case at one length of step, with headings."""
    lines = [["model", "parameters", "degC", "load", "samples", *ERRORS, "stopped"]]
    for one in found.cases:
        if one.dt == dt:
            case = one.case
            lines.append(
                [
                    case.model,
                    case.source,
                    f"{case.kelvin - 273.15:.0f}",
                    case.load,
                    str(one.samples),
                    *_errors(one.errors),
                    one.stop or "-",
                ]
            )
    return lines


def table_packs(found: Found) -> list[list[str]]:
    """Return the errors of 18 cells against liionpack, with headings."""
    lines = [["engine", "scenario", *ERRORS, "current RMS %"]]
    for (engine, name), errors in found.packs.items():
        lines.append([engine, name, *_errors(errors), _show(100 * errors.current_rms, ".4f")])
    return lines


def table_orders(found: Found) -> list[list[str]]:
    """Return the errors of each length of step against steps of 0.1 s, with headings."""
    lines = [["model", "load", "dt s", *ERRORS, "order"]]
    for order in found.orders:
        for dt, errors in order.errors.items():
            lines.append(
                [order.model, order.load, f"{dt:g}", *_errors(errors), f"{order.order:.2f}"]
            )
        lines.append([order.model, order.load, "10 : 1", *_errors(order.ten_to_one), "-"])
    return lines


def print_report(found: Found, markdown: bool) -> None:
    """Print tables and sentences for people."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}{load}")
    tables = {
        "Cost and accuracy": table_rows(found),
        "Single cells against PyBaMM, steps of 1 s": table_cases(found, 1.0),
        "Single cells against PyBaMM, steps of 10 s": table_cases(found, 10.0),
        "18 cells at 1C against liionpack, steps of 10 s": table_packs(found),
        "Steps against steps of 0.1 s (25 degC)": table_orders(found),
    }
    for title, lines in tables.items():
        if len(lines) > 1:
            print(f"\n{title}\n")
            print_table(lines, markdown)
    print()
    print("\n".join(f"- {note}" for note in found.notes))


def print_table(lines: list[list[str]], markdown: bool) -> None:
    """Print lines of cells, the headings first, in columns."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    cells = [
        [
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if markdown:
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        print("\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]]))
    else:
        print("\n".join("  ".join(line) for line in cells))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pack", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="print one list of rows, nothing else")
    parser.add_argument("--markdown", action="store_true", help="print the tables for a page")
    parser.add_argument("--quick", action="store_true", help="few cells, one load, no processes")
    parser.add_argument("--cells", nargs="+", type=int, help="[1 18 200 1000 10000]")
    parser.add_argument("--threads", nargs="+", type=int, default=list(THREADS), help="[1 2]")
    parser.add_argument("--peers", default="all", help="all, none, or names: pybamm,liionpack")
    options = parser.parse_args(arguments)
    wanted = {"all": list(PEERS), "none": []}.get(options.peers, options.peers.lower().split(","))
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        parser.error(f"--peers: no peer {unknown[0]!r}; choose from {', '.join(PEERS)}")
    options.peers = wanted
    options.cells = sorted(set(options.cells or (QUICK_CELLS if options.quick else CELLS)))
    options.dts = QUICK_DTS if options.quick else DTS
    for name in ("cells", "threads"):
        if any(value < 1 for value in getattr(options, name)):
            parser.error(f"--{name}: must be 1 or more")
    options.threads = [1, *(n for n in dict.fromkeys(options.threads) if n != 1)]
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print it; return the exit status."""
    options = parse(arguments)
    try:
        found = measure(options)
    except BatterykitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps([asdict(row) for row in found.rows], indent=2))
    else:
        print_report(found, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
