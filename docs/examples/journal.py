import tempfile
from pathlib import Path

from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.core.topics import Pattern
from mycelium.journal import Entry, LmdbJournal, Retention, TopicRetention

SECOND = 1_000_000_000
SOURCE, EPOCH = source_id("thermometer"), 1_700_000_000 * SECOND


def reading(sequence: int, topic: str) -> Entry:
    frame = encode_frame(Envelope(topic, 1, 1, SOURCE, EPOCH, sequence, sequence * SECOND, b"\x91\x01"))
    return Entry(SOURCE, EPOCH, topic, sequence, 1, sequence * SECOND, frame)


with tempfile.TemporaryDirectory() as base:
    directory = Path(base) / "journal"
    retention = Retention(topics=(TopicRetention(Pattern.parse("heat.>"), max_age_ns=2 * SECOND),))
    journal = LmdbJournal(directory, max_bytes=64 << 20, retention=retention)

    # A batch is stored whole or not at all.
    print(
        "last position:",
        journal.append([reading(n, topic) for n in (1, 2, 3) for topic in ("heat.oven", "cold.cellar")]),
    )
    print("last of heat.oven:", journal.last_sequence(SOURCE, EPOCH, "heat.oven"))

    # A reader asks for as much as it can take.
    after = 0
    while records := journal.read(after, limit=4, max_bytes=1 << 20):
        after = records[-1].position
        print("positions:", [record.position for record in records])
    journal.store_cursors({"dashboard": after})

    # A repair asks for one stream from a sequence on.
    repair = journal.read_stream(SOURCE, EPOCH, "heat.oven", 2, limit=10, max_bytes=1 << 20)
    print("repair:", [record.position for record in repair])
    print("from second 3 on:", journal.position_at(3 * SECOND))

    trimmed = journal.trim(now_ns=5 * SECOND)
    print("removed:", dict(trimmed.messages))
    journal.close()

    journal = LmdbJournal(directory)
    for mark in journal.streams():
        print(f"{mark.topic}: kept {mark.first_sequence} to {mark.last_sequence}")
    print("cursor:", journal.load_cursor("dashboard"))
    journal.close()
