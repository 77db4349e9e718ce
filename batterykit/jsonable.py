"""What JSON can hold: for what the command line prints and what a run's files keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def jsonable(value: Any) -> Any:  # noqa: ANN401 - anything that may be nested
    """Return a value with numpy values and paths made plain, and NaN and infinity made null.

    JSON has no NaN. What is left as it is (any other type) is an error of `json.dumps`.
    """
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        value = tolist()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
