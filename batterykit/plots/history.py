"""What cells have been through, as pictures need it: throughput, chamber temperature. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

THROUGHPUT_LABEL = "charge throughput [Ah]"
RPT_LABEL = "check-up (RPT)"


def history_of(summaries: Iterable[xr.Dataset]) -> xr.Dataset | None:
    """Return the history of the cells of some Performance Summaries; None where there is none.

    Parameters
    ----------
    summaries
        `raw/expt{N}/summary` of one or more experiments.

    Returns
    -------
    xr.Dataset
        charge_throughput (cell, rpt) [Ah], NaN past a cell's last check-up, and
        temperature_chamber (cell) [degC].
    """
    parts = [
        xr.Dataset(
            {
                "charge_throughput": summary["charge_throughput"].variable,
                "temperature_chamber": summary["temperature_chamber"].variable,
            },
            coords={
                "cell": ("cell", np.array([str(c) for c in summary["cell"].values], dtype=object)),
                "rpt": summary["rpt"].values,
            },
        )
        for summary in summaries
    ]
    if not parts:
        return None
    return xr.concat(parts, dim="cell", join="outer", data_vars="all", combine_attrs="drop")


def ageing_axis(
    history: xr.Dataset | None, cells: Sequence[str], rpts: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, str]:
    """Return where check-ups lie on the axis of ageing, and what the axis is called.

    Parameters
    ----------
    history
        From `history_of`.
    cells, rpts
        Which check-up of which cell; both of length n.

    Returns
    -------
    numpy.ndarray, str
        float64 (n,): charge throughput [Ah] where it is known of every one of them, otherwise the
        check-up's number, so that no point is lost for want of a throughput.
    """
    counted = np.asarray(rpts, dtype=float)
    if history is not None and set(cells) <= set(history["cell"].values.tolist()):
        longest = int(history["rpt"].max())
        if counted.size and counted.max() <= longest:
            throughput = (
                history["charge_throughput"]
                .sel(cell=xr.DataArray(list(cells), dims="n"), rpt=xr.DataArray(rpts, dims="n"))
                .values
            )
            if np.isfinite(throughput).all():
                return throughput.astype(float), THROUGHPUT_LABEL
    return counted, RPT_LABEL


def chamber_temperatures(history: xr.Dataset | None, cells: Iterable[str]) -> dict[str, float]:
    """Return the chamber temperature of each cell [degC]; NaN where it is not known."""
    known: dict[str, float] = {}
    if history is not None:
        chamber = history["temperature_chamber"].values.tolist()
        known = dict(zip(history["cell"].values.tolist(), chamber, strict=True))
    return {cell: known.get(cell, np.nan) for cell in sorted(set(cells))}
