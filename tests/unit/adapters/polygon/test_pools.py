"""What logs mean for the market, the state of v3 pools between swaps, and every cause of ignoring and refusing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.polygon.decode import MAX_LIQUIDITY, MAX_RESERVE
from adapters.polygon.logs import Log
from adapters.polygon.pools import OTHER_EVENTS, Ignored, PoolBook, Refused, V3State
from contracts.market import PoolSync, SwapEvent
from contracts.values import Address
from tests.unit.adapters.polygon import samples
from tests.unit.adapters.polygon.samples import PRICE, V2_POOL, V3_POOL


@pytest.fixture
def book() -> PoolBook:
    return PoolBook([V2_POOL, V3_POOL])


def messages(result: Any) -> tuple[PoolSync | SwapEvent, ...]:
    assert isinstance(result, tuple), result
    return result


def sync_of(result: Any) -> PoolSync:
    (message,) = messages(result)
    assert isinstance(message, PoolSync)
    return message


def refused(result: Any, cause: str) -> Refused:
    assert isinstance(result, Refused), result
    assert result.cause == cause
    return result


def ignored(result: Any, cause: str) -> Ignored:
    assert isinstance(result, Ignored), result
    assert result.cause == cause
    return result


def test_v2_sync_and_swap(book: PoolBook) -> None:
    sync = sync_of(book.apply(samples.v2_sync(1000, 2000, index=4)))
    assert (sync.venue, sync.instrument, sync.pool) == ("quickswap", "usdc-weth", V2_POOL.pool)
    assert (sync.block, sync.log_index, sync.timestamp) == (1, 4, 1_700_000_000)
    assert (sync.reserve0, sync.reserve1, sync.sqrt_price_x96, sync.liquidity, sync.tick) == (1000, 2000, 0, 0, 0)
    (swap,) = messages(book.apply(samples.v2_swap(7, 1, 3, 50, index=5)))
    assert isinstance(swap, SwapEvent)
    assert (swap.amount0, swap.amount1) == (4, -49)
    assert swap.transaction == bytes(31) + b"\x01"
    assert book.v2_reserves(V2_POOL.pool) == (1000, 2000)


def test_v3_swap_gives_the_state_first_then_the_swap_at_one_place(book: PoolBook) -> None:
    sync, swap = messages(book.apply(samples.v3_swap(-5, 7, liquidity=11, index=9)))
    assert isinstance(sync, PoolSync)
    assert isinstance(swap, SwapEvent)
    assert (sync.block, sync.log_index) == (swap.block, swap.log_index) == (1, 9)
    assert (sync.sqrt_price_x96, sync.liquidity, sync.tick) == (PRICE, 11, 193919)
    assert (sync.reserve0, sync.reserve1) == (0, 0)
    assert (swap.amount0, swap.amount1) == (-5, 7)


def test_a_pool_from_its_beginning(book: PoolBook) -> None:
    assert sync_of(book.apply(samples.v3_initialize(index=0))).liquidity == 0
    assert sync_of(book.apply(samples.v3_mint(193900, 194000, 70, index=1))).liquidity == 70
    assert sync_of(book.apply(samples.v3_mint(193910, 193920, 7, index=2))).liquidity == 77
    assert sync_of(book.apply(samples.v3_burn(193900, 194000, 20, index=3))).liquidity == 57
    assert book.v3_state(V3_POOL.pool) == V3State(PRICE, 193919, 57)


@pytest.mark.parametrize(
    ("lower", "upper", "changes"),
    [
        (193920, 193930, False),  # above
        (193900, 193910, False),  # below
        (193910, 193920, True),
    ],
)
def test_only_liquidity_in_range_counts(book: PoolBook, lower: int, upper: int, changes: bool) -> None:
    book.apply(samples.v3_swap(1, -1, liquidity=100))
    assert sync_of(book.apply(samples.v3_mint(lower, upper, 5, index=1))).liquidity == (105 if changes else 100)
    assert sync_of(book.apply(samples.v3_burn(lower, upper, 5, index=2))).liquidity == 100


@pytest.mark.parametrize(("tick", "inside"), [(-10, True), (-11, False), (9, True), (10, False)])
def test_the_lower_tick_belongs_to_the_range_and_the_upper_does_not(book: PoolBook, tick: int, inside: bool) -> None:
    book.apply(samples.v3_swap(1, -1, liquidity=100, tick=tick))
    assert sync_of(book.apply(samples.v3_mint(-10, 10, 5, index=1))).liquidity == (105 if inside else 100)


def test_before_the_first_swap_a_mint_says_nothing_of_the_state(book: PoolBook) -> None:
    assert "V3Mint" in ignored(book.apply(samples.v3_mint(-10, 10, 5)), "state_unknown").detail
    assert "V3Burn" in ignored(book.apply(samples.v3_burn(-10, 10, 5, index=1)), "state_unknown").detail


@pytest.mark.parametrize(("topic", "name"), OTHER_EVENTS.items(), ids=OTHER_EVENTS.values())
def test_other_events_are_ignored_by_name(book: PoolBook, topic: bytes, name: str) -> None:
    assert ignored(book.apply(samples.log(V3_POOL.pool, (topic,), b"")), "not_a_market_event").detail == name


def test_unknown_and_anonymous_events_are_ignored_even_of_unknown_contracts(book: PoolBook) -> None:
    stranger = Address("0x" + "99" * 20)
    ignored(book.apply(samples.log(stranger, (b"\x07" * 32,), b"")), "not_a_market_event")
    ignored(book.apply(samples.log(stranger, (), b"", index=1)), "not_a_market_event")


def test_removed_logs_are_ignored_and_leave_state_and_order_alone(book: PoolBook) -> None:
    book.apply(samples.v2_sync(1000, 2000, index=4))
    taken_back = msgspec.structs.replace(samples.v2_sync(1, 1, index=4), removed=True)
    ignored(book.apply(taken_back), "removed_log")
    assert book.v2_reserves(V2_POOL.pool) == (1000, 2000)


def test_unknown_pool(book: PoolBook) -> None:
    stranger = msgspec.structs.replace(samples.v2_sync(1, 1), address=Address("0x" + "99" * 20))
    assert "0x9999" in refused(book.apply(stranger), "unknown_pool").detail


def test_unknown_token() -> None:
    book = PoolBook([V3_POOL], {V2_POOL.pool: V2_POOL.token1.address})
    assert str(V2_POOL.token1.address) in refused(book.apply(samples.v2_sync(1, 1)), "unknown_token").detail


def test_an_event_of_the_other_protocol_is_malformed(book: PoolBook) -> None:
    mixed = msgspec.structs.replace(samples.v2_sync(1, 1), address=V3_POOL.pool)
    assert "uniswap_v3" in refused(book.apply(mixed), "malformed_log").detail


def test_a_malformed_event(book: PoolBook) -> None:
    refused(book.apply(msgspec.structs.replace(samples.v2_sync(1, 1), data=b"\0" * 63)), "malformed_log")


@pytest.mark.parametrize(
    ("before", "log"),
    [
        ([], samples.v2_sync(MAX_RESERVE + 1, 1, index=5)),
        ([samples.v2_sync(0, 5)], samples.v2_swap(1, 0, 0, 1, index=5)),
        ([samples.v3_swap(1, -1, liquidity=4)], samples.v3_burn(-887270, 887270, 5, index=5)),
        ([samples.v3_swap(1, -1, liquidity=MAX_LIQUIDITY)], samples.v3_mint(-887270, 887270, 1, index=5)),
        ([samples.v3_swap(1, -1)], samples.v3_initialize(index=5)),
        ([samples.v3_swap(1, -1)], samples.v3_mint(-15, 10, 5, index=5)),  # spacing is 10
    ],
)
def test_impossible_states(book: PoolBook, before: list[Log], log: Log) -> None:
    for earlier in before:
        messages(book.apply(earlier))
    refused(book.apply(log), "impossible_state")


def test_burning_all_liquidity_is_possible(book: PoolBook) -> None:
    book.apply(samples.v3_swap(1, -1, liquidity=5))
    assert sync_of(book.apply(samples.v3_burn(-887270, 887270, 5, index=1))).liquidity == 0


def test_after_a_refused_log_the_state_is_unknown_until_it_is_told_again(book: PoolBook) -> None:
    book.apply(samples.v3_swap(1, -1, liquidity=4))
    refused(book.apply(samples.v3_burn(-887270, 887270, 5, index=1)), "impossible_state")
    assert book.v3_state(V3_POOL.pool) is None
    ignored(book.apply(samples.v3_mint(-887270, 887270, 5, index=2)), "state_unknown")
    assert len(messages(book.apply(samples.v3_swap(1, -1, index=3)))) == 2
    assert sync_of(book.apply(samples.v3_mint(-887270, 887270, 5, index=4))).liquidity == 10**18 + 5


@pytest.mark.parametrize(
    ("place", "accepted"), [((6, 0), True), ((5, 4), True), ((5, 3), False), ((5, 2), False), ((4, 9), False)]
)
def test_logs_must_go_forward(book: PoolBook, place: tuple[int, int], accepted: bool) -> None:
    messages(book.apply(samples.v2_sync(1, 1, block=5, index=3)))
    result = book.apply(samples.v2_sync(2, 2, block=place[0], index=place[1]))
    if accepted:
        assert sync_of(result).reserve0 == 2
    else:
        assert str(place) in refused(result, "out_of_order").detail
        assert book.v2_reserves(V2_POOL.pool) == (1, 1)
