"""The rows of a feature node: what identifies each, how some of them are made from raw data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from batterykit.features.kinds import Options
from batterykit.features.options import DmaOptions, IcaOptions, SummaryOptions
from batterykit.store.fingerprint import hash_arrays

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr


class Rows(NamedTuple):
    """How the rows of a kind of features are named, made and put together."""

    dimension: str
    contents: Callable[[xr.Dataset], dict[str, list[str]]]  # of raw: what identifies each row
    make: Callable[[xr.Dataset], xr.Dataset]
    finish: Callable[[xr.Dataset], xr.Dataset]
    absent: dict[str, int | bool]  # what a cell has at check-ups that it never had, where not NaN

    def names(self, dataset: xr.Dataset) -> list[str]:
        """Return the names of the rows that a dataset holds."""
        return (_curve_names if self.dimension == "curve" else _cell_names)(dataset)


def rows_of(options: Options) -> Rows:
    """Return how the rows of these features are named and made."""
    if isinstance(options, IcaOptions):
        from batterykit.features.ica import analyse
        from batterykit.features.tracking import track_peaks

        return Rows(
            "curve",
            _contents_by_curve,
            lambda raw: analyse(raw, options),
            lambda rows: track_peaks(rows, options),
            {},
        )
    if isinstance(options, DmaOptions):
        from batterykit.features.dma import FLAGS, dma

        return Rows(
            "cell",
            _contents_by_cell_of_curves,
            lambda raw: dma(raw, options),
            lambda rows: rows,
            {"quality_flag": FLAGS["no_curve"] | FLAGS["no_reference"]},
        )
    absent: dict[str, int | bool] = {"quality_flag": 0, "mask": False}
    if isinstance(options, SummaryOptions):
        from batterykit.features.summary import summary

        return Rows(
            "cell", _contents_by_cell, lambda raw: summary(raw, options), lambda rows: rows, absent
        )
    from batterykit.features.sequence import sequence

    return Rows(
        "cell", _contents_by_cell, lambda raw: sequence(raw, options), lambda rows: rows, absent
    )


def names_of(raw: xr.Dataset) -> list[str]:
    """Return the names of the cells of a summary, or of the curves of a ragged array."""
    return (_curve_names if "curve" in raw.dims else _cell_names)(raw)


def _cell_names(dataset: xr.Dataset) -> list[str]:
    return [str(cell) for cell in dataset["cell"].values]


def _curve_names(dataset: xr.Dataset) -> list[str]:
    columns = (dataset[name].values for name in ("cell", "rpt", "direction", "protocol"))
    return [
        f"{cell} RPT{int(rpt):02d} {direction} {protocol}"
        for cell, rpt, direction, protocol in zip(*columns, strict=True)
    ]


def _contents_by_cell(raw: xr.Dataset) -> dict[str, list[str]]:
    """Return what identifies a cell's summary: its hash and the labels it carries over."""
    labels = (raw[name].values for name in ("content_hash", "experiment", "temperature_chamber"))
    return {
        cell: [str(label) for label in of_cell]
        for cell, of_cell in zip(_cell_names(raw), zip(*labels, strict=True), strict=True)
    }


def _contents_by_curve(raw: xr.Dataset) -> dict[str, list[str]]:
    """Return what identifies a curve: its hash and that of the resistance it is corrected with."""
    contents = {
        name: [str(content)]
        for name, content in zip(_curve_names(raw), raw["content_hash"].values, strict=True)
    }
    if "resistance" in raw:
        for mine, resistance in zip(contents.values(), raw["resistance"].values, strict=True):
            mine.append(hash_arrays(resistance))
    return contents


def _contents_by_cell_of_curves(raw: xr.Dataset) -> dict[str, list[str]]:
    """Return what identifies the curves of a cell: their names and hashes."""
    contents: dict[str, list[str]] = {cell: [] for cell in _cell_names(raw)}
    by_curve = sorted(_contents_by_curve(raw).items())
    for name, content in by_curve:
        contents[name.partition(" ")[0]] += [name, *content]
    return contents


def only(raw: xr.Dataset, chosen: list[int]) -> xr.Dataset:
    """Return some cells of a summary or some curves of a ragged array, uncopied if in one run."""
    import numpy as np

    picked: slice | list[int] = chosen
    if chosen == list(range(chosen[0], chosen[-1] + 1)):
        picked = slice(chosen[0], chosen[-1] + 1)
    if "curve" not in raw.dims:
        return raw.isel(cell=picked)
    stops = np.cumsum(raw["row_size"].values)
    starts = stops - raw["row_size"].values
    samples: slice | np.ndarray
    if isinstance(picked, slice):
        samples = slice(int(starts[chosen[0]]), int(stops[chosen[-1]]))
    else:
        samples = np.concatenate([np.arange(starts[k], stops[k]) for k in chosen])
    return raw.isel(curve=picked, sample=samples)
