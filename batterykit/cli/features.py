"""`batterykit features summary|sequence|ica`: make features, from the cache where possible."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import JsonOption, QuietOption, StoreOption

if TYPE_CHECKING:
    import xarray as xr

    from batterykit.features.build import Built, Options
    from batterykit.store import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make features from what was ingested; what is up to date is not computed again.",
)

ForceOption = Annotated[bool, typer.Option("--force", help="Compute everything anew.")]

_MOST_ROWS = 12  # of the printed table: the rest is a look at the store away


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
    )


@app.command()
def sequence(
    clock: Annotated[
        Literal["days", "throughput"],
        typer.Option(help="What the cell's own time grid counts: days [d] or throughput [Ah]."),
    ] = "days",
    force: ForceOption = False,
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
            help="Standard deviation of the smoothing kernel [V]. [default: by each curve's noise]",
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
        typer.Option(help="How many tracked peaks to keep [1]. [default: 10]", show_default=False),
    ] = None,
    track_tolerance: Annotated[
        float | None,
        typer.Option(
            help="Farthest that a peak moves between two check-ups [V]. [default: 0.04]",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Write pictures of dQ/dV over ageing (PNG).")
    ] = False,
    pictures: Annotated[Path, typer.Option(help="Folder for the pictures of --plot.")] = Path(
        "pictures"
    ),
    force: ForceOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make dQ/dV of the voltage curves and its peaks, tracked over each cell's ageing.

    **Examples**

    `batterykit features ica`

    `batterykit features ica --kind 0.5C --window 3.2 4.1 --kernel-width 0.01 --plot`
    """
    console = Console(json=json, quiet=quiet)
    given = {
        "window": window,
        "grid_step": grid_step,
        "kernel_width": kernel_width,
        "prominence": prominence,
        "significance": significance,
        "peaks": peaks,
        "track_tolerance": track_tolerance,
    }
    opened, built = _refresh(console, store, "ica", given, force, curves=kind)
    drawn: list[Path] = []
    if plot:
        drawn = _draw(opened.read(built.node), pictures, kind)
    payload: dict[str, Any] = {"pictures": drawn} if plot else {}
    if built.computed and not json:
        _table_of_peaks(console, opened.read(built.node), kind)
    _finish(console, built, payload)
    for path in drawn:
        console.say(f"Picture: {path}")
    if not plot:
        console.say("Next: batterykit features ica --plot, or batterykit train --model lgbm")


def _refresh(
    console: Console,
    store: Path | None,
    kind: Literal["summary", "sequence", "ica"],
    given: dict[str, Any],
    force: bool,
    curves: str = "0.1C",
) -> tuple[Store, Built]:
    from batterykit.config import load_settings
    from batterykit.features.build import refresh
    from batterykit.store import Store

    options = _options(kind, {name: value for name, value in given.items() if value is not None})
    opened = Store.open(load_settings(store=store).store)
    built = refresh(opened, kind, options, console.track, curves=curves, force=force)
    return opened, built


def _options(kind: str, given: dict[str, Any]) -> Options:
    from pydantic import ValidationError

    from batterykit.errors import UsageError
    from batterykit.features.build import OPTIONS

    try:
        return OPTIONS[kind].model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        option = f"--{place.replace('_', '-')}: " if place else ""
        raise UsageError(
            f"{option}{first['msg']}", fix=f"see `batterykit features {kind} --help`"
        ) from error


def _report(
    console: Console, store: Store, built: Built, columns: dict[str, str], next_step: str
) -> None:
    if built.computed and not console.json:  # else reading it would be most of the work
        _table_of_cells(console, store.read(built.node), columns)
    _finish(console, built, {})
    console.say(f"Next: {next_step}")


def _finish(console: Console, built: Built, payload: dict[str, Any]) -> None:
    if built.damaged:
        console.warn(f"{built.node} was damaged and is computed again ({built.damaged})")
    if built.computed or built.dropped or built.damaged:
        console.say(
            f"{built.node}: {built.rows} rows, {len(built.computed)} computed, "
            f"{built.reused} from the cache, {len(built.dropped)} dropped."
        )
    else:
        console.say(f"{built.node}: nothing changed, all {built.rows} rows from the cache.")
    console.result(
        {
            "node": built.node,
            "rows": built.rows,
            "computed": list(built.computed),
            "reused": built.reused,
            "dropped": list(built.dropped),
            "damaged": built.damaged,
            **payload,
        }
    )


def _table_of_cells(console: Console, features: xr.Dataset, columns: dict[str, str]) -> None:
    n_cells = features.sizes["cell"]
    rows = []
    for k in range(min(n_cells, _MOST_ROWS)):
        last = int(features["n_rpt"].values[k]) - 1
        values = [_number(features[name].values[k, last]) for name in columns]
        rows.append([str(features["cell"].values[k]), str(last), *values])
    more = f", first {_MOST_ROWS} of {n_cells} cells" if n_cells > _MOST_ROWS else ""
    console.table(f"At each cell's last check-up{more}", ["cell", "RPT", *columns.values()], rows)


def _table_of_peaks(console: Console, features: xr.Dataset, kind: str) -> None:
    import numpy as np

    rows = []
    for direction in sorted(set(features["direction"].values.tolist())):
        mine = features.isel(curve=np.flatnonzero(features["direction"].values == direction))
        for peak in range(mine.sizes["peak"]):
            here = mine["peak_present"].values[:, peak]
            if here.any():
                names = ("peak_voltage", "peak_height", "peak_width", "peak_area")
                medians = [float(np.median(mine[name].values[here, peak])) for name in names]
                found = f"{int(here.sum())}/{len(here)}"
                rows.append([direction, f"P{peak}", found, *(_number(m) for m in medians)])
    console.table(
        f"dQ/dV peaks of the {kind} curves, medians",
        ["direction", "peak", "found", "voltage [V]", "height [Ah/V]", "width [V]", "area [Ah]"],
        rows,
    )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.5g}"


def _draw(features: xr.Dataset, folder: Path, kind: str) -> list[Path]:
    import numpy as np

    from batterykit.plots.ica import dqdv_over_ageing

    experiment = np.array([str(cell).split("-")[0] for cell in features["cell"].values])
    direction = features["direction"].values
    drawn = []
    for expt in sorted(set(experiment)):
        for way in sorted(set(direction[experiment == expt].tolist())):
            mine = features.isel(curve=np.flatnonzero((experiment == expt) & (direction == way)))
            path = folder / f"ica-{expt}-{kind}-{way}.png"
            title = f"dQ/dV over ageing: experiment {expt.removeprefix('E')}, {kind} {way}"
            drawn.append(dqdv_over_ageing(mine, path, title))
    return drawn
