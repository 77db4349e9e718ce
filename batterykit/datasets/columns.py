"""What a CSV header says: the column's name, its unit, and how its numbers become the store's.

Knows how units are spelt in laboratory files; knows no particular file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

UNKNOWN_UNIT = "unknown"

# spelling (without spaces, dots and asterisks) -> unit in the store, divisor.
# Divisors, not factors: x / 1000.0 is the double nearest to the true value, x * 0.001 is not.
_UNITS: dict[str, tuple[str, float]] = {
    "1": ("1", 1.0),
    "-": ("1", 1.0),
    "%": ("1", 100.0),
    "Ah": ("Ah", 1.0),
    "mAh": ("Ah", 1000.0),
    "Wh": ("Wh", 1.0),
    "mWh": ("Wh", 1000.0),
    "A": ("A", 1.0),
    "mA": ("A", 1000.0),
    "V": ("V", 1.0),
    "mV": ("V", 1000.0),
    "W": ("W", 1.0),
    "mW": ("W", 1000.0),
    "Ohm": ("Ohm", 1.0),
    "mOhm": ("Ohm", 1000.0),
    "degC": ("degC", 1.0),
    "K": ("K", 1.0),
    "s": ("s", 1.0),
    "ms": ("s", 1000.0),
    "min": ("min", 1.0),
    "h": ("h", 1.0),
    "d": ("d", 1.0),
}
_SPELLINGS = {
    "Ohms": "Ohm",
    "ohm": "Ohm",
    "ohms": "Ohm",
    "\N{GREEK CAPITAL LETTER OMEGA}": "Ohm",
    "mOhms": "mOhm",
    "mohm": "mOhm",
    "mohms": "mOhm",
    "m\N{GREEK CAPITAL LETTER OMEGA}": "mOhm",
    "\N{DEGREE SIGN}C": "degC",
    "degreesC": "degC",
    "sec": "s",
    "secs": "s",
    "seconds": "s",
    "mins": "min",
    "minutes": "min",
    "hr": "h",
    "hrs": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
}
_BRACKETS = re.compile(r"^(?P<base>.*\S)\s*(?:\[(?P<square>[^\[\]]*)\]|\((?P<round>[^()]*)\))\s*$")
_LOOKS_LIKE_UNIT = re.compile(r"^[^\W\d_][\w/^.\-\s%]{0,5}$")


@dataclass(frozen=True)
class Unit:
    """A unit as the store has it.

    Parameters
    ----------
    name
        Its name in the store, e.g. `Ah`.
    divisor
        What numbers in the file's unit are divided by, e.g. 1000.0 for mA h.
    """

    name: str
    divisor: float


@cache  # the same few headers come in every file
def split_header(header: str) -> tuple[str, str]:
    """Return a header's name and the unit in its last brackets; the unit is "" when it has none.

    Square brackets always hold a unit; round ones do when their content looks like one, so that
    "Capacity (mA h)" has a unit and "Capacity (second charge)" has not.
    """
    header = header.strip()
    match = _BRACKETS.match(header)
    if match is None:
        return header, ""
    square, round_ = match["square"], match["round"]
    if square is not None:
        return match["base"], square.strip()
    if _spelling(round_) in _UNITS or _LOOKS_LIKE_UNIT.match(round_.strip()):
        return match["base"], round_.strip()
    return header, ""


def unit_of(text: str) -> Unit:
    """Return the store's unit for a unit as spelt in a file; an unknown one is left as it is."""
    spelling = _spelling(text)
    if not spelling:
        return Unit(UNKNOWN_UNIT, 1.0)
    name, divisor = _UNITS.get(spelling, (text.strip(), 1.0))
    return Unit(name, divisor)


def same_unit(one: str, other: str) -> bool:
    """Return whether two spellings mean the same unit: "mA.h" and "mAh" do, "mAh" and "Ah" not."""
    return _spelling(one) == _spelling(other)


@cache
def clean_name(text: str) -> str:
    """Return a name of lower-case letters, digits and single underscores, led by a letter."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^0-9a-z]+", "_", plain).strip("_")
    return name if name[:1].isalpha() else f"col_{name}".rstrip("_")


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return the names with `_2`, `_3`, ... appended where one is taken or comes again."""
    used, result = set(taken), []
    for name in names:
        candidate, count = name, 1
        while candidate in used:
            count += 1
            candidate = f"{name}_{count}"
        used.add(candidate)
        result.append(candidate)
    return result


@cache
def _spelling(text: str) -> str:
    compact = re.sub(r"[\s.*\N{MIDDLE DOT}]", "", unicodedata.normalize("NFKC", text))
    return _SPELLINGS.get(compact, compact)
