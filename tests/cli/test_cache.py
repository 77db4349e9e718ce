"""`batterykit cache`, as a user meets it, and what the cache bears: damage, company, kills."""

from __future__ import annotations

import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import batterykit as package
from batterykit.features.build import refresh
from batterykit.features.inventory import feature_nodes, look_for_damage
from batterykit.features.kinds import Kind
from batterykit.store import Store
from tests.cli.run import batterykit
from tests.datasets.record import curve_path, write_record
from tests.features.data import curves, discharge, raw_summary

CURVE = "E5-A RPT01 discharge 0.1C"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store: two cells' summaries, four curves; no features yet."""
    store = Store.open_or_create(tmp_path / "batterykit.zarr")
    store.write("raw/expt5/summary", raw_summary(), command="test")
    pairs = [discharge(samples=600, noise=2e-4, seed=k) for k in range(4)]
    store.write(
        "raw/expt5/curves/0.1C",
        curves(pairs, ["E5-A", "E5-A", "E5-B", "E5-B"], [0, 1, 0, 1]),
        command="test",
    )
    return tmp_path


def opened(folder: Path) -> Store:
    return Store.open(folder / "batterykit.zarr")


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = batterykit(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def told(*arguments: object, cwd: Path) -> dict[str, Any]:
    done = run(*arguments, "--json", cwd=cwd)
    assert done.stderr == ""
    return json.loads(done.stdout)


def the_files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip_a_bit(file: Path, seed: int) -> None:
    data = bytearray(file.read_bytes())
    chance = random.Random(seed)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


# -- info ----------------------------------------------------------------------------------------


def test_info_lists_what_is_kept_with_parameters_rows_and_state(folder: Path) -> None:
    assert "Next: batterykit features ica" in run("cache", "info", cwd=folder).stderr
    run("features", "summary", cwd=folder)
    run("features", "summary", "--activation-energy", "50000", cwd=folder)
    text = run("cache", "info", cwd=folder).stdout
    assert "2 sets of features" in text
    assert "activation_energy 50000.0" in text
    assert text.count("2 computed, 0 reused  current") == 2
    listed = told("cache", "info", cwd=folder)
    assert [node["rows"] for node in listed["nodes"]] == [2, 2]
    assert listed["bytes"] == sum(
        file.stat().st_size for file in the_files_of(folder / "batterykit.zarr/features/summary")
        if file.parent.name != "summary"
    )  # fmt: skip


def test_quiet_shows_the_result_and_nothing_else(folder: Path) -> None:
    run("features", "summary", cwd=folder)
    for command in ("info", "why", "verify"):
        done = run("cache", command, "-q", cwd=folder)
        assert (done.stdout != "", done.stderr) == (True, "")


def test_looking_imports_nothing_heavy(folder: Path) -> None:
    run("features", "summary", cwd=folder)
    script = (
        "import sys; from batterykit.cli.app import app\n"
        "for command in ('info', 'why'):\n"
        "    app(['cache', command, '--json'], standalone_mode=False)\n"
        "print([m for m in ('numba', 'xarray', 'zarr', 'pandas', 'matplotlib', 'scipy') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


# -- why -----------------------------------------------------------------------------------------


def test_one_value_edited_in_a_csv_file_is_traced_to_its_curve(tmp_path: Path) -> None:
    source = write_record(tmp_path / "Raw Data", rpts=2, rows=400)
    run("ingest", "--expt", "5", cwd=tmp_path)
    run("features", "ica", cwd=tmp_path)
    file = curve_path(source, "A", rpt=1)
    file.touch()
    run("ingest", "--expt", "5", cwd=tmp_path)
    text = run("cache", "why", "ica", cwd=tmp_path).stdout
    assert "nothing changed: the next run reuses all 4 rows" in text
    lines = file.read_text().splitlines()
    moment, voltage, *rest = lines[200].split(",")
    lines[200] = ",".join([moment, f"{float(voltage) + 1e-3:.6f}", *rest])
    file.write_text("\n".join(lines) + "\n")
    run("ingest", "--expt", "5", cwd=tmp_path)
    (said,) = told("cache", "why", cwd=tmp_path)["nodes"]
    sentences = [change["said"] for change in said["changes"]]
    assert sentences == [
        "input raw/expt5/curves/0.1C: changed",
        f"{CURVE}: its voltage changed",
    ]
    done = told("features", "ica", cwd=tmp_path)
    assert said["compute"] == done["computed"] == [CURVE]
    assert said["reuse"] == done["reused"] == 3


def test_an_edited_constant_of_the_code_is_named_and_its_dependents_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = folder / "source" / "batterykit"
    shutil.copytree(
        Path(package.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    run("features", "summary", cwd=folder)
    run("features", "sequence", cwd=folder)
    file = copy / "features" / "summary.py"
    text = file.read_text()
    assert "= 8.314462618" in text
    file.write_text(text.replace("= 8.314462618", "= 8.3145"))
    sequence, summary = told("cache", "why", cwd=folder)["nodes"]
    assert sequence["changes"] == []
    assert [change["said"] for change in summary["changes"]] == [
        "code batterykit.features.summary:GAS_CONSTANT: changed"
    ]
    assert told("features", "summary", cwd=folder)["computed"] == summary["compute"]
    assert told("features", "sequence", cwd=folder)["computed"] == sequence["compute"] == []


def test_other_parameters_are_named_with_their_old_and_new_values(folder: Path) -> None:
    made = told("features", "ica", "--kernel-width", "0.01", cwd=folder)
    text = run("cache", "why", "ica", cwd=folder).stdout
    assert f"other parameters than {made['node']}" in text
    assert "parameter kernel_width: 0.01 -> none" in text
    assert "computes 4 rows, reuses 0, drops 0" in text
    digest = made["node"].rpartition("/")[2]
    assert "reuses all 4 rows" in run("cache", "why", digest, cwd=folder).stdout


def test_a_name_that_fits_nothing_is_wrong_use(folder: Path) -> None:
    run("features", "summary", cwd=folder)
    for command in ("why", "clear"):
        done = batterykit("cache", command, "raw/expt5/summary", "--json", cwd=folder)
        assert (done.returncode, json.loads(done.stdout)["error"]["type"]) == (2, "UsageError")
    assert opened(folder).has("raw/expt5/summary")


# -- clear ---------------------------------------------------------------------------------------


def test_clear_removes_what_is_named_only_when_told_and_says_what_it_freed(folder: Path) -> None:
    run("features", "summary", cwd=folder)
    run("features", "sequence", cwd=folder)
    for option in ([], ["--json"]):
        refused = batterykit("cache", "clear", "summary", *option, cwd=folder)
        assert (refused.returncode, "--force" in refused.stderr) == (2, True)
    assert len(feature_nodes(opened(folder))) == 2
    done = run("cache", "clear", "summary", "--force", cwd=folder)
    assert "MB freed" in done.stderr
    (left,) = feature_nodes(opened(folder))
    assert told("cache", "clear", "--yes", cwd=folder)["removed"] == [left]
    assert opened(folder).nodes() == ["raw/expt5/curves/0.1C", "raw/expt5/summary"]
    assert opened(folder).verify() == []
    assert told("features", "summary", cwd=folder)["computed"] == ["E5-A", "E5-B"]


def test_clear_leaves_the_predictions_of_runs_readable(folder: Path) -> None:
    predictions = xr.Dataset(
        {
            name: (("fold", "cell", "rpt"), np.zeros((1, 1, 2)), {"units": "1"})
            for name in ("y_true", "y_pred", "lower", "upper")
        },
        coords={
            "fold": ("fold", np.array(["E5-A"], dtype=object)),
            "cell": ("cell", np.array(["E5-A"], dtype=object)),
            "rpt": ("rpt", np.arange(2)),
        },
    )
    store = opened(folder)
    store.write("runs/one/predictions", predictions, command="test")
    run("features", "summary", cwd=folder)
    run("cache", "clear", "--force", cwd=folder)
    assert store.read("runs/one/predictions").equals(predictions)


def test_clear_stale_leaves_what_is_current(folder: Path) -> None:
    run("features", "summary", cwd=folder)
    run("features", "ica", cwd=folder)
    opened(folder).write("raw/expt5/summary", raw_summary(n_rpt=[3, 4]), command="t", replace=True)
    removed = told("cache", "clear", "--stale", "--force", cwd=folder)["removed"]
    assert [node.split("/")[1] for node in removed] == ["summary"]
    assert "nothing to remove" in run("cache", "clear", "--stale", cwd=folder).stderr


@pytest.mark.parametrize(("answer", "status", "left"), [("n", 1, 1), ("y", 0, 0)])
def test_on_a_terminal_clear_asks(folder: Path, answer: str, status: int, left: int) -> None:
    run("features", "summary", cwd=folder)
    master, slave = pty.openpty()
    os.write(master, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "batterykit", "cache", "clear"],
        cwd=folder,
        stdin=slave,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    for end in (master, slave):
        os.close(end)
    assert "Remove features/summary/" in done.stderr
    assert done.returncode == status
    assert len(feature_nodes(opened(folder))) == left


# -- damage --------------------------------------------------------------------------------------


def test_verify_exits_1_and_names_the_file_and_the_run_that_mends_it(folder: Path) -> None:
    node = told("features", "sequence", "--clock", "throughput", cwd=folder)["node"]
    assert (
        "all 1 sets of features are as they were written"
        in run("cache", "verify", cwd=folder).stdout
    )
    flip_a_bit(folder / "batterykit.zarr" / node / "time" / "zarr.json", seed=1)
    found = batterykit("cache", "verify", cwd=folder)
    assert found.returncode == 1
    assert "time/zarr.json (changed)" in found.stdout
    assert "batterykit features sequence --clock throughput" in found.stdout
    found = batterykit("cache", "verify", "--json", cwd=folder)
    (damaged,) = json.loads(found.stdout)["damaged"]
    assert (damaged["node"], damaged["files"]) == (node, {"time/zarr.json": "changed"})
    assert told("cache", "info", cwd=folder)["nodes"][0]["state"] == "damaged"
    mended = run("features", "sequence", "--clock", "throughput", cwd=folder)
    assert "was damaged and is computed again (not as written: time/zarr.json)" in mended.stderr
    assert batterykit("cache", "verify", cwd=folder).returncode == 0


@pytest.mark.parametrize("kind", ["sequence", pytest.param("ica", marks=pytest.mark.slow)])
def test_a_flipped_bit_in_any_file_leaves_no_trace_in_the_next_result(
    folder: Path, kind: Kind
) -> None:
    store = opened(folder)
    node = refresh(store, kind).node
    fresh = store.read(node)
    place = store.path / node
    files = [file.relative_to(place) for file in the_files_of(place)]
    for seed, file in enumerate(files if kind == "ica" else [files[-1], *files[::4]]):
        flip_a_bit(place / file, seed)
        found = look_for_damage(store, node)
        assert found is not None
        assert found.files == {str(file): "changed"}
        built = refresh(store, kind)
        assert str(file) in (built.damaged or "")
        assert len(built.computed) == built.rows
        assert store.read(node).identical(fresh), file
    assert store.verify() == []


# -- company -------------------------------------------------------------------------------------


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "batterykit", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def the_log_is_whole(store: Store) -> bool:
    text = (store.path / ".batterykit" / "log.jsonl").read_text()
    return len(store.log()) == len(text.splitlines())


@pytest.mark.slow
def test_four_runs_at_once_share_the_cache(folder: Path) -> None:
    alone = folder / "alone"
    shutil.copytree(folder / "batterykit.zarr", alone / "batterykit.zarr")
    other = ("--kernel-width", "0.01")
    for options in ((), other):
        run("features", "ica", *options, cwd=alone)
    for _ in range(3):
        commands = [("features", "ica", "--json", *o) for o in ((), (), other, other)]
        processes = [start(*command, cwd=folder) for command in commands]
        outputs = [process.communicate(timeout=300) for process in processes]
        assert [process.returncode for process in processes] == [0] * 4, outputs
        computed = [len(json.loads(said)["computed"]) for said, _ in outputs]
        assert sorted(computed[:2]) == sorted(computed[2:]) == [0, 4]  # one works, one waits
        store = opened(folder)
        assert store.verify() == []
        assert run("cache", "verify", cwd=folder).returncode == 0
        for node in feature_nodes(opened(alone)):
            assert store.read(node).equals(opened(alone).read(node))
        assert the_log_is_whole(store)
        run("cache", "clear", "--force", cwd=folder)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_does_not_disturb_another(folder: Path) -> None:
    alone = folder / "alone"
    shutil.copytree(folder / "batterykit.zarr", alone / "batterykit.zarr")
    began = time.monotonic()
    node = told("features", "ica", cwd=alone)["node"]
    takes = time.monotonic() - began
    expected = opened(alone).read(node)
    chance = random.Random(0)
    for _ in range(10):
        killed, survivor = (start("features", "ica", "--json", cwd=folder) for _ in range(2))
        time.sleep(chance.uniform(0.3, 1.2) * takes)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=300)
        _, said = survivor.communicate(timeout=300)
        assert survivor.returncode == 0, said
        store = opened(folder)
        assert store.read(node).equals(expected)
        assert store.verify() == []
        assert the_log_is_whole(store)
        assert told("features", "ica", cwd=folder)["computed"] == []
        run("cache", "clear", "--force", cwd=folder)
