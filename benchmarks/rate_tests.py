"""Measured discharges of real cells against our simulator and PyBaMM with the same parameters.

`python -m benchmarks.rate_tests [--json]`. 16 discharges of LG M50 cells, 0.1C to 2C at 0 to 45
degC. What is compared, and what models are told, is at the head of `batterykit.pack.validation`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batterykit.datasets.rate_tests import read_rate_tests
from batterykit.errors import BatterykitError, UsageError
from batterykit.pack.parameters import read_parameters
from batterykit.pack.simulator import Name, equations
from batterykit.pack.validation import (
    POINTS,
    errors,
    sample_discharges,
    simulate,
    simulate_pybamm,
)

if TYPE_CHECKING:
    import xarray as xr

FILE = Path("lg-m50-rate-tests") / "LGM50_5Ah_RateTest.mat"
SETS = ("Chen2020", "OKane2022", "LGM50-refit")
MODELS: tuple[Name, ...] = ("dfn", "dfn-fine", "spme")
OURS, PYBAMM = "batterykit", "pybamm"
BAR = 1.0  # mV between our error and PyBaMM's


@dataclass(frozen=True)
class Row:
    """One discharge by one model; the keys of `--json`. None is what cannot be known.

    `difference_mV` is the RMS of our voltage less PyBaMM's, in the row of ours.
    """

    engine: str
    parameters: str
    model: Name
    temperature_degC: float  # noqa: N815 the field's own unit, asked for by readers of the JSON
    c_rate: float
    voltage_rms_mV: float  # noqa: N815
    voltage_rms_before_knee_mV: float  # noqa: N815
    voltage_bias_mV: float  # noqa: N815
    capacity_error_pct: float | None
    temperature_max_K: float | None  # noqa: N815
    stop_reason: str
    difference_mV: float | None  # noqa: N815


def find_records() -> Path | None:
    """Return the file of rate tests: below BATTERYKIT_TEST_DATA, or a shared/data near by."""
    named = os.environ.get("BATTERYKIT_TEST_DATA")
    parents = Path(__file__).resolve().parents
    folders = [Path(named)] if named else [folder / "shared" / "data" for folder in parents]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add --data, which `records_file` takes."""
    parser.add_argument("--data", type=Path, metavar="FILE.mat", help="the rate tests")


def records_file(given: Path | None) -> Path:
    """Return the file that was given, or else the one that is found.

    Raises
    ------
    UsageError
        There is none.
    """
    path = given or find_records()
    if path is None:
        raise UsageError(
            f"{FILE.name} is not at hand",
            fix=f"give --data FILE.mat, or name the folder that holds {FILE} in "
            "BATTERYKIT_TEST_DATA",
        )
    return path


def measure(
    discharges: xr.Dataset, sets: Iterable[str], models: Iterable[Name], *, peer: bool
) -> list[Row]:
    """Run all discharges with every set and model, in ours and, if `peer`, in PyBaMM."""
    rows = []
    models = list(models)
    for name in sets:
        peers: dict[str, xr.Dataset] = {}
        for model in models:
            ours = simulate(read_parameters(name), discharges, model)
            same = equations(model)
            new = peer and same not in peers
            if new:
                peers[same] = simulate_pybamm(name, discharges, model)
            theirs = peers.get(same)
            between = None
            if theirs is not None:
                off = ours["voltage"].values - theirs["voltage"].values
                between = 1e3 * np.sqrt(np.mean(off**2, axis=1))
            rows += make_rows(discharges, OURS, name, model, ours, between)
            if new:
                rows += make_rows(discharges, PYBAMM, name, same, peers[same], None)
    return rows


def make_rows(
    discharges: xr.Dataset,
    engine: str,
    name: str,
    model: Name,
    simulated: xr.Dataset,
    between: np.ndarray | None,
) -> list[Row]:
    """Return the rows of one engine's discharges."""
    off = errors(discharges, simulated)

    def known(value: float, factor: float, digits: int = 3) -> float | None:
        return round(factor * value, digits) if np.isfinite(value) else None

    return [
        Row(
            engine,
            name,
            model,
            float(off["temperature_chamber"][k]),
            float(off["c_rate"][k]),
            round(1e3 * float(off["voltage_rms"][k]), 3),
            round(1e3 * float(off["voltage_rms_before_knee"][k]), 3),
            round(1e3 * float(off["voltage_bias"][k]), 3),
            known(float(off["capacity"][k]), 100),
            known(float(off["temperature_max"][k]), 1),
            str(simulated["stop_reason"].values[k]),
            None if between is None else round(float(between[k]), 3),
        )
        for k in range(discharges.sizes["curve"])
    ]


def table(rows: list[Row]) -> list[list[str]]:
    """Return a table of RMS voltage errors [mV], headings first: a line for each discharge.

    "(e)" marks a model that ended for another reason than the lower cut-off.
    """
    runs = list(dict.fromkeys((row.parameters, row.model, row.engine) for row in rows))
    places = list(dict.fromkeys((row.temperature_degC, row.c_rate) for row in rows))
    by = {(r.parameters, r.model, r.engine, r.temperature_degC, r.c_rate): r for r in rows}
    lines = [["degC", "C", *(f"{name} {model} {engine}" for name, model, engine in runs)]]
    for place in places:
        cells = []
        for run in runs:
            row = by[*run, *place]
            ended = "" if row.stop_reason in ("", "cell_voltage_min") else " (e)"
            cells.append(f"{row.voltage_rms_mV:.1f}{ended}")
        lines.append([f"{place[0]:g}", f"{place[1]:g}", *cells])
    means = [
        float(np.sqrt(np.mean([by[*run, *place].voltage_rms_mV ** 2 for place in places])))
        for run in runs
    ]
    lines.append(["all", "", *(f"{mean:.1f}" for mean in means)])
    return lines


def conclude(rows: list[Row]) -> list[str]:
    """Return a sentence for each set and model: how far our error is from PyBaMM's."""
    theirs = {
        (r.parameters, r.model, r.temperature_degC, r.c_rate): r for r in rows if r.engine == PYBAMM
    }
    said = []
    ours = dict.fromkeys((row.parameters, row.model) for row in rows if row.engine == OURS)
    for name, model in ours:
        pairs = [
            (row, theirs[key])
            for row in rows
            if row.engine == OURS
            and (row.parameters, row.model) == (name, model)
            and (key := (name, equations(model), row.temperature_degC, row.c_rate)) in theirs
        ]
        if not pairs:
            continue
        apart = [abs(row.voltage_rms_mV - other.voltage_rms_mV) for row, other in pairs]
        worst = pairs[int(np.argmax(apart))][0]
        said.append(
            f"{name} {model}: our error is PyBaMM's to {BAR:g} mV in "
            f"{sum(a <= BAR for a in apart)} of {len(apart)} discharges; the largest distance is "
            f"{max(apart):.2f} mV ({worst.temperature_degC:g} degC, {worst.c_rate:g}C), the median "
            f"{np.median(apart):.2f} mV."
        )
    return said


def print_report(rows: list[Row], markdown: bool) -> None:
    """Print the table and what follows from it."""
    lines = table(rows)
    if markdown:
        lines.insert(1, ["---:"] * len(lines[0]))
        print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    else:
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        for line in lines:
            print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print("RMS voltage error in mV; (e): ended for another reason than 2.5 V.")
    print("\n".join(conclude(rows)))


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print it; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rate_tests", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="print one list of rows, nothing else")
    parser.add_argument("--markdown", action="store_true", help="print the table for a page")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="parameter sets")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--points", type=int, default=POINTS, help="of each discharge")
    parser.add_argument("--no-peer", action="store_true", help="without PyBaMM: seconds")
    add_data_option(parser)
    options = parser.parse_args(arguments)
    try:
        discharges = sample_discharges(read_rate_tests(records_file(options.data)), options.points)
        rows = measure(discharges, options.sets, options.models, peer=not options.no_peer)
    except BatterykitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print_report(rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
