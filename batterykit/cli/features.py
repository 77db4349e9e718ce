"""`batterykit features summary|sequence|ica|dma`: make features, from the cache where possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from batterykit.cli.console import Console
from batterykit.cli.features_report import (
    draw,
    finish,
    say_where,
    table_of_cells,
    tables_of_dma,
    tables_of_ica,
)
from batterykit.cli.options import JsonOption, QuietOption, StoreOption

if TYPE_CHECKING:
    import xarray as xr

    from batterykit.features.build import Built
    from batterykit.features.kinds import Options
    from batterykit.store import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make features from what was ingested; what is up to date is not computed again.",
)

ForceOption = Annotated[bool, typer.Option("--force", help="Compute everything anew.")]
ShowOption = Annotated[
    bool, typer.Option("--show", help="Print the tables even if nothing has changed.")
]
PlotOption = Annotated[
    bool, typer.Option("--plot", help="Draw pictures (PNG), and a page (HTML) that holds them.")
]
PicturesOption = Annotated[Path, typer.Option(help="Folder for what --plot draws.")]
COMPILED = {"ica": "kernels", "dma": "dma_kernels"}  # kind -> module of its compiled code
PICTURES = Path("pictures")


@app.command()
def summary(
    activation_energy: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Activation energy of the Arrhenius terms [J/mol]. [default: 38000, SEI growth]",
            show_default=False,
        ),
    ] = None,
    reference_temperature: Annotated[
        float | None,
        typer.Option(
            help="Temperature at which the Arrhenius factor is one [degC]. [default: 25]",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    show: ShowOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the summary features: throughput, days, temperature, resistance, Arrhenius terms.

    **Examples**

    `batterykit features summary`

    `batterykit features summary --activation-energy 50000 --force`
    """
    console = Console(json=json, quiet=quiet)
    given = {
        "activation_energy": activation_energy,
        "reference_temperature": reference_temperature,
    }
    opened, built = _refresh(console, store, "summary", given, force)
    _report(
        console,
        opened,
        built,
        columns={
            "charge_throughput": "throughput [Ah]",
            "days": "days [d]",
            "temperature_cell": "temperature [degC]",
            "resistance_last": "resistance [Ohm]",
            "arrhenius_throughput": "Arrhenius throughput [Ah]",
        },
        next_step="batterykit train --model ode --split loco",
        show=show,
    )


@app.command()
def sequence(
    clock: Annotated[
        Literal["days", "throughput"],
        typer.Option(help="What the cell's own time grid counts: days [d] or throughput [Ah]."),
    ] = "days",
    force: ForceOption = False,
    show: ShowOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the sequences: each cell's ageing on its own time grid, in days or Ah.

    **Examples**

    `batterykit features sequence`

    `batterykit features sequence --clock throughput`
    """
    console = Console(json=json, quiet=quiet)
    opened, built = _refresh(console, store, "sequence", {"clock": clock}, force)
    unit = {"days": "d", "throughput": "Ah"}[clock]
    _report(
        console,
        opened,
        built,
        columns={
            "time": f"time [{unit}]",
            "interval_throughput": "last interval [Ah]",
            "interval_temperature": "its temperature [degC]",
            "resistance_last": "resistance [Ohm]",
            "resistance_age": f"measured before [{unit}]",
        },
        next_step="batterykit train --model ode --split loco",
        show=show,
    )


@app.command()
def ica(
    kind: Annotated[
        Literal["0.1C", "0.5C", "GITT", "hybrid"], typer.Option(help="Which voltage curves.")
    ] = "0.1C",
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Voltage window, lowest and highest [V]. [default: 2.5 4.2]", show_default=False
        ),
    ] = None,
    grid_step: Annotated[
        float | None,
        typer.Option(help="Step of the voltage grid [V]. [default: 0.001]", show_default=False),
    ] = None,
    kernel_width: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the smoothing kernel, as a share of the curve's charge "
            "[1]. [default: by each curve's noise]",
            show_default=False,
        ),
    ] = None,
    prominence: Annotated[
        float | None,
        typer.Option(
            help="Smallest prominence of a peak, as a share of its height [1]. [default: 0.02]",
            show_default=False,
        ),
    ] = None,
    significance: Annotated[
        float | None,
        typer.Option(
            help="Smallest prominence of a peak in standard deviations of the noise [1]. "
            "[default: 6]",
            show_default=False,
        ),
    ] = None,
    peaks: Annotated[
        int | None,
        typer.Option(help="How many tracked peaks to keep [1]. [default: 11]", show_default=False),
    ] = None,
    track_tolerance: Annotated[
        float | None,
        typer.Option(
            help="Farthest that a peak moves between two check-ups [V]. [default: 0.04]",
            show_default=False,
        ),
    ] = None,
    charge_steps: Annotated[
        int | None,
        typer.Option(
            help="How many equal steps of charge dV/dQ is given for [1]. [default: 500]",
            show_default=False,
        ),
    ] = None,
    ir_correct: Annotated[
        bool,
        typer.Option(
            "--ir-correct",
            help="Take the ohmic drop out of the voltage, with the resistance in the store [Ohm]: "
            "from pulses of this or an earlier check-up, else the last 0.1 s resistance.",
        ),
    ] = False,
    ir_factor: Annotated[
        float | None,
        typer.Option(
            help="Where there are no pulses: resistance at the curve's current over that after "
            "0.1 s [1]. [default: 2]",
            show_default=False,
        ),
    ] = None,
    plot: PlotOption = False,
    pictures: PicturesOption = PICTURES,
    force: ForceOption = False,
    show: ShowOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make dQ/dV and dV/dQ of the voltage curves and the peaks, tracked over each cell's ageing.

    **Examples**

    `batterykit features ica`

    `batterykit features ica --plot`

    `batterykit features ica --ir-correct --ir-factor 2`

    `batterykit features ica --kind 0.5C --window 3.2 4.1 --kernel-width 0.01 --plot`
    """
    console = Console(json=json, quiet=quiet)
    if ir_factor is not None and not ir_correct:
        raise typer.BadParameter("means nothing without --ir-correct", param_hint="--ir-factor")
    given = {
        "window": window,
        "grid_step": grid_step,
        "kernel_width": kernel_width,
        "prominence": prominence,
        "significance": significance,
        "peaks": peaks,
        "track_tolerance": track_tolerance,
        "charge_steps": charge_steps,
        "ir_correct": ir_correct,
        "ir_factor": ir_factor,
    }
    opened, built = _refresh(console, store, "ica", given, force, curves=kind)
    _report_of_curves(
        console,
        opened,
        built,
        pictures if plot else None,
        "ica",
        lambda features: tables_of_ica(console, features, kind),
        show=show,
        next_step="batterykit features dma, or batterykit train --model lgbm"
        if plot
        else "batterykit features ica --plot, or batterykit train --model lgbm",
    )


@app.command()
def dma(
    kind: Annotated[
        Literal["0.1C", "0.5C"],
        typer.Option(help="Which voltage curves; the slower, the nearer to equilibrium."),
    ] = "0.1C",
    direction: Annotated[
        Literal["discharge", "charge"], typer.Option(help="Which of them are fitted.")
    ] = "discharge",
    starts: Annotated[
        int | None,
        typer.Option(
            help="Starting points of every fit, besides the fit of the check-up before [1]. "
            "[default: 12]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of the starting points [1]. [default: 0]", show_default=False),
    ] = None,
    positive: Annotated[
        Path | None,
        typer.Option(
            help="Half-cell CSV of the positive electrode: stoichiometry [1], potential [V]. "
            "[default: LG M50, Chen 2020]",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
        ),
    ] = None,
    negative: Annotated[
        Path | None,
        typer.Option(
            help="The same of the negative electrode; of its graphite where --silicon is given. "
            "[default: LG M50, Chen 2020]",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
        ),
    ] = None,
    silicon: Annotated[
        Path | None,
        typer.Option(
            help="The same of the silicon; without it a --negative is one phase, with no Gr and "
            "Si of its own.",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
        ),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(
            help="Points of each fitted curve that are kept [1]. [default: 200]",
            show_default=False,
        ),
    ] = None,
    plot: PlotOption = False,
    pictures: PicturesOption = PICTURES,
    force: ForceOption = False,
    show: ShowOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit electrode capacities to slow voltage curves; LLI and LAM since the first check-up.

    **Examples**

    `batterykit features dma`

    `batterykit features dma --plot`

    `batterykit features dma --direction charge --starts 24`

    `batterykit features dma --positive nmc.csv --negative graphite.csv --silicon silicon.csv`
    """
    console = Console(json=json, quiet=quiet)
    given = {
        "direction": direction,
        "starts": starts,
        "seed": seed,
        "positive": positive,
        "negative": negative,
        "silicon": silicon,
        "points": points,
    }
    opened, built = _refresh(console, store, "dma", given, force, curves=kind)
    _report_of_curves(
        console,
        opened,
        built,
        pictures if plot else None,
        "dma",
        lambda features: tables_of_dma(console, features),
        show=show,
        next_step=f"batterykit store export {built.node} --to dma.nc"
        if plot
        else "batterykit features dma --plot",
    )


def _refresh(
    console: Console,
    store: Path | None,
    kind: Literal["summary", "sequence", "ica", "dma"],
    given: dict[str, Any],
    force: bool,
    curves: str = "0.1C",
) -> tuple[Store, Built]:
    from batterykit.config import load_settings
    from batterykit.features.build import refresh
    from batterykit.features.inventory import compiled_code
    from batterykit.store import Store

    options = _options(kind, {name: value for name, value in given.items() if value is not None})
    opened = Store.open(load_settings(store=store).store)
    if kind in COMPILED and not compiled_code(COMPILED[kind])[1]:
        console.say("First run: compiling the kernels, once, takes about half a minute.")
    built = refresh(opened, kind, options, console.track, curves=curves, force=force)
    return opened, built


def _options(kind: str, given: dict[str, Any]) -> Options:
    from pydantic import ValidationError

    from batterykit.errors import UsageError
    from batterykit.features.kinds import OPTIONS

    try:
        return OPTIONS[kind].model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        option = f"--{place.replace('_', '-')}: " if place else ""
        raise UsageError(
            f"{option}{first['msg'].removeprefix('Value error, ')}",
            fix=f"see `batterykit features {kind} --help`",
        ) from error


def _report(
    console: Console,
    store: Store,
    built: Built,
    columns: dict[str, str],
    *,
    next_step: str,
    show: bool,
) -> None:
    if (built.computed or show) and not console.json:  # else reading it would be most of the work
        table_of_cells(console, store.read(built.node), columns)
    finish(console, built, {})
    console.say(f"Next: {next_step}")


def _report_of_curves(
    console: Console,
    store: Store,
    built: Built,
    pictures: Path | None,
    kind: Literal["ica", "dma"],
    tables: Callable[[xr.Dataset], None],
    *,
    next_step: str,
    show: bool,
) -> None:
    told = (built.computed or show) and not console.json
    drawn = None
    if told or pictures is not None:
        features = store.read(built.node)
        if pictures is not None:
            drawn = draw(console, store, built.node, features, kind, pictures)
        if told:
            tables(features)
    finish(console, built, {} if drawn is None else drawn._asdict())
    if drawn is not None:
        say_where(console, drawn)
    console.say(f"Next: {next_step}")
