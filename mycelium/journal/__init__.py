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
from mycelium.journal.lmdb_store import LmdbJournal
from mycelium.journal.memory import MemoryJournal
from mycelium.journal.protocol import (
    Cause,
    Durability,
    Entry,
    Journal,
    JournalStatistics,
    Record,
    Removal,
    Retention,
    TopicRetention,
    Trimmed,
    Watermark,
)

__all__ = [
    "Cause",
    "Durability",
    "Entry",
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
    "Record",
    "Removal",
    "Retention",
    "TopicRetention",
    "Trimmed",
    "Watermark",
]
