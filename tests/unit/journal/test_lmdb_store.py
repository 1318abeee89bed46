"""What the store in LMDB does beyond the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from mycelium.core.errors import ClosedError
from mycelium.journal import Durability, Entry, JournalFullError, LmdbJournal, MemoryJournal, protocol
from tests.unit.journal.frames import ALL, entry

MS = 1_000_000


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
        for bad in (Entry(1, 1, "a", 0, 1, 0, b""), Entry(1, 1, "a", 1, 0, 0, b"")):
            with pytest.raises(ValueError, match="on a"):
                journal.append([bad])
        for name, position in (("", 1), ("x" * 256, 1), ("x", -1), ("x", 1 << 64)):
            with pytest.raises(ValueError, match="cursor"):
                journal.store_cursors({name: position})
        assert (journal.last_position, journal.cursors()) == (0, {})
        journal.close()


def test_cursors_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mycelium.journal.catalogue.MAX_CURSORS", 3)
    assert protocol.MAX_CURSORS > 3
    journal = LmdbJournal(tmp_path)
    journal.store_cursors({"a": 1, "b": 2, "c": 3})
    with pytest.raises(JournalFullError, match="4 cursors"):
        journal.store_cursors({"d": 4})
    journal.store_cursors({"a": None, "d": 4})
    assert journal.cursors() == {"b": 2, "c": 3, "d": 4}
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
