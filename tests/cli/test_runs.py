"""`batterykit runs list|show|compare` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batterykit.learning.runs import train
from tests.cli.run import batterykit
from tests.learning.cells import made_raw, store_of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs, the last of another target."""
    folder = tmp_path_factory.mktemp("place")
    store = store_of(folder / "batterykit.zarr", made_raw(cells=4, rpts=5))
    for model, target in (("dummy", "soh"), ("ridge", "soh"), ("mean_trajectory", "lli")):
        train(store, folder / "runs", model=model, target=target)
    return folder


def names(place: Path) -> dict[str, str]:
    return {path.name.split("-")[2]: path.name for path in (place / "runs").iterdir()}


def test_list_shows_every_run_with_its_score(place: Path) -> None:
    done = batterykit("runs", "list", cwd=place)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in names(place).values())
    answer = json.loads(batterykit("runs", "list", "--json", cwd=place).stdout)
    assert {run["run_id"] for run in answer["runs"]} == set(names(place).values())
    assert all(run["mae"] > 0 for run in answer["runs"])


def test_a_run_without_skill_is_shown_too(tmp_path: Path) -> None:
    raw = made_raw(cells=4, rpts=4)
    raw["lam_pe"][:] = 0.0
    store = store_of(tmp_path / "batterykit.zarr", raw)
    for _ in range(2):
        train(store, tmp_path / "runs", model="mean_trajectory", target="lam_pe")
    both = [path.name for path in (tmp_path / "runs").iterdir()]
    for arguments in (("list",), ("show", both[0]), ("compare", *both)):
        done = batterykit("runs", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "-" in done.stdout


def test_list_without_runs_says_what_to_run(tmp_path: Path) -> None:
    done = batterykit("runs", "list", cwd=tmp_path)
    assert done.returncode == 0
    assert "0 runs" in done.stdout
    assert "batterykit train" in done.stderr


def test_show_tells_scores_cells_and_what_each_fold_chose(place: Path) -> None:
    done = batterykit("runs", "show", names(place)["ridge"], cwd=place)
    assert done.returncode == 0, done.stderr
    for text in ("MAE [pp]", "E5-D", "What the inner folds chose", "alpha"):
        assert text in done.stdout
    answer = json.loads(batterykit("runs", "show", "latest", "--json", cwd=place).stdout)
    assert answer["run_id"] == sorted(names(place).values())[-1]


def test_compare_puts_the_best_first(place: Path) -> None:
    chosen = names(place)
    done = batterykit("runs", "compare", chosen["dummy"], chosen["ridge"], cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index(chosen["ridge"]) < done.stdout.index(chosen["dummy"])
    assert "Warning" not in done.stderr


def test_compare_warns_where_runs_answer_different_questions(place: Path) -> None:
    chosen = names(place)
    done = batterykit("runs", "compare", chosen["dummy"], chosen["mean_trajectory"], cwd=place)
    assert done.returncode == 0
    assert "differ in target" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nothing"), "there is no run 'nothing'"),
        (("show", "2"), "runs begin with '2'"),
        (("compare", "latest"), "name two runs or more"),
    ],
)
def test_names_that_do_not_fit_exit_2_with_a_remedy(
    place: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = batterykit("runs", *arguments, cwd=place)
    assert done.returncode == 2
    assert message in done.stderr
