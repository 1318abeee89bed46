"""Hot path: the logs of a capture become messages: JSON, checks, decoding, and the state of the pools."""

from __future__ import annotations

from typing import Any

import msgspec

from adapters.polygon.capture import CaptureReader, Entry
from adapters.polygon.live.chain import _logs
from adapters.polygon.logs import log_to_json
from adapters.polygon.pools import PoolBook
from contracts.market import SwapEvent
from tests.conftest import REPOSITORY

CAPTURE = REPOSITORY / "adapters" / "polygon" / "captures" / "demo.jsonl.gz"


def test_a_capture_becomes_messages(benchmark: Any) -> None:
    def replay() -> tuple[int, int]:
        with CaptureReader(CAPTURE) as reader:
            book = PoolBook(reader.header.pools)
            logs = swaps = 0
            for reading in reader:
                assert isinstance(reading, Entry)
                logs += 1
                applied = book.apply(reading.log)
                if isinstance(applied, tuple):
                    swaps += isinstance(applied[-1], SwapEvent)
        return logs, swaps

    logs, swaps = benchmark(replay)
    assert swaps > 3_000
    benchmark.extra_info["logs"] = logs
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        print(f"\n  {logs / seconds:,.0f} logs/s, {swaps / seconds:,.0f} swaps/s")


def test_an_answer_becomes_messages(benchmark: Any) -> None:
    """As a live endpoint gives them out: many logs in one answer."""
    with CaptureReader(CAPTURE) as reader:
        header = reader.header
        said = [log_to_json(reading.log) for reading in reader if isinstance(reading, Entry)]
    raw = msgspec.Raw(msgspec.json.encode(said))

    def decode() -> int:
        book = PoolBook(header.pools)
        return sum(isinstance(book.apply(log), tuple) for log in _logs(raw, 0))

    assert benchmark(decode) > 5_000
    if benchmark.stats is not None:
        print(f"\n  {len(said) / benchmark.stats.stats.median:,.0f} logs/s")
