"""Half-cell potentials of the LG M50 and the balance of its two electrodes.

From electrode capacities and offset to stoichiometries, cell capacity, C/10 curve and dQ/dV, and
back. Pure functions of numpy arrays: the twin makes its data with them, and a degradation-mode fit
can use the same ones. No ageing, no noise and no files here.

Conventions are those of the record (Kirkaldy et al., J. Power Sources 603 (2024) 234185): the
stoichiometry z of the positive electrode (PE) is its *delithiated* fraction, x of the negative
electrode (NE) its lithiated fraction, `lo` is the discharged cell (2.5 V at C/10) and `hi` the
charged one (4.2 V), and::

    Cell = (z_hi - z_lo) PE = (x_hi - x_lo) NE,   Offset = z PE - x NE  at every moment.

**Negative electrode.** Graphite and silicon at one common potential U, so
``x(U) = Gr_frac x_Gr(U) + (1 - Gr_frac) x_Si(U)``; x_Gr and x_Si are the inverses of PyBaMM's
functions for the composite electrode (parameter set ``Chen2020_composite``: Ai et al. 2020 data for
graphite; delithiation curve of Verbrugge et al. 2016 for silicon, the branch a discharge follows).

**Positive electrode.** PyBaMM's NMC811 function of Chen et al. (2020), of the lithium content y.
The record's z is relative to its own half-cell measurement, whose window is wider (z from 0.11 to
0.97) than Chen's (y from 0.9084 to 0.27), so y is an affine map of z fixed by two points of the
record's mean cell: z_lo is Chen's published discharged limit, and at z_hi the mean cell has 4.2 V.
(The second point comes out as y = 0.262; Chen's own is 0.27.)

**Polarisation at C/10.** ``I R [1 + a exp((U - U_ref) / w)]``. R is twice the resistance after
0.1 s; it gives the 26 mV that separate the open circuit from the record's C/10 curve over the
middle of the charge. The exponential is the resistance of the nearly empty NE, which ends the
discharge; w is read from the last 0.3 Ah of the record's C/10 curve (Expt 2,2, cell C, RPT 0), and
a makes the mean cell reach 2.5 V at its published stoichiometries.

References
----------
C.-H. Chen et al., J. Electrochem. Soc. 167 (2020) 080534. W. Ai et al., J. Electrochem. Soc. 167
(2020) 013512; J. Power Sources 527 (2022) 231142. M. Verbrugge, D. Baker, X. Xiao, J. Electrochem.
Soc. 163 (2016) A262.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike

LOWER_CUTOFF = 2.5  # V, LG M50T data sheet
UPPER_CUTOFF = 4.2  # V, LG M50T data sheet
C10_CURRENT = 0.5  # A, C/10 of the nominal 5 Ah, as in the record

# Means of the record's 40 cells at RPT 0 [Ah]; mean NE_lo of Expt 2,2, the cells at hand.
MEAN_PE = 5.634
MEAN_NE = 5.272
MEAN_GRAPHITE_FRACTION = 4.471 / 5.272
MEAN_CELL_CAPACITY = 4.857
MEAN_OFFSET = 0.563
MEAN_NE_LO = 0.00824
MEAN_RESISTANCE = 26.4e-3  # Ohm, after 0.1 s

PE_CONTENT_DISCHARGED = 0.9084  # Chen et al. 2020: lithium content y of the discharged PE
PE_CONTENT_RANGE = (0.02, 0.998)  # the NMC function has poles at 0 and 1
NE_POTENTIAL_RANGE = (0.04, 0.985)  # V; graphite and silicon functions are monotone inside
_GRAPHITE_RANGE = (0.0017, 0.9978)  # sto; the measured points scatter (not monotone) outside

DC_PER_PULSE_RESISTANCE = 2.0  # C/10 polarisation over 0.1 s resistance, see above
EMPTY_POTENTIAL = 0.87  # V, U_ref
EMPTY_WIDTH = 0.10  # V, w

_NODES_PER_TABLE_NODE = 10
_TABLE_Z = (-0.011, 1.29, 4001)  # first, last, number: lithium contents 0.02 to 0.998 and no more

_BISECTIONS = 52  # of an interval of 1 V: down to the last bit


@dataclass(frozen=True)
class Electrodes:
    """Capacities and offset of the two electrodes of one or many cells.

    Parameters
    ----------
    positive, graphite, silicon
        Capacities [Ah], arrays of one shape (or scalars).
    offset
        ``z PE - x NE`` [Ah]; ``PE - offset`` is the lithium inventory.
    resistance
        After 0.1 s of a pulse [Ohm].
    """

    positive: FloatArray
    graphite: FloatArray
    silicon: FloatArray
    offset: FloatArray
    resistance: FloatArray

    @property
    def negative(self) -> FloatArray:
        """Capacity of the negative electrode [Ah]."""
        return self.graphite + self.silicon

    @property
    def graphite_fraction(self) -> FloatArray:
        """Graphite's share of the negative electrode's capacity."""
        return self.graphite / self.negative

    @property
    def inventory(self) -> FloatArray:
        """Cyclable lithium [Ah]."""
        return self.positive - self.offset


@dataclass(frozen=True)
class Balance:
    """Where the electrodes stand in the charged and the discharged cell; arrays of one shape.

    Parameters
    ----------
    pe_lo, ne_lo, pe_hi, ne_hi
        Stoichiometries in the record's convention.
    potential_lo, potential_hi
        Of the negative electrode [V].
    capacity
        Of the cell at C/10 from 4.2 V to 2.5 V [Ah].
    """

    pe_lo: FloatArray
    ne_lo: FloatArray
    pe_hi: FloatArray
    ne_hi: FloatArray
    potential_lo: FloatArray
    potential_hi: FloatArray
    capacity: FloatArray


@dataclass(frozen=True)
class Discharge:
    """A noise-free C/10 discharge; arrays of shape (node,), charge increasing.

    Parameters
    ----------
    charge
        Discharged so far [Ah], from 0 to the capacity.
    voltage
        Terminal voltage [V], decreasing.
    dqdv
        Magnitude of dQ/dV [Ah/V], from the derivatives of the potentials, not from differences.
    """

    charge: FloatArray
    voltage: FloatArray
    dqdv: FloatArray


class PotentialTables(NamedTuple):
    """Half-cell potentials as arrays for compiled code: cubics between nodes (value and slope).

    Parameters
    ----------
    potential
        Nodes of the negative electrode's potential, rising, (node,) [V].
    graphite, graphite_slope, silicon, silicon_slope
        Lithiated fractions of its phases there and their slopes, (node,) [1], [1/V].
    positive_start, positive_step
        First node of the positive electrode's delithiated fraction z and distance of the nodes.
    positive, positive_slope
        Its potential and slope dU/dz there, (z,) [V].
    empty_potential, empty_width
        Where the resistance of the nearly empty negative electrode has risen to its fitted amount,
        and over what it rises e-fold [V]; see the head of this module.
    """

    potential: FloatArray
    graphite: FloatArray
    graphite_slope: FloatArray
    silicon: FloatArray
    silicon_slope: FloatArray
    positive_start: float
    positive_step: float
    positive: FloatArray
    positive_slope: FloatArray
    empty_potential: float = EMPTY_POTENTIAL
    empty_width: float = EMPTY_WIDTH


_PYBAMM_NAMES = {
    "graphite": "Primary: Negative electrode OCP [V]",
    "silicon": "Secondary: Negative electrode delithiation OCP [V]",
    "silicon_lithiation": "Secondary: Negative electrode lithiation OCP [V]",
    "positive": "Positive electrode OCP [V]",
}


@lru_cache(maxsize=1)
def _pybamm_functions() -> dict[str, Callable[..., Any]]:
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import pybamm

    values = pybamm.ParameterValues("Chen2020_composite")
    return {phase: values[name] for phase, name in _PYBAMM_NAMES.items()}


def pybamm_potential(phase: str, content: ArrayLike) -> FloatArray:
    """Evaluate PyBaMM's own function for one phase; slow, for tables and tests.

    Parameters
    ----------
    phase
        "graphite", "silicon" (delithiation), "silicon_lithiation" or "positive".
    content
        Lithium content, shape (n,).

    Returns
    -------
    numpy.ndarray
        Potential against lithium [V], shape (n,).
    """
    function = _pybamm_functions()[phase]
    import pybamm

    content = np.asarray(content, dtype=float)
    column = function(pybamm.Vector(content))
    return np.asarray(column.evaluate(), dtype=float).reshape(content.shape)


@lru_cache(maxsize=1)
def _splines() -> tuple[Any, Any, Any]:
    """Return x_Gr(U), x_Si(U) and U_p(y) as piecewise cubics with their true slopes."""
    from scipy.interpolate import CubicHermiteSpline, CubicSpline

    inverses = []
    for phase, low, high in (("graphite", *_GRAPHITE_RANGE), ("silicon", 0.0, 1.0)):
        content = np.linspace(low, high, 20001)
        potential = CubicSpline(content, pybamm_potential(phase, content))
        falling = slice(None, None, -1)
        inverses.append(
            CubicHermiteSpline(
                potential(content)[falling], content[falling], 1 / potential(content, 1)[falling]
            )
        )
    content = np.linspace(*PE_CONTENT_RANGE, 8001)
    return inverses[0], inverses[1], CubicSpline(content, pybamm_potential("positive", content))


def graphite_stoichiometry(potential: ArrayLike, derivative: int = 0) -> FloatArray:
    """Return graphite's lithiated fraction, or its slope [1/V], at a potential [V]."""
    potential = np.clip(np.asarray(potential, dtype=float), *NE_POTENTIAL_RANGE)
    return np.asarray(_splines()[0](potential, derivative))


def silicon_stoichiometry(potential: ArrayLike, derivative: int = 0) -> FloatArray:
    """Return silicon's lithiated fraction, or its slope [1/V]; 1 below the function's range."""
    potential = np.asarray(potential, dtype=float)
    spline = _splines()[1]
    low, high = spline.x[0], spline.x[-1]
    value = np.asarray(spline(np.clip(potential, low, high), derivative))
    return np.where((potential < low) | (potential > high), 0.0, value) if derivative else value


def negative_stoichiometry(
    potential: ArrayLike, graphite_fraction: ArrayLike, derivative: int = 0
) -> FloatArray:
    """Return the composite electrode's lithiated fraction x, or its slope [1/V].

    Parameters
    ----------
    potential
        Against lithium [V], inside `NE_POTENTIAL_RANGE`; broadcast with `graphite_fraction`.
    graphite_fraction
        Graphite's share of the capacity.
    derivative
        0 for x, 1 for dx/dU.
    """
    share = np.asarray(graphite_fraction, dtype=float)
    return share * graphite_stoichiometry(potential, derivative) + (
        1 - share
    ) * silicon_stoichiometry(potential, derivative)


def negative_potential(stoichiometry: ArrayLike, graphite_fraction: ArrayLike) -> FloatArray:
    """Return the composite electrode's potential [V]: the inverse of `negative_stoichiometry`.

    Stoichiometries beyond those of `NE_POTENTIAL_RANGE` give the end of that range.
    """
    wanted, share = np.broadcast_arrays(
        np.asarray(stoichiometry, dtype=float), np.asarray(graphite_fraction, dtype=float)
    )
    return _falling_root(
        lambda potential: negative_stoichiometry(potential, share) - wanted, wanted
    )


def positive_potential(stoichiometry: ArrayLike, derivative: int = 0) -> FloatArray:
    """Return the PE's potential [V] at its delithiated fraction z, or its slope dU/dz [V]."""
    discharged, slope, _ = _anchors()
    z = np.asarray(stoichiometry, dtype=float)
    content = np.clip(PE_CONTENT_DISCHARGED + slope * (z - discharged), *PE_CONTENT_RANGE)
    value = np.asarray(_splines()[2](content, derivative), dtype=float)
    return value * slope if derivative else value


def polarisation(potential: ArrayLike, resistance: ArrayLike, derivative: int = 0) -> FloatArray:
    """Return the voltage lost at C/10 [V], or its slope in the NE's potential.

    Parameters
    ----------
    potential
        Of the negative electrode [V].
    resistance
        After 0.1 s of a pulse [Ohm].
    derivative
        0 or 1.
    """
    amplitude = _anchors()[2]
    plateau = C10_CURRENT * DC_PER_PULSE_RESISTANCE * np.asarray(resistance, dtype=float)
    rise = amplitude * np.exp((np.asarray(potential, dtype=float) - EMPTY_POTENTIAL) / EMPTY_WIDTH)
    drop: FloatArray = plateau * (rise / EMPTY_WIDTH if derivative else 1 + rise)
    return drop


@lru_cache(maxsize=1)
def _anchors() -> tuple[float, float, float]:
    """Return z_lo of the mean cell, dy/dz of the PE, and the polarisation's amplitude a."""
    from scipy.optimize import brentq

    capacity, negative, share = MEAN_CELL_CAPACITY, MEAN_NE, MEAN_GRAPHITE_FRACTION
    ne_hi = MEAN_NE_LO + capacity / negative
    pe_lo = (MEAN_OFFSET + MEAN_NE_LO * negative) / MEAN_PE
    pe_hi = pe_lo + capacity / MEAN_PE
    full = float(negative_potential(ne_hi, share))
    empty = float(negative_potential(MEAN_NE_LO, share))
    positive = _splines()[2]
    content_hi = brentq(lambda y: float(positive(y)) - full - UPPER_CUTOFF, 0.15, 0.5)
    slope = (content_hi - PE_CONTENT_DISCHARGED) / (pe_hi - pe_lo)
    loss = float(positive(PE_CONTENT_DISCHARGED)) - empty - LOWER_CUTOFF
    plateau = C10_CURRENT * DC_PER_PULSE_RESISTANCE * MEAN_RESISTANCE
    amplitude = (loss / plateau - 1) * np.exp((EMPTY_POTENTIAL - empty) / EMPTY_WIDTH)
    return pe_lo, slope, float(amplitude)


def terminal_voltage(
    potential: ArrayLike, electrodes: Electrodes, *, loaded: bool = True
) -> FloatArray:
    """Return the cell's voltage [V] when its NE is at a potential [V], at C/10 or at rest."""
    potential = np.asarray(potential, dtype=float)
    x = negative_stoichiometry(potential, electrodes.graphite_fraction)
    z = (electrodes.offset + electrodes.negative * x) / electrodes.positive
    voltage: FloatArray = positive_potential(z) - potential
    return voltage - polarisation(potential, electrodes.resistance) if loaded else voltage


def solve_balance(electrodes: Electrodes) -> Balance:
    """Find where the electrodes stand at 4.2 V at rest and at 2.5 V at C/10.

    Parameters
    ----------
    electrodes
        Of any shape; all cells are solved at once.

    Returns
    -------
    Balance
        Arrays of that shape.

    Raises
    ------
    ValueError
        The electrodes cannot reach one of the two voltages.
    """
    shape = np.asarray(
        electrodes.positive + electrodes.negative + electrodes.offset + electrodes.resistance
    )
    ends = []
    for target, loaded in ((LOWER_CUTOFF, True), (UPPER_CUTOFF, False)):

        def excess(
            potential: FloatArray, target: float = target, loaded: bool = loaded
        ) -> FloatArray:
            return terminal_voltage(potential, electrodes, loaded=loaded) - target

        low, high = (excess(np.full_like(shape, bound)) for bound in NE_POTENTIAL_RANGE)
        if not (np.all(low > 0) and np.all(high < 0)):
            raise ValueError(
                f"no balance at {target} V: capacities and offset do not belong to one cell"
            )
        ends.append(_falling_root(excess, shape))
    x_lo, x_hi = (negative_stoichiometry(end, electrodes.graphite_fraction) for end in ends)
    z_lo, z_hi = (
        (electrodes.offset + electrodes.negative * x) / electrodes.positive for x in (x_lo, x_hi)
    )
    return Balance(
        pe_lo=z_lo,
        ne_lo=x_lo,
        pe_hi=z_hi,
        ne_hi=x_hi,
        potential_lo=ends[0],
        potential_hi=ends[1],
        capacity=electrodes.negative * (x_hi - x_lo),
    )


def offset_for_capacity(electrodes: Electrodes, capacity: ArrayLike) -> FloatArray:
    """Return the offsets [Ah] with which the cells have the wanted capacities [Ah].

    Parameters
    ----------
    electrodes
        Their own offsets are ignored.
    capacity
        Of the cell at C/10, same shape.
    """
    wanted = np.asarray(capacity, dtype=float)

    def excess(offset: FloatArray) -> FloatArray:
        missing: FloatArray = solve_balance(replace(electrodes, offset=offset)).capacity - wanted
        return missing

    return _falling_root(excess, wanted, (0.2, 1.2))


def simulate_discharge(electrodes: Electrodes, balance: Balance | None = None) -> Discharge:
    """Return one cell's noise-free C/10 discharge from 4.2 V (at rest) to 2.5 V.

    Parameters
    ----------
    electrodes
        Of one cell (scalars).
    balance
        That of these electrodes, if it is known already.

    Returns
    -------
    Discharge
        At nodes from full to empty, both included, so dense that linear interpolation between
        them is good to 0.02 mV.
    """
    if balance is None:
        balance = solve_balance(electrodes)
    nodes = _nodes()
    inside = (nodes > balance.potential_hi) & (nodes < balance.potential_lo)
    nodes = np.concatenate(
        [[float(balance.potential_hi)], nodes[inside], [float(balance.potential_lo)]]
    )
    graphite, silicon = float(electrodes.graphite), float(electrodes.silicon)
    negative, positive = graphite + silicon, float(electrodes.positive)
    lithium = graphite * graphite_stoichiometry(nodes) + silicon * silicon_stoichiometry(nodes)
    slope = graphite * graphite_stoichiometry(nodes, 1) + silicon * silicon_stoichiometry(nodes, 1)
    z = (float(electrodes.offset) + lithium) / positive
    voltage = positive_potential(z) - nodes - polarisation(nodes, electrodes.resistance)
    dv_du = (
        positive_potential(z, 1) * slope / positive
        - 1
        - polarisation(nodes, electrodes.resistance, 1)
    )
    charge = negative * float(balance.ne_hi) - lithium
    charge[0] = 0.0
    return Discharge(charge=charge, voltage=voltage, dqdv=slope / dv_du)


@lru_cache(maxsize=2)
def potential_tables(direction: str = "discharge") -> PotentialTables:
    """Return the LG M50's half cells as tables, good to 2 microvolts.

    Parameters
    ----------
    direction
        "discharge", or "charge": then silicon follows its lithiation curve (Verbrugge et al. 2016),
        the other branch of its hysteresis.
    """
    potential = _nodes()[::_NODES_PER_TABLE_NODE]
    if direction == "charge":
        silicon, silicon_slope = _lithiating_silicon(potential)
    else:
        silicon = silicon_stoichiometry(potential)
        silicon_slope = silicon_stoichiometry(potential, 1)
    z = np.linspace(*_TABLE_Z)
    return PotentialTables(
        potential=potential.copy(),
        graphite=graphite_stoichiometry(potential),
        graphite_slope=graphite_stoichiometry(potential, 1),
        silicon=silicon,
        silicon_slope=silicon_slope,
        positive_start=float(z[0]),
        positive_step=float(z[1] - z[0]),
        positive=positive_potential(z),
        positive_slope=positive_potential(z, 1),
    )


def _lithiating_silicon(potential: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return silicon's lithiated fraction on charge, and its slope [1/V], at potentials [V]."""
    from scipy.interpolate import CubicSpline

    content = np.linspace(1e-4, 1 - 1e-4, 20001)  # the function has poles at 0 and 1
    spline = CubicSpline(
        pybamm_potential("silicon_lithiation", content)[::-1], content[::-1]
    )  # fmt: skip
    return np.asarray(spline(potential)), np.asarray(spline(potential, 1))


@lru_cache(maxsize=1)
def _nodes() -> FloatArray:
    """Return NE potentials [V], dense on graphite's plateaus (0.02 mV), coarser above (0.2 mV)."""
    low, high = NE_POTENTIAL_RANGE
    return np.concatenate([np.arange(low, 0.26, 2e-5), np.arange(0.26, high, 2e-4)])


def _falling_root(
    function: Callable[[FloatArray], FloatArray],
    like: FloatArray,
    bracket: tuple[float, float] = NE_POTENTIAL_RANGE,
) -> FloatArray:
    """Bisect a function that falls, element by element."""
    low = np.full_like(like, bracket[0], dtype=float)
    high = np.full_like(like, bracket[1], dtype=float)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = function(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    root: FloatArray = (low + high) / 2
    return root
