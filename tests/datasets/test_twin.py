"""What the twin promises: the record's files, published means and spread, and a known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from batterykit import halfcell
from batterykit.datasets import ageing, lgm50t, twin
from batterykit.errors import InputError, UsageError

PUBLISHED = {  # means of the record's 40 cells at RPT 0, and their relative spread
    "cell_capacity": (4.857, 0.0044),
    "resistance_0p1s": (26.4e-3, 0.0295),
    "pe_capacity": (5.634, 0.0113),
    "ne_capacity": (5.272, 0.0174),
    "ne_gr_capacity": (4.471, 0.0189),
    "ne_si_capacity": (0.800, 0.0272),
    "electrode_offset": (0.563, 0.082),
}
EXPT_2 = "Expt 2,2 - C-based Degradation 2"
SAMPLING = 60.0  # s; few rows, quick tests
SMALL = ("E2-A", "E2-B")


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return ageing.simulate_truth(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("twin") / "out"
    twin.write_twin(out, cells=2, sampling=SAMPLING, experiments=[2])
    return out


def summary(folder: Path, cell: str = "A") -> pd.DataFrame:
    return pd.read_csv(next(folder.rglob(f"*cell {cell} (10degC) - Processed Data.csv")))


def curve(folder: Path, rpt: int, cell: str = "A") -> pd.DataFrame:
    return pd.read_csv(next(folder.rglob(f"*cell {cell} - RPT{rpt} - 0.1C discharge data.csv")))


# ---- fresh cells and ageing


def test_the_population_is_the_records_40_cells_with_expt_5_then_2_first() -> None:
    assert len(ageing.ALL_CELLS) == 40
    assert sorted(ageing.ALL_CELLS) == sorted(lgm50t.N_RPT)
    first = twin.choose_cells(14)
    assert first == [f"E5-{c}" for c in "ABCDEFGH"] + [f"E2-{c}" for c in "ABCDEF"]
    assert twin.choose_cells(40, [2, 5]) == first


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_fresh_cells_have_the_published_means_within_1_percent_and_spread_within_half(
    seed: int,
) -> None:
    fresh = ageing.simulate_truth(seed).isel(rpt=0)

    for name, (mean, spread) in PUBLISHED.items():
        values = fresh[name].to_numpy()
        assert values.mean() == pytest.approx(mean, rel=0.01), name
        assert values.std() / values.mean() == pytest.approx(spread, rel=0.5), name


def test_health_falls_and_losses_grow_at_every_check_up(truth: xr.Dataset) -> None:
    for name in ("lli", "lam_pe", "lam_ne_gr", "lam_ne_si", "resistance_0p1s", "charge_throughput"):
        steps = np.diff(truth[name].to_numpy(), axis=1)
        assert np.nanmin(steps) > 0, name
    assert np.nanmax(np.diff(truth.soh.to_numpy(), axis=1)) < 0


@pytest.mark.parametrize("experiment", [1, 2, 3, 4, 5])
def test_health_at_the_end_is_in_the_experiments_range(truth: xr.Dataset, experiment: int) -> None:
    low, high = ageing.SOH_AT_END[experiment]
    cells = [cell for cell in ageing.ALL_CELLS if cell.startswith(f"E{experiment}")]

    end = [float(truth.soh.sel(cell=cell, rpt=lgm50t.N_RPT[cell] - 1)) for cell in cells]

    assert low <= min(end)
    assert max(end) <= high


@pytest.mark.parametrize("experiment", [1, 2, 3, 4, 5])
def test_health_at_rpt_8_is_the_records_within_5_points(truth: xr.Dataset, experiment: int) -> None:
    for cell in (cell for cell in ageing.ALL_CELLS if cell.startswith(f"E{experiment}")):
        low, high = ageing.SOH_AT_RPT8[experiment][round(lgm50t.CHAMBER_DEGC[cell])]
        assert low - 0.05 <= float(truth.soh.sel(cell=cell, rpt=8)) <= high + 0.05, cell


def test_silicon_goes_first_in_the_low_window_and_hardly_in_the_high_ones(
    truth: xr.Dataset,
) -> None:
    at = truth.lam_ne_si.sel(rpt=8)

    assert at.sel(cell="E1-K") > 0.75
    assert at.sel(cell="E5-F") > 2 * at.sel(cell="E2-E")
    assert (truth.lam_ne_gr.sel(rpt=8) < 0.15).all()


def test_cells_run_warmer_than_their_chamber_most_of_all_in_the_cold(truth: xr.Dataset) -> None:
    heating = (truth.age_set_temperature - truth.temperature_chamber).mean("rpt")

    cold = heating[truth.temperature_chamber == 10].mean()
    hot = heating[truth.temperature_chamber == 40].mean()
    assert cold == pytest.approx(6.3, abs=0.5)
    assert hot == pytest.approx(0.8, abs=0.5)


def test_the_definitions_of_the_record_hold_to_rounding(folder: Path) -> None:
    t = summary(folder)
    pe, ne, cell = (t[f"{n} Capacity [mA h]"] for n in ("PE", "NE", "Cell"))
    offset, inventory = t["Electrode Offset [mA h]"], pe - t["Electrode Offset [mA h]"]
    rules = {
        "cell from PE": (cell, (t.PE_hi - t.PE_lo) * pe),
        "cell from NE": (cell, (t.NE_hi - t.NE_lo) * ne),
        "offset": (offset, t.PE_lo * pe - t.NE_lo * ne),
        "graphite": (t["NE_Gr Capacity [mA h]"], t.Gr_frac * ne),
        "silicon": (t["NE_Si Capacity [mA h]"], (1 - t.Gr_frac) * ne),
        "SoH": (t.SoH, cell / cell[0]),
        "LAM PE": (t["LAM PE"], 1 - pe / pe[0]),
        "LAM NE": (t["LAM NE_tot"], 1 - ne / ne[0]),
        "LLI": (t.LLI, (inventory[0] - inventory) / cell[0]),
    }

    for name, (found, wanted) in rules.items():
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9, err_msg=name)


# ---- files


def test_the_folder_says_that_it_is_synthetic(folder: Path) -> None:
    marker = json.loads((folder / "TWIN.json").read_text())

    assert marker["synthetic"] is True
    assert marker["complete"] is True
    assert marker["seed"] == 0
    assert "Nothing here was measured" in (folder / "README.txt").read_text()


def test_files_carry_the_records_names_and_every_one_is_recognised(folder: Path) -> None:
    found = lgm50t.find_files(2, folder / "Expt 2,2 - C-based Degradation 2")

    assert not found.unrecognised
    assert {kind: len(files) for kind, files in found.files.items() if files} == {
        "summary": 2, "sets": 2, "cycles": 2, "0.1C": 26,
    }  # fmt: skip
    names = [path.name for path in folder.rglob("*.csv")]
    assert "expt 2,2 - cell A - cycle_data.csv" in names
    assert "expt 2,2 - cell B - set_data.csv" in names
    assert all("0.1C Voltage Curves/cell " in str(f.path) for f in found.files["0.1C"])


def test_expt_5_writes_cell_with_a_capital_in_the_folder_only(tmp_path: Path) -> None:
    twin.write_twin(tmp_path, cells=1, sampling=600.0)

    path = next(tmp_path.rglob("*RPT15 - 0.1C discharge data.csv"))
    assert path.parent.name == "Cell A"
    assert path.name == "Expt 5 - cell A - RPT15 - 0.1C discharge data.csv"


def test_names_headers_and_empty_places_equal_the_real_files(
    folder: Path, real_record: Path
) -> None:
    ours, theirs = folder / EXPT_2, real_record / EXPT_2
    name = "Summary Data/Performance Summary/Expt 2,2 - cell A (10degC) - Processed Data.csv"
    real, made = pd.read_csv(theirs / name), pd.read_csv(ours / name)
    assert list(made.columns) == list(real.columns)
    pd.testing.assert_frame_equal(made.isna(), real.isna())
    for column in ("Ageing Sets", "Ageing Cycles"):
        pd.testing.assert_series_equal(made[column], real[column])
    np.testing.assert_allclose(
        made["Charge Throughput [A h]"][1:], real["Charge Throughput [A h]"][1:], rtol=0.01
    )
    np.testing.assert_allclose(
        made["Energy Throughput [W h]"][1:], real["Energy Throughput [W h]"][1:], rtol=0.05
    )

    curves = "Processed Timeseries Data/0.1C Voltage Curves"
    shape = "Expt 2,2 - cell {0} - RPT0 - 0.1C discharge data.csv"
    their_curve = theirs / curves / "cell C" / shape.format("C")
    our_curve = ours / curves / "cell A" / shape.format("A")
    with their_curve.open() as a, our_curve.open() as b:
        assert a.readline() == b.readline()


def test_the_model_follows_a_real_c10_discharge_within_25_millivolts(real_record: Path) -> None:
    folder = real_record / EXPT_2
    curves = folder / "Processed Timeseries Data" / "0.1C Voltage Curves"
    real = pd.read_csv(next(curves.rglob("*cell C - RPT0 - 0.1C discharge data.csv")))
    path = next(folder.rglob("*cell C (25degC)*.csv"))
    row = pd.read_csv(path).iloc[0]
    cell = halfcell.Electrodes(
        *(
            np.float64(row[f"{name} [mA h]"] / 1e3)
            for name in ("PE Capacity", "NE_Gr Capacity", "NE_Si Capacity", "Electrode Offset")
        ),
        resistance=np.float64(row["0.1s Resistance [Ohms]"]),
    )
    offset = halfcell.offset_for_capacity(cell, np.float64(row["C/10 Capacity [mA h]"] / 1e3))
    model = halfcell.simulate_discharge(halfcell.replace(cell, offset=offset))

    inside = slice(60, -3)  # the first minute is the cell's relaxation
    modelled = np.interp(real["Charge (mA.h)"] / 1e3, model.charge, model.voltage)
    error = (modelled - real["Voltage (V)"]).iloc[inside]

    assert np.sqrt((error**2).mean()) < 0.025


def test_odd_check_ups_have_no_c2_capacity_and_no_resistance_and_the_first_no_dates(
    folder: Path,
) -> None:
    t = summary(folder)

    for column in ("C/2 Capacity [mA h]", "0.1s Resistance [Ohms]"):
        assert t[column].isna().tolist() == [rpt % 2 == 1 for rpt in range(13)]
    for column in ("Age set start date", "Age set end date", "Days of degradation"):
        assert t[column].isna().tolist() == [rpt == 0 for rpt in range(13)]


def test_a_curve_ends_with_the_summarys_capacity_below_the_cut_off_and_one_row_above(
    folder: Path,
) -> None:
    t = summary(folder)
    for rpt in (0, 7, 12):
        c = curve(folder, rpt)
        assert c["Charge (mA.h)"].iloc[-1] == pytest.approx(
            t["C/10 Capacity [mA h]"][rpt], rel=1e-9
        )
        assert c["Charge (mA.h)"].iloc[-1] == pytest.approx(
            t["Cell Capacity [mA h]"][rpt], rel=1e-5
        )
        assert (c["Voltage (V)"].iloc[:-2] > 2.5).all()
        assert c["Voltage (V)"].iloc[-2] < 2.5 < c["Voltage (V)"].iloc[-1]
        assert c["Time (s)"].iloc[0] > 1000
        assert c["Charge (mA.h)"].iloc[0] == 0
        assert c["Current (mA)"].between(-500.3, -499.7).all()
        assert c["Temperature (degC)"].between(23.5, 27.5).all()
        assert np.diff(c["Time (s)"])[:-2] == pytest.approx(SAMPLING)


def test_a_curves_noise_is_white_and_between_a_fifth_and_one_millivolt(tmp_path: Path) -> None:
    twin.write_twin(tmp_path, cells=1, sampling=2.0, experiments=[2])
    truth = xr.open_dataset(tmp_path / "truth" / "electrodes.nc").sel(cell="E2-A", rpt=3)
    names = (
        "pe_capacity", "ne_gr_capacity", "ne_si_capacity", "electrode_offset", "resistance_0p1s"
    )  # fmt: skip
    model = halfcell.simulate_discharge(halfcell.Electrodes(*(truth[n].to_numpy() for n in names)))
    c = curve(tmp_path, 3).iloc[:-2]

    rest = c["Voltage (V)"] - np.interp(c["Charge (mA.h)"] / 1e3, model.charge, model.voltage)

    assert 0.15e-3 < rest.std() < 1.1e-3
    assert abs(rest.mean()) < 1e-4
    assert abs(rest.autocorr()) < 0.05
    assert rest.std() == pytest.approx(float(truth.ocv_fit_rmse), rel=0.02)


def test_tables_per_set_and_per_cycle_add_up_to_the_summary(folder: Path) -> None:
    t = summary(folder)
    sets = pd.read_csv(next(folder.rglob("expt 2,2 - cell A - set_data.csv")))
    cycles = pd.read_csv(next(folder.rglob("expt 2,2 - cell A - cycle_data.csv")))

    assert len(sets) == 12
    assert len(cycles) == 12 * 517
    np.testing.assert_allclose(
        sets["Charge Throughput [A h]"].cumsum(), t["Charge Throughput [A h]"][1:], rtol=1e-9
    )
    passed = cycles["Charge Capacity [A h]"] + cycles["Discharge Capacity [A h]"]
    np.testing.assert_allclose(passed.sum(), t["Charge Throughput [A h]"].iloc[-1], rtol=1e-6)
    np.testing.assert_allclose(
        cycles.groupby("Ageing Set")["Av. Discharge Temperature [°C]"].mean(),
        t["Age set av. temperature [°C]"][1:],
        atol=1e-3,
    )


# ---- GITT


@pytest.fixture(scope="module")
def pulsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("twin") / "out"
    twin.write_twin(out, cells=2, sampling=SAMPLING, experiments=[2], gitt=True)
    return out


def gitt(folder: Path, rpt: int, pulses: int) -> pd.DataFrame:
    name = f"*cell A - RPT{rpt} - {pulses}-pulse GITT 0.1C discharge data.csv"
    return pd.read_csv(next(folder.rglob(name)))


def test_gitt_changes_no_byte_of_any_other_file_and_is_off_by_default(
    folder: Path, pulsed: Path
) -> None:
    without = {path.relative_to(folder) for path in folder.rglob("*.csv")}
    extra = {path.relative_to(pulsed) for path in pulsed.rglob("*.csv")} - without
    assert not [path for path in folder.rglob("*") if "GITT" in path.name]
    assert len(extra) == 2 * 7 * 2
    assert all("GITT" in path.name for path in extra)
    for path in [*without, Path("README.txt")]:
        assert (folder / path).read_bytes() == (pulsed / path).read_bytes(), path
    marker, other = (json.loads((where / "TWIN.json").read_text()) for where in (folder, pulsed))
    assert other == marker | {"gitt": True}


def test_gitt_files_are_recognised_at_even_check_ups_two_for_each(pulsed: Path) -> None:
    found = lgm50t.find_files(2, pulsed / EXPT_2)

    assert not found.unrecognised
    files = [file for file in found.files["GITT"] if file.cell == "E2-A"]
    assert [file.rpt for file in files] == [rpt for rpt in range(0, 13, 2) for _ in range(2)]
    assert {file.protocol for file in files} == {"25-pulse GITT 0.1C", "5-pulse GITT 0.1C"}
    assert {file.path.parent.name for file in files} == {"cell A"}
    assert max(file.path.stat().st_size for file in files) < 200_000


@pytest.mark.parametrize("pulses", [25, 5])
def test_gitt_is_equal_pulses_from_full_to_empty_with_a_rest_before_and_after_each(
    pulsed: Path, pulses: int
) -> None:
    c = gitt(pulsed, 4, pulses)
    loaded = c["Current (mA)"].abs() > 250
    edges = np.diff(loaded.astype(int))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)

    assert len(starts) == len(ends) == pulses
    charge = c["Charge (mA.h)"].to_numpy()
    capacity = summary(pulsed)["C/10 Capacity [mA h]"][4]
    np.testing.assert_allclose(charge[ends] - charge[starts], capacity / pulses, rtol=1e-5)
    assert c["Current (mA)"][loaded].between(-500.3, -499.7).all()
    assert c["Current (mA)"][~loaded].abs().max() < 0.3
    passed = np.trapezoid(-c["Current (mA)"], c["Time (s)"]) / 3600
    assert passed == pytest.approx(capacity, rel=1e-3)
    assert c["Voltage (V)"].iloc[ends[-1]] < 2.5 < c["Voltage (V)"].drop(index=ends[-1]).min()
    steps = np.diff(c["Time (s)"])
    assert steps.min() > 0
    assert np.median(steps) == pytest.approx(SAMPLING)


def test_gitt_shows_the_open_circuit_at_rest_and_the_c10_curve_in_a_pulse(pulsed: Path) -> None:
    truth = xr.open_dataset(pulsed / "truth" / "electrodes.nc").sel(cell="E2-A", rpt=6)
    names = (
        "pe_capacity", "ne_gr_capacity", "ne_si_capacity", "electrode_offset", "resistance_0p1s"
    )  # fmt: skip
    cell = halfcell.Electrodes(*(truth[n].to_numpy() for n in names))
    model = halfcell.simulate_discharge(cell)
    c = gitt(pulsed, 6, 25)
    loaded = (c["Current (mA)"].abs() > 250).to_numpy()
    charge, voltage = c["Charge (mA.h)"].to_numpy() / 1e3, c["Voltage (V)"].to_numpy()

    c10 = np.interp(charge, model.charge, model.voltage)
    lost = c10 - voltage
    assert abs(lost[loaded].mean()) < 2e-4
    assert lost[loaded].std() < 1.2e-3
    # at rest the whole polarisation at C/10 is gone: over most of the charge twice the resistance
    # after 0.1 s, times the current
    middle = ~loaded & (charge > 0.5) & (charge < 4.0)
    drop = 0.5 * halfcell.DC_PER_PULSE_RESISTANCE * cell.resistance
    assert -lost[middle].mean() == pytest.approx(drop, rel=0.03)
    assert -lost[-1] > 4 * drop  # the empty cell rises by more


def test_gitt_rows_are_half_a_minute_apart_or_as_far_as_those_of_the_curves(
    tmp_path: Path,
) -> None:
    for sampling, expected in ((10.0, twin.GITT_SAMPLING), (600.0, 600.0)):
        twin.write_twin(tmp_path, cells=1, sampling=sampling, experiments=[2], gitt=True)
        steps = np.diff(gitt(tmp_path, 0, 5)["Time (s)"])
        assert np.median(steps) == pytest.approx(expected, abs=1e-3)


# ---- truth


def test_the_truth_of_dqdv_is_that_of_the_electrodes_beside_it(folder: Path) -> None:
    electrodes = xr.open_dataset(folder / "truth" / "electrodes.nc")
    curves = xr.open_dataset(folder / "truth" / "curves.nc")
    assert curves.sizes["curve"] == 26
    row = int(np.flatnonzero((curves.cell == "E2-B") & (curves.rpt == 5))[0])

    grid = curves.voltage.to_numpy()
    dqdv = curves.dqdv.to_numpy()[row]
    inside = np.isfinite(dqdv)
    area = np.trapezoid(dqdv[inside], grid[inside])

    capacity = float(electrodes.cell_capacity.sel(cell="E2-B", rpt=5))
    assert area == pytest.approx(capacity, rel=2e-3)
    assert (dqdv[inside] > 0).all()


def test_the_true_peaks_are_the_maxima_of_the_true_curve(folder: Path) -> None:
    curves = xr.open_dataset(folder / "truth" / "curves.nc")

    for row in (0, 12, 25):
        voltage = curves.peak_voltage.to_numpy()[row]
        present = np.isfinite(voltage)
        assert 3 <= present.sum() < twin.MAX_PEAKS
        assert (np.diff(voltage[present]) > 0).all()
        at_peaks = np.interp(voltage[present], curves.voltage, curves.dqdv.to_numpy()[row])
        np.testing.assert_allclose(at_peaks, curves.peak_height.to_numpy()[row, present], rtol=0.02)
        tallest = float(curves.dqdv.isel(curve=row).max())
        assert curves.peak_height.to_numpy()[row, present].max() == pytest.approx(tallest, rel=0.01)


def test_truth_opens_with_units_and_the_warning(folder: Path) -> None:
    truth = xr.open_dataset(folder / "truth" / "electrodes.nc")

    assert "Nothing here was measured" in truth.attrs["title"]
    assert all("units" in truth[name].attrs for name in truth.data_vars)
    assert truth.cell.to_numpy().tolist() == list(SMALL)


# ---- seeds and refusals


def test_a_cell_is_the_same_bytes_whatever_the_number_of_cells(
    folder: Path, tmp_path: Path
) -> None:
    twin.write_twin(tmp_path, cells=1, sampling=SAMPLING, experiments=[2])

    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*cell A*.csv"))
    assert len(files) == 16
    for path in files:
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes(), path


def test_another_seed_gives_other_cells(truth: xr.Dataset) -> None:
    other = ageing.simulate_truth(1)

    assert not np.allclose(other.pe_capacity.isel(rpt=0), truth.pe_capacity.isel(rpt=0))
    assert ageing.simulate_truth(0).equals(truth)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("four years of work")

    with pytest.raises(InputError, match="not empty and holds no twin"):
        twin.write_twin(tmp_path, cells=1)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_earlier_twin_is_replaced_whole(tmp_path: Path) -> None:
    twin.write_twin(tmp_path, cells=2, sampling=600.0, experiments=[4])
    (tmp_path / "notes.txt").write_text("mine")

    twin.write_twin(tmp_path, cells=1, sampling=600.0, experiments=[4])

    assert not list(tmp_path.rglob("*cell B*"))
    assert (tmp_path / "notes.txt").exists()


def test_measured_data_beside_a_twin_are_left_alone(tmp_path: Path) -> None:
    twin.write_twin(tmp_path, cells=1, sampling=600.0, experiments=[4])
    measured = tmp_path / EXPT_2 / "Summary Data" / "measured.csv"
    measured.parent.mkdir(parents=True)
    measured.write_text("years of work")

    with pytest.raises(InputError, match="did not write this folder"):
        twin.write_twin(tmp_path, cells=1, sampling=600.0, experiments=[4])

    assert measured.read_text() == "years of work"
    assert len(list(tmp_path.rglob("*discharge data.csv"))) == 10
    assert "synthetic" not in lgm50t.source_of(tmp_path / EXPT_2)


def test_an_experiment_carried_off_alone_still_says_that_it_is_synthetic(folder: Path) -> None:
    assert "synthetic" in lgm50t.source_of(folder / EXPT_2)
    assert json.loads((folder / EXPT_2 / "TWIN.json").read_text())["complete"] is True


def test_a_file_in_place_of_the_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")

    with pytest.raises(InputError, match="this is a file"):
        twin.write_twin(path, cells=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cells": 0}, "0 cells"),
        ({"cells": 41}, "41 cells"),
        ({"experiments": [6]}, "no experiment"),
        ({"sampling": 0.0}, "sampling of 0"),
        ({"sampling": 1e-9}, "sampling of 1e-09"),
        ({"sampling": 1e9}, "sampling of 1000000000"),
        ({"sampling": float("nan")}, "sampling of nan"),
        ({"seed": -1}, "negative"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        twin.write_twin(tmp_path / "out", **wrong)  # type: ignore[arg-type]

    assert not (tmp_path / "out").exists()
