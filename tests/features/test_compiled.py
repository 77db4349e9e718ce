"""Compiled code must not outlive the source that it was made from."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import batterykit

FILES = sorted(
    file
    for file in Path(batterykit.__file__).parent.rglob("*.py")
    if "@njit" in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_compiled_function_uses_nothing_of_another_file(file: Path) -> None:
    """Numba freezes the values of constants, and its cache looks at the function's file alone."""
    tree = ast.parse(file.read_bytes())
    from_elsewhere = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("batterykit")
        for alias in node.names
    }
    compiled = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("njit" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert compiled
    for function in compiled:
        used = {
            node.id
            for statement in function.body
            for node in ast.walk(statement)
            if isinstance(node, ast.Name)
        }
        assert not used & from_elsewhere, function.name
