"""One stream towards one other event loop, step by step: what is gathered, what waits, what leaves a hole."""

from __future__ import annotations

from typing import Any

from mycelium.core.delivery.frames import Frame
from mycelium.core.envelope import decode_frame
from mycelium.core.message import PayloadCodec, contract_of
from mycelium.testing.conformance import Tick
from mycelium.transport.links import MAX_COALESCED, MAX_GATHERED, LinkSink, StrictSink
from mycelium.transport.streams import Stream, StreamId


class Socket:
    """Stands for the link: takes frames while it has room, and never lets anything leave at once."""

    is_free = False

    def __init__(self) -> None:
        self.room = 0
        self.load = 0
        self.gathered: set[LinkSink] = set()
        self.sent: list[tuple[int, int]] = []

    def send(self, frame: Frame, type_id: int) -> bool:
        if not self.room:
            return False
        self.room -= 1
        envelope = decode_frame(frame.data)
        assert (frame.sequence, frame.count, type_id) == (envelope.sequence, envelope.count, envelope.type_id)
        self.sent.append((envelope.sequence, envelope.count))
        return True

    @property
    def is_full(self) -> bool:
        return not self.room

    def relieve(self) -> None:
        """See :meth:`gather`."""

    def gather(self, sink: LinkSink) -> None:
        """The test flushes by itself."""
        self.gathered.add(sink)


def make(kind: type[LinkSink] = LinkSink) -> tuple[LinkSink, Socket]:
    socket: Any = Socket()
    stream = Stream(StreamId("writer", 1, "test.a"), contract_of(Tick))
    return kind(socket, stream, PayloadCodec(Tick)), socket


async def test_a_hole_ends_the_run_before_it_and_nothing_joins_behind_it() -> None:
    sink, socket = make()
    for sequence in range(1, MAX_GATHERED + 1):
        assert sink.put([Tick("a", sequence)], sequence, 0)
    assert sink.would_wait()
    given_up = sink.offer([Tick("a", 0)], MAX_GATHERED + 1, 0)
    assert given_up is not None
    given_up.withdraw()
    given_up.withdraw()
    assert sink.holes_from(1) == {"publish cancelled": 1}
    socket.room = 1
    assert not sink.flush()
    # There is room for more now, but not in the same run: the next message must be waited with.
    assert sink.would_wait()
    assert not sink.put([Tick("a", 0)], MAX_GATHERED + 2, 0)
    waiting = sink.offer([Tick("a", 0)], MAX_GATHERED + 2, 0)
    assert waiting is not None
    socket.room = 99
    assert sink.flush()
    assert waiting.room.done()
    *before, behind = socket.sent
    assert behind == (MAX_GATHERED + 2, 1)
    assert sum(count for _, count in before) == MAX_GATHERED
    assert max(count for _, count in before) == MAX_COALESCED
    assert sink.holes_from(1) == {}, "the frame behind a hole reveals it"


async def test_a_hole_at_the_end_is_known_until_a_frame_reveals_it() -> None:
    sink, socket = make()
    socket.room = 9
    assert sink.put([Tick("a", 1)], 1, 0)
    assert sink.put([Tick("a", 2**70)], 2, 0)
    assert sink.flush()
    assert socket.sent == [(1, 1)]
    assert sink.holes_from(2) == {"cannot travel": 1}
    assert sink.holes_from(3) == {}
    assert sink.put([Tick("a", 3)], 3, 0)
    assert sink.flush()
    assert socket.sent == [(1, 1), (3, 1)]
    assert sink.holes_from(2) == {}


async def test_a_strict_sink_takes_what_has_left_and_nothing_else() -> None:
    """With an outbox, ``publish`` has returned for nothing that is in memory only."""
    sink, socket = make(StrictSink)
    socket.room = 2
    assert not sink.would_wait()
    assert sink.put([Tick("a", 1)], 1, 0)
    assert sink.offer([Tick("a", 2)], 2, 0) is None
    assert socket.sent == [(1, 1), (2, 1)]
    assert sink.would_wait()
    assert not sink.put([Tick("a", 3)], 3, 0)
    waiting = [sink.offer([Tick("a", sequence)], sequence, 0) for sequence in (3, 4, 5)]
    assert socket.gathered == {sink}
    assert all(place is not None and not place.room.done() for place in waiting)
    assert waiting[1] is not None
    waiting[1].withdraw()
    assert sink.holes_from(1) == {"publish cancelled": 1}
    socket.room = 1
    assert sink.would_wait(), "what waits goes first"
    assert not sink.put([Tick("a", 6)], 6, 0)
    assert not sink.flush()
    assert [place is not None and place.room.done() for place in waiting] == [True, False, False]
    socket.room = 9
    assert sink.flush()
    assert socket.sent == [(1, 1), (2, 1), (3, 1), (5, 1)]
    assert sink.holes_from(1) == {}, "the frame behind a hole reveals it"
    assert sink.put([Tick("a", 2**70)], 6, 0), "it will never leave"
    assert sink.holes_from(1) == {"cannot travel": 1}
