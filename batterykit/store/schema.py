"""What each node of the store must hold; checked on every write and every read.

A schema names the variables that must be there, with dimensions, unit and kind of value. A node
may hold more (a record's extra columns are kept), but every number must say its unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batterykit.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr

SCHEMA_VERSION = 1

_KINDS = {"float": "f", "integer": "iu", "text": "OUT", "date": "M", "boolean": "b"}


@dataclass(frozen=True)
class Variable:
    """What one variable must look like.

    Parameters
    ----------
    dims
        Its dimensions, in order.
    units
        Its `units` attribute; None for text, dates and flags.
    kind
        One of float, integer, text, date, boolean.
    """

    dims: tuple[str, ...]
    units: str | None = None
    kind: str = "float"


@dataclass(frozen=True)
class Schema:
    """What one sort of node must hold.

    Parameters
    ----------
    name
        Written to the node's `schema` attribute.
    variables
        The variables and coordinates that must be there.
    ragged
        `(instance dimension, element dimension)` of a CF contiguous ragged array, whose
        `row_size` must add up.
    """

    name: str
    variables: Mapping[str, Variable] = field(default_factory=dict)
    ragged: tuple[str, str] | None = None


def _cells(**more: Variable) -> dict[str, Variable]:
    return {"cell": Variable(("cell",), kind="text"), **more}


_CELL_RPT = ("cell", "rpt")
_CELL_COORDS = _cells(
    rpt=Variable(("rpt",), kind="integer"),
    experiment=Variable(("cell",), kind="integer"),
    temperature_chamber=Variable(("cell",), "degC"),
    n_rpt=Variable(("cell",), kind="integer"),
)
_SUMMARY_UNITS = {
    "ageing_sets": "1",
    "ageing_cycles": "1",
    "days_of_degradation": "d",
    "age_set_temperature": "degC",
    "charge_throughput": "Ah",
    "energy_throughput": "Wh",
    "capacity_c10": "Ah",
    "capacity_c2": "Ah",
    "resistance_0p1s": "Ohm",
    "cell_capacity": "Ah",
    "pe_capacity": "Ah",
    "ne_capacity": "Ah",
    "ne_gr_capacity": "Ah",
    "ne_si_capacity": "Ah",
    "electrode_offset": "Ah",
    "soh": "1",
    "lam_pe": "1",
    "lam_ne": "1",
    "lam_ne_gr": "1",
    "lam_ne_si": "1",
    "lli": "1",
    "pe_lo": "1",
    "ne_lo": "1",
    "pe_hi": "1",
    "ne_hi": "1",
    "gr_frac": "1",
    "ocv_fit_rmse": "V",
}
_SUMMARY_DATES = ("age_set_start_date", "age_set_end_date", "rpt_start_date")
_CURVE_COORDS = {
    "cell": Variable(("curve",), kind="text"),
    "rpt": Variable(("curve",), kind="integer"),
    "direction": Variable(("curve",), kind="text"),
}

_SCHEMAS: tuple[tuple[str, Schema], ...] = (
    (
        r"raw/expt\d+/summary",
        Schema(
            "summary",
            _CELL_COORDS
            | {name: Variable(_CELL_RPT, units) for name, units in _SUMMARY_UNITS.items()}
            | {name: Variable(_CELL_RPT, kind="date") for name in _SUMMARY_DATES}
            | {
                "quality_flag": Variable(_CELL_RPT, kind="integer"),
                "content_hash": Variable(("cell",), kind="text"),
            },
        ),
    ),
    (
        r"raw/expt\d+/curves/(0\.1C|0\.5C|GITT|hybrid)",
        Schema(
            "curves",
            _CURVE_COORDS
            | {
                "protocol": Variable(("curve",), kind="text"),
                "content_hash": Variable(("curve",), kind="text"),
                "row_size": Variable(("curve",), kind="integer"),
                "quality_flag": Variable(("curve",), kind="integer"),
                "time": Variable(("sample",), "s"),
                "voltage": Variable(("sample",), "V"),
                "current": Variable(("sample",), "A"),
                "charge": Variable(("sample",), "Ah"),
                "temperature": Variable(("sample",), "degC"),
            },
            ragged=("curve", "sample"),
        ),
    ),
    (
        r"raw/expt\d+/(cycles|sets)",
        Schema(
            "ageing_sets",
            _cells(row_size=Variable(("cell",), kind="integer")),
            ragged=("cell", "row"),
        ),
    ),
    (
        r"features/summary/\w+",
        Schema(
            "summary_features",
            _CELL_COORDS
            | {
                "charge_throughput": Variable(_CELL_RPT, "Ah"),
                "days": Variable(_CELL_RPT, "d"),
                "temperature_cell": Variable(_CELL_RPT, "degC"),
                "resistance_last": Variable(_CELL_RPT, "Ohm"),
            },
        ),
    ),
    (
        r"features/sequence/\w+",
        Schema(
            "sequence_features",
            _CELL_COORDS
            | {
                "interval_days": Variable(_CELL_RPT, "d"),
                "interval_throughput": Variable(_CELL_RPT, "Ah"),
                "interval_temperature": Variable(_CELL_RPT, "degC"),
            },
        ),
    ),
    (
        r"features/ica/\w+",
        Schema(
            "ica_features",
            _CURVE_COORDS
            | {
                "peak_voltage": Variable(("curve", "peak"), "V"),
                "peak_height": Variable(("curve", "peak"), "Ah/V"),
                "peak_width": Variable(("curve", "peak"), "V"),
                "peak_area": Variable(("curve", "peak"), "Ah"),
            },
        ),
    ),
    (
        r"features/dma/\w+",
        Schema(
            "dma_features",
            _cells(rpt=Variable(("rpt",), kind="integer"))
            | {
                name: Variable(_CELL_RPT, _SUMMARY_UNITS[name])
                for name in (
                    "pe_capacity",
                    "ne_capacity",
                    "ne_gr_capacity",
                    "ne_si_capacity",
                    "electrode_offset",
                    "cell_capacity",
                    "gr_frac",
                    "lli",
                    "lam_pe",
                    "lam_ne",
                    "lam_ne_gr",
                    "lam_ne_si",
                )
            }
            | {
                "resistance_c10": Variable(_CELL_RPT, "Ohm"),
                "fit_rmse": Variable(_CELL_RPT, "V"),
                "quality_flag": Variable(_CELL_RPT, kind="integer"),
            },
        ),
    ),
    (
        r"runs/[\w.-]+/predictions",
        Schema(
            "predictions",
            {
                "cell": Variable(("cell",), kind="text"),
                "rpt": Variable(("rpt",), kind="integer"),
                "y_true": Variable(("fold", "cell", "rpt"), "1"),
                "y_pred": Variable(("fold", "cell", "rpt"), "1"),
            },
        ),
    ),
    (
        r"charge/[\w.-]+/trajectory",
        Schema(
            "trajectory",
            {name: Variable((name,), kind="integer") for name in ("pack", "cell")}
            | {name: Variable(("cell",), kind="integer") for name in ("series", "parallel")}
            | {"time": Variable(("time",), "s")}
            | {
                name: Variable(("pack", "time", "cell"), units)
                for name, units in {
                    "current": "A",
                    "voltage": "V",
                    "soc": "1",
                    "temperature": "degC",
                    "plating_potential": "V",
                    "heat": "W",
                }.items()
            }
            | {
                "pack_current": Variable(("pack", "time"), "A"),
                "pack_voltage": Variable(("pack", "time"), "V"),
                "step": Variable(("pack", "time"), kind="integer"),
                "stop_reason": Variable(("pack",), kind="text"),
                "duration": Variable(("pack",), "s"),
                "stage": Variable(("stage",), kind="text"),
                "stage_end": Variable(("pack", "stage"), "s"),
            },
        ),
    ),
)


def schema_of(node: str) -> Schema:
    """Return the schema of a node by its path.

    Raises
    ------
    SchemaError
        The store has no place for such a node.
    """
    for pattern, schema in _SCHEMAS:
        if re.fullmatch(pattern, node):
            return schema
    raise SchemaError(
        f"the store has no node '{node}'",
        fix="nodes are raw/exptN/..., features/KIND/HASH, runs/RUN/predictions and "
        "charge/RUN/trajectory",
    )


def check(node: str, dataset: xr.Dataset) -> None:
    """Check a dataset against the schema of its node.

    Raises
    ------
    SchemaError
        A variable is missing, has other dimensions, another unit or another kind of value, a
        number has no unit, or `row_size` does not add up.
    """
    schema = schema_of(node)
    for name, wanted in schema.variables.items():
        _check_variable(node, dataset, name, wanted)
    for held, variable in dataset.variables.items():
        if variable.dtype.kind == "f" and "units" not in variable.attrs:
            raise _wrong(node, str(held), "a number without 'units' in its attributes")
    if schema.ragged is not None:
        _check_ragged(node, dataset, *schema.ragged)


def _check_variable(node: str, dataset: xr.Dataset, name: str, wanted: Variable) -> None:
    if name not in dataset.variables:
        raise _wrong(node, name, "missing")
    variable = dataset.variables[name]
    if variable.dims != wanted.dims:
        raise _wrong(node, name, f"has dimensions {variable.dims}, wanted {wanted.dims}")
    if variable.dtype.kind not in _KINDS[wanted.kind]:
        raise _wrong(node, name, f"is {variable.dtype}, wanted {wanted.kind}")
    found = variable.attrs.get("units")
    if wanted.units is not None and found != wanted.units:
        raise _wrong(node, name, f"has units {found!r}, wanted {wanted.units!r}")


def _check_ragged(node: str, dataset: xr.Dataset, instance: str, element: str) -> None:
    total = int(dataset["row_size"].sum())
    length = dataset.sizes.get(element, 0)
    if total != length:
        raise _wrong(
            node, "row_size", f"adds up to {total}, but dimension '{element}' has {length} values"
        )
    if dataset["row_size"].dims != (instance,):
        raise _wrong(node, "row_size", f"must lie along '{instance}'")


def _wrong(node: str, name: str, what: str) -> SchemaError:
    return SchemaError(
        f"node '{node}', variable '{name}': {what}",
        fix="write the node with the command that makes it, or restore the store from a copy",
    )
