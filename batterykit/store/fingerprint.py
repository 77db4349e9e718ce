"""Content hashes: of bytes, arrays, parameters, datasets and code.

All are SHA-256 (the fastest of the safe ones on current processors), cut to 32 hex digits.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

HASH_DIGITS = 32

_Function = TypeVar("_Function", ast.FunctionDef, ast.AsyncFunctionDef)


def hash_bytes(data: bytes | memoryview) -> str:
    """Return the hash of raw bytes."""
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def hash_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return the hash of a JSON-able value; the order of a mapping's keys does not matter."""
    return hash_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def hash_arrays(*arrays: np.ndarray) -> str:
    """Return the hash of arrays: their type, shape and values (every NaN counts as the same).

    Parameters
    ----------
    arrays
        Arrays of numbers, booleans, strings or datetimes, any shape.
    """
    import numpy as np  # not above: a run that finds everything cached hashes no arrays

    digest = hashlib.sha256()
    for array in arrays:
        kind, data = _canonical(np.asarray(array))
        digest.update(f"{kind}{np.shape(array)}".encode())
        digest.update(data)
    return digest.hexdigest()[:HASH_DIGITS]


def dataset_fingerprint(dataset: xr.Dataset) -> str:
    """Return the hash of a dataset: names, dimensions, attributes and values of all variables.

    Global attributes do not count: they say who wrote the dataset and when, not what it holds.
    """
    parts = [
        [str(name), list(variable.dims), _plain(variable.attrs), hash_arrays(variable.values)]
        for name, variable in sorted(dataset.variables.items(), key=lambda item: str(item[0]))
    ]
    return hash_json(parts)


def _canonical(array: np.ndarray) -> tuple[str, bytes | memoryview]:
    import numpy as np

    kind = array.dtype.kind
    if kind in "OUT":
        encoded = [str(item).encode() for item in array.ravel()]
        lengths = np.array([len(item) for item in encoded], dtype="<i8")
        return "str", lengths.tobytes() + b"".join(encoded)
    if kind in "mM":
        name = "datetime" if kind == "M" else "timedelta"
        array = array.astype("M8[ns]" if kind == "M" else "m8[ns]").view("i8")
        return name, np.ascontiguousarray(array).data.cast("B")
    array = np.ascontiguousarray(array)
    if kind == "f" and np.isnan(array).any():
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.dtype.str, little.reshape(-1).view("u1").data


def _plain(value: Any) -> Any:  # noqa: ANN401 - attributes may hold anything
    import numpy as np

    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def code_fingerprint(target: str, *, root: Path | None = None) -> str:
    """Return the hash of a function's code and of all the code of its package that it refers to.

    Comments, docstrings, formatting and type hints of functions do not count. See `code_parts`.
    """
    return hash_json(code_parts(target, root=root))


def code_parts(*targets: str, root: Path | None = None) -> dict[str, str]:
    """Return the hash of every function, class and constant that the targets depend on.

    The source is read, never imported, so that asking whether something changed stays cheap.
    Names are followed through module-level definitions and imports of the same top-level package,
    also imports inside functions; what is reached by `getattr` or by a registry is not seen.

    Parameters
    ----------
    targets
        `package.module:name` of each, all of one package.
    root
        Folder that holds the package; by default, where the running package lies.

    Returns
    -------
    dict[str, str]
        `module:name` of each definition -> hash of its normalised source.

    Raises
    ------
    LookupError
        A module has no source file, or does not define the name.
    """
    package = targets[0].partition(".")[0]
    sources = _Sources(root or Path(__file__).resolve().parents[2], package)
    parts: dict[str, str] = {}
    waiting: list[tuple[str, str]] = []
    for target in targets:
        module, _, name = target.partition(":")
        waiting.append((module, name))
    while waiting:
        place = sources.where_defined(*waiting.pop())
        key = ":".join(place)
        if key not in parts:
            text, references = sources.normalised(*place)
            parts[key] = hash_bytes(text.encode())
            waiting.extend(references)
    return dict(sorted(parts.items()))


@dataclass(frozen=True)
class _Module:
    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str]]  # local name -> (module, name in it; "" is the module)


class _Sources:
    """The parsed modules of one package."""

    def __init__(self, root: Path, package: str) -> None:
        self._root = root
        self._package = package
        self._modules: dict[str, _Module] = {}

    def where_defined(self, module: str, name: str) -> tuple[str, str]:
        """Follow re-exports to the module that defines the name."""
        parsed = self._module(module)
        if name not in parsed.definitions and name in parsed.imports:
            return self.where_defined(*parsed.imports[name])
        return module, name

    def normalised(self, module: str, name: str) -> tuple[str, list[tuple[str, str]]]:
        """Return the bare source of a definition and the places in the package it refers to."""
        parsed = self._module(module)
        if name not in parsed.definitions:
            raise LookupError(f"{module} does not define {name!r}")
        bare = [_Bare().visit(node) for node in parsed.definitions[name]]
        imports = dict(parsed.imports)
        inside = [child for node in bare for child in ast.walk(node)]
        imports.update(self._imports_in(module, inside))
        text, references = [ast.unparse(node) for node in bare], []
        for used in sorted(set(_dotted_names(inside))):
            head, *rest = used.split(".")
            if head in imports:
                origin, original = imports[head]
                if origin.partition(".")[0] == self._package:
                    references.extend(self._resolve(origin, [original, *rest]))
                else:
                    text.append(f"{head} = {origin}:{original}")
            elif head in parsed.definitions and head != name:
                references.append((module, head))
        return "\n".join(text), references

    def _resolve(self, module: str, names: list[str]) -> list[tuple[str, str]]:
        for name in names:
            if not name:
                continue
            if self._file(f"{module}.{name}") is None:
                return [(module, name)]
            module = f"{module}.{name}"
        return []  # a module by itself: what is used of it is named elsewhere

    def _module(self, module: str) -> _Module:
        if module not in self._modules:
            file = self._file(module)
            if file is None:
                raise LookupError(f"no source of {module} under {self._root}")
            statements = list(_top_level(ast.parse(file.read_bytes())))
            definitions: dict[str, list[ast.stmt]] = {}
            for statement in statements:
                for name in _defined_names(statement):
                    definitions.setdefault(name, []).append(statement)
            imports = self._imports_in(module, statements)
            self._modules[module] = _Module(definitions, imports)
        return self._modules[module]

    def _file(self, module: str) -> Path | None:
        base = self._root.joinpath(*module.split("."))
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
        return None

    def _imports_in(self, module: str, nodes: Iterable[ast.AST]) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    found[alias.asname or whole] = (whole, "")
            elif isinstance(node, ast.ImportFrom):
                origin = self._absolute(module, node)
                for alias in node.names:
                    if alias.name == "*" and origin.partition(".")[0] == self._package:
                        raise LookupError(f"{module} imports * from {origin}: name what it uses")
                    found[alias.asname or alias.name] = (origin, alias.name)
        return found

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        file = self._file(module)
        is_package = file is not None and file.name == "__init__.py"
        parents = module.split(".")[: None if is_package else -1]
        parents = parents[: len(parents) - (node.level - 1)]
        return ".".join([*parents, *([node.module] if node.module else [])])


class _Bare(ast.NodeTransformer):
    """Drops what does not run: docstrings and other lone strings, type hints of functions."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        lone_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if lone_string else node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def _function(self, node: _Function) -> _Function:
        self.generic_visit(node)
        node.returns = None
        node.body = node.body or [ast.Pass()]
        return node


def _top_level(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _top_level(node)
        elif isinstance(node, ast.stmt):
            yield node


def _defined_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [
            node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
        ]
    return []


def _dotted_names(nodes: list[ast.AST]) -> Iterator[str]:
    for child in nodes:
        if isinstance(child, ast.Name):
            yield child.id
        elif isinstance(child, ast.Attribute):
            chain, base = [child.attr], child.value
            while isinstance(base, ast.Attribute):
                chain.append(base.attr)
                base = base.value
            if isinstance(base, ast.Name):
                yield ".".join([base.id, *reversed(chain)])
