"""`batterykit runs list|show|compare`: look at what was trained."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import JsonOption, QuietOption, RunsOption

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Look at what was trained: all runs, one run, several side by side.",
)


@app.command("list")
def list_(runs: RunsOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the runs, oldest first.

    **Examples**

    `batterykit runs list`

    `batterykit runs list --runs old-runs --json`
    """
    from batterykit.cli.train import number, pp
    from batterykit.config import load_settings
    from batterykit.learning.runs import list_runs

    console = Console(json=json, quiet=quiet)
    folder = load_settings(runs=runs).runs
    found, problems = list_runs(folder)
    for problem in problems:
        console.warn(problem)
    console.table(
        f"{folder}: {len(found)} runs",
        ["run", "experiments", "cells", "MAE [pp]", "RMSE [pp]", "skill (mean trajectory)", "s"],
        [
            [
                run.run_id,
                ", ".join(str(number) for number in run.manifest["experiments"]),
                len(run.manifest["cells"]),
                pp(run.metrics["overall"]["mae"]),
                pp(run.metrics["overall"]["rmse"]),
                number(run.metrics["skill"]["mean_trajectory"]),
                f"{run.manifest['seconds']['total']:.1f}",
            ]
            for run in found
        ],
    )
    console.result(
        {
            "runs": [{**_identity(run.manifest), **run.metrics["overall"]} for run in found],
            "problems": problems,
        }
    )
    console.say(
        "Next: batterykit runs show latest" if found else "Next: batterykit train --model ode"
    )


@app.command()
def show(
    run: Annotated[
        str, typer.Argument(help="The run's name, the start of it, or `latest`.")
    ] = "latest",
    runs: RunsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a run: scores, references, cells, what was chosen in each fold.

    **Examples**

    `batterykit runs show`

    `batterykit runs show 20261121-0906 --json`
    """
    from batterykit.cli.train import show_run
    from batterykit.config import load_settings
    from batterykit.learning.runs import find_run

    console = Console(json=json, quiet=quiet)
    found = find_run(load_settings(runs=runs).runs, run)
    show_run(console, found)
    console.table(
        "What the inner folds chose",
        ["fold", "tests", "choices"],
        [
            [
                fold["name"],
                ", ".join(fold["test"]),
                ", ".join(f"{key} {_short(value)}" for key, value in fold["choices"].items()),
            ]
            for fold in found.manifest["folds"]
        ],
    )
    for note in found.manifest["notes"]:
        console.say(f"Note: {note}.")
    console.say(
        f"{found.run_id}: seed {found.manifest['seed']}, batterykit "
        f"{found.manifest['code']['batterykit']}; files: {found.folder}"
    )
    console.say("Next: batterykit runs compare latest RUN")
    console.result(
        {
            "run_id": found.run_id,
            "folder": found.folder,
            "manifest": found.manifest,
            "metrics": found.metrics,
        }
    )


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two runs or more.")],
    runs: RunsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show runs side by side, best first, and say where they answer different questions.

    **Examples**

    `batterykit runs compare latest 20261121-0906`

    `batterykit runs compare 20261121-0906 20261121-0911 --json`
    """
    from batterykit.cli.train import number, pp
    from batterykit.config import load_settings
    from batterykit.errors import UsageError
    from batterykit.learning.runs import differences, find_run

    console = Console(json=json, quiet=quiet)
    if len(names) < 2:
        raise UsageError("there is one run to compare", fix="name two runs or more")
    folder = load_settings(runs=runs).runs
    found = sorted(
        (find_run(folder, name) for name in names), key=lambda run: run.metrics["overall"]["mae"]
    )
    apart = differences(found)
    for difference in apart:
        console.warn(f"{difference}: their scores do not compare")
    console.table(
        "Runs, least MAE first",
        [
            "run",
            "MAE [pp]",
            "95 % from",
            "to",
            "RMSE [pp]",
            "worst cell",
            "skill (mean trajectory)",
        ],
        [
            [
                run.run_id,
                pp(run.metrics["overall"]["mae"]),
                *(pp(value) for value in run.metrics["interval"]["mae"]),
                pp(run.metrics["overall"]["rmse"]),
                run.metrics["worst_cell"],
                number(run.metrics["skill"]["mean_trajectory"]),
            ]
            for run in found
        ],
    )
    cells = sorted(set.intersection(*(set(run.metrics["by_cell"]) for run in found)))
    console.table(
        "MAE by cell [pp]",
        ["cell", *(run.run_id for run in found)],
        [[cell, *(pp(run.metrics["by_cell"][cell]["mae"]) for run in found)] for cell in cells],
    )
    console.result(
        {
            "runs": [{**_identity(run.manifest), "metrics": run.metrics} for run in found],
            "differences": apart,
        }
    )
    console.say(f"Next: batterykit runs show {found[0].run_id}")


def _identity(manifest: dict[str, Any]) -> dict[str, Any]:
    names = ("run_id", "created", "model", "split", "task", "target", "experiments", "seed")
    return {name: manifest[name] for name in names} | {"seconds": manifest["seconds"]["total"]}


def _short(value: Any) -> str:  # noqa: ANN401 - anything a model may choose
    return f"{value:.3g}" if isinstance(value, float) else str(value)
