"""Runs: one folder each with everything that was used, chosen, predicted and scored.

`<runs>/{run_id}/` holds manifest.json, metrics.json, history.jsonl and models/{fold}/; the store
holds `runs/{run_id}/predictions`. A folder appears under its name only when it is complete and the
store has its predictions.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xarray as xr

from batterykit import __version__
from batterykit.errors import StoreError, UsageError
from batterykit.jsonable import jsonable
from batterykit.learning.evaluate import Evaluation, evaluate, predictions_dataset, report
from batterykit.learning.models import REGISTRY, model_class
from batterykit.learning.models.base import Listen, no_listener
from batterykit.learning.splits import outer_folds
from batterykit.learning.tasks import DEFAULT_CONTEXT, Loaded, load_task
from batterykit.progress import Track, no_track
from batterykit.store import Store
from batterykit.store.fingerprint import code_fingerprint

MANIFEST, METRICS, HISTORY = "manifest.json", "metrics.json", "history.jsonl"
PACKAGES = (
    *("numpy", "scipy", "numba", "xarray", "pandas", "zarr"),
    *("torch", "torchdiffeq", "lightgbm", "safetensors"),
)
NEEDED = {
    MANIFEST: "created model split task target context experiments seed cells data folds notes "
    "code seconds",
    METRICS: "overall interval reference_mae skill skill_interval worst_cell by_cell "
    "by_temperature by_experiment",
}
"""Names without which a run cannot be shown, by file."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder
        Its folder, named after the run.
    manifest, metrics
        What the two JSON files hold.
    """

    folder: Path
    manifest: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.folder.name


def train(
    store: Store,
    runs: Path,
    *,
    model: str,
    split: str = "loco",
    task: str = "estimate",
    target: str = "soh",
    experiments: Sequence[int] = (),
    context: int = DEFAULT_CONTEXT,
    seed: int = 0,
    device: str = "auto",
    jobs: int = 1,
    track: Track = no_track,
    listen: Listen = no_listener,
) -> tuple[Run, xr.Dataset]:
    """Train and test a model on every fold; write and return the run and its predictions.

    Parameters
    ----------
    store
        What was ingested; gets the predictions.
    runs
        The folder of run folders.
    model, split, task, target, experiments, context, seed, device
        See `models.REGISTRY`, `splits.SPLITS`, `tasks.load_task`, `models.base.Model`.
    jobs, track, listen
        See `evaluate`.

    Raises
    ------
    UsageError
        Options that do not exist or do not fit the data.
    InputError
        Data without targets or times.
    StoreError
        The run cannot be written.
    """
    device = _device(model, device)
    began, created = time.perf_counter(), datetime.now(UTC)
    loaded = load_task(
        store, task=task, target=target, experiments=experiments, context=context, track=track
    )
    folds = outer_folds(loaded.data, split)
    name = f"{created:%Y%m%d-%H%M%S}-{model}-{split}-{task}-{target}"
    run_id, staged = _stage(store, runs, name)
    try:
        evaluation = evaluate(
            loaded.data,
            folds,
            split,
            model,
            seed=seed,
            device=device,
            folder=staged / "models",
            jobs=jobs,
            track=track,
            listen=listen,
        )
        metrics = report(evaluation)
        manifest = {
            "run_id": run_id,
            "created": created.isoformat(timespec="seconds"),
            "model": model,
            "split": split,
            "task": task,
            "target": target,
            "context": context if task == "forecast" else None,
            "experiments": sorted({int(number) for number in loaded.data.experiment}),
            "seed": seed,
            "device": device,
            **_about_data(loaded, evaluation),
            **_about_code(model),
            "seconds": {
                "total": round(time.perf_counter() - began, 3),
                "by_fold": [round(value, 3) for value in evaluation.seconds],
            },
        }
        _write_json(staged / MANIFEST, manifest)
        _write_json(staged / METRICS, metrics)
        lines = [json.dumps(jsonable(entry)) for entry in evaluation.history]
        (staged / HISTORY).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        predictions = predictions_dataset(evaluation)
        predictions.attrs["manifest"] = json.dumps(jsonable(manifest))
        store.write(
            _node(run_id),
            predictions,
            command=f"train --model {model} --split {split} --task {task} --target {target}",
            note=f"MAE {100 * metrics['overall']['mae']:.3f} pp over {len(folds)} folds",
        )
        staged.rename(runs / run_id)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise StoreError(
            f"the run cannot be written ({error})",
            fix="free some space on the disk, or name another folder with --runs",
            file=runs,
        ) from error
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return read_run(runs / run_id), predictions


def list_runs(runs: Path) -> tuple[list[Run], list[str]]:
    """Return the runs, oldest first, and what is wrong with folders that are none."""
    found, problems = [], []
    folders = sorted(runs.iterdir()) if runs.is_dir() else []
    for folder in folders:
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                found.append(read_run(folder))
            except StoreError as error:
                problems.append(str(error))
    return sorted(found, key=lambda run: (run.manifest["created"], run.run_id)), problems


def find_run(runs: Path, name: str) -> Run:
    """Return a run by its name, the start of its name, or `latest`.

    Raises
    ------
    UsageError
        No run has that name, or several begin with it.
    """
    found, _ = list_runs(runs)
    if not found:
        raise UsageError(f"there are no runs in {runs}", fix="run `batterykit train` first")
    if name == "latest":
        return found[-1]
    matching = [run for run in found if run.run_id == name]
    matching = matching or [run for run in found if run.run_id.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UsageError(
            f"{len(matching)} runs begin with '{name}': "
            f"{', '.join(run.run_id for run in matching[:5])}",
            fix="give more of the name",
        )
    raise UsageError(f"there is no run '{name}'", fix="see `batterykit runs list`")


def read_run(folder: Path) -> Run:
    """Return the run in a folder.

    Raises
    ------
    StoreError
        Its manifest or metrics cannot be read.
    """
    parts = {}
    for name in (MANIFEST, METRICS):
        try:
            parts[name] = json.loads((folder / name).read_text(encoding="utf-8"))
            missing = set(NEEDED[name].split()) - set(parts[name])
            if missing or not isinstance(parts[name], dict):
                raise ValueError(f"it lacks {', '.join(sorted(missing)) or 'names'}")
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"this is not the folder of a run ({error})",
                fix="remove it, or restore it from a copy",
                file=folder / name,
            ) from error
    return Run(folder, parts[MANIFEST], parts[METRICS])


def differences(runs: Sequence[Run]) -> list[str]:
    """Return why the scores of these runs are not of the same question, if they are not."""
    found = []
    for key in ("task", "target", "split", "context", "cells"):
        if len({json.dumps(run.manifest[key]) for run in runs}) > 1:
            found.append(f"the runs differ in {key}")
    raw = [
        {node: hash_ for node, hash_ in run.manifest["data"].items() if node.startswith("raw/")}
        for run in runs
    ]
    if any(one != raw[0] for one in raw):
        found.append("the runs were made on different data")
    return found


def _device(model: str, wanted: str) -> str:
    """Return where the model is trained: `cpu`, or for a network what `auto` finds."""
    if not model_class(model).slow:
        return "cpu"
    from batterykit.learning.trainer import choose_device

    return choose_device(wanted).type


def _node(run_id: str) -> str:
    return f"runs/{run_id}/predictions"


def _stage(store: Store, runs: Path, name: str) -> tuple[str, Path]:
    """Return a name that no run has, and the hidden folder that becomes it."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            run_id = name if number == 1 else f"{name}-{number}"
            staged = runs / f".{run_id}"
            if not (runs / run_id).exists() and not store.has(_node(run_id)):
                try:
                    staged.mkdir()
                    return run_id, staged
                except FileExistsError:
                    pass
            number += 1
    except OSError as error:
        raise StoreError(
            f"run folders cannot be made here ({error})",
            fix="name another folder with --runs",
            file=runs,
        ) from error


def _about_data(loaded: Loaded, evaluation: Evaluation) -> dict[str, Any]:
    data = evaluation.data
    return {
        "data": loaded.fingerprints,
        "notes": loaded.notes,
        "cells": list(data.cells),
        "rows": int(data.scored.sum()),
        "features": [f"{n} [{u}]" for n, u in zip(data.names, data.units, strict=True)],
        "folds": [
            {
                "name": fold.name,
                "train": [data.cells[index] for index in fold.train],
                "test": [data.cells[index] for index in fold.test],
                "choices": choices,
            }
            for fold, choices in zip(evaluation.folds, evaluation.choices, strict=True)
        ],
    }


def _about_code(model: str) -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "code": {
            "batterykit": __version__,
            "commit": _git_commit(),
            "task": code_fingerprint("batterykit.learning.tasks:load_task"),
            "evaluate": code_fingerprint("batterykit.learning.evaluate:evaluate"),
            "report": code_fingerprint("batterykit.learning.evaluate:report"),
            "model": code_fingerprint(REGISTRY[model]),
        },
        "packages": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout that the package runs from, None for an installed one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(jsonable(content), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
