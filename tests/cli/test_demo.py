"""`batterykit demo`: the whole chain runs, and leaves what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batterykit.store import Store
from tests.cli.run import batterykit


@pytest.mark.slow
def test_the_demo_trains_both_models_better_than_the_mean_trajectory(tmp_path: Path) -> None:
    done = batterykit("demo", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["synthetic"]
    assert told["seconds"] < 180
    assert [run.split("-")[2] for run in told["runs"]] == ["lgbm", "ode"]
    for metrics in told["runs"].values():
        assert len(metrics["by_cell"]) == 14
        assert metrics["skill"]["mean_trajectory"] > 0
    for picture in told["pictures"]:
        assert (tmp_path / picture).stat().st_size > 50_000
    store = Store.open(tmp_path / "demo" / "batterykit.zarr")
    assert store.verify() == []
    assert len(store.nodes("runs/")) == 2
