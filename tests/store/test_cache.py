"""The plan of a cached computation: what is reused, computed, dropped, and what is trusted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.store import Store, cache
from batterykit.store.cache import MANIFEST, Change, Manifest, plan, row_key
from tests.store.datasets import curves

T = TypeVar("T")
KEYS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"))
NODE = "raw/expt5/curves/0.1C"


@given(wanted=KEYS, stored=KEYS)
def test_every_wanted_row_is_either_reused_or_computed_and_the_rest_dropped(
    wanted: dict[str, str], stored: dict[str, str]
) -> None:
    found = plan(wanted, stored)
    assert sorted(found.reuse + found.compute) == sorted(wanted)
    assert all(stored[name] == wanted[name] for name in found.reuse)
    assert all(stored.get(name) != wanted[name] for name in found.compute)
    assert set(found.drop) == set(stored) - set(wanted)


@given(wanted=KEYS)
def test_nothing_is_computed_when_everything_is_stored(wanted: dict[str, str]) -> None:
    assert plan(wanted, dict(reversed(wanted.items()))).compute == ()


def test_a_key_changes_with_content_parameters_and_code_and_with_nothing_else() -> None:
    key = row_key(["content"], {"width": 0.01, "peaks": 8}, "code")
    assert key == row_key(["content"], {"peaks": 8, "width": 0.01}, "code")
    others = {
        row_key(["other"], {"width": 0.01, "peaks": 8}, "code"),
        row_key(["content"], {"width": 0.02, "peaks": 8}, "code"),
        row_key(["content"], {"width": 0.01, "peaks": 8}, "other"),
    }
    assert len(others | {key}) == 4


def test_a_manifest_survives_the_trip_through_attributes() -> None:
    manifest = Manifest({"raw/expt5/summary": "f"}, {"window": [2.5, 4.2]}, {"m:f": "h"}, rows=3)
    held = Manifest.of({MANIFEST: manifest.to_json()})
    assert held == manifest
    assert manifest.same_origin(held)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"inputs": {}}', '{"rows": 1, "x": 2}'])
def test_a_broken_manifest_is_none_at_all(text: str | None) -> None:
    attrs = {} if text is None else {MANIFEST: text}
    assert Manifest.of(attrs) is None
    assert not Manifest({}, {}, {}).same_origin(Manifest.of(attrs))


ORIGINS = st.builds(Manifest, inputs=KEYS, parameters=KEYS, code=KEYS, rows=st.integers(0, 9))


@given(held=ORIGINS, now=ORIGINS)
def test_there_are_changes_exactly_where_the_origin_differs(held: Manifest, now: Manifest) -> None:
    found = cache.changes(held, now)
    assert (found == ()) == held.same_origin(now)
    for change in found:
        what = {"input": "inputs", "parameter": "parameters", "code": "code"}[change.what]
        before, after = getattr(held, what), getattr(now, what)
        assert (change.before, change.now) == (before.get(change.name), after.get(change.name))
        assert change.before != change.now
        assert change.how == (
            "new" if change.before is None else "gone" if change.now is None else "changed"
        )


def test_a_parameter_that_became_none_has_changed_and_is_not_gone() -> None:
    held, now = Manifest({}, {"width": 0.01}, {}), Manifest({}, {"width": None}, {})
    assert cache.changes(held, now) == (Change("parameter", "width", "changed", 0.01, None),)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open_or_create(tmp_path / "s.zarr")
    store.write(NODE, curves(), command="test")
    return store


def test_a_node_is_trusted_unread_only_while_its_files_are_those_sealed(store: Store) -> None:
    assert not cache.is_sealed(store, NODE)
    cache.seal(store, NODE, command="test", note="sealed", details={})
    assert cache.is_sealed(store, NODE)
    chunk = max((store.path / NODE).rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    assert not cache.is_sealed(store, NODE)


def test_the_newest_seal_counts(store: Store) -> None:
    cache.seal(store, NODE, command="test", note="sealed", details={})
    store.write(NODE, curves(seed=1), command="test", replace=True)
    assert not cache.is_sealed(store, NODE)
    cache.seal(store, NODE, command="test", note="sealed", details={})
    assert cache.is_sealed(store, NODE)


def test_a_node_written_or_removed_since_its_seal_counts_as_unsealed(store: Store) -> None:
    cache.seal(store, NODE, command="test", note="sealed", details={})
    store.write(NODE, curves(), command="test", replace=True)  # the same bytes once more
    assert not cache.is_sealed(store, NODE)
    assert cache.damage(store, NODE) == ()
    cache.seal(store, NODE, command="test", note="sealed", details={})
    store.remove(NODE, command="test")
    assert not cache.is_sealed(store, NODE)
    assert cache.damage(store, NODE) == ()


def test_a_node_that_is_gone_is_not_sealed(store: Store) -> None:
    store.remove(NODE, command="test")
    cache.seal(store, NODE, command="test", note="sealed", details={})
    assert [line["note"] for line in store.log()][-1] == "removed"


def test_a_flipped_byte_of_any_file_is_named(store: Store) -> None:
    cache.seal(store, NODE, command="test", note="sealed", details={})
    assert cache.damage(store, NODE) == ()
    folder = store.path / NODE
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        (found,) = cache.damage(store, NODE)
        assert (found.name, found.how) == (file.relative_to(folder).as_posix(), "changed")
        file.write_bytes(whole)
    assert cache.is_sealed(store, NODE)


def test_a_lost_a_foreign_and_a_renamed_file_are_named(store: Store) -> None:
    cache.seal(store, NODE, command="test", note="sealed", details={})
    folder = store.path / NODE
    (folder / "stray").write_text("?")
    (folder / "voltage" / "zarr.json").rename(folder / "voltage" / "zarr.old")
    found = {change.name: change.how for change in cache.damage(store, NODE)}
    assert found == {"stray": "new", "voltage/zarr.json": "gone", "voltage/zarr.old": "new"}


def test_touching_the_files_breaks_no_seal(store: Store) -> None:
    cache.seal(store, NODE, command="test", note="sealed", details={})
    for file in (store.path / NODE).rglob("*"):
        file.touch()
    assert cache.is_sealed(store, NODE)


def test_the_manifest_is_json_that_any_reader_understands() -> None:
    manifest = Manifest({"a": "1"}, {"p": None}, {})
    assert json.loads(manifest.to_json())["inputs"] == {"a": "1"}


def test_what_one_makes_another_waits_for_and_says_so(store: Store) -> None:
    happened: list[str] = []
    waiting = threading.Event()

    def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        del total
        happened.append(description)
        waiting.set()
        yield from iterable

    def second() -> None:
        with cache.making(store, NODE, track):
            happened.append("second")

    with cache.making(store, NODE):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        store.note("test", "the store is free meanwhile")
        with cache.making(store, "features/ica/other"):
            happened.append("first")
    thread.join(30)
    assert happened == [f"another run makes {NODE}: waiting", "first", "second"]


def test_a_killed_process_holds_nothing(store: Store) -> None:
    script = (
        "import os, pathlib, signal; from batterykit.store import Store, cache\n"
        f"with cache.making(Store.open(pathlib.Path({str(store.path)!r})), {NODE!r}):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    started = threading.Event()

    def hold() -> None:
        with cache.making(store, NODE):
            started.set()

    threading.Thread(target=hold, daemon=True).start()
    assert started.wait(30)
