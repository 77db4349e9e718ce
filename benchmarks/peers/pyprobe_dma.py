"""PyProBE's degradation mode analysis: `run_ocv_curve_fit`, graphite and silicon apart.

`python -m benchmarks.peers.pyprobe_dma INPUT.npz OUTPUT.npz`. INPUT holds v_flat [V] (at rest: the
ohmic drop is added before), q_flat [Ah] of discharges, offsets; half-cell tables pe_content,
pe_potential, gr_content, gr_potential, si_content, si_potential; start and bounds of the five
parameters. OUTPUT holds fits (curve, 5): capacities of positive and negative electrode and lithium
inventory [Ah], graphite's share [1], RMSE [V]; seconds (curve,).
"""

# mypy: disable-error-code="import-not-found"
# the peer is not installed where types are checked

from __future__ import annotations

import itertools
import sys
import time

import numpy as np


def main() -> None:
    """Fit each curve, from the same start."""
    import polars as pl
    from pyprobe.analysis import degradation_mode_analysis as dma
    from pyprobe.result import Result

    source, target = sys.argv[1:]
    with np.load(source, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    positive = dma.OCP.from_data(data["pe_content"], data["pe_potential"])
    offsets = data["offsets"]
    fits, seconds = [], []
    for first, last in itertools.pairwise(offsets):
        negative = dma.CompositeOCP.from_data(
            data["gr_content"], data["gr_potential"], data["si_content"], data["si_potential"]
        )
        # it counts charge upwards with the state of charge
        charge = data["q_flat"][last - 1] - data["q_flat"][first:last]
        curve = Result(
            lf=pl.DataFrame({"Capacity [Ah]": charge, "Voltage [V]": data["v_flat"][first:last]}),
            info={},
        )
        begin = time.perf_counter()
        limits, fitted = dma.run_ocv_curve_fit(
            curve,
            positive,
            negative,
            optimizer_options={"x0": data["start"], "bounds": [tuple(b) for b in data["bounds"]]},
        )
        values = limits.get(
            "Cathode Capacity [Ah]",
            "Anode Capacity [Ah]",
            "Li Inventory [Ah]",
            "ne composite fraction",
        )
        seconds.append(time.perf_counter() - begin)
        measured, model = fitted.get("Input Voltage [V]", "Fitted Voltage [V]")
        rmse = float(np.sqrt(np.mean((measured - model) ** 2)))
        fits.append([*(float(value[0]) for value in values), rmse])
    np.savez(target, fits=np.array(fits), seconds=np.array(seconds))


if __name__ == "__main__":
    main()
