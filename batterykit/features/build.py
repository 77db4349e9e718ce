"""From raw nodes to feature nodes: computes what the cache does not hold, and nothing else.

Whatever is heavy (xarray, numba) is imported only when something has to be computed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batterykit.errors import StoreError, UsageError
from batterykit.features.ingredients import ROW_INPUTS, ingredients, to_text
from batterykit.features.kinds import (
    DEFAULT_CURVES,
    NODE_CODE,
    OPTIONS,
    ROW_CODE,
    Kind,
    Options,
    node_of,
    parameters_of,
)
from batterykit.features.rows import Rows, names_of, only, rows_of
from batterykit.features.sources import input_nodes, nodes_beside, read_raw
from batterykit.progress import no_track
from batterykit.store import cache
from batterykit.store.fingerprint import code_parts, hash_json

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from batterykit.progress import Track
    from batterykit.store import Store

ROWS_AT_ONCE = {"curve": 64, "cell": 4}  # what is picked from the raw data stays below 100 MB


@dataclass(frozen=True)
class Built:
    """What a build did.

    Parameters
    ----------
    node
        Path of the feature node.
    computed, reused, dropped
        Names of the rows (cells or curves) computed, taken from the cache, and no longer wanted.
    rows
        How many rows the node has.
    damaged
        Why the stored node could not be used, if it could not.
    """

    node: str
    computed: tuple[str, ...]
    reused: int
    dropped: tuple[str, ...]
    rows: int
    damaged: str | None = None


def refresh(
    store: Store,
    kind: Kind,
    options: Options | None = None,
    track: Track = no_track,
    *,
    curves: str = DEFAULT_CURVES,
    force: bool = False,
) -> Built:
    """Bring a feature set up to date and tell what was done.

    Parameters
    ----------
    store
        The store; the raw nodes of all its experiments are used.
    kind
        summary, sequence, ica or dma.
    options
        The parameters; the defaults when None.
    track
        Progress.
    curves
        Which voltage curves `ica` and `dma` use: 0.1C, 0.5C, GITT or hybrid.
    force
        Compute everything anew.

    Raises
    ------
    UsageError
        There is no such kind, or the options are not of that kind.
    InputError
        A half-cell file is not what it must be.
    StoreError
        The raw nodes are missing or damaged, or the store cannot be written.
    """
    if kind not in OPTIONS:
        raise UsageError(f"there are no features '{kind}'", fix=f"use one of {', '.join(OPTIONS)}")
    options = OPTIONS[kind]() if options is None else options
    if not isinstance(options, OPTIONS[kind]):
        raise UsageError(
            f"{type(options).__name__} are not options of '{kind}'",
            fix=f"pass {OPTIONS[kind].__name__}",
        )
    inputs = input_nodes(store, kind, curves)
    beside = nodes_beside(store, inputs, options)
    parameters = parameters_of(kind, options, curves)
    node = node_of(kind, parameters)
    manifest = cache.Manifest(
        inputs={name: store.attrs(name)["fingerprint"] for name in [*inputs, *beside]},
        parameters=parameters,
        code=code_parts(*NODE_CODE[kind]),
    )
    unchanged = None if force else _unchanged(store, kind, node, manifest)
    if unchanged is not None:
        return unchanged
    with cache.making(store, node, track):
        made_meanwhile = None if force else _unchanged(store, kind, node, manifest)
        return made_meanwhile or _renew(store, kind, options, node, inputs, manifest, track, force)


def _unchanged(store: Store, kind: str, node: str, manifest: cache.Manifest) -> Built | None:
    """Return what there is to say of a node that can be used as it is, else None."""
    if not store.has(node):
        return None
    held = cache.Manifest.of(store.attrs(node))
    if held is None or not manifest.same_origin(held) or not cache.is_sealed(store, node):
        return None
    built = Built(node, (), held.rows, (), held.rows)
    with contextlib.suppress(StoreError):  # a cached answer needs no writable store
        store.note(f"features {kind}", "nothing changed, nothing computed", _told(built))
    return built


def _renew(
    store: Store,
    kind: str,
    options: Options,
    node: str,
    inputs: list[str],
    manifest: cache.Manifest,
    track: Track,
    force: bool,
) -> Built:
    rows = rows_of(options)
    held, damaged = (None, None) if force else _held(store, node)
    stored: dict[str, str] = {}
    if held is not None:
        stored = dict(zip(rows.names(held), map(str, held["cache_key"].values), strict=True))
    row_code = hash_json(code_parts(ROW_CODE[kind]))
    wanted: dict[str, str] = {}
    pieces: list[xr.Dataset] = []
    read: dict[str, str] = {}  # which of its versions, should an ingest have replaced it meanwhile
    for name in inputs:
        raw = read_raw(store, name, options)
        read[name] = raw.attrs["fingerprint"]
        keys = {
            row: cache.row_key(contents, manifest.parameters, row_code)
            for row, contents in rows.contents(raw).items()
        }
        wanted |= keys
        todo = cache.plan(keys, stored).compute
        if todo:
            pieces.extend(_make(rows, raw, _batches(rows, todo, f"{kind} of {name}", track), keys))
    whole = cache.plan(wanted, stored)
    if held is not None and ROW_INPUTS not in held.coords:  # an earlier version wrote it
        nameless = _texts([""] * held.sizes[rows.dimension])
        held = held.assign_coords({ROW_INPUTS: (rows.dimension, nameless)})
    if held is not None and whole.reuse:
        kept = [k for k, row in enumerate(rows.names(held)) if row in set(whole.reuse)]
        pieces.append(held.isel({rows.dimension: kept}))
    dataset = rows.finish(_together(rows, pieces))
    dataset.attrs = {
        "title": f"batterykit features: {kind}",
        "parameters": _json_text(manifest.parameters),
        cache.MANIFEST: replace(
            manifest, inputs={**manifest.inputs, **read}, rows=len(wanted)
        ).to_json(),
    }
    built = Built(node, whole.compute, len(whole.reuse), whole.drop, len(wanted), damaged)
    command = f"features {kind}"
    store.write(
        node, dataset, command=command, note=_sentence(built), details=_told(built), replace=True
    )
    cache.seal(store, node, command=command, note="sealed", details={"rows": len(wanted)})
    return built


def _held(store: Store, node: str) -> tuple[xr.Dataset | None, str | None]:
    """Return the stored node if it is whole, and if it is there but not whole, why."""
    if not (store.path / node).exists():
        return None, None
    broken = cache.damage(store, node)
    if broken:
        return None, f"not as written: {', '.join(change.name for change in broken)}"
    try:
        return store.read(node), None
    except StoreError as error:
        return None, error.problem


def _batches(
    rows: Rows, todo: Sequence[str], description: str, track: Track
) -> Iterable[Sequence[str]]:
    at_once = ROWS_AT_ONCE[rows.dimension]
    return track(
        [todo[first : first + at_once] for first in range(0, len(todo), at_once)], description
    )


def _make(
    rows: Rows, raw: xr.Dataset, batches: Iterable[Sequence[str]], keys: Mapping[str, str]
) -> Iterator[xr.Dataset]:
    of_row = rows.names(raw)
    for batch in batches:
        wanted = set(batch)
        part = only(raw, [k for k, row in enumerate(of_row) if row in wanted])
        made = rows.make(part)
        of = ingredients(part, names_of(part), rows.dimension)
        made = made.assign_coords(
            cache_key=(
                rows.dimension,
                _texts([keys[row] for row in rows.names(made)]),
                {"long_name": "hash of the row's input, the parameters and the code"},
            ),
            cache_inputs=(
                rows.dimension,
                _texts([to_text(of[row]) for row in rows.names(made)]),
                {"long_name": "hashes of the measurements that the row was made from"},
            ),
        )
        yield made


def _together(rows: Rows, pieces: list[xr.Dataset]) -> xr.Dataset:
    import numpy as np
    import xarray as xr

    plain = [_with_plain_texts(piece.drop_dims("peak", errors="ignore")) for piece in pieces]
    if rows.dimension == "cell":
        longest = max(int(piece["n_rpt"].max()) for piece in plain)  # kept rows may be padded more
        fill = {name: rows.absent.get(str(name), np.nan) for name in plain[0].data_vars}
        plain = [
            piece.reindex(rpt=range(longest), fill_value=fill).assign_coords(
                rpt=("rpt", np.arange(longest), plain[0]["rpt"].attrs)
            )
            for piece in plain
        ]
    whole = xr.concat(
        plain,
        dim=rows.dimension,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    order = sorted(range(whole.sizes[rows.dimension]), key=rows.names(whole).__getitem__)
    return whole.isel({rows.dimension: order})


def _with_plain_texts(dataset: xr.Dataset) -> xr.Dataset:
    texts = {
        name: (variable.dims, _texts(variable.values), variable.attrs)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "OUT"
    }
    return dataset.assign_coords(texts)


def _texts(values: list[str] | np.ndarray) -> np.ndarray:
    import numpy as np

    return np.array([str(value) for value in values], dtype=object)


def _json_text(parameters: Mapping[str, Any]) -> str:
    return json.dumps(dict(parameters), sort_keys=True)


def _sentence(built: Built) -> str:
    said = f"computed {len(built.computed)}, reused {built.reused}, dropped {len(built.dropped)}"
    return f"stored features were damaged ({built.damaged}): {said}" if built.damaged else said


def _told(built: Built) -> dict[str, Any]:
    return {
        "node": built.node,
        "rows": built.rows,
        "computed": list(built.computed),
        "reused": built.reused,
        "dropped": list(built.dropped),
    }
