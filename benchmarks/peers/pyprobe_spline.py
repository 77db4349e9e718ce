"""PyProBE's smoothing spline: `smoothing.spline_smoothing` of voltage over charge."""

# mypy: disable-error-code="import-not-found"
# the peer is not installed where types are checked

from __future__ import annotations

import numpy as np

from benchmarks.peers.worker import Differentiate, FloatArray, Settings, run


def prepare(voltage: FloatArray, charge: FloatArray, settings: Settings) -> Differentiate:
    """Return what to time; settings: lambda, interval [Ah] of its downsampling or None."""
    import polars as pl
    from pyprobe.analysis import smoothing
    from pyprobe.result import Result

    x, y = "Capacity [Ah]", "Voltage [V]"
    curve = Result(lf=pl.DataFrame({x: charge, y: voltage}), info={})

    def differentiate() -> tuple[FloatArray, FloatArray]:
        data = curve
        if settings.get("interval"):
            data = smoothing.downsample(data, x, settings["interval"])
        found = smoothing.spline_smoothing(data, y, settings["lambda"], x=x)
        v, slope = found.get(y, f"d({y})/d({x})")
        with np.errstate(divide="ignore"):
            return v, np.abs(1.0 / slope)

    return differentiate


if __name__ == "__main__":
    run(prepare)
