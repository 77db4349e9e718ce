"""What the rows of a feature node are made from, by name and short hash, kept beside each row.

A row's key tells whether it has to be computed; these tell which measurement made it so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from batterykit.store.fingerprint import hash_arrays

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

ROW_INPUTS = "cache_inputs"
"""Coordinate of a feature node: JSON text of the ingredients of each row."""

DIGITS = 8  # of a hash that only has to name what changed: the row's key found that it did
_LABELS = ("experiment", "temperature_chamber")
_NO_MEASUREMENT = ("quality_flag",)


def ingredients(raw: xr.Dataset, names: Sequence[str], dimension: str) -> dict[str, dict[str, str]]:
    """Return the hash of everything measured that the rows of a feature node are made from.

    Parameters
    ----------
    raw
        A summary, dims (cell, rpt), or curves as a ragged array, dims (curve,) and (sample,).
    names
        Of each cell or curve, in order; a curve's begins with its cell and a blank.
    dimension
        Whether the rows are the `curve`s or the `cell`s: a cell takes in all its curves.

    Returns
    -------
    dict
        Row -> name of a measurement (`voltage`, or `RPT03 discharge 0.1C voltage` where a row takes
        in several curves) -> hash of its values.
    """
    instance = "curve" if "curve" in raw.dims else "cell"
    found: dict[str, dict[str, str]] = {}
    for name, measured in zip(names, _of_each(raw, instance), strict=True):
        if instance == dimension:
            found[name] = measured
        else:
            cell, _, curve = name.partition(" ")
            of_cell = found.setdefault(cell, {})
            of_cell |= {f"{curve} {variable}": digest for variable, digest in measured.items()}
    return found


def to_text(of_row: Mapping[str, str]) -> str:
    """Return the ingredients of a row as canonical JSON text."""
    return json.dumps(dict(of_row), sort_keys=True, separators=(",", ":"))


def differing(before: str, now: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of what differs between the text kept with a row and what there is now."""
    held = json.loads(before)
    return tuple(sorted(name for name in {*held, *now} if held.get(name) != now.get(name)))


def _of_each(raw: xr.Dataset, instance: str) -> list[dict[str, str]]:
    measured = {
        str(name): variable.values
        for name, variable in raw.variables.items()
        if name not in _NO_MEASUREMENT and _is_measured(str(name), variable.dims, instance)
    }
    if instance == "cell":
        lengths = raw["n_rpt"].values.tolist()  # what follows is padding
        return [
            {
                name: _hash(each[k, :n] if each.ndim > 1 else each[k])
                for name, each in measured.items()
            }
            for k, n in enumerate(lengths)
        ]
    stops = raw["row_size"].values.cumsum().tolist()
    ragged = {str(name) for name, variable in raw.variables.items() if variable.dims == ("sample",)}
    return [
        {
            name: _hash(each[first:stop] if name in ragged else each[k])
            for name, each in measured.items()
        }
        for k, (first, stop) in enumerate(zip([0, *stops], stops, strict=False))
    ]


def _is_measured(name: str, dims: Sequence[object], instance: str) -> bool:
    return tuple(dims) == ("sample",) or (
        tuple(dims[:1]) == (instance,) and (len(dims) > 1 or name in _LABELS)
    )


def _hash(values: np.ndarray) -> str:
    return hash_arrays(values)[:DIGITS]
