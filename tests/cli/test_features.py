"""`batterykit features`, as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from batterykit.store import Store
from tests.cli.run import batterykit
from tests.features.data import curves, discharge, raw_summary


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "s.zarr"
    opened = Store.open_or_create(path)
    opened.write("raw/expt5/summary", raw_summary(), command="test")
    pairs = [discharge(samples=1500, noise=2e-4, seed=k) for k in range(2)]
    opened.write("raw/expt5/curves/0.1C", curves(pairs), command="test")
    return path


@pytest.mark.parametrize(
    ("kind", "column"),
    [("summary", "Arrhenius throughput [Ah]"), ("sequence", "time [d]"), ("ica", "voltage [V]")],
)
def test_it_says_what_it_made_and_what_to_run_next(store: Path, kind: str, column: str) -> None:
    done = batterykit("features", kind, "--store", store, cwd=store.parent)
    assert done.returncode == 0, done.stderr
    assert column in done.stdout
    assert "2 computed, 0 from the cache" in done.stderr
    assert "Next: batterykit" in done.stderr
    again = batterykit("features", kind, "--store", store, cwd=store.parent)
    assert "nothing changed, all 2 rows from the cache" in again.stderr


def test_json_is_one_object_on_stdout_and_nothing_on_stderr(store: Path) -> None:
    done = batterykit("features", "ica", "--store", store, "--json", "--plot", cwd=store.parent)
    payload = json.loads(done.stdout)
    assert payload["rows"] == 2
    assert len(payload["computed"]) == 2
    assert (store.parent / payload["pictures"][0]).exists()
    assert done.stderr == ""


def test_the_picture_is_written_and_its_path_said(store: Path) -> None:
    done = batterykit(
        "features", "ica", "--store", store, "--plot", "--pictures", "out", cwd=store.parent
    )
    assert "Picture: out/ica-E5-0.1C-discharge.png" in done.stderr
    assert (store.parent / "out" / "ica-E5-0.1C-discharge.png").exists()


def test_options_reach_the_stored_parameters(store: Path) -> None:
    options = ["--window", "3.2", "4.1", "--kernel-width", "0.01", "--peaks", "3"]
    done = batterykit("features", "ica", *options, "--store", store, "--json", cwd=store.parent)
    features = Store.open(store).read(json.loads(done.stdout)["node"])
    parameters = json.loads(features.attrs["parameters"])
    assert parameters["window"] == [3.2, 4.1]
    assert parameters["kernel_width"] == 0.01
    assert features.sizes["peak"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--window", "4.2", "2.5"], "window must rise"),
        (["--kernel-width", "0"], "--kernel-width: Input should be greater than 0"),
        (["--window", "2.5", "inf"], "--window: Input should be less than or equal to 10"),
        (["--window", "-inf", "4.2"], "--window: Input should be greater than or equal to 0"),
        (["--peaks", "99"], "--peaks: Input should be less than or equal to 16"),
        (["--kind", "2C"], "2C"),
    ],
)
def test_wrong_options_exit_with_2_and_name_the_option(
    store: Path, arguments: list[str], said: str
) -> None:
    done = batterykit("features", "ica", *arguments, "--store", store, cwd=store.parent)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("option", "value"),
    [("--activation-energy", "1e300"), ("--reference-temperature", "-273.1499")],
)
def test_options_that_would_make_features_infinite_are_refused(
    store: Path, option: str, value: str
) -> None:
    done = batterykit("features", "summary", option, value, "--store", store, cwd=store.parent)
    assert done.returncode == 2
    assert option in done.stderr


def test_a_folder_for_pictures_that_cannot_be_made_is_an_error(store: Path) -> None:
    (store.parent / "letter.txt").write_text("mine")
    arguments = ("ica", "--plot", "--pictures", "letter.txt", "--store", store, "--json")
    done = batterykit("features", *arguments, cwd=store.parent)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["file"] == "letter.txt"


def test_missing_curves_exit_with_1_and_say_which_command_brings_them(store: Path) -> None:
    done = batterykit("features", "ica", "--kind", "GITT", "--store", store, cwd=store.parent)
    assert done.returncode == 1
    assert "batterykit ingest --expt 5" in done.stderr


def test_a_run_with_nothing_to_do_imports_nothing_heavy(store: Path) -> None:
    assert batterykit("features", "ica", "--store", store, cwd=store.parent).returncode == 0
    script = (
        "import sys; from batterykit.cli.app import app; "
        f"app(['features', 'ica', '--store', {str(store)!r}, '-q'], standalone_mode=False); "
        "print([m for m in ('numba', 'xarray', 'zarr', 'pandas', 'matplotlib', 'scipy') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
