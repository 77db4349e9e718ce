"""What is said to have changed is what changed, and the next run does what was foretold."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

import batterykit
from batterykit.features import build, provenance
from batterykit.features.build import refresh
from batterykit.features.inventory import feature_nodes
from batterykit.features.kinds import NODE_CODE, OPTIONS, Kind, node_of, parameters_of
from batterykit.features.options import IcaOptions, SequenceOptions, SummaryOptions
from batterykit.features.provenance import Why, command, manifest, sentence, why, why_kind
from batterykit.store import Store, cache
from batterykit.store.cache import Change
from batterykit.store.fingerprint import code_parts
from tests.features.data import curves, discharge, raw_summary

if TYPE_CHECKING:
    from batterykit.features.kinds import Options

CURVES = "raw/expt5/curves/0.1C"
SUMMARY = "raw/expt5/summary"
KINDS = ["summary", "sequence", "ica"]


def six_curves(changed: int | None = None, count: int = 6) -> xr.Dataset:
    """Three check-ups of two cells; `changed` names a curve measured anew."""
    pairs = [
        discharge(noise=2e-4, seed=100 + k if k == changed else k, samples=600)
        for k in range(count)
    ]
    return curves(pairs, (["E5-A"] * 3 + ["E5-B"] * 3)[:count], ([0, 1, 2] * 2)[:count])


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's source; its fingerprint is taken instead of the running one's."""
    copy = tmp_path / "source" / "batterykit"
    shutil.copytree(
        Path(batterykit.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    for module in (build, provenance):
        monkeypatch.setattr(module, "code_parts", lambda *t: code_parts(*t, root=copy.parent))
    return copy


@pytest.fixture
def store(tmp_path: Path, code: Path) -> Store:
    del code  # else another's edit of the package while the tests run would be a change as well
    store = Store.open_or_create(tmp_path / "s.zarr")
    store.write(SUMMARY, raw_summary(), command="test")
    store.write(CURVES, six_curves(), command="test")
    return store


def replace_text(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def redefine(code: Path, definition: str) -> None:
    """Give a function or constant another definition, at the end of its module."""
    module, _, name = definition.partition(":")
    file = code.parent.joinpath(*module.split(".")).with_suffix(".py")
    with file.open("a", encoding="utf-8") as source:
        source.write(f"\n{name} = None\n")


def foretold(store: Store, kind: Kind, options: Options | None = None) -> Why:
    """What `why` says; the next run must then do the very same."""
    node = node_of(kind, parameters_of(kind, options or OPTIONS[kind]()))
    before = {file: file.read_bytes() for file in store.path.rglob("*") if file.is_file()}
    said = why(store, node)
    assert {f: f.read_bytes() for f in store.path.rglob("*") if f.is_file()} == before
    done = refresh(store, kind, options)
    assert (said.node, said.compute, said.reuse, said.drop) == (
        done.node,
        done.computed,
        done.reused,
        done.dropped,
    )
    assert (said.state == "damaged") == bool(done.damaged)
    assert why(store, node).changes == ()
    return said


def sentences(said: Why) -> list[str]:
    return [sentence(change) for change in said.changes]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changed_after_a_run_nor_after_touching_or_ingesting_the_same(
    store: Store, kind: Kind
) -> None:
    rows = refresh(store, kind).rows
    for file in store.path.rglob("*"):
        file.touch()
    store.write(CURVES, six_curves(), command="test", replace=True)
    said = foretold(store, kind)
    assert (said.state, said.changes, said.reuse) == ("current", (), rows)


def test_a_curve_measured_anew_is_named_and_computed_alone(store: Store) -> None:
    refresh(store, "ica")
    store.write(CURVES, six_curves(changed=4), command="test", replace=True)
    said = foretold(store, "ica")
    assert said.state == "stale"
    assert said.compute == ("E5-B RPT01 discharge 0.1C",)
    assert [(c.what, c.name, c.how) for c in said.changes] == [
        ("input", CURVES, "changed"),
        ("row", "E5-B RPT01 discharge 0.1C", "changed"),
    ]
    assert said.changes[1].parts == ("voltage",)


def test_curves_that_came_and_went_are_named(store: Store) -> None:
    store.write(CURVES, six_curves(count=5), command="test", replace=True)
    refresh(store, "ica")
    store.write(CURVES, six_curves(), command="test", replace=True)
    assert "E5-B RPT02 discharge 0.1C: new" in sentences(foretold(store, "ica"))
    store.write(CURVES, six_curves(count=4), command="test", replace=True)
    said = foretold(store, "ica")
    assert said.drop == ("E5-B RPT01 discharge 0.1C", "E5-B RPT02 discharge 0.1C")
    assert sentences(said)[-1] == "E5-B RPT02 discharge 0.1C: gone"


def test_a_cell_whose_summary_changed_is_named(store: Store) -> None:
    refresh(store, "summary")
    days = [[np.nan, 20, 40, 60], [np.nan, 21, 40, 60]]
    store.write(SUMMARY, raw_summary(days_of_degradation=days), command="test", replace=True)
    said = foretold(store, "summary")
    assert said.compute == ("E5-B",)
    assert sentences(said) == [
        f"input {SUMMARY}: changed",
        "E5-B: its days_of_degradation changed",
    ]


def test_an_experiment_that_came_is_named_with_its_cells(store: Store) -> None:
    refresh(store, "sequence")
    more = raw_summary(["E1-A"], experiment=1, n_rpt=[7])
    store.write("raw/expt1/summary", more, command="test")
    said = foretold(store, "sequence")
    assert sentences(said) == ["input raw/expt1/summary: new", "E1-A: new"]


def test_a_constant_of_the_kernel_is_named_and_all_rows_computed(store: Store, code: Path) -> None:
    for kind in KINDS:
        refresh(store, kind)
    redefine(code, "batterykit.features.kernels:MOST_CANDIDATES")
    said = foretold(store, "ica")
    assert sentences(said) == ["code batterykit.features.kernels:MOST_CANDIDATES: changed"]
    assert len(said.compute) == 6
    assert foretold(store, "summary").changes == ()


@pytest.mark.parametrize("kind", KINDS)
def test_any_definition_that_counts_is_named_and_it_alone(
    store: Store, code: Path, kind: Kind
) -> None:
    node = refresh(store, kind).node
    counting = sorted(code_parts(*NODE_CODE[kind], root=code.parent))
    for definition in counting[:: max(1, len(counting) // 5)]:
        file = code.parent.joinpath(*definition.partition(":")[0].split(".")).with_suffix(".py")
        whole = file.read_bytes()
        redefine(code, definition)
        assert sentences(why(store, node)) == [f"code {definition}: changed"]
        file.write_bytes(whole)
    assert why(store, node).changes == ()


def test_a_function_that_came_is_named_as_new(store: Store, code: Path) -> None:
    refresh(store, "summary")
    file = code / "features" / "summary.py"
    replace_text(file, "= 8.314462618", "= gas_constant()\n\n\ndef gas_constant():\n    return 8.3")
    said = foretold(store, "summary")
    assert "code batterykit.features.summary:gas_constant: new" in sentences(said)


def test_code_that_only_puts_rows_together_computes_none(store: Store, code: Path) -> None:
    refresh(store, "ica")
    redefine(code, "batterykit.features.tracking:track_peaks")
    said = foretold(store, "ica")
    assert (said.state, said.compute, said.reuse) == ("stale", (), 6)
    assert sentences(said) == ["code batterykit.features.tracking:track_peaks: changed"]


def test_a_comment_changes_nothing(store: Store, code: Path) -> None:
    refresh(store, "summary")
    file = code / "features" / "summary.py"
    file.write_text(file.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    assert foretold(store, "summary").changes == ()


def test_new_code_and_a_new_curve_at_once_are_both_said(store: Store, code: Path) -> None:
    refresh(store, "ica")
    redefine(code, "batterykit.features.kernels:MOST_CANDIDATES")
    store.write(CURVES, six_curves(changed=0), command="test", replace=True)
    said = foretold(store, "ica")
    assert sentences(said) == [
        f"input {CURVES}: changed",
        "code batterykit.features.kernels:MOST_CANDIDATES: changed",
        "E5-A RPT00 discharge 0.1C: its voltage changed",
    ]
    assert len(said.compute) == 6


def test_a_node_of_an_earlier_version_does_not_say_what_its_rows_were_made_from(
    store: Store,
) -> None:
    node = refresh(store, "ica").node
    earlier = store.read(node).drop_vars("cache_inputs")
    store.write(node, earlier, command="test", replace=True)
    store.write(CURVES, six_curves(changed=4), command="test", replace=True)
    said = foretold(store, "ica")
    assert sentences(said)[1] == "E5-B RPT01 discharge 0.1C: its measurements changed"
    reused, computed = store.read(node)["cache_inputs"].values[3:5].tolist()
    assert (reused, "voltage" in computed) == ("", True)


def test_a_damaged_file_is_named_and_all_rows_computed(store: Store) -> None:
    node = refresh(store, "ica").node
    file = store.path / node / "dqdv" / "c" / "0" / "0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(data)
    said = foretold(store, "ica")
    assert (said.state, len(said.compute)) == ("damaged", 6)
    assert sentences(said) == ["stored file dqdv/c/0/0: changed"]


def test_a_file_that_reading_does_not_need_is_damage_all_the_same(store: Store) -> None:
    node = refresh(store, "ica").node
    file = store.path / node / "dqdv" / "zarr.json"
    file.write_bytes(file.read_bytes().replace(b"dqdv", b"dqdx").replace(b"units", b"unitz"))
    said = foretold(store, "ica")
    assert (said.state, len(said.compute)) == ("damaged", 6)


def test_a_killed_run_that_left_no_seal_computes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cache, "seal", lambda *_, **__: None)
        refresh(store, "ica")
    said = foretold(store, "ica")
    assert (said.state, said.changes, said.reuse) == ("unsealed", (), 6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ica", IcaOptions(peaks=3, window=(3.0, 4.1))),
        ("summary", SummaryOptions(activation_energy=5e4)),
        ("sequence", SequenceOptions(clock="throughput")),
    ],
)
def test_nodes_of_other_parameters_are_explained_by_themselves(
    store: Store, kind: Kind, options: Options
) -> None:
    refresh(store, kind, options)
    assert foretold(store, kind, options).state == "current"
    store.write(CURVES, six_curves(changed=1), command="test", replace=True)
    days = [[np.nan, 20, 40, 60], [np.nan, 21, 40, 60]]
    store.write(SUMMARY, raw_summary(days_of_degradation=days), command="test", replace=True)
    assert len(foretold(store, kind, options).compute) == 1


def test_a_kind_never_computed_with_its_defaults_is_compared_with_the_nearest(store: Store) -> None:
    near = refresh(store, "ica", IcaOptions(kernel_width=0.01)).node
    refresh(store, "ica", IcaOptions(kernel_width=0.01, peaks=3))
    stored = {node: manifest(store, node) for node in feature_nodes(store)}
    said = why_kind(store, "ica", stored)
    assert (said.state, said.compared_with) == ("absent", near)
    assert sentences(said) == ["parameter kernel_width: 0.01 -> none"]
    done = refresh(store, "ica")
    assert (said.node, said.compute) == (done.node, done.computed)
    assert why_kind(store, "ica", dict.fromkeys(feature_nodes(store))).changes == ()


def test_features_of_another_version_are_no_longer_made_and_that_is_said(store: Store) -> None:
    node = refresh(store, "sequence").node
    features = store.read(node)
    features.attrs[cache.MANIFEST] = cache.Manifest({}, {"clock": "days", "old": 1}, {}).to_json()
    store.write(node, features, command="test", replace=True)
    said = why(store, node)
    assert said.state == "stale"
    assert "another version made it" in (said.problem or "")


def test_missing_or_damaged_raw_data_are_the_problem_that_the_next_run_would_meet(
    store: Store,
) -> None:
    node = refresh(store, "ica").node
    (store.path / CURVES / "zarr.json").write_text("{")
    assert f"node '{CURVES}' is damaged" in (why(store, node).problem or "")
    store.remove(CURVES, command="test")
    said = why(store, node)
    assert said.state == "stale"
    assert "no 0.1C curves" in (said.problem or "")


def test_a_node_that_lost_its_metadata_is_made_again_if_it_is_the_default(store: Store) -> None:
    default = refresh(store, "summary").node
    other = refresh(store, "summary", SummaryOptions(activation_energy=5e4)).node
    for node in (default, other):
        (store.path / node / "zarr.json").write_text("{")
    assert len(why(store, default).compute) == 2
    assert f"cache clear {other} --force" in (why(store, other).problem or "")
    assert foretold(store, "summary").state == "damaged"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), "its measurements changed"),
        (("charge", "voltage"), "its charge, voltage changed"),
        (
            (
                "RPT01 discharge 0.1C charge",
                "RPT01 discharge 0.1C voltage",
                "RPT02 charge 0.1C time",
            ),
            "its RPT01 discharge 0.1C charge, voltage; RPT02 charge 0.1C time changed",
        ),
        (
            tuple(f"RPT{k:02d} discharge 0.1C voltage" for k in range(6)),
            "RPT03 discharge 0.1C voltage and 2 more changed",
        ),
    ],
)
def test_what_changed_of_a_row_is_said_by_curve_and_not_at_length(
    parts: tuple[str, ...], expected: str
) -> None:
    assert sentence(Change("row", "E5-A", "changed", parts=parts)).endswith(expected)


@pytest.mark.parametrize(
    ("kind", "parameters", "expected"),
    [
        ("ica", {}, "batterykit features ica"),
        ("ica", {"curves": "0.5C", "window": [3.2, 4.1]}, "ica --window 3.2 4.1 --kind 0.5C"),
        ("ica", {"ir_correct": True, "peaks": 3}, "batterykit features ica --peaks 3 --ir-correct"),
        ("dma", {"positive": {"file": "p.csv", "content_hash": "h"}}, "dma --positive p.csv"),
        ("dma", {"positive": {"file": "my p.csv", "content_hash": "h"}}, "--positive 'my p.csv'"),
    ],
)
def test_the_command_that_makes_a_node_names_what_is_not_default(
    kind: str, parameters: dict[str, object], expected: str
) -> None:
    whole = provenance.default_parameters(kind) | parameters
    assert command(kind, whole).endswith(expected)
