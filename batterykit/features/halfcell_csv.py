"""Half-cell potentials from CSV files, as the tables that degradation mode analysis fits with.

A file has a header and two columns: stoichiometry (0 to 1) and potential against lithium [V], in
any order of rows; columns are told apart by their names ("sto", "x", "y", "potential", "voltage",
"OCP", "OCV", "U", units allowed), or else the first is the stoichiometry.

**Direction.** By the convention of half-cell files (Chen et al. 2020) stoichiometry is the
*lithiated* fraction, of the positive electrode too. A potential falls with lithium content, always
(or the phase would not be stable), so a file whose potential rises tells that its stoichiometry is
the delithiated fraction, and is turned round.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from batterykit.errors import InputError
from batterykit.halfcell import PotentialTables

FloatArray = npt.NDArray[np.float64]

FEWEST_ROWS = 10
LEAST_RANGE = 0.01  # V between the first and the last row
TILT = 1e-5  # V from empty to full, so that flat plateaus have an inverse
HIGHEST_POTENTIAL = 6.0  # V
NE_NODES = 1500  # each in equal steps of potential and in equal steps of stoichiometry
PE_NODES = 4001

_STOICHIOMETRY = ("sto", "soc", "lithiation", "x", "y", "z")
_POTENTIAL = ("potential", "voltage", "ocp", "ocv", "u", "v", "e")


def read_half_cell(path: Path) -> tuple[FloatArray, FloatArray]:
    """Read a half cell.

    Parameters
    ----------
    path
        CSV file as this module's first lines say.

    Returns
    -------
    tuple
        Lithiated fraction, rising, (row,) [1], and potential, falling, (row,) [V]; tilted by 10
        microvolts, for rounded values repeat on plateaus.

    Raises
    ------
    InputError
        The file is not there, has not two columns of numbers, fewer than 10 rows, a value that is
        no number or out of range, a stoichiometry twice, or a potential that is not monotone.
    """
    names, rows = _rows(path)
    if len(rows) < FEWEST_ROWS:
        raise InputError(
            f"{len(rows)} rows of a half cell, at least {FEWEST_ROWS} are needed",
            fix="give the potential over the whole range of stoichiometry",
            file=path,
        )
    which = _column_order(names)
    ordered = sorted(rows, key=lambda row: row[1][which[0]])
    lines = [line for line, _ in ordered]
    content, potential = (np.array([values[k] for _, values in ordered]) for k in which)
    _check_range(path, names[which[0]], lines, content, 1.0)
    _check_range(path, names[which[1]], lines, potential, HIGHEST_POTENTIAL)
    _check_steps(path, [names[k] for k in which], lines, content, potential)
    if potential[-1] > potential[0]:
        content, potential = (1 - content)[::-1], potential[::-1]
    return content, potential - TILT * content


def csv_tables(positive: Path, negative: Path, silicon: Path | None) -> PotentialTables:
    """Return the tables of half cells read from files; smooth and monotone between their rows.

    Parameters
    ----------
    positive, negative
        Files of the two electrodes.
    silicon
        File of the negative electrode's second phase; then `negative` is its graphite.

    Raises
    ------
    InputError
        See `read_half_cell`.
    """
    phases = [_content_by_potential(negative)]
    if silicon is not None:
        phases.append(_content_by_potential(silicon))
    low, high = min(p.x[0] for p in phases), max(p.x[-1] for p in phases)
    nodes = np.unique(
        np.concatenate([np.linspace(low, high, NE_NODES)] + [_by_content(p) for p in phases])
    )
    nodes = nodes[np.concatenate([[True], np.diff(nodes) > 1e-10])]
    values = [_on_nodes(phase, nodes) for phase in phases]
    if silicon is None:
        values.append((np.zeros(len(nodes)), np.zeros(len(nodes))))
    start, step, potential, slope = _positive(positive)
    return PotentialTables(nodes, *values[0], *values[1], start, step, potential, slope)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, tuple[float, float]]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the half-cell file cannot be read: {getattr(error, 'strerror', None) or error}",
            fix="give the path of a CSV file with stoichiometry and potential",
            file=path,
        ) from error
    lines = [
        (number, [field.strip() for field in row])
        for number, row in enumerate(csv.reader(text.splitlines()), start=1)
        if any(field.strip() for field in row)
    ]
    if not lines:
        raise InputError(
            "the half-cell file is empty", fix="give stoichiometry and potential", file=path
        )
    names = lines[0][1]
    if len(names) != 2:
        raise InputError(
            f"{len(names)} columns ({', '.join(names)}), wanted two: stoichiometry and potential",
            fix="keep these two columns, separated by a comma",
            file=path,
        )
    if all(_number(name) is not None for name in names):
        raise InputError(
            "no header: the first line holds numbers",
            fix="put a line such as 'stoichiometry,potential [V]' on top",
            file=path,
            row=lines[0][0],
        )
    rows = []
    for number, fields in lines[1:]:
        values = [_number(field) for field in fields]
        for name, field, value in zip(names, fields, values, strict=False):
            if value is None or not math.isfinite(value):
                raise InputError(
                    f"'{field}' is not a number",
                    fix="give a number, or take the line out",
                    file=path,
                    column=name,
                    row=number,
                )
        if len(values) != 2:
            raise InputError(
                f"{len(values)} values, wanted two", fix="mend the line", file=path, row=number
            )
        rows.append((number, (float(values[0] or 0.0), float(values[1] or 0.0))))
    return names, rows


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


def _column_order(names: list[str]) -> tuple[int, int]:
    """Return which column is the stoichiometry and which the potential."""
    first, second = (name.lower().split("[")[0].split("(")[0].strip() for name in names)

    def like(name: str, words: tuple[str, ...]) -> bool:
        return any(name == word or (len(word) > 1 and word in name) for word in words)

    swapped = like(first, _POTENTIAL) and not like(second, _POTENTIAL)
    swapped |= like(second, _STOICHIOMETRY) and not like(first, _STOICHIOMETRY)
    return (1, 0) if swapped else (0, 1)


def _check_range(
    path: Path, name: str, lines: list[int], values: FloatArray, highest: float
) -> None:
    wrong = np.flatnonzero((values < 0) | (values > highest))
    if len(wrong):
        raise InputError(
            f"{values[wrong[0]]:g} is outside 0 to {highest:g}",
            fix="give stoichiometry as a fraction from 0 to 1 and potential in volts from 0 to "
            f"{HIGHEST_POTENTIAL:g}",
            file=path,
            column=name,
            row=lines[wrong[0]],
        )


def _check_steps(
    path: Path, names: list[str], lines: list[int], content: FloatArray, potential: FloatArray
) -> None:
    same = np.flatnonzero(np.diff(content) == 0)
    if len(same):
        raise InputError(
            f"the stoichiometry {content[same[0]]:g} comes twice",
            fix="keep one line for each stoichiometry",
            file=path,
            column=names[0],
            row=max(lines[same[0]], lines[same[0] + 1]),
        )
    if abs(potential[-1] - potential[0]) < LEAST_RANGE:
        raise InputError(
            f"the potential changes by {abs(potential[-1] - potential[0]):.2g} V only",
            fix="give the half cell's open-circuit potential in volts",
            file=path,
            column=names[1],
        )
    falls = potential[-1] < potential[0]
    steps = np.diff(potential)
    wrong = np.flatnonzero(steps > 0 if falls else steps < 0)
    if len(wrong):
        raise InputError(
            f"the potential is not monotone: {potential[wrong[0]]:g} V, then "
            f"{potential[wrong[0] + 1]:g} V",
            fix="smooth the curve until it falls, or rises, all the way",
            file=path,
            column=names[1],
            row=lines[wrong[0] + 1],
        )


def _content_by_potential(path: Path) -> Any:  # noqa: ANN401 - scipy has no types
    from scipy.interpolate import PchipInterpolator

    content, potential = read_half_cell(path)
    return PchipInterpolator(potential[::-1], content[::-1], extrapolate=False)


def _by_content(phase: Any) -> FloatArray:  # noqa: ANN401
    """Return potentials at equal steps of the lithiated fraction: dense on plateaus."""
    content = np.asarray(phase(phase.x))[::-1]
    wanted = np.linspace(content[0], content[-1], NE_NODES)
    return np.asarray(np.interp(wanted, content, phase.x[::-1]))


def _on_nodes(phase: Any, nodes: FloatArray) -> tuple[FloatArray, FloatArray]:  # noqa: ANN401
    """Return a phase's lithiated fraction and slope; constant beyond its range."""
    low, high = phase.x[0], phase.x[-1]
    inside = np.clip(nodes, low, high)
    beyond = (nodes < low) | (nodes > high)
    return phase(inside), np.where(beyond, 0.0, phase(inside, 1))


def _positive(path: Path) -> tuple[float, float, FloatArray, FloatArray]:
    """Return first node, step, potential and slope over the delithiated fraction."""
    from scipy.interpolate import PchipInterpolator

    content, potential = read_half_cell(path)
    curve = PchipInterpolator(1 - content[::-1], potential[::-1])
    z = np.linspace(curve.x[0], curve.x[-1], PE_NODES)
    return float(z[0]), float(z[1] - z[0]), curve(z), curve(z, 1)
