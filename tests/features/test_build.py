"""Feature nodes are their own cache: what changed is computed, the rest is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import batterykit
from batterykit.errors import InputError, StoreError, UsageError
from batterykit.features import build as building
from batterykit.features import resistance
from batterykit.features.build import refresh
from batterykit.features.kinds import Kind
from batterykit.features.options import (
    DmaOptions,
    IcaOptions,
    SequenceOptions,
    SummaryOptions,
)
from batterykit.features.summary import summary
from batterykit.store import Store
from batterykit.store.fingerprint import code_parts
from tests.features.data import Step, curves, discharge, raw_summary
from tests.features.test_resistance import CAPACITY, pulse_test
from tests.features.test_resistance import node as pulses_of

CURVES = "raw/expt5/curves/0.1C"
SUMMARY = "raw/expt5/summary"


def two_cells(changed: int | None = None, count: int = 6) -> xr.Dataset:
    """Three check-ups of two cells; `changed` names a curve measured anew."""
    pairs = [
        discharge(noise=2e-4, seed=100 + k if k == changed else k, samples=1500)
        for k in range(count)
    ]
    cells, rpts = ["E5-A"] * 3 + ["E5-B"] * 3, [0, 1, 2] * 2
    return curves(pairs, cells[:count], rpts[:count])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open_or_create(tmp_path / "s.zarr")
    store.write(SUMMARY, raw_summary(), command="test")
    store.write(CURVES, two_cells(), command="test")
    return store


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's source; its fingerprint is taken instead of the running one's."""
    copy = tmp_path / "source" / "batterykit"
    shutil.copytree(
        Path(batterykit.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(building, "code_parts", lambda *t: code_parts(*t, root=copy.parent))
    return copy


def replace_text(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def flip_a_byte(folder: Path, variable: str) -> None:
    chunk = max(
        (p for p in (folder / variable).rglob("*") if p.is_file() and p.name != "zarr.json"),
        key=lambda p: p.stat().st_size,
    )
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0x10
    chunk.write_bytes(data)


KINDS = ["summary", "sequence", "ica", "dma"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_computes_and_writes_nothing_and_says_so(store: Store, kind: Kind) -> None:
    first = refresh(store, kind)
    assert len(first.computed) == first.rows
    before = {p: p.stat().st_mtime_ns for p in (store.path / first.node).rglob("*")}
    second = refresh(store, kind)
    assert (second.computed, second.reused, second.node) == ((), first.rows, first.node)
    assert {p: p.stat().st_mtime_ns for p in (store.path / first.node).rglob("*")} == before
    assert store.log()[-1]["note"] == "nothing changed, nothing computed"
    assert store.verify() == []


def test_a_changed_curve_is_computed_alone(store: Store) -> None:
    first = refresh(store, "ica")
    held = store.read(first.node)
    store.write(CURVES, two_cells(changed=4), command="test", replace=True)
    second = refresh(store, "ica")
    assert second.computed == ("E5-B RPT01 discharge 0.1C",)
    assert second.reused == 5
    now = store.read(second.node)
    same = [k != 4 for k in range(6)]
    np.testing.assert_array_equal(now["dqdv"].values[same], held["dqdv"].values[same])
    assert not np.array_equal(now["dqdv"].values[4], held["dqdv"].values[4], equal_nan=True)


def test_a_changed_cell_is_computed_alone(store: Store) -> None:
    refresh(store, "summary")
    days = [[np.nan, 20, 40, 60], [np.nan, 21, 40, 60]]
    changed = raw_summary(days_of_degradation=days)
    store.write(SUMMARY, changed, command="test", replace=True)
    assert refresh(store, "summary").computed == ("E5-B",)


def test_of_degradation_modes_a_changed_curve_computes_its_cell_alone(store: Store) -> None:
    refresh(store, "dma")
    store.write(CURVES, two_cells(changed=4), command="test", replace=True)
    second = refresh(store, "dma")
    assert (second.computed, second.reused) == (("E5-B",), 1)


def test_a_half_cell_file_is_known_by_its_content_not_by_its_place(
    store: Store, tmp_path: Path
) -> None:
    def options(folder: str, *, lowest: float) -> DmaOptions:
        at = tmp_path / folder
        at.mkdir()
        share = np.linspace(0, 1, 50)
        for name, top, fall in (("pe.csv", 4.4, 1.0), ("ne.csv", lowest + 0.6, 0.6)):
            rows = [f"{x:.6f},{top - fall * x:.6f}" for x in share]
            (at / name).write_text("\n".join(["stoichiometry,potential [V]", *rows]) + "\n")
        return DmaOptions(positive=at / "pe.csv", negative=at / "ne.csv")

    here = refresh(store, "dma", options("here", lowest=0.05)).node
    assert refresh(store, "dma", options("there", lowest=0.05)).node == here
    assert refresh(store, "dma", options("other", lowest=0.06)).node != here


def test_a_half_cell_file_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    missing = tmp_path / "pe.csv"
    with pytest.raises(InputError, match="cannot be read") as error:
        refresh(store, "dma", DmaOptions(positive=missing, negative=missing))
    assert error.value.file == str(missing)


def test_corrected_curves_follow_the_resistance_of_their_check_up_or_before(store: Store) -> None:
    options = IcaOptions(ir_correct=True)
    first = refresh(store, "ica", options)
    corrected = store.read(first.node)
    assert set(corrected["resistance_source"].values) == {"summary"}
    plain = store.read(refresh(store, "ica").node)
    lost = options.ir_factor * 0.026 * 0.5  # V, the summary's 26 mOhm at 0.5 A
    found = corrected["candidate_voltage"] - plain["candidate_voltage"]
    np.testing.assert_allclose(found[0, :5], lost, atol=2e-3)
    grown = raw_summary()["resistance_0p1s"].values
    grown[1, 2] = 0.035
    changed = raw_summary(resistance_0p1s=grown.tolist())
    store.write(SUMMARY, changed, command="test", replace=True)
    assert refresh(store, "ica", options).computed == ("E5-B RPT02 discharge 0.1C",)
    assert refresh(store, "ica").computed == ()  # nothing to correct, nothing to follow


def test_pulses_tell_how_the_resistance_depends_on_the_state_of_charge(store: Store) -> None:
    options = IcaOptions(ir_correct=True)
    full = raw_summary(capacity_c10=[[CAPACITY] * 4] * 2)
    store.write(SUMMARY, full, command="test", replace=True)
    node = refresh(store, "ica", options).node
    store.write("raw/expt5/curves/GITT", pulses_of([pulse_test()]), command="test")
    second = refresh(store, "ica", options)
    assert second.node == node
    assert second.computed == tuple(f"E5-A RPT0{rpt} discharge 0.1C" for rpt in range(3))
    source = store.read(node)["resistance_source"].values.tolist()
    assert source == ["pulses", "pulses_scaled", "pulses_scaled"] + ["summary"] * 3


def test_other_code_of_the_resistance_corrects_again_and_leaves_uncorrected_rows_alone(
    store: Store, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = IcaOptions(ir_correct=True)
    full = raw_summary(capacity_c10=[[CAPACITY] * 4] * 2)
    store.write(SUMMARY, full, command="test", replace=True)
    store.write("raw/expt5/curves/GITT", pulses_of([pulse_test()]), command="test")
    refresh(store, "ica")
    node = refresh(store, "ica", options).node
    assert "pulses" in store.read(node)["resistance_source"].values
    replace_text(code / "features" / "resistance.py", "LEAST_PULSES = 3", "LEAST_PULSES = 99")
    monkeypatch.setattr(resistance, "LEAST_PULSES", 99)
    again = refresh(store, "ica", options)
    assert again.computed == tuple(f"E5-A RPT0{rpt} discharge 0.1C" for rpt in range(3))
    assert set(store.read(node)["resistance_source"].values) == {"summary"}
    assert refresh(store, "ica").computed == ()


def test_without_a_summary_there_is_nothing_to_correct_with(tmp_path: Path) -> None:
    store = Store.open_or_create(tmp_path / "curves-only.zarr")
    store.write(CURVES, two_cells(), command="test")
    with pytest.raises(StoreError, match="no resistance"):
        refresh(store, "ica", IcaOptions(ir_correct=True))


def test_the_result_does_not_depend_on_the_history_of_the_store(
    store: Store, tmp_path: Path
) -> None:
    three = [Step(3.4, 0.02, 0.8), Step(3.6, 0.02, 0.6), Step(3.8, 0.02, 0.8)]
    odd = curves([discharge(three)], ["E5-A"], [0])
    store.write(CURVES, odd, command="test", replace=True)
    refresh(store, "ica")
    store.write(CURVES, two_cells(), command="test", replace=True)
    grown = store.read(refresh(store, "ica").node)
    fresh = Store.open_or_create(tmp_path / "fresh.zarr")
    fresh.write(CURVES, two_cells(), command="test")
    at_once = fresh.read(refresh(fresh, "ica").node)
    assert grown.equals(at_once)


@pytest.mark.parametrize("kind", ["summary", "sequence", "dma"])
def test_rows_of_cells_are_the_same_in_any_batches_and_after_any_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    def store_of(name: str, cells: list[str], n_rpt: list[int]) -> Store:
        store = Store.open_or_create(tmp_path / name)
        write(store, cells, n_rpt)
        return store

    def write(store: Store, cells: list[str], n_rpt: list[int]) -> None:
        summary_of = raw_summary(cells, n_rpt=n_rpt)
        names = [cell for cell, count in zip(cells, n_rpt, strict=True) for _ in range(count)]
        rpts = [rpt for count in n_rpt for rpt in range(count)]
        of_cells = curves([discharge(samples=600) for _ in names], names, rpts)
        store.write(SUMMARY, summary_of, command="test", replace=True)
        store.write(CURVES, of_cells, command="test", replace=True)

    def features(store: Store) -> xr.Dataset:
        return store.read(refresh(store, kind).node)

    at_once = features(store_of("at-once", ["E5-A", "E5-B"], [2, 3]))
    grown = store_of("grown", ["E5-A", "E5-C"], [2, 5])
    monkeypatch.setattr(building, "ROWS_AT_ONCE", {"cell": 1, "curve": 1})
    features(grown)
    write(grown, ["E5-A", "E5-B"], [2, 3])
    assert features(grown).equals(at_once)
    assert features(store_of("one-by-one", ["E5-A", "E5-B"], [2, 3])).equals(at_once)


def test_a_new_experiment_adds_its_rows_and_leaves_the_others(store: Store) -> None:
    refresh(store, "summary")
    more = raw_summary(["E1-A"], experiment=1, n_rpt=[7])
    store.write("raw/expt1/summary", more, command="test")
    built = refresh(store, "summary")
    assert (built.computed, built.reused) == (("E1-A",), 2)
    features = store.read(built.node)
    assert features["cell"].values.tolist() == ["E1-A", "E5-A", "E5-B"]
    assert features["n_rpt"].values.tolist() == [7, 4, 4]
    assert features.sizes["rpt"] == 7
    assert np.isnan(features["days"].values[1, 4:]).all()
    assert features["quality_flag"].dtype.kind == "i"


def test_a_curve_that_is_gone_is_dropped(store: Store) -> None:
    refresh(store, "ica")
    store.write(CURVES, two_cells(count=5), command="test", replace=True)
    built = refresh(store, "ica")
    assert (built.computed, built.dropped) == ((), ("E5-B RPT02 discharge 0.1C",))
    assert store.read(built.node).sizes["curve"] == 5


@pytest.mark.parametrize("variable", ["dqdv", "cache_key", "peak_voltage"])
def test_a_damaged_entry_is_noticed_and_computed_again(store: Store, variable: str) -> None:
    first = refresh(store, "ica")
    whole = store.read(first.node)
    flip_a_byte(store.path / first.node, variable)
    second = refresh(store, "ica")
    assert second.damaged
    assert len(second.computed) == second.rows
    assert "damaged" in [line["note"] for line in store.log() if line["node"]][-1]
    assert store.read(second.node).equals(whole)
    assert refresh(store, "ica").computed == ()


def test_a_damaged_experiment_is_an_error_not_an_experiment_less(store: Store) -> None:
    more = raw_summary(["E1-A"], experiment=1, n_rpt=[7])
    store.write("raw/expt1/summary", more, command="test")
    assert refresh(store, "summary").rows == 3
    (store.path / "raw/expt1/summary/zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"raw/expt1/summary' is damaged"):
        refresh(store, "summary")


def test_a_node_without_its_metadata_is_noticed_and_computed_again(store: Store) -> None:
    node = refresh(store, "summary").node
    (store.path / node / "zarr.json").write_text("{")
    built = refresh(store, "summary")
    assert built.damaged
    assert store.verify() == []


def test_a_touched_file_computes_nothing(store: Store) -> None:
    refresh(store, "ica")
    for file in store.path.rglob("*"):
        file.touch()
    assert refresh(store, "ica").computed == ()


def test_the_same_input_written_again_computes_nothing(store: Store) -> None:
    refresh(store, "ica")
    store.write(CURVES, two_cells(), command="test", replace=True)
    assert refresh(store, "ica").computed == ()


def test_a_comment_or_docstring_in_the_code_computes_nothing(store: Store, code: Path) -> None:
    refresh(store, "ica")
    replace_text(code / "features" / "kernels.py", "\nimport math", "\n# a comment\nimport math")
    replace_text(code / "features" / "kernels.py", '"""Fill dQ/dV', '"""Now fill dQ/dV')
    assert refresh(store, "ica").computed == ()


def test_a_constant_of_the_kernel_computes_its_dependents_and_no_other_features(
    store: Store, code: Path
) -> None:
    for kind in KINDS:
        refresh(store, kind)
    replace_text(code / "features" / "kernels.py", "KERNEL_REACH = 4.0", "KERNEL_REACH = 4.5")
    assert len(refresh(store, "ica").computed) == 6
    assert refresh(store, "summary").computed == ()
    assert refresh(store, "sequence").computed == ()


def test_a_constant_of_the_summary_leaves_sequences_alone(store: Store, code: Path) -> None:
    for kind in KINDS:
        refresh(store, kind)
    replace_text(code / "features" / "summary.py", "= 8.314462618", "= 8.3145")
    assert len(refresh(store, "summary").computed) == 2
    assert refresh(store, "sequence").computed == ()
    assert refresh(store, "ica").computed == ()


def test_new_tracking_names_the_peaks_again_from_the_stored_curves(
    store: Store, code: Path
) -> None:
    refresh(store, "ica")
    replace_text(code / "features" / "tracking.py", "NO_NAME = -1", "NO_NAME = -2")
    built = refresh(store, "ica")
    assert (built.computed, built.reused) == ((), 6)
    assert store.log()[-1]["note"] == "sealed"  # the node was written again
    assert refresh(store, "ica").computed == ()


def test_other_parameters_go_to_another_node(store: Store) -> None:
    one = refresh(store, "ica").node
    other = refresh(store, "ica", IcaOptions(peaks=3)).node
    assert one != other
    assert store.has(one)
    assert store.has(other)
    assert refresh(store, "ica", IcaOptions()).node == one


def test_force_computes_everything(store: Store) -> None:
    refresh(store, "ica")
    assert len(refresh(store, "ica", force=True).computed) == 6


def test_a_killed_run_that_left_no_seal_computes_nothing_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(building.cache, "seal", lambda *_, **__: None)
        refresh(store, "ica")
    assert refresh(store, "ica").computed == ()


def test_the_node_holds_what_the_function_gives(store: Store) -> None:
    features = store.read(refresh(store, "summary", SummaryOptions(activation_energy=5e4)).node)
    expected = summary(raw_summary(), SummaryOptions(activation_energy=5e4))
    for name in expected.data_vars:
        np.testing.assert_array_equal(features[name], expected[name])
    assert '"activation_energy": 50000.0' in features.attrs["parameters"]


def test_cells_without_curves_have_no_rows(store: Store) -> None:
    store.write("raw/expt1/summary", raw_summary(["E1-A"], experiment=1), command="test")
    assert set(store.read(refresh(store, "ica").node)["cell"].values.tolist()) == {"E5-A", "E5-B"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_store_says_which_command_fills_it(tmp_path: Path, kind: Kind) -> None:
    store = Store.open_or_create(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="batterykit ingest --expt"):
        refresh(store, kind)


def test_ica_without_curves_says_what_is_there_and_what_to_do(store: Store) -> None:
    with pytest.raises(StoreError, match=r"no GITT curves \(it has 0\.1C\).*--kind 0\.1C"):
        refresh(store, "ica", curves="GITT")
    store.remove(CURVES, command="test")
    with pytest.raises(StoreError, match=r"no 0\.1C curves.*Processed Timeseries Data.*--expt 5"):
        refresh(store, "ica")


def test_options_of_another_kind_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="IcaOptions"):
        refresh(store, "summary", IcaOptions())
    with pytest.raises(UsageError, match="summary, sequence, ica, dma"):
        refresh(store, "dqdv", SequenceOptions())
