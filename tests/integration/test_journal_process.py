"""The journal and what happens to processes and disks: killed, locked out, full."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelium.core.envelope import source_id
from mycelium.journal import (
    Durability,
    Entry,
    JournalFullError,
    JournalLockedError,
    LmdbJournal,
    Retention,
)
from mycelium.journal.disk import DATA, OWNER
from mycelium.journal.salvage import check

pytestmark = pytest.mark.process

ALL = 1 << 30

# Appends batches of one to seven frames for ever. Each line it writes is a position that is acknowledged.
WRITER = textwrap.dedent("""
    import os, sys
    from mycelium.journal import Durability, Entry, LmdbJournal
    journal = LmdbJournal(sys.argv[1], durability=Durability(sys.argv[2]), sync_interval_ns=0)
    position = journal.last_position
    os.write(1, b"%d\\n" % position)
    while True:
        batch = []
        for _ in range(position % 7 + 1):
            position += 1
            frame = b"%d." % position * (position % 300)
            batch.append(Entry(1, 1, f"topic.{position % 3}", position, 1, position, frame))
        acknowledged = journal.append(batch)
        journal.sync_if_due(position)
        assert acknowledged == position
        os.write(1, b"%d\\n" % journal.synced_position)
""")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE)


@pytest.mark.parametrize("durability", ["process", "group"])
def test_killed_in_the_middle_of_appends(tmp_path: Path, durability: str) -> None:
    """All that was acknowledged is there, and nothing but a whole batch more."""
    acknowledged = 0
    for round_number in range(4):
        writer = start(str(tmp_path), durability)
        assert writer.stdout is not None
        with writer.stdout as lines:
            assert int(lines.readline()) >= acknowledged
            for _ in range(50 + 90 * round_number):
                acknowledged = int(lines.readline())
            writer.send_signal(signal.SIGKILL)
            # What it had still written before it died counts too.
            rest = lines.read().split(b"\n")
        assert writer.wait() == -signal.SIGKILL
        acknowledged = int(rest[-2]) if len(rest) > 1 else acknowledged
        journal = LmdbJournal(tmp_path)
        last = journal.last_position
        assert acknowledged <= last <= acknowledged + 7
        records = journal.read(0, limit=ALL, max_bytes=ALL)
        assert [record.position for record in records] == list(range(1, last + 1))
        assert all(record.frame == b"%d." % record.position * (record.position % 300) for record in records)
        for topic in range(3):
            numbers = [number for number in range(1, last + 1) if number % 3 == topic]
            found = journal.read_stream(1, 1, f"topic.{topic}", 1, limit=ALL, max_bytes=ALL)
            assert [record.position for record in found] == numbers
            assert journal.last_sequence(1, 1, f"topic.{topic}") == max(numbers)
        journal.close()
    assert check(tmp_path).damage == ()


def test_another_process_is_locked_out(tmp_path: Path) -> None:
    writer = start(str(tmp_path), "process")
    assert writer.stdout is not None
    with writer.stdout as lines:
        lines.readline()
        with pytest.raises(JournalLockedError, match=f"process {writer.pid} .*{OWNER}") as caught:
            LmdbJournal(tmp_path)
        assert caught.value.pid == writer.pid
        writer.kill()
    writer.wait()
    LmdbJournal(tmp_path).close()  # the lock died with its process


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a small disk needs the mount command and root")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", directory], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {done.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def batch(number: int, frames: int = 20) -> list[Entry]:
    start = number * frames
    return [
        Entry(source_id("x"), 1, "disk.full", start + n + 1, 1, start + n, os.urandom(3_500)) for n in range(frames)
    ]


def fill(journal: LmdbJournal) -> int:
    """Append until there is no room; the number of the batch that was refused."""
    for number in range(100):
        try:
            last = journal.append(batch(number))
        except JournalFullError as error:
            assert "the disk is full" in error.limit
            return number
        journal.store_cursors({"reader": last})
    raise AssertionError("the disk is larger than it should be")


@pytest.mark.parametrize("durability", [Durability.PROCESS, Durability.GROUP, Durability.FRAME])
def test_the_disk_is_full(small_disk: Path, durability: Durability) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    journal = LmdbJournal(small_disk / "journal", durability=durability)
    number = fill(journal)
    last = number * 20
    assert number > 2
    for _ in range(3):
        with pytest.raises(JournalFullError):
            journal.append(batch(number))
    assert (journal.last_position, journal.last_sequence(source_id("x"), 1, "disk.full")) == (last, last)
    records = journal.read(0, limit=ALL, max_bytes=ALL)
    assert [record.position for record in records] == list(range(1, last + 1))
    assert journal.statistics().refused_full == 4
    ballast.unlink()
    assert journal.append(batch(number)) == last + 20
    journal.close()
    again = LmdbJournal(small_disk / "journal")
    assert again.last_position == last + 20
    assert again.read(0, limit=last, max_bytes=ALL) == records
    assert again.load_cursor("reader") == last
    again.close()


def test_a_full_disk_is_made_room_on_by_trimming(small_disk: Path) -> None:
    """Also when not one page is left: the reserve is there for that."""
    journal = LmdbJournal(small_disk / "journal", retention=Retention(max_bytes=600_000))
    full = fill(journal)
    rest = small_disk / "rest"
    with contextlib.suppress(OSError), rest.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with contextlib.suppress(JournalFullError):
        for sequence in range(1, 1_000):
            journal.append([Entry(1, 1, "disk.crumbs", sequence, 1, 0, bytes(3_500))])
    journal.store_cursors({f"reader-{number}": number for number in range(500)})
    assert shutil.disk_usage(small_disk).free < 1 << 20
    while journal.trim(0).more:
        pass
    for number in range(full, full + 30):
        journal.append(batch(number))
        journal.trim(0)
    assert (small_disk / "journal" / DATA).stat().st_size < 4 << 20
    journal.close()
    assert check(small_disk / "journal").damage == ()


@pytest.mark.parametrize("durability", [Durability.PROCESS, Durability.GROUP])
def test_the_maximum_is_reached(tmp_path: Path, durability: Durability) -> None:
    """Refused, trimmed although it is full, and on it goes with the same batch."""
    journal = LmdbJournal(tmp_path, max_bytes=2 << 20, durability=durability, retention=Retention(max_bytes=1_000_000))
    refusals = 0
    number = 0
    while refusals < 4:
        try:
            journal.append(batch(number))
        except JournalFullError as error:
            assert "max_bytes" in error.limit
            assert error.wanted > 20 * 3_500
            refusals += 1
            journal.store_cursors({"reader": number})
            assert journal.trim(0).frames > 0
            journal.append(batch(number))
        number += 1
    assert journal.statistics().removed == {"expired by size": journal.first_position - 1}
    assert (tmp_path / DATA).stat().st_size < (2 << 20) + (1 << 20)
    journal.close()
    assert check(tmp_path).damage == ()
