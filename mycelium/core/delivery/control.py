"""What clients and stores say to one another beside the frames: one msgpack array per message, its name first.

A *client* is a process that publishes to a store or reads from it; it speaks from a DEALER socket to the store's
ROUTER. Whatever is lost is said again: a client repeats :class:`Alive` about once a second, and an answer that
does not come is asked for again. So nothing here needs to be confirmed.

=====================  ======================  =================================================
client says            store answers           about
=====================  ======================  =================================================
:class:`Alive`         :class:`Here`           who publishes here, and which store this is
:class:`Announce`                              from where on a publisher can send a stream
(frames)               :class:`Confirm`        what the store has
(frames)               :class:`GoBack`         what it misses
(frames)               :class:`Introduce`      a stream that it does not know
(frames)               :class:`Refuse`         frames that it will never take
:class:`Probe`         an echo among frames    whether subscriptions have arrived
:class:`Join`          :class:`Joined`         where a reader begins
:class:`Fetch`         :class:`Fetched`        frames from the journal
:class:`AskMarks`      :class:`Marks`          how far the streams of a reader reach
:class:`Report`        :class:`Reported`       how far a reader is
:class:`Report`         :class:`Unknown`        a reader that must join again
:class:`Leave`                                 a reader is gone
:class:`Progress`      :class:`Reported`       how far a member of a group is
:class:`Released`                              streams that a member of a group has let go of
:class:`AskReaders`    :class:`Readers`        who reads here
:class:`AskBooks`      :class:`Books`          the books of the store, page by page
:class:`AskWho`        :class:`Who`            who is there, page by page
=====================  ======================  =================================================

The members of a group are told by the store which streams they get, see :mod:`mycelium.core.delivery.sharing`.

Among the frames, on ``_sys.tick``, the store says about twice a second how far the streams reach that have moved
(:class:`Tick`). Its numbers have no holes, so that a reader sees that it has missed one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from mycelium.core.delivery.frames import Account, Natural, StreamKey
from mycelium.core.delivery.joining import Place, Start
from mycelium.core.delivery.sharing import Assign, Progress, Released, Revoke
from mycelium.core.errors import WireError
from mycelium.core.topics import MAX_TOPIC_BYTES

TICK_TOPIC = "_sys.tick"
PROBE_TOPIC = "_sys.probe."
"""Followed by the probe's number."""


def tick_topic(name: str = "") -> str:
    """Where a store with keys says how far the streams reach that are for ``name``; without keys, for everybody."""
    return f"{TICK_TOPIC}.{name}" if name else TICK_TOPIC


MAX_NAME = 128
"""Bytes in the name of a reader or of a publisher."""

MAX_CAUSES = 64
"""For which a reader can have dropped messages of one stream. Chosen by us: there are some ten."""

MAX_PATTERNS = 16
"""Of one reader. Chosen by us: ours have two, their contract's and their own."""


class Mark(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How far a stream reaches, as it travels.

    Args:
        stream: which.
        type_id: the contract of its messages, 0 if the store does not know it any more.
        first: sequence of the oldest message that is kept.
        last: sequence of the newest message.
    """

    stream: StreamKey
    type_id: int
    first: int
    last: int


class _Said(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=str.lower):
    pass


class Alive(_Said, frozen=True):
    """A client is there.

    Args:
        names: the service instances that publish from it.
        readers: numbers of the readers that have joined from it.
    """

    names: tuple[str, ...]
    readers: tuple[int, ...] = ()


class Announce(_Said, frozen=True):
    """A publisher answers what a store wants next.

    Args:
        stream: which.
        wanted: the message that the store wants next; 1 where it knows nothing.
        base: the first one from there on that the publisher can send.
    """

    stream: StreamKey
    wanted: Natural
    base: Natural


class Probe(_Said, frozen=True):
    """Please let ``number`` come back among the frames."""

    number: int


class Join(_Said, frozen=True):
    """A reader begins.

    Args:
        reader: its number at the client.
        name: what the ledger calls it, and what its account is kept under.
        type_id: the contract that it reads.
        patterns: topics that match all of these.
        start: where it begins if it has not been here before.
        time_ns: for ``time``.
        durable: whether it is to be known when it comes back.
        group: whether it shares the streams with other readers of the same name.
        patience_ns: how long a member of a group may take without getting on before its streams go to another.
    """

    reader: int
    name: str
    type_id: int
    patterns: tuple[str, ...]
    start: Start
    time_ns: Natural = 0
    durable: bool = False
    group: bool = False
    patience_ns: Natural = 0


class Fetch(_Said, frozen=True):
    """Please send frames of a stream: those that hold ``sequence`` and later messages, at most ``credits``."""

    reader: int
    stream: StreamKey
    sequence: Natural
    credits: Natural


class AskMarks(_Said, frozen=True):
    """How far do the streams of a reader reach?

    Args:
        reader: its number at the client.
        serial: comes back in :class:`Marks`.
        type_id, patterns: see :class:`Join`.
    """

    reader: int
    serial: int
    type_id: int
    patterns: tuple[str, ...]


class Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A reader's account of one stream."""

    stream: StreamKey
    account: Account


class Report(_Said, frozen=True):
    """How far a reader is with the streams in which it has got on.

    Args:
        reader: its number at the client.
        name: see :class:`Join`.
        serial: comes back in :class:`Reported`.
        durable: whether the accounts are to be stored.
        rows: the accounts.
    """

    reader: int
    name: str
    serial: int
    durable: bool
    rows: tuple[Row, ...]


class Leave(_Said, frozen=True):
    """A reader is gone, and knows it."""

    reader: int
    name: str


class AskReaders(_Said, frozen=True):
    """Which readers are there?"""


class AskBooks(_Said, frozen=True):
    """The books, from a place in them on."""

    offset: Natural


class AskWho(_Said, frozen=True):
    """Who is there, from a place in the list on?"""

    offset: Natural


class Here(_Said, frozen=True):
    """A store is there.

    Args:
        instance: ns since the Unix epoch at its start: another number is another store, or the same one again.
        names: of the sources that it knows.
    """

    instance: int
    names: dict[int, str]


class Confirm(_Said, frozen=True):
    """The store has the streams up to these sequences."""

    marks: tuple[tuple[StreamKey, int], ...]


class GoBack(_Said, frozen=True):
    """The store expects ``sequence`` next."""

    stream: StreamKey
    sequence: int


class Introduce(_Said, frozen=True):
    """The store does not know this stream; it wants an :class:`Announce`."""

    stream: StreamKey


class Refuse(_Said, frozen=True):
    """The store will never take these messages.

    Args:
        stream: which.
        sequence: of the first one.
        count: how many.
        cause: why.
    """

    stream: StreamKey
    sequence: int
    count: int
    cause: str


class Unknown(_Said, frozen=True):
    """The store does not know these readers (any more): they are to join again.

    Args:
        readers: their numbers at the client.
    """

    readers: tuple[int, ...]


class Joined(_Said, frozen=True):
    """A reader has joined.

    Args:
        reader: its number at the client.
        instance: see :class:`Here`.
        places: where it begins with each stream.
        rows: its accounts, if it has been here before.
        names: of the sources in these.
    """

    reader: int
    instance: int
    places: tuple[Place, ...]
    rows: tuple[Row, ...]
    names: dict[int, str]


class Fetched(_Said, frozen=True):
    """The answer to :class:`Fetch`.

    Args:
        reader, stream, sequence: as asked.
        frames: all their bytes.
        mark: how far the stream reaches.
    """

    reader: int
    stream: StreamKey
    sequence: int
    frames: tuple[bytes, ...]
    mark: Mark


class Marks(_Said, frozen=True):
    """The answer to :class:`AskMarks`."""

    reader: int
    serial: int
    marks: tuple[Mark, ...]


class Reported(_Said, frozen=True):
    """The accounts with this serial are stored."""

    reader: int
    serial: int


class Readers(_Said, frozen=True):
    """The names of the readers that are there."""

    names: tuple[str, ...]


class Taken(_Said, frozen=True):
    """Another client has joined under the name of this durable reader: it is not to go on."""

    reader: int
    name: str


class StreamBook(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a store has of one stream.

    Args:
        stream: which.
        type_id: the contract of its messages, 0 if unknown.
        first: the oldest message that is kept.
        last: the newest message.
        readers: the account of each reader, by its name.
    """

    stream: StreamKey
    type_id: int
    first: int
    last: int
    readers: dict[str, Account]


class Offence(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What somebody was refused.

    Args:
        who: a service, an operator, or an address.
        cause: which rule was broken.
        what: what was said or asked; empty if there were too many to tell apart.
        count: how often; messages, where it is about messages.
    """

    who: str
    cause: str
    what: str
    count: int


class Books(_Said, frozen=True):
    """A page of the books.

    Args:
        instance: see :class:`Here`.
        offset: as asked.
        streams: from there on.
        total: streams in all.
        refused: messages and frames refused, by cause.
        names: of the sources in this page.
        offences: the same by who has caused it, as far as that is known.
    """

    instance: int
    offset: int
    streams: tuple[StreamBook, ...]
    total: int
    refused: dict[str, int]
    names: dict[int, str]
    offences: tuple[Offence, ...] = ()


class ReaderEntry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A reader that has joined.

    Args:
        name: what the ledger calls it.
        type_id: the contract that it reads.
        patterns: topics that match all of these.
    """

    name: str
    type_id: int
    patterns: tuple[str, ...]


class ClientEntry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A client that is there.

    Args:
        user: the service or operator that it has shown to be; empty at a store without keys.
        names: the service instances that publish from it, as it says.
        readers: those that have joined from it.
    """

    user: str
    names: tuple[str, ...]
    readers: tuple[ReaderEntry, ...]


class Who(_Said, frozen=True):
    """A page of those who are there.

    Args:
        offset: as asked.
        clients: from there on.
        total: clients in all.
        is_guarded: whether the store knows its clients by their keys.
    """

    offset: int
    clients: tuple[ClientEntry, ...]
    total: int
    is_guarded: bool


class Tick(_Said, frozen=True):
    """How far the streams reach that have moved since the last tick, among the frames.

    Args:
        instance: see :class:`Here`.
        number: from 1, without holes.
        marks: the streams.
        names: sources that have come since the last tick.
        closing: whether the store ends with this.
    """

    instance: int
    number: int
    marks: tuple[Mark, ...]
    names: dict[int, str]
    closing: bool = False


FromClient = (
    Alive
    | Announce
    | Probe
    | Join
    | Fetch
    | AskMarks
    | Report
    | Leave
    | AskReaders
    | AskBooks
    | AskWho
    | Progress
    | Released
)
FromStore = (
    Here
    | Confirm
    | GoBack
    | Introduce
    | Refuse
    | Joined
    | Fetched
    | Marks
    | Reported
    | Unknown
    | Readers
    | Taken
    | Assign
    | Revoke
    | Books
    | Who
)

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_from_client: msgspec.msgpack.Decoder[FromClient] = msgspec.msgpack.Decoder(FromClient)
_from_store: msgspec.msgpack.Decoder[FromStore] = msgspec.msgpack.Decoder(FromStore)
_tick: msgspec.msgpack.Decoder[Tick] = msgspec.msgpack.Decoder(Tick)


def encode(said: FromClient | FromStore) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(said)


def from_client(data: bytes) -> FromClient:
    """What a client says.

    Raises:
        WireError: the bytes are no such message; nothing else is ever raised.
    """
    said: FromClient = _decoded(_from_client, data)
    for name in _names_of(said):
        if not 1 <= len(name.encode()) <= MAX_NAME or "\0" in name:
            raise WireError(f"the name {name[:MAX_NAME]!r}: 1 to {MAX_NAME} bytes are accepted, none of them 0")
    for stream in _streams_of(said):
        if len(stream.topic) > MAX_TOPIC_BYTES:
            raise WireError(f"a topic of {len(stream.topic)} characters, at most {MAX_TOPIC_BYTES} are accepted")
    for account in _accounts_of(said):
        if len(account.dropped) > MAX_CAUSES or any(len(cause) > MAX_NAME for cause in account.dropped):
            raise WireError(f"an account: at most {MAX_CAUSES} causes of {MAX_NAME} characters are accepted")
    if isinstance(said, Join | AskMarks) and len(said.patterns) > MAX_PATTERNS:
        raise WireError(f"{len(said.patterns)} patterns, at most {MAX_PATTERNS} are accepted")
    return said


def from_store(data: bytes) -> FromStore:
    """What a store says.

    Raises:
        WireError: the bytes are no such message; nothing else is ever raised.
    """
    return _decoded(_from_store, data)  # type: ignore[no-any-return]


def tick_frame(tick: Tick, name: str = "") -> bytes:
    """A tick as it stands among the frames. See :func:`tick_topic`."""
    return tick_topic(name).encode() + b"\0" + _encoder.encode(tick)


def tick_of(frame: bytes) -> Tick:
    """The tick in a frame on :func:`tick_topic`.

    Raises:
        WireError: the bytes are no tick.
    """
    return _decoded(_tick, frame[frame.find(b"\0") + 1 :])  # type: ignore[no-any-return]


def probe_frame(number: int) -> bytes:
    """A probe as it stands among the frames. It is its own subscription, too."""
    return f"{PROBE_TOPIC}{number:x}\0".encode()


def _decoded(decoder: Any, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"no control message: {error}") from None


def _names_of(said: FromClient) -> tuple[str, ...]:
    match said:
        case Alive(names=names):
            return names
        case Join(name=name) | Report(name=name) | Leave(name=name):
            return (name,)
        case _:
            return ()


def _accounts_of(said: FromClient) -> Iterable[Account]:
    match said:
        case Report(rows=rows):
            return (row.account for row in rows if row.account.dropped)
        case Progress(tenures=tenures) | Released(tenures=tenures):
            return (tenure.account for tenure in tenures if tenure.account.dropped)
        case _:
            return ()


def _streams_of(said: FromClient) -> tuple[StreamKey, ...]:
    match said:
        case Announce(stream=stream) | Fetch(stream=stream):
            return (stream,)
        case Report(rows=rows):
            return tuple(row.stream for row in rows)
        case Progress(tenures=tenures) | Released(tenures=tenures):
            return tuple(tenure.stream for tenure in tenures)
        case _:
            return ()
