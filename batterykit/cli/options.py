"""Options and defaults that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

MOST_PROCESSES = 4  # each holds its own copy of torch


def processes() -> int:
    """Return how many processes a command may use: those it may run on, within reason."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return min(len(allowed) or os.cpu_count() or 1, MOST_PROCESSES)


StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="The zarr store. [default: $BATTERYKIT_STORE, batterykit.toml, ./batterykit.zarr]",
        show_default=False,
    ),
]
RunsOption = Annotated[
    Path | None,
    typer.Option(
        "--runs",
        help="The folder of run folders. [default: $BATTERYKIT_RUNS, batterykit.toml, ./runs]",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout and nothing else."),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no messages, only the result.")
]
