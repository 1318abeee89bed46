from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from hypothesis import event as noted
from hypothesis import given
from hypothesis import strategies as st

from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, SwapEvent
from mycelium.core.message import Message
from strategies.flash_arbitrage.blocks import (
    GIVEN_UP,
    LATE,
    REPEATED,
    VOID,
    Block,
    Blocks,
    LeftOut,
    MarketEvent,
    Step,
    TakeBack,
)
from tests.interleaving import interleaved, streams_of
from tests.unit.strategies.flash_arbitrage.reference import swap, token, v2_pool, v2_state

POOLS = [v2_pool(number, token(1), token(2)) for number in range(3)]


def closed(block: int, swaps: int = 0, syncs: int = 0, pools: int = 0, branch: int = 0) -> BlockClosed:
    return BlockClosed(137, block, 0, swaps, syncs, pools, branch)


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
    """The blocks that come out, where there is nothing else."""
    out = []
    for step in steps(blocks, messages):
        assert isinstance(step, Block)
        out.append(step)
    return out


def steps(blocks: Blocks, messages: Iterable[Message], causes: Counter[str | None] | None = None) -> list[Step]:
    """What comes out, taken after every message, as the service does."""
    out: list[Step] = []
    for message in messages:
        cause = None
        match message:
            case PoolMetadata():
                cause = blocks.describe(message)
            case BlockClosed():
                cause = blocks.close(message)
            case BlockRetracted():
                cause = blocks.retract(message)
            case PoolSync() | SwapEvent():
                cause = blocks.add(message)
        if causes is not None:
            causes[cause] += 1
        while (step := blocks.take()) is not None:
            out.append(step)
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


def test_the_states_that_a_source_begins_with_come_first_in_its_first_block() -> None:
    opening = [v2_state(pool, 1, 1, 1, index) for index, pool in enumerate(POOLS, -3)]
    (block,) = feed(Blocks(10), [swap(POOLS[0], 1, 1), v2_state(POOLS[0], 1, 1, 1, 0), *opening, closed(1, 1, 4)])
    assert places(block.events) == [(-3, False), (-2, False), (-1, False), (0, False), (1, True)]


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
        assert sum(len(events) for branch in blocks._branches.values() for events in branch.open.values()) <= limit
    while (block := blocks.take(anyway=True)) is not None:
        assert isinstance(block, Block)
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
    assert [(isinstance(block, Block) and (block.number, block.missing)) or None for block in out] == [
        (1, "1 SwapEvent"),
        (2, "its closing"),
        (3, "its closing"),
        None,
    ]


# --- branches -------------------------------------------------------------------------------------


def on(branch: int, *messages: MarketEvent) -> list[MarketEvent]:
    return [msgspec.structs.replace(message, branch=branch) for message in messages]


def block_of(number: int, branch: int, trades: int = 1) -> list[Message]:
    """A block with its trades: how many there are and where tells its branch."""
    events: list[MarketEvent] = []
    for trade in range(trades):
        pool = POOLS[(number + branch + trade) % 3]
        events += [v2_state(pool, number, branch + 1, number, 2 * trade), swap(pool, number, 2 * trade + 1)]
    return [*on(branch, *events), closed(number, trades, trades, len(POOLS), branch)]


def retracted(block: int, branch: int) -> BlockRetracted:
    return BlockRetracted(137, block, branch)


class History(NamedTuple):
    """What a source has published, in its order, and what counts of it."""

    messages: list[Message]
    chain: dict[int, list[MarketEvent]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A chain that goes another way now and then, and a source that is killed in a block or between two of them."""
    messages: list[Message] = [*POOLS]
    chain: dict[int, list[MarketEvent]] = {}
    number = first = draw(st.integers(0, 3))
    branch = 0
    for _ in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.integers(0, 4))):
            said = block_of(number, branch, draw(st.integers(0, 2)))
            messages += said
            chain[number] = [message for message in said if isinstance(message, PoolSync | SwapEvent)]
            number += 1
        if draw(st.booleans()):  # killed in a block: any part of it was published, and not its closing
            part = block_of(number, branch, 2)[:-1]
            published = draw(st.sets(st.sampled_from(range(len(part)))))
            messages += [part[place] for place in sorted(published)]
        branch += 1
        number = draw(st.integers(max(first, number - 4), number))
        messages.append(retracted(number, branch))
        chain = {kept: events for kept, events in chain.items() if kept < number}
    said = block_of(number, branch)  # the last retraction is known to be one when something follows
    chain[number] = [message for message in said if isinstance(message, PoolSync | SwapEvent)]
    return History([*messages, *said], chain)


@st.composite
def merged(draw: st.DrawFn, messages: Sequence[Message]) -> list[Message]:
    """Every stream in its order, and nothing else."""
    streams = streams_of(messages)
    turns = draw(st.permutations([number for number, stream in enumerate(streams) for _ in stream]))
    iterators = [iter(stream) for stream in streams]
    return [next(iterators[number]) for number in turns]


def net(out: Iterable[Step]) -> dict[int, list[MarketEvent]]:
    """What is left for one who takes back what he is told to; checks that the order is the chain's."""
    chain: dict[int, list[MarketEvent]] = {}
    for step in out:
        match step:
            case Block(number, _, events, missing):
                assert number > max(chain, default=-1)
                assert missing is None
                chain[number] = list(events)
            case TakeBack(number):
                assert number <= max(chain), "there is nothing to take back"
                chain = {kept: events for kept, events in chain.items() if kept < number}
    return chain


@given(st.data(), histories(), st.booleans())
def test_whatever_comes_first_what_is_not_taken_back_is_the_final_chain(
    data: st.DataObject, history: History, repeats: bool
) -> None:
    arriving = data.draw(interleaved(history.messages) if repeats else merged(history.messages))
    blocks, causes = Blocks(1000), Counter[str | None]()
    out = steps(blocks, arriving, causes)
    noted("something was taken back" if any(isinstance(step, TakeBack) for step in out) else "nothing was taken back")
    assert net(out) == history.chain
    assert list(net(out)) == sorted(history.chain)
    # Every message is accounted for once.
    taken_in = sum(isinstance(message, PoolMetadata | BlockRetracted) for message in history.messages)
    for step in out:
        match step:
            case Block(_, _, events, _):
                taken_in += len(events) + 1
            case LeftOut(cause, events, closings):
                assert cause == VOID
                taken_in += events + closings
    assert causes[None] == taken_in
    assert blocks._waiting == 0
    assert set(causes) <= {None, REPEATED, LATE, VOID}
    assert blocks.take(anyway=True) is None


@given(st.data(), histories())
def test_a_source_that_begins_again_with_a_retraction_changes_nothing(data: st.DataObject, history: History) -> None:
    branch = max(message.branch for message in history.messages if isinstance(message, BlockRetracted)) + 1
    cursor = max(history.chain)
    again = [*POOLS, retracted(cursor + 1, branch), *block_of(cursor + 1, branch)]
    out = steps(Blocks(1000), data.draw(interleaved([*history.messages, *again], repeats=False)))
    assert list(net(out)) == [*sorted(history.chain), cursor + 1]


@given(st.data(), histories(), st.floats(0, 0.5), st.integers(1, 20))
def test_whatever_is_lost_of_branches_nothing_waits_for_ever(
    data: st.DataObject, history: History, share: float, limit: int
) -> None:
    kept = [message for message in history.messages if data.draw(st.floats(0, 1)) >= share]
    blocks, last = Blocks(limit), -1
    for message in data.draw(interleaved(kept)):
        steps(blocks, [message])
        assert blocks._waiting <= limit + len(POOLS), "descriptions wait for a block, whatever the limit"
    while (step := blocks.take(anyway=True)) is not None:
        if isinstance(step, Block):
            assert step.number > last
        last = step.number if isinstance(step, Block) else step.number - 1 if isinstance(step, TakeBack) else last
    assert blocks._waiting == len(blocks._described)


def told(out: Iterable[Step]) -> list[object]:
    """Steps in short: a block as its number, branch and what is missing."""
    return [
        (step.number, max((event.branch for event in step.events), default=None), step.missing)
        if isinstance(step, Block)
        else step
        for step in out
    ]


OLD = [message for number in (5, 6, 7) for message in block_of(number, 0)]
NEW = [message for number in (6, 7) for message in block_of(number, 1)]


def test_what_was_given_out_is_taken_back_before_what_replaces_it() -> None:
    out = steps(Blocks(100), [*POOLS, *OLD, retracted(6, 1), *NEW])
    assert told(out) == [(5, 0, None), (6, 0, None), (7, 0, None), TakeBack(6), (6, 1, None), (7, 1, None)]


def test_what_was_not_given_out_is_dropped() -> None:
    out = steps(Blocks(100), [*POOLS, *OLD[:4], *OLD[5:], retracted(6, 1), *NEW])
    assert told(out) == [(5, 0, None), LeftOut(VOID, 3, 2), (6, 1, None), (7, 1, None)]


def test_a_branch_waits_for_its_retraction_and_for_the_end_of_the_one_before() -> None:
    blocks = Blocks(100)
    assert told(steps(blocks, [*POOLS, *OLD, *NEW])) == [(5, 0, None), (6, 0, None), (7, 0, None)]
    assert told(steps(blocks, [retracted(6, 1)])) == [TakeBack(6), (6, 1, None), (7, 1, None)]
    blocks = Blocks(100)
    assert steps(blocks, [*POOLS, *NEW[:2], retracted(6, 1), *OLD[:2]]) == []
    assert told(steps(blocks, [OLD[2], *NEW[2:]])) == [(5, 0, None), (6, 1, None), (7, 1, None)]


def test_a_block_that_a_source_was_killed_in_is_no_block_without_its_closing() -> None:
    blocks = Blocks(100)
    out = steps(blocks, [*POOLS, *OLD[:4], *block_of(6, 1)])
    assert told(out) == [(5, 0, None)]
    assert told(steps(blocks, [retracted(6, 1)])) == [LeftOut(VOID, 1, 0), (6, 1, None)]


def test_a_retraction_above_everything_takes_nothing_back() -> None:
    out = steps(Blocks(100), [*POOLS, *OLD, retracted(8, 1), *block_of(8, 1)])
    assert told(out) == [(5, 0, None), (6, 0, None), (7, 0, None), (8, 1, None)]


def test_what_a_branch_says_of_blocks_before_it_is_known() -> None:
    again = [*block_of(7, 1), *block_of(8, 1)]
    blocks, causes = Blocks(100), Counter[str | None]()
    out = steps(blocks, [*POOLS, *OLD, *again[:2], retracted(8, 1), *again[2:], again[0]], causes)
    assert told(out) == [(5, 0, None), (6, 0, None), (7, 0, None), LeftOut(LATE, 2, 1), (8, 1, None)]
    assert (causes[LATE], blocks._waiting) == (1, 0)


def test_a_retraction_is_also_that_of_the_branches_before_it() -> None:
    blocks = Blocks(100)
    steps(blocks, [*POOLS, *OLD])
    assert steps(blocks, [*block_of(7, 1), *block_of(7, 2)]) == []
    assert steps(blocks, [retracted(8, 2)]) == [LeftOut(LATE, 2, 1)] * 2
    assert told(steps(blocks, block_of(8, 2))) == [(8, 2, None)]


def test_a_reader_that_starts_late_waits_for_no_retraction_that_it_may_have_missed() -> None:
    blocks, causes = Blocks(100), Counter[str | None]()
    assert told(steps(blocks, [*POOLS, *NEW], causes)) == [(6, 1, None), (7, 1, None)]
    assert causes == {None: len(POOLS) + len(NEW)}
    assert steps(blocks, [retracted(6, 1)], causes) == []
    assert steps(blocks, OLD[3:], causes) == []
    assert (causes[None], causes[VOID]) == (len(POOLS) + len(NEW) + 1, 6)


def test_a_reader_that_starts_late_begins_with_the_lowest_branch_that_it_sees() -> None:
    blocks = Blocks(100)
    assert steps(blocks, [*POOLS, *NEW[:2], *OLD[3:5]]) == []
    assert steps(blocks, NEW[2:]) == []
    assert told(steps(blocks, [retracted(6, 1)])) == [LeftOut(VOID, 2, 0), (6, 1, None), (7, 1, None)]


def test_what_is_void_or_late_or_repeated_is_told_apart() -> None:
    blocks = Blocks(100)
    steps(blocks, [*POOLS, *OLD, retracted(6, 1), *NEW])
    (event, _, closing), (void, _, void_closing) = OLD[:3], OLD[3:6]
    assert isinstance(event, PoolSync)
    assert isinstance(void, PoolSync)
    assert isinstance(closing, BlockClosed)
    assert isinstance(void_closing, BlockClosed)
    assert [blocks.add(event), blocks.add(void)] == [LATE, VOID]
    assert [blocks.close(closing), blocks.close(void_closing)] == [REPEATED, VOID]
    assert [blocks.retract(retracted(6, 1)), blocks.retract(retracted(7, 2))] == [REPEATED, None]
    assert [blocks.add(*on(1, event)), blocks.add(*on(1, void))] == [LATE, LATE]
    assert blocks.add(*on(1, msgspec.structs.replace(event, block=7))) == VOID
    assert blocks.take() == TakeBack(7)


def test_beyond_the_limit_a_branch_goes_on_without_its_retraction() -> None:
    blocks, causes = Blocks(5), Counter[str | None]()
    out = steps(blocks, [*POOLS, *OLD, *NEW], causes)
    assert told(out) == [
        (5, 0, None),
        (6, 0, None),
        (7, 0, None),
        TakeBack(6),
        (6, 1, "the retraction before it"),
        (7, 1, None),
    ]
    assert steps(blocks, [retracted(6, 1), retracted(6, 1), *OLD[3:]], causes) == []
    assert (causes[GIVEN_UP], causes[REPEATED], causes[VOID]) == (1, 1, 6)


def test_at_the_end_a_branch_is_given_out_without_its_retraction() -> None:
    blocks = Blocks(100)
    assert told(steps(blocks, [*POOLS, *OLD[:4], *block_of(6, 1)])) == [(5, 0, None)]
    out = [blocks.take(anyway=True) for _ in range(3)]
    assert told(step for step in out if step) == [LeftOut(VOID, 1, 0), (6, 1, "the retraction before it")]


def test_what_is_kept_of_retractions_is_bounded() -> None:
    blocks = Blocks(100)
    steps(blocks, POOLS)
    for branch in range(1, 1000):
        steps(blocks, [retracted(branch, branch), *block_of(branch, branch)])
    assert len(blocks._retractions) < 300
    assert len(blocks._branches) == 1
