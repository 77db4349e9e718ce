"""Tables of features in words and units, for the command line and for pages. Pure, no I/O."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from batterykit.plots.page import Table

MODES = {
    "lli": "LLI",
    "lam_pe": "LAM PE",
    "lam_ne": "LAM NE",
    "lam_ne_gr": "LAM graphite",
    "lam_ne_si": "LAM silicon",
}
"""Degradation modes: variable of the DMA dataset -> what it is called."""
INTERVAL_90 = 1.6449  # [1] standard errors: 90 % of a normal distribution lie within them

_UNIT = re.compile(r"\s*\[([^\]]+)\]")
_HASH_SHOWN = 8  # digits: as many as the store's listings show

_SOURCES = {
    "pulses": "measured with pulses at this check-up",
    "pulses_scaled": "from an earlier check-up's pulses, scaled by the growth since",
    "summary": "one value at every state of charge, from the last 0.1 s resistance",
    "none": "nothing known: not corrected, no dQ/dV",
}


def peaks_table(features: xr.Dataset, kind: str) -> Table:
    """Return how often each tracked peak was found, and its median voltage, height, width, area.

    Parameters
    ----------
    features
        An ICA dataset.
    kind
        Of the voltage curves, for the caption.
    """
    rows = []
    for direction in sorted({str(way) for way in features["direction"].values}):
        mine = features.isel(curve=np.flatnonzero(features["direction"].values == direction))
        for peak in range(mine.sizes["peak"]):
            here = mine["peak_present"].values[:, peak]
            if here.any():
                names = ("peak_voltage", "peak_height", "peak_width", "peak_area")
                medians = [float(np.median(mine[name].values[here, peak])) for name in names]
                found = f"{int(here.sum())}/{len(here)}"
                name = f"P{int(mine['peak'].values[peak])}"
                rows.append((direction, name, found, *(number(m) for m in medians)))
    return Table(
        f"dQ/dV peaks of the {kind} curves, medians",
        ("direction", "peak", "found", "voltage [V]", "height [Ah/V]", "width [V]", "area [Ah]"),
        tuple(rows),
    )


def modes_table(features: xr.Dataset) -> Table:
    """Return electrode capacities, LLI and LAM of each cell at its last fitted check-up.

    Parameters
    ----------
    features
        A DMA dataset.

    Returns
    -------
    Table
        A row for each cell; after ± is the half width of the 90 % interval.
    """
    capacities = {
        "PE [Ah]": "pe_capacity",
        "NE [Ah]": "ne_capacity",
        "Gr [Ah]": "ne_gr_capacity",
        "Si [Ah]": "ne_si_capacity",
    }
    modes = {f"{MODES[name]} [%]": name for name in ("lli", "lam_pe", "lam_ne")}
    rows = []
    for k in range(features.sizes["cell"]):
        cell = features.isel(cell=k)
        last = _last_fitted(cell)
        one = cell.isel(rpt=last)
        rows.append(
            (
                str(one["cell"].item()),
                str(int(one["rpt"])),
                *(_decimals(float(one[name]), 3) for name in capacities.values()),
                *(
                    _with_interval(100 * float(one[name]), 100 * float(one[f"{name}_se"]))
                    for name in modes.values()
                ),
                _decimals(1e3 * float(one["fit_rmse"]), 2),
                ", ".join(words_of(int(one["quality_flag"]), features["quality_flag"])) or "none",
            )
        )
    return Table(
        "At each cell's last fitted check-up; ± is a 90 % interval",
        ("cell", "RPT", *capacities, *modes, "fit RMSE [mV]", "flags"),
        tuple(rows),
    )


def flags_table(features: xr.Dataset) -> Table:
    """Return how many curves, or check-ups of cells, have each quality flag; none that no one has.

    Parameters
    ----------
    features
        With `quality_flag` (curve) or (cell, rpt) and its flag_masks and flag_meanings. Check-ups
        past a cell's last (`n_rpt`) do not count.
    """
    flags = features["quality_flag"]
    counted = np.ones(flags.shape, dtype=bool)
    what = "curves" if flags.dims == ("curve",) else "check-ups"
    if "n_rpt" in features.variables and flags.dims == ("cell", "rpt"):
        counted = features["rpt"].values[None, :] < features["n_rpt"].values[:, None]
    values = flags.values[counted]
    rows = []
    for mask, meaning in _meanings(flags).items():
        number_of = int(((values & mask) != 0).sum())
        if number_of:
            rows.append((meaning, str(number_of), f"{100 * number_of / len(values):.1f}"))
    clean = int((values == 0).sum())
    return Table(
        f"Quality: {clean} of {len(values)} {what} have no flag",
        ("flag", what, "share [%]"),
        tuple(rows),
    )


def resistance_table(features: xr.Dataset) -> Table | None:
    """Return where the resistance of IR-corrected curves came from; None where none was used."""
    if "resistance_source" not in features.variables:
        return None
    sources, counts = np.unique(
        [str(source) for source in features["resistance_source"].values], return_counts=True
    )
    return Table(
        "Resistance that the voltage was corrected with",
        ("source", "curves", "meaning"),
        tuple(
            (source.replace("_", " "), str(count), _SOURCES.get(source, ""))
            for source, count in zip(sources.tolist(), counts.tolist(), strict=True)
        ),
    )


def parameters_table(parameters: Mapping[str, Any], options: type) -> Table:
    """Return the parameters of a feature set with their units and meaning.

    Parameters
    ----------
    parameters
        As the node's attribute `parameters` holds them.
    options
        The class of the options; its docstring (section Attributes) tells meaning and unit.
    """
    said = dict(_attributes(options)) | {"curves": "Which voltage curves."}
    rows = []
    for name, value in sorted(parameters.items()):
        text = next((said[key] for key in said if name in key.split(", ")), "")
        unit = _UNIT.search(text)
        meaning = _UNIT.sub("", text, count=1).replace("`", "")
        rows.append((name, _value(value), unit.group(1) if unit else "-", meaning))
    return Table(
        "Another value of any of these makes another dataset",
        ("parameter", "value", "unit", "meaning"),
        tuple(rows),
    )


def provenance_table(
    node: str, attrs: Mapping[str, Any], inputs: Mapping[str, str], sources: Mapping[str, str]
) -> Table:
    """Return where a feature set comes from.

    Parameters
    ----------
    node
        Its path in the store; the last part is the hash of its parameters.
    attrs
        Its global attributes.
    inputs
        Input node -> fingerprint.
    sources
        Input node -> where its data come from, in words.
    """
    rows = [
        ("dataset", node),
        ("fingerprint", str(attrs.get("fingerprint", "-"))),
        ("computed by", str(attrs.get("created_by", "-"))),
        ("schema", f"{attrs.get('schema', '-')}, version {attrs.get('schema_version', '-')}"),
    ]
    for name, fingerprint in sorted(inputs.items()):
        source = f", {sources[name]}" if sources.get(name) else ""
        rows.append((f"made from {name}", f"fingerprint {fingerprint[:_HASH_SHOWN]}{source}"))
    return Table("Where the numbers on this page come from", ("what", "value"), tuple(rows))


def words_of(value: int, flags: xr.DataArray) -> list[str]:
    """Return what the bits of one quality flag mean, in words."""
    return [meaning for mask, meaning in _meanings(flags).items() if value & mask]


def number(value: float) -> str:
    """Return a number with five digits, `-` for NaN."""
    return "-" if math.isnan(value) else f"{value:.5g}"


def _meanings(flags: xr.DataArray) -> dict[int, str]:
    names = str(flags.attrs.get("flag_meanings", "")).split()
    masks = np.atleast_1d(flags.attrs.get("flag_masks", [])).tolist()
    return {int(mask): name.replace("_", " ") for mask, name in zip(masks, names, strict=True)}


def _last_fitted(cell: xr.Dataset) -> int:
    fitted = np.flatnonzero(np.isfinite(cell["pe_capacity"].values))
    if len(fitted):
        return int(fitted[-1])
    return int(cell["n_rpt"]) - 1 if "n_rpt" in cell.variables else 0


def _with_interval(value: float, standard_error: float) -> str:
    if math.isnan(value):
        return "-"
    if math.isnan(standard_error):
        return f"{value:.2f}"
    return f"{value:.2f} ± {INTERVAL_90 * standard_error:.2f}"


def _decimals(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and {"file", "content_hash"} <= set(value):
        return f"{value['file']} (hash {str(value['content_hash'])[:_HASH_SHOWN]})"
    if isinstance(value, (list, tuple)):
        return " to ".join(_value(part) for part in value)
    return value if isinstance(value, str) else json.dumps(value)


def _attributes(options: type) -> Iterator[tuple[str, str]]:
    """Yield name (or `a, b`) and text of each entry of a numpy docstring's Attributes."""
    _, _, section = (inspect.getdoc(options) or "").partition("Attributes\n----------\n")
    for entry in re.split(r"\n(?=\S)", section):
        name, _, text = entry.partition("\n")
        yield name.strip(), " ".join(text.split())
