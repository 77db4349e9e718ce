"""`batterykit cache info|why|clear|verify`: what features are kept, what changed, make room."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import JsonOption, QuietOption, StoreOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batterykit.features.inventory import Entry
    from batterykit.features.provenance import Why
    from batterykit.store import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="See what features are kept, what changed since, whether they are whole; make room.",
)

NodesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NODE|KIND]...",
        help="Features, by path, kind (ica) or the start of their hash; all when left out.",
        show_default=False,
    ),
]

MOST_LINES = 12  # of the changes of one node: with --json all are there


@app.command()
def info(store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the features that are kept: parameters, rows, size, last use, state.

    States: current (used as it is), stale (its input, parameters or code changed), damaged
    (computed again), unsealed (whole; a run was stopped before it said so).

    **Examples**

    `batterykit cache info`

    `batterykit cache info --json`
    """
    from batterykit.features.inventory import compiled_code, entries, feature_nodes

    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    found = entries(opened, feature_nodes(opened))
    total = sum(entry.bytes for entry in found)
    folder, compiled = compiled_code()
    console.table(
        f"{opened.path}: {len(found)} sets of features, {_size(total)}",
        ["features", "other than default", "rows", "size", "written (UTC)", "last run", "state"],
        [
            [
                entry.node.removeprefix("features/"),
                _parameters(entry),
                "-" if entry.rows is None else entry.rows,
                _size(entry.bytes),
                (entry.written or "-")[:19],
                _last_run(entry),
                entry.state + (f" ({entry.reason})" if entry.reason else ""),
            ]
            for entry in found
        ],
    )
    console.result(
        {
            "store": opened.path,
            "nodes": [asdict(entry) for entry in found],
            "bytes": total,
            "compiled_code": {"folder": folder, "bytes": compiled},
        }
    )
    console.say(f"Compiled kernels: {_size(compiled)} in {folder}")
    if not found:
        console.say("Next: batterykit features ica")
    elif any(entry.state != "current" for entry in found):
        console.say("Next: batterykit cache why")


@app.command()
def why(
    nodes: NodesArgument = None,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what changed since features were computed, and what the next run will compute.

    Named are the measurements, parameters, functions and constants that changed. A kind stands for
    its default parameters. Nothing is computed or written.

    **Examples**

    `batterykit cache why`

    `batterykit cache why ica`

    `batterykit cache why features/ica/7eaebccd357c --json`
    """
    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    answers = []
    for answer in _answers(opened, nodes):
        answers.append(answer)
        _explain(console, answer)
    console.result({"store": opened.path, "nodes": [answer.as_dict() for answer in answers]})
    if not answers:
        console.say(f"{opened.path} holds no features yet. Next: batterykit features ica")


@app.command()
def clear(
    nodes: NodesArgument = None,
    stale: Annotated[
        bool,
        typer.Option("--stale", help="Only what a run would compute anew, in whole or in part."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "--yes", "-y", help="Do not ask before removing.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove features to make room; raw data and runs stay, and a run makes features again.

    **Examples**

    `batterykit cache clear --stale`

    `batterykit cache clear ica --force`

    `batterykit cache clear features/ica/7eaebccd357c --force`
    """
    from batterykit.features.inventory import clear as clear_nodes
    from batterykit.features.inventory import entries, feature_nodes, find

    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    chosen = entries(opened, find(opened, nodes) if nodes else feature_nodes(opened))
    if stale:
        chosen = [entry for entry in chosen if entry.state in ("stale", "damaged")]
    names = [entry.node for entry in chosen]
    if chosen and not force:
        _confirm(console, names, sum(entry.bytes for entry in chosen))
    freed = clear_nodes(opened, names)
    console.result({"store": opened.path, "removed": names, "bytes_freed": freed})
    if names:
        console.say(f"Removed {', '.join(names)}: {_size(freed)} freed.")
    else:
        console.say("There is nothing to remove.")


@app.command()
def verify(store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Read all features and compare them with what was written; exit 1 if any differ.

    **Examples**

    `batterykit cache verify`

    `batterykit cache verify --json`
    """
    from batterykit.features.inventory import feature_nodes, look_for_damage

    console = Console(json=json, quiet=quiet)
    opened = _opened(store)
    nodes = feature_nodes(opened)
    found = [
        damage
        for node in console.track(nodes, "verifying", len(nodes))
        if (damage := look_for_damage(opened, node)) is not None
    ]
    console.result(
        {"store": opened.path, "nodes": len(nodes), "damaged": [asdict(one) for one in found]}
    )
    if not found:
        console.show(f"{opened.path}: all {len(nodes)} sets of features are as they were written")
        return
    console.table(
        f"{opened.path}: {len(found)} of {len(nodes)} sets of features are damaged",
        ["features", "file", "run"],
        [
            [one.node, f"{file} ({how})" if file else one.what, one.command]
            for one in found
            for file, how in (one.files or {"": ""}).items()
        ],
    )
    console.say("The run named last in a line computes what is damaged again.")
    raise typer.Exit(1)


def _answers(store: Store, names: list[str] | None) -> Iterator[Why]:
    from batterykit.features.inventory import feature_nodes, find
    from batterykit.features.kinds import OPTIONS
    from batterykit.features.provenance import manifest, why, why_kind

    there = feature_nodes(store)
    for name in names or there:
        kind = name.strip("/").removeprefix("features/")
        if kind in OPTIONS:
            yield why_kind(store, kind, {node: manifest(store, node) for node in there})
        else:
            for node in find(store, [name]):
                yield why(store, node)


def _explain(console: Console, answer: Why) -> None:
    from batterykit.features.provenance import sentence

    console.show(f"{answer.node}: {answer.state}")
    if answer.compared_with:
        console.show(f"  other parameters than {answer.compared_with}")
    for change in answer.changes[:MOST_LINES]:
        console.show(f"  {sentence(change)}")
    if len(answer.changes) > MOST_LINES:
        console.show(f"  and {len(answer.changes) - MOST_LINES} more (all with --json)")
    if answer.problem:
        console.show(f"  {answer.problem}")
    elif answer.state == "current":
        console.show(f"  nothing changed: the next run reuses all {answer.reuse} rows")
    else:
        console.show(
            f"  the next `{answer.command}` computes {len(answer.compute)} rows, reuses "
            f"{answer.reuse}, drops {len(answer.drop)}"
        )


def _confirm(console: Console, names: list[str], size: int) -> None:
    from batterykit.errors import UsageError

    would = f"this would remove {', '.join(names)}: {_size(size)}"
    if console.json or not sys.stdin.isatty():
        raise UsageError(would, fix="add --force if that is what you want")
    if not typer.confirm(f"Remove {', '.join(names)}: {_size(size)}?", err=True):
        console.say("Nothing was removed.")
        raise typer.Exit(1)


def _parameters(entry: Entry) -> str:
    return ", ".join(f"{name} {value}" for name, value in entry.parameters.items()) or "-"


def _last_run(entry: Entry) -> str:
    if entry.used is None:
        return "-"
    return f"{entry.used[:19]}: {entry.computed} computed, {entry.reused} reused"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.2f} MB"


def _opened(store: Path | None) -> Store:
    from batterykit.config import load_settings
    from batterykit.store import Store

    return Store.open(load_settings(store=store).store)
