"""Run the real command in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def batterykit(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Return the finished process of `batterykit ARGUMENTS`, run in the folder `cwd`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BATTERYKIT_")}
    return subprocess.run(
        [sys.executable, "-m", "batterykit", *map(str, arguments)],
        cwd=cwd,
        env=clean | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
