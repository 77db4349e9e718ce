"""Ageing of cells: what hundreds of cycles do to lithium, active material and resistance.

**Losses.** The laws, their sources and coefficients are those of `batterykit.datasets.ageing`,
fitted to the LG M50T record: lithium bound in SEI with the square root of time, lithium plated and
silicon lost with charge throughput, graphite and positive material lost with the square root of
throughput, each with its Arrhenius factor. `age` applies them to packs: the cells of a pack pass
the same charge, so a small cell works harder, and each has its own temperature and rates. The
parameter sets have one negative material, so LAM_NE is that of graphite and silicon together, in
the mean proportion of the record's fresh cells. A negative electrode that shrinks below what it
must take plates the rest (`balance.least_lli`).

**Resistance** is that to a small step of current from rest, at half charge and at the reference
temperature, before diffusion begins: charge transfer, film, electrolyte, solid and contacts. A cell
of the record has 26.4 mOhm after 0.1 s; LG M50 of Chen et al. (2020) has 30.5 mOhm at once (the
model has no double layer), of which 25 mOhm are charge transfer. Measured spread and growth are
therefore taken as factors on the model's own resistance.

- Fresh cells differ in their exchange current densities (`with_rate`): nothing else in the model is
  large enough to make a cell 20 % better than the parameter set as well as worse.
- Growth is a film on the negative particles (`with_film`), for the record's resistance grows with
  its lost lithium. Lost material raises the resistance by itself, since less surface is left; where
  that is more than the growth that is wanted, the surface left is made faster instead.

Source of the linearised terms: Marquis et al., J. Electrochem. Soc. 166 (2019) A3693, the SPMe's
voltage for a small current at the first moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from batterykit import halfcell
from batterykit.datasets.ageing import (
    CELL_SPREAD,
    REGIMES,
    REST_DAYS,
    SELF_HEATING,
    SET_DAYS,
    ZERO_CELSIUS_K,
    Life,
    advance,
    throughput_of_set,
)
from batterykit.errors import UsageError
from batterykit.pack import balance

if TYPE_CHECKING:
    from batterykit.pack.cell import Cells
    from batterykit.pack.parameters import CellParameters, ElectrodeParameters

FloatArray = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike

STANDARD_REGIME = 5  # 0.3C charge, 1C discharge, 0 to 100 %
MOST_SETS = 30.0  # the record has 15 ageing sets at most: twice that is the end of all trust
SET_PERIOD_DAYS = SET_DAYS + sum(REST_DAYS) / 2

GAS_CONSTANT = 8.314462618  # J/(mol K), CODATA 2018
REFERENCE_CONCENTRATION = 1000.0  # mol/m3, to which the parameters' exchange current refers
HALF_CHARGED = 0.5


class Wear(NamedTuple):
    """What ageing has done to cells; arrays (pack, cell).

    Attributes
    ----------
    lli, lam_pe, lam_ne
        Lost lithium over the fresh capacity, lost active material (1).
    growth
        Of the resistance, over the fresh cell's (1).
    throughput
        Charge passed in both directions by a cell of area 1 [Ah].
    """

    lli: FloatArray
    lam_pe: FloatArray
    lam_ne: FloatArray
    growth: FloatArray
    throughput: FloatArray


@dataclass(frozen=True)
class Use:
    """How packs are used; all fields broadcast to (pack, cell).

    Parameters
    ----------
    regime
        Number of the record's experiment in whose way the pack is cycled: 1 (0-30 % state of
        charge), 2 (70-85 %), 3 (85-100 %), 4 (drive cycle, 0-100 %) or 5 (0-100 %).
    ambient
        Temperature around the pack [K]; cells are warmer by what the record's cells were.
    area
        Size of the cells; the cells of a pack share its charge, so half the size is twice the use.
    heating
        Factor on the rise of temperature above the ambient: resistance over cooling.
    rates
        Factors on the mechanisms `sei`, `plating`, `silicon`, `positive`, `graphite` and
        `resistance` (growth per lithium lost); 1 for those not named.
    """

    regime: ArrayLike = STANDARD_REGIME
    ambient: ArrayLike = 298.15
    area: ArrayLike = 1.0
    heating: ArrayLike = 1.0
    rates: Mapping[str, ArrayLike] = field(default_factory=dict)


# ---- losses -------------------------------------------------------------------------------------


def age(parameters: CellParameters, cycles: ArrayLike, use: Use | None = None) -> Wear:
    """Cycle packs and return what their cells have lost.

    Parameters
    ----------
    parameters
        Of the fresh cell.
    cycles
        How many, parts of a cycle count; broadcasts with the fields of `use`.
    use
        How; the record's Expt 5 at 25 degC when None.

    Returns
    -------
    Wear
        Of the broadcast shape (pack, cell).

    Raises
    ------
    UsageError
        An unknown regime or mechanism, a number of cycles beyond the laws' reach, or more loss
        than a cell can have.
    """
    cells = _cells(use or Use(), cycles)
    sets = cells.shaped(np.asarray(cycles, dtype=np.float64)) / cells.cycles_a_set
    if not ((sets >= 0) & (sets <= MOST_SETS)).all():
        wrong = ~((sets >= 0) & (sets <= MOST_SETS))
        raise UsageError(
            f"the laws of ageing do not reach to {(sets * cells.cycles_a_set)[wrong][0]:g} cycles",
            fix=f"give 0 to {MOST_SETS * cells.cycles_a_set[wrong][0]:g} cycles of this regime "
            f"({MOST_SETS:g} ageing sets; the record they were fitted to has 15)",
        )
    life = cells.new()
    for done in range(int(np.ceil(sets.max(initial=0.0)))):
        life = cells.after(parameters, life, done, np.clip(sets - done, 0.0, 1.0))
    return cells.wear(parameters, life)


def cycles_to(parameters: CellParameters, soh: ArrayLike, use: Use | None = None) -> FloatArray:
    """Return after how many cycles the mean cell of a pack has a state of health.

    Parameters
    ----------
    parameters, use
        As in `age`.
    soh
        Capacity over the fresh one (1), of packs, (pack, 1).

    Returns
    -------
    numpy.ndarray
        (pack, 1); the mean state of health after them is as wanted to 1e-3.

    Raises
    ------
    UsageError
        The laws do not reach so far.
    """
    cells = _cells(use or Use(), soh)
    wanted = cells.shaped(np.asarray(soh, dtype=np.float64))[:, :1]
    now = np.ones_like(wanted)
    sets = np.zeros_like(wanted)
    life = cells.new()
    for done in range(int(MOST_SETS)):
        going = now > wanted
        if not going.any():
            break
        life = cells.after(parameters, life, done, cells.shaped(going * 1.0))
        then = np.where(going, cells.soh(parameters, life).mean(axis=1, keepdims=True), now)
        share = np.clip((now - wanted) / np.where(going, now - then, 1.0), 0.0, 1.0)
        sets, now = np.where(going, done + share, sets), then
    if (now > wanted).any():
        pack = int(np.flatnonzero(now > wanted)[0])
        raise UsageError(
            f"pack {pack} still has a state of health of {now[pack, 0]:.3f} after "
            f"{MOST_SETS:g} ageing sets",
            fix=f"ask for more than {now[pack, 0]:.3f}, or for a regime that wears faster",
        )
    return np.asarray(sets * cells.cycles_a_set[:, :1])


@dataclass(frozen=True)
class _Cells:
    """Cells in use, arrays (pack, cell); the laws see them as one row."""

    regime: npt.NDArray[np.int_]
    kelvin: FloatArray
    area: FloatArray
    rates: dict[str, FloatArray]

    @property
    def cycles_a_set(self) -> FloatArray:
        numbers = sorted(REGIMES)
        cycles = np.array([REGIMES[number].cycles for number in numbers], dtype=np.float64)
        return np.asarray(cycles[np.searchsorted(numbers, self.regime)])

    def shaped(self, values: ArrayLike) -> FloatArray:
        return np.asarray(np.broadcast_to(values, self.regime.shape))

    def new(self) -> Life:
        return Life(*(np.zeros(self.regime.size) for _ in range(6)))

    def after(self, parameters: CellParameters, life: Life, done: int, share: FloatArray) -> Life:
        """Return the cells after a share of one more ageing set, (pack, cell)."""
        pack_soh = self.soh(parameters, life).mean(axis=1, keepdims=True)
        capacity = halfcell.MEAN_CELL_CAPACITY * self.shaped(pack_soh)
        passed = throughput_of_set(self.regime.ravel(), capacity.ravel())
        passed *= (share / self.area).ravel()
        days = SET_PERIOD_DAYS * np.stack([np.full(share.size, done), done + share.ravel()], axis=1)
        rates = {name: values.ravel() for name, values in self.rates.items()}
        return advance(life, self.regime.ravel(), rates, self.kelvin.ravel(), days, passed)

    def soh(self, parameters: CellParameters, life: Life) -> FloatArray:
        lost = self.wear(parameters, life)
        window = balance.aged(parameters, lli=lost.lli, lam_pe=lost.lam_pe, lam_ne=lost.lam_ne)
        return np.asarray(window.capacity / balance.aged(parameters).capacity)

    def wear(self, parameters: CellParameters, life: Life) -> Wear:
        share = halfcell.MEAN_GRAPHITE_FRACTION
        negative = share * life.graphite + (1 - share) * life.silicon
        least = balance.least_lli(parameters, lam_pe=life.positive, lam_ne=negative)
        lithium = np.maximum(life.lithium, least)
        parts = (lithium, life.positive, negative, life.growth, life.throughput)
        return Wear(*(values.reshape(self.regime.shape) for values in parts))


def _cells(use: Use, like: ArrayLike) -> _Cells:
    """Bring the fields of `use` to one shape (pack, cell), with that of `like`."""
    if unknown := sorted(set(use.rates) - set(CELL_SPREAD)):
        raise UsageError(
            f"there is no mechanism of ageing '{unknown[0]}'",
            fix=f"use {', '.join(CELL_SPREAD)}",
        )
    columns = [use.regime, use.ambient, use.area, use.heating, like]
    columns += [use.rates.get(name, 1.0) for name in CELL_SPREAD]
    arrays = np.broadcast_arrays(*(np.atleast_2d(np.asarray(values)) for values in columns))
    regime, kelvin, area, heating = arrays[:4]
    known = np.isin(regime, list(REGIMES))
    if not known.all():
        raise UsageError(
            f"there is no regime {regime[~known][0]}",
            fix=f"use {', '.join(map(str, REGIMES))}: the experiments of the record",
        )
    warmer = np.interp(kelvin - ZERO_CELSIUS_K, list(SELF_HEATING), list(SELF_HEATING.values()))
    return _Cells(
        regime=regime.astype(int),
        kelvin=np.asarray(kelvin + heating * warmer),
        area=area.astype(np.float64),
        rates=dict(
            zip(CELL_SPREAD, (values.astype(np.float64) for values in arrays[5:]), strict=True)
        ),
    )


# ---- resistance ---------------------------------------------------------------------------------


class _Resistance(NamedTuple):
    """Parts of the resistance [Ohm], and what a film of 1 Ohm m2 adds (1/m2)."""

    transfer: FloatArray
    film: FloatArray
    rest: FloatArray
    per_film: FloatArray


def resistance(parameters: CellParameters, cells: Cells) -> FloatArray:
    """Return the resistance of cells to a small step of current at half charge [Ohm].

    Returns
    -------
    numpy.ndarray
        Of the shape to which the fields of `cells` broadcast.
    """
    parts = _resistance(parameters, cells)
    return np.asarray(parts.transfer + parts.film + parts.rest)


def with_rate(parameters: CellParameters, cells: Cells, wanted: ArrayLike) -> Cells:
    """Return the cells with exchange current densities that give a wanted resistance [Ohm].

    Those of both electrodes are multiplied by the same factor.

    Raises
    ------
    UsageError
        The rest of the cell has more than the wanted resistance.
    """
    parts = _resistance(parameters, cells)
    left = np.asarray(wanted, dtype=np.float64) - parts.film - parts.rest
    if not (left > 0).all():
        raise UsageError(
            f"a cell cannot have {np.min(wanted) * 1e3:.3g} mOhm: electrolyte, solid, film and "
            f"contacts alone have {np.max(parts.film + parts.rest) * 1e3:.3g} mOhm",
            fix="ask for a smaller spread, or take parameters with less contact resistance",
        )
    factor = parts.transfer / left
    return replace(
        cells,
        pe_rate=np.asarray(cells.pe_rate) * factor,
        ne_rate=np.asarray(cells.ne_rate) * factor,
    )


def with_film(parameters: CellParameters, cells: Cells, wanted: ArrayLike) -> Cells:
    """Return the cells with a film that gives a wanted resistance [Ohm].

    A cell that has more without any film gets faster kinetics instead, see above.

    Raises
    ------
    UsageError
        As `with_rate`.
    """
    bare = replace(cells, film_resistance=np.zeros_like(np.asarray(wanted, dtype=np.float64)))
    parts = _resistance(parameters, bare)
    missing = np.asarray(wanted, dtype=np.float64) - parts.transfer - parts.rest
    filmed = replace(bare, film_resistance=np.maximum(missing, 0.0) / parts.per_film)
    return with_rate(parameters, filmed, wanted) if (missing < 0).any() else filmed


def _resistance(parameters: CellParameters, cells: Cells) -> _Resistance:
    kelvin = parameters.reference_temperature
    salt = parameters.electrolyte_concentration
    area = parameters.electrode_area * np.asarray(cells.area, dtype=np.float64)
    of_salt = [
        np.interp(salt, parameters.concentration_grid, row) for row in parameters.conductivity
    ]
    conductivity = np.interp(kelvin, parameters.temperature_grid, of_salt)
    x, y = (
        np.asarray(empty) + HALF_CHARGED * (np.asarray(full) - np.asarray(empty))
        for empty, full in ((cells.x_0, cells.x_100), (cells.y_0, cells.y_100))
    )
    rest = parameters.contact_resistance + np.asarray(cells.contact_resistance)
    rest = rest + parameters.separator_thickness / (
        area * conductivity * parameters.separator_transport_efficiency
    )
    transfer: FloatArray = np.zeros(())
    surfaces = []
    for electrode, stoichiometry, active, rate in (
        (parameters.negative, x, cells.ne_active, cells.ne_rate),
        (parameters.positive, y, cells.pe_active, cells.pe_rate),
    ):
        share = electrode.active_fraction * np.asarray(active)
        surfaces.append(3 * share / electrode.particle_radius * electrode.thickness * area)
        current = np.asarray(rate) * _exchange_current(parameters, electrode, stoichiometry)
        transfer = transfer + GAS_CONSTANT * kelvin / (balance.FARADAY * current * surfaces[-1])
        for through in (conductivity * electrode.transport_efficiency, electrode.conductivity):
            rest = rest + electrode.thickness / (3 * through * area)
    film = np.asarray(cells.film_resistance) / surfaces[0]
    return _Resistance(transfer, film, rest, 1 / surfaces[0])


def _exchange_current(
    parameters: CellParameters, electrode: ElectrodeParameters, stoichiometry: FloatArray
) -> FloatArray:
    """Return the exchange current density at rest and at the reference temperature [A/m2]."""
    of_salt, of_full, of_empty = electrode.exchange_exponents
    rate = np.exp(
        np.interp(
            1 / parameters.reference_temperature,
            parameters.inverse_temperature_grid,
            electrode.log_rate,
        )
    )
    salt = parameters.electrolyte_concentration / REFERENCE_CONCENTRATION
    return np.asarray(
        rate * salt**of_salt * stoichiometry**of_full * (1 - stoichiometry) ** of_empty
    )
