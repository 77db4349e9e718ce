"""`batterykit ingest`: the record's files into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import JsonOption, QuietOption, StoreOption

if TYPE_CHECKING:
    from batterykit.datasets.ingest import ExperimentReport, Report

_EXPERIMENTS = {"1": 1, "2": 2, "2,2": 2, "3": 3, "4": 4, "5": 5}


def ingest(
    expt: Annotated[
        list[str] | None,
        typer.Option(
            help="Experiment 1 to 5, or `all` that are in the folder; may be given several times.",
            metavar="1..5|all",
            show_default="all",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds the record's `Expt N - ...` folders, or one of those. "
            "[default: $BATTERYKIT_DATA, batterykit.toml, ./Raw Data]",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read the LG M50T record's CSV files into the store.

    A partial record is fine: what is there is read, what is missing is listed. Files that the
    store already has, byte for byte, are not read again; a changed file replaces its own cell or
    curve. Bad files are errors that name file, column and line; oddities become quality flags.

    **Examples**

    `batterykit ingest --expt 5`

    `batterykit ingest --expt 1 --expt 2 --source "/data/LG M50T"`

    `batterykit ingest --expt all --json`
    """
    from batterykit.config import load_settings
    from batterykit.datasets.ingest import choose
    from batterykit.datasets.ingest import ingest as run
    from batterykit.store import Store

    console = Console(json=json, quiet=quiet)
    settings = load_settings(store=store, data=source)
    numbers = _experiments(expt or ["all"])
    choose(settings.data, numbers)  # before a store is made for nothing
    opened = Store.open_or_create(settings.store)
    report = run(opened, settings.data, numbers, track=console.track)
    _show(console, report, settings.store)
    console.result({"command": "ingest", "store": settings.store, **report.as_dict()})


def _experiments(texts: list[str]) -> list[int] | None:
    """Return the experiments asked for; None for all that are there."""
    from batterykit.errors import UsageError

    if any(text.lower() == "all" for text in texts):
        return None
    for text in texts:
        if text not in _EXPERIMENTS:
            raise UsageError(
                f"--expt {text}: there is no such experiment",
                fix="give a number from 1 to 5, or `all`",
            )
    return [_EXPERIMENTS[text] for text in texts]


def _show(console: Console, report: Report, store: Path) -> None:
    nodes = [node for one in report.experiments for node in one.nodes]
    if report.changed:
        rows = [[node.node, node.state, node.files, node.read] for node in nodes]
        console.table("Ingest", ["node", "state", "files", "read"], rows)
    for one in report.experiments:
        _show_experiment(console, one)
    if report.changed:
        console.say(f"Stored in {store}. Next: batterykit features ica")
    else:
        files = sum(node.files for node in nodes)
        console.say(f"Nothing changed: the store has all {files} files as they are, none read.")


def _show_experiment(console: Console, one: ExperimentReport) -> None:
    from batterykit.datasets.ingest import shortened

    where = f"Experiment {one.experiment}"
    for node in one.nodes:
        if node.state == "updated":
            for word, names in (("new", node.new), ("changed", node.changed)):
                if names:
                    console.say(f"{node.node}: {word} {shortened(names)}")
        if node.kept:
            console.say(
                f"{node.node}: no longer in the source, kept in the store: {shortened(node.kept)}"
            )
        if node.state != "unchanged":
            for flag, names in node.flags.items():
                console.say(f"{node.node}: flag {flag}: {len(names)} ({shortened(names)})")
    for line in one.missing if any(node.state != "unchanged" for node in one.nodes) else []:
        console.say(f"{where}: {line}")
    if one.unrecognised:
        console.warn(f"{where}: not read, the names fit nothing: {shortened(one.unrecognised)}")
