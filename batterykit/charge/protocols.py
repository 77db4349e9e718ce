"""What is done with a pack, as a list of steps: constant current, CC-CV, stages, a profile.

A protocol is a description: it says what is held, up to which limits, and which of them lead to
the next step. Nothing is simulated here. Current is positive on charge, as in the store.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from batterykit.errors import InputError, UsageError
from batterykit.pack.simulator import CELL_VOLTAGE, CURRENT, POWER, VOLTAGE, Limits

Hold = Literal["cell", "pack"]

STAGES_BY_DEFAULT = (1.0, 0.75, 0.5)  # of the C-rate, each for an equal part of the way

_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_RATE = re.compile(rf"(?:C/(?P<divisor>{_NUMBER})|(?P<rate>{_NUMBER})C?)", re.IGNORECASE)
_COLUMNS = {"current": "A", "crate": "", "power": "W"}  # of a profile: one of them beside time


@dataclass(frozen=True)
class Rating:
    """A pack, as far as a protocol has to know it, and what it may not go beyond.

    Parameters
    ----------
    parallel, series
        Cells in a group, groups in the pack.
    capacity
        Nominal, of one cell [Ah].
    voltage_max, voltage_min
        Of any cell [V].
    temperature_max
        Of any cell [K]; not a number for no limit.
    """

    parallel: int
    series: int
    capacity: float
    voltage_max: float
    voltage_min: float
    temperature_max: float = math.nan

    def current(self, rate: float) -> float:
        """Return the pack's current [A] at a C-rate [1/h]: 1C is the nominal capacity an hour."""
        return rate * self.parallel * self.capacity


class Way(NamedTuple):
    """From where to where a pack is taken: the mean state of charge of its cells (1)."""

    start: float
    end: float

    @property
    def sign(self) -> int:
        """1 on charge, -1 on discharge."""
        return 1 if self.end > self.start else -1


class Stage(NamedTuple):
    """Constant current at a C-rate [1/h] until a state of charge (1)."""

    rate: float
    until: float


@dataclass(frozen=True)
class Step:
    """Something held until a limit is met or the time is over.

    Parameters
    ----------
    label
        What a table calls it.
    mode, setpoint
        What is held and at which value [A, V or W]; see `PackSimulator.step`.
    limits
        Where it ends.
    goes_on
        Those limits, by name, that lead to the next step; any other ends the run.
    duration
        How long it lasts at most [s]; then comes the next step.
    """

    label: str
    mode: int
    setpoint: float
    limits: Limits
    goes_on: frozenset[str] = frozenset()
    duration: float = math.inf


@dataclass(frozen=True)
class Protocol:
    """Steps, one after the other.

    Parameters
    ----------
    name
        cc, cccv, multistage or profile.
    steps
        At least one.
    way
        From where to where it leads; None for a profile, which leads where it leads.
    """

    name: str
    steps: tuple[Step, ...]
    way: Way | None = None

    @property
    def labels(self) -> list[str]:
        """The labels of the steps, each once, in order."""
        return list(dict.fromkeys(step.label for step in self.steps))


def cc(rating: Rating, way: Way, rate: float) -> Protocol:
    """Hold a current until the state of charge wanted, or until a cell is full or empty.

    Parameters
    ----------
    rating, way
        The pack, and from where to where.
    rate
        C-rate [1/h], positive; the direction is that of the way.
    """
    _check_rate(rate)
    return Protocol("cc", (_constant_current(rating, way, rate, way.end),), way)


def cccv(
    rating: Rating, way: Way, rate: float, *, cutoff: float = 1 / 20, hold: Hold = "cell"
) -> Protocol:
    """Hold a current until the voltage is reached, then the voltage until the current has fallen.

    Ends earlier where the state of charge wanted is reached.

    Parameters
    ----------
    rating, way
        The pack, and from where to where: upwards.
    rate
        C-rate of the first step [1/h].
    cutoff
        C-rate at which the second step ends [1/h].
    hold
        What the voltage limit is for: "cell" holds the cell that is highest at `voltage_max`;
        "pack" holds the terminals at `voltage_max` times the groups in series, as a charger does
        that does not see the cells, some of which may then go beyond it.

    Raises
    ------
    UsageError
        The way leads downwards, or the rates do not fit.
    """
    _check_rate(rate)
    if way.sign < 0:
        raise UsageError(
            "constant current, constant voltage is a way to charge, and "
            f"{way.start:g}:{way.end:g} leads downwards",
            fix="discharge with the protocol cc or multistage, or charge to a higher state",
        )
    if not 0 < cutoff < rate:
        raise UsageError(
            f"the current cannot fall from {rate:g}C to {cutoff:g}C",
            fix="take a cut-off current below the charging current, such as C/20",
        )
    terminals = rating.series * rating.voltage_max
    if hold == "cell":
        reached, mode, setpoint = "cell_voltage_max", CELL_VOLTAGE, rating.voltage_max
        full = Limits(cell_voltage_max=rating.voltage_max, **_on_charge(rating, way.end))
    else:
        reached, mode, setpoint = "pack_voltage_max", VOLTAGE, terminals
        full = Limits(pack_voltage_max=terminals, **_on_charge(rating, way.end))
    fallen = Limits(current_min=rating.current(cutoff), **_on_charge(rating, way.end))
    steps = (
        Step(f"CC {rate:g}C", CURRENT, rating.current(rate), full, frozenset({reached})),
        Step(f"CV {setpoint:g} V", mode, setpoint, fallen),
    )
    return Protocol("cccv", steps, way)


def multistage(rating: Rating, way: Way, stages: Sequence[Stage]) -> Protocol:
    """Hold one current after the other, each until its state of charge.

    A stage at whose current a cell meets its voltage limit ends there, and the next begins; the
    last one then ends the run.

    Parameters
    ----------
    rating, way
        The pack, and from where to where.
    stages
        In order; see `read_stages` and `default_stages`.

    Raises
    ------
    UsageError
        The stages do not lead from the start to the end of the way.
    """
    at = way.start
    for stage in stages:
        _check_rate(stage.rate)
        if not way.sign * at < way.sign * stage.until <= way.sign * way.end:
            raise UsageError(
                f"a stage until {stage.until:g} does not lie between {at:g} and {way.end:g}",
                fix="put the stages in the order in which the states of charge are reached",
            )
        at = stage.until
    if at != way.end:
        raise UsageError(
            f"the stages end at {at:g}, short of the {way.end:g} wanted",
            fix="leave out the state of charge of the last stage, or lead it to the end",
        )
    reached = {"soc_max", "cell_voltage_max"} if way.sign > 0 else {"soc_min", "cell_voltage_min"}
    steps = [_constant_current(rating, way, stage.rate, stage.until) for stage in stages]
    steps = [
        Step(
            f"{number}: {step.label}",
            step.mode,
            step.setpoint,
            step.limits,
            frozenset(reached) if number < len(steps) else frozenset(),
        )
        for number, step in enumerate(steps, start=1)
    ]
    return Protocol("multistage", tuple(steps), way)


def default_stages(way: Way, rate: float) -> list[Stage]:
    """Return three stages over equal parts of the way, at 1, 0.75 and 0.5 times a C-rate."""
    parts = len(STAGES_BY_DEFAULT)
    ends = [way.start + (way.end - way.start) * (k + 1) / parts for k in range(parts)]
    ends[-1] = way.end  # to the last digit
    return [Stage(rate * share, end) for share, end in zip(STAGES_BY_DEFAULT, ends, strict=True)]


def profile(rating: Rating, path: Path) -> Protocol:
    """Read a profile: what the pack's terminals are given over time.

    A CSV file with the columns `time [s]` and one of `current [A]`, `crate` and `power [W]`; all
    are of the whole pack and positive on charge (other units of the same quantity are converted).
    A value holds from its time until that of the next row; the last row only says when the profile
    ends. The run stops where a cell meets a limit: the highest voltage on charge, the lowest on
    discharge, so that a full pack may rest and be discharged.

    Parameters
    ----------
    rating
        The pack.
    path
        The file.

    Raises
    ------
    InputError
        The file cannot be read or is not such a file; with file, column and line.
    """
    times, values, kind = _read_profile(path)
    if kind == "crate":
        values = np.array([rating.current(value) for value in values])
    mode, label = (POWER, "power profile") if kind == "power" else (CURRENT, "current profile")
    firsts = np.flatnonzero(np.diff(values[:-1], prepend=np.nan) != 0)  # equal ones are one step
    ends = np.append(firsts[1:], len(times) - 1)
    steps = [
        Step(
            label,
            mode,
            float(values[i]),
            _in_direction(rating, values[i]),
            duration=float(times[j] - times[i]),
        )
        for i, j in zip(firsts, ends, strict=True)
    ]
    return Protocol("profile", tuple(steps))


def read_way(text: str) -> Way:
    """Read from where to where: "0.1:0.8" charges, "0.8:0.1" discharges.

    Raises
    ------
    UsageError
        The text is something else, or a state of charge is not between 0 and 1.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise UsageError(
            f"'{text}' does not say from where to where",
            fix="write two states of charge between 0 and 1, such as 0.1:0.8",
        )
    way = Way(read_soc(parts[0]), read_soc(parts[1]))
    if way.start == way.end:
        raise UsageError(f"'{text}' leads nowhere", fix="take two different states of charge")
    return way


def read_soc(text: str) -> float:
    """Read a state of charge from 0 to 1.

    Raises
    ------
    UsageError
        The text is something else.
    """
    if not re.fullmatch(_NUMBER, text.strip()) or float(text) > 1:
        raise UsageError(
            f"'{text}' is not a state of charge", fix="write a number from 0 to 1, such as 0.8"
        )
    return float(text)


def read_rate(text: str) -> float:
    """Read a C-rate [1/h]: "C/20", "0.05" and "0.05C" are the same.

    Raises
    ------
    UsageError
        The text is something else, or zero.
    """
    match = _RATE.fullmatch(text.strip())
    value = 0.0
    if match:
        value = float(match["rate"] or match["divisor"])
        value = value if match["rate"] else 1 / value if value else 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"'{text}' is not a C-rate", fix="write one such as C/20, 0.05 or 1.5")
    return value


def read_stages(text: str, way: Way) -> list[Stage]:
    """Read stages: "1.5@0.4,1@0.6,0.5" is 1.5C until 40 %, 1C until 60 %, 0.5C until the end.

    Raises
    ------
    UsageError
        A part is something else, or one before the last does not say until where.
    """
    stages = []
    parts = text.split(",")
    for number, part in enumerate(parts, start=1):
        rate, at, until = part.partition("@")
        if not at and number < len(parts):
            raise UsageError(
                f"the stage '{part}' does not say until where",
                fix="write RATE@SOC for every stage but the last, such as 1.5@0.4,1@0.6,0.5",
            )
        stages.append(Stage(read_rate(rate), read_soc(until) if at else way.end))
    return stages


def _constant_current(rating: Rating, way: Way, rate: float, until: float) -> Step:
    if way.sign > 0:
        limits = Limits(cell_voltage_max=rating.voltage_max, **_on_charge(rating, until))
    else:
        limits = Limits(
            cell_voltage_min=rating.voltage_min,
            soc_min=until,
            temperature_max=rating.temperature_max,
        )
    return Step(f"CC {rate:g}C", CURRENT, way.sign * rating.current(rate), limits)


def _in_direction(rating: Rating, flow: float) -> Limits:
    """Return the limits that a current or a power of this sign leads to."""
    return Limits(
        cell_voltage_max=rating.voltage_max if flow > 0 else math.nan,
        cell_voltage_min=rating.voltage_min if flow < 0 else math.nan,
        temperature_max=rating.temperature_max,
    )


def _on_charge(rating: Rating, until: float) -> dict[str, float]:
    return {"soc_max": until, "temperature_max": rating.temperature_max}


def _check_rate(rate: float) -> None:
    if not 0 < rate < math.inf:
        raise UsageError(
            f"a C-rate of {rate:g} is no current",
            fix="take one above zero; --soc 0.8:0.1 discharges",
        )


def _read_profile(
    path: Path,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], str]:
    """Return times [s], values, and which column they are of."""
    from batterykit.datasets.reader import read_table

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the profile cannot be read ({error.strerror})",
            fix="name a CSV file with the columns 'time [s]' and 'current [A]'",
            file=path,
        ) from error
    table = read_table(path, data)
    lines = [n for n, text in enumerate(data.splitlines(), start=1) if text.strip()][1:]
    found = [name for name in _COLUMNS if name in table.columns]
    wanted = "'time [s]' and one of 'current [A]', 'crate' and 'power [W]'"
    if "time" not in table.columns or len(found) != 1:
        names = ", ".join(f"'{attrs['source_column']}'" for attrs in table.attrs.values())
        raise InputError(
            f"the columns are {names}; wanted are {wanted}",
            fix="name the columns so, and leave out what is not meant",
            file=path,
            row=1,
        )
    for name, unit in {"time": "s", found[0]: _COLUMNS[found[0]]}.items():
        _check_column(path, table.columns[name], table.attrs[name], unit, lines)
    times = table.columns["time"].astype(np.float64)
    header = table.attrs["time"]["source_column"]
    if len(times) < 2:
        raise InputError(
            "the profile has one row, which says when it begins and not when it ends",
            fix="add a last row with the time of the end",
            file=path,
        )
    if times[0] != 0:
        raise InputError(
            f"the profile begins at {times[0]:g} s",
            fix="count the time from 0",
            file=path,
            column=header,
            row=lines[0],
        )
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        raise InputError(
            f"{times[back[0] + 1]:g} s does not come after {times[back[0]]:g} s",
            fix="put the rows in order, each time once",
            file=path,
            column=header,
            row=lines[back[0] + 1],
        )
    return times, table.columns[found[0]].astype(np.float64), found[0]


def _check_column(
    path: Path,
    values: npt.NDArray[np.generic],
    attrs: dict[str, str],
    unit: str,
    lines: list[int],
) -> None:
    header = attrs["source_column"]
    said = attrs.get("units", "unknown")
    if said != (unit or "unknown") and not (unit == "" and said == "1"):
        raise InputError(
            f"the column is {'without a unit' if said == 'unknown' else f'in {said}'}, "
            f"wanted {f'is {unit}' if unit else 'is none'}",
            fix=f"write the unit in the header, such as 'time [{unit}]'"
            if unit == "s"
            else "write 'current [A]', 'crate' or 'power [W]'",
            file=path,
            column=header,
            row=1,
        )
    if values.dtype.kind != "f":
        raise InputError(
            f"{str(values[0])!r} is not a number",
            fix="write plain numbers with a point",
            file=path,
            column=header,
            row=lines[0],
        )
    missing = np.flatnonzero(np.isnan(values.astype(np.float64)))
    if len(missing):
        raise InputError(
            "the value is missing",
            fix="write the number; a rest is 0",
            file=path,
            column=header,
            row=lines[missing[0]],
        )
