"""Fits five parameters of OKane2022 to measured discharges: the set LGM50-refit.

`python -m benchmarks.fit_rate_tests [--data FILE.mat] [--write]`. Half a minute. The discharges
at 10 degC and those at 0.5C take no part; the set's own text says how well it does there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from batterykit.datasets.rate_tests import read_rate_tests
from batterykit.errors import BatterykitError
from batterykit.pack.parameters import SETS, CellParameters, read_parameters
from batterykit.pack.validation import errors, sample_discharges, simulate

if TYPE_CHECKING:
    import xarray as xr

FloatArray = npt.NDArray[np.float64]

NAME, BASE = "LGM50-refit", "OKane2022"
RESISTANCE = "Contact resistance [Ohm]"
# Not fitted: the electrolyte's conductivity (1.05 times the base's, and 0.4 mV less of error), and
# with it the exchange current of the negative electrode (4 mV less, but sevenfold, with no data on
# charge to say so, and every plating potential would move with it).
# Factors on the base's values but for the resistance [Ohm]; first guess, bounds. The size of the
# steps is one tenth of the range of a factor's logarithm and 10 mOhm.
FITTED = {
    "Positive electrode active material volume fraction": (0.95, 0.7, 1.0),  # 1: with the pores all
    "Initial concentration in negative electrode [mol.m-3]": (1.0, 0.85, 1.1),
    "Negative particle diffusivity [m2.s-1]": (1.0, 0.1, 10.0),
    "Total heat transfer coefficient [W.m-2.K-1]": (1.0, 0.3, 4.0),
    RESISTANCE: (0.01, 0.0, 0.04),
}
HELD_OUT_CHAMBER, HELD_OUT_RATE = 10.0, 0.5  # degC, 1/h
POINTS = 200  # of a discharge
VOLTAGE_ERROR, TEMPERATURE_ERROR = 10e-3, 2.0  # V, K that count the same
DIGITS = 3  # of the numbers in the set
_UNSOLVED = 100.0  # for every point, where a set of numbers is no cell


def held_out(discharges: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Return which discharges take no part in the fit, (curve,)."""
    held: npt.NDArray[np.bool_] = (
        (discharges["temperature_chamber"] == HELD_OUT_CHAMBER)
        | (discharges["c_rate"] == HELD_OUT_RATE)
    ).values
    return held


def content(numbers: dict[str, float], source: str = "a fit") -> dict[str, Any]:
    """Return a parameter set in the form that `read_parameters` reads."""
    changes = {
        name: value if name == RESISTANCE else {"factor": value} for name, value in numbers.items()
    }
    return {"base": BASE, "source": source, "changes": changes}


def parameters_of(numbers: dict[str, float]) -> CellParameters:
    """Return a cell with these numbers, as it will be when the set is shipped."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{NAME}.json"
        path.write_text(json.dumps(content(numbers)), encoding="utf-8")
        return read_parameters(path)


def _numbers(unknowns: FloatArray) -> dict[str, float]:
    """Return FITTED's numbers: logarithms of factors, and the resistance in steps of 10 mOhm."""
    return {
        name: 0.01 * value if name == RESISTANCE else float(np.exp(value))
        for name, value in zip(FITTED, unknowns, strict=True)
    }


def _unknowns(values: list[float]) -> FloatArray:
    return np.array(
        [
            value / 0.01 if name == RESISTANCE else np.log(value)
            for name, value in zip(FITTED, values, strict=True)
        ]
    )


def residuals(unknowns: FloatArray, discharges: xr.Dataset) -> FloatArray:
    """Return voltage and temperature errors of all points, in units that count the same."""
    try:
        simulated = simulate(parameters_of(_numbers(unknowns)), discharges, "dfn")
    except BatterykitError:  # electrodes that do not reach the voltages
        return np.full(2 * discharges["voltage"].size, _UNSOLVED)
    off = simulated["voltage"].values - discharges["voltage"].values
    warm = simulated["temperature"].values - discharges["temperature"].values
    return np.concatenate(
        [off.ravel() / VOLTAGE_ERROR, np.nan_to_num(warm).ravel() / TEMPERATURE_ERROR]
    )


def fit(
    records: xr.Dataset, start: dict[str, float] | None = None, evaluations: int = 60
) -> dict[str, float]:
    """Return the numbers that fit the discharges which are not held out, by least squares.

    Parameters
    ----------
    records
        What `read_rate_tests` returns.
    start
        Numbers to begin with; by default those of FITTED.
    evaluations
        The most that it may take, not counting those for the derivatives.
    """
    discharges = sample_discharges(records, POINTS)
    discharges = discharges.isel(curve=~held_out(discharges))
    first = _unknowns([start[n] if start else FITTED[n][0] for n in FITTED])
    low, high = (_unknowns([bounds[k] for bounds in FITTED.values()]) for k in (1, 2))
    scale = (high - low) / 10
    # scipy's steps for derivatives are relative to the unknowns, so these stay away from 0
    found = least_squares(
        lambda scaled: residuals(low + (scaled - 1) * scale, discharges),
        1 + (first - low) / scale,
        bounds=(np.ones(len(first)), np.full(len(first), 11.0)),
        diff_step=1e-3,
        max_nfev=evaluations,
    )
    numbers = _numbers(low + (found.x - 1) * scale)
    return {name: float(f"{value:.{DIGITS}g}") for name, value in numbers.items()}


def rms(parameters: CellParameters, discharges: xr.Dataset) -> tuple[float, float, float]:
    """Return the RMS voltage error of all discharges, of those fitted and of those held out [V]."""
    each = errors(discharges, simulate(parameters, discharges, "dfn"))["voltage_rms"].values
    held = held_out(discharges)
    all_, fitted, others = (
        float(np.sqrt(np.mean(part**2))) for part in (each, each[~held], each[held])
    )
    return all_, fitted, others


def describe(numbers: dict[str, float], records: xr.Dataset) -> str:
    """Return the source text of the set, with what it is good for."""
    discharges = sample_discharges(records)
    cell = parameters_of(numbers)
    new, old = (
        [f"{1e3 * value:.0f}" for value in rms(parameters, discharges)]
        for parameters in (cell, read_parameters(BASE))
    )
    off = errors(discharges, simulate(cell, discharges, "dfn"))
    capacity = 100 * off["capacity"].values
    warmth = float(abs(off["temperature_max"]).max())
    return (
        "fitted by benchmarks/fit_rate_tests.py (batterykit's DFN) to 9 of 16 measured discharges "
        "of fresh LG M50 cells, 0, 25 and 45 degC, 0.1C, 1C, 1.5C and 2C (example data of PyBOP, "
        f"https://github.com/pybop-team/PyBOP, BSD-3). RMS voltage error {new[1]} mV on these "
        f"({BASE}: {old[1]}), {new[2]} mV on the 7 at 10 degC or 0.5C that were held out "
        f"({old[2]}), {new[0]} mV on all ({old[0]}); which parameters to fit was chosen with all "
        f"errors in sight. Capacity is off by {capacity.min():.1f} to {capacity.max():+.1f} % "
        f"(most at 0 degC), temperature by up to {warmth:.0f} K. For: the DFN's voltage of a fresh "
        "LG M50 on discharge from full, alone in a chamber. Not for: charging and plating, which "
        "no data here test, the SPMe at 0 degC and 2C (its electrolyte runs empty, as with the "
        "base), other cooling, aged cells, or any one of the numbers as a property of its material"
    )


def main(arguments: list[str] | None = None) -> int:
    """Fit, print, and with --write ship; return the exit status."""
    from benchmarks.rate_tests import add_data_option, records_file

    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_rate_tests")
    add_data_option(parser)
    parser.add_argument("--write", action="store_true", help=f"write the set {NAME}")
    options = parser.parse_args(arguments)
    try:
        records = read_rate_tests(records_file(options.data))
        numbers = fit(records)
        text = json.dumps(content(numbers, describe(numbers, records)), indent=2)
    except BatterykitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(text)
    if options.write:
        SETS.mkdir(exist_ok=True)
        (SETS / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
