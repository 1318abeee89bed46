"""One member of a group at one store: reads the streams that the store assigns to it, and lets go of them when told.

What the store says of a stream carries the generation of the member's time with it
(:mod:`mycelium.core.delivery.groups`). The member accounts for its own time only.
"""

from __future__ import annotations

from collections.abc import Iterable

from mycelium.core.delivery.control import FromClient, Join, Row
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.sharing import Assign, Progress, Released, Revoke, Share, Tenure
from mycelium.transport.inlets import Inlet, Surroundings
from mycelium.transport.queues import BoundedQueue
from mycelium.transport.stored import StoredRoute
from mycelium.transport.subscriptions import Interest

_NOTHING = Account(0, 0, 0, {})


class Member(Inlet):
    """See :class:`~mycelium.transport.inlets.Inlet`. A stream that is not assigned to it is not for it."""

    def __init__(self, number: int, interest: Interest, queue: BoundedQueue, join: Join, around: Surroundings) -> None:
        super().__init__(number, interest, queue, join, around)
        self._generations: dict[StreamKey, int] = {}
        """Of the streams that it has, also of those that it is letting go of."""
        self._leaving: dict[StreamKey, None] = {}
        """Streams of which it finishes what is in hand, and no more."""
        self._newest: dict[StreamKey, int] = {}
        """The newest generation that was heard of each stream."""
        self._ended: dict[StreamKey, Tenure] = {}
        """Its last time with each stream that it has let go of."""
        self._past: dict[StreamKey, StoredRoute] = {}
        """The books of all its former times with a stream."""
        self._to_say: list[Tenure] = []

    def on_said(self, said: Assign | Revoke) -> None:
        """The store has decided. What is to be answered comes with :meth:`released`."""
        if isinstance(said, Revoke):
            self._revoke(said.streams)
        elif not self.detached and not self.ended:
            for share in said.shares:
                self._assign(share)

    def _assign(self, share: Share) -> None:
        stream, generation = share.place.stream, share.generation
        if generation <= self._newest.get(stream, 0):
            return
        if stream in self._generations:
            # It was given up and has got the stream back. What it has in hand comes again.
            self._stop([stream])
            self._close(stream)
        self._newest[stream] = self._generations[stream] = generation
        self._accounts[stream] = Account(share.place.begin - 1, share.place.begin - 1, 0, {})
        # With the next report the store sees that it has the stream.
        self.unreported[stream] = Row(stream, self._route(stream).account)
        self._act(self.state.begin(share.place))

    def _revoke(self, streams: Iterable[tuple[StreamKey, int]]) -> None:
        leaving = []
        for stream, generation in streams:
            self._newest[stream] = max(generation, self._newest.get(stream, 0))
            if self._generations.get(stream) != generation:
                ended = self._ended.get(stream)
                known = ended is not None and ended.generation == generation
                self._to_say.append(ended if ended and known else Tenure(stream, generation, _NOTHING))
            elif stream not in self._leaving:
                leaving.append(stream)
        if leaving:
            self._leaving.update(dict.fromkeys(leaving))
            self._stop(set(leaving))

    def _close(self, stream: StreamKey) -> None:
        """The member is done with a stream."""
        self._leaving.pop(stream, None)
        self.unreported.pop(stream, None)
        route = self.routes.pop(stream)
        runs = [run for run in self.queue.in_hand if run.route is route]
        account = route.done_with(next(iter(runs), None), sum(run.left for run in runs))
        self._ended[stream] = Tenure(stream, self._generations.pop(stream), account)
        past = self._past.setdefault(stream, route)
        if past is not route:
            past.add(route)

    def released(self) -> Released | None:
        """What it has to say about streams that it has let go of."""
        in_hand = {run.route for run in self.queue.in_hand}
        for stream in [stream for stream in self._leaving if self.routes[stream] not in in_hand]:
            self._close(stream)
            self._to_say.append(self._ended[stream])
        tenures, self._to_say = tuple(self._to_say), []
        return Released(self.number, tenures) if tenures else None

    def report(self, serial: int) -> FromClient:
        """See :class:`~mycelium.transport.inlets.Inlet`."""
        rows = self._rows(serial)
        return Progress(
            self.number, serial, tuple(Tenure(row.stream, self._generations[row.stream], row.account) for row in rows)
        )

    def abandon_all_but(self, kept: Iterable[StreamKey]) -> None:
        """Nothing: a store that has begun anew tells by itself which streams are whose."""

    @property
    def all_routes(self) -> list[StoredRoute]:
        """See :class:`~mycelium.transport.inlets.Inlet`."""
        return [*self._past.values(), *self.routes.values()]

    def _excluded(self, stream: StreamKey) -> bool:
        return stream not in self._generations or stream in self._leaving
