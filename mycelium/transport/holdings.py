"""What a store has, as its readers see it: which streams, how far they reach, their frames, and readers' accounts."""

from __future__ import annotations

import msgspec

from mycelium.core.delivery.control import Fetch, Fetched, Join, Mark
from mycelium.core.delivery.frames import Account, StreamKey, Watermark
from mycelium.core.delivery.joining import Place, Start, place
from mycelium.core.envelope import decode_frame
from mycelium.core.errors import TopicError, WireError
from mycelium.core.ledger import Tally
from mycelium.core.topics import Pattern
from mycelium.journal import Extent, Journal, JournalDamagedError, JournalFullError

MAX_CREDITS = 64
MAX_ANSWER_BYTES = 256 << 10
"""What one answer holds at most: half a millisecond of the store's time, so that a repair holds up nobody."""

_account: msgspec.msgpack.Decoder[Account] = msgspec.msgpack.Decoder(Account)


class Holdings:
    """What is in a journal, for those who read.

    Args:
        journal: what is kept.
        refused: where it is counted what cannot be read or stored.
    """

    def __init__(self, journal: Journal, refused: Tally) -> None:
        self._journal = journal
        self._refused = refused
        self._types: dict[StreamKey, int] = {}
        # Of readers that are away, as they were asked for last: there may be thousands of streams.
        self._cursors: dict[str, dict[StreamKey, int]] = {}

    # --- types -------------------------------------------------------------------------------

    def note_type(self, stream: StreamKey, type_id: int) -> None:
        """A stream has begun."""
        self._types[stream] = type_id

    def type_of(self, stream: StreamKey) -> int:
        """The contract of a stream's messages; 0 if none of them is kept that could tell."""
        known = self._types.get(stream)
        if known is None:
            try:
                records = self._journal.read_stream(stream, 0, limit=1, max_bytes=1)
            except JournalDamagedError:
                return 0
            if not records:
                return 0
            known = self._types[stream] = decode_frame(records[0].frame).type_id
        return known

    # --- streams -----------------------------------------------------------------------------

    def known(self, stream: StreamKey) -> StreamKey:
        """The key that the journal has for a stream, the same object each time; the one given if it has none."""
        extent = self._journal.extent(stream)
        return stream if extent is None else extent.stream

    def extent(self, stream: StreamKey) -> Extent | None:
        """How far a stream reaches, None if it is not known."""
        return self._journal.extent(stream)

    def extents(self, type_id: int, patterns: tuple[str, ...]) -> list[Extent]:
        """The streams of a contract whose topics match all patterns.

        Raises:
            WireError: a pattern is not grammatical.
        """
        parsed = parsed_patterns(patterns)
        return [
            extent
            for extent in self._journal.streams(parsed[0] if parsed else None)
            if self.type_of(extent.stream) in (type_id, 0)
            and all(pattern.matches(extent.stream.topic) for pattern in parsed[1:])
        ]

    def mark(self, stream: StreamKey) -> Mark:
        """How far a stream reaches."""
        extent = self._journal.extent(stream)
        if extent is None:
            return Mark(stream, 0, 1, 0)
        return Mark(stream, self.type_of(stream), extent.first, extent.last)

    def marks(self, type_id: int, patterns: tuple[str, ...]) -> tuple[Mark, ...]:
        """How far the streams of :meth:`extents` reach.

        Raises:
            WireError: a pattern is not grammatical.
        """
        return tuple(
            Mark(extent.stream, self.type_of(extent.stream), extent.first, extent.last)
            for extent in self.extents(type_id, patterns)
        )

    def places(self, said: Join, accounts: dict[StreamKey, Account], *, returns: bool) -> list[Place]:
        """Where a reader begins.

        Args:
            said: what it wants.
            accounts: how far it is, if it has been here before.
            returns: whether it has.

        Raises:
            WireError: a pattern is not grammatical.
        """
        extents = self.extents(said.type_id, said.patterns)
        position = self._journal.position_at(said.time_ns) if said.start is Start.TIME else 0
        newest: dict[str, Extent] = {}
        for extent in extents:
            known = newest.get(extent.stream.topic)
            if known is None or known.last_position < extent.last_position:
                newest[extent.stream.topic] = extent
        places = []
        for extent in extents:
            account = accounts.get(extent.stream)
            places.append(
                place(
                    Watermark(extent.stream, extent.first, extent.last),
                    said.start,
                    cursor=None if account is None else account.cursor,
                    returns=returns,
                    at_time=self._journal.first_from(extent.stream, position) if said.start is Start.TIME else 0,
                    is_newest=newest[extent.stream.topic] is extent,
                )
            )
        return places

    def fetch(self, said: Fetch) -> Fetched:
        """Frames of a stream. Damaged ones are passed over, as if they were no longer kept.

        Raises:
            JournalDamagedError: more than a frame is damaged.
        """
        start = said.sequence
        while True:
            try:
                records = self._journal.read_stream(
                    said.stream, start, limit=min(said.credits, MAX_CREDITS), max_bytes=MAX_ANSWER_BYTES
                )
            except JournalDamagedError as error:
                self._refused.add("frame damaged in the journal")
                behind = self._journal.first_from(said.stream, (error.position or 0) + 1)
                if behind <= start:
                    raise
                start = behind
            else:
                break
        mark = self.mark(said.stream)
        if start > said.sequence:
            mark = Mark(mark.stream, mark.type_id, max(mark.first, start), mark.last)
        frames = tuple(record.frame for record in records)
        return Fetched(said.reader, said.stream, said.sequence, frames, mark)

    # --- accounts ----------------------------------------------------------------------------

    def knows(self, name: str) -> bool:
        """Whether a durable reader has been here before."""
        return self._journal.knows_reader(name)

    def accounts(self, name: str) -> dict[StreamKey, Account]:
        """The accounts of a durable reader."""
        return {stream: _account.decode(data) for stream, data in self._journal.load_accounts(name).items()}

    def cursors(self, name: str) -> dict[StreamKey, int]:
        """How far a durable reader is with each stream, from memory until it is stored anew."""
        known = self._cursors.get(name)
        if known is None:
            known = {stream: account.cursor for stream, account in self.accounts(name).items()}
            self._cursors[name] = known
        return known

    def store(self, name: str, rows: dict[StreamKey, Account]) -> bool:
        """Store accounts of a durable reader; False if there is no room. What is not kept needs none.

        Raises:
            WireError: the name or an account is longer than the journal takes.
        """
        self._cursors.pop(name, None)
        known = {stream: account for stream, account in rows.items() if self._journal.extent(stream) is not None}
        try:
            self._journal.store_accounts(
                name, {stream: msgspec.msgpack.encode(account) for stream, account in known.items()}
            )
        except JournalFullError:
            self._refused.add("accounts not stored: the journal is full")
            return False
        except ValueError as error:
            raise WireError(str(error)) from None
        return True


def parsed_patterns(patterns: tuple[str, ...]) -> list[Pattern]:
    """The patterns of a reader.

    Raises:
        WireError: one is not grammatical.
    """
    try:
        return [Pattern.parse(pattern) for pattern in patterns]
    except TopicError as error:
        raise WireError(f"a reader wants {error}") from None
