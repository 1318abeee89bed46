"""Where frames are kept before they count as published, and read from afterwards."""

from __future__ import annotations

from mycelium.journal.errors import (
    JournalDamagedError,
    JournalError,
    JournalFullError,
    JournalLockedError,
    JournalOrderError,
    JournalVersionError,
)
from mycelium.journal.keeping import Cause, Removal, Retention, TopicRetention, Trimmed
from mycelium.journal.lmdb_store import LmdbJournal
from mycelium.journal.memory import MemoryJournal
from mycelium.journal.outbox import Outbox
from mycelium.journal.protocol import Durability, Entry, Extent, Journal, JournalStatistics, Record

__all__ = [
    "Cause",
    "Durability",
    "Entry",
    "Extent",
    "Journal",
    "JournalDamagedError",
    "JournalError",
    "JournalFullError",
    "JournalLockedError",
    "JournalOrderError",
    "JournalStatistics",
    "JournalVersionError",
    "LmdbJournal",
    "MemoryJournal",
    "Outbox",
    "Record",
    "Removal",
    "Retention",
    "TopicRetention",
    "Trimmed",
]
