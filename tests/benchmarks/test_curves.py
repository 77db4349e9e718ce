from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batterykit.errors import InputError
from benchmarks.curves import Curves, as_dataset, generate, half_cells, read_curves


@pytest.fixture(scope="module", params=["lgm50", "composite"])
def curves(request: pytest.FixtureRequest) -> Curves:
    return generate(4000, 1e-3, curve_set=request.param, curves=11)


@pytest.mark.parametrize("electrode", ["Positive", "Negative"])
def test_the_slopes_of_the_potentials_are_those_of_casadi(electrode: str) -> None:
    import casadi
    import pybamm

    content = casadi.MX.sym("content")
    function = pybamm.ParameterValues("Chen2020")[f"{electrode} electrode OCP [V]"]
    expression = function(pybamm.InputParameter("content")).to_casadi(inputs={"content": content})
    theirs = casadi.Function("f", [content], [expression, casadi.gradient(expression, content)])
    at = np.linspace(0.03, 0.95, 300)
    value, slope = theirs(at.reshape(1, -1))
    ours = half_cells()[electrode == "Negative"](at)
    np.testing.assert_allclose(ours[0], np.ravel(value), rtol=1e-13)
    np.testing.assert_allclose(ours[1], np.ravel(slope), rtol=1e-11, atol=1e-12)


def test_the_true_dqdv_is_what_fine_differences_give(curves: Curves) -> None:
    for k in (0, 5, 10):
        voltage, dqdv = curves.voltage_truth[k], curves.dqdv_truth[k]
        charge = np.linspace(0, curves.charge[curves.offsets[k + 1] - 1], len(voltage))
        differences = -np.diff(charge) / np.diff(voltage)
        middle = 2 / (1 / dqdv[1:] + 1 / dqdv[:-1])  # dV/dQ is the smooth one
        np.testing.assert_allclose(differences, middle, rtol=2e-3)


def test_the_area_under_the_true_dqdv_is_the_charge(curves: Curves) -> None:
    for k in range(len(curves)):
        area = -np.trapezoid(curves.dqdv_truth[k], curves.voltage_truth[k])
        assert area == pytest.approx(curves.charge[curves.offsets[k + 1] - 1], rel=1e-5)


def test_a_discharge_begins_below_full_by_the_ohmic_drop_and_ends_at_the_cut_off(
    curves: Curves,
) -> None:
    np.testing.assert_allclose(curves.voltage_truth[:, -1], 2.5, atol=1e-6)
    assert np.all(curves.voltage_truth[:, 0] < 4.2 - 0.5 * 0.025)
    assert np.all(np.diff(curves.voltage_truth[:10, 0]) < 0)  # the drop grows as a cell ages


def test_samples_are_the_truth_with_the_noise_asked_for_in_steps_of_the_converter(
    curves: Curves,
) -> None:
    np.testing.assert_allclose(curves.voltage / 1e-4, np.round(curves.voltage / 1e-4), atol=1e-6)
    first = slice(0, 4000)
    true = np.interp(
        curves.charge[first],
        np.linspace(0, curves.charge[3999], curves.voltage_truth.shape[1]),
        curves.voltage_truth[0],
    )
    assert np.std(curves.voltage[first] - true) == pytest.approx(1e-3, rel=0.05)


def test_capacity_falls_over_the_check_ups_of_a_cell(curves: Curves) -> None:
    capacity = curves.charge[curves.offsets[1:] - 1]
    assert np.all(np.diff(capacity[:10]) < 0)
    assert curves.cell[9] != curves.cell[10]
    assert list(curves.rpt) == [*range(10), 0]


def test_the_same_seed_gives_the_same_curves_and_the_same_truth_for_any_noise() -> None:
    one, same, quiet = (generate(200, noise, curves=2) for noise in (1e-3, 1e-3, 1e-4))
    other = generate(200, 1e-3, curves=2, seed=1)
    np.testing.assert_array_equal(one.voltage, same.voltage)
    np.testing.assert_array_equal(one.dqdv_truth, quiet.dqdv_truth)
    assert not np.array_equal(one.voltage, quiet.voltage)
    assert not np.array_equal(one.dqdv_truth, other.dqdv_truth)


def test_a_part_holds_the_curves_asked_for() -> None:
    whole = generate(200, 1e-3, curves=3)
    part = whole.part(np.array([2, 0]))
    np.testing.assert_array_equal(part.voltage[:200], whole.voltage[400:])
    np.testing.assert_array_equal(part.dqdv_truth[1], whole.dqdv_truth[0])
    assert part.rpt.tolist() == [2, 0]


def test_the_dataset_has_every_sample_under_its_curve() -> None:
    dataset = as_dataset(generate(200, 1e-3, curves=3))
    assert dataset["row_size"].values.tolist() == [200, 200, 200]
    assert dataset["voltage"].attrs["units"] == "V"
    assert dataset.sizes == {"sample": 600, "curve": 3}


def arrays(**changes: object) -> dict[str, np.ndarray]:
    found: dict[str, object] = {
        "v_flat": np.linspace(4.2, 2.5, 20),
        "q_flat": np.linspace(0, 5, 20),
        "offsets": np.array([0, 12, 20]),
    } | changes
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def test_offsets_may_name_the_end_or_leave_it_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "with.npz", **arrays())
    np.savez(tmp_path / "without.npz", **arrays(offsets=[0, 12]))
    for name in ("with", "without"):
        assert read_curves(tmp_path / f"{name}.npz").offsets.tolist() == [0, 12, 20]


def test_truth_cells_and_noise_are_read_where_they_are_given(tmp_path: Path) -> None:
    truth = np.tile(np.linspace(4.2, 2.5, 50), (2, 1))
    given = {"voltage_truth": truth, "dqdv_truth": -np.ones((2, 50)), "noise_mV": 0.5}
    np.savez(tmp_path / "c.npz", **arrays(cell=["E5-A", "E5-A"], rpt=[0, 1], **given))
    found = read_curves(tmp_path / "c.npz")
    assert found.cell == ["E5-A", "E5-A"]
    assert found.rpt.tolist() == [0, 1]
    assert found.noise == pytest.approx(5e-4)
    np.testing.assert_array_equal(found.dqdv_truth, np.ones((2, 50)))


@pytest.mark.parametrize(
    ("changes", "column", "text"),
    [
        ({"q_flat": None}, "q_flat", "missing"),
        ({"q_flat": np.ones(7)}, "q_flat", "7 samples, but v_flat has 20"),
        ({"v_flat": np.ones((4, 5))}, "v_flat", "shape"),
        ({"v_flat": np.ones(0), "q_flat": np.ones(0)}, "v_flat", "no sample"),
        ({"v_flat": np.full(20, np.nan)}, "v_flat", "sample 0 is not a finite number"),
        ({"v_flat": ["a"] * 20}, "v_flat", "type"),
        ({"offsets": [1, 12, 20]}, "offsets", "begin with 0"),
        ({"offsets": []}, "offsets", "begin with 0"),
        ({"offsets": [0, 12, 12, 20]}, "offsets", "curve 1"),
        ({"offsets": [0, 12, 30]}, "offsets", "of 20 samples"),
        ({"offsets": [0, 1.5, 20]}, "offsets", "whole numbers"),
        ({"dqdv_truth": np.ones((2, 5))}, "voltage_truth, dqdv_truth", "without the other"),
        ({"voltage_truth": np.ones((2, 5)), "dqdv_truth": np.ones((2, 4))}, "dqdv_truth", "shape"),
        ({"rpt": [1]}, "rpt", "2 curves"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_its_array(
    tmp_path: Path, changes: dict[str, object], column: str, text: str
) -> None:
    path = tmp_path / "curves.npz"
    np.savez(path, **arrays(**changes))
    with pytest.raises(InputError, match=text) as caught:
        read_curves(path)
    assert caught.value.file == str(path)
    assert caught.value.column == column


@pytest.mark.parametrize("content", [None, b"", b"time,voltage\n0,4.2\n"])
def test_what_is_no_npz_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "curves.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"no readable \.npz"):
        read_curves(path)


def test_a_lone_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(InputError, match=r"no readable \.npz"):
        read_curves(tmp_path / "a.npy")
