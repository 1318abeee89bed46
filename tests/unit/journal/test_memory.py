"""What the ring in memory does beyond the model: it stays small and drops its oldest."""

from __future__ import annotations

import pytest

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.errors import ClosedError
from mycelium.core.topics import Pattern
from mycelium.journal import Cause, JournalFullError, MemoryJournal, Retention, TopicRetention
from tests.unit.journal.frames import ALL, TOPICS, entry, everything


def test_bounded_by_bytes() -> None:
    one = entry(1)
    journal = MemoryJournal(max_bytes=len(one.frame) * 3)
    for sequence in range(1, 11):
        journal.append([entry(sequence)])
    assert [record.position for record in everything(journal)] == [8, 9, 10]
    assert journal.statistics().frame_bytes == len(one.frame) * 3
    trimmed = journal.trim(0)
    assert (trimmed.frames, trimmed.messages) == (7, {Cause.SIZE: 7})
    assert journal.trim(0).frames == 0
    assert journal.statistics().removed == {Cause.SIZE: 7}


def test_a_batch_larger_than_the_ring() -> None:
    journal = MemoryJournal(max_frames=2)
    journal.append([entry(1), entry(2)])
    with pytest.raises(JournalFullError, match="2 frames"):
        journal.append([entry(3), entry(4), entry(5)])
    assert len(everything(journal)) == 2
    assert journal.statistics().refused_full == 1


def test_frames_removed_from_the_middle_take_no_room() -> None:
    rule = TopicRetention(Pattern.parse(TOPICS[0]), max_bytes=500)
    journal = MemoryJournal(retention=Retention(topics=(rule,)))
    journal.append([entry(1, topic=TOPICS[1])])
    for sequence in range(1, 2_000):
        journal.append([entry(sequence)])
        journal.trim(0)
        kept = everything(journal)
        assert kept[0].position == 1
        assert kept[-1].position == sequence + 1
    assert len(journal._order.items) < 200
    assert len(journal._shelves[2].items) < 200
    assert journal.position_at(0) == 1


def test_streams_are_forgotten() -> None:
    journal = MemoryJournal(max_frames=5, retention=Retention(keep_streams=2))
    for number in range(50):
        journal.append([entry(1, epoch=number)])
    assert len(journal.streams()) == 7
    assert [journal.last_sequence(StreamKey(1, epoch, TOPICS[0])) for epoch in (42, 43)] == [0, 1]
    assert len(journal._shelves) == 7


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="max_frames 0"):
        MemoryJournal(max_frames=0)


def test_closed() -> None:
    journal = MemoryJournal()
    journal.close()
    journal.close()
    with pytest.raises(ClosedError):
        journal.read(0, limit=1, max_bytes=ALL)
    with pytest.raises(ClosedError):
        journal.append([entry(1)])
    assert journal.statistics().frames == 0
