"""The impossible is an error; a quirk is a flag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batterykit.datasets import checks
from batterykit.datasets.reader import Table, read_curve, read_summary
from batterykit.errors import InputError
from tests.datasets.record import curve_lines, summary_lines

PATH = Path("some file.csv")


def summary(rpts: int = 4) -> Table:
    return read_summary(PATH, ("\n".join(summary_lines(rpts)) + "\n").encode())


def curve(rows: int = 40, direction: str = "discharge") -> Table:
    lines = curve_lines(rows, direction=direction)
    table = read_curve(PATH, ("\n".join(lines) + "\n").encode())
    table.columns = {name: values.copy() for name, values in table.columns.items()}
    return table


def names(value: int) -> list[str]:
    return list(checks.names_of(checks.CURVE_FLAGS, value))


def test_a_clean_summary_and_a_clean_curve_have_no_flags() -> None:
    assert checks.check_summary(summary()).tolist() == [0, 0, 0, 0]
    for direction in ("discharge", "charge"):
        assert checks.check_curve(curve(direction=direction), direction, constant_current=True) == 0


@pytest.mark.parametrize(
    ("sets", "row", "words"),
    [
        ([0, 1, 1, 2], 4, "RPT 1 is there twice"),
        ([0, 1, 3, 4], 4, "RPT 2 is missing: RPT 3 where RPT 2 was expected"),
        ([1, 2, 3, 4], 2, "RPT 0 is missing"),
        ([0, 2, 1, 3], 3, "RPT 2 where RPT 1 was expected"),
        ([0, 1, 1.5, 2], 4, "RPT 1.5 where RPT 2"),
    ],
)
def test_check_ups_must_be_complete_and_in_order(sets: list[float], row: int, words: str) -> None:
    table = summary()
    table.columns["ageing_sets"] = np.array(sets, dtype=float)
    with pytest.raises(InputError, match=words) as caught:
        checks.check_summary(table)
    assert (caught.value.column, caught.value.row) == ("Ageing Sets", row)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("capacity_c10", 1000), ("capacity_c10", 0.001), ("resistance_0p1s", 1000),
        ("charge_throughput", 1000), ("energy_throughput", 1000), ("energy_throughput", 0.001),
        ("soh", 100), ("ocv_fit_rmse", 1000), ("electrode_offset", 0.001),
        ("ne_si_capacity", 0.001), ("charge_throughput", 0.001),
    ],
)  # fmt: skip
def test_values_in_another_unit_than_their_header_says_are_an_error(
    name: str, factor: float
) -> None:
    table = summary()
    table.columns[name] = table.columns[name] * factor
    with pytest.raises(InputError, match="check the unit") as caught:
        checks.check_summary(table)
    wanted = "energy_throughput" if name == "charge_throughput" and factor < 1 else name
    assert caught.value.column == table.attrs[wanted]["source_column"]
    assert caught.value.row is not None


def test_days_may_be_missing_at_the_first_check_up_only() -> None:
    table = summary()
    table.columns["days_of_degradation"][2] = np.nan
    with pytest.raises(InputError, match="missing") as caught:
        checks.check_summary(table)
    assert (caught.value.column, caught.value.row) == ("Days of degradation", 4)


def test_a_fit_that_repeats_the_last_stoichiometries_is_flagged() -> None:
    table = summary()
    for name in ("pe_lo", "ne_lo", "pe_hi", "ne_hi"):
        table.columns[name][2] = table.columns[name][1]
    assert checks.check_summary(table).tolist() == [0, 0, 1, 0]


def test_missing_half_rate_capacity_dates_and_falling_throughput_are_flagged() -> None:
    table = summary()
    table.columns["capacity_c2"][2] = np.nan
    table.columns["age_set_temperature"][1] = np.nan
    for name in ("charge_throughput", "energy_throughput"):
        table.columns[name][3] = table.columns[name][2] - 1
    assert checks.check_summary(table).tolist() == [0, 4, 2, 8]


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("voltage", 1000), ("voltage", 0.001), ("current", 1000), ("current", 0.001),
        ("charge", 1000), ("charge", 0.001), ("time", 1000), ("time", 1 / 3600),
    ],
)  # fmt: skip
def test_a_curve_in_another_unit_than_its_header_says_is_an_error(name: str, factor: float) -> None:
    table = curve()
    table.columns[name] = table.columns[name] * factor
    with pytest.raises(InputError, match="check the unit"):
        checks.check_curve(table, "discharge", constant_current=True)


def test_current_and_charge_in_another_unit_together_are_an_error_too() -> None:
    table = curve()
    for name in ("current", "charge"):
        table.columns[name] = table.columns[name] * 0.001
    with pytest.raises(InputError, match=r"less than 0\.05 Ah"):
        checks.check_curve(table, "discharge", constant_current=True)


def test_temperature_in_kelvin_is_an_error() -> None:
    table = curve()
    table.columns["temperature"] = table.columns["temperature"] + 273.15
    with pytest.raises(InputError, match=r"is not possible") as caught:
        checks.check_curve(table, "discharge", constant_current=True)
    assert (caught.value.column, caught.value.row) == ("Temperature (degC)", 2)


def test_a_charge_in_place_of_a_discharge_is_an_error() -> None:
    with pytest.raises(InputError, match="other direction"):
        checks.check_curve(curve(direction="charge"), "discharge", constant_current=True)


def test_a_last_row_above_the_cutoff_again_is_flagged() -> None:
    table = curve()
    table.columns["voltage"][-1] = 2.5002
    table.columns["voltage"][-2] = 2.4999
    value = checks.check_curve(table, "discharge", constant_current=True)
    assert names(value) == ["last_row_past_cutoff"]


def test_time_that_repeats_and_charge_that_goes_back_are_flagged() -> None:
    table = curve()
    table.columns["time"][5] = table.columns["time"][4]
    table.columns["charge"][9] = table.columns["charge"][8] - 1e-6
    value = checks.check_curve(table, "discharge", constant_current=True)
    assert names(value) == ["time_not_increasing", "charge_not_monotone"]


def test_a_gap_in_the_sampling_is_flagged() -> None:
    table = curve(400)
    keep = np.r_[0:100, 150:400]
    table.columns = {name: values[keep] for name, values in table.columns.items()}
    value = checks.check_curve(table, "discharge", constant_current=True)
    assert names(value) == ["sampling_gap"]


def test_a_curve_that_ends_or_starts_inside_the_window_is_flagged() -> None:
    for part in (slice(None, -10), slice(10, None)):
        table = curve()
        table.columns = {name: values[part] for name, values in table.columns.items()}
        value = checks.check_curve(table, "discharge", constant_current=True)
        assert names(value) == ["window_not_reached"]


def test_capacity_differs_from_three_in_a_thousand_on() -> None:
    assert not checks.capacity_differs(4.8, 4.8 * 1.0029)
    assert checks.capacity_differs(4.8, 4.8 * 1.0031)
    assert checks.capacity_differs(4.8, 4.8 / 1.0032)
    assert not checks.capacity_differs(4.8, float("nan"))
