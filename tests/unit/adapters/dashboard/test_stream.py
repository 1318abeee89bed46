"""What a browser is sent: the whole first, then changes in their order; a slow one costs nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from adapters.dashboard.picture import GONE_NS, Picture
from adapters.dashboard.signals import MAX_SIGNALS
from adapters.dashboard.stream import STILL_NS, Cursor, events
from tests.unit.adapters.dashboard.sayings import SECOND, said, signal, wiring

SERVICES = ("polygon_adapter", "flash_arbitrage", "run_report", "dashboard")


def heard(*at: int) -> Picture:
    picture = Picture(wiring(), began=0)
    for second in at:
        picture.take_statistics(said("all", second, *SERVICES), second * SECOND)
    return picture


def parsed(text: bytes) -> list[tuple[int, str, Any]]:
    """The events as a browser reads them, by the standard."""
    found = []
    for block in text.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def kinds(text: bytes) -> list[str]:
    return [kind for _, kind, _ in parsed(text)]


def test_the_whole_comes_first_and_then_nothing_until_something_changes() -> None:
    picture = heard(1)
    picture.signals.take(signal(1))
    cursor = Cursor(picture)
    first = cursor.events(SECOND)
    assert first.startswith(b"retry: 1000\n")
    ((number, kind, whole),) = parsed(first)
    assert (number, kind, whole["signals_total"]) == (1, "whole", 1)
    assert whole == picture.whole(SECOND)
    assert cursor.events(SECOND + STILL_NS - 1) == b""


def test_when_nothing_changes_it_is_said_after_a_second() -> None:
    cursor = Cursor(heard(1))
    cursor.events(SECOND)
    assert kinds(cursor.events(SECOND + STILL_NS)) == ["status"]


def test_news_signals_and_who_falls_silent_are_told_at_once() -> None:
    picture = heard(1)
    cursor = Cursor(picture)
    cursor.events(SECOND)
    picture.take_statistics(said("all", 2, *SERVICES), 2 * SECOND)
    assert kinds(cursor.events(SECOND + 1)) == ["status"]
    for number in (1, 2):
        picture.signals.take(signal(number))
    ((number, kind, more),) = parsed(cursor.events(SECOND + 2))
    assert (number, kind, [one["block"] for one in more["signals"]]) == (3, "signals", [2, 1])
    assert kinds(cursor.events(2 * SECOND + GONE_NS)) == ["status"]
    ((_, _, status),) = parsed(cursor.events(2 * SECOND + GONE_NS + 1))
    assert {one["state"] for one in status["services"]} == {"gone"}


def test_a_slow_browser_misses_no_signal_that_is_kept() -> None:
    picture = heard(1)
    cursor = Cursor(picture)
    cursor.events(SECOND)
    for number in range(MAX_SIGNALS):
        picture.signals.take(signal(number))
    ((_, kind, more),) = parsed(cursor.events(SECOND + 1))
    assert (kind, len(more["signals"])) == ("signals", MAX_SIGNALS)


def test_one_that_has_fallen_further_behind_gets_the_whole_anew() -> None:
    picture = heard(1)
    cursor = Cursor(picture)
    cursor.events(SECOND)
    for number in range(MAX_SIGNALS + 1):
        picture.signals.take(signal(number))
    ((_, kind, whole),) = parsed(cursor.events(SECOND + 1))
    assert (kind, len(whole["signals"]), whole["signals_total"]) == ("whole", MAX_SIGNALS, MAX_SIGNALS + 1)
    assert cursor.events(SECOND + 2) == b""


async def test_who_takes_nothing_keeps_nothing_waiting() -> None:
    picture, now = heard(1), SECOND
    closing = asyncio.Event()
    told = events(picture, lambda: now, closing)
    await anext(told)
    for second in range(2, 500):  # it is slow: eight minutes pass
        now = second * SECOND
        picture.take_statistics(said("all", second, *SERVICES), now)
        picture.signals.take(signal(second))
    ((_, kind, whole),) = parsed(await anext(told))
    assert (kind, whole["time_ms"], whole["signals_total"]) == ("whole", 499_000, 498)
    closing.set()
    assert [text async for text in told] == []


def test_text_of_others_breaks_no_line() -> None:
    picture = heard()
    cause = "a\nevent: whole\ndata: {}\n\n<script>"
    picture.take_statistics(said("all", 1, *SERVICES, dropped={cause: 1}), SECOND)
    ((_, _, whole),) = parsed(Cursor(picture).events(SECOND))
    assert whole["books"]["dropped"] == [{"cause": f"dropped: {cause}", "number": 1}]
