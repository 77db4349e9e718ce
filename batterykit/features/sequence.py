"""Sequences: each cell's ageing as a series on its own time grid, for models that need one.

The grid counts days or Ah and differs from cell to cell; what happened between two check-ups stands
at the check-up that ends the interval. Pure functions on datasets, no I/O.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from batterykit.features.options import SequenceOptions
from batterykit.features.summary import (
    check_up_exists,
    days_of_ageing,
    feature_dataset,
    history_flags,
    intervals,
    last_measured,
    last_measured_at,
    take_rpt,
    values_of,
)

CLOCK_UNITS = {"days": "d", "throughput": "Ah"}


def sequence(raw: xr.Dataset, options: SequenceOptions | None = None) -> xr.Dataset:
    """Return the sequences of the cells of one Performance Summary.

    Parameters
    ----------
    raw
        `raw/expt{N}/summary`: dims (cell, rpt).
    options
        Which clock the time grid counts.

    Returns
    -------
    xr.Dataset
        Dims (cell, rpt): time [d or Ah] (float64, starts at 0, strictly increasing over the masked
        check-ups), mask (bool: the check-up exists and its time is known and later than the one
        before), interval_days [d], interval_throughput [Ah], interval_temperature [degC] (of the
        ageing set that ends at this check-up; NaN at RPT0), resistance_last [Ohm] and
        resistance_age [d or Ah] (how long ago it was measured, on the same clock); quality_flag as
        in the summary features.
    """
    options = options or SequenceOptions()
    exists = check_up_exists(raw)
    throughput = values_of(raw, "charge_throughput")
    days = days_of_ageing(raw)
    resistance = values_of(raw, "resistance_0p1s")
    clock = days if options.clock == "days" else throughput
    clock = clock - clock[:, :1]
    mask = exists & _rises_above_all_before(clock)
    time = np.where(mask, clock, np.nan)
    measured_at = last_measured_at(resistance, exists)
    unit = CLOCK_UNITS[options.clock]

    variables = {
        "time": (time, unit, f"time on the cell's own grid, {options.clock} since RPT0"),
        "interval_days": (intervals(days), "d", "duration of the ageing set ending here"),
        "interval_throughput": (
            intervals(throughput),
            "Ah",
            "charge throughput of the ageing set ending here",
        ),
        "interval_temperature": (
            _without_first(values_of(raw, "age_set_temperature")),
            "degC",
            "mean cell temperature of the ageing set ending here",
        ),
        "resistance_last": (
            last_measured(resistance, exists),
            "Ohm",
            "last measured 0.1 s resistance",
        ),
        "resistance_age": (
            clock - take_rpt(clock, measured_at),
            unit,
            "time since resistance_last was measured",
        ),
    }
    features = feature_dataset(raw, variables)
    features["mask"] = (
        ("cell", "rpt"),
        mask,
        {"units": "1", "long_name": "the check-up exists and its time is known"},
    )
    features["quality_flag"] = history_flags(raw)
    return features


def _rises_above_all_before(clock: np.ndarray) -> np.ndarray:
    before = np.full(clock.shape, -np.inf)
    before[:, 1:] = np.maximum.accumulate(np.where(np.isnan(clock), -np.inf, clock), axis=1)[:, :-1]
    return clock > before


def _without_first(values: np.ndarray) -> np.ndarray:
    later = values.copy()
    later[:, 0] = np.nan
    return later
