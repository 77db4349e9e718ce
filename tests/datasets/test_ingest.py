"""From files to store: new is read, known is left alone, bad loses nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batterykit.datasets import assemble, twin
from batterykit.datasets import ingest as module
from batterykit.datasets.ingest import BadFilesError, Report, ingest
from batterykit.errors import InputError, StoreError
from batterykit.store import Store
from tests.datasets.record import (
    EXPT,
    curve_lines,
    curve_path,
    cycles_path,
    sets_path,
    summary_lines,
    summary_path,
    write,
    write_record,
)

CURVES = "raw/expt5/curves/0.1C"
NODES = [CURVES, "raw/expt5/cycles", "raw/expt5/sets", "raw/expt5/summary"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_record(tmp_path / "record")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open_or_create(tmp_path / "store.zarr")


def states(report: Report) -> dict[str, str]:
    return {node.node: node.state for one in report.experiments for node in one.nodes}


def curve(dataset: xr.Dataset, cell: str, rpt: int) -> dict[str, np.ndarray]:
    """Return one curve of a ragged dataset."""
    ends = np.cumsum(dataset["row_size"].values)
    place = int(np.flatnonzero((dataset["cell"] == cell) & (dataset["rpt"] == rpt))[0])
    part = slice(ends[place] - dataset["row_size"].values[place], ends[place])
    names = ("time", "voltage", "current", "charge", "temperature")
    return {name: dataset[name].values[part] for name in names}


def contents(store: Store) -> dict[str, xr.Dataset]:
    return {node: store.read(node) for node in store.nodes()}


def assert_unchanged(store: Store, before: dict[str, xr.Dataset]) -> None:
    assert store.nodes() == sorted(before)
    for node, dataset in before.items():
        xr.testing.assert_identical(store.read(node), dataset)
    assert store.verify() == []


# -- what is written -------------------------------------------------------------------------


def test_every_kind_of_file_gets_its_node(source: Path, store: Store) -> None:
    report = ingest(store, source, [5])
    assert set(states(report)) == set(NODES)
    assert set(states(report).values()) == {"written"}
    assert store.nodes() == NODES
    assert store.verify() == []


def test_a_summary_has_a_row_for_each_cell_and_nothing_past_its_last_check_up(
    source: Path, store: Store
) -> None:
    write(summary_path(source, "B"), summary_lines(2))
    ingest(store, source)
    summary = store.read("raw/expt5/summary")
    assert summary["cell"].values.tolist() == ["E5-A", "E5-B"]
    assert summary["n_rpt"].values.tolist() == [4, 2]
    assert summary["temperature_chamber"].values.tolist() == [10, 10]
    assert summary["capacity_c10"].dims == ("cell", "rpt")
    np.testing.assert_array_equal(
        summary["capacity_c10"].values, [[4.8, 4.752, 4.704, 4.656], [4.8, 4.752, np.nan, np.nan]]
    )
    assert summary["rpt_start_date"].values[0, 1] == np.datetime64("2021-02-05")
    assert np.isnat(summary["rpt_start_date"].values[1, 2])


def test_curves_are_a_contiguous_ragged_array(source: Path, store: Store) -> None:
    write(curve_path(source, "B", 2), curve_lines(60, capacity=4704))
    ingest(store, source)
    dataset = store.read(CURVES)
    assert dataset["cell"].values.tolist() == ["E5-A"] * 4 + ["E5-B"] * 4
    assert dataset["rpt"].values.tolist() == [0, 1, 2, 3] * 2
    assert dataset["row_size"].values.tolist() == [40] * 6 + [60, 40]
    assert dataset.sizes["sample"] == 340
    found = curve(dataset, "E5-B", 2)
    wanted = [line.split(",") for line in curve_lines(60, capacity=4704)[1:]]
    assert found["time"].tolist() == [float(row[0]) for row in wanted]
    assert found["charge"].tolist() == [float(row[3]) / 1000 for row in wanted]
    assert found["current"].max() < 0
    assert len(set(dataset["content_hash"].values)) == 5  # A and B are alike but for RPT 2


def test_ageing_tables_keep_all_columns_in_the_units_of_the_store(
    source: Path, store: Store
) -> None:
    ingest(store, source)
    sets = store.read("raw/expt5/sets")
    assert sets["row_size"].values.tolist() == [3, 3]
    assert sets["charge_throughput"].values.tolist() == [700.5, 1401.0, 2101.5] * 2
    assert sets["start"].dtype == "M8[ns]"
    assert sets["note"].values.tolist() == ["ok"] * 6
    cycles = store.read("raw/expt5/cycles")
    assert cycles["discharge_capacity"].values[:2].tolist() == [4.7, 4.699]
    assert cycles["discharge_capacity"].attrs["units"] == "Ah"


def test_flags_are_counted_and_kept(source: Path, store: Store) -> None:
    write(curve_path(source, "A", 1), curve_lines(capacity=4700))  # the summary says 4752
    write(curve_path(source, "B", 3), curve_lines(capacity=4656)[:-5])
    report = ingest(store, source)
    flags = {node.node: node.flags for node in report.experiments[0].nodes}[CURVES]
    assert flags == {
        "capacity_differs": ["E5-A RPT1 0.1C discharge", "E5-B RPT3 0.1C discharge"],
        "window_not_reached": ["E5-B RPT3 0.1C discharge"],
    }
    flag = store.read(CURVES)["quality_flag"]
    assert flag.values.tolist() == [0, 16, 0, 0, 0, 0, 0, 48]
    assert flag.attrs["flag_meanings"].split()[4] == "capacity_differs"
    assert flag.attrs["flag_masks"][4] == 16


def test_a_summary_that_ends_early_is_flagged(source: Path, store: Store) -> None:
    report = ingest(store, source)
    flags = report.experiments[0].nodes[0].flags
    assert flags == {"fewer_rpts_than_record": ["E5-A (4 of 16)", "E5-B (4 of 16)"]}


def test_a_part_of_the_record_is_enough_and_the_rest_is_listed(
    tmp_path: Path, store: Store
) -> None:
    write(curve_path(tmp_path, "C", 4), curve_lines())
    report = ingest(store, tmp_path)
    assert store.nodes() == [CURVES]
    lines = report.experiments[0].missing
    assert "127 of 128 missing" in lines[0]
    assert "not there at all: summary (8), sets (8), cycles (8)" in lines[1]


# -- the same again, and changed -------------------------------------------------------------


def test_the_same_bytes_again_change_nothing_and_are_not_read(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ingest(store, source)
    before, log = contents(store), store.log()
    monkeypatch.setattr(assemble, "read_part", None)  # calling it would be an error
    for path in source.rglob("*.csv"):
        path.touch()
    report = ingest(store, source)
    assert set(states(report).values()) == {"unchanged"}
    assert not report.changed
    assert sum(node.read for node in report.experiments[0].nodes) == 0
    assert [n.flags for n in report.experiments[0].nodes] == [
        n.flags for n in first.experiments[0].nodes
    ]
    assert_unchanged(store, before)
    new = store.log()[len(log) :]
    assert [entry["note"] for entry in new] == [
        "nothing changed: 14 files as before, no file read again"
    ]


def test_a_run_that_finds_nothing_new_imports_none_of_the_heavy_packages(
    source: Path, store: Store
) -> None:
    ingest(store, source)
    code = (
        "import sys; from pathlib import Path; from batterykit.store import Store;"
        "from batterykit.datasets.ingest import ingest;"
        "assert not ingest(Store.open(Path(sys.argv[1])), Path(sys.argv[2])).changed;"
        "print({'zarr', 'xarray', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(store.path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_changed_curve_is_read_alone_and_replaces_itself_alone(
    source: Path, store: Store
) -> None:
    ingest(store, source)
    before = contents(store)
    write(curve_path(source, "B", 2), curve_lines(50, capacity=4704))
    report = ingest(store, source)
    node = next(node for node in report.experiments[0].nodes if node.node == CURVES)
    assert (node.state, node.read) == ("updated", 1)
    assert node.changed == ["E5-B RPT2 0.1C discharge"]
    assert [n.state for n in report.experiments[0].nodes].count("unchanged") == 3
    after = store.read(CURVES)
    for cell in ("E5-A", "E5-B"):
        for rpt in range(4):
            old, new = curve(before[CURVES], cell, rpt), curve(after, cell, rpt)
            same = all(np.array_equal(old[name], new[name]) for name in old)
            assert same == ((cell, rpt) != ("E5-B", 2))
    entry = store.log()[-1]
    assert entry["node"] == CURVES
    changed = entry["details"]["changed"]["E5-B RPT2 0.1C discharge"]
    assert changed["was"] == before[CURVES]["source_hash"].values[6]
    assert changed["is"] == after["source_hash"].values[6]


def test_a_changed_summary_updates_its_cell_and_the_flags_of_its_curves(
    source: Path, store: Store
) -> None:
    ingest(store, source)
    before = contents(store)
    write(summary_path(source, "B"), summary_lines(4, capacity=4900))
    report = ingest(store, source)
    nodes = {node.node: node for node in report.experiments[0].nodes}
    assert nodes["raw/expt5/summary"].changed == ["E5-B"]
    assert nodes["raw/expt5/summary"].read == 1
    assert (nodes[CURVES].state, nodes[CURVES].read) == ("updated", 0)
    summary = store.read("raw/expt5/summary")
    assert summary["capacity_c10"].values[:, 0].tolist() == [4.8, 4.9]
    old = before["raw/expt5/summary"].isel(cell=0).assign_attrs(summary.attrs)
    xr.testing.assert_identical(summary.isel(cell=0), old)
    assert store.read(CURVES)["quality_flag"].values.tolist() == [0] * 4 + [16] * 4


def test_a_new_cell_joins_those_that_are_stored(tmp_path: Path, store: Store) -> None:
    source = write_record(tmp_path / "record", "A")
    ingest(store, source)
    write_record(source, "AC")
    report = ingest(store, source)
    assert {node.node: node.read for node in report.experiments[0].nodes}[CURVES] == 4
    assert store.read("raw/expt5/summary")["cell"].values.tolist() == ["E5-A", "E5-C"]


def test_what_has_vanished_from_the_source_stays_in_the_store(source: Path, store: Store) -> None:
    ingest(store, source)
    before = contents(store)
    curve_path(source, "A", 3).unlink()
    summary_path(source, "B").unlink()
    report = ingest(store, source)
    nodes = {node.node: node for node in report.experiments[0].nodes}
    assert nodes[CURVES].kept == ["E5-A RPT3 0.1C discharge"]
    assert nodes["raw/expt5/summary"].kept == ["E5-B"]
    assert not report.changed
    assert_unchanged(store, before)


def test_a_kind_of_file_that_has_vanished_altogether_stays_in_the_store(
    source: Path, store: Store
) -> None:
    ingest(store, source)
    before = contents(store)
    for letter in "AB":
        sets_path(source, letter).unlink()
    report = ingest(store, source)
    nodes = {node.node: node for node in report.experiments[0].nodes}
    assert nodes["raw/expt5/sets"].kept == ["E5-A", "E5-B"]
    assert_unchanged(store, before)


def test_files_are_read_again_when_the_way_of_reading_has_changed(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, source)
    monkeypatch.setattr(module, "READER_VERSION", module.READER_VERSION + 1)
    report = ingest(store, source)
    assert sum(node.read for node in report.experiments[0].nodes) == 14
    assert not ingest(store, source).changed


def test_measured_and_synthetic_data_do_not_mix(source: Path, store: Store) -> None:
    ingest(store, source)
    before = contents(store)
    assert "10637534" in before[CURVES].attrs["source"]
    (source / EXPT / "TWIN.json").write_text("{}")
    with pytest.raises(InputError, match=r"measured and synthetic data stay apart"):
        ingest(store, source)
    assert_unchanged(store, before)
    other = Store.open_or_create(store.path.with_name("other.zarr"))
    ingest(other, source)
    assert "synthetic" in other.read(CURVES).attrs["source"]


def test_measured_and_synthetic_experiments_do_not_share_a_store(
    source: Path, store: Store, tmp_path: Path
) -> None:
    ingest(store, source)
    before = contents(store)
    made = tmp_path / "made"
    twin.write_twin(made, cells=1, sampling=3600.0, experiments=[4])
    shutil.copytree(next(made.glob("Expt 4*")), source / "Expt 4 - Drive Cycle Aging (Control)")
    with pytest.raises(InputError, match=r"measured and synthetic data stay apart"):
        ingest(store, source, [4])
    assert_unchanged(store, before)
    empty = Store.open_or_create(store.path.with_name("empty.zarr"))
    with pytest.raises(InputError, match=r"measured and synthetic data stay apart"):
        ingest(empty, source)
    assert empty.nodes() == []


def test_nothing_new_is_said_of_a_store_that_cannot_be_written(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, source)

    def refuse(*_: object) -> None:
        raise StoreError("read-only", fix="-")

    monkeypatch.setattr(store, "_append_log", refuse)
    assert not ingest(store, source).changed


def test_a_damaged_node_is_an_error_not_written_over(source: Path, store: Store) -> None:
    ingest(store, source)
    (store.path / CURVES / "zarr.json").write_text("{")
    chunk = (store.path / CURVES / "voltage/c/0").read_bytes()
    with pytest.raises(StoreError, match=r"zarr\.json cannot be read"):
        ingest(store, source)
    assert (store.path / CURVES / "voltage/c/0").read_bytes() == chunk


def test_what_another_process_wrote_meanwhile_is_noticed(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, source)
    elsewhere = store.path.parent / "elsewhere"
    shutil.copytree(source, elsewhere)
    write(curve_path(elsewhere, "A", 1), curve_lines(43))
    write(curve_path(source, "A", 0), curve_lines(41))
    writing, met = Store.writing, []

    def meet_another(self: Store) -> object:
        monkeypatch.setattr(Store, "writing", writing)  # only once
        met.append(ingest(Store.open(store.path), elsewhere))
        assert store.read(CURVES)["row_size"].values[1] == 43
        return writing(self)

    monkeypatch.setattr(Store, "writing", meet_another)
    ingest(store, source)
    assert met
    assert store.read(CURVES)["row_size"].values.tolist() == [41, *[40] * 7]
    assert not ingest(store, source).changed


# -- what is wrong ---------------------------------------------------------------------------


def test_a_bad_file_loses_nothing_and_the_good_nodes_are_written(
    source: Path, store: Store
) -> None:
    write(curve_path(source, "B", 1), [*curve_lines()[:20], "17000,4.0,-480,x,25"])
    with pytest.raises(InputError) as caught:
        ingest(store, source)
    assert caught.value.file == str(curve_path(source, "B", 1))
    assert (caught.value.column, caught.value.row) == ("Charge (mA.h)", 21)
    assert store.nodes() == [node for node in NODES if node != CURVES]
    write(curve_path(source, "B", 1), curve_lines())
    assert states(ingest(store, source))[CURVES] == "written"


def test_a_stored_node_stays_as_it_is_when_a_file_turns_bad(source: Path, store: Store) -> None:
    ingest(store, source)
    before = contents(store)
    write(curve_path(source, "A", 0), curve_lines(41))
    write(curve_path(source, "B", 1), ["rubbish", "1"])
    with pytest.raises(InputError):
        ingest(store, source)
    assert_unchanged(store, before)


def test_all_bad_files_are_named_at_once(source: Path, store: Store) -> None:
    for path in (curve_path(source, "A", 1), summary_path(source, "B"), sets_path(source)):
        path.write_text("")
    with pytest.raises(BadFilesError) as caught:
        ingest(store, source)
    text = str(caught.value)
    assert text.startswith("3 files are bad:")
    for path in (curve_path(source, "A", 1), summary_path(source, "B"), sets_path(source)):
        assert str(path) in text
    assert len(json.loads(json.dumps(caught.value.as_dict()))["errors"]) == 3


def test_a_file_that_cannot_be_opened_is_an_error(source: Path, store: Store) -> None:
    curve_path(source, "A", 1).unlink()
    curve_path(source, "A", 1).symlink_to(source / "gone.csv")
    with pytest.raises(InputError, match="cannot be read") as caught:
        ingest(store, source)
    assert caught.value.file == str(curve_path(source, "A", 1))


def test_an_experiment_that_is_not_there_is_named(source: Path, store: Store) -> None:
    with pytest.raises(InputError, match=r"experiment 3 is not in this folder \(it has: 5\)"):
        ingest(store, source, [5, 3])
    assert store.nodes() == []


def test_an_experiment_without_files_is_an_error(tmp_path: Path, store: Store) -> None:
    (tmp_path / EXPT).mkdir()
    with pytest.raises(InputError, match="no file of the record"):
        ingest(store, tmp_path)


def test_a_column_that_is_text_in_one_file_and_numbers_in_another_is_an_error(
    source: Path, store: Store
) -> None:
    write(cycles_path(source, "B"), ["Cycle,Discharge Capacity [mA h],End", "0,1,yesterday"])
    with pytest.raises(InputError, match="in the files of other cells") as caught:
        ingest(store, source)
    assert caught.value.column == "End"


def test_progress_is_shown_over_the_files(source: Path, store: Store) -> None:
    seen: list[tuple[str, int | None]] = []

    def track(iterable, description, total=None):  # noqa: ANN001, ANN202
        seen.append((description, total))
        yield from iterable

    ingest(store, source, track=track)
    assert seen[0] == ("experiment 5, summary", 2)
    assert seen[-1] == ("experiment 5, 0.1C", 8)
