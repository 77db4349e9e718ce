"""Summary features: what a cell has been through up to each check-up.

Only measured columns of the record and sums of them; nothing that is computed from a capacity
(no SoH, LLI, LAM): those are targets. Pure functions on datasets, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from batterykit.features.options import SummaryOptions

GAS_CONSTANT = 8.314462618  # [J mol-1 K-1], CODATA 2018
ZERO_CELSIUS = 273.15  # [K]

FLAGS = {
    "temperature_missing": 1,
    "throughput_missing": 2,
    "throughput_not_increasing": 4,
    "days_missing": 8,
    "days_not_increasing": 16,
    "resistance_never_measured": 32,
}
"""Bits of `quality_flag`; each says something about the cell's history up to that check-up."""

CELL_COORDS = ("experiment", "letter", "temperature_chamber", "n_rpt")


def summary(raw: xr.Dataset, options: SummaryOptions | None = None) -> xr.Dataset:
    """Return the summary features of the cells of one Performance Summary.

    Parameters
    ----------
    raw
        `raw/expt{N}/summary`: dims (cell, rpt).
    options
        Parameters of the Arrhenius terms.

    Returns
    -------
    xr.Dataset
        Dims (cell, rpt), float64, NaN where nothing is known and past a cell's last check-up:
        charge_throughput [Ah], energy_throughput [Wh], ageing_cycles [1], days [d] (0 at RPT0: no
        ageing has happened yet), temperature_cell [degC] (mean of the cell's own ageing sets so
        far, weighted by their throughput), arrhenius_throughput [Ah] and arrhenius_sqrt_days
        [d^0.5] (see `arrhenius_factor`), resistance_last [Ohm] with the check-up where it was
        measured (resistance_rpt) and its age (resistance_age_rpt [1], resistance_age_days [d]);
        quality_flag with the bits of `FLAGS`.

    Notes
    -----
    With a set's throughput dQ, duration dt and temperature T, summed over the sets so far::

        arrhenius_throughput = sum(dQ * k(T))
        arrhenius_sqrt_days  = sqrt(sum(dt * k(T)))

    The second is what diffusion-limited SEI growth follows, x^2 growing as the integral of k dt.
    """
    options = options or SummaryOptions()
    exists = check_up_exists(raw)
    throughput = values_of(raw, "charge_throughput")
    days = days_of_ageing(raw)
    temperature = values_of(raw, "age_set_temperature")
    factor = arrhenius_factor(temperature, options)
    step_throughput, step_days = intervals(throughput), intervals(days)
    resistance = last_measured(values_of(raw, "resistance_0p1s"), exists)
    resistance_rpt = last_measured_at(values_of(raw, "resistance_0p1s"), exists)

    variables = {
        "charge_throughput": (throughput, "Ah", "charge throughput of ageing so far"),
        "energy_throughput": (
            values_of(raw, "energy_throughput"),
            "Wh",
            "energy throughput of ageing so far",
        ),
        "ageing_cycles": (values_of(raw, "ageing_cycles"), "1", "ageing cycles so far"),
        "days": (days, "d", "days of degradation so far"),
        "temperature_cell": (
            _weighted_mean_so_far(temperature, step_throughput),
            "degC",
            "throughput-weighted mean temperature of the cell during ageing so far",
        ),
        "arrhenius_throughput": (
            _sum_so_far(step_throughput * factor, start=throughput[:, :1]),
            "Ah",
            "charge throughput so far, each set weighted by its Arrhenius factor",
        ),
        "arrhenius_sqrt_days": (
            np.sqrt(_sum_so_far(step_days * factor, start=days[:, :1])),
            "d^0.5",
            "square root of the days so far, each set weighted by its Arrhenius factor",
        ),
        "resistance_last": (resistance, "Ohm", "last measured 0.1 s resistance"),
        "resistance_rpt": (resistance_rpt, "1", "check-up where resistance_last was measured"),
        "resistance_age_rpt": (
            np.arange(exists.shape[1]) - resistance_rpt,
            "1",
            "check-ups since resistance_last was measured",
        ),
        "resistance_age_days": (
            days - take_rpt(days, resistance_rpt),
            "d",
            "days of degradation since resistance_last was measured",
        ),
    }
    features = feature_dataset(raw, variables)
    features["quality_flag"] = history_flags(raw)
    return features


def arrhenius_factor(temperature: np.ndarray, options: SummaryOptions) -> np.ndarray:
    """Return k(T)/k(T_ref) = exp(-E_a/R (1/T - 1/T_ref)), for temperatures in degC, any shape."""
    kelvin = temperature + ZERO_CELSIUS
    reference = options.reference_temperature + ZERO_CELSIUS
    return np.exp(-options.activation_energy / GAS_CONSTANT * (1 / kelvin - 1 / reference))


def check_up_exists(raw: xr.Dataset) -> np.ndarray:
    """Return where a cell has a check-up: bool (cell, rpt)."""
    return raw["rpt"].values[None, :] < raw["n_rpt"].values[:, None]


def days_of_ageing(raw: xr.Dataset) -> np.ndarray:
    """Return the days of degradation (cell, rpt) [d], zero at RPT0 where the record is empty."""
    days = values_of(raw, "days_of_degradation")
    days[:, 0] = np.where(np.isnan(days[:, 0]), 0.0, days[:, 0])
    return days


def intervals(so_far: np.ndarray) -> np.ndarray:
    """Return what each ageing set added: (cell, rpt), NaN at RPT0 and where either end is NaN."""
    added = np.full(so_far.shape, np.nan)
    added[:, 1:] = np.diff(so_far, axis=1)
    return added


def values_of(raw: xr.Dataset, name: str) -> np.ndarray:
    """Return a column of the summary as float64 (cell, rpt)."""
    return raw[name].transpose("cell", "rpt").values.astype(np.float64)


def take_rpt(values: np.ndarray, rpt: np.ndarray) -> np.ndarray:
    """Return the values (cell, rpt) at each cell's check-ups `rpt`; NaN where `rpt` is NaN."""
    known = ~np.isnan(rpt)
    index = np.where(known, rpt, 0).astype(np.int64)
    return np.where(known, np.take_along_axis(values, index, axis=1), np.nan)


def last_measured(values: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return the newest known value at each check-up: (cell, rpt), NaN before the first."""
    return take_rpt(values, last_measured_at(values, exists))


def last_measured_at(values: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return the check-up of the newest known value: float (cell, rpt), NaN before the first."""
    rpt = np.where(np.isnan(values), -1, np.arange(values.shape[1]))
    newest = np.maximum.accumulate(rpt, axis=1)
    return np.where((newest >= 0) & exists, newest, np.nan)


def history_flags(raw: xr.Dataset) -> xr.DataArray:
    """Return the bits of `FLAGS` for every check-up of every cell: int64 (cell, rpt)."""
    exists = check_up_exists(raw)
    throughput, days = values_of(raw, "charge_throughput"), days_of_ageing(raw)
    resistance = values_of(raw, "resistance_0p1s")
    set_ended = exists.copy()
    set_ended[:, 0] = False
    now = {
        "temperature_missing": np.isnan(values_of(raw, "age_set_temperature")) & set_ended,
        "throughput_missing": np.isnan(throughput),
        "throughput_not_increasing": intervals(throughput) <= 0,
        "days_missing": np.isnan(days),
        "days_not_increasing": intervals(days) <= 0,
    }
    flag = np.where(
        np.isnan(last_measured(resistance, exists)), FLAGS["resistance_never_measured"], 0
    )
    for name, happened in now.items():
        flag = flag | np.where(np.logical_or.accumulate(happened & exists, axis=1), FLAGS[name], 0)
    return xr.DataArray(
        np.where(exists, flag, 0).astype(np.int64),
        dims=("cell", "rpt"),
        attrs={
            "units": "1",
            "long_name": "what is wrong or unknown in the cell's history so far",
            "flag_masks": list(FLAGS.values()),
            "flag_meanings": " ".join(FLAGS),
        },
    )


def feature_dataset(
    raw: xr.Dataset, variables: Mapping[str, tuple[np.ndarray, str, str]]
) -> xr.Dataset:
    """Return (cell, rpt) features, NaN past each cell's last check-up.

    Parameters
    ----------
    raw
        `raw/expt{N}/summary`, for its coordinates.
    variables
        Name -> values (cell, rpt), unit, long name.
    """
    exists = check_up_exists(raw)
    return xr.Dataset(
        {
            name: (
                ("cell", "rpt"),
                np.where(exists, values, np.nan),
                {"units": units, "long_name": text},
            )
            for name, (values, units, text) in variables.items()
        },
        coords=cell_coords(raw),
    )


def cell_coords(raw: xr.Dataset) -> dict[str, xr.Variable]:
    """Return the coordinates that every cell-wise feature set carries over from the raw summary."""
    return {
        name: raw[name].variable for name in ("cell", "rpt", *CELL_COORDS) if name in raw.coords
    }


def _sum_so_far(added: np.ndarray, start: np.ndarray) -> np.ndarray:
    terms = added.copy()
    terms[:, :1] = start
    return np.cumsum(terms, axis=1)


def _weighted_mean_so_far(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    known = ~(np.isnan(values) | np.isnan(weights)) & (weights > 0)
    total = np.cumsum(np.where(known, weights, 0.0), axis=1)
    sums = np.cumsum(np.where(known, weights * values, 0.0), axis=1)
    mean: np.ndarray = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
    return mean
