"""The console: numbers that JSON does not know become null, nothing else is changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from batterykit.cli.console import Console


def test_json_holds_null_for_nan_and_plain_numbers_for_numpy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    payload = {
        "nan": float("nan"),
        "array": np.array([1.5, np.inf]),
        "path": Path("a"),
        "flag": np.bool_(True),
        "deep": [{"x": np.float32(0.5)}],
    }
    Console(json=True).result(payload)
    assert json.loads(capsys.readouterr().out) == {
        "nan": None,
        "array": [1.5, None],
        "path": "a",
        "flag": True,
        "deep": [{"x": 0.5}],
    }


def test_text_mode_prints_no_json_and_json_mode_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    Console().result({"a": 1})
    Console(json=True).show("line")
    Console(json=True).table("title", ["a"], [[1]])
    assert capsys.readouterr().out == ""


def test_tracking_yields_every_item_whoever_watches(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (Console(), Console(quiet=True), Console(json=True)):
        assert list(console.track(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_brackets_in_data_are_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("[bold]t", ["capacity [Ah]"], [["[red]"]])
    out = capsys.readouterr().out
    assert "[bold]t" in out
    assert "capacity [Ah]" in out
    assert "[red]" in out
