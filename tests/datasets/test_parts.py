"""A dataset taken apart and put together again is the same dataset."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from batterykit.datasets.parts import (
    Part,
    join_padded,
    join_ragged,
    split_padded,
    split_ragged,
)
from batterykit.errors import InputError

FLOATS = st.floats(allow_nan=True, allow_infinity=False)
COLUMNS = {
    "x": (st.lists(FLOATS, min_size=8, max_size=8), "f8", {"units": "V"}),
    "n": (st.lists(st.integers(-9, 9), min_size=8, max_size=8), "i8", {"long_name": "count"}),
    "t": (st.lists(st.text(max_size=3), min_size=8, max_size=8), "O", {"long_name": "text"}),
}


@st.composite
def parts(draw: st.DrawFn) -> list[Part]:
    result = []
    for index in range(draw(st.integers(1, 4))):
        length = draw(st.integers(1, 8))
        columns = {
            name: np.array(draw(values), dtype=dtype)[:length]
            for name, (values, dtype, _) in COLUMNS.items()
        }
        dates = np.array(["2021-01-08", "NaT", "2021-02-03T10:00"] * 3, "M8[ns]")[:length]
        columns["d"] = dates
        attrs = {name: attrs for name, (_, _, attrs) in COLUMNS.items()} | {"d": {}}
        result.append(Part({"cell": f"E5-{'ABCD'[index]}", "n_rpt": length}, columns, attrs))
    return result


def assert_same(found: Part, wanted: Part) -> None:
    assert dict(found.scalars) == dict(wanted.scalars)
    assert set(found.columns) == set(wanted.columns)
    for name, values in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)


@settings(max_examples=60, deadline=None)
@given(parts=parts())
def test_padded_parts_come_back_as_they_were(parts: list[Part]) -> None:
    dataset = join_padded(parts, {})
    assert dataset.sizes["rpt"] == max(part.length for part in parts)
    for found, wanted in zip(split_padded(dataset).values(), parts, strict=True):
        assert_same(found, wanted)
    xr.testing.assert_identical(join_padded(list(split_padded(dataset).values()), {}), dataset)


@settings(max_examples=60, deadline=None)
@given(parts=parts())
def test_ragged_parts_come_back_as_they_were(parts: list[Part]) -> None:
    dataset = join_ragged(parts, ("curve", "sample"), {})
    assert dataset["row_size"].values.tolist() == [part.length for part in parts]
    assert dataset["row_size"].attrs["sample_dimension"] == "sample"
    for found, wanted in zip(split_ragged(dataset, ("curve", "sample")), parts, strict=True):
        assert_same(found, wanted)


def one(cell: str, column: np.ndarray, **attrs: str) -> Part:
    return Part({"cell": cell, "n_rpt": len(column)}, {"x": column}, {"x": attrs})


def test_past_the_end_of_a_part_there_is_nothing() -> None:
    long, short = np.array([1.0, 2.0, 3.0]), np.array([4.0])
    dataset = join_padded([one("E5-A", long, units="V"), one("E5-B", short, units="V")], {})
    np.testing.assert_array_equal(dataset["x"].values, [[1, 2, 3], [4, np.nan, np.nan]])


def test_a_column_that_only_some_parts_have_is_filled_with_nothing() -> None:
    other = Part({"cell": "E5-B", "n_rpt": 1}, {"y": np.array(["a"], object)}, {"y": {}})
    dataset = join_ragged([one("E5-A", np.array([1.0]), units="V"), other], ("cell", "row"), {})
    np.testing.assert_array_equal(dataset["x"].values, [1, np.nan])
    assert dataset["y"].values.tolist() == ["", "a"]


def test_an_empty_column_takes_the_kind_it_has_elsewhere() -> None:
    empty = one("E5-A", np.array([np.nan]), units="unknown")
    dates = one("E5-B", np.array(["2021-01-08"], "M8[ns]"))
    dataset = join_ragged([empty, dates], ("cell", "row"), {})
    assert dataset["x"].dtype == "M8[ns]"
    assert np.isnat(dataset["x"].values[0])


@pytest.mark.parametrize(
    "other", [one("E5-B", np.array(["a"], object)), one("E5-B", np.array([1.0]), units="mm")]
)
def test_a_column_of_another_kind_or_unit_in_another_file_is_an_error(other: Part) -> None:
    with pytest.raises(InputError, match="in the files of other cells"):
        join_ragged([one("E5-A", np.array([1.0]), units="V"), other], ("cell", "row"), {})
