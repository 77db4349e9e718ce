"""`batterykit demo`: the whole chain on synthetic cells, from files to a score, in a minute."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batterykit.cli.console import Console
from batterykit.cli.options import JsonOption, QuietOption, processes

if TYPE_CHECKING:
    from batterykit.learning.runs import Run

CELLS = 14  # the eight of Expt 5 and the six of Expt 2,2
SAMPLING_S = 10.0
MODELS = ("lgbm", "ode")


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the synthetic record, the store, runs and pictures.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the synthetic cells and the models.", min=0)] = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the whole chain on synthetic cells: twin, ingest, features, train, pictures.

    Eight cells of Expt 5 and six of Expt 2,2 are made up from physics and written as the record's
    files; then everything goes the way that real data go. Takes a minute or two; needs no
    download.

    **Examples**

    `batterykit demo`

    `batterykit demo --out elsewhere --seed 1`
    """
    from batterykit.cli.train import title_of
    from batterykit.datasets.ingest import ingest
    from batterykit.datasets.twin import write_twin
    from batterykit.features.build import refresh
    from batterykit.learning.runs import train
    from batterykit.plots.ica import dqdv_over_ageing
    from batterykit.plots.runs import trajectories
    from batterykit.store import Store

    console = Console(json=json, quiet=quiet)
    began = time.perf_counter()

    console.say(f"1/4 Synthetic cells: files in the record's layout, in {out / 'Raw Data'}")
    twin = write_twin(
        out / "Raw Data", cells=CELLS, seed=seed, sampling=SAMPLING_S, track=console.track
    )
    store = Store.open_or_create(out / "batterykit.zarr")
    console.say(f"2/4 Ingest: {twin.files} files into {store.path}")
    ingest(store, twin.out, track=console.track)
    console.say("3/4 Features: dQ/dV peaks of every C/10 curve")
    ica = store.read(refresh(store, "ica", track=console.track).node)
    console.say("4/4 Train: each cell predicted by models that have not seen it")
    track, listen = console.meter()
    trained = [
        train(
            store,
            out / "runs",
            model=model,
            seed=seed,
            jobs=processes(),
            track=track,
            listen=listen,
        )
        for model in MODELS
    ]

    pictures = [
        dqdv_over_ageing(
            ica.isel(curve=[str(cell).startswith("E5-") for cell in ica["cell"].values]),
            out / "pictures" / "dqdv-over-ageing.png",
            "Synthetic cells of Expt 5: dQ/dV over ageing, C/10 discharge",
        )
    ]
    run, predictions = trained[-1]
    path = out / "pictures" / "soh-predicted.png"
    pictures.append(trajectories(predictions, path, f"Synthetic cells; {title_of(run)}"))
    seconds = time.perf_counter() - began
    _show(console, [run for run, _ in trained])
    console.result(
        {
            "synthetic": True,
            "seconds": round(seconds, 1),
            "runs": {run.run_id: run.metrics for run, _ in trained},
            "pictures": pictures,
        }
    )
    for note in run.manifest["notes"]:
        console.say(f"Note: {note}.")
    console.say("Pictures: " + " and ".join(str(path) for path in pictures))
    console.say(f"Done in {seconds:.0f} s. Next: batterykit runs show latest --runs {out / 'runs'}")


def _show(console: Console, runs: list[Run]) -> None:
    """Print the models' errors beside those of the references on the same cells."""
    last = runs[-1].metrics
    rows = [[name, f"{100 * mae:.2f}", "", ""] for name, mae in last["reference_mae"].items()]
    for run in runs:
        mae, interval = run.metrics["overall"]["mae"], run.metrics["interval"]["mae"]
        rows.append(
            [
                run.manifest["model"],
                f"{100 * mae:.2f}",
                " to ".join(f"{100 * bound:.2f}" for bound in interval),
                f"{run.metrics['skill']['mean_trajectory']:.2f}",
            ]
        )
    console.table(
        f"SoH of {len(last['by_cell'])} synthetic cells, each left out in turn",
        ["model", "MAE [pp]", "95 % interval", "skill against mean trajectory"],
        rows,
    )
