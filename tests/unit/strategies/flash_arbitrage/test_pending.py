from __future__ import annotations

from strategies.flash_arbitrage.pending import Pending, is_due
from strategies.flash_arbitrage.pools import make_pool
from tests.unit.strategies.flash_arbitrage.reference import swap, token, v2_pool, v2_state, v3_pool, v3_state

ONE, TWO = token(1), token(2)
POOLS = [v2_pool(number, ONE, TWO) for number in range(3)]


def test_the_newest_state_of_an_unknown_pool_is_kept() -> None:
    pending = Pending(max_pools=2, max_swaps=2)
    assert pending.keep_state(v2_state(POOLS[0], 1, 1, block=5, log_index=2))
    assert not pending.keep_state(v2_state(POOLS[0], 2, 2, block=5, log_index=1))
    newer = v2_state(POOLS[0], 3, 3, block=5, log_index=3)
    assert pending.keep_state(newer)
    assert pending.take_state(POOLS[0].pool) == newer
    assert pending.take_state(POOLS[0].pool) is None


def test_states_of_too_many_unknown_pools_are_counted() -> None:
    pending = Pending(max_pools=2, max_swaps=2)
    for pool in POOLS:
        pending.keep_state(v2_state(pool, 1, 1))
    assert pending.states_given_up == 1
    assert pending.take_state(POOLS[2].pool) is None
    assert pending.take_state(POOLS[1].pool) is not None


def test_a_pools_oldest_waiting_swap_is_given_up_first() -> None:
    pending = Pending(max_pools=1, max_swaps=2)
    swaps = [swap(POOLS[0], 7, log_index) for log_index in (1, 3, 5)]
    for event in swaps:
        pending.keep_swap(event)
    pending.keep_swap(swap(POOLS[1], 7, 9))
    assert (pending.swaps_given_up, pending.waiting) == (2, 2)
    pool = make_pool(POOLS[0])
    pool.update(v2_state(POOLS[0], 1, 1, block=8))
    assert pending.take_swaps(pool) == swaps[1:]
    assert pending.waiting == 0
    assert not pending.has_swaps(POOLS[0].pool)


def test_only_the_swaps_whose_state_has_come_are_taken() -> None:
    pending = Pending(max_pools=1, max_swaps=9)
    for log_index in (1, 3, 5):
        pending.keep_swap(swap(POOLS[0], 7, log_index))
    pool = make_pool(POOLS[0])
    pool.update(v2_state(POOLS[0], 1, 1, block=7, log_index=2))
    assert [event.log_index for event in pending.take_swaps(pool)] == [1, 3]
    assert pending.has_swaps(POOLS[0].pool)
    assert pending.take_swaps(pool) == []


def test_a_v2_state_comes_one_log_before_its_swap_and_a_v3_state_with_it() -> None:
    v2 = make_pool(POOLS[0])
    v2.update(v2_state(POOLS[0], 1, 1, block=7, log_index=2))
    assert is_due(v2, swap(POOLS[0], 7, 3))
    assert not is_due(v2, swap(POOLS[0], 7, 4))
    metadata = v3_pool(1, ONE, TWO)
    v3 = make_pool(metadata)
    v3.update(v3_state(metadata, 2**96, 1, 0, block=7, log_index=2))
    assert is_due(v3, swap(metadata, 7, 2))
    assert not is_due(v3, swap(metadata, 7, 3))
