"""Whatever is said to the ports of a store: it is counted, and everyone else is served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelium.core.delivery import control, sharing
from mycelium.core.delivery.control import AskMarks, Fetch, Fetched, FromClient, Join, Joined, Marks
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.joining import Start
from mycelium.journal import Journal, LmdbJournal, MemoryJournal
from mycelium.transport.store import Store
from tests.unit.transport.stores import TYPE_ID, Asker, entry, logged, open_store, stream

KEY = stream()

# Numbers at the edges of what msgpack and the journal can hold, among any.
numbers = st.sampled_from([-(1 << 63), -1, 0, 1, 2, 64, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
numbers |= st.integers(-(1 << 63), (1 << 64) - 1)
names = st.sampled_from(["", "reader", "a\0b", "é" * 64, "é" * 65, "x" * 129]) | st.text(max_size=200)
topics = st.sampled_from(["test.a", "test.*", ">", "", "Test", "a..b", "_sys.tick", "x" * 300]) | st.text(max_size=20)
keys = st.just(KEY) | st.builds(StreamKey, numbers, numbers, topics)
accounts = st.builds(
    Account, numbers, numbers, numbers, st.dictionaries(names, numbers, max_size=3) | st.just({"x" * 2000: 1})
)
readers = st.integers(1, 3) | numbers
patterns = st.lists(topics, max_size=3).map(tuple)
tenures = st.lists(st.builds(sharing.Tenure, keys, numbers, accounts), max_size=3).map(tuple)
said: st.SearchStrategy[FromClient] = st.one_of(
    st.builds(control.Alive, st.lists(names, max_size=3).map(tuple)),
    st.builds(control.Announce, keys, numbers, numbers),
    st.builds(control.Probe, numbers),
    st.builds(
        Join, readers, names, numbers | st.just(TYPE_ID), patterns, st.sampled_from(Start), numbers,
        st.booleans(), st.booleans(), numbers,
    ),
    st.builds(Fetch, readers, keys, numbers, numbers),
    st.builds(AskMarks, readers, numbers, numbers | st.just(TYPE_ID), patterns),
    st.builds(
        control.Report, readers, names, numbers, st.booleans(),
        st.lists(st.builds(control.Row, keys, accounts), max_size=3).map(tuple),
    ),
    st.builds(control.Leave, readers, names),
    st.builds(control.AskReaders),
    st.builds(control.AskBooks, numbers),
    st.builds(sharing.Progress, readers, numbers, tenures),
    st.builds(sharing.Released, readers, tenures),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real message with some bytes changed, taken out or put in."""
    data = bytearray(control.encode(draw(said)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
).map(msgspec.msgpack.encode)
named = st.tuples(st.sampled_from(["alive", "join", "fetch", "report", "progress"]), numbers, names).map(
    msgspec.msgpack.encode
)
words = st.lists(said.map(control.encode) | mutated() | anything | named | st.binary(max_size=60), max_size=20)


class Bench:
    """One store for all examples: what one leaves behind, the next ones meet."""

    def __init__(self, journal: Journal) -> None:
        self.runner = asyncio.Runner()
        self.journal = journal
        self.serial = 0
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.journal.append([entry(n) for n in range(1, 4)])
        self._opened = open_store(self.journal)
        self.store: Store = await self._opened.__aenter__()
        self.good, self.bad = Asker(self.store.address), Asker(self.store.address)

    async def _close(self) -> None:
        self.good.close()
        self.bad.close()
        await self._opened.__aexit__(None, None, None)

    def close(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    async def say(self, words: list[bytes]) -> None:
        """Say it, and wait until the store has come behind it."""
        self.serial += 1
        self.bad.say(*words, AskMarks(9, self.serial, TYPE_ID, ()))
        while (await self.bad.answer(Marks)).serial != self.serial:
            pass
        self.store.tick()
        await self._is_served()

    async def _is_served(self) -> None:
        """A reader that behaves joins, and gets what it asks for."""
        self.serial += 1
        self.good.say(Join(1, f"good-{self.serial}", TYPE_ID, ("test.a",), Start.EARLIEST))
        joined = await self.good.answer(Joined)
        assert [(place.stream, place.begin, place.last) for place in joined.places] == [(KEY, 1, 3)]
        self.good.say(Fetch(1, KEY, 2, 10))
        fetched = await self.good.answer(Fetched)
        assert fetched.frames == tuple(entry(n).frame for n in (2, 3))


@pytest.fixture(params=["memory", "lmdb"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(MemoryJournal() if request.param == "memory" else LmdbJournal(tmp_path / "journal"))
    yield made
    made.close()


def _faults(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in entries if line["log_level"] in ("error", "critical")]


def test_whatever_clients_say(bench: Bench) -> None:
    @settings(max_examples=150)
    @given(words)
    def say(words: list[bytes]) -> None:
        with logged() as entries:
            bench.runner.run(bench.say(words))
        assert not _faults(entries), "a fault of ours"

    say()
    assert bench.store.clerk.refused.counts["control message refused"] > 100
