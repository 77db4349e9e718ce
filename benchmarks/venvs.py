"""Virtual environments of the peers, made when they are first needed and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from batterykit.errors import BatterykitError

DEFAULT_FOLDER = Path(__file__).parent / ".venvs"
ROOT = Path(__file__).parent.parent

ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)


class PeerError(BatterykitError):
    """A peer cannot be installed, or fails."""


def find_python(folder: Path, name: str, requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of an environment with these requirements, made if need be.

    Parameters
    ----------
    folder
        Where the environments are kept.
    name
        Of the environment.
    requirements
        For pip, pinned. None at all: this interpreter serves.

    Raises
    ------
    PeerError
        It cannot be made; the message ends with pip's own.
    """
    if not requirements:
        return Path(sys.executable)
    home = folder / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = home / "requirements.txt"  # written last: an interrupted set-up is begun again
    wanted = "\n".join(requirements) + "\n"
    if done.exists() and done.read_text() == wanted and python.exists():
        return python
    print(f"{name}: making {home} (once; a few minutes)", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", *requirements],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
            raise PeerError(
                f"{name} cannot be installed ({reason})",
                fix="see to the network or the package index, or leave it out with --peers",
            )
    done.write_text(wanted)
    return python


def run_module(python: Path, module: str, arguments: list[str]) -> None:
    """Run a module of this repository in one thread with the given interpreter.

    Raises
    ------
    PeerError
        It failed; the message ends with its own.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    result = subprocess.run(
        [str(python), "-W", "ignore", "-m", module, *arguments],
        cwd=ROOT,
        env=inherited | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip() or f"exit status {result.returncode}").splitlines()[-1]
        raise PeerError(
            f"{module} failed ({reason})",
            fix=f"see whether {python} can import what it needs, or leave it out with --peers",
        )
