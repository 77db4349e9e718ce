"""What a step of many cells costs: ours, PyBaMM with a list of inputs, liionpack.

Everyone charges the same unequal cells at 1C from 10 % state of charge, with steps of 10 s. Ours
are 3P6S packs, as many as go, and the rest in one string; PyBaMM's are single cells, each with its
own current of 1C; liionpack's one pack, because it can take only one.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit.errors import BatterykitError
from batterykit.pack import network, scenario
from batterykit.pack.cell import Cells
from batterykit.pack.parameters import read_parameters
from batterykit.pack.reference import Model, Profile, liionpack_pack, load_parameters
from batterykit.pack.simulator import CURRENT, PackSimulator
from benchmarks.pack_accuracy import PACK, SOURCE, WINDOW
from benchmarks.venvs import ONE_THREAD, ROOT

FloatArray = npt.NDArray[np.float64]

DT, STEPS = 10.0, 60  # s, 1
REPEAT_SECONDS = 1.5  # for one measurement, but at least LEAST and at most MOST repeats
LEAST, MOST = 3, 300
FEW = 20  # cells; with more a peer runs once
LIIONPACK_STEPS = {FEW: 60, 500: 10, sys.maxsize: 4}  # timed, up to so many cells
LIIONPACK_FIRST = 2  # of the shorter run


class Batch:
    """Unequal cells as 3P6S packs, as many as go, and what is left in one string."""

    def __init__(self, cells: int, model: Model, threads: int) -> None:
        parameters = read_parameters(SOURCE)
        parallel, series = PACK
        packs, rest = divmod(cells, parallel * series)
        self.parts: list[PackSimulator] = []
        self._currents = []
        for numbers, p, s in ((range(packs), parallel, series), (range(packs, packs + 1), 1, rest)):
            if not (numbers and s):
                continue
            drawn = scenario.draw(
                "spread", 0, list(numbers), p * s, parameters, soc=WINDOW[0]
            ).cells
            self.parts.append(
                PackSimulator(
                    parameters,
                    network.build(p, s),
                    drawn,
                    packs=len(numbers),
                    model=model,
                    threads=threads,
                )
            )
            self._currents.append(p * parameters.nominal_capacity)

    def reset(self) -> None:
        """Put all cells back to the start."""
        for part in self.parts:
            part.reset()

    def run(self, steps: int, dt: float = DT) -> None:
        """Charge at 1C."""
        for _ in range(steps):
            for part, current in zip(self.parts, self._currents, strict=True):
                part.step(CURRENT, current, dt)

    def record(self) -> xr.Dataset:
        """Charge at 1C and return what every cell of the first part did, (time, cell)."""
        first = self.parts[0]
        outputs = {
            "current": first.current,
            "voltage": first.voltage,
            "plating_potential": first.plating_potential,
            "temperature": first.temperature,
        }
        kept = {name: np.empty((STEPS, first.packs * first.size)) for name in outputs}
        self.reset()
        for k in range(STEPS):
            self.run(1)
            for name, values in outputs.items():
                kept[name][k] = values.ravel()
        times = DT * np.arange(1, STEPS + 1)
        return xr.Dataset(
            {name: (("time", "cell"), values) for name, values in kept.items()}, {"time": times}
        )

    def cell(self, number: int) -> Cells:
        """Return one cell of the first part."""
        return pick(self.parts[0].cells, number)


def pick(cells: Cells, number: int) -> Cells:
    """Return one of many cells."""
    return Cells(**{f.name: np.ravel(getattr(cells, f.name))[number] for f in fields(cells)})


def time_ours(batch: Batch, steps: int = STEPS, dt: float = DT) -> float:
    """Return the least time of one step [s], without going back to the start."""
    best, repeats, begun = float("inf"), 0, time.perf_counter()
    while repeats < LEAST or (repeats < MOST and time.perf_counter() - begun < REPEAT_SECONDS):
        batch.reset()
        begin = time.perf_counter()
        batch.run(steps, dt)
        best = min(best, time.perf_counter() - begin)
        repeats += 1
    return best / steps


class PyBaMM:
    """Single cells in PyBaMM: one model, IDAKLU, a list of inputs, PyBaMM's default mesh."""

    def __init__(self, model: Model, threads: int) -> None:
        os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
        import pybamm

        values = load_parameters(SOURCE)
        self._full = {
            side: float(values[f"Maximum concentration in {side} electrode [mol.m-3]"])
            for side in ("negative", "positive")
        }

        def scaled(name: str, by: str) -> Any:  # noqa: ANN401
            value, factor = values[name], pybamm.InputParameter(by)
            if callable(value):
                return lambda *arguments: factor * value(*arguments)
            return factor * value

        changes = {
            "Number of electrodes connected in parallel to make a cell": "area",
            "Total heat transfer coefficient [W.m-2.K-1]": "cooling",
            "Negative electrode exchange-current density [A.m-2]": "ne_rate",
            "Positive electrode exchange-current density [A.m-2]": "pe_rate",
        }
        self._scaled = tuple(changes.values())
        values.update({name: scaled(name, by) for name, by in changes.items()})
        values.update(
            {
                f"Initial concentration in {side} electrode [mol.m-3]": "[input]"
                for side in self._full
            }
        )
        values.update({"Current function [A]": -read_parameters(SOURCE).nominal_capacity})
        kind = {"spme": pybamm.lithium_ion.SPMe, "dfn": pybamm.lithium_ion.DFN}[model]
        self._names = {
            "voltage": "Voltage [V]",
            "plating_potential": "Negative electrode surface potential difference at separator "
            "interface [V]",
            "temperature": "Volume-averaged cell temperature [K]",
        }
        self._simulation = pybamm.Simulation(
            kind({"thermal": "lumped"}),
            parameter_values=values,
            solver=pybamm.IDAKLUSolver(
                rtol=1e-6,
                atol=1e-8,
                output_variables=list(self._names.values()),
                options={"num_threads": threads},
            ),
        )

    def time(self, cells: int) -> float:
        """Return the time of charging so many cells at 1C, over the number of steps [s].

        PyBaMM chooses steps of its own; those of 10 s are its output's.
        """
        packs = -(-cells // math.prod(PACK))
        drawn = scenario.draw(
            "spread", 0, packs, math.prod(PACK), read_parameters(SOURCE), soc=WINDOW[0]
        ).cells
        inputs = [self._inputs(pick(drawn, k)) for k in range(cells)]
        times = DT * np.arange(STEPS + 1)

        def solve(some: list[dict[str, float]]) -> float:
            begin = time.perf_counter()
            self._simulation.solve(times[[0, -1]], t_interp=times, inputs=some)
            return time.perf_counter() - begin

        solve(inputs[:1])  # sets up
        return min(solve(inputs) for _ in range(LEAST if cells <= FEW else 1)) / STEPS

    def _inputs(self, cell: Cells) -> dict[str, float]:
        soc = float(np.asarray(cell.soc))
        found = {name: float(getattr(cell, name)) for name in self._scaled}
        for side, low, high in (
            ("negative", cell.x_0, cell.x_100),
            ("positive", cell.y_0, cell.y_100),
        ):
            start = float(np.asarray(low) + soc * (np.asarray(high) - np.asarray(low)))
            found[f"Initial concentration in {side} electrode [mol.m-3]"] = start * self._full[side]
        return found


def steps_of_liionpack(cells: int) -> int:
    """Return how many steps of liionpack are timed."""
    return next(steps for most, steps in LIIONPACK_STEPS.items() if cells <= most)


def total_of_liionpack(setup: float, step: float, steps: int) -> float:
    """Return how long `time_liionpack` works when it runs once [s]."""
    return 2 * setup + (2 * LIIONPACK_FIRST + steps) * step


def time_liionpack(cells: int, steps: int) -> tuple[float, float]:
    """Return the time of one step and of the set-up [s], from two runs of unequal length.

    With PyBaMM's default mesh, as liionpack itself would have it, in one pack that is as square as
    can be.
    """
    parallel = max(p for p in range(1, math.isqrt(cells) + 1) if cells % p == 0)
    parameters = read_parameters(SOURCE)
    drawn = scenario.draw("spread", 0, 1, cells, parameters, soc=WINDOW[0]).cells

    def run(length: int) -> float:
        begin = time.perf_counter()
        liionpack_pack(
            SOURCE,
            drawn,
            network.build(parallel, cells // parallel),
            Profile([0.0, DT * length], [parallel * parameters.nominal_capacity] * 2),
            mesh="default",
            period=DT,
        )
        return time.perf_counter() - begin

    repeats = LEAST if cells <= FEW else 1
    if repeats > 1:
        run(1)  # imports
    short = min(run(LIIONPACK_FIRST) for _ in range(repeats))
    long = min(run(LIIONPACK_FIRST + steps) for _ in range(repeats))
    step = (long - short) / steps
    return step, short - LIIONPACK_FIRST * step


def fit_exponent(counts: list[int], seconds: list[float]) -> float:
    """Return the slope of log(time) over log(count): 1 is linear."""
    return float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])


_FIRST_RUN = """
import json, time
begin = time.perf_counter()
from batterykit.pack import kernels, network, parameters, reference, scenario, simulator
p = parameters.read_parameters("{source}")
cells = scenario.draw("spread", 0, 1, 18, p, soc=0.1).cells
imported = time.perf_counter()
def work():
    pack = simulator.PackSimulator(p, network.build(3, 6), cells, model="{model}", threads=1)
    pack.step(simulator.CURRENT, 15.0, 10.0)
    pack.advance(simulator.CURRENT, 15.0, 10.0, simulator.Limits(cell_voltage_max=4.2))
times = []
for _ in range(4):
    start = time.perf_counter()
    work()
    times.append(time.perf_counter() - start)
print(json.dumps({{"import_s": imported - begin, "first_s": times[0], "again_s": min(times[1:])}}))
"""

_MEMORY = """
import json, sys
from benchmarks import footprint
from benchmarks.pack_cost import Batch
Batch(19, "{model}", 1).run(1)
before = footprint.reset_peak()
batch = Batch({cells}, "{model}", 1)
batch.run(2)
made = footprint.peak()
start = footprint.reset_peak()
batch.run({steps})
print(json.dumps({{"made_mb": (made - before) / 1e6, "grown_mb": (footprint.peak() - start) / 1e6,
"state_mb": sum(part.state.nbytes for part in batch.parts) / 1e6}}))
"""


def measure_compile(model: Model) -> dict[str, float]:
    """Return what the first use costs more than a later one [s]: nothing cached, and cached."""
    code = _FIRST_RUN.format(source=SOURCE, model=model)
    with tempfile.TemporaryDirectory(prefix="batterykit-benchmark-") as folder:
        empty = _python(code, NUMBA_CACHE_DIR=folder)
        warm = min(
            (_python(code, NUMBA_CACHE_DIR=folder) for _ in range(2)),
            key=lambda one: one["first_s"],
        )
    return {
        "empty_s": empty["first_s"] - empty["again_s"],
        "warm_s": warm["first_s"] - warm["again_s"],
        "import_s": warm["import_s"],
    }


def measure_memory(model: Model, cells: int, steps: int) -> dict[str, float]:
    """Return the growth of a process's peak of resident memory [MB]; Linux only.

    Of a simulator made and stepped twice, and of more steps; and the size of its state.
    """
    return _python(_MEMORY.format(model=model, cells=cells, steps=steps))


def _python(code: str, **environment: str) -> dict[str, float]:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=os.environ | ONE_THREAD | environment,
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
