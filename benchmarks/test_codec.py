"""The frame codec: what every message pays that leaves its event loop, alone and 64 to a frame."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.test_local import Tick
from mycelium.core.envelope import Envelope, decode_frame, encode_frame
from mycelium.core.message import PayloadCodec

CODEC = PayloadCodec(Tick)
FRAMES = 2_000


def build(messages: list[Tick]) -> bytes:
    payload = CODEC.encode(messages)
    return encode_frame(Envelope("bench.x", 1, len(messages), 7, 8, 1, 9, payload))


def parse(frame: bytes) -> list[Tick]:
    envelope = decode_frame(frame)
    return CODEC.decode(envelope.payload, envelope.count)


@pytest.mark.parametrize("count", [1, 64])
def test_build(benchmark: Any, count: int) -> None:
    messages = [Tick("x", n, n, n, n) for n in range(count)]

    def many() -> None:
        for _ in range(FRAMES):
            build(messages)

    benchmark.pedantic(many, rounds=7, warmup_rounds=1)
    report(benchmark, count)


@pytest.mark.parametrize("count", [1, 64])
def test_parse(benchmark: Any, count: int) -> None:
    messages = [Tick("x", n, n, n, n) for n in range(count)]
    frame = build(messages)

    def many() -> None:
        for _ in range(FRAMES):
            parse(frame)

    benchmark.pedantic(many, rounds=7, warmup_rounds=1)
    assert parse(frame) == messages
    report(benchmark, count)


def report(benchmark: Any, count: int) -> None:
    if benchmark.stats is not None:
        each = benchmark.stats.stats.median / FRAMES / count
        print(f"\n  {benchmark.name}: {1 / each / 1e6:.2f} M messages/s, {each * 1e9:.0f} ns each")
