"""Scenarios: packs whose cells differ and have aged, drawn by seed or taken from a store.

A scenario is `Cells` for the simulator and, beside it, what is true of them. The same name, seed
and pack give the same cells whatever else is drawn: packs and cells have random numbers of their
own, from the raw stream of PCG64, which numpy promises never to change.

**Fresh** is the parameter set itself in every cell. **Spread** adds what tells new cells apart:
capacity 2 % (electrode area), resistance 10 % of the parameter set's own (`pack.ageing`), initial
state of charge 2 points, cooling 20 %; normal, cut off at three standard deviations, so that no
impossible cell is drawn. (The record's 40 new cells have 0.4 % in capacity and 3 % in resistance.)
Cells in parallel are drawn unequal as well; `simulator.level` lets them rest together. **Aged** is
spread after 500 cycles from 0 to 100 % at 25 degC.

**Frozen sets.** For learning to charge and for judging it, at seed 0: `train` (200 packs) and
`heldout` (100) are alike, with a mean state of health of 0.9 to 1, between 15 and 35 degC;
`shifted` (50) lies outside them: 0.8 to 0.9, at 0, 10 or 40 degC, with 30 % less cooling. Their
packs have been used like cells of the record's Expts 1, 3, 4 or 5 at 10, 25 or 40 degC for as many
cycles as make their health (Expt 2,2 wears too little to reach 0.8). So the lost lithium and
material behind the same health differ from pack to pack, and from cell to cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from batterykit.datasets.ageing import CELL_SPREAD
from batterykit.errors import StoreError, UsageError
from batterykit.pack import ageing, balance
from batterykit.pack.ageing import Use, Wear
from batterykit.pack.cell import Cells

if TYPE_CHECKING:
    import xarray as xr

    from batterykit.pack.parameters import CellParameters
    from batterykit.store import Store

FloatArray = npt.NDArray[np.float64]

CAPACITY_SPREAD = 0.02  # standard deviations; of the electrode area, relative
RESISTANCE_SPREAD = 0.10  # relative
SOC_SPREAD = 0.02  # absolute
COOLING_SPREAD = 0.20  # relative
CUT_OFF = 3.0  # standard deviations

AGED_CYCLES = 500
HISTORY_REGIMES = (1, 3, 4, 5)
HISTORY_K = (283.15, 298.15, 313.15)

_PER_PACK = ("soh", "regime", "history", "ambient")
_PER_CELL = ("capacity", "resistance", "soc", "cooling", *(f"rate of {n}" for n in CELL_SPREAD))

TRUTH = {
    "capacity": ("Ah", "capacity at equilibrium"),
    "soh": ("1", "capacity over that of the same cell when it was fresh"),
    "lli": ("1", "loss of lithium inventory"),
    "lam_pe": ("1", "loss of active material, positive electrode"),
    "lam_ne": ("1", "loss of active material, negative electrode"),
    "resistance": ("Ohm", "resistance to a small step of current at half charge"),
    "resistance_growth": ("1", "growth of the resistance over the fresh cell's"),
}
"""Unit and long name of what `Scenario.truth` holds."""


@dataclass(frozen=True)
class Scenario:
    """Packs and what is true of them.

    Parameters
    ----------
    name, seed
        Where they come from.
    cells
        Every field (pack, cell).
    truth
        The variables of `TRUTH`, (pack, cell).
    notes
        What there is to say of them, sentences.
    """

    name: str
    seed: int
    cells: Cells
    truth: dict[str, FloatArray]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How the packs of a name are made.

    Parameters
    ----------
    stream
        Of random numbers; names that share it share their fresh cells.
    packs
        How many the set has; None where it has no end.
    cycles
        Every pack has had.
    soh
        Lowest and highest mean state of health of a pack (1), instead of cycles.
    ambient
        Temperatures to draw from [K]; the parameter set's where there are none.
    cooling
        Factor on all cells' cooling.
    """

    stream: int
    packs: int | None = None
    cycles: int = 0
    soh: tuple[float, float] | None = None
    ambient: tuple[float, ...] = ()
    cooling: float = 1.0


_MILD = (288.15, 293.15, 298.15, 303.15, 308.15)
RECIPES = {
    "fresh": Recipe(0),
    "spread": Recipe(0),
    "aged": Recipe(0, cycles=AGED_CYCLES),
    "train": Recipe(1, 200, soh=(0.9, 1.0), ambient=_MILD),
    "heldout": Recipe(2, 100, soh=(0.9, 1.0), ambient=_MILD),
    "shifted": Recipe(3, 50, soh=(0.8, 0.9), ambient=(273.15, 283.15, 313.15), cooling=0.7),
}


def draw(
    name: str,
    seed: int,
    packs: int | Sequence[int],
    cells: int,
    parameters: CellParameters,
    *,
    soc: float = 0.1,
    ambient: float | None = None,
) -> Scenario:
    """Draw packs.

    Parameters
    ----------
    name
        fresh, spread, aged, train, heldout or shifted.
    seed
        Of everything drawn; the frozen sets are those of seed 0.
    packs
        How many, counted from the first, or the numbers of the packs wanted.
    cells
        Of one pack. New cells of a smaller pack are the first of a larger one.
    parameters
        Of the fresh cell.
    soc
        Mean state of charge at the start (1).
    ambient
        Around the cells while they are simulated [K], instead of the scenario's own.

    Returns
    -------
    Scenario
        The same bits every time.

    Raises
    ------
    UsageError
        An unknown name, a pack that the set does not have, or impossible values.
    """
    if name not in RECIPES:
        raise UsageError(f"there is no scenario '{name}'", fix=f"use one of {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    numbers = list(range(packs)) if isinstance(packs, int) else [int(number) for number in packs]
    _check(name, recipe, seed, numbers, cells, soc)
    drawn = _draw(recipe.stream, seed, numbers, cells)
    around = _chosen(recipe.ambient or (parameters.ambient_temperature,), drawn.pack["ambient"])
    around = around if ambient is None else np.full_like(around, ambient)
    if name == "fresh":
        return _scenario(name, seed, parameters, _alike(drawn), None, soc, around, recipe.cooling)
    wear = _wear(parameters, recipe, drawn)
    return _scenario(name, seed, parameters, drawn, wear, soc, around, recipe.cooling)


def from_store(
    store: Store,
    states: str,
    parameters: CellParameters,
    *,
    seed: int = 0,
    packs: int = 1,
    cells: int = 1,
    spread: bool = False,
    soc: float = 0.1,
    ambient: float | None = None,
    node: str | None = None,
) -> Scenario:
    """Make packs of cells as aged as those of a store, by its own degradation mode analysis.

    LLI and LAM are of the analysis; the growth of the resistance is that of the 0.1 s resistance
    last measured up to that check-up or, where there is none, of the analysis' fitted resistance.

    Parameters
    ----------
    store
        With a node `features/dma/...`.
    states
        Cell and check-up, "E5-A:8"; several with commas are given to the cells of a pack in order,
        again from the first when there are more cells.
    parameters
        Of the fresh cell.
    seed, packs, cells, soc, ambient
        As in `draw`.
    spread
        Whether the cells differ besides, like those of the scenario `spread`.
    node
        Which analysis; the one written last when None.

    Returns
    -------
    Scenario
        Its notes name the analysis, the resistance's origin, and flags of doubtful fits.

    Raises
    ------
    StoreError
        The store has no analysis, or not of this cell or check-up; the error says what there is.
    UsageError
        The text is no cell and check-up, or the losses fit no cell of these parameters.
    """
    _check(states, RECIPES["fresh"], seed, list(range(packs)), cells, soc)
    node = node or _newest_analysis(store)
    analysis = store.read(node)
    found = [_state(store, node, analysis, *_parsed(one)) for one in states.split(",")]
    notes = (f"degradation modes are those of {node}", *(note for _, note in found))
    rows = np.array([found[cell % len(found)][0] for cell in range(cells)])
    lli, lam_pe, lam_ne, growth = (np.broadcast_to(column, (packs, cells)) for column in rows.T)
    wear = Wear(lli, lam_pe, lam_ne, growth, np.full((packs, cells), np.nan))
    drawn = _draw(RECIPES["spread"].stream, seed, list(range(packs)), cells)
    drawn = drawn if spread else _alike(drawn)
    around = np.full((packs, 1), parameters.ambient_temperature if ambient is None else ambient)
    return _scenario(states, seed, parameters, drawn, wear, soc, around, 1.0, notes)


# ---- draws --------------------------------------------------------------------------------------


class _Drawn(NamedTuple):
    """Random numbers: in [0, 1) of packs (pack, 1), standard normal of cells (pack, cell)."""

    pack: dict[str, FloatArray]
    cell: dict[str, FloatArray]


def raw_draws(stream: int, seed: int, pack: int, cells: int) -> npt.NDArray[np.uint64]:
    """Return a pack's own random numbers, 4 of the pack and then 10 of each cell."""
    generator = np.random.PCG64(np.random.SeedSequence([seed, stream, pack]))
    return generator.random_raw(len(_PER_PACK) + cells * len(_PER_CELL))


def _draw(stream: int, seed: int, numbers: Sequence[int], cells: int) -> _Drawn:
    from scipy.special import ndtr, ndtri

    raw = np.stack([raw_draws(stream, seed, number, cells) for number in numbers])
    uniform = (raw >> np.uint64(11)) * 2.0**-53
    of_packs, of_cells = np.split(uniform, [len(_PER_PACK)], axis=1)
    of_cells = of_cells.reshape(len(numbers), cells, len(_PER_CELL))
    low, high = ndtr(-CUT_OFF), ndtr(CUT_OFF)
    normal = ndtri(low + of_cells * (high - low))
    return _Drawn(
        {name: of_packs[:, [column]] for column, name in enumerate(_PER_PACK)},
        {name: normal[..., column] for column, name in enumerate(_PER_CELL)},
    )


def _alike(drawn: _Drawn) -> _Drawn:
    return _Drawn(drawn.pack, {name: np.zeros_like(one) for name, one in drawn.cell.items()})


def _chosen(options: Sequence[float], uniform: FloatArray) -> FloatArray:
    return np.asarray(np.asarray(options)[(uniform * len(options)).astype(int)])


def _wear(parameters: CellParameters, recipe: Recipe, drawn: _Drawn) -> Wear | None:
    """Age the drawn cells in the way of the recipe."""
    resistance = 1 + RESISTANCE_SPREAD * drawn.cell["resistance"]
    use = Use(
        area=1 + CAPACITY_SPREAD * drawn.cell["capacity"],
        heating=resistance / (1 + COOLING_SPREAD * drawn.cell["cooling"]),
        rates={
            name: np.exp(sigma * drawn.cell[f"rate of {name}"] - sigma**2 / 2)
            for name, sigma in CELL_SPREAD.items()
        },
    )
    if recipe.soh is None:
        return ageing.age(parameters, recipe.cycles, use) if recipe.cycles else None
    low, high = recipe.soh
    wanted = low + (high - low) * drawn.pack["soh"]
    use = replace(
        use,
        regime=_chosen(HISTORY_REGIMES, drawn.pack["regime"]),
        ambient=_chosen(HISTORY_K, drawn.pack["history"]),
    )
    return ageing.age(parameters, ageing.cycles_to(parameters, wanted, use), use)


# ---- cells --------------------------------------------------------------------------------------


def _scenario(
    name: str,
    seed: int,
    parameters: CellParameters,
    drawn: _Drawn,
    wear: Wear | None,
    soc: float,
    ambient: FloatArray,
    cooling: float,
    notes: tuple[str, ...] = (),
) -> Scenario:
    shape = drawn.cell["soc"].shape
    area = 1 + CAPACITY_SPREAD * drawn.cell["capacity"]
    new = balance.aged(parameters, area=area)
    cells = Cells(
        *new[:4],
        soc=np.clip(soc + SOC_SPREAD * drawn.cell["soc"], 0.0, 1.0),
        area=area,
        cooling=cooling * (1 + COOLING_SPREAD * drawn.cell["cooling"]),
        ambient=ambient,
    )
    of_the_set = ageing.resistance(parameters, replace(cells, area=np.ones(shape)))
    wanted = of_the_set * (1 + RESISTANCE_SPREAD * drawn.cell["resistance"]) / area
    if drawn.cell["resistance"].any():
        cells = ageing.with_rate(parameters, cells, wanted)
    zero = np.zeros(shape)
    lost = wear or Wear(zero, zero, zero, zero, zero)
    if wear is not None:
        window = balance.aged(
            parameters, lli=wear.lli, lam_pe=wear.lam_pe, lam_ne=wear.lam_ne, area=area
        )
        worn = replace(
            cells,
            **{key: getattr(window, key) for key in ("x_0", "x_100", "y_0", "y_100")},
            pe_active=1 - wear.lam_pe,
            ne_active=1 - wear.lam_ne,
        )
        cells = ageing.with_film(parameters, worn, wanted * (1 + wear.growth))
    cells = cells.broadcast(*shape)
    capacity = balance.capacity(parameters, cells)
    truth = {
        "capacity": capacity,
        "soh": capacity / new.capacity,
        "lli": lost.lli,
        "lam_pe": lost.lam_pe,
        "lam_ne": lost.lam_ne,
        "resistance": ageing.resistance(parameters, cells),
        "resistance_growth": lost.growth,
    }
    truth = {key: np.array(np.broadcast_to(values, shape)) for key, values in truth.items()}
    return Scenario(name, seed, cells, truth, notes)


def _check(
    name: str, recipe: Recipe, seed: int, numbers: Sequence[int], cells: int, soc: float
) -> None:
    if seed < 0:
        raise UsageError(f"the seed is {seed}", fix="give a seed of 0 or more")
    if cells < 1 or not numbers:
        raise UsageError("there are no cells to draw", fix="give at least one pack and one cell")
    if not 0 <= soc <= 1:
        raise UsageError(
            f"the state of charge is {soc:g}", fix="give a share of the window, 0 to 1"
        )
    size = recipe.packs
    if min(numbers) < 0 or (size is not None and max(numbers) >= size):
        wrong = min(numbers) if min(numbers) < 0 else max(numbers)
        raise UsageError(
            f"the set '{name}' has no pack {wrong}",
            fix=f"it has packs 0 to {size - 1}" if size else "count packs from 0",
        )


# ---- from a store -------------------------------------------------------------------------------


def _parsed(state: str) -> tuple[str, int]:
    cell, colon, rpt = state.strip().rpartition(":")
    if not (colon and cell and rpt.isdigit()):
        raise UsageError(
            f"'{state}' is no state of a cell", fix="name cell and check-up (RPT) as in E5-A:8"
        )
    return cell, int(rpt)


def _newest_analysis(store: Store) -> str:
    there = store.nodes("features/dma/")
    if not there:
        raise StoreError(
            "the store has no degradation mode analysis",
            fix="run `batterykit features dma` first",
            file=store.path,
        )
    written = [entry["node"] for entry in store.log() if entry["node"] in there]
    return str(written[-1] if written else there[-1])


def _state(
    store: Store, node: str, analysis: xr.Dataset, cell: str, rpt: int
) -> tuple[tuple[float, float, float, float], str]:
    """Return LLI, LAM_PE, LAM_NE and growth of the resistance of a cell, and a note on them."""
    from batterykit.features.dma import FLAGS

    known = [str(name) for name in analysis["cell"].values]
    if cell not in known:
        raise StoreError(
            f"node '{node}' has no cell '{cell}'",
            fix=f"it has {', '.join(known)}; others come with `batterykit ingest` and "
            "`batterykit features dma`",
            file=store.path,
        )
    one = analysis.sel(cell=cell)
    numbers = one["rpt"].values.astype(int)
    modes = np.stack([one[name].values for name in ("lli", "lam_pe", "lam_ne")])
    usable = numbers[np.isfinite(modes).all(axis=0)]
    if rpt not in usable:
        raise StoreError(
            f"node '{node}' has no degradation modes of cell '{cell}' at RPT {rpt}",
            fix=f"it has RPT {', '.join(map(str, usable))}"
            if len(usable)
            else "see `quality_flag` of the node for the reason",
            file=store.path,
        )
    at = int(np.flatnonzero(numbers == rpt)[0])
    growth, origin = _growth(store, one, cell, rpt)
    flag = int(one["quality_flag"].values[at])
    doubts = [name for name, bit in FLAGS.items() if flag & bit]
    note = f"{cell} at RPT {rpt}: resistance {growth:+.1%} by {origin}"
    note += f"; the fit is flagged {', '.join(doubts)}" if doubts else ""
    lli, lam_pe, lam_ne = (float(value) for value in modes[:, at])
    return (lli, lam_pe, lam_ne, growth), note


def _growth(store: Store, one: xr.Dataset, cell: str, rpt: int) -> tuple[float, str]:
    """Return the growth of a cell's resistance up to a check-up (1), and where it is from."""
    for node in store.nodes("raw/"):
        if not node.endswith("/summary"):
            continue
        summary = store.read(node)
        places = np.flatnonzero(summary["cell"].values == cell)
        if not len(places):
            continue
        measured = summary["resistance_0p1s"].values[places[0]]
        numbers = summary["rpt"].values
        known = np.flatnonzero(np.isfinite(measured) & (numbers <= rpt))
        if len(known) and numbers[known[0]] == 0:
            last = known[-1]
            return (
                float(measured[last] / measured[known[0]] - 1),
                f"the 0.1 s resistance of RPT {numbers[last]}",
            )
    fitted = one["resistance_c10"].values
    growth = float(fitted[one["rpt"].values == rpt][0] / fitted[one["rpt"].values == 0][0] - 1)
    if not np.isfinite(growth):
        raise StoreError(
            f"the store has no resistance of cell '{cell}' at RPT 0 and up to RPT {rpt}",
            fix="ingest the record's Performance Summary of the cell",
            file=store.path,
        )
    return growth, "the fitted resistance of the C/10 curves"
