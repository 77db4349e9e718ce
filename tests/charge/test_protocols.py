"""Protocols: what is held, up to which limits, and which of them lead on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.charge.protocols import (
    Protocol,
    Rating,
    Stage,
    Way,
    cc,
    cccv,
    default_stages,
    multistage,
    profile,
    read_rate,
    read_soc,
    read_stages,
    read_way,
)
from batterykit.errors import BatterykitError, InputError, UsageError
from batterykit.pack.simulator import CELL_VOLTAGE, CURRENT, POWER, VOLTAGE

PACK = Rating(parallel=3, series=6, capacity=5.0, voltage_max=4.2, voltage_min=2.5)
UP, DOWN = Way(0.1, 0.8), Way(0.8, 0.1)


def only(protocol: Protocol) -> tuple[float, ...]:
    """The setpoints of a protocol's steps."""
    return tuple(step.setpoint for step in protocol.steps)


def test_a_c_rate_is_of_the_cells_in_parallel_and_a_discharge_is_negative() -> None:
    assert only(cc(PACK, UP, 2.0)) == (30.0,)
    assert only(cc(PACK, DOWN, 0.5)) == (-7.5,)


def test_constant_current_ends_at_the_state_of_charge_or_at_the_voltage_in_its_direction() -> None:
    up, down = cc(PACK, UP, 1).steps[0].limits, cc(PACK, DOWN, 1).steps[0].limits
    assert (up.soc_max, up.cell_voltage_max) == (0.8, 4.2)
    assert (down.soc_min, down.cell_voltage_min) == (0.1, 2.5)
    assert all(
        math.isnan(value)
        for value in (up.soc_min, up.cell_voltage_min, down.soc_max, down.cell_voltage_max)
    )


def test_cccv_holds_the_highest_cell_until_the_current_has_fallen() -> None:
    current, voltage = cccv(PACK, UP, 1.0).steps
    assert (current.mode, current.goes_on) == (CURRENT, {"cell_voltage_max"})
    assert (voltage.mode, voltage.setpoint) == (CELL_VOLTAGE, 4.2)
    assert voltage.limits.current_min == pytest.approx(0.75)
    assert voltage.limits.soc_max == 0.8


def test_cccv_may_hold_the_terminals_instead() -> None:
    current, voltage = cccv(PACK, UP, 1.0, hold="pack").steps
    assert current.goes_on == {"pack_voltage_max"}
    assert current.limits.pack_voltage_max == pytest.approx(25.2)
    assert (voltage.mode, voltage.setpoint) == (VOLTAGE, pytest.approx(25.2))


def test_a_limit_of_temperature_holds_in_every_step_and_leads_nowhere() -> None:
    hot = Rating(3, 6, 5.0, 4.2, 2.5, temperature_max=318.15)
    for protocol in (cccv(hot, UP, 1.0), multistage(hot, UP, default_stages(UP, 1.0))):
        for step in protocol.steps:
            assert step.limits.temperature_max == 318.15
            assert "temperature_max" not in step.goes_on


def test_a_stage_goes_on_at_its_state_of_charge_and_at_the_voltage_but_the_last_ends() -> None:
    first, second = multistage(PACK, UP, read_stages("1.5@0.5,0.7C", UP)).steps
    assert (first.setpoint, first.limits.soc_max) == (22.5, 0.5)
    assert first.goes_on == {"soc_max", "cell_voltage_max"}
    assert (second.setpoint, second.limits.soc_max) == pytest.approx((10.5, 0.8))
    assert second.goes_on == frozenset()
    first, _ = multistage(PACK, DOWN, read_stages("1@0.5,0.5", DOWN)).steps
    assert first.setpoint == -15.0
    assert first.goes_on == {"soc_min", "cell_voltage_min"}


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 5))
def test_the_default_stages_lead_to_the_end_by_falling_rates(
    start: float, end: float, rate: float
) -> None:
    if abs(end - start) < 1e-6:
        return
    way = Way(start, end)
    chosen = default_stages(way, rate)
    protocol = multistage(PACK, way, chosen)
    assert chosen[-1].until == end
    assert [stage.rate / rate for stage in chosen] == pytest.approx([1, 0.75, 0.5])
    assert len(protocol.labels) == len(chosen)


@pytest.mark.parametrize(
    ("text", "rate"), [("C/20", 0.05), ("0.05", 0.05), ("1.5C", 1.5), ("c/3", 1 / 3), (".5", 0.5)]
)
def test_a_c_rate_may_be_written_as_a_fraction_or_as_a_number(text: str, rate: float) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize("text", ["", "C", "C/0", "0", "-1", "1/20", "nan", "inf", "1 A"])
def test_what_is_no_c_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a C-rate"):
        read_rate(text)


def test_a_way_is_two_states_of_charge() -> None:
    assert read_way("0.1:0.8") == (0.1, 0.8)
    assert read_way("1:0").sign == -1
    assert read_soc("0.5") == 0.5


@pytest.mark.parametrize("text", ["0.1", "0.1:0.1", "0.1:1.2", "-0.1:0.5", "a:b", "0.1:0.5:0.8"])
def test_what_is_no_way_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_way(text)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Stage(1, 0.5), Stage(1, 0.4), Stage(1, 0.8)], "does not lie between 0.5 and 0.8"),
        ([Stage(1, 0.5)], "short of the 0.8 wanted"),
        ([Stage(1, 0.9)], "does not lie between"),
        ([Stage(0, 0.8)], "is no current"),
    ],
)
def test_stages_that_do_not_lead_from_start_to_end_are_refused(
    stages: list[Stage], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        multistage(PACK, UP, stages)


def test_a_stage_before_the_last_must_say_until_where() -> None:
    with pytest.raises(UsageError, match="'1' does not say until where"):
        read_stages("1,0.5@0.8", UP)


@pytest.mark.parametrize(("way", "cutoff"), [(DOWN, 0.05), (UP, 1.0), (UP, 0.0), (UP, math.nan)])
def test_cccv_that_cannot_be_is_refused(way: Way, cutoff: float) -> None:
    with pytest.raises(UsageError):
        cccv(PACK, way, 1.0, cutoff=cutoff)


def written(folder: Path, text: str) -> Path:
    path = folder / "profile.csv"
    path.write_text(text)
    return path


def test_a_value_of_a_profile_holds_until_the_next_row_and_equal_ones_are_one_step(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "time [s],current [A]\n0,5\n10,5\n20,-3\n25,0\n30,7\n")
    steps = profile(PACK, path).steps
    assert [(step.setpoint, step.duration) for step in steps] == [(5, 20), (-3, 5), (0, 5)]
    assert {step.mode for step in steps} == {CURRENT}


def test_in_a_profile_the_voltage_that_a_flow_leads_to_is_the_limit(tmp_path: Path) -> None:
    path = written(tmp_path, "time [s],power [W]\n0,5\n10,-5\n20,0\n30,0\n")
    charge, discharge, rest = (step.limits for step in profile(PACK, path).steps)
    assert charge.cell_voltage_max == 4.2
    assert math.isnan(charge.cell_voltage_min)
    assert discharge.cell_voltage_min == 2.5
    assert math.isnan(discharge.cell_voltage_max)
    assert math.isnan(rest.cell_voltage_max)
    assert math.isnan(rest.cell_voltage_min)


@pytest.mark.parametrize(
    ("header", "mode", "setpoint"),
    [
        ("Time (s),Current (mA)", CURRENT, 0.002),
        ("time [s],crate", CURRENT, 30.0),
        ("time [s],power [W]", POWER, 2.0),
    ],
)
def test_a_profile_is_of_current_c_rate_or_power_of_the_whole_pack(
    tmp_path: Path, header: str, mode: int, setpoint: float
) -> None:
    (step,) = profile(PACK, written(tmp_path, f"{header}\n0,2\n60,2\n")).steps
    assert (step.mode, step.setpoint, step.duration) == (mode, setpoint, 60)


@pytest.mark.parametrize(
    ("text", "column", "row", "message"),
    [
        ("time [s],current [A]\n0,1\n\n10,\n20,1\n", "current [A]", 4, "missing"),
        ("time [s],current [A]\n0,1\n10,abc\n20,1\n", "current [A]", 3, "not a number"),
        ("time [s],crate\n0,one\n10,two\n", "crate", 2, "not a number"),
        ("time [s],current [A]\n0,1\n20,1\n10,1\n", "time [s]", 4, "does not come after 20 s"),
        ("time [s],current [A]\n0,1\n0,2\n", "time [s]", 3, "does not come after 0 s"),
        ("time [s],current [A]\n5,1\n10,2\n", "time [s]", 2, "begins at 5 s"),
        ("time [min],current [A]\n0,1\n1,2\n", "time [min]", 1, "in min"),
        ("time,current [A]\n0,1\n1,2\n", "time", 1, "without a unit"),
        ("time [s],current\n0,1\n1,2\n", "current", 1, "without a unit"),
        ("time [s],crate [A]\n0,1\n1,2\n", "crate [A]", 1, "wanted is none"),
        ("time [s],current [A],power [W]\n0,1,1\n1,2,2\n", None, 1, "the columns are"),
        ("time [s],strom [A]\n0,1\n1,2\n", None, 1, "wanted are 'time \\[s\\]' and one of"),
        ("time [s],current [A]\n0,1\n", None, None, "one row"),
        ("time [s],current [A]\n0,1\n10,2", "current [A]", 3, "cut off"),
        ("time [s],current [A]\n0,1\n10,inf\n", "current [A]", 3, "not a number"),
        ("", None, None, "empty"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_column_and_line(
    tmp_path: Path, text: str, column: str | None, row: int | None, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        profile(PACK, path)
    assert (caught.value.file, caught.value.column, caught.value.row) == (str(path), column, row)


def test_a_profile_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: the profile cannot be read"):
        profile(PACK, tmp_path / "nowhere.csv")


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_the_charge_of_a_profile_is_that_of_its_steps(currents: list[float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(f"{10 * k},{value!r}\n" for k, value in enumerate([*currents, 0.0]))
        steps = profile(PACK, written(Path(folder), f"time [s],current [A]\n{rows}")).steps
    charge = sum(step.setpoint * step.duration for step in steps)
    assert charge == pytest.approx(10 * np.sum(currents), abs=1e-9)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_c_rate_of_nothing_is_refused(rate: float) -> None:
    with pytest.raises(BatterykitError, match="is no current"):
        cc(PACK, UP, rate)
