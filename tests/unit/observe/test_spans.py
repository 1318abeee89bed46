"""Spans arrive at a collector as they were meant, and one that is away is no one's trouble."""

from __future__ import annotations

import io
import time

import pytest

from mycelium import __version__
from mycelium.core.trace import TraceContext
from mycelium.observe.logs import configure_logging
from mycelium.observe.spans import CLOSE_SECONDS, SpanSender
from mycelium.observe.tracing import Ended
from mycelium.transport.ports import free_ports
from tests.processes.collector import collector

PARENT = TraceContext(0xA, 0xB)


def ended(span_id: int = 0xC, **changes: object) -> Ended:
    values: dict[str, object] = {
        "operation": "process",
        "what": "Ping",
        "context": TraceContext(0xA, span_id, "vendor=1"),
        "parent": PARENT,
        "service": "reader",
        "began": 1_700_000_000_000_000_000,
        "ended": 1_700_000_000_000_002_500,
        "attributes": {"messaging.destination.name": "ping.a", "count": 3},
    }
    return Ended(**{**values, **changes})  # type: ignore[arg-type]


def sender(endpoint: str) -> SpanSender:
    return SpanSender(endpoint, system="test", process="market", version=__version__, epoch=7)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_span_says_what_it_was_told(end: str) -> None:
    with collector() as (collected, endpoint):
        sending = sender(endpoint + end)
        sending.send(
            ended(links=[TraceContext(0xD, 0xE)], events=[(1_700_000_000_000_001_000, "again")], error="ValueError: no")
        )
        sending.close()
        (span,) = collected.spans
    assert (span.name, span.trace_id, span.span_id) == ("process Ping", f"{0xA:032x}", f"{0xC:016x}")
    assert span.parent_id == f"{0xB:016x}"
    assert (span.began, span.ended) == (1_700_000_000_000_000_000, 1_700_000_000_000_002_500)
    assert span.attributes == {"messaging.destination.name": "ping.a", "count": 3}
    assert span.links == (f"{0xE:016x}",)
    assert span.events == ("again",)
    assert (span.is_error, span.status) == (True, "ValueError: no")
    for name, value in (
        ("service.name", "reader"),
        ("service.namespace", "test"),
        ("service.version", __version__),
        ("mycelium.process", "market"),
    ):
        assert span.resource[name] == value
    assert span.resource["service.instance.id"].endswith(":7")
    assert (sending.counts.made, sending.counts.sent, sending.counts.failed) == (1, 1, 0)


def test_a_span_without_a_parent_begins_a_trace() -> None:
    with collector() as (collected, endpoint):
        sending = sender(endpoint)
        sending.send(ended(parent=None, operation="block", what=""))
        sending.close()
        (span,) = collected.spans
    assert (span.name, span.parent_id, span.is_error) == ("block", "", False)


def test_many_spans_all_arrive() -> None:
    with collector() as (collected, endpoint):
        sending = sender(endpoint)
        for number in range(1, 1_001):
            sending.send(ended(number))
        collected.wait_for(lambda spans: len(spans) >= 900)
        sending.close()
        assert [int(span.span_id, 16) for span in collected.spans] == list(range(1, 1_001))
    assert sending.counts.sent == 1_000


def test_a_collector_that_refuses_is_said_once_and_counted() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    with collector(answer=400) as (_, endpoint):
        sending = sender(endpoint)
        sending.send(ended())
        sending.close()
    assert (sending.counts.made, sending.counts.sent, sending.counts.failed) == (1, 0, 1)
    assert "400" in out.getvalue()
    assert "Traceback" not in out.getvalue()


def test_a_collector_that_is_away_holds_up_nobody() -> None:
    sending = sender(f"http://127.0.0.1:{free_ports(1)[0]}")
    began = time.monotonic()
    for number in range(1, 10_001):
        sending.send(ended(number))
    sending.close()
    # Beside the waiting at the end, ten thousand spans are made: on a busy machine that takes a while, too.
    assert time.monotonic() - began < CLOSE_SECONDS + 20
    assert sending.counts.made == 10_000
    assert sending.counts.sent == 0
