"""Tables in words and units: what was found, how good it is, what it was made with."""

from __future__ import annotations

import numpy as np
import pytest

from batterykit.features.ica import ica
from batterykit.features.options import DmaOptions, IcaOptions, SequenceOptions
from batterykit.plots.tables import (
    flags_table,
    modes_table,
    parameters_table,
    peaks_table,
    provenance_table,
    resistance_table,
)
from tests.features.data import STEPS, curves, discharge
from tests.plots.data import STARTS_DISAGREE, modes


def test_each_peak_has_a_row_with_how_often_it_was_found() -> None:
    features = ica(curves([discharge(samples=800)] * 3))
    features["peak_present"].values[0, 0] = False
    table = peaks_table(features, "0.1C")
    assert [row[1] for row in table.rows] == [f"P{k}" for k in range(len(STEPS))]
    assert [row[2] for row in table.rows][:2] == ["2/3", "3/3"]
    assert float(table.rows[4][3]) == pytest.approx(STEPS[4].voltage, abs=0.002)


def test_a_cell_is_told_at_its_last_fitted_check_up_with_90_percent_intervals() -> None:
    table = modes_table(modes())
    row = dict(zip(table.columns, table.rows[0], strict=True))
    # RPT 3: 5.6 Ah less three times 0.05; LLI 2 % a check-up; 1.645 standard errors of 0.3 %
    assert (row["RPT"], row["PE [Ah]"], row["LLI [%]"]) == ("3", "5.450", "6.00 ± 0.49")
    assert (row["fit RMSE [mV]"], row["flags"]) == ("1.41", "none")
    assert table.rows[1][1] == "2"


def test_what_is_not_known_is_a_dash_and_flags_are_words() -> None:
    features = modes()
    features["lli"].values[0, 3] = np.nan
    features["quality_flag"].values[0, 3] = STARTS_DISAGREE + 64
    row = dict(zip(modes_table(features).columns, modes_table(features).rows[0], strict=True))
    assert row["LLI [%]"] == "-"
    assert row["flags"] == "starts disagree, no reference"


def test_a_cell_that_was_never_fitted_is_told_so() -> None:
    features = modes()
    for name in features.data_vars:
        if features[name].dtype.kind == "f":
            features[name].values[1] = np.nan
    features["quality_flag"].values[1] = 2
    row = modes_table(features).rows[1]
    assert row[1:3] == ("2", "-")
    assert row[-1] == "curve unusable"


def test_check_ups_that_a_cell_never_had_are_not_counted_as_flagged() -> None:
    features = modes(counts=(4, 3))
    assert flags_table(features).caption == "Quality: 7 of 7 check-ups have no flag"
    features["quality_flag"].values[0, 1] = STARTS_DISAGREE
    table = flags_table(features)
    assert table.rows == (("starts disagree", "1", "14.3"),)


def test_flags_of_curves_are_counted_by_what_they_mean() -> None:
    features = ica(curves([discharge(samples=800), ([], [])]))
    rows = {row[0]: row[1] for row in flags_table(features).rows}
    assert rows["too few samples"] == "1"


def test_the_source_of_the_resistance_is_told_only_where_one_was_used() -> None:
    features = ica(curves([discharge(samples=800)] * 3))
    assert resistance_table(features) is None
    sources = np.array(["pulses_scaled", "none", "none"], dtype=object)
    features["resistance_source"] = ("curve", sources)
    table = resistance_table(features)
    assert table is not None
    assert [row[:2] for row in table.rows] == [("none", "2"), ("pulses scaled", "1")]


@pytest.mark.parametrize("options", [IcaOptions, DmaOptions, SequenceOptions])
def test_every_parameter_has_its_meaning(options: type) -> None:
    parameters = options().model_dump(mode="json")  # type: ignore[attr-defined]
    table = parameters_table(parameters, options)
    assert [row[0] for row in table.rows] == sorted(parameters)
    assert all(meaning and "`" not in meaning for *_, meaning in table.rows)


def test_parameters_have_units_and_readable_values() -> None:
    rows = {
        row[0]: row
        for row in parameters_table(
            IcaOptions().model_dump(mode="json") | {"curves": "0.1C"}, IcaOptions
        ).rows
    }
    assert rows["window"][1:3] == ("2.5 to 4.2", "V")
    assert rows["kernel_width"][1] == "none"
    assert rows["ir_correct"][1] == "no"
    file = {"file": "nmc.csv", "content_hash": "0123456789abcdef"}
    by_file = parameters_table({"positive": file}, DmaOptions).rows[0]
    assert by_file[1] == "nmc.csv (hash 01234567)"


def test_the_provenance_names_node_fingerprint_version_and_inputs() -> None:
    attrs = {"fingerprint": "f00d", "created_by": "batterykit 9.9.9", "schema": "dma_features"}
    inputs = {"raw/expt5/curves/0.1C": "0123456789abcdef"}
    table = provenance_table("features/dma/abc", attrs, inputs, {})
    values = dict(table.rows)
    assert values["dataset"] == "features/dma/abc"
    assert values["fingerprint"] == "f00d"
    assert values["computed by"] == "batterykit 9.9.9"
    assert values["made from raw/expt5/curves/0.1C"] == "fingerprint 01234567"
