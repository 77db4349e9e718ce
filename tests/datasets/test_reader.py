"""Reading is exact where a file is right, and names line, column and remedy where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batterykit.datasets.reader import Table, _read_slowly, read_curve, read_summary, read_table
from batterykit.errors import InputError
from tests.datasets.record import CURVE_HEADER, SUMMARY_HEADER, curve_lines, summary_lines

PATH = Path("some file.csv")


def data(lines: Sequence[str], encoding: str = "utf-8") -> bytes:
    return ("\n".join(lines) + "\n").encode(encoding)


def edited(lines: list[str], line: int, column: str, value: str) -> list[str]:
    """Return the lines with one value replaced; `line` counts from 1 and includes the header."""
    parts = lines[line - 1].split(",")
    parts[lines[0].split(",").index(column)] = value
    return [*lines[: line - 1], ",".join(parts), *lines[line:]]


def error_of(read: Callable[[Path, bytes], object], content: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        read(PATH, content)
    assert caught.value.file == str(PATH)
    assert caught.value.fix
    return caught.value


# -- what is right ---------------------------------------------------------------------------


def test_a_summary_is_read_in_the_units_of_the_store() -> None:
    table = read_summary(PATH, data(summary_lines(4)))
    assert table.columns["capacity_c10"].tolist() == [4800 / 1000, 4.752, 4.704, 4.656]
    assert table.attrs["capacity_c10"]["units"] == "Ah"
    assert table.attrs["capacity_c10"]["source_column"] == "C/10 Capacity [mA h]"
    assert table.columns["charge_throughput"].tolist() == [0.0, 700.5, 1401.0, 2101.5]
    assert np.isnan(table.columns["resistance_0p1s"]).tolist() == [False, True, False, True]
    assert table.columns["rpt_start_date"][1] == np.datetime64("2021-02-05")
    assert np.isnat(table.columns["age_set_start_date"]).tolist() == [True, False, False, False]


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    plain = read_summary(PATH, data(summary_lines()))
    other = read_summary(PATH, b"\xef\xbb\xbf" + data(summary_lines()).replace(b"\n", b"\r\n"))
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(other.columns[name], values)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_an_unnamed_column_that_counts_the_rows_is_left_out(name: str) -> None:
    lines = summary_lines(3)
    indexed = [f"{name},{lines[0]}"] + [f"{k},{line}" for k, line in enumerate(lines[1:])]
    table = read_summary(PATH, data(indexed))
    assert list(table.columns) == list(read_summary(PATH, data(lines)).columns)
    curve = curve_lines(5)
    curve = [f"{name},{curve[0]}"] + [f"{k},{line}" for k, line in enumerate(curve[1:])]
    assert list(read_curve(PATH, data(curve)).columns) == [
        "time", "voltage", "current", "charge", "temperature",
    ]  # fmt: skip


def test_an_unnamed_column_with_content_of_its_own_is_kept() -> None:
    table = read_table(PATH, data([",Charge [mA h]", "7,1500", "9,2500"]))
    assert table.columns["unnamed_0"].tolist() == [7, 9]


def test_columns_may_come_in_another_order_and_spell_their_unit_in_another_way() -> None:
    lines = ["Voltage [V],Time (s),Charge (mAh),Temperature (°C),Current (mA)"]
    lines += ["4.1,1.5,0,25,-500", "4.0,2.5,100,26,-500"]
    table = read_curve(PATH, data(lines))
    assert table.columns["time"].tolist() == [1.5, 2.5]
    assert table.columns["charge"].tolist() == [0, 0.1]


def test_a_column_that_the_record_does_not_have_is_kept_with_its_unit() -> None:
    lines = summary_lines(3)
    more = ["Swelling (mm),Remark", "0.1,fresh", "0.2,", "0.3,aged"]
    table = read_summary(PATH, data([f"{a},{b}" for a, b in zip(lines, more, strict=True)]))
    assert table.columns["swelling"].tolist() == [0.1, 0.2, 0.3]
    assert table.attrs["swelling"] == {
        "units": "mm", "long_name": "Swelling", "source_column": "Swelling (mm)",
    }  # fmt: skip
    assert table.columns["remark"].tolist() == ["fresh", "", "aged"]
    curve = curve_lines(3)
    curve = [curve[0] + ",Step"] + [f"{line},{k}" for k, line in enumerate(curve[1:])]
    assert read_curve(PATH, data(curve)).columns["step"].tolist() == [0, 1, 2]


def test_an_ageing_table_keeps_numbers_dates_and_text_apart() -> None:
    lines = [
        "Cycle,Charge (mA h),Power [mW],Start,End,Remark,Empty",
        "0,1500.5,20,2021-01-08,2021-01-08 12:30:00,ok,",
        "1,1490.25,,2021-01-09,,n/a,",
    ]
    table = read_table(PATH, data(lines))
    assert table.columns["charge"].tolist() == [1.5005, 1.49025]
    assert table.attrs["charge"]["units"] == "Ah"
    assert table.attrs["power"]["units"] == "W"
    assert table.attrs["cycle"]["units"] == "unknown"
    assert table.columns["start"].dtype == "M8[ns]"
    assert table.columns["end"][0] == np.datetime64("2021-01-08T12:30:00")
    assert table.columns["remark"].tolist() == ["ok", "n/a"]
    assert np.isnan(table.columns["empty"]).all()


def test_names_that_the_store_needs_itself_are_not_taken_by_a_column() -> None:
    table = read_table(PATH, data(["Cell,RPT,Row size", "1,2,3"]))
    assert list(table.columns) == ["cell_2", "rpt_2", "row_size_2"]


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(*[NUMBERS] * 5), min_size=1, max_size=20))
def test_every_number_of_a_curve_is_the_double_that_its_text_says(
    rows: list[tuple[float, ...]],
) -> None:
    lines = [CURVE_HEADER, *(",".join(repr(value) for value in row) for row in rows)]
    for slowly in (False, True):
        table = read_curve(PATH, data(lines), slowly=slowly)
        for name, index, divisor in [
            ("time", 0, 1.0), ("voltage", 1, 1.0), ("current", 2, 1e3), ("charge", 3, 1e3),
            ("temperature", 4, 1.0),
        ]:  # fmt: skip
            assert table.columns[name].tolist() == [row[index] / divisor for row in rows]


@given(digits=st.text("0123456789", min_size=1, max_size=25), exponent=st.integers(-30, 30))
def test_long_decimals_are_rounded_correctly(digits: str, exponent: int) -> None:
    text = f"0.{digits}e{exponent}"
    table = read_curve(PATH, data([CURVE_HEADER, f"{text},1,1,1,1"]))
    assert table.columns["time"][0] == float(text)


# -- what is wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_summary, read_curve, read_table])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"])
def test_an_empty_file_is_an_error(read: Callable[..., object], content: bytes) -> None:
    assert "empty" in error_of(read, content).problem


@pytest.mark.parametrize("read", [read_summary, read_curve])
def test_a_header_without_rows_is_an_error(read: Callable[..., object]) -> None:
    header = SUMMARY_HEADER if read is read_summary else CURVE_HEADER
    assert "no rows" in error_of(read, data([header])).problem


def test_a_missing_column_is_named() -> None:
    lines = [line.rsplit(",", 1)[0] for line in summary_lines()]
    error = error_of(read_summary, data(lines))
    assert error.column == "RMSE of OCV-fitting [V]"
    assert error.problem == "the column is missing"


def test_a_renamed_column_is_named_together_with_what_may_be_it() -> None:
    lines = summary_lines()
    lines[0] = lines[0].replace("C/10 Capacity [mA h]", "C10 discharge capacity [mA h]")
    error = error_of(read_summary, data(lines))
    assert error.column == "C/10 Capacity [mA h]"
    assert "'C10 discharge capacity [mA h]' instead" in error.problem
    assert "rename" in error.fix


@pytest.mark.parametrize(
    ("old", "new"),
    [("[A h]", "[mA h]"), ("C/2 Capacity [mA h]", "C/2 Capacity [A h]"), ("[Ohms]", "[mOhm]")],
)
def test_a_column_in_another_unit_is_an_error(old: str, new: str) -> None:
    lines = summary_lines()
    lines[0] = lines[0].replace(old, new, 1)
    error = error_of(read_summary, data(lines))
    assert error.column is not None
    assert new in error.column
    assert re.search(r"but the record has it in '.*'", error.problem)
    assert "convert" in error.fix


def test_a_curve_in_another_unit_or_without_one_is_an_error() -> None:
    for new in ("Current (A)", "Current"):
        lines = [curve_lines(4)[0].replace("Current (mA)", new), *curve_lines(4)[1:]]
        assert error_of(read_curve, data(lines)).column == new


@pytest.mark.parametrize("value", ["4.7x", "1_000", "inf", "0x10", "4,7", "--"])
def test_text_in_a_number_is_named_with_its_line(value: str) -> None:
    quoted = f'"{value}"'
    lines = edited(summary_lines(), 3, "C/10 Capacity [mA h]", quoted)
    error = error_of(read_summary, data(lines))
    assert (error.column, error.row) == ("C/10 Capacity [mA h]", 3)
    assert repr(value) in error.problem
    error = error_of(read_curve, data(edited(curve_lines(9), 7, "Charge (mA.h)", quoted)))
    assert (error.column, error.row) == ("Charge (mA.h)", 7)


def test_to_leave_a_value_empty_is_advised_only_where_it_may_be() -> None:
    for column, may_be in (("C/10 Capacity [mA h]", False), ("0.1s Resistance [Ohms]", True)):
        error = error_of(read_summary, data(edited(summary_lines(), 3, column, "x")))
        assert ("leave it empty" in error.fix) == may_be


@pytest.mark.parametrize("value", ["", "nan", "NaN"])
def test_a_missing_capacity_is_named_with_its_line(value: str) -> None:
    error = error_of(read_summary, data(edited(summary_lines(), 4, "C/10 Capacity [mA h]", value)))
    assert (error.column, error.row) == ("C/10 Capacity [mA h]", 4)
    assert "missing" in error.problem


@pytest.mark.parametrize("value", ["", "nan", "NaN"])
def test_a_missing_value_in_a_curve_is_named_with_its_line(value: str) -> None:
    lines = [*curve_lines(9)[:3], "", *edited(curve_lines(9), 6, "Voltage (V)", value)[3:]]
    error = error_of(read_curve, data(lines))
    assert (error.column, error.row) == ("Voltage (V)", 7)  # the blank line counts


def test_a_value_that_is_not_a_date_is_named_with_its_line() -> None:
    for value in ("13/10/2020", "2021-13-01", "soon"):
        lines = edited(summary_lines(), 3, "RPT start date", value)
        error = error_of(read_summary, data(lines))
        assert (error.column, error.row) == ("RPT start date", 3)
        assert "not a date" in error.problem


@pytest.mark.parametrize("read", [read_summary, read_curve])
@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_file_cut_off_in_its_last_line_is_an_error(
    read: Callable[[Path, bytes], object], cut: int
) -> None:
    lines = summary_lines() if read is read_summary else curve_lines()
    error = error_of(read, data(lines)[:-cut])
    assert "cut off" in error.problem
    assert error.row == len(lines)
    assert error.column


@given(cut=st.integers(1, 2000), read=st.sampled_from([read_summary, read_curve]))
def test_a_file_cut_off_anywhere_but_at_the_end_of_a_line_is_an_error(
    cut: int, read: Callable[[Path, bytes], object]
) -> None:
    content = data(summary_lines(4) if read is read_summary else curve_lines())[:-cut]
    if content.endswith(b"\n") and content.count(b"\n") > 1:
        read(PATH, content)
    else:
        error_of(read, content)


@pytest.mark.parametrize("read", [read_summary, read_curve])
def test_a_last_line_that_lacks_values_is_cut_off_even_if_it_ends(
    read: Callable[[Path, bytes], object],
) -> None:
    lines = summary_lines() if read is read_summary else curve_lines()
    error = error_of(read, data([*lines[:-1], lines[-1].rsplit(",", 2)[0]]))
    assert "cut off" in error.problem
    assert (error.row, error.column) == (len(lines), lines[0].split(",")[-2])


def test_a_line_with_too_many_values_is_an_error() -> None:
    lines = curve_lines(9)
    lines[4] += ",1"
    error = error_of(read_curve, data(lines))
    assert error.row == 5
    assert "6 values and the header 5" in error.problem


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
def test_another_encoding_is_an_error(encoding: str) -> None:
    error = error_of(read_summary, data(summary_lines(), encoding))
    assert "UTF-8" in error.problem + error.fix or "NUL" in error.problem
    assert error.row == 1


def test_undecodable_bytes_are_named_with_line_and_column() -> None:
    content = data(curve_lines(9)).split(b"\n")
    content[5] = content[5].replace(b",", b",\xff", 2).replace(b",\xff", b",", 1)
    error = error_of(read_curve, b"\n".join(content))
    assert (error.row, error.column) == (6, "Current (mA)")
    assert "0xff" in error.problem


def test_bytes_that_are_no_text_are_not_shown_as_a_columns_name() -> None:
    for content in (data(summary_lines(), "utf-16"), b"PK\x03\x04\x1b[31m\xff,\x91\n" * 9):
        error = error_of(read_summary, content)
        assert str(error).isprintable()
        assert error.row == 1


def test_line_ends_of_old_macs_do_not_matter() -> None:
    content = data(curve_lines(9)).replace(b"\n", b"\r")
    for slowly in (False, True):
        table = read_curve(PATH, content, slowly=slowly)
        np.testing.assert_array_equal(
            table.columns["voltage"], read_curve(PATH, data(curve_lines(9))).columns["voltage"]
        )
    lines = read_table(PATH, b"Cycle,Note\r1,a\r2,b\r")
    assert lines.columns["note"].tolist() == ["a", "b"]


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("read", [read_summary, read_curve, read_table])
def test_values_separated_by_another_sign_than_commas_are_an_error(
    read: Callable[[Path, bytes], object], mark: str, name: str
) -> None:
    error = error_of(read, data(["Note,Remark", "a,b"]).replace(b",", mark.encode()))
    assert (error.row, error.column) == (1, "Note")
    assert name in error.problem


def test_nul_bytes_are_an_error() -> None:
    content = data(curve_lines(9))
    error = error_of(read_curve, content[:200] + b"\0" * 50 + content[250:])
    assert error.row is not None
    assert "NUL" in error.problem


def test_a_column_that_is_there_twice_is_an_error() -> None:
    lines = [f"{line},{line.split(',')[1]}" for line in curve_lines(3)]
    error = error_of(read_curve, data(lines))
    assert (error.column, error.row) == ("Voltage (V)", 1)


def test_text_in_a_column_that_is_mostly_numbers_or_has_a_unit_is_an_error() -> None:
    error = error_of(read_table, data(["Cycle", "1", "2", "three"]))
    assert (error.column, error.row) == ("Cycle", 4)
    error = error_of(read_table, data(["Charge [mA h]", "none"]))
    assert (error.column, error.row) == ("Charge [mA h]", 2)


TEXTS = st.sampled_from(
    ["1", "-2.5", "3e4", "+5", " 6", "7 ", "", "nan", "NaN", "inf", "0x10", "1_0", "2021-01-08",
     "2021-13-01", "ok", "true", "1,5", "2021-01-08 10:00"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_the_fast_and_the_slow_way_to_read_a_table_agree(rows: list[tuple[str, str]]) -> None:
    content = data(["A,B [mA h]", *(f'"{a}","{b}"' for a, b in rows)])
    outcomes: list[Table | str] = []
    for read in (lambda: _read_slowly(PATH, content, ()), lambda: read_table(PATH, content)):
        try:
            outcomes.append(read())
        except InputError as error:
            outcomes.append(str(error))
    slow, fast = outcomes
    if isinstance(slow, str) or isinstance(fast, str):
        assert fast == slow
        return
    assert fast.attrs == slow.attrs
    for name, values in slow.columns.items():
        assert fast.columns[name].dtype == values.dtype
        np.testing.assert_array_equal(fast.columns[name], values)
