"""Copies of what the store holds, for other programs: one NetCDF file, or tables.

A NetCDF file keeps everything (groups are the nodes). A table has one row per element: per cell
and check-up, per sample of a curve, per row of an ageing-set table. Datasets with elements of more
than one sort (dQ/dV: per voltage, per peak) become one table of each.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from batterykit.errors import BatterykitError, UsageError
from batterykit.progress import Track, no_track
from batterykit.store.schema import schema_of
from batterykit.store.store import Store

FORMATS = ("netcdf", "csv", "parquet")
_SUFFIXES = {"netcdf": ".nc", "csv": ".csv", "parquet": ".parquet"}


def export(
    store: Store,
    nodes: list[str],
    target: Path,
    format_: str,
    *,
    force: bool = False,
    track: Track = no_track,
) -> list[Path]:
    """Write nodes to one NetCDF file, or to tables.

    Parameters
    ----------
    nodes
        Paths of the nodes to export.
    target
        The file to write; for more than one table, the folder.
    format_
        One of `FORMATS`.
    force
        Whether a target that exists may be replaced.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    UsageError
        The target exists and `force` is false, is a folder where a file is to be written (or the
        reverse), or lies in the store; there is nothing to export, or the format is unknown.
    BatterykitError
        The target cannot be written.
    """
    if format_ not in FORMATS:
        raise UsageError(f"unknown format '{format_}'", fix=f"use one of {', '.join(FORMATS)}")
    if not nodes:
        raise UsageError("no node of the store matches", fix="see `batterykit store info`")
    if target.exists() and not force:
        raise UsageError("the target exists", fix="add --force to replace it", file=target)
    if format_ == "netcdf":
        _check_target(store, target, folder=False)
        return [_whole(target, lambda path: _write_netcdf(store, nodes, path, track))]
    write = _TABLE_WRITERS[format_]
    alone = to_tables(nodes[0], store.read(nodes[0])) if len(nodes) == 1 else {}
    _check_target(store, target, folder=len(alone) != 1)
    if len(alone) == 1:
        (table,) = alone.values()
        return [_whole(target, lambda path: write(table, path))]
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for node in track(nodes, f"writing {format_}", len(nodes)):
        for name, table in to_tables(node, store.read(node)).items():
            file = target / (name.replace("/", "_") + _SUFFIXES[format_])
            written.append(_whole(file, lambda path, table=table: write(table, path)))  # type: ignore[misc]
    return written


def _check_target(store: Store, target: Path, *, folder: bool) -> None:
    """Refuse a target whose writing would take away what is not an export."""
    if target.resolve().is_relative_to(store.path.resolve()):
        raise UsageError(
            "the target lies in the store", fix="name a place outside it with --to", file=target
        )
    if target.exists() and target.is_dir() != folder:
        raise UsageError(
            "several tables need a folder, and this is a file"
            if folder
            else "this is a folder, and the export is one file",
            fix=f"name {'a folder' if folder else 'a file'} with --to",
            file=target,
        )


def to_tables(node: str, dataset: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Return a dataset as tables; column names carry the unit, as in `voltage [V]`.

    Parameters
    ----------
    node
        The node's path; its schema tells whether the dataset is a ragged array.
    dataset
        A dataset of the store.

    Returns
    -------
    dict of pandas.DataFrame
        Ragged arrays: under the node's path, one row per element with the coordinates of its cell
        or curve repeated. Other datasets: one row per combination of the dimensions. Where
        variables lie on different dimensions, one table for each (never all combinations: those
        of voltages and peaks fill any memory), under the path with the last dimension added;
        what all of them share stands in each.
    """
    schema = schema_of(node)
    if schema.ragged is not None:
        return {node: _ragged_table(dataset, *schema.ragged)}
    dims = {variable.dims for variable in dataset.data_vars.values()}
    widest = sorted(one for one in dims if not any(set(one) < set(other) for other in dims))
    headers = {str(name): _header(dataset, str(name)) for name in dataset.variables}
    tables = {}
    for one in widest:
        names = [name for name, v in dataset.data_vars.items() if set(v.dims) <= set(one)]
        table = dataset[names].to_dataframe(dim_order=list(one)).reset_index()
        name = node if len(widest) == 1 else f"{node}/{one[-1]}"
        tables[name] = table.rename(columns=headers)
    return tables


def _ragged_table(dataset: xr.Dataset, instance: str, element: str) -> pd.DataFrame:
    counts = dataset["row_size"].to_numpy()
    columns: dict[str, Any] = {}
    for name, variable in dataset.variables.items():
        if variable.dims == (instance,) and name != "row_size":
            values = variable.values
            if values.dtype.kind in "OUT":
                values = values.astype(object)
            columns[_header(dataset, str(name))] = np.repeat(values, counts)
    for name, variable in dataset.variables.items():
        if variable.dims == (element,):
            values = variable.values
            columns[_header(dataset, str(name))] = (
                values.astype(object) if values.dtype.kind in "OUT" else values
            )
    return pd.DataFrame(columns)


def _header(dataset: xr.Dataset, name: str) -> str:
    units = dataset[name].attrs.get("units")
    return name if units in (None, "1") else f"{name} [{units}]"


def _write_netcdf(store: Store, nodes: list[str], path: Path, track: Track) -> None:
    xr.Dataset(
        attrs={"title": "export of a batterykit store", "source": store.path.name}
    ).to_netcdf(path, mode="w", engine="h5netcdf")
    for node in track(nodes, "writing NetCDF", len(nodes)):
        dataset = _plain(store.read(node))
        encoding = {
            str(name): {"zlib": True, "complevel": 1, "shuffle": True}
            for name, variable in dataset.variables.items()
            if variable.dtype.kind in "fi" and variable.size > 1
        }
        dataset.to_netcdf(path, mode="a", group=node, engine="h5netcdf", encoding=encoding)


def _plain(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with what NetCDF can hold: object strings, attributes free of nesting."""
    plain = dataset.drop_encoding()
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "T":
            plain[name] = (variable.dims, variable.values.astype(object), variable.attrs)
    plain.attrs = {
        name: json.dumps(value) if isinstance(value, dict | list | bool | None) else value
        for name, value in dataset.attrs.items()
    }
    return plain


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False)


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, engine="pyarrow", index=False)


_TABLE_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
}


def _whole(target: Path, write: Callable[[Path], None]) -> Path:
    """Write beside the target and move into place, so that a half-written file never stays."""
    beside = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        beside.replace(target)
    except OSError as error:
        raise BatterykitError(
            f"cannot be written: {error.strerror or error}",
            fix="make room on the disk, or name a place where you may write",
            file=target,
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return target
