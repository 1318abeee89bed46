"""Spans on their way to a collector, over OTLP. The only file that knows OpenTelemetry.

A span is made when it has ended, from what is known then. The SDK's own spans, which are open while their code runs,
cost ten times as much to make.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Sequence
from functools import lru_cache

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from mycelium.core.trace import TraceContext
from mycelium.observe.tracing import Ended, SpanCounts

MAX_QUEUED = 4_096
"""Spans that wait to be sent. Chosen by us: more than a minute of the default rate."""

MAX_BATCH = 64
"""Spans of one request. Chosen by us: to encode more at once holds up the event loop for longer than 5 ms."""

DELAY_MS = 1_000
"""Between two requests, while there is little to send."""

TIMEOUT_SECONDS = 5.0
"""How long a collector may take for one request."""

CLOSE_SECONDS = 2.0
"""How long the end of the process waits for the last spans to be sent."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("tracing")

KINDS = {"publish": SpanKind.PRODUCER, "process": SpanKind.CONSUMER}
_SCOPE = "mycelium"


class _Counted(SpanExporter):
    def __init__(self, exporter: SpanExporter, counts: SpanCounts) -> None:
        self._exporter = exporter
        self._counts = counts

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self._counts.sent += len(spans)
            else:
                self._counts.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _ToOurLog(logging.Handler):
    """OpenTelemetry logs with the standard library; its lines are to look like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("spans", error=record.getMessage())


class SpanSender:
    """Sends spans, from a thread of its own.

    Args:
        endpoint: of the collector, such as ``http://127.0.0.1:4318``. Headers, certificates and compression are set by
            the environment, as OpenTelemetry has it: ``OTEL_EXPORTER_OTLP_HEADERS`` and others.
        system: the name of the whole system.
        process: the name of this process.
        version: of the program.
        epoch: when the process began, ns since the Unix epoch.
    """

    def __init__(self, endpoint: str, *, system: str, process: str, version: str, epoch: int) -> None:
        self.counts: SpanCounts = SpanCounts()
        self._common: dict[str, str | int] = {
            "service.namespace": system,
            "service.version": version,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}:{epoch}",
            "mycelium.process": process,
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
            "process.runtime.version": platform.python_version(),
        }
        self._scope = InstrumentationScope(_SCOPE, version)
        self._resource = lru_cache(maxsize=256)(self._make_resource)
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [_ToOurLog()], False
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=TIMEOUT_SECONDS)
        self._processor = BatchSpanProcessor(
            _Counted(exporter, self.counts),
            max_queue_size=MAX_QUEUED,
            schedule_delay_millis=DELAY_MS,
            max_export_batch_size=MAX_BATCH,
        )

    def _make_resource(self, service: str) -> Resource:
        return Resource.create({**self._common, "service.name": service})

    def send(self, ended: Ended) -> None:
        """Send a span, soon. It never waits: what there is no room for is counted as made and not as sent."""
        self.counts.made += 1
        self._processor.on_end(
            ReadableSpan(
                name=f"{ended.operation} {ended.what}".rstrip(),
                context=_span_context(ended.context),
                parent=None if ended.parent is None else _span_context(ended.parent, is_remote=True),
                resource=self._resource(ended.service),
                attributes=dict(ended.attributes),
                events=[Event(what, timestamp=time) for time, what in ended.events],
                links=[Link(_span_context(link, is_remote=True)) for link in ended.links],
                kind=KINDS.get(ended.operation, SpanKind.INTERNAL),
                status=Status(StatusCode.UNSET) if ended.error is None else Status(StatusCode.ERROR, ended.error),
                start_time=ended.began,
                end_time=max(ended.began, ended.ended),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Send what there is, for some seconds at most."""
        self._processor._batch_processor.shutdown(round(CLOSE_SECONDS * 1000))


def _span_context(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        context.trace_id,
        context.span_id,
        is_remote,
        TraceFlags(TraceFlags.SAMPLED),
        TraceState.from_header([context.state]) if context.state else None,
    )
