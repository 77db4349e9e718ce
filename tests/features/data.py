"""Small raw datasets and curves with a known derivative, for the tests of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from batterykit.store.fingerprint import hash_arrays
from batterykit.store.schema import schema_of

NAN = np.nan
WINDOW = (2.5, 4.2)


class Step(NamedTuple):
    """A logistic step of Q(V): a peak of dQ/dV at `voltage`, of height charge / (4 width)."""

    voltage: float  # [V]
    width: float  # [V]
    charge: float  # [Ah]


STEPS = (
    Step(2.90, 0.05, 0.35),
    Step(3.45, 0.02, 0.60),
    Step(3.62, 0.02, 1.00),
    Step(3.85, 0.025, 0.90),
    Step(4.06, 0.015, 0.90),
)
SLOPE = 0.4  # [Ah/V], the flat background of dQ/dV


def charge_below(voltage: np.ndarray, steps: Sequence[Step] = STEPS) -> np.ndarray:
    """Q(V) [Ah]: a straight line and logistic steps."""
    return SLOPE * (voltage - WINDOW[0]) + sum(
        s.charge / (1 + np.exp(-(voltage - s.voltage) / s.width)) for s in steps
    )


def true_dqdv(voltage: np.ndarray, steps: Sequence[Step] = STEPS) -> np.ndarray:
    """The derivative of `charge_below`, by hand [Ah/V]."""
    share = [1 / (1 + np.exp(-(voltage - s.voltage) / s.width)) for s in steps]
    return SLOPE + sum(s.charge / s.width * p * (1 - p) for s, p in zip(steps, share, strict=True))


def discharge(
    steps: Sequence[Step] = STEPS,
    samples: int = 4000,
    noise: float = 0.0,
    seed: int = 0,
    ends: tuple[float, float] = (2.5, 4.18),
) -> tuple[np.ndarray, np.ndarray]:
    """A constant-current discharge: voltage falling [V], charge counted up from zero [Ah]."""
    fine = np.linspace(*ends, 100_001)
    below = charge_below(fine, steps)
    charge = np.linspace(0, below[-1] - below[0], samples)
    voltage = np.interp(below[-1] - charge, below, fine)
    return voltage + np.random.default_rng(seed).normal(0, noise, samples), charge


def curves(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    cells: Sequence[str] | None = None,
    rpts: Sequence[int] | None = None,
    direction: str = "discharge",
) -> xr.Dataset:
    """A node of curves, from (voltage, charge) of each."""
    n = len(pairs)
    rows = np.array([len(v) for v, _ in pairs])
    total = int(rows.sum())

    def joined(which: int) -> np.ndarray:
        return np.concatenate([np.empty(0), *(np.asarray(p[which], float) for p in pairs)])

    sample = {
        "time": (np.arange(total) * 10.0, "s"),
        "voltage": (joined(0), "V"),
        "current": (np.full(total, -0.5), "A"),
        "charge": (joined(1), "Ah"),
        "temperature": (np.full(total, 25.0), "degC"),
    }
    return xr.Dataset(
        {name: ("sample", values, {"units": units}) for name, (values, units) in sample.items()}
        | {
            "row_size": ("curve", rows, {"sample_dimension": "sample"}),
            "quality_flag": ("curve", np.zeros(n, dtype=np.int64)),
        },
        coords={
            "cell": ("curve", np.array(cells or ["E5-A"] * n, dtype=object)),
            "rpt": ("curve", np.array(range(n) if rpts is None else rpts, dtype=np.int64)),
            "direction": ("curve", np.array([direction] * n, dtype=object)),
            "protocol": ("curve", np.array(["0.1C"] * n, dtype=object)),
            "content_hash": (
                "curve",
                np.array([hash_arrays(np.asarray(v), np.asarray(q)) for v, q in pairs], object),
            ),
        },
    )


def raw_summary(
    cells: Sequence[str] = ("E5-A", "E5-B"),
    experiment: int = 5,
    n_rpt: Sequence[int] | None = None,
    **columns: Sequence[Sequence[float]],
) -> xr.Dataset:
    """A Performance Summary with every column; those not given hold plausible numbers."""
    counts = list(n_rpt or [4] * len(cells))
    longest = max(counts)
    shape = (len(cells), longest)
    rpt = np.broadcast_to(np.arange(longest, dtype=float), shape)
    plausible = {
        "charge_throughput": 700.0 * rpt,
        "energy_throughput": 2800.0 * rpt,
        "ageing_cycles": 78.0 * rpt,
        "days_of_degradation": np.where(rpt == 0, NAN, 20.0 * rpt),
        "age_set_temperature": np.where(rpt == 0, NAN, 25.0),
        "resistance_0p1s": np.where(rpt % 2 == 0, 0.026 + 0.001 * rpt, NAN),
    }
    given = {name: np.array(values, dtype=float) for name, values in columns.items()}
    exists = np.arange(longest) < np.array(counts)[:, None]
    data: dict[str, tuple[tuple[str, str], np.ndarray, dict[str, str]]] = {}
    for name, wanted in schema_of(f"raw/expt{experiment}/summary").variables.items():
        if wanted.dims != ("cell", "rpt") or name == "quality_flag":
            continue
        if wanted.kind == "date":
            data[name] = (wanted.dims, np.full(shape, "NaT", dtype="M8[ns]"), {})
            continue
        values = given.get(name, plausible.get(name, np.ones(shape)))
        units = {"units": wanted.units or "1"}
        data[name] = (wanted.dims, np.where(exists, values, NAN), units)
    hashes = [
        hash_arrays(*(values[k] for _, (_, values, _) in sorted(data.items())))
        for k in range(len(cells))
    ]
    return xr.Dataset(
        data | {"quality_flag": (("cell", "rpt"), np.zeros(shape, dtype=np.int64))},
        coords={
            "cell": ("cell", np.array(cells, dtype=object)),
            "rpt": ("rpt", np.arange(longest)),
            "experiment": ("cell", np.full(len(cells), experiment)),
            "letter": ("cell", np.array([c[-1] for c in cells], dtype=object)),
            "temperature_chamber": ("cell", np.full(len(cells), 25.0), {"units": "degC"}),
            "n_rpt": ("cell", np.array(counts)),
            "source_file": ("cell", np.array([f"{c}.csv" for c in cells], dtype=object)),
            "content_hash": ("cell", np.array(hashes, dtype=object)),
        },
    )
