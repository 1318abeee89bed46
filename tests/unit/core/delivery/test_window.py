"""The publisher's window: room, confirms, and going back."""

from __future__ import annotations

import pytest

from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.delivery.window import PublisherWindow

A, B = StreamKey(1, 1, "a"), StreamKey(1, 1, "b")


def filled() -> PublisherWindow:
    window = PublisherWindow()
    for frame in (Frame(A, 1, 2, b"12"), Frame(B, 1, 1, b"1"), Frame(A, 3, 1, b"3"), Frame(A, 4, 3, b"456")):
        window.add(frame)
    return window


@pytest.mark.parametrize(("messages", "size"), [(3, 1000), (1000, 3)])
def test_room_is_counted_in_messages_and_bytes(messages: int, size: int) -> None:
    window = PublisherWindow(messages, size)
    window.add(Frame(A, 1, 2, b"xx"))
    room = [window.has_room]
    window.add(Frame(A, 3, 1, b"x"))
    room.append(window.has_room)
    window.confirm(A, 3)
    room.append(window.has_room)
    assert room == [True, False, True]
    assert (window.messages, window.bytes, window.is_empty) == (0, 0, True)


def test_confirms_are_cumulative_and_release_whole_frames() -> None:
    window = filled()
    assert window.confirm(A, 3) == 3
    assert (window.messages, window.bytes) == (4, 4)
    assert window.confirm(A, 5) == 0, "half a frame is not confirmed"
    assert window.base(A) == 4
    assert window.confirm(A, 6) == 3
    assert window.base(A) is None
    assert window.confirm(A, 99) == 0
    assert not window.is_empty
    assert window.confirm(B, 1) == 1
    assert window.is_empty


def test_going_back_sends_everything_from_there() -> None:
    window = filled()
    assert [frame.sequence for frame in window.again(A, 3)] == [3, 4]
    assert [frame.sequence for frame in window.again(A, 2)] == [1, 3, 4]
    assert list(window.again(StreamKey(9, 9, "x"))) == []
    assert [(frame.stream, frame.sequence) for frame in window.all_again()] == [(A, 1), (A, 3), (A, 4), (B, 1)]
    assert window.bases() == {A: 1, B: 1}


def test_a_confirm_while_going_back_does_no_harm() -> None:
    window = filled()
    sent = []
    for frame in window.all_again():
        sent.append(frame.sequence)
        window.confirm(A, 6)
    assert sent == [1, 3, 4, 1]


def test_a_cancelled_publish_leaves_a_hole_that_the_base_tells() -> None:
    window = filled()
    last = max(frame.last for frame in window.again(A))
    window.add(Frame(A, last + 5, 2, b""))
    assert window.base(A, last + 1) == last + 5
    assert window.base(A, 2) == 2
    assert window.base(A, last + 7) is None
    with pytest.raises(AssertionError, match="goes on"):
        window.add(Frame(A, last + 6, 1, b""))
