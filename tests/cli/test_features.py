"""`batterykit features`, as a user meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from batterykit import halfcell
from batterykit.features.options import DmaOptions, IcaOptions
from batterykit.halfcell import Electrodes, simulate_discharge
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


@pytest.fixture
def c10_store(tmp_path: Path) -> Path:
    """One cell, fresh and after a loss of 2 % of its lithium, of the LG M50's own electrodes."""
    path = tmp_path / "c10.zarr"
    opened = Store.open_or_create(path)
    opened.write("raw/expt5/summary", raw_summary(("E5-A",)), command="test")
    graphite = halfcell.MEAN_NE * halfcell.MEAN_GRAPHITE_FRACTION
    pairs = []
    for lost in (0.0, 0.02 * halfcell.MEAN_CELL_CAPACITY):
        parts = (halfcell.MEAN_PE, graphite, halfcell.MEAN_NE - graphite)
        numbers = (*parts, halfcell.MEAN_OFFSET + lost, halfcell.MEAN_RESISTANCE)
        found = simulate_discharge(Electrodes(*map(np.float64, numbers)))
        charge = np.linspace(0, found.charge[-1], 1500)
        pairs.append((np.interp(charge, found.charge, found.voltage), charge))
    fresh_and_aged = curves(pairs, ["E5-A"] * 2, [0, 1])
    opened.write("raw/expt5/curves/0.1C", fresh_and_aged, command="test")
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
    assert again.stdout == ""
    shown = batterykit("features", kind, "--store", store, "--show", "-q", cwd=store.parent)
    assert (shown.stdout, shown.stderr) == (done.stdout, "")


def test_json_is_one_object_on_stdout_and_nothing_on_stderr(store: Path) -> None:
    done = batterykit("features", "ica", "--store", store, "--json", "--plot", cwd=store.parent)
    payload = json.loads(done.stdout)
    assert payload["rows"] == 2
    assert len(payload["computed"]) == 2
    assert all((store.parent / picture).exists() for picture in payload["pictures"])
    assert payload["page"] == "pictures/ica.html"
    assert done.stderr == ""


def test_pictures_and_page_are_written_and_their_paths_said(store: Path) -> None:
    options = ("--store", store, "--plot", "--pictures", "out")
    done = batterykit("features", "ica", *options, cwd=store.parent)
    for name in ("ica-E5", "ica-peaks-E5"):
        assert f"Picture: out/{name}-0.1C-discharge.png" in done.stderr
        assert (store.parent / "out" / f"{name}-0.1C-discharge.png").exists()
    assert "Page: out/ica.html" in done.stderr
    page = (store.parent / "out" / "ica.html").read_text(encoding="utf-8")
    (node,) = [node for node in Store.open(store).nodes() if node.startswith("features/ica/")]
    assert node in page
    assert Store.open(store).attrs(node)["fingerprint"] in page


def test_ica_tells_how_many_curves_have_which_flag(store: Path) -> None:
    done = batterykit("features", "ica", "--store", store, cwd=store.parent)
    assert "Quality: 2 of 2 curves have no flag" in done.stdout
    narrow = ("--window", "2.0", "4.2", "--store", store)
    done = batterykit("features", "ica", *narrow, cwd=store.parent)
    assert "Quality: 0 of 2 curves have no flag" in done.stdout
    assert "window not covered       2" in done.stdout


def test_ica_tells_where_the_resistance_of_a_correction_came_from(store: Path) -> None:
    done = batterykit("features", "ica", "--ir-correct", "--store", store, cwd=store.parent)
    assert done.returncode == 0, done.stderr
    assert "Resistance that the voltage was corrected with" in done.stdout
    assert "from the last 0.1 s resistance" in done.stdout


def test_dma_tells_each_cells_electrodes_and_losses_and_what_to_run_next(c10_store: Path) -> None:
    done = batterykit("features", "dma", "--store", c10_store, cwd=c10_store.parent)
    assert done.returncode == 0, done.stderr
    header, row = (line.split() for line in done.stdout.splitlines()[1:3])
    assert header[:4] == ["cell", "RPT", "PE", "[Ah]"]
    assert row[:2] == ["E5-A", "1"]
    assert float(row[2]) == pytest.approx(halfcell.MEAN_PE, abs=0.02)  # [Ah]
    assert float(row[6]) == pytest.approx(2.0, abs=0.2)  # LLI [%]
    assert "Next: batterykit features dma --plot" in done.stderr
    again = batterykit("features", "dma", "--store", c10_store, cwd=c10_store.parent)
    assert "nothing changed, all 1 rows from the cache" in again.stderr


def test_dma_draws_its_pictures_and_page_and_lists_them(c10_store: Path) -> None:
    options = ("--plot", "--json", "--starts", "4", "--store", c10_store)
    done = batterykit("features", "dma", *options, cwd=c10_store.parent)
    payload = json.loads(done.stdout)
    assert payload["pictures"] == [
        "pictures/dma-fit-E5-0.1C-discharge.png",
        "pictures/dma-modes-E5-0.1C-discharge.png",
    ]
    page = (c10_store.parent / payload["page"]).read_text(encoding="utf-8")
    assert payload["node"] in page
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "options"), [("ica", IcaOptions), ("dma", DmaOptions)])
def test_every_parameter_is_an_option_whose_help_tells_the_default(
    tmp_path: Path, command: str, options: type[IcaOptions] | type[DmaOptions]
) -> None:
    shown = batterykit("features", command, "--help", cwd=tmp_path).stdout
    for name, field in options.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        entry = re.search(rf"│ {option} (.*?)(?=│ --|╰)", shown, re.DOTALL)
        assert entry is not None, option
        said = " ".join(entry[1].replace("│", " ").split())
        if type(field.default) in (int, float, str):
            assert f"[default: {field.default}".removesuffix(".0") in said, option


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
        (["--kernel-width", "0"], "--kernel-width: Input should be greater than or equal to 0.001"),
        (["--window", "2.5", "inf"], "--window: Input should be less than or equal to 10"),
        (["--window", "-inf", "4.2"], "--window: Input should be greater than or equal to 0"),
        (["--peaks", "99"], "--peaks: Input should be less than or equal to 16"),
        (["--kind", "2C"], "2C"),
        (["--ir-factor", "2"], "means nothing without --ir-correct"),
    ],
)
def test_wrong_options_exit_with_2_and_name_the_option(
    store: Path, arguments: list[str], said: str
) -> None:
    done = batterykit("features", "ica", *arguments, "--store", store, cwd=store.parent)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--starts", "1"], "--starts: Input should be greater than or equal to 2"),
        (["--direction", "both"], "--direction"),
        (["--kind", "GITT"], "--kind"),
        (["--positive", "gone.csv", "--negative", "gone.csv"], "--positive"),
        (["--positive", "here.csv"], "positive and negative half-cell files are given together"),
        (["--silicon", "here.csv"], "silicon needs a negative"),
    ],
)
def test_wrong_options_of_dma_exit_with_2_and_say_why(
    store: Path, arguments: list[str], said: str
) -> None:
    (store.parent / "here.csv").write_text("stoichiometry,potential\n0,1\n1,0\n")
    done = batterykit("features", "dma", *arguments, "--store", store, cwd=store.parent)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_half_cell_file_that_holds_none_is_an_error_that_names_it(store: Path) -> None:
    (store.parent / "notes.csv").write_text("dear diary\n")
    files = ("--positive", "notes.csv", "--negative", "notes.csv")
    done = batterykit("features", "dma", *files, "--store", store, cwd=store.parent)
    assert done.returncode == 1
    assert "notes.csv" in done.stderr
    assert "Traceback" not in done.stderr


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
    assert json.loads(done.stdout)["error"]["file"].startswith("letter.txt/")


@pytest.mark.parametrize(("command", "kind"), [("ica", "GITT"), ("dma", "0.5C")])
def test_missing_curves_exit_with_1_and_say_which_command_brings_them(
    store: Path, command: str, kind: str
) -> None:
    done = batterykit("features", command, "--kind", kind, "--store", store, cwd=store.parent)
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
