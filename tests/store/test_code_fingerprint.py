"""The fingerprint of code: what runs counts, how it is written does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from batterykit.store.fingerprint import code_fingerprint, code_parts

MAIN = '''
"""A module."""
import math
from kit.tools import helper, LIMIT
from kit import constants
from kit.deep import reexported

SCALE = 2.0
UNUSED = 1.0

def target(x):
    """Say what it does."""
    # a comment
    return helper(x) * SCALE + constants.OFFSET + reexported(x)

def other(x):
    return x * UNUSED
'''
TOOLS = """
import numpy as np
LIMIT = 3
POWER = 2

def helper(x):
    return inner(x) ** POWER

def inner(x):
    from kit.late import lazily
    return np.sqrt(lazily(x))

def unrelated(x):
    return x + LIMIT
"""
FILES = {
    "__init__.py": "",
    "main.py": MAIN,
    "tools.py": TOOLS,
    "constants.py": "OFFSET = 1.0\nOTHER = 2.0\n",
    "late.py": "class Base:\n    shift = 1\n\nclass Late(Base):\n    pass\n\n"
    "def lazily(x):\n    return x + Late.shift\n",
    "deep/__init__.py": "from .far import reexported\n",
    "deep/far.py": "def reexported(x):\n    return x\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "kit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def edited(root: Path, file: str, old: str, new: str) -> bool:
    """Whether the fingerprint of `kit.main:target` changes with this edit."""
    before = code_fingerprint("kit.main:target", root=root)
    path = root / "kit" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return code_fingerprint("kit.main:target", root=root) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "* SCALE", "/ SCALE"),
        ("main.py", "SCALE = 2.0", "SCALE = 2.5"),
        ("tools.py", "POWER = 2", "POWER = 3"),
        ("tools.py", "np.sqrt", "np.cbrt"),
        ("tools.py", "import numpy as np", "import math as np"),
        ("constants.py", "OFFSET = 1.0", "OFFSET = 1.5"),
        ("late.py", "shift = 1", "shift = 2"),
        ("late.py", "x + Late", "x - Late"),
        ("deep/far.py", "return x", "return -x"),
    ],
)
def test_an_edit_of_anything_that_the_function_uses_changes_it(
    root: Path, file: str, old: str, new: str
) -> None:
    assert edited(root, file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "# a comment", "# another comment\n    # and one more"),
        ("main.py", "Say what it does.", "Say it better."),
        ("main.py", "A module.", "The module."),
        ("main.py", "helper(x) * SCALE", "(helper( x )*SCALE)"),
        ("main.py", "def target(x):", "def target(x: float) -> float:"),
        ("main.py", "SCALE = 2.0\n", 'SCALE = 2.0\n"""What it is."""\n'),
        ("main.py", "UNUSED = 1.0", "UNUSED = 9.0"),
        ("main.py", "return x * UNUSED", "return x"),
        ("tools.py", "LIMIT = 3", "LIMIT = 4"),
        ("tools.py", "x + LIMIT", "x - LIMIT"),
        ("constants.py", "OTHER = 2.0", "OTHER = 3.0"),
    ],
)
def test_comments_docstrings_layout_hints_and_code_that_is_not_used_count_for_nothing(
    root: Path, file: str, old: str, new: str
) -> None:
    assert not edited(root, file, old, new)


def test_the_parts_name_every_definition_that_counts(root: Path) -> None:
    assert list(code_parts("kit.main:target", root=root)) == [
        "kit.constants:OFFSET",
        "kit.deep.far:reexported",
        "kit.late:Base",
        "kit.late:Late",
        "kit.late:lazily",
        "kit.main:SCALE",
        "kit.main:target",
        "kit.tools:POWER",
        "kit.tools:helper",
        "kit.tools:inner",
    ]


def test_functions_that_call_each_other_come_to_an_end(root: Path) -> None:
    (root / "kit" / "round.py").write_text(
        "def a(x):\n    return b(x)\n\ndef b(x):\n    return a(x)\n"
    )
    assert list(code_parts("kit.round:a", root=root)) == ["kit.round:a", "kit.round:b"]


def test_a_decorators_arguments_count(root: Path) -> None:
    (root / "kit" / "fast.py").write_text("@jit(fast=False)\ndef f(x):\n    return x\n")
    before = code_fingerprint("kit.fast:f", root=root)
    (root / "kit" / "fast.py").write_text("@jit(fast=True)\ndef f(x):\n    return x\n")
    assert code_fingerprint("kit.fast:f", root=root) != before


@pytest.mark.parametrize("target", ["kit.main:missing", "kit.missing:target"])
def test_what_does_not_exist_is_an_error_that_names_it(root: Path, target: str) -> None:
    with pytest.raises(LookupError, match="missing"):
        code_parts(target, root=root)


def test_a_star_import_from_the_package_is_refused_because_it_hides_what_is_used(
    root: Path,
) -> None:
    (root / "kit" / "star.py").write_text("from kit.tools import *\n\ndef f(x):\n    return 1\n")
    with pytest.raises(LookupError, match="star"):
        code_parts("kit.star:f", root=root)


def test_of_the_ica_kernels_every_function_and_constant_is_seen() -> None:
    parts = code_parts("batterykit.features.ica:analyse")
    for name in ("analyse_curves", "_density", "spread_charge", "KERNEL_REACH", "NARROWEST"):
        assert f"batterykit.features.kernels:{name}" in parts
    assert "batterykit.features.tracking:align" not in parts  # no part in a row
    assert "batterykit.features.tracking:align" in code_parts("batterykit.features.ica:ica")


def test_nothing_heavy_is_imported_to_look_at_code() -> None:
    script = (
        "import sys; from batterykit.store.fingerprint import code_fingerprint; "
        "code_fingerprint('batterykit.features.ica:ica'); "
        "print([m for m in ('numba', 'xarray', 'zarr', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
