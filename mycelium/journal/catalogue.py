"""The streams of a journal, in memory: what the hot path asks without touching the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.topics import Pattern
from mycelium.journal.errors import JournalOrderError
from mycelium.journal.keeping import Retention
from mycelium.journal.protocol import Entry, Extent


class StreamState:
    """One stream. ``first_*`` are those of its oldest kept frame and mean nothing while it has none.

    Args:
        number: short name of the stream in the store, never reused.
        key: which it is.
    """

    __slots__ = (
        "bytes_before", "bytes_upto", "first_arrived_ns", "first_position", "first_sequence",
        "key", "last_position", "last_sequence", "number", "rule",
    )  # fmt: skip

    def __init__(self, number: int, key: StreamKey) -> None:
        self.number: int = number
        self.key: StreamKey = key
        self.first_sequence: int = 1
        self.first_position: int = 0
        self.first_arrived_ns: int = 0
        self.last_sequence: int = 0
        self.last_position: int = 0
        # Running totals over the stream's frames, so that what is kept is a difference of two numbers
        # that stand beside its first and last frame, and never a sum over all.
        self.bytes_before: int = 0
        self.bytes_upto: int = 0
        # Which topic rule of the retention applies; found when it is first asked for.
        self.rule: int | None = None

    @property
    def empty(self) -> bool:
        """Whether no frame of it is kept."""
        return self.first_sequence > self.last_sequence

    @property
    def kept_bytes(self) -> int:
        """Bytes of the frames that are kept."""
        return self.bytes_upto - self.bytes_before

    def extend(self, entry: Entry, position: int, arrived_ns: int) -> None:
        """A frame was appended."""
        if self.first_sequence > self.last_sequence:
            self.first_sequence = entry.sequence
            self.first_position = position
            self.first_arrived_ns = arrived_ns
        self.last_sequence = entry.sequence + entry.count - 1
        self.last_position = position
        self.bytes_upto += len(entry.frame)

    def clear(self) -> None:
        """No frame of it is kept any more."""
        self.first_sequence = self.last_sequence + 1
        self.bytes_before = self.bytes_upto

    def extent(self) -> Extent:
        """What :meth:`~mycelium.journal.protocol.Journal.extent` says of it."""
        return Extent(self.key, self.first_sequence, self.last_sequence, self.last_position, self.kept_bytes)


class Catalogue:
    """All streams that a journal knows, by key and by topic."""

    def __init__(self) -> None:
        self.by_key: dict[StreamKey, StreamState] = {}
        self._latest: dict[str, StreamState] = {}

    def __iter__(self) -> Iterator[StreamState]:
        return iter(self.by_key.values())

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, state: StreamState) -> None:
        """A stream began, or was found in the store."""
        self.by_key[state.key] = state
        self.appended_to(state)

    def appended_to(self, state: StreamState) -> None:
        """The stream has the newest frame of its topic, or may have."""
        held = self._latest.get(state.key.topic)
        if held is None or held.last_position <= state.last_position:
            self._latest[state.key.topic] = state

    def latest(self, topic: str) -> StreamState | None:
        """The stream that holds the newest frame of a topic, if that frame is kept."""
        state = self._latest.get(topic)
        return None if state is None or state.empty else state

    def forget(self, state: StreamState) -> None:
        """Drop a stream of which no frame is kept."""
        del self.by_key[state.key]
        if self._latest.get(state.key.topic) is state:
            # Frames go oldest first, so no other stream of this topic has one that is newer and kept.
            del self._latest[state.key.topic]

    def extents(self, pattern: Pattern | None) -> list[Extent]:
        """Of the streams that ``pattern`` matches, all without one."""
        return [state.extent() for state in self if pattern is None or pattern.matches(state.key.topic)]


class Catalogued(ABC):
    """Base of the journals: what both answer from memory."""

    _catalogue: Catalogue
    _retention: Retention

    def retain(self, retention: Retention) -> None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        self._retention = retention
        for state in self._catalogue:
            state.rule = None

    @abstractmethod
    def _check_open(self) -> None:
        """Raise ClosedError if the journal was closed."""

    def streams(self, pattern: Pattern | None = None) -> list[Extent]:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        return self._catalogue.extents(pattern)

    def extent(self, stream: StreamKey) -> Extent | None:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        self._check_open()
        state = self._catalogue.by_key.get(stream)
        return None if state is None else state.extent()

    def last_sequence(self, stream: StreamKey) -> int:
        """See :class:`~mycelium.journal.protocol.Journal`."""
        state = self._catalogue.by_key.get(stream)
        return 0 if state is None else state.last_sequence


def check_order(catalogue: Catalogue, entries: Sequence[Entry], path: str) -> None:
    """Hold a batch to what :meth:`~mycelium.journal.protocol.Journal.append` says of order.

    Raises:
        JournalOrderError: an entry starts at or before the last sequence of its stream.
        ValueError: a sequence or count is below 1.
    """
    ends: dict[StreamKey, int] = {}
    for entry in entries:
        key = entry.stream
        last = ends.get(key)
        if last is None:
            state = catalogue.by_key.get(key)
            last = 0 if state is None else state.last_sequence
        if entry.sequence <= last:
            if entry.sequence < 1:
                raise ValueError(f"sequence {entry.sequence} on {key.topic}: the first is 1")
            raise JournalOrderError(path, key, entry.sequence, last)
        if entry.count < 1:
            raise ValueError(f"count {entry.count} on {key.topic}: a frame holds at least 1 message")
        ends[key] = entry.sequence + entry.count - 1
