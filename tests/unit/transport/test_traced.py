"""What tracing has to do with streams, sinks and repairs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence

from mycelium.bus.bus import Bus
from mycelium.core.delivery.frames import Frame
from mycelium.core.envelope import DEFAULT_MAX_FRAME, HEADER_BYTES, Envelope, decode_frame
from mycelium.core.message import PayloadCodec, contract_of
from mycelium.core.trace import Mark, Published, TraceContext, marks_of
from mycelium.testing.conformance import Tick
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.exchange import Network
from mycelium.transport.links import Link, LinkSink
from mycelium.transport.streams import Stream, StreamId


class Everything:
    """Traces every message, and notes what was read back."""

    def __init__(self) -> None:
        self.read_back: list[tuple[Sequence[Envelope], int, int, str]] = []

    @property
    def inside(self) -> Callable[[], object | None]:
        return lambda: None

    def gap(self, _topic: str) -> int:
        return 1

    def published(self, _published: Published, due: Sequence[int]) -> list[Mark]:
        return [Mark(sequence, sequence, TraceContext(sequence, 1)) for sequence in due]

    def repaired(self, envelopes: Sequence[Envelope], began: int, reader: str) -> None:
        self.read_back.append((envelopes, began, time.time_ns(), reader))


class Sent(Link):
    """Keeps the frames that leave."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Envelope] = []

    def hand_over(self, frame: Frame, type_id: int) -> bool:
        self.frames.append(decode_frame(frame.data))
        return True

    def close(self) -> None:
        pass


async def test_marks_leave_with_their_messages_and_none_stays_behind() -> None:
    link = Sent()
    sink = LinkSink(link, Stream(StreamId("a", 1, "test.a"), contract_of(Tick)), PayloadCodec(Tick))
    for number in range(1, 10_001):
        if number % 100 == 0:
            sink.mark([Mark(number, number, TraceContext(number, 1))])
        sink.put_one(Tick("a", number), number, 1)
    await link.flushed()
    assert [mark.first for frame in link.frames for mark in marks_of(frame)] == list(range(100, 10_001, 100))
    assert sink._marks is not None
    assert len(sink._marks) == 0


async def test_a_message_too_large_for_its_trace_travels_without_it() -> None:
    link = Sent()
    sink = LinkSink(link, Stream(StreamId("a", 1, "test.a"), contract_of(Tick)), PayloadCodec(Tick))
    room = DEFAULT_MAX_FRAME - len("test.a") - 1 - HEADER_BYTES - 6 - len(PayloadCodec(Tick).encode([Tick("", 1)]))
    sink.mark([Mark(1, 1, TraceContext(1, 1))])
    sink.put_one(Tick("x" * (room - 4), 1), 1, 1)
    await link.flushed()
    (frame,) = link.frames
    assert (frame.sequence, marks_of(frame)) == (1, [])


async def test_what_nobody_reads_is_still_counted_as_unread() -> None:
    network = Network(tracing=Everything())
    async with Bus("a", network=network) as bus, bus.publisher(Tick) as publisher:
        await publisher.publish(Tick("a", 0))
        async with bus.subscriber(Tick) as subscriber:
            await publisher.publish(Tick("a", 1))
            assert (await anext(subscriber)).number == 1
        await publisher.publish(Tick("a", 2))
        assert publisher.statistics().unread == 2


async def test_what_comes_from_a_journal_is_told() -> None:
    tracing = Everything()
    with tempfile.TemporaryDirectory(prefix="my-") as directory:
        writing, reading = (
            StoreAddress(name, f"ipc://{directory}/{name}.frames", f"ipc://{directory}/{name}.control")
            for name in ("writing", "reading")
        )
        first = Network(fabric=Fabric(own=writing, stores=(reading,)), tracing=tracing)
        second = Network(fabric=Fabric(own=reading, stores=(writing,)), tracing=tracing)
        async with Bus("writer", network=first) as writer, Bus("reader", network=second) as reader:
            async with writer.publisher(Tick) as publisher:
                await publisher.publish_many([Tick("a", number) for number in range(50)])
            found = []
            async with reader.subscriber(Tick, start="earliest", name="late") as subscriber:
                async for delivery in subscriber.deliveries():
                    found.append((delivery.message.number, delivery.trace))
                    if len(found) == 50:
                        break
    assert found == [(number, TraceContext(number + 1, 1)) for number in range(50)]
    assert {reader for *_, reader in tracing.read_back} == {"late"}, "it can only be read back"
    envelopes = [envelope for one in tracing.read_back for envelope in one[0]]
    assert [mark.first for envelope in envelopes for mark in marks_of(envelope)] == list(range(1, 51))
    for _, began, ended, _ in tracing.read_back:
        assert envelopes[0].published <= began <= ended
