"""Time of an ingest against `pandas.read_csv` alone over the same files, in the same run.

`python -m benchmarks.ingest [--source DIR] [--json]`. Without --source the built-in twin makes
the record first: 40 cells, C/10 discharges at 10 s, summaries and ageing tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from batterykit.datasets import lgm50t
from batterykit.datasets.ingest import ingest
from batterykit.store import Store

BAR_FIRST = 2.5  # times pandas.read_csv
BAR_AGAIN = 0.10  # of the first run
REPEATS = 5
SAMPLING_S = 10.0


def measure(source: Path, scratch: Path, repeats: int = REPEATS) -> dict[str, float]:
    """Return times and ratios, each the best of `repeats`, taken turn by turn.

    Parameters
    ----------
    source
        The record.
    scratch
        An empty folder for the stores.
    repeats
        How often each is measured.
    """
    files = [
        file.path
        for experiment, folder in lgm50t.find_experiments(source).items()
        for kind in lgm50t.find_files(experiment, folder).files.values()
        for file in kind
    ]
    pandas_s, first_s, again_s = [], [], []
    for turn in range(repeats + 1):
        store = Store.open_or_create(scratch / f"{turn}.zarr")
        pandas_s.append(_seconds(lambda: [pd.read_csv(path) for path in files]))
        first_s.append(_seconds(lambda store=store: ingest(store, source)))  # type: ignore[misc]
        again_s.append(_seconds(lambda store=store: ingest(store, source)))  # type: ignore[misc]
    # the first turn imports what is needed and warms the caches
    best = [min(times[1:]) for times in (pandas_s, first_s, again_s)]
    command_first, command_again = _commands(source, scratch / "command.zarr")
    return {
        "files": len(files),
        "megabytes": sum(path.stat().st_size for path in files) / 1e6,
        "pandas_s": best[0],
        "ingest_s": best[1],
        "again_s": best[2],
        "ingest_over_pandas": best[1] / best[0],
        "again_over_ingest": best[2] / best[1],
        "command_first_s": command_first,
        "command_again_s": command_again,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
    }


def _commands(source: Path, store: Path) -> tuple[float, float]:
    """Return the times of the whole command, first and again, with the start of Python."""
    command = [sys.executable, "-m", "batterykit", "ingest", "-q"]
    command += ["--source", str(source), "--store", str(store)]

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return _seconds(run), min(_seconds(run) for _ in range(3))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--source", type=Path, help="a record; without it the twin makes one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="batterykit-benchmark-"))
    try:
        source = options.source
        if source is None:
            from batterykit.datasets.twin import write_twin

            source = scratch / "twin"
            write_twin(source, cells=40, sampling=SAMPLING_S)
        found = measure(source, scratch)
    finally:
        shutil.rmtree(scratch)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['files']} files, {found['megabytes']:.1f} MB; load {found['load_average']:.1f}")
    print(f"pandas.read_csv alone        {found['pandas_s']:7.3f} s")
    print(
        f"ingest                       {found['ingest_s']:7.3f} s  "
        f"{found['ingest_over_pandas']:5.2f} x pandas (bar {BAR_FIRST} x)"
    )
    print(
        f"ingest again                 {found['again_s']:7.3f} s  "
        f"{found['again_over_ingest']:5.1%} of the first (bar {BAR_AGAIN:.0%})"
    )
    print(
        f"command, first and again     {found['command_first_s']:7.3f} s, "
        f"{found['command_again_s']:.3f} s, with the start of Python"
    )


if __name__ == "__main__":
    main()
