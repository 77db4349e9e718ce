"""`batterykit train`: train a model, test it on cells that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import (
    JsonOption,
    QuietOption,
    RunsOption,
    StoreOption,
    processes,
)

if TYPE_CHECKING:
    from batterykit.learning.runs import Run

_EXPERIMENTS = {"1": 1, "2": 2, "2,2": 2, "3": 3, "4": 4, "5": 5}


def train(
    model: Annotated[
        Literal["dummy", "persistence", "mean_trajectory", "ridge", "lgbm", "ode"],
        typer.Option(help="What to train."),
    ] = "ode",
    split: Annotated[
        Literal["loco", "temperature"],
        typer.Option(help="Which cells to hold out: one, or all of one chamber temperature."),
    ] = "loco",
    task: Annotated[
        Literal["estimate", "forecast"],
        typer.Option(
            help="The state now, without measuring capacity; or the later course from the first "
            "check-ups and the planned use."
        ),
    ] = "estimate",
    target: Annotated[
        Literal["soh", "lli", "lam_pe", "lam_ne"], typer.Option(help="What to predict.")
    ] = "soh",
    expt: Annotated[
        list[str] | None,
        typer.Option(
            help="Experiment 1 to 5; may be given several times. [default: all in the store]",
            metavar="1..5",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="forecast: how many check-ups are given, RPT0 counted. [default: 3]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks are trained.")
    ] = "auto",
    store: StoreOption = None,
    runs: RunsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model and score it on cells that it has not seen.

    Every fold scales, tunes and stops early inside its training cells; the tested cells are
    predicted once. The score stands beside those of the dummy (mean of the training cells),
    persistence and the mean trajectory (mean of the training cells at the same check-up).
    Features that are missing are made first.

    **Examples**

    `batterykit train --model ode --split loco`

    `batterykit train --model ridge --split temperature --task forecast --target lli`

    `batterykit train --model lgbm --expt 2 --expt 5 --seed 7 --json`
    """
    from batterykit.config import load_settings
    from batterykit.errors import UsageError
    from batterykit.learning.runs import train as run_training
    from batterykit.learning.tasks import DEFAULT_CONTEXT
    from batterykit.plots.runs import draw_run
    from batterykit.store import Store

    if context is not None and task == "estimate":
        raise UsageError(
            "--context has no meaning for --task estimate, which is given every check-up so far",
            fix="leave it out, or add --task forecast",
        )
    console = Console(json=json, quiet=quiet)
    settings = load_settings(store=store, runs=runs)
    track, listen = console.meter()
    run, predictions = run_training(
        Store.open(settings.store),
        settings.runs,
        model=model,
        split=split,
        task=task,
        target=target,
        experiments=_experiments(expt or []),
        context=context or DEFAULT_CONTEXT,
        seed=seed,
        device=device,
        jobs=processes(),
        track=track,
        listen=listen,
    )
    pictures = draw_run(predictions, run.folder, title_of(run))
    show_run(console, run)
    for note in run.manifest["notes"]:
        console.say(f"Note: {note}.")
    seconds = run.manifest["seconds"]["total"]
    console.say(
        f"Wrote {run.folder} and runs/{run.run_id}/predictions in {settings.store} "
        f"({seconds:.1f} s); pictures: {', '.join(path.name for path in pictures)}."
    )
    console.say("Next: batterykit runs list, or batterykit runs compare latest RUN")
    console.result(
        {
            "run_id": run.run_id,
            "folder": run.folder,
            "pictures": pictures,
            "manifest": run.manifest,
            "metrics": run.metrics,
        }
    )


def title_of(run: Run) -> str:
    """Return what a run is, in a line."""
    about = run.manifest
    given = f" from {about['context']} check-ups" if about["context"] else ""
    experiments = ", ".join(str(number) for number in about["experiments"])
    return (
        f"{about['model']}: {about['task']} {about['target']}{given}, {about['split']}, "
        f"experiment {experiments}"
    )


def show_run(console: Console, run: Run) -> None:
    """Print a run's scores: overall, beside the references, by cell and by group."""
    metrics = run.metrics
    overall, interval = metrics["overall"], metrics["interval"]
    rows = [
        ["MAE [pp]", pp(overall["mae"]), *(pp(value) for value in interval["mae"])],
        ["RMSE [pp]", pp(overall["rmse"]), *(pp(value) for value in interval["rmse"])],
        ["MAPE [%]", pp(overall["mape"]), *(pp(value) for value in interval["mape"])],
        ["R2 [1]", number(overall["r2"]), *(number(value) for value in interval["r2"])],
    ]
    rows += [
        [
            f"skill against {name} (MAE {pp(metrics['reference_mae'][name])} pp)",
            number(metrics["skill"][name]),
            *(number(value) for value in metrics["skill_interval"][name]),
        ]
        for name in metrics["skill"]
    ]
    console.table(
        f"{title_of(run)} ({overall['rows']} check-ups of {len(metrics['by_cell'])} cells)",
        ["score", "value", "95 % from", "to"],
        rows,
    )
    console.table(
        f"By cell; the worst is {metrics['worst_cell']}",
        ["cell", "degC", "MAE [pp]", "RMSE [pp]", "R2", "mean trajectory: MAE [pp]"],
        [
            [
                cell,
                f"{values['temperature']:g}",
                pp(values["mae"]),
                pp(values["rmse"]),
                number(values["r2"]),
                pp(values["mae_mean_trajectory"]),
            ]
            for cell, values in metrics["by_cell"].items()
        ],
    )
    groups = [
        [label, name, pp(values["mae"]), pp(values["rmse"]), values["rows"]]
        for label, key in (("chamber [degC]", "by_temperature"), ("experiment", "by_experiment"))
        for name, values in metrics[key].items()
    ]
    console.table("By group", ["group", "", "MAE [pp]", "RMSE [pp]", "check-ups"], groups)


def _experiments(texts: list[str]) -> list[int]:
    from batterykit.errors import UsageError

    for text in texts:
        if text not in _EXPERIMENTS:
            raise UsageError(
                f"--expt {text}: there is no such experiment", fix="give a number from 1 to 5"
            )
    return [_EXPERIMENTS[text] for text in texts]


def pp(value: Any) -> str:  # noqa: ANN401 - a number or null, from JSON
    """Return a share in percentage points, `-` where there is none."""
    return "-" if value is None else f"{100 * value:.2f}"


def number(value: Any) -> str:  # noqa: ANN401 - a number or null, from JSON
    """Return a number with two decimals, `-` where there is none."""
    return "-" if value is None else f"{value:.2f}"
