"""From raw nodes to feature nodes: computes what the cache does not hold, and nothing else.

Whatever is heavy (xarray, numba) is imported only when something has to be computed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from batterykit.errors import StoreError, UsageError
from batterykit.features.options import (
    DmaOptions,
    IcaOptions,
    SequenceOptions,
    SummaryOptions,
)
from batterykit.progress import no_track
from batterykit.store import cache
from batterykit.store.fingerprint import code_parts, hash_arrays, hash_json

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from batterykit.progress import Track
    from batterykit.store import Store

    Options = SummaryOptions | SequenceOptions | IcaOptions | DmaOptions

Kind = Literal["summary", "sequence", "ica", "dma"]
OPTIONS: dict[str, type[Options]] = {
    "summary": SummaryOptions,
    "sequence": SequenceOptions,
    "ica": IcaOptions,
    "dma": DmaOptions,
}
OF_CURVES = ("ica", "dma")
"""The kinds that are made from voltage curves; the others are made from the summaries."""
ROW_CODE = {
    "summary": "batterykit.features.summary:summary",
    "sequence": "batterykit.features.sequence:sequence",
    "ica": "batterykit.features.ica:analyse",
    "dma": "batterykit.features.dma:dma",
}
"""What makes one row; a row is reused as long as this and all it refers to stay as they are."""
NODE_CODE = ROW_CODE | {"ica": "batterykit.features.ica:ica"}
"""What makes the node of its rows."""

PULSES = ("GITT", "hybrid")
"""The curves that tell how the resistance depends on the state of charge."""

HASH_IN_PATH = 12  # hex digits: 2^48 parameter sets before two are likely to meet
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
    curves: str = "0.1C",
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
    inputs = _input_nodes(store, kind, curves)
    beside = _nodes_beside(store, inputs, options)
    parameters = options.model_dump(mode="json") | ({"curves": curves} if kind in OF_CURVES else {})
    node = f"features/{kind}/{hash_json(parameters)[:HASH_IN_PATH]}"
    manifest = cache.Manifest(
        inputs={name: store.attrs(name)["fingerprint"] for name in [*inputs, *beside]},
        parameters=parameters,
        code=code_parts(NODE_CODE[kind]),
    )
    if not force and store.has(node):
        held = cache.Manifest.of(store.attrs(node))
        if held is not None and manifest.same_origin(held) and cache.is_sealed(store, node):
            built = Built(node, (), held.rows, (), held.rows)
            with contextlib.suppress(StoreError):  # a cached answer needs no writable store
                store.note(f"features {kind}", "nothing changed, nothing computed", _told(built))
            return built
    return _renew(store, kind, options, node, inputs, manifest, track, force)


def _input_nodes(store: Store, kind: str, curves: str) -> list[str]:
    raw = [  # a damaged one as well: it is an error further on, not an experiment less
        name
        for name in store.expected_nodes()
        if name.startswith("raw/") and (store.path / name).exists()
    ]
    wanted = f"curves/{curves}" if kind in OF_CURVES else "summary"
    inputs = [name for name in raw if name.split("/", 2)[-1] == wanted]
    if inputs:
        return inputs
    experiments = sorted({name.split("/")[1].removeprefix("expt") for name in raw})
    if kind not in OF_CURVES or not experiments:
        raise StoreError(
            "the store holds no ingested cells",
            fix="run `batterykit ingest --expt 5` first (or another experiment, or `all`)",
            file=store.path,
        )
    there = sorted({name.split("/", 3)[3] for name in raw if "/curves/" in name})
    raise StoreError(
        f"the store holds no {curves} curves"
        + (f" (it has {', '.join(there)})" if there else ", nor any other"),
        fix="put the record's folder 'Processed Timeseries Data' in place and run "
        f"`batterykit ingest --expt {' --expt '.join(experiments)}` again"
        + (f", or name another kind: --kind {there[0]}" if there else ""),
        file=store.path,
    )


def _nodes_beside(store: Store, inputs: list[str], options: Options) -> list[str]:
    """Return what else the rows depend on: for the IR correction, all that tells a resistance."""
    if not isinstance(options, IcaOptions) or not options.ir_correct:
        return []
    experiments = [name.rpartition("/curves/")[0] for name in inputs]
    missing = [name for name in experiments if not store.has(f"{name}/summary")]
    if missing:
        raise StoreError(
            f"there is no summary of {', '.join(missing)}, so no resistance to correct with",
            fix="ingest the experiment's 'Performance Summary' files, or leave out --ir-correct",
            file=store.path,
        )
    beside = [
        f"{name}/{what}"
        for name in experiments
        for what in ("summary", *(f"curves/{kind}" for kind in PULSES))
    ]
    return [name for name in beside if name not in inputs and store.has(name)]


class _Rows(NamedTuple):
    """How the rows of a kind of features are named, made and put together."""

    dimension: str
    contents: Callable[[xr.Dataset], dict[str, list[str]]]  # of raw: what identifies each row
    make: Callable[[xr.Dataset], xr.Dataset]
    finish: Callable[[xr.Dataset], xr.Dataset]
    absent: dict[str, int | bool]  # what a cell has at check-ups that it never had, where not NaN

    def names(self, dataset: xr.Dataset) -> list[str]:
        return (_curve_names if self.dimension == "curve" else _cell_names)(dataset)


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
    rows = _rows_of(kind, options)
    held, damaged = (None, None) if force else _held(store, node)
    stored: dict[str, str] = {}
    if held is not None:
        stored = dict(zip(rows.names(held), map(str, held["cache_key"].values), strict=True))
    row_code = hash_json(code_parts(ROW_CODE[kind]))
    wanted: dict[str, str] = {}
    pieces: list[xr.Dataset] = []
    for name in inputs:
        raw = _read(store, name, options)
        keys = {
            row: cache.row_key(contents, manifest.parameters, row_code)
            for row, contents in rows.contents(raw).items()
        }
        wanted |= keys
        todo = cache.plan(keys, stored).compute
        if todo:
            pieces.extend(_make(rows, raw, _batches(rows, todo, f"{kind} of {name}", track), keys))
    whole = cache.plan(wanted, stored)
    if held is not None and whole.reuse:
        kept = [k for k, row in enumerate(rows.names(held)) if row in set(whole.reuse)]
        pieces.append(held.isel({rows.dimension: kept}))
    dataset = rows.finish(_together(rows, pieces))
    dataset.attrs = {
        "title": f"batterykit features: {kind}",
        "parameters": _json_text(manifest.parameters),
        cache.MANIFEST: replace(manifest, rows=len(wanted)).to_json(),
    }
    built = Built(node, whole.compute, len(whole.reuse), whole.drop, len(wanted), damaged)
    command = f"features {kind}"
    store.write(
        node, dataset, command=command, note=_sentence(built), details=_told(built), replace=True
    )
    cache.seal(store, node, command=command, note="sealed", details={"rows": len(wanted)})
    return built


def _read(store: Store, node: str, options: Options) -> xr.Dataset:
    """Return a raw node, with the resistance of every curve where it has to be corrected."""
    raw = store.read(node)
    if not isinstance(options, IcaOptions) or not options.ir_correct:
        return raw
    from batterykit.features.resistance import profiles

    experiment = node.rpartition("/curves/")[0]
    pulses = [
        store.read(name)
        for name in (f"{experiment}/curves/{kind}" for kind in PULSES)
        if store.has(name)
    ]
    known = profiles(
        raw["cell"].values.tolist(),
        raw["rpt"].values.tolist(),
        store.read(f"{experiment}/summary"),
        _one_ragged(pulses) if pulses else None,
        options.ir_factor,
    )
    return raw.merge(known)


def _one_ragged(curves: list[xr.Dataset]) -> xr.Dataset:
    import xarray as xr

    along = {
        dimension: xr.concat(
            [
                one[[name for name in one.variables if one[name].dims == (dimension,)]]
                for one in curves
            ],
            dim=dimension,
            join="override",
            combine_attrs="override",
        )
        for dimension in ("curve", "sample")
    }
    return xr.merge(along.values())


def _held(store: Store, node: str) -> tuple[xr.Dataset | None, str | None]:
    """Return the stored node if it is whole, and if it is there but not whole, why."""
    if not (store.path / node).exists():
        return None, None
    try:
        return store.read(node), None
    except StoreError as error:
        return None, error.problem


def _rows_of(kind: str, options: Options) -> _Rows:
    if isinstance(options, IcaOptions):
        from batterykit.features.ica import analyse
        from batterykit.features.tracking import track_peaks

        return _Rows(
            "curve",
            _contents_by_curve,
            lambda raw: analyse(raw, options),
            lambda rows: track_peaks(rows, options),
            {},
        )
    if isinstance(options, DmaOptions):
        from batterykit.features.dma import FLAGS, dma

        return _Rows(
            "cell",
            _contents_by_cell_of_curves,
            lambda raw: dma(raw, options),
            lambda rows: rows,
            {"quality_flag": FLAGS["no_curve"]},
        )
    absent: dict[str, int | bool] = {"quality_flag": 0, "mask": False}
    if isinstance(options, SummaryOptions):
        from batterykit.features.summary import summary

        return _Rows(
            "cell", _contents_by_cell, lambda raw: summary(raw, options), lambda rows: rows, absent
        )
    from batterykit.features.sequence import sequence

    return _Rows(
        "cell", _contents_by_cell, lambda raw: sequence(raw, options), lambda rows: rows, absent
    )


def _cell_names(dataset: xr.Dataset) -> list[str]:
    return [str(cell) for cell in dataset["cell"].values]


def _curve_names(dataset: xr.Dataset) -> list[str]:
    columns = (dataset[name].values for name in ("cell", "rpt", "direction", "protocol"))
    return [
        f"{cell} RPT{int(rpt):02d} {direction} {protocol}"
        for cell, rpt, direction, protocol in zip(*columns, strict=True)
    ]


def _contents_by_cell(raw: xr.Dataset) -> dict[str, list[str]]:
    """Return what identifies a cell's summary: its hash and the labels it carries over."""
    labels = (raw[name].values for name in ("content_hash", "experiment", "temperature_chamber"))
    return {
        cell: [str(label) for label in of_cell]
        for cell, of_cell in zip(_cell_names(raw), zip(*labels, strict=True), strict=True)
    }


def _contents_by_curve(raw: xr.Dataset) -> dict[str, list[str]]:
    """Return what identifies a curve: its hash and that of the resistance it is corrected with."""
    contents = {
        name: [str(content)]
        for name, content in zip(_curve_names(raw), raw["content_hash"].values, strict=True)
    }
    if "resistance" in raw:
        for mine, resistance in zip(contents.values(), raw["resistance"].values, strict=True):
            mine.append(hash_arrays(resistance))
    return contents


def _contents_by_cell_of_curves(raw: xr.Dataset) -> dict[str, list[str]]:
    """Return what identifies the curves of a cell: their names and hashes."""
    contents: dict[str, list[str]] = {cell: [] for cell in _cell_names(raw)}
    by_curve = sorted(_contents_by_curve(raw).items())
    for name, content in by_curve:
        contents[name.partition(" ")[0]] += [name, *content]
    return contents


def _batches(
    rows: _Rows, todo: Sequence[str], description: str, track: Track
) -> Iterable[Sequence[str]]:
    at_once = ROWS_AT_ONCE[rows.dimension]
    return track(
        [todo[first : first + at_once] for first in range(0, len(todo), at_once)], description
    )


def _make(
    rows: _Rows, raw: xr.Dataset, batches: Iterable[Sequence[str]], keys: Mapping[str, str]
) -> Iterator[xr.Dataset]:
    of_row = rows.names(raw)
    for batch in batches:
        wanted = set(batch)
        made = rows.make(_only(raw, [k for k, row in enumerate(of_row) if row in wanted]))
        made["cache_key"] = (
            rows.dimension,
            _texts([keys[row] for row in rows.names(made)]),
            {"long_name": "hash of the row's input, the parameters and the code"},
        )
        yield made.set_coords("cache_key")


def _only(raw: xr.Dataset, chosen: list[int]) -> xr.Dataset:
    """Return some cells of a summary or some curves of a ragged array, uncopied if in one run."""
    import numpy as np

    picked: slice | list[int] = chosen
    if chosen == list(range(chosen[0], chosen[-1] + 1)):
        picked = slice(chosen[0], chosen[-1] + 1)
    if "curve" not in raw.dims:
        return raw.isel(cell=picked)
    stops = np.cumsum(raw["row_size"].values)
    starts = stops - raw["row_size"].values
    samples: slice | np.ndarray
    if isinstance(picked, slice):
        samples = slice(int(starts[chosen[0]]), int(stops[chosen[-1]]))
    else:
        samples = np.concatenate([np.arange(starts[k], stops[k]) for k in chosen])
    return raw.isel(curve=picked, sample=samples)


def _together(rows: _Rows, pieces: list[xr.Dataset]) -> xr.Dataset:
    import numpy as np
    import xarray as xr

    plain = [_with_plain_texts(piece.drop_dims("peak", errors="ignore")) for piece in pieces]
    if rows.dimension == "cell":
        longest = max(piece.sizes["rpt"] for piece in plain)
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
