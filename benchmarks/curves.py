"""Curves with a known derivative, to measure incremental capacity analysis by.

C/10 discharges of the LG M50 from PyBaMM's half-cell potentials, with LAM, LLI and resistance that
grow over the check-ups of several cells; the truth is the derivative of the noise-free curve, from
PyBaMM's expressions differentiated by symbols, not by differences. Also reads anyone's curves
(`read_curves`). What is measured on them is not decided here.

Two sets. `lgm50` (Chen2020: one negative electrode of one material) shares no code with batterykit.
`composite` has graphite and silicon apart (Chen2020_composite) and takes its curves from
`batterykit.halfcell`, whose derivatives are those of the same potentials: it is the harder set, but
not a test of the half-cell code.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Potential = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
CurveSet = Literal["lgm50", "composite"]

CELLS, CHECK_UPS = 12, 10
VOLTAGE_STEP = 1e-4  # [V] of the analogue-to-digital converter
CURRENT = 0.5  # [A], C/10 of 5 Ah
LOWER_CUTOFF, UPPER_CUTOFF = 2.5, 4.2  # [V] under load; at rest
TRUTH_NODES = 20_001

# Chen et al., J. Electrochem. Soc. 167 (2020) 080534: 5 Ah between these lithium contents.
CAPACITY = 5.0  # [Ah]
NEGATIVE_RANGE, POSITIVE_RANGE = (0.0279, 0.9014), (0.2700, 0.9084)

# Losses at the last check-up, each cell's own, drawn evenly between these [1].
LITHIUM_LOSS, POSITIVE_LOSS, NEGATIVE_LOSS = (0.02, 0.12), (0.0, 0.12), (0.0, 0.15)
SILICON_LOSS = (0.1, 0.8)
RESISTANCE = 0.03  # [Ohm] at C/10, fresh
RESISTANCE_GROWTH = (0.2, 1.0)  # [1] at the last check-up
CELL_SPREAD = 0.005  # [1] standard deviation of fresh capacities and resistance


@dataclass(frozen=True)
class Curves:
    """Curves of several cells, and their truth where it is known.

    Parameters
    ----------
    voltage, charge
        Samples of all curves, (sample,) [V], [Ah]; charge counts up from zero.
    offsets
        First sample of each curve and the end of the last, (curve + 1,).
    cell, rpt
        Whose curve it is and of which check-up, (curve,).
    voltage_truth, dqdv_truth
        Noise-free voltage [V] and magnitude of dQ/dV [Ah/V] there, (curve, node); None where
        nothing is known.
    noise
        Standard deviation of the voltage noise [V]; None where it is not known.
    """

    voltage: FloatArray
    charge: FloatArray
    offsets: IntArray
    cell: list[str]
    rpt: IntArray
    voltage_truth: FloatArray | None = None
    dqdv_truth: FloatArray | None = None
    noise: float | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def part(self, which: IntArray) -> Curves:
        """Return only these curves."""
        sizes = np.diff(self.offsets)[which]
        samples = np.concatenate(
            [
                np.empty(0, np.int64),
                *(np.arange(self.offsets[k], self.offsets[k + 1]) for k in which),
            ]
        )
        return Curves(
            self.voltage[samples],
            self.charge[samples],
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            [self.cell[k] for k in which],
            self.rpt[which],
            None if self.voltage_truth is None else self.voltage_truth[which],
            None if self.dqdv_truth is None else self.dqdv_truth[which],
            self.noise,
        )


@dataclass(frozen=True)
class Smooth:
    """A noise-free discharge: charge [Ah] rising from 0, voltage [V], magnitude of dQ/dV [Ah/V].

    `at` gives voltage and dQ/dV at any charge between 0 and `capacity`.
    """

    capacity: float
    at: Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def generate(
    points: int,
    noise: float,
    *,
    curve_set: CurveSet = "lgm50",
    curves: int = CELLS * CHECK_UPS,
    seed: int = 0,
) -> Curves:
    """Return noisy, quantised discharges with the truth beside them.

    Parameters
    ----------
    points
        Samples of each curve, evenly spaced in charge as at constant current.
    noise
        Standard deviation of the white voltage noise [V], before quantising to 0.1 mV.
    curve_set
        `lgm50` or `composite`, see the module's first lines.
    curves
        How many; cells of ten check-ups, the last cell with what is left.
    seed
        Of cells and noise: the same seed gives the same curves.
    """
    rng = np.random.default_rng([seed, points, round(noise * 1e9)])
    voltage, charge, truth_v, truth_d = [], [], [], []
    cells = list(_cells(curve_set, curves, seed))
    for _, _, smooth in cells:
        q = np.linspace(0.0, smooth.capacity, points)
        v, _ = smooth.at(q)
        noisy = v + rng.normal(0.0, noise, points)
        voltage.append(np.round(noisy / VOLTAGE_STEP) * VOLTAGE_STEP)
        charge.append(q)
        v, d = smooth.at(np.linspace(0.0, smooth.capacity, TRUTH_NODES))
        truth_v.append(v)
        truth_d.append(d)
    return Curves(
        np.concatenate(voltage),
        np.concatenate(charge),
        points * np.arange(curves + 1, dtype=np.int64),
        [cell for cell, _, _ in cells],
        np.array([rpt for _, rpt, _ in cells], dtype=np.int64),
        np.array(truth_v),
        np.array(truth_d),
        noise,
    )


def _cells(curve_set: CurveSet, curves: int, seed: int) -> list[tuple[str, int, Smooth]]:
    """Return name, check-up and noise-free discharge of each curve; the same for any noise."""
    found = []
    discharge = _discharge_composite if curve_set == "composite" else _discharge_lgm50
    for cell in range(-(-curves // CHECK_UPS)):
        rng = np.random.default_rng([seed, cell])
        fresh = rng.normal(1.0, CELL_SPREAD, 3)
        final = {
            "lithium": rng.uniform(*LITHIUM_LOSS),
            "positive": rng.uniform(*POSITIVE_LOSS),
            "negative": rng.uniform(*NEGATIVE_LOSS),
            "silicon": rng.uniform(*SILICON_LOSS),
            "resistance": -rng.uniform(*RESISTANCE_GROWTH),
        }
        power = rng.uniform(0.5, 1.5)
        for rpt in range(min(CHECK_UPS, curves - CHECK_UPS * cell)):
            age = (rpt / (CHECK_UPS - 1)) ** power
            left = {name: 1.0 - loss * age for name, loss in final.items()}
            found.append((f"cell-{cell:02d}", rpt, discharge(fresh, left)))
    return found


@lru_cache(maxsize=1)
def half_cells() -> tuple[Potential, Potential]:
    """Return the LG M50's positive and negative potential: U [V] and dU/dx [V] of the content x.

    Chen2020 of PyBaMM, whose expressions PyBaMM differentiates by symbols.
    """
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    values: Any = pybamm.ParameterValues("Chen2020")

    def potential(name: str) -> Potential:
        # PyBaMM's time symbol stands for the content: it is the one that takes whole arrays
        value = values[name](pybamm.t)
        slope = value.diff(pybamm.t)

        def evaluate(content: FloatArray) -> tuple[FloatArray, FloatArray]:
            return np.asarray(value.evaluate(t=content)), np.asarray(slope.evaluate(t=content))

        return evaluate

    return potential("Positive electrode OCP [V]"), potential("Negative electrode OCP [V]")


def _discharge_lgm50(fresh: FloatArray, left: dict[str, float]) -> Smooth:
    from scipy.optimize import brentq

    positive, negative = half_cells()
    fresh_positive = CAPACITY / (POSITIVE_RANGE[1] - POSITIVE_RANGE[0]) * fresh[0]
    fresh_negative = CAPACITY / (NEGATIVE_RANGE[1] - NEGATIVE_RANGE[0]) * fresh[1]
    capacity_p, capacity_n = fresh_positive * left["positive"], fresh_negative * left["negative"]
    # lost material takes with it the lithium that it holds half way through a discharge
    lithium = (
        left["lithium"] * (fresh_positive * POSITIVE_RANGE[0] + fresh_negative * NEGATIVE_RANGE[1])
        - (fresh_positive - capacity_p) * sum(POSITIVE_RANGE) / 2
        - (fresh_negative - capacity_n) * sum(NEGATIVE_RANGE) / 2
    )
    drop = CURRENT * RESISTANCE * fresh[2] * left["resistance"]

    def curve(content: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Open-circuit voltage and -dV/dQ at the negative electrode's lithium content."""
        up, slope_p = positive((lithium - capacity_n * content) / capacity_p)
        un, slope_n = negative(content)
        return up - un, -(slope_p / capacity_p + slope_n / capacity_n)

    def excess(content: float, target: float) -> float:
        return float(curve(np.array([content]))[0][0]) - target

    lowest = max(1e-3, (lithium - 0.995 * capacity_p) / capacity_n)
    full = brentq(excess, 0.5, 0.999, args=(UPPER_CUTOFF,), xtol=1e-12)
    empty = brentq(excess, lowest, 0.5, args=(LOWER_CUTOFF + drop,), xtol=1e-12)

    def at(charge: FloatArray) -> tuple[FloatArray, FloatArray]:
        voltage, steepness = curve(full - charge / capacity_n)
        return voltage - drop, 1.0 / steepness

    return Smooth(capacity_n * (full - empty), at)


def _discharge_composite(fresh: FloatArray, left: dict[str, float]) -> Smooth:
    from scipy.interpolate import CubicHermiteSpline

    from batterykit import halfcell

    graphite = halfcell.MEAN_NE * halfcell.MEAN_GRAPHITE_FRACTION * fresh[1]
    silicon = halfcell.MEAN_NE * fresh[1] - graphite
    positive = halfcell.MEAN_PE * fresh[0] * left["positive"]
    lost = graphite * (1 - left["negative"]) + silicon * (1 - left["silicon"])
    lost += halfcell.MEAN_PE * fresh[0] - positive
    inventory = (halfcell.MEAN_PE - halfcell.MEAN_OFFSET) * fresh[0] * left["lithium"] - lost / 2
    found = halfcell.simulate_discharge(
        halfcell.Electrodes(
            positive=np.array(positive),
            graphite=np.array(graphite * left["negative"]),
            silicon=np.array(silicon * left["silicon"]),
            offset=np.array(positive - inventory),
            resistance=np.array(halfcell.MEAN_RESISTANCE * fresh[2] * left["resistance"]),
        )
    )
    spline = CubicHermiteSpline(found.charge, found.voltage, -1.0 / np.abs(found.dqdv))

    def at(charge: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.asarray(spline(charge)), np.interp(charge, found.charge, np.abs(found.dqdv))

    return Smooth(float(found.charge[-1]), at)


def as_dataset(curves: Curves) -> xr.Dataset:
    """Return the curves as a node `raw/expt{N}/curves/{kind}` of the store would hold them."""
    total = len(curves.voltage)
    sample = {
        "time": (curves.charge / CURRENT * 3600.0, "s"),
        "voltage": (curves.voltage, "V"),
        "current": (np.full(total, -CURRENT), "A"),
        "charge": (curves.charge, "Ah"),
        "temperature": (np.full(total, 25.0), "degC"),
    }
    n = len(curves)
    return xr.Dataset(
        {name: ("sample", values, {"units": units}) for name, (values, units) in sample.items()}
        | {
            "row_size": ("curve", np.diff(curves.offsets), {"sample_dimension": "sample"}),
            "quality_flag": ("curve", np.zeros(n, dtype=np.int64)),
        },
        coords={
            "cell": ("curve", np.array(curves.cell, dtype=object)),
            "rpt": ("curve", curves.rpt),
            "direction": ("curve", np.array(["discharge"] * n, dtype=object)),
            "protocol": ("curve", np.array(["0.1C"] * n, dtype=object)),
        },
    )


def read_curves(path: Path) -> Curves:
    """Read anyone's curves from an .npz file.

    Parameters
    ----------
    path
        Holds v_flat [V], q_flat [Ah] (samples of all curves) and offsets (first sample of each
        curve; the end of the last may follow). Optional: voltage_truth [V] and dqdv_truth [Ah/V],
        both (curve, node), and noise_mV, one number. Without cells and check-ups each curve counts
        as a cell of its own; cell and rpt, both (curve,), tell otherwise.

    Raises
    ------
    InputError
        The file is not such a file; the message says where.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise InputError(
            f"this is no readable .npz file ({error})",
            fix="write it with numpy.savez(path, v_flat=..., q_flat=..., offsets=...)",
            file=path,
        ) from error

    def refuse(text: str, column: str, fix: str) -> InputError:
        return InputError(text, fix=fix, file=path, column=column)

    for name in ("v_flat", "q_flat", "offsets"):
        if name not in arrays:
            raise refuse(
                f"the array is missing; the file has {', '.join(sorted(arrays)) or 'none'}",
                name,
                "give v_flat [V], q_flat [Ah] and offsets",
            )
        if arrays[name].ndim != 1 or arrays[name].dtype.kind not in "iuf":
            raise refuse(
                f"its shape is {arrays[name].shape}, its type {arrays[name].dtype}",
                name,
                "give one row of numbers",
            )
    voltage, charge = (arrays[name].astype(np.float64) for name in ("v_flat", "q_flat"))
    if len(voltage) != len(charge):
        raise refuse(
            f"{len(charge)} samples, but v_flat has {len(voltage)}",
            "q_flat",
            "give both the same length",
        )
    for name, values in (("v_flat", voltage), ("q_flat", charge)):
        if not np.all(np.isfinite(values)):
            raise refuse(
                f"sample {int(np.argmin(np.isfinite(values)))} is not a finite number",
                name,
                "leave such samples out: not every peer can take them",
            )
    if not len(voltage):
        raise refuse("there is no sample", "v_flat", "give at least one curve")
    offsets = _checked_offsets(arrays["offsets"], len(voltage), refuse)
    n = len(offsets) - 1

    truth = {name: arrays[name] for name in ("voltage_truth", "dqdv_truth") if name in arrays}
    if len(truth) == 1:
        raise refuse("one came without the other", "voltage_truth, dqdv_truth", "give both or none")
    for name, values in truth.items():
        if values.shape != truth["voltage_truth"].shape or values.ndim != 2 or len(values) != n:
            raise refuse(
                f"its shape is {values.shape} with {n} curves",
                name,
                "give (curve, node), the same for both",
            )
        if not np.all(np.isfinite(values)):
            raise refuse("some nodes are not finite numbers", name, "leave these nodes out")
    named = {}
    for name, default in (("cell", np.array([f"curve-{k}" for k in range(n)])), ("rpt", None)):
        values = arrays.get(name, np.zeros(n, np.int64) if default is None else default)
        if values.shape != (n,):
            raise refuse(
                f"its shape is {values.shape} with {n} curves", name, "give one for each curve"
            )
        named[name] = values
    noise = arrays.get("noise_mV")
    return Curves(
        voltage,
        charge,
        offsets,
        [str(name) for name in named["cell"]],
        named["rpt"].astype(np.int64),
        truth["voltage_truth"].astype(np.float64) if truth else None,
        np.abs(truth["dqdv_truth"].astype(np.float64)) if truth else None,
        None if noise is None else float(noise) * 1e-3,
    )


def _checked_offsets(
    offsets: npt.NDArray[Any], samples: int, refuse: Callable[[str, str, str], InputError]
) -> IntArray:
    whole = offsets.astype(np.int64)
    if np.any(whole != offsets):
        raise refuse("some are not whole numbers", "offsets", "give the indices of first samples")
    if len(whole) == 0 or whole[0] != 0:
        raise refuse("they do not begin with 0", "offsets", "the first curve begins at sample 0")
    if whole[-1] != samples:
        whole = np.append(whole, samples)
    if np.any(np.diff(whole) < 2):
        where = int(np.argmax(np.diff(whole) < 2))
        raise refuse(
            f"curve {where} runs from sample {whole[where]} to {whole[where + 1]} "
            f"of {samples} samples",
            "offsets",
            "give rising offsets, at least two samples for each curve",
        )
    return whole
