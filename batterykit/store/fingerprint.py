"""Content hashes: of bytes, arrays, parameters and datasets.

All are SHA-256 (the fastest of the safe ones on current processors), cut to 32 hex digits.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

HASH_DIGITS = 32


def hash_bytes(data: bytes | memoryview) -> str:
    """Return the hash of raw bytes."""
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def hash_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return the hash of a JSON-able value; the order of a mapping's keys does not matter."""
    return hash_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def hash_arrays(*arrays: np.ndarray) -> str:
    """Return the hash of arrays: their type, shape and values (every NaN counts as the same).

    Parameters
    ----------
    arrays
        Arrays of numbers, booleans, strings or datetimes, any shape.
    """
    digest = hashlib.sha256()
    for array in arrays:
        kind, data = _canonical(np.asarray(array))
        digest.update(f"{kind}{np.shape(array)}".encode())
        digest.update(data)
    return digest.hexdigest()[:HASH_DIGITS]


def dataset_fingerprint(dataset: xr.Dataset) -> str:
    """Return the hash of a dataset: names, dimensions, attributes and values of all variables.

    Global attributes do not count: they say who wrote the dataset and when, not what it holds.
    """
    parts = [
        [str(name), list(variable.dims), _plain(variable.attrs), hash_arrays(variable.values)]
        for name, variable in sorted(dataset.variables.items(), key=lambda item: str(item[0]))
    ]
    return hash_json(parts)


def _canonical(array: np.ndarray) -> tuple[str, bytes | memoryview]:
    kind = array.dtype.kind
    if kind in "OUT":
        encoded = [str(item).encode() for item in array.ravel()]
        lengths = np.array([len(item) for item in encoded], dtype="<i8")
        return "str", lengths.tobytes() + b"".join(encoded)
    if kind in "mM":
        name = "datetime" if kind == "M" else "timedelta"
        array = array.astype("M8[ns]" if kind == "M" else "m8[ns]").view("i8")
        return name, np.ascontiguousarray(array).data.cast("B")
    array = np.ascontiguousarray(array)
    if kind == "f" and np.isnan(array).any():
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.dtype.str, little.reshape(-1).view("u1").data


def _plain(value: Any) -> Any:  # noqa: ANN401 - attributes may hold anything
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
