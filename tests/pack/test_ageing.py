"""What `pack.ageing` promises: the record's losses, and resistances that PyBaMM agrees with."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batterykit.datasets.ageing import SOH_AT_RPT8
from batterykit.errors import UsageError
from batterykit.pack import ageing, balance
from batterykit.pack.ageing import Use
from batterykit.pack.cell import Cells
from batterykit.pack.parameters import CellParameters, read_parameters

CHEN = "Chen2020"
ZERO_CELSIUS_K = 273.15
SMALL = 1e-3  # A, a step of current


def cells_of(
    parameters: CellParameters, lli: float = 0.0, lam_pe: float = 0.0, lam_ne: float = 0.0
) -> Cells:
    window = balance.aged(parameters, lli=lli, lam_pe=lam_pe, lam_ne=lam_ne)
    return Cells(*window[:4], soc=0.5, pe_active=1 - lam_pe, ne_active=1 - lam_ne)


def soh(parameters: CellParameters, wear: ageing.Wear) -> np.ndarray:
    window = balance.aged(parameters, lli=wear.lli, lam_pe=wear.lam_pe, lam_ne=wear.lam_ne)
    return window.capacity / balance.aged(parameters).capacity


# ---- losses -------------------------------------------------------------------------------------


def test_a_cell_that_is_not_used_loses_nothing() -> None:
    wear = ageing.age(read_parameters(CHEN), 0)
    assert [values.shape for values in wear] == [(1, 1)] * 5
    assert not np.any(wear)


@pytest.mark.parametrize("regime", SOH_AT_RPT8)
def test_capacity_after_eight_ageing_sets_is_the_records_within_5_points(regime: int) -> None:
    """The record's own cells: lowest and highest at RPT 8. Chen's balance is 1 to 3 points mild."""
    parameters = read_parameters(CHEN)
    degc = np.array(list(SOH_AT_RPT8[regime]))
    low, high = np.array(list(SOH_AT_RPT8[regime].values())).T
    cycles = 8 * {1: 257, 2: 517, 3: 515, 4: 78, 5: 78}[regime]
    wear = ageing.age(
        parameters, cycles, Use(regime=regime, ambient=degc[:, None] + ZERO_CELSIUS_K)
    )
    found = soh(parameters, wear)[:, 0]
    assert (found > low - 0.01).all()
    assert (found < high + 0.05).all()


def test_of_expt_2_losses_are_those_measured_within_2_points_rms(real_record: Path) -> None:
    parameters = read_parameters(CHEN)
    errors = []
    for file in sorted(real_record.rglob("*Processed Data.csv")):
        table = pd.read_csv(file)
        degc = float(file.name.split("(")[1].split("deg")[0])
        cycles = table["Ageing Cycles"].to_numpy(dtype=float)[1:, None]
        wear = ageing.age(parameters, cycles, Use(regime=2, ambient=degc + ZERO_CELSIUS_K))
        measured = table[["LLI", "LAM PE", "LAM NE_tot"]].to_numpy()[1:]
        errors.append(np.column_stack(wear[:3]) - measured)
    assert len(errors) == 6
    rms = np.sqrt(np.mean(np.square(errors), axis=(0, 1)))
    assert (rms < [0.011, 0.013, 0.019]).all()


def test_published_losses_give_the_published_state_of_health_within_2_5_points(
    real_record: Path,
) -> None:
    """An electrode balance of its own: Chen's half cells for the record's composite ones."""
    parameters = read_parameters(CHEN)
    errors = []
    for file in sorted(real_record.rglob("*Processed Data.csv")):
        table = pd.read_csv(file)
        lli, lam_pe, lam_ne = table[["LLI", "LAM PE", "LAM NE_tot"]].to_numpy().T
        capacity = balance.aged(parameters, lli=lli, lam_pe=lam_pe, lam_ne=lam_ne).capacity
        errors.append(capacity / capacity[0] - table["SoH"].to_numpy())
    assert np.abs(errors).max() < 0.025
    assert np.mean(errors) == pytest.approx(0.0135, abs=0.001)


def test_losses_go_on_in_the_same_way_however_many_cycles_are_asked_for() -> None:
    parameters = read_parameters(CHEN)
    together = ageing.age(parameters, [[50.0], [78.0], [500.0]])
    for pack, cycles in enumerate((50.0, 78.0, 500.0)):
        alone = ageing.age(parameters, cycles)
        assert [one[0, 0] for one in alone] == [one[pack, 0] for one in together]
    for loss in together:
        assert (np.diff(loss[:, 0]) > 0).all()


def test_lithium_is_lost_with_the_square_root_of_time_where_sei_is_the_only_cause() -> None:
    rates = {"plating": 0.0, "silicon": 0.0, "graphite": 0.0, "positive": 0.0}
    wear = ageing.age(read_parameters(CHEN), [[100.0], [400.0]], Use(rates=rates))
    assert wear.lli[1, 0] == pytest.approx(2 * wear.lli[0, 0], rel=1e-9)
    assert not wear.lam_pe.any()
    assert not wear.lam_ne.any()


def test_hot_cells_lose_more_to_sei_and_cold_ones_more_to_plating() -> None:
    def lost(name: str) -> np.ndarray:
        rates = dict.fromkeys(("sei", "plating", "silicon"), 0.0) | {name: 1.0}
        use = Use(ambient=np.array([[283.15], [313.15]]), rates=rates)
        return ageing.age(read_parameters(CHEN), 300.0, use).lli[:, 0]

    cold, hot = lost("sei")
    assert hot > cold
    cold, hot = lost("plating")
    assert cold > 5 * hot


def test_the_smaller_and_the_warmer_cell_of_a_pack_wears_faster() -> None:
    wear = ageing.age(read_parameters(CHEN), 300.0, Use(area=np.array([[0.95, 1.0, 1.05]])))
    assert (np.diff(wear.lam_pe[0]) < 0).all()
    heated = Use(regime=1, heating=np.array([[1.0, 2.0]]))
    warm = ageing.age(read_parameters(CHEN), 300.0, heated)
    assert warm.lli[0, 1] > warm.lli[0, 0]
    assert warm.growth[0, 1] > warm.growth[0, 0]


def test_a_negative_electrode_that_runs_full_loses_the_lithium_it_cannot_take() -> None:
    parameters = read_parameters(CHEN)
    wear = ageing.age(parameters, 400.0, Use(rates={"graphite": 3.0, "sei": 0.5, "silicon": 1.5}))
    assert wear.lli == pytest.approx(
        balance.least_lli(parameters, lam_pe=wear.lam_pe, lam_ne=wear.lam_ne)
    )
    window = balance.aged(parameters, lli=wear.lli, lam_pe=wear.lam_pe, lam_ne=wear.lam_ne)
    assert window.x_100 == pytest.approx(balance.FULL, abs=1e-9)


def test_the_cycles_to_a_state_of_health_lead_there() -> None:
    parameters = read_parameters(CHEN)
    wanted = np.array([[1.0], [0.97], [0.9], [0.83]])
    use = Use(
        regime=np.array([[5], [1], [3], [4]]),
        area=np.array([[0.98, 1.0, 1.03]]),
        ambient=np.array([[298.15], [283.15], [283.15], [313.15]]),
    )
    cycles = ageing.cycles_to(parameters, wanted, use)
    mean = soh(parameters, ageing.age(parameters, cycles, use)).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(mean, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("cycles", "use", "said"),
    [
        (3000, Use(), "do not reach to 3000 cycles"),
        (-1, Use(), "do not reach to -1 cycles"),
        (np.nan, Use(), "do not reach to nan cycles"),
        (100, Use(regime=6), "no regime 6"),
        (100, Use(rates={"rust": 1.0}), "no mechanism of ageing 'rust'"),
        (2000, Use(rates={"positive": 40.0}), "positive electrode"),
    ],
)
def test_what_the_laws_do_not_cover_is_refused(cycles: float, use: Use, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ageing.age(read_parameters(CHEN), cycles, use)


def test_a_state_of_health_out_of_reach_is_refused_by_pack() -> None:
    with pytest.raises(UsageError, match=r"pack 1 still has a state of health of 0\.8"):
        ageing.cycles_to(read_parameters(CHEN), [[0.95], [0.5]], Use(regime=2))


# ---- resistance ---------------------------------------------------------------------------------


def pybamm_resistance(name: str, parameters: CellParameters, cells: Cells) -> float:
    """The first response of PyBaMM's SPMe to a small current, at half charge [Ohm]."""
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    values = pybamm.ParameterValues(name)
    new = {}
    for side, active, rate, ends in (
        ("Negative", cells.ne_active, cells.ne_rate, (cells.x_0, cells.x_100)),
        ("Positive", cells.pe_active, cells.pe_rate, (cells.y_0, cells.y_100)),
    ):
        fraction = f"{side} electrode active material volume fraction"
        exchange = f"{side} electrode exchange-current density [A.m-2]"
        new[fraction] = values[fraction] * float(active)
        new[exchange] = scaled(values[exchange], float(rate))
        new[f"Initial concentration in {side.lower()} electrode [mol.m-3]"] = (
            values[f"Maximum concentration in {side.lower()} electrode [mol.m-3]"]
            * (float(ends[0]) + float(ends[1])) / 2
        )  # fmt: skip
    thickness = values["Initial SEI thickness [m]"]
    new["SEI resistivity [Ohm.m]"] = float(cells.film_resistance) / thickness
    new["Current function [A]"] = SMALL
    values.update(new)
    model = pybamm.lithium_ion.SPMe({"SEI": "constant", "SEI film resistance": "average"})
    solution = pybamm.Simulation(
        model, parameter_values=values, solver=pybamm.IDAKLUSolver(rtol=1e-10, atol=1e-12)
    ).solve([0, 1e-3])
    rest = balance.potential(parameters.positive, (cells.y_0 + cells.y_100) / 2)[0]
    rest = rest - balance.potential(parameters.negative, (cells.x_0 + cells.x_100) / 2)[0]
    return float(rest - solution["Terminal voltage [V]"].entries[0]) / SMALL


def scaled(function, factor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return lambda *arguments: factor * function(*arguments)


@lru_cache
def aged_cells(name: str) -> tuple[CellParameters, Cells]:
    parameters = read_parameters(name)
    cells = cells_of(parameters, lli=0.1, lam_pe=0.05, lam_ne=0.06)
    return parameters, replace(cells, ne_rate=0.9, pe_rate=1.2, film_resistance=4e-3)


def test_a_new_cells_resistance_is_that_of_pybamms_spme() -> None:
    parameters = read_parameters(CHEN)
    cells = cells_of(parameters)
    assert ageing.resistance(parameters, cells) == pytest.approx(
        pybamm_resistance(CHEN, parameters, cells), rel=1e-3
    )
    assert ageing.resistance(parameters, cells) == pytest.approx(30.5e-3, abs=0.1e-3)


def test_an_aged_cells_resistance_with_its_film_is_that_of_pybamms_spme() -> None:
    parameters, cells = aged_cells(CHEN)
    assert ageing.resistance(parameters, cells) == pytest.approx(
        pybamm_resistance(CHEN, parameters, cells), rel=1e-3
    )


def test_twice_the_area_has_half_the_resistance() -> None:
    parameters, cells = aged_cells("OKane2022")
    one, two = (ageing.resistance(parameters, replace(cells, area=area)) for area in (1.0, 2.0))
    assert one == pytest.approx(2 * two)


def test_contacts_add_to_the_resistance() -> None:
    parameters, cells = aged_cells(CHEN)
    more = ageing.resistance(parameters, replace(cells, contact_resistance=2e-3))
    assert more - ageing.resistance(parameters, cells) == pytest.approx(2e-3)


@settings(max_examples=50, deadline=None)
@given(factor=st.floats(0.6, 2.0))
def test_kinetics_and_film_give_a_cell_the_resistance_that_is_wanted(factor: float) -> None:
    parameters, cells = aged_cells("OKane2022")
    wanted = factor * ageing.resistance(parameters, cells)
    for changed in (
        ageing.with_rate(parameters, cells, wanted),
        ageing.with_film(parameters, cells, wanted),
    ):
        assert ageing.resistance(parameters, changed) == pytest.approx(wanted, rel=1e-12)
        assert np.min(changed.film_resistance) >= 0


def test_a_film_is_put_on_where_lost_surface_is_not_enough_and_nowhere_else() -> None:
    parameters = read_parameters(CHEN)
    cells = cells_of(parameters, lli=0.15, lam_ne=0.1)
    bare = ageing.resistance(parameters, cells)
    changed = ageing.with_film(parameters, cells, bare * np.array([0.97, 1.1]))
    assert list(changed.film_resistance > 0) == [False, True]
    assert changed.ne_rate[0] > 1
    assert changed.ne_rate[1] == pytest.approx(1.0, abs=1e-12)


def test_a_resistance_below_what_kinetics_can_give_is_refused() -> None:
    parameters, cells = aged_cells(CHEN)
    with pytest.raises(UsageError, match="cannot have 3 mOhm"):
        ageing.with_rate(parameters, cells, 3e-3)
