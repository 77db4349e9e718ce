"""What a table or curve of the record must satisfy: errors for the impossible, flags for quirks.

An error is raised where a value cannot be what its header says (another unit, a missing RPT); a
flag is set where the value may be right but a user of it should know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from batterykit.datasets.lgm50t import (
    CURVE_COLUMNS,
    CUTOFF_CHARGE_V,
    CUTOFF_DISCHARGE_V,
    SUMMARY_COLUMNS,
)
from batterykit.datasets.reader import Table

# bit -> (name, meaning); the names are the datasets' CF flag_meanings
SUMMARY_FLAGS = {
    1: ("ocv_fit_repeats_previous", "electrode fit has the previous RPT's stoichiometries"),
    2: ("even_rpt_incomplete", "an even RPT without C/2 capacity or resistance"),
    4: ("age_set_incomplete", "date or temperature of an ageing set is missing"),
    8: ("throughput_decreases", "charge or energy throughput is lower than before"),
}
CURVE_FLAGS = {
    1: ("last_row_past_cutoff", "the last row lies on the inner side of the cut-off again"),
    2: ("time_not_increasing", "time repeats or goes back"),
    4: ("charge_not_monotone", "charge goes back"),
    8: ("sampling_gap", "a gap of more than 10 sampling intervals and 60 s"),
    16: ("capacity_differs", "capacity differs from the summary by more than 0.3 %"),
    32: ("window_not_reached", "starts or ends inside the voltage window"),
}
CAPACITY_DIFFERS = 16
CAPACITY_TOLERANCE = 0.003

_STOICHIOMETRIES = ("pe_lo", "ne_lo", "pe_hi", "ne_hi")
_AGE_SET = ("age_set_start_date", "age_set_end_date", "age_set_temperature")
# Mean cell voltage lies in the voltage window; 10 % for a throughput counted on both directions.
_MEAN_VOLTAGE = (CUTOFF_DISCHARGE_V / 1.1, CUTOFF_CHARGE_V * 1.1)
_GAP_INTERVALS, _GAP_S = 10.0, 60.0
_WINDOW_MARGIN_V = 0.005  # instrument noise is 1 mV at most
_START_DISCHARGE_V, _START_CHARGE_V = 4.0, 3.4  # after IR drop and rest, fresh or aged
# The integral of current over time and the charge differ by sampling only; a unit that is wrong
# puts them apart by 60 or more.
_INTEGRAL_RATIO = 30.0
_LEAST_CHARGE_AH = 0.05  # 1 % of the cell's capacity; in the wrong unit a full curve has 0.005
_UNIT_FIX = "check the unit: convert the values to the header's, or download the file again"


def check_summary(table: Table) -> np.ndarray:
    """Check a Performance Summary; row k must be RPT k.

    Returns
    -------
    quality_flag : int64 array (rpt,)
        Bits of `SUMMARY_FLAGS`.

    Raises
    ------
    InputError
        RPTs are twice there, missing or out of order, or a value cannot be in its header's unit.
    """
    _check_rpts(table)
    for column in SUMMARY_COLUMNS:
        if not column.date:
            _check_range(table, column.name, column.low, column.high)
    _check_mean_voltage(table)
    values = table.columns
    first = np.arange(len(values["ageing_sets"])) == 0
    _check_days(table, first)
    even = np.arange(len(first)) % 2 == 0
    incomplete = np.isnan(values["capacity_c2"]) | np.isnan(values["resistance_0p1s"])
    flags = np.where(even & incomplete, 2, 0)
    fits = np.stack([values[name] for name in _STOICHIOMETRIES])
    repeats = np.append(False, (fits[:, 1:] == fits[:, :-1]).all(axis=0))
    flags |= np.where(repeats, 1, 0)
    no_set = np.any([_is_missing(values[name]) for name in _AGE_SET], axis=0)
    flags |= np.where(no_set & ~first, 4, 0)
    for name in ("charge_throughput", "energy_throughput"):
        flags |= np.where(np.append(False, np.diff(values[name]) < 0), 8, 0)
    return flags.astype(np.int64)


def check_curve(table: Table, direction: str, *, constant_current: bool) -> int:
    """Check a voltage curve.

    Parameters
    ----------
    table
        Columns time [s], voltage [V], current [A], charge [Ah], temperature [degC], each (sample,).
    direction
        "discharge" or "charge".
    constant_current
        False for curves with pulses and rests.

    Returns
    -------
    int
        Bits of `CURVE_FLAGS`, without the comparison with the summary.

    Raises
    ------
    InputError
        A value cannot be in its header's unit, or the current has the other direction's sign.
    """
    for column in CURVE_COLUMNS:
        _check_range(table, column.name, column.low, column.high)
    time, voltage, charge = (table.columns[name] for name in ("time", "voltage", "charge"))
    steps = np.diff(time)
    _check_direction(table, direction)
    _check_integral(table, steps)
    flags = 0
    if (steps <= 0).any():
        flags |= 2
    if constant_current:
        if (np.diff(charge) < 0).any():
            flags |= 4
        if steps.size and steps.max() > _GAP_S and steps.max() > _GAP_INTERVALS * np.median(steps):
            flags |= 8
        if _comes_back(voltage, direction):
            flags |= 1
    low, high = float(voltage.min()), float(voltage.max())
    if direction == "discharge":
        inside = low > CUTOFF_DISCHARGE_V + _WINDOW_MARGIN_V or high < _START_DISCHARGE_V
    else:
        inside = high < CUTOFF_CHARGE_V - _WINDOW_MARGIN_V or low > _START_CHARGE_V
    return flags | (32 if inside else 0)


def capacity_differs(charge: float, summary: float) -> bool:
    """Return whether a curve's charge [Ah] is not the summary's [Ah]; NaN never differs."""
    return bool(abs(charge - summary) > CAPACITY_TOLERANCE * summary)


def flag_attrs(flags: Mapping[int, tuple[str, str]]) -> dict[str, object]:
    """Return the CF attributes of a flag variable."""
    return {
        "long_name": "; ".join(f"{name}: {meaning}" for name, meaning in flags.values()),
        "flag_masks": list(flags),
        "flag_meanings": " ".join(name for name, _ in flags.values()),
    }


def _check_rpts(table: Table) -> None:
    numbers = table.columns["ageing_sets"]
    seen: dict[float, int] = {}
    for index, number in enumerate(numbers):
        if number in seen:
            raise table.error(
                f"RPT {number:g} is there twice",
                fix="remove the row that does not belong, or download the file again",
                name="ageing_sets",
                index=index,
            )
        if number != index:
            found = f"RPT {number:g} where RPT {index} was expected"
            raise table.error(
                f"RPT {index} is missing: {found}" if index not in numbers else found,
                fix="restore the missing row, put the rows in order, or download the file again",
                name="ageing_sets",
                index=index,
            )
        seen[number] = index


def _check_range(table: Table, name: str, low: float, high: float) -> None:
    values = table.columns[name]
    outside = (values < low) | (values > high)
    if outside.any():
        index = int(np.flatnonzero(outside)[0])
        unit = table.attrs[name]["units"]
        shown = "" if unit == "1" else f" {unit}"
        raise table.error(
            f"{values[index]:.6g}{shown} is not possible ({low:g} to {high:g}{shown} is)",
            fix=_UNIT_FIX,
            name=name,
            index=index,
        )


def _check_mean_voltage(table: Table) -> None:
    charge, energy = table.columns["charge_throughput"], table.columns["energy_throughput"]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = energy / charge
    wrong = (charge > 0) & ~((mean > _MEAN_VOLTAGE[0]) & (mean < _MEAN_VOLTAGE[1]))
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        other = table.attrs["charge_throughput"]["source_column"]
        raise table.error(
            f"{energy[index]:.6g} Wh for {charge[index]:.6g} Ah in '{other}' would be a mean "
            f"voltage of {mean[index]:.3g} V",
            fix=_UNIT_FIX,
            name="energy_throughput",
            index=index,
        )


def _check_days(table: Table, first: np.ndarray) -> None:
    missing = np.isnan(table.columns["days_of_degradation"]) & ~first
    if missing.any():
        raise table.error(
            "the value is missing",
            fix="restore the value (it may be empty on RPT 0 only), or download the file again",
            name="days_of_degradation",
            index=int(np.flatnonzero(missing)[0]),
        )


def _check_direction(table: Table, direction: str) -> None:
    mean = float(table.columns["current"].mean())
    if mean * (-1.0 if direction == "discharge" else 1.0) < 0:
        raise table.error(
            f"the mean current is {mean:+.4g} A in a {direction} (it is negative on discharge, "
            "positive on charge)",
            fix="the file may hold the other direction: rename it, or download it again",
            name="current",
            index=0,
        )


def _check_integral(table: Table, steps: np.ndarray) -> None:
    """Compare charge with current times time: catches a wrong unit of any of the three."""
    charge, current = table.columns["charge"], table.columns["current"]
    passed = float(np.ptp(charge))
    if passed < _LEAST_CHARGE_AH:
        raise table.error(
            f"the curve passes {passed:.4g} Ah, less than {_LEAST_CHARGE_AH} Ah",
            fix=_UNIT_FIX + ", or remove it if the measurement was broken off",
            name="charge",
            index=len(charge) - 1,
        )
    integral = float(np.abs(current[1:]) @ np.abs(steps)) / 3600.0
    if not passed / _INTEGRAL_RATIO < integral < passed * _INTEGRAL_RATIO:
        raise table.error(
            f"the curve passes {passed:.4g} Ah, but current times time make {integral:.4g} Ah",
            fix="check the units of time, current and charge: convert the values to the "
            "headers', or download the file again",
            name="current",
        )


def _comes_back(voltage: np.ndarray, direction: str) -> bool:
    if voltage.size < 2:
        return False
    if direction == "discharge":
        return bool(voltage[-1] > CUTOFF_DISCHARGE_V >= voltage[-2])
    return bool(voltage[-1] < CUTOFF_CHARGE_V <= voltage[-2])


def _is_missing(values: np.ndarray) -> np.ndarray:
    missing: np.ndarray = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    return missing


def names_of(flags: Mapping[int, tuple[str, str]], value: int) -> Sequence[str]:
    """Return the names of the flags that are set."""
    return [name for bit, (name, _) in flags.items() if value & bit]
