from __future__ import annotations

from itertools import product

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from contracts.market import PoolMetadata, PoolSync
from strategies.flash_arbitrage.graph import CycleGraph
from strategies.flash_arbitrage.pools import make_pool
from strategies.flash_arbitrage.search import Opportunity, Search
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from strategies.flash_arbitrage.sizing import best_input
from strategies.flash_arbitrage.statistics import Counters
from strategies.flash_arbitrage.ticks import sqrt_ratio_at_tick
from tests.unit.strategies.flash_arbitrage.markets import Market, markets
from tests.unit.strategies.flash_arbitrage.reference import token, v2_pool, v2_state, v3_pool, v3_state

ONE, TWO, THREE = token(1), token(2), token(3)
NATIVE = ONE.address
# The native token last, so that cycles start at tokens in which gas must be quoted.
STARTS = (TWO.address, THREE.address, ONE.address)


@st.composite
def triangles(draw: st.DrawFn) -> tuple[list[PoolMetadata], list[PoolSync]]:
    """A few pools for each pair of three tokens, all near the same prices, some a hair's breadth from a profit."""
    pools, states = [], []
    for number, pair in enumerate([(ONE, TWO), (TWO, THREE), (ONE, THREE)] * draw(st.integers(1, 3))):
        pool = v2_pool(number, *pair, draw(st.sampled_from((0, 500, 3000))))
        reserve = 10 ** draw(st.integers(3, 24))
        # 1 / 0.997 and one fee of 0.3 % cancel, but for the last digits; beside it lies the smallest profit there is.
        hair = draw(st.sampled_from((0.0, 1e-12, 1e-9, 1e-7, 1e-6)))
        gap = draw(st.one_of(st.sampled_from((1 + hair, (1 + hair) / 0.997, 0.997 - hair)), st.floats(0.9, 1.1)))
        pools.append(pool)
        states.append(v2_state(pool, reserve, max(1, int(reserve * gap))))
    return pools, states


def graph_of(pools: list[PoolMetadata], states: list[PoolSync]) -> CycleGraph:
    graph = CycleGraph(STARTS, 10**6)
    for pool, state in zip(pools, states, strict=True):
        made = make_pool(pool)
        made.update(state)
        graph.add(made)
    return graph


def search(
    graph: CycleGraph, settings: FlashArbitrageSettings, pool: PoolMetadata
) -> tuple[list[Opportunity], Counters]:
    counters = Counters()
    node = graph.node(pool.pool)
    assert node is not None
    return list(Search(settings, graph, counters).best_through(node)), counters


def settings_with(premium_bps: int, gas_price: int, most: int) -> FlashArbitrageSettings:
    return FlashArbitrageSettings(
        start_tokens=STARTS,
        wrapped_native=NATIVE,
        flash_premium_bps=premium_bps,
        gas_price_wei=gas_price,
        gas_base=2,
        gas_per_hop=1,
        max_signals_per_event=most,
    )


@given(
    triangles(),
    st.integers(0, 2),
    st.sampled_from((0, 5)),
    st.sampled_from((0, 0, 1, 10**6, 10**15)),
    st.integers(1, 5),
)
def test_the_screens_never_change_the_answer(
    market: tuple[list[PoolMetadata], list[PoolSync]], moved: int, premium_bps: int, gas_price: int, most: int
) -> None:
    """What is found is what sizing every cycle exactly finds, the best of it, in the same order."""
    graph = graph_of(*market)
    wide_open = search_without_screens(graph, premium_bps, gas_price, market[0][moved])
    found, counters = search(graph, settings_with(premium_bps, gas_price, most), market[0][moved])
    event(f"{min(len(wide_open), 3)} profitable")
    assert [item.order for item in found] == wide_open[:most]
    assert counters.examined == (counters.screened_out + counters.unpriced_gas + counters.outranked + counters.sized)
    assert counters.sized == counters.unprofitable + counters.below_minimum + counters.over_limit + counters.signals
    assert counters.signals == len(found)


def search_without_screens(
    graph: CycleGraph, premium_bps: int, gas_price: int, pool: PoolMetadata
) -> list[tuple[int, int, bytes]]:
    node = graph.node(pool.pool)
    assert node is not None
    orders = []
    for _, _, cycle in [*node.listed[0], *node.listed[1]]:
        wei = gas_price * (2 + len(cycle.legs))
        gas_cost: int | None = wei
        if wei:
            between = [p for p in graph.between(cycle.start.address, NATIVE) if p.amount_in(1, wei) is not None]
            deepest = max(between, key=lambda p: p.depth(0), default=None)
            gas_cost = None if deepest is None else deepest.amount_in(1, wei)
        sizing = best_input(cycle.legs, premium_bps)
        if sizing is None or gas_cost is None or sizing.profit <= gas_cost:
            continue
        net = sizing.profit - gas_cost
        orders.append((0, -(net * wei // gas_cost), cycle.route) if wei else (cycle.rank, -net, cycle.route))
    return sorted(orders)


@given(markets(), st.sampled_from((0, 9)))
def test_no_exact_profit_exceeds_the_bound(market: Market, premium_bps: int) -> None:
    starts = tuple(dict.fromkeys(t.address for pool in market.pools for t in (pool.token0, pool.token1)))
    graph = CycleGraph(starts, 10**6)
    nodes = [graph.add(pool) for pool, _ in market.legs]
    settings = FlashArbitrageSettings(
        start_tokens=starts, wrapped_native=starts[0], flash_premium_bps=premium_bps, gas_price_wei=0
    )
    looking = Search(settings, graph, Counters())
    for node, side in product(nodes[:1], (0, 1)):
        for _, _, cycle in node.listed[side]:
            sizing = best_input(cycle.legs, premium_bps)
            event("profit" if sizing else "no profit")
            if sizing is not None:
                assert sizing.profit <= looking._bound(cycle)
                passed, _ = graph.screen(node, looking._least_product)
                assert cycle in passed


def test_a_minimum_is_asked_for_by_start_token_and_counted() -> None:
    pools = [v2_pool(0, ONE, TWO), v2_pool(1, ONE, TWO)]
    graph = graph_of(pools, [v2_state(pools[0], 10**9, 10**9), v2_state(pools[1], 10**9, 11 * 10**8)])
    settings = settings_with(0, 0, 4)
    (found,), _ = search(graph, settings, pools[0])
    enough = settings.model_copy(update={"min_net_profit": {TWO.address: found.net_profit}})
    assert search(graph, enough, pools[0])[0] == [found]
    more = settings.model_copy(update={"min_net_profit": {TWO.address: found.net_profit + 1}})
    nothing, counters = search(graph, more, pools[0])
    assert nothing == []
    assert counters.below_minimum == 1


def test_gas_without_a_price_is_counted_and_not_signalled() -> None:
    pools = [v2_pool(0, TWO, THREE), v2_pool(1, TWO, THREE)]
    graph = graph_of(pools, [v2_state(pools[0], 10**9, 10**9), v2_state(pools[1], 10**9, 11 * 10**8)])
    nothing, counters = search(graph, settings_with(0, 1, 4), pools[0])
    assert nothing == []
    assert counters.unpriced_gas == 1
    assert len(search(graph, settings_with(0, 0, 4), pools[0])[0]) == 1


def test_a_narrow_range_does_not_displace_what_is_really_better() -> None:
    """A v3 pool has the wider gap, and so the higher bound, but its range ends before there is much to gain."""
    wide, narrow, third = v2_pool(0, ONE, TWO), v3_pool(1, ONE, TWO, 500, 1), v2_pool(2, ONE, TWO)
    pools = [wide, narrow, third]
    states = [
        v2_state(wide, 10**21, 10**21),
        v3_state(narrow, sqrt_ratio_at_tick(1001) - 1, 10**21, 1000),
        v2_state(third, 10**21, 105 * 10**19),
    ]
    graph = graph_of(pools, states)
    everything, _ = search(graph, settings_with(0, 0, 9), wide)
    (best,), counters = search(graph, settings_with(0, 0, 1), wide)
    assert len(everything) == 2
    assert {pool.address for pool, _ in best.cycle.legs} == {third.pool, wide.pool}
    assert best.order == min(item.order for item in everything)
    assert counters.over_limit == 1


@pytest.mark.parametrize("premium_bps", [0, 5])
@pytest.mark.parametrize("hair", [10**7, 10**9, 10**10, 10**11])
def test_a_profit_of_a_hairs_breadth_is_not_screened_out(hair: int, premium_bps: int) -> None:
    """The prices differ by one part in ``hair`` more than the premium; the pools are large enough for a profit."""
    pools = [v2_pool(0, ONE, TWO, 0), v2_pool(1, ONE, TWO, 0)]
    reserve = 10**33
    dear = reserve * (10_000 + premium_bps) * (hair + 1) // (10_000 * hair)
    graph = graph_of(pools, [v2_state(pools[0], reserve, dear), v2_state(pools[1], reserve, reserve)])
    (found,), _ = search(graph, settings_with(premium_bps, 0, 4), pools[0])
    assert found.net_profit > 0


def test_a_profit_of_one_unit_above_gas_is_found_and_none_at_gas() -> None:
    pools = [v2_pool(0, TWO, THREE), v2_pool(1, TWO, THREE)]
    graph = graph_of(pools, [v2_state(pools[0], 10**9, 10**9), v2_state(pools[1], 10**9, 11 * 10**8)])
    (free,), _ = search(graph, settings_with(5, 0, 4), pools[0])
    for gas_units, profits in ((free.net_profit - 1, [1]), (free.net_profit, [])):
        settings = settings_with(5, 1, 4).model_copy(
            update={"gas_base": gas_units, "gas_per_hop": 0, "wrapped_native": TWO.address}
        )
        found, _ = search(graph, settings, pools[0])
        assert [item.net_profit for item in found] == profits
