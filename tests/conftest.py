"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _data_folder() -> Path | None:
    """Return the folder of real measurements: named by the environment, or beside the checkout."""
    named = os.environ.get("BATTERYKIT_TEST_DATA")
    if named:
        return Path(named)
    beside = (parent / "shared" / "data" for parent in Path(__file__).resolve().parents)
    return next((folder for folder in beside if folder.is_dir()), None)


@pytest.fixture(scope="session")
def real_record() -> Path:
    """The LG M50T record's Expt 2,2: six summaries, and cell C's C/10 discharge and charge."""
    folder = _data_folder()
    if folder is None or not (folder / "lg-m50t").is_dir():
        pytest.skip("real measurements are not at hand; name their folder in BATTERYKIT_TEST_DATA")
    return folder / "lg-m50t"
