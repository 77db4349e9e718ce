"""Runs: complete folders, complete manifests, names that can be found again."""

from __future__ import annotations

import errno
import json
import sys
from datetime import tzinfo
from pathlib import Path

import numpy as np
import pytest

from batterykit.errors import BatterykitError, StoreError, UsageError
from batterykit.learning import runs as runs_module
from batterykit.learning.models import model_class
from batterykit.learning.models.dummy import Dummy
from batterykit.learning.runs import Run, differences, find_run, list_runs, read_run, train
from batterykit.learning.tasks import load_task
from batterykit.store import Store
from tests.learning.cells import made_raw, store_of

Trained = tuple[Store, Path, list[Run]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A store with two runs on it."""
    folder = tmp_path_factory.mktemp("trained")
    store = store_of(folder / "s.zarr", made_raw(cells=5))
    made = [
        train(store, folder / "runs", model="ridge")[0],
        train(store, folder / "runs", model="lgbm", split="temperature", target="lli")[0],
    ]
    return store, folder / "runs", made


def test_a_run_leaves_manifest_metrics_history_and_a_model_for_each_fold(trained: Trained) -> None:
    _, _, (run, _) = trained
    assert {path.name for path in run.folder.iterdir()} == {
        "manifest.json",
        "metrics.json",
        "history.jsonl",
        "models",
    }
    folds = [path.name for path in sorted((run.folder / "models").iterdir())]
    assert folds == [fold["name"] for fold in run.manifest["folds"]]
    lines = (run.folder / "history.jsonl").read_text().splitlines()
    assert {json.loads(line)["fold"] for line in lines} == set(folds)


def test_the_manifest_says_what_was_used(trained: Trained) -> None:
    store, _, (run, _) = trained
    manifest = run.manifest
    for node, fingerprint in manifest["data"].items():
        assert store.attrs(node)["fingerprint"] == fingerprint
    assert manifest["seed"] == 0
    assert manifest["packages"]["numpy"] == np.__version__
    assert manifest["python"] == ".".join(map(str, sys.version_info[:3]))
    assert manifest["device"] == "cpu"
    for part in ("task", "evaluate", "report", "model"):
        assert len(manifest["code"][part]) == 32
    assert len(manifest["seconds"]["by_fold"]) == 5
    assert all(set(fold["train"]) & set(fold["test"]) == set() for fold in manifest["folds"])


def test_predictions_are_in_the_store_with_the_manifest(trained: Trained) -> None:
    store, _, (run, _) = trained
    predictions = store.read(f"runs/{run.run_id}/predictions")
    assert json.loads(predictions.attrs["manifest"]) == run.manifest
    error = np.abs(predictions["y_pred"] - predictions["y_true"]).values
    assert np.nanmean(error) == pytest.approx(run.metrics["overall"]["mae"])
    assert not store.verify()


def test_the_saved_model_of_a_fold_gives_the_stored_predictions(trained: Trained) -> None:
    store, _, (run, _) = trained
    data = load_task(store).data
    stored = store.read(f"runs/{run.run_id}/predictions")["y_pred"].values
    for number, fold in enumerate(run.manifest["folds"]):
        model = model_class("ridge").load(run.folder / "models" / fold["name"])
        cells = [data.cells.index(cell) for cell in fold["test"]]
        np.testing.assert_array_equal(model.predict(data.take(cells)), stored[number, cells])


def test_runs_are_listed_oldest_first_and_found_by_name_start_or_latest(trained: Trained) -> None:
    _, folder, (first, second) = trained
    found, problems = list_runs(folder)
    assert {run.run_id for run in found} == {first.run_id, second.run_id}
    assert problems == []
    assert find_run(folder, first.run_id).run_id == first.run_id
    assert find_run(folder, "latest").run_id == found[-1].run_id
    assert find_run(folder, second.run_id[:-2]).run_id == second.run_id


def test_names_that_fit_no_run_or_several_are_refused(trained: Trained, tmp_path: Path) -> None:
    _, folder, _ = trained
    with pytest.raises(UsageError, match="2 runs begin with '2'"):
        find_run(folder, "2")
    with pytest.raises(UsageError, match="no run 'x'"):
        find_run(folder, "x")
    with pytest.raises(UsageError, match="there are no runs"):
        find_run(tmp_path / "none", "latest")


def test_runs_of_different_questions_are_told_apart(trained: Trained) -> None:
    _, _, (first, second) = trained
    assert differences([first, first]) == []
    assert differences([first, second]) == [
        "the runs differ in target",
        "the runs differ in split",
    ]
    other = Run(first.folder, {**first.manifest, "data": {"raw/expt5/summary": "x"}}, first.metrics)
    assert differences([first, other]) == ["the runs were made on different data"]


def test_two_runs_in_one_second_get_two_names(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder, _ = trained

    class Still(runs_module.datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Still:
            return cls(2031, 5, 6, 7, 8, 9, tzinfo=tz)

    monkeypatch.setattr(runs_module, "datetime", Still)
    folders = (folder, folder, folder.parent / "other runs of this store")
    names = [train(store, place, model="dummy")[0].run_id for place in folders]
    assert names[1:] == [f"{names[0]}-2", f"{names[0]}-3"]
    assert names[0] == "20310506-070809-dummy-loco-estimate-soh"


def test_a_run_that_fails_leaves_nothing_behind(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, _ = trained
    before = store.nodes("runs/")

    def fail(*_: object) -> None:
        raise BatterykitError("it broke", fix="nothing")

    monkeypatch.setattr(runs_module, "report", fail)
    with pytest.raises(BatterykitError, match="it broke"):
        train(store, tmp_path / "runs", model="dummy")
    assert list((tmp_path / "runs").iterdir()) == []
    assert store.nodes("runs/") == before


def test_a_damaged_run_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.zarr", made_raw(cells=3, rpts=4))
    run, _ = train(store, tmp_path / "runs", model="dummy")
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    found, problems = list_runs(tmp_path / "runs")
    assert [one.run_id for one in found] == [run.run_id]
    assert len(problems) == 1
    assert "broken" in problems[0]
    with pytest.raises(StoreError, match="not the folder of a run"):
        read_run(broken)


@pytest.mark.parametrize("content", ["{}", "[]", "null", '"text"'])
def test_json_that_is_no_run_is_named_and_the_others_are_listed(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / "foreign").mkdir()
    for name in ("manifest.json", "metrics.json"):
        (tmp_path / "foreign" / name).write_text(content)
    found, problems = list_runs(tmp_path)
    assert found == []
    assert "foreign" in problems[0]


def test_a_run_that_the_store_refuses_is_not_listed(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, _ = trained

    def full(*_: object, **__: object) -> None:
        raise StoreError("no space is left", fix="free some")

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(StoreError, match="no space"):
        train(store, tmp_path / "runs", model="dummy")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_folder_on_a_full_disk_is_refused_with_a_remedy(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, _ = trained
    before = store.nodes("runs/")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Dummy, "save", full)
    with pytest.raises(StoreError, match=r"cannot be written.*No space left.*--runs"):
        train(store, tmp_path / "runs", model="dummy")
    assert list((tmp_path / "runs").iterdir()) == []
    assert store.nodes("runs/") == before


def test_a_place_for_runs_that_is_a_file_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.zarr", made_raw(cells=3, rpts=4))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="run folders cannot be made here"):
        train(store, tmp_path / "file", model="dummy")
