"""Content hashes change when the content does, and only then."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from batterykit.store.fingerprint import dataset_fingerprint, hash_arrays, hash_json
from tests.store.datasets import curves, sets

ARRAYS = hnp.arrays(
    dtype=st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
    shape=hnp.array_shapes(max_dims=2, max_side=5),
)


@given(ARRAYS)
def test_equal_arrays_hash_the_same_whatever_their_memory_layout(array: np.ndarray) -> None:
    assert hash_arrays(array) == hash_arrays(np.asfortranarray(array.copy()))
    assert hash_arrays(array) == hash_arrays(array[::-1][::-1])


@given(hnp.arrays(np.float64, 4, elements=st.floats(-1e6, 1e6)), st.integers(0, 3))
def test_the_smallest_change_of_one_value_changes_the_hash(array: np.ndarray, where: int) -> None:
    changed = array.copy()
    changed[where] = np.nextafter(changed[where], np.inf)
    assert hash_arrays(array) != hash_arrays(changed)


def test_type_shape_and_grouping_count() -> None:
    values = np.array([1, 2, 3, 4])
    different = {
        hash_arrays(values),
        hash_arrays(values.astype(float)),
        hash_arrays(values.reshape(2, 2)),
        hash_arrays(values[:2], values[2:]),
        hash_arrays(values[:1], values[1:]),
    }
    assert len(different) == 5


def test_every_nan_counts_as_the_same() -> None:
    other_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)
    assert hash_arrays(np.array([np.nan])) == hash_arrays(other_nan)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4))
def test_texts_hash_alike_in_every_string_type_and_are_not_run_together(texts: list[str]) -> None:
    as_objects = np.array(texts, dtype=object)
    assert hash_arrays(as_objects) == hash_arrays(as_objects.astype(np.dtypes.StringDType()))
    run_together = np.array(["".join(texts)] + [""] * (len(texts) - 1), dtype=object)
    if list(run_together) != texts:
        assert hash_arrays(as_objects) != hash_arrays(run_together)


def test_the_order_of_keys_does_not_matter_to_json() -> None:
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": [2], "a": 1})


def test_a_dataset_is_its_values_names_and_units_not_its_history() -> None:
    dataset = curves()
    fingerprint = dataset_fingerprint(dataset)
    assert dataset_fingerprint(dataset.assign_attrs(created_by="somebody")) == fingerprint
    other_unit = curves()
    other_unit["charge"].attrs["units"] = "mAh"
    assert dataset_fingerprint(other_unit) != fingerprint
    assert dataset_fingerprint(dataset.rename(voltage="u")) != fingerprint
    assert dataset_fingerprint(sets()) != fingerprint
