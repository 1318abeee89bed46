"""A tap at real stores in this event loop: what it sees, what it misses, and that nobody notices it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from mycelium.core.delivery.frames import Frame
from mycelium.core.delivery.joining import Start
from mycelium.journal import MemoryJournal
from mycelium.transport import tap as tap_module
from mycelium.transport.store import Store
from mycelium.transport.tap import Seen, Tap
from tests.unit.transport.stores import SECONDS, TYPE_ID, address, entry, frame, open_store, stream, until

WISHES = [(TYPE_ID, ("test.>",))]

Number = tuple[str, int]
"""Topic and sequence of a message."""


@contextlib.asynccontextmanager
async def tapping(*stores: Store, max_messages: int = 10_000, max_bytes: int = 1 << 20) -> AsyncIterator[Tap]:
    def wanted(type_id: int, topic: str) -> bool:
        return type_id == TYPE_ID and topic.startswith("test.")

    addresses = [store.address for store in stores]
    async with Tap(addresses, [b""], wanted, names=("writer",), max_messages=max_messages, max_bytes=max_bytes) as tap:
        assert await tap.silent(SECONDS) == []
        yield tap


def numbers(batch: Sequence[Seen]) -> list[Number]:
    return [
        (seen.envelope.topic, seen.envelope.sequence + place)
        for seen in batch
        for place in range(seen.skip, seen.envelope.count)
    ]


async def read(tap: Tap, count: int) -> list[Number]:
    """So many messages, or a few more."""
    found: list[Number] = []
    async with asyncio.timeout(SECONDS):
        async for batch in tap.batches():
            found += numbers(batch)
            if len(found) >= count:
                return found
    raise AssertionError


def publish(store: Store, *frames: Frame, type_id: int = TYPE_ID) -> None:
    store.keep(frames, [type_id] * len(frames))


async def test_it_sees_what_is_new_and_nothing_else() -> None:
    async with open_store() as store:
        publish(store, frame(1))
        async with tapping(store) as tap:
            publish(store, frame(2, count=2), frame(1, of=stream("other.a")))
            publish(store, frame(1, of=stream("test.b"), type_id=9), type_id=9)
            store.pass_on(b"test.a\0rubbish")
            publish(store, frame(4))
            assert await read(tap, 3) == [("test.a", 2), ("test.a", 3), ("test.a", 4)]
            assert (tap.missed, tap.refused) == (0, 1)
            assert tap.source_name(stream().source) == "writer"
            assert tap.source_name(5) == "0000000000000005"


async def test_nobody_waits_for_it() -> None:
    """It is no reader: not before, not after it has asked where to begin."""
    async with open_store() as store:
        publish(store, *(frame(number) for number in range(1, 50)))
        async with tapping(store) as tap:
            assert await tap.begin(WISHES, Start.EARLIEST, 0, SECONDS) == []
            await until(lambda: not store.clerk.readers())
            assert await store.readers_done(0.1)
            assert len(await read(tap, 49)) == 49


async def test_what_it_has_no_time_for_it_drops_and_counts() -> None:
    async with open_store() as store, tapping(store, max_messages=10) as tap:
        for first in range(1, 400, 4):
            publish(store, frame(first, count=4))
        await until(lambda: tap._reached.get(stream()) == 400)
        found = await read(tap, 8)
        assert found == [("test.a", number) for number in range(393, 401)]
        assert tap.missed == 392


async def test_bytes_are_bounded_too_and_one_frame_always_has_room() -> None:
    async with open_store() as store, tapping(store, max_bytes=1) as tap:
        publish(store, frame(1, count=3), frame(4, count=3))
        await until(lambda: tap._reached.get(stream()) == 6)
        assert await read(tap, 3) == [("test.a", 4), ("test.a", 5), ("test.a", 6)]
        assert tap.missed == 3


async def test_a_hole_is_counted_and_a_repeat_is_not_shown() -> None:
    async with open_store() as store, tapping(store) as tap:
        for one in (frame(1), frame(5), frame(5), frame(4, count=3), frame(2)):
            store.pass_on(one.data)
        store.pass_on(frame(9).data)
        assert await read(tap, 4) == [("test.a", number) for number in (1, 5, 6, 9)]
        assert tap.missed == 3 + 2


@pytest.mark.parametrize(
    ("start", "time_ns", "expected"),
    [(Start.EARLIEST, 0, [1, 2, 3, 4, 5, 6]), (Start.TIME, 3, [3, 4, 5, 6]), (Start.LAST_VALUE, 0, [4, 5, 6])],
)
async def test_it_begins_with_what_is_kept(start: Start, time_ns: int, expected: list[int]) -> None:
    journal = MemoryJournal()
    journal.append([entry(number) for number in range(1, 5)])
    async with open_store(journal) as store, tapping(store) as tap:
        assert await tap.begin(WISHES, start, time_ns, SECONDS) == []
        publish(store, frame(5), frame(6))
        assert await read(tap, len(expected)) == [("test.a", number) for number in expected]
        assert tap.missed == 0


async def test_what_is_kept_comes_in_the_order_in_which_it_was_published() -> None:
    """Streams of two stores, one after another at each."""
    async with open_store() as one, open_store(at=address()) as other:
        for store, names in ((one, "ab"), (other, "cd")):
            for name in names:
                for number in range(1, 200):
                    made = frame(number, of=stream(f"test.{name}"))
                    publish(store, _published_at(made, number))
        async with tapping(one, other) as tap:
            assert await tap.begin(WISHES, Start.EARLIEST, 0, SECONDS) == []
            found = await read(tap, 4 * 199)
            assert [number for _, number in found] == sorted(number for _, number in found)
            assert len(set(found)) == len(found) == 4 * 199


def _published_at(made: Frame, time: int) -> Frame:
    # The time is no part of what the checksum is about: 8 bytes behind topic, magic, ids and sequence.
    at = made.data.find(b"\0") + 1 + 32
    return Frame(
        made.stream, made.sequence, made.count, made.data[:at] + time.to_bytes(8, "little") + made.data[at + 8 :]
    )


async def test_between_what_is_kept_and_what_is_new_there_is_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """More comes while it reads than it can put aside."""
    monkeypatch.setattr(tap_module, "MAX_CREDITS", 2)
    monkeypatch.setattr(tap_module, "MAX_BATCH", 4)
    async with open_store() as store:
        publish(store, *(frame(number) for number in range(1, 40)))
        async with tapping(store, max_messages=8) as tap:
            assert await tap.begin(WISHES, Start.EARLIEST, 0, SECONDS) == []
            found: list[Number] = []
            following, late = 40, 1
            async with asyncio.timeout(SECONDS):
                async for batch in tap.batches():
                    found += numbers(batch)
                    if following < 140:
                        publish(store, *(frame(number) for number in range(following, following + 5)))
                        publish(store, frame(late, of=stream("test.late")))
                        following, late = following + 5, late + 1
                        await asyncio.sleep(0.005)
                    if len(found) >= 139 + 20:
                        break
            assert tap.missed == 0
            assert [number for topic, number in found if topic == "test.a"] == list(range(1, 140))
            assert [number for topic, number in found if topic == "test.late"] == list(range(1, 21))


async def test_what_is_not_kept_any_more_while_it_reads() -> None:
    """It goes on behind it, and counts."""
    journal = MemoryJournal()
    async with open_store(journal) as store:
        publish(store, *(frame(number) for number in range(1, 1_000)))
        async with tapping(store) as tap:
            assert await tap.begin(WISHES, Start.EARLIEST, 0, SECONDS) == []
            found: list[Number] = []
            async with asyncio.timeout(SECONDS):
                async for batch in tap.batches():
                    if not found:
                        journal._retention = journal._retention.__class__(max_bytes=5_000)
                        while journal.trim(1, limit=100_000).more:
                            pass
                    found += numbers(batch)
                    if found[-1] == ("test.a", 999):
                        break
            assert tap.missed == 999 - len(found) > 0


async def test_a_store_that_is_not_there() -> None:
    async with open_store() as store:
        nobody = address()
        async with Tap([store.address, nobody], [b""], lambda _type_id, _topic: True) as tap:
            assert await tap.silent(0.5) == [nobody]
            assert await tap.begin(WISHES, Start.EARLIEST, 0, 0.5) == []


async def test_it_waits_for_a_store_that_comes_back() -> None:
    at = address()
    async with open_store(at=at) as store:
        tap = Tap([at], [b""], lambda _type_id, _topic: True)
        assert await tap.silent(SECONDS) == []
        publish(store, frame(1))
        assert await read(tap, 1) == [("test.a", 1)]
    async with tap, open_store(at=at) as store:
        await until(lambda: b"" in store._audience)
        publish(store, frame(1), frame(2))
        assert await read(tap, 1) == [("test.a", 2)]
