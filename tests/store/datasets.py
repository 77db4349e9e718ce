"""Small valid datasets for the tests of the store."""

from __future__ import annotations

import numpy as np
import xarray as xr

CURVE_VARIABLES = {
    "time": "s",
    "voltage": "V",
    "current": "A",
    "charge": "Ah",
    "temperature": "degC",
}


def curves(samples: int = 100, seed: int = 0) -> xr.Dataset:
    """Two curves of `samples` samples each."""
    values = np.random.default_rng(seed).normal(size=(len(CURVE_VARIABLES), 2 * samples))
    return xr.Dataset(
        {
            name: ("sample", row, {"units": units})
            for (name, units), row in zip(CURVE_VARIABLES.items(), values, strict=True)
        }
        | {
            "row_size": ("curve", np.array([samples, samples]), {"sample_dimension": "sample"}),
            "quality_flag": ("curve", np.zeros(2, dtype=np.int64)),
        },
        coords={
            "cell": ("curve", np.array(["E5-A", "E5-A"], dtype=object)),
            "rpt": ("curve", np.array([0, 1])),
            "direction": ("curve", np.array(["discharge"] * 2, dtype=object)),
            "protocol": ("curve", np.array(["0.1C"] * 2, dtype=object)),
            "content_hash": ("curve", np.array(["a", "b"], dtype=object)),
        },
    )


def sets() -> xr.Dataset:
    """An ageing-set table of two cells, with text, dates and a missing value."""
    return xr.Dataset(
        {
            "row_size": ("cell", np.array([1, 2])),
            "charge_throughput": ("row", np.array([1.5, np.nan, 3.0]), {"units": "Ah"}),
            "start": (
                "row",
                np.array(["2020-10-22", "NaT", "2021-01-02"], dtype="M8[D]").astype("M8[ns]"),
            ),
            "remark": ("row", np.array(["", "cycler restarted", "Ümlaut °C"], dtype=object)),
        },
        coords={"cell": ("cell", np.array(["E5-A", "E5-B"], dtype=object))},
        attrs={"sources": {"expt 5 - cell A - set_data.csv": "abc"}},
    )
