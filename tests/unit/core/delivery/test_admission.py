"""Each row of the door's table."""

from __future__ import annotations

import pytest

from mycelium.core.delivery import admission as admissions
from mycelium.core.delivery.admission import Admission, Entrance, Judgement, Missing
from mycelium.core.delivery.frames import Frame, StreamKey, Watermark

KNOWN = StreamKey(1, 5, "a")
FORMER = StreamKey(1, 4, "a")
LATER = StreamKey(1, 6, "a")
OTHER = StreamKey(2, 1, "a")


@pytest.mark.parametrize(
    ("stream", "sequence", "count", "verdict"),
    [
        (KNOWN, 11, 2, Entrance.ACCEPT),
        (KNOWN, 9, 2, Entrance.DUPLICATE),
        (KNOWN, 13, 1, Missing(11)),
        (KNOWN, 10, 2, Entrance.OVERLAP),
        (LATER, 1, 3, Entrance.ACCEPT),
        (LATER, 2, 1, Entrance.UNKNOWN),
        (OTHER, 1, 1, Entrance.ACCEPT),
        (FORMER, 1, 1, Entrance.STALE),
    ],
)
def test_each_row(stream: StreamKey, sequence: int, count: int, verdict: Judgement) -> None:
    admission = Admission([Watermark(KNOWN, 3, 10)])
    assert admission.judge(Frame(stream, sequence, count, b"")) == verdict


def test_a_base_lets_a_stream_begin_later_and_nowhere_else() -> None:
    admission = Admission()
    admission.announce(OTHER, 1, 7)
    assert admission.judge(Frame(OTHER, 9, 1, b"")) == Missing(7)
    assert admission.judge(Frame(OTHER, 1, 1, b"")) == Missing(7)
    begin = Frame(OTHER, 7, 2, b"")
    assert admission.judge(begin) is Entrance.ACCEPT
    admission.accepted(begin)
    assert admission.last(OTHER) == 8
    admission.announce(OTHER, 1, 3)
    assert admission.judge(Frame(OTHER, 9, 1, b"")) is Entrance.ACCEPT


def test_a_hole_is_let_in_as_the_answer_to_what_is_wanted_next() -> None:
    admission = Admission([Watermark(OTHER, 1, 8)])
    for wanted, base in ((1, 12), (7, 12), (10, 12), (9, 9), (9, 5)):
        admission.announce(OTHER, wanted, base)
        assert admission.judge(Frame(OTHER, 12, 1, b"")) == Missing(9)
    admission.announce(OTHER, 9, 12)
    assert admission.judge(Frame(OTHER, 12, 1, b"")) is Entrance.ACCEPT
    assert admission.judge(Frame(OTHER, 9, 1, b"")) is Entrance.ACCEPT


def test_what_was_said_to_a_former_store_does_not_count() -> None:
    admission = Admission()
    # The former one had 1 to 4, and was told that 5 to 9 will never come. This one has nothing.
    admission.announce(OTHER, 5, 10)
    assert admission.judge(Frame(OTHER, 10, 1, b"")) is Entrance.UNKNOWN
    assert admission.judge(Frame(OTHER, 1, 1, b"")) is Entrance.ACCEPT


def test_a_base_never_goes_back() -> None:
    admission = Admission()
    admission.announce(OTHER, 1, 7)
    admission.announce(OTHER, 1, 4)
    assert admission.judge(Frame(OTHER, 4, 1, b"")) == Missing(7)
    admission.announce(OTHER, 7, 9)
    assert admission.judge(Frame(OTHER, 9, 1, b"")) is Entrance.ACCEPT


def test_judging_changes_nothing() -> None:
    admission = Admission()
    for _ in range(2):
        assert admission.judge(Frame(OTHER, 1, 1, b"")) is Entrance.ACCEPT
    assert admission.last(OTHER) == 0


def test_a_former_incarnation_is_stale_when_a_newer_one_has_begun() -> None:
    admission = Admission([Watermark(FORMER, 1, 3)])
    assert admission.judge(Frame(FORMER, 4, 1, b"")) is Entrance.ACCEPT
    admission.accepted(Frame(KNOWN, 1, 1, b""))
    assert admission.judge(Frame(FORMER, 4, 1, b"")) is Entrance.STALE
    assert admission.judge(Frame(FORMER, 3, 1, b"")) is Entrance.DUPLICATE


def test_a_forgotten_stream_begins_anew() -> None:
    admission = Admission([Watermark(KNOWN, 1, 3)])
    admission.forget([KNOWN, OTHER])
    assert admission.judge(Frame(KNOWN, 4, 1, b"")) is Entrance.UNKNOWN


def test_bases_of_streams_that_never_begin_do_not_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "MAX_BASES", 10)
    admission = Admission()
    for epoch in range(1, 1_000):
        admission.announce(StreamKey(1, epoch, "a"), 1, 5)
        assert len(admission._bases) <= 10
    # Whoever was forgotten is asked for it again, and can say it again.
    assert admission.judge(Frame(StreamKey(1, 1, "a"), 5, 1, b"")) == Entrance.UNKNOWN
    admission.announce(StreamKey(1, 1, "a"), 1, 5)
    assert admission.judge(Frame(StreamKey(1, 1, "a"), 5, 1, b"")) == Entrance.ACCEPT
