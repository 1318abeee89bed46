"""Both stores against a plain list: whatever is done to them, they say what the list says."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mycelium.core.delivery.frames import StreamKey
from mycelium.journal import (
    Durability,
    Entry,
    Journal,
    JournalOrderError,
    LmdbJournal,
    MemoryJournal,
)
from tests.unit.journal.frames import ALL, TOPICS, everything
from tests.unit.journal.model import RETENTION, Model

KEYS = [StreamKey(source, epoch, topic) for source in (1, 2) for epoch in (10, 2**63) for topic in TOPICS]

# Some begin like others: what is the end of a name?
READERS = st.sampled_from(["a", "a\1", "ab", "é"])

# Stream, messages skipped before it, messages in it, ns since the frame before, bytes.
FRAMES = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.integers(0, 3),
        st.integers(1, 5),
        st.integers(-5, 20),
        st.sampled_from([0, 9, 200, 2_500]),
    ),
    min_size=1,
    max_size=6,
)


class JournalMachine(RuleBasedStateMachine):
    """Drives a journal and the model side by side."""

    max_frames: int | None = None

    def open(self) -> Journal:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.model = Model(self.max_frames)
        self.now = 0
        self.journal = self.open()

    @rule(frames=FRAMES)
    def append(self, frames: list[tuple[StreamKey, int, int, int, int]]) -> None:
        entries: list[Entry] = []
        ends = {key: end for key, (end, _) in self.model.ends.items()}
        for key, skip, count, step, size in frames:
            sequence = ends.get(key, 0) + 1 + skip
            ends[key] = sequence + count - 1
            self.now = max(0, self.now + step)
            frame = f"{key} {sequence}".encode().ljust(size, b".")
            entries.append(Entry(key, sequence, count, self.now, frame))
        self.model.append(entries)
        assert self.journal.append(entries) == self.model.last_position

    @rule(first=FRAMES, second=FRAMES, third=FRAMES)
    def append_thrice(self, first: list[Any], second: list[Any], third: list[Any]) -> None:
        """Most of what happens to a journal."""
        for frames in (first, second, third):
            self.append(frames)

    @precondition(lambda self: self.model.ends)
    @rule(data=st.data())
    def append_backwards(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.ends)))
        last = self.model.ends[key][0]
        good = Entry(key, last + 1, 1, self.now, b"good")
        bad = Entry(key, data.draw(st.integers(1, last + 1)), 1, self.now, b"bad")
        with pytest.raises(JournalOrderError) as caught:
            self.journal.append([good, bad])
        assert (caught.value.sequence, caught.value.last_sequence) == (bad.sequence, last + 1)

    @rule(after=st.integers(0, 80), limit=st.integers(1, 20), max_bytes=st.sampled_from([0, 50, 3_000, ALL]))
    def read(self, after: int, limit: int, max_bytes: int) -> None:
        rows = [row for row in self.model.rows if row.position > after]
        assert self.journal.read(after, limit=limit, max_bytes=max_bytes) == self.model.read(rows, limit, max_bytes)

    @rule(
        key=st.sampled_from(KEYS),
        start=st.integers(0, 60),
        limit=st.integers(1, 20),
        max_bytes=st.sampled_from([0, 50, 3_000, ALL]),
    )
    def read_stream(self, key: StreamKey, start: int, limit: int, max_bytes: int) -> None:
        rows = [row for row in self.model.rows if row.key == key and row.sequence + row.count > start]
        found = self.journal.read_stream(key, start, limit=limit, max_bytes=max_bytes)
        assert found == self.model.read(rows, limit, max_bytes)

    @rule(time=st.integers(0, 300))
    def position_at(self, time: int) -> None:
        later = [row.position for row in self.model.rows if row.arrived >= time]
        assert self.journal.position_at(time) == (later[0] if later else self.model.last_position + 1)

    @rule(forward=st.integers(0, 40), limit=st.sampled_from([1, 3, 1000]))
    def trim(self, forward: int, limit: int) -> None:
        now = self.now + forward
        removed = self.model.trim(now, limit)
        trimmed = self.journal.trim(now, limit=limit)
        self.model.forget()
        expected: dict[tuple[str, StreamKey], list[int]] = {}
        for cause, row in self.model.unreported + removed:
            sums = expected.setdefault((cause, row.key), [0, 0, 0])
            for place, number in enumerate((1, row.count, len(row.frame))):
                sums[place] += number
        self.model.unreported = []
        found: dict[tuple[str, StreamKey], list[int]] = {}
        for each in trimmed.removals:
            sums = found.setdefault((each.cause, each.stream), [0, 0, 0])
            for place, number in enumerate((each.frames, each.messages, each.frame_bytes)):
                sums[place] += number
        assert found == expected
        if not trimmed.more:
            assert self.journal.trim(now).frames == 0

    @rule(key=st.sampled_from(KEYS), position=st.integers(0, 80))
    def first_from(self, key: StreamKey, position: int) -> None:
        later = [row.sequence for row in self.model.rows if row.key == key and row.position >= position]
        end = self.model.ends.get(key, (0, 0))[0]
        assert self.journal.first_from(key, position) == (later[0] if later else end + 1)

    @rule(reader=READERS, accounts=st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=9)))
    def store_accounts(self, reader: str, accounts: dict[StreamKey, bytes]) -> None:
        known = {key: account for key, account in accounts.items() if key in self.model.ends}
        if known != accounts:
            with pytest.raises(ValueError, match="is not known"):
                self.journal.store_accounts(reader, accounts)
        self.journal.store_accounts(reader, known)
        self.model.accounts.setdefault(reader, {}).update(known)

    @rule(reader=READERS)
    def forget_reader(self, reader: str) -> None:
        self.journal.forget_reader(reader)
        self.model.accounts.pop(reader, None)

    @rule()
    def reopen(self) -> None:
        """A restart changes nothing."""

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "journal"):
            return
        model, journal = self.model, self.journal
        assert journal.last_position == journal.synced_position == model.last_position
        assert journal.first_position == (model.rows[0].position if model.rows else model.last_position + 1)
        assert everything(journal, at_once=7) == [row.record for row in model.rows]
        assert {extent.stream: extent for extent in journal.streams()} == {key: model.extent(key) for key in model.ends}
        for key in KEYS:
            assert journal.last_sequence(key) == model.ends.get(key, (0, 0))[0]
            assert journal.extent(key) == (model.extent(key) if key in model.ends else None)
        for topic in TOPICS:
            rows = [row for row in model.rows if row.key.topic == topic]
            assert journal.latest(topic) == (rows[-1].record if rows else None)
        assert journal.readers() == sorted(model.accounts)
        for reader in ("a", "a\1", "ab", "é", "nobody"):
            assert journal.knows_reader(reader) == (reader in model.accounts)
            assert journal.load_accounts(reader) == model.accounts.get(reader, {})
        statistics = journal.statistics()
        assert (statistics.frames, statistics.streams) == (len(model.rows), len(model.ends))
        assert statistics.readers == len(model.accounts)
        assert statistics.frame_bytes == sum(len(row.frame) for row in model.rows)

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()


class MemoryMachine(JournalMachine):
    max_frames = 12

    def open(self) -> Journal:
        return MemoryJournal(max_frames=12, retention=RETENTION)


class LmdbMachine(JournalMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="journal"))
        self.durability = Durability.PROCESS

    def open(self) -> Journal:
        return LmdbJournal(self.directory / "store", retention=RETENTION, durability=self.durability)

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.journal = self.open()

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


def _case(machine: type[JournalMachine], examples: int) -> Callable[..., Any]:
    machine.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return machine.TestCase


TestMemory: Any = _case(MemoryMachine, 80)
TestLmdb: Any = _case(LmdbMachine, 50)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("machine", [MemoryMachine, LmdbMachine])
def test_a_long_walk(machine: type[JournalMachine], seed: int) -> None:
    """The same, without a search: deeper than the machine above goes."""
    dice = random.Random(seed)
    walk = machine()
    walk.begin()
    for _ in range(80):
        for _ in range(dice.randrange(3)):
            walk.append(
                [
                    (
                        dice.choice(KEYS),
                        dice.randrange(3),
                        dice.randint(1, 5),
                        dice.randint(-5, 20),
                        dice.choice([9, 200]),
                    )
                    for _ in range(dice.randint(1, 8))
                ]
            )
        after, key, limit = dice.randrange(walk.model.last_position + 2), dice.choice(KEYS), dice.randint(1, 20)
        max_bytes = dice.choice([0, 300, ALL])
        walk.read(after, limit, max_bytes)
        end = walk.model.ends.get(key, (0, 0))[0]
        for start in range(max(0, end - 12), end + 2):
            walk.read_stream(key, start, limit, max_bytes)
        for time in range(max(0, walk.now - 60), walk.now + 3):
            walk.position_at(time)
        for position in range(max(0, walk.model.last_position - 30), walk.model.last_position + 2):
            walk.first_from(key, position)
        if dice.random() < 0.5:
            walk.store_accounts(dice.choice(["a", "ab", "é"]), {dice.choice(KEYS): b"%d" % after for _ in range(3)})
        if dice.random() < 0.05:
            walk.forget_reader(dice.choice(["a", "ab"]))
        if dice.random() < 0.3:
            walk.trim(dice.randint(0, 40), dice.choice([2, 1_000]))
        if dice.random() < 0.1:
            walk.reopen()
        walk.agrees()
    walk.teardown()
