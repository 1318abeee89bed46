"""A damaged store answers with what was written, or with JournalDamagedError: never with anything else."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mycelium.journal import (
    JournalDamagedError,
    JournalError,
    JournalLockedError,
    JournalVersionError,
    LmdbJournal,
)
from mycelium.journal.disk import DATA, OWNER, Metas
from mycelium.journal.records import SEAL_BYTES, pack_state, unpack_state
from mycelium.journal.salvage import check
from tests.unit.journal.damaged import DAMAGED, FINE, WRONG, Sample, in_child, torn
from tests.unit.journal.frames import ALL


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
    directory = sample.with_data(sample.data.replace(b"reader-2\0", b"reader-9\0"))
    journal = LmdbJournal(directory)
    asked: list[Callable[[], object]] = [
        journal.readers,
        lambda: journal.knows_reader("reader-2"),
        lambda: journal.load_accounts("reader-2"),
        lambda: journal.load_accounts("reader-9"),
    ]
    for ask in asked:
        with pytest.raises(JournalDamagedError, match=r"that of reader 'reader-2' for stream [0-9] stands"):
            ask()
    journal.close()
    assert "reader-9" in check(directory).damage[0].what


def test_an_older_snapshot_does_not_pass_for_the_newest(sample: Sample) -> None:
    newest = Metas.read(sample.base / "sound" / DATA).transaction
    at = sample.data.index(struct.pack("<Q", newest), (newest % 2) * 4096)
    data = sample.data[:at] + struct.pack("<Q", newest - 4) + sample.data[at + 8 :]
    with pytest.raises(JournalDamagedError, match="neighbours"):
        LmdbJournal(sample.with_data(data))


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
