"""Recordings for tests: made, and looked into."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import Envelope, decode_frame, encode_frame, source_id
from mycelium.journal import Entry, LmdbJournal
from tests.chaos.messages import Event

SECOND_NS = 1_000_000_000
EPOCH = 1_769_860_800_000_000_000
"""When made recordings begin: 2026-01-31T12:00:00Z."""


def frames_of(directory: Path) -> list[Envelope]:
    """All frames in the order of their positions."""
    journal = LmdbJournal(directory, max_bytes=1 << 30)
    try:
        return [decode_frame(record.frame) for record in journal.read(0, limit=1_000_000, max_bytes=1 << 30)]
    finally:
        journal.close()


def payloads_of(directory: Path, *sources: str) -> dict[tuple[int, str], list[bytes]]:
    """The bytes of each message, in order, by source and topic; of these sources, or of all."""
    found: dict[tuple[int, str], list[bytes]] = defaultdict(list)
    wanted = {source_id(source) for source in sources}
    for envelope in frames_of(directory):
        if not wanted or envelope.source in wanted:
            raw = msgspec.msgpack.decode(envelope.payload, type=list[msgspec.Raw])
            found[envelope.source, envelope.topic] += map(bytes, raw)
    return dict(found)


def numbers_of(directory: Path) -> list[int]:
    """The numbers of all events, in order."""
    return [message[2] for envelope in frames_of(directory) for message in msgspec.msgpack.decode(envelope.payload)]


def lacks_of(directory: Path) -> dict[str, Any] | None:
    """INCOMPLETE, None if it is not there."""
    file = directory / "INCOMPLETE"
    return json.loads(file.read_text()) if file.exists() else None


def make_recording(
    directory: Path,
    frames: Sequence[tuple[str, str, float, Sequence[int]]],
    fingerprint: str | None = None,
    **changes: Any,
) -> Path:
    """Make one.

    Args:
        directory: where.
        frames: source, lane, seconds after :data:`EPOCH`, and the numbers of the messages.
        fingerprint: of the contract; its own by default.
        changes: of ``recording.json``.
    """
    journal = LmdbJournal(directory, max_bytes=1 << 24)
    reached: dict[StreamKey, int] = {}
    for source, lane, seconds, numbers in frames:
        stream = StreamKey(source_id(source), EPOCH, f"chaos.{source}.{lane}")
        first = reached.get(stream, 0) + 1
        reached[stream] = first + len(numbers) - 1
        payload = msgspec.msgpack.encode([[source, lane, number, b""] for number in numbers])
        published = EPOCH + round(seconds * SECOND_NS)
        envelope = Envelope(stream.topic, 900, len(numbers), stream.source, EPOCH, first, published, payload)
        journal.append([Entry(stream, first, len(numbers), published, encode_frame(envelope))])
    journal.close()
    own = Event.__contract__.fingerprint.hex()
    said = {
        "system": "chaos",
        "mycelium": "0",
        "begun": "2026-01-31T12:00:00.000000000Z",
        "pattern": ">",
        "contracts": {"900": {"name": "Event", "fingerprint": fingerprint or own}},
        "sources": {f"{source_id(source):016x}": source for source, *_ in frames},
        **changes,
    }
    (directory / "recording.json").write_text(json.dumps(said))
    return directory
