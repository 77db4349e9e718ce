"""The axis of ageing is throughput where it is known, and no point is lost where it is not."""

from __future__ import annotations

import numpy as np

from batterykit.plots.history import (
    RPT_LABEL,
    THROUGHPUT_LABEL,
    ageing_axis,
    chamber_temperatures,
    history_of,
)
from tests.features.data import raw_summary


def test_cells_of_all_experiments_are_found_with_throughput_and_temperature() -> None:
    known = history_of([raw_summary(), raw_summary(("E1-A",), 1, n_rpt=[6])])
    ageing, label = ageing_axis(known, ["E5-B", "E1-A", "E5-B"], [0, 5, 3])
    np.testing.assert_array_equal(ageing, [0, 3500, 2100])  # 700 Ah a check-up
    assert label == THROUGHPUT_LABEL
    assert chamber_temperatures(known, ["E1-A", "E5-A"]) == {"E1-A": 25.0, "E5-A": 25.0}


def test_check_ups_are_counted_as_soon_as_one_throughput_is_not_known() -> None:
    known = history_of([raw_summary()])
    for cells, rpts in ((["E9-Z"], [2]), (["E5-A"], [7]), (["E5-A"], [4])):
        ageing, label = ageing_axis(known, cells, rpts)
        assert (ageing.tolist(), label) == (rpts, RPT_LABEL)
    assert ageing_axis(None, ["E5-A"], [3])[1] == RPT_LABEL


def test_without_any_summary_there_is_no_history() -> None:
    assert history_of([]) is None
    assert np.isnan(chamber_temperatures(None, ["E5-A"])["E5-A"])
