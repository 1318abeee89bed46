"""What is done with frames that overlap."""

from __future__ import annotations

import msgspec

from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import Envelope, decode_frame, encode_frame
from mycelium.transport.gathering import cut_before

STREAM = StreamKey(1, 2, "a.b")


def frame(payload: bytes, count: int) -> Frame:
    return Frame(STREAM, 5, count, encode_frame(Envelope("a.b", 900, count, 1, 2, 5, 7, payload)))


def test_a_frame_is_cut_at_a_message() -> None:
    cut = cut_before(frame(msgspec.msgpack.encode([[1], [2], [3]]), 3), 6)
    assert cut is not None
    assert (cut.stream, cut.sequence, cut.count) == (STREAM, 6, 2)
    envelope = decode_frame(cut.data)
    assert (envelope.sequence, envelope.count) == (6, 2)
    assert msgspec.msgpack.decode(envelope.payload) == [[2], [3]]


def test_what_cannot_be_taken_apart_is_not_cut() -> None:
    assert cut_before(frame(b"\xc1", 3), 6) is None
    assert cut_before(frame(msgspec.msgpack.encode([[1]]), 3), 6) is None
