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

from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import source_id
from mycelium.journal import (
    Durability,
    Entry,
    JournalFullError,
    JournalLockedError,
    LmdbJournal,
    Outbox,
    Retention,
)
from mycelium.journal.disk import DATA, OWNER
from mycelium.journal.salvage import check
from tests.processes.disks import mount, mounted

pytestmark = pytest.mark.process

ALL = 1 << 30
FULL = StreamKey(source_id("x"), 1, "disk.full")

# Appends batches of one to seven frames for ever. Each line it writes is a position that is acknowledged.
WRITER = textwrap.dedent("""
    import os, sys
    from mycelium.core.delivery.frames import StreamKey
    from mycelium.journal import Durability, Entry, LmdbJournal
    journal = LmdbJournal(sys.argv[1], durability=Durability(sys.argv[2]), sync_interval_ns=0)
    position = journal.last_position
    os.write(1, b"%d\\n" % position)
    while True:
        batch = []
        for _ in range(position % 7 + 1):
            position += 1
            frame = b"%d." % position * (position % 300)
            batch.append(Entry(StreamKey(1, 1, f"topic.{position % 3}"), position, 1, position, frame))
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
            found = journal.read_stream(StreamKey(1, 1, f"topic.{topic}"), 1, limit=ALL, max_bytes=ALL)
            assert [record.position for record in found] == numbers
            assert journal.last_sequence(StreamKey(1, 1, f"topic.{topic}")) == max(numbers)
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


# Puts batches of four and confirms all but a few of them, for ever. A line says what was done, or is being tried.
PUBLISHER = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from mycelium.core.delivery.frames import Frame, StreamKey
    from mycelium.journal import Outbox
    outbox = Outbox(Path(sys.argv[1]))
    ends = {f"topic.{n}": 0 for n in range(3)}
    for frame in outbox.left:
        ends[frame.stream.topic] = frame.last
    step = sum(ends.values())
    while True:
        step += 1
        topic = f"topic.{step % 3}"
        stream = StreamKey(1, 1, topic)
        batch = [Frame(stream, ends[topic] + n, 1, b"%d." % (ends[topic] + n) * (step % 300)) for n in range(1, 5)]
        outbox.put(batch)
        ends[topic] += 4
        os.write(1, b"put %s %d\\n" % (topic.encode(), ends[topic]))
        if step % 2:
            upto = ends[topic] - 1 - step % 11
            os.write(1, b"confirming %s %d\\n" % (topic.encode(), upto))
            outbox.confirm(stream, upto)
            os.write(1, b"confirmed %s %d\\n" % (topic.encode(), upto))
""")


def test_a_publisher_is_killed(tmp_path: Path) -> None:
    """All that was put and not confirmed is left, in order, and nothing that was confirmed."""
    said: dict[str, dict[str, int]] = {verb: {} for verb in ("put", "confirming", "confirmed")}
    for round_number in range(5):
        publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(tmp_path)], stdout=subprocess.PIPE)
        assert publisher.stdout is not None
        with publisher.stdout as lines:
            heard = [lines.readline() for _ in range(40 + 70 * round_number)]
            publisher.send_signal(signal.SIGKILL)
            heard += lines.read().splitlines(keepends=True)
        assert publisher.wait() == -signal.SIGKILL
        for line in heard:
            if line.endswith(b"\n"):
                verb, topic, number = line.decode().split()
                said[verb][topic] = max(int(number), said[verb].get(topic, 0))
        outbox = Outbox(tmp_path)
        outbox.close()
        for topic in ("topic.0", "topic.1", "topic.2"):
            left = [frame for frame in outbox.left if frame.stream.topic == topic]
            put = said["put"].get(topic, 0)
            confirmed, tried = (said[verb].get(topic, 0) for verb in ("confirmed", "confirming"))
            sequences = [frame.sequence for frame in left]
            assert sequences or not put  # it never confirms its last one
            if sequences:
                assert sequences == list(range(sequences[0], sequences[-1] + 1))
                assert confirmed < sequences[0] <= tried + 1
                assert put <= sequences[-1] <= put + 4
            assert all(set(frame.data.split(b".")) <= {b"", b"%d" % frame.sequence} for frame in left)
    assert check(tmp_path).damage == ()


def test_another_publisher_is_locked_out(tmp_path: Path) -> None:
    publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(tmp_path)], stdout=subprocess.PIPE)
    assert publisher.stdout is not None
    with publisher.stdout as lines:
        lines.readline()
        with pytest.raises(JournalLockedError, match=f"process {publisher.pid} .*{OWNER}"):
            Outbox(tmp_path)
        publisher.kill()
    publisher.wait()
    Outbox(tmp_path).close()


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 4 MiB, or what the test says."""
    with mounted(tmp_path / "disk", getattr(request, "param", "4m")) as directory:
        yield directory


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
def test_the_disk_of_an_outbox_is_full(small_disk: Path) -> None:
    """Refused, and nothing of what is in is lost; when the disk has room, the same frames go in."""
    stream = StreamKey(1, 1, "orders")
    frames = [Frame(stream, sequence, 1, os.urandom(400)) for sequence in range(1, 200)]
    outbox = Outbox(small_disk / "outbox")
    outbox.put(frames[:4])
    put = 4
    with contextlib.suppress(JournalFullError):
        for frame in frames[4:]:
            outbox.put([frame])
            put += 1
    assert put < 100
    for _ in range(3):
        with pytest.raises(JournalFullError, match="the disk is full") as caught:
            outbox.put(frames[put : put + 50])
        assert caught.value.wanted > 50 * 400
    outbox.confirm(stream, 3)  # there may be no room even for that
    outbox.close()
    again = Outbox(small_disk / "outbox")
    assert list(again.left) in (frames[:put], frames[3:put])
    again.confirm(stream, 3)
    mount(small_disk, "remount,size=4m")
    again.put(frames[put : put + 50])
    again.close()
    third = Outbox(small_disk / "outbox")
    assert list(third.left) == frames[3 : put + 50]
    third.close()
    assert check(small_disk / "outbox").damage == ()


def batch(number: int, frames: int = 20) -> list[Entry]:
    start = number * frames
    return [Entry(FULL, start + n + 1, 1, start + n, os.urandom(3_500)) for n in range(frames)]


def fill(journal: LmdbJournal) -> int:
    """Append until there is no room; the number of the batch that was refused."""
    for number in range(100):
        try:
            last = journal.append(batch(number))
        except JournalFullError as error:
            assert "the disk is full" in error.limit
            return number
        journal.store_accounts("reader", {FULL: b"%d" % last})
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
    assert (journal.last_position, journal.last_sequence(FULL)) == (last, last)
    records = journal.read(0, limit=ALL, max_bytes=ALL)
    assert [record.position for record in records] == list(range(1, last + 1))
    assert journal.statistics().refused_full == 4
    ballast.unlink()
    assert journal.append(batch(number)) == last + 20
    journal.close()
    again = LmdbJournal(small_disk / "journal")
    assert again.last_position == last + 20
    assert again.read(0, limit=last, max_bytes=ALL) == records
    assert again.load_accounts("reader") == {FULL: b"%d" % last}
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
            journal.append([Entry(StreamKey(1, 1, "disk.crumbs"), sequence, 1, 0, bytes(3_500))])
    for number in range(500):
        journal.store_accounts(f"reader-{number % 50}", {FULL: b"%d" % number})
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
            journal.store_accounts("reader", {FULL: b"%d" % number})
            assert journal.trim(0).frames > 0
            journal.append(batch(number))
        number += 1
    assert journal.statistics().removed == {"expired by size": journal.first_position - 1}
    assert (tmp_path / DATA).stat().st_size < (2 << 20) + (1 << 20)
    journal.close()
    assert check(tmp_path).damage == ()
