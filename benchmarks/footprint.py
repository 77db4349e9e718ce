"""What `features ica` costs beside its running time: the first run in a new process, and memory.

`python -m benchmarks.footprint`. Both are measured in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from batterykit.errors import BatterykitError
from benchmarks.venvs import ROOT

CURVES, POINTS = 500, 36_000
REPEATS = 5
MEGABYTE = 1e6
BARS = {"compile_s": 0.5, "memory_mb": 200.0}

_FIRST_RUN = """
import json, time
start = time.perf_counter()
from benchmarks.curves import as_dataset, generate
from batterykit.features.ica import ica
imported = time.perf_counter()
curves = as_dataset(generate(4000, 1e-3, curves=1))
times = []
for _ in range(6):
    begin = time.perf_counter()
    ica(curves, threads=1)
    times.append(time.perf_counter() - begin)
print(json.dumps({"import_s": imported - start, "first_s": times[0], "again_s": min(times[1:])}))
"""

_MEMORY = """
import json, sys
import numpy as np
from benchmarks import footprint
from benchmarks.curves import Curves, as_dataset, generate
from batterykit.features.ica import ica
n, points = int(sys.argv[1]), int(sys.argv[2])
few = generate(points, 1e-3, curves=4)
ica(as_dataset(few), threads=2)
many = n // 4
dataset = as_dataset(Curves(
    np.tile(few.voltage, many), np.tile(few.charge, many),
    points * np.arange(4 * many + 1), [f"cell-{k // 10}" for k in range(4 * many)],
    np.arange(4 * many) % 10))
before = footprint.reset_peak()
ica(dataset, threads=2)
print(json.dumps({"data_mb": dataset.nbytes / 1e6, "above_mb": (footprint.peak() - before) / 1e6}))
"""


def reset_peak() -> float:
    """Set the process's peak of resident memory back to what it holds now; return that [bytes].

    Raises
    ------
    OSError
        The system is not Linux, or does not let a process do that.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Return this process's peak of resident memory [bytes]; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise OSError("/proc/self/status names no VmHWM")


def measure_first_run() -> dict[str, float]:
    """Return import, first and later run of `ica` on one curve in a new process [s].

    One process fills the disk cache of compiled code if it is empty; of those after it the one with
    the quickest first run counts.
    """
    _python(_FIRST_RUN)
    found = min((_python(_FIRST_RUN) for _ in range(REPEATS)), key=lambda one: one["first_s"])
    return found | {"compile_s": found["first_s"] - found["again_s"]}


def measure_memory(curves: int = CURVES, points: int = POINTS) -> dict[str, float]:
    """Return the size of the loaded data, and the peak of `ica` above it [MB]."""
    return _python(_MEMORY, str(curves), str(points))


def describe() -> str:
    """Return both as lines for people."""
    first = measure_first_run()
    lines = [
        f"First run in a new process, compiled code cached on disk: {first['compile_s']:.2f} s "
        f"more than a later one (bar {BARS['compile_s']} s); imports {first['import_s']:.1f} s."
    ]
    if not Path("/proc/self/clear_refs").exists():
        lines.append("Memory: not measured, only Linux tells the peak of one call.")
    else:
        memory = measure_memory()
        lines.append(
            f"Memory: {memory['above_mb']:.0f} MB above the data ({memory['data_mb']:.0f} MB) for "
            f"{CURVES} curves of {POINTS} points in 2 threads (bar {BARS['memory_mb']:.0f} MB)."
        )
    return "\n".join(lines)


def _python(code: str, *arguments: str) -> dict[str, float]:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BatterykitError(
            f"a process of the benchmark failed:\n{result.stderr.strip()}",
            fix="see to what the last line says",
        )
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    print(describe())
