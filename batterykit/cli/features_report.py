"""What `batterykit features` says and draws once a feature set is up to date."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from batterykit.cli.console import Console

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from batterykit.features.build import Built
    from batterykit.plots.page import Table
    from batterykit.plots.report import Report
    from batterykit.store import Store

MOST_ROWS = 12  # of a printed table: the rest is a look at the store, or at the page, away


def finish(console: Console, built: Built, payload: dict[str, Any]) -> None:
    """Say what was computed and what came from the cache; print the result of `--json`."""
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


def say_where(console: Console, drawn: Report) -> None:
    """Say where the pictures and the page are."""
    for path in drawn.pictures:
        console.say(f"Picture: {path}")
    console.say(f"Page: {drawn.page}")


def table_of_cells(console: Console, features: xr.Dataset, columns: dict[str, str]) -> None:
    """Print some variables of a summary or sequence node at each cell's last check-up."""
    from batterykit.plots.page import Table
    from batterykit.plots.tables import number

    rows = []
    for k in range(features.sizes["cell"]):
        last = int(features["n_rpt"].values[k]) - 1
        values = (number(features[name].values[k, last]) for name in columns)
        rows.append((str(features["cell"].values[k]), str(last), *values))
    header = ("cell", "RPT", *columns.values())
    _show(console, Table("At each cell's last check-up", header, tuple(rows)), of="cells")


def tables_of_ica(console: Console, features: xr.Dataset, kind: str) -> None:
    """Print the peaks, the quality of the curves, and where a resistance came from."""
    from batterykit.plots.tables import flags_table, peaks_table, resistance_table

    console_table(console, peaks_table(features, kind))
    console_table(console, flags_table(features))
    resistance = resistance_table(features)
    if resistance is not None:
        console_table(console, resistance)


def tables_of_dma(console: Console, features: xr.Dataset) -> None:
    """Print each cell's electrodes and modes, and the quality of the fits."""
    from batterykit.plots.tables import flags_table, modes_table

    _show(console, modes_table(features), of="cells")
    console_table(console, flags_table(features))
    if features["fit_rmse"].isnull().all():
        console.warn(
            "no curve was fitted: is there one of this direction? (see the flags, and --direction)"
        )


def console_table(console: Console, table: Table) -> None:
    """Print a table; one without rows is a line."""
    if table.rows:
        console.table(table.caption, table.columns, table.rows)
    else:
        console.show(table.caption)


def draw(
    console: Console,
    store: Store,
    node: str,
    features: xr.Dataset,
    kind: Literal["ica", "dma"],
    folder: Path,
) -> Report:
    """Draw the pictures of a feature set and write its page.

    Raises
    ------
    BatterykitError
        They cannot be written there, or the store is damaged.
    """
    from batterykit.plots.history import history_of
    from batterykit.plots.report import Origin, dma_report, ica_report
    from batterykit.store.cache import Manifest

    manifest = Manifest.of(features.attrs)
    inputs = {} if manifest is None else dict(manifest.inputs)
    sources = {name: str(store.attrs(name).get("source", "")) for name in inputs if store.has(name)}
    summaries = sorted({f"{name.partition('/curves/')[0]}/summary" for name in inputs})
    history = history_of(store.read(name) for name in summaries if store.has(name))
    report = {"ica": ica_report, "dma": dma_report}[kind]
    return report(features, folder, Origin(node, inputs, sources), history, console.track)


def _show(console: Console, table: Table, of: str) -> None:
    if len(table.rows) > MOST_ROWS:
        caption = f"{table.caption}, first {MOST_ROWS} of {len(table.rows)} {of}"
        table = replace(table, caption=caption, rows=table.rows[:MOST_ROWS])
    console_table(console, table)
