"""The plan of a cached computation: what is reused, computed, dropped, and what is trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.store import Store, cache
from batterykit.store.cache import MANIFEST, Manifest, plan, row_key, seal_of
from tests.store.datasets import curves

KEYS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"))
NODE = "raw/expt5/curves/0.1C"


@given(wanted=KEYS, stored=KEYS)
def test_every_wanted_row_is_either_reused_or_computed_and_the_rest_dropped(
    wanted: dict[str, str], stored: dict[str, str]
) -> None:
    found = plan(wanted, stored)
    assert sorted(found.reuse + found.compute) == sorted(wanted)
    assert all(stored[name] == wanted[name] for name in found.reuse)
    assert all(stored.get(name) != wanted[name] for name in found.compute)
    assert set(found.drop) == set(stored) - set(wanted)


@given(wanted=KEYS)
def test_nothing_is_computed_when_everything_is_stored(wanted: dict[str, str]) -> None:
    assert plan(wanted, dict(reversed(wanted.items()))).compute == ()


def test_a_key_changes_with_content_parameters_and_code_and_with_nothing_else() -> None:
    key = row_key(["content"], {"width": 0.01, "peaks": 8}, "code")
    assert key == row_key(["content"], {"peaks": 8, "width": 0.01}, "code")
    others = {
        row_key(["other"], {"width": 0.01, "peaks": 8}, "code"),
        row_key(["content"], {"width": 0.02, "peaks": 8}, "code"),
        row_key(["content"], {"width": 0.01, "peaks": 8}, "other"),
    }
    assert len(others | {key}) == 4


def test_a_manifest_survives_the_trip_through_attributes() -> None:
    manifest = Manifest({"raw/expt5/summary": "f"}, {"window": [2.5, 4.2]}, {"m:f": "h"}, rows=3)
    held = Manifest.of({MANIFEST: manifest.to_json()})
    assert held == manifest
    assert manifest.same_origin(held)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"inputs": {}}', '{"rows": 1, "x": 2}'])
def test_a_broken_manifest_is_none_at_all(text: str | None) -> None:
    attrs = {} if text is None else {MANIFEST: text}
    assert Manifest.of(attrs) is None
    assert not Manifest({}, {}, {}).same_origin(Manifest.of(attrs))


def test_a_seal_changes_with_any_byte_and_any_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "chunk"
    file.write_bytes(b"data")
    whole = seal_of(tmp_path)
    file.write_bytes(b"dat!")
    assert seal_of(tmp_path) != whole
    file.write_bytes(b"data")
    assert seal_of(tmp_path) == whole
    file.rename(tmp_path / "a" / "chunk2")
    assert seal_of(tmp_path) != whole


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open_or_create(tmp_path / "s.zarr")
    store.write(NODE, curves(), command="test")
    return store


def test_a_node_is_trusted_unread_only_while_its_files_are_those_sealed(store: Store) -> None:
    assert not cache.is_sealed(store, NODE)
    cache.seal(store, NODE, command="test", note="sealed", details={})
    assert cache.is_sealed(store, NODE)
    chunk = max((store.path / NODE).rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    assert not cache.is_sealed(store, NODE)


def test_the_newest_seal_counts(store: Store) -> None:
    cache.seal(store, NODE, command="test", note="sealed", details={})
    store.write(NODE, curves(seed=1), command="test", replace=True)
    assert not cache.is_sealed(store, NODE)
    cache.seal(store, NODE, command="test", note="sealed", details={})
    assert cache.is_sealed(store, NODE)


def test_touching_the_files_breaks_no_seal(store: Store) -> None:
    cache.seal(store, NODE, command="test", note="sealed", details={})
    for file in (store.path / NODE).rglob("*"):
        file.touch()
    assert cache.is_sealed(store, NODE)


def test_the_manifest_is_json_that_any_reader_understands() -> None:
    manifest = Manifest({"a": "1"}, {"p": None}, {})
    assert json.loads(manifest.to_json())["inputs"] == {"a": "1"}
