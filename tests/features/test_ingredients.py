"""The ingredients of a row name the measurement that changed."""

from __future__ import annotations

import numpy as np
import pytest

from batterykit.features.ingredients import differing, ingredients, to_text
from tests.features.data import curves, discharge, raw_summary

NAMES = ["E5-A RPT00 discharge 0.1C", "E5-A RPT01 discharge 0.1C", "E5-B RPT00 discharge 0.1C"]
PAIRS = [discharge(samples=50 + k, noise=1e-3, seed=k) for k in range(3)]
CURVES = curves(PAIRS, ["E5-A", "E5-A", "E5-B"], [0, 1, 0])


def test_a_changed_sample_changes_its_own_curve_and_its_own_measurement_alone() -> None:
    before = ingredients(CURVES, NAMES, "curve")
    changed = CURVES.copy(deep=True)
    changed["voltage"].values[50 + 3] += 1e-9  # the second curve begins at 50
    now = ingredients(changed, NAMES, "curve")
    found = {name: differing(to_text(before[name]), now[name]) for name in NAMES}
    assert found == {NAMES[0]: (), NAMES[1]: ("voltage",), NAMES[2]: ()}


def test_a_cell_takes_in_all_its_curves() -> None:
    before = ingredients(CURVES, NAMES, "cell")
    assert sorted(before) == ["E5-A", "E5-B"]
    changed = CURVES.copy(deep=True)
    changed["charge"].values[50] += 1e-9
    now = ingredients(changed, NAMES, "cell")
    assert differing(to_text(before["E5-A"]), now["E5-A"]) == ("RPT01 discharge 0.1C charge",)
    assert differing(to_text(before["E5-B"]), now["E5-B"]) == ()


def test_a_curve_that_a_cell_did_not_have_is_named_with_all_its_measurements() -> None:
    before = ingredients(CURVES.isel(curve=[0], sample=slice(0, 50)), NAMES[:1], "cell")
    found = differing(to_text(before["E5-A"]), ingredients(CURVES, NAMES, "cell")["E5-A"])
    measured = ("charge", "current", "temperature", "time", "voltage")
    assert found == tuple(f"RPT01 discharge 0.1C {name}" for name in measured)


def test_what_a_curve_is_corrected_with_counts() -> None:
    profile = np.full((3, 41), 0.03)
    before = ingredients(CURVES.assign(resistance=(("curve", "soc"), profile)), NAMES, "curve")
    profile = profile.copy()
    profile[2, 7] = 0.04
    now = ingredients(CURVES.assign(resistance=(("curve", "soc"), profile)), NAMES, "curve")
    found = [differing(to_text(before[name]), now[name]) for name in NAMES]
    assert found == [(), (), ("resistance",)]


def test_a_cell_of_a_summary_names_its_columns_and_its_chamber() -> None:
    raw = raw_summary()
    changed = raw.copy(deep=True)
    changed["days_of_degradation"].values[1, 2] = 99
    changed["temperature_chamber"].values[1] = 40
    before, now = (ingredients(one, ["E5-A", "E5-B"], "cell") for one in (raw, changed))
    assert differing(to_text(before["E5-A"]), now["E5-A"]) == ()
    assert differing(to_text(before["E5-B"]), now["E5-B"]) == (
        "days_of_degradation",
        "temperature_chamber",
    )


@pytest.mark.parametrize("longest", [4, 9])
def test_a_cell_does_not_change_when_another_one_lives_longer(longest: int) -> None:
    alone = ingredients(raw_summary(["E5-A"], n_rpt=[4]), ["E5-A"], "cell")["E5-A"]
    both = raw_summary(["E5-A", "E5-B"], n_rpt=[4, longest])
    assert differing(to_text(alone), ingredients(both, ["E5-A", "E5-B"], "cell")["E5-A"]) == ()
