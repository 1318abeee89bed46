from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from contracts.market import PoolMetadata
from contracts.values import Address
from strategies.flash_arbitrage.graph import Cycle, CycleGraph
from strategies.flash_arbitrage.pools import make_pool
from tests.unit.strategies.flash_arbitrage.reference import address, token, v2_pool, v2_state

TOKENS = [token(number) for number in range(1, 6)]
Route = tuple[tuple[Address, Address], ...]  # pool and the token it is sold


@st.composite
def pool_sets(draw: st.DrawFn) -> list[PoolMetadata]:
    pairs = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
    chosen = [sorted(pair) for pair in pairs if pair[0] != pair[1]]
    return [v2_pool(number, TOKENS[low], TOKENS[high]) for number, (low, high) in enumerate(chosen)]


def build(pools: Sequence[PoolMetadata], starts: Sequence[Address], limit: int = 10**6) -> CycleGraph:
    graph = CycleGraph(starts, limit)
    for pool in pools:
        graph.add(make_pool(pool))
    return graph


def route_of(cycle: Cycle) -> Route:
    return tuple((pool.address, sold.address) for (pool, _), sold in zip(cycle.legs, cycle.tokens, strict=True))


def listed(graph: CycleGraph, pool: Address) -> list[Cycle]:
    node = graph.node(pool)
    assert node is not None
    return [cycle for side in node.listed for _, _, cycle in side]


def all_cycles(pools: Sequence[PoolMetadata], starts: Sequence[Address]) -> set[Route]:
    """By trying every order of every two and three pools from every token."""
    found = set()
    for size in (2, 3):
        for chosen in permutations(pools, size):
            for start in (chosen[0].token0.address, chosen[0].token1.address):
                at, route = start, []
                for pool in chosen:
                    pair = (pool.token0.address, pool.token1.address)
                    if at not in pair:
                        break
                    route.append((pool.pool, at))
                    at = pair[1 - pair.index(at)]
                tokens = [sold for _, sold in route]
                if len(route) == size and at == start and len(set(tokens)) == size:
                    best = min((starts.index(sold) for sold in tokens if sold in starts), default=None)
                    if best is not None and starts[best] == start:
                        found.add(tuple(route))
    return found


@given(pool_sets(), st.permutations(range(1, 6)), st.integers(1, 5))
def test_it_finds_exactly_the_cycles_there_are_whatever_the_order_of_arrival(
    pools: list[PoolMetadata], order: list[int], starts: int
) -> None:
    start_tokens = [address(number) for number in order[:starts]]
    graph = build(pools, start_tokens)
    expected = all_cycles(pools, start_tokens)
    assert graph.cycles == len(expected)
    assert graph.overflow == 0
    for pool in pools:
        here = [route_of(cycle) for cycle in listed(graph, pool.pool)]
        assert len(here) == len(set(here))
        assert set(here) == {route for route in expected if pool.pool in {used for used, _ in route}}


@given(pool_sets())
def test_each_cycle_is_listed_with_the_rates_of_its_other_pools(pools: list[PoolMetadata]) -> None:
    graph = build(pools, [item.address for item in TOKENS])
    for number, pool in enumerate(pools):
        node = graph.node(pool.pool)
        assert node is not None
        node.pool.update(v2_state(pool, 1_000 + 37 * number, 1_000 + 91 * number))
        graph.refresh(node)
    for pool in pools:
        node = graph.node(pool.pool)
        assert node is not None
        for sold, side in enumerate(node.listed):
            for i, j, cycle in side:
                rates = [(member.rate0, member.rate1)[way] for member, way in cycle.legs]
                product = graph.rates[i] * graph.rates[j] * graph.rates[node.edge + sold]
                expected = rates[0] * rates[1] * (rates[2] if len(rates) == 3 else 1.0)
                assert abs(product / expected - 1) < 1e-12
                assert [graph.rates[edge] for edge in cycle.edges] == rates
                assert [graph.slopes[edge] for edge in cycle.edges] == [
                    (member.slope0, member.slope1)[way] for member, way in cycle.legs
                ]


def test_what_finds_no_room_is_counted_and_still_found_through_the_other_pools() -> None:
    one, two = TOKENS[0], TOKENS[1]
    pools = [v2_pool(number, one, two) for number in range(4)]
    graph = build(pools, [one.address], limit=4)
    # 4 pools of one pair: each is in 3 cycles with the others, in both directions.
    assert graph.cycles == 12
    assert [len(listed(graph, pool.pool)) for pool in pools] == [4, 4, 4, 4]
    assert graph.overflow == 2 * 12 - 16


def test_a_cycle_starts_at_the_most_preferred_of_its_tokens() -> None:
    one, two, three = TOKENS[:3]
    pools = [v2_pool(0, one, two), v2_pool(1, two, three), v2_pool(2, one, three)]
    for preferred in (one, two, three):
        others = [item.address for item in (one, two, three) if item is not preferred]
        graph = build(pools, [preferred.address, *others])
        cycles = listed(graph, pools[0].pool)
        assert len(cycles) == 2
        assert {cycle.start.address for cycle in cycles} == {preferred.address}
        assert len({cycle.route for cycle in cycles}) == 2


def test_a_pool_without_a_state_lets_nothing_pass() -> None:
    one, two = TOKENS[:2]
    pools = [v2_pool(0, one, two), v2_pool(1, one, two)]
    graph = build(pools, [one.address])
    node = graph.node(pools[0].pool)
    assert node is not None
    assert graph.screen(node, 0.0) == ([], 2)
    assert graph.node(address(99)) is None
    assert len(graph) == 2
