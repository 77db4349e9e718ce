"""Where store, data and runs are found: option, then environment, then file, then default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from batterykit.errors import UsageError

CONFIG_FILE = Path("batterykit.toml")
ENVIRONMENT_PREFIX = "BATTERYKIT_"


class Settings(BaseModel):
    """Places that every command needs.

    Attributes
    ----------
    store
        The zarr store that commands read and write.
    data
        The folder that holds the record's experiment folders.
    runs
        The folder that holds one folder per training run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path = Path("batterykit.zarr")
    data: Path = Path("Raw Data")
    runs: Path = Path("runs")


def load_settings(
    store: Path | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    config_file: Path = CONFIG_FILE,
) -> Settings:
    """Return the settings in force.

    Parameters
    ----------
    store, data, runs
        Values given as options; they win over everything else.
    environment
        `BATTERYKIT_STORE`, `BATTERYKIT_DATA`, `BATTERYKIT_RUNS` come next.
    config_file
        A TOML file with the same names in lower case; relative paths in it count from its folder.

    Raises
    ------
    UsageError
        The config file is not TOML, or holds a name that does not exist.
    """
    options = {"store": store, "data": data, "runs": runs}
    values: dict[str, object] = dict(_from_file(config_file))
    for name in options:
        variable = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if variable:
            values[name] = variable
    values.update({name: value for name, value in options.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"setting '{name}': {first['msg']}",
            fix=f"the settings are {', '.join(Settings.model_fields)}, each a path",
            file=config_file if config_file.exists() else None,
        ) from error


def _from_file(path: Path) -> dict[str, object]:
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"not a TOML file ({error})", fix='write lines like store = "my.zarr"', file=path
        ) from error
    return {
        name: path.parent / value if isinstance(value, str) else value
        for name, value in values.items()
    }
