"""`batterykit charge simulate`, as a user meets it; with the real simulator and references.

Most of it runs in this process: to start one of its own takes longer than to charge a pack.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from batterykit.cli.app import main
from batterykit.datasets import twin
from batterykit.datasets.ingest import ingest
from batterykit.features.build import refresh
from batterykit.features.options import DmaOptions
from batterykit.store import Store
from tests.cli.run import batterykit

QUICK = ("--pack", "2p1s", "--model", "spme", "--dt", "10")


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """What `--json` answers."""
        assert (self.code, self.err) == (0, ""), self.err
        answer: dict[str, Any] = json.loads(self.out)
        return answer


Charge = Callable[..., Done]


@pytest.fixture
def charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Charge:
    """`batterykit charge simulate OPTIONS` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BATTERYKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*options: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["batterykit", "charge", "simulate", *map(str, options)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


def test_it_charges_a_pack_with_no_option_shows_the_worst_cells_and_says_what_to_run_next(
    tmp_path: Path,
) -> None:
    done = batterykit("charge", "simulate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cccv 1C, 3p6s, fresh: 10.0 to 80.0 %" in done.stdout
    for text in ("lowest plating potential", "highest temperature", "s1p1", "CC 1C", "CV 4.2 V"):
        assert text in done.stdout
    assert "highest 4." in done.stderr  # live figures beside the bar
    assert "Wrote charge/" in done.stderr
    assert "Next: batterykit store export charge/" in done.stderr


def test_each_run_is_a_new_node_with_the_same_numbers_and_all_options(
    charge: Charge, tmp_path: Path
) -> None:
    options = (*QUICK, "--scenario", "spread", "--seed", "7", "--soc", "0.1:0.3", "--t-max", "60")
    one, two = (charge(*options, "--json").answer for _ in range(2))
    assert one["run_id"] != two["run_id"]
    assert one["run_id"].partition("-cccv-2p1s-spread")[1]
    store = Store.open(tmp_path / "batterykit.zarr")
    first, second = (store.read(answer["node"]) for answer in (one, two))
    assert first.equals(second)
    wanted = {
        "protocol": "cccv",
        "soc": "0.1:0.3",
        "pack": "2p1s",
        "scenario": "spread",
        "seed": 7,
        "model": "spme",
        "parameters": "OKane2022",
        "dt_s": 10.0,
        "t_max_degC": 60.0,
        "ambient_degC": 25.0,
        "cutoff": 0.05,
        "hold": "cell",
        "engine": "batterykit",
    }
    assert wanted.items() <= first.attrs.items()
    assert wanted.items() <= one["options"].items()


def test_json_is_one_object_with_extremes_steps_and_the_end(charge: Charge) -> None:
    answer = charge(*QUICK, "--soc", "0.1:0.3", "--protocol", "multistage", "--json").answer
    assert answer["stop_reason"] == "soc_max"
    assert answer["soc"]["end"] == pytest.approx(0.3, abs=1e-4)
    assert [step["label"] for step in answer["steps"]] == [
        "1: CC 1C",
        "2: CC 0.75C",
        "3: CC 0.5C",
    ]
    assert answer["steps"][-1]["end"] == answer["duration_s"]
    assert {one["what"] for one in answer["extremes"]} >= {"highest voltage", "most current"}


def test_quiet_leaves_only_the_result(charge: Charge) -> None:
    done = charge(*QUICK, "--soc", "0.8:0.7", "-q")
    assert (done.code, done.err) == (0, "")
    assert "cc 1C, 2p1s, fresh: 80.0 to 70.0 %" in done.out


def test_a_profile_in_a_file_is_followed_to_its_end(charge: Charge, tmp_path: Path) -> None:
    (tmp_path / "drive.csv").write_text("time [s],power [W]\n0,20\n30,-30\n75,0\n100,0\n")
    answer = charge(*QUICK, "--protocol", "drive.csv", "--soc", "0.5", "--json").answer
    assert answer["stop_reason"] == "protocol_end"
    assert answer["duration_s"] == pytest.approx(100.0)
    assert answer["options"]["profile"] == "drive.csv"


def test_a_pack_of_a_frozen_set_has_its_own_ambient_unless_another_is_asked_for(
    charge: Charge, tmp_path: Path
) -> None:
    started = []
    for ambient in ((), ("--ambient", "30")):
        pack = ("--scenario", "shifted:7", "--soc", "0.1:0.15")
        answer = charge(*QUICK, *pack, *ambient, "--json").answer
        dataset = Store.open(tmp_path / "batterykit.zarr").read(answer["node"])
        started.append(float(dataset["temperature"].values[0, 0, 0]))
        assert np.all(dataset["soh"].values < 0.95)
    assert any(abs(started[0] - degrees) < 0.1 for degrees in (0, 10, 40))
    assert started[1] == pytest.approx(30.0, abs=0.1)


def test_cells_may_be_as_aged_as_one_of_the_store(charge: Charge, tmp_path: Path) -> None:
    twin.write_twin(tmp_path / "twin", cells=1, sampling=60.0, experiments=[5])
    store = Store.open_or_create(tmp_path / "batterykit.zarr")
    ingest(store, tmp_path / "twin")
    refresh(store, "dma", DmaOptions(starts=6))
    options = (*QUICK, "--soc", "0.1:0.2", "--from-store", "E5-A:4")
    done = charge(*options)
    assert done.code == 0, done.err
    assert "Note: degradation modes are those of features/dma/" in done.err
    (node,) = store.nodes("charge/")
    assert "-cccv-2p1s-E5-A-4" in node
    found = store.read(node)
    assert np.all(found["lli"].values > 0)
    assert np.ptp(found["soh"].values) == 0


def test_compare_prints_how_far_the_reference_is(charge: Charge) -> None:
    options = ("--pack", "1p1s", "--model", "spme", "--soc", "0.5:0.6", "--dt", "10")
    answer = charge(*options, "--compare", "--json").answer
    apart = {one["what"]: one for one in answer["comparison"]["differences"]}
    assert answer["comparison"]["against"] == "pybamm"
    assert apart["cell voltage"]["rms"] < 1.0
    done = charge(*options, "--compare")
    assert "batterykit against pybamm" in done.out
    assert "plating potential" in done.out


def test_plot_draws_pictures_and_a_page_into_a_folder_of_the_run(
    charge: Charge, tmp_path: Path
) -> None:
    answer = charge(*QUICK, "--soc", "0.1:0.2", "--plot", "--pictures", "drawn", "--json").answer
    folder = tmp_path / "drawn" / answer["run_id"]
    assert Path(answer["page"]) == folder.relative_to(tmp_path) / "charge.html"
    assert answer["node"] in (folder / "charge.html").read_text()
    assert all((tmp_path / name).stat().st_size > 10_000 for name in answer["pictures"])


def test_a_reference_may_compute_it_instead(charge: Charge, tmp_path: Path) -> None:
    options = ("--pack", "1p1s", "--soc", "0.5:0.6", "--dt", "10", "--engine", "pybamm")
    answer = charge(*options, "--json").answer
    assert answer["run_id"].partition("-pybamm-cccv-1p1s")[1]
    dataset = Store.open(tmp_path / "batterykit.zarr").read(answer["node"])
    assert dataset.attrs["engine_version"].startswith("pybamm ")


@pytest.mark.slow
def test_a_pack_is_compared_with_liionpack(charge: Charge) -> None:
    options = (*QUICK, "--protocol", "cc", "--soc", "0.3:0.35", "--compare")
    answer = charge(*options, "--json").answer
    assert answer["comparison"]["against"] == "liionpack"
    apart = {one["what"]: one for one in answer["comparison"]["differences"]}
    assert apart["branch current"]["rms"] < 0.5


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--pack", "3x6"), 2, "is not the size of a pack"),
        (("--crate", "0"), 2, "a C-rate of 0 is no current"),
        (("--soc", "0.1:1.2"), 2, "'1.2' is not a state of charge"),
        (("--soc", "0.5"), 2, "does not say from where to where"),
        (("--protocol", "wltp"), 2, "there is no protocol 'wltp'"),
        (("--protocol", "nowhere.csv"), 1, "nowhere.csv: the profile cannot be read"),
        (("--protocol", "nowhere.csv", "--crate", "1"), 2, "--crate has no meaning"),
        (("--protocol", "nowhere.csv", "--soc", "0.1:0.8"), 2, "give the start only: --soc 0.1"),
        (("--protocol", "cc", "--hold", "pack"), 2, "--hold has no meaning for --protocol cc"),
        (("--protocol", "cccv", "--soc", "0.8:0.1"), 2, "a way to charge"),
        (("--stages", "1@0.5,0.5"), 2, "--stages has no meaning for --protocol cccv"),
        (("--protocol", "multistage", "--stages", "1,2"), 2, "does not say until where"),
        (("--cutoff", "2"), 2, "cannot fall from 1C to 2C"),
        (("--scenario", "worn"), 2, "there is no scenario 'worn'"),
        (("--scenario", "shifted:50"), 2, "has no pack 50"),
        (("--scenario", "train:x"), 2, "'train:x' is no pack of a set"),
        (("--from-store", "E5-A:8"), 1, "there is no store here"),
        (("--from-store", "E5-A:8", "--scenario", "aged"), 2, "--scenario aged makes others"),
        (("--parameters", "Foo2030"), 2, "no parameter set is called 'Foo2030'"),
        (("--ambient", "200"), 2, "say nothing of cells at 200 degC"),
        (("--t-max", "20"), 2, "the cells begin at 25 degC"),
        (("--v-max", "2"), 2, "a cell cannot be between 2.5 V and 2 V"),
        (("--dt", "0"), 2, "a time step of 0 s is none"),
        (("--busbar", "-1"), 2, "the busbar resistance is -1"),
        (("--engine", "pybamm"), 2, "PyBaMM has no packs, and this one has 18 cells"),
        (("--compare",), 2, "liionpack knows only constant current, not cccv"),
        (("--engine", "abaqus"), 2, "abaqus"),
    ],
)
def test_wrong_use_is_told_with_its_remedy_and_leaves_nothing(
    charge: Charge, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    done = charge(*options)
    assert done.code == code, done.err
    assert message in done.err
    assert done.out == ""
    store = tmp_path / "batterykit.zarr"
    assert not store.exists() or Store.open(store).nodes() == []
