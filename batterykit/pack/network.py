"""The circuit of a pack: which cells, busbars and leads meet at which nodes.

A rectangle of cells, ``parallel`` columns and ``series`` groups, as arrays that a solver can use
without knowing how the pack was laid out. No voltages and no currents here.

Rows of nodes run from the negative end (row 0) to the positive end (row ``series``); cell (s, p)
joins node (s, p) to node (s + 1, p) through its connection and internal resistance::

    row s + 1   o---busbar---o---busbar---o
                |            |            |
              cell         cell         cell      series group s, columns p = 0, 1, 2
                |            |            |
    row s       o---busbar---o---busbar---o

The leads carry the whole current of the pack, so they need no nodes of their own: the terminal
voltage is that between `Network.terminal` and ground plus current times
`Network.terminal_resistance`. With the same arguments the circuit is the one that
`liionpack.setup_circuit` makes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from batterykit.errors import UsageError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Terminals = Literal["left", "right", "left-right", "right-left"]
Topology = Literal["series-groups", "parallel-strings"]

GROUND = -1  # the node of the negative terminal; it has no row in the nodal equations

_PACK = re.compile(r"([1-9][0-9]*)p([1-9][0-9]*)s", re.IGNORECASE)


@dataclass(frozen=True)
class Network:
    """The circuit of a pack; cell ``s * parallel + p`` is column p of series group s.

    Parameters
    ----------
    parallel, series
        Columns and series groups.
    plus, minus
        Nodes at the ends of each cell's branch, (cell,); `GROUND` is the negative terminal.
    resistor_nodes
        Ends of each busbar segment, (resistor, 2).
    resistance
        Of each busbar segment, (resistor,) [Ohm].
    series_resistance
        Connection and internal resistance in each cell's branch, (cell,) [Ohm].
    terminal
        Node of the positive terminal.
    terminal_resistance
        Both leads together [Ohm].
    nodes
        Number of nodes, ground not counted.
    bandwidth
        No branch joins nodes whose numbers differ by more.
    neighbours
        Pairs of cells that touch, (pair, 2): beside each other in a group, or one group on.
    """

    parallel: int
    series: int
    plus: IntArray
    minus: IntArray
    resistor_nodes: IntArray
    resistance: FloatArray
    series_resistance: FloatArray
    terminal: int
    terminal_resistance: float
    nodes: int
    bandwidth: int
    neighbours: IntArray

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.parallel * self.series


def build(
    parallel: int,
    series: int,
    *,
    busbar: float = 1e-4,
    connection: float = 0.0,
    internal: float = 0.0,
    terminal: float = 1e-5,
    terminals: Terminals = "left",
    topology: Topology = "series-groups",
) -> Network:
    """Lay out a pack.

    Parameters
    ----------
    parallel, series
        Columns and series groups.
    busbar
        Of a busbar between neighbouring columns [Ohm]; 0 joins the nodes of a row into one.
    connection, internal
        In series with every cell [Ohm]: its welds, and what its model leaves out.
    terminal
        Of each of the two leads [Ohm].
    terminals
        Columns of the positive and of the negative lead: "left" and "right" put both at the first
        or the last column, "left-right" the positive one first and the negative one last.
    topology
        "series-groups": busbars in every row, so that all cells of a group share their current;
        "parallel-strings": busbars at both ends of the pack only.

    Returns
    -------
    Network
        With nodes numbered along the rows or the columns, whichever has the smaller bandwidth.

    Raises
    ------
    UsageError
        No cells, a negative or infinite resistance, or an unknown layout.
    """
    _check(parallel, series, terminals, topology)
    for name, value in {
        "busbar": busbar,
        "connection": connection,
        "internal": internal,
        "terminal": terminal,
    }.items():
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(
                f"the {name} resistance is {value} Ohm", fix="give a resistance of 0 Ohm or more"
            )

    barred = [0, series] if topology == "parallel-strings" else list(range(series + 1))
    labels = np.arange((series + 1) * parallel).reshape(series + 1, parallel)
    if busbar == 0:
        labels[barred] = labels[barred, :1]
    positive, negative = {
        "left": (0, 0),
        "right": (-1, -1),
        "left-right": (0, -1),
        "right-left": (-1, 0),
    }[terminals]

    def numbered(order: Literal["C", "F"]) -> IntArray:
        names = list(dict.fromkeys(labels.ravel(order).tolist()))
        names.remove(labels[0, negative])
        number = np.full(labels.size, GROUND, dtype=np.int64)
        number[names] = np.arange(len(names))
        return number[labels]

    def branches(grid: IntArray) -> tuple[IntArray, IntArray]:
        cells = np.column_stack([grid[1:].ravel(), grid[:-1].ravel()])
        bars = np.column_stack([grid[barred, :-1].ravel(), grid[barred, 1:].ravel()])
        return cells, bars if busbar > 0 else bars[:0]

    def bandwidth(grid: IntArray) -> int:
        ends = np.concatenate(branches(grid))
        ends = ends[np.all(ends != GROUND, axis=1)]
        return int(np.abs(ends[:, 0] - ends[:, 1]).max(initial=0))

    grid = min(numbered("C"), numbered("F"), key=bandwidth)
    cells, bars = branches(grid)
    index = np.arange(parallel * series, dtype=np.int64).reshape(series, parallel)
    return Network(
        parallel=parallel,
        series=series,
        plus=np.ascontiguousarray(cells[:, 0]),
        minus=np.ascontiguousarray(cells[:, 1]),
        resistor_nodes=bars,
        resistance=np.full(len(bars), float(busbar)),
        series_resistance=np.full(parallel * series, float(connection + internal)),
        terminal=int(grid[series, positive]),
        terminal_resistance=2.0 * terminal,
        nodes=int(grid.max()) + 1,
        bandwidth=bandwidth(grid),
        neighbours=np.concatenate(
            [
                np.column_stack([index[:, :-1].ravel(), index[:, 1:].ravel()]),
                np.column_stack([index[:-1].ravel(), index[1:].ravel()]),
            ]
        ),
    )


def parse(text: str) -> tuple[int, int]:
    """Read a pack's size: "3p6s" is three cells in parallel, six such groups in series.

    Returns
    -------
    tuple
        Cells in parallel and groups in series.

    Raises
    ------
    UsageError
        The text is something else.
    """
    match = _PACK.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"'{text}' is not the size of a pack",
            fix="write cells in parallel and groups in series, such as 3p6s, or 1p1s for one cell",
        )
    return int(match[1]), int(match[2])


def _check(parallel: int, series: int, terminals: str, topology: str) -> None:
    if parallel < 1 or series < 1:
        raise UsageError(
            f"a pack of {parallel} x {series} cells has no cells",
            fix="take at least one cell in parallel and one group in series",
        )
    for name, value, known in (
        ("terminals", terminals, get_args(Terminals)),
        ("topology", topology, get_args(Topology)),
    ):
        if value not in known:
            raise UsageError(f"unknown {name} '{value}'", fix=f"use one of {', '.join(known)}")
