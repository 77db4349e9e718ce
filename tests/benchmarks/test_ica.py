from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import generate
from benchmarks.ica import Row, estimate_noise, find_rival, main
from benchmarks.methods import PEERS, load_settings

KEYS = [
    "method",
    "points",
    "noise_mV",
    "threads",
    "ms_per_curve",
    "peak_error_median_mV",
    "peak_error_p95_mV",
    "dqdv_error_pct",
    "recall_pct",
    "false_peaks_per_curve",
]
ACCURACY = KEYS[5:]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = generate(1500, 1e-3, curves=3)
    np.savez(tmp_path / "curves.npz", v_flat=made.voltage, q_flat=made.charge, offsets=made.offsets)
    return tmp_path / "curves.npz"


def test_json_is_one_list_of_rows_with_ours_and_the_peers_beside_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--quick", "--peers", "scipy", "--noise", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == KEYS for row in rows)
    assert [(row["method"], row["threads"]) for row in rows] == [
        ("batterykit", 1),
        ("batterykit", 2),
        ("batterykit, untracked", 1),
        ("scipy", 1),
        ("scipy, averaged", 1),
    ]
    assert {(row["points"], row["noise_mV"]) for row in rows} == {(4000, 1.0)}
    assert all(row["ms_per_curve"] > 0 for row in rows)
    ours = rows[0]
    assert ours["dqdv_error_pct"] < 1.8
    assert ours["recall_pct"] > 99
    assert ours["peak_error_median_mV"] < 3


def test_without_truth_accuracy_is_null_and_time_is_not(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    assert main(["--curves", str(file), "--peers", "none", "--threads", "1", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["points"] == 1500
    assert row["noise_mV"] is None
    assert row["ms_per_curve"] > 0
    assert all(row[key] is None for key in ACCURACY)


def test_the_table_tells_time_accuracy_and_the_rival(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--peers", "scipy", "--noise", "1", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "| batterykit " in out
    assert "The fastest peer" in out or "the most accurate" in out
    assert "Written by hand (scipy, averaged)" in out
    assert "2 threads" in out


@pytest.mark.parametrize(
    "arguments", [["--peers", "excel"], ["--points", "3"], ["--noise", "-1"], ["--threads", "0"]]
)
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_wrong_file_fails_with_its_name_and_prints_no_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--curves", str(tmp_path / "none.npz"), "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "none.npz" in err


def test_a_peer_that_cannot_be_installed_is_named_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str],
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    arguments = ["--curves", str(file), "--peers", "cellpy", "--venvs", str(tmp_path), "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "cellpy cannot be installed" in err
    assert {row["method"] for row in json.loads(out)} == {"batterykit"}


@pytest.mark.parametrize("noise", [1e-4, 1e-3])
def test_the_noise_of_unknown_curves_is_estimated(noise: float) -> None:
    assert estimate_noise(generate(4000, noise, curves=3)) == pytest.approx(noise, rel=0.1)


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_settings_tuned_for_every_set(name: str) -> None:
    for points in (4000, 40_000):
        for noise in (1e-4, 1e-3):
            assert "prominence" in load_settings(name, points, noise)
    assert load_settings(name, 36_000, 8e-4) == load_settings(name, 40_000, 1e-3)


def row(method: str, time: float, error: float, recall: float = 100.0) -> Row:
    return Row(method, 4000, 1.0, 1, time, error, error, error, recall, 0.0)


def test_the_rival_is_the_fastest_peer_of_equal_accuracy() -> None:
    rows = [
        row("batterykit", 1, 1.0),
        row("scipy, averaged", 2, 1.0),
        row("cellpy", 5, 1.2),
        row("scipy", 20, 1.05),
        row("PyProBE spline", 50, 0.5),
    ]
    found = find_rival(rows)
    assert found is not None
    assert (found[0].method, found[1]) == ("scipy", True)


def test_where_no_peer_is_as_accurate_the_rival_is_the_most_accurate() -> None:
    rows = [
        row("batterykit", 1, 1.0),
        row("cellpy", 5, 3.0),
        row("scipy", 20, 2.0),
        row("PyProBE spline", 50, 1.0, recall=90.0),
    ]
    found = find_rival(rows)
    assert found is not None
    assert (found[0].method, found[1]) == ("PyProBE spline", False)
    assert find_rival(rows[:1]) is None
