"""What feature nodes a store holds, how large they are, whether they are whole; and their removal.

A store of features is a cache: all of it can be removed, and a run makes it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batterykit.errors import UsageError
from batterykit.features.kinds import NODE_CODE, OPTIONS
from batterykit.features.provenance import State, manifest, state, unusual, why
from batterykit.store import cache
from batterykit.store.fingerprint import code_parts

if TYPE_CHECKING:
    from batterykit.store import Store

_SHORTEST_HASH = 4  # hex digits: fewer are too easily somebody else's


@dataclass(frozen=True)
class Entry:
    """What is known of a feature node.

    Parameters
    ----------
    node, kind
        Its path, and which features it holds.
    parameters
        Those that differ from the default.
    rows
        How many it has; None where it does not say any more.
    bytes
        Size on disk.
    created, written
        When it was written for the first and for the last time; UTC, ISO 8601.
    used, computed, reused
        When a run last brought it up to date or found it so, and how many rows that run computed
        and reused.
    state, reason
        Whether it can be used as it is, and if not, why not, in a few words.
    """

    node: str
    kind: str
    parameters: Mapping[str, Any]
    rows: int | None
    bytes: int
    created: str | None
    written: str | None
    used: str | None
    computed: int | None
    reused: int | None
    state: State
    reason: str


@dataclass(frozen=True)
class Damage:
    """What is wrong with a feature node.

    Parameters
    ----------
    node
        Its path.
    files
        Files that are not as they were written, and how: changed, new or gone.
    what
        What reading the node met, or that nothing was met.
    command
        What makes it whole again.
    """

    node: str
    files: Mapping[str, str]
    what: str
    command: str


def feature_nodes(store: Store) -> list[str]:
    """Return the paths of all feature nodes, damaged ones included."""
    return [node for node in store.expected_nodes() if node.startswith("features/")]


def find(store: Store, names: Sequence[str]) -> list[str]:
    """Return the feature nodes that are meant by path, by kind, or by the start of their hash.

    Raises
    ------
    UsageError
        A name fits no feature node.
    """
    there = feature_nodes(store)
    found: set[str] = set()
    for name in names:
        meant = [node for node in there if _is_meant(node, name.strip("/"))]
        if not meant:
            raise UsageError(
                f"there is no feature node '{name}' in {store.path}",
                fix="name one of `batterykit cache info`, or a kind, such as ica; anything else "
                "in the store is no cache: see `batterykit store remove`",
            )
        found.update(meant)
    return sorted(found)


def _is_meant(node: str, name: str) -> bool:
    _, kind, digest = node.split("/", 2)
    by_hash = len(name) >= _SHORTEST_HASH and digest.startswith(name)
    return by_hash or name in ("features", kind, f"features/{kind}", f"{kind}/{digest}", node)


def entries(store: Store, nodes: Sequence[str]) -> list[Entry]:
    """Return what is known of feature nodes; only those without a seal are read for it."""
    log = store.log()
    code = {
        kind: code_parts(*NODE_CODE[kind])
        for kind in {node.split("/")[1] for node in nodes}
        if kind in OPTIONS
    }
    return [_entry(store, node, log, code.get(node.split("/")[1])) for node in nodes]


def _entry(
    store: Store, node: str, log: Sequence[Mapping[str, Any]], code: Mapping[str, str] | None
) -> Entry:
    kind = node.split("/")[1]
    held = manifest(store, node)
    now, reason = state(store, node, held, code)
    written = [line["time"] for line in log if line["node"] == node and "id" in line]
    runs = [
        line for line in log if line["details"].get("node") == node and "reused" in line["details"]
    ]
    told = runs[-1]["details"] if runs else {}
    return Entry(
        node=node,
        kind=kind,
        parameters=unusual(kind, held.parameters) if held and kind in OPTIONS else {},
        rows=held.rows if held else None,
        bytes=size(store.path / node),
        created=written[0] if written else None,
        written=written[-1] if written else None,
        used=runs[-1]["time"] if runs else None,
        computed=len(told["computed"]) if told else None,
        reused=told.get("reused"),
        state=now,
        reason=reason,
    )


def look_for_damage(store: Store, node: str) -> Damage | None:
    """Read a feature node and compare it with its seal and fingerprint; None if it is whole."""
    files = {change.name: change.how for change in cache.damage(store, node)}
    problems = store.verify([node])
    if not files and not problems:
        return None
    what = problems[0].what if problems else f"node '{node}' is damaged: its files were changed"
    return Damage(node, files, what, why(store, node).command)


def clear(store: Store, nodes: Iterable[str]) -> int:
    """Remove feature nodes, each when no run is making it; return how many bytes that freed.

    Raises
    ------
    StoreError
        The store cannot be written.
    """
    freed = 0
    for node in nodes:
        with cache.making(store, node):
            if (store.path / node).exists():  # and not removed meanwhile by another
                freed += size(store.path / node)
                store.remove(node, command="cache clear")
    return freed


def size(folder: Path) -> int:
    """Return how many bytes the files of a folder take."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def compiled_code(module: str = "*") -> tuple[Path, int]:
    """Return where numba keeps the compiled kernels (of one module), and their size in bytes.

    They are made again when the kernels or numba change, and are not part of any store. Where the
    package's folder cannot be written, numba keeps them in a folder of the user's that is not seen
    here.
    """
    package = Path(__file__).parent
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else package / "__pycache__"
    return folder, sum(file.stat().st_size for file in folder.rglob(f"{module}.*.nb[ci]"))
