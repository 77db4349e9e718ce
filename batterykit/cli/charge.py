"""`batterykit charge simulate`: charge a pack of unequal cells, and see which cell suffers."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from batterykit.cli.console import Console
from batterykit.cli.features_report import say_where
from batterykit.cli.options import JsonOption, QuietOption, StoreOption

if TYPE_CHECKING:
    import xarray as xr

    from batterykit.charge.case import Case
    from batterykit.charge.protocols import Protocol, Rating
    from batterykit.pack.parameters import CellParameters
    from batterykit.pack.scenario import Scenario

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Charge packs whose cells differ and age.",
)

WAY_BY_DEFAULT = "0.1:0.8"
START_BY_DEFAULT = "0.1"  # of a profile
CRATE_BY_DEFAULT = 1.0
CUTOFF_BY_DEFAULT = "C/20"


@app.callback()
def root() -> None:
    """Charge packs whose cells differ and age."""


@app.command("simulate")
def simulate(
    protocol: Annotated[
        str | None,
        typer.Option(
            help="cc (constant current), cccv (then constant voltage), multistage, or a CSV file "
            "with 'time [s]' and one of 'current [A]', 'crate', 'power [W]' of the pack, positive "
            "on charge. [default: cccv to charge, cc to discharge]",
            metavar="cccv|cc|multistage|FILE.csv",
            show_default=False,
        ),
    ] = None,
    pack: Annotated[
        str, typer.Option(help="Cells in parallel and groups in series; 1p1s is one cell.")
    ] = "3p6s",
    crate: Annotated[
        float | None,
        typer.Option(
            help="C-rate [1/h]: 1 is the nominal capacity of the cells in an hour. [default: 1]",
            show_default=False,
        ),
    ] = None,
    soc: Annotated[
        str | None,
        typer.Option(
            help="Mean state of charge, from where to where; 0.8:0.1 discharges. Of a profile only "
            f"the start. [default: {WAY_BY_DEFAULT}, of a profile {START_BY_DEFAULT}]",
            metavar="FROM:TO",
            show_default=False,
        ),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            help="multistage: C-rate and until which state of charge, the last one to the end. "
            "[default: 1, 0.75 and 0.5 times --crate, each for a third of the way]",
            metavar="RATE@SOC,...,RATE",
            show_default=False,
        ),
    ] = None,
    cutoff: Annotated[
        str | None,
        typer.Option(
            help=f"cccv: C-rate at which it is over. [default: {CUTOFF_BY_DEFAULT}]",
            metavar="C/20",
            show_default=False,
        ),
    ] = None,
    hold: Annotated[
        Literal["cell", "pack"] | None,
        typer.Option(
            help="cccv: hold the highest cell at --v-max, or the terminals at --v-max times the "
            "groups in series, whatever single cells do. [default: cell]",
            show_default=False,
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            help="The cells: all alike, with the spread of a production, aged and unequal; or a "
            "pack of the frozen sets: train:0 to 199, heldout:0 to 99, shifted:0 to 49. "
            "[default: fresh]",
            metavar="fresh|spread|aged|SET:N",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the draw of the cells; the frozen sets are those of 0.")
    ] = 0,
    from_store: Annotated[
        str | None,
        typer.Option(
            help="Cells as aged as one of the store, by its `features dma`: E5-A:8 is cell E5-A at "
            "RPT 8. Several with commas go round the cells of the pack.",
            metavar="CELL:RPT",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Literal["dfn", "spme", "dfn-fine"],
        typer.Option(
            help="Doyle-Fuller-Newman, single particle with electrolyte, or the first on a mesh "
            "that is finer (and slower) than needed, to judge it."
        ),
    ] = "dfn",
    parameters: Annotated[
        str,
        typer.Option(help="A parameter set of PyBaMM or of batterykit by name, or a BPX file."),
    ] = "OKane2022",
    ambient: Annotated[
        float | None,
        typer.Option(
            help="Temperature around the cells, and theirs at the start [degC]. [default: that of "
            "the frozen set's pack or of the parameters, mostly 25]",
            show_default=False,
        ),
    ] = None,
    v_max: Annotated[
        float | None,
        typer.Option(
            help="Highest voltage of a cell [V]. [default: the parameters']", show_default=False
        ),
    ] = None,
    v_min: Annotated[
        float | None,
        typer.Option(
            help="Lowest voltage of a cell [V]. [default: the parameters']", show_default=False
        ),
    ] = None,
    t_max: Annotated[
        float | None,
        typer.Option(
            help="Temperature of a cell at which the run stops [degC]. [default: none]",
            show_default=False,
        ),
    ] = None,
    busbar: Annotated[
        float, typer.Option(help="Resistance between neighbouring columns of the pack [Ohm].")
    ] = 1e-4,
    connection: Annotated[
        float, typer.Option(help="Resistance of each cell's connections [Ohm].")
    ] = 0.0,
    terminals: Annotated[
        Literal["left", "right", "left-right", "right-left"],
        typer.Option(help="Columns of the positive and of the negative lead."),
    ] = "left",
    dt: Annotated[
        float, typer.Option(help="Time step, and distance of the recorded points [s].")
    ] = 1.0,
    engine: Annotated[
        Literal["batterykit", "pybamm", "liionpack"],
        typer.Option(
            help="Who computes it: pybamm takes single cells, liionpack --protocol cc with "
            "--model spme."
        ),
    ] = "batterykit",
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Run it on the reference too (PyBaMM for a cell, liionpack for a pack) and print "
            "the differences.",
        ),
    ] = False,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw pictures (PNG), and a page (HTML) that holds them.")
    ] = False,
    pictures: Annotated[
        Path, typer.Option(help="Folder in which --plot makes one for the run.")
    ] = Path("pictures"),
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Charge (or discharge) a pack in the simulator and show the cells that stand out.

    Every cell has its own current, voltage, temperature and plating potential. Cells in parallel
    have rested together for twelve hours when it begins. A run stops at the state of charge
    wanted, or before at the first limit that a cell meets. Each run is a new node of the store,
    charge/RUN/trajectory.

    **Examples**

    `batterykit charge simulate --protocol cccv --pack 3p6s`

    `batterykit charge simulate --crate 2 --scenario aged --seed 7 --plot`

    `batterykit charge simulate --protocol multistage --stages 1.5@0.4,1@0.6,0.5 --t-max 45`

    `batterykit charge simulate --protocol drive.csv --pack 1p1s --soc 0.9 --compare`

    `batterykit charge simulate --soc 0.8:0.1 --crate 0.5 --from-store E5-A:8 --json`
    """
    import numpy as np

    from batterykit.charge.case import (
        Case,
        check_engine,
        check_start,
        prepare,
        reference_for,
        run,
    )
    from batterykit.charge.simulate import ZERO_CELSIUS, write_run
    from batterykit.config import load_settings
    from batterykit.errors import UsageError
    from batterykit.pack.network import build, parse
    from batterykit.pack.parameters import read_parameters
    from batterykit.store import Store

    console = Console(json=json, quiet=quiet)
    settings = load_settings(store=store)
    parallel, series = parse(pack)
    cell = read_parameters(parameters)
    rating = _rating(cell, parallel, series, v_max, v_min, t_max)
    chosen, start, about = _protocol(rating, protocol, crate, soc, stages, cutoff, hold)
    drawn = _scenario(
        settings.store,
        scenario,
        seed,
        from_store,
        cell,
        cells=parallel * series,
        soc=start,
        ambient=ambient,
    )
    network = build(parallel, series, busbar=busbar, connection=connection, terminals=terminals)
    case = Case(
        source=parameters,
        parameters=cell,
        network=network,
        cells=prepare(cell, network, drawn.cells, start, model),
        protocol=chosen,
        model=model,
        dt=dt,
        truth=drawn.truth,
    )
    around = np.asarray(drawn.cells.ambient, dtype=np.float64)
    if rating.temperature_max <= around.max():
        raise UsageError(
            f"the cells begin at {around.max() - ZERO_CELSIUS:g} degC, and --t-max is {t_max:g}",
            fix="take a higher --t-max or a lower --ambient",
        )
    check_start(case, rating)
    rival = reference_for(case) if engine == "batterykit" else "batterykit"
    for each in (engine, rival) if compare else (engine,):
        check_engine(case, each)
    opened = Store.open_or_create(settings.store)
    for note in drawn.notes:
        console.say(f"Note: {note}.")
    _say_what_takes_long(console, case, (engine, rival) if compare else (engine,))

    track, listen = console.meter()
    began = time.perf_counter()
    dataset = run(case, engine, track=track, listen=listen)
    seconds = time.perf_counter() - began
    other = run(case, rival, track=track, listen=listen) if compare else None

    dataset.attrs |= {
        **about,
        "pack": f"{parallel}p{series}s",
        "scenario": drawn.name,
        "seed": drawn.seed,
        "engine": engine,
        "model": model,
        "parameters": cell.name,
        "parameters_source": cell.source,
        "v_max_V": rating.voltage_max,
        "v_min_V": rating.voltage_min,
        "busbar_Ohm": busbar,
        "connection_Ohm": connection,
        "terminals": terminals,
        "dt_s": dt,
        "ambient_degC": round(float(around.mean()) - ZERO_CELSIUS, 9),
        **({} if t_max is None else {"t_max_degC": t_max}),
    }
    run_id = write_run(
        opened,
        dataset,
        name=_name(dataset),
        command=f"charge simulate --protocol {about['protocol']} --pack {pack}",
        note=_title(dataset),
    )
    node = f"charge/{run_id}/trajectory"
    report = None
    if plot:
        from batterykit.plots.charge import charge_report

        report = charge_report(dataset, pictures / run_id, node=node, other=other)
    _show(console, dataset)
    if other is not None:
        _show_differences(console, dataset, other, rival)
    console.say(f"Wrote {node} in {settings.store} (simulated in {seconds:.1f} s).")
    if report is not None:
        say_where(console, report)
    plotted = "" if plot else ", or the same with --plot"
    console.say(f"Next: batterykit store export {node} --to {run_id}.nc{plotted}")
    console.result(
        {
            "run_id": run_id,
            "node": node,
            "store": settings.store,
            "seconds": seconds,
            "options": dataset.attrs,
            **_payload(dataset),
            "comparison": None if other is None else _comparison(dataset, other, rival),
            **({} if report is None else report._asdict()),
        }
    )


def _rating(
    cell: CellParameters,
    parallel: int,
    series: int,
    v_max: float | None,
    v_min: float | None,
    t_max: float | None,
) -> Rating:
    from batterykit.charge.protocols import Rating
    from batterykit.charge.simulate import ZERO_CELSIUS
    from batterykit.errors import UsageError

    rating = Rating(
        parallel=parallel,
        series=series,
        capacity=cell.nominal_capacity,
        voltage_max=cell.upper_voltage if v_max is None else v_max,
        voltage_min=cell.lower_voltage if v_min is None else v_min,
        temperature_max=math.nan if t_max is None else t_max + ZERO_CELSIUS,
    )
    if t_max is not None and not math.isfinite(t_max):
        raise UsageError(f"--t-max is {t_max}", fix="give degrees Celsius, or leave it out")
    if not 0 < rating.voltage_min < rating.voltage_max < math.inf:
        raise UsageError(
            f"a cell cannot be between {rating.voltage_min:g} V and {rating.voltage_max:g} V",
            fix="give a --v-min below --v-max",
        )
    return rating


def _protocol(
    rating: Rating,
    name: str | None,
    crate: float | None,
    soc: str | None,
    stages: str | None,
    cutoff: str | None,
    hold: Literal["cell", "pack"] | None,
) -> tuple[Protocol, float, dict[str, Any]]:
    """Return the protocol, the state of charge at its start, and the options that made it."""
    from batterykit.charge import protocols
    from batterykit.errors import UsageError

    if name and name.lower().endswith(".csv"):
        _refuse(name, crate=crate, stages=stages, cutoff=cutoff, hold=hold)
        if soc is not None and ":" in soc:
            raise UsageError(
                f"a profile leads where it leads, and --soc {soc} says until where",
                fix=f"give the start only: --soc {soc.partition(':')[0]}",
            )
        start = protocols.read_soc(soc or START_BY_DEFAULT)
        described = {"protocol": "profile", "profile": name, "soc": f"{start:g}"}
        return protocols.profile(rating, Path(name)), start, described
    way = protocols.read_way(soc or WAY_BY_DEFAULT)
    name = name or ("cccv" if way.sign > 0 else "cc")
    rate = CRATE_BY_DEFAULT if crate is None else crate
    about: dict[str, Any] = {"protocol": name, "soc": f"{way.start:g}:{way.end:g}", "crate": rate}
    if name == "cc":
        _refuse(name, stages=stages, cutoff=cutoff, hold=hold)
        chosen = protocols.cc(rating, way, rate)
    elif name == "cccv":
        _refuse(name, stages=stages)
        last, hold = protocols.read_rate(cutoff or CUTOFF_BY_DEFAULT), hold or "cell"
        chosen = protocols.cccv(rating, way, rate, cutoff=last, hold=hold)
        about |= {"cutoff": last, "hold": hold}
    elif name == "multistage":
        _refuse(name, cutoff=cutoff, hold=hold)
        if stages is not None:
            _refuse("multistage with --stages", crate=crate)
            del about["crate"]
            steps = protocols.read_stages(stages, way)
        else:
            steps = protocols.default_stages(way, rate)
        chosen = protocols.multistage(rating, way, steps)
        about["stages"] = ",".join(f"{stage.rate:g}@{stage.until:g}" for stage in steps)
    else:
        raise UsageError(
            f"there is no protocol '{name}'",
            fix="use cc, cccv, multistage, or name a CSV file that ends in .csv",
        )
    return chosen, way.start, about


def _refuse(protocol: str, **options: object) -> None:
    """Refuse options that mean nothing for a protocol."""
    from batterykit.errors import UsageError

    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"--{name} has no meaning for --protocol {protocol}",
                fix="leave it out, or see `batterykit charge simulate --help`",
            )


def _scenario(
    store: Path,
    text: str | None,
    seed: int,
    from_store: str | None,
    cell: CellParameters,
    *,
    cells: int,
    soc: float,
    ambient: float | None,
) -> Scenario:
    """Return one pack: fresh, spread, aged, SET:N, or as aged as a cell of the store."""
    from batterykit.charge.simulate import ZERO_CELSIUS
    from batterykit.errors import UsageError
    from batterykit.pack import scenario
    from batterykit.store import Store

    name, colon, number = (text or "fresh").partition(":")
    if colon and not number.isdigit():
        raise UsageError(
            f"'{text}' is no pack of a set", fix="write the set and a number, such as heldout:3"
        )
    around = None if ambient is None else ambient + ZERO_CELSIUS
    coldest, hottest = cell.temperature_grid[[0, -1]]
    if around is not None and not coldest <= around <= hottest:
        raise UsageError(
            f"the parameters of {cell.name} say nothing of cells at {ambient:g} degC",
            fix=f"take an --ambient of {coldest - ZERO_CELSIUS:g} to {hottest - ZERO_CELSIUS:g}",
        )
    if from_store is None:
        drawn = scenario.draw(name, seed, [int(number or 0)], cells, cell, soc=soc, ambient=around)
        return replace(drawn, name=text or "fresh")
    if name not in ("fresh", "spread") or colon:
        raise UsageError(
            f"the cells are those of --from-store, and --scenario {text} makes others",
            fix="leave one of them out, or add --scenario spread for cells that differ besides",
        )
    return scenario.from_store(
        Store.open(store),
        from_store,
        cell,
        seed=seed,
        cells=cells,
        spread=name == "spread",
        soc=soc,
        ambient=around,
    )


def _say_what_takes_long(console: Console, case: Case, engines: Sequence[str]) -> None:
    from batterykit.pack import kernels

    compiled = Path(kernels.__file__).parent / "__pycache__"
    if (
        "batterykit" in engines
        and "NUMBA_CACHE_DIR" not in os.environ
        and not any(compiled.glob("kernels.advance_packs-*.nbi"))
    ):
        console.say("First run: compiling the simulator, once, takes about half a minute.")
    if "liionpack" in engines:
        console.say(
            f"liionpack takes up to a second for each step of {case.dt:g} s (a longer --dt makes "
            "fewer); its mesh is itself some 3 mV off at 1C, and more in the first seconds."
        )


def _name(dataset: xr.Dataset) -> list[str]:
    """Return what a run is, in words that may stand in the name of a node."""
    about = dataset.attrs
    engine = [] if about["engine"] == "batterykit" else [about["engine"]]
    scenario = re.sub(r"[^\w.]+", "-", about["scenario"])
    return [*engine, about["protocol"], about["pack"], scenario]


def _title(dataset: xr.Dataset) -> str:
    """Return what was done and how it ended, in a line."""
    from batterykit.charge.simulate import REASON_TEXTS, pack_soc

    about = dataset.attrs
    seconds = float(dataset["duration"][0])
    soc = pack_soc(dataset)
    reason = str(dataset["stop_reason"].values[0])
    rate = f" {about['crate']:g}C" if "crate" in about else ""
    return (
        f"{about['protocol']}{rate}, {about['pack']}, {about['scenario']}: "
        f"{100 * soc[0]:.1f} to {100 * soc[-1]:.1f} % in {seconds:,.1f} s "
        f"({seconds / 60:.1f} min); {REASON_TEXTS[reason]}"
    )


def _show(console: Console, dataset: xr.Dataset) -> None:
    """Print the cells that stand out, and when each step ended."""
    from batterykit.charge.simulate import extremes, stages

    rows = [
        [
            one.what,
            _figure(one.value, one.units),
            one.units,
            one.place,
            f"{one.time:,.0f}",
            f"{100 * one.soc:.1f}",
        ]
        for one in extremes(dataset)
    ]
    columns = ["of all cells", "value", "unit", "cell", "at [s]", "pack's SOC [%]"]
    console.table(_title(dataset), columns, rows)
    console.table(
        "Steps",
        ["step", "from [s]", "to [s]", "SOC at its end [%]", "highest V", "hottest [degC]"],
        [
            [
                stage.label,
                f"{stage.start:,.1f}",
                f"{stage.end:,.1f}",
                f"{100 * stage.soc:.1f}",
                f"{stage.voltage_max:.4f}",
                f"{stage.temperature_max:.2f}",
            ]
            for stage in stages(dataset)
        ],
    )


def _show_differences(console: Console, dataset: xr.Dataset, other: xr.Dataset, rival: str) -> None:
    from batterykit.charge.case import differences

    ends = [
        f"{float(one['duration'][0]):,.1f} s ({one['stop_reason'].values[0]})"
        for one in (dataset, other)
    ]
    console.table(
        f"{dataset.attrs['engine']} against {rival}: {ends[0]} against {ends[1]}",
        ["where both ran", "RMS", "largest", "unit"],
        [
            [one.what, f"{one.rms:.3f}", f"{one.largest:.3f}", one.units]
            for one in differences(dataset, other)
        ],
    )


def _payload(dataset: xr.Dataset) -> dict[str, Any]:
    from batterykit.charge.simulate import extremes, pack_soc, stages

    soc = pack_soc(dataset)
    return {
        "duration_s": float(dataset["duration"][0]),
        "stop_reason": str(dataset["stop_reason"].values[0]),
        "soc": {"start": soc[0], "end": soc[-1]},
        "extremes": [one._asdict() for one in extremes(dataset)],
        "steps": [stage._asdict() for stage in stages(dataset)],
    }


def _comparison(dataset: xr.Dataset, other: xr.Dataset, rival: str) -> dict[str, Any]:
    from batterykit.charge.case import differences

    return {
        "against": rival,
        "duration_s": float(other["duration"][0]),
        "stop_reason": str(other["stop_reason"].values[0]),
        "differences": [one._asdict() for one in differences(dataset, other)],
    }


def _figure(value: float, units: str) -> str:
    digits = {"V": 4, "A": 3, "degC": 2}[units]
    return f"{value:.{digits}f}"
