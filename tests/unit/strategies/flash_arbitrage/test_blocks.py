from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from contracts.market import BlockClosed, PoolMetadata, PoolSync, SwapEvent
from mycelium.core.message import Message
from strategies.flash_arbitrage.blocks import LATE, REPEATED, Block, Blocks
from tests.interleaving import interleaved
from tests.unit.strategies.flash_arbitrage.reference import swap, token, v2_pool, v2_state

POOLS = [v2_pool(number, token(1), token(2)) for number in range(3)]


def closed(block: int, swaps: int = 0, syncs: int = 0, pools: int = 0) -> BlockClosed:
    return BlockClosed(137, block, 0, swaps, syncs, pools)


def chain(blocks: int) -> list[Message]:
    """Pools, then blocks with a trade in each of two pools; every third block is empty."""
    messages: list[Message] = [*POOLS]
    for number in range(1, blocks + 1):
        traded = [POOLS[number % 3], POOLS[(number + 1) % 3]] if number % 3 else []
        for place, pool in enumerate(traded):
            messages += [v2_state(pool, number, 1, number, 2 * place), swap(pool, number, 2 * place + 1)]
        messages.append(closed(number, len(traded), len(traded), len(POOLS)))
    return messages


def feed(blocks: Blocks, messages: Iterable[Message]) -> list[Block]:
    """What comes out, taken after every message, as the service does."""
    out: list[Block] = []
    for message in messages:
        match message:
            case PoolMetadata():
                blocks.describe(message)
            case BlockClosed():
                blocks.close(message)
            case PoolSync() | SwapEvent():
                blocks.add(message)
        while (block := blocks.take()) is not None:
            out.append(block)
    return out


def places(events: Sequence[PoolSync | SwapEvent]) -> list[tuple[int, bool]]:
    return [(event.log_index, isinstance(event, SwapEvent)) for event in events]


CHAIN = chain(9)
WHOLE = feed(Blocks(1000), CHAIN)


def test_a_block_is_given_out_when_it_is_whole() -> None:
    assert [block.number for block in WHOLE] == list(range(1, 10))
    assert [len(block.events) for block in WHOLE] == [4, 4, 0] * 3
    assert places(WHOLE[0].events) == [(0, False), (1, True), (2, False), (3, True)]
    assert [list(block.pools) for block in WHOLE] == [POOLS, *[[]] * 8]
    assert {block.missing for block in WHOLE} == {None}


def test_a_v3_pools_state_comes_before_the_swap_of_the_same_log() -> None:
    (block,) = feed(Blocks(10), [swap(POOLS[0], 1, 4), v2_state(POOLS[0], 1, 1, 1, 4), closed(1, 1, 1)])
    assert places(block.events) == [(4, False), (4, True)]


@given(st.data())
def test_any_interleaving_with_repeats_gives_the_same_blocks(data: st.DataObject) -> None:
    assert feed(Blocks(1000), data.draw(interleaved(CHAIN))) == WHOLE


@given(st.data(), st.integers(0, len(CHAIN)))
def test_a_source_that_begins_again_gives_the_same_blocks(data: st.DataObject, cut: int) -> None:
    former = data.draw(interleaved(CHAIN, repeats=False))[:cut]
    again = data.draw(interleaved(CHAIN, repeats=False))
    assert feed(Blocks(1000), [*former, *again]) == WHOLE


@given(st.data(), st.sets(st.sampled_from(range(len(CHAIN))), max_size=8), st.integers(1, 30))
def test_whatever_is_lost_nothing_waits_for_ever_and_memory_is_bounded(
    data: st.DataObject, lost: set[int], limit: int
) -> None:
    kept = [message for place, message in enumerate(CHAIN) if place not in lost]
    blocks = Blocks(limit)
    out: list[Block] = []
    for message in data.draw(interleaved(kept)):
        out += feed(blocks, [message])
        assert sum(len(events) for events in blocks._open.values()) <= limit
    while (block := blocks.take(anyway=True)) is not None:
        out.append(block)
    assert [block.number for block in out] == sorted({block.number for block in out})
    events = [event for block in out for event in block.events]
    assert len({(event.block, *place) for event in events for place in places([event])}) == len(events)


# --- what comes again -----------------------------------------------------------------------------


def test_repeats_are_told_from_what_is_new() -> None:
    blocks = Blocks(100)
    event, state = swap(POOLS[0], 1, 1), v2_state(POOLS[0], 1, 1, 1, 1)
    assert [blocks.add(event), blocks.add(state), blocks.add(event), blocks.add(state)] == [
        None,
        None,
        REPEATED,
        REPEATED,
    ]
    assert [blocks.describe(POOLS[0]), blocks.describe(POOLS[0])] == [None, REPEATED]
    assert [blocks.close(closed(1, 2, 1)), blocks.close(closed(1, 2, 1))] == [None, REPEATED]
    assert blocks.take() is None
    assert blocks.add(swap(POOLS[1], 1, 3)) is None
    assert blocks.take() is not None
    assert [blocks.add(event), blocks.close(closed(1, 2, 1))] == [LATE, REPEATED]


def test_a_description_that_has_changed_is_handed_on_for_the_engine_to_refuse() -> None:
    blocks = Blocks(100)
    changed = v2_pool(0, token(1), token(2), fee_pips=1)
    assert [blocks.describe(POOLS[0]), blocks.describe(changed)] == [None, None]
    (block,) = feed(blocks, [closed(1, pools=1)])
    assert list(block.pools) == [POOLS[0], changed]


def test_a_source_that_begins_further_on_leaves_its_open_block_behind() -> None:
    blocks = Blocks(100)
    out = feed(blocks, [swap(POOLS[0], 5, 1), closed(9)])
    assert [(block.number, len(block.events), block.missing) for block in out] == [(5, 1, "its closing"), (9, 0, None)]
    assert blocks.add(swap(POOLS[0], 6, 1)) == LATE


# --- the limit ------------------------------------------------------------------------------------


def test_beyond_the_limit_the_lowest_block_goes_on_without_what_is_missing() -> None:
    out = feed(
        Blocks(4),
        [closed(1, 2, 1), swap(POOLS[0], 1, 1), closed(2, 1), swap(POOLS[0], 2, 1), swap(POOLS[0], 3, 1)],
    )
    assert [(block.number, block.missing) for block in out] == [(1, "1 SwapEvent, 1 PoolSync"), (2, None)]


def test_beyond_the_limit_a_block_goes_on_without_its_closing() -> None:
    blocks = Blocks(1)
    out = feed(blocks, [swap(POOLS[0], 2, 1), swap(POOLS[0], 1, 1)])
    assert [(block.number, block.missing) for block in out] == [(1, "its closing")]
    assert [blocks.close(closed(1, 1)), blocks.add(swap(POOLS[0], 1, 3))] == [REPEATED, LATE]


def test_descriptions_that_are_missing_are_waited_for_once() -> None:
    out = feed(Blocks(2), [POOLS[0], closed(1, pools=3), closed(2, pools=3), closed(3, pools=3), closed(4, pools=4)])
    assert [(block.number, block.missing) for block in out] == [(1, "2 PoolMetadata"), (2, None), (3, None)]


def test_at_the_end_what_is_there_is_given_out_in_order() -> None:
    blocks = Blocks(100)
    assert feed(blocks, [swap(POOLS[0], 3, 1), closed(1, 1), swap(POOLS[0], 2, 1)]) == []
    out = [blocks.take(anyway=True) for _ in range(4)]
    assert [block and (block.number, block.missing) for block in out] == [
        (1, "1 SwapEvent"),
        (2, "its closing"),
        (3, "its closing"),
        None,
    ]
