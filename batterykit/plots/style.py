"""What the pictures have in common: sizes, colours, markers, panels, and how they are saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from batterykit.errors import BatterykitError

DPI = 130
MOST_COLUMNS = 3
GREY = "0.45"

Colour = tuple[float, float, float, float]

_AGE = LinearSegmentedColormap.from_list("age", mpl.colormaps["viridis"](np.linspace(0, 0.92, 64)))
"""Dark is fresh; the lightest tenth of viridis is left out, it is hard to see on white."""
_WARMTH = LinearSegmentedColormap.from_list("warmth", ["#1f5fa8", "#d08a00", "#a81c2b"])
"""Blue, ochre, red: they differ in lightness too, for those who do not see red and green apart."""
_MARKERS = "osD^vP*X<>"


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, its folder too; return the path.

    Raises
    ------
    BatterykitError
        It cannot be written there.
    """
    for axis in figure.axes:
        for inside in (*axis.lines, *axis.collections, *axis.texts):
            inside.set_in_layout(False)  # it cannot move the panels; to ask it is half of the time
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI)
    except OSError as error:
        raise BatterykitError(
            f"the picture cannot be written ({error})",
            fix="free some space on the disk, or name another folder",
            file=path,
        ) from error
    return path


def panels(
    number: int, size: tuple[float, float], *, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel of `size` [in] for each of `number` things, in rows of three.

    The panels share their x axis; the lowest of every column has tick labels, also where the last
    row is not full.
    """
    columns = min(MOST_COLUMNS, number)
    rows = math.ceil(number / columns)
    width, height = size
    figure = Figure(
        figsize=(max(width * columns, 1.6 * width), height * rows + 0.9),
        layout="constrained",
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False).ravel()
    for place, axis in enumerate(grid):
        axis.set_visible(place < number)
        axis.tick_params(labelbottom=place + columns >= number)
        axis.grid(alpha=0.25)
    return figure, list(grid[:number])


def colour_of_rpt(rpt: int, last: int) -> Colour:
    """Return the colour of a check-up, between the first (0) and the `last`."""
    return _AGE(rpt / max(last, 1))


def scale_of_rpts(figure: Figure, axes: Sequence[Axes], last: int) -> None:
    """Put a colour scale of the check-ups beside the axes; none where there is only the first."""
    if last < 1:
        return
    scale = mpl.cm.ScalarMappable(Normalize(0, last), _AGE)
    bar = figure.colorbar(scale, ax=list(axes), label="check-up (RPT)", aspect=35, pad=0.015)
    bar.locator = mpl.ticker.MaxNLocator(integer=True)
    bar.update_ticks()


def colour_of_temperature(temperature: float, all_temperatures: np.ndarray) -> Colour:
    """Return blue for the coldest chamber, red for the warmest; none too light for white."""
    known = np.asarray(all_temperatures, dtype=float)
    known = known[np.isfinite(known)]
    place = (temperature - float(known.min())) / max(float(np.ptp(known)), 1.0)
    return _WARMTH(place)


def looks_of_cells(chamber: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and label of each cell, as keywords of `Axes.plot`.

    Parameters
    ----------
    chamber
        Cell -> chamber temperature [degC]; NaN where it is not known.

    Returns
    -------
    dict
        Colour is the temperature, and the marker tells cells of one temperature apart. Where a
        temperature is not known every cell has a colour of its own.
    """
    cells = sorted(chamber)
    temperatures = np.array([chamber[cell] for cell in cells], dtype=float)
    if not cells or not np.isfinite(temperatures).all():
        cycle = mpl.colormaps["tab10"]
        return {
            cell: {
                "color": cycle(k % 10),
                "marker": _MARKERS[(k // 10) % len(_MARKERS)],
                "label": cell,
            }
            for k, cell in enumerate(cells)
        }
    looks = {}
    for k, cell in enumerate(cells):
        sooner = int((temperatures[:k] == temperatures[k]).sum())
        looks[cell] = {
            "color": colour_of_temperature(float(temperatures[k]), temperatures),
            "marker": _MARKERS[sooner % len(_MARKERS)],
            "label": f"{cell}, {temperatures[k]:g} °C",
        }
    return looks


def legend_of_cells(
    figure: Figure, looks: Mapping[str, Mapping[str, Any]], *, flagged: bool
) -> None:
    """Put a legend of the cells right of the panels; a hollow marker too where one is used."""
    handles = [Line2D([], [], markersize=4.5, linewidth=1.2, **look) for look in looks.values()]
    if flagged:
        handles.append(
            Line2D(
                [],
                [],
                color=GREY,
                marker="o",
                markersize=4.5,
                markerfacecolor="white",
                linestyle="none",
                label="flagged",
            )
        )
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")


def line_of_cell(
    axis: Axes, x: np.ndarray, y: np.ndarray, flagged: np.ndarray, look: Mapping[str, Any]
) -> None:
    """Draw a cell's line with markers, hollow where `flagged` (bool); NaN breaks the line."""
    axis.plot(x, y, color=look["color"], linewidth=1.1)
    for which, face in ((~flagged, look["color"]), (flagged, "white")):
        axis.plot(
            x[which],
            y[which],
            linestyle="none",
            marker=look["marker"],
            markersize=3.6,
            color=look["color"],
            markerfacecolor=face,
        )


def set_ageing_axis(axis: Axes, ageing: np.ndarray) -> None:
    """Set ticks of an axis of ageing, and its limits where all check-ups lie at one place."""
    known = ageing[np.isfinite(ageing)]
    if known.size and np.ptp(known) == 0:
        axis.set_xlim(known[0] - 1, known[0] + 1)
        axis.set_xticks([known[0]])
    else:
        axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
