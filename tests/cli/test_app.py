"""The command as a whole: help that is quick and complete, errors that end in exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from batterykit import __version__
from batterykit.cli.app import app
from tests.cli.run import batterykit

HEAVY = {
    "torch", "pybamm", "numba", "lightgbm", "shap", "matplotlib", "pyarrow", "scipy", "sklearn",
    "zarr", "xarray", "pandas", "numpy", "pydantic",
}  # fmt: skip


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command.help or ""


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from batterykit.cli.app import app;"
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0;"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does_and_gives_an_example(path: tuple[str, ...]) -> None:
    text = COMMANDS[path]
    assert text.splitlines()[0].strip()
    assert f"batterykit {' '.join(path)}" in text


def test_version_is_printed(tmp_path: Path) -> None:
    assert batterykit("--version", cwd=tmp_path).stdout.strip() == f"batterykit {__version__}"


def test_wrong_use_exits_2(tmp_path: Path) -> None:
    done = batterykit("store", "infoo", cwd=tmp_path)
    assert done.returncode == 2
    assert "infoo" in done.stderr


def test_a_failure_exits_1_and_says_the_remedy_on_stderr(tmp_path: Path) -> None:
    done = batterykit("store", "info", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no store here. Fix: run `batterykit ingest --expt 5`" in done.stderr
