"""`batterykit train` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--model", "oracle"), 2, "oracle"),
        (("--expt", "7"), 2, "there is no such experiment"),
        (("--expt", "3"), 2, "expt3 is not in the store"),
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
