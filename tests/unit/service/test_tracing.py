"""What a host's tracer makes of what its services do: which messages are traced, and who is whose parent."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import ClassVar

import pytest
import structlog

from mycelium.bus.clock import SystemClock
from mycelium.core.envelope import source_id
from mycelium.core.message import Message
from mycelium.core.topics import Pattern
from mycelium.core.trace import MessageId
from mycelium.observe.figures import Figures
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.observe.metrics import Exposition
from mycelium.observe.sampling import Ratios
from mycelium.observe.tracing import Ended, SpanCounts, Tracer
from mycelium.service import DeadLetter, Draining, Host, NoSettings, Placement, Retry, Service, handles
from mycelium.service.figures import tell_host


class Ping(Message, type_id=1, topic="ping.{lane}"):
    lane: str
    number: int


class Pong(Message, type_id=2, topic="pong.{lane}"):
    lane: str
    number: int


class Kept:
    """Keeps spans instead of sending them."""

    def __init__(self) -> None:
        self.counts = SpanCounts()
        self.spans: list[Ended] = []

    def send(self, ended: Ended) -> None:
        self.spans.append(ended)

    def of(self, operation: str, what: str = "") -> list[Ended]:
        return [span for span in self.spans if (span.operation, span.what) == (operation, what)]


class Source(Service[NoSettings]):
    name = "source"
    publishes = (Ping,)
    count: ClassVar[int]
    in_blocks: ClassVar[int]

    async def run(self) -> None:
        for first in range(0, self.count, self.in_blocks or self.count):
            if not self.in_blocks:
                for number in range(self.count):
                    await self.publish(Ping("a", number))
                return
            with self.traced("block", number=first):
                await self.publish_many(Ping, [Ping("a", first + n) for n in range(self.in_blocks)])


class Middle(Service[NoSettings]):
    name = "middle"
    publishes = (Pong,)
    failures: ClassVar[dict[int, int]]

    @handles(Ping, retry=Retry(attempts=2, wait_initial=0.001))
    async def on_ping(self, ping: Ping) -> None:
        structlog.get_logger("t").info("handling", number=ping.number)
        await asyncio.to_thread(structlog.get_logger("t").debug, "in a thread")
        if self.failures.get(ping.number, 0) > 0:
            self.failures[ping.number] -= 1
            raise ValueError(f"{ping.number} is bad")
        if ping.number % 2:
            await self.publish(Pong("b", ping.number))
        else:
            # Who does it in a task of its own is no less a part of it.
            await asyncio.create_task(self.publish(Pong("b", ping.number)))


class End(Service[NoSettings]):
    name = "end"

    @handles(Pong)
    async def on_pong(self, pong: Pong) -> None:
        pass

    @handles(DeadLetter)
    async def on_dead_letter(self, letter: DeadLetter) -> None:
        pass


async def traced(
    ratios: Ratios, *, count: int = 10, in_blocks: int = 0, failures: dict[int, int] | None = None
) -> tuple[Kept, Host]:
    Source.count, Source.in_blocks, Middle.failures = count, in_blocks, failures or {}
    kept = Kept()
    clock = SystemClock()
    tracer = Tracer(ratios, kept, clock.time_ns, Random(7))
    host = Host([Placement(kind, NoSettings()) for kind in (Source, Middle, End)], clock=clock, tracer=tracer)
    outcome = await host.run()
    assert outcome.ledger.balanced
    return kept, host


def parents(spans: Sequence[Ended]) -> Callable[[Ended], Ended | None]:
    by_id = {span.context.span_id: span for span in spans}
    assert len(by_id) == len(spans), "every span has a number of its own"
    return lambda span: None if span.parent is None else by_id[span.parent.span_id]


async def test_a_trace_goes_from_publish_to_handler_to_what_that_publishes() -> None:
    kept, _ = await traced(Ratios(1.0, per_second=1_000_000))
    parent = parents(kept.spans)
    ends = kept.of("process", "Pong")
    assert len(ends) == 10
    for end in ends:
        way = [end]
        while (before := parent(way[-1])) is not None:
            way.append(before)
        assert [(span.service, span.operation, span.what) for span in way] == [
            ("end", "process", "Pong"),
            ("middle", "publish", "Pong"),
            ("middle", "process", "Ping"),
            ("source", "publish", "Ping"),
        ]
        assert len({span.context.trace_id for span in way}) == 1
        assert all(inner.began >= outer.began for inner, outer in pairwise(way))
    assert len({span.context.trace_id for span in ends}) == 10


async def test_a_message_knows_what_caused_it() -> None:
    kept, _ = await traced(Ratios(1.0, per_second=1_000_000), count=1)
    (ping,), (pong,) = kept.of("publish", "Ping"), kept.of("publish", "Pong")
    cause = MessageId.parse(str(pong.attributes["mycelium.causation"]))
    assert (cause.source, cause.topic, cause.sequence) == (source_id("source"), "ping.a", 1)
    assert MessageId.parse(str(ping.attributes["messaging.message.id"])) == cause
    assert "mycelium.causation" not in ping.attributes


async def test_about_as_many_as_asked_for_begin_a_trace_and_whole_ones() -> None:
    kept, _ = await traced(Ratios(0.1, per_second=1_000_000), count=3_000)
    begun = kept.of("publish", "Ping")
    assert 200 < len(begun) < 400
    for what in (("process", "Ping"), ("publish", "Pong"), ("process", "Pong")):
        found = kept.of(*what)
        assert {span.context.trace_id for span in found} == {span.context.trace_id for span in begun}
        assert len(found) == len(begun), f"{what}: no more, since what was left out begins nothing further on"


async def test_a_topic_with_a_ratio_of_its_own_is_looked_at_for_its_own_sake() -> None:
    topics = ((Pattern.parse("pong.>"), 1.0),)
    kept, _ = await traced(Ratios(0.0, per_second=1_000_000, topics=topics))
    assert kept.of("publish", "Ping") == []
    begun = kept.of("publish", "Pong")
    assert len(begun) == 10
    assert all(span.parent is None for span in begun)
    # In a task of its own one cannot be sure that the handler has not gone on to another message.
    causes = [str(span.attributes["mycelium.causation"]) for span in begun if "mycelium.causation" in span.attributes]
    assert [MessageId.parse(cause).sequence for cause in causes] == [2, 4, 6, 8, 10]


async def test_no_more_traces_begin_within_a_second_and_one_sees_it() -> None:
    kept, host = await traced(Ratios(1.0, per_second=3), count=1_000)
    seconds = {span.began // 1_000_000_000 for span in kept.of("publish", "Ping")}
    assert len(kept.of("publish", "Ping")) <= 3 * len(seconds)
    tracer = host._tracer
    assert tracer is not None
    figures = Figures()
    tracer.tell(figures)
    (held_back,) = figures.families["mycelium_traces_held_back"].values().values()
    assert held_back == 1_000 - len(kept.of("publish", "Ping"))


async def test_a_piece_of_work_is_one_trace() -> None:
    kept, _ = await traced(Ratios(1.0, per_second=1_000_000), count=12, in_blocks=4)
    blocks = kept.of("block")
    assert [span.attributes["number"] for span in blocks] == [0, 4, 8]
    published = kept.of("publish", "Ping")
    assert [span.attributes["messaging.batch.message_count"] for span in published] == [4, 4, 4]
    assert [span.parent for span in published] == [span.context for span in blocks]
    assert len(kept.of("process", "Ping")) == 12
    assert {span.context.trace_id for span in kept.spans} == {span.context.trace_id for span in blocks}


async def test_a_piece_of_work_that_is_left_out_is_left_out_whole() -> None:
    kept, _ = await traced(Ratios(0.5, per_second=1_000_000), count=400, in_blocks=4)
    blocks = kept.of("block")
    assert 20 < len(blocks) < 80
    assert {span.context.trace_id for span in kept.spans} == {span.context.trace_id for span in blocks}
    assert len(kept.of("process", "Pong")) == 4 * len(blocks)


async def test_what_fails_is_always_traced() -> None:
    kept, _ = await traced(Ratios(0.0), failures={3: 9})
    (failed,) = kept.spans
    assert (failed.operation, failed.what, failed.service) == ("process", "Ping", "middle")
    assert failed.error == "ValueError: 3 is bad"
    assert MessageId.parse(str(failed.attributes["messaging.message.id"])).sequence == 4
    assert failed.attributes["mycelium.handler"] == "middle.on_ping"


async def test_the_span_of_a_traced_message_says_what_went_wrong() -> None:
    kept, _ = await traced(Ratios(1.0, per_second=1_000_000), failures={3: 9, 5: 1})
    spans = {
        MessageId.parse(str(span.attributes["messaging.message.id"])).sequence: span
        for span in kept.of("process", "Ping")
    }
    assert len(spans) == 10, "none twice"
    assert spans[4].error == "ValueError: 3 is bad"
    assert spans[6].error is None
    assert [what for _, what in spans[6].events] == ["failed, called again: ValueError: 5 is bad"]
    (letter,) = kept.of("publish", "DeadLetter")
    assert letter.parent == spans[4].context


async def test_an_error_in_a_piece_of_work_is_its_own() -> None:
    kept = Kept()
    tracer = Tracer(Ratios(1.0), kept, SystemClock().time_ns)
    with pytest.raises(ValueError, match="bad"), tracer.scope("block", "source", {}):
        raise ValueError("bad")
    with pytest.raises(Draining), tracer.scope("block", "source", {}):
        raise Draining("source was asked to stop")
    assert [span.error for span in kept.spans] == ["ValueError: bad", None]


async def test_log_lines_say_of_which_trace_and_message_they_are() -> None:
    out = io.StringIO()
    configure_logging(form=LogFormat.JSON, stream=out)
    kept, _ = await traced(Ratios(0.5, per_second=1_000_000), count=8)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    handling = {line["number"]: line for line in lines if line["event"] == "handling"}
    assert len(handling) == 8
    spans = {
        MessageId.parse(str(span.attributes["messaging.message.id"])).sequence: span
        for span in kept.of("process", "Ping")
    }
    assert 0 < len(spans) < 8
    for number, line in handling.items():
        said = MessageId.parse(line["message"])
        assert (said.topic, said.sequence) == ("ping.a", number + 1)
        span = spans.get(number + 1)
        assert line.get("trace_id") == (f"{span.context.trace_id:032x}" if span is not None else None)
        assert line.get("span_id") == (f"{span.context.span_id:016x}" if span is not None else None)


async def test_a_histogram_shows_traces_that_stand_behind_it() -> None:
    kept, host = await traced(Ratios(1.0, per_second=1_000_000))
    exposition = Exposition(lambda figures: tell_host(figures, host.statistics()), "1.0")
    # In a thread: what the process says of itself is read from /proc.
    body, _ = await asyncio.to_thread(exposition.answer, "application/openmetrics-text; version=1.0.0")
    lines = [line for line in body.decode().splitlines() if 'subscription="end.on_pong"' in line and "trace_id" in line]
    assert lines, body.decode()
    traces = {f"{span.context.trace_id:032x}" for span in kept.spans}
    for line in lines:
        assert line.partition('trace_id="')[2][:32] in traces
    plain, _ = await asyncio.to_thread(exposition.answer, "text/plain")
    assert b"trace_id" not in plain, "the older format has no place for them"
