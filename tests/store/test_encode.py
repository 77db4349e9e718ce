"""Files written by `store.encode` are what zarr and xarray read."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import hypothesis.extra.numpy as numpy_strategies
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from batterykit.store import encode as module
from batterykit.store.encode import encode

DTYPES = st.sampled_from(["f8", "f4", "i8", "i4", "i1", "u2", "?", "M8[ns]", "O"])


@st.composite
def datasets(draw: st.DrawFn) -> xr.Dataset:
    sizes = draw(st.fixed_dictionaries({"a": st.integers(0, 50), "b": st.integers(1, 4)}))
    variables = {}
    for index, dtype in enumerate(draw(st.lists(DTYPES, min_size=1, max_size=4))):
        dims = draw(st.sampled_from([(), ("a",), ("a", "b"), ("b",)]))
        shape = tuple(sizes[dim] for dim in dims)
        texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
        elements = texts if dtype == "O" else None
        values = draw(numpy_strategies.arrays(dtype, shape, elements=elements))
        attrs = {} if dtype == "M8[ns]" else {"units": draw(st.sampled_from(["V", "degC"]))}
        variables[f"x{index}"] = (dims, values, attrs)
    dataset = xr.Dataset(variables)
    coordinates = [name for name in dataset.data_vars if draw(st.booleans())]
    return dataset.set_coords(coordinates)


def written(dataset: xr.Dataset, folder: Path, **attributes: object) -> Path:
    for name, content in encode(dataset, attributes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: Path, *, consolidated: bool = True) -> xr.Dataset:
    with xr.open_dataset(
        folder, engine="zarr", chunks=None, consolidated=consolidated, decode_timedelta=False
    ) as opened:
        return opened.load()


def assert_same(found: xr.Dataset, wanted: xr.Dataset) -> None:
    assert set(found.variables) == set(wanted.variables)
    assert set(found.coords) == set(wanted.coords)
    for name, variable in wanted.variables.items():
        other = found.variables[name]
        assert other.dims == variable.dims
        assert other.attrs == variable.attrs
        if variable.dtype.kind == "O":
            assert other.values.tolist() == variable.values.tolist()
        else:
            assert other.dtype == variable.dtype
            np.testing.assert_array_equal(other.values, variable.values)


@settings(max_examples=60, deadline=None)
@given(dataset=datasets())
def test_any_dataset_opens_in_xarray_as_it_was(dataset: xr.Dataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(dataset, Path(folder), schema="any")
        assert_same(read(path), dataset)
        assert read(path).attrs == {"schema": "any"}


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(0, 70),
    width=st.integers(1, 3),
    kind=st.sampled_from(["f8", "i8", "O"]),
)
def test_chunks_and_shards_hold_every_value(length: int, width: int, kind: str) -> None:
    values = np.arange(length * width).reshape(length, width)
    array = values.astype(str).astype(object) if kind == "O" else values.astype(kind)
    dataset = xr.Dataset({"x": (("a", "b"), array, {})})
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(module, "CHUNK_VALUES", 6)
        patch.setattr(module, "CHUNKS_PER_SHARD", 4)
        path = written(dataset, Path(folder))
        assert_same(read(path), dataset)
        stored = zarr.open_array(f"{path}/x", mode="r")
        for index in range(0, length, 7):  # a chunk in the middle of a shard is found by itself
            assert stored[index].tolist() == array[index].tolist()


def test_members_can_be_read_without_the_consolidated_metadata(tmp_path: Path) -> None:
    dataset = xr.Dataset({"x": ("a", np.arange(5.0))}, {"name": ("a", list("vwxyz"))})
    path = written(dataset, tmp_path)
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    assert read(path, consolidated=False)["x"].values.tolist() == [0, 1, 2, 3, 4]


def test_metadata_is_what_zarr_itself_would_write(tmp_path: Path) -> None:
    dataset = xr.Dataset({"x": ("a", np.arange(5.0), {"units": "V"})})
    ours = zarr.open_group(written(dataset, tmp_path / "ours"), mode="r")["x"].metadata.to_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(tmp_path / "theirs", zarr_format=3)
    theirs = zarr.open_group(tmp_path / "theirs", mode="r")["x"].metadata.to_dict()
    for name in ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "dimension_names"):
        assert ours[name] == theirs[name]


def test_missing_dates_stay_missing(tmp_path: Path) -> None:
    dates = np.array(["2020-10-13", "NaT"], "M8[ns]")
    found = read(written(xr.Dataset({"date": ("a", dates)}), tmp_path))
    assert found["date"].values[0] == dates[0]
    assert np.isnat(found["date"].values[1])


def test_what_zarr_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="complex128"):
        encode(xr.Dataset({"x": ("a", np.array([1j]))}), {})
    with pytest.raises(TypeError, match="set"):
        encode(xr.Dataset({"x": ("a", np.array([1.0]), {"units": {"V"}})}), {})
