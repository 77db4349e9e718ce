"""Headers become names and units."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.datasets.columns import (
    Unit,
    clean_name,
    same_unit,
    split_header,
    unique_names,
    unit_of,
)


@pytest.mark.parametrize(
    ("header", "name", "unit"),
    [
        ("C/10 Capacity [mA h]", "C/10 Capacity", "mA h"),
        ("Charge (mA.h)", "Charge", "mA.h"),
        ("Age set av. temperature [°C]", "Age set av. temperature", "°C"),
        ("SoH", "SoH", ""),
        ("Resistance (second pulse of the set)", "Resistance (second pulse of the set)", ""),
        ("Energy(kW.h)", "Energy", "kW.h"),
        ("(mA h)", "(mA h)", ""),
    ],
)
def test_the_last_brackets_of_a_header_hold_its_unit(header: str, name: str, unit: str) -> None:
    assert split_header(header) == (name, unit)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("mA h", Unit("Ah", 1000.0)),
        ("mA.h", Unit("Ah", 1000.0)),
        ("A·h", Unit("Ah", 1.0)),
        ("mW h", Unit("Wh", 1000.0)),
        ("mA", Unit("A", 1000.0)),
        ("Ohms", Unit("Ohm", 1.0)),
        ("mΩ", Unit("Ohm", 1000.0)),
        ("°C", Unit("degC", 1.0)),
        ("%", Unit("1", 100.0)),
        ("furlong", Unit("furlong", 1.0)),
        ("", Unit("unknown", 1.0)),
    ],
)
def test_units_are_understood_in_the_ways_laboratories_spell_them(text: str, unit: Unit) -> None:
    assert unit_of(text) == unit


def test_spellings_of_one_unit_are_the_same_and_other_units_are_not() -> None:
    assert same_unit("mA h", "mA.h")
    assert same_unit("Ohms", "Ω")
    assert not same_unit("mA h", "A h")
    assert not same_unit("mA h", "")


def test_cleaned_names_are_lower_case_words() -> None:
    assert clean_name("Discharge Capacity") == "discharge_capacity"
    assert clean_name("0.1s Résistance") == "col_0_1s_resistance"
    assert clean_name("!?") == "col"


@given(st.text())
def test_a_cleaned_name_is_always_an_identifier_and_stays_as_it_is(text: str) -> None:
    name = clean_name(text)
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
    assert clean_name(name) == name


@given(st.lists(st.sampled_from(["a", "b", "a_2", "cell"])))
def test_names_that_collide_are_numbered(names: list[str]) -> None:
    unique = unique_names(names, taken=["cell"])
    assert len(set(unique)) == len(unique)
    assert "cell" not in unique
    assert all(new == old or new.startswith(f"{old}_") for new, old in zip(unique, names))  # noqa: B905


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_conversion_gives_the_double_nearest_to_the_true_value(value: float) -> None:
    from fractions import Fraction

    converted = value / unit_of("mA h").divisor
    if abs(value) > 1e-300:
        assert converted == float(Fraction(value) / 1000)
