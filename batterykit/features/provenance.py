"""Where a feature node comes from and what has changed since: questions only, nothing is written.

The answers are those of `build`, asked without computing: the same inputs, keys and plan. What is
up to date is found so by hashes alone; only a node that is not makes it read the raw data.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from batterykit.errors import StoreError, UsageError
from batterykit.features.ingredients import ROW_INPUTS, differing, ingredients
from batterykit.features.kinds import (
    DEFAULT_CURVES,
    NODE_CODE,
    OPTIONS,
    ROW_CODE,
    Options,
    node_of,
    parameters_of,
)
from batterykit.features.rows import Rows, names_of, only, rows_of
from batterykit.features.sources import input_nodes, nodes_beside, read_raw
from batterykit.store import cache
from batterykit.store.cache import Change, Manifest
from batterykit.store.fingerprint import code_parts, hash_json

if TYPE_CHECKING:
    import xarray as xr

    from batterykit.store import Store

State = Literal["current", "stale", "unsealed", "damaged", "absent"]
"""Unsealed: whole and of today's origin, but a run was stopped before it could say so; the next run
reads it and says so. Absent: never computed, or removed.
"""

PARTS_SHOWN = 4


@dataclass(frozen=True)
class Why:
    """What changed since a node was computed, and what the next run will do about it.

    Parameters
    ----------
    node, state
        Its path, and whether it can be used as it is.
    command
        The run that brings it up to date.
    changes
        Everything that differs; none when the next run reuses the node as it is.
    compute, drop
        Rows that the next run computes and drops.
    reuse
        How many rows it takes from the cache.
    compared_with
        Where the node is absent, the one of the same kind with the most similar parameters.
    problem
        Why there is no such run, or why it would fail.
    """

    node: str
    state: State
    command: str
    changes: tuple[Change, ...] = ()
    compute: tuple[str, ...] = ()
    reuse: int = 0
    drop: tuple[str, ...] = ()
    compared_with: str | None = None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the answer for `--json`, each change with its sentence."""
        told = [asdict(change) | {"said": sentence(change)} for change in self.changes]
        return asdict(self) | {"changes": told}


class Origin(NamedTuple):
    """What a node of some parameters would be made from now."""

    kind: str
    options: Options
    inputs: list[str]
    manifest: Manifest


def sentence(change: Change) -> str:
    """Say a change in words, with the old and the new value of a parameter."""
    if change.what == "parameter":
        return f"parameter {change.name}: {_value(change.before)} -> {_value(change.now)}"
    if change.what == "row":
        if change.how != "changed":
            return f"{change.name}: {'new' if change.how == 'new' else 'gone'}"
        parts = _by_curve(change.parts) or ["measurements"]
        more = len(parts) - PARTS_SHOWN
        shown = "; ".join(parts[:PARTS_SHOWN])
        return f"{change.name}: its {shown}{f' and {more} more' if more > 0 else ''} changed"
    kind = {"input": "input", "code": "code", "file": "stored file"}[change.what]
    return f"{kind} {change.name}: {change.how}"


def _by_curve(parts: Sequence[str]) -> list[str]:
    """Join the measurements of the same curve: `RPT03 discharge 0.1C charge, voltage`."""
    curves: dict[str, list[str]] = {}
    for part in parts:
        curve, _, measurement = part.rpartition(" ")
        curves.setdefault(curve, []).append(measurement)
    return [f"{curve} {', '.join(names)}".strip() for curve, names in curves.items()]


def _value(value: Any) -> str:  # noqa: ANN401 - whatever a parameter may be
    if isinstance(value, Mapping):  # a file, known by its content
        return f"{value.get('file')} ({str(value.get('content_hash'))[:8]})"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "none" if value is None else str(value)


# -- parameters ----------------------------------------------------------------------------------


def default_parameters(kind: str) -> dict[str, Any]:
    """Return the parameters of `batterykit features KIND` without options.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    if kind not in OPTIONS:
        raise UsageError(f"there are no features '{kind}'", fix=f"use one of {', '.join(OPTIONS)}")
    return parameters_of(kind, OPTIONS[kind]())


def unusual(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that differ from the default."""
    default = default_parameters(kind)
    return {
        name: value
        for name, value in parameters.items()
        if name not in default or default[name] != value
    }


def command(kind: str, parameters: Mapping[str, Any]) -> str:
    """Return the command that makes the features with these parameters."""
    words = ["batterykit", "features", kind]
    for name, value in unusual(kind, parameters).items():
        if name != "curves" and name not in OPTIONS[kind].model_fields:
            continue
        words.append("--kind" if name == "curves" else f"--{name.replace('_', '-')}")
        if isinstance(value, Mapping):  # a file, known by its content
            words.append(str(value.get("file")))
        elif isinstance(value, list):
            words.extend(map(str, value))
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)


def _options(kind: str, parameters: Mapping[str, Any]) -> Options:
    if set(parameters) != set(default_parameters(kind)):
        raise UsageError(
            f"another version made it, whose parameters of '{kind}' were not the same",
            fix=f"run `batterykit features {kind}`, then `batterykit cache clear {kind} --stale`",
        )
    given = {
        name: value
        for name, value in parameters.items()
        if name in OPTIONS[kind].model_fields
        and not isinstance(value, Mapping)  # of a file, only the content
    }
    try:
        return OPTIONS[kind].model_validate(given)
    except ValueError as error:
        raise UsageError(
            f"this version does not take its parameters ({error})",
            fix=f"run `batterykit features {kind}`, then `batterykit cache clear {kind} --stale`",
        ) from error


# -- what there would be now ---------------------------------------------------------------------


def origin(
    store: Store,
    kind: str,
    parameters: Mapping[str, Any],
    code: Mapping[str, str] | None = None,
) -> Origin:
    """Return what a node with these parameters would be made from now.

    Parameters
    ----------
    store, kind, parameters
        Which node.
    code
        The parts of the code that makes this kind, if they are known.

    Raises
    ------
    StoreError
        The raw nodes are missing or damaged.
    UsageError
        There is no such kind, or this version knows no such parameters.
    """
    options = _options(kind, parameters)
    inputs = input_nodes(store, kind, parameters.get("curves", DEFAULT_CURVES))
    beside = nodes_beside(store, inputs, options)
    fingerprints = {name: store.attrs(name)["fingerprint"] for name in [*inputs, *beside]}
    now = Manifest(fingerprints, dict(parameters), code or code_parts(*NODE_CODE[kind]))
    return Origin(kind, options, inputs, now)


def manifest(store: Store, node: str) -> Manifest | None:
    """Return what a stored node was made from; None if it does not say."""
    return Manifest.of(store.attrs(node)) if store.has(node) else None


def state(
    store: Store, node: str, held: Manifest | None, code: Mapping[str, str] | None = None
) -> tuple[State, str]:
    """Return the state of a stored node, and the reason in a few words.

    Parameters
    ----------
    store, node
        Which node.
    held
        Its manifest, see `manifest`.
    code
        As for `origin`.
    """
    sealed, broken = cache.examine(store, node)
    if broken:
        return "damaged", ", ".join(change.name for change in broken)
    problems = [] if sealed else store.verify([node])
    if problems:
        return "damaged", problems[0].what
    if held is None:
        return "stale", "it does not say what it was made from"
    try:
        now = origin(store, node.split("/")[1], held.parameters, code).manifest
    except (StoreError, UsageError) as error:
        return "stale", error.problem
    if not held.same_origin(now):
        found = dict.fromkeys(change.what for change in cache.changes(held, now))
        return "stale", f"other {' and '.join(found)}"
    return ("current" if sealed else "unsealed"), ""


# -- what the next run will do -------------------------------------------------------------------


def why(store: Store, node: str) -> Why:
    """Return what changed since a stored node was computed, and what the next run will do."""
    kind = node.split("/")[1]
    held = manifest(store, node)
    now_state, _ = state(store, node, held)
    run = f"batterykit features {kind}"
    try:
        if held is None and node_of(kind, default_parameters(kind)) != node:
            raise UsageError(
                "it does not say any more with which parameters it was made",
                fix=f"run `batterykit cache clear {node} --force`; a run with the same parameters "
                "makes it again",
            )
        parameters = held.parameters if held else default_parameters(kind)
        now = origin(store, kind, parameters)
        run = command(kind, parameters)
        if held is not None and now_state == "current":
            return Why(node, now_state, run, reuse=held.rows)
        return _compared(store, Why(node, now_state, run, cache.damage(store, node)), held, now)
    except (StoreError, UsageError) as error:
        return Why(node, now_state, run, cache.damage(store, node), problem=str(error))


def why_kind(store: Store, kind: str, stored: Mapping[str, Manifest | None]) -> Why:
    """Return what `batterykit features KIND` without options will do, and why.

    Parameters
    ----------
    store
        The store.
    kind
        Which features.
    stored
        The feature nodes that there are, each with its manifest.
    """
    parameters = default_parameters(kind)
    node = node_of(kind, parameters)
    if node in stored:
        return why(store, node)
    run = Why(node, "absent", command(kind, parameters))
    try:
        now = origin(store, kind, parameters)
        planned = _compared(store, run, None, now)
    except (StoreError, UsageError) as error:
        return Why(node, "absent", run.command, problem=str(error))
    others = {
        name: [c for c in cache.changes(held, now.manifest) if c.what == "parameter"]
        for name, held in stored.items()
        if held is not None and name.split("/")[1] == kind
    }
    if not others:
        return planned
    nearest = min(sorted(others), key=lambda name: len(others[name]))
    return Why(
        **{name: getattr(planned, name) for name in ("node", "state", "command", "compute")},
        changes=tuple(others[nearest]),
        compared_with=nearest,
    )


def _compared(store: Store, known: Why, held: Manifest | None, now: Origin) -> Why:
    """Plan as `build` does, and give the reason for each row that is computed."""
    rows = rows_of(now.options)
    readable = known.state in ("stale", "unsealed")
    dataset = store.read(known.node) if readable else None
    stored: dict[str, str] = {}
    if dataset is not None:
        stored = dict(zip(rows.names(dataset), map(str, dataset["cache_key"].values), strict=True))
    parts = code_parts(ROW_CODE[now.kind])
    row_code = hash_json(parts)
    same_code = held is not None and all(held.code.get(k) == part for k, part in parts.items())
    wanted: dict[str, str] = {}
    reasons: list[Change] = []
    for name in now.inputs:
        raw = read_raw(store, name, now.options)
        contents = rows.contents(raw)
        keys = {
            row: cache.row_key(content, now.manifest.parameters, row_code)
            for row, content in contents.items()
        }
        wanted |= keys
        if dataset is not None:
            todo = cache.plan(keys, stored).compute
            reasons += _reasons(rows, dataset, raw, todo, same_code)
    plan = cache.plan(wanted, stored)
    gone = [Change("row", row, "gone", before=stored[row]) for row in plan.drop]
    differences = cache.changes(held, now.manifest) if held is not None else ()
    return Why(
        known.node,
        known.state,
        known.command,
        (*known.changes, *differences, *reasons, *gone),
        plan.compute,
        len(plan.reuse),
        plan.drop,
    )


def _reasons(
    rows: Rows, dataset: xr.Dataset, raw: xr.Dataset, todo: Sequence[str], same_code: bool
) -> Iterator[Change]:
    """Say of each row to be computed whether it is new or what it is made from has changed."""
    kept = dict.fromkeys(rows.names(dataset), "")
    if ROW_INPUTS in dataset.coords:
        kept = dict(zip(kept, map(str, dataset[ROW_INPUTS].values), strict=True))
    told = {row for row in todo if kept.get(row)}
    now: dict[str, dict[str, str]] = {}
    if told:
        part = only(raw, [k for k, row in enumerate(rows.names(raw)) if row in told])
        now = ingredients(part, names_of(part), rows.dimension)
    for row in todo:
        parts = differing(kept[row], now[row]) if row in told else ()
        if row not in kept:
            yield Change("row", row, "new")
        elif parts or same_code:
            yield Change("row", row, "changed", parts=parts)
