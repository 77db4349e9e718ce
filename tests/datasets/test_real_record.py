"""The real record's Expt 2,2: every value in the store is the value in the file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batterykit.datasets.ingest import Report, ingest
from batterykit.store import Store

# header -> (name in the store, divisor): written out here, independently of the package
COLUMNS = {
    "Ageing Sets": ("ageing_sets", 1.0),
    "Ageing Cycles": ("ageing_cycles", 1.0),
    "Age set start date": ("age_set_start_date", None),
    "Age set end date": ("age_set_end_date", None),
    "RPT start date": ("rpt_start_date", None),
    "Days of degradation": ("days_of_degradation", 1.0),
    "Age set av. temperature [°C]": ("age_set_temperature", 1.0),
    "Charge Throughput [A h]": ("charge_throughput", 1.0),
    "Energy Throughput [W h]": ("energy_throughput", 1.0),
    "C/10 Capacity [mA h]": ("capacity_c10", 1000.0),
    "C/2 Capacity [mA h]": ("capacity_c2", 1000.0),
    "0.1s Resistance [Ohms]": ("resistance_0p1s", 1.0),
    "Cell Capacity [mA h]": ("cell_capacity", 1000.0),
    "PE Capacity [mA h]": ("pe_capacity", 1000.0),
    "NE Capacity [mA h]": ("ne_capacity", 1000.0),
    "NE_Gr Capacity [mA h]": ("ne_gr_capacity", 1000.0),
    "NE_Si Capacity [mA h]": ("ne_si_capacity", 1000.0),
    "Electrode Offset [mA h]": ("electrode_offset", 1000.0),
    "SoH": ("soh", 1.0),
    "LAM PE": ("lam_pe", 1.0),
    "LAM NE_tot": ("lam_ne", 1.0),
    "LAM NE_Gr": ("lam_ne_gr", 1.0),
    "LAM NE_Si": ("lam_ne_si", 1.0),
    "LLI": ("lli", 1.0),
    "PE_lo": ("pe_lo", 1.0),
    "NE_lo": ("ne_lo", 1.0),
    "PE_hi": ("pe_hi", 1.0),
    "NE_hi": ("ne_hi", 1.0),
    "Gr_frac": ("gr_frac", 1.0),
    "RMSE of OCV-fitting [V]": ("ocv_fit_rmse", 1.0),
}
# Source: data/README.md of the measurements: RPTs whose published fit did not move
REPEATED_FITS = {
    "E2-A": [8], "E2-B": [1, 9, 11, 12], "E2-C": [11], "E2-D": [6, 10], "E2-E": [9, 11, 12],
    "E2-F": [9],
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(real_record: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Report]:
    store = Store.open_or_create(tmp_path_factory.mktemp("real") / "store.zarr")
    return store, ingest(store, real_record, [2])


@pytest.fixture(scope="module")
def summary(stored: tuple[Store, Report]) -> xr.Dataset:
    return stored[0].read("raw/expt2/summary")


def test_every_value_of_the_six_summaries_is_the_value_in_the_file(
    real_record: Path, summary: xr.Dataset
) -> None:
    compared = 0
    for path in sorted(real_record.rglob("*Processed Data.csv")):
        cell = summary.sel(cell=f"E2-{path.name.split('cell ')[1][0]}")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert len(rows) == cell["n_rpt"]
        for rpt, row in enumerate(rows):
            assert list(row) == list(COLUMNS)
            for header, text in row.items():
                name, divisor = COLUMNS[header]
                value = cell[name].values[rpt]
                if divisor is None:
                    wanted = np.datetime64(text or "NaT", "ns")
                    assert value == wanted or (np.isnat(value) and np.isnat(wanted))
                elif text == "":
                    assert np.isnan(value)
                else:
                    assert value == float(text) / divisor
                compared += 1
    assert compared == 6 * 13 * 30


def test_cells_and_chamber_temperatures_are_those_of_the_file_names(summary: xr.Dataset) -> None:
    assert summary["cell"].values.tolist() == [f"E2-{letter}" for letter in "ABCDEF"]
    assert summary["temperature_chamber"].values.tolist() == [10, 10, 25, 25, 40, 40]
    assert summary["experiment"].values.tolist() == [2] * 6


def test_repeated_fits_are_flagged_exactly_where_they_are_known(summary: xr.Dataset) -> None:
    flags = {
        str(cell): np.flatnonzero(row & 1).tolist()
        for cell, row in zip(summary["cell"].values, summary["quality_flag"].values, strict=True)
    }
    assert flags == REPEATED_FITS
    assert (summary["quality_flag"].values & ~1 == 0).all()


@pytest.mark.parametrize("direction", ["discharge", "charge"])
def test_every_sample_of_the_curves_is_the_sample_in_the_file(
    real_record: Path, stored: tuple[Store, Report], direction: str
) -> None:
    curves = stored[0].read("raw/expt2/curves/0.1C")
    place = curves["direction"].values.tolist().index(direction)
    end = int(np.cumsum(curves["row_size"].values)[place])
    part = slice(end - int(curves["row_size"].values[place]), end)
    path = next(real_record.rglob(f"*RPT0 - 0.1C {direction} data.csv"))
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.reader(handle))[1:]
    for index, (name, divisor) in enumerate(
        [("time", 1), ("voltage", 1), ("current", 1000), ("charge", 1000), ("temperature", 1)]
    ):
        assert curves[name].values[part].tolist() == [float(row[index]) / divisor for row in rows]


def test_the_known_quirks_of_the_discharge_are_flagged(stored: tuple[Store, Report]) -> None:
    node = stored[1].experiments[0].nodes[-1]
    assert node.flags == {
        "last_row_past_cutoff": ["E2-C RPT0 0.1C charge", "E2-C RPT0 0.1C discharge"],
        "capacity_differs": ["E2-C RPT0 0.1C discharge"],  # 4.8137 Ah, the summary says 4.8323
    }
