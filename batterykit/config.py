"""Where store, data and runs are found: option, then environment, then file, then default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from batterykit.errors import UsageError

CONFIG_FILE = Path("batterykit.toml")
ENVIRONMENT_PREFIX = "BATTERYKIT_"


@dataclass(frozen=True)
class Settings:
    """Places that every command needs.

    Not a pydantic model: every command reads its settings, and pydantic's import would be a
    quarter of a run that finds nothing to do.

    Attributes
    ----------
    store
        The zarr store that commands read and write.
    data
        The folder that holds the record's experiment folders.
    runs
        The folder that holds one folder per training run.
    """

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
    values = _from_file(config_file)
    for name, option in options.items():
        variable = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if option is not None:
            values[name] = option
        elif variable:
            values[name] = Path(variable)
    return Settings(**values)


def _from_file(path: Path) -> dict[str, Path]:
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"not a TOML file ({error})", fix='write lines like store = "my.zarr"', file=path
        ) from error
    known = [field.name for field in fields(Settings)]
    for name, value in values.items():
        if name not in known or not isinstance(value, str):
            raise UsageError(
                f"'{name} = {value!r}' is no setting",
                fix=f"the settings are {', '.join(known)}, each a path in quotes",
                file=path,
            )
    return {name: path.parent / value for name, value in values.items()}
