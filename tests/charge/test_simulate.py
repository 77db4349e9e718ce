"""Runs of the real simulator under protocols, as datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batterykit.charge.protocols import (
    Protocol,
    Rating,
    Way,
    cc,
    cccv,
    multistage,
    profile,
    read_stages,
)
from batterykit.charge.simulate import (
    REASON_TEXTS,
    extremes,
    pack_soc,
    place,
    simulate,
    stages,
    write_run,
)
from batterykit.errors import UsageError
from batterykit.pack.network import build
from batterykit.pack.parameters import CellParameters, read_parameters
from batterykit.pack.scenario import Scenario, draw
from batterykit.pack.simulator import REASONS, PackSimulator
from batterykit.store import Store
from batterykit.store.schema import check

HOUR = 3600.0  # s


@pytest.fixture(scope="module")
def cell() -> CellParameters:
    return read_parameters("Chen2020")


def rating(cell: CellParameters, parallel: int = 2, series: int = 2, **limits: float) -> Rating:
    chosen = {"voltage_max": 4.2, "voltage_min": 2.5, **limits}
    return Rating(parallel, series, cell.nominal_capacity, **chosen)


def packs(cell: CellParameters, name: str = "spread", count: int = 1, soc: float = 0.1) -> Scenario:
    """Packs of 2p2s."""
    return draw(name, 0, count, 4, cell, soc=soc)


def run(
    cell: CellParameters, scenario: Scenario, protocol: Protocol, dt: float = 10.0
) -> xr.Dataset:
    count = scenario.truth["capacity"].shape[0]
    simulator = PackSimulator(
        cell, build(2, 2), scenario.cells, packs=count, model="spme", threads=1
    )
    return simulate(simulator, protocol, dt=dt, truth=scenario.truth)


@pytest.fixture(scope="module")
def charged(cell: CellParameters) -> xr.Dataset:
    """An unequal pack, charged by CC-CV at 1.5C."""
    return run(cell, packs(cell), cccv(rating(cell), Way(0.1, 0.9), 1.5))


def test_the_dataset_is_what_its_place_in_the_store_asks_for(charged: xr.Dataset) -> None:
    check("charge/any/trajectory", charged)
    assert charged["cell"].values.tolist() == [0, 1, 2, 3]
    assert [place(charged, index) for index in range(4)] == ["s1p1", "s1p2", "s2p1", "s2p2"]
    assert charged["capacity"].dims == ("pack", "cell")


def test_the_highest_cell_is_held_and_no_cell_goes_beyond(charged: xr.Dataset) -> None:
    voltage = charged["voltage"].isel(pack=0)
    assert float(voltage.max()) < 4.2 + 1e-3
    held = voltage.where(charged["step"].isel(pack=0) == 1, drop=True).max("cell")
    assert np.ptp(held.values) < 1e-4


def test_the_current_falls_while_the_voltage_is_held(charged: xr.Dataset) -> None:
    current = charged["pack_current"].isel(pack=0)
    first = current.where(charged["step"].isel(pack=0) == 0, drop=True).values[1:]
    then = current.where(charged["step"].isel(pack=0) == 1, drop=True).values
    assert np.ptp(first) < 1e-9
    assert np.all(np.diff(then) < 0)


def test_the_charge_that_went_in_is_the_charge_that_each_cell_has(cell: CellParameters) -> None:
    scenario = packs(cell)
    one = rating(cell)
    done = run(cell, scenario, cc(one, Way(0.1, 0.5), 1.0), dt=1.0)
    seconds = float(done["duration"][0])
    stored = (done["soc"].isel(pack=0, time=-1) - scenario.cells.soc[0]) * done["capacity"][0]
    # both groups in series carry the pack's current; the cells of a group share it
    assert stored.values.reshape(2, 2).sum(axis=1) == pytest.approx(
        one.current(1.0) * seconds / HOUR, rel=1e-5
    )
    # C-rate and way give the time beforehand: that of the capacities, to the event's 10 ms
    wanted = np.sum((0.5 - scenario.cells.soc[0]) * scenario.truth["capacity"][0]) / 2
    assert seconds == pytest.approx(wanted / one.current(1.0) * HOUR, abs=0.02)


def test_a_run_ends_at_the_state_of_charge_whatever_the_time_step(cell: CellParameters) -> None:
    ends = []
    for dt in (3.0, 60.0):
        done = run(cell, packs(cell), cc(rating(cell), Way(0.1, 0.3), 1.0), dt=dt)
        assert str(done["stop_reason"].values[0]) == "soc_max"
        assert pack_soc(done)[-1] == pytest.approx(0.3, abs=1e-5)
        assert done["time"].values[-1] == float(done["duration"][0])
        ends.append(float(done["duration"][0]))
    assert ends[0] == pytest.approx(ends[1], abs=0.02)


def test_a_step_that_ends_between_two_points_is_followed_by_the_next_up_to_the_grid(
    charged: xr.Dataset,
) -> None:
    time, end = charged["time"].values, float(charged["stage_end"][0, 0])
    assert np.all(np.diff(time)[:-1] == 10.0)
    assert end % 10.0 > 0.02
    step = charged["step"].values[0]
    assert np.all(step[time <= end] == 0)
    assert np.all(step[time > end] == 1)
    assert charged["step"].attrs["step_labels"] == ["CC 1.5C", "CV 4.2 V"]


def test_packs_that_end_at_times_of_their_own_do_as_each_does_alone(cell: CellParameters) -> None:
    protocol = cccv(rating(cell), Way(0.1, 0.95), 1.5, cutoff=1.0)
    both = packs(cell, "aged", 2)
    together = run(cell, both, protocol)
    durations = together["duration"].values
    assert abs(durations[0] - durations[1]) > 10.0
    for number in range(2):
        alone = draw("aged", 0, [number], 4, cell)
        single = run(cell, alone, protocol)
        rows = single.sizes["time"]
        assert single["duration"].values[0] == durations[number]
        for name in ("voltage", "current", "soc", "plating_potential"):
            mine = together[name].values[number]
            np.testing.assert_array_equal(mine[:rows], single[name].values[0])
            assert np.all(np.isnan(mine[rows:]))
        assert np.all(together["step"].values[number, rows:] == -1)


def test_a_discharge_stops_at_its_state_of_charge_or_when_the_first_cell_is_empty(
    cell: CellParameters,
) -> None:
    half = packs(cell, soc=0.5)
    there = run(cell, half, cc(rating(cell), Way(0.5, 0.3), 1.0))
    assert str(there["stop_reason"].values[0]) == "soc_min"
    assert np.all(there["pack_current"].values[0, 1:] < 0)
    empty = run(cell, half, cc(rating(cell), Way(0.5, 0.0), 1.0))
    assert str(empty["stop_reason"].values[0]) == "cell_voltage_min"
    assert float(empty["voltage"].min()) == pytest.approx(2.5, abs=5e-3)


def test_a_stage_that_meets_the_voltage_is_followed_by_a_slower_one(cell: CellParameters) -> None:
    way = Way(0.6, 0.95)
    protocol = multistage(rating(cell), way, read_stages("2@0.9,0.5", way))
    done = run(cell, packs(cell, soc=0.6), protocol)
    first, second = stages(done)
    assert first.soc < 0.85
    assert (first.end, second.start) == (second.start, first.end)
    assert second.soc == pytest.approx(float(pack_soc(done)[-1]), abs=1e-6)
    assert float(done["pack_current"].values[0, -1]) == pytest.approx(5.0)


def test_the_terminals_may_be_held_while_a_cell_goes_beyond(cell: CellParameters) -> None:
    protocol = cccv(rating(cell), Way(0.6, 1.0), 1.0, hold="pack")
    done = run(cell, packs(cell, soc=0.6), protocol)
    held = done["pack_voltage"].isel(pack=0).where(done["step"].isel(pack=0) == 1, drop=True)
    assert held.values == pytest.approx(8.4, abs=1e-4)
    assert float(done["voltage"].max()) > 4.2 + 1e-3


def test_the_hottest_cell_stops_the_run(cell: CellParameters) -> None:
    hot = rating(cell, temperature_max=303.15)
    done = run(cell, packs(cell), cccv(hot, Way(0.1, 0.9), 2.0))
    assert str(done["stop_reason"].values[0]) == "temperature_max"
    assert float(done["temperature"].max()) == pytest.approx(30.0, abs=1e-2)


def test_a_profile_runs_to_its_end_and_moves_the_charge_it_says(
    cell: CellParameters, tmp_path: Path
) -> None:
    path = tmp_path / "profile.csv"
    path.write_text("time [s],current [A]\n0,10\n33,-20\n47.5,0\n60,5\n100,0\n")
    done = run(cell, packs(cell, "fresh", soc=0.5), profile(rating(cell), path), dt=7.0)
    assert str(done["stop_reason"].values[0]) == "protocol_end"
    assert float(done["duration"][0]) == pytest.approx(100.0, abs=1e-9)
    moved = (10 * 33 - 20 * 14.5 + 5 * 40) / HOUR  # Ah in each group
    change = (done["soc"].isel(pack=0, time=-1) - 0.5) * done["capacity"][0]
    assert change.values.reshape(2, 2).sum(axis=1) == pytest.approx(moved, rel=1e-6)


def test_a_full_pack_may_rest_and_be_discharged_by_a_profile(
    cell: CellParameters, tmp_path: Path
) -> None:
    path = tmp_path / "profile.csv"
    path.write_text("time [s],power [W]\n0,0\n60,-40\n120,0\n180,0\n")
    done = run(cell, packs(cell, "fresh", soc=1.0), profile(rating(cell), path))
    assert str(done["stop_reason"].values[0]) == "protocol_end"
    power = (done["pack_current"] * done["pack_voltage"]).isel(pack=0)
    assert power.sel(time=slice(70, 120)).values == pytest.approx(-40.0, abs=1e-6)


def test_a_power_that_the_pack_cannot_give_stops_it_with_the_reason(
    cell: CellParameters, tmp_path: Path
) -> None:
    path = tmp_path / "profile.csv"
    path.write_text("time [s],power [W]\n0,-10\n30,-100000\n60,0\n")
    weak = rating(cell, voltage_min=0.1)
    done = run(cell, packs(cell, soc=0.5), profile(weak, path))
    assert str(done["stop_reason"].values[0]) == "no_solution"
    assert float(done["duration"][0]) == pytest.approx(30.0, abs=0.02)
    assert np.all(np.isfinite(done["voltage"].values))


def test_the_cells_that_stand_out_are_those_of_the_arrays(charged: xr.Dataset) -> None:
    found = {one.what: one for one in extremes(charged)}
    lowest = found["lowest plating potential"]
    values = charged["plating_potential"].values[0]
    assert lowest.value == pytest.approx(values.min(), abs=1e-6)
    at = int(np.flatnonzero(charged["time"].values == lowest.time)[0])
    assert values[at, lowest.cell] == lowest.value
    most = np.abs(charged["current"].values).max()
    assert found["most current"].value == pytest.approx(most, abs=1e-6)
    assert found["highest temperature"].units == "degC"


def test_of_cells_that_are_alike_the_first_stands_out_at_the_first_time(
    cell: CellParameters,
) -> None:
    alike = PackSimulator(
        cell, build(2, 2, busbar=0.0), packs(cell, "fresh").cells, model="spme", threads=1
    )
    done = simulate(alike, cc(rating(cell), Way(0.1, 0.2), 1.0), dt=10.0)
    (most,) = [one for one in extremes(done) if one.what == "most current"]
    assert (most.place, most.time) == ("s1p1", 10.0)


def test_progress_counts_the_percents_of_the_way_and_tells_the_figures(
    cell: CellParameters,
) -> None:
    scenario, texts = packs(cell), []

    def track(items: object, description: str, total: int | None = None) -> object:
        assert (description, total) == ("cc", 100)
        seen = []
        for item in items:  # type: ignore[attr-defined]
            seen.append(item)
            yield item
        assert seen == list(range(1, 101))

    simulator = PackSimulator(cell, build(2, 2), scenario.cells, model="spme", threads=1)
    simulate(
        simulator,
        cc(rating(cell), Way(0.1, 0.3), 1.0),
        dt=10.0,
        track=track,  # type: ignore[arg-type]
        listen=texts.append,
    )
    assert "SOC 30.0 %" in texts[-1]
    assert " V" in texts[-1]


def test_every_reason_of_the_simulator_has_a_text() -> None:
    assert {reason for reason in REASONS.values() if reason} < set(REASON_TEXTS)


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_step_of_nothing_is_refused(cell: CellParameters, dt: float) -> None:
    with pytest.raises(UsageError, match="time step"):
        run(cell, packs(cell), cc(rating(cell), Way(0.1, 0.3), 1.0), dt=dt)


def test_every_run_has_a_name_of_its_own_and_reads_as_it_was_written(
    charged: xr.Dataset, tmp_path: Path
) -> None:
    store = Store.open_or_create(tmp_path / "s.zarr")
    names = [
        write_run(store, charged, name=["cccv", "2p2s"], command="test", note="") for _ in range(3)
    ]
    assert len(set(names)) == 3
    assert all(name.partition("-cccv-2p2s")[1] for name in names)
    for name in names:
        back = store.read(f"charge/{name}/trajectory")
        xr.testing.assert_equal(back.drop_attrs(), charged.drop_attrs())
    assert store.verify() == []
