"""The pictures of a run on a pack, and one HTML page of them with its tables.

Which pictures there are and what is said about them; how a picture looks is the matter of
`plots.pack`, how a page looks that of `plots.page`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from batterykit.charge.case import differences
from batterykit.charge.simulate import extremes, place, stages
from batterykit.plots.pack import (
    branch_currents,
    cells_over_time,
    check_single,
    compared_over_time,
    engine_of,
    figure_of,
    reason_of,
    title_of,
    went_through,
    worst_cells,
)
from batterykit.plots.page import Block, Picture, Section, Table, write_page
from batterykit.plots.report import Report

FloatArray = npt.NDArray[np.float64]

MOST_ROWS = 60  # of the table of cells: more are not read
_WHAT_CELLS_ARE = (
    ("capacity", "capacity [Ah]", 1.0, 3),
    ("soh", "SOH [%]", 1e2, 1),
    ("lli", "LLI [%]", 1e2, 1),
    ("lam_pe", "LAM PE [%]", 1e2, 1),
    ("lam_ne", "LAM NE [%]", 1e2, 1),
    ("resistance", "resistance [mOhm]", 1e3, 1),
)
"""What is known of the cells: variable, column of the table, scale and digits."""


class _Drawn(NamedTuple):
    """A picture and what is said of it."""

    path: Path
    alt: str
    caption: str


def charge_pictures(dataset: xr.Dataset, folder: Path) -> list[Path]:
    """Draw a run's pictures (PNG), without the page of `charge_report`; return their paths.

    Parameters
    ----------
    dataset
        As `charge.simulate.trajectory` makes it, of one pack.
    folder
        For them; made if need be, files of the same name are replaced.

    Raises
    ------
    UsageError
        There are several packs.
    BatterykitError
        They cannot be written.
    """
    check_single(dataset)
    return [drawn.path for drawn in _draw(dataset, folder).values()]


def charge_report(
    dataset: xr.Dataset,
    folder: Path,
    *,
    node: str | None = None,
    other: xr.Dataset | None = None,
) -> Report:
    """Draw a run's pictures and write `charge.html` with them and its tables.

    Parameters
    ----------
    dataset
        As `charge.simulate.trajectory` makes it, of one pack.
    folder
        For the pictures and the page; made if need be, files of the same name are replaced.
    node
        Where the dataset is in the store, for the page.
    other
        The same case on another engine, to compare with.

    Raises
    ------
    UsageError
        There are several packs, or the runs cannot be compared.
    BatterykitError
        A picture or the page cannot be written.
    """
    check_single(dataset)
    drawn = _draw(dataset, folder)
    sections = [
        Section("Summary", tuple(_summary(dataset))),
        *(
            Section(name, (Picture.of(path, alt, caption),))
            for name, (path, alt, caption) in drawn.items()
        ),
    ]
    pictures = [path for path, _, _ in drawn.values()]
    if other is not None:
        pictures += compare_pictures(dataset, other, folder)
        sections.append(_comparison(dataset, other, pictures[-1]))
    sections += [
        Section("Cells", (_cells_table(dataset),)),
        Section("How it was made", (_options_table(dataset, node),)),
    ]
    return Report(pictures, write_page(folder / "charge.html", "A pack, cell by cell", sections))


def _draw(dataset: xr.Dataset, folder: Path) -> dict[str, _Drawn]:
    """Draw the pictures that a run has: title of the section -> file and what is said of it."""
    cells = dataset.sizes["cell"]
    drawn = {
        "Over time": _Drawn(
            cells_over_time(dataset, folder / "charge-cells.png"),
            "Line charts over time of current, voltage, plating potential, temperature, state of "
            f"charge and heat of {cells} cell{'s' if cells > 1 else ''}.",
            "A line is a cell. A ring marks what stands out: s3p2 is the second cell of the third "
            "group from the negative terminal. Dashed: a limit. The bars on top are the steps of "
            "the protocol.",
        )
    }
    if dataset["parallel"].max() > 1:
        drawn["Parallel cells"] = _Drawn(
            branch_currents(dataset, folder / "charge-branches.png"),
            "Line charts over time of each cell's current less an equal share of the pack's, a "
            "panel for each group of parallel cells.",
            "Each cell's current less an equal share of the pack's: all lines would lie at zero "
            "in a group whose cells share alike. All panels have the same scale.",
        )
    if cells > 1:
        drawn["Worst cells"] = _Drawn(
            worst_cells(dataset, folder / "charge-worst.png"),
            "Maps of the pack with a field for each cell: what it went through and what it is "
            "like.",
            "The pack as it is wired, the negative terminal below. Red: what a cell went through; "
            "blue: what it is like. Darker is worse; the worst has a frame.",
        )
    return drawn


def compare_pictures(ours: xr.Dataset, reference: xr.Dataset, folder: Path) -> list[Path]:
    """Draw two runs of a case, such as ours and PyBaMM's, and their differences over time.

    Parameters
    ----------
    ours, reference
        Of one pack, with the same cells and the same time step; see `charge.case.differences`.
    folder
        Gets `charge-comparison.png`; made if need be.

    Returns
    -------
    list of Path
        The picture.

    Raises
    ------
    UsageError
        The runs do not have the same cells and time step, or nothing in common.
    BatterykitError
        The picture cannot be written.
    """
    return [compared_over_time(ours, reference, folder / "charge-comparison.png")]


def _comparison(dataset: xr.Dataset, other: xr.Dataset, picture: Path) -> Section:
    names = engine_of(dataset), engine_of(other)
    rows = [
        (one.what, f"{one.rms:.3g}", f"{one.largest:.3g}", one.units)
        for one in differences(dataset, other)
    ]
    ends = " and ".join(
        f"{name} ran {float(one['duration'][0]):,.1f} s ({reason_of(one)})"
        for name, one in zip(names, (dataset, other), strict=True)
    )
    return Section(
        "Comparison",
        (
            f"{ends}.",
            Table(
                f"{names[0]} less {names[1]}, over all cells and the time that both ran",
                ("what", "RMS", "largest", "unit"),
                tuple(rows),
            ),
            Picture.of(
                picture,
                f"Line charts over time of {names[0]} and {names[1]} and of their difference.",
                f"Above {names[0]} in colour and {names[1]} dashed, below the difference. The "
                "first sample, where the current is switched on, and the last are left out.",
            ),
        ),
    )


def _summary(dataset: xr.Dataset) -> list[Block]:
    found = Table(
        "The cells that stand out",
        ("of all cells", "value", "unit", "cell", "at [s]", "pack's SOC [%]"),
        tuple(
            (
                one.what,
                *figure_of(one),
                one.place,
                f"{one.time:,.0f}",
                f"{100 * one.soc:.1f}",
            )
            for one in extremes(dataset)
        ),
    )
    steps = Table(
        "Steps of the protocol",
        ("step", "from [s]", "to [s]", "SOC at its end [%]", "highest V", "hottest [°C]"),
        tuple(
            (
                stage.label,
                f"{stage.start:,.1f}",
                f"{stage.end:,.1f}",
                f"{100 * stage.soc:.1f}",
                _number(stage.voltage_max, 4),
                _number(stage.temperature_max, 2),
            )
            for stage in stages(dataset)
        ),
    )
    return [f"{title_of(dataset)}. {_about_plating(dataset)}", found, steps]


def _about_plating(dataset: xr.Dataset) -> str:
    """Say in a sentence whether lithium would plate, in how many cells and from when on."""
    potential = dataset["plating_potential"].values[0]
    if np.isnan(potential).all() or np.nanmax(dataset["pack_current"].values) <= 0:
        return ""
    below = potential < 0
    if not below.any():
        return f"No plating potential falls below 0: {1e3 * np.nanmin(potential):.1f} mV are left."
    first = float(dataset["time"].values[below.any(axis=1)][0])
    return (
        f"The plating potential falls below 0 in {below.any(axis=0).sum()} of {below.shape[1]} "
        f"cells, for the first time after {first:,.0f} s: lithium would plate there."
    )


def _cells_table(dataset: xr.Dataset) -> Table:
    """Return what each cell is like and went through, those of the least plating margin first."""
    one, met = dataset.isel(pack=0), went_through(dataset)
    columns: list[tuple[str, FloatArray, int]] = [
        (each.title[0].lower() + each.title[1:], each.values, each.digits) for each in met
    ]
    for name, title, scale, digits in _WHAT_CELLS_ARE:
        if name in one:
            columns.append((title, scale * one[name].values, digits))
    by = met[0].values if met[0].worst == "lowest" else -met[0].values
    order = np.argsort(by, kind="stable")
    cut = f"; {MOST_ROWS} of {len(order)}" if len(order) > MOST_ROWS else ""
    return Table(
        f"What each cell went through and is like, worst first by the first column{cut}",
        ("cell", *(title for title, _, _ in columns)),
        tuple(
            (
                place(dataset, cell),
                *(_number(values[cell], digits) for _, values, digits in columns),
            )
            for cell in order[:MOST_ROWS].tolist()
        ),
    )


def _options_table(dataset: xr.Dataset, node: str | None) -> Table:
    rows = [] if node is None else [("dataset", node)]
    for name, value in dataset.attrs.items():
        what, _, unit = name.rpartition("_")
        known = unit in ("V", "A", "Ohm", "s", "degC")
        shown = f"{what} [{unit.replace('degC', '°C')}]" if known else name
        rows.append(
            (shown.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value))
        )
    return Table("Options of the run", ("what", "value"), tuple(rows))


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:z.{digits}f}"
