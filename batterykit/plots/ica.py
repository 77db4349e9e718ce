"""Pictures of incremental capacity analysis: dQ/dV, dV/dQ, and where their peaks go with age."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from batterykit.plots.history import ageing_axis, chamber_temperatures
from batterykit.plots.style import (
    GREY,
    colour_of_rpt,
    legend_of_cells,
    line_of_cell,
    looks_of_cells,
    panels,
    save,
    scale_of_rpts,
    set_ageing_axis,
)

PANEL_INCHES = (4.4, 3.1)
TRAJECTORY_INCHES = (3.6, 1.75)
FLAGGED_LINE = (0, (3, 1.2))  # dashes of a curve with a quality flag
NAMES_APART = 0.055  # [1] of the axis: names of peaks stand no closer, so that none is covered
HEADROOM = 1.2  # [1] of the tallest peak: room for the names
ENDS_LEFT_OUT = 0.1  # [1] of the charge at either end: dV/dQ is steep there and would hide the rest

QUANTITIES = {"voltage": "voltage [V]", "height": "height [Ah/V]", "area": "area [Ah]"}
"""What is followed of a peak: `peak_*` of the ICA dataset -> label."""


def dqdv_over_ageing(features: xr.Dataset, path: Path, title: str) -> Path:
    """Draw dQ/dV of each cell, coloured by check-up, with its tracked peaks; return the path.

    Parameters
    ----------
    features
        Curves of an ICA dataset, of one direction of current. One with a quality flag is dashed
        and its peaks are hollow.
    path
        PNG file to write.
    title
        Said above the panels.
    """
    cells = _cells(features)
    last = int(features["rpt"].max())
    figure, axes = panels(len(cells), PANEL_INCHES)
    for axis, cell in zip(axes, cells, strict=True):
        mine = _of_cell(features, cell)
        for one, colour, flagged in _curves(mine, last):
            line = FLAGGED_LINE if flagged else "-"
            axis.plot(one["voltage"], one["dqdv"], color=colour, linewidth=1, linestyle=line)
            axis.plot(
                one["peak_voltage"],
                one["peak_height"],
                linestyle="none",
                marker="o",
                markersize=3.2,
                markerfacecolor="white" if flagged else colour,
                markeredgecolor=colour if flagged else "black",
                markeredgewidth=0.8 if flagged else 0.4,
            )
        axis.set_title(_title_of_cell(mine), fontsize="medium")
    tallest = np.nanmax(features["dqdv"].values, initial=0.0)
    low, high = float(features["voltage"].min()), float(features["voltage"].max())
    for axis, cell in zip(axes, cells, strict=True):
        axis.set_ylim(0, HEADROOM * tallest if tallest > 0 else 1.0)
        axis.set_xlim(low, high)
        _name_peaks(axis, _of_cell(features, cell))
    figure.supxlabel("voltage [V]")
    figure.supylabel("dQ/dV [Ah/V]")
    figure.suptitle(title)
    scale_of_rpts(figure, axes, last)
    return save(figure, path)


def dvdq_over_ageing(features: xr.Dataset, path: Path, title: str) -> Path:
    """Draw dV/dQ of each cell over charge, coloured by check-up; return the path.

    Parameters
    ----------
    features
        Curves of an ICA dataset with dvdq [V/Ah] over charge [Ah], both (curve, depth), of one
        direction of current. One with a quality flag is dashed.
    path
        PNG file to write.
    title
        Said above the panels.
    """
    cells = _cells(features)
    last = int(features["rpt"].max())
    figure, axes = panels(len(cells), PANEL_INCHES)
    for axis, cell in zip(axes, cells, strict=True):
        mine = _of_cell(features, cell)
        for one, colour, flagged in _curves(mine, last):
            line = FLAGGED_LINE if flagged else "-"
            axis.plot(one["charge"], one["dvdq"], color=colour, linewidth=1, linestyle=line)
        axis.set_title(_title_of_cell(mine), fontsize="medium")
    axes[0].set_ylim(0, _top_of_dvdq(features))
    figure.supxlabel("charge [Ah]")
    figure.supylabel("dV/dQ [V/Ah]")
    figure.suptitle(title)
    scale_of_rpts(figure, axes, last)
    return save(figure, path)


def peak_trajectories(
    features: xr.Dataset, path: Path, title: str, history: xr.Dataset | None = None
) -> Path:
    """Draw voltage, height and area of every tracked peak over ageing; return the path.

    A row of panels for each peak, a line for each cell; where a peak is absent its line is broken,
    and where the curve has a quality flag its marker is hollow. A peak that no curve has is left
    out.

    Parameters
    ----------
    features
        Curves of an ICA dataset, of one direction of current.
    path
        PNG file to write.
    title
        Said above the panels.
    history
        Of the cells, from `plots.history.history_of`: charge throughput for the axis of ageing,
        chamber temperature for the colour. Without it, check-ups and a colour for each cell.
    """
    cells = _cells(features)
    looks = looks_of_cells(chamber_temperatures(history, cells))
    peaks = np.flatnonzero(features["peak_present"].values.any(axis=0))
    ageing, label = ageing_axis(
        history, [str(c) for c in features["cell"].values], features["rpt"].values
    )
    width, height = TRAJECTORY_INCHES
    rows = max(len(peaks), 1)
    figure = mpl.figure.Figure(
        figsize=(width * len(QUANTITIES) + 1.4, height * rows + 1.0), layout="constrained"
    )
    axes = figure.subplots(rows, len(QUANTITIES), sharex=True, squeeze=False)
    flagged = features["quality_flag"].values != 0
    for row, peak in zip(axes, peaks, strict=False):
        for axis, (name, quantity) in zip(row, QUANTITIES.items(), strict=True):
            values = features[f"peak_{name}"].values[:, peak]
            for cell, look in looks.items():
                mine = np.flatnonzero(features["cell"].values == cell)
                mine = mine[np.argsort(features["rpt"].values[mine], kind="stable")]
                line_of_cell(axis, ageing[mine], values[mine], flagged[mine], look)
            axis.set_ylabel(quantity, fontsize="small")
            axis.grid(alpha=0.25)
            axis.margins(y=0.12)
            axis.tick_params(labelsize="small")
            axis.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
            axis.yaxis.set_major_formatter(mpl.ticker.ScalarFormatter(useOffset=False))
        row[0].set_title(_name_of_peak(features, int(peak)), fontsize="medium", loc="left")
    if not len(peaks):
        axes[0, 0].set_title("no peak was found", fontsize="medium", loc="left")
    set_ageing_axis(axes[0, 0], ageing)
    figure.supxlabel(label)
    figure.suptitle(title)
    legend_of_cells(figure, looks, flagged=bool(flagged.any()))
    return save(figure, path)


def _cells(features: xr.Dataset) -> list[str]:
    return sorted({str(cell) for cell in features["cell"].values})


def _of_cell(features: xr.Dataset, cell: str) -> xr.Dataset:
    """Return the curves of a cell in order of age."""
    mine = features.isel(curve=np.flatnonzero(features["cell"].values == cell))
    return mine.isel(curve=np.argsort(mine["rpt"].values, kind="stable"))


def _curves(
    mine: xr.Dataset, last: int
) -> Iterator[tuple[xr.Dataset, tuple[float, float, float, float], bool]]:
    """Yield each curve with its colour, and whether it has a quality flag."""
    for curve in range(mine.sizes["curve"]):
        one = mine.isel(curve=curve)
        yield one, colour_of_rpt(int(one["rpt"]), last), bool(one["quality_flag"] != 0)


def _title_of_cell(mine: xr.Dataset) -> str:
    cell, rpts = str(mine["cell"].values[0]), mine["rpt"].values
    return f"{cell}, RPT {int(rpts[0])}" if len(rpts) == 1 else cell


def _name_peaks(axis: Axes, curves: xr.Dataset) -> None:
    """Write the peaks' names in a row at the top, each with a line to where the peak is first."""
    names, places = [], []
    for peak in range(curves.sizes["peak"]):
        here = curves["peak_present"].values[:, peak]
        if here.any():
            first = curves.isel(curve=int(np.flatnonzero(here)[0]), peak=peak)
            names.append(f"P{int(first['peak'])}")
            places.append((float(first["peak_voltage"]), float(first["peak_height"])))
    low, high = axis.get_xlim()
    top = axis.get_ylim()[1]
    spread = _spread(np.array([voltage for voltage, _ in places]), NAMES_APART * (high - low))
    for name, place, x in zip(names, places, spread, strict=True):
        axis.annotate(
            name,
            place,
            xytext=(x, 0.985 * top),
            ha="center",
            va="top",
            fontsize="x-small",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkB": 2.5},
        )


def _spread(places: np.ndarray, apart: float) -> np.ndarray:
    """Return the places, moved as little as may be, in the same order and no closer than `apart`.

    Least squares under an order: what is left after taking the distances out is an isotonic
    regression.
    """
    if not len(places):
        return places
    order = np.argsort(places, kind="stable")
    steps = apart * np.arange(len(places))
    moved = np.empty(len(places))
    moved[order] = isotonic_regression(places[order] - steps).x + steps
    return moved


def _top_of_dvdq(features: xr.Dataset) -> float:
    """Return an upper limit that holds all of dV/dQ but its steep ends and single spikes."""
    tops = [0.0]
    for values in features["dvdq"].values:
        known = values[np.isfinite(values)]
        if len(known):
            cut = int(ENDS_LEFT_OUT * len(known))
            tops.append(float(np.percentile(known[cut : len(known) - cut], 98)))
    return 1.2 * max(tops) or 1.0


def _name_of_peak(features: xr.Dataset, peak: int) -> str:
    middle = float(np.nanmedian(features["peak_voltage"].values[:, peak]))
    return f"P{int(features['peak'].values[peak])}, near {middle:.2f} V"
