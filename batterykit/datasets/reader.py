"""Strict reading of the record's CSV files: bytes in, arrays in the store's units out.

Curves and ageing tables go through Arrow's parser (correctly rounded, strict about the number of
values in a line, free of the interpreter lock). Whatever it refuses is read again slowly, line by
line, to name the line and the column. Summaries are small and are always read slowly. Nothing is
written here, and nothing is decided about plausibility: that is `datasets.checks`.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batterykit.datasets.columns import (
    UNKNOWN_UNIT,
    clean_name,
    same_unit,
    split_header,
    unique_names,
    unit_of,
)
from batterykit.datasets.lgm50t import CURVE_COLUMNS, SUMMARY_COLUMNS, Column
from batterykit.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

# names that the store's datasets use for something else
_RESERVED = (
    "cell", "rpt", "curve", "sample", "row", "row_size", "experiment", "letter", "n_rpt",
    "temperature_chamber", "quality_flag", "content_hash", "source_file", "source_hash",
    "direction", "protocol",
)  # fmt: skip
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MISSING = ("", "nan")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?")
_BOM = b"\xef\xbb\xbf"
_ENOUGH = 65_536  # bytes: longer than any header


@dataclass
class Table:
    """What a CSV file holds, in the store's units.

    Parameters
    ----------
    path
        The file.
    columns
        Name -> values (row,): float64 (NaN where empty), datetime64[ns] or object (text).
    attrs
        Name -> `units`, `long_name`, `source_column`.
    lines
        Line number in the file of each row; None when they follow each other from line 2.
    """

    path: Path
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    attrs: dict[str, dict[str, str]] = field(default_factory=dict)
    lines: list[int] | None = None

    def error(self, problem: str, *, fix: str, name: str, index: int | None = None) -> InputError:
        """Return an error that names the file, the column as the file has it, and the line."""
        line = None
        if index is not None:
            line = index + 2 if self.lines is None else self.lines[index]
        header = self.attrs[name]["source_column"]
        return InputError(problem, fix=fix, file=self.path, column=header, row=line)


@dataclass(frozen=True)
class _Plan:
    """What is to be done with one column of the file: its place, name and unit."""

    index: int
    name: str
    header: str
    divisor: float
    attrs: dict[str, str]
    wanted: Column | None  # None: a column that the record does not have, kept as it comes


def read_summary(path: Path, data: bytes) -> Table:
    """Read a Performance Summary file.

    Parameters
    ----------
    path
        For messages only.
    data
        The file's bytes.

    Returns
    -------
    Table
        The 30 columns under their names in the store, then any others under cleaned names.

    Raises
    ------
    InputError
        The file is empty, cut off or not UTF-8; a column is missing, renamed or in another unit;
        a value is no number or date.
    """
    return _read_slowly(path, data, SUMMARY_COLUMNS)


def read_table(path: Path, data: bytes) -> Table:
    """Read an ageing-set table, whose columns are not known beforehand: all are kept.

    A column is of numbers, dates or text, whichever all of its values are. One that has a unit,
    or is mostly numbers, must be of numbers throughout. Parameters, result and errors as for
    `read_summary`.
    """
    import pyarrow as pa

    _check_whole(path, data)
    header = _header(path, data)
    try:
        columns = _parse(data, dict.fromkeys(range(len(header)), pa.string()), len(header))
        header = _without_index(header, [] if header[0] else columns[0].to_pylist())
        table = Table(path)
        for plan in _plan(path, header, ()):
            table.attrs[plan.name] = plan.attrs
            table.columns[plan.name] = _cast(table, plan, columns[plan.index])
    except (pa.ArrowInvalid, InputError):
        return _read_slowly(path, data, ())  # which names the line, or knows better
    return table


def read_curve(path: Path, data: bytes, *, slowly: bool = False) -> Table:
    """Read a voltage curve: time [s], voltage [V], current [A], charge [Ah], temperature [degC].

    Parameters, result and errors as for `read_summary`; besides, no value may be missing.

    Parameters
    ----------
    slowly
        Go line by line, so that the table knows its line numbers even if there are blank lines.
    """
    import pyarrow as pa

    _check_whole(path, data)
    header = _header(path, data)
    plans = _plan(path, header, CURVE_COLUMNS)
    if slowly or any(plan.wanted is None for plan in plans):
        return _read_slowly(path, data, CURVE_COLUMNS)
    try:
        columns = _parse(data, {plan.index: pa.float64() for plan in plans}, len(header))
    except pa.ArrowInvalid:
        return _read_slowly(path, data, CURVE_COLUMNS)
    table = Table(path)
    for plan in plans:
        values = columns[plan.index].to_numpy()
        if not np.isfinite(values).all():
            return _read_slowly(path, data, CURVE_COLUMNS)
        table.columns[plan.name] = values if plan.divisor == 1.0 else values / plan.divisor
        table.attrs[plan.name] = plan.attrs
    return table


def _parse(data: bytes, types: Mapping[int, pa.DataType], width: int) -> dict[int, pa.ChunkedArray]:
    """Return columns by their place in the file, all rows but the first; missing numbers null.

    Raises `pyarrow.ArrowInvalid` where a value is not of its type or a line has not `width` values.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # not `read_csv`: it hands every file to a thread of its own, which takes 0.2 ms
    stream = arrow_csv.open_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(
            use_threads=False,
            skip_rows=1,
            column_names=[str(index) for index in range(width)],
            block_size=len(data) + 1,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={str(index): kind for index, kind in types.items()},
            include_columns=[str(index) for index in types],
            null_values=[""],
        ),
    )
    return dict(zip(types, stream.read_all().columns, strict=True))


def _cast(table: Table, plan: _Plan, column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of text as what it holds: numbers at once, anything else one by one."""
    import pyarrow as pa
    from pyarrow import compute

    missing = compute.is_in(column, pa.array(["", "nan", "NaN"]))
    try:
        cast = compute.if_else(missing, None, column).cast(pa.float64())
    except pa.ArrowInvalid:
        return _guess(table, plan, [text.strip() for text in column.to_pylist()])
    values: np.ndarray = cast.to_numpy()
    if np.isinf(values).any():
        raise pa.ArrowInvalid("infinity")
    return values if plan.divisor == 1.0 else values / plan.divisor


def _read_slowly(path: Path, data: bytes, wanted: Sequence[Column]) -> Table:
    header, rows, lines = _rows(path, data)
    plans = _plan(path, header, wanted)
    table = Table(path, lines=lines)
    for plan in plans:
        texts = [row[plan.index].strip() for row in rows]
        table.attrs[plan.name] = plan.attrs
        table.columns[plan.name] = _values(table, plan, texts)
    return table


def _values(table: Table, plan: _Plan, texts: list[str]) -> np.ndarray:
    if plan.wanted is None:
        return _guess(table, plan, texts)
    if plan.wanted.date:
        return _dates(table, plan.name, texts)
    values = _numbers(table, plan, texts)
    if plan.wanted.empty == "never" and np.isnan(values).any():
        raise table.error(
            "the value is missing",
            fix="restore the value, or download the file again",
            name=plan.name,
            index=int(np.flatnonzero(np.isnan(values))[0]),
        )
    return values


def _guess(table: Table, plan: _Plan, texts: list[str]) -> np.ndarray:
    """Return a column of unknown content as numbers, dates or text."""
    filled = [text for text in texts if text.lower() not in _MISSING]
    numbers = sum(_NUMBER.fullmatch(text) is not None for text in filled)
    has_unit = plan.attrs["units"] != UNKNOWN_UNIT
    if has_unit or not filled or numbers > len(filled) / 2:
        return _numbers(table, plan, texts)
    del table.attrs[plan.name]["units"]
    if all(_DATE.fullmatch(text) for text in filled):
        return _dates(table, plan.name, texts)
    return np.array(texts, dtype=object)


def _numbers(table: Table, plan: _Plan, texts: list[str]) -> np.ndarray:
    required = plan.wanted is not None and plan.wanted.empty == "never"
    may_be_empty = "" if required else " (leave it empty if there is none)"
    values = np.full(len(texts), np.nan)
    for index, text in enumerate(texts):
        if text.lower() in _MISSING:
            continue
        if not _NUMBER.fullmatch(text):
            raise table.error(
                f"{text!r} is not a number",
                fix=f"correct the value{may_be_empty}, or download the file again",
                name=plan.name,
                index=index,
            )
        values[index] = float(text)
    return values if plan.divisor == 1.0 else values / plan.divisor


def _dates(table: Table, name: str, texts: list[str]) -> np.ndarray:
    values = np.full(len(texts), "NaT", dtype="M8[ns]")
    for index, text in enumerate(texts):
        if text.lower() in (*_MISSING, "nat"):
            continue
        try:
            if not _DATE.fullmatch(text):
                raise ValueError
            values[index] = np.datetime64(text.replace(" ", "T"), "ns")
        except ValueError:
            raise table.error(
                f"{text!r} is not a date",
                fix="write dates as 2020-10-13 (with 12:34:56 behind, if need be)",
                name=name,
                index=index,
            ) from None
    return values


def _plan(path: Path, header: Sequence[str], wanted: Sequence[Column]) -> list[_Plan]:
    """Match the file's header with the columns wanted, which come first in the result."""
    _check_header(path, header)
    plans, used = [], set()
    for column in wanted:
        index = _place(path, column, header, wanted)
        unit = split_header(column.header)[1]
        attrs = {"units": column.unit} if column.unit else {}
        attrs |= {"long_name": column.long_name, "source_column": header[index]}
        divisor = unit_of(unit).divisor
        plans.append(_Plan(index, column.name, header[index], divisor, attrs, column))
        used.add(index)
    others = [index for index in range(len(header)) if index not in used and header[index]]
    names = unique_names(
        (clean_name(split_header(header[index])[0]) for index in others),
        taken=(*_RESERVED, *(plan.name for plan in plans)),
    )
    for index, name in zip(others, names, strict=True):
        base, text = split_header(header[index])
        unit_ = unit_of(text)
        attrs = {"units": unit_.name, "long_name": base, "source_column": header[index]}
        plans.append(_Plan(index, name, header[index], unit_.divisor, attrs, None))
    return plans


def _place(path: Path, column: Column, header: Sequence[str], wanted: Sequence[Column]) -> int:
    """Return where a column is: the same name, letter case and signs aside, and the same unit."""
    base, unit = split_header(column.header)
    split = [split_header(text) for text in header]
    named = [i for i, (name, _) in enumerate(split) if clean_name(name) == clean_name(base)]
    if not named:
        raise _absent(path, column, header, wanted)
    for index in named:
        if same_unit(split[index][1], unit):
            return index
    raise _other_unit(path, column, header[named[0]], split[named[0]][1], unit)


def _check_header(path: Path, header: Sequence[str]) -> None:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise InputError(
                f"the values are separated by {name}, not commas",
                fix="save the file with commas between the values and points in the numbers, "
                "or download it again",
                file=path,
                column=header[0].split(mark)[0].strip(),
                row=1,
            )
    for index, text in enumerate(header):
        if text and text in header[:index]:
            raise InputError(
                "the column is there twice",
                fix="remove one of them, or download the file again",
                file=path,
                column=text,
                row=1,
            )


def _absent(
    path: Path, column: Column, header: Sequence[str], wanted: Sequence[Column]
) -> InputError:
    known = {clean_name(split_header(other.header)[0]) for other in wanted}
    strangers = [text for text in header if text and clean_name(split_header(text)[0]) not in known]
    near = difflib.get_close_matches(column.header, strangers, n=1, cutoff=0.5)
    if near:
        problem = f"the column is missing; the file has '{near[0]}' instead"
        fix = f"rename '{near[0]}' to '{column.header}' if that is what it holds"
    else:
        problem = "the column is missing"
        fix = "download the file again; the record's files all have this column"
    return InputError(problem, fix=fix, file=path, column=column.header, row=1)


def _other_unit(path: Path, column: Column, header: str, found: str, unit: str) -> InputError:
    said = f"in '{found}'" if found else "without a unit"
    want = f"in '{unit}'" if unit else "without a unit"
    return InputError(
        f"the column is {said}, but the record has it {want} ('{column.header}')",
        fix="convert the values and the header to the record's unit, or download the file again",
        file=path,
        column=header,
        row=1,
    )


def _rows(path: Path, data: bytes) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the rows and their line numbers."""
    _check_whole(path, data)
    text = _decode(path, data)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(
            f"not a CSV file ({error})",
            fix="download the file again",
            file=path,
            row=reader.line_num,
        ) from error
    header = [cell.strip() for cell in rows[0]]
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(header):
            cut = line == lines[-1] and len(row) < len(header)
            raise InputError(
                f"the {'last ' if cut else ''}line has {len(row)} values and the header "
                f"{len(header)}{': the file is cut off' if cut else ''}",
                fix="download the file again",
                file=path,
                column=header[len(row)] if len(row) < len(header) else None,
                row=line,
            )
    first = [row[0].strip() for row in rows[1:]]
    return _without_index(header, first), rows[1:], lines[1:]


def _without_index(header: list[str], first: list[str]) -> list[str]:
    """Return the header, its unnamed columns named, but for a first one that counts the rows."""
    counts = any(first == [str(start + row) for row in range(len(first))] for start in (0, 1))
    unnamed = [not text or text.lower().startswith("unnamed:") for text in header]
    return [
        text if not unnamed[index] else "" if index == 0 and counts else f"unnamed {index}"
        for index, text in enumerate(header)
    ]


def _check_whole(path: Path, data: bytes) -> None:
    start = data[:_ENOUGH].removeprefix(_BOM).lstrip()
    if not start and len(data) <= _ENOUGH:
        raise InputError(
            "the file is empty", fix="download the file again, or remove it", file=path
        )
    if len(data) <= _ENOUGH and len(start.splitlines()) < 2:
        raise InputError(
            "the file has a header and no rows",
            fix="download the file again, or remove it",
            file=path,
        )
    if data[-1:] not in (b"\n", b"\r"):
        line = data.count(b"\n") + 1
        last = data[data.rfind(b"\n") + 1 :].count(b",") + 1
        header = _header(path, data)
        raise InputError(
            "the last line does not end with a line break: the file is cut off",
            fix="download the file again; if it is whole, add a line break at its end",
            file=path,
            column=header[min(last, len(header)) - 1],
            row=line,
        )


def _header(path: Path, data: bytes) -> list[str]:
    first = data[: data.find(b"\n") % (len(data) + 1)]  # the whole file if it has no line break
    row = next(csv.reader(_decode(path, first).splitlines()), [])
    header = [cell.strip() for cell in row]
    if header and header[0].lower().startswith("unnamed:"):
        header[0] = ""
    return header


def _decode(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = None
        if line > 1:
            header = data.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace").split(",")
            place = before[before.rfind(b"\n") + 1 :].count(b",")
            column = header[place].strip() if place < len(header) else None
        else:
            text = data.split(b"\n", 1)[0].decode("latin-1").split(",")[before.count(b",")]
            column = text.strip() if text.strip().isprintable() else None  # is it text at all?
        raise InputError(
            f"byte 0x{data[error.start]:02x} is not UTF-8 text",
            fix="save the file as UTF-8 (it may be Latin-1 or UTF-16), or download it again",
            file=path,
            column=column,
            row=line,
        ) from None
    if "\0" in text:
        raise InputError(
            "the file holds NUL bytes: it is not text, or a download was interrupted",
            fix="download the file again",
            file=path,
            row=text[: text.index("\0")].count("\n") + 1,
        )
    return text
