"""Who of a group reads which stream, and what happens when that one goes or does not get on. No I/O, no clock.

Theory of operation. A group shares streams, not messages: each stream is held by one member at a time, which gets
all of it in order. With the stream it gets a *generation*, a number that is never used twice. What a member says of
a stream in another generation than the one in force changes nothing; it is told to let go. So a member that was
given up and comes to life again does no harm.

==============  ===========================================  =====================================================
a stream is     when                                         then
==============  ===========================================  =====================================================
free            a member that wants it joins                 held by that one
held            another member joins and has fewer           being revoked, for the other one
held            its holder leaves or is gone                 held by another one, or free
held            it has more, and its account has not moved   held by another one, if there is one that gets on;
                within the holder's patience                 its former holder *owes* to let go of it
being revoked   its holder has released it, or is gone       held by the one that it was meant for
being revoked   the holder's patience is over                the same; its former holder owes to let go of it
==============  ===========================================  =====================================================

The account belongs to the stream and goes on with every holder. A member accounts for its own time with a stream
only; what it says is added to what the account was when it got the stream.

A member of which nothing at all has moved within its patience is *stalled*: it loses all its streams, and gets none
while another one gets on. It is so until it gets on with anything, or has let go of everything that it owes, which
it can when the message that it had in hand is finished.

Streams count alike when they are shared out, but for those that are over: handled, and continued by a newer
incarnation of their publisher.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mycelium.core.delivery.frames import Account, StreamKey

RETRY_NS = 1_000_000_000
"""After which something is said again that was not answered. Chosen by us, like the signs of life of clients."""


class MemberId(NamedTuple):
    """A member: a reader of a client.

    Args:
        client: whose.
        reader: its number there.
    """

    client: bytes
    reader: int


@dataclass(frozen=True, slots=True)
class Give:
    """A member holds a stream from now on. Said again until it reports.

    Args:
        member: who.
        stream: which.
        generation: of its time with the stream.
        cursor: the last message that the group is done with.
    """

    member: MemberId
    stream: StreamKey
    generation: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Take:
    """A member is to let go of a stream that it has, or had, in a generation."""

    member: MemberId
    stream: StreamKey
    generation: int


GroupAction = Give | Take


@dataclass(slots=True)
class _Member:
    wants: Callable[[StreamKey], bool]
    patience_ns: int
    moved_ns: int
    streams: dict[StreamKey, None] = field(default_factory=dict)
    load: int = 0
    """Streams that count for it: which it holds and keeps, or is to get."""
    is_stalled: bool = False
    owes: dict[StreamKey, int] = field(default_factory=dict)
    """Streams that were taken from it by force, with their generations."""
    told_ns: int = 0


@dataclass(slots=True)
class _Stream:
    account: Account
    last: int
    holder: MemberId | None = None
    generation: int = 0
    base: Account = field(default_factory=lambda: Account(0, 0, 0, {}))
    """The account when its holder got it."""
    heir: MemberId | None = None
    """For whom it is being revoked."""
    revoked_ns: int | None = None
    moved_ns: int = 0
    """Since when its holder could get on and has not."""
    told_ns: int = 0
    is_confirmed: bool = False
    counts_for: MemberId | None = None

    @property
    def has_more(self) -> bool:
        return self.last > self.account.cursor


class GroupState:
    """One group at one store.

    Args:
        generations: numbers that rise, and that no other group and no earlier life of the store uses.
    """

    def __init__(self, generations: Iterator[int]) -> None:
        self._generations = generations
        self._members: dict[MemberId, _Member] = {}
        self._streams: dict[StreamKey, _Stream] = {}
        self._newest: dict[tuple[int, str], StreamKey] = {}

    @property
    def members(self) -> tuple[MemberId, ...]:
        """Who is there."""
        return tuple(self._members)

    @property
    def accounts(self) -> dict[StreamKey, Account]:
        """How far the group is with every stream that it knows."""
        return {key: stream.account for key, stream in self._streams.items()}

    def account(self, key: StreamKey) -> Account | None:
        """How far the group is with a stream; None if it does not know it."""
        stream = self._streams.get(key)
        return None if stream is None else stream.account

    def is_wanted(self, key: StreamKey) -> bool:
        """Whether a member wants a stream."""
        return any(member.wants(key) for member in self._members.values())

    def holder(self, key: StreamKey) -> MemberId | None:
        """Who holds a stream."""
        stream = self._streams.get(key)
        return None if stream is None else stream.holder

    def __contains__(self, key: StreamKey) -> bool:
        return key in self._streams

    # --- members -----------------------------------------------------------------------------

    def join(
        self, member: MemberId, wants: Callable[[StreamKey], bool], patience_ns: int, now: int
    ) -> list[GroupAction]:
        """A member joins. For one that is there nothing changes.

        Args:
            member: who.
            wants: whether it reads a stream.
            patience_ns: how long it may take without getting on.
            now: the time.
        """
        if member in self._members:
            return []
        self._members[member] = _Member(wants, patience_ns, now)
        actions: list[GroupAction] = []
        for key, stream in self._streams.items():
            if stream.holder is None:
                actions += self._pass_on(key, stream, now)
        return actions + self._share_with(member, now)

    def leave(self, member: MemberId, now: int) -> list[GroupAction]:
        """A member has left, or is gone."""
        left = self._members.pop(member, None)
        if left is None:
            return []
        actions: list[GroupAction] = []
        for key, stream in self._streams.items():
            if stream.heir == member:
                stream.heir = None
                self._count(key, stream)
        for key in left.streams:
            actions += self._pass_on(key, self._streams[key], now)
        return actions

    def _share_with(self, member: MemberId, now: int) -> list[GroupAction]:
        """Let a member have streams of those that have most."""
        taker = self._members[member]
        to_have: dict[MemberId, list[StreamKey]] = {}
        for key, stream in self._streams.items():
            holder = stream.holder
            if holder == stream.counts_for and holder not in (None, member) and taker.wants(key):
                to_have.setdefault(holder, []).append(key)
        actions: list[GroupAction] = []
        while to_have:
            giver = max(to_have, key=lambda found: self._members[found].load)
            if self._members[giver].load <= taker.load + 1:
                break
            key = to_have[giver].pop()
            if not to_have[giver]:
                del to_have[giver]
            stream = self._streams[key]
            stream.heir, stream.revoked_ns, stream.told_ns = member, now, now
            self._count(key, stream)
            actions.append(Take(giver, key, stream.generation))
        return actions

    def _even_out(self, now: int) -> list[GroupAction]:
        """Whoever has fewest may have some of the others' streams: one is over and does not count any more, or members
        came and recovered while streams were on their way."""
        able = {name: member.load for name, member in self._members.items() if not member.is_stalled}
        if not able or max(able.values()) - min(able.values()) < 2:
            return []
        return self._share_with(min(able, key=able.__getitem__), now)

    # --- streams -----------------------------------------------------------------------------

    def advance(self, key: StreamKey, last: int, now: int, account: Account | None = None) -> list[GroupAction]:
        """A stream has begun, or reaches further.

        Args:
            key: which.
            last: the last message that exists.
            now: the time.
            account: how far the group is, for a stream that it does not know; from its beginning on by default.
        """
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(account or Account(0, 0, 0, {}), last)
            place = (key.source, key.topic)
            newest = self._newest.setdefault(place, key)
            if newest.epoch < key.epoch:
                self._newest[place] = key
                self._count(newest, self._streams[newest])
            return self._pass_on(key, stream, now)
        if last > stream.last:
            if not stream.has_more:
                stream.moved_ns = now
            stream.last = last
            self._count(key, stream)
        return []

    def forget(self, keys: Iterable[StreamKey]) -> list[GroupAction]:
        """The store does not know these streams any more."""
        actions: list[GroupAction] = []
        for key in keys:
            stream = self._streams.pop(key, None)
            if stream is None:
                continue
            if self._newest.get((key.source, key.topic)) == key:
                del self._newest[key.source, key.topic]
            if stream.counts_for is not None:
                self._members[stream.counts_for].load -= 1
            if stream.holder is not None:
                del self._members[stream.holder].streams[key]
                actions.append(Take(stream.holder, key, stream.generation))
        return actions

    def _is_over(self, key: StreamKey, stream: _Stream) -> bool:
        newest = self._newest.get((key.source, key.topic), key)
        return not stream.has_more and newest.epoch > key.epoch

    def _count(self, key: StreamKey, stream: _Stream) -> None:
        """Let a stream count for whoever is to have it."""
        bearer = None if self._is_over(key, stream) else stream.heir or stream.holder
        if bearer == stream.counts_for:
            return
        if stream.counts_for in self._members:
            self._members[stream.counts_for].load -= 1
        if bearer is not None:
            self._members[bearer].load += 1
        stream.counts_for = bearer

    # --- who holds what ----------------------------------------------------------------------

    def _best(self, key: StreamKey, *, but: MemberId | None = None) -> MemberId | None:
        """Who is to get a stream: of those that want it and get on, the one that has fewest."""
        return min(
            (name for name, member in self._members.items() if name != but and member.wants(key)),
            key=lambda name: (self._members[name].is_stalled, self._members[name].load),
            default=None,
        )

    def _pass_on(self, key: StreamKey, stream: _Stream, now: int, member: MemberId | None = None) -> list[GroupAction]:
        """Its holder has let go of a stream, or is gone: somebody else gets it in a new generation."""
        holder = self._members.get(stream.holder) if stream.holder is not None else None
        if holder is not None:
            del holder.streams[key]
        stream.holder = member or stream.heir or self._best(key)
        stream.heir = stream.revoked_ns = None
        stream.moved_ns = stream.told_ns = now
        stream.base, stream.is_confirmed = stream.account, False
        if stream.holder is None:
            self._count(key, stream)
            return []
        stream.generation = next(self._generations)
        self._members[stream.holder].streams[key] = None
        self._count(key, stream)
        return [Give(stream.holder, key, stream.generation, stream.account.cursor)]

    def _take(self, key: StreamKey, stream: _Stream, to: MemberId, now: int) -> list[GroupAction]:
        """Take a stream from its holder by force."""
        assert stream.holder is not None
        taken = Take(stream.holder, key, stream.generation)
        holder = self._members[stream.holder]
        holder.owes[key] = stream.generation
        holder.told_ns = now
        return [taken, *self._pass_on(key, stream, now, to)]

    # --- what members say --------------------------------------------------------------------

    def report(
        self, member: MemberId, key: StreamKey, generation: int, account: Account, now: int
    ) -> list[GroupAction]:
        """A member says how far it is with a stream, since it has it.

        Args:
            member: who.
            key: which stream.
            generation: in which it has the stream.
            account: of its own time with the stream.
            now: the time.
        """
        stream = self._held(member, key, generation)
        if stream is None:
            return [Take(member, key, generation)]
        stream.is_confirmed = True
        actions = self._recovered(member, now) if self._move(member, key, stream, account, now) else []
        return actions + self._even_out(now) if stream.counts_for is None else actions

    def released(
        self, member: MemberId, key: StreamKey, generation: int, account: Account, now: int
    ) -> list[GroupAction]:
        """A member has let go of a stream; see :meth:`report`."""
        stream = self._held(member, key, generation)
        if stream is not None:
            self._move(member, key, stream, account, now)
            return [*self._pass_on(key, stream, now), *self._even_out(now)]
        known = self._members.get(member)
        if known is None or known.owes.get(key) != generation:
            return []
        del known.owes[key]
        return [] if known.owes else self._recovered(member, now)

    def _recovered(self, member: MemberId, now: int) -> list[GroupAction]:
        known = self._members[member]
        if not known.is_stalled:
            return []
        known.is_stalled, known.moved_ns = False, now
        return self._share_with(member, now)

    def _held(self, member: MemberId, key: StreamKey, generation: int) -> _Stream | None:
        stream = self._streams.get(key)
        if stream is None or stream.holder != member or stream.generation != generation:
            return None
        return stream

    def _move(self, member: MemberId, key: StreamKey, stream: _Stream, account: Account, now: int) -> bool:
        base = stream.base
        if account.joined != base.cursor or account.cursor < stream.account.cursor:
            return False  # late, or nothing that this member can know
        moves = account.cursor > stream.account.cursor
        if moves:
            stream.moved_ns = self._members[member].moved_ns = now
        dropped = Counter(base.dropped) + Counter(account.dropped)
        stream.account = Account(base.joined, account.cursor, base.delivered + account.delivered, dict(dropped))
        stream.last = max(stream.last, account.cursor)
        self._count(key, stream)
        return moves

    # --- time --------------------------------------------------------------------------------

    def pass_time(self, now: int) -> list[GroupAction]:
        """Time has passed."""
        actions: list[GroupAction] = []
        for key, stream in self._streams.items():
            if stream.holder is not None:
                actions += self._look(key, stream, stream.holder, now)
        for name, member in self._members.items():
            if member.owes and now - member.told_ns >= RETRY_NS:
                member.told_ns = now
                actions += [Take(name, key, generation) for key, generation in member.owes.items()]
        return actions or self._even_out(now)

    def _look(self, key: StreamKey, stream: _Stream, name: MemberId, now: int) -> list[GroupAction]:
        holder = self._members[name]
        if stream.revoked_ns is not None:
            if now - stream.revoked_ns >= holder.patience_ns:
                return self._take(key, stream, stream.heir or self._best(key, but=name) or name, now)
            if now - stream.told_ns >= RETRY_NS:
                stream.told_ns = now
                return [Take(name, key, stream.generation)]
        elif stream.has_more and now - stream.moved_ns >= holder.patience_ns:
            return self._give_up(key, name, now)
        elif not stream.is_confirmed and now - stream.told_ns >= RETRY_NS:
            stream.told_ns = now
            return [Give(name, key, stream.generation, stream.account.cursor)]
        return []

    def _give_up(self, key: StreamKey, name: MemberId, now: int) -> list[GroupAction]:
        """A member does not get on with a stream, or with anything. The stream stays if nobody else gets on."""
        holder = self._members[name]
        stalled = now - holder.moved_ns >= holder.patience_ns
        actions: list[GroupAction] = []
        for taken in tuple(holder.streams) if stalled else (key,):
            other = self._best(taken, but=name)
            if other is not None and not self._members[other].is_stalled:
                holder.is_stalled |= stalled
                actions += self._take(taken, self._streams[taken], other, now)
        return actions
