"""The frame codec: what every message pays that leaves its event loop, alone and 64 to a frame.

Four integers stand for a price or a signal; 160 bytes, most of them in addresses and 256-bit numbers, for a trade.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mycelium import Message
from mycelium.bench.messages import Sample
from mycelium.core.envelope import build_frame, decode_frame
from mycelium.core.message import PayloadCodec

FRAMES = 2_000


class Trade(Message, type_id=2, topic="bench.trades.{lane}"):
    """A hundred and sixty bytes."""

    lane: int
    number: int
    pool: bytes
    sender: bytes
    receiver: bytes
    amount_in: bytes
    amount_out: bytes
    block: int
    log_index: int


def four_integers(number: int) -> Sample:
    return Sample(0, number, number, number)


def trade(number: int) -> Trade:
    address, amount = bytes(20), bytes(32)
    return Trade(200, (1 << 32) + number, address, address, address, amount, amount, 1 << 32, 1 << 20)


MESSAGES: dict[str, Callable[[int], Message]] = {"four_integers": four_integers, "160_bytes": trade}

counts = pytest.mark.parametrize("count", [1, 64])
kinds = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MESSAGES.items()])


def build(codec: PayloadCodec[Any], messages: Sequence[Message]) -> bytes:
    payload = codec.encode(messages)
    return build_frame("bench.x", 1, len(messages), 7, 8, 1, 9, payload)


def parse(codec: PayloadCodec[Any], frame: bytes) -> list[Any]:
    envelope = decode_frame(frame)
    return codec.decode(envelope.payload, envelope.count)


def test_a_trade_has_160_bytes() -> None:
    assert len(PayloadCodec(Trade).encode([trade(1)])) - 1 == 160  # without the head of the array


@counts
@kinds
def test_build(benchmark: Any, make: Callable[[int], Message], count: int) -> None:
    messages = [make(n) for n in range(count)]
    codec = PayloadCodec(type(messages[0]))

    def many() -> None:
        for _ in range(FRAMES):
            build(codec, messages)

    benchmark.pedantic(many, rounds=7, warmup_rounds=1)
    report(benchmark, count)


@counts
@kinds
def test_parse(benchmark: Any, make: Callable[[int], Message], count: int) -> None:
    messages = [make(n) for n in range(count)]
    codec = PayloadCodec(type(messages[0]))
    frame = build(codec, messages)

    def many() -> None:
        for _ in range(FRAMES):
            parse(codec, frame)

    benchmark.pedantic(many, rounds=7, warmup_rounds=1)
    assert parse(codec, frame) == messages
    report(benchmark, count)


def report(benchmark: Any, count: int) -> None:
    if benchmark.stats is not None:
        each = benchmark.stats.stats.median / FRAMES / count
        print(f"\n  {benchmark.name}: {1 / each / 1e6:.2f} M messages/s, {each * 1e9:.0f} ns each")
