"""What a journal is, as plain lists."""

from __future__ import annotations

from dataclasses import dataclass

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.topics import Pattern
from mycelium.journal import (
    Cause,
    Entry,
    Extent,
    Record,
    Retention,
    TopicRetention,
)

RETENTION = Retention(
    max_age_ns=100,
    max_bytes=4_000,
    topics=(
        TopicRetention(Pattern.parse("market.quickswap.*"), 20, 900),
        TopicRetention(Pattern.parse("market.>"), 50),
    ),
    keep_streams=3,
)


@dataclass
class Row:
    position: int
    arrived: int
    key: StreamKey
    sequence: int
    count: int
    frame: bytes

    @property
    def record(self) -> Record:
        return Record(self.position, self.arrived, self.frame)


class Model:
    """What a journal is, without a thought for speed."""

    def __init__(self, max_frames: int | None) -> None:
        self.max_frames = max_frames
        self.rows: list[Row] = []
        self.last_position = 0
        self.last_arrived = 0
        self.ends: dict[StreamKey, tuple[int, int]] = {}
        self.accounts: dict[str, dict[StreamKey, bytes]] = {}
        self.unreported: list[tuple[str, Row]] = []

    def append(self, entries: list[Entry]) -> None:
        if self.max_frames is not None:
            while len(self.rows) + len(entries) > self.max_frames:
                self.unreported.append((Cause.SIZE, self.rows.pop(0)))
                self.forget()
        for each in entries:
            self.last_position += 1
            self.last_arrived = max(self.last_arrived, each.arrived_ns)
            key = each.stream
            row = Row(self.last_position, self.last_arrived, key, each.sequence, each.count, each.frame)
            self.rows.append(row)
            self.ends[key] = (each.sequence + each.count - 1, self.last_position)

    def read(self, rows: list[Row], limit: int, max_bytes: int) -> list[Record]:
        taken: list[Record] = []
        for row in rows[:limit]:
            if taken and sum(len(record.frame) for record in taken) + len(row.frame) > max_bytes:
                break
            taken.append(row.record)
        return taken

    def group(self, row: Row) -> int:
        matching = (n for n, rule in enumerate(RETENTION.topics) if rule.pattern.matches(row.key.topic))
        return next(matching, -1)

    def trim(self, now: int, limit: int) -> list[tuple[str, Row]]:
        removed: list[tuple[str, Row]] = []
        for group in (*range(len(RETENTION.topics)), -1):
            rule = RETENTION.topics[group] if group >= 0 else TopicRetention(Pattern.parse(">"))
            age = RETENTION.max_age_ns if rule.max_age_ns is None else rule.max_age_ns
            assert age is not None
            while rows := [row for row in self.rows if self.group(row) == group]:
                if rows[0].arrived < now - age:
                    cause = Cause.AGE
                elif rule.max_bytes is not None and sum(len(row.frame) for row in rows) > rule.max_bytes:
                    cause = Cause.SIZE
                else:
                    break
                if len(removed) == limit:
                    return removed
                self.rows.remove(rows[0])
                removed.append((cause, rows[0]))
        assert RETENTION.max_bytes is not None
        while sum(len(row.frame) for row in self.rows) > RETENTION.max_bytes and len(removed) < limit:
            removed.append((Cause.SIZE, self.rows.pop(0)))
        return removed

    def forget(self) -> None:
        kept = {row.key for row in self.rows}
        empty = sorted((position, key) for key, (_, position) in self.ends.items() if key not in kept)
        for _, key in empty[: max(0, len(empty) - RETENTION.keep_streams)]:
            del self.ends[key]
            for accounts in self.accounts.values():
                accounts.pop(key, None)

    def extent(self, key: StreamKey) -> Extent:
        rows = [row for row in self.rows if row.key == key]
        last, position = self.ends[key]
        first = rows[0].sequence if rows else last + 1
        return Extent(key, first, last, position, sum(len(row.frame) for row in rows))
