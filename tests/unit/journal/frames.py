"""Entries to append, and a store with enough in it to break."""

from __future__ import annotations

from pathlib import Path

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import Envelope, encode_frame
from mycelium.journal import Entry, Journal, LmdbJournal, Record

ALL = 1 << 30
TOPICS = ("market.quickswap.wmatic", "market.sushi.weth", "signals.arbitrage")


def entry(
    sequence: int,
    *,
    topic: str = TOPICS[0],
    source: int = 1,
    epoch: int = 7,
    count: int = 1,
    at: int = 0,
    size: int = 40,
) -> Entry:
    """A real frame of ``count`` messages."""
    payload = bytes([0x90 + (count & 15)]) + sequence.to_bytes(8, "big") * (size // 8)
    frame = encode_frame(Envelope(topic, 100, count, source, epoch, sequence, at, payload))
    return Entry(StreamKey(source, epoch, topic), sequence, count, at, frame)


def everything(journal: Journal, *, at_once: int = ALL) -> list[Record]:
    """All records, read with credits."""
    records: list[Record] = []
    after = 0
    while part := journal.read(after, limit=at_once, max_bytes=ALL):
        records += part
        after = part[-1].position
    return records


def sample_store(directory: Path, *, batches: int = 24) -> None:
    """A closed store: three streams, frames in pages and beyond a page, readers with accounts."""
    sequences = dict.fromkeys(TOPICS, 1)
    with_large = 9
    journal = LmdbJournal(directory)
    number = 0
    for batch in range(batches):
        entries = []
        for topic in TOPICS:
            number += 1
            size = 3_000 if number % with_large == 0 else 100
            entries.append(entry(sequences[topic], topic=topic, count=2, at=number, size=size))
            sequences[topic] += 2
        journal.append(entries)
        accounts = {extent.stream: b"%d of %d" % (batch, extent.last) for extent in journal.streams()[: batch % 4]}
        journal.store_accounts(f"reader-{batch % 3}", accounts)
    journal.close()
