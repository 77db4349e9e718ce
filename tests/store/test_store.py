"""The store: a node is written whole or not at all, read back the same, and never lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batterykit.errors import SchemaError, StoreError
from batterykit.store import Store
from tests.store.datasets import curves, sets

CURVES = "raw/expt5/curves/0.1C"
SETS = "raw/expt5/sets"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open_or_create(tmp_path / "a.zarr")


def test_a_node_reads_back_as_it_was_written(store: Store) -> None:
    store.write(SETS, sets(), command="ingest")
    back = store.read(SETS)
    np.testing.assert_array_equal(back["charge_throughput"], sets()["charge_throughput"])
    assert list(back["remark"].values) == ["", "cycler restarted", "Ümlaut °C"]
    np.testing.assert_array_equal(back["start"], sets()["start"])
    assert back["charge_throughput"].attrs["units"] == "Ah"
    assert back.attrs["sources"] == {"expt 5 - cell A - set_data.csv": "abc"}


def test_xarray_opens_a_node_by_itself_without_a_warning(store: Store) -> None:
    store.write(CURVES, curves(), command="ingest")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xr.open_zarr(store.path / CURVES, chunks=None)
        np.testing.assert_array_equal(opened["voltage"], curves()["voltage"])
        tree = xr.open_datatree(store.path, engine="zarr", consolidated=False)
    assert f"/{CURVES}" in tree.groups


def test_long_arrays_are_chunked_and_sharded(store: Store) -> None:
    store.write(CURVES, curves(samples=100_000), command="ingest")
    encoding = xr.open_zarr(store.path / CURVES, chunks=None)["voltage"].encoding
    assert encoding["chunks"] == (65_536,)
    assert encoding["shards"] == (262_144,)
    np.testing.assert_array_equal(store.read(CURVES)["voltage"], curves(samples=100_000)["voltage"])


def test_nothing_is_overwritten_unless_asked(store: Store) -> None:
    store.write(CURVES, curves(seed=0), command="ingest")
    with pytest.raises(StoreError, match="already has a node"):
        store.write(CURVES, curves(seed=1), command="ingest")
    np.testing.assert_array_equal(store.read(CURVES)["voltage"], curves(seed=0)["voltage"])
    store.write(CURVES, curves(seed=1), command="ingest", replace=True)
    np.testing.assert_array_equal(store.read(CURVES)["voltage"], curves(seed=1)["voltage"])


def test_every_write_and_removal_is_logged_in_order(store: Store) -> None:
    store.write(SETS, sets(), command="ingest", note="2 cells", details={"files": 2})
    store.note("ingest", "nothing changed")
    store.remove(SETS, command="tidy")
    log = store.log()
    assert [(e["command"], e["node"], e["note"]) for e in log] == [
        ("ingest", SETS, "2 cells"),
        ("ingest", None, "nothing changed"),
        ("tidy", SETS, "removed"),
    ]
    assert log[0]["details"] == {"files": 2}
    assert not store.has(SETS)


def test_nodes_are_listed_by_prefix_and_described_without_reading(store: Store) -> None:
    store.write(SETS, sets(), command="ingest")
    store.write(CURVES, curves(), command="ingest")
    assert store.nodes() == [CURVES, SETS]
    assert store.nodes("raw/expt5/curves") == [CURVES]
    description = store.describe(CURVES)
    assert description["sizes"] == {"curve": 2, "sample": 200}
    assert "voltage" in description["variables"]
    assert description["bytes"] > 0


def test_a_missing_node_names_the_command_that_makes_it(store: Store) -> None:
    with pytest.raises(StoreError, match=r"batterykit ingest --expt 5"):
        store.read(CURVES)
    with pytest.raises(StoreError, match=r"batterykit features ica"):
        store.attrs("features/ica/abc")


def test_a_missing_store_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        Store.open(tmp_path / "none.zarr")


@pytest.mark.parametrize("content", ["a file", "a folder of other things"])
def test_a_path_that_is_not_a_store_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "thing"
    if content == "a file":
        path.write_text("hello")
    else:
        path.mkdir()
        (path / "letter.txt").write_text("dear reader")
    for open_it in (Store.open, Store.open_or_create):
        with pytest.raises(StoreError, match="not a batterykit store"):
            open_it(path)
    assert (path if path.is_file() else path / "letter.txt").read_text()


def test_a_store_of_a_newer_schema_is_refused(store: Store) -> None:
    metadata = store.path / "zarr.json"
    written = json.loads(metadata.read_text())
    written["attributes"] |= {"schema_version": 99, "created_by": "batterykit 9.0"}
    metadata.write_text(json.dumps(written))
    with pytest.raises(StoreError, match=r"schema version 99, written by batterykit 9\.0"):
        Store.open(store.path)


def test_a_dataset_without_what_its_node_needs_is_not_written(store: Store) -> None:
    for wrong, message in (
        (curves().drop_vars("voltage"), "'voltage': missing"),
        (curves().isel(sample=slice(1, None)), "adds up to 200"),
    ):
        with pytest.raises(SchemaError, match=message):
            store.write(CURVES, wrong, command="ingest")
    wrong_unit = curves()
    wrong_unit["charge"].attrs["units"] = "mAh"
    with pytest.raises(SchemaError, match="units 'mAh', wanted 'Ah'"):
        store.write(CURVES, wrong_unit, command="ingest")
    no_unit = sets()
    del no_unit["charge_throughput"].attrs["units"]
    with pytest.raises(SchemaError, match="without 'units'"):
        store.write(SETS, no_unit, command="ingest")
    assert store.nodes() == []


def test_a_node_with_no_place_in_the_store_is_refused(store: Store) -> None:
    with pytest.raises(SchemaError, match="no node 'raw/elsewhere'"):
        store.write("raw/elsewhere", sets(), command="ingest")


def test_a_flipped_byte_is_found_by_reading_and_by_verify(store: Store) -> None:
    store.write(CURVES, curves(samples=50_000), command="ingest")
    assert store.verify() == []
    chunk = next(
        path for path in (store.path / CURVES / "voltage" / "c").rglob("*") if path.is_file()
    )
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    assert [problem.node for problem in store.verify()] == [CURVES]
    with pytest.raises(StoreError, match=r"damaged|cannot be read"):
        store.read(CURVES)


def test_a_lost_chunk_is_never_read_as_missing_values(store: Store) -> None:
    store.write(CURVES, curves(), command="ingest")
    shutil.rmtree(store.path / CURVES / "voltage" / "c")
    with pytest.raises(StoreError, match="damaged"):
        store.read(CURVES)


def test_two_writers_at_once_both_finish_and_nothing_is_mixed(store: Store) -> None:
    def write(seed: int) -> None:
        mine = Store.open(store.path)
        for _ in range(4):
            mine.write(CURVES, curves(seed=seed), command=f"writer {seed}", replace=True)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if store.has(CURVES):
            store.read(CURVES)
    for writer in writers:
        writer.join()
    assert len(store.log()) == 8
    assert store.verify() == []


_ENDLESS_WRITER = """
import sys
from pathlib import Path
from batterykit.store import Store
from tests.store.datasets import curves
store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
seed = 0
while True:
    seed += 1
    store.write("raw/expt5/curves/0.1C", curves(2000, seed), command=f"write {seed}", replace=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
def test_a_writer_killed_at_any_moment_leaves_the_last_good_state(store: Store) -> None:
    store.write(CURVES, curves(2000, 0), command="write 0")
    moments = random.Random(0)
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", _ENDLESS_WRITER, str(store.path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(moments.uniform(0.0, 0.25))
            writer.send_signal(signal.SIGKILL)
        reopened = Store.open(store.path)
        last = int(reopened.log()[-1]["command"].removeprefix("write "))
        np.testing.assert_array_equal(
            reopened.read(CURVES)["voltage"], curves(2000, last)["voltage"]
        )
        assert reopened.verify() == []
        assert list((store.path / ".batterykit" / "staging").iterdir()) == []
        assert list((store.path / ".batterykit" / "journal").iterdir()) == []


_WRITER_THAT_DIES = """
import os, signal, sys
from pathlib import Path
from batterykit.store import Store
from tests.store.datasets import curves
synced, fatal, sync = 0, int(sys.argv[2]), os.fsync
def die_at_the_last(handle):
    global synced
    synced += 1
    if synced == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)
os.fsync = die_at_the_last
store = Store.open_or_create(Path(sys.argv[1]))
store.write("raw/expt5/curves/0.1C", curves(2000), command="write")
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
@pytest.mark.parametrize("fatal", [1, 3, 5, 20, -9, -7, -5, -4, -3, -2, -1])
def test_a_writer_killed_at_a_sync_leaves_no_trace(tmp_path: Path, fatal: int) -> None:
    place = tmp_path / "a.zarr"
    if fatal < 0:
        counter = "\nprint(synced)"
        whole = _run_writer(_WRITER_THAT_DIES + counter, tmp_path / "whole.zarr", 0)
        fatal += 1 + int(whole.stdout)
    assert _run_writer(_WRITER_THAT_DIES, place, fatal).returncode == -signal.SIGKILL
    store = Store.open_or_create(place)
    if store.has(CURVES):
        np.testing.assert_array_equal(store.read(CURVES)["voltage"], curves(2000)["voltage"])
        assert len(store.log()) == 1
    assert store.verify() == []
    hidden = [path for path in place.rglob(".*") if path.name != ".batterykit"]
    assert hidden == []
    assert list((place / ".batterykit" / "staging").iterdir()) == []
    assert list((place / ".batterykit" / "journal").iterdir()) == []


def _run_writer(code: str, place: Path, fatal: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(place), str(fatal)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_a_log_line_cut_off_by_a_crash_is_passed_over(store: Store) -> None:
    store.note("ingest", "first")
    with (store.path / ".batterykit" / "log.jsonl").open("a") as log:
        log.write('{"command": "inge')
    store.note("ingest", "second")
    assert [entry["note"] for entry in store.log()] == ["first", "second"]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small tmpfs")
def test_a_full_disk_is_an_error_with_a_remedy_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a tmpfs")
    try:
        store = Store.open_or_create(disk / "a.zarr")
        store.write(CURVES, curves(), command="ingest")
        with pytest.raises(StoreError, match="free some space"):
            store.write(CURVES, curves(200_000, 1), command="ingest", replace=True)
        np.testing.assert_array_equal(store.read(CURVES)["voltage"], curves()["voltage"])
        assert store.verify() == []
        store.write(CURVES, curves(1000, 2), command="ingest", replace=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StoreError, match="read-only"):
            store.write(CURVES, curves(), command="ingest", replace=True)
        with pytest.raises(StoreError, match="read-only"):
            Store.open_or_create(disk / "b.zarr")
        assert Store.open(store.path).verify() == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_verify_finds_a_node_whose_description_is_unreadable_or_that_is_gone(store: Store) -> None:
    for node, dataset in ((CURVES, curves()), (SETS, sets())):
        store.write(node, dataset, command="ingest")
    (store.path / CURVES / "zarr.json").write_text('{"cut o')
    shutil.rmtree(store.path / SETS)
    assert [problem.node for problem in store.verify()] == [CURVES, SETS]
    with pytest.raises(StoreError, match=r"damaged: its zarr\.json cannot be read"):
        store.read(CURVES)


def test_a_removed_node_and_a_cleared_cache_are_not_missed_by_verify(store: Store) -> None:
    store.write(SETS, sets(), command="ingest")
    store.remove(SETS, command="tidy")
    cached = xr.Dataset(
        {
            name: (("curve", "peak"), np.ones((1, 1)), {"units": units})
            for name, units in (
                ("peak_voltage", "V"),
                ("peak_height", "Ah/V"),
                ("peak_width", "V"),
                ("peak_area", "Ah"),
            )
        },
        coords={
            "cell": ("curve", np.array(["E5-A"], dtype=object)),
            "rpt": ("curve", np.array([0])),
            "direction": ("curve", np.array(["discharge"], dtype=object)),
        },
    )
    store.write("features/ica/abc", cached, command="features ica")
    shutil.rmtree(store.path / "features/ica/abc")
    assert store.verify() == []


def test_a_lost_group_description_hides_no_node(store: Store) -> None:
    store.write(SETS, sets(), command="ingest")
    (store.path / "raw" / "expt5" / "zarr.json").unlink()
    assert store.nodes() == [SETS]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("x")])
def test_verify_finds_a_spoilt_description_of_one_variable(store: Store, spoil: object) -> None:
    store.write(SETS, sets(), command="ingest")
    spoil(store.path / SETS / "remark" / "zarr.json")  # type: ignore[operator]
    assert "remark" in store.verify()[0].what
    assert "remark" in store.describe(SETS)["variables"]


def test_a_node_replaced_by_the_same_while_it_is_read_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(SETS, sets(), command="ingest")
    load, times = store._load, []

    def loses_a_race(node: str) -> tuple[xr.Dataset, str]:
        times.append(node)
        if len(times) > 1:
            return load(node)
        store.write(SETS, sets(), command="ingest", replace=True)
        raise StoreError("a file has gone", fix="-")

    monkeypatch.setattr(store, "_load", loses_a_race)
    assert store.read(SETS).sizes["row"] == 3
