"""`batterykit train` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batterykit.learning.runs import list_runs
from batterykit.store import Store
from tests.cli.run import batterykit
from tests.learning.cells import made_raw, store_of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of five made-up cells."""
    folder = tmp_path_factory.mktemp("place")
    store_of(folder / "batterykit.zarr", made_raw(cells=5, rpts=5))
    return folder


def test_train_works_after_ingest_and_says_what_it_did_and_what_to_run_next(place: Path) -> None:
    done = batterykit("train", "--model", "ridge", "--split", "loco", cwd=place)
    assert done.returncode == 0, done.stderr
    for text in ("MAE [pp]", "skill against mean_trajectory", "E5-C", "chamber [degC]", "RMSE"):
        assert text in done.stdout
    assert "RPT0 is not scored" in done.stderr
    assert "ICA features are left out" in done.stderr
    assert "Next: batterykit runs" in done.stderr
    (folder,) = (place / "runs").glob("*-ridge-loco-estimate-soh")
    assert (folder / "trajectories.png").stat().st_size > 10_000
    assert (folder / "predicted-measured.png").stat().st_size > 10_000


def test_with_json_there_is_one_object_on_stdout_and_no_message(place: Path) -> None:
    done = batterykit(
        *("train", "--model", "dummy", "--task", "forecast", "--context", 2, "--json"), cwd=place
    )
    answer = json.loads(done.stdout)
    assert done.stderr == ""
    assert answer["manifest"]["context"] == 2
    assert answer["metrics"]["overall"]["rows"] == 5 * 3
    assert Path(place / answer["folder"]).is_dir()


def test_the_ode_is_the_default_and_two_runs_with_one_seed_agree_to_the_last_digit(
    tmp_path: Path,
) -> None:
    store_of(tmp_path / "batterykit.zarr", made_raw(cells=3, rpts=3))
    scores = []
    for _ in range(2):
        done = batterykit("train", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["manifest"]["model"] == "ode"
        scores.append(answer["metrics"])
    assert scores[0] == scores[1]


def test_processes_of_a_killed_training_end_and_nothing_half_made_is_listed(
    tmp_path: Path,
) -> None:
    store_of(tmp_path / "batterykit.zarr", made_raw(cells=6, rpts=6))
    code = (
        "from pathlib import Path\n"
        "from batterykit.learning.runs import train\n"
        "from batterykit.store import Store\n"
        "if __name__ == '__main__':\n"
        "    train(Store.open(Path('batterykit.zarr')), Path('runs'), model='ode', jobs=2)\n"
    )
    (tmp_path / "job.py").write_text(code)
    with subprocess.Popen([sys.executable, "job.py"], cwd=tmp_path, process_group=0) as job:
        until(lambda: list(tmp_path.glob("runs/.*/models/*")))
        job.kill()
    until(lambda: not group_is_alive(job.pid))
    assert list_runs(tmp_path / "runs") == ([], [])
    assert not Store.open(tmp_path / "batterykit.zarr").nodes("runs/")


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def group_is_alive(group: int) -> bool:
    """Return whether a process of the group is left; the dead of it may wait to be reaped."""
    lines = subprocess.run(
        ["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return any(int(line.split()[0]) == group and "Z" not in line.split()[1] for line in lines)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--model", "oracle"), 2, "oracle"),
        (("--model", "ode", "--device", "cuda"), 2, "has no CUDA"),
        (("--expt", "7"), 2, "there is no such experiment"),
        (("--expt", "3"), 2, "expt3 is not in the store"),
        (("--context", "4"), 2, "--context has no meaning for --task estimate"),
        (("--task", "forecast", "--context", "5"), 2, "no check-up after the first 5"),
        (("--store", "elsewhere.zarr"), 1, "there is no store here"),
    ],
)
def test_wrong_use_is_told_with_its_remedy(
    place: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    done = batterykit("train", "--model", "dummy", *options, cwd=place)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
