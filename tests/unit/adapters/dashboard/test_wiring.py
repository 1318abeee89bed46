"""Layers: who publishes stands before who reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.dashboard.wiring import Edge, Group, arranged, layered
from tests.unit.adapters.dashboard.sayings import wiring

NAMES = "abcdef"
EDGES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20)


def test_the_system_has_an_edge_for_every_contract_and_reader() -> None:
    edges = wiring().edges
    assert Edge("ArbitrageSignal", "flash_arbitrage", "dashboard") in edges
    assert Edge("PoolSync", "polygon_adapter", "run_report") in edges
    assert Edge("PoolSync", "polygon_adapter", "dashboard") not in edges
    assert not [edge for edge in edges if edge.contract == "ProcessStatistics"]


def test_layers_are_as_long_as_the_longest_way() -> None:
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")]
    assert layered("dcba", edges) == [["a"], ["d", "b"], ["c"]]


def test_inside_a_layer_lines_cross_little() -> None:
    edges = [("a", "d"), ("b", "c"), ("x", "a"), ("x", "b")]
    assert layered("xabcd", edges) == [["x"], ["a", "b"], ["d", "c"]]


@given(EDGES)
def test_everyone_is_in_one_layer_and_edges_lead_on_unless_in_a_circle(edges: list[tuple[str, str]]) -> None:
    layers = layered(NAMES, edges)
    assert sorted(name for layer in layers for name in layer) == list(NAMES)
    assert all(layers)
    depth = {name: place for place, layer in enumerate(layers) for name in layer}
    reach = _reach(edges)
    assert all(depth[one] < depth[other] for one, other in edges if one not in reach[other] and one != other)


def _reach(edges: list[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in NAMES}
    for _ in NAMES:
        for one, other in edges:
            found[one] |= {other} | found[other]
    return found


def test_processes_that_read_one_another_are_drawn_all_the_same() -> None:
    homes = {"polygon_adapter": "one", "flash_arbitrage": "two", "run_report": "one", "dashboard": "two"}
    assert arranged(wiring(), homes) == (
        (Group("one", (("polygon_adapter",), ("run_report",))),),
        (Group("two", (("flash_arbitrage",), ("dashboard",))),),
    )


def test_services_of_which_nobody_has_told_stand_at_the_end() -> None:
    assert arranged(wiring(), {"run_report": "report"}) == (
        (Group("report", (("run_report",),)),),
        (Group("", (("polygon_adapter",), ("flash_arbitrage",), ("dashboard",))),),
    )
