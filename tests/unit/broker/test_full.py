"""A journal that is full, or fails: what the broker confirms then, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from mycelium.core.delivery.control import Confirm, GoBack
from mycelium.core.policy import Delivery
from mycelium.journal import Durability, Entry, JournalError, JournalFullError, LmdbJournal, MemoryJournal, Retention
from mycelium.transport.sockets import ANONYMOUS
from tests.unit.broker.test_broker import KEY, LIVE, open_broker, sending
from tests.unit.transport.stores import SECONDS, TYPE_ID, frame, until


class Moody(MemoryJournal):
    """A journal that takes so many frames at once, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 1_000
        self.broken = False
        self.tried = 0

    def append(self, entries: Sequence[Entry]) -> int:
        self.tried += 1
        if self.broken:
            raise JournalError("memory", "Input/output error")
        if len(entries) > self.room:
            raise JournalFullError("memory", 1, "it does not want to")
        return super().append(entries)


async def test_a_repeat_is_not_confirmed_with_what_the_journal_has_refused() -> None:
    """A frame comes twice in one burst, and the journal does not take it: the repeat must not pass for a repeat."""
    journal = Moody()
    async with open_broker(journal) as broker, sending(broker, "writer") as sender:
        sender.publish(frame(1).data)
        assert (await sender.control.answer(Confirm)).marks == ((KEY, 1),)
        journal.room = 0
        broker._on_frames([(frame(2).data, ANONYMOUS), (frame(2).data, ANONYMOUS), (frame(3).data, ANONYMOUS)])
        await until(lambda: broker.is_full and journal.tried > 5)
        broker._confirm_synced()
        assert broker._to_confirm == {}
        assert (await sender.control.answer(Confirm)).marks == ((KEY, 1),), "what it repeats is what is kept"
        journal.room = 1
        assert (await sender.control.answer(Confirm)).marks == ((KEY, 3),)
        assert not broker.is_full
        assert broker.accepted == 3


async def test_what_comes_while_it_is_full_is_asked_for_when_there_is_room() -> None:
    """It does not wait in a socket; what needs no journal is passed on; what is kept is confirmed, also again."""
    journal = Moody()
    contracts = {TYPE_ID: Delivery.RELIABLE, LIVE: Delivery.LIVE}
    async with open_broker(journal, contracts=contracts) as broker, sending(broker, "writer") as sender:
        sender.publish(frame(1).data)
        await sender.control.answer(Confirm)
        journal.room = 0
        sender.publish(frame(2).data)
        await until(lambda: broker.is_full)
        sender.publish(*[frame(sequence).data for sequence in range(3, 400)])
        sender.publish(frame(1, type_id=LIVE).data, frame(1).data)
        assert (await sender.control.answer(Confirm)).marks == ((KEY, 1),)
        assert broker.passed_on == 1
        journal.room = 1_000
        assert await sender.control.answer(GoBack) == GoBack(KEY, 3)
        sender.publish(*[frame(sequence).data for sequence in range(3, 400)])
        await until(lambda: broker.accepted == 399)
        assert journal.last_sequence(KEY) == 399


async def test_a_burst_that_is_too_much_at_once_is_kept_in_parts() -> None:
    journal = Moody()
    journal.room = 3
    async with open_broker(journal) as broker:
        broker._on_frames([(frame(sequence).data, ANONYMOUS) for sequence in range(1, 101)])
        assert (broker.accepted, broker.is_full) == (100, False)
        assert journal.last_sequence(KEY) == 100


async def test_a_journal_that_fails_ends_the_broker() -> None:
    """Nothing more is received or confirmed, not even if the journal comes to itself."""
    journal = Moody()
    async with open_broker(journal) as broker, sending(broker, "writer") as sender:
        sender.publish(frame(1).data)
        await sender.control.answer(Confirm)
        journal.broken = True
        sender.publish(frame(2).data)
        async with asyncio.timeout(SECONDS):
            with pytest.raises(JournalError, match="Input/output error"):
                await broker.failed
        journal.broken = False
        sender.publish(frame(2).data, frame(3).data)
        broker._try_again()
        broker._on_frames([(frame(2).data, ANONYMOUS)])
        assert journal.last_sequence(KEY) == 1


async def test_a_sync_that_fails_ends_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = LmdbJournal(tmp_path, durability=Durability.GROUP, retention=Retention())
    sync = journal.sync

    def fail() -> None:
        raise JournalError(journal.path, "Input/output error")

    async with open_broker(journal) as broker:
        monkeypatch.setattr(journal, "sync", fail)
        broker._on_frames([(frame(1).data, ANONYMOUS)])
        async with asyncio.timeout(SECONDS):
            with pytest.raises(JournalError, match="Input/output error"):
                await broker.failed
        monkeypatch.setattr(journal, "sync", sync)
        journal.sync()
        assert journal.synced_position == 1
        broker._confirm_synced()
        assert len(broker._unsynced) == 1, "it still waits, and will not be confirmed"
