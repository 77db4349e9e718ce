"""Settings: an option beats the environment, which beats the file, which beats the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from batterykit.config import load_settings
from batterykit.errors import UsageError


def test_each_source_beats_the_next(tmp_path: Path) -> None:
    file = tmp_path / "batterykit.toml"
    file.write_text('store = "from-file.zarr"\n')
    environment = {"BATTERYKIT_STORE": "from-environment.zarr"}

    def store(**sources: object) -> Path:
        return load_settings(**sources).store  # type: ignore[arg-type]

    none = tmp_path / "absent.toml"
    assert store(environment={}, config_file=none) == Path("batterykit.zarr")
    assert store(environment={}, config_file=file) == tmp_path / "from-file.zarr"
    assert store(environment=environment, config_file=file) == Path("from-environment.zarr")
    assert store(store=Path("option.zarr"), environment=environment, config_file=file) == Path(
        "option.zarr"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("store = ", "not a TOML file"),
        ('stor = "x.zarr"', r"'stor = .*store, data, runs"),
        ("store = 3", "'store = 3' is no setting"),
    ],
)
def test_a_config_file_that_cannot_be_meant_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "batterykit.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_settings(environment={}, config_file=file)
