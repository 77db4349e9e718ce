"""The record's files are found whatever small liberties were taken with their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from batterykit.datasets import lgm50t
from batterykit.errors import InputError
from tests.datasets.record import (
    EXPT,
    curve_lines,
    curve_path,
    summary_lines,
    summary_path,
    write,
    write_record,
)


def found(root: Path, experiment: int = 5) -> lgm50t.Found:
    return lgm50t.find_files(experiment, lgm50t.find_experiments(root)[experiment])


def identities(root: Path, kind: str, experiment: int = 5) -> list[str]:
    return [file.identity for file in found(root, experiment).files[kind]]


def test_every_kind_of_file_is_found_and_named(tmp_path: Path) -> None:
    write_record(tmp_path, "A", rpts=1)
    folder = tmp_path / EXPT / "Processed Timeseries Data"
    for kind, protocol in [
        ("0.5C", "0.5C"),
        ("GITT", "25-pulse GITT 0.5C"),
        ("GITT", "5-pulse GITT 0.5C"),
        ("Hybrid CC-Pulse", "Hybrid CC-Pulse 0.5C"),
        ("Hybrid CC-Pulse", "Hybrid CC-Pulse 1C"),
    ]:
        name = f"Expt 5 - cell A - RPT0 - {protocol} discharge data.csv"
        write(folder / f"{kind} Voltage Curves" / "Cell A" / name, curve_lines())
    write(curve_path(tmp_path, direction="charge"), curve_lines(direction="charge"))
    for kind in ("summary", "sets", "cycles"):
        assert identities(tmp_path, kind) == ["E5-A"]
    assert identities(tmp_path, "0.1C") == ["E5-A RPT0 0.1C charge", "E5-A RPT0 0.1C discharge"]
    assert identities(tmp_path, "0.5C") == ["E5-A RPT0 0.5C discharge"]
    assert len(identities(tmp_path, "GITT")) == len(identities(tmp_path, "hybrid")) == 2
    assert found(tmp_path).files["summary"][0].temperature == 10


def test_experiment_2_2_is_experiment_2(tmp_path: Path) -> None:
    name = "Expt 2,2 - cell C (25degC) - Processed Data.csv"
    folder = tmp_path / "Expt 2,2 - C-based Degradation 2"
    write(folder / "Summary Data" / "Performance Summary" / name, summary_lines())
    assert identities(tmp_path, "summary", 2) == ["E2-C"]


def test_letter_case_of_folders_and_files_does_not_matter(tmp_path: Path) -> None:
    name = "expt 5 - Cell a - rpt3 - 0.1c Discharge Data.CSV"
    folder = tmp_path / "EXPT 5 - standard" / "processed timeseries data" / "0.1c voltage curves"
    write(folder / "CELL A" / name, curve_lines())
    assert found(tmp_path).files["0.1C"][0].rpt == 3


def test_the_source_may_be_the_experiment_itself_or_unpacked_twice(tmp_path: Path) -> None:
    write_record(tmp_path / EXPT, "A", rpts=1)
    assert lgm50t.find_experiments(tmp_path) == {5: tmp_path / EXPT / EXPT}
    assert lgm50t.find_experiments(tmp_path / EXPT / EXPT) == {5: tmp_path / EXPT / EXPT}


def test_the_source_may_be_a_link_to_the_experiment(tmp_path: Path) -> None:
    write_record(tmp_path, "A", rpts=1)
    (tmp_path / EXPT).rename(tmp_path / "disk")
    (tmp_path / EXPT).symlink_to(tmp_path / "disk")
    assert lgm50t.find_experiments(tmp_path / EXPT) == {5: tmp_path / EXPT}


def test_a_protocol_in_other_letters_is_the_same_curve(tmp_path: Path) -> None:
    folder = tmp_path / EXPT / "Processed Timeseries Data" / "Hybrid CC-Pulse Voltage Curves"
    name = "Expt 5 - cell A - RPT1 - hybrid cc-pulse 1c discharge data.csv"
    write(folder / name, curve_lines())
    assert identities(tmp_path, "hybrid") == ["E5-A RPT1 Hybrid CC-Pulse 1C discharge"]


def test_hidden_files_are_passed_over_and_strange_names_are_listed(tmp_path: Path) -> None:
    write_record(tmp_path, "A", rpts=1)
    path = summary_path(tmp_path)
    write(path.with_name("._" + path.name), ["rubbish"])
    strange = write(path.with_name("notes.csv"), ["rubbish"])
    assert found(tmp_path).unrecognised == [strange]
    assert identities(tmp_path, "summary") == ["E5-A"]


def test_a_curve_in_the_folder_of_another_kind_is_listed_not_read(tmp_path: Path) -> None:
    right = curve_path(tmp_path, rate="0.5C")
    wrong = right.parents[2] / "0.1C Voltage Curves" / "Cell A" / right.name
    write(wrong, curve_lines())
    assert found(tmp_path).unrecognised == [wrong]


@pytest.mark.parametrize("copy", ["{} (1).csv", "{} - Copy.csv"])
def test_two_files_for_one_cell_are_an_error_that_names_both(tmp_path: Path, copy: str) -> None:
    path = write(summary_path(tmp_path), summary_lines())
    write(path.with_name(copy.format(path.stem)), summary_lines())
    with pytest.raises(InputError, match=r"two files for E5-A.*Processed Data.*Fix: keep"):
        found(tmp_path)


def test_another_temperature_than_the_cell_was_aged_at_is_an_error(tmp_path: Path) -> None:
    path = summary_path(tmp_path)
    write(path.with_name(path.name.replace("10degC", "25degC")), summary_lines())
    with pytest.raises(InputError, match=r"says 25 degC, but cell A .* was aged at 10 degC"):
        found(tmp_path)


def test_a_cell_that_the_record_does_not_know_is_welcome(tmp_path: Path) -> None:
    path = summary_path(tmp_path)
    write(path.with_name("Expt 5 - cell Z (33.5degC) - Processed Data.csv"), summary_lines())
    assert identities(tmp_path, "summary") == ["E5-Z"]
    assert found(tmp_path).files["summary"][0].temperature == 33.5


def test_two_folders_for_one_experiment_are_an_error(tmp_path: Path) -> None:
    write_record(tmp_path, "A", rpts=1)
    (tmp_path / "Expt 5 - copy").mkdir()
    with pytest.raises(InputError, match="two folders for experiment 5"):
        lgm50t.find_experiments(tmp_path)


def test_a_file_of_another_experiment_or_cell_is_an_error(tmp_path: Path) -> None:
    path = summary_path(tmp_path)
    stray = write(path.with_name(path.name.replace("Expt 5", "Expt 4")), summary_lines())
    with pytest.raises(InputError, match="experiment 4 in the folder of experiment 5"):
        found(tmp_path)
    stray.unlink()
    path = curve_path(tmp_path, "B")
    write(path.parents[1] / "Cell A" / path.name, curve_lines())
    with pytest.raises(InputError, match="cell B in the folder 'Cell A'"):
        found(tmp_path)


def test_missing_and_empty_folders_are_errors_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder.*--source"):
        lgm50t.find_experiments(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no experiment in this folder.*--source"):
        lgm50t.find_experiments(tmp_path)
    file = write(tmp_path / "file.csv", ["x"])
    with pytest.raises(InputError, match="not a folder"):
        lgm50t.find_experiments(file)


def test_the_record_has_the_forty_cells_and_their_check_ups() -> None:
    assert len(lgm50t.N_RPT) == len(lgm50t.CHAMBER_DEGC) == 40
    assert sum(lgm50t.N_RPT.values()) == 511
    assert lgm50t.CHAMBER_DEGC["E1-J"] == 10
    assert lgm50t.N_RPT["E3-G"] == 12


def test_what_the_record_should_have_and_the_folder_has_not_is_listed(tmp_path: Path) -> None:
    write_record(tmp_path, "A", rpts=3)
    lines = lgm50t.missing(found(tmp_path))
    assert lines[0] == "summary: 7 of 8 missing: E5-B, E5-C, E5-D, E5-E, E5-F, E5-G, E5-H"
    assert lines[3].startswith("0.1C discharge curves: 125 of 128 missing: E5-A RPT 3-15, E5-B (a")
    assert lines[4].startswith("not there at all: 0.5C discharge curves (64), 25-pulse GITT")
