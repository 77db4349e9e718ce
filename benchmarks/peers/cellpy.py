"""Cellpy's incremental capacity analysis: `cellpy.utils.ica.dqdv_np`."""

# mypy: disable-error-code="import-not-found"
# the peer is not installed where types are checked

from __future__ import annotations

import logging

import numpy as np

from benchmarks.peers.worker import Differentiate, FloatArray, Settings, run


def prepare(voltage: FloatArray, charge: FloatArray, settings: Settings) -> Differentiate:
    """Return what to time; settings are the arguments of `dqdv_np`."""
    from cellpy.utils import ica

    logging.disable()
    arguments = {name: value for name, value in settings.items() if name != "prominence"}

    def differentiate() -> tuple[FloatArray, FloatArray]:
        v, d = ica.dqdv_np(voltage, charge, **arguments)
        return v, np.abs(d)

    return differentiate


if __name__ == "__main__":
    run(prepare)
