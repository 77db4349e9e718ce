"""Plain scipy: Savitzky-Golay on voltage over charge, dQ/dV = 1 / (dV/dQ), `find_peaks`.

With `blocks` the samples are first averaged in that many blocks: what someone writes by hand who
knows that the filter's cost grows with the number of samples times the window.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peers.worker import Differentiate, FloatArray, Settings, run


def prepare(voltage: FloatArray, charge: FloatArray, settings: Settings) -> Differentiate:
    """Return what to time; settings: window [1 of the curve], order, blocks or None."""
    from scipy.signal import savgol_filter

    order = int(settings["order"])

    def differentiate() -> tuple[FloatArray, FloatArray]:
        v, q = voltage, charge
        blocks = settings.get("blocks")
        if blocks and len(v) >= 2 * blocks:
            size = len(v) // blocks
            v = v[: size * blocks].reshape(blocks, size).mean(axis=1)
            q = q[: size * blocks].reshape(blocks, size).mean(axis=1)
        window = max(order + 1 + order % 2, 2 * round(settings["window"] * len(v) / 2) + 1)
        step = (q[-1] - q[0]) / (len(q) - 1)
        slope = savgol_filter(v, window, order, deriv=1, delta=step)
        with np.errstate(divide="ignore"):
            return savgol_filter(v, window, order), np.abs(1.0 / slope)

    return differentiate


if __name__ == "__main__":
    run(prepare, own_peaks=True)
