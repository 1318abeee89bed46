"""A damaged store answers with what was written, or with JournalDamagedError: never with anything else."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.topics import Pattern
from mycelium.journal import (
    Durability,
    JournalDamagedError,
    JournalError,
    JournalLockedError,
    JournalVersionError,
    LmdbJournal,
    Retention,
    TopicRetention,
)
from mycelium.journal.disk import DATA, OWNER, Metas, examine
from mycelium.journal.records import SEAL_BYTES, pack_state, unpack_state
from mycelium.journal.salvage import check, salvage
from tests.unit.journal.frames import ALL, TOPICS, entry, everything, sample_store

FINE, DAMAGED, WRONG = 0, 1, 2


def facts(directory: Path) -> Any:
    """Everything that a journal says, read with every kind of read."""
    journal = LmdbJournal(directory)
    try:
        streams = []
        for mark in journal.streams():
            start, found = 1, []
            while part := journal.read_stream(mark.stream, start, limit=5, max_bytes=ALL):
                found += part
                start = start + 2 * len(part)
            streams.append((mark, found, journal.latest(mark.stream.topic)))
        times = [journal.position_at(time) for time in range(0, journal.last_position + 2, 5)]
        extents = journal.streams()
        starts = [journal.first_from(extent.stream, at) for extent in extents for at in range(0, 80, 9)]
        accounts = {reader: journal.load_accounts(reader) for reader in journal.readers()}
        known = [journal.knows_reader(f"reader-{number}") for number in range(4)]
        return everything(journal, at_once=10), streams, (times, starts, known), accounts, journal.last_position
    finally:
        journal.close()


def in_child(work: Callable[[], int]) -> int:
    """Do ``work`` in a child: a signal that kills it is told by a negative number."""
    child = os.fork()
    if child == 0:
        code = WRONG
        try:
            code = work()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Sample:
    """A sound store and its damaged copies."""

    def __init__(self, base: Path) -> None:
        self.base = base
        sample_store(base / "sound")
        self.data = (base / "sound" / DATA).read_bytes()
        self.owner = (base / "sound" / OWNER).read_bytes()
        self.facts = facts(base / "sound")

    def with_data(self, data: bytes) -> Path:
        directory = self.base / "copy"
        directory.mkdir(exist_ok=True)
        (directory / DATA).write_bytes(data)
        (directory / OWNER).write_bytes(self.owner)
        return directory

    def flipped(self, offset: int, bits: int) -> Path:
        data = bytearray(self.data)
        data[offset] ^= bits
        return self.with_data(bytes(data))

    def without(self, frame: bytes) -> Path:
        """A copy in which a frame is damaged, also where a page that is no longer in use has it."""
        assert frame in self.data
        return self.with_data(self.data.replace(frame, frame[:60] + bytes([frame[60] ^ 1]) + frame[61:]))

    def verdict(self, directory: Path) -> int:
        try:
            return FINE if facts(directory) == self.facts else WRONG
        except JournalDamagedError as error:
            assert error.command.startswith("mycelium journal salvage")
            return DAMAGED


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("damage"))


def test_flipped_bytes(sample: Sample) -> None:
    dice = random.Random(5)
    pages = len(sample.data) // 4096
    places = [page * 4096 + dice.randrange(40) for page in range(pages) for _ in range(2)]
    places += [dice.randrange(len(sample.data)) for _ in range(250)]
    places += [meta + 16 + dice.randrange(160) for meta in (0, 4096) for _ in range(30)]

    def work() -> int:
        # One child for all: a crash is a crash, and forking for each takes longer than the work.
        verdicts = [sample.verdict(sample.flipped(offset, dice.choice([1, 4, 128, 255]))) for offset in places]
        return WRONG if WRONG in verdicts or verdicts.count(DAMAGED) < 100 else FINE

    assert in_child(work) == FINE


def test_the_end_is_missing(sample: Sample) -> None:
    size = len(sample.data)
    lengths = [0, 1, 100, 4095, 4096, 4200, 8191, 8192, 8193, *range(12_288, size, 4096 * 5), size - 4096, size - 1]

    def work() -> int:
        verdicts = [sample.verdict(sample.with_data(sample.data[:length])) for length in lengths]
        return FINE if set(verdicts) == {DAMAGED} else WRONG

    assert in_child(work) == FINE


def test_rubbish_behind_the_end_is_not_looked_at(sample: Sample) -> None:
    assert sample.verdict(sample.with_data(sample.data + b"rubbish" * 5000)) == FINE


def test_a_damaged_record_is_named_and_read_around(sample: Sample) -> None:
    records = sample.facts[0]
    middle = records[len(records) // 2]
    directory = sample.without(middle.frame)
    journal = LmdbJournal(directory)
    before = journal.read(0, limit=1000, max_bytes=ALL)
    assert before == records[: middle.position - 1]
    with pytest.raises(JournalDamagedError, match=f"position {middle.position}: crc32") as caught:
        journal.read(before[-1].position, limit=1000, max_bytes=ALL)
    assert caught.value.position == middle.position
    assert journal.read(middle.position, limit=1000, max_bytes=ALL) == records[middle.position :]
    journal.close()


def test_accounts_in_the_place_of_others(sample: Sample) -> None:
    """A garbled key: the reader that is meant must not pass for a new one."""
    directory = sample.with_data(sample.data.replace(b"reader-1\0", b"reader-9\0"))
    journal = LmdbJournal(directory)
    asked: list[Callable[[], object]] = [
        journal.readers,
        lambda: journal.knows_reader("reader-1"),
        lambda: journal.load_accounts("reader-1"),
        lambda: journal.load_accounts("reader-9"),
    ]
    for ask in asked:
        with pytest.raises(JournalDamagedError, match="that of reader 'reader-1' for stream [0-9] stands in its place"):
            ask()
    journal.close()
    assert "reader-9" in check(directory).damage[0].what


def test_an_older_snapshot_does_not_pass_for_the_newest(sample: Sample) -> None:
    newest = Metas.read(sample.base / "sound" / DATA).transaction
    at = sample.data.index(struct.pack("<Q", newest), (newest % 2) * 4096)
    data = sample.data[:at] + struct.pack("<Q", newest - 4) + sample.data[at + 8 :]
    with pytest.raises(JournalDamagedError, match="neighbours"):
        LmdbJournal(sample.with_data(data))


def torn(sample: Sample) -> Path:
    """A copy with a page that is garbled and in use."""
    for page in range(2, len(sample.data) // 4096):
        directory = sample.flipped(page * 4096 + 12, 255)
        examine(directory, thorough=False)
        try:
            examine(directory, thorough=True)
        except JournalDamagedError:
            return directory
    raise AssertionError("no page is in use")


def test_a_garbled_page_is_found_by_the_walk_alone(sample: Sample) -> None:
    with pytest.raises(JournalDamagedError, match="page"):
        LmdbJournal(torn(sample))


def test_after_the_machine_went_down_every_page_is_looked_at(sample: Sample) -> None:
    directory = torn(sample)
    note = b'{"pid": 1, "boot": "another", "clean": false, "store": ""}'
    (directory / OWNER).write_bytes(note)
    with pytest.raises(JournalDamagedError, match="page"):
        LmdbJournal(directory, thorough_bytes=0)


def test_another_version_is_refused(sample: Sample) -> None:
    start = sample.data.index(b"\xd7MJm")
    length = SEAL_BYTES + int.from_bytes(sample.data[start + 4 : start + 8], "little")
    state = unpack_state(sample.data[start : start + length])
    other = pack_state(type(state)(9, *(getattr(state, name) for name in state.__slots__[1:])))
    directory = sample.with_data(sample.data.replace(sample.data[start : start + length], other))
    with pytest.raises(JournalVersionError) as caught:
        LmdbJournal(directory)
    assert (caught.value.found, caught.value.known) == (9, 1)
    with pytest.raises(JournalVersionError):
        check(directory)


@pytest.mark.parametrize("missing", [DATA, OWNER])
def test_a_missing_file(sample: Sample, missing: str) -> None:
    directory = sample.with_data(sample.data)
    (directory / missing).unlink()
    assert sample.verdict(directory) == (DAMAGED if missing == DATA else FINE)


def test_one_at_a_time(tmp_path: Path) -> None:
    first = LmdbJournal(tmp_path)
    with pytest.raises(JournalLockedError) as caught:
        LmdbJournal(tmp_path)
    assert caught.value.pid == os.getpid()
    assert str(tmp_path / OWNER) in str(caught.value)
    with pytest.raises(JournalLockedError):
        check(tmp_path)
    first.close()
    LmdbJournal(tmp_path).close()


def test_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be opened"):
        LmdbJournal(tmp_path / "file")


def test_salvage_of_a_sound_store(sample: Sample, tmp_path: Path) -> None:
    report = salvage(sample.with_data(sample.data), tmp_path / "new")
    assert (report.damage, report.searched, report.missing_messages) == ((), False, 0)
    assert facts(tmp_path / "new") == sample.facts


@pytest.mark.parametrize("what", ["a page", "meta pages", "the end"])
def test_salvage_of_a_torn_store(sample: Sample, tmp_path: Path, what: str) -> None:
    """Whatever the trees, all that is whole in the file is found, with its streams and accounts."""
    data = bytearray(sample.data)
    if what == "a page":
        page = (torn(sample) / DATA).read_bytes()
        at = next(offset for offset in range(len(data)) if data[offset] != page[offset]) // 4096 * 4096
        data[at : at + 4096] = bytes(4096)
    elif what == "meta pages":
        data[: 2 * 4096] = bytes(2 * 4096)
    else:
        del data[len(data) - 4096 * 6 :]
    report = salvage(sample.with_data(bytes(data)), tmp_path / "new")
    assert report.searched
    assert report.damage
    found = facts(tmp_path / "new")
    records = {record.position: record for record in sample.facts[0]}
    assert all(records[record.position] == record for record in found[0])
    assert len(found[0]) > len(records) * 0.6
    assert {mark.stream.topic for mark, _, _ in found[1]} <= {mark.stream.topic for mark, _, _ in sample.facts[1]}
    if what == "meta pages":
        assert found == sample.facts


def test_salvage_reports_a_damaged_record(sample: Sample, tmp_path: Path) -> None:
    records = sample.facts[0]
    middle = records[len(records) // 2]
    directory = sample.without(middle.frame)
    report = salvage(directory, tmp_path / "new")
    assert [damage.position for damage in report.damage] == [middle.position]
    assert (report.frames, report.skipped_positions, report.missing_messages) == (len(records) - 1, 1, 2)
    journal = LmdbJournal(tmp_path / "new")
    assert everything(journal) == [record for record in records if record is not middle]
    assert {reader: journal.load_accounts(reader) for reader in journal.readers()} == sample.facts[3]
    assert journal.last_position == sample.facts[4]
    journal.close()


def test_salvage_never_crashes(sample: Sample, tmp_path: Path) -> None:
    dice = random.Random(6)
    records = set(sample.facts[0])

    def work() -> int:
        for number in range(25):
            directory = sample.flipped(dice.randrange(len(sample.data)), 255)
            if number % 2:
                directory = sample.with_data((directory / DATA).read_bytes()[: dice.randrange(9000, len(sample.data))])
            check(directory)
            out = tmp_path / str(number)
            salvage(directory, out)
            journal = LmdbJournal(out)
            if not set(everything(journal)) <= records:
                return WRONG
            journal.close()
        return FINE

    assert in_child(work) == FINE


def test_what_retention_removed_of_an_emptied_stream_stays_removed(tmp_path: Path) -> None:
    retention = Retention(topics=(TopicRetention(Pattern.parse(TOPICS[0]), max_age_ns=5),))
    journal = LmdbJournal(tmp_path / "old", retention=retention)
    journal.append([entry(n, topic=topic, at=n) for n in range(1, 9) for topic in TOPICS[:2]])
    assert journal.trim(100).frames == 8
    journal.close()
    file = tmp_path / "old" / DATA
    with file.open("r+b") as data:
        data.write(bytes(8192))
    report = salvage(tmp_path / "old", tmp_path / "new")
    assert (report.searched, report.frames) == (True, 8)
    journal = LmdbJournal(tmp_path / "new")
    assert [mark.first for mark in journal.streams()] in ([1, 9], [9, 1])
    assert journal.last_sequence(StreamKey(1, 7, TOPICS[0])) == 8
    journal.close()


def lived_in(journal: LmdbJournal, dice: random.Random, times: range) -> None:
    """Appends, accounts and trims, so that pages are freed and used again."""
    for time in times:
        sequences = {topic: journal.last_sequence(StreamKey(1, 7, topic)) for topic in TOPICS}
        batch = [
            entry(sequences[topic] + 1, topic=topic, at=time, size=dice.choice([40, 400, 3_000])) for topic in TOPICS
        ]
        journal.append(batch[: dice.randint(1, 3)])
        journal.store_accounts(dice.choice("abc"), {journal.streams()[0].stream: b"%d" % time})
        if time % 3 == 0:
            journal.trim(time)


@pytest.mark.parametrize("seed", range(6))
def test_power_is_lost_between_two_syncs(tmp_path: Path, seed: int) -> None:
    """Any mixture of old and new pages is on the disk; what was synced is found in it."""
    dice = random.Random(seed)
    retention = Retention(max_age_ns=30)
    journal = LmdbJournal(tmp_path / "store", durability=Durability.GROUP, retention=retention)
    lived_in(journal, dice, range(1, 80))
    journal.sync()
    synced, old = everything(journal), (tmp_path / "store" / DATA).read_bytes()
    assert journal.synced_position == journal.last_position
    lived_in(journal, dice, range(80, 100))
    kept = {record.position for record in everything(journal)}
    new = (tmp_path / "store" / DATA).read_bytes()
    journal.close()
    torn_pages = [
        dice.choice([old, new])[at : at + 4096] or new[at : at + 4096] for at in range(0, max(len(old), len(new)), 4096)
    ]
    directory = tmp_path / "torn"
    directory.mkdir()
    (directory / DATA).write_bytes(b"".join(torn_pages))
    salvage(directory, tmp_path / "new")
    found = LmdbJournal(tmp_path / "new")
    records = {record.position: record for record in everything(found)}
    found.close()
    wanted = [record for record in synced if record.position in kept]
    assert len(wanted) > 10
    assert [records.get(record.position) for record in wanted] == wanted
