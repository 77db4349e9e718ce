"""`batterykit twin`: synthetic data in the record's layout, with the truth beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import JsonOption, QuietOption


def twin(
    out: Annotated[
        Path,
        typer.Option(help="New or empty folder, or an earlier twin, which is replaced."),
    ],
    cells: Annotated[
        int, typer.Option(help="How many, in the order Expt 5, 2,2, 1, 3, 4.", min=1, max=40)
    ] = 40,
    seed: Annotated[int, typer.Option(help="Of every draw.", min=0)] = 0,
    sampling: Annotated[
        float, typer.Option(help="Seconds between the rows of a curve; the record has 1.")
    ] = 1.0,
    expt: Annotated[
        list[int] | None,
        typer.Option(
            help="Only this experiment; may be given several times.",
            metavar="1..5",
            min=1,
            max=5,
            show_default="all",
        ),
    ] = None,
    gitt: Annotated[
        bool,
        typer.Option(
            "--gitt",
            help="Write GITT curves (C/10 pulses and rests) at even check-ups, too: they tell how "
            "the resistance depends on the state of charge.",
        ),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make synthetic ageing data of LG M50T cells, in the record's files and names.

    Electrode capacities, offset and resistance follow ageing laws matched to the published spread;
    C/10 curves come from the half-cell potentials of the LG M50. The truth (LLI, LAM, peaks of the
    noise-free dQ/dV) is kept in the folder `truth`. Nothing in the files is measured.

    **Examples**

    `batterykit twin --out "Raw Data"`

    `batterykit twin --out twin14 --cells 14 --sampling 10`

    `batterykit twin --out twin5 --expt 5 --seed 7 --gitt --json`
    """
    from batterykit.datasets.twin import write_twin

    console = Console(json=json, quiet=quiet)
    report = write_twin(
        out,
        cells=cells,
        seed=seed,
        sampling=sampling,
        experiments=expt,
        gitt=gitt,
        track=console.track,
    )
    experiments = sorted({int(cell[1]) for cell in report.cells})
    rows = []
    for number in experiments:
        soh = [value for cell, value in report.soh_at_end.items() if int(cell[1]) == number]
        rows.append([number, len(soh), f"{100 * min(soh):.1f} to {100 * max(soh):.1f}"])
    console.table("Synthetic cells", ["experiment", "cells", "SoH at the end (%)"], rows)
    console.result(
        {
            "out": report.out,
            "synthetic": True,
            "seed": seed,
            "sampling_s": sampling,
            "cells": report.cells,
            "curves": report.curves,
            "gitt_curves": report.gitt_curves,
            "files": report.files,
            "bytes": report.size,
            "soh_at_end": report.soh_at_end,
        }
    )
    curves = f"{report.curves} C/10 curves"
    curves += f", {report.gitt_curves} GITT curves" if gitt else ""
    console.say(
        f"Wrote {len(report.cells)} cells, {curves}, {report.files} files "
        f"({report.size / 1e6:.0f} MB) to {report.out}. Synthetic: nothing here was measured."
    )
    wanted = " ".join(f"--expt {number}" for number in experiments)
    console.say(f'Next: batterykit ingest {wanted} --source "{report.out}"')
