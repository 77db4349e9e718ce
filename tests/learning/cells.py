"""Small raw summaries for the learning tests: the real cells, and made-up ones with a known law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from batterykit.datasets.ingest import ingest
from batterykit.features.sequence import sequence
from batterykit.features.summary import summary
from batterykit.learning.tasks import Sequences, build_sequences
from batterykit.store import Store
from batterykit.store.schema import schema_of

UNITS = {
    "ageing_cycles": "1",
    "days_of_degradation": "d",
    "age_set_temperature": "degC",
    "charge_throughput": "Ah",
    "energy_throughput": "Wh",
    "resistance_0p1s": "Ohm",
    "soh": "1",
    "lli": "1",
    "lam_pe": "1",
    "lam_ne": "1",
}


def real_raw(record: Path, folder: Path) -> xr.Dataset:
    """Return the summary of the six real cells of experiment 2, ingested into `folder`."""
    store = Store.open_or_create(folder / "real.zarr")
    ingest(store, record, [2])
    return store.read("raw/expt2/summary")


def made_raw(
    cells: int = 6, rpts: int = 6, *, seed: int = 0, ragged: bool = False, experiment: int = 5
) -> xr.Dataset:
    """Return made-up cells that fade with the square root of throughput, faster off 25 degC.

    Resistance is measured on even RPTs only, as in the record; with `ragged`, every second cell
    ends one check-up earlier.
    """
    random = np.random.default_rng(seed)
    shape = (cells, rpts)
    chamber = np.resize([10.0, 25.0, 40.0], cells)
    cycles = np.broadcast_to(78.0 * np.arange(rpts), shape)
    throughput = 760.0 * np.arange(rpts) * random.uniform(0.97, 1.03, (cells, 1))
    days = 20.0 * np.arange(rpts) + np.where(np.arange(rpts) > 0, random.uniform(0, 3, shape), 0)
    rate = 1 + ((chamber[:, None] - 25) / 15) ** 2 * 0.3 + random.normal(0, 0.03, (cells, 1))
    fade = 0.03 * rate * np.sqrt(throughput / 1000)
    odd = np.arange(rpts) % 2 == 1
    values = {
        "ageing_cycles": cycles,
        "days_of_degradation": np.where(np.arange(rpts) > 0, days, np.nan),
        "age_set_temperature": np.where(np.arange(rpts) > 0, chamber[:, None] + 3, np.nan),
        "charge_throughput": throughput,
        "energy_throughput": 3.8 * throughput,
        "resistance_0p1s": np.where(odd, np.nan, 0.026 * (1 + 0.5 * fade)),
        "soh": 1 - fade,
        "lli": 1.1 * fade,
        "lam_pe": 0.5 * fade,
        "lam_ne": 0.8 * fade,
    }
    n_rpt = [rpts - (number % 2 if ragged else 0) for number in range(cells)]
    past = np.arange(rpts) >= np.array(n_rpt)[:, None]
    values = {name: np.where(past, np.nan, array) for name, array in values.items()}
    letters = [chr(ord("A") + number) for number in range(cells)]
    return _raw(values, [experiment] * cells, letters, chamber.tolist(), n_rpt)


def sequences(
    raw: xr.Dataset, *, task: str = "estimate", target: str = "soh", context: int = 3
) -> Sequences:
    """Return a task's sequences from raw summaries, through the real feature functions."""
    data, _ = build_sequences(summary(raw), sequence(raw), raw[target], task=task, context=context)
    return data


def store_of(path: Path, *raws: xr.Dataset) -> Store:
    """Return a store that holds these raw summaries, columns that learning ignores left empty."""
    store = Store.open_or_create(path)
    for raw in raws:
        number = int(raw["experiment"].values[0])
        node = f"raw/expt{number}/summary"
        full = raw.copy()
        empty = np.full((raw.sizes["cell"], raw.sizes["rpt"]), np.nan)
        for name, wanted in schema_of(node).variables.items():
            if name in full.variables:
                continue
            if wanted.kind == "float":
                full[name] = (wanted.dims, empty, {"units": wanted.units})
            elif wanted.kind == "date":
                full[name] = (wanted.dims, empty.astype("M8[ns]"))
            elif wanted.kind == "integer":
                full[name] = (wanted.dims, np.zeros(empty.shape, dtype=np.int64))
            else:
                hashes = np.array([f"hash of {cell}" for cell in raw["cell"].values], dtype=object)
                full = full.assign_coords({name: (wanted.dims, hashes)})
        store.write(node, full, command="test")
    return store


def _raw(
    values: dict[str, np.ndarray],
    experiment: list[int],
    letters: list[str],
    chamber: list[float],
    n_rpt: list[int],
) -> xr.Dataset:
    names = [f"E{number}-{letter}" for number, letter in zip(experiment, letters, strict=True)]
    rpts = next(iter(values.values())).shape[1]
    return xr.Dataset(
        {
            name: (("cell", "rpt"), np.array(array, dtype=float), {"units": UNITS[name]})
            for name, array in values.items()
        },
        coords={
            "cell": np.array(names, dtype=object),
            "rpt": np.arange(rpts),
            "experiment": ("cell", np.array(experiment)),
            "letter": ("cell", np.array(letters, dtype=object)),
            "temperature_chamber": ("cell", np.array(chamber), {"units": "degC"}),
            "n_rpt": ("cell", np.array(n_rpt)),
        },
    )
