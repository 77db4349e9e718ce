"""`batterykit store`: one object on stdout with --json, a table without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batterykit.store import Store
from tests.cli.run import batterykit
from tests.store.datasets import curves, sets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = Store.open_or_create(tmp_path / "batterykit.zarr")
    store.write("raw/expt5/curves/0.1C", curves(), command="ingest", note="2 curves")
    store.write("raw/expt5/sets", sets(), command="ingest", note="2 cells")
    return tmp_path


def test_info_lists_every_dataset(folder: Path) -> None:
    text = batterykit("store", "info", cwd=folder)
    assert "raw/expt5/curves/0.1C" in text.stdout
    assert "curve 2, sample 200" in text.stdout
    told = json.loads(batterykit("store", "info", "--json", cwd=folder).stdout)
    assert [node["node"] for node in told["nodes"]] == ["raw/expt5/curves/0.1C", "raw/expt5/sets"]


def test_log_says_who_wrote_what(folder: Path) -> None:
    told = json.loads(batterykit("store", "log", "--last", 1, "--json", cwd=folder).stdout)
    assert [(e["command"], e["note"]) for e in told["log"]] == [("ingest", "2 cells")]


def test_verify_exits_0_when_whole_and_1_when_a_byte_is_flipped(folder: Path) -> None:
    whole = batterykit("store", "verify", cwd=folder)
    assert (whole.returncode, "all 2 datasets" in whole.stdout) == (0, True)
    chunk = folder / "batterykit.zarr/raw/expt5/curves/0.1C/voltage/c/0"
    damaged = bytearray(chunk.read_bytes())
    damaged[-1] ^= 1
    chunk.write_bytes(damaged)
    found = batterykit("store", "verify", "--json", cwd=folder)
    assert found.returncode == 1
    assert [p["node"] for p in json.loads(found.stdout)["problems"]] == ["raw/expt5/curves/0.1C"]


def test_export_takes_the_format_from_the_ending(folder: Path) -> None:
    done = batterykit("store", "export", "raw/expt5/sets", "--to", "sets.csv", cwd=folder)
    assert done.returncode == 0
    assert "cycler restarted" in (folder / "sets.csv").read_text()
    again = batterykit("store", "export", "raw/expt5/sets", "--to", "sets.csv", cwd=folder)
    assert (again.returncode, "--force" in again.stderr) == (2, True)


def test_a_damaged_dataset_is_removed_only_by_force(folder: Path) -> None:
    node = "raw/expt5/curves/0.1C"
    (folder / "batterykit.zarr" / node / "zarr.json").write_text("not JSON")
    asked = batterykit("store", "remove", node, cwd=folder)
    assert (asked.returncode, "--force" in asked.stderr) == (2, True)
    assert batterykit("store", "verify", "-q", cwd=folder).returncode == 1
    done = batterykit("store", "remove", node, "--force", "--json", cwd=folder)
    assert json.loads(done.stdout)["removed"] == [node]
    assert batterykit("store", "verify", "-q", cwd=folder).returncode == 0
    assert Store.open(folder / "batterykit.zarr").nodes() == ["raw/expt5/sets"]
    again = batterykit("store", "remove", node, "--force", cwd=folder)
    assert (again.returncode, "no dataset" in again.stderr) == (2, True)


def test_quiet_and_json_keep_stderr_empty(folder: Path) -> None:
    for option in ("-q", "--json"):
        assert batterykit("store", "verify", option, cwd=folder).stderr == ""
