"""Pictures of one pack on charge or discharge, cell by cell.

What every cell went through over time, how parallel cells share the current, which cell is worst
off and where it sits, and how far two engines are apart. The numbers in titles are those of
`charge.simulate` and `charge.case`; the page with all pictures is the matter of `plots.charge`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from batterykit.charge.case import Difference, differences
from batterykit.charge.simulate import REASON_TEXTS, Extreme, extremes, pack_soc, place, stages
from batterykit.errors import UsageError
from batterykit.plots.style import GREY, panels, save

Worst = Literal["highest", "lowest"]
FloatArray = npt.NDArray[np.float64]

PANEL_INCHES = (5.8, 2.9)
GROUP_INCHES = (4.2, 2.6)
COMPARED_INCHES = (4.6, 4.2)
STRIP_INCHES = 0.28  # height of the strip that names the steps
CHARACTER_INCHES = 0.085  # width of one in a step's name
MAP_INCHES = 3.1  # width of a map at least
WIDEST_INCHES = 16.5  # of the maps of a row together
FIELD_INCHES = (0.62, 0.36)  # of a cell in a map with numbers
MAPS_IN_A_ROW = 4
MOST_NUMBERS = 24, 8  # groups and columns of a map that have room for a number in each field
MOST_GROUPS = 12  # in one picture: more would be too small to read
MOST_COLUMNS_NAMED = 8  # in a legend
TEXT_REACH = 0.4  # of the axis of time, what a limit's name may take
EDGE = 0.015  # of an axis of time, room for a ring at its ends
DARK = 0.68  # of the scale of a map: from here on numbers are white
NEAR = 0.7  # a limit is drawn if it is no further off than this share of the values' range
NOTHING = 1e-3  # of the unit of a difference; below it is rounding
LEAST_SHARE = 1e-3  # of a value, which an axis shows at least above and below it
ALIKE = 1e-3  # capacities that differ by less than this share have no colours
TENTH = 0.1  # A; smaller currents are told in mA
MINUS = "\N{MINUS SIGN}"
UP, DOWN = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
MINUTE, HOUR = 60.0, 3600.0  # s

LIMIT = "#a81c2b"
_SCALE = LinearSegmentedColormap.from_list(
    "cells", mpl.colormaps["viridis"](np.linspace(0, 0.9, 64))
)
"""Dark is little; the lightest tenth of viridis is left out, it is hard to see on white."""

_PROTOCOLS = {
    "cc": "constant current",
    "cccv": "CC-CV",
    "multistage": "current in stages",
    "profile": "profile",
}


class _Quantity(NamedTuple):
    """A variable over time: how it is named and scaled, and whether it jumps with the current."""

    variable: str
    title: str
    label: str
    scale: float
    jumps: bool


class Map(NamedTuple):
    """A value for each cell; from which difference on it is one; which end is worse."""

    title: str
    values: FloatArray
    digits: int
    worst: Worst
    colours: str


class _Looks(NamedTuple):
    """The colours of the cells, and what they mean: a scale of capacities, or named columns."""

    colours: list[Any]
    scale: mpl.cm.ScalarMappable | None
    columns: dict[str, Any]


class _Clock(NamedTuple):
    """The unit in which a picture tells time, in seconds and by name."""

    seconds: float
    unit: str

    @property
    def label(self) -> str:
        """The label of an axis."""
        return f"time [{self.unit}]"


QUANTITIES = (
    _Quantity("current", "Current", "current [A]", 1.0, jumps=True),
    _Quantity("voltage", "Voltage", "voltage [V]", 1.0, jumps=True),
    _Quantity("plating_potential", "Plating potential", "potential [mV]", 1e3, jumps=True),
    _Quantity("temperature", "Temperature", "temperature [°C]", 1.0, jumps=False),
    _Quantity("soc", "State of charge", "state of charge [%]", 1e2, jumps=False),
    _Quantity("heat", "Heat", "heat [W]", 1.0, jumps=True),
)
_OF_EXTREMES = {
    "lowest plating potential": ("plating_potential", 1e3, 1, "mV"),
    "highest voltage": ("voltage", 1.0, 3, "V"),
    "lowest voltage": ("voltage", 1.0, 3, "V"),
    "highest temperature": ("temperature", 1.0, 1, "°C"),
    "most current": ("current", 1.0, 2, "A"),
}
"""What `extremes` finds -> its variable, and scale, digits and unit in which it is told."""
_OF_DIFFERENCES = {
    "cell voltage": ("voltage", "voltage [V]", 1.0, "difference [mV]", 1e3),
    "plating potential": ("plating_potential", "potential [mV]", 1e3, "difference [mV]", 1e3),
    "temperature": ("temperature", "temperature [°C]", 1.0, "difference [K]", 1.0),
    "branch current": ("current", "current [A]", 1.0, "difference [mA]", 1e3),
    "state of charge": ("soc", "state of charge [%]", 1e2, "difference [pp]", 1e2),
}
"""What `differences` finds -> its variable, and label and scale of both panels."""


def cells_over_time(dataset: xr.Dataset, path: Path) -> Path:
    """Draw what every cell went through over time; return the path.

    A panel each for current, voltage, plating potential, temperature, state of charge and heat, as
    far as they are known. Colour is the cell's capacity, or its column where capacities are alike.
    What jumps when the current is switched on is drawn from the first sample after it.

    Parameters
    ----------
    dataset
        Of one pack.
    path
        PNG file to write.
    """
    check_single(dataset)
    shown = [one for one in QUANTITIES if dataset[one.variable].notnull().any()]
    rows = math.ceil(len(shown) / 2)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(2 * width, rows * height + 1.2), layout="constrained")
    grid = figure.subplots(
        rows + 1, 2, sharex=True, squeeze=False, height_ratios=[STRIP_INCHES, *[height] * rows]
    )
    for strip in grid[0]:
        _name_steps(strip, dataset, 0.8 * width)
    axes, spare = np.split(grid[1:].ravel(), [len(shown)])
    looks, found = _looks(dataset), _worth_marking(dataset)
    for axis, one in zip(axes, shown, strict=True):
        _lines(axis, dataset, one, looks)
        _limits(axis, dataset, one)
        _mark(axis, dataset, one, [each for each in found if _variable(each) == one.variable])
        axis.set_ylabel(one.label)
    for place_of_it, axis in enumerate(axes):
        axis.tick_params(labelbottom=place_of_it + 2 >= len(shown))
    for axis in spare:
        axis.set_visible(False)
    figure.supxlabel(_clock(dataset).label)
    figure.suptitle(title_of(dataset))
    _explain(figure, list(axes), looks)
    return save(figure, path)


def branch_currents(dataset: xr.Dataset, path: Path) -> Path:
    """Draw each cell's current less an equal share of the pack's, group by group; return the path.

    Parameters
    ----------
    dataset
        Of one pack with parallel cells. Of more than `MOST_GROUPS` groups those are drawn whose
        cells differ most.
    path
        PNG file to write.
    """
    check_single(dataset)
    one = dataset.isel(pack=0, time=_rows(dataset, jumps=True))
    parallel = int(one["parallel"].max())
    share = one["pack_current"].values / parallel
    apart = one["current"].values - share[:, None]
    series = one["series"].values
    groups = np.unique(series)
    most = np.array([_largest(apart[:, series == group]) for group in groups])
    chosen = np.sort(groups[np.argsort(-most, kind="stable")[:MOST_GROUPS]])
    figure, axes = panels(len(chosen), GROUP_INCHES)
    looks = _looks(dataset)
    for axis, group in zip(axes, chosen, strict=True):
        mine = np.flatnonzero(series == group)
        for cell in mine:
            axis.plot(_times(dataset, one), apart[:, cell], color=looks.colours[cell])
        axis.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        _set_time_axis(axis, dataset)
        worst = mine[np.argmax([_largest(apart[:, cell]) for cell in mine])]
        axis.set_title(
            f"group {group}: up to {_signed(apart[:, worst])} in {place(dataset, worst)}",
            fontsize="medium",
        )
    figure.suptitle(
        f"How {parallel} parallel cells share up to {_largest(share * parallel):.3g} A"
        + (f": the {len(chosen)} least equal groups" if len(chosen) < len(groups) else "")
        + f"\n{title_of(dataset)}"
    )
    figure.supxlabel(_clock(dataset).label)
    figure.supylabel("current less an equal share [A]")
    _explain(figure, axes, looks)
    return save(figure, path)


def worst_cells(dataset: xr.Dataset, path: Path) -> Path:
    """Draw maps of the pack, a field for each cell: what it went through, what it is like.

    Parameters
    ----------
    dataset
        Of one pack. The lowest potential and the highest values are those of the whole run. What
        is the same for all cells (capacity, resistance, LLI) is left out.
    path
        PNG file to write.

    Returns
    -------
    Path
        Of the picture.
    """
    check_single(dataset)
    maps = [*went_through(dataset), *_maps_of_cells(dataset)]
    groups, columns = _grid(dataset)
    numbers = _has_room(dataset)
    width = max(MAP_INCHES, columns * FIELD_INCHES[0] + 0.9) if numbers else 1.2 * MAP_INCHES
    height = 0.7 + max(1.0, groups * FIELD_INCHES[1] if numbers else min(0.1 * groups, 5.0))
    down = math.ceil(len(maps) / min(MAPS_IN_A_ROW, int(WIDEST_INCHES // width)))
    across = math.ceil(len(maps) / down)
    figure = Figure(figsize=(width * across, height * down + 0.7), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for number, (axis, one) in enumerate(zip(grid, maps, strict=False)):
        _draw_map(axis, one, dataset)
        if number % across == 0:
            axis.set_ylabel("series group")
        if number + across >= len(maps):
            axis.set_xlabel("column")
    for axis in grid[len(maps) :]:
        axis.set_visible(False)
    figure.suptitle(f"Which cells are worst off\n{title_of(dataset)}")
    return save(figure, path)


def compared_over_time(ours: xr.Dataset, reference: xr.Dataset, path: Path) -> Path:
    """Draw two runs of a case and their difference over time; return the path.

    The first sample, where the current is switched on, and the last are left out, as in
    `charge.case.differences`.

    Parameters
    ----------
    ours, reference
        Of one pack, with the same cells and the same time step.
    path
        PNG file to write.

    Raises
    ------
    UsageError
        The runs do not have the same cells and time step, or nothing in common.
    """
    found = _compared(ours, reference)
    names = engine_of(ours), engine_of(reference)
    across = min(3, len(found))
    down = math.ceil(len(found) / across)
    width, height = COMPARED_INCHES
    figure = Figure(figsize=(width * across, height * down + 1.0), layout="constrained")
    grid = figure.subplots(
        2 * down, across, sharex=True, squeeze=False, height_ratios=(1.5, 1) * down
    )
    looks = _looks(ours)
    for number in range(down * across):
        row, column = divmod(number, across)
        upper, lower = grid[2 * row : 2 * row + 2, column]
        if number >= len(found):
            upper.set_visible(False)
            lower.set_visible(False)
            continue
        one = found[number]
        _pair_of_panels(upper, lower, ours, reference, one.what, looks)
        upper.set_title(
            f"{one.what[0].upper()}{one.what[1:]}: RMS {_told(one.rms)}, at most "
            f"{_told(one.largest)} {one.units}",
            fontsize="medium",
        )
        lower.tick_params(labelbottom=number + across >= len(found))
    figure.supxlabel(_clock(ours).label)
    figure.suptitle(f"{names[0]} less {names[1]}\n{title_of(ours)}")
    grid[0, 0].legend(
        handles=[
            Line2D([], [], color=looks.colours[0], linewidth=1.6, label=names[0]),
            Line2D([], [], color="black", linewidth=0.9, linestyle="--", label=names[1]),
        ],
        frameon=False,
        fontsize="small",
    )
    _explain(figure, [axis for axis in grid.ravel() if axis.get_visible()], looks)
    return save(figure, path)


def check_single(dataset: xr.Dataset) -> None:
    """Refuse a dataset of several packs.

    Raises
    ------
    UsageError
        It holds more than one.
    """
    if dataset.sizes["pack"] != 1:
        raise UsageError(
            f"the dataset holds {dataset.sizes['pack']} packs, and a picture shows one",
            fix="choose one: dataset.isel(pack=[0])",
        )


def _rows(dataset: xr.Dataset, *, jumps: bool) -> npt.NDArray[np.intp]:
    """Return the samples of a run; what jumps has none before the current is switched on."""
    running = np.flatnonzero(np.isfinite(pack_soc(dataset)))
    return running[1:] if jumps and len(running) > 1 else running


def _clock(dataset: xr.Dataset) -> _Clock:
    seconds = float(dataset["duration"][0])
    if seconds < 10 * MINUTE:
        return _Clock(1.0, "s")
    return _Clock(MINUTE, "min") if seconds < 10 * HOUR else _Clock(HOUR, "h")


def _set_time_axis(axis: Axes, dataset: xr.Dataset) -> None:
    """Let an axis of time go from the start to the end, and shade every other step."""
    clock = _clock(dataset)
    whole = (float(dataset["duration"][0]) or 1.0) / clock.seconds
    axis.set_xlim(-EDGE * whole, (1 + EDGE) * whole)
    for stage in stages(dataset)[1::2]:
        begin, end = stage.start / clock.seconds, stage.end / clock.seconds
        axis.axvspan(begin, end, color="0.5", alpha=0.1, linewidth=0)


def _times(dataset: xr.Dataset, samples: xr.Dataset) -> FloatArray:
    """Return when samples of a run were taken, in the unit of its pictures."""
    seconds = np.minimum(samples["time"].values, float(dataset["duration"][0]))
    times: FloatArray = seconds / _clock(dataset).seconds
    return times


def _looks(dataset: xr.Dataset) -> _Looks:
    if "capacity" in dataset:
        capacity = dataset["capacity"].values[0]
        if np.ptp(capacity) > ALIKE * capacity.mean():
            norm = Normalize(capacity.min(), capacity.max())
            return _Looks(list(_SCALE(norm(capacity))), mpl.cm.ScalarMappable(norm, _SCALE), {})
    column = dataset["parallel"].values
    last = int(column.max())
    colours = list(_SCALE((column - 1) / max(last - 1, 1)))
    named = {f"column {k + 1}": colours[k] for k in range(last)} if last > 1 else {}
    return _Looks(colours, None, named if last <= MOST_COLUMNS_NAMED else {})


def _explain(figure: Figure, axes: Sequence[Axes], looks: _Looks) -> None:
    """Say right of the panels what the colours of the cells mean."""
    if looks.scale is not None:
        label = "capacity of the cell [Ah]"
        figure.colorbar(looks.scale, ax=list(axes), label=label, aspect=35, pad=0.015)
    elif looks.columns:
        handles = [Line2D([], [], color=c, label=name) for name, c in looks.columns.items()]
        figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize="small")


def _lines(axis: Axes, dataset: xr.Dataset, one: _Quantity, looks: _Looks) -> None:
    samples = dataset.isel(pack=0, time=_rows(dataset, jumps=one.jumps))
    values = one.scale * samples[one.variable].values
    times = _times(dataset, samples)
    look: dict[str, Any] = {"linewidth": 1.6 if len(looks.colours) == 1 else 1.1}
    if len(times) == 1:
        look |= {"marker": ".", "linestyle": "none"}
    for cell, colour in enumerate(looks.colours):
        axis.plot(times, values[:, cell], color=colour, **look)
    axis.grid(alpha=0.25)
    axis.margins(y=0.12)
    _widen(axis, LEAST_SHARE * _largest(values))
    axis.ticklabel_format(axis="y", useOffset=False)
    _set_time_axis(axis, dataset)


def _name_steps(axis: Axes, dataset: xr.Dataset, width: float) -> None:
    """Draw the steps as bars; one has its name or its first word if the `width` [in] has room."""
    clock, whole = _clock(dataset), float(dataset["duration"][0])
    for number, stage in enumerate(stages(dataset)):
        begin, length = stage.start / clock.seconds, (stage.end - stage.start) / clock.seconds
        axis.broken_barh(
            [(begin, length)], (0, 1), color="0.88" if number % 2 == 0 else "0.76", linewidth=0
        )
        room = width * length * clock.seconds / whole if whole else 0.0
        for name in (stage.label, stage.label.split()[0].rstrip(":")):
            if len(name) * CHARACTER_INCHES <= room:
                where = (begin + length / 2, 0.46)
                axis.text(*where, name, ha="center", va="center", fontsize="small")
                break
    axis.set_ylim(0, 1)
    axis.set_axis_off()


def _limits(axis: Axes, dataset: xr.Dataset, one: _Quantity) -> None:
    """Draw what the quantity may not go beyond, or say it where it is far off."""
    about = dataset.attrs
    current = dataset["pack_current"].values
    if one.variable == "plating_potential" and np.nanmax(current) > 0:
        _limit(axis, 0.0, "lithium plates below 0 mV", above=False, always=True)
        axis.axhspan(min(axis.get_ylim()[0], -5.0), 0, color=LIMIT, alpha=0.07, linewidth=0)
    if one.variable == "voltage" and np.nanmax(current) > 0 and "v_max_V" in about:
        _limit(axis, about["v_max_V"], f"limit {about['v_max_V']:g} V", above=True)
    if one.variable == "voltage" and np.nanmin(current) < 0 and "v_min_V" in about:
        _limit(axis, about["v_min_V"], f"limit {about['v_min_V']:g} V", above=False)
    if one.variable == "temperature" and "t_max_degC" in about:
        _limit(axis, about["t_max_degC"], f"limit {about['t_max_degC']:g} °C", above=True)


def _limit(axis: Axes, value: float, text: str, *, above: bool, always: bool = False) -> None:
    low, high = axis.get_ylim()
    off = value - high if above else low - value
    if off > NEAR * (high - low) and not always:
        axis.text(
            0.02,
            0.96 if above else 0.04,
            f"{UP if above else DOWN} {text}",
            transform=axis.transAxes,
            color=LIMIT,
            fontsize="small",
            va="top" if above else "bottom",
        )
        return
    room = 0.13 * (max(high, value) - min(low, value))
    axis.set_ylim(min(low, value - room), max(high, value + room))
    left = _is_freer_left(axis, value)
    axis.axhline(value, color=LIMIT, linewidth=1.0, linestyle="--")
    axis.annotate(
        text,
        (0.02 if left else 0.98, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3 if above else -3),
        textcoords="offset points",
        color=LIMIT,
        fontsize="small",
        ha="left" if left else "right",
        va="bottom" if above else "top",
    )


def _is_freer_left(axis: Axes, value: float) -> bool:
    """Return whether the lines keep further off a value at the left end than at the right."""
    x, y = np.hstack([np.asarray(line.get_data(), dtype=float) for line in axis.lines])
    off = np.abs(y - value)
    first, last = axis.get_xlim()
    reach = TEXT_REACH * (last - first)
    return _least(off[x < first + reach]) >= _least(off[x > last - reach])


def _worth_marking(dataset: xr.Dataset) -> list[Extreme]:
    """Return what stands out; plating and the highest voltage where the pack is charged."""
    current = dataset["pack_current"].values
    on_charge, on_discharge = np.nanmax(current) > 0, np.nanmin(current) < 0
    wanted = {
        "lowest plating potential": on_charge,
        "highest voltage": on_charge,
        "lowest voltage": on_discharge,
        "highest temperature": True,
        "most current": True,
    }
    return [one for one in extremes(dataset) if wanted[one.what]]


def _variable(found: Extreme) -> str:
    return _OF_EXTREMES[found.what][0]


def _mark(axis: Axes, dataset: xr.Dataset, one: _Quantity, found: Sequence[Extreme]) -> None:
    """Ring what stands out in a panel, and say it in the panel's title."""
    said = []
    for each in found:
        scale = _OF_EXTREMES[each.what][1]
        when = each.time / _clock(dataset).seconds
        axis.plot(
            when,
            scale * each.value,
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor="black",
            clip_on=False,
            zorder=5,
        )
        where = f" in {each.place}" if dataset.sizes["cell"] > 1 else ""
        value, unit = figure_of(each)
        said.append(f"{each.what.partition(' ')[0]} {value.replace('-', MINUS)} {unit}{where}")
    axis.set_title(f"{one.title}: {', '.join(said)}" if said else one.title, fontsize="medium")


def went_through(dataset: xr.Dataset) -> list[Map]:
    """Return the worst that each cell met in a run; plating first if the pack was charged."""
    one = dataset.isel(pack=0)
    current = one["pack_current"].values
    found: list[Map] = []

    def add(title: str, values: xr.DataArray, digits: int, worst: Worst) -> None:
        if values.notnull().any():
            found.append(Map(title, values.values, digits, worst, "Reds"))

    if np.nanmax(current) > 0:
        lowest = 1e3 * one["plating_potential"].min("time")
        add("Lowest plating potential [mV]", lowest, 1, "lowest")
        add("Highest voltage [V]", one["voltage"].max("time"), 3, "highest")
    if np.nanmin(current) < 0:
        add("Lowest voltage [V]", one["voltage"].min("time"), 3, "lowest")
    add("Highest temperature [°C]", one["temperature"].max("time"), 1, "highest")
    if one["parallel"].max() > 1:
        add("Most current [A]", abs(one["current"]).max("time"), 2, "highest")
    return found


def _maps_of_cells(dataset: xr.Dataset) -> list[Map]:
    one = dataset.isel(pack=0)
    last = one["soc"].values[_rows(dataset, jumps=False)[-1]]
    rising = pack_soc(dataset)[_rows(dataset, jumps=False)]
    worst: Worst = "highest" if rising[-1] > rising[0] else "lowest"
    found = [Map("State of charge at the end [%]", 1e2 * last, 1, worst, "Blues")]
    causes: tuple[tuple[str, str, float, int, Worst], ...] = (
        ("capacity", "Capacity [Ah]", 1.0, 2, "lowest"),
        ("resistance", "Resistance [mOhm]", 1e3, 1, "highest"),
        ("lli", "Loss of lithium inventory [%]", 1e2, 1, "highest"),
    )
    for name, title, scale, digits, worse in causes:
        if name in one:
            found.append(Map(title, scale * one[name].values, digits, worse, "Blues"))
    return [each for each in found if _differ(each)]


def _grid(dataset: xr.Dataset) -> tuple[int, int]:
    """Return how many groups and columns the pack has."""
    return int(dataset["series"].max()), int(dataset["parallel"].max())


def _has_room(dataset: xr.Dataset) -> bool:
    """Return whether each field of a map of the pack has room for a number."""
    groups, columns = _grid(dataset)
    return groups <= MOST_NUMBERS[0] and columns <= MOST_NUMBERS[1]


def _differ(one: Map) -> bool:
    return bool(np.nanmax(one.values) - np.nanmin(one.values) >= 10.0**-one.digits)


def _draw_map(axis: Axes, one: Map, dataset: xr.Dataset) -> None:
    """Draw the fields of a map, the first group at the bottom; the worst one has a frame."""
    groups, columns = _grid(dataset)
    badness = one.values if one.worst == "highest" else -one.values
    low = float(np.nanmin(badness))
    norm = Normalize(low, max(float(np.nanmax(badness)), low + 10.0**-one.digits))
    colours = LinearSegmentedColormap.from_list(
        one.colours, mpl.colormaps[one.colours](np.linspace(0.03, 0.85, 64))
    )
    axis.imshow(
        norm(badness).reshape(groups, columns),
        cmap=colours,
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
        extent=(0.5, columns + 0.5, 0.5, groups + 0.5),
    )
    if _has_room(dataset):
        for cell, value in enumerate(one.values):
            ink = "white" if norm(badness[cell]) > DARK else "black"
            axis.text(
                cell % columns + 1,
                cell // columns + 1,
                f"{value:z.{one.digits}f}".replace("-", MINUS),
                ha="center",
                va="center",
                fontsize="small",
                color=ink,
            )
    axis.set_title(one.title, fontsize="medium")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axis.yaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    if _differ(one):
        worst = int(np.nanargmax(badness))
        corner = (worst % columns + 0.5, worst // columns + 0.5)
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, linewidth=2.2, clip_on=False))


def _compared(ours: xr.Dataset, reference: xr.Dataset) -> list[Difference]:
    """Return the differences of two runs, if they may be compared."""
    for dataset in (ours, reference):
        check_single(dataset)
    common = min(ours.sizes["time"], reference.sizes["time"]) - 1  # the last is at a run's own end
    if ours.sizes["cell"] != reference.sizes["cell"] or not np.allclose(
        ours["time"].values[:common], reference["time"].values[:common]
    ):
        raise UsageError(
            "the two runs do not have the same cells and the same time step",
            fix="run the same case on both engines, with the same --pack and --dt",
        )
    found = differences(ours, reference)
    if not found:
        raise UsageError(
            "the two runs have no time in common",
            fix="take a shorter --dt, or see why one of them stopped so soon",
        )
    return found


def _pair_of_panels(
    upper: Axes, lower: Axes, ours: xr.Dataset, reference: xr.Dataset, what: str, looks: _Looks
) -> None:
    """Draw both runs' values above and their difference below, at the times they share."""
    variable, label, scale, label_of_difference, scale_of_difference = _OF_DIFFERENCES[what]
    rows = slice(1, min(ours.sizes["time"], reference.sizes["time"]) - 1)
    one, other = (each.isel(pack=0, time=rows) for each in (ours, reference))
    times = _times(ours, one)
    apart = scale_of_difference * (one[variable].values - other[variable].values)
    for cell, colour in enumerate(looks.colours):
        upper.plot(times, scale * one[variable].values[:, cell], color=colour, linewidth=1.6)
        lower.plot(times, apart[:, cell], color=colour, linewidth=1.1)
    upper.plot(
        times, scale * other[variable].values, color="black", linewidth=0.8, linestyle=(0, (5, 4))
    )
    lower.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    _widen(upper, LEAST_SHARE * scale * _largest(one[variable].values))
    _widen(lower, NOTHING)
    upper.set_ylabel(label)
    lower.set_ylabel(label_of_difference)
    for axis in (upper, lower):
        axis.grid(alpha=0.25)
        axis.ticklabel_format(axis="y", useOffset=False)
        _set_time_axis(axis, ours)


def figure_of(found: Extreme) -> tuple[str, str]:
    """Return the value of what stands out as it is told, and its unit."""
    _, scale, digits, unit = _OF_EXTREMES[found.what]
    return f"{scale * found.value:z.{digits}f}", unit


def title_of(dataset: xr.Dataset) -> str:
    """Return what was done with which pack, and how it ended."""
    about = dataset.attrs
    groups, columns = _grid(dataset)
    rate = f" at {about['crate']:g}C" if "crate" in about else ""
    how = f", {_PROTOCOLS[about['protocol']]}{rate}" if "protocol" in about else ""
    cells = f", {about['scenario']}" if "scenario" in about else ""
    soc = pack_soc(dataset)[_rows(dataset, jumps=False)]
    clock = _clock(dataset)
    took = float(dataset["duration"][0]) / clock.seconds
    return (
        f"{columns}p{groups}s{cells}{how}: {100 * soc[0]:.1f} to {100 * soc[-1]:.1f} % in "
        f"{took:.1f} {clock.unit}; {reason_of(dataset)}"
    )


def reason_of(dataset: xr.Dataset) -> str:
    """Return why a run stopped, in words."""
    return REASON_TEXTS[str(dataset["stop_reason"].values[0])]


def engine_of(dataset: xr.Dataset) -> str:
    """Return who made a run; the references say their version."""
    name = dataset.attrs.get("engine_version", dataset.attrs.get("engine", "batterykit"))
    return str(name).replace("pybamm", "PyBaMM")


def _widen(axis: Axes, least: float) -> None:
    """Let an axis of values reach at least this far on both sides of its middle."""
    low, high = axis.get_ylim()
    if high - low < 2 * least:
        middle = (low + high) / 2
        axis.set_ylim(middle - least, middle + least)


def _told(difference: float) -> str:
    return f"{difference:.2g}" if difference >= NOTHING else f"< {NOTHING:g}"


def _signed(currents: FloatArray) -> str:
    """Return the largest of currents [A] with its sign, in words."""
    most = float(currents[np.nanargmax(np.abs(currents))])
    text = f"{most:+.2f} A" if abs(most) >= TENTH else f"{1e3 * most:+.1f} mA"
    return text.replace("-", MINUS)


def _largest(values: FloatArray) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))


def _least(values: FloatArray) -> float:
    return float(np.nanmin(values, initial=math.inf))
