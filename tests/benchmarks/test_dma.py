from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.dma import MODES, Fits, Twin, fit_scipy, main, make_row, make_twin


@pytest.fixture(scope="module")
def twin() -> Twin:
    return make_twin(2, 1000, 1e-3)


def test_the_curves_are_those_of_the_cells_and_check_ups_of_the_truth(twin: Twin) -> None:
    n_rpt = twin.truth["n_rpt"].values
    assert len(twin.curves) == n_rpt.sum()
    assert twin.curves.rpt.tolist() == [rpt for n in n_rpt for rpt in range(n)]
    for k, place in enumerate(twin.where):
        capacity = twin.curves.charge[twin.curves.offsets[k + 1] - 1]
        assert capacity == pytest.approx(float(twin.truth["cell_capacity"].values[place]), rel=1e-4)


def test_least_squares_with_the_true_model_finds_the_truth() -> None:
    twin = make_twin(1, 1000, 1e-3)
    few = Twin(twin.curves.part(np.arange(2)), twin.truth, twin.where[:2])
    row = make_row("scipy", few, fit_scipy(few), 1)
    assert row.lli_p95_points is not None
    assert row.lli_p95_points < 0.1
    assert row.fitted_pct == 100
    assert row.coverage_90_pct is None


def test_a_row_tells_the_errors_in_points_and_the_share_inside_the_intervals(twin: Twin) -> None:
    truth = {mode: twin.truth[mode].values for mode in MODES}
    shape = truth["lli"].shape
    wrong = {mode: values + 0.003 for mode, values in truth.items()}
    wide, narrow = np.full(shape, 0.01), np.full(shape, 0.001)
    errors = {mode: wide if mode == "lli" else narrow for mode in MODES}
    row = make_row("x", twin, Fits(wrong, errors, np.full(shape, 2e-3), 0.05), 1)
    assert row.lli_p95_points == pytest.approx(0.3)
    assert row.lam_ne_si_p95_points == pytest.approx(0.3)
    assert row.coverage_90_pct == pytest.approx(20)
    assert row.coverage_90_worst_pct == pytest.approx(0)
    assert row.fit_rmse_mV == pytest.approx(2)
    assert row.ms_per_curve == pytest.approx(50)


def test_a_curve_that_was_not_fitted_counts_as_such(twin: Twin) -> None:
    modes = {mode: twin.truth[mode].values.copy() for mode in MODES}
    modes["lam_pe"][0, 1] = np.nan
    row = make_row("x", twin, Fits(modes, None, modes["lli"], 0.05), 1)
    assert row.fitted_pct == pytest.approx(100 * (1 - 1 / (len(twin.curves) - 2)), abs=0.01)


def test_json_is_one_list_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cells", "1", "--points", "1000", "--threads", "1", "--peers", "none"]
    assert main([*arguments, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["method"] == "batterykit"
    assert row["lli_p95_points"] < 0.5
    assert row["lam_pe_p95_points"] < 0.5


def test_wrong_options_are_refused() -> None:
    for arguments in (["--peers", "excel"], ["--cells", "0"], ["--points", "1"]):
        with pytest.raises(SystemExit):
            main(arguments)
