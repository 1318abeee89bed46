"""A reader at a store that says what it should not, or loses what it should say."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mycelium.bus.bus import Bus
from mycelium.bus.subscriber import Subscriber
from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import Envelope, encode_frame
from mycelium.core.ledger import Cause
from mycelium.core.message import PayloadCodec
from mycelium.journal import Entry
from mycelium.testing.conformance import Tick
from mycelium.transport.addresses import Fabric
from mycelium.transport.exchange import Network
from mycelium.transport.store import Store
from tests.unit.transport.stores import TYPE_ID, address, logged, open_store, stream, until

KEY = stream()
_codec = PayloadCodec(Tick)


def ticks(sequence: int, *numbers: int, of: StreamKey = KEY) -> Frame:
    """A frame of real messages."""
    payload = _codec.encode([Tick(of.topic.removeprefix("test."), number) for number in numbers])
    data = encode_frame(Envelope(of.topic, TYPE_ID, len(numbers), of.source, of.epoch, sequence, 1, payload))
    return Frame(of, sequence, len(numbers), data)


@dataclass
class Reading:
    """A reader and the store that it reads from."""

    store: Store
    bus: Bus
    ticks: Subscriber[Tick]

    async def read(self, number: int) -> list[int]:
        return [(await anext(self.ticks)).number for _ in range(number)]

    def refused(self) -> dict[str, int]:
        return dict(self.bus.ledger().frames_refused)


@contextlib.asynccontextmanager
async def reading(**options: object) -> AsyncIterator[Reading]:
    async with open_store() as store:
        network = Network(fabric=Fabric(own=address(), stores=(store.address,)))
        async with Bus("reader", network=network) as bus, bus.subscriber(Tick, **options) as subscriber:  # type: ignore[arg-type]
            yield Reading(store, bus, subscriber)
        assert bus.network.ledger().balanced


async def test_what_is_no_frame_no_tick_and_no_answer_is_counted() -> None:
    async with reading() as at:
        for junk in (b"test.a\0junk", b"_sys.tick\0junk", b"_sys.probe.1\0", b"_sys.other\0junk"):
            at.store._frames.send(junk)
        (peer,) = at.store.clerk._clients
        assert at.store._control.send_to(peer, b"junk")
        at.store.keep((ticks(1, 5),), (TYPE_ID,))
        assert await at.read(1) == [5]
        await until(lambda: at.refused() == {"frame refused": 1, "tick refused": 1, "answer refused": 1})


async def test_a_payload_of_another_shape_is_dropped_and_counted() -> None:
    async with reading() as at, contextlib.AsyncExitStack() as stack:
        stack.enter_context(logged())
        bad = Envelope(KEY.topic, TYPE_ID, 3, KEY.source, KEY.epoch, 2, 1, b"\x93\x01\x02\x03")
        at.store.keep((ticks(1, 1), Frame(KEY, 2, 3, encode_frame(bad)), ticks(5, 5)), (TYPE_ID,) * 3)
        assert await at.read(2) == [1, 5]
        (route,) = at.bus.ledger().routes
        assert dict(route.dropped) == {Cause.DECODE: 3}


async def test_the_last_frame_of_a_stream_is_found_with_the_ticks() -> None:
    async with reading() as at:
        at.store.keep((ticks(1, 1),), (TYPE_ID,))
        assert await at.read(1) == [1]
        # It is kept, and on the way to the reader it is lost.
        lost = ticks(2, 2)
        at.store.journal.append([Entry(KEY, 2, 1, 0, lost.data)])
        at.store._dirty[KEY] = None
        assert await at.read(1) == [2]
        # The tick that says so is lost, too: the next one has a number that shows it.
        at.store.journal.append([Entry(KEY, 3, 1, 0, ticks(3, 3).data)])
        at.store._ticks[""] += 1
        assert await at.read(1) == [3]


async def test_frames_that_come_twice_or_out_of_order_are_put_in_order() -> None:
    async with reading() as at:
        frames = [ticks(1, 1, 2), ticks(3, 3), ticks(4, 4, 5), ticks(6, 6)]
        at.store.journal.append([Entry(KEY, frame.sequence, frame.count, 0, frame.data) for frame in frames])
        at.store.clerk.begun(KEY, TYPE_ID)
        for n in (2, 2, 1, 3, 0, 1, 3):
            at.store._frames.send(frames[n].data)
        assert await at.read(6) == [1, 2, 3, 4, 5, 6]
        (route,) = at.bus.ledger().routes
        assert (route.published, route.delivered) == (6, 6)


async def test_a_store_that_falls_silent_does_not_hold_up_a_reader_that_leaves() -> None:
    async with reading() as at:
        at.store.keep((ticks(1, 1),), (TYPE_ID,))
        assert await at.read(1) == [1]
        await at.store.aclose()
        await at.ticks.detach()
        assert [tick async for tick in at.ticks] == []
