"""`batterykit store info|log|verify|export|remove`: see what the store holds, copy it, tidy up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import JsonOption, QuietOption, StoreOption

if TYPE_CHECKING:
    from batterykit.store import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Look at what the store holds, check it, copy it out, tidy up.",
)


@app.command()
def info(store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the datasets of the store: dimensions, variables, size on disk, fingerprint.

    **Examples**

    `batterykit store info`

    `batterykit store info --store my.zarr --json`
    """
    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    nodes = [opened.describe(node) for node in opened.nodes()]
    console.table(
        f"{opened.path}: {len(nodes)} datasets",
        ["node", "dimensions", "variables", "MB on disk", "fingerprint"],
        [
            [
                node["node"],
                ", ".join(f"{name} {size}" for name, size in node["sizes"].items()),
                len(node["variables"]),
                f"{node['bytes'] / 1e6:.2f}",
                node["fingerprint"][:8],
            ]
            for node in nodes
        ],
    )
    console.result({"store": opened.path, "nodes": nodes})
    if nodes:
        console.say(f'Open one in Python: xarray.open_zarr("{opened.path / nodes[0]["node"]}")')
    else:
        console.say("The store is empty. Next: batterykit ingest --expt 5")


@app.command()
def log(
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries to show.")] = 20,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show who wrote what and when, newest last.

    **Examples**

    `batterykit store log`

    `batterykit store log --last 3 --json`
    """
    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    entries = opened.log()[-last:]
    console.table(
        f"{opened.path}: log",
        ["time (UTC)", "command", "node", "note"],
        [
            [entry["time"][:19], entry["command"], entry["node"] or "", entry["note"]]
            for entry in entries
        ],
    )
    console.result({"store": opened.path, "log": entries})


@app.command()
def verify(store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Read every dataset and compare it with its schema and fingerprint; exit 1 if any differs.

    **Examples**

    `batterykit store verify`
    """
    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    nodes = opened.expected_nodes()
    problems = [
        problem
        for node in console.track(nodes, "verifying", len(nodes))
        for problem in opened.verify([node])
    ]
    console.result(
        {
            "store": opened.path,
            "nodes": len(nodes),
            "problems": [{"node": problem.node, "what": problem.what} for problem in problems],
        }
    )
    if problems:
        console.table(
            f"{opened.path}: {len(problems)} of {len(nodes)} datasets are not as written",
            ["node", "problem"],
            [[problem.node, problem.what] for problem in problems],
        )
        console.say(
            "Next: batterykit store remove NODE --force, then the command that makes it again"
        )
        raise typer.Exit(1)
    console.show(f"{opened.path}: all {len(nodes)} datasets are as they were written")


@app.command()
def export(
    to: Annotated[
        Path,
        typer.Option("--to", help="The file to write; a folder for several tables."),
    ],
    nodes: Annotated[
        list[str] | None,
        typer.Argument(help="Datasets, by path or beginning of it; all when left out."),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="netcdf, csv or parquet. [default: by the ending of --to, else netcdf]",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the target.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy datasets out: everything into one NetCDF file, or tables as CSV or Parquet.

    **Examples**

    `batterykit store export --to all.nc`

    `batterykit store export raw/expt5/summary --to summary.csv`

    `batterykit store export raw/expt5 --to tables --format parquet`
    """
    from batterykit.store.export import export as export_nodes

    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    endings = {".nc": "netcdf", ".csv": "csv", ".parquet": "parquet"}
    chosen = [
        node
        for node in opened.nodes()
        if not nodes or any(_begins(node, prefix) for prefix in nodes)
    ]
    written = export_nodes(
        opened,
        chosen,
        to,
        format_ or endings.get(to.suffix, "netcdf"),
        force=force,
        track=console.track,
    )
    console.result({"store": opened.path, "nodes": chosen, "files": written})
    console.say(f"Wrote {len(chosen)} datasets to {to}.")


@app.command()
def remove(
    nodes: Annotated[
        list[str], typer.Argument(help="Datasets, by path or beginning of it; damaged ones too.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Really remove; there is no way back.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove datasets: damaged ones, old runs, features of parameters no longer used.

    **Examples**

    `batterykit store remove features/ica --force`

    `batterykit store remove raw/expt5/curves/0.1C --force`
    """
    from batterykit.errors import UsageError

    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    chosen = [
        node for node in opened.expected_nodes() if any(_begins(node, prefix) for prefix in nodes)
    ]
    if not chosen:
        raise UsageError(
            f"the store has no dataset '{', '.join(nodes)}'", fix="see `batterykit store info`"
        )
    if not force:
        raise UsageError(
            f"this would remove {len(chosen)} datasets: {', '.join(chosen)}",
            fix="add --force if that is what you want",
        )
    for node in chosen:
        opened.remove(node, command="store remove")
    console.result({"store": opened.path, "removed": chosen})
    console.say(f"Removed {', '.join(chosen)}.")


def _opened(store: Path | None) -> Store:
    from batterykit.config import load_settings
    from batterykit.store import Store

    return Store.open(load_settings(store=store).store)


def _begins(node: str, prefix: str) -> bool:
    prefix = prefix.rstrip("/")
    return node == prefix or node.startswith(f"{prefix}/")
