"""The reader, step by step."""

from __future__ import annotations

import pytest

from mycelium.core.delivery.frames import Frame, StreamKey, Watermark
from mycelium.core.delivery.joining import Place, Start, place
from mycelium.core.delivery.reader import Action, Deliver, Expired, ReaderState, Request

A = StreamKey(1, 1, "a")
B = StreamKey(1, 1, "b")


def frame(sequence: int, count: int = 1, stream: StreamKey = A) -> Frame:
    return Frame(stream, sequence, count, b"")


def numbers(actions: list[Action]) -> list[int]:
    """The messages handed over."""
    return [
        number
        for action in actions
        if isinstance(action, Deliver)
        for number in range(action.frame.sequence + action.skip, action.frame.last + 1)
    ]


def requests(actions: list[Action]) -> list[Request]:
    return [action for action in actions if isinstance(action, Request)]


def joined(max_aside: int = 64) -> ReaderState:
    reader = ReaderState(max_aside=max_aside)
    reader.join([Place(A, 1, 0, 1)])
    return reader


def test_live_frames_in_order_are_handed_over_at_once() -> None:
    reader = joined()
    assert numbers(reader.live(frame(1, 3))) == [1, 2, 3]
    assert numbers(reader.live(frame(4))) == [4]
    assert reader.expected(A) == 5


def test_a_repeat_is_dropped_and_a_partial_one_cut() -> None:
    reader = joined()
    reader.live(frame(1, 3))
    assert reader.live(frame(1, 3)) == []
    assert numbers(reader.live(frame(2, 4))) == [4, 5]


def test_a_hole_is_asked_for_at_once_and_once() -> None:
    reader = joined()
    assert reader.live(frame(3)) == [Request(A, 1, 64)]
    assert reader.live(frame(4)) == []
    answer = reader.answer(A, 1, [frame(1), frame(2)], Watermark(A, 1, 4))
    assert numbers(answer) == [1, 2, 3, 4]
    assert requests(answer) == []


def test_what_was_thrown_away_is_read_from_the_store() -> None:
    reader = joined(max_aside=2)
    for sequence in range(2, 9):
        reader.live(frame(sequence))
    assert reader.put_aside == 2
    answer = reader.answer(A, 1, [frame(1)], Watermark(A, 1, 8))
    assert numbers(answer) == [1, 2, 3]
    assert requests(answer) == [Request(A, 4, 64)]
    assert numbers(reader.answer(A, 4, [frame(n) for n in range(4, 9)], Watermark(A, 1, 8))) == [4, 5, 6, 7, 8]


def test_a_watermark_shows_a_lost_tail() -> None:
    reader = joined()
    reader.live(frame(1))
    assert reader.watermarks([Watermark(A, 1, 1)]) == []
    assert reader.watermarks([Watermark(A, 1, 3)]) == [Request(A, 2, 64)]


def test_what_the_store_no_longer_has_is_named_and_passed_over() -> None:
    reader = joined()
    assert reader.live(frame(9)) == [Request(A, 1, 64)]
    answer = reader.answer(A, 1, [frame(6), frame(7), frame(8)], Watermark(A, 6, 9))
    assert answer[0] == Expired(A, 1, 5)
    assert numbers(answer) == [6, 7, 8, 9]


def test_a_store_that_keeps_nothing_of_a_stream_any_more() -> None:
    reader = joined()
    reader.watermarks([Watermark(A, 1, 5)])
    assert reader.answer(A, 1, [], Watermark(A, 99, 5)) == [Expired(A, 1, 5)]
    assert reader.expected(A) == 6


def test_an_answer_without_progress_is_not_followed_by_the_same_question() -> None:
    reader = joined()
    reader.live(frame(5))
    assert reader.answer(A, 1, [], Watermark(A, 1, 0)) == []
    assert reader.ask_again() == [Request(A, 1, 64)]


@pytest.mark.parametrize(("start", "expected"), [(Start.NEW, [7, 8]), (Start.EARLIEST, [4, 5, 6, 7, 8])])
def test_where_a_reader_begins(start: Start, expected: list[int]) -> None:
    reader = ReaderState()
    actions = reader.join([place(Watermark(A, 4, 6), start, cursor=None, returns=False)])
    if start is Start.EARLIEST:
        assert actions == [Request(A, 4, 64)]
        actions += reader.answer(A, 4, [frame(4, 3)], Watermark(A, 4, 6))
    actions += reader.live(frame(7, 2))
    assert numbers(actions) == expected


def test_a_cursor_is_gone_on_from_and_a_stream_it_does_not_have_began_since() -> None:
    reader = ReaderState()
    known, begun_since = Watermark(A, 1, 6), Watermark(B, 3, 5)
    places = [
        place(known, Start.NEW, cursor=4, returns=True),
        place(begun_since, Start.NEW, cursor=None, returns=True),
    ]
    assert set(reader.join(places)) == {Request(A, 5, 64), Request(B, 1, 64)}
    answer = reader.answer(B, 1, [frame(3, 3, B)], Watermark(B, 3, 5))
    assert answer[0] == Expired(B, 1, 2)
    assert numbers(answer) == [3, 4, 5]


def test_frames_before_joining_wait_for_it() -> None:
    reader = ReaderState(max_aside=2)
    for sequence in (5, 6, 7, 8):
        assert reader.live(frame(sequence)) == []
    actions = reader.join([Place(A, 1, 4, 5)])
    assert numbers(actions) == [5, 6]
    assert requests(actions) == [Request(A, 7, 64)]


def test_a_stream_that_begins_after_joining_begins_with_1() -> None:
    reader = joined()
    assert reader.live(frame(2, 1, B)) == [Request(B, 1, 64)]


def test_answers_to_unknown_streams_and_early_watermarks_mean_nothing() -> None:
    reader = ReaderState()
    assert reader.watermarks([Watermark(A, 1, 5)]) == []
    assert reader.answer(A, 1, [frame(1)], Watermark(A, 1, 1)) == []
    assert reader.expected(A) == 0
