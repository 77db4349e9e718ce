"""`batterykit twin`: says that its data are synthetic, reports in JSON, refuses foreign folders."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.run import batterykit

QUICK = ("--cells", 2, "--expt", 4, "--sampling", 600)


def test_it_writes_the_cells_says_they_are_synthetic_and_what_to_run_next(tmp_path: Path) -> None:
    done = batterykit("twin", "--out", "made", *QUICK, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "nothing here was measured" in done.stderr
    assert "batterykit ingest --expt 4 --source" in done.stderr
    assert len(list((tmp_path / "made").rglob("*discharge data.csv"))) == 20


def test_json_prints_one_object_and_nothing_else(tmp_path: Path) -> None:
    done = batterykit("twin", "--out", "made", *QUICK, "--json", cwd=tmp_path)

    told = json.loads(done.stdout)
    assert told["synthetic"] is True
    assert told["cells"] == ["E4-A", "E4-B"]
    assert (told["curves"], told["files"]) == (20, 26)
    assert 0.6 < told["soh_at_end"]["E4-A"] < 0.9
    assert done.stderr == ""


def test_gitt_curves_are_written_on_demand_and_counted(tmp_path: Path) -> None:
    done = batterykit("twin", "--out", "made", *QUICK, "--gitt", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "20 C/10 curves, 20 GITT curves, 46 files" in done.stderr
    assert len(list((tmp_path / "made").rglob("*GITT 0.1C discharge data.csv"))) == 20


def test_a_foreign_folder_is_refused_with_exit_1_and_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("1,2\n")

    done = batterykit("twin", "--out", ".", *QUICK, cwd=tmp_path)

    assert done.returncode == 1
    assert "holds no twin" in done.stderr
    assert "Fix: name a new or empty folder" in done.stderr


def test_a_number_of_cells_that_the_record_does_not_have_is_wrong_use(tmp_path: Path) -> None:
    done = batterykit("twin", "--out", "made", "--cells", 41, cwd=tmp_path)

    assert done.returncode == 2
    assert not (tmp_path / "made").exists()
