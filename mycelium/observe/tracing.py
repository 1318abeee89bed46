"""Spans of what happens to messages: published, kept by the broker, read back, handled, failed.

The trace of a message travels with it (:mod:`mycelium.core.trace`). A span has the one for its parent that published
the message; the broker does not change frames, so its span stands beside that of the handler, and both are parts of
the publisher's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Protocol

from mycelium.core.envelope import Envelope
from mycelium.core.errors import Draining
from mycelium.core.trace import Mark, MessageId, Published, TraceContext, marks_of
from mycelium.observe.current import HANDLING, LEFT_OUT, SPAN, OpenSpan, handled, id_of
from mycelium.observe.figures import Figures
from mycelium.observe.sampling import Ratios, Sampler
from mycelium.transport.streams import Item

MAX_LINKS = 32
"""Spans that one of a batch is linked with. More would not help anybody, and OpenTelemetry's default is 128."""


@dataclass(frozen=True)
class Ended:
    """A span that has ended.

    Args:
        operation: ``publish``, ``process``, or what else was done.
        what: of what: the name of a contract.
        context: of the span itself.
        parent: of the span that it is a part of.
        service: whose work it was.
        began: ns since the Unix epoch.
        ended: ns since the Unix epoch.
        attributes: what else is known.
        links: spans that it has to do with, but is no part of.
        events: what happened in it: when, ns since the Unix epoch, and what.
        error: what went wrong.
    """

    operation: str
    what: str
    context: TraceContext
    parent: TraceContext | None
    service: str
    began: int
    ended: int
    attributes: Mapping[str, str | int]
    links: Sequence[TraceContext] = ()
    events: Sequence[tuple[int, str]] = ()
    error: str | None = None


@dataclass
class SpanCounts:
    """What has become of the spans.

    Args:
        made: spans.
        sent: spans that a collector has taken.
        failed: spans that none has taken.
    """

    made: int = 0
    sent: int = 0
    failed: int = 0


class Sender(Protocol):
    """Where spans go: :class:`~mycelium.observe.spans.SpanSender`."""

    @property
    def counts(self) -> SpanCounts:
        """What has become of them."""
        ...

    def send(self, ended: Ended) -> None:
        """Send a span, soon."""
        ...


class Tracer:
    """Traces what one process does.

    Args:
        ratios: which messages begin a trace.
        sender: takes the spans.
        time_ns: the time.
        random: for sampling and for the numbers of spans.
    """

    def __init__(
        self, ratios: Ratios, sender: Sender, time_ns: Callable[[], int], random: Random | None = None
    ) -> None:
        self._random = random if random is not None else Random(secrets.randbits(128))  # noqa: S311 - no secrets
        self._sampler = Sampler(ratios, self._random.random)
        self._sender = sender
        self._time_ns = time_ns

    # --- publishing --------------------------------------------------------------------------

    def gap(self, topic: str) -> int:
        """See :class:`~mycelium.core.trace.Tracing`."""
        return self._sampler.gap(topic)

    @property
    def inside(self) -> Callable[[], object | None]:
        """See :class:`~mycelium.core.trace.Tracing`."""
        return SPAN.get

    def published(self, published: Published, due: Sequence[int]) -> list[Mark]:
        """See :class:`~mycelium.core.trace.Tracing`."""
        last = published.first + published.count - 1
        span = SPAN.get()
        if span is not None:
            return [self._publish(published, published.first, last, span.context, span.cause)]
        is_part = HANDLING.get() is not None or LEFT_OUT.get()
        if is_part and self._sampler.own_ratio(published.stream.topic) is None:
            return []
        item = handled()
        cause = id_of(item) if item is not None else None
        admitted = [sequence for sequence in due if self._sampler.admits(published.time)]
        return [self._publish(published, sequence, sequence, None, cause) for sequence in admitted]

    def _publish(
        self, published: Published, first: int, last: int, parent: TraceContext | None, cause: MessageId | None
    ) -> Mark:
        context = self._context(parent)
        stream = published.stream
        attributes = _attributes("publish", stream.topic)
        attributes["messaging.message.id"] = MessageId(stream.source, stream.epoch, first, stream.topic).written(
            published.source_name
        )
        if last > first:
            attributes["messaging.batch.message_count"] = last - first + 1
        if cause is not None:
            attributes["mycelium.causation"] = cause.written()
        self._sender.send(
            Ended(
                "publish",
                published.contract,
                context,
                parent,
                published.source_name,
                published.time,
                self._time_ns(),
                attributes,
            )
        )
        return Mark(first, last, context, cause)

    def _context(self, parent: TraceContext | None) -> TraceContext:
        trace_id = parent.trace_id if parent is not None else 1 + self._random.getrandbits(127)
        return TraceContext(trace_id, 1 + self._random.getrandbits(63), parent.state if parent is not None else "")

    @contextmanager
    def scope(self, what: str, service: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
        """A piece of work of a service: what is published in it is one trace, or none of it is.

        Args:
            what: a name for such work, the same each time.
            service: whose.
            attributes: what else is known.
        """
        outer = SPAN.get()
        if outer is None and not self._begins():
            left_out = LEFT_OUT.set(True)
            try:
                yield
            finally:
                LEFT_OUT.reset(left_out)
            return
        parent = outer.context if outer is not None else None
        span = OpenSpan(self._context(parent), outer.cause if outer is not None else None)
        began, token = self._time_ns(), SPAN.set(span)
        try:
            yield
        except Draining:
            raise  # which is no fault
        except Exception as error:
            span.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            SPAN.reset(token)
            self._sender.send(
                Ended(what, "", span.context, parent, service, began, self._time_ns(), attributes, error=span.error)
            )

    def _begins(self) -> bool:
        is_part = HANDLING.get() is not None or LEFT_OUT.get()
        return not is_part and self._sampler.chooses() and self._sampler.admits(self._time_ns())

    # --- handling ----------------------------------------------------------------------------

    @contextmanager
    def handling(self, item: Item, mark: Mark, service: str, handler: str) -> Iterator[OpenSpan]:
        """A handler has a traced message: what it does meanwhile, in its task and in those that it makes, is a part.

        Args:
            item: the message.
            mark: its trace.
            service: whose handler.
            handler: its name in the ledger.
        """
        began = self._time_ns()
        span = OpenSpan(self._context(mark.context), id_of(item))
        token = SPAN.set(span)
        try:
            yield span
        finally:
            SPAN.reset(token)
            self._processed(item, mark.context, service, handler, began, span)

    def failed(self, item: Item, service: str, handler: str, began: int, error: str) -> None:
        """A handler has given a message up. If that is not traced, what there is to say makes a trace of its own.

        Args:
            item: the message.
            service: whose handler.
            handler: its name in the ledger.
            began: when it was called first, ns since the Unix epoch.
            error: the last exception.
        """
        span = SPAN.get()
        if span is not None:
            span.error = error
            return
        alone = OpenSpan(self._context(None), id_of(item), error)
        self._processed(item, None, service, handler, began, alone)

    def _processed(
        self, item: Item, parent: TraceContext | None, service: str, handler: str, began: int, span: OpenSpan
    ) -> None:
        """Send the span of a handler that is done with a message."""
        ended, message = self._time_ns(), id_of(item)
        attributes = _attributes("process", message.topic)
        attributes["messaging.message.id"] = message.written(item.route.stream.id.source_name)
        attributes["mycelium.handler"] = handler
        attributes["mycelium.waited_ns"] = began - item.published
        contract = item.route.stream.contract.name
        self._sender.send(
            Ended(
                "process",
                contract,
                span.context,
                parent,
                service,
                began,
                ended,
                attributes,
                (),
                span.events,
                span.error,
            )
        )

    def tried_again(self, error: str) -> None:
        """A handler has failed and is called again."""
        span = SPAN.get()
        if span is not None:
            span.events.append((self._time_ns(), f"failed, called again: {error}"))

    # --- stores ------------------------------------------------------------------------------

    def repaired(self, envelopes: Sequence[Envelope], began: int, reader: str) -> None:
        """See :class:`~mycelium.core.trace.Tracing`."""
        self._batch(
            "read back", reader.partition(".")[0], envelopes, began, self._time_ns(), {"mycelium.reader": reader}
        )

    def kept(self, envelopes: Sequence[Envelope], began: int, ended: int) -> None:
        """See :data:`~mycelium.core.trace.TracingOfBroker`."""
        for envelope in envelopes:
            self._batch("broker", "broker", (envelope,), began, ended, {})

    def _batch(
        self,
        operation: str,
        service: str,
        envelopes: Sequence[Envelope],
        began: int,
        ended: int,
        more: dict[str, str | int],
    ) -> None:
        """A span of something that was done with several messages at once: a part of one trace, linked with others."""
        contexts = list(dict.fromkeys(mark.context for envelope in envelopes for mark in marks_of(envelope)))
        if not contexts:
            return
        parent, *others = contexts
        topics = list(dict.fromkeys(envelope.topic for envelope in envelopes))
        attributes = _attributes(operation, topics[0]) | more
        attributes["messaging.batch.message_count"] = sum(envelope.count for envelope in envelopes)
        attributes["mycelium.type_id"] = envelopes[0].type_id
        attributes["mycelium.sequence"] = envelopes[0].sequence
        self._sender.send(
            Ended(
                operation,
                "",
                self._context(parent),
                parent,
                service,
                began,
                ended,
                attributes,
                links=others[:MAX_LINKS],
            )
        )

    # --- figures -----------------------------------------------------------------------------

    def tell(self, figures: Figures) -> None:
        """Add how many spans there were, and what has become of them."""
        counts = self._sender.counts
        figures.counter("mycelium_spans", "Spans made.").add(counts.made)
        figures.counter("mycelium_spans_sent", "Spans that a collector has taken.").add(counts.sent)
        figures.counter("mycelium_spans_failed", "Spans that no collector has taken.").add(counts.failed)
        figures.counter(
            "mycelium_traces_held_back", "Traces that did not begin since there were too many within a second."
        ).add(self._sampler.held_back)


_TYPES = {"publish": "send", "process": "process"}


def _attributes(operation: str, topic: str) -> dict[str, str | int]:
    """What OpenTelemetry's semantic conventions for messaging ask for (version 1.28)."""
    attributes: dict[str, str | int] = {
        "messaging.system": "mycelium",
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
    }
    if operation in _TYPES:
        attributes["messaging.operation.type"] = _TYPES[operation]
    return attributes
