"""The same case on our simulator and on the references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batterykit.charge.case import Case, check_engine, differences, reference_for, run
from batterykit.charge.protocols import (
    Protocol,
    Rating,
    Stage,
    Step,
    Way,
    cc,
    cccv,
    multistage,
    profile,
)
from batterykit.errors import BatterykitError, UsageError
from batterykit.pack.network import build
from batterykit.pack.parameters import read_parameters
from batterykit.pack.scenario import draw
from batterykit.pack.simulator import CURRENT, Limits
from batterykit.store.schema import check

CELL = Rating(1, 1, 5.0, 4.2, 2.5)


def case(protocol: Protocol, *, parallel: int = 1, series: int = 1, **changes: object) -> Case:
    parameters = read_parameters("Chen2020")
    start = protocol.way.start if protocol.way else 0.5
    drawn = draw("spread", 0, 1, parallel * series, parameters, soc=start)
    made = Case(
        source="Chen2020",
        parameters=parameters,
        network=build(parallel, series),
        cells=drawn.cells,
        protocol=protocol,
        model="spme",
        dt=10.0,
        truth=drawn.truth,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def apart(one: Case, engine: str) -> dict[str, tuple[float, float]]:
    """Differences between ours and a reference, whose dataset must suit the store too."""
    theirs = run(one, engine)  # type: ignore[arg-type]
    check("charge/any/trajectory", theirs)
    ours = run(one)
    assert str(ours["stop_reason"].values[0]) == str(theirs["stop_reason"].values[0])
    assert float(ours["duration"][0]) == pytest.approx(
        float(theirs["duration"][0]), abs=2.0, rel=2e-3
    )
    return {found.what: (found.rms, found.largest) for found in differences(ours, theirs)}


def test_cccv_of_a_cell_is_as_pybamm_has_it_step_by_step() -> None:
    one = case(cccv(CELL, Way(0.3, 0.95), 1.0))
    found = apart(one, "pybamm")
    assert found["cell voltage"][0] < 1.0
    assert found["plating potential"][0] < 1.0
    assert found["temperature"][1] < 0.05
    ours, theirs = run(one), run(one, "pybamm")
    assert theirs["stage_end"].values == pytest.approx(ours["stage_end"].values, rel=2e-3)
    assert theirs["step"].attrs["step_labels"] == ["CC 1C", "CV 4.2 V"]


def test_cccv_that_reaches_its_state_of_charge_first_has_no_second_step_in_pybamm() -> None:
    done = run(case(cccv(CELL, Way(0.3, 0.4), 1.0)), "pybamm")
    assert str(done["stop_reason"].values[0]) == "soc_max"
    assert np.isnan(done["stage_end"].values[0, 1])
    assert float(done["soc"].values[0, -1, 0]) == pytest.approx(0.4, abs=1e-6)


def test_stages_of_a_cell_are_as_pybamm_has_them() -> None:
    stages = [Stage(1.0, 0.4), Stage(0.5, 0.5)]
    found = apart(case(multistage(CELL, Way(0.3, 0.5), stages)), "pybamm")
    assert found["cell voltage"][0] < 1.0


@pytest.mark.parametrize("column", ["current [A]", "power [W]"])
def test_a_profile_of_a_cell_is_as_pybamm_has_it(tmp_path: Path, column: str) -> None:
    path = tmp_path / "profile.csv"
    path.write_text(f"time [s],{column}\n0,5\n60,-8\n100,0\n160,2\n200,0\n")
    found = apart(case(profile(CELL, path)), "pybamm")
    assert found["cell voltage"][0] < 1.0


def test_what_jumps_has_no_value_between_a_switch_and_pybamms_next_sample() -> None:
    stages = [Stage(1.0, 0.35), Stage(0.5, 0.36)]
    done = run(case(multistage(CELL, Way(0.3, 0.36), stages)), "pybamm")
    switch = float(done["stage_end"][0, 0])
    assert switch % 10 > 0.1
    missing = np.isnan(done["voltage"].values[0, :, 0])
    assert done["time"].values[missing].tolist() == [10 * np.ceil(switch / 10)]
    assert np.all(np.isfinite(done["soc"].values))


def test_pybamm_is_stopped_in_a_profile_where_our_limit_is(tmp_path: Path) -> None:
    path = tmp_path / "profile.csv"
    path.write_text("time [s],crate\n0,0\n60,1\n3600,0\n")
    rating = replace(CELL, voltage_max=4.0)
    found = apart(case(profile(rating, path)), "pybamm")
    assert found["cell voltage"][0] < 1.0
    done = run(case(profile(rating, path)), "pybamm")
    assert str(done["stop_reason"].values[0]) == "cell_voltage_max"
    assert float(done["voltage"].max()) == pytest.approx(4.0, abs=1e-3)


def test_a_case_without_an_end_in_pybamm_is_an_error_with_a_remedy() -> None:
    one = case(Protocol("rest", (Step("rest", CURRENT, 0.0, Limits()),)), dt=600.0)
    with pytest.raises(BatterykitError, match="came to no end of the step 'rest' in 32 h"):
        run(one, "pybamm")


@pytest.mark.slow
def test_constant_current_of_a_pack_is_as_liionpack_has_it() -> None:
    rating = Rating(2, 1, 5.0, 4.2, 2.5)
    for way in (Way(0.3, 0.4), Way(0.4, 0.3)):
        found = apart(case(cc(rating, way, 1.0), parallel=2), "liionpack")
        assert found["branch current"][0] < 0.5
        assert found["cell voltage"][0] < 3.0  # that of liionpack's mesh; see the module's head


@pytest.mark.slow
def test_liionpack_stops_where_a_cell_meets_the_voltage() -> None:
    rating = Rating(2, 1, 5.0, 4.1, 2.5)
    done = run(case(cc(rating, Way(0.6, 0.9), 1.0), parallel=2), "liionpack")
    assert str(done["stop_reason"].values[0]) == "cell_voltage_max"
    assert float(done["voltage"].max()) == pytest.approx(4.1, abs=1e-6)


def test_a_cell_is_compared_with_pybamm_and_a_pack_with_liionpack() -> None:
    protocol = cc(CELL, Way(0.3, 0.4), 1.0)
    assert reference_for(case(protocol)) == "pybamm"
    assert reference_for(case(protocol, parallel=2)) == "liionpack"


@pytest.mark.parametrize(
    ("protocol", "changes", "engine", "message"),
    [
        (cc(CELL, Way(0.1, 0.2), 1), {"parallel": 2}, "pybamm", "--pack 1p1s"),
        (cccv(CELL, Way(0.1, 0.2), 1, hold="pack"), {}, "pybamm", "--hold cell"),
        (cccv(CELL, Way(0.1, 0.2), 1), {"parallel": 2}, "liionpack", "--protocol cc"),
        (cc(CELL, Way(0.1, 0.2), 1), {"parallel": 2, "model": "dfn"}, "liionpack", "--model spme"),
    ],
)
def test_what_a_reference_cannot_do_is_refused_with_what_it_can(
    protocol: Protocol, changes: dict[str, object], engine: str, message: str
) -> None:
    one = case(protocol, **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        check_engine(one, engine)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        run(one, engine)  # type: ignore[arg-type]
