"""Small datasets as degradation mode analysis makes them, for the tests of pictures and pages."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from batterykit.features.options import DmaOptions

FLAGS = (
    "no_curve",
    "curve_unusable",
    "window_not_covered",
    "at_bound",
    "starts_disagree",
    "poor_fit",
    "no_reference",
)
NO_CURVE, STARTS_DISAGREE = 1, 16
CAPACITIES = {
    "pe_capacity": 5.6,
    "ne_capacity": 5.3,
    "ne_gr_capacity": 4.5,
    "ne_si_capacity": 0.8,
}
MODES = {"lli": 0.02, "lam_pe": 0.01, "lam_ne": 0.015, "lam_ne_gr": 0.008, "lam_ne_si": 0.05}


def modes(cells: Sequence[str] = ("E5-A", "E5-B"), counts: Sequence[int] = (4, 3)) -> xr.Dataset:
    """A DMA node: every mode grows by a set share a check-up, residuals are a sine of 2 mV."""
    longest, points = max(counts), 200
    shape = (len(cells), longest)
    exists = np.arange(longest) < np.array(counts)[:, None]
    rpt = np.broadcast_to(np.arange(float(longest)), shape)

    def where(values: np.ndarray | float) -> np.ndarray:
        return np.where(exists, np.broadcast_to(values, shape), np.nan)

    data = {name: (where(value - 0.05 * rpt), "Ah") for name, value in CAPACITIES.items()}
    data |= {name: (where(rate * rpt), "1") for name, rate in MODES.items()}
    data |= {f"{name}_se": (where(0.001 * rpt), "1") for name in MODES}
    data |= {"fit_rmse": (where(0.00141), "V"), "resistance_c10": (where(0.05), "Ohm")}
    share = np.linspace(0, 1, points)
    charge = where(4.8 - 0.2 * rpt)[:, :, None] * share
    fit = np.where(exists[:, :, None], 4.2 - 1.7 * share, np.nan)
    along = {
        "charge": (charge, "Ah"),
        "voltage_fit": (fit, "V"),
        "voltage_measured": (fit + 0.002 * np.sin(20 * share), "V"),
    }
    flag_attrs = {
        "units": "1",
        "flag_masks": [1 << bit for bit in range(len(FLAGS))],
        "flag_meanings": " ".join(FLAGS),
    }
    return xr.Dataset(
        {
            **{name: (("cell", "rpt"), v, {"units": u}) for name, (v, u) in data.items()},
            **{name: (("cell", "rpt", "point"), v, {"units": u}) for name, (v, u) in along.items()},
            "quality_flag": (("cell", "rpt"), np.where(exists, 0, NO_CURVE), flag_attrs),
        },
        coords={
            "cell": ("cell", np.array(cells, dtype=object)),
            "rpt": ("rpt", np.arange(longest)),
            "n_rpt": ("cell", np.array(counts)),
        },
        attrs={
            "parameters": json.dumps(DmaOptions().model_dump(mode="json") | {"curves": "0.1C"}),
            "fingerprint": "f00d" * 8,
            "created_by": "batterykit 9.9.9",
        },
    )


def history(cells: Sequence[str] = ("E5-A", "E5-B"), rpts: int = 4) -> xr.Dataset:
    """Throughput of 700 Ah a check-up; the first cell at 10 degC, the others at 40 degC."""
    throughput = np.broadcast_to(700.0 * np.arange(rpts), (len(cells), rpts))
    return xr.Dataset(
        {
            "charge_throughput": (("cell", "rpt"), throughput.copy(), {"units": "Ah"}),
            "temperature_chamber": ("cell", [10.0, *[40.0] * (len(cells) - 1)], {"units": "degC"}),
        },
        coords={"cell": ("cell", np.array(cells, dtype=object)), "rpt": ("rpt", np.arange(rpts))},
    )
