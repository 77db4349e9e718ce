"""Rate tests of the LG M50 in the MATLAB layout of the PyBOP project: the file in, one dataset out.

One struct holds a struct for each chamber temperature (``T0``, ``T10``, ...), which holds one for
each rate (``cRate_0p1C``, ``cRate_2C``, ...), which holds columns. Each record is a discharge at
constant current from a full and rested cell to 2.5 V, a rest, a recharge and a rest. Nothing is
simulated here, and nothing is resampled.

Source of the data: example data of PyBOP (https://github.com/pybop-team/PyBOP, BSD-3), measured on
fresh cells of 5 Ah. It is not part of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from batterykit.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

FloatArray = npt.NDArray[np.float64]

CAPACITY = 5.0  # Ah, to which the rates refer

# name in the file -> ours, unit, what makes sense
COLUMNS = {
    "timeVec": ("time", "s", (0.0, 1e7)),
    "currVec": ("current", "A", (-50.0, 50.0)),
    "volVec": ("voltage", "V", (2.0, 4.5)),
    "cellTemp_mid": ("temperature", "degC", (-40.0, 100.0)),
}
KNOWN = {*COLUMNS, "powVec", "cellTemp_pos", "cellTemp_neg"}  # the last three are not kept

_CHAMBER = re.compile(r"T(m?)(\d+(?:p\d+)?)")  # T25, T2p5; Tm10 is -10 degC
_RATE = re.compile(r"cRate_(\d+(?:p\d+)?)C")
_AT_REST = 0.02  # A
_RATE_MISFIT = 0.01  # relative, of the current against the rate in its name
_REST_MISFIT = 0.05  # V; the first sample of one record lies inside the switch to its current
_EMPTY = 2.51  # V; a discharge that ends above was broken off


class _Record(NamedTuple):
    chamber: float
    rate: float
    columns: dict[str, FloatArray]
    end: int  # the discharge's last sample
    rest_voltage: float
    rest_from: str


def read_rate_tests(path: Path | str) -> xr.Dataset:
    """Read all records of a file of rate tests.

    Parameters
    ----------
    path
        The ``.mat`` file (MATLAB 5 to 7.2).

    Returns
    -------
    xarray.Dataset
        Along ``sample``, the records one after the other: time [s], current [A] (positive on
        charge), voltage [V], temperature [degC] of the middle of the cell's surface. Time may stand
        still where the cycler switched, it never falls. Along ``curve``, by temperature and rate:
        row_size, temperature_chamber [degC], c_rate [1/h] (of 5 Ah), discharge_size (samples up to
        the end of the discharge, with the one at rest before it), rest_voltage [V] before the
        discharge, and rest_voltage_from, which is "start", or "end" where the record's first sample
        is not at rest and that after the recharge is taken instead.

    Raises
    ------
    InputError
        The file cannot be read or has another layout; a column is missing, unknown, not as long as
        the others, or holds what cannot be; a current is not that of its rate; a discharge does
        not go from rest to 2.5 V.
    """
    import xarray as xr

    path = Path(path)
    records = sorted(
        (_record(path, *place) for place in _places(path, _load(path))),
        key=lambda record: (record.chamber, record.rate),
    )
    variables: dict[str, Any] = {
        name: ("sample", np.concatenate([one.columns[name] for one in records]), {"units": unit})
        for name, unit, _ in COLUMNS.values()
    }
    for name, values, unit in (
        ("row_size", [len(one.columns["time"]) for one in records], "1"),
        ("discharge_size", [one.end + 1 for one in records], "1"),
        ("temperature_chamber", [one.chamber for one in records], "degC"),
        ("c_rate", [one.rate for one in records], "1/h"),
        ("rest_voltage", [one.rest_voltage for one in records], "V"),
    ):
        variables[name] = ("curve", np.array(values), {"units": unit})
    variables["rest_voltage_from"] = ("curve", [one.rest_from for one in records])
    return xr.Dataset(variables, attrs={"source_file": path.name, "capacity_of_rates_Ah": CAPACITY})


def _load(path: Path) -> Mapping[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, simplify_cells=True)
    except (OSError, ValueError, NotImplementedError, MatReadError, TypeError) as error:
        raise InputError(
            f"cannot be read as a MATLAB file: {error}",
            fix="give a .mat file that MATLAB saved with -v7 or older",
            file=path,
        ) from error
    found = {name: value for name, value in content.items() if not name.startswith("__")}
    if len(found) != 1 or not isinstance(struct := next(iter(found.values())), dict):
        raise InputError(
            f"holds {', '.join(found) or 'nothing'}, not one struct of rate tests",
            fix="give the file with one struct of T0, T10, ...",
            file=path,
        )
    return struct


def _places(
    path: Path, struct: Mapping[str, Any]
) -> Iterator[tuple[str, float, float, Mapping[str, Any]]]:
    """Yield name, chamber temperature [degC], rate [1/h] and fields of every record."""
    for chamber, rates in struct.items():
        temperature = _CHAMBER.fullmatch(chamber)
        if temperature is None or not isinstance(rates, dict) or not rates:
            raise InputError(
                f"'{chamber}' is not a struct of the rates at one temperature",
                fix="T and degrees Celsius, such as T25, each with structs such as cRate_0p5C",
                file=path,
            )
        for name, fields in rates.items():
            rate = _RATE.fullmatch(name)
            if rate is None or not isinstance(fields, dict):
                raise InputError(
                    f"'{chamber}.{name}' is not the struct of a rate",
                    fix="cRate_ and the rate, such as cRate_0p5C, with "
                    + ", ".join(f"'{column}'" for column in COLUMNS),
                    file=path,
                )
            sign = -1 if temperature[1] else 1
            yield f"{chamber}.{name}", sign * _decimal(temperature[2]), _decimal(rate[1]), fields


def _decimal(text: str) -> float:
    return float(text.replace("p", "."))


def _record(
    path: Path, place: str, chamber: float, rate: float, fields: Mapping[str, Any]
) -> _Record:
    columns = _columns(path, place, fields)

    def error(problem: str, fix: str, column: str) -> InputError:
        return InputError(problem, fix=fix, file=path, column=f"{place}.{column}")

    current, voltage = columns["current"], columns["voltage"]
    flows = current < -_AT_REST
    if abs(current[0]) > _AT_REST or not flows[1]:
        raise error(
            f"begins with {current[0]:g} A and {current[1]:g} A",
            "a record begins with one sample at rest, then the discharge",
            "currVec",
        )
    end = int(np.argmin(flows[1:])) if not flows[1:].all() else len(flows) - 1
    level = float(np.median(current[1 : end + 1]))
    if abs(level / (-rate * CAPACITY) - 1) > _RATE_MISFIT:
        raise error(
            f"the discharge is at {-level:g} A, not at {rate:g}C of {CAPACITY:g} Ah",
            "correct the name of the rate, or the sign or unit of the current",
            "currVec",
        )
    if voltage[end] > _EMPTY:
        raise error(
            f"the discharge ends at {voltage[end]:g} V", "leave out what was broken off", "volVec"
        )
    started_at_rest = abs(voltage[0] - voltage[-1]) <= _REST_MISFIT
    if not started_at_rest and abs(current[-1]) > _AT_REST:
        raise error(
            f"the rest before the discharge is at {voltage[0]:g} V, and there is none after it",
            "give the record up to the rest after the recharge",
            "volVec",
        )
    return _Record(
        chamber,
        rate,
        columns,
        end,
        float(voltage[0] if started_at_rest else voltage[-1]),
        "start" if started_at_rest else "end",
    )


def _columns(path: Path, place: str, fields: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return the columns that are kept, by our names, checked."""
    unknown, missing = sorted(set(fields) - KNOWN), [name for name in COLUMNS if name not in fields]
    if unknown or missing:
        raise InputError(
            f"'{place}' has no {missing[0]}" if missing else f"'{place}' has {unknown[0]}",
            fix=f"the fields are {', '.join(COLUMNS)}, and perhaps powVec, cellTemp_pos and _neg",
            file=path,
        )
    columns = {}
    for header, (name, unit, (low, high)) in COLUMNS.items():
        try:
            values = np.asarray(fields[header], dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty((0, 0))
        if values.ndim != 1 or len(values) < 3 or len(values) != np.size(fields["timeVec"]):
            raise InputError(
                f"is not a column of numbers as long as timeVec ({np.size(fields['timeVec'])})",
                fix="at least three samples, one number each",
                file=path,
                column=f"{place}.{header}",
            )
        wrong = ~((values >= low) & (values <= high))
        if wrong.any():
            sample = int(np.argmax(wrong))
            raise InputError(
                f"sample {sample} is {values[sample]:g} {unit}",
                fix=f"give numbers from {low:g} to {high:g} {unit}",
                file=path,
                column=f"{place}.{header}",
            )
        columns[name] = values
    falls = np.diff(columns["time"]) < 0
    if falls.any():
        sample = int(np.argmax(falls)) + 1
        raise InputError(
            f"time falls at sample {sample}, to {columns['time'][sample]:g} s",
            fix="sort the record",
            file=path,
            column=f"{place}.timeVec",
        )
    return columns
