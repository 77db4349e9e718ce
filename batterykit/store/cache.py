"""What a feature node already holds and what must be computed: pure planning, no features here.

A feature node is its own cache. Every row (a cell or a curve) has a key, the hash of the bytes it
was made from, of all parameters and of the code that made it. A row whose key is still wanted is
reused, whatever the history of the store.

The log says what a node's files were when it was whole (its seal), so that damage is noticed, and
named, without reading the node.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from batterykit.progress import no_track
from batterykit.store.fingerprint import hash_bytes, hash_json
from batterykit.store.store import PRIVATE

if TYPE_CHECKING:
    from pathlib import Path

    from batterykit.progress import Track
    from batterykit.store import Store

MANIFEST = "cache_manifest"
"""Global attribute of a feature node: JSON text of its `Manifest`."""

DIGITS_LOGGED = 8  # of each file's hash: it only has to name the file, the seal finds the damage
LOOKS = 3  # before a node that others may be writing is called damaged


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
class Change:
    """One thing in which what a node was made from differs from what there is now.

    Parameters
    ----------
    what
        Whether it is an input node, a row's input, a parameter, a definition in the code, or a
        file of the node itself.
    name
        Which one.
    how
        changed, new (not there when the node was made) or gone (not there now).
    before, now
        Values of a parameter, hashes of anything else; None where there is none.
    parts
        Of a row's input, the names of the measurements that differ, where they are known.
    """

    what: Literal["input", "row", "parameter", "code", "file"]
    name: str
    how: Literal["changed", "new", "gone"]
    before: Any = None
    now: Any = None
    parts: tuple[str, ...] = ()


def changes(held: Manifest, now: Manifest) -> tuple[Change, ...]:
    """Return where two manifests differ: inputs, parameters, code, each in sorted order."""
    return (
        *_changed("input", held.inputs, now.inputs),
        *_changed("parameter", held.parameters, now.parameters),
        *_changed("code", held.code, now.code),
    )


def _changed(
    what: Literal["input", "parameter", "code", "file"],
    before: Mapping[str, Any],
    now: Mapping[str, Any],
) -> Iterator[Change]:
    for name in sorted({*before, *now}):
        if name not in before:
            yield Change(what, name, "new", now=now[name])
        elif name not in now:
            yield Change(what, name, "gone", before=before[name])
        elif before[name] != now[name]:
            yield Change(what, name, "changed", before[name], now[name])


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


def hashes_of(folder: Path) -> dict[str, str]:
    """Return the hash of every file in a folder, by its path within the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): hash_bytes(file.read_bytes()) for file in files}


def seal(store: Store, node: str, *, command: str, note: str, details: Mapping[str, Any]) -> None:
    """Log that a node is whole, with the hashes of its files."""
    with store.writing():  # else another run could replace the node while it is being hashed
        if (store.path / node).exists():  # and not removed meanwhile
            files = hashes_of(store.path / node)
            told = {"node": node, "seal": hash_json(files), "files": _short(files)}
            store.note(command, note, {**details, **told})


def is_sealed(store: Store, node: str) -> bool:
    """Return whether the node's files are those of its last seal.

    That answers in a few milliseconds, without zarr, whether a node can be trusted unread. False
    is no proof of damage (a killed run leaves a whole node unsealed): see `damage`.
    """
    found = _last_seal(store.log(), node)
    return found is not None and bool(found["seal"] == hash_json(_hashes_now(store, node)))


def damage(store: Store, node: str) -> tuple[Change, ...]:
    """Return the files of a node that are not as they were when it was sealed.

    Returns
    -------
    tuple of Change
        Empty for a node that is as it was sealed, and for one not sealed since it was written:
        such a node has to be read to know.
    """
    return examine(store, node)[1]


def examine(store: Store, node: str) -> tuple[bool, tuple[Change, ...]]:
    """Return whether the node's files are those of its seal, and its `damage` if they are not."""
    found: tuple[Change, ...] = ()
    for _ in range(LOOKS):
        store.has(node)  # waits for a writer that is moving the node into its place
        sealed = _last_seal(store.log(), node)
        if sealed is None:
            return False, ()
        files = _hashes_now(store, node)
        if sealed["seal"] == hash_json(files):
            return True, ()
        found = tuple(_changed("file", sealed["files"], _short(files)))
    return False, found


@contextlib.contextmanager
def making(store: Store, node: str, track: Track = no_track) -> Iterator[None]:
    """Hold a node while it is made: another run that wants the same waits, then finds it made.

    The store itself stays free for others to write. The operating system lets go of what a killed
    process held.

    Parameters
    ----------
    store, node
        What is made, and where.
    track
        Shows that a run waits for another.
    """
    import filelock

    folder = store.path / PRIVATE / "making"
    lock = filelock.FileLock(folder / f"{node.replace('/', '-')}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        for _ in track([node], f"another run makes {node}: waiting"):
            lock.acquire()
    except OSError:  # a store that cannot be written: writing the node says so, and says why
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _last_seal(log: Sequence[Mapping[str, Any]], node: str) -> Mapping[str, Any] | None:
    """Return the details of the node's seal; None if it was written or removed since."""
    for entry in reversed(log):
        details = entry.get("details") or {}
        if entry.get("node") == node:
            return None
        if details.get("node") == node and "files" in details:
            return dict(details)
    return None


def _hashes_now(store: Store, node: str) -> dict[str, str]:
    try:
        return hashes_of(store.path / node)
    except FileNotFoundError:  # another process replaces the node at this moment
        return {}


def _short(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest[:DIGITS_LOGGED] for name, digest in files.items()}
