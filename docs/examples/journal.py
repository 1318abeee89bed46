import tempfile
from pathlib import Path

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.core.topics import Pattern
from mycelium.journal import Entry, LmdbJournal, Retention, TopicRetention

SECOND = 1_000_000_000
OVEN = StreamKey(source_id("thermometer"), 1_700_000_000 * SECOND, "heat.oven")
CELLAR = OVEN._replace(topic="cold.cellar")


def reading(sequence: int, stream: StreamKey) -> Entry:
    source, epoch, topic = stream
    frame = encode_frame(Envelope(topic, 1, 1, source, epoch, sequence, sequence * SECOND, b"\x91\x01"))
    return Entry(stream, sequence, 1, sequence * SECOND, frame)


with tempfile.TemporaryDirectory() as base:
    directory = Path(base) / "journal"
    retention = Retention(topics=(TopicRetention(Pattern.parse("heat.>"), max_age_ns=2 * SECOND),))
    journal = LmdbJournal(directory, max_bytes=64 << 20, retention=retention)

    # A batch is stored whole or not at all.
    print("last position:", journal.append([reading(n, stream) for n in (1, 2, 3) for stream in (OVEN, CELLAR)]))
    print("last of heat.oven:", journal.last_sequence(OVEN))

    # A reader asks for as much as it can take.
    after = 0
    while records := journal.read(after, limit=4, max_bytes=1 << 20):
        after = records[-1].position
        print("positions:", [record.position for record in records])

    # A durable reader leaves how far it is with each stream, in its own words.
    journal.store_accounts("dashboard", {OVEN: b"done with 3", CELLAR: b"done with 2"})

    # A repair asks for one stream from a sequence on.
    repair = journal.read_stream(OVEN, 2, limit=10, max_bytes=1 << 20)
    print("repair:", [record.position for record in repair])
    print("from second 3 on:", journal.first_from(OVEN, journal.position_at(3 * SECOND)))

    trimmed = journal.trim(now_ns=5 * SECOND)
    print("removed:", dict(trimmed.messages))
    journal.close()

    journal = LmdbJournal(directory)
    for extent in journal.streams():
        print(f"{extent.stream.topic}: kept {extent.first} to {extent.last}")
    for stream, account in journal.load_accounts("dashboard").items():
        print(f"dashboard, {stream.topic}: {account.decode()}")
    journal.close()
