"""Measured discharges against a model: how far off voltage, capacity and temperature are.

The model is told little: that the cell had rested at the voltage measured before the discharge, its
temperature then, which is also that of its surroundings from then on, and the current. It works out
everything else, the warming by its own lumped thermal model too; the measured temperature is only
compared with. So an error is that of the whole parameter set.

The record decides how long a discharge is compared. A model that reaches the lower cut-off before
counts as standing there until the record does; one that lasts longer is seen in its capacity alone.
Our simulator and PyBaMM start from the same stoichiometries and are compared in the same way.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batterykit.errors import UsageError
from batterykit.pack.balance import cubic, fresh, potential, window
from batterykit.pack.cell import Cells
from batterykit.pack.kernels import CELL_VOLTAGE_MIN, CURRENT
from batterykit.pack.network import build
from batterykit.pack.parameters import CellParameters, ElectrodeParameters, read_parameters
from batterykit.pack.simulator import REASONS, Name, PackSimulator, equations

if TYPE_CHECKING:
    import xarray as xr

FloatArray = npt.NDArray[np.float64]

# Equal steps of a discharge. With 1600 an error is up to 2.4 mV less where a model outlasts the
# record (the last point, on the knee, then counts for less), else 0.4 mV; so it is in PyBaMM.
POINTS = 400
LONGER = 1.1  # how much longer than the record a model may last, to know its capacity
BEFORE_KNEE = 0.9  # of the record's charge; what follows is the steep end
ZERO_CELSIUS = 273.15  # K
SECONDS_PER_HOUR = 3600.0


def sample_discharges(records: xr.Dataset, points: int = POINTS) -> xr.Dataset:
    """Return the discharges of rate tests at equal distances in time.

    Parameters
    ----------
    records
        What `batterykit.datasets.rate_tests.read_rate_tests` returns.
    points
        Of each discharge; the last is its end.

    Returns
    -------
    xarray.Dataset
        Along (curve, point): time [s] from the moment that the current flows, voltage [V],
        temperature [K]. Along curve: current (its mean) [A], rest_voltage [V], ambient [K] (the
        first measured temperature), capacity [Ah], temperature_chamber [degC], c_rate [1/h].
    """
    import xarray as xr

    ends = records["row_size"].values.cumsum()
    rows: dict[str, list[FloatArray]] = {"time": [], "voltage": [], "temperature": []}
    numbers: dict[str, list[float]] = {"current": [], "ambient": [], "capacity": []}
    for end, size, length in zip(
        ends, records["row_size"].values, records["discharge_size"].values, strict=True
    ):
        part = slice(end - size + 1, end - size + length)  # from the first sample under current
        time, current, voltage, temperature = (
            records[name].values[part] for name in ("time", "current", "voltage", "temperature")
        )
        time = time - time[0]
        wanted = time[-1] * np.arange(1, points + 1) / points
        rows["time"].append(wanted)
        rows["voltage"].append(np.interp(wanted, time, voltage))
        rows["temperature"].append(np.interp(wanted, time, temperature) + ZERO_CELSIUS)
        charge = np.trapezoid(current, time)
        numbers["current"].append(charge / time[-1])
        numbers["capacity"].append(-charge / SECONDS_PER_HOUR)
        numbers["ambient"].append(temperature[0] + ZERO_CELSIUS)
    units = {"time": "s", "voltage": "V", "temperature": "K"}
    units |= {"current": "A", "ambient": "K", "capacity": "Ah"}
    return xr.Dataset(
        {
            **{n: (("curve", "point"), np.array(v), {"units": units[n]}) for n, v in rows.items()},
            **{n: ("curve", np.array(v), {"units": units[n]}) for n, v in numbers.items()},
            **{n: records[n] for n in ("rest_voltage", "temperature_chamber", "c_rate")},
        }
    )


def rested_cells(
    parameters: CellParameters, rest_voltage: FloatArray, ambient: FloatArray
) -> Cells:
    """Return fresh cells that are at equilibrium at a voltage and a temperature.

    Parameters
    ----------
    parameters
        Their capacities and lithium are taken from here.
    rest_voltage, ambient
        [V], [K], both (curve,).

    Returns
    -------
    Cells
        Of shape (curve, 1): one pack of one cell for each.

    Raises
    ------
    UsageError
        A voltage that such a cell does not have between 0 and 100 % state of charge.
    """
    capacities = fresh(parameters)
    edges = window(
        parameters,
        ne_capacity=capacities.negative,
        pe_capacity=capacities.positive,
        lithium=capacities.lithium,
    )
    low, high = np.zeros(len(rest_voltage)), np.ones(len(rest_voltage))

    def excess(soc: FloatArray) -> FloatArray:
        x = edges.x_0 + soc * (edges.x_100 - edges.x_0)
        y = edges.y_0 + soc * (edges.y_100 - edges.y_0)
        return (
            _equilibrium(parameters, parameters.positive, y, ambient)
            - _equilibrium(parameters, parameters.negative, x, ambient)
            - rest_voltage
        )

    wrong = (excess(low) > 0) | (excess(high) < 0)
    if wrong.any():
        curve = int(np.argmax(wrong))
        raise UsageError(
            f"discharge {curve} begins at {rest_voltage[curve]:g} V, which {parameters.name} does "
            "not have between 0 and 100 % state of charge",
            fix="give a discharge of a cell with the same cut-off voltages",
        )
    while np.max(high - low) > 1e-12:
        middle = (low + high) / 2
        above = excess(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return Cells(
        x_0=edges.x_0,
        x_100=edges.x_100,
        y_0=edges.y_0,
        y_100=edges.y_100,
        soc=low[:, None],
        ambient=ambient[:, None],
    )


def _equilibrium(
    parameters: CellParameters,
    electrode: ElectrodeParameters,
    stoichiometry: FloatArray,
    temperature: FloatArray,
) -> FloatArray:
    change, _ = cubic(electrode.entropic, stoichiometry)
    warmer = temperature - parameters.reference_temperature
    return np.asarray(potential(electrode, stoichiometry)[0] + warmer * change)


def simulate(parameters: CellParameters, discharges: xr.Dataset, model: Name) -> xr.Dataset:
    """Run measured discharges in our simulator.

    Parameters
    ----------
    parameters
        Of the cell.
    discharges
        What `sample_discharges` returns.
    model
        See `PackSimulator`.

    Returns
    -------
    xarray.Dataset
        Along (curve, point): voltage [V] and temperature [K] at the discharges' times; where the
        model has ended, the lower cut-off voltage and NaN. Along curve: stop_reason (a value of
        `REASONS`), empty where the model has not ended when it has lasted a tenth longer than the
        record, and capacity [Ah], which is then NaN.
    """
    curves, points = discharges["voltage"].shape
    steps = round(LONGER * points)
    simulator = PackSimulator(
        parameters,
        build(1, 1, busbar=0.0, terminal=0.0),
        rested_cells(parameters, discharges["rest_voltage"].values, discharges["ambient"].values),
        packs=curves,
        model=model,
        threads=1,
    )
    current, dt = discharges["current"].values, discharges["time"].values[:, 0]
    voltage, temperature = np.full((2, curves, steps), np.nan)
    runs, reason = np.ones(curves, dtype=bool), np.full(curves, "", dtype=object)
    for step in range(steps):
        simulator.step(CURRENT, current, np.where(runs, dt, np.nan))
        for curve in np.flatnonzero(runs & (simulator.reason != 0)):
            runs[curve], reason[curve] = False, REASONS[int(simulator.reason[curve])]
        voltage[runs, step] = simulator.voltage[runs, 0]
        temperature[runs, step] = simulator.temperature[runs, 0]
        empty = runs & (simulator.voltage[:, 0] <= parameters.lower_voltage)
        runs[empty], reason[empty] = False, REASONS[CELL_VOLTAGE_MIN]
        if not runs.any():
            break
    times: FloatArray = dt[:, None] * np.arange(1.0, steps + 1)
    return _outcome(parameters, discharges, times, voltage, temperature, reason)


def simulate_pybamm(source: str | Path, discharges: xr.Dataset, model: Name) -> xr.Dataset:
    """Run measured discharges in PyBaMM, from the same stoichiometries.

    Parameters and Returns as in `simulate`; `source` is what `read_parameters` takes.
    """
    from batterykit.pack.reference import Step, pybamm_cell

    parameters = read_parameters(source)
    cells = rested_cells(
        parameters, discharges["rest_voltage"].values, discharges["ambient"].values
    )
    curves, points = discharges["voltage"].shape
    steps = round(LONGER * points)
    times, voltage, temperature = np.full((3, curves, steps + 1), np.nan)
    reason = np.full(curves, "", dtype=object)
    for curve in range(curves):
        one = discharges.isel(curve=curve)
        period = float(one["time"][0])
        cell = Cells(
            x_0=cells.x_0,
            x_100=cells.x_100,
            y_0=cells.y_0,
            y_100=cells.y_100,
            soc=np.asarray(cells.soc)[curve],
            ambient=np.asarray(cells.ambient)[curve],
        )
        step = Step(
            "current",
            float(one["current"]),
            steps * period,
            {"cell_voltage_min": parameters.lower_voltage},
        )
        run = pybamm_cell(source, cell, [step], model=equations(model), period=period)
        run = run.isel(time=slice(1, None))  # without the moment before the first step
        reason[curve] = str(run["stop_reason"].values[0])
        times[curve, : run.sizes["time"]] = run["time"]
        voltage[curve, : run.sizes["time"]] = run["voltage"]
        temperature[curve, : run.sizes["time"]] = run["temperature"]
    return _outcome(parameters, discharges, times, voltage, temperature, reason)


def _outcome(
    parameters: CellParameters,
    discharges: xr.Dataset,
    times: FloatArray,
    voltage: FloatArray,
    temperature: FloatArray,
    reason: npt.NDArray[np.object_],
) -> xr.Dataset:
    """Cut what a model gave to the record's times; arrays are (curve, step), NaN past the end."""
    import xarray as xr

    points = discharges.sizes["point"]
    lowest = parameters.lower_voltage
    ends = np.full(len(times), np.nan)
    for curve in np.flatnonzero(reason != ""):
        last = int(np.isfinite(voltage[curve]).sum()) - 1
        ends[curve] = times[curve, max(last, 0)]
        if reason[curve] == REASONS[CELL_VOLTAGE_MIN] and last > 0:
            near = slice(last - 1, last + 1)  # the voltage falls in it
            ends[curve] = np.interp(-lowest, -voltage[curve, near], times[curve, near])
    inside = ~(discharges["time"].values > ends[:, None])
    dims = ("curve", "point")
    return xr.Dataset(
        {
            "voltage": (
                dims,
                np.where(inside, voltage[:, :points], lowest),
                {"units": "V"},
            ),
            "temperature": (
                dims,
                np.where(inside, temperature[:, :points], np.nan),
                {"units": "K"},
            ),
            "capacity": (
                "curve",
                -discharges["current"].values * ends / SECONDS_PER_HOUR,
                {"units": "Ah"},
            ),
            "stop_reason": ("curve", reason.astype(str)),
        }
    )


def errors(discharges: xr.Dataset, simulated: xr.Dataset) -> xr.Dataset:
    """Compare what a model gave with what was measured.

    Parameters
    ----------
    discharges, simulated
        What `sample_discharges` and `simulate` or `simulate_pybamm` return.

    Returns
    -------
    xarray.Dataset
        Along curve: voltage_rms [V] over the whole discharge, voltage_rms_before_knee [V] over the
        first 90 % of its charge, voltage_bias (mean, model less record) [V], capacity (relative, 1,
        model over record less 1), temperature_max (largest error, signed) [K], and
        temperature_chamber [degC] and c_rate [1/h].
    """
    import xarray as xr

    off = simulated["voltage"].values - discharges["voltage"].values
    knee = round(BEFORE_KNEE * off.shape[1])
    warm = simulated["temperature"].values - discharges["temperature"].values
    largest = np.nanargmax(np.abs(warm), axis=1)
    return xr.Dataset(
        {
            "voltage_rms": ("curve", np.sqrt(np.mean(off**2, axis=1)), {"units": "V"}),
            "voltage_rms_before_knee": (
                "curve",
                np.sqrt(np.mean(off[:, :knee] ** 2, axis=1)),
                {"units": "V"},
            ),
            "voltage_bias": ("curve", off.mean(axis=1), {"units": "V"}),
            "capacity": (
                "curve",
                simulated["capacity"].values / discharges["capacity"].values - 1,
                {"units": "1"},
            ),
            "temperature_max": (
                "curve",
                np.take_along_axis(warm, largest[:, None], axis=1)[:, 0],
                {"units": "K"},
            ),
            **{name: discharges[name] for name in ("temperature_chamber", "c_rate")},
        }
    )
