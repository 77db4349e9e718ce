"""What is exported can be opened by other programs and says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from batterykit.errors import BatterykitError, UsageError
from batterykit.store import Store
from batterykit.store.export import export
from tests.store.datasets import curves, sets

CURVES = "raw/expt5/curves/0.1C"
SETS = "raw/expt5/sets"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open_or_create(tmp_path / "a.zarr")
    store.write(CURVES, curves(), command="ingest")
    store.write(SETS, sets(), command="ingest")
    return store


def test_one_netcdf_file_holds_every_node_as_a_group(store: Store, tmp_path: Path) -> None:
    (file,) = export(store, store.nodes(), tmp_path / "all.nc", "netcdf")
    with xr.open_dataset(file, group=CURVES, engine="h5netcdf") as opened:
        np.testing.assert_array_equal(opened["voltage"], curves()["voltage"])
        assert opened["voltage"].attrs["units"] == "V"
        assert list(opened["cell"].values) == ["E5-A", "E5-A"]
    with xr.open_dataset(file, group=SETS, engine="h5netcdf") as opened:
        np.testing.assert_array_equal(opened["start"], sets()["start"])


@pytest.mark.parametrize(("format_", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_a_ragged_node_becomes_a_long_table_with_units_in_its_header(
    store: Store, tmp_path: Path, format_: str, read: object
) -> None:
    (file,) = export(store, [CURVES], tmp_path / f"c.{format_}", format_)
    table = read(file)  # type: ignore[operator]
    assert len(table) == 200
    np.testing.assert_allclose(table["voltage [V]"], curves()["voltage"], rtol=1e-15)
    assert table["rpt"].tolist() == [0] * 100 + [1] * 100


def test_variables_of_different_dimensions_become_tables_of_their_own(
    store: Store, tmp_path: Path
) -> None:
    size = {"curve": 3, "peak": 10, "candidate": 16, "voltage": 50_000}  # together 24 million rows
    peak = {"voltage": "V", "height": "Ah/V", "width": "V", "area": "Ah"}
    features = xr.Dataset(
        {
            f"{kind}_{name}": ((("curve", kind)), np.ones((3, size[kind])), {"units": units})
            for kind in ("peak", "candidate")
            for name, units in peak.items()
        }
        | {
            "dqdv": (("curve", "voltage"), np.ones((3, 50_000)), {"units": "Ah/V"}),
            "noise": ("curve", np.array([1.0, 2.0, 3.0]), {"units": "V"}),
        },
        coords={
            "cell": ("curve", np.array(["E5-A", "E5-B", "E5-C"], dtype=object)),
            "rpt": ("curve", np.array([0, 1, 2])),
            "direction": ("curve", np.array(["discharge"] * 3, dtype=object)),
            "voltage": ("voltage", np.linspace(2.5, 4.2, 50_000), {"units": "V"}),
        },
    )
    store.write("features/ica/abc", features, command="features ica")
    files = export(store, ["features/ica/abc"], tmp_path / "ica", "parquet")
    tables = {file.stem.removeprefix("features_ica_abc_"): pd.read_parquet(file) for file in files}
    assert {name: len(table) for name, table in tables.items()} == {
        name: 3 * size[name] for name in ("peak", "candidate", "voltage")
    }
    assert tables["peak"]["cell"].tolist() == ["E5-A"] * 10 + ["E5-B"] * 10 + ["E5-C"] * 10
    assert (
        tables["voltage"]["noise [V]"].tolist() == [1.0] * 50_000 + [2.0] * 50_000 + [3.0] * 50_000
    )
    assert "peak_area [Ah]" in tables["peak"]
    assert "peak_area [Ah]" not in tables["voltage"]


def test_several_nodes_become_a_folder_of_tables(store: Store, tmp_path: Path) -> None:
    files = export(store, store.nodes(), tmp_path / "tables", "csv")
    assert sorted(file.name for file in files) == [
        "raw_expt5_curves_0.1C.csv",
        "raw_expt5_sets.csv",
    ]


def test_an_existing_target_is_kept_unless_forced(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "t.csv"
    target.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export(store, [SETS], target, "csv")
    assert target.read_text() == "mine"
    export(store, [SETS], target, "csv", force=True)
    assert "E5-B" in target.read_text()


def test_nothing_to_export_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no node"):
        export(store, [], tmp_path / "t.nc", "netcdf")


def test_force_never_replaces_a_folder_by_a_file_nor_a_file_by_a_folder(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("mine")
    for nodes, format_ in (([SETS], "csv"), (store.nodes(), "netcdf")):
        with pytest.raises(UsageError, match="this is a folder"):
            export(store, nodes, folder, format_, force=True)
    with pytest.raises(UsageError, match="this is a file"):
        export(store, store.nodes(), folder / "chapter1.txt", "csv", force=True)
    assert (folder / "chapter1.txt").read_text() == "mine"


@pytest.mark.parametrize(("name", "format_"), [("all.nc", "netcdf"), ("sets.csv", "csv")])
def test_a_target_that_cannot_be_written_is_named(
    store: Store, tmp_path: Path, name: str, format_: str
) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    target = tmp_path / "letter.txt" / name
    with pytest.raises(BatterykitError, match="cannot be written") as caught:
        export(store, [SETS], target, format_)
    assert caught.value.file == str(target)


@pytest.mark.parametrize("place", [".", "raw", "new/table.csv"])
def test_nothing_is_exported_into_the_store(store: Store, place: str) -> None:
    with pytest.raises(UsageError, match="in the store"):
        export(store, [SETS], store.path / place, "csv", force=True)
    assert store.verify() == []
