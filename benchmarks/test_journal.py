"""Journal and outbox: what is paid for every frame before it is forwarded or sent, and what reading one costs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from benchmarks.test_local import Tick
from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.envelope import Envelope, encode_frame
from mycelium.core.message import PayloadCodec
from mycelium.journal import Durability, Entry, Journal, LmdbJournal, MemoryJournal, Outbox

CODEC = PayloadCodec(Tick)
STREAMS = [StreamKey(7, 8, f"bench.{number}") for number in range(100)]
BATCHES = 300
NS = 1_000_000


def frame_of(messages: int) -> bytes:
    """Of about 110 bytes for one message and 3.5 kB for 64."""
    ticks = [Tick("a" * 16, n << 32, n << 32, n << 32, n << 32) for n in range(messages)]
    return encode_frame(Envelope("bench.0", 1, messages, 7, 8, 1, 9, CODEC.encode(ticks)))


def batches_of(messages: int, batch: int) -> Iterator[list[Entry]]:
    frame = frame_of(messages)
    for number in count():
        start = number * batch
        yield [
            Entry(STREAMS[n % 100], n // 100 * messages + 1, messages, n, frame) for n in range(start, start + batch)
        ]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal(max_bytes=1 << 30, max_frames=1 << 20)
        return
    journal = LmdbJournal(tmp_path / "journal", durability=Durability(request.param), max_bytes=1 << 33)
    yield journal
    journal.close()


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("messages", [1, 64])
@pytest.mark.parametrize("store", ["memory", "process", "group"], indirect=True)
def test_append(benchmark: Any, store: Journal, messages: int, batch: int) -> None:
    source = batches_of(messages, batch)
    clock = count(0, NS // 4)  # a batch each quarter of a millisecond: one sync in 40 batches

    def prepared() -> tuple[tuple[list[list[Entry]]], dict[str, Any]]:
        return ([next(source) for _ in range(BATCHES)],), {}

    def many(batches: list[list[Entry]]) -> None:
        for entries in batches:
            store.append(entries)
            store.sync_if_due(next(clock))

    benchmark.pedantic(many, setup=prepared, rounds=7, warmup_rounds=1)
    report(benchmark, BATCHES * batch)


@pytest.mark.parametrize("messages", [1, 64])
@pytest.mark.parametrize("store", ["memory", "process"], indirect=True)
@pytest.mark.parametrize("kind", ["all", "stream"])
def test_read(benchmark: Any, store: Journal, messages: int, kind: str) -> None:
    source = batches_of(messages, 100)
    for _ in range(100):
        store.append(next(source))

    def everything() -> int:
        after, frames = 0, 0
        while records := store.read(after, limit=256, max_bytes=1 << 20):
            after = records[-1].position
            frames += len(records)
        return frames

    def streams() -> int:
        return sum(len(store.read_stream(stream, 1, limit=1_000, max_bytes=1 << 30)) for stream in STREAMS)

    frames = benchmark.pedantic(everything if kind == "all" else streams, rounds=7, warmup_rounds=1)
    assert frames == 10_000
    report(benchmark, frames)


def test_refuse_duplicates(benchmark: Any, tmp_path: Path) -> None:
    """A look at the last sequence of a stream, among 5,000."""
    journal = LmdbJournal(tmp_path / "journal")
    journal.append([Entry(StreamKey(7, 8, f"bench.{number}"), 1, 1, 1, b"x") for number in range(5_000)])

    def many() -> None:
        for _ in range(5_000):
            journal.last_sequence(STREAMS[17])

    benchmark.pedantic(many, rounds=7, warmup_rounds=1)
    report(benchmark, 5_000)
    journal.close()


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("what", ["put", "confirm"])
def test_outbox(benchmark: Any, tmp_path: Path, what: str, batch: int) -> None:
    """A publisher's own stream, in batches; each is confirmed in the end, a batch at a time."""
    outbox = Outbox(tmp_path / "outbox")
    frame = frame_of(1)
    starts = count(1, batch * BATCHES)

    def put(start: int) -> None:
        for first in range(start, start + batch * BATCHES, batch):
            outbox.put([Frame(STREAMS[0], n, 1, frame) for n in range(first, first + batch)])

    def confirm(start: int) -> None:
        for first in range(start, start + batch * BATCHES, batch):
            outbox.confirm(STREAMS[0], first + batch - 1)

    def prepared() -> tuple[tuple[int], dict[str, Any]]:
        start = next(starts)
        outbox.confirm(STREAMS[0], start - 1)
        if what == "confirm":
            put(start)
        return (start,), {}

    benchmark.pedantic(put if what == "put" else confirm, setup=prepared, rounds=7, warmup_rounds=1)
    report(benchmark, BATCHES * batch)
    outbox.close()


def report(benchmark: Any, frames: int) -> None:
    if benchmark.stats is not None:
        each = benchmark.stats.stats.median / frames
        print(f"\n  {benchmark.name}: {1 / each / 1e3:.0f} k frames/s, {each * 1e6:.2f} µs each")
