"""A collector of OpenTelemetry: takes traces by OTLP over HTTP, read with the official protobuf package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Collected:
    """A span as it has come."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    resource: dict[str, Any]
    attributes: dict[str, Any]
    links: tuple[str, ...]
    events: tuple[str, ...]
    is_error: bool
    status: str


class Collector:
    """What has come so far."""

    def __init__(self, answer: int = 200) -> None:
        self.answer = answer
        self.spans: list[Collected] = []
        self._came = threading.Condition()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        found = [
            _collected(span, _values(resource_spans.resource.attributes))
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]
        with self._came:
            self.spans += found
            self._came.notify_all()

    def wait_for(self, condition: Any, seconds: float = 30.0) -> list[Collected]:
        """All spans, as soon as ``condition`` holds of them."""
        with self._came:
            if not self._came.wait_for(lambda: condition(self.spans), seconds):
                names = sorted({f"{span.resource['service.name']}: {span.name}" for span in self.spans})
                raise AssertionError(f"not so after {seconds} s; {len(self.spans)} spans have come: {names}")
            return list(self.spans)


def _collected(span: Any, resource: dict[str, Any]) -> Collected:
    return Collected(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        resource,
        _values(span.attributes),
        tuple(link.span_id.hex() for link in span.links),
        tuple(event.name for event in span.events),
        span.status.code == Status.STATUS_CODE_ERROR,
        span.status.message,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collector(answer: int = 200) -> Iterator[tuple[Collector, str]]:
    """A collector, and its address."""
    made = Collector(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if made.answer == 200:
                made.take(body)
            data = ExportTraceServiceResponse().SerializeToString()
            self.send_response(made.answer)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
