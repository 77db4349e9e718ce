"""What `batterykit.pack.parameters` promises: PyBaMM's own numbers, or an error that names one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RectBivariateSpline, RegularGridInterpolator

from batterykit.errors import InputError, UsageError
from batterykit.pack import parameters
from batterykit.pack.parameters import CellParameters, ElectrodeParameters, read_parameters

if TYPE_CHECKING:
    import pybamm

FloatArray = npt.NDArray[np.float64]

Source: TypeAlias = "str | pybamm.ParameterValues"
Symbol: TypeAlias = "pybamm.Symbol"

SETS = ["Chen2020", "OKane2022", "Ai2020", "Ecker2015", "Marquis2019"]
SIDES = ["negative", "positive"]

# ORegan2022 lets these depend on temperature; with the values at 25 degC the rest can be held.
OREGAN_CONSTANTS = {
    "Positive electrode conductivity [S.m-1]": 0.9162,
    "Cation transference number": 0.26,
    "Negative current collector specific heat capacity [J.kg-1.K-1]": 388.52,
    "Negative electrode specific heat capacity [J.kg-1.K-1]": 847.72,
    "Positive current collector specific heat capacity [J.kg-1.K-1]": 897.16,
    "Positive electrode specific heat capacity [J.kg-1.K-1]": 902.65,
    "Separator specific heat capacity [J.kg-1.K-1]": 1130.97,
}


@lru_cache(maxsize=1)
def pybamm_parameters() -> pybamm.LithiumIonParameters:
    import pybamm

    return pybamm.LithiumIonParameters(pybamm.BatteryModelOptions({"thermal": "lumped"}))


def reference(
    source: Source, function: Callable[..., Symbol], *arrays: npt.ArrayLike
) -> FloatArray:
    """Evaluate PyBaMM's own expression, with all that its models put around a set's function."""
    import pybamm

    values = pybamm.ParameterValues(source) if isinstance(source, str) else source
    columns = [pybamm.Vector(np.asarray(array, dtype=float)) for array in arrays]
    value = values.process_symbol(function(*columns)).evaluate().reshape(-1)
    return np.broadcast_to(value, np.shape(arrays[0]))


def cubics(pieces: FloatArray, sto: FloatArray) -> FloatArray:
    index = np.minimum((sto * len(pieces)).astype(int), len(pieces) - 1)
    return np.asarray(
        [np.polyval(pieces[i], s - i / len(pieces)) for i, s in zip(index, sto, strict=True)]
    )


def particle(side: str) -> pybamm.ParticleLithiumIonParameters:
    return getattr(pybamm_parameters(), side[0]).prim


def potential_error(source: Source, cell: CellParameters, side: str, sto: FloatArray) -> FloatArray:
    temperature = cell.reference_temperature
    true = reference(source, lambda s: particle(side).U(s, temperature), sto)
    return cubics(getattr(cell, side).potential, sto) - true


def kinetics(
    cell: CellParameters,
    electrode: ElectrodeParameters,
    salt: FloatArray,
    sto: FloatArray,
    temperature: FloatArray,
) -> FloatArray:
    e, s, f = electrode.exchange_exponents
    rate = np.exp(np.interp(1 / temperature, cell.inverse_temperature_grid, electrode.log_rate))
    return np.asarray(rate * (salt / 1000) ** e * sto**s * (1 - sto) ** f)


def diffusivity(
    cell: CellParameters, electrode: ElectrodeParameters, sto: FloatArray, temperature: FloatArray
) -> FloatArray:
    relative = electrode.relative_diffusivity
    middle = np.interp(1 / temperature, cell.inverse_temperature_grid, electrode.log_diffusivity)
    return np.asarray(np.exp(middle) * np.interp(sto, np.linspace(0, 1, len(relative)), relative))


@pytest.mark.parametrize(
    ("name", "side", "largest"),
    [
        ("Chen2020", "negative", 1e-6),
        ("Chen2020", "positive", 1e-6),
        ("OKane2022", "positive", 1e-6),
        ("Ecker2015", "positive", 1e-6),
        ("Marquis2019", "negative", 5e-6),
        ("Marquis2019", "positive", 5e-6),  # coth(15 (sto - ...)) and the like
        ("Ai2020", "negative", 1e-5),
        ("Ecker2015", "negative", 1e-5),
        ("Ai2020", "positive", 1e-4),  # tanh(97 ...)
        ("OKane2022", "negative", 1.5e-4),  # a spline through scattered data, with its corners
    ],
)
def test_potentials_are_pybamms_between_stoichiometries_of_1_and_99_percent(
    name: str, side: str, largest: float
) -> None:
    sto = np.random.default_rng(0).uniform(0.01, 0.99, 4000)

    error = potential_error(name, read_parameters(name), side, sto)

    assert np.abs(error).max() < largest
    assert np.sqrt(np.mean(error**2)) < largest / 9


@pytest.mark.parametrize("side", SIDES)
def test_cubics_join_with_equal_values_and_slopes(side: str) -> None:
    for pieces in (getattr(read_parameters(name), side).potential for name in SETS):
        width = 1 / len(pieces)
        a, b, c, _ = pieces[:-1].T
        value = pieces[:-1] @ width ** np.array([3, 2, 1, 0])
        slope = (3 * a * width + 2 * b) * width + c
        np.testing.assert_allclose(value, pieces[1:, 3], rtol=0, atol=1e-12)
        inside = slice(1, -1)  # the first and the last piece may be straight lines
        np.testing.assert_allclose(slope[inside], pieces[1:, 2][inside], rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("side", SIDES)
def test_potentials_stay_within_reason_up_to_both_ends(name: str, side: str) -> None:
    pieces = getattr(read_parameters(name), side).potential
    ends = np.concatenate([np.linspace(0, 0.01, 101), np.linspace(0.99, 1, 101)])

    potential = cubics(pieces, ends)

    assert ((potential > -0.2) & (potential < 6)).all()


@pytest.mark.parametrize("name", ["Ai2020", "ORegan2022"])
@pytest.mark.parametrize("side", SIDES)
def test_entropic_changes_are_pybamms(name: str, side: str) -> None:
    changes = OREGAN_CONSTANTS if name == "ORegan2022" else {}
    sto = np.random.default_rng(1).uniform(0.02, 0.98, 500)

    entropic = cubics(getattr(read_parameters(name, **changes), side).entropic, sto)

    assert np.abs(entropic).max() > 1e-5
    np.testing.assert_allclose(
        entropic, reference(name, particle(side).dUdT, sto), rtol=0, atol=1e-8
    )


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(SETS),
    side=st.sampled_from(SIDES),
    salt=st.floats(10, 4000),
    sto=st.floats(0.001, 0.999),
    temperature=st.floats(248.15, 383.15),
)
def test_exchange_currents_and_diffusivities_of_particles_are_pybamms(
    name: str, side: str, salt: float, sto: float, temperature: float
) -> None:
    cell = read_parameters(name)
    electrode = getattr(cell, side)
    c, s, t = np.array([salt]), np.array([sto]), np.array([temperature])
    surface = s * electrode.max_concentration

    np.testing.assert_allclose(
        kinetics(cell, electrode, c, s, t),
        reference(name, particle(side).j0, c, surface, t),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        diffusivity(cell, electrode, s, t), reference(name, particle(side).D, surface, t), rtol=2e-4
    )


def test_a_diffusivity_that_depends_on_stoichiometry_is_followed_within_1_percent() -> None:
    cell = read_parameters("ORegan2022", **OREGAN_CONSTANTS)
    rng = np.random.default_rng(2)
    sto, temperature = rng.uniform(0, 1, 2000), rng.uniform(248.15, 383.15, 2000)

    for side in SIDES:
        electrode = getattr(cell, side)
        assert np.ptp(electrode.relative_diffusivity) > 0.5
        np.testing.assert_allclose(
            diffusivity(cell, electrode, sto, temperature),
            reference(
                "ORegan2022", particle(side).D, sto * electrode.max_concentration, temperature
            ),
            rtol=0.01,
        )


@pytest.mark.parametrize("name", [*SETS, "ORegan2022"])
def test_electrolytes_are_pybamms_between_300_and_2500_mol_per_m3(name: str) -> None:
    import pybamm

    changes = OREGAN_CONSTANTS if name == "ORegan2022" else {}
    cell, param = read_parameters(name, **changes), pybamm_parameters()
    values = pybamm.ParameterValues(name)
    values.update(changes)
    rng = np.random.default_rng(3)
    salt, temperature = rng.uniform(300, 2500, 500), rng.uniform(278.15, 328.15, 500)
    axes = (cell.temperature_grid, cell.concentration_grid)

    for function, table in (
        (param.kappa_e, cell.conductivity),
        (param.D_e, cell.electrolyte_diffusivity),
        (param.chi, cell.thermodynamic),
    ):
        true = reference(values, function, salt, temperature)
        logarithm = RectBivariateSpline(*axes, np.log(table)).ev(temperature, salt)
        np.testing.assert_allclose(np.exp(logarithm), true, rtol=1e-4)
        bilinear = RegularGridInterpolator(axes, table)(np.column_stack([temperature, salt]))
        np.testing.assert_allclose(bilinear, true, rtol=5e-3)


@pytest.mark.parametrize("name", ["Chen2020", "OKane2022"])
def test_bilinear_interpolation_of_the_lg_m50s_electrolyte_errs_by_less_than_a_thousandth(
    name: str,
) -> None:
    cell, param = read_parameters(name), pybamm_parameters()
    rng = np.random.default_rng(4)
    salt, temperature = rng.uniform(300, 2500, 2000), rng.uniform(258.15, 338.15, 2000)
    axes = (cell.temperature_grid, cell.concentration_grid)

    for function, table in (
        (param.kappa_e, cell.conductivity),
        (param.D_e, cell.electrolyte_diffusivity),
    ):
        found = RegularGridInterpolator(axes, table)(np.column_stack([temperature, salt]))
        true = reference(name, function, salt, temperature)
        np.testing.assert_allclose(found, true, rtol=1e-3)


def test_below_10_mol_per_m3_transport_is_held_as_pybamm_holds_it() -> None:
    cell, param = read_parameters("OKane2022"), pybamm_parameters()
    temperature = cell.temperature_grid
    ten = np.full(len(temperature), 10.0)

    assert np.array_equal(
        cell.conductivity[:, 0], reference("OKane2022", param.kappa_e, ten, temperature)
    )
    assert np.array_equal(
        cell.electrolyte_diffusivity[:, 0], reference("OKane2022", param.D_e, ten, temperature)
    )


def test_an_electrolyte_that_freezes_in_a_corner_of_the_table_holds_its_last_sensible_value() -> (
    None
):
    cell = read_parameters("Ai2020")  # D_e has a pole at 3,830 mol/m3 and -25 degC

    row = cell.electrolyte_diffusivity[0]

    assert (row > 1e-16).all()
    assert row[-1] == row.min()
    assert (np.diff(row) <= 0).all()


@pytest.mark.parametrize("name", SETS)
def test_a_short_run_of_pybamms_dfn_has_the_same_conductivities_heat_and_cooling(
    name: str,
) -> None:
    import pybamm

    cell = read_parameters(name)
    values = pybamm.ParameterValues(name)
    current = values["Nominal cell capacity [A.h]"]
    values.update({"Current function [A]": current, "Initial temperature [K]": 308.15})
    simulation = pybamm.Simulation(
        pybamm.lithium_ion.DFN({"thermal": "lumped"}), parameter_values=values
    )
    solution = simulation.solve([0, 2])

    def last(variable: str) -> float:
        return float(np.asarray(solution[variable].entries)[..., -1].reshape(-1)[0])

    for side in SIDES:
        title, electrode = side.capitalize(), getattr(cell, side)
        assert last(f"{title} electrode effective conductivity") == pytest.approx(
            electrode.conductivity, rel=1e-12
        )
        assert last(f"{title} electrolyte transport efficiency") == pytest.approx(
            electrode.transport_efficiency, rel=1e-12
        )
        assert last(f"{title} electrode porosity") == pytest.approx(electrode.porosity)
    assert last("Separator electrolyte transport efficiency") == pytest.approx(
        cell.separator_transport_efficiency, rel=1e-12
    )
    heat_capacity = last("Volume-averaged effective heat capacity [J.K-1.m-3]")
    assert heat_capacity * last("Cell thermal volume [m3]") == pytest.approx(
        cell.heat_capacity, rel=1e-9
    )
    warmth = last("Volume-averaged cell temperature [K]") - last("Ambient temperature [K]")
    assert -last("Surface total cooling [W]") == pytest.approx(cell.cooling * warmth, rel=1e-9)
    density = current / cell.electrode_area
    assert last("Current collector current density [A.m-2]") == pytest.approx(density, rel=1e-12)
    collectors = cell.electrode_area * sum(
        last(f"{title} current collector Ohmic heating [W.m-3]")
        * values[f"{title} current collector thickness [m]"]
        for title in ("Negative", "Positive")
    )
    assert collectors == pytest.approx(cell.collector_resistance * current**2, rel=1e-12)


def test_plain_numbers_are_those_of_the_set() -> None:
    cell = read_parameters("Chen2020")

    assert (cell.negative.thickness, cell.positive.thickness) == (85.2e-6, 75.6e-6)
    assert (cell.lower_voltage, cell.upper_voltage, cell.nominal_capacity) == (2.5, 4.2, 5.0)
    assert cell.electrode_area == pytest.approx(0.065 * 1.58)
    assert cell.transference == 0.2594
    assert cell.negative.initial_stoichiometry == pytest.approx(29866 / 33133)
    assert "Chen2020" in cell.source


def test_the_grids_are_what_the_docstring_says() -> None:
    cell = read_parameters("Chen2020")

    assert np.allclose(np.diff(cell.temperature_grid), 2.5)
    assert np.allclose(np.diff(cell.concentration_grid), 20.0)
    assert np.allclose(np.diff(cell.inverse_temperature_grid, 2), 0, atol=1e-15)
    assert cell.inverse_temperature_grid[[0, -1]] == pytest.approx([1 / 383.15, 1 / 248.15])
    assert cell.conductivity.shape == (55, 201)
    assert cell.negative.potential.shape == cell.negative.entropic.shape == (500, 4)


def test_a_name_is_read_once_and_its_arrays_cannot_be_written() -> None:
    cell = read_parameters("Chen2020")

    assert read_parameters("Chen2020") is cell
    with pytest.raises(ValueError, match="read-only"):
        cell.conductivity[0, 0] = 1.0


def test_parameter_values_are_read_as_they_are_and_left_as_they_were() -> None:
    import pybamm

    values = pybamm.ParameterValues("OKane2022")
    values.update({"Negative electrode thickness [m]": 9e-5})

    cell = read_parameters(values, **{"Contact resistance [Ohm]": 0.003})

    assert (cell.negative.thickness, cell.contact_resistance) == (9e-5, 0.003)
    assert values["Contact resistance [Ohm]"] == 0


def test_a_change_replaces_one_number_and_leaves_the_others() -> None:
    plain = read_parameters("Chen2020")
    changed = read_parameters("Chen2020", **{"Positive particle radius [m]": 4e-6})

    assert changed.positive.particle_radius == 4e-6
    assert changed.negative.particle_radius == plain.negative.particle_radius


# --- sets of ours


@pytest.fixture
def own_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of named sets with one in it, and nothing in the cache of names."""
    monkeypatch.setattr(parameters, "SETS", tmp_path)
    content = {
        "base": "OKane2022",
        "source": "made up for a test",
        "changes": {
            "Contact resistance [Ohm]": 0.004,
            "Electrolyte conductivity [S.m-1]": {"factor": 2.0},
            "Positive particle diffusivity [m2.s-1]": {"factor": 0.5},
            "Negative electrode thickness [m]": {"factor": 1.1},
        },
    }
    (tmp_path / "fitted.json").write_text(json.dumps(content))
    parameters._read_named.cache_clear()
    return tmp_path


def test_a_set_of_ours_is_its_base_with_numbers_replaced_and_functions_scaled(
    own_sets: Path,
) -> None:
    base, cell = read_parameters("OKane2022"), read_parameters("fitted")

    assert cell.contact_resistance == 0.004
    np.testing.assert_allclose(cell.conductivity, 2 * base.conductivity, rtol=1e-12)
    np.testing.assert_allclose(
        cell.positive.log_diffusivity, base.positive.log_diffusivity + math.log(0.5)
    )
    assert cell.negative.thickness == pytest.approx(1.1 * base.negative.thickness)
    assert (cell.name, cell.source[:18]) == ("fitted", "made up for a test")
    assert "OKane2022" in cell.source
    by_path = read_parameters(own_sets / "fitted.json", **{"Contact resistance [Ohm]": 0.001})
    assert by_path.contact_resistance == 0.001


def test_an_unknown_name_lists_the_sets_there_are(own_sets: Path) -> None:
    with pytest.raises(UsageError, match=r"'Chen2021'.*fitted.*Chen2020.*BPX"):
        read_parameters("Chen2021")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "neither a BPX file nor a parameter set"),
        ('{"base": "Chen2020", "changes": {}}', "neither a BPX file nor a parameter set"),
        ('{"base": "Chen2020", "source": "", "changes": {}}', "source or changes"),
        ('{"base": "Chen", "source": "x", "changes": {}}', "'Chen' is not a parameter set"),
        (
            '{"base": "Chen2020", "source": "x", "changes": {"Nothing": {"factor": 2}}}',
            "cannot change 'Nothing'",
        ),
        (
            '{"base": "Chen2020", "source": "x", '
            '"changes": {"Contact resistance [Ohm]": {"times": 2}}}',
            "cannot change 'Contact resistance",
        ),
        (
            '{"base": "Chen2020", "source": "x", "changes": {"Contact resistance [Ohm]": "low"}}',
            "'low'",
        ),
    ],
)
def test_a_file_that_is_no_set_says_what_is_wrong(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "cell.json"
    path.write_text(content)

    with pytest.raises(InputError, match=message):
        read_parameters(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json"):
        read_parameters(str(tmp_path / "none.json"))


# --- BPX


def bpx_cell() -> dict[str, Any]:
    """A small BPX 1.0 file: numbers, a function and a table."""
    table = {"x": [0.0, 0.3, 0.7, 1.0], "y": [2e-14, 4e-14, 3e-14, 2e-14]}
    electrode = {
        "Maximum concentration [mol.m-3]": 33133.0,
        "Particle radius [m]": 5.86e-6,
        "Surface area per unit volume [m-1]": 383959.0,
        "Diffusivity [m2.s-1]": 4e-15,
        "Diffusivity activation energy [J.mol-1]": 12000.0,
        "Entropic change coefficient [V.K-1]": -1e-4,
        "Reaction rate constant [mol.m-2.s-1]": 1e-5,
        "Reaction rate constant activation energy [J.mol-1]": 35000.0,
        "Thickness [m]": 8.5e-5,
        "Porosity": 0.25,
        "Transport efficiency": 0.125,
        "Conductivity [S.m-1]": 20.0,
    }
    return {
        "Header": {"BPX": "1.0.0", "Title": "a made-up pouch cell", "Model": "DFN"},
        "State": {
            "Initial conditions": {
                "Initial state-of-charge": 0.5,
                "Initial temperature [K]": 298.15,
                "Initial electrolyte concentration [mol.m-3]": 1000.0,
            },
            "Thermal environment": {
                "Ambient temperature [K]": 298.15,
                "Heat transfer coefficient [W.m-2.K-1]": 8.0,
            },
        },
        "Parameterisation": {
            "Cell": {
                "Electrode area [m2]": 0.016,
                "External surface area [m2]": 0.0379,
                "Volume [m3]": 0.000128,
                "Number of electrode pairs connected in parallel to make a cell": 34,
                "Lower voltage cut-off [V]": 2.7,
                "Upper voltage cut-off [V]": 4.2,
                "Nominal cell capacity [A.h]": 12.5,
                "Reference temperature [K]": 298.15,
                "Density [kg.m-3]": 2000.0,
                "Specific heat capacity [J.K-1.kg-1]": 900.0,
            },
            "Electrolyte": {
                "Cation transference number": 0.26,
                "Diffusivity [m2.s-1]": "8.794e-11 * (x / 1000) ** 2 - 3.972e-10 * (x / 1000)"
                " + 4.862e-10",
                "Diffusivity activation energy [J.mol-1]": 17000.0,
                "Conductivity [S.m-1]": "0.1297 * (x / 1000) ** 3 - 2.51 * (x / 1000) ** 1.5"
                " + 3.329 * (x / 1000)",
                "Conductivity activation energy [J.mol-1]": 17000.0,
            },
            "Negative electrode": {
                **electrode,
                "Diffusivity [m2.s-1]": table,
                "Minimum stoichiometry": 0.04,
                "Maximum stoichiometry": 0.9,
                "OCP [V]": "1.9793 * exp(-39.3631 * x) + 0.2482"
                " - 0.0909 * tanh(29.8538 * (x - 0.1234))",
            },
            "Positive electrode": {
                **electrode,
                "Minimum stoichiometry": 0.26,
                "Maximum stoichiometry": 0.91,
                "OCP [V]": "-0.8090 * x + 4.4875 - 0.0428 * tanh(18.5138 * (x - 0.5542))",
            },
            "Separator": {"Thickness [m]": 2e-5, "Porosity": 0.47, "Transport efficiency": 0.322},
        },
    }


def test_a_bpx_file_is_read_as_pybamm_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("bpx")
    import pybamm

    path = tmp_path / "cell.bpx.json"
    path.write_text(json.dumps(bpx_cell()))

    cell = read_parameters(path)

    values = pybamm.ParameterValues.create_from_bpx(path)
    rng = np.random.default_rng(5)
    sto, temperature = rng.uniform(0.02, 0.98, 300), rng.uniform(273.15, 333.15, 300)
    salt = np.full(300, 1000.0)
    for side in SIDES:
        electrode = getattr(cell, side)
        surface = sto * electrode.max_concentration
        assert np.abs(potential_error(values, cell, side, sto)).max() < 1e-6
        np.testing.assert_allclose(
            kinetics(cell, electrode, salt, sto, temperature),
            reference(values, particle(side).j0, salt, surface, temperature),
            rtol=1e-9,
        )
        np.testing.assert_allclose(
            diffusivity(cell, electrode, sto, temperature),
            reference(values, particle(side).D, surface, temperature),
            rtol=1e-3,
        )
        assert electrode.conductivity == pytest.approx(20.0)
        assert electrode.transport_efficiency == pytest.approx(0.125)
        assert cubics(electrode.entropic, sto[:5]) == pytest.approx(-1e-4)
    assert cell.electrode_area == pytest.approx(34 * 0.016)
    assert cell.cooling == pytest.approx(8.0 * 0.0379)
    assert cell.heat_capacity == pytest.approx(2000.0 * 900.0 * 0.000128)
    assert "a made-up pouch cell" in cell.source


def test_a_bpx_file_that_breaks_the_standard_is_named(tmp_path: Path) -> None:
    pytest.importorskip("bpx")
    content = bpx_cell()
    del content["Parameterisation"]["Separator"]
    path = tmp_path / "cell.json"
    path.write_text(json.dumps(content))

    with pytest.raises(InputError, match=r"cell\.json.*Separator"):
        read_parameters(path)


# --- what cannot be represented


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Chen2020_composite", "'Primary: .* two particle phases"),
        ("Ecker2015_graphite_halfcell", "electrode of lithium metal"),
        ("MSMR_Example", "MSMR"),
        ("ORegan2022", r"'Positive electrode conductivity \[S.m-1\]'.*'Temperature \[K\]'.*0.9162"),
        ("Prada2013", "'Negative current collector thickness .* is missing"),
        ("Ramadass2004", r"'Positive electrode OCP \[V\]'.*between stoichiometries 0.238 and"),
    ],
)
def test_a_set_that_the_tables_cannot_hold_is_refused_by_parameter(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_parameters(name)


def hot(value: float) -> Callable[..., Symbol]:
    return lambda *inputs: value * (1 + 0.002 * (inputs[-1] - 298.15))


def mixed(sto: Symbol, temperature: Symbol) -> Symbol:
    return 1e-14 * (1 + sto * (temperature - 298.15) / 100)


def jumping(sto: Symbol) -> Symbol:
    return 4.0 - sto + 0.1 * (sto > 0.5)


def other_kinetics(salt: Symbol, surface: Symbol, maximum: Symbol, temperature: Symbol) -> Symbol:
    return 1e-3 * salt**0.5 * (1 + surface / maximum)


def switched(sto: Symbol, temperature: Symbol) -> Symbol:
    return 1e-14 * (1 + (temperature > 300))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("Cation transference number", hot(0.3), "depends on 'Temperature"),
        ("Contact resistance [Ohm]", hot(0.01), "depends on 'Temperature"),
        ("Ambient temperature [K]", lambda y, z, t: 298.15 + t / 3600, r"depends on 'Time \[s\]'"),
        ("Negative electrode porosity", lambda x, y, z: 0.25 + 100 * x, "depends on 'Through-cell"),
        ("Negative electrode density [kg.m-3]", hot(1657.0), "heat capacity change by"),
        ("Positive particle diffusivity [m2.s-1]", mixed, "times a function of temperature"),
        ("Positive particle diffusivity [m2.s-1]", switched, "Arrhenius"),
        ("Positive particle diffusivity [m2.s-1]", lambda s, t: (s - 0.5) * 1e-14, "not above 0"),
        ("Positive electrode OCP [V]", jumping, r"stoichiometries 0\.498 and 0\.500"),
        ("Negative electrode exchange-current density [A.m-2]", other_kinetics, r"k\(T\) c_e\^a"),
        ("Electrolyte conductivity [S.m-1]", lambda c, t: 2.0 - c / 1e3, "at 2000 mol/m3"),
        ("Number of cells connected in series to make a battery", 2, "is not 1"),
        ("Lower voltage cut-off [V]", 4.3, "is 4.3 V, the upper one 4.2 V"),
        ("Negative electrode thickness [m]", 0.0, "is 0.0"),
        ("Negative electrode thickness [m]", -1e-4, "is -0.0001"),
        ("Separator porosity", 1.2, "above 0 and at most 1"),
        ("Positive electrode active material volume fraction", 0.7, "beside a porosity"),
        ("Contact resistance [Ohm]", "[input]", "cannot be evaluated"),
    ],
)
def test_what_the_tables_cannot_hold_is_refused_by_name(
    name: str, value: object, message: str
) -> None:
    import pybamm

    values = pybamm.ParameterValues("Chen2020")
    values.update({name: value})

    with pytest.raises(InputError, match=message) as caught:
        read_parameters(values)

    assert name in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "thick", True])
def test_a_change_must_be_a_finite_number(value: object) -> None:
    with pytest.raises(InputError, match="finite number"):
        read_parameters("Chen2020", **{"Separator thickness [m]": value})


@pytest.mark.parametrize("name", ["Seperator thickness [m]", "SEI resistivity [Ohm.m]"])
def test_a_change_that_would_change_nothing_is_refused_with_names_like_it(name: str) -> None:
    with pytest.raises(InputError, match=f"'{re.escape(name)}' in Chen2020 would change nothing"):
        read_parameters("Chen2020", **{name: 1e-5})


def test_a_number_that_a_function_of_the_set_asks_for_can_be_changed() -> None:
    import pybamm

    values = pybamm.ParameterValues("Chen2020")
    values.update(
        {
            "Positive particle diffusivity [m2.s-1]": lambda sto, temperature: pybamm.Parameter(
                "Diffusivity of ours"
            ),
            "Diffusivity of ours": 1e-15,
        },
        check_already_exists=False,
    )

    cell = read_parameters(values, **{"Diffusivity of ours": 2e-15})

    assert np.exp(cell.positive.log_diffusivity) == pytest.approx(2e-15)


def test_one_branch_of_a_hysteresis_is_not_taken_for_the_potential() -> None:
    import pybamm

    values = pybamm.ParameterValues("Chen2020")
    values.update(
        {"Negative electrode lithiation OCP [V]": values["Negative electrode OCP [V]"]},
        check_already_exists=False,
    )
    del values["Negative electrode OCP [V]"]

    with pytest.raises(InputError, match=r"'Negative electrode lithiation OCP \[V\]'.*hysteresis"):
        read_parameters(values)


def test_a_missing_parameter_can_be_given() -> None:
    import pybamm

    values = pybamm.ParameterValues("Chen2020")
    del values["Cell volume [m3]"]

    with pytest.raises(InputError, match=r"'Cell volume \[m3\]'.*missing"):
        read_parameters(values)
    assert read_parameters(values, **{"Cell volume [m3]": 2.42e-5}).heat_capacity > 40
