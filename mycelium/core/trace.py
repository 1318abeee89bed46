"""Which trace a message belongs to, and which message caused it: as values, and as they travel in the envelope.

A *mark* says so of one message of a stream, or of several that follow one another. Most messages have none: they are
not sampled. A frame all of whose messages have the same mark says it in the TLVs 2, 3 and 5, as W3C has it. A frame in
which only some have one, or not the same, lists its marks in TLV 6, one behind the other, little-endian:

==========  =====  ================================================================
field       bytes
==========  =====  ================================================================
offset      2      of the first message, counted from the frame's first
count       2      messages, from 1
trace id    16     big-endian, as W3C writes it; not 0
span id     8      big-endian; of the span that published; not 0
state       2 + n  length and tracestate
cause       2 + n  length and id of the causing message, 0 if there is none
==========  =====  ================================================================

The id of a message is ``source u64, epoch u64, sequence u64, topic``.
What of this cannot be read is left aside: a message is not lost because its trace is.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import Envelope, source_id
from mycelium.core.errors import TopicError
from mycelium.core.topics import MAX_TOPIC_BYTES, check_topic

MAX_MARKS = 2_048
"""Marks that wait at one place for their messages to be taken. Chosen by us: twice what a reader's queue holds; beyond,
the oldest are let go of, and their messages have no trace there."""

NO_MARK = 1 << 64
"""Beyond all sequences."""

MAX_STATE = 512
"""Bytes of a tracestate; longer ones are left aside, as W3C allows (Trace Context, 3.3.1.5)."""

_MARK = struct.Struct("<HH16s8sH")
_LENGTH = struct.Struct("<H")
_ID = struct.Struct("<QQQ")
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_WRITTEN = re.compile(r"([^@]+)@([a-z0-9_-]+)\.(\d{1,20})\.(\d{1,20})")
_HASH = re.compile(r"[0-9a-f]{16}")
_U64 = 1 << 64


class MessageId(NamedTuple):
    """What identifies a message.

    Args:
        source: hash of the publishing service instance's name.
        epoch: its incarnation, ns since the Unix epoch at its start.
        sequence: its number in the stream, from 1.
        topic: the stream's topic.
    """

    source: int
    epoch: int
    sequence: int
    topic: str

    def to_bytes(self) -> bytes:
        """As it travels."""
        return _ID.pack(self.source, self.epoch, self.sequence) + self.topic.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> MessageId | None:
        """What :meth:`to_bytes` has made; None if it has not."""
        if not _ID.size < len(data) <= _ID.size + MAX_TOPIC_BYTES:
            return None
        try:
            topic = check_topic(data[_ID.size :].decode("ascii"))
        except (UnicodeDecodeError, TopicError):
            return None
        source, epoch, sequence = _ID.unpack_from(data)
        return cls(source, epoch, sequence, topic)

    def written(self, source_name: str | None = None) -> str:
        """As people read it: ``topic@source.epoch.sequence``, with the source's hash if its name is not known."""
        return f"{self.topic}@{source_name or f'{self.source:016x}'}.{self.epoch}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """The id in what :meth:`written` has made.

        Raises:
            ValueError: it is none.
        """
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no message id: 'topic@source.epoch.sequence' is, such as a.b@adapter.17.3")
        topic, source, epoch, sequence = match.groups()
        try:
            check_topic(topic)
        except TopicError as error:
            raise ValueError(f"{text!r} is no message id: {error}") from None
        number = int(source, 16) if _HASH.fullmatch(source) else source_id(source)
        if not (int(epoch) < _U64 and 0 < int(sequence) < _U64):
            raise ValueError(
                f"{text!r} is no message id: epoch and sequence have at most 64 bits, sequences begin at 1"
            )
        return cls(number, int(epoch), int(sequence), topic)


class TraceContext(NamedTuple):
    """A span that others may have for a parent. Those that are not sampled do not travel.

    Args:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        state: the W3C tracestate, if there is one.
    """

    trace_id: int
    span_id: int
    state: str = ""

    def traceparent(self) -> bytes:
        """As W3C writes it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01".encode()

    @classmethod
    def parse(cls, traceparent: bytes, tracestate: bytes | None = None) -> TraceContext | None:
        """The context that these say; None if they say none, or that it is not sampled.

        Source: W3C Trace Context, sections 3.2 and 3.3. A higher version is read as far as it is like this one.
        """
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == b"ff" or (version == b"00" and more) or not int(flags, 16) & 1:
            return None
        return _context(bytes.fromhex(trace_id.decode()), bytes.fromhex(span_id.decode()), tracestate or b"")


class Mark(NamedTuple):
    """Of which trace some messages of a stream are, and what caused them.

    Args:
        first: sequence of the first message.
        last: sequence of the last one.
        context: the span that published them.
        cause: the message that was being handled then.
    """

    first: int
    last: int
    context: TraceContext
    cause: MessageId | None = None


class Marks:
    """The marks of one stream at one place, in the order of their messages."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: deque[Mark] = deque(maxlen=MAX_MARKS)

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, marks: Iterable[Mark]) -> None:
        """Add marks, in order. A repeat is let go of with the others."""
        self._marks.extend(marks)

    @property
    def next(self) -> int:
        """Sequence of the first message that has a mark; :data:`NO_MARK` if none has."""
        return self._marks[0].first if self._marks else NO_MARK

    def take(self, sequence: int) -> Mark | None:
        """The mark of a message, if it has one. Those of older messages are let go of."""
        marks = self._marks
        while marks and marks[0].last < sequence:
            marks.popleft()
        return marks[0] if marks and marks[0].first <= sequence else None

    def within(self, first: int, count: int) -> list[Mark]:
        """The marks of some messages that follow one another, cut to these."""
        last = first + count - 1
        return [
            mark._replace(first=max(mark.first, first), last=min(mark.last, last))
            for mark in self._marks
            if mark.first <= last and mark.last >= first
        ]

    def drop(self, last: int) -> None:
        """Let go of the marks of all messages up to this one."""
        while self._marks and self._marks[0].last <= last:
            self._marks.popleft()


@dataclass(frozen=True, slots=True)
class Published:
    """Messages of one stream that are being published.

    Args:
        stream: whose messages.
        source_name: who publishes.
        contract: the name of their class.
        first: sequence of the first one.
        count: how many.
        time: ns since the Unix epoch.
    """

    stream: StreamKey
    source_name: str
    contract: str
    first: int
    count: int
    time: int


class Tracing(Protocol):
    """What decides which messages are sampled. Asked by streams as they publish."""

    def gap(self, topic: str) -> int:
        """How many messages of a topic from now until the next one is looked at, from 1."""
        ...

    @property
    def inside(self) -> Callable[[], object | None]:
        """Says whether what is published now belongs to a trace already: None if it does not."""
        ...

    def published(self, published: Published, due: Sequence[int]) -> list[Mark]:
        """Messages are being published.

        Args:
            published: which.
            due: the sequences among them at which a :meth:`gap` ended.

        Returns:
            The marks of those that belong to a trace.
        """
        ...

    def repaired(self, envelopes: Sequence[Envelope], began: int, reader: str) -> None:
        """Frames have come that a reader had asked for.

        Args:
            envelopes: what came.
            began: when they were asked for, ns since the Unix epoch.
            reader: what the ledger calls it.
        """
        ...


TracingOfBroker = Callable[[Sequence[Envelope], int, int], None]
"""Takes traced frames that a broker has kept and passed on, with when it began and ended, ns since the Unix epoch."""


def with_marks(envelope: Envelope, marks: Sequence[Mark]) -> Envelope:
    """The envelope, saying the marks of its messages.

    Args:
        envelope: without any.
        marks: in order, all within it.
    """
    only = marks[0]
    if (only.first, only.last) != (envelope.sequence, envelope.sequence + envelope.count - 1):
        return replace(envelope, marks=b"".join(_packed(mark, envelope.sequence) for mark in marks))
    return replace(
        envelope,
        traceparent=only.context.traceparent(),
        tracestate=only.context.state.encode() or None,
        causation=only.cause.to_bytes() if only.cause is not None else None,
    )


def is_marked(envelope: Envelope) -> bool:
    """Whether a frame says anything of traces or causes."""
    return envelope.traceparent is not None or envelope.marks is not None


def marks_of(envelope: Envelope) -> list[Mark]:
    """The marks of a frame's messages, in order. What cannot be read is left aside."""
    first, last = envelope.sequence, envelope.sequence + envelope.count - 1
    if envelope.traceparent is not None:
        context = TraceContext.parse(envelope.traceparent, envelope.tracestate)
        cause = MessageId.from_bytes(envelope.causation) if envelope.causation is not None else None
        return [Mark(first, last, context, cause)] if context is not None else []
    found: list[Mark] = []
    data, position = envelope.marks or b"", 0
    while position < len(data):
        if len(data) - position < _MARK.size:
            break
        offset, count, trace_id, span_id, length = _MARK.unpack_from(data, position)
        state, position = _value(data, position + _MARK.size, length)
        if len(data) - position < _LENGTH.size:
            break
        cause_bytes, position = _value(data, position + _LENGTH.size, *_LENGTH.unpack_from(data, position))
        context = _context(trace_id, span_id, state)
        begin = first + offset
        is_in_order = begin > (found[-1].last if found else 0) and count > 0 and begin + count - 1 <= last
        if context is None or not is_in_order or position > len(data):
            break
        found.append(Mark(begin, begin + count - 1, context, MessageId.from_bytes(cause_bytes)))
    return found


def _value(data: bytes, position: int, length: int) -> tuple[bytes, int]:
    return data[position : position + length], position + length


def _packed(mark: Mark, sequence: int) -> bytes:
    context, state = mark.context, mark.context.state.encode()
    cause = mark.cause.to_bytes() if mark.cause is not None else b""
    return b"".join(
        (
            _MARK.pack(
                mark.first - sequence,
                mark.last - mark.first + 1,
                context.trace_id.to_bytes(16),
                context.span_id.to_bytes(8),
                len(state),
            ),
            state,
            _LENGTH.pack(len(cause)),
            cause,
        )
    )


def _context(trace_id: bytes, span_id: bytes, state: bytes) -> TraceContext | None:
    if not any(trace_id) or not any(span_id):
        return None
    text = state.decode("ascii", "replace") if len(state) <= MAX_STATE else ""
    return TraceContext(int.from_bytes(trace_id), int.from_bytes(span_id), text if text.isprintable() else "")
