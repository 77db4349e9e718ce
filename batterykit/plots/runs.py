"""Pictures of a run: how near the predictions are, and each cell's course."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batterykit.plots.style import colour_of_temperature, save

PANEL_INCHES = (3.4, 2.5)
MOST_COLUMNS = 4


def draw_run(predictions: xr.Dataset, folder: Path, title: str) -> list[Path]:
    """Draw both pictures of a run into a folder; return their paths."""
    return [
        predicted_against_measured(predictions, folder / "predicted-measured.png", title),
        trajectories(predictions, folder / "trajectories.png", title),
    ]


def predicted_against_measured(predictions: xr.Dataset, path: Path, title: str) -> Path:
    """Draw every tested check-up, predicted over measured, coloured by chamber temperature.

    Parameters
    ----------
    predictions
        `runs/{run_id}/predictions`: y_true, y_pred by (fold, cell, rpt) [1].
    path
        PNG file to write.
    title
        Said above.
    """
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axis = figure.subplots()
    chamber = predictions["temperature_chamber"].values
    for temperature in np.unique(chamber):
        mine = predictions.isel(cell=np.flatnonzero(chamber == temperature))
        axis.plot(
            100 * mine["y_true"].values.ravel(),
            100 * mine["y_pred"].values.ravel(),
            linestyle="none",
            marker="o",
            markersize=4,
            alpha=0.75,
            color=colour_of_temperature(temperature, chamber),
            label=f"{temperature:g} °C",
        )
    low, high = axis.get_xlim()
    axis.axline((low, low), (high, high), color="0.4", linewidth=1, zorder=0)
    axis.set_xlabel(f"{_target(predictions)} measured [%]")
    axis.set_ylabel(f"{_target(predictions)} predicted [%]")
    axis.set_title(title, fontsize="medium")
    axis.legend(frameon=False)
    axis.grid(alpha=0.25)
    return save(figure, path)


def trajectories(predictions: xr.Dataset, path: Path, title: str) -> Path:
    """Draw each tested cell's course over days: measured, predicted, mean of the training cells.

    Parameters
    ----------
    predictions
        `runs/{run_id}/predictions`: y_true, y_pred, y_mean_trajectory by (fold, cell, rpt) [1],
        days by (cell, rpt) [d].
    path
        PNG file to write.
    title
        Said above.
    """
    cells = predictions.sizes["cell"]
    columns = min(MOST_COLUMNS, cells)
    rows = math.ceil(cells / columns)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for number, axis in enumerate(axes):
        if number < cells:
            _trajectory(axis, predictions.isel(cell=number), predictions["temperature_chamber"])
            axis.tick_params(labelbottom=number + columns >= cells)
        else:
            axis.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    figure.supxlabel("days of ageing")
    figure.supylabel(f"{_target(predictions)} [%]")
    figure.suptitle(title, fontsize="medium", x=0.01, horizontalalignment="left")
    return save(figure, path)


def _trajectory(axis: Axes, cell: xr.Dataset, chamber: xr.DataArray) -> None:
    days = cell["days"].values
    colour = colour_of_temperature(float(cell["temperature_chamber"]), chamber.values)
    looks: dict[str, dict[str, Any]] = {
        "y_true": {"marker": "o", "markersize": 3.5, "linestyle": "none", "color": "0.25"},
        "y_pred": {"color": colour, "linewidth": 2},
        "y_mean_trajectory": {"color": "0.6", "linewidth": 1, "linestyle": "--"},
    }
    labels = {
        "y_true": "measured",
        "y_pred": "predicted",
        "y_mean_trajectory": "mean of the training cells",
    }
    for name, look in looks.items():
        values = cell[name].values
        fold = np.isfinite(values).any(axis=1).argmax()
        known = np.isfinite(values[fold])
        axis.plot(days[known], 100 * values[fold, known], label=labels[name], **look)
    temperature = float(cell["temperature_chamber"])
    axis.set_title(f"{cell['cell'].item()}, {temperature:g} °C", fontsize="medium")
    axis.grid(alpha=0.25)


def _target(predictions: xr.Dataset) -> str:
    name = str(predictions["y_true"].attrs["long_name"]).split(",")[0]
    return {"soh": "SoH", "lli": "LLI", "lam_pe": "LAM PE", "lam_ne": "LAM NE"}.get(name, name)
