"""What to remove, oldest first: the same rules for every store.

Streams fall into groups: the first topic rule that matches, or none. In each group frames leave while
they are too old or the group is too large; then, over all groups, while the journal is too large. The
oldest frame of a group is the oldest of its streams' first frames, which a heap gives.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import NamedTuple

from mycelium.core.delivery.frames import StreamKey
from mycelium.journal.catalogue import Catalogue, StreamState
from mycelium.journal.keeping import Cause, Removal, Retention


class Dropped(NamedTuple):
    """The frame that a store removed."""

    messages: int
    frame_bytes: int


class Removals:
    """Adds up what was removed, by cause and stream."""

    def __init__(self) -> None:
        self.frames: int = 0
        self._sums: dict[tuple[str, StreamKey], list[int]] = {}

    def add(self, cause: str, key: StreamKey, dropped: Dropped) -> None:
        """One frame was removed."""
        self.frames += 1
        sums = self._sums.setdefault((cause, key), [0, 0, 0])
        sums[0] += 1
        sums[1] += dropped.messages
        sums[2] += dropped.frame_bytes

    def clear(self) -> None:
        """Nothing was removed after all."""
        self.frames = 0
        self._sums.clear()

    def frozen(self) -> tuple[Removal, ...]:
        """All of them."""
        return tuple(Removal(cause, key, *sums) for (cause, key), sums in self._sums.items())

    def by_cause(self) -> dict[str, int]:
        """Frames, by cause."""
        totals: dict[str, int] = {}
        for (cause, _), sums in self._sums.items():
            totals[cause] = totals.get(cause, 0) + sums[0]
        return totals


def apply(
    retention: Retention,
    catalogue: Catalogue,
    now_ns: int,
    limit: int,
    drop: Callable[[StreamState], Dropped],
    removals: Removals,
) -> bool:
    """Have ``drop`` remove, one by one, what the retention no longer keeps.

    Args:
        retention: the rules.
        catalogue: the streams.
        now_ns: the time, in ns.
        limit: end when ``removals`` has so many frames.
        drop: removes the first frame of a stream and moves the stream's ``first_*`` on.
        removals: where they are counted.

    Returns:
        Whether the limit ended the work.
    """
    for group, max_age_ns, max_bytes in _groups(retention, catalogue):
        oldest = -1 if max_age_ns is None else now_ns - max_age_ns
        size = sum(state.kept_bytes for state in group)
        if (max_bytes is None or size <= max_bytes) and all(state.first_arrived_ns >= oldest for state in group):
            continue
        heads = _heads(group)
        while heads:
            state = heads[0][2]
            if state.first_arrived_ns < oldest:
                cause = Cause.AGE
            elif max_bytes is not None and size > max_bytes:
                cause = Cause.SIZE
            else:
                break
            if removals.frames >= limit:
                return True
            size -= _drop(heads, cause, drop, removals)
    if retention.max_bytes is None:
        return False
    size = sum(state.kept_bytes for state in catalogue)
    heads = _heads(catalogue) if size > retention.max_bytes else []
    while heads and size > retention.max_bytes:
        if removals.frames >= limit:
            return True
        size -= _drop(heads, Cause.SIZE, drop, removals)
    return False


def forgettable(retention: Retention, catalogue: Catalogue) -> list[StreamState]:
    """The streams without frames beyond those to remember, longest silent first."""
    empty = [state for state in catalogue if state.empty]
    excess = len(empty) - retention.keep_streams
    return heapq.nsmallest(excess, empty, key=lambda state: state.last_position) if excess > 0 else []


_Heads = list[tuple[int, int, StreamState]]


def _heads(group: Iterable[StreamState]) -> _Heads:
    heads = [(state.first_position, state.number, state) for state in group if not state.empty]
    heapq.heapify(heads)
    return heads


def _drop(heads: _Heads, cause: str, drop: Callable[[StreamState], Dropped], removals: Removals) -> int:
    state = heads[0][2]
    dropped = drop(state)
    removals.add(cause, state.key, dropped)
    if state.empty:
        heapq.heappop(heads)
    else:
        heapq.heapreplace(heads, (state.first_position, state.number, state))
    return dropped.frame_bytes


def _groups(retention: Retention, catalogue: Catalogue) -> Iterable[tuple[list[StreamState], int | None, int | None]]:
    groups: list[list[StreamState]] = [[] for _ in range(len(retention.topics) + 1)]
    for state in catalogue:
        if not state.empty:
            if state.rule is None:
                state.rule = _rule_of(retention, state.key.topic)
            groups[state.rule].append(state)
    for group, rule in zip(groups, retention.topics, strict=False):
        age = retention.max_age_ns if rule.max_age_ns is None else rule.max_age_ns
        yield group, age, rule.max_bytes
    yield groups[-1], retention.max_age_ns, None


def _rule_of(retention: Retention, topic: str) -> int:
    for index, rule in enumerate(retention.topics):
        if rule.pattern.matches(topic):
            return index
    return len(retention.topics)
