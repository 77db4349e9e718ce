"""Measured rate tests: how they are read, how models are compared with them, and our set."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.io import savemat

from batterykit.datasets.rate_tests import read_rate_tests
from batterykit.errors import InputError, UsageError
from batterykit.pack.network import build
from batterykit.pack.parameters import SETS, read_parameters
from batterykit.pack.reference import load_parameters
from batterykit.pack.simulator import PackSimulator
from batterykit.pack.validation import (
    errors,
    rested_cells,
    sample_discharges,
    simulate,
    simulate_pybamm,
)
from benchmarks import fit_rate_tests, rate_tests

Record = dict[str, Any]
REFIT = "LGM50-refit"


def record(rate: float = 1.0, samples: int = 37, **changes: Any) -> Record:  # noqa: ANN401
    """Discharge from 4.15 V to 2.5 V, rest and recharge, a sample every 100 s."""
    time = np.concatenate([[0.0], 100.0 * np.arange(samples), 1e4 + 100.0 * np.arange(3)])
    current = np.concatenate([[0.0], np.full(samples, -5.0 * rate), [0.0, 1.5, 0.0]])
    voltage = np.concatenate([[4.15], np.linspace(4.0, 2.5, samples), [3.0, 4.2, 4.15]])
    temperature = np.concatenate([[25.0], np.linspace(25.0, 31.0, samples), [30.0, 26.0, 25.0]])
    columns = {"timeVec": time, "currVec": current, "volVec": voltage}
    return columns | {"cellTemp_mid": temperature, "powVec": current * voltage} | changes


def write(folder: Path, struct: dict[str, Any]) -> Path:
    path = folder / "rates.mat"
    savemat(path, {"rates": struct})
    return path


@pytest.fixture
def made(tmp_path: Path) -> xr.Dataset:
    struct = {
        "T25": {"cRate_1C": record(), "cRate_0p5C": record(0.5, samples=73)},
        "Tm5": {"cRate_1p5C": record(1.5, samples=25)},
    }
    return read_rate_tests(write(tmp_path, struct))


@pytest.fixture(scope="module")
def real() -> xr.Dataset:
    path = rate_tests.find_records()
    if path is None:
        pytest.skip("real rate tests are not at hand; name their folder in BATTERYKIT_TEST_DATA")
    return read_rate_tests(path)


def test_records_come_by_temperature_and_rate_with_their_discharges_marked(
    made: xr.Dataset,
) -> None:
    assert made["temperature_chamber"].values.tolist() == [-5.0, 25.0, 25.0]
    assert made["c_rate"].values.tolist() == [1.5, 0.5, 1.0]
    assert made["row_size"].values.tolist() == [29, 77, 41]
    assert made["discharge_size"].values.tolist() == [26, 74, 38]
    assert made.sizes["sample"] == 29 + 77 + 41
    assert made["current"].attrs["units"] == "A"
    assert made["current"].values[1] == -7.5


def test_the_rest_before_a_discharge_is_its_first_sample_or_else_the_rest_after_the_recharge(
    tmp_path: Path,
) -> None:
    switched = record()
    switched["volVec"] = np.concatenate([[4.05], switched["volVec"][1:]])
    read = read_rate_tests(write(tmp_path, {"T25": {"cRate_1C": record(), "cRate_1p0C": switched}}))
    assert read["rest_voltage"].values.tolist() == [4.15, 4.15]
    assert read["rest_voltage_from"].values.tolist() == ["start", "end"]


def without(name: str) -> Record:
    return {key: value for key, value in record().items() if key != name}


def spoiled(name: str, sample: int, value: float) -> Record:
    values = np.array(record()[name])
    values[sample] = value
    return record() | {name: values}


@pytest.mark.parametrize(
    ("struct", "says"),
    [
        ({"T25": {"cRate_1C": without("volVec")}}, "'T25.cRate_1C' has no volVec"),
        ({"T25": {"cRate_1C": record(flow=[1.0])}}, "has flow"),
        ({"T25": {"cRate_1C": spoiled("volVec", 7, np.nan)}}, "volVec': sample 7 is nan V"),
        ({"T25": {"cRate_1C": spoiled("cellTemp_mid", 7, 300.0)}}, "sample 7 is 300 degC"),
        ({"T25": {"cRate_1C": spoiled("timeVec", 7, 1.0)}}, "time falls at sample 7"),
        ({"T25": {"cRate_1C": record(volVec=np.ones(4))}}, "as long as timeVec (41)"),
        ({"T25": {"cRate_1C": record(volVec="full")}}, "not a column of numbers"),
        ({"T25": {"cRate_2C": record()}}, "the discharge is at 5 A, not at 2C of 5 Ah"),
        ({"T25": {"cRate_1C": record(currVec=-record()["currVec"])}}, "begins with -0 A and 5 A"),
        ({"T25": {"cRate_1C": spoiled("volVec", 37, 2.8)}}, "the discharge ends at 2.8 V"),
        ({"T25": {"rate_1C": record()}}, "'T25.rate_1C' is not the struct of a rate"),
        ({"warm": {"cRate_1C": record()}}, "'warm' is not a struct of the rates"),
        ({"T25": 3.0}, "'T25' is not a struct of the rates"),
    ],
)
def test_a_record_that_is_not_what_it_must_be_is_refused_by_place(
    tmp_path: Path, struct: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as refusal:
        read_rate_tests(write(tmp_path, struct))
    assert says in str(refusal.value)
    assert "rates.mat" in str(refusal.value)


def test_what_is_no_matlab_file_or_holds_no_struct_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "rates.mat"
    text.write_text("time,voltage\n", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        read_rate_tests(text)
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        read_rate_tests(tmp_path / "nothing.mat")
    savemat(text, {"a": 1.0, "b": 2.0})
    with pytest.raises(InputError, match="holds a, b, not one struct"):
        read_rate_tests(text)


def test_discharges_are_sampled_at_equal_times_from_the_first_current_on(made: xr.Dataset) -> None:
    found = sample_discharges(made, points=10)
    assert found["time"].values[2] == pytest.approx(360.0 * np.arange(1, 11))
    assert found["voltage"].values[2] == pytest.approx(np.linspace(4.0, 2.5, 11)[1:])
    assert found["temperature"].values[2, -1] == pytest.approx(31.0 + 273.15)
    assert found["ambient"].values[2] == pytest.approx(298.15)
    assert found["current"].values == pytest.approx([-7.5, -2.5, -5.0])
    assert found["capacity"].values == pytest.approx([5.0, 5.0, 5.0])


def test_a_rested_cell_has_the_stoichiometries_that_pybamm_finds_for_its_voltage() -> None:
    import pybamm

    parameters = read_parameters("Chen2020")
    cells = rested_cells(parameters, np.array([3.7, 4.15]), np.array([298.15, 298.15]))
    for voltage, soc in zip((3.7, 4.15), np.ravel(cells.soc), strict=True):
        x, y = pybamm.lithium_ion.get_initial_stoichiometries(
            f"{voltage} V", load_parameters("Chen2020")
        )
        assert cells.x_0 + soc * (np.asarray(cells.x_100) - cells.x_0) == pytest.approx(x, abs=2e-6)
        assert cells.y_0 + soc * (np.asarray(cells.y_100) - cells.y_0) == pytest.approx(y, abs=2e-6)


def test_a_rested_cell_is_at_its_voltage_at_its_own_temperature() -> None:
    parameters = read_parameters("Ai2020")  # whose potentials depend on temperature
    voltage, ambient = np.array([3.9, 3.9]), np.array([273.15, 318.15])
    cells = rested_cells(parameters, voltage, ambient)
    assert np.ptp(np.ravel(cells.soc)) > 1e-4
    simulator = PackSimulator(
        parameters, build(1, 1, busbar=0.0, terminal=0.0), cells, packs=2, threads=1
    )
    assert simulator.voltage[:, 0] == pytest.approx(voltage, abs=1e-6)


def test_a_voltage_beyond_the_cell_s_own_is_refused() -> None:
    with pytest.raises(UsageError, match=r"discharge 1 begins at 4\.3 V, which Chen2020"):
        rested_cells(read_parameters("Chen2020"), np.array([4.1, 4.3]), np.array([298.15, 298.15]))


def test_a_model_that_gives_the_record_has_no_error_and_one_that_ends_early_counts_as_empty(
    made: xr.Dataset,
) -> None:
    discharges = sample_discharges(made, points=10)
    exact = discharges[["voltage", "temperature", "capacity"]]
    assert float(abs(errors(discharges, exact)["voltage_rms"]).max()) == 0.0
    assert float(abs(errors(discharges, exact)["capacity"]).max()) == 0.0

    early = exact.copy(deep=True)
    early["voltage"][2, 5:] = 2.5
    early["temperature"][2, 5:] = np.nan
    off = errors(discharges, early).isel(curve=2)
    lost = np.linspace(4.0, 2.5, 11)[6:] - 2.5
    assert float(off["voltage_rms"]) == pytest.approx(np.sqrt(np.sum(lost**2) / 10))
    assert float(off["voltage_bias"]) == pytest.approx(-lost.sum() / 10)
    assert float(off["temperature_max"]) == 0.0


def test_a_discharge_in_our_simulator_is_that_in_pybamm_to_a_millivolt(made: xr.Dataset) -> None:
    discharges = sample_discharges(made, points=200).isel(curve=[2])
    ours = simulate(read_parameters("Chen2020"), discharges, "spme")
    theirs = simulate_pybamm("Chen2020", discharges, "spme")
    off = (ours["voltage"] - theirs["voltage"]).values
    assert np.sqrt(np.mean(off**2)) < 1e-3
    assert ours["capacity"].values == pytest.approx(theirs["capacity"].values, rel=1e-3)
    assert ours["stop_reason"].values.tolist() == theirs["stop_reason"].values.tolist()
    assert ours["temperature"].values == pytest.approx(
        theirs["temperature"].values, abs=0.1, nan_ok=True
    )


def test_the_benchmark_writes_one_row_for_each_discharge_set_and_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, {"T25": {"cRate_1C": record()}})
    options = ["--data", str(path), "--no-peer", "--sets", "Chen2020", "--points", "50"]
    assert rate_tests.main([*options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["parameters"], row["model"], row["c_rate"]) for row in rows] == [
        ("Chen2020", "dfn", 1.0),
        ("Chen2020", "dfn-fine", 1.0),
        ("Chen2020", "spme", 1.0),
    ]
    assert rows[0].keys() == {field.name for field in fields(rate_tests.Row)}
    assert rate_tests.main(options) == 0
    assert "Chen2020 spme batterykit" in capsys.readouterr().out
    assert rate_tests.main(["--data", str(tmp_path / "none.mat")]) == 1
    assert "Fix:" in capsys.readouterr().err


def test_our_set_changes_the_five_parameters_it_names_and_says_where_they_come_from() -> None:
    shipped = json.loads((SETS / f"{REFIT}.json").read_text(encoding="utf-8"))
    assert shipped["base"] == fit_rate_tests.BASE
    assert shipped["changes"].keys() == fit_rate_tests.FITTED.keys()
    cell, base = read_parameters(REFIT), read_parameters(shipped["base"])
    assert "PyBOP" in cell.source
    assert "Not for" in cell.source
    assert cell.contact_resistance == shipped["changes"]["Contact resistance [Ohm]"]
    factor = shipped["changes"]["Negative particle diffusivity [m2.s-1]"]["factor"]
    assert np.exp(cell.negative.log_diffusivity - base.negative.log_diffusivity) == pytest.approx(
        factor
    )
    assert cell.negative.thickness == base.negative.thickness


def test_the_real_records_are_sixteen_discharges_of_a_cell_of_five_ampere_hours(
    real: xr.Dataset,
) -> None:
    discharges = sample_discharges(real)
    places = zip(discharges["temperature_chamber"].values, discharges["c_rate"].values, strict=True)
    assert sorted(places) == sorted(
        [(t, rate) for t in (0.0, 10.0, 25.0) for rate in (0.1, 0.5, 1.0, 2.0)]
        + [(45.0, rate) for rate in (0.1, 0.5, 1.0, 1.5)]
    )
    assert real["rest_voltage_from"].values.tolist() == ["start"] * 15 + ["end"]
    assert discharges["capacity"].values.min() > 4.2
    assert discharges["capacity"].values.max() < 5.0
    assert np.all(abs(discharges["voltage"].values[:, -1] - 2.5) < 2e-3)


@pytest.mark.parametrize("base", ["Chen2020", "OKane2022"])
def test_our_set_halves_the_error_of_the_sets_it_comes_from_on_real_cells(
    real: xr.Dataset, base: str
) -> None:
    discharges = sample_discharges(real)
    new, old = (
        np.array(fit_rate_tests.rms(read_parameters(name), discharges)) for name in (REFIT, base)
    )
    everything, _, held_out = new / old
    assert everything < 0.5
    assert held_out < 0.55


@pytest.mark.slow
def test_our_set_is_what_the_fit_ends_at(real: xr.Dataset) -> None:
    changes = json.loads((SETS / f"{REFIT}.json").read_text(encoding="utf-8"))["changes"]
    shipped: dict[str, float] = {
        name: change["factor"] if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    again = fit_rate_tests.fit(real, start=shipped, evaluations=6)
    discharges = sample_discharges(real)
    found, kept = (
        fit_rate_tests.rms(fit_rate_tests.parameters_of(numbers), discharges)[1]
        for numbers in (again, shipped)
    )
    assert kept < 1.02 * found
