"""A dataset as the files of a zarr v3 group, made in one go.

xarray and zarr can write the same, but create every variable by several round trips to an event
loop: 2-5 ms each, which for a node of 40 small variables is most of an ingest. Reading is theirs:
what is written here must open with `xarray.open_zarr` unchanged, and a test holds it to that.

Source: Zarr core specification, version 3.1, with the codecs bytes, blosc, sharding_indexed and
the extension vlen-utf8; https://zarr-specs.readthedocs.io/en/latest/v3/.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numcodecs.blosc import Blosc

CHUNK_VALUES = 65_536
CHUNKS_PER_SHARD = 16

_LEVEL = 1  # of zstd: level 3 takes 2.6 times as long to save a tenth of the size of noisy curves
_DATES = {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
_EMPTY_CHUNK = 2**64 - 1  # offset and length of a chunk that a shard does not hold


def encode(dataset: xr.Dataset, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of a zarr group that holds the dataset.

    Numbers are compressed by Blosc (zstd, shuffled), strings are of variable length, dates are
    nanoseconds. Chunks run along the first dimension, sixteen to a shard.

    Parameters
    ----------
    dataset
        Variables of numbers, booleans, text (object or StringDType) or datetimes.
    attributes
        Global attributes of the group, instead of the dataset's own.

    Returns
    -------
    dict
        Path within the group -> content, `zarr.json` of the group last.

    Raises
    ------
    TypeError
        A variable holds something else, or an attribute is not what JSON can hold.
    """
    variables, coordinates = xr.conventions.encode_dataset_coordinates(dataset)
    files: dict[str, bytes] = {}
    metadata: dict[str, Any] = {}
    for key, variable in variables.items():
        name = str(key)
        values, attrs = _plain(name, variable)
        metadata[name] = _array_metadata(values, [str(dim) for dim in variable.dims], attrs)
        files[f"{name}/zarr.json"] = _json(metadata[name])
        for place, content in _chunks(values):
            files[f"{name}/c{place}"] = content
    extra = {name: coordinates[name] for name in coordinates if name == "coordinates"}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {**attributes, **extra}}
    consolidated = {"kind": "inline", "must_understand": False, "metadata": metadata}
    files["zarr.json"] = _json({**group, "consolidated_metadata": consolidated})
    return files


def _plain(name: str, variable: xr.Variable) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a variable's values as numbers or an object array of str, and its attributes."""
    values, attrs = np.asarray(variable.values), dict(variable.attrs)
    if values.dtype.kind in "OUT":
        return np.array([str(item) for item in values.ravel()], object).reshape(values.shape), attrs
    if values.dtype.kind == "M":
        return values.astype("M8[ns]").view(np.int64), attrs | _DATES
    if values.dtype.kind not in "fiub":
        raise TypeError(f"variable '{name}' holds {values.dtype}: the store has no place for that")
    return values.astype(values.dtype.newbyteorder("<"), copy=False), attrs


def _array_metadata(values: np.ndarray, dims: list[str], attrs: dict[str, Any]) -> dict[str, Any]:
    text = values.dtype.kind == "O"
    rows, shard = _rows(values)
    codecs: list[dict[str, Any]] = [
        {"name": "vlen-utf8", "configuration": {}}
        if text
        else {"name": "bytes", "configuration": {"endian": "little"}}
    ]
    blosc = {
        "typesize": 1 if text else values.dtype.itemsize,
        "cname": "zstd",
        "clevel": _LEVEL,
        "shuffle": "noshuffle" if text else "shuffle",
        "blocksize": 0,
    }
    codecs.append({"name": "blosc", "configuration": blosc})
    if shard > rows:
        inner = {
            "chunk_shape": [rows, *values.shape[1:]],
            "codecs": codecs,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    shape = [] if values.ndim == 0 else [shard, *(max(1, size) for size in values.shape[1:])]
    fill: Any = "" if text else {"f": "NaN", "b": False}.get(values.dtype.kind, 0)
    return {
        "shape": list(values.shape),
        "data_type": "string" if text else values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": attrs,
        "dimension_names": dims,
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _rows(values: np.ndarray) -> tuple[int, int]:
    """Return how many rows (along the first dimension) a chunk and a shard have."""
    length = values.shape[0] if values.ndim else 1
    rows = max(1, CHUNK_VALUES // max(1, math.prod(values.shape[1:])))
    if length <= rows:
        return max(1, length), max(1, length)
    return rows, min(CHUNKS_PER_SHARD, -(-length // rows)) * rows


def _chunks(values: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Yield place ("/0/0", "" for a scalar) and content of each chunk or shard."""
    if values.size == 0:
        return
    if values.ndim == 0:
        yield "", _compressed(values.reshape(1))
        return
    rows, shard = _rows(values)
    rest = "/0" * (values.ndim - 1)
    for number, start in enumerate(range(0, len(values), shard)):
        part = values[start : start + shard]
        content = _compressed(part) if shard == rows else _shard(part, rows, shard // rows)
        yield f"/{number}{rest}", content


def _shard(part: np.ndarray, rows: int, count: int) -> bytes:
    """Return chunks of `rows` rows one after the other, then the index: offset, length of each."""
    chunks = [_compressed(_filled(part[i : i + rows], rows)) for i in range(0, len(part), rows)]
    index = np.full((count, 2), _EMPTY_CHUNK, dtype="<u8")
    lengths = np.array([len(chunk) for chunk in chunks])
    index[: len(chunks), 1] = lengths
    index[: len(chunks), 0] = np.cumsum(lengths) - lengths
    return b"".join([*chunks, index.tobytes()])


def _filled(part: np.ndarray, rows: int) -> np.ndarray:
    """Return the part lengthened to `rows` rows by the fill value: chunks are of one size."""
    if len(part) == rows:
        return part
    fill: Any = {"f": np.nan, "O": "", "b": False}.get(part.dtype.kind, 0)
    whole = np.full((rows, *part.shape[1:]), fill, dtype=part.dtype)
    whole[: len(part)] = part
    return whole


def _compressed(values: np.ndarray) -> bytes:
    if values.dtype.kind == "O":
        texts = [item.encode() for item in values.ravel()]
        parts = [struct.pack("<I", len(texts))]
        for text in texts:
            parts += (struct.pack("<I", len(text)), text)
        return bytes(_BLOSC_TEXT.encode(b"".join(parts)))
    return bytes(_BLOSC.encode(np.ascontiguousarray(values)))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, default=_number, allow_nan=True).encode()


def _number(value: Any) -> Any:  # noqa: ANN401 - numpy scalars and arrays in attributes
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"an attribute holds {type(value).__name__}, which JSON cannot")


_BLOSC = Blosc(cname="zstd", clevel=_LEVEL, shuffle=Blosc.SHUFFLE)
_BLOSC_TEXT = Blosc(cname="zstd", clevel=_LEVEL, shuffle=Blosc.NOSHUFFLE)
