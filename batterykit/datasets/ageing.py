"""How the twin's cells are born and age: the laws, and the truth they give.

Reads and writes no file: `datasets.twin` turns this into the record's files.

**Fresh cells.** Electrode capacities, C/10 capacity and resistance are drawn with the means, spread
and correlations of the record's 40 cells at RPT 0 (`FRESH`); the drawn population is centred, so
its means are the published ones for every seed. The electrode offset is the one with which the
balance of `batterykit.halfcell` gives the drawn capacity.

**Ageing**, between check-ups, at the cell's own temperature T (chamber plus self-heating), t in
years, Q charge throughput in kAh, A(E) = exp[-E/R (1/T - 1/298.15 K)]:

- lithium lost to SEI: ``sei A(E_SEI) d sqrt(t)``, growth limited by transport through the layer
  (Pinson and Bazant, J. Electrochem. Soc. 160 (2013) A243);
- lithium plated: ``plating A(E_PLATING) dQ`` with E_PLATING < 0, more of it the colder the cell
  (Waldmann et al., J. Power Sources 262 (2014) 129);
- silicon lost: ``dSi/Si = -silicon A(E_SILICON) dQ``, fast where the window uses silicon: in Expt 1
  at 40 degC 80 % in 4 kAh (Kirkaldy et al., ACS Appl. Energy Mater. 5 (2022) 13367, abstract);
- lithium with it: ``LITHIUM_PER_SILICON d(LAM_Si)``, SEI on fresh cracks and lithium left in
  particles without contact (same paper);
- graphite and PE lost: ``(graphite or positive) d sqrt(Q)``, fast at first, as in the record;
- resistance: ``dR/R_0 = RESISTANCE_PER_LITHIUM A(E_RESISTANCE) dLLI``, for the layers that bind the
  lithium carry the current.

The coefficients per experiment (`REGIMES`) were fitted to the record: to SoH at RPT 8 by experiment
and temperature (`SOH_AT_RPT8`); for Expt 2,2, whose six summaries were at hand, also to LLI, LAM,
resistance and throughput to the end. Cells differ by lognormal factors per mechanism, and intervals
by further small ones. What was not at hand is assumed: dates, days between sets, throughput per set
of Expt 4 (drive cycle), LAM of PE and graphite outside Expt 2,2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit import halfcell
from batterykit.datasets import lgm50t
from batterykit.halfcell import Balance, Electrodes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int_]

GAS_CONSTANT = 8.314  # J/(mol K)
REFERENCE_K = 298.15
ZERO_CELSIUS_K = 273.15
DAYS_PER_YEAR = 365.25
MAX_RPT = max(lgm50t.N_RPT.values())


@dataclass(frozen=True)
class Regime:
    """How one experiment ages its cells.

    Parameters
    ----------
    label, folder, cell_folder
        As the record writes them in file and folder names.
    cycles
        Per ageing set.
    window
        State of charge, low and high.
    voltage
        Open-circuit voltage at the middle of the window [V].
    start
        Date of RPT 0.
    sei
        LLI per square root of a year at 25 degC.
    plating
        LLI per kAh at 25 degC.
    silicon
        Relative loss rate per kAh at 25 degC.
    positive, graphite
        LAM per square root of a kAh.
    """

    label: str
    folder: str
    cell_folder: str
    cycles: int
    window: tuple[float, float]
    voltage: float
    start: str
    sei: float
    plating: float
    silicon: float
    positive: float
    graphite: float


REGIMES = {
    1: Regime(
        "1", "Expt 1 - Si-based Degradation", "cell", 257, (0.0, 0.30), 3.45, "2020-07-06",
        sei=0.064, plating=0.0002, silicon=0.217, positive=0.016, graphite=0.030,
    ),
    2: Regime(
        "2,2", "Expt 2,2 - C-based Degradation 2", "cell", 517, (0.70, 0.85), 3.93, "2020-10-13",
        sei=0.066, plating=0.00105, silicon=0.0165, positive=0.0175, graphite=0.0215,
    ),
    3: Regime(
        "3", "Expt 3 - Cathode Degradation and Li-Plating", "cell", 515, (0.85, 1.0), 4.08,
        "2021-02-15", sei=0.112, plating=0.0054, silicon=0.02, positive=0.035, graphite=0.026,
    ),
    4: Regime(
        "4", "Expt 4 - Drive Cycle Aging (Control)", "cell", 78, (0.0, 1.0), 3.68, "2021-06-21",
        sei=0.042, plating=0.0084, silicon=0.10, positive=0.024, graphite=0.028,
    ),
    5: Regime(
        "5", "Expt 5 - Standard Cycle Aging (Control)", "Cell", 78, (0.0, 1.0), 3.68, "2021-09-06",
        sei=0.046, plating=0.0060, silicon=0.10, positive=0.024, graphite=0.028,
    ),
}  # fmt: skip

E_SEI = 7e3  # J/mol, effective: fitted with the regimes' coefficients
E_PLATING = -100e3  # J/mol, likewise
E_SILICON = 30e3  # J/mol, likewise
E_RESISTANCE = 15e3  # J/mol; Expt 2,2: growth of 3 % at 16 degC and 8 % at 41 degC for like LLI
LITHIUM_PER_SILICON = 0.187  # LLI per LAM_Si
RESISTANCE_PER_LITHIUM = 0.55  # relative growth per LLI, Expt 2,2

# SoH (C/10 capacity over that at RPT 0) at RPT 8 in the record, lowest and highest cell, by
# experiment and chamber temperature [degC].
SOH_AT_RPT8 = {
    1: {10: (0.855, 0.891), 25: (0.791, 0.813), 40: (0.788, 0.795)},
    2: {10: (0.911, 0.919), 25: (0.925, 0.930), 40: (0.908, 0.917)},
    3: {10: (0.739, 0.868), 25: (0.846, 0.886), 40: (0.882, 0.896)},
    4: {10: (0.697, 0.889), 25: (0.876, 0.877), 40: (0.839, 0.842)},
    5: {10: (0.804, 0.821), 25: (0.863, 0.866), 40: (0.850, 0.853)},
}
# SoH at the last RPT, lowest and highest cell. Expt 2,2: from its six summaries. The others' last
# RPTs were not at hand: the range at RPT 8 carried on at the slope that leads there, +-0.03.
SOH_AT_END = {
    1: (0.70, 0.86),
    2: (0.892, 0.918),
    3: (0.64, 0.89),
    4: (0.63, 0.89),
    5: (0.62, 0.83),
}

# Fresh cells: mean and standard deviation over the record's 40 cells at RPT 0, in Ah and Ohm, and
# their correlations. Source: the record's 40 Performance Summaries, rows RPT 0 and RPT 8 (for
# SOH_AT_RPT8) as extracted in github.com/eljja/UnsolvedProblems, rc53-...-feature-table.json; its
# means equal the published ones, and its Expt 2,2 rows the record's own files.
FRESH = {
    "positive": (5.634, 0.064),
    "graphite": (4.471, 0.085),
    "silicon": (0.800, 0.0218),
    "capacity": (4.857, 0.0214),
    "resistance": (26.4e-3, 0.78e-3),
}
FRESH_CORRELATION = np.array(
    [
        [1.00, 0.47, 0.68, 0.15, 0.0],
        [0.47, 1.00, 0.22, 0.49, 0.0],
        [0.68, 0.22, 1.00, -0.03, 0.0],
        [0.15, 0.49, -0.03, 1.00, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)

# Spread of each mechanism's rate between cells: sigma of a lognormal factor. Expt 2,2 for all but
# plating, which is from the spread at 10 degC in Expts 3 and 4.
CELL_SPREAD = {
    "sei": 0.04, "plating": 0.25, "silicon": 0.08, "positive": 0.2, "graphite": 0.2,
    "resistance": 0.15,
}  # fmt: skip
INTERVAL_SPREAD = 0.10  # the same, of every interval between check-ups
THROUGHPUT_SPREAD = 0.003  # relative, between cells, Expt 2,2

SELF_HEATING = {10: 6.3, 25: 3.2, 40: 0.8}  # K above the chamber, mean of Expt 2,2
SELF_HEATING_CELL = 0.3  # K, standard deviation between cells
SELF_HEATING_SET = 0.5  # K, between ageing sets
SET_DAYS = 14  # length of an ageing set, Expt 2,2
FIRST_SET_DAY = 9  # from RPT 0 to the first ageing set, Expt 2,2
REST_DAYS = (6, 11)  # from the end of a set to the next, Expt 2,2
RPT_DELAY_DAYS = (1, 4)  # from the end of a set to its RPT

WINDOW_CAPACITY = 4.9  # Ah per unit of SoC window, from 1.469 Ah per cycle in Expt 2,2
RATE_CAPACITY = 0.965  # 1C over C/10 capacity; an assumption

CELL_ORDER = (5, 2, 1, 3, 4)  # experiments
ALL_CELLS = [
    cell for number in CELL_ORDER for cell in sorted(lgm50t.N_RPT) if cell.startswith(f"E{number}-")
]


@dataclass(frozen=True)
class Life:
    """Where the cells are at one check-up; arrays (cell,).

    `lithium` is LLI, `growth` that of the resistance over the fresh one, the other three LAM, all
    as fractions; `throughput` in Ah.
    """

    lithium: FloatArray
    growth: FloatArray
    positive: FloatArray
    graphite: FloatArray
    silicon: FloatArray
    throughput: FloatArray


def random_generator(seed: int, cell: str, stream: int = 0) -> np.random.Generator:
    """Return a cell's own random numbers; each `stream` is independent of the others."""
    return np.random.default_rng([seed, int(cell[1]), ord(cell[-1]), stream])


def schedule(seed: int, experiment: int) -> dict[str, npt.NDArray[Any]]:
    """Return the dates of an experiment's sets and check-ups, shared by its cells.

    Returns
    -------
    dict
        `set_start`, `set_end`, `rpt_start` (datetime64[D]) and `days` of ageing, (rpt,) each; the
        first elements, of RPT 0, have no ageing set before them.
    """
    generator = np.random.default_rng([seed, experiment])
    start = np.datetime64(REGIMES[experiment].start, "D")
    rest = generator.integers(*REST_DAYS, size=MAX_RPT - 2, endpoint=True)
    begin = np.concatenate([[0, FIRST_SET_DAY], FIRST_SET_DAY + np.cumsum(SET_DAYS + rest)])
    end = begin + SET_DAYS
    check = end + generator.integers(*RPT_DELAY_DAYS, size=MAX_RPT, endpoint=True)
    check[0] = 0
    return {
        "set_start": start + begin,
        "set_end": start + end,
        "rpt_start": start + check,
        "days": np.concatenate([[0.0], (end[1:] - FIRST_SET_DAY).astype(float)]),
    }


def simulate_truth(seed: int) -> xr.Dataset:
    """Age the whole population of 40 cells.

    Always the whole population: a cell's life does not depend on how many are written.

    Parameters
    ----------
    seed
        Of every draw.

    Returns
    -------
    xarray.Dataset
        Dims (cell, rpt) with rpt from 0 to 15, NaN past a cell's last RPT (`n_rpt`): electrode
        state, stoichiometries, degradation modes, resistance, days, throughput, temperature.
    """
    number = np.array([int(cell[1]) for cell in ALL_CELLS])
    chamber = np.array([lgm50t.CHAMBER_DEGC[cell] for cell in ALL_CELLS])
    generators = [random_generator(seed, cell) for cell in ALL_CELLS]
    fresh = _draw_fresh(generators)
    factors = _draw_factors(generators)
    temperature = chamber[:, None] + _draw_heating(generators, chamber)
    reach = np.array([1 + THROUGHPUT_SPREAD * one.standard_normal() for one in generators])
    days = np.stack([schedule(seed, experiment)["days"] for experiment in number])

    fresh_balance = balance = halfcell.solve_balance(fresh)
    life = Life(*(np.zeros(len(ALL_CELLS)) for _ in range(6)))
    history = [_columns(fresh, fresh, balance, balance)]
    history[0] |= {"charge_throughput": life.throughput, "age_set_temperature": np.nan * chamber}
    for rpt in range(1, MAX_RPT):
        life = advance(
            life,
            number,
            {name: values[:, rpt - 1] for name, values in factors.items()},
            temperature[:, rpt - 1] + ZERO_CELSIUS_K,
            days[:, rpt - 1 : rpt + 1],
            reach * throughput_of_set(number, balance.capacity),
        )
        state = _electrodes(life, fresh, fresh_balance.capacity)
        balance = halfcell.solve_balance(state)
        history.append(_columns(state, fresh, balance, fresh_balance))
        history[rpt] |= {
            "charge_throughput": life.throughput,
            "age_set_temperature": temperature[:, rpt - 1],
        }
    for row, passed in zip(history, days.T, strict=True):
        row["days_of_degradation"] = passed
    return _dataset(history, chamber)


def _draw_fresh(generators: Sequence[np.random.Generator]) -> Electrodes:
    draws = np.stack([generator.standard_normal(len(FRESH)) for generator in generators])
    draws = (draws - draws.mean(axis=0)) / draws.std(axis=0)
    draws = draws @ np.linalg.cholesky(FRESH_CORRELATION).T
    values = {
        name: mean + deviation * draws[:, column]
        for column, (name, (mean, deviation)) in enumerate(FRESH.items())
    }
    capacity = values.pop("capacity")
    cells = Electrodes(offset=np.full_like(capacity, halfcell.MEAN_OFFSET), **values)
    return replace(cells, offset=halfcell.offset_for_capacity(cells, capacity))


def _draw_factors(generators: Sequence[np.random.Generator]) -> dict[str, FloatArray]:
    """Return lognormal factors with mean 1, per mechanism (cell, interval)."""
    factors: dict[str, FloatArray] = {}
    for name, sigma in CELL_SPREAD.items():
        rows = []
        for generator in generators:
            own = sigma * generator.standard_normal() - sigma**2 / 2
            path = INTERVAL_SPREAD * generator.standard_normal(MAX_RPT - 1)
            path = path - INTERVAL_SPREAD**2 / 2
            rows.append(np.exp(own + path))
        factors[name] = np.stack(rows)
    return factors


def _draw_heating(generators: Sequence[np.random.Generator], chamber: FloatArray) -> FloatArray:
    """Return self-heating [K], (cell, interval)."""
    return np.stack(
        [
            SELF_HEATING[round(temperature)]
            + SELF_HEATING_CELL * generator.standard_normal()
            + SELF_HEATING_SET * generator.standard_normal(MAX_RPT - 1)
            for generator, temperature in zip(generators, chamber, strict=True)
        ]
    )


def _arrhenius(energy: float, kelvin: FloatArray) -> FloatArray:
    factor: FloatArray = np.exp(-energy / GAS_CONSTANT * (1 / kelvin - 1 / REFERENCE_K))
    return factor


def throughput_of_set(number: IntArray, capacity: FloatArray) -> FloatArray:
    """Return the charge passed in both directions [Ah] in one ageing set."""
    window = np.array([REGIMES[experiment].window for experiment in number])
    span = window[:, 1] - window[:, 0]
    per_cycle = 2 * np.where(span < 1, span * WINDOW_CAPACITY, RATE_CAPACITY * capacity)
    passed: FloatArray = per_cycle * np.array([REGIMES[each].cycles for each in number])
    return passed


def advance(
    life: Life,
    number: IntArray,
    rate: dict[str, FloatArray],
    kelvin: FloatArray,
    days: FloatArray,
    passed: FloatArray,
) -> Life:
    """Return the cells' state after some more ageing at one temperature.

    Parameters
    ----------
    life
        Before it.
    number
        Experiments whose coefficients to use, (cell,).
    rate
        Factors per mechanism (the names of `CELL_SPREAD`), (cell,).
    kelvin
        Temperature of the cells, (cell,).
    days
        Days of ageing before and after, (cell, 2).
    passed
        Charge throughput in between [Ah], (cell,).
    """
    kah = passed / 1e3
    throughput = life.throughput + passed
    root_kah = np.sqrt(throughput / 1e3) - np.sqrt(life.throughput / 1e3)
    root_years = np.diff(np.sqrt(days / DAYS_PER_YEAR), axis=1)[:, 0]

    def speed(name: str, energy: float = 0.0) -> FloatArray:
        coefficient = np.array([getattr(REGIMES[experiment], name) for experiment in number])
        factor: FloatArray = coefficient * rate[name] * _arrhenius(energy, kelvin)
        return factor

    silicon = (1 - life.silicon) * -np.expm1(-speed("silicon", E_SILICON) * kah)
    lithium = (
        speed("sei", E_SEI) * root_years
        + speed("plating", E_PLATING) * kah
        + LITHIUM_PER_SILICON * silicon
    )
    growth = (
        RESISTANCE_PER_LITHIUM * rate["resistance"] * _arrhenius(E_RESISTANCE, kelvin) * lithium
    )
    return Life(
        lithium=life.lithium + lithium,
        growth=life.growth + growth,
        positive=life.positive + speed("positive") * root_kah,
        graphite=life.graphite + speed("graphite") * root_kah,
        silicon=life.silicon + silicon,
        throughput=throughput,
    )


def _electrodes(life: Life, fresh: Electrodes, fresh_capacity: FloatArray) -> Electrodes:
    positive = fresh.positive * (1 - life.positive)
    return Electrodes(
        positive=positive,
        graphite=fresh.graphite * (1 - life.graphite),
        silicon=fresh.silicon * (1 - life.silicon),
        offset=positive - (fresh.inventory - life.lithium * fresh_capacity),
        resistance=fresh.resistance * (1 + life.growth),
    )


def _columns(
    state: Electrodes, fresh: Electrodes, balance: Balance, fresh_balance: Balance
) -> dict[str, FloatArray]:
    return {
        "cell_capacity": balance.capacity,
        "pe_capacity": state.positive,
        "ne_capacity": state.negative,
        "ne_gr_capacity": state.graphite,
        "ne_si_capacity": state.silicon,
        "electrode_offset": state.offset,
        "resistance_0p1s": state.resistance,
        "soh": balance.capacity / fresh_balance.capacity,
        "lam_pe": 1 - state.positive / fresh.positive,
        "lam_ne": 1 - state.negative / fresh.negative,
        "lam_ne_gr": 1 - state.graphite / fresh.graphite,
        "lam_ne_si": 1 - state.silicon / fresh.silicon,
        "lli": (fresh.inventory - state.inventory) / fresh_balance.capacity,
        "pe_lo": balance.pe_lo,
        "ne_lo": balance.ne_lo,
        "pe_hi": balance.pe_hi,
        "ne_hi": balance.ne_hi,
        "gr_frac": state.graphite_fraction,
    }


def _dataset(history: list[dict[str, FloatArray]], chamber: FloatArray) -> xr.Dataset:
    known = {column.name: column for column in lgm50t.SUMMARY_COLUMNS}
    count = np.array([lgm50t.N_RPT[cell] for cell in ALL_CELLS])
    alive = np.arange(MAX_RPT) < count[:, None]
    variables = {
        name: (
            ("cell", "rpt"),
            np.where(alive, np.stack([row[name] for row in history], axis=1), np.nan),
            {"units": known[name].unit, "long_name": known[name].long_name},
        )
        for name in history[0]
    }
    return xr.Dataset(
        variables,
        coords={
            "cell": ("cell", np.array(ALL_CELLS, dtype=object)),
            "rpt": ("rpt", np.arange(MAX_RPT)),
            "n_rpt": ("cell", count),
            "temperature_chamber": ("cell", chamber, {"units": "degC"}),
        },
    )
