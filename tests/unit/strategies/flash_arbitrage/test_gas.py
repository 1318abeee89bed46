from __future__ import annotations

from strategies.flash_arbitrage.gas import GasPricer
from strategies.flash_arbitrage.graph import CycleGraph
from strategies.flash_arbitrage.pools import make_pool
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from tests.unit.strategies.flash_arbitrage.reference import token, v2_out, v2_pool, v2_state, v3_pool, v3_state

NATIVE, OTHER, THIRD = token(1), token(2, 6), token(3)
SETTINGS = FlashArbitrageSettings(
    start_tokens=(OTHER.address, NATIVE.address, THIRD.address),
    wrapped_native=NATIVE.address,
    gas_price_wei=7,
    gas_base=100,
    gas_per_hop=11,
)
WEI = 7 * (100 + 2 * 11)


def pricer(*reserves: tuple[int, int], settings: FlashArbitrageSettings = SETTINGS) -> GasPricer:
    graph = CycleGraph(settings.start_tokens, 100)
    for number, (native, other) in enumerate(reserves):
        metadata = v2_pool(number, NATIVE, OTHER)
        pool = make_pool(metadata)
        pool.update(v2_state(metadata, native, other))
        graph.add(pool)
    return GasPricer(settings, graph)


def test_in_the_native_token_it_is_price_times_gas() -> None:
    assert pricer().in_native(2) == WEI
    assert pricer().in_token(NATIVE, 2) == WEI


def test_in_another_token_it_is_the_least_that_buys_the_gas() -> None:
    cost = pricer((10**9, 3 * 10**9)).in_token(OTHER, 2)
    assert cost is not None
    assert v2_out(cost, 3 * 10**9, 10**9, 3000) >= WEI > v2_out(cost - 1, 3 * 10**9, 10**9, 3000)


def test_the_deepest_pool_is_asked_and_the_first_of_equals() -> None:
    deep, shallow = (10**9, 3 * 10**9), (10**8, 10**8)
    cost = pricer(deep).in_token(OTHER, 2)
    assert pricer(shallow, deep).in_token(OTHER, 2) == cost == pricer(deep, shallow).in_token(OTHER, 2)
    assert pricer(shallow).in_token(OTHER, 2) != cost
    dearer = (10**9, 4 * 10**9)
    assert pricer(deep, dearer).in_token(OTHER, 2) == cost != pricer(dearer, deep).in_token(OTHER, 2)


def test_a_pool_that_cannot_pay_is_passed_over() -> None:
    # A v3 pool with more native token behind its price than the other, but a range that ends at once.
    metadata = v3_pool(9, NATIVE, OTHER, 500, 1)
    pool = make_pool(metadata)
    pool.update(v3_state(metadata, 2**96 + 1, 10**6, 0))
    graph = CycleGraph(SETTINGS.start_tokens, 100)
    graph.add(pool)
    assert pool.usable
    assert GasPricer(SETTINGS, graph).in_token(OTHER, 2) is None
    shallow = v2_pool(1, NATIVE, OTHER)
    other = make_pool(shallow)
    other.update(v2_state(shallow, 10**5, 10**5))
    graph.add(other)
    cost = GasPricer(SETTINGS, graph).in_token(OTHER, 2)
    assert cost is not None
    assert v2_out(cost, 10**5, 10**5, 3000) >= WEI


def test_without_a_pool_there_is_no_price() -> None:
    assert pricer((10**9, 10**9)).in_token(THIRD, 2) is None
    graph = CycleGraph(SETTINGS.start_tokens, 100)
    graph.add(make_pool(v2_pool(0, NATIVE, OTHER)))  # known, but without a state
    assert GasPricer(SETTINGS, graph).in_token(OTHER, 2) is None


def test_gas_that_is_free_needs_no_price() -> None:
    free = SETTINGS.model_copy(update={"gas_price_wei": 0})
    assert pricer(settings=free).in_token(THIRD, 3) == 0
