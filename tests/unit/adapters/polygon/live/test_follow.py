"""Blocks are given out once, in order, and taken back when the chain goes another way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.live.follow import NEAR, ChainError, DeepReorganisation, Follower, Opened, Undone
from adapters.polygon.live.headers import Header
from adapters.polygon.logs import Log
from contracts.values import Address

POOL = Address(bytes(20))


def block(parent: Header | None, salt: int = 0) -> Header:
    number = 0 if parent is None else parent.number + 1
    parent_hash = bytes(32) if parent is None else parent.hash
    return Header(number, hashlib.sha256(parent_hash + bytes([salt])).digest(), parent_hash, 1_000 + number)


def logs_in(header: Header) -> list[Log]:
    """As many as the hash says, so that blocks of other branches have others."""
    return [
        Log(POOL, (), header.hash, header.number, index, header.hash, header.timestamp)
        for index in range(header.hash[0] % 4)
    ]


class Tree:
    """A chain with branches, of which one is canonical."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, Header] = {}
        self.head = self.add(None)
        self.asked: list[str] = []

    def add(self, parent: Header | None, salt: int = 0) -> Header:
        made = block(parent, salt)
        self.blocks[made.hash] = made
        self.head = made
        return made

    def grow(self, number: int, salt: int = 0) -> Header:
        for _ in range(number):
            self.add(self.head, salt)
        return self.head

    def ancestors(self, header: Header) -> list[Header]:
        found = [header]
        while found[-1].number:
            found.append(self.blocks[found[-1].parent])
        return found[::-1]

    async def header(self, block_hash: bytes) -> Header:
        self.asked.append("header")
        found = self.blocks.get(block_hash)
        if found is None:
            raise ChainError("unknown")
        return found

    async def header_at(self, number: int) -> Header:
        self.asked.append("header_at")
        return self.ancestors(self.head)[number]

    async def logs_of(self, header: Header) -> Sequence[Log]:
        self.asked.append("logs_of")
        return logs_in(self.blocks[header.hash])

    async def blocks_between(self, first: int, last: int) -> Sequence[tuple[Header, Sequence[Log]]]:
        self.asked.append("blocks_between")
        canonical = self.ancestors(self.head)[first : last + 1]
        return [(one, logs_in(one)) for one in canonical if logs_in(one) or one.number == last]


async def go(follower: Follower, head: Header, given_out: list[Header]) -> None:
    """Go to a head, and do to the list what the steps say."""
    async for step in follower.to(head):
        if isinstance(step, Undone):
            assert given_out.pop() == step.header, "newest first"
        else:
            assert isinstance(step, Opened)
            assert not given_out or given_out[-1].number < step.header.number
            assert step.logs == tuple(logs_in(step.header))
            given_out.append(step.header)


@given(
    moves=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6), st.booleans()), max_size=25),
    confirmations=st.integers(0, 3),
)
def test_what_was_given_out_and_not_taken_back_is_the_chain(
    moves: list[tuple[int, int, bool]], confirmations: int
) -> None:
    """Whatever branches come and go, and whether or not every head is seen."""

    async def run() -> None:
        tree = Tree()
        start = tree.head
        follower = Follower(tree, [start], confirmations=confirmations)
        given_out: list[Header] = []
        before: list[Header] = []
        seen = True
        for salt, (back, forward, is_seen) in enumerate(moves, 1):
            base = tree.head
            for _ in range(min(back, base.number)):
                base = tree.blocks[base.parent]
            # A branch is taken when it is longer. What is seen is seen block by block, from below the old head on.
            tree.add(base, salt)
            for _ in range(forward + back):
                if is_seen:
                    await go(follower, tree.head, given_out)
                tree.grow(1, salt)
            if is_seen:
                await go(follower, tree.head, given_out)
            if seen and back < confirmations:
                assert given_out[: len(before)] == before, "what has enough confirmations stays"
            before, seen = list(given_out), is_seen
        await go(follower, tree.head, given_out)
        wanted = [one for one in tree.ancestors(tree.head)[1:] if one.number <= tree.head.number - confirmations]
        assert given_out == wanted

    asyncio.run(run())


async def test_what_is_far_behind_is_read_in_ranges_and_what_is_near_by_hash() -> None:
    tree = Tree()
    start = tree.head
    follower = Follower(tree, [start], range_size=100)
    tree.grow(1_000)
    given_out: list[Header] = []
    await go(follower, tree.head, given_out)
    assert [one for one in given_out if logs_in(one)] == [one for one in tree.ancestors(tree.head)[1:] if logs_in(one)]
    assert follower.last == tree.head
    assert tree.asked.count("blocks_between") == 10
    assert tree.asked.count("logs_of") == NEAR


async def test_a_reorganisation_while_it_was_away_is_taken_back() -> None:
    tree = Tree()
    start = tree.head
    follower = Follower(tree, [start])
    tree.grow(20)
    given_out: list[Header] = []
    await go(follower, tree.head, given_out)
    base = tree.ancestors(tree.head)[15]
    tree.head = base
    tree.grow(200, salt=1)
    await go(follower, tree.head, given_out)
    canonical = tree.ancestors(tree.head)[1:]
    assert [one for one in given_out if logs_in(one)] == [one for one in canonical if logs_in(one)]


async def test_a_chain_that_has_left_everything_remembered_is_said() -> None:
    tree = Tree()
    other = Tree()
    other.head = other.add(None, salt=9)
    tree.grow(5)
    follower = Follower(tree, tree.ancestors(tree.head)[1:], remembered=3)
    tree.blocks |= other.blocks
    tree.head = other.head
    tree.grow(10, salt=9)
    with pytest.raises(DeepReorganisation, match="does not stand on any of the 3 blocks"):
        await go(follower, tree.head, [])


async def test_logs_of_another_block_are_refused_and_it_goes_on_where_it_was() -> None:
    tree = Tree()
    start = tree.head
    follower = Follower(tree, [start])
    tree.grow(3)
    given_out: list[Header] = []
    right = tree.logs_of

    async def wrong(header: Header) -> Sequence[Log]:
        found = await right(header)
        return [Log(POOL, (), b"", header.number + 1, 0, bytes(32), 0)] if header.number == 2 else found

    tree.logs_of = wrong  # type: ignore[method-assign]
    with pytest.raises(ChainError, match="block 2 came with a log of block 3"):
        await go(follower, tree.head, given_out)
    assert [one.number for one in given_out] == [1]
    tree.logs_of = right  # type: ignore[method-assign]
    await go(follower, tree.head, given_out)
    assert [one.number for one in given_out] == [1, 2, 3]


@pytest.mark.parametrize("number", [0, 3, 10])
async def test_a_head_that_stands_on_nothing_is_no_reorganisation(number: int) -> None:
    """Whoever lies about a head must not end us: the oldest block that is remembered is still there."""
    tree = Tree()
    start = tree.head
    follower = Follower(tree, [start], remembered=8)
    given_out: list[Header] = []
    await go(follower, tree.grow(12), given_out)
    with pytest.raises(ChainError):
        await go(follower, Header(number, b"lie" + bytes(29), b"parent" + bytes(26), 1), given_out)
    await go(follower, tree.grow(1), given_out)
    assert given_out == tree.ancestors(tree.head)[1:]
