"""What the references promise: PyBaMM and liionpack on our terms, and five repairs all needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from batterykit.errors import BatterykitError, UsageError
from batterykit.pack import reference
from batterykit.pack.cell import Cells
from batterykit.pack.network import build
from batterykit.pack.reference import (
    REPAIRS,
    Mesh,
    Model,
    Profile,
    Step,
    fresh_cells,
    liionpack_pack,
    load_parameters,
    pybamm_cell,
)
from tests.pack.test_parameters import bpx_cell

FARADAY = 96485.33212  # C/mol, CODATA
CHARGE_10_MINUTES = Profile([0, 600], [5, 5])


def chen(soc: npt.ArrayLike = 0.3, **others: npt.ArrayLike) -> Cells:
    return fresh_cells("Chen2020", soc, **others)


def charged(
    cell: Cells,
    load: Profile | list[Step] = CHARGE_10_MINUTES,
    *,
    model: Model = "spme",
    mesh: Mesh = "default",
    period: float = 10.0,
) -> xr.Dataset:
    return pybamm_cell("Chen2020", cell, load, model=model, mesh=mesh, period=period)


@pytest.fixture(scope="module")
def plain() -> xr.Dataset:
    return charged(chen())


def test_charging_is_positive_and_fills_the_negative_electrode_as_faraday_says(
    plain: xr.Dataset,
) -> None:
    values = load_parameters("Chen2020")
    moles = (  # that the negative electrode holds
        values["Electrode height [m]"]
        * values["Electrode width [m]"]
        * values["Negative electrode thickness [m]"]
        * values["Negative electrode active material volume fraction"]
        * values["Maximum concentration in negative electrode [mol.m-3]"]
    )
    filled = plain.current * plain.time / (FARADAY * moles)
    assert float(plain.current.min()) == 5.0
    assert np.allclose(plain.x - plain.x[0], filled, rtol=1e-6, atol=1e-9)
    assert float(plain.voltage[-1]) > float(plain.voltage[1])
    assert list(plain.stop_reason.values) == [""]
    assert plain.step_end.values == [600.0]


@pytest.mark.parametrize(("soc", "voltage"), [(0.0, 2.5), (1.0, 4.2)])
def test_zero_and_full_charge_are_the_cut_off_voltages_at_rest(soc: float, voltage: float) -> None:
    inside = 1e-7 if soc == 0 else 1 - 1e-7  # PyBaMM refuses to start exactly at a cut-off
    rest = charged(chen(inside), Profile([0, 1], [0, 0]), period=1.0)
    assert float(rest.voltage[0]) == pytest.approx(voltage, abs=1e-5)
    assert float(rest.soc[0]) == pytest.approx(soc, abs=1e-6)


def test_a_stepwise_current_holds_and_a_linear_one_goes_straight() -> None:
    time, current = [0, 20, 40, 60], [5, -5, 2, 0]
    stepwise = charged(chen(), Profile(time, current))
    linear = charged(chen(), Profile(time, current, linear=True))
    wanted = [0, 10, 20, 30, 40, 50, 60]
    assert stepwise.time.values.tolist() == linear.time.values.tolist() == wanted
    assert np.allclose(stepwise.current, [5, 5, 5, -5, -5, 2, 2], rtol=0, atol=1e-9)
    assert np.allclose(linear.current, [5, 0, -5, -1.5, 2, 1, 0], rtol=0, atol=1e-9)
    drop = float(stepwise.voltage[2] - stepwise.voltage[3])
    assert drop > 0.1, "the sample at the switch belongs to the charge before it"


def test_steps_end_for_the_reasons_that_they_name() -> None:
    cell = charged(
        chen(0.6),
        [
            Step("current", 5.0, 7200, {"soc_max": 0.65, "cell_voltage_max": 4.2}),
            Step("current", 5.0, 7200, {"cell_voltage_max": 4.15}),
            Step("voltage", 4.15, 7200, {"current_min": 2.5}),
            Step("current", 1.0, 7200, {"cell_voltage_max": 3.0}),
            Step("power", -20.0, 30),
        ],
    )
    reasons = ["soc_max", "cell_voltage_max", "current_min", "over before it began", ""]
    assert cell.stop_reason.values.tolist() == reasons
    last = cell[["step", "soc", "voltage", "current"]].to_dataframe().groupby("step").last()
    assert last.soc[0] == pytest.approx(0.65, abs=1e-6)
    assert last.voltage[1] == pytest.approx(4.15, abs=1e-5)
    assert last.current[2] == pytest.approx(2.5, abs=1e-4)
    assert 3 not in last.index
    power = (cell.current * cell.voltage).values[cell.step.values == 4]
    assert np.allclose(power, -20.0, rtol=1e-5)
    assert np.all(np.diff(cell.time) > 0)


def test_a_step_that_runs_into_a_limit_that_it_does_not_name_is_an_error() -> None:
    with pytest.raises(BatterykitError, match="cell_voltage_max, which is none of its limits"):
        charged(chen(0.9), [Step("current", 10.0, 3600)])


def test_a_profile_stops_at_a_cut_off_and_says_so() -> None:
    cell = charged(chen(0.05), Profile([0, 3600], [-5, -5]))
    assert cell.stop_reason.values == ["cell_voltage_min"]
    assert float(cell.voltage[-1]) == pytest.approx(2.5, abs=1e-6)
    assert float(cell.time[-1]) == float(cell.step_end[0]) < 3600


def test_a_larger_cell_with_more_current_differs_in_heat_alone(plain: xr.Dataset) -> None:
    large = charged(chen(area=1.5, cooling=1.5, heat_capacity=1.5), Profile([0, 600], [7.5, 7.5]))
    for name, tolerance in (("voltage", 1e-6), ("temperature", 1e-4), ("soc", 1e-7)):
        assert np.allclose(large[name], plain[name], rtol=0, atol=tolerance)
    assert np.allclose(large.heat, 1.5 * plain.heat, rtol=1e-5)


def test_a_contact_resistance_costs_voltage_and_makes_heat(plain: xr.Dataset) -> None:
    cell = charged(chen(contact_resistance=2e-3))
    assert float(cell.voltage[0] - plain.voltage[0]) == pytest.approx(5 * 2e-3, abs=1e-6)
    assert np.allclose(cell.heat_contact, 5**2 * 2e-3)
    assert np.allclose(cell.plating_potential[0], plain.plating_potential[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", ["spme", "dfn"])
def test_a_film_costs_what_ohms_law_says_in_voltage_and_plating_potential(model: Model) -> None:
    values = load_parameters("Chen2020")
    surface = (  # of the negative particles [m2]
        3
        * values["Negative electrode active material volume fraction"]
        / values["Negative particle radius [m]"]
        * values["Negative electrode thickness [m]"]
        * values["Electrode height [m]"]
        * values["Electrode width [m]"]
    )
    bare = charged(chen(), Profile([0, 1], [5, 5]), model=model, period=1.0)
    film = charged(chen(film_resistance=0.01), Profile([0, 1], [5, 5]), model=model, period=1.0)
    drop = float(film.voltage[0] - bare.voltage[0])
    assert drop == pytest.approx(5 / surface * 0.01, rel=1e-6 if model == "spme" else 0.05)
    if model == "spme":
        lower = float(bare.plating_potential[0] - film.plating_potential[0])
        assert lower == pytest.approx(drop, rel=1e-6)


def test_without_cooling_the_heat_stays_in_the_cell() -> None:
    values = load_parameters("Chen2020")
    part = {
        "Negative current collector": "Negative current collector thickness [m]",
        "Negative electrode": "Negative electrode thickness [m]",
        "Separator": "Separator thickness [m]",
        "Positive electrode": "Positive electrode thickness [m]",
        "Positive current collector": "Positive current collector thickness [m]",
    }
    thickness = np.array([values[name] for name in part.values()])
    heat_capacity = np.array(
        [
            values[f"{name} density [kg.m-3]"]
            * values[f"{name} specific heat capacity [J.kg-1.K-1]"]
            for name in part
        ]
    )
    capacity = thickness @ heat_capacity / thickness.sum() * values["Cell volume [m3]"]
    cell = charged(chen(cooling=0.0), period=2.0)
    heat = np.trapezoid(cell.heat, cell.time)
    assert float(cell.temperature[-1] - 298.15) == pytest.approx(heat / capacity, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["spme", "dfn"])
def test_the_fine_mesh_is_converged_at_2c(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Profile([0, 900], [10, 10])
    fine = charged(chen(0.1), load, model=model, mesh="fine")
    finer = {"spme": (240, 120, 200), "dfn": (90, 45, 60)}
    monkeypatch.setattr(reference, "_FINE", finer)
    limit = charged(chen(0.1), load, model=model, mesh="fine")
    inside = slice(1, min(len(fine.time), len(limit.time)) - 1)
    for name, tolerance in (("voltage", 3e-4), ("plating_potential", 1e-4), ("temperature", 0.02)):
        difference = (fine[name] - limit[name]).values[inside]
        assert np.abs(difference).max() < tolerance


@pytest.mark.parametrize(
    ("time", "current"),
    [
        ([0], [1]),
        ([1, 2], [1, 1]),
        ([0, 2, 1], [1, 1, 1]),
        ([0, 1], [1, np.nan]),
        ([0, 1, 2], [1, 1]),
    ],
)
def test_a_profile_that_is_none_is_refused(time: list[float], current: list[float]) -> None:
    with pytest.raises(UsageError, match="rise from 0 s"):
        charged(chen(), Profile(time, current))


def test_a_set_of_ours_is_its_base_with_the_changes(tmp_path: Path) -> None:
    slower = {"Negative particle diffusivity [m2.s-1]": {"factor": 0.5}}
    resistance = {"Contact resistance [Ohm]": 1e-3}
    path = tmp_path / "slow.json"
    path.write_text(
        json.dumps({"base": "Chen2020", "source": "made up", "changes": slower | resistance})
    )
    load = Profile([0, 60], [5, 5])
    ours = pybamm_cell(path, fresh_cells(path, 0.3), load, mesh="default")
    theirs = charged(chen(ne_diffusivity=0.5, contact_resistance=1e-3), load)
    assert np.allclose(ours.voltage, theirs.voltage, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Accessing the 'model_fields'", "ignore:'Open-circuit voltage")
def test_a_bpx_file_runs(tmp_path: Path) -> None:
    pytest.importorskip("bpx")
    path = tmp_path / "cell.bpx.json"
    path.write_text(json.dumps(bpx_cell()))
    cell = pybamm_cell(path, fresh_cells(path, 0.5), Profile([0, 60], [5, 5]), mesh="default")
    assert cell.stop_reason.values == [""]
    assert float(cell.soc[-1] - cell.soc[0]) > 0


def test_a_set_for_another_kind_of_model_is_refused() -> None:
    pybamm = pytest.importorskip("pybamm")
    values = pybamm.ParameterValues("Xu2019")
    with pytest.raises(UsageError, match="the parameter set has no 'Total heat transfer"):
        pybamm_cell(values, chen(), CHARGE_10_MINUTES)


def test_other_bad_input_is_refused_in_words() -> None:
    with pytest.raises(BatterykitError, match="NoSuch2020"):
        fresh_cells("NoSuch2020", 0.5)
    with pytest.raises(UsageError, match="unknown limit 'voltage_max'"):
        charged(chen(), [Step("current", 5.0, 10, {"voltage_max": 4.2})])
    with pytest.raises(UsageError, match="without steps"):
        charged(chen(), [])
    with pytest.raises(UsageError, match="open-circuit"):
        charged(chen(connected=False))


# --- liionpack -----------------------------------------------------------------------------------

UNEQUAL = {
    "soc": np.array([0.20, 0.22, 0.18, 0.21]),
    "area": np.array([1.02, 0.98, 1.00, 0.97]),
    "contact_resistance": np.array([0.0, 2e-3, 1e-3, 3e-3]),
    "ambient": np.array([298.15, 300.0, 296.0, 298.15]),
}
PACK = build(2, 2, connection=1e-3)
PACK_LOAD = Profile([0, 60, 120], [10.0, -6.0, 0.0])


def one_of(cells: Cells, index: int) -> Cells:
    return Cells(
        **{
            name: np.ravel(value)[index] if np.size(value) > 1 else value
            for name, value in vars(cells).items()
        }
    )


def unequal_pack() -> xr.Dataset:
    return liionpack_pack("Chen2020", chen(**UNEQUAL), PACK, PACK_LOAD, mesh="default")


def worst_against_pybamm(pack: xr.Dataset) -> float:
    """Return the first or last cell's largest difference from PyBaMM at its own current [V]."""
    worst = 0.0
    for index in (0, PACK.cells - 1):
        current = np.append(pack.current.values[:, index], 0.0)
        alone = charged(one_of(chen(**UNEQUAL), index), Profile(np.append(0.0, pack.time), current))
        difference = alone.voltage.values[1:] - pack.voltage.values[:, index]
        worst = max(worst, float(np.abs(difference).max()))
    return worst


def test_a_cell_of_a_liionpack_pack_is_the_pybamm_cell_of_its_own_current() -> None:
    pack = unequal_pack()
    assert worst_against_pybamm(pack) < 1e-4
    first = pack.isel(time=0)
    assert np.allclose(first.soc, UNEQUAL["soc"], atol=0.004)
    assert np.allclose(first.temperature, UNEQUAL["ambient"], atol=0.3)


def test_the_currents_of_a_group_sum_to_the_packs_and_its_voltage_follows_from_the_circuit() -> (
    None
):
    pack = unequal_pack()
    groups = pack.current.values.reshape(-1, 2, 2).sum(axis=2)
    assert np.allclose(groups, pack.pack_current.values[:, None], rtol=0, atol=1e-5)  # float32
    assert pack.pack_current.values.tolist() == [10.0] * 6 + [-6.0] * 6
    column = pack.voltage.values[:, ::2] + pack.current.values[:, ::2] * 1e-3  # at the left leads
    leads = pack.pack_current.values * PACK.terminal_resistance
    assert np.allclose(pack.pack_voltage, column.sum(axis=1) + leads, rtol=0, atol=2e-3)


def test_equal_cells_share_the_current_equally_without_busbars() -> None:
    pack = liionpack_pack(
        "Chen2020", chen(), build(2, 1, busbar=0.0), Profile([0, 30], [10, 0]), mesh="default"
    )
    assert np.allclose(pack.current, 5.0, rtol=0, atol=1e-5)
    assert pack.attrs["engine"] == "liionpack 0.4.0"


def test_a_pack_stops_when_a_cell_crosses_a_cut_off() -> None:
    pack = liionpack_pack(
        "Chen2020",
        chen([0.70, 0.75]),
        build(1, 2),
        Profile([0, 3600], [5.0, 0.0]),
        mesh="default",
    )
    assert pack.stop_reason.values == ["cell_voltage_max"]
    assert float(pack.time[-1]) == float(pack.step_end[0]) < 3600
    assert 4.1 < float(pack.voltage.max()) <= 4.2


@pytest.mark.parametrize(
    ("repair", "error", "message"),
    [
        ("sensitivities", AttributeError, "len_rhs_sens"),
        ("integrator", TypeError, "create_integrator"),
        ("power loss", ValueError, "read-only"),
        ("order of inputs", BatterykitError, "could not solve"),  # a resistance of 298.15 Ohm
    ],
)
def test_without_one_of_these_repairs_liionpack_fails(
    repair: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(REPAIRS, repair)
    with pytest.raises(error, match=message):
        unequal_pack()


def test_without_the_repair_of_initial_states_every_cell_starts_as_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(REPAIRS, "initial states")
    assert len(REPAIRS) == 4, "every repair has a test"
    pack = unequal_pack()
    assert np.allclose(pack.soc[0], UNEQUAL["soc"][-1], rtol=0, atol=0.005)
    assert worst_against_pybamm(pack) > 5e-3


def test_the_repairs_are_undone_after_a_run() -> None:
    import liionpack
    import liionpack.solvers
    import pybamm

    def state() -> list[Any]:
        return [
            pybamm.CasadiSolver.create_integrator,
            liionpack.power_loss,
            liionpack.build_inputs_dict,
            liionpack.solvers.cco,
            liionpack.solvers.tqdm,
            liionpack.logger.level,
            hasattr(pybamm.BaseModel, "len_rhs_sens"),
        ]

    before = state()
    unequal_pack()
    assert state() == before


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (Profile([0, 60], [0.0, 0.0]), "none at rest first"),
        (Profile([0, 65], [5.0, 0.0]), "whole periods"),
        (Profile([0, 60], [5.0, 3.0], linear=True), "stepwise"),
    ],
)
def test_a_load_that_liionpack_cannot_take_is_refused(load: Profile, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        liionpack_pack("Chen2020", chen(), PACK, load)


def test_importing_the_module_imports_neither_of_them() -> None:
    code = (
        "import sys, batterykit.pack.reference; "
        "sys.exit(any(name in sys.modules for name in ('pybamm', 'liionpack', 'ray')))"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
