"""`batterykit ingest` as a user meets it: what it says, what it refuses, what it survives."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from batterykit.cli.app import main
from batterykit.datasets.ingest import ingest
from batterykit.store import Store
from tests.cli.run import batterykit
from tests.datasets.record import (
    curve_lines,
    curve_path,
    cycles_path,
    sets_path,
    summary_lines,
    summary_path,
    write,
    write_record,
)

CURVES = "raw/expt5/curves/0.1C"


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process (a process of its own takes a second to start)."""
    monkeypatch.chdir(tmp_path)
    for name in ("STORE", "DATA", "RUNS"):
        monkeypatch.delenv(f"BATTERYKIT_{name}", raising=False)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["batterykit", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_record(tmp_path / "Raw Data")


# -- what it says ----------------------------------------------------------------------------


def test_it_works_without_options_and_says_what_to_run_next(source: Path, run: Run) -> None:
    done = run("ingest")
    assert done.code == 0
    assert "raw/expt5/summary" in done.out
    assert "summary: 6 of 8 missing: E5-C" in done.err
    assert "Next: batterykit features" in done.err
    assert Store.open(source.parent / "batterykit.zarr").verify() == []


def test_the_same_again_says_that_nothing_changed(source: Path, run: Run) -> None:
    run("ingest", "--expt", 5)
    done = run("ingest", "--expt", 5)
    assert (done.code, done.out) == (0, "")
    assert "Nothing changed: the store has all 14 files as they are, none read." in done.err


def test_a_change_is_named(source: Path, run: Run) -> None:
    run("ingest")
    write(curve_path(source, "B", 2), curve_lines(50, capacity=4704))
    curve_path(source, "A", 0).unlink()
    done = run("ingest")
    assert f"{CURVES}: changed E5-B RPT2 0.1C discharge" in done.err
    assert f"{CURVES}: no longer in the source, kept in the store: E5-A RPT0" in done.err


def test_flags_are_summarised(source: Path, run: Run) -> None:
    write(curve_path(source, "A", 1), curve_lines(capacity=4700))
    done = run("ingest")
    assert f"{CURVES}: flag capacity_differs: 1 (E5-A RPT1 0.1C discharge)" in done.err


def test_json_is_one_object_on_stdout_and_nothing_on_stderr(source: Path, run: Run) -> None:
    done = run("ingest", "--expt", "all", "--json")
    told = json.loads(done.out)
    assert done.err == ""
    assert told["changed"] is True
    nodes = {node["node"]: node for node in told["experiments"][0]["nodes"]}
    assert nodes[CURVES]["read"] == 8
    assert json.loads(run("ingest", "--json").out)["changed"] is False


def test_quiet_says_nothing_on_stderr(source: Path, run: Run) -> None:
    assert run("ingest", "-q").err == ""


def test_source_may_come_from_the_environment(
    source: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = source.rename(source.with_name("elsewhere"))
    monkeypatch.setenv("BATTERYKIT_DATA", str(moved))
    assert run("ingest").code == 0


def test_a_file_with_a_strange_name_is_warned_about(source: Path, run: Run) -> None:
    write(summary_path(source).with_name("notes.csv"), ["rubbish"])
    assert "notes.csv" in run("ingest", "--json").err


def test_experiment_2_may_be_written_as_in_the_record(run: Run, tmp_path: Path) -> None:
    name = "Expt 2,2 - cell C (25degC) - Processed Data.csv"
    write(tmp_path / "Raw Data/Expt 2,2 - x/Summary Data/Performance Summary" / name,
          summary_lines())  # fmt: skip
    assert run("ingest", "--expt", "2,2").code == 0
    assert Store.open(tmp_path / "batterykit.zarr").nodes() == ["raw/expt2/summary"]


def test_an_unknown_experiment_is_wrong_use(run: Run) -> None:
    done = run("ingest", "--expt", 6)
    assert done.code == 2
    assert "number from 1 to 5" in done.err


# -- what it refuses: file, column, remedy, exit 1 -------------------------------------------


def header(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def value(path: Path, line: int, column: str, new: str) -> None:
    lines = path.read_text().splitlines()
    parts = lines[line - 1].split(",")
    parts[lines[0].split(",").index(column)] = new
    lines[line - 1] = ",".join(parts)
    write(path, lines)


def scale(path: Path, column: str, factor: float) -> None:
    lines = path.read_text().splitlines()
    index = lines[0].split(",").index(column)
    for line in range(1, len(lines)):
        parts = lines[line].split(",")
        parts[index] = str(float(parts[index]) * factor) if parts[index] else ""
        lines[line] = ",".join(parts)
    write(path, lines)


def drop_column(path: Path) -> None:
    write(path, [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()])


def edit_lines(path: Path, edit: Callable[[list[str]], list[str]]) -> None:
    write(path, edit(path.read_text().splitlines()))


CAPACITY = "C/10 Capacity [mA h]"
BAD: dict[str, tuple[Callable[[Path], None], str | None, int | None, str]] = {
    "a column missing": (drop_column, "RMSE of OCV-fitting [V]", 1, "download"),
    "a column renamed": (
        lambda path: header(path, CAPACITY, "C/10 Cap. [mA h]"), CAPACITY, 1, "rename",
    ),
    "a header in another unit": (
        lambda path: header(path, "Charge Throughput [A h]", "Charge Throughput [mA h]"),
        "Charge Throughput [mA h]", 1, "convert",
    ),
    "values in mAh under a header in Ah": (
        lambda path: scale(path, "Charge Throughput [A h]", 1000.0),
        "Charge Throughput [A h]", 3, "check the unit",
    ),
    "values in Ah under a header in mAh": (
        lambda path: scale(path, CAPACITY, 0.001), CAPACITY, 2, "check the unit",
    ),
    "text in a number": (lambda path: value(path, 4, CAPACITY, "about 4700"), CAPACITY, 4,
                         "correct"),
    "a last line cut off": (
        lambda path: path.write_text(path.read_text()[:-9]), "Gr_frac", 5, "download",
    ),
    "an empty file": (lambda path: path.write_text(""), None, None, "download"),
    "an RPT twice": (
        lambda path: edit_lines(path, lambda lines: [*lines[:4], lines[3], *lines[4:]]),
        "Ageing Sets", 5, "remove",
    ),
    "an RPT missing in the middle": (
        lambda path: edit_lines(path, lambda lines: [*lines[:3], *lines[4:]]),
        "Ageing Sets", 4, "restore",
    ),
    "a capacity that is missing": (lambda path: value(path, 4, CAPACITY, ""), CAPACITY, 4,
                                   "restore"),
    "another encoding": (
        lambda path: path.write_bytes(path.read_text().encode("latin-1")),
        "Age set av. temperature [°C]", 1, "UTF-8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_summary_is_refused_with(what: str, source: Path, run: Run) -> None:
    spoil, column, row, remedy = BAD[what]
    run("ingest", "-q")
    store = Store.open(source.parent / "batterykit.zarr")
    before = store.read("raw/expt5/summary")
    path = summary_path(source, "B")
    spoil(path)
    done = run("ingest", "--json")
    assert done.code == 1
    error = json.loads(done.out)["error"]
    assert error["file"].endswith(path.name)
    assert (error["column"], error["row"]) == (column, row)
    assert remedy in error["fix"]
    assert path.name in done.err
    assert "Fix: " in done.err
    assert "Traceback" not in done.err
    assert store.read("raw/expt5/summary").identical(before)
    assert store.verify() == []


def test_a_curve_is_refused_with_its_file_column_line_and_remedy(source: Path, run: Run) -> None:
    path = curve_path(source, "A", 2)
    value(path, 17, "Charge (mA.h)", "nan")
    done = run("ingest")
    assert done.code == 1
    assert "RPT2 - 0.1C discharge data.csv, column 'Charge (mA.h)', line 17: the value" in done.err


def test_two_files_for_one_cell_are_refused(source: Path, run: Run) -> None:
    path = summary_path(source)
    shutil.copy(path, path.with_name(f"{path.stem} (1).csv"))
    done = run("ingest")
    assert done.code == 1
    assert "two files for E5-A" in done.err
    assert "Fix: keep the right one" in done.err


def test_a_missing_folder_is_refused(run: Run, tmp_path: Path) -> None:
    done = run("ingest", "--expt", 5, "--source", tmp_path / "nowhere")
    assert done.code == 1
    assert "nowhere: there is no such folder" in done.err
    assert "--source" in done.err
    assert not (tmp_path / "batterykit.zarr").exists()


def test_an_experiment_that_is_not_in_the_folder_is_refused(source: Path, run: Run) -> None:
    done = run("ingest", "--expt", 5, "--expt", 1)
    assert done.code == 1
    assert "experiment 1 is not in this folder (it has: 5)" in done.err
    assert "Expt 1 - ..." in done.err


def test_a_store_of_a_newer_version_is_refused(source: Path, run: Run) -> None:
    run("ingest", "-q")
    metadata = source.parent / "batterykit.zarr/zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["schema_version"] += 1
    metadata.write_text(json.dumps(content))
    done = run("ingest")
    assert done.code == 1
    assert "schema version" in done.err
    assert "upgrade batterykit" in done.err


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_store_path_that_is_not_a_store_is_refused_and_left_alone(
    kind: str, source: Path, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "thesis"
    file = write(path / "chapter1.txt" if kind == "folder" else path, ["years of work"])
    done = run("ingest", "--store", path)
    assert done.code == 1
    assert "not a batterykit store" in done.err
    assert "--store" in done.err
    assert file.read_text() == "years of work\n"
    assert sum(1 for _ in path.rglob("*")) == (kind == "folder")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of its own, of a size and with options to be given."""
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        again = ["remount," + options] if mounted else [options]
        command = ["mount", "-t", "tmpfs", "-o", *again, "tmpfs", str(disk)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("this user may not mount a tmpfs")
        mounted.append(options)
        return disk

    yield mount
    if mounted:
        subprocess.run(["umount", str(disk)], check=True)


def noisy_curve(rows: int, seed: int) -> list[str]:
    """Return the lines of a curve that does not compress well."""
    lines = [line.split(",") for line in curve_lines(rows)]
    noise = np.random.default_rng(seed).normal(scale=0.1, size=rows)
    for parts, extra in zip(lines[1:], noise, strict=True):
        parts[4] = f"{float(parts[4]) + extra:.15f}"
    return [",".join(parts) for parts in lines]


def test_a_full_disk_loses_nothing_and_says_so(
    source: Path, run: Run, small_disk: Callable[[str], Path]
) -> None:
    path = small_disk("size=2m") / "store.zarr"
    assert run("ingest", "-q", "--store", path).code == 0
    before = {node: Store.open(path).read(node) for node in Store.open(path).nodes()}
    for rpt in range(4):
        write(curve_path(source, "A", rpt), noisy_curve(40_000, rpt))
    done = run("ingest", "--store", path)
    assert done.code == 1
    assert "No space left on device" in done.err
    assert "free some space" in done.err
    assert "Traceback" not in done.err
    store = Store.open(path)
    assert store.verify() == []
    for node, dataset in before.items():
        assert store.read(node).identical(dataset)
    small_disk("size=50m")
    assert run("ingest", "-q", "--store", path).code == 0
    assert Store.open(path).read(CURVES)["row_size"].values[:4].tolist() == [40_000] * 4


def test_a_read_only_folder_is_refused(
    source: Path, run: Run, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("size=5m")
    assert run("ingest", "-q", "--store", disk / "store.zarr").code == 0
    small_disk("ro")
    for path in (disk / "store.zarr", disk / "new.zarr"):
        write(curve_path(source), curve_lines(41))
        done = run("ingest", "--store", path)
        assert done.code == 1
        assert "read-only" in done.err
        assert "--store" in done.err
        assert "Traceback" not in done.err
    assert Store.open(disk / "store.zarr").verify() == []


def test_a_source_on_a_read_only_disk_can_be_read(
    source: Path, run: Run, small_disk: Callable[[str], Path]
) -> None:
    shutil.copytree(source, small_disk("size=5m") / "data")
    disk = small_disk("ro")
    assert run("ingest", "-q", "--source", disk / "data").code == 0


# -- what it survives ------------------------------------------------------------------------


def test_two_ingests_at_once_do_not_disturb_each_other(source: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "other", "CD")
    command = [sys.executable, "-m", "batterykit", "ingest", "-q", "--store", "both.zarr"]
    running = [
        subprocess.Popen([*command, "--source", str(folder)], cwd=tmp_path)
        for folder in (source, tmp_path / "other")
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    store = Store.open(tmp_path / "both.zarr")
    assert store.verify() == []
    assert store.read("raw/expt5/summary")["cell"].values.tolist() == [
        "E5-A", "E5-B", "E5-C", "E5-D",
    ]  # fmt: skip


def assert_holds(store: Store, versions: Sequence[dict[str, str]]) -> None:
    """Check that every node is one of the versions it ever had, unharmed."""
    assert store.verify() == []
    for node in store.nodes():
        assert store.attrs(node)["fingerprint"] in [version[node] for version in versions]


def fingerprints(store: Store) -> dict[str, str]:
    return {node: store.attrs(node)["fingerprint"] for node in store.nodes()}


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
def test_killed_at_twenty_random_moments_it_loses_nothing_and_the_rerun_completes(
    tmp_path: Path,
) -> None:
    """Ten kills of a first ingest, ten of an update; half of them while the store is written."""
    old = write_record(tmp_path / "old", "A", rpts=3, rows=2000)
    new = write_record(tmp_path / "new", "A", rpts=3, rows=2001)
    write(summary_path(new), summary_lines(3, capacity=4790))
    write(sets_path(new), ["Age Set", "1", "2"])
    write(cycles_path(new), ["Cycle", "1", "2", "3"])
    good = Store.open_or_create(tmp_path / "good.zarr")
    versions = []
    for source in (old, new):
        ingest(good, source)
        versions.append(fingerprints(good))
    ready = tmp_path / "ready.zarr"
    ingest(Store.open_or_create(ready), old)
    chance = random.Random(1)
    cut = 0
    for kill in range(20):
        path = tmp_path / f"{kill}.zarr"
        source, allowed = (old, versions[:1])
        if kill % 2:
            shutil.copytree(ready, path)
            source, allowed = (new, versions)
        cut += killed(source, path, chance, while_writing=kill % 4 < 2)
        if path.exists() and (path / "zarr.json").exists():
            assert_holds(Store.open(path), allowed)
        store = Store.open_or_create(path)
        ingest(store, source)
        assert fingerprints(store) == allowed[-1]
        assert store.verify() == []
        assert not ingest(store, source).changed
    assert cut >= 10  # the others had ended before


def killed(source: Path, path: Path, chance: random.Random, *, while_writing: bool) -> bool:
    """Run an ingest and kill it; return whether it was still running."""
    command = [sys.executable, "-m", "batterykit", "ingest", "-q"]
    process = subprocess.Popen(
        [*command, "--source", str(source), "--store", str(path)],
        cwd=path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    staging = path / ".batterykit" / "staging"
    if while_writing:
        while process.poll() is None and not (staging.exists() and any(staging.iterdir())):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.15))
    else:
        time.sleep(chance.uniform(0, 1.0))
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    return running


def test_help_shows_an_example(tmp_path: Path) -> None:
    done = batterykit("ingest", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "batterykit ingest --expt 5" in done.stdout
