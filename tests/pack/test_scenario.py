"""What `pack.scenario` promises: frozen sets, possible cells, and the state of a store's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from batterykit.datasets import twin
from batterykit.datasets.ingest import ingest
from batterykit.errors import StoreError, UsageError
from batterykit.features.build import refresh
from batterykit.features.dma import FLAGS
from batterykit.features.options import DmaOptions
from batterykit.pack import balance, scenario
from batterykit.pack.ageing import resistance
from batterykit.pack.cell import Cells
from batterykit.pack.network import build
from batterykit.pack.parameters import CellParameters, read_parameters
from batterykit.pack.scenario import RECIPES, TRUTH, Scenario, draw, from_store
from batterykit.pack.simulator import CURRENT, REASONS, Limits, PackSimulator
from batterykit.store import Store

FROZEN = ("train", "heldout", "shifted")
SIZE = 18


@pytest.fixture(scope="module")
def chen() -> CellParameters:
    return read_parameters("Chen2020")


def values_of(drawn: Scenario, pack: int) -> dict[str, np.ndarray]:
    of_cells = {field.name: getattr(drawn.cells, field.name)[pack] for field in fields(Cells)}
    return of_cells | {name: values[pack] for name, values in drawn.truth.items()}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


# ---- frozen -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("train", "e6b51029587e23c4"),
        ("heldout", "97af03af9f62965c"),
        ("shifted", "bb8c0e30581049ec"),
    ],
)
def test_the_numbers_drawn_for_the_frozen_sets_never_change(name: str, digest: str) -> None:
    found = hashlib.sha256()
    recipe = RECIPES[name]
    for pack in range(recipe.packs or 0):
        raw = scenario.raw_draws(recipe.stream, 0, pack, SIZE)
        found.update(raw.astype("<u8").tobytes())
    assert found.hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "train",
            (0.9467, 0.0696014, 0.0359599, 0.0841136, 35.5501, 4.79528, 1.04825, 0.125678, 288.15),
        ),
        (
            "heldout",
            (0.972971, 0.0423613, 0.024722, 0.0397312, 37.5105, 4.8652, 1.46366, 0.0997442, 298.15),
        ),
        (
            "shifted",
            (
                0.877525,
                0.152259,
                0.0517043,
                0.157643,
                32.6652,
                4.59819,
                0.708698,
                0.0950303,
                273.15,
            ),
        ),
    ],
)
def test_what_is_made_of_them_stays(
    chen: CellParameters, name: str, expected: Sequence[float]
) -> None:
    pack = draw(name, 0, [7], SIZE, chen)
    cells, truth = pack.cells, pack.truth
    found = [
        truth["soh"].mean(),
        truth["lli"][0, 3],
        truth["lam_pe"][0, 3],
        truth["lam_ne"][0, 3],
        truth["resistance"][0, 3] * 1e3,
        truth["capacity"][0, 3],
        np.asarray(cells.cooling)[0, 3],
        np.asarray(cells.soc)[0, 3],
        np.asarray(cells.ambient)[0, 3],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_frozen_sets_have_200_100_and_50_packs_and_no_more(chen: CellParameters) -> None:
    for name, size in zip(FROZEN, (200, 100, 50), strict=True):
        assert RECIPES[name].packs == size
        assert draw(name, 0, [size - 1], 2, chen).truth["soh"].shape == (1, 2)
        with pytest.raises(UsageError, match=f"no pack {size}") as caught:
            draw(name, 0, size + 1, 2, chen)
        assert f"packs 0 to {size - 1}" in caught.value.fix


@pytest.mark.parametrize("name", RECIPES)
def test_a_pack_is_the_same_alone_and_among_others(chen: CellParameters, name: str) -> None:
    many = draw(name, 0, 12, 6, chen)
    for pack in (0, 5, 11):
        assert_same(values_of(many, pack), values_of(draw(name, 0, [pack], 6, chen), 0))


def test_new_cells_of_a_smaller_pack_are_the_first_of_a_larger_one(chen: CellParameters) -> None:
    small, large = (values_of(draw("spread", 4, 1, size, chen), 0) for size in (4, 18))
    assert_same(small, {name: values[:4] for name, values in large.items()})


def test_sets_seeds_and_packs_have_numbers_of_their_own() -> None:
    firsts = {
        int(scenario.raw_draws(stream, seed, pack, 1)[0])
        for stream in range(4)
        for seed in range(5)
        for pack in range(20)
    }
    assert len(firsts) == 4 * 5 * 20


# ---- what the packs are like --------------------------------------------------------------------


def test_fresh_cells_are_the_parameter_set_itself(chen: CellParameters) -> None:
    found = draw("fresh", 3, 2, 4, chen, soc=0.2)
    window = balance.aged(chen)
    expected: dict[str, Any] = {"soc": 0.2, "film_resistance": 0.0, "contact_resistance": 0.0}
    expected |= {name: getattr(window, name) for name in ("x_0", "x_100", "y_0", "y_100")}
    expected |= {"ambient": 298.15, "connected": True}
    for field in fields(Cells):
        values = getattr(found.cells, field.name)
        assert values.shape == (2, 4)
        assert (values == expected.get(field.name, 1.0)).all(), field.name
    assert (found.truth["soh"] == 1).all()


def test_spread_is_2_percent_in_capacity_10_in_resistance_2_in_charge_20_in_cooling(
    chen: CellParameters,
) -> None:
    found = draw("spread", 0, 200, SIZE, chen)
    area = np.asarray(found.cells.area)
    per_area = found.truth["resistance"] * area
    new = float(balance.aged(chen).capacity)
    for values, mean, sigma in (
        (found.truth["capacity"] / new, 1.0, 0.02),
        (per_area / float(resistance(chen, cells_of_the_set(chen))), 1.0, 0.10),
        (np.asarray(found.cells.soc), 0.1, 0.02),
        (np.asarray(found.cells.cooling), 1.0, 0.20),
    ):
        assert values.mean() == pytest.approx(mean, abs=0.05 * sigma)
        assert values.std() == pytest.approx(0.9866 * sigma, rel=0.05)  # cut off at 3 sigma
        assert np.abs(values - mean).max() <= 3 * sigma * (1 + 1e-9)


def cells_of_the_set(parameters: CellParameters) -> Cells:
    return Cells(*balance.aged(parameters)[:4], soc=0.5)


def test_properties_of_a_spread_cell_are_drawn_independently(chen: CellParameters) -> None:
    found = draw("spread", 0, 200, SIZE, chen)
    columns = [found.cells.area, found.cells.ne_rate, found.cells.soc, found.cells.cooling]
    correlation = np.corrcoef([np.asarray(values).ravel() for values in columns])
    assert np.abs(correlation - np.eye(4)).max() < 0.06


def test_a_cell_cannot_be_emptier_than_empty(chen: CellParameters) -> None:
    soc = np.asarray(draw("spread", 0, 20, SIZE, chen, soc=0.0).cells.soc)
    assert soc.min() == 0
    assert 0.04 < soc.max() <= 0.06


def test_aged_packs_are_the_spread_ones_after_500_cycles(chen: CellParameters) -> None:
    new, old = (draw(name, 1, 3, SIZE, chen) for name in ("spread", "aged"))
    for name in ("area", "cooling", "soc"):
        np.testing.assert_array_equal(getattr(new.cells, name), getattr(old.cells, name))
    health = old.truth["soh"]
    assert (health.mean(axis=1) > 0.88).all()
    assert (health.mean(axis=1) < 0.92).all()
    assert (health.std(axis=1) > 0.004).all()
    growth = old.truth["resistance"] / new.truth["resistance"] - 1
    np.testing.assert_allclose(growth, old.truth["resistance_growth"], rtol=1e-9)


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_packs_have_the_health_surroundings_and_cooling_of_their_set(
    chen: CellParameters, name: str
) -> None:
    found = draw(name, 0, RECIPES[name].packs or 0, 6, chen)
    health = found.truth["soh"].mean(axis=1)
    ambient = np.asarray(found.cells.ambient)
    cooling = float(np.mean(found.cells.cooling))
    if name == "shifted":
        assert set(np.unique(ambient)) == {273.15, 283.15, 313.15}
        assert health.min() > 0.799
        assert health.max() < 0.901
        assert cooling == pytest.approx(0.7, abs=0.03)
    else:
        assert ambient.min() == pytest.approx(288.15)
        assert ambient.max() == pytest.approx(308.15)
        assert health.min() > 0.899
        assert cooling == pytest.approx(1.0, abs=0.03)
    assert np.ptp(health) > 0.08
    assert (np.ptp(ambient, axis=1) == 0).all()
    modes = [found.truth[mode].mean(axis=1) for mode in ("lli", "lam_pe", "lam_ne")]
    assert np.linalg.matrix_rank(np.cov(modes), tol=1e-6) == 3  # no mode is fixed by the others


@pytest.mark.parametrize("parameters", ["Chen2020", "OKane2022"])
@pytest.mark.parametrize("name", ["aged", "shifted"])
def test_every_cell_can_be_and_has_the_capacity_that_pybamm_finds_for_its_losses(
    name: str, parameters: str
) -> None:
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    own = read_parameters(parameters)
    found = draw(name, 0, 20, SIZE, own)
    np.testing.assert_allclose(balance.capacity(own, found.cells), found.truth["capacity"])
    values, symbols = pybamm.ParameterValues(parameters), pybamm.LithiumIonParameters()
    solver = pybamm.lithium_ion.ElectrodeSOHSolver(values, symbols)
    new = [
        float(values.evaluate(one))
        for one in (symbols.n.Q_init, symbols.p.Q_init, symbols.Q_Li_particles_init)
    ]
    unaged = solver.solve(dict(zip(("Q_n", "Q_p", "Q_Li"), new, strict=True)))["Q"]
    truth = {mode: found.truth[mode] for mode in ("lam_ne", "lam_pe", "lli")}
    for place in np.ndindex(4, 3):
        area = np.asarray(found.cells.area)[place]
        lam_ne, lam_pe, lli = (values[place] for values in truth.values())
        expected = solver.solve(
            {
                "Q_n": area * new[0] * (1 - lam_ne),
                "Q_p": area * new[1] * (1 - lam_pe),
                "Q_Li": area * (new[2] - lli * unaged),
            }
        )["Q"]
        assert found.truth["capacity"][place] == pytest.approx(expected, rel=2e-5)
        assert found.truth["soh"][place] == pytest.approx(expected / (area * unaged), rel=2e-5)


@pytest.fixture(scope="module", params=["spme", "dfn"])
def simulated(
    request: pytest.FixtureRequest, chen: CellParameters
) -> tuple[Scenario, PackSimulator]:
    """A dozen aged cells, each by itself."""
    found = draw("shifted", 0, 12, 1, chen, ambient=298.15)
    alone = build(1, 1, busbar=0.0, terminal=0.0)
    simulator = PackSimulator(chen, alone, found.cells, packs=12, model=request.param, threads=1)
    return found, simulator


def test_an_aged_cell_discharged_at_c_50_gives_the_capacity_of_its_window(
    simulated: tuple[Scenario, PackSimulator], chen: CellParameters
) -> None:
    found, simulator = simulated
    capacity = found.truth["capacity"][:, 0]
    passed, empty = np.zeros(12), np.zeros(12, dtype=bool)
    simulator.reset(soc=1.0)
    while not empty.all():
        simulator.advance(
            CURRENT,
            -capacity / 50,
            np.where(empty, np.nan, 100.0),
            Limits(cell_voltage_min=chen.lower_voltage),
        )
        passed += np.where(empty, 0.0, simulator.elapsed) * capacity / 50 / 3600
        empty |= simulator.reason != 0
    assert {REASONS[reason] for reason in simulator.reason} == {"cell_voltage_min"}
    np.testing.assert_allclose(passed, capacity, rtol=0.002)


def test_the_simulator_finds_the_resistance_that_a_scenario_says(
    simulated: tuple[Scenario, PackSimulator],
) -> None:
    found, simulator = simulated
    simulator.reset(soc=0.5)
    rest = simulator.voltage.copy()
    simulator.step(CURRENT, 1e-3, 0.0)
    np.testing.assert_allclose(
        (simulator.voltage - rest) / 1e-3, found.truth["resistance"], rtol=0.005
    )


def test_the_surroundings_can_be_set(chen: CellParameters) -> None:
    found = draw("shifted", 0, 3, 2, chen, ambient=300.0)
    assert (np.asarray(found.cells.ambient) == 300.0).all()
    assert_same(found.truth, draw("shifted", 0, 3, 2, chen).truth)


def test_everything_true_of_the_cells_has_a_unit_and_one_value_a_cell(
    chen: CellParameters,
) -> None:
    for name in RECIPES:
        found = draw(name, 0, 2, 3, chen)
        assert list(found.truth) == list(TRUTH)
        assert {values.shape for values in found.truth.values()} == {(2, 3)}
        assert found.name == name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "old"}, "no scenario 'old'"),
        ({"seed": -1}, "seed is -1"),
        ({"cells": 0}, "no cells"),
        ({"packs": 0}, "no cells"),
        ({"packs": [-1]}, "no pack -1"),
        ({"soc": 1.2}, "state of charge is 1.2"),
        ({"soc": np.nan}, "state of charge is nan"),
    ],
)
def test_a_wrong_wish_is_refused(chen: CellParameters, change: dict[str, Any], said: str) -> None:
    wish = {"name": "spread", "seed": 0, "packs": 1, "cells": 3, "parameters": chen} | change
    with pytest.raises(UsageError, match=said) as caught:
        draw(**wish)
    assert caught.value.fix


# ---- from a store -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, xr.Dataset]:
    """A store with two cells of the twin, analysed, and what they really went through."""
    folder = tmp_path_factory.mktemp("scenario")
    twin.write_twin(folder / "twin", cells=2, sampling=60.0, experiments=[4])
    store = Store.open_or_create(folder / "store.zarr")
    ingest(store, folder / "twin")
    refresh(store, "dma", DmaOptions(starts=6))
    with xr.open_dataset(folder / "twin" / "truth" / "electrodes.nc", engine="h5netcdf") as truth:
        return store, truth.load()


def test_a_stores_cell_has_the_losses_that_the_twin_gave_it(
    made: tuple[Store, xr.Dataset], chen: CellParameters
) -> None:
    store, truth = made
    found = from_store(store, "E4-A:8", chen, packs=2, cells=3)
    expected = truth.sel(cell="E4-A", rpt=8)
    for mode in ("lli", "lam_pe", "lam_ne"):
        np.testing.assert_allclose(found.truth[mode], float(expected[mode]), atol=0.005)
    growth = float(expected.resistance_0p1s / truth.sel(cell="E4-A", rpt=0).resistance_0p1s) - 1
    np.testing.assert_allclose(found.truth["resistance_growth"], growth, atol=0.01)
    fresh = float(draw("fresh", 0, 1, 1, chen).truth["resistance"][0, 0])
    np.testing.assert_allclose(
        found.truth["resistance"], fresh * (1 + found.truth["resistance_growth"]), rtol=1e-9
    )
    assert found.truth["soh"] == pytest.approx(float(expected.soh), abs=0.03)
    assert found.name == "E4-A:8"
    assert any("features/dma/" in note for note in found.notes)


def test_at_a_check_up_without_pulses_the_resistance_is_that_of_the_one_before(
    made: tuple[Store, xr.Dataset], chen: CellParameters
) -> None:
    store, _ = made
    before, at = (from_store(store, f"E4-B:{rpt}", chen) for rpt in (4, 5))
    assert before.truth["resistance_growth"] == at.truth["resistance_growth"]
    assert "of RPT 4" in at.notes[-1]
    assert before.truth["lli"] < at.truth["lli"]


def test_several_states_are_given_to_the_cells_in_turn(
    made: tuple[Store, xr.Dataset], chen: CellParameters
) -> None:
    store, _ = made
    mixed = from_store(store, "E4-A:8, E4-B:2", chen, cells=5).truth["lli"][0]
    alone = [float(from_store(store, one, chen).truth["lli"][0, 0]) for one in ("E4-A:8", "E4-B:2")]
    np.testing.assert_array_equal(mixed, [*alone, *alone, alone[0]])


def test_a_stores_state_can_be_spread_like_new_cells(
    made: tuple[Store, xr.Dataset], chen: CellParameters
) -> None:
    store, _ = made
    found = from_store(store, "E4-A:8", chen, seed=5, cells=SIZE, spread=True)
    new = draw("spread", 5, 1, SIZE, chen)
    np.testing.assert_array_equal(found.cells.area, new.cells.area)
    assert np.ptp(found.truth["lli"]) == 0
    ratio = found.truth["resistance"] / new.truth["resistance"] - 1
    np.testing.assert_allclose(ratio, found.truth["resistance_growth"], rtol=1e-9)


@pytest.mark.parametrize(
    ("states", "said", "there"),
    [
        ("E4-Z:8", "no cell 'E4-Z'", "E4-A, E4-B"),
        ("E4-A:30", "no degradation modes of cell 'E4-A' at RPT 30", "RPT 0, 1, 2, 3"),
    ],
)
def test_an_unknown_cell_or_check_up_is_answered_with_what_there_is(
    made: tuple[Store, xr.Dataset], chen: CellParameters, states: str, said: str, there: str
) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        from_store(made[0], states, chen)
    assert there in caught.value.fix


@pytest.mark.parametrize("states", ["E4-A", "E4-A:", ":8", "E4-A:last", "E4-A:8,", "E4-A:-1"])
def test_what_is_no_cell_and_check_up_is_refused(
    made: tuple[Store, xr.Dataset], chen: CellParameters, states: str
) -> None:
    with pytest.raises(UsageError, match="no state of a cell") as caught:
        from_store(made[0], states, chen)
    assert "E5-A:8" in caught.value.fix


def test_without_an_analysis_the_command_to_run_is_named(
    tmp_path: Path, chen: CellParameters
) -> None:
    store = Store.open_or_create(tmp_path / "empty.zarr")
    with pytest.raises(StoreError, match="no degradation mode analysis") as caught:
        from_store(store, "E5-A:8", chen)
    assert "batterykit features dma" in caught.value.fix


def test_of_several_analyses_the_last_written_or_the_named_one_is_used(
    made: tuple[Store, xr.Dataset], tmp_path: Path, chen: CellParameters
) -> None:
    (first,) = made[0].nodes("features/dma/")
    analysis = made[0].read(first)
    store = Store.open_or_create(tmp_path / "two.zarr")
    names = ("features/dma/bbbbbbbbbbbb", "features/dma/aaaaaaaaaaaa")
    for number, name in enumerate(names):
        changed = analysis.copy(deep=True)
        changed["lli"] = changed["lli"] - 0.01 * number
        store.write(name, changed, command="test")
    newest, named = (from_store(store, "E4-A:8", chen, node=node) for node in (None, names[0]))
    assert newest.truth["lli"] == pytest.approx(named.truth["lli"] - 0.01)
    assert "aaaaaaaaaaaa" in newest.notes[0]


def test_without_pulses_the_fitted_resistance_is_used_and_said(
    made: tuple[Store, xr.Dataset], tmp_path: Path, chen: CellParameters
) -> None:
    analysis = made[0].read(made[0].nodes("features/dma/")[0])
    store = Store.open_or_create(tmp_path / "curves.zarr")
    store.write("features/dma/aaaaaaaaaaaa", analysis, command="test")
    found = from_store(store, "E4-A:8", chen)
    fitted = analysis["resistance_c10"].sel(cell="E4-A").values
    assert found.truth["resistance_growth"] == pytest.approx(fitted[8] / fitted[0] - 1)
    assert "fitted resistance" in found.notes[-1]


def test_doubtful_fits_are_named(
    made: tuple[Store, xr.Dataset], tmp_path: Path, chen: CellParameters
) -> None:
    analysis = made[0].read(made[0].nodes("features/dma/")[0]).copy(deep=True)
    analysis["quality_flag"][0, 8] = FLAGS["poor_fit"] | FLAGS["at_bound"]
    analysis["lli"][0, 7] = np.nan
    store = Store.open_or_create(tmp_path / "doubtful.zarr")
    store.write("features/dma/aaaaaaaaaaaa", analysis, command="test")
    assert from_store(store, "E4-A:8", chen).notes[-1].endswith("flagged at_bound, poor_fit")
    with pytest.raises(StoreError, match="no degradation modes of cell 'E4-A' at RPT 7"):
        from_store(store, "E4-A:7", chen)
