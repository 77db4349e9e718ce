"""Electrode balance: which stoichiometries a cell has at 0 and 100 % state of charge.

The equilibrium problem that PyBaMM calls eSOH (P. Mohtat et al., J. Power Sources 427 (2019) 101;
A. Weng et al., arXiv 2303.07088), for any number of cells at once and without PyBaMM: from the
capacities NE and PE of the electrodes and the lithium Q that they share, all in Ah, to x (negative)
and y (positive electrode) with

    U_p(y) - U_n(x) = V,    NE x + PE y = Q

at the lower and the upper cut-off V. Potentials are those of the parameters' tables at their
reference temperature; currents, ageing laws and random draws are not known here.

**Ageing.** Definitions are those of the record (Kirkaldy et al., J. Power Sources 603 (2024)
234185): ``LAM_X = 1 - X / X_0`` and ``LLI = (Q_0 - Q) / Cell_0``, Cell_0 being the fresh capacity.
Q is all the lithium in both electrodes, so lithium that leaves with lost material counts as LLI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from batterykit.errors import UsageError

if TYPE_CHECKING:
    from batterykit.pack.cell import Cells
    from batterykit.pack.parameters import CellParameters, ElectrodeParameters

FloatArray = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike

FARADAY = 96485.33212  # C/mol
SECONDS_PER_HOUR = 3600.0

FULL = 0.98  # stoichiometry of a negative electrode that takes no more lithium

_MOST_STEPS = 100  # bisection alone needs 50; Newton's method about six
_CLOSE = 1e-13  # of a stoichiometry
_SAME = 1e-5  # of capacities (relative) and voltages (V) that must agree

_NAMES = {
    "negative": "capacity of the negative electrode",
    "positive": "capacity of the positive electrode",
    "lithium": "lithium",
}


class Capacities(NamedTuple):
    """What a cell is made of: electrode capacities and lithium in both [Ah]; arrays or scalars."""

    negative: FloatArray
    positive: FloatArray
    lithium: FloatArray


class Window(NamedTuple):
    """Stoichiometries at 0 and 100 % state of charge (1), and the capacity between [Ah]."""

    x_0: FloatArray
    x_100: FloatArray
    y_0: FloatArray
    y_100: FloatArray
    capacity: FloatArray


def potential(
    electrode: ElectrodeParameters, stoichiometry: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return an electrode's open-circuit potential and its slope, from the parameters' table.

    Parameters
    ----------
    electrode
        With cubic pieces on equal intervals of the stoichiometry, ``((a s + b) s + c) s + d``.
    stoichiometry
        Any shape; outside [0, 1] the outermost piece goes on.

    Returns
    -------
    tuple of numpy.ndarray
        Potential against lithium [V] and its derivative in the stoichiometry [V].
    """
    return cubic(electrode.potential, stoichiometry)


def cubic(table: FloatArray, stoichiometry: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return a table of an electrode's parameters and its slope; see `potential`.

    Parameters
    ----------
    table
        (pieces, 4), such as `ElectrodeParameters.entropic`.
    stoichiometry
        Any shape.
    """
    stoichiometry = np.asarray(stoichiometry, dtype=np.float64)
    pieces = len(table)
    piece = np.clip((stoichiometry * pieces).astype(np.int64), 0, pieces - 1)
    s = stoichiometry - piece / pieces
    a, b, c, d = np.moveaxis(table[piece], -1, 0)
    return ((a * s + b) * s + c) * s + d, (3 * a * s + 2 * b) * s + c


def fresh(parameters: CellParameters) -> Capacities:
    """Return the capacities of the fresh cell that a parameter set describes.

    Returns
    -------
    Capacities
        Scalars [Ah]; the lithium is that of the set's initial concentrations, as in PyBaMM.
    """
    negative, positive = (
        parameters.electrode_area
        * electrode.thickness
        * electrode.active_fraction
        * electrode.max_concentration
        * (FARADAY / SECONDS_PER_HOUR)
        for electrode in (parameters.negative, parameters.positive)
    )
    lithium = (
        negative * parameters.negative.initial_stoichiometry
        + positive * parameters.positive.initial_stoichiometry
    )
    return Capacities(*(np.asarray(value) for value in (negative, positive, lithium)))


def window(
    parameters: CellParameters,
    *,
    ne_capacity: ArrayLike,
    pe_capacity: ArrayLike,
    lithium: ArrayLike,
) -> Window:
    """Find where the electrodes stand at the cut-off voltages.

    Parameters
    ----------
    parameters
        Potentials and cut-off voltages.
    ne_capacity, pe_capacity
        Of the negative and the positive electrode [Ah]; they broadcast to any shape.
    lithium
        That both electrodes hold together [Ah].

    Returns
    -------
    Window
        Arrays of that shape.

    Raises
    ------
    UsageError
        A capacity is not a positive number, or a cell cannot reach one of the two voltages; it
        names the first such cell by its index and says which electrode is full or empty.
    """
    capacities = Capacities(
        *np.broadcast_arrays(
            *(np.asarray(values, np.float64) for values in (ne_capacity, pe_capacity, lithium))
        )
    )
    for name, values in capacities._asdict().items():
        wrong = ~(np.isfinite(values) & (values > 0))
        if wrong.any():
            place, one = _first(wrong)
            raise UsageError(
                f"the {_NAMES[name]}{one} is {values[place]:g} Ah",
                fix="give losses (LLI, LAM) that leave something, and a positive area",
            )
    x_0 = _stoichiometry(parameters, capacities, parameters.lower_voltage)
    x_100 = _stoichiometry(parameters, capacities, parameters.upper_voltage)
    negative, positive, shared = capacities
    return Window(
        x_0,
        x_100,
        y_0=np.asarray((shared - negative * x_0) / positive),
        y_100=np.asarray((shared - negative * x_100) / positive),
        capacity=np.asarray(negative * (x_100 - x_0)),
    )


def aged(
    parameters: CellParameters,
    *,
    lli: ArrayLike = 0.0,
    lam_pe: ArrayLike = 0.0,
    lam_ne: ArrayLike = 0.0,
    area: ArrayLike = 1.0,
) -> Window:
    """Return the windows and capacities of aged cells.

    Parameters
    ----------
    parameters
        Of the fresh cell.
    lli
        Loss of lithium inventory over the fresh capacity (1).
    lam_pe, lam_ne
        Loss of active material (1).
    area
        Size of the cell relative to the parameter set (1).

    Returns
    -------
    Window
        Arrays of the shape to which the arguments broadcast.

    Raises
    ------
    UsageError
        No cell can have lost so much; see `window`.
    """
    new = fresh(parameters)
    size = np.asarray(area, dtype=np.float64)
    capacity = window(
        parameters, ne_capacity=new.negative, pe_capacity=new.positive, lithium=new.lithium
    ).capacity
    return window(
        parameters,
        ne_capacity=size * new.negative * (1 - np.asarray(lam_ne)),
        pe_capacity=size * new.positive * (1 - np.asarray(lam_pe)),
        lithium=size * (new.lithium - np.asarray(lli) * capacity),
    )


def least_lli(
    parameters: CellParameters, *, lam_pe: ArrayLike = 0.0, lam_ne: ArrayLike = 0.0
) -> FloatArray:
    """Return the least LLI with which the negative electrode is not full at the upper cut-off.

    Where a negative electrode shrinks faster than its lithium is lost, it fills up at the end of
    charge, and what it cannot take plates and is lost as well: electrode saturation, one of the
    knees of Attia et al., J. Electrochem. Soc. 169 (2022) 060517. `FULL` is an assumption.

    Parameters
    ----------
    parameters
        Of the fresh cell.
    lam_pe, lam_ne
        Loss of active material (1).

    Returns
    -------
    numpy.ndarray
        Over the fresh capacity (1), below 0 where even a gain would fit; of the broadcast shape.
    """
    wanted = parameters.upper_voltage + potential(parameters.negative, FULL)[0]
    low, high = 0.0, 1.0
    while high - low > _CLOSE:
        y = (low + high) / 2
        low, high = (y, high) if potential(parameters.positive, y)[0] > wanted else (low, y)
    new = fresh(parameters)
    most = FULL * new.negative * (1 - np.asarray(lam_ne)) + low * new.positive * (
        1 - np.asarray(lam_pe)
    )
    return np.asarray((new.lithium - most) / aged(parameters).capacity)


def capacity(parameters: CellParameters, cells: Cells) -> FloatArray:
    """Return what cells can give between their 0 and 100 % state of charge, at equilibrium [Ah].

    This is also the check that cells are of one piece: what one electrode gives the other takes,
    and at both ends the cell has its cut-off voltage.

    Returns
    -------
    numpy.ndarray
        Of the shape to which the fields of `cells` broadcast.

    Raises
    ------
    UsageError
        The two electrodes disagree by more than 1e-5, or an end is 10 uV off its cut-off voltage.
    """
    x_0, x_100, y_0, y_100, area, ne_active, pe_active = np.broadcast_arrays(
        *(
            np.asarray(values, dtype=np.float64)
            for values in (
                *(cells.x_0, cells.x_100, cells.y_0, cells.y_100),
                *(cells.area, cells.ne_active, cells.pe_active),
            )
        )
    )
    new = fresh(parameters)
    negative = area * new.negative * ne_active * (x_100 - x_0)
    positive = area * new.positive * pe_active * (y_0 - y_100)
    wrong = ~(np.abs(positive - negative) <= _SAME * np.abs(negative))
    if wrong.any():
        place, one = _first(wrong)
        raise UsageError(
            f"the negative electrode{one} gives {negative[place]:.6g} Ah and the positive takes "
            f"{positive[place]:.6g} Ah",
            fix="take the window from batterykit.pack.balance.aged for the same active material",
        )
    for x, y, wanted in (
        (x_0, y_0, parameters.lower_voltage),
        (x_100, y_100, parameters.upper_voltage),
    ):
        voltage = _open_circuit(parameters, x, y)
        wrong = ~(np.abs(voltage - wanted) <= _SAME)
        if wrong.any():
            place, one = _first(wrong)
            raise UsageError(
                f"the end of the window{one} has {voltage[place]:.5f} V instead of {wanted:g} V",
                fix="take the window from batterykit.pack.balance.aged",
            )
    return np.asarray(negative)


def _open_circuit(parameters: CellParameters, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.asarray(potential(parameters.positive, y)[0] - potential(parameters.negative, x)[0])


def _stoichiometry(
    parameters: CellParameters, capacities: Capacities, voltage: float
) -> FloatArray:
    """Return x at a cell voltage, by Newton's method kept inside a bracket that always shrinks."""
    negative, positive, lithium = capacities
    low = np.maximum(0.0, (lithium - positive) / negative)
    high = np.minimum(1.0, lithium / negative)

    def excess(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        upper, upper_slope = potential(parameters.positive, (lithium - negative * x) / positive)
        lower, lower_slope = potential(parameters.negative, x)
        return upper - lower - voltage, -upper_slope * negative / positive - lower_slope

    _check_reach(parameters, capacities, low, high, voltage)
    x = (low + high) / 2
    settled = np.zeros(np.shape(x), dtype=bool)  # what has settled stays, alone or in company
    for _ in range(_MOST_STEPS):
        value, slope = excess(x)
        low, high = np.where(value < 0, x, low), np.where(value < 0, high, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = x - value / slope
        inside = (newton >= low) & (newton <= high)
        last, x = x, np.where(settled, x, np.where(inside, newton, (low + high) / 2))
        settled = settled | (np.abs(x - last) < _CLOSE)
        if settled.all():
            break
    return np.asarray(x)


def _check_reach(
    parameters: CellParameters,
    capacities: Capacities,
    low: FloatArray,
    high: FloatArray,
    voltage: float,
) -> None:
    """Refuse cells whose electrodes are full or empty before the cell has the voltage."""
    negative, positive, lithium = capacities
    for x, sign, ne_state, pe_state in (
        (low, 1.0, "empty", "full"),
        (high, -1.0, "full", "empty"),
    ):
        y = (lithium - negative * x) / positive
        reached = _open_circuit(parameters, x, y)
        wrong = ~((high > low) & (sign * (voltage - reached) >= 0))
        if wrong.any():
            place, one = _first(wrong)
            by_negative = x[place] in (0.0, 1.0)
            raise UsageError(
                f"the {'negative' if by_negative else 'positive'} electrode{one} is "
                f"{ne_state if by_negative else pe_state} at {reached[place]:.2f} V, before the "
                f"cell has {voltage:g} V: electrodes of {negative[place]:.3f} Ah (negative) and "
                f"{positive[place]:.3f} Ah (positive) with {lithium[place]:.3f} Ah of lithium make "
                "no cell",
                fix="give smaller losses; LLI and LAM must fit each other (a negative electrode "
                "cannot shrink below the lithium it must take)",
            )


def _first(wrong: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], str]:
    """Return the index of the first cell that is wrong, and how to name it in a sentence."""
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    if not place:
        return place, ""
    if len(place) == 2:
        return place, f" of cell {place[1]} in pack {place[0]}"
    return place, f" of cell {', '.join(map(str, place))}"
