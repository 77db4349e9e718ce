"""What the circuit of a pack promises: the same electricity as liionpack's, in fewer equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batterykit.errors import UsageError
from batterykit.pack.network import GROUND, FloatArray, Network, Terminals, Topology, build, parse

LAYOUTS = {
    "parallel": st.integers(1, 5),
    "series": st.integers(1, 5),
    "busbar": st.sampled_from([0.0, 1e-4, 3e-3]),
    "terminals": st.sampled_from(["left", "right", "left-right", "right-left"]),
    "topology": st.sampled_from(["series-groups", "parallel-strings"]),
}


def solve(
    network: Network, source: FloatArray, inner: FloatArray, current: float
) -> tuple[FloatArray, float]:
    """Dense nodal equations; cells are sources with a resistance, current positive on charge."""
    size = network.nodes
    matrix, right = np.zeros((size + 1, size + 1)), np.zeros(size + 1)  # the last row is ground
    resistance = inner + network.series_resistance
    pairs = np.vstack([np.column_stack([network.plus, network.minus]), network.resistor_nodes])
    for (a, b), g in zip(pairs, 1 / np.concatenate([resistance, network.resistance]), strict=True):
        matrix[a, a] += g
        matrix[b, b] += g
        matrix[a, b] -= g
        matrix[b, a] -= g
    np.add.at(right, network.plus, source / resistance)
    np.subtract.at(right, network.minus, source / resistance)
    right[network.terminal] += current
    node = np.append(np.linalg.solve(matrix[:size, :size], right[:size]), 0.0)
    currents = (node[network.plus] - node[network.minus] - source) / resistance
    return currents, node[network.terminal] + current * network.terminal_resistance


def cells_of(network: Network) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(network.cells)
    return rng.uniform(3.4, 3.9, network.cells), rng.uniform(0.02, 0.04, network.cells)


@given(**LAYOUTS)
def test_every_pack_is_connected_and_its_bandwidth_holds(
    parallel: int, series: int, busbar: float, terminals: Terminals, topology: Topology
) -> None:
    network = build(
        parallel, series, busbar=busbar, terminals=terminals, topology=topology, connection=1e-3
    )
    pairs = np.vstack([np.column_stack([network.plus, network.minus]), network.resistor_nodes])
    assert set(pairs.ravel()) == set(range(network.nodes)) | {GROUND}
    inner = pairs[np.all(pairs != GROUND, axis=1)]
    assert np.abs(inner[:, 0] - inner[:, 1]).max(initial=0) == network.bandwidth
    assert network.bandwidth <= (min(parallel, series + 1) if busbar else parallel)

    source, resistance = cells_of(network)
    currents, _ = solve(network, source, resistance, 5.0)
    assert np.allclose(currents.reshape(series, parallel).sum(axis=1), 5.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("topology", ["series-groups", "parallel-strings"])
@pytest.mark.parametrize("terminals", ["left", "right", "left-right", "right-left"])
@pytest.mark.parametrize(("parallel", "series"), [(3, 6), (5, 2), (1, 4), (4, 1), (1, 1)])
def test_currents_and_terminal_voltage_are_those_of_liionpacks_circuit(
    parallel: int, series: int, terminals: Terminals, topology: Topology
) -> None:
    liionpack = pytest.importorskip("liionpack")
    values = {"busbar": 1.3e-4, "connection": 2e-3, "internal": 3e-3, "terminal": 7e-5}
    network = build(parallel, series, **values, terminals=terminals, topology=topology)
    source, inner = cells_of(network)
    currents, voltage = solve(network, source, inner, 5.0)

    netlist = liionpack.setup_circuit(
        Np=parallel,
        Ns=series,
        Rb=values["busbar"],
        Rc=values["connection"],
        Rt=values["terminal"],
        terminals=terminals,
        configuration=topology,
    )
    by_cell = np.arange(network.cells).reshape(series, parallel).T.ravel()  # liionpack: by columns
    for element, value in (("V", source), ("Ri", inner + values["internal"])):
        netlist.loc[netlist["desc"].str.startswith(element), "value"] = value[by_cell]
    _, peer, _, peer_voltage, _ = liionpack.solve_circuit(netlist, current=-5.0)
    assert np.allclose(currents[by_cell], peer, rtol=0, atol=1e-9)
    assert voltage == pytest.approx(float(peer_voltage[0]), abs=1e-9)


def test_a_busbar_of_nothing_leaves_one_node_a_row_and_is_the_limit_of_a_small_one() -> None:
    exact = build(3, 6, busbar=0.0)
    assert (exact.nodes, exact.bandwidth, len(exact.resistance)) == (6, 1, 0)
    source, inner = cells_of(exact)
    currents, voltage = solve(exact, source, inner, -4.0)
    nearly, nearly_voltage = solve(build(3, 6, busbar=1e-8), source, inner, -4.0)
    assert np.allclose(currents, nearly, rtol=0, atol=1e-5)
    assert voltage == pytest.approx(nearly_voltage, abs=1e-6)


def test_cells_are_counted_along_the_group_and_touch_those_beside_and_above_them() -> None:
    network = build(3, 2)
    pairs = {tuple(pair) for pair in network.neighbours.tolist()}
    assert pairs == {(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)}
    assert network.minus[0] == GROUND  # the negative lead is at the left by default
    assert network.plus[3] == network.terminal
    assert network.plus[1] == network.minus[4]


def test_a_single_cell_is_a_pack_of_one_node() -> None:
    network = build(1, 1)
    assert (network.nodes, network.bandwidth, network.terminal) == (1, 0, 0)
    assert network.neighbours.shape == network.resistor_nodes.shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "size"), [("3p6s", (3, 6)), ("1P1S", (1, 1)), (" 12p96s ", (12, 96))]
)
def test_a_size_is_read_from_its_usual_name(text: str, size: tuple[int, int]) -> None:
    assert parse(text) == size


@pytest.mark.parametrize("text", ["", "3p", "6s3p", "3x6", "0p6s", "3p-6s", "3p6s1"])
def test_another_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="3p6s"):
        parse(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parallel": 0}, "no cells"),
        ({"busbar": -1e-4}, "busbar resistance"),
        ({"connection": float("nan")}, "connection resistance"),
        ({"terminal": float("inf")}, "terminal resistance"),
        ({"terminals": "top"}, "left-right"),
        ({"topology": "ring"}, "parallel-strings"),
    ],
)
def test_an_impossible_pack_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(**{"parallel": 3, "series": 6} | arguments)
