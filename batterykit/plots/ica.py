"""Pictures of incremental capacity analysis."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

PANEL_INCHES = (4.2, 2.9)
MOST_COLUMNS = 3
DPI = 130


def dqdv_over_ageing(features: xr.Dataset, path: Path, title: str) -> Path:
    """Draw dQ/dV of each cell, coloured by check-up, with its tracked peaks; return the path.

    Parameters
    ----------
    features
        Curves of an ICA dataset, of one direction of current.
    path
        PNG file to write.
    title
        Said above the panels.
    """
    cells = sorted(set(features["cell"].values.tolist()))
    columns = min(MOST_COLUMNS, len(cells))
    rows = math.ceil(len(cells) / columns)
    width, height = PANEL_INCHES
    figure = Figure(
        figsize=(max(width * columns, 1.8 * width), height * rows + 0.9), layout="constrained"
    )
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    last = max(int(features["rpt"].max()), 1)
    colours = mpl.colormaps["viridis"]
    for axis, cell in zip(axes, cells, strict=False):
        mine = features.isel(curve=np.flatnonzero(features["cell"].values == cell))
        mine = mine.isel(curve=np.argsort(mine["rpt"].values, kind="stable"))
        for curve in range(mine.sizes["curve"]):
            one = mine.isel(curve=curve)
            colour = colours(int(one["rpt"]) / last)
            axis.plot(one["voltage"], one["dqdv"], color=colour, linewidth=1)
            axis.plot(
                one["peak_voltage"],
                one["peak_height"],
                linestyle="none",
                marker="o",
                markersize=3,
                color=colour,
                markeredgecolor="black",
                markeredgewidth=0.4,
            )
        _name_peaks(axis, mine)
        axis.set_title(cell, fontsize="medium")
        axis.grid(alpha=0.25)
        axis.margins(y=0.12)
        axis.set_ylim(bottom=0)
    for axis in axes[len(cells) :]:
        axis.set_visible(False)
    figure.supxlabel("Voltage [V]")
    figure.supylabel("dQ/dV [Ah/V]")
    figure.suptitle(title)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, last), colours)
    bar = figure.colorbar(scale, ax=axes.tolist(), label="check-up (RPT)")
    bar.locator = mpl.ticker.MaxNLocator(integer=True)
    bar.update_ticks()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    return path


def _name_peaks(axis: mpl.axes.Axes, curves: xr.Dataset) -> None:
    for peak in range(curves.sizes["peak"]):
        here = curves["peak_present"].values[:, peak]
        if here.any():
            first = curves.isel(curve=int(np.flatnonzero(here)[0]), peak=peak)
            axis.annotate(
                f"P{peak}",
                (float(first["peak_voltage"]), float(first["peak_height"])),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize="x-small",
            )
