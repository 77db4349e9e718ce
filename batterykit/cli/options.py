"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
