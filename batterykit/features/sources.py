"""The raw nodes that features are made from: which they are, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batterykit.errors import StoreError
from batterykit.features.kinds import OF_CURVES, Options
from batterykit.features.options import IcaOptions

if TYPE_CHECKING:
    import xarray as xr

    from batterykit.store import Store

PULSES = ("GITT", "hybrid")
"""The curves that tell how the resistance depends on the state of charge."""


def input_nodes(store: Store, kind: str, curves: str) -> list[str]:
    """Return the raw nodes whose rows the features of a kind are made from.

    Raises
    ------
    StoreError
        The store has none.
    """
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


def nodes_beside(store: Store, inputs: list[str], options: Options) -> list[str]:
    """Return what else the rows depend on: for the IR correction, all that tells a resistance.

    Raises
    ------
    StoreError
        An experiment has no summary, so no resistance to correct with.
    """
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


def read_raw(store: Store, node: str, options: Options) -> xr.Dataset:
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
