"""Tasks: what a model may see, what it is asked, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batterykit.errors import InputError, UsageError
from batterykit.features.ica import track_peaks
from batterykit.features.sequence import sequence
from batterykit.features.summary import summary
from batterykit.learning.tasks import (
    TARGETS,
    build_sequences,
    load_task,
    refuse_proxies,
)
from batterykit.store import Store
from tests.learning.cells import made_raw, sequences, store_of

MEASURED_LATER = (
    "charge_throughput",
    "energy_throughput",
    "age_set_temperature",
    "resistance_0p1s",
    "soh",
)


def with_changed(raw: xr.Dataset, name: str, rpt: int, factor: float = 1.5) -> xr.Dataset:
    changed = raw.copy(deep=True)
    changed[name][:, rpt:] *= factor
    return changed


def test_estimate_scores_every_check_up_but_rpt0_whose_value_holds_by_definition() -> None:
    data = sequences(made_raw(ragged=True))
    assert not data.scored[:, 0].any()
    np.testing.assert_array_equal(data.scored[:, 1:], data.mask[:, 1:])
    assert (data.seen[:, 0] == 1).all()
    assert np.isnan(data.seen[:, 1:]).all()


def test_forecast_gives_the_context_and_scores_what_comes_after() -> None:
    data = sequences(made_raw(), task="forecast", context=3)
    np.testing.assert_array_equal(data.seen[:, :3], data.y[:, :3])
    assert np.isnan(data.seen[:, 3:]).all()
    assert not data.scored[:, :3].any()
    assert data.scored[:, 3:].all()


@pytest.mark.parametrize("name", MEASURED_LATER)
@pytest.mark.parametrize("rpt", [2, 4])
def test_no_input_of_a_check_up_moves_with_what_is_measured_after_it(name: str, rpt: int) -> None:
    before, after = sequences(made_raw()), sequences(with_changed(made_raw(), name, rpt))
    np.testing.assert_array_equal(before.x[:, :rpt], after.x[:, :rpt])


@pytest.mark.parametrize("name", MEASURED_LATER)
def test_no_input_of_a_forecast_moves_with_what_is_measured_after_the_context(name: str) -> None:
    before = sequences(made_raw(), task="forecast", context=3)
    after = sequences(with_changed(made_raw(), name, 3), task="forecast", context=3)
    np.testing.assert_array_equal(before.x, after.x)
    np.testing.assert_array_equal(before.seen, after.seen)


def test_a_forecast_follows_the_planned_days_and_cycles() -> None:
    plain = sequences(made_raw(), task="forecast", context=3)
    harder = sequences(with_changed(made_raw(), "ageing_cycles", 4), task="forecast", context=3)
    throughput = plain.column("charge_throughput")
    assert (np.diff(throughput, axis=1) > 0).all()
    assert (harder.column("charge_throughput")[:, 4:] > throughput[:, 4:]).all()
    np.testing.assert_allclose(throughput[:, 5] / throughput[:, 2], 5 / 2, rtol=1e-12)


def test_where_cycles_are_unknown_a_planned_set_is_like_the_mean_one_so_far() -> None:
    raw = made_raw()
    raw["ageing_cycles"][:] = np.nan
    throughput = sequences(raw, task="forecast", context=3).column("charge_throughput")
    np.testing.assert_allclose(throughput[:, 5] / throughput[:, 2], 5 / 2, rtol=1e-12)


def test_resistance_growth_counts_from_the_first_measurement_and_is_carried_forward() -> None:
    raw = made_raw()
    growth = sequences(raw).column("resistance_growth")
    measured = raw["resistance_0p1s"].values
    np.testing.assert_allclose(growth[:, 4], measured[:, 4] / measured[:, 0] - 1)
    np.testing.assert_array_equal(growth[:, 5], growth[:, 4])


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_are_the_same_for_every_target_and_hold_none_of_them(target: str) -> None:
    data = sequences(made_raw(), target=target)
    assert data.names == sequences(made_raw()).names
    refuse_proxies(data.names)
    for name in data.names:
        assert not np.allclose(data.column(name)[data.scored], data.y[data.scored])


@pytest.mark.parametrize(
    "name",
    ["capacity_c10", "soh", "lli", "lam_pe", "lam_ne_gr", "peak_area_3", "electrode_offset"],
)
def test_proxies_of_the_target_are_refused_as_inputs(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} would give the answer away"):
        refuse_proxies(["days", name])


def test_hidden_sequences_hold_no_answers() -> None:
    hidden = sequences(made_raw(), task="forecast").hidden()
    assert np.isnan(hidden.y).all()


def test_unknown_tasks_targets_and_contexts_are_refused() -> None:
    raw = made_raw()
    with pytest.raises(UsageError, match="no task 'guess'"):
        sequences(raw, task="guess")
    with pytest.raises(UsageError, match="no target 'energy_throughput'"):
        sequences(raw, target="energy_throughput")
    with pytest.raises(UsageError, match="shows no ageing"):
        sequences(raw, task="forecast", context=1)
    with pytest.raises(UsageError, match="E5-B, E5-D, E5-F have no check-up after the first 5"):
        sequences(made_raw(ragged=True), task="forecast", context=5)


def test_a_missing_target_names_the_check_up_and_the_cell() -> None:
    raw = made_raw()
    raw["lli"][2, 4] = np.nan
    sequences(raw)
    with pytest.raises(InputError, match="no lli, the first is RPT4 of cell E5-C"):
        sequences(raw, target="lli")


def test_days_that_do_not_rise_are_refused() -> None:
    raw = made_raw()
    raw["days_of_degradation"][1, 3] = 5.0
    with pytest.raises(InputError, match="cell E5-B: days of degradation"):
        sequences(raw)


def ica_of(raw: xr.Dataset, late: tuple[float, ...] = ()) -> xr.Dataset:
    """Two peaks per check-up of a C/10 discharge, the second absent from RPT3 on.

    `late` are further peaks of the first cell, from its RPT4 on, less prominent than any.
    """
    places = [(c, r) for c, n in enumerate(raw["n_rpt"].values) for r in range(n)]
    voltage = np.full((len(places), 8), np.nan)
    prominence = np.full(voltage.shape, np.nan)
    for row, (cell, rpt) in enumerate(places):
        found = [3.5 + 0.01 * rpt] + [3.8] * (rpt < 3)
        weight = [2.0] * len(found)
        if cell == 0 and rpt >= 4:
            found, weight = [*late, *found], [0.1] * len(late) + weight
        voltage[row, : len(found)], prominence[row, : len(found)] = found, weight
    analysed = xr.Dataset(
        {
            "candidate_voltage": (("curve", "candidate"), voltage, {"units": "V"}),
            "candidate_height": (("curve", "candidate"), 2 * voltage, {"units": "Ah/V"}),
            "candidate_prominence": (("curve", "candidate"), prominence, {"units": "Ah/V"}),
            "candidate_width": (("curve", "candidate"), 0 * voltage, {"units": "V"}),
            "candidate_area": (("curve", "candidate"), 0 * voltage, {"units": "Ah"}),
        },
        coords={
            "cell": ("curve", raw["cell"].values[[c for c, _ in places]]),
            "rpt": ("curve", [r for _, r in places]),
            "direction": ("curve", np.array(["discharge"] * len(places), dtype=object)),
            "protocol": ("curve", np.array(["0.1C"] * len(places), dtype=object)),
        },
    )
    return track_peaks(analysed)


def test_ica_peaks_enter_by_voltage_and_height_and_absent_ones_stay_unknown() -> None:
    raw = made_raw()
    data, notes = build_sequences(summary(raw), sequence(raw), raw["soh"], ica=ica_of(raw))
    np.testing.assert_allclose(data.column("ica_peak_voltage_0")[0], 3.5 + 0.01 * np.arange(6))
    np.testing.assert_allclose(data.column("ica_peak_height_1")[:, :3], 2 * 3.8)
    assert np.isnan(data.column("ica_peak_height_1")[:, 3:]).all()
    assert any("4 most prominent peaks of each C/10 discharge, no areas" in n for n in notes)
    refuse_proxies(data.names)


def test_no_ica_input_moves_with_the_curves_of_another_cell_or_of_a_later_check_up() -> None:
    raw = made_raw()
    plain, other = (
        build_sequences(summary(raw), sequence(raw), raw["soh"], ica=ica)[0]
        for ica in (ica_of(raw), ica_of(raw, late=(3.2, 3.3)))
    )
    np.testing.assert_array_equal(plain.x[1:], other.x[1:])
    np.testing.assert_array_equal(plain.x[0, :4], other.x[0, :4])


def test_experiments_that_cycle_the_full_window_are_said_to_tell_of_the_capacity() -> None:
    raw = made_raw(experiment=5)
    _, notes = build_sequences(summary(raw), sequence(raw), raw["soh"])
    assert any("experiment 5 cycles the full window" in note for note in notes)
    raw = made_raw(experiment=2)
    _, notes = build_sequences(summary(raw), sequence(raw), raw["soh"])
    assert not any("full window" in note for note in notes)


def test_one_cell_under_two_names_is_refused(tmp_path) -> None:  # noqa: ANN001
    raw = made_raw().assign_coords(content_hash=("cell", np.array(list("abcadf"), dtype=object)))
    with pytest.raises(InputError, match="cells E5-A and E5-D hold the same"):
        load_task(store_of(tmp_path / "s.zarr", raw))


def test_a_store_without_experiments_says_so(tmp_path) -> None:  # noqa: ANN001
    with pytest.raises(UsageError, match="the store holds no experiment"):
        load_task(Store.open_or_create(tmp_path / "s.zarr"))


def test_a_store_without_curves_is_used_without_ica_and_says_so(tmp_path) -> None:  # noqa: ANN001
    loaded = load_task(store_of(tmp_path / "s.zarr", made_raw()))
    assert any("ICA features are left out: 36 of 36 check-ups" in note for note in loaded.notes)
    assert not any(name.startswith("ica") for name in loaded.data.names)
    assert set(loaded.fingerprints) >= {"raw/expt5/summary"}


def test_experiments_of_unlike_length_are_padded_and_selected(tmp_path) -> None:  # noqa: ANN001
    two = made_raw(cells=4, rpts=5, experiment=2, seed=1)
    store = store_of(tmp_path / "s.zarr", made_raw(rpts=7, ragged=True), two)
    loaded = load_task(store)
    assert any("mean trajectory is over 2 experiments" in note for note in loaded.notes)
    both = loaded.data
    assert both.cells == ("E2-A", "E2-B", "E2-C", "E2-D", *(f"E5-{x}" for x in "ABCDEF"))
    np.testing.assert_array_equal(both.mask.sum(axis=1), [5] * 4 + [7, 6, 7, 6, 7, 6])
    assert np.isnan(both.x[~both.mask]).all()
    assert load_task(store, experiments=[2]).data.cells == both.cells[:4]
    with pytest.raises(UsageError, match="expt3 is not in the store, which has expt2, expt5"):
        load_task(store, experiments=[3])
