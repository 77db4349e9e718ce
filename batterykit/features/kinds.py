"""The kinds of features: their parameters, the code that makes them, and where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from batterykit.errors import InputError
from batterykit.features.options import (
    DmaOptions,
    IcaOptions,
    SequenceOptions,
    SummaryOptions,
)
from batterykit.store.fingerprint import hash_bytes, hash_json

Options = SummaryOptions | SequenceOptions | IcaOptions | DmaOptions

Kind = Literal["summary", "sequence", "ica", "dma"]
OPTIONS: dict[str, type[Options]] = {
    "summary": SummaryOptions,
    "sequence": SequenceOptions,
    "ica": IcaOptions,
    "dma": DmaOptions,
}
OF_CURVES = ("ica", "dma")
"""The kinds that are made from voltage curves; the others are made from the summaries."""
ROW_CODE = {
    "summary": "batterykit.features.summary:summary",
    "sequence": "batterykit.features.sequence:sequence",
    "ica": "batterykit.features.ica:analyse",
    "dma": "batterykit.features.dma:dma",
}
"""What makes one row; a row is reused as long as this and all it refers to stay as they are."""
NODE_CODE = {kind: (code,) for kind, code in ROW_CODE.items()} | {
    "ica": ("batterykit.features.ica:ica", "batterykit.features.sources:read_raw")
}
"""What makes the node of its rows, and of raw data what they are made from: the resistance of the
IR correction (a row's key has its values instead).
"""

DEFAULT_CURVES = "0.1C"
HASH_IN_PATH = 12  # hex digits: 2^48 parameter sets before two are likely to meet


def parameters_of(kind: str, options: Options, curves: str = DEFAULT_CURVES) -> dict[str, Any]:
    """Return all that tells one set of features of a kind from another, as JSON can hold it.

    A file counts by its name and content, so that an edited file is another set of parameters.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    files = {name: _by_content(value) for name, value in options if isinstance(value, Path)}
    beside: dict[str, str] = {"curves": curves} if kind in OF_CURVES else {}
    if isinstance(options, DmaOptions):
        beside["half_cells"] = "files" if options.positive else f"Chen2020, PyBaMM {_pybamm()}"
    return options.model_dump(mode="json") | files | beside


def _pybamm() -> str:
    from importlib.metadata import version  # not the package itself: that takes seconds

    return version("pybamm")


def _by_content(path: Path) -> dict[str, str]:
    try:
        return {"file": path.name, "content_hash": hash_bytes(path.read_bytes())}
    except OSError as error:
        raise InputError(
            f"the half-cell file cannot be read: {error.strerror}",
            fix="give the path of a CSV file with stoichiometry and potential",
            file=path,
        ) from error


def node_of(kind: str, parameters: Mapping[str, Any]) -> str:
    """Return the path of the node with these parameters."""
    return f"features/{kind}/{hash_json(dict(parameters))[:HASH_IN_PATH]}"
