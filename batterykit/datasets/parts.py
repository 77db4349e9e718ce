"""A dataset of many cells or curves, taken apart into one part each and put together again.

So a changed file replaces its own part and every other part stays as it was stored. Two shapes:
padded (cell, rpt), and the contiguous ragged array of the CF conventions, section 9.3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batterykit.errors import InputError


@dataclass(frozen=True)
class Part:
    """What one file contributes to a dataset.

    Parameters
    ----------
    scalars
        One value each, e.g. cell, rpt, content_hash.
    columns
        Arrays (row,) of one length: float64, int64, datetime64[ns] or object (text).
    attrs
        Attributes of the columns, by name.
    """

    scalars: Mapping[str, Any]
    columns: Mapping[str, np.ndarray]
    attrs: Mapping[str, Mapping[str, Any]]

    @property
    def length(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), ()))


def join_padded(parts: Sequence[Part], scalar_attrs: Mapping[str, Mapping[str, Any]]) -> xr.Dataset:
    """Return the parts as one dataset (cell, rpt); past a part's end NaN, NaT, "" or 0.

    Parameters
    ----------
    parts
        In the order of the cells; scalars hold `cell` and `n_rpt`.
    scalar_attrs
        Attributes of the coordinates made from the scalars.

    Raises
    ------
    InputError
        A column is of numbers in one file and of text or dates in another, or units differ.
    """
    n_rpt = max(part.length for part in parts)
    kinds = _columns(parts)
    coordinates = _coordinates(parts, "cell", scalar_attrs)
    numbers = np.arange(n_rpt, dtype=np.int64)
    coordinates["rpt"] = ("rpt", numbers, {"long_name": "check-up (reference performance test)"})
    variables = {
        name: (("cell", "rpt"), np.stack([_fill(one, name, kind, n_rpt) for one in parts]), attrs)
        for name, (kind, attrs) in kinds.items()
    }
    return xr.Dataset(variables, coordinates)


def split_padded(dataset: xr.Dataset) -> dict[str, Part]:
    """Return the parts of a padded dataset by cell: the reverse of `join_padded`."""
    scalars = _scalars(dataset, "cell")
    names = [str(name) for name in dataset.data_vars if dataset[name].dims == ("cell", "rpt")]
    attrs = {name: dict(dataset[name].attrs) for name in names}
    arrays = {name: dataset[name].values for name in names}
    return {
        str(one["cell"]): Part(
            one, {name: array[index, : one["n_rpt"]] for name, array in arrays.items()}, attrs
        )
        for index, one in enumerate(scalars)
    }


def join_ragged(
    parts: Sequence[Part], dims: tuple[str, str], scalar_attrs: Mapping[str, Mapping[str, Any]]
) -> xr.Dataset:
    """Return the parts as one contiguous ragged array.

    Parameters
    ----------
    parts
        In the order of the instances.
    dims
        Names of the instance and of the element dimension, e.g. ("curve", "sample").
    scalar_attrs
        Attributes of the coordinates made from the scalars.

    Raises
    ------
    InputError
        As for `join_padded`.
    """
    instance, element = dims
    row_size = np.array([part.length for part in parts], dtype=np.int64)
    about = {"long_name": f"number of {element}s of each {instance}", "sample_dimension": element}
    variables: dict[str, Any] = {"row_size": (instance, row_size, about)}
    for name, (kind, attrs) in _columns(parts).items():
        values = np.concatenate([_fill(part, name, kind, part.length) for part in parts])
        variables[name] = (element, values, attrs)
    return xr.Dataset(variables, _coordinates(parts, instance, scalar_attrs))


def split_ragged(dataset: xr.Dataset, dims: tuple[str, str]) -> list[Part]:
    """Return the parts of a contiguous ragged array: the reverse of `join_ragged`."""
    instance, element = dims
    ends = np.cumsum(dataset["row_size"].values)
    names = [str(name) for name in dataset.data_vars if dataset[name].dims == (element,)]
    attrs = {name: dict(dataset[name].attrs) for name in names}
    arrays = {name: dataset[name].values for name in names}
    return [
        Part(one, {name: array[end - size : end] for name, array in arrays.items()}, attrs)
        for one, end, size in zip(
            _scalars(dataset, instance), ends, dataset["row_size"].values, strict=True
        )
    ]


def _coordinates(
    parts: Sequence[Part], dim: str, attrs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    coordinates = {}
    for name in parts[0].scalars:
        values = [part.scalars[name] for part in parts]
        text = isinstance(values[0], str)
        array = np.array(values, dtype=object) if text else np.array(values)
        coordinates[name] = (dim, array, dict(attrs.get(name, {})))
    return coordinates


def _scalars(dataset: xr.Dataset, dim: str) -> list[dict[str, Any]]:
    columns = {
        str(name): dataset[name].values.tolist()
        for name in dataset.variables
        if dataset[name].dims == (dim,) and name != "row_size"
    }
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _columns(parts: Sequence[Part]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return kind and attributes of every column that any part has."""
    result: dict[str, tuple[str, dict[str, Any]]] = {}
    for part in parts:
        for name, values in part.columns.items():
            kind, attrs = _kind(values), dict(part.attrs[name])
            if name not in result or result[name][0] == "empty":
                result[name] = (kind, attrs)
            elif kind != "empty" and _differs(result[name], (kind, attrs)):
                raise _conflict(part, name, result[name], (kind, attrs))
    return {
        name: ("f", {"units": "unknown", **attrs}) if kind == "empty" else (kind, attrs)
        for name, (kind, attrs) in result.items()
    }


def _kind(values: np.ndarray) -> str:
    if values.dtype.kind == "f" and np.isnan(values).all():
        return "empty"
    return "O" if values.dtype.kind in "OUT" else values.dtype.kind


def _differs(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]) -> bool:
    return one[0] != other[0] or one[1].get("units") != other[1].get("units")


def _conflict(
    part: Part,
    name: str,
    wanted: tuple[str, dict[str, Any]],
    found: tuple[str, dict[str, Any]],
) -> InputError:
    words = {"f": "numbers", "i": "numbers", "M": "dates", "O": "text"}
    say = [f"{words[kind]} in '{attrs.get('units', '-')}'" for kind, attrs in (found, wanted)]
    return InputError(
        f"the column holds {say[0]} here and {say[1]} in the files of other cells",
        fix="make the column the same in all files, or download the file again",
        file=part.scalars.get("source_file"),
        column=found[1].get("source_column", name),
    )


def _fill(part: Part, name: str, kind: str, length: int) -> np.ndarray:
    """Return a part's column, lengthened with what stands for nothing in its kind."""
    found = part.columns.get(name)
    if found is not None and len(found) == length and _kind(found) == kind:
        return found
    empty: dict[str, tuple[Any, Any]] = {
        "f": (np.nan, np.float64),
        "i": (0, np.int64),
        "M": (np.datetime64("NaT", "ns"), "M8[ns]"),
        "O": ("", object),
    }
    value, dtype = empty[kind]
    values = np.full(length, value, dtype=dtype)
    if found is not None and _kind(found) != "empty":
        values[: len(found)] = found
    return values
