"""What the store in LMDB does beyond the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.errors import ClosedError
from mycelium.journal import Durability, Entry, JournalFullError, LmdbJournal, MemoryJournal, Retention
from mycelium.journal.records import IndexEntry, unpack_index
from mycelium.journal.salvage import check
from tests.unit.journal.frames import ALL, TOPICS, entry

MS = 1_000_000
A = StreamKey(1, 1, "a")
STREAM = StreamKey(1, 7, TOPICS[0])


def test_group_confirms_what_was_synced(tmp_path: Path) -> None:
    journal = LmdbJournal(tmp_path, durability=Durability.GROUP, sync_interval_ns=10 * MS)
    assert journal.append([entry(1)]) == 1
    assert journal.synced_position == 0
    assert journal.sync_if_due(20 * MS)
    assert journal.synced_position == 1
    journal.append([entry(2)])
    assert not journal.sync_if_due(29 * MS)
    assert (journal.synced_position, journal.last_position) == (1, 2)
    assert journal.sync_if_due(30 * MS)
    assert journal.synced_position == 2
    assert not journal.sync_if_due(60 * MS)  # nothing new
    journal.append([entry(3)])
    journal.sync()
    assert journal.synced_position == 3
    journal.close()


@pytest.mark.parametrize("durability", [Durability.PROCESS, Durability.FRAME])
def test_the_others_confirm_at_once(tmp_path: Path, durability: Durability) -> None:
    journal = LmdbJournal(tmp_path, durability=durability)
    journal.append([entry(1)])
    assert journal.synced_position == 1
    assert not journal.sync_if_due(1 << 60)
    journal.close()


def test_frames_are_copied_out(tmp_path: Path) -> None:
    journal = LmdbJournal(tmp_path)
    journal.append([entry(1)])
    (record,) = journal.read(0, limit=1, max_bytes=ALL)
    assert type(record.frame) is bytes
    journal.close()
    assert record.frame == entry(1).frame


def test_refused_values(tmp_path: Path) -> None:
    journals = (LmdbJournal(tmp_path), MemoryJournal())
    for journal in journals:
        for bad in (Entry(A, 0, 1, 0, b""), Entry(A, 1, 0, 0, b"")):
            with pytest.raises(ValueError, match="on a"):
                journal.append([bad])
        for name in ("", "é" * 65, "a\0b"):
            for call in (journal.load_accounts, journal.knows_reader, journal.forget_reader):
                with pytest.raises(ValueError, match="reader"):
                    call(name)
            with pytest.raises(ValueError, match="1 to 128 bytes"):
                journal.store_accounts(name, {})
        journal.append([entry(1)])
        with pytest.raises(ValueError, match="stream a of source 0x1, epoch 1 is not known"):
            journal.store_accounts("reader", {STREAM: b"", A: b""})
        with pytest.raises(ValueError, match=f"{TOPICS[0]}: 1025 bytes, at most 1024"):
            journal.store_accounts("reader", {STREAM: bytes(1_025)})
        assert (journal.last_position, journal.readers()) == (1, [])
        journal.store_accounts("é" * 64, {STREAM: bytes(1_024)})
        assert journal.load_accounts("é" * 64) == {STREAM: bytes(1_024)}
        journal.close()


def until_full(step: Callable[[int], object]) -> int:
    """The number from 1 on at which there was no room."""
    for number in range(1, 10_000):
        try:
            step(number)
        except JournalFullError as error:
            assert "max_bytes" in error.limit
            return number
    raise AssertionError("there is more room than there should be")


def test_accounts_leave_room_to_make_room(tmp_path: Path) -> None:
    """Also a store that readers have filled beyond its maximum can be trimmed."""
    journal = LmdbJournal(tmp_path, max_bytes=1 << 20, retention=Retention(max_bytes=100_000))
    until_full(lambda number: journal.append([entry(number, size=3_000)]))
    number = until_full(lambda number: journal.store_accounts(f"reader-{number}", {STREAM: bytes(1_024)}))
    assert number > 1_000
    assert not journal.knows_reader(f"reader-{number}")
    assert journal.load_accounts(f"reader-{number - 1}") == {STREAM: bytes(1_024)}
    journal.store_accounts("reader-1", {STREAM: b"goes on"})
    while journal.trim(0).more:
        pass
    assert journal.statistics().frame_bytes <= 100_000
    for reader in journal.readers():
        journal.forget_reader(reader)
    journal.append([entry(1_000, size=3_000)])
    journal.close()
    assert check(tmp_path).damage == ()


def test_accounts_of_a_forgotten_stream_are_removed(tmp_path: Path) -> None:
    """Not when it is forgotten: when their reader comes again."""
    journal = LmdbJournal(tmp_path, retention=Retention(max_age_ns=1, keep_streams=0))
    other = STREAM._replace(topic=TOPICS[1])
    journal.append([entry(1), entry(1, topic=TOPICS[1], at=50)])
    journal.store_accounts("reader", {STREAM: b"old", other: b"stays"})
    journal.trim(50)
    journal.append([entry(1, at=50)])
    assert journal.load_accounts("reader") == {other: b"stays"}
    journal.store_accounts("reader", {STREAM: b"new"})
    assert journal.load_accounts("reader") == {STREAM: b"new", other: b"stays"}
    journal.close()
    assert check(tmp_path).accounts == 2


def test_a_start_is_found_by_halving(tmp_path: Path) -> None:
    """Reads of the index, of a stream of 4,096 frames among others: not more than its logarithm and a few."""
    looked = 0

    def counted(key: Any, value: Any) -> IndexEntry:
        nonlocal looked
        looked += 1
        return unpack_index(key, value)

    journal = LmdbJournal(tmp_path)
    for number in range(16):
        journal.append(
            [
                entry(n * 3, topic=topic, count=3)
                for n in range(number * 256 + 1, number * 256 + 257)
                for topic in TOPICS
            ]
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mycelium.journal.reading.unpack_index", counted)
        for position in range(2, 3 * 4_096, 501):
            looked = 0
            assert journal.first_from(STREAM, position) == 3 * ((position + 1) // 3 + 1)
            assert looked <= 18
    journal.close()


def test_closed(tmp_path: Path) -> None:
    journal = LmdbJournal(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(ClosedError):
        journal.append([entry(1)])
    with pytest.raises(ClosedError):
        journal.read(0, limit=1, max_bytes=ALL)


def test_least_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1048576"):
        LmdbJournal(tmp_path, max_bytes=1000)


def test_restore_goes_upwards(tmp_path: Path) -> None:
    journal = LmdbJournal(tmp_path)
    assert journal.restore([5, 9], [entry(1), entry(2)]) == 9
    with pytest.raises(ValueError, match="position 9 is not above 9"):
        journal.restore([9], [entry(3)])
    assert [record.position for record in journal.read(0, limit=9, max_bytes=ALL)] == [5, 9]
    journal.close()


def test_what_waits_for_a_sync_does_not_fill_the_store(tmp_path: Path) -> None:
    """Pages that small commits wrote over are held until the next sync; a large frame finds room all the same."""
    size = 32 << 20
    journal = LmdbJournal(
        tmp_path,
        durability=Durability.GROUP,
        max_bytes=size,
        retention=Retention(max_bytes=size * 7 // 10),
        sync_interval_ns=1 << 62,
    )
    for sequence in range(1, 1_500):
        large = sequence % 30 == 0
        frame = bytes(1_000_000 if large else 300)
        entry = Entry(StreamKey(1, 1, f"topic.{sequence % 5}"), sequence, 1, sequence, frame)
        try:
            journal.append([entry])
        except JournalFullError:
            while journal.trim(0).more:
                pass
            journal.append([entry])
    assert 10 < journal.statistics().syncs < 100
    journal.close()
