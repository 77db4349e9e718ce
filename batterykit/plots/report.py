"""The pictures of a feature set, and one HTML page of them with its tables and provenance.

Which pictures there are, what they are called and what is said about them; how a picture looks is
the matter of `plots.ica` and `plots.dma`, how a page looks that of `plots.page`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from batterykit.features.options import DmaOptions, IcaOptions
from batterykit.plots.dma import modes_over_ageing, voltage_fits
from batterykit.plots.ica import dqdv_over_ageing, dvdq_over_ageing, peak_trajectories
from batterykit.plots.page import Block, Picture, Section, write_page
from batterykit.plots.tables import (
    flags_table,
    modes_table,
    parameters_table,
    peaks_table,
    provenance_table,
    resistance_table,
)
from batterykit.progress import Track, no_track

MOST_CELLS = 12  # in one picture: more would be too small to read, they go into another
SYNTHETIC = "synthetic"  # how the source of data begins that nobody measured


@dataclass(frozen=True)
class Origin:
    """Where a feature set comes from, as its page tells.

    Parameters
    ----------
    node
        Its path in the store.
    inputs
        Input node -> fingerprint.
    sources
        Input node -> where its data come from, in words.
    """

    node: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


class Report(NamedTuple):
    """What was written: pictures (PNG) and the page (HTML) that holds them."""

    pictures: list[Path]
    page: Path


class _Drawn(NamedTuple):
    path: Path
    alt: str
    caption: str


class _Group(NamedTuple):
    """Cells that share their pictures: (some of) an experiment's, one direction of current."""

    cells: xr.Dataset
    label: str  # of the file
    title: str
    names: str  # of the cells, and how many check-ups, for the alternative text


def ica_report(
    features: xr.Dataset,
    folder: Path,
    origin: Origin,
    history: xr.Dataset | None = None,
    track: Track = no_track,
) -> Report:
    """Draw dQ/dV, dV/dQ and peaks over ageing, an experiment a picture, and write `ica.html`.

    Parameters
    ----------
    features
        An ICA node.
    folder
        For the pictures and the page; made if need be, files of the same name are replaced.
    origin
        For the page.
    history
        Of the cells, from `plots.history.history_of`.
    track
        Progress.

    Raises
    ------
    BatterykitError
        A picture or the page cannot be written.
    """
    kind = _kind(features)
    groups = list(_groups_of_curves(features, kind))
    drawn = {
        group.title: list(_draw_ica(group, folder, history))
        for group in track(groups, "pictures", len(groups))
    }
    resistance = resistance_table(features)
    summary: list[Block] = [
        *_warning(origin),
        f"{features.sizes['curve']} {kind} voltage curves of "
        f"{len(set(features['cell'].values.tolist()))} cells. A peak keeps its name, P0, P1, ..., "
        "over a cell's ageing and from cell to cell; charge and discharge are numbered by "
        "themselves. Where a peak was not found its values are missing, never zero.",
        peaks_table(features, kind),
        *_quality(features),
        *([] if resistance is None else [resistance]),
    ]
    return _finish(
        folder / "ica.html",
        "Incremental capacity analysis",
        summary,
        drawn,
        _provenance(features, origin, IcaOptions),
    )


def dma_report(
    features: xr.Dataset,
    folder: Path,
    origin: Origin,
    history: xr.Dataset | None = None,
    track: Track = no_track,
) -> Report:
    """Draw fits and degradation modes, an experiment a picture, and write `dma.html`.

    Parameters
    ----------
    features
        A DMA node.
    folder, origin, history, track
        As for `ica_report`.

    Raises
    ------
    BatterykitError
        A picture or the page cannot be written.
    """
    kind = _kind(features)
    direction = _parameters(features).get("direction", "discharge")
    groups = list(_groups_of_cells(features, f"{kind} {direction}", f"{kind}-{direction}"))
    drawn = {
        group.title: list(_draw_dma(group, folder, history))
        for group in track(groups, "pictures", len(groups))
    }
    summary: list[Block] = [
        *_warning(origin),
        f"Electrode capacities of {features.sizes['cell']} cells, fitted to their {kind} "
        f"{direction} curves with the half-cell potentials of both electrodes; loss of lithium "
        "inventory (LLI) and of active material (LAM) against each cell's first check-up. PE and "
        "NE are the positive and the negative electrode, Gr and Si the graphite and the silicon "
        "of the negative one.",
        modes_table(features),
        *_quality(features),
    ]
    return _finish(
        folder / "dma.html",
        "Degradation mode analysis",
        summary,
        drawn,
        _provenance(features, origin, DmaOptions),
    )


def _draw_ica(group: _Group, folder: Path, history: xr.Dataset | None) -> Iterator[_Drawn]:
    curves, label, title, names = group
    yield _Drawn(
        dqdv_over_ageing(curves, folder / f"ica-{label}.png", f"dQ/dV over ageing: {title}"),
        f"Line chart of differential capacity over voltage, {names}; the tracked peaks are marked "
        "and named.",
        "Differential capacity. Colour is the check-up; points are the tracked peaks. A dashed "
        "curve with hollow points has a quality flag.",
    )
    if "dvdq" in curves.variables:
        yield _Drawn(
            dvdq_over_ageing(
                curves, folder / f"ica-dvdq-{label}.png", f"dV/dQ over ageing: {title}"
            ),
            f"Line chart of differential voltage over charge, {names}.",
            "Differential voltage; its steep ends are cut off. A dashed curve has a quality flag.",
        )
    if _several_check_ups(curves):
        yield _Drawn(
            peak_trajectories(
                curves, folder / f"ica-peaks-{label}.png", f"Peaks over ageing: {title}", history
            ),
            f"Line charts of voltage, height and area of every tracked peak over ageing, {names}.",
            "Each tracked peak over ageing, a line a cell. A gap: the peak was not found. A hollow "
            "marker: the curve has a quality flag.",
        )


def _draw_dma(group: _Group, folder: Path, history: xr.Dataset | None) -> Iterator[_Drawn]:
    cells, label, title, names = group
    yield _Drawn(
        voltage_fits(cells, folder / f"dma-fit-{label}.png", f"Fit of the voltage: {title}"),
        f"Line charts of measured and fitted voltage over charge with the residual below, {names}.",
        "Measured and fitted voltage, and measured less fitted below. Colour is the check-up; a "
        "dotted residual belongs to a check-up with a quality flag.",
    )
    if np.isfinite(cells["pe_capacity"].values).sum(axis=1).max(initial=0) > 1:
        yield _Drawn(
            modes_over_ageing(
                cells, folder / f"dma-modes-{label}.png", f"Degradation modes: {title}", history
            ),
            f"Line charts of the lost lithium inventory and active materials over ageing, {names}.",
            "Lost lithium inventory and active material, a line a cell. Bars are 90 % intervals; "
            "a hollow marker is a check-up with a quality flag.",
        )


def _several_check_ups(curves: xr.Dataset) -> bool:
    pairs = {*zip(curves["cell"].values.tolist(), curves["rpt"].values.tolist(), strict=True)}
    return len(pairs) > len({cell for cell, _ in pairs})


def _groups_of_curves(features: xr.Dataset, kind: str) -> Iterator[_Group]:
    cell, direction = (_texts(features[name]) for name in ("cell", "direction"))
    for way in sorted(set(direction.tolist())):
        chosen = features.isel(curve=np.flatnonzero(direction == way))
        of_way = cell[direction == way]
        for expt, cells, number in _experiments(sorted(set(of_way.tolist()))):
            mine = chosen.isel(curve=np.flatnonzero(np.isin(of_way, cells)))
            yield _group(mine, expt, cells, number, f"{kind} {way}", f"{kind}-{way}")


def _groups_of_cells(features: xr.Dataset, what: str, in_file: str) -> Iterator[_Group]:
    names = _texts(features["cell"])
    for expt, cells, number in _experiments(sorted(names.tolist())):
        mine = features.isel(cell=np.flatnonzero(np.isin(names, cells)))
        yield _group(mine, expt, cells, number, what, in_file)


def _group(
    mine: xr.Dataset, expt: str, cells: list[str], number: int, what: str, in_file: str
) -> _Group:
    known = mine["rpt"].values
    if "pe_capacity" in mine.variables:
        known = known[np.isfinite(mine["pe_capacity"].values).any(axis=0)]
    last = int(known.max(initial=0))
    part = f"-{number}" if number > 1 else ""
    return _Group(
        mine,
        f"{expt}{part}-{in_file}",
        f"{_experiment_in_words(expt)}, {what}" + (f", part {number}" if number > 1 else ""),
        f"{', '.join(cells)}, check-ups 0 to {last}" if last else f"{', '.join(cells)}, check-up 0",
    )


def _texts(labels: xr.DataArray) -> np.ndarray:
    return np.array([str(label) for label in labels.values])  # the store's own kind does not sort


def _experiments(cells: list[str]) -> Iterator[tuple[str, list[str], int]]:
    """Yield experiment, cells and number of each picture: an experiment's cells, not too many."""
    for expt in sorted({cell.partition("-")[0] for cell in cells}):
        mine = [cell for cell in cells if cell.partition("-")[0] == expt]
        for first in range(0, len(mine), MOST_CELLS):
            yield expt, mine[first : first + MOST_CELLS], first // MOST_CELLS + 1


def _experiment_in_words(expt: str) -> str:
    number = expt.removeprefix("E")
    return f"experiment {number}" if number.isdigit() else expt


def _quality(features: xr.Dataset) -> list[Block]:
    table = flags_table(features)
    return [table] if table.rows else [f"{table.caption}."]


def _warning(origin: Origin) -> list[Block]:
    made_up = [s for s in origin.sources.values() if s.lower().startswith(SYNTHETIC)]
    if not made_up:
        return []
    return [
        "Synthetic data: nothing here was measured."
        if len(made_up) == len(origin.inputs)
        else "Part of the data is synthetic: see the provenance below."
    ]


def _provenance(features: xr.Dataset, origin: Origin, options: type) -> list[Section]:
    return [
        Section("Parameters", (parameters_table(_parameters(features), options),)),
        Section(
            "Provenance",
            (provenance_table(origin.node, features.attrs, origin.inputs, origin.sources),),
        ),
    ]


def _finish(
    path: Path,
    title: str,
    summary: list[Block],
    drawn: Mapping[str, list[_Drawn]],
    after: list[Section],
) -> Report:
    sections = [Section("Summary", tuple(summary))]
    for name, pictures in drawn.items():
        shown = tuple(Picture.of(one.path, one.alt, one.caption) for one in pictures)
        sections.append(Section(name[0].upper() + name[1:], shown))
    write_page(path, title, [*sections, *after])
    return Report([one.path for pictures in drawn.values() for one in pictures], path)


def _parameters(features: xr.Dataset) -> dict[str, object]:
    parameters: dict[str, object] = json.loads(features.attrs.get("parameters", "{}"))
    return parameters


def _kind(features: xr.Dataset) -> str:
    return str(_parameters(features).get("curves", "0.1C"))
