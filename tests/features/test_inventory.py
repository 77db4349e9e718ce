"""What is kept, in what state, how large, and what is left after it is cleared."""

from __future__ import annotations

from pathlib import Path

import pytest

from batterykit.errors import UsageError
from batterykit.features.build import refresh
from batterykit.features.inventory import clear, entries, feature_nodes, find, look_for_damage, size
from batterykit.features.options import SequenceOptions
from batterykit.store import Store
from tests.features.data import raw_summary

SUMMARY = "raw/expt5/summary"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open_or_create(tmp_path / "s.zarr")
    store.write(SUMMARY, raw_summary(), command="test")
    refresh(store, "summary")
    refresh(store, "sequence")
    refresh(store, "sequence", SequenceOptions(clock="throughput"))
    return store


def test_an_entry_tells_parameters_rows_size_and_use(store: Store) -> None:
    refresh(store, "summary")
    found = {(e.kind, str(dict(e.parameters))): e for e in entries(store, feature_nodes(store))}
    assert set(found) == {
        ("summary", "{}"),
        ("sequence", "{}"),
        ("sequence", "{'clock': 'throughput'}"),
    }
    entry = found["summary", "{}"]
    files = [file for file in (store.path / entry.node).rglob("*") if file.is_file()]
    assert entry.bytes == sum(len(file.read_bytes()) for file in files)
    assert (entry.rows, entry.state) == (2, "current")
    assert (entry.computed, entry.reused) == (0, 2)
    assert entry.created == entry.written
    assert entry.used == store.log()[-1]["time"]


def test_states_follow_what_happens_to_a_node(store: Store) -> None:
    summary, first, second = sorted(feature_nodes(store), key=lambda node: "sequence" in node)
    store.write(SUMMARY, raw_summary(n_rpt=[3, 4]), command="test", replace=True)
    (store.path / first / "time" / "zarr.json").write_text("{}")
    found = {entry.node: entry for entry in entries(store, feature_nodes(store))}
    assert (found[summary].state, found[summary].reason) == ("stale", "other input")
    assert (found[first].state, found[first].reason) == ("damaged", "time/zarr.json")
    assert found[second].state == "stale"


def test_features_without_raw_data_are_stale_and_still_listed(store: Store) -> None:
    store.remove(SUMMARY, command="test")
    assert {entry.state for entry in entries(store, feature_nodes(store))} == {"stale"}


def test_nodes_are_found_by_path_kind_and_hash(store: Store) -> None:
    every = feature_nodes(store)
    sequences = [node for node in every if "/sequence/" in node]
    assert find(store, ["sequence"]) == sequences
    assert find(store, ["features/sequence/"]) == sequences
    assert find(store, ["features"]) == every
    for node in every:
        digest = node.rpartition("/")[2]
        assert find(store, [node]) == find(store, [digest[:6]]) == [node]
    with pytest.raises(UsageError, match="store remove"):
        find(store, [SUMMARY])
    with pytest.raises(UsageError, match="no feature node 'ica'"):
        find(store, ["ica"])


def test_clearing_tells_what_it_freed_and_touches_nothing_else(store: Store) -> None:
    every = feature_nodes(store)
    room = size(store.path / every[0])
    assert clear(store, every[:1]) == room
    assert clear(store, every[:1]) == 0
    assert feature_nodes(store) == every[1:]
    assert store.has(SUMMARY)
    assert store.log()[-1]["command"] == "cache clear"
    assert store.verify() == []


def test_damage_names_files_and_the_run_that_mends_it(store: Store) -> None:
    node = next(e.node for e in entries(store, feature_nodes(store)) if e.parameters)
    assert look_for_damage(store, node) is None
    (store.path / node / "time" / "c" / "0" / "0").unlink()
    found = look_for_damage(store, node)
    assert found is not None
    assert found.files == {"time/c/0/0": "gone"}
    assert found.command == "batterykit features sequence --clock throughput"
