"""From one file's bytes to a part, and from the parts of a node to its dataset.

Knows what each kind of node looks like; knows neither folders nor which files are new. That is
`datasets.ingest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import xarray as xr

from batterykit.datasets import checks, reader
from batterykit.datasets.lgm50t import COMPARED, CURVE_KINDS, N_RPT, SourceFile
from batterykit.datasets.parts import (
    Part,
    join_padded,
    join_ragged,
    split_padded,
    split_ragged,
)
from batterykit.datasets.reader import Table
from batterykit.errors import InputError
from batterykit.store.fingerprint import hash_arrays, hash_bytes, hash_json

Capacities = Mapping[tuple[str, int], float]

_CURVE_KEYS = ("cell", "rpt", "protocol", "direction")
_CURVE_IDENTITY = "{} RPT{} {} {}"
_SCALAR_ATTRS: dict[str, dict[str, Any]] = {
    "cell": {"long_name": "cell, by experiment and letter"},
    "experiment": {"long_name": "experiment of the record (2 is the record's '2,2')"},
    "letter": {"long_name": "the cell's letter within its experiment"},
    "temperature_chamber": {"units": "degC", "long_name": "temperature of the chamber"},
    "n_rpt": {"long_name": "number of check-ups of the cell"},
    "rpt": {"long_name": "check-up (reference performance test)"},
    "direction": {"long_name": "discharge or charge"},
    "protocol": {"long_name": "test protocol, as in the file's name"},
    "source_file": {"long_name": "name of the file read"},
    "source_hash": {"long_name": "hash of the file's bytes"},
    "content_hash": {"long_name": "hash of the values and units"},
    "quality_flag": checks.flag_attrs(checks.CURVE_FLAGS),
}


def read_part(file: SourceFile, data: bytes, digest: str) -> Part:
    """Read and check one file.

    Parameters
    ----------
    file
        What its name says.
    data, digest
        The file's bytes and their hash.

    Raises
    ------
    InputError
        The file is not what it must be; see `datasets.reader` and `datasets.checks`.
    """
    scalars: dict[str, Any] = {"cell": file.cell}
    if file.kind == "summary":
        table = reader.read_summary(file.path, data)
        summary_flags = checks.check_summary(table)
        scalars["experiment"] = file.experiment
        scalars["letter"] = file.letter
        scalars["temperature_chamber"] = file.temperature
        scalars["n_rpt"] = len(summary_flags)
    elif file.kind in CURVE_KINDS:
        table = reader.read_curve(file.path, data)
        steady = file.kind in COMPARED
        scalars["rpt"] = file.rpt
        scalars["direction"] = file.direction
        scalars["protocol"] = file.protocol
        scalars["source_hash"] = digest
        try:
            flags = checks.check_curve(table, file.direction, constant_current=steady)
        except InputError:  # once more, with exact line numbers
            table = reader.read_curve(file.path, data, slowly=True)
            flags = checks.check_curve(table, file.direction, constant_current=steady)
        scalars["quality_flag"] = flags
    else:
        table = reader.read_table(file.path, data)
    scalars["source_file"] = file.path.name
    scalars["content_hash"] = _content_hash(table)
    if file.kind != "summary":
        return Part(scalars, table.columns, table.attrs)
    about = checks.flag_attrs(checks.SUMMARY_FLAGS)
    return Part(
        scalars,
        {**table.columns, "quality_flag": summary_flags},
        {**table.attrs, "quality_flag": about},
    )


def split(kind: str, dataset: xr.Dataset) -> dict[str, Part]:
    """Return a stored node's parts by the identity of their files."""
    if kind == "summary":
        return split_padded(dataset)
    return {identity(part): part for part in split_ragged(dataset, _dims(kind))}


def join(kind: str, parts: Iterable[Part], capacities: Capacities) -> xr.Dataset:
    """Return a node's dataset.

    Parameters
    ----------
    kind
        One of `lgm50t.KINDS`.
    parts
        In any order.
    capacities
        The summary's capacity [Ah] by cell and RPT, which sets a flag of curves.

    Raises
    ------
    InputError
        The files do not fit together: see `parts.join_padded`.
    """
    ordered = sorted(parts, key=_order)
    if kind == "summary":
        return join_padded(ordered, _SCALAR_ATTRS)
    if kind not in CURVE_KINDS:
        return join_ragged(ordered, _dims(kind), _SCALAR_ATTRS)
    compared = [_compared(part, capacities) for part in ordered]
    return join_ragged(compared, _dims(kind), _SCALAR_ATTRS).reset_coords("quality_flag")


def flagged(kind: str, dataset: xr.Dataset) -> dict[str, list[str]]:
    """Return for each flag that occurs what has it: `E5-A RPT3`, or a curve's identity.

    Besides the flags of `checks`, `fewer_rpts_than_record` names the cells with fewer check-ups
    than the record has.
    """
    found: dict[str, list[str]] = {}
    if kind == "summary":
        for cell, row in zip(dataset["cell"].values, dataset["quality_flag"].values, strict=True):
            for rpt, value in enumerate(row.tolist()):
                for name in checks.names_of(checks.SUMMARY_FLAGS, value):
                    found.setdefault(name, []).append(f"{cell} RPT{rpt}")
        for cell, count in zip(dataset["cell"].values, dataset["n_rpt"].values, strict=True):
            if count < N_RPT.get(str(cell), 0):  # perhaps the file is cut off at a line's end
                text = f"{cell} ({count} of {N_RPT[str(cell)]})"
                found.setdefault("fewer_rpts_than_record", []).append(text)
    elif kind in CURVE_KINDS:
        columns = [dataset[name].values.tolist() for name in _CURVE_KEYS]
        flags = dataset["quality_flag"].values.tolist()
        for key, value in zip(zip(*columns, strict=True), flags, strict=True):
            for name in checks.names_of(checks.CURVE_FLAGS, value):
                found.setdefault(name, []).append(_CURVE_IDENTITY.format(*key))
    return found


def capacities(kind: str, summary: xr.Dataset) -> Capacities:
    """Return the summary's capacity [Ah] by cell and RPT at the rate of a kind of curves."""
    values = summary[COMPARED[kind]].values
    return {
        (str(cell), rpt): value
        for cell, row in zip(summary["cell"].values, values, strict=True)
        for rpt, value in enumerate(row.tolist())
    }


def identity(part: Part) -> str:
    """Return what the part describes, as `SourceFile.identity` does."""
    if "protocol" not in part.scalars:
        return str(part.scalars["cell"])
    return _CURVE_IDENTITY.format(*(part.scalars[name] for name in _CURVE_KEYS))


def _dims(kind: str) -> tuple[str, str]:
    return ("curve", "sample") if kind in CURVE_KINDS else ("cell", "row")


def _order(part: Part) -> tuple[Any, ...]:
    return tuple(part.scalars.get(name, "") for name in _CURVE_KEYS)


def _compared(part: Part, capacities: Capacities) -> Part:
    """Return the curve with its flag set by comparison with the summary's capacity."""
    cell, rpt, _, direction = (part.scalars[name] for name in _CURVE_KEYS)
    charge = part.columns["charge"]
    summary = capacities.get((cell, rpt), float("nan"))
    flags = part.scalars["quality_flag"] & ~checks.CAPACITY_DIFFERS
    if direction == "discharge" and checks.capacity_differs(charge[-1] - charge[0], summary):
        flags |= checks.CAPACITY_DIFFERS
    return replace(part, scalars={**part.scalars, "quality_flag": flags})


def _content_hash(table: Table) -> str:
    """Return a hash of a table's names, units and values."""
    names = hash_json([[name, table.attrs[name].get("units")] for name in table.columns])
    return hash_bytes((names + hash_arrays(*table.columns.values())).encode())
