"""Summary features: what a cell has been through, and nothing that is computed from capacity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.datasets.ingest import ingest
from batterykit.features.options import SummaryOptions
from batterykit.features.summary import FLAGS, arrhenius_factor, summary
from batterykit.store import Store
from tests.features.data import NAN, raw_summary

SHORT = {
    "charge_throughput": [[0.0, 100.0, 400.0]],
    "days_of_degradation": [[NAN, 10.0, 30.0]],
    "age_set_temperature": [[NAN, 10.0, 40.0]],
    "resistance_0p1s": [[0.026, NAN, 0.028]],
}


def one_cell(**columns: list[list[float]]) -> dict[str, np.ndarray]:
    raw = raw_summary(["E5-A"], n_rpt=[3], **(SHORT | columns))
    return {str(name): values.values[0] for name, values in summary(raw).data_vars.items()}


def test_days_at_rpt0_are_zero_because_no_ageing_has_happened() -> None:
    assert one_cell()["days"].tolist() == [0.0, 10.0, 30.0]


def test_cell_temperature_is_the_mean_over_its_sets_weighted_by_throughput() -> None:
    expected = [NAN, 10.0, (100 * 10 + 300 * 40) / 400]
    np.testing.assert_allclose(one_cell()["temperature_cell"], expected)


def test_arrhenius_throughput_weighs_each_set_by_exp_of_minus_ea_over_r() -> None:
    # by hand: E_a = 38 kJ/mol, R = 8.314462618 J/mol/K, T_ref = 298.15 K
    cold = np.exp(-38000 / 8.314462618 * (1 / 283.15 - 1 / 298.15))
    warm = np.exp(-38000 / 8.314462618 * (1 / 313.15 - 1 / 298.15))
    assert cold == pytest.approx(0.4440, abs=1e-4)
    assert warm == pytest.approx(2.0840, abs=1e-4)
    result = one_cell()
    expected = [0.0, 100 * cold, 100 * cold + 300 * warm]
    np.testing.assert_allclose(result["arrhenius_throughput"], expected)
    np.testing.assert_allclose(
        result["arrhenius_sqrt_days"], np.sqrt([0, 10 * cold, 10 * cold + 20 * warm])
    )


def test_at_the_reference_temperature_arrhenius_terms_are_throughput_and_root_of_days() -> None:
    result = one_cell(age_set_temperature=[[NAN, 25.0, 25.0]])
    np.testing.assert_allclose(result["arrhenius_throughput"], result["charge_throughput"])
    np.testing.assert_allclose(result["arrhenius_sqrt_days"], np.sqrt(result["days"]))


@given(temperature=st.floats(-40, 80), energy=st.floats(1e3, 1e5))
def test_arrhenius_factor_is_one_at_the_reference_and_rises_with_temperature(
    temperature: float, energy: float
) -> None:
    options = SummaryOptions(activation_energy=energy, reference_temperature=temperature)
    at, above = arrhenius_factor(np.array([temperature, temperature + 1]), options)
    assert at == pytest.approx(1)
    assert above > at


def test_resistance_is_carried_forward_with_the_rpt_where_it_was_measured_and_its_age() -> None:
    result = one_cell()
    assert result["resistance_last"].tolist() == [0.026, 0.026, 0.028]
    assert result["resistance_rpt"].tolist() == [0, 0, 2]
    assert result["resistance_age_rpt"].tolist() == [0, 1, 0]
    assert result["resistance_age_days"].tolist() == [0, 10, 0]


def test_resistance_before_the_first_measurement_is_unknown_never_zero() -> None:
    result = one_cell(resistance_0p1s=[[NAN, NAN, 0.028]])
    np.testing.assert_array_equal(result["resistance_last"], [NAN, NAN, 0.028])
    np.testing.assert_array_equal(result["resistance_age_days"], [NAN, NAN, 0])
    never = FLAGS["resistance_never_measured"]
    assert (result["quality_flag"] & never).tolist() == [never, never, 0]


def test_a_missing_temperature_leaves_the_mean_of_the_known_sets_and_a_flag() -> None:
    result = one_cell(age_set_temperature=[[NAN, NAN, 40.0]])
    np.testing.assert_array_equal(result["temperature_cell"], [NAN, NAN, 40.0])
    np.testing.assert_array_equal(result["arrhenius_throughput"], [0, NAN, NAN])
    missing = FLAGS["temperature_missing"]
    assert (result["quality_flag"] & missing).tolist() == [0, missing, missing]


def test_throughput_that_falls_is_flagged_from_there_on() -> None:
    result = one_cell(charge_throughput=[[0.0, 100.0, 90.0]])
    assert result["quality_flag"][2] & FLAGS["throughput_not_increasing"]
    assert not result["quality_flag"][1]


def test_past_a_cells_last_check_up_nothing_is_known() -> None:
    features = summary(raw_summary(["E5-A", "E5-B"], n_rpt=[2, 4]))
    for name, values in features.data_vars.items():
        after = values.values[0, 2:]
        assert (after == 0).all() if name == "quality_flag" else np.isnan(after).all()


def test_no_feature_is_computed_from_a_capacity() -> None:
    raw = raw_summary()
    changed = raw.copy(deep=True)
    for name in raw.data_vars:
        if any(word in str(name) for word in ("capacity", "soh", "lli", "lam", "electrode")):
            changed[name] = raw[name] * 0.5
    assert summary(raw).identical(summary(changed))


@given(order=st.permutations(range(3)))
def test_a_cells_features_do_not_depend_on_the_other_cells(order: list[int]) -> None:
    raw = raw_summary(
        ["E5-A", "E5-B", "E5-C"],
        n_rpt=[4] * 3,
        charge_throughput=np.cumsum(np.arange(1.0, 13.0).reshape(3, 4), axis=1),
    )
    whole = summary(raw).isel(cell=list(order))
    assert whole.identical(summary(raw.isel(cell=list(order))))


def test_every_number_says_its_unit() -> None:
    assert all("units" in values.attrs for values in summary(raw_summary()).data_vars.values())


def test_the_real_record_gives_what_its_own_columns_say(real_record: Path, tmp_path: Path) -> None:
    store = Store.open_or_create(tmp_path / "s.zarr")
    ingest(store, real_record, [2])
    features = summary(store.read("raw/expt2/summary"))
    for k, cell in enumerate("ABCDEF"):
        file = next(real_record.rglob(f"*cell {cell} (*Processed Data.csv"))
        table = pd.read_csv(file)
        throughput = table["Charge Throughput [A h]"].to_numpy()
        np.testing.assert_array_equal(features["charge_throughput"].values[k], throughput)
        days = table["Days of degradation"].fillna(0).to_numpy()
        np.testing.assert_array_equal(features["days"].values[k], days)
        temperature = table["Age set av. temperature [°C]"].to_numpy()[1:]
        mean = np.average(temperature, weights=np.diff(throughput))
        assert features["temperature_cell"].values[k, -1] == pytest.approx(mean)
        resistance = table["0.1s Resistance [Ohms]"].ffill().to_numpy()
        np.testing.assert_array_equal(features["resistance_last"].values[k], resistance)
    assert (features["quality_flag"].values == 0).all()
