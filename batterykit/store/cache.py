"""What a feature node already holds and what must be computed: pure planning, no features here.

A feature node is its own cache. Every row (a cell or a curve) has a key, the hash of the bytes it
was made from, of all parameters and of the code that made it. A row whose key is still wanted is
reused, whatever the history of the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batterykit.store.fingerprint import HASH_DIGITS, hash_json

if TYPE_CHECKING:
    from pathlib import Path

    from batterykit.store import Store

MANIFEST = "cache_manifest"
"""Global attribute of a feature node: JSON text of its `Manifest`."""


@dataclass(frozen=True)
class Manifest:
    """What a node was made from; equal manifests mean equal content.

    Parameters
    ----------
    inputs
        Input node -> its fingerprint.
    parameters
        All parameters, as JSON can hold them.
    code
        `module:name` of every definition used -> hash of its source.
    rows
        How many rows the node has.
    """

    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    code: Mapping[str, str]
    rows: int = 0

    def same_origin(self, other: Manifest | None) -> bool:
        """Return whether both were made from the same inputs, parameters and code."""
        return other is not None and (
            (dict(self.inputs), dict(self.parameters), dict(self.code))
            == (dict(other.inputs), dict(other.parameters), dict(other.code))
        )

    def to_json(self) -> str:
        """Return the manifest as canonical JSON text."""
        return json.dumps(self.__dict__, sort_keys=True)

    @staticmethod
    def of(attrs: Mapping[str, Any]) -> Manifest | None:
        """Return the manifest in a node's global attributes; None when there is no whole one."""
        try:
            return Manifest(**json.loads(attrs[MANIFEST]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Plan:
    """Which rows are reused, computed and dropped, by name, each in sorted order."""

    reuse: tuple[str, ...]
    compute: tuple[str, ...]
    drop: tuple[str, ...]


def row_key(contents: Sequence[str], parameters: Mapping[str, Any], code: str) -> str:
    """Return the key of a row: hash of its input hashes, all parameters and the code."""
    return hash_json([list(contents), dict(parameters), code])


def plan(wanted: Mapping[str, str], stored: Mapping[str, str]) -> Plan:
    """Compare the rows wanted (name -> key) with the rows stored.

    Returns
    -------
    Plan
        A stored row with another key is computed again; one that is not wanted is dropped.
    """
    reuse = tuple(sorted(name for name, key in wanted.items() if stored.get(name) == key))
    return Plan(
        reuse=reuse,
        compute=tuple(sorted(set(wanted) - set(reuse))),
        drop=tuple(sorted(set(stored) - set(wanted))),
    )


def seal_of(folder: Path) -> str:
    """Return the hash of all files in a folder: names and bytes."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()[:HASH_DIGITS]


def seal(store: Store, node: str, *, command: str, note: str, details: Mapping[str, Any]) -> None:
    """Log that a node is whole, with the hash of its files."""
    store.note(command, note, {**details, "node": node, "seal": seal_of(store.path / node)})


def is_sealed(store: Store, node: str) -> bool:
    """Return whether the node's files are those of its last seal.

    That answers in a few milliseconds, without zarr, whether a node can be trusted unread. False
    is no proof of damage (a killed run leaves a whole node unsealed): read the node to know.
    """
    for entry in reversed(store.log()):
        details = entry.get("details") or {}
        if details.get("node") == node and "seal" in details:
            return bool(details["seal"] == seal_of(store.path / node))
    return False
