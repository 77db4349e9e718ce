from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr

from benchmarks.pack import Found, main, make_row, print_report
from benchmarks.pack_accuracy import (
    DRIVE_SECONDS,
    Errors,
    cases,
    compare_datasets,
    differences,
    drive,
    find_order,
    worst,
)
from benchmarks.pack_cost import Batch, fit_exponent

KEYS = [
    "engine",
    "cells",
    "threads",
    "dt_s",
    "ms_per_step",
    "voltage_rms_mV",
    "voltage_max_mV",
    "plating_rms_mV",
    "temperature_max_K",
    "current_rms_pct",
]
ACCURACY = KEYS[5:]


@pytest.mark.slow
def test_json_is_one_list_of_rows_of_all_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--cells", "1", "18", "40", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == KEYS for row in rows)
    by_place = {(row["engine"], row["cells"], row["threads"], row["dt_s"]): row for row in rows}
    assert len(by_place) == len(rows)
    for model in ("spme", "dfn"):
        for engine in ("batterykit", "pybamm"):
            for cells in (1, 18, 40):
                row = by_place[f"{engine} {model}", cells, 1, 10.0]
                assert row["ms_per_step"] > 0
        assert by_place[f"batterykit {model}", 40, 2, 10.0]["ms_per_step"] > 0
        assert (f"batterykit {model}", 18, 2, 10.0) not in by_place, "one pack has one thread"
        one = by_place[f"batterykit {model}", 1, 1, 10.0]
        assert one["voltage_rms_mV"] < 10
        assert one["current_rms_pct"] is None
    pack = by_place["batterykit spme", 18, 1, 10.0]
    assert pack["current_rms_pct"] < 0.5
    assert pack["voltage_rms_mV"] < 2
    assert by_place["liionpack spme", 18, 1, 10.0]["ms_per_step"] > pack["ms_per_step"]


def test_what_was_not_measured_is_null_and_never_zero() -> None:
    row = make_row("pybamm dfn", 10_000, 1, 10.0, None, Errors())
    assert row.ms_per_step is None
    assert all(getattr(row, name) is None for name in ACCURACY)
    row = make_row("batterykit spme", 1, 1, 1.0, 1e-5, Errors(1e-3, 2e-3, 3e-3, 0.01))
    assert (row.ms_per_step, row.voltage_rms_mV, row.voltage_max_mV) == (0.01, 1.0, 2.0)
    assert (row.plating_rms_mV, row.temperature_max_K, row.current_rms_pct) == (3.0, 0.01, None)


@pytest.mark.parametrize(("cells", "packs"), [(1, []), (18, [18]), (40, [36]), (100, [90])])
def test_a_batch_has_exactly_the_cells_asked_for_in_3p6s_packs_and_one_string(
    cells: int, packs: list[int]
) -> None:
    batch = Batch(cells, "spme", 1)
    sizes = [part.packs * part.size for part in batch.parts]
    rest = cells % 18
    assert sizes == packs + ([rest] if rest else [])
    batch.run(1)
    for part in batch.parts:
        shape = (part.packs, part.network.series, part.network.parallel)
        capacity = 5.0  # Ah, Chen2020
        assert np.allclose(part.current.reshape(shape).sum(axis=2), shape[2] * capacity)


def test_cells_of_a_batch_are_the_same_with_two_threads() -> None:
    one, two = (Batch(40, "spme", threads) for threads in (1, 2))
    for batch in (one, two):
        batch.run(2)
    for a, b in zip(one.parts, two.parts, strict=True):
        assert np.array_equal(a.state, b.state)


def test_every_case_of_the_bar_is_there_once() -> None:
    spme, dfn = cases("spme"), cases("dfn")
    assert len(set(spme)) == len(spme) == 2 * 3 * (2 * 4 + 1)
    assert len(set(dfn)) == len(dfn) == 2 * 3 * 3
    assert {case.load for case in spme} >= {"0.1C charge", "2C discharge", "drive cycle"}
    assert {case.crate for case in dfn} == {0.5, 1.0, 2.0}


@pytest.mark.parametrize("hold", [1, 30])
def test_the_drive_cycle_holds_its_currents_and_stays_in_its_limits(hold: int) -> None:
    cycle = drive(hold)
    assert len(cycle) == DRIVE_SECONDS
    assert cycle.min() >= -2
    assert cycle.max() <= 1
    assert cycle.max() > 0 > cycle.min()
    assert np.array_equal(cycle, np.repeat(cycle[::hold], hold))


def dataset(voltage: list[float], times: list[float]) -> xr.Dataset:
    names = ("voltage", "plating_potential", "temperature")
    return xr.Dataset(dict.fromkeys(names, ("time", voltage)), {"time": times})


def test_errors_are_those_at_shared_times_after_the_start_and_away_from_the_cut_offs() -> None:
    found = dataset([3.9, 3.0, 3.1, 3.6, 4.0], [0, 5, 10, 20, 30])
    wanted = dataset([3.0, 3.102, 3.599, 4.18], [0, 10, 20, 30])
    errors = compare_datasets(found, wanted)
    assert errors.voltage_max == pytest.approx(2e-3)
    assert errors.voltage_rms == pytest.approx(math.sqrt((2e-3**2 + 1e-3**2) / 2))
    assert math.isnan(errors.current_rms)


def test_without_samples_the_error_is_unknown_rather_than_zero() -> None:
    assert math.isnan(differences(np.empty((3, 0)), dataset([], [])).voltage_rms)
    assert worst([Errors(), Errors(1.0), Errors(0.5, 3.0)]).voltage_rms == 1.0
    assert math.isnan(worst([]).voltage_max)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power_law(power: float) -> None:
    counts = [10, 100, 1000]
    assert fit_exponent(counts, [3e-6 * n**power for n in counts]) == pytest.approx(power)


def test_shorter_steps_are_nearer_to_very_short_ones() -> None:
    order = find_order("spme", "1C charge", (10.0, 30.0))
    assert 0 < order.errors[10.0].voltage_rms < order.errors[30.0].voltage_rms < 5e-3
    assert order.order > 0


@pytest.mark.parametrize("markdown", [True, False])
def test_the_report_has_the_rows_and_the_notes(
    capsys: pytest.CaptureFixture[str], markdown: bool
) -> None:
    row = make_row("batterykit dfn", 10_000, 2, 10.0, 0.02, Errors(voltage_rms=2e-3))
    print_report(Found(rows=[row], notes=["PyBaMM was cut."]), markdown)
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if "batterykit dfn" in line]
    assert line.startswith("|") == markdown
    assert [cell for cell in line.split() if cell != "|"] == [
        *("batterykit", "dfn", "10,000", "2", "10", "20", "2.000", "-", "-", "-", "-")
    ]
    assert "- PyBaMM was cut." in out


@pytest.mark.parametrize(
    "arguments", [["--peers", "excel"], ["--cells", "0"], ["--threads", "0"], ["--cells", "x"]]
)
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
