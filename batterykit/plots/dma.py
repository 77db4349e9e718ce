"""Pictures of degradation mode analysis: how well the curves are fitted, and what was lost."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from batterykit.plots.history import ageing_axis, chamber_temperatures
from batterykit.plots.style import (
    GREY,
    MOST_COLUMNS,
    colour_of_rpt,
    legend_of_cells,
    line_of_cell,
    looks_of_cells,
    panels,
    save,
    scale_of_rpts,
    set_ageing_axis,
)
from batterykit.plots.tables import INTERVAL_90, MODES

FIT_INCHES = (4.2, 3.9)
MODE_INCHES = (4.2, 3.0)
FEW = 4  # residuals in a panel that may be drawn broad without hiding each other
FIT_TO_RESIDUAL = (2.2, 1)  # heights of the two panels of a cell


def voltage_fits(features: xr.Dataset, path: Path, title: str) -> Path:
    """Draw measured and fitted voltage of each cell, the residual below; return the path.

    Parameters
    ----------
    features
        Cells of a DMA dataset, with charge [Ah], voltage_measured and voltage_fit [V], all
        (cell, rpt, point). Where a check-up has a quality flag its residual is dotted.
    path
        PNG file to write.
    title
        Said above the panels.
    """
    cells = features["cell"].values.tolist()
    columns = min(MOST_COLUMNS, len(cells))
    rows = math.ceil(len(cells) / columns)
    width, height = FIT_INCHES
    figure = Figure(figsize=(max(columns, 1.6) * width, rows * height + 1.0), layout="constrained")
    grid = figure.subplots(
        2 * rows,
        columns,
        sharex=True,
        sharey="row",
        squeeze=False,
        height_ratios=FIT_TO_RESIDUAL * rows,
    )
    last = _last_fitted(features)
    limit = _limit_of_residuals(features)
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
        if place >= len(cells):
            upper.set_visible(False)
            lower.set_visible(False)
            continue
        _fits_of_cell(upper, lower, features.isel(cell=place), last)
        lower.set_ylim(-limit, limit)
        lower.tick_params(labelbottom=place + columns >= len(cells))
        if column == 0:
            upper.set_ylabel("voltage [V]")
            lower.set_ylabel("residual [mV]")
    figure.supxlabel("charge [Ah]")
    figure.suptitle(title)
    grid[0, 0].legend(
        handles=[
            Line2D([], [], color=colour_of_rpt(0, 1), linewidth=1.6, label="measured"),
            Line2D([], [], color="black", linewidth=0.9, linestyle="--", label="fit"),
        ],
        frameon=False,
        fontsize="small",
    )
    scale_of_rpts(figure, list(grid.ravel()), last)
    return save(figure, path)


def modes_over_ageing(
    features: xr.Dataset, path: Path, title: str, history: xr.Dataset | None = None
) -> Path:
    """Draw LLI and LAM of the cells over ageing with 90 % intervals; return the path.

    A panel with its own scale for each mode, a line for each cell; hollow where the check-up has a
    quality flag, no point where there is no value. A mode that no cell has (graphite and silicon
    of an electrode of one phase) is left out.

    Parameters
    ----------
    features
        Cells of a DMA dataset: lli, lam_* (cell, rpt) [1] and their standard errors `*_se`.
    path
        PNG file to write.
    title
        Said above the panels.
    history
        Of the cells, from `plots.history.history_of`: charge throughput for the axis of ageing,
        chamber temperature for the colour. Without it, check-ups and a colour for each cell.
    """
    cells = [str(cell) for cell in features["cell"].values]
    looks = looks_of_cells(chamber_temperatures(history, cells))
    fitted = np.isfinite(features["pe_capacity"].values)
    of_cell, of_rpt = np.nonzero(fitted)
    places, label = ageing_axis(
        history, [cells[k] for k in of_cell], features["rpt"].values[of_rpt]
    )
    ageing = np.full(fitted.shape, np.nan)
    ageing[of_cell, of_rpt] = places
    flagged = features["quality_flag"].values != 0
    shown = [name for name in MODES if np.isfinite(features[name].values).any()] or ["lli"]
    figure, axes = panels(len(shown), MODE_INCHES, share_y=False)
    for axis, name in zip(axes, shown, strict=True):
        for k, cell in enumerate(cells):
            here = fitted[k]
            percent = 100 * features[name].values[k, here]
            error = 100 * INTERVAL_90 * features[f"{name}_se"].values[k, here]
            look = looks[cell]
            known = np.isfinite(error) & np.isfinite(percent)
            axis.errorbar(
                ageing[k, here][known],
                percent[known],
                error[known],
                fmt="none",
                ecolor=look["color"],
                elinewidth=1,
                capsize=2,
                alpha=0.6,
            )
            line_of_cell(axis, ageing[k, here], percent, flagged[k, here], look)
        axis.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        axis.set_title(MODES[name], fontsize="medium")
    set_ageing_axis(axes[0], places)
    figure.supxlabel(label)
    figure.supylabel("lost since the first check-up [%]")
    figure.suptitle(title)
    legend_of_cells(figure, looks, flagged=bool((flagged & fitted).any()))
    return save(figure, path)


def _fits_of_cell(upper: Axes, lower: Axes, cell: xr.Dataset, last: int) -> None:
    rmse = []
    residual = cell["voltage_measured"].values - cell["voltage_fit"].values
    drawn = np.isfinite(residual).any(axis=1)
    thin = 0.7 if drawn.sum() > FEW else 1.2
    for rpt in np.flatnonzero(drawn):
        one = cell.isel(rpt=rpt)
        charge, colour = one["charge"].values, colour_of_rpt(int(one["rpt"]), last)
        upper.plot(charge, one["voltage_measured"], color=colour, linewidth=1.6)
        upper.plot(charge, one["voltage_fit"], color="black", linewidth=0.7, linestyle="--")
        dotted = ":" if one["quality_flag"] != 0 else "-"
        lower.plot(charge, 1e3 * residual[rpt], color=colour, linewidth=thin, linestyle=dotted)
        rmse.append(1e3 * float(one["fit_rmse"]))
    lower.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    for axis in (upper, lower):
        axis.grid(alpha=0.25)
        axis.yaxis.set_major_locator(MaxNLocator(5))
    upper.set_title(f"{cell['cell'].item()}, {_said(rmse)}", fontsize="medium")


def _said(rmse: list[float]) -> str:
    if not rmse:
        return "no fit"
    low, high = (f"{bound:.1f}" for bound in (min(rmse), max(rmse)))
    return f"RMSE {low} mV" if low == high else f"RMSE {low} to {high} mV"


def _last_fitted(features: xr.Dataset) -> int:
    fitted = np.isfinite(features["voltage_fit"].values).any(axis=(0, 2))
    return int(features["rpt"].values[fitted].max(initial=0))


def _limit_of_residuals(features: xr.Dataset) -> float:
    """Return what 98 % of the residuals stay well within [mV]: a curve's ends hide nothing."""
    residual = np.abs(features["voltage_measured"].values - features["voltage_fit"].values)
    known = 1e3 * residual[np.isfinite(residual)]
    return 1.4 * float(np.percentile(known, 98)) if known.size and known.any() else 1.0
