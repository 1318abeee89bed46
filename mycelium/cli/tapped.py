"""What a tap shows of a frame: its messages decoded, as lines for a terminal or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from mycelium.cli.values import ELLIPSIS, brief, escaped, items_of, json_line, plain
from mycelium.core.envelope import Envelope
from mycelium.core.errors import WireError
from mycelium.core.message import Contract, PayloadCodec
from mycelium.core.trace import marks_of

SECOND_NS = 1_000_000_000
INDENT = "    "
MIN_WIDTH = 20
"""Below it nothing sensible can be shown: lines are as long as that, and the terminal folds them."""

MAX_REASON = 200
"""Characters of why a payload is not what its contract says: it repeats what came."""

Fields = Mapping[str, Any] | tuple[Any, ...]
"""By name where they are known, else by their place."""


@dataclass(frozen=True)
class Known:
    """What is known of a contract.

    Args:
        name: its name.
        fields: the names of its fields, in wire order.
        contract: its class, where that could be imported.
    """

    name: str
    fields: tuple[str, ...]
    contract: Contract | None = None


@dataclass(frozen=True)
class Record:
    """One message.

    Args:
        published: ns since the Unix epoch.
        topic: where it was published.
        source: the publishing service instance.
        epoch: the publisher's incarnation.
        sequence: its number in the stream.
        type_id: its contract.
        name: of the contract; None if it is not known here.
        fields: what it says.
        problem: why that is not what its contract says; None if it is.
        trace_id: of the trace that it is a part of, if it is traced.
        cause: the id of the message whose handling published it, if it is traced and there was one.
    """

    published: int
    topic: str
    source: str
    epoch: int
    sequence: int
    type_id: int
    name: str | None
    fields: Fields
    problem: str | None = None
    trace_id: str | None = None
    cause: str | None = None

    @property
    def id(self) -> str:
        """What identifies it, as ``mycelium trace`` takes it."""
        return f"{self.topic}@{self.source}.{self.epoch}.{self.sequence}"


class Records:
    """Makes records of frames.

    Args:
        known: the contracts, by type id.
        source_name: the name of a source.
    """

    def __init__(self, known: Mapping[int, Known], source_name: Callable[[int], str]) -> None:
        self._known = known
        self._source_name = source_name
        self._codecs = {
            type_id: PayloadCodec(entry.contract.message_type)
            for type_id, entry in known.items()
            if entry.contract is not None
        }

    def of(self, envelope: Envelope, skip: int = 0) -> Iterator[Record]:
        """The messages of a frame, but for the first ``skip``. One that cannot be read is a record that says so."""
        known = self._known.get(envelope.type_id)
        name = known.name if known is not None else None
        messages, problem = self._decode(envelope)
        source = self._source_name(envelope.source)
        marks = {sequence: mark for mark in marks_of(envelope) for sequence in range(mark.first, mark.last + 1)}
        for place, fields in enumerate(messages[skip:], skip):
            mark = marks.get(envelope.sequence + place)
            cause = mark.cause if mark is not None else None
            yield Record(
                envelope.published, envelope.topic, source, envelope.epoch, envelope.sequence + place,
                envelope.type_id, name, fields, problem,
                None if mark is None else f"{mark.context.trace_id:032x}",
                None if cause is None else cause.written(self._source_name(cause.source)),
            )  # fmt: skip

    def _decode(self, envelope: Envelope) -> tuple[list[Fields], str | None]:
        known = self._known.get(envelope.type_id)
        codec = self._codecs.get(envelope.type_id)
        problem = None
        if codec is not None:
            try:
                return [dict(items_of(found)) for found in codec.decode(envelope.payload, envelope.count)], None
            except WireError as error:
                problem = error.reason[:MAX_REASON]
        messages = _without_schema(envelope.payload)
        if messages is None or len(messages) != envelope.count:
            # Of so many messages nobody knows where they begin: they are shown as one, with all the bytes.
            return [{"payload": envelope.payload}], problem or f"no msgpack of {envelope.count} message(s)"
        names = known.fields if known is not None and problem is None else ()
        return [_named(message, names) for message in messages], problem


def _without_schema(payload: bytes) -> list[Any] | None:
    """What msgpack says by itself; None if it is none, or no array."""
    try:
        found = msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _named(message: Any, names: Collection[str]) -> Fields:
    if isinstance(message, dict):
        return {key if isinstance(key, str) else brief(key): value for key, value in message.items()}
    values = tuple(message) if isinstance(message, list) else (message,)
    if not names:
        return values
    # A newer publisher may say more than is known here, an older one less.
    more = {str(place): value for place, value in enumerate(values) if place >= len(names)}
    return {**dict(zip(names, values, strict=False)), **more}


# --- JSON ------------------------------------------------------------------------------------


def as_json(record: Record) -> str:
    """One line of JSON."""
    line = {
        "time": iso(record.published),
        "topic": record.topic,
        "source": record.source,
        "epoch": str(record.epoch),
        "sequence": plain(record.sequence),
        "type": record.name,
        "type_id": record.type_id,
        "fields": plain(record.fields),
    }
    if record.problem is not None:
        line["problem"] = record.problem
    if record.trace_id is not None:
        line["trace_id"], line["cause"] = record.trace_id, record.cause
    return json_line(line)


def iso(time_ns: int) -> str:
    """A time in UTC, with all its digits."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
    except (ValueError, OverflowError, OSError):
        return str(time_ns)  # beyond the year 9999: whoever says that, it is shown as it was said


# --- a terminal ------------------------------------------------------------------------------


def as_text(record: Record, width: int | None, *, fold: bool) -> list[Text]:
    """The lines of one message.

    Args:
        record: the message.
        width: columns that there are; None if there is no end of them.
        fold: whether what does not fit goes into further lines; else it is cut.
    """
    parts = list(_parts(record))
    head, tail = parts[:4], parts[4:]
    line = Text(" ").join(parts)
    if width is None or cell_len(line.plain) <= (width := max(width, MIN_WIDTH)):
        return [line]
    if not fold:
        cut = Text(set_cell_size(line.plain, width - 1).rstrip() + ELLIPSIS)
        for span in line.spans:
            if span.start < len(cut):
                cut.stylize(span.style, span.start, min(span.end, len(cut)))
        return [cut]
    return [*_packed(head, width, ""), *_packed(tail, width, INDENT)]


def _parts(record: Record) -> Iterator[Text]:
    yield Text(_clock(record.published), "dim")
    yield Text(escaped(record.topic), "cyan")
    yield Text(f"{escaped(record.source)}#{record.sequence}", "dim")
    yield Text(record.name or f"type id {record.type_id}", "bold" if record.name else "yellow")
    if record.problem is not None:
        yield Text(escaped(f"({record.problem})"), "red")
    if isinstance(record.fields, Mapping):
        for name, value in record.fields.items():
            yield Text.assemble((brief(name), "green"), "=", brief(value))
    else:
        yield from (Text(brief(value)) for value in record.fields)


def _packed(parts: list[Text], width: int, indent: str) -> Iterator[Text]:
    """Parts in lines that are as full as they get. One that fits into none is broken, wherever that is."""
    line = Text(indent)
    room = width - len(indent)
    for part in parts:
        used = cell_len(line.plain) - len(indent)
        if used and used + 1 + cell_len(part.plain) > room:
            yield line
            line, used = Text(indent), 0
        if used:
            line.append(" ")
        for place, piece in enumerate(_broken(part, room)):
            if place:
                yield line
                line = Text(indent)
            line.append_text(piece)
    if line.plain.strip():
        yield line


def _broken(text: Text, room: int) -> Iterator[Text]:
    begin = used = 0
    for place, character in enumerate(text.plain):
        wide = cell_len(character)
        if used + wide > room:
            yield text[begin:place]
            begin, used = place, 0
        used += wide
    yield text[begin:]


def _clock(time_ns: int) -> str:
    """The time of day here, in microseconds."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    try:
        return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}.{rest // 1_000:06}"
    except (ValueError, OverflowError, OSError):
        return str(time_ns)
