"""PyProBE's level evaluation analysis (LEAN): `differentiation.differentiate_lean`."""

# mypy: disable-error-code="import-not-found"
# the peer is not installed where types are checked

from __future__ import annotations

import numpy as np

from benchmarks.peers.worker import Differentiate, FloatArray, Settings, run


def prepare(voltage: FloatArray, charge: FloatArray, settings: Settings) -> Differentiate:
    """Return what to time; settings: bin [V], and filter, the taps (None for the default)."""
    import polars as pl
    from pyprobe.analysis import differentiation
    from pyprobe.result import Result

    x, y = "Capacity [Ah]", "Voltage [V]"
    curve = Result(lf=pl.DataFrame({x: charge, y: voltage}), info={})
    # its bins are multiples of the finest step in the data
    finest = float(np.min(np.diff(np.unique(voltage))))
    arguments = {"k": max(1, round(settings["bin"] / finest))}
    if settings.get("filter"):
        arguments["smoothing_filter"] = settings["filter"]

    def differentiate() -> tuple[FloatArray, FloatArray]:
        found = differentiation.differentiate_lean(curve, x, y, gradient="dxdy", **arguments)
        v, d = found.get(y, f"d({x})/d({y})")
        return v, np.abs(d)

    return differentiate


if __name__ == "__main__":
    run(prepare)
