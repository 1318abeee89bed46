"""What is saved of a damaged store: all that is whole, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.topics import Pattern
from mycelium.journal import (
    Durability,
    LmdbJournal,
    Retention,
    TopicRetention,
)
from mycelium.journal.disk import DATA
from mycelium.journal.salvage import check, salvage
from tests.unit.journal.damaged import FINE, WRONG, Sample, facts, in_child, torn
from tests.unit.journal.frames import TOPICS, entry, everything


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("damage"))


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
