"""The outbox against a plain list, and what it refuses."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.errors import ClosedError
from mycelium.journal import JournalDamagedError, JournalError, JournalFullError, JournalOrderError, LmdbJournal, Outbox
from mycelium.journal.disk import DATA
from mycelium.journal.salvage import check, salvage

STREAMS = [StreamKey(1, epoch, topic) for epoch in (10, 2**63) for topic in ("orders", "orders.é")]
A, B = STREAMS[:2]


def frames(stream: StreamKey, first: int, last: int) -> list[Frame]:
    return [Frame(stream, sequence, 1, b"%d" % sequence * 9) for sequence in range(first, last + 1)]


def left(directory: Path) -> list[Frame]:
    """What a process that starts now would find."""
    outbox = Outbox(directory)
    outbox.close()
    return list(outbox.left)


class OutboxMachine(RuleBasedStateMachine):
    """Drives an outbox and a list of the frames that are not confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="outbox"))
        self.directory = self.base / "outbox"

    @initialize()
    def begin(self) -> None:
        self.model: list[Frame] = []
        self.ends = dict.fromkeys(STREAMS, 0)
        self.outbox = Outbox(self.directory)
        assert self.outbox.left == ()

    @rule(
        parts=st.lists(
            st.tuples(
                st.sampled_from(STREAMS),
                st.sampled_from([0, 0, 1, 7]),
                st.integers(1, 5),
                st.sampled_from([0, 9, 3_000]),
            ),
            max_size=9,
        )
    )
    def put(self, parts: list[tuple[StreamKey, int, int, int]]) -> None:
        """A publish that was cancelled leaves a hole before the next frame."""
        batch: list[Frame] = []
        for stream, hole, count, size in parts:
            frame = Frame(
                stream, self.ends[stream] + hole + 1, count, f"{stream} {self.ends[stream]}".encode().ljust(size)
            )
            self.ends[stream] = frame.last
            batch.append(frame)
        self.outbox.put(batch)
        self.model += batch

    @rule(stream=st.sampled_from(STREAMS), last=st.integers(0, 60))
    def confirm(self, stream: StreamKey, last: int) -> None:
        self.outbox.confirm(stream, last)
        self.model = [frame for frame in self.model if frame.stream != stream or frame.last > last]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def confirm_some(self, data: st.DataObject) -> None:
        """Up to the last message of a frame, or into it."""
        frame = data.draw(st.sampled_from(self.model))
        self.confirm(frame.stream, frame.last - data.draw(st.integers(0, 1)))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def put_out_of_order(self, data: st.DataObject) -> None:
        again = data.draw(st.sampled_from(self.model))
        other = next(stream for stream in STREAMS if stream != again.stream)
        good = Frame(other, self.ends[other] + 1, 1, b"good")
        with pytest.raises(JournalOrderError):
            self.outbox.put([good, again])

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = Outbox(self.directory)
        assert list(self.outbox.left) == self.model

    @rule()
    def killed(self) -> None:
        """What another process would find now."""
        copy = self.base / "copy"
        shutil.copytree(self.directory, copy)
        try:
            assert left(copy) == self.model
            assert check(copy).damage == ()
        finally:
            shutil.rmtree(copy)

    @invariant()
    def holds_only_what_waits(self) -> None:
        if hasattr(self, "outbox"):
            held = {stream: [place.last for place in places] for stream, places in self.outbox._waiting.items()}
            assert held == {
                stream: [frame.last for frame in self.model if frame.stream == stream]
                for stream in {frame.stream for frame in self.model}
            }

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
        shutil.rmtree(self.base)


OutboxMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOutbox: Any = OutboxMachine.TestCase


def test_what_ended_is_forgotten(tmp_path: Path) -> None:
    """Incarnations come and go; their streams do not stay."""
    for epoch in range(1, 20):
        outbox = Outbox(tmp_path)
        stream = StreamKey(1, epoch, "orders")
        outbox.put(frames(stream, 1, 3))
        outbox.confirm(stream, 3)
        outbox.close()
    assert check(tmp_path).streams <= 2


def test_full_until_confirmed(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, max_bytes=1 << 20)
    batch = [Frame(A, sequence, 1, bytes(3_000)) for sequence in range(1, 1_000)]
    with pytest.raises(JournalFullError) as caught:
        outbox.put(batch)
    assert caught.value.wanted > 999 * 3_000
    assert left_in_copy(tmp_path) == []
    put = 0
    for round_number in range(5):
        try:
            while True:
                outbox.put([Frame(A, put + 1, 1, bytes(3_000))])
                put += 1
        except JournalFullError as error:
            assert "max_bytes" in error.limit
        outbox.confirm(A, put - 10)
        assert [frame.sequence for frame in left_in_copy(tmp_path)] == list(range(put - 9, put + 1)), round_number
    assert put > 1_000
    outbox.close()


def left_in_copy(directory: Path) -> list[Frame]:
    copy = directory.with_name(directory.name + ".copy")
    shutil.copytree(directory, copy)
    try:
        return left(copy)
    finally:
        shutil.rmtree(copy)


def filled(directory: Path) -> Path:
    outbox = Outbox(directory)
    for number in range(20):
        outbox.put(frames(A, number * 3 + 1, number * 3 + 3) + frames(B, number + 1, number + 1))
    outbox.close()
    return directory


def test_damage_is_refused(tmp_path: Path) -> None:
    data = (filled(tmp_path) / DATA).read_bytes()
    for damage in (data.replace(b"33" * 9, b"33" * 8 + b"34"), data[:-5_000], bytes(8_192) + data[8_192:], b""):
        (tmp_path / DATA).write_bytes(damage)
        with pytest.raises(JournalDamagedError, match=f"{tmp_path}: damaged") as caught:
            Outbox(tmp_path)
        assert "mycelium journal salvage" in str(caught.value)
    (tmp_path / DATA).unlink()
    with pytest.raises(JournalDamagedError, match=r"data.mdb is not there or empty"):
        Outbox(tmp_path)


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    data = (filled(tmp_path) / DATA).read_bytes()
    (tmp_path / DATA).write_bytes(data.replace(b"33" * 9, b"33" * 8 + b"34"))
    with pytest.raises(JournalDamagedError, match="position 43: crc32"):
        Outbox(tmp_path)


def test_a_salvaged_outbox_with_a_hole_is_sent(tmp_path: Path) -> None:
    """The store takes what stands behind the hole once it has been told where that begins."""
    data = (filled(tmp_path / "old") / DATA).read_bytes()
    salvage(tmp_path / "old", tmp_path / "sound")
    assert len(left(tmp_path / "sound")) == 80
    (tmp_path / "old" / DATA).write_bytes(data.replace(b"33" * 9, b"33" * 8 + b"34"))
    assert salvage(tmp_path / "old", tmp_path / "new").frames == 79
    found = [frame.sequence for frame in left(tmp_path / "new") if frame.stream == A]
    assert found == [sequence for sequence in range(1, 61) if sequence != 33]


def test_frames_of_no_stream(tmp_path: Path) -> None:
    outbox = Outbox(filled(tmp_path))
    state = outbox._catalogue.by_key[A]
    outbox._engine.write(lambda writer: writer.forget(state), 0)
    outbox.close()
    with pytest.raises(JournalDamagedError, match="position 1: stream 1 is not known"):
        Outbox(tmp_path)


def test_a_commit_that_failed_and_yet_came_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk failed after the frames were written: they are in, and are not put again."""
    outbox = Outbox(tmp_path)
    outbox.put(frames(A, 1, 2))
    write = outbox._engine.write

    def written(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        raise JournalError(str(tmp_path), "Input/output error")

    def refused(*_: Any, **__: Any) -> None:
        raise JournalError(str(tmp_path), "Input/output error")

    monkeypatch.setattr(outbox._engine, "write", refused)
    with pytest.raises(JournalError, match="Input"):
        outbox.put(frames(A, 3, 4))
    monkeypatch.setattr(outbox._engine, "write", written)
    outbox.put(frames(A, 3, 4))
    monkeypatch.setattr(outbox._engine, "write", write)
    outbox.put(frames(A, 5, 5))
    outbox.close()
    assert left(tmp_path) == frames(A, 1, 5)


def test_limits_and_closing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1048576"):
        Outbox(tmp_path, max_bytes=1_000)
    outbox = Outbox(tmp_path)
    outbox.close()
    outbox.close()
    with pytest.raises(ClosedError):
        outbox.put(frames(A, 1, 1))
    with pytest.raises(ClosedError):
        outbox.confirm(A, 1)


def test_a_journal_reads_an_outbox(tmp_path: Path) -> None:
    """They are stores of the same kind, so the tools are the same."""
    journal = LmdbJournal(filled(tmp_path))
    assert [(extent.stream, extent.last) for extent in journal.streams()] == [(A, 60), (B, 20)]
    journal.close()
