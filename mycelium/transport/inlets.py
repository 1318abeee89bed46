"""One reader at one store: frames become items in the queue of its subscription, in order, once, none missing.

What the store sends and answers goes into a :class:`~mycelium.core.delivery.reader.ReaderState`; what that hands
over is decoded and put into the queue. A full queue pauses it. Nobody else waits for this reader: what it could not
take is read from the store when there is room.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog

from mycelium.core.delivery.control import FromClient, Join, Joined, Mark, Report, Row
from mycelium.core.delivery.frames import Account, Frame, StreamKey, Watermark
from mycelium.core.delivery.reader import Action, Deliver, Expired, ReaderState, Request
from mycelium.core.envelope import Envelope, decode_frame
from mycelium.core.errors import WireError
from mycelium.core.ledger import Cause, Tally
from mycelium.core.message import Message
from mycelium.core.policy import QueuePolicy
from mycelium.core.trace import is_marked, marks_of
from mycelium.transport.queues import BoundedQueue
from mycelium.transport.stored import StoredRoute
from mycelium.transport.streams import Route, Run, Stream, StreamId
from mycelium.transport.subscriptions import Interest

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reader")

MAX_ROWS = 500
"""Accounts in one report. Chosen by us: a store takes some 10 ms for them, in which it does nothing else."""

Decode = Callable[[Envelope, Interest], list[Message]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reader has to do with.

    Args:
        decode: a frame's messages.
        source_name: the name of a source.
        is_own: whether a stream comes by a nearer path.
        live: whether its contract has delivery class live.
        fetch: asks the store for frames.
        on_end: called when a detached reader has got everything.
    """

    decode: Decode
    source_name: Callable[[int], str]
    is_own: Callable[[int, int], bool]
    live: bool
    fetch: Callable[[Inlet, Request], None]
    on_end: Callable[[], None]


class Inlet:
    """One interest of one subscription, at one store.

    Args:
        number: of the reader, at its client.
        interest: what it wants.
        queue: where its messages go.
        join: how it joins.
        around: what it has to do with.
    """

    def __init__(
        self,
        number: int,
        interest: Interest,
        queue: BoundedQueue,
        join: Join,
        around: Surroundings,
    ) -> None:
        self.number = number
        self.interest = interest
        self.queue = queue
        self.join = join
        self.joined: asyncio.Event = asyncio.Event()
        self.state: ReaderState = ReaderState()
        self.routes: dict[StreamKey, StoredRoute] = {}
        self.ended: bool = False
        self.join_instance: int = 0
        """The instance of the store that it has asked to join."""
        self.unreported: dict[StreamKey, Row] = {}
        """Accounts that the store has not said to have."""
        self.reported: int = 0
        """Serial of the report that is not answered yet; 0 if there is none."""
        self.reported_at: int = 0
        """The beat in which it was made."""
        self._in_report: tuple[Row, ...] = ()
        self.detached: int = 0
        """Serial of the question how far it is to read, once it is detached."""
        self._accounts: dict[StreamKey, Account] = {}
        self._decode = around.decode
        self._source_name = around.source_name
        self._is_own = around.is_own
        self._live = around.live
        self._fetch = around.fetch
        self._on_end = around.on_end
        self._pending: deque[Deliver | Expired] = deque()
        self._blocked = False
        self._until: dict[StreamKey, int] | None = None
        self._matches: dict[str, bool] = {}
        self._dropped_live: dict[StreamKey, Tally] = {}

    # --- what the store says -----------------------------------------------------------------

    def wants(self, topic: str) -> bool:
        """Whether a topic is wanted."""
        known = self._matches.get(topic)
        if known is None:
            if len(self._matches) > 20_000:
                self._matches.clear()
            known = self._matches[topic] = self.interest.pattern.matches(
                topic
            ) and self.interest.contract.topic.pattern.matches(topic)
        return known

    def on_joined(self, said: Joined) -> None:
        """The store has said where to begin."""
        if not self.state.joined:
            self._accounts = {row.stream: row.account for row in said.rows}
            for place in said.places:
                if place.stream not in self._accounts:
                    self._accounts[place.stream] = Account(place.begin - 1, place.begin - 1, 0, {})
        self._act(self.state.join(place for place in said.places if not self._excluded(place.stream)))
        self.joined.set()

    def on_frame(self, envelope: Envelope) -> None:
        """A frame has come by itself."""
        stream = StreamKey(envelope.source, envelope.epoch, envelope.topic)
        if self.ended or self._excluded(stream):
            return
        if self._live:
            self._on_live(Frame(stream, envelope.sequence, envelope.count, envelope))
        elif (
            not self._pending
            and not self._blocked
            and self._until is None
            and self.state.follows(stream, envelope.sequence, envelope.count)
        ):
            self._put(stream, envelope, envelope.sequence, envelope.sequence + envelope.count - 1)
        else:
            self._act(self.state.live(Frame(stream, envelope.sequence, envelope.count, envelope)))

    def _on_live(self, frame: Frame) -> None:
        """Delivery class live: what comes late or is missing is counted, and nothing is asked for."""
        route = self.routes.get(frame.stream)
        if route is None:
            self._accounts[frame.stream] = Account(frame.sequence - 1, frame.sequence - 1, 0, {})
            route = self._route(frame.stream)
        if frame.last <= route.reaches or not self.joined.is_set():
            return
        following = route.reaches + 1
        route.reaches = frame.last
        if self._blocked:
            # Counted when what is half put into the queue is through, so that the route is never ahead of itself.
            lost = self._dropped_live.setdefault(frame.stream, Tally())
            if frame.sequence > following:
                lost.add(Cause.LOST, frame.sequence - following)
            lost.add(Cause.QUEUE + "live", frame.last - max(following, frame.sequence) + 1)
            return
        if frame.sequence > following:
            route.lose(Cause.LOST, following, frame.sequence - 1)
        self._pending.append(Deliver(frame, max(0, following - frame.sequence)))
        self._pump()

    def _count_dropped_live(self) -> None:
        dropped, self._dropped_live = self._dropped_live, {}
        for stream, tally in dropped.items():
            for cause, number in tally.counts.items():
                given = self.routes[stream].given
                self.routes[stream].lose(cause, given + 1, given + number)

    def on_fetched(self, stream: StreamKey, sequence: int, frames: Iterable[bytes], mark: Mark) -> Sequence[Envelope]:
        """Frames have come that were asked for. They are given back, decoded."""
        decoded = []
        for data in frames:
            envelope = decode_frame(data)
            decoded.append(Frame(stream, envelope.sequence, envelope.count, envelope))
        self._act(self.state.answer(stream, sequence, decoded, Watermark(stream, mark.first, mark.last)))
        return [frame.data for frame in decoded]

    def on_marks(self, marks: Iterable[Mark]) -> None:
        """The store says how far streams reach."""
        if self._live:
            return
        type_id = self.interest.contract.type_id
        self._act(
            self.state.watermarks(
                Watermark(mark.stream, mark.first, mark.last)
                for mark in marks
                if mark.type_id == type_id and self.wants(mark.stream.topic) and not self._excluded(mark.stream)
            )
        )

    def abandon_all_but(self, kept: Iterable[StreamKey]) -> None:
        """The store has begun anew and keeps these streams only."""
        for stream in set(self.state.streams) - set(kept):
            self._act(self.state.abandon(stream))

    def _stop(self, streams: Collection[StreamKey]) -> None:
        """Take no more of some streams. What waits of them is taken out; what is in hand is the last of it."""
        self._pending = deque(action for action in self._pending if _stream_of(action) not in streams)
        routes = {self.routes[stream]: stream for stream in streams if stream in self.routes}
        first: dict[Route, int] = {}
        for run in self.queue.take_out(routes):
            first.setdefault(run.route, run.next)
        for route in routes:
            route.stop(first.get(route, route.given + 1) - 1)
        for stream in streams:
            self.state.stop(stream)
            if self._until is not None:
                self._until.pop(stream, None)
        self._act(())

    def ask_again(self) -> None:
        """No answer has come for long."""
        self._act(self.state.ask_again())

    def _excluded(self, stream: StreamKey) -> bool:
        """Whether a stream is not for this reader."""
        return self._is_own(stream.source, stream.epoch)

    # --- into the queue ----------------------------------------------------------------------

    def _act(self, actions: Iterable[Action]) -> None:
        self._take(actions)
        if not self._blocked:
            self._pump()

    def _take(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Request):
                self._fetch(self, action)
            else:
                self._pending.append(action)

    def _pump(self) -> None:
        """Put what was handed over into the queue, until that is full."""
        while not self.ended:
            while self._pending:
                action = self._pending.popleft()
                if isinstance(action, Expired):
                    self._expire(action)
                elif not self._deliver(action):
                    return
            self._count_dropped_live()
            if not self.state.paused:
                break
            # This may hand over more, and ask.
            self._take(self.state.go_on())
        self._check_end()

    def _expire(self, action: Expired) -> None:
        route = self._route(action.stream)
        last = self._cut(action.stream, action.last)
        if last >= action.first:
            log.warning("no longer kept", topic=action.stream.topic, first=action.first, last=last)
            route.lose(Cause.EXPIRED, action.first, last)

    def _deliver(self, action: Deliver) -> bool:
        frame = action.frame
        first, last = frame.sequence + action.skip, self._cut(frame.stream, frame.last)
        return first > last or self._put(frame.stream, frame.data, first, last)

    def _put(self, stream: StreamKey, envelope: Envelope, first: int, last: int) -> bool:
        """Put messages of a frame into the queue; False if some wait for room there, and :meth:`_on_room` goes on."""
        route = self._route(stream)
        try:
            messages = self._decode(envelope, self.interest)
        except WireError as error:
            log.warning("payload refused", topic=envelope.topic, sequence=envelope.sequence, error=str(error))
            route.lose(Cause.DECODE, first, last)
            return True
        if last - first + 1 < len(messages):
            messages = messages[first - envelope.sequence : last - envelope.sequence + 1]
        route.given = last
        if is_marked(envelope):
            route.mark(marks_of(envelope))
        waiting = self.queue.offer(Run(messages, route, first, envelope.published))
        if waiting is None:
            return True
        self._blocked = True
        self.state.pause()
        waiting.room.add_done_callback(self._on_room)
        return False

    def _on_room(self, _room: asyncio.Future[None]) -> None:
        self._blocked = False
        self._pump()

    def _cut(self, stream: StreamKey, last: int) -> int:
        """``last``, or where a detached reader ends."""
        return last if self._until is None else min(last, self._until.get(stream, 0))

    def _route(self, key: StreamKey) -> StoredRoute:
        route = self.routes.get(key)
        if route is None:
            account = self._accounts.pop(key, None) or Account(0, 0, 0, {})
            stream = Stream(StreamId(self._source_name(key.source), key.epoch, key.topic), self.interest.contract)
            route = self.routes[key] = StoredRoute(key, stream, self.queue, account, self.interest.name)
        return route

    # --- the end -----------------------------------------------------------------------------

    @property
    def finishing(self) -> bool:
        """Whether it knows where it ends."""
        return self._until is not None

    def finish(self, marks: Iterable[Mark]) -> None:
        """Take nothing beyond these marks; when all before has been put into the queue, it is over."""
        if self._live:
            self.end()  # what has come is all there is: nothing of it can be fetched
            return
        until = {stream: route.given for stream, route in self.routes.items() if route.left is None}
        for mark in marks:
            if self.state.joined and not self._excluded(mark.stream):
                given = until.get(mark.stream, self.state.expected(mark.stream) - 1)
                until[mark.stream] = max(mark.last, given)
        self._until = until
        self._act(self.state.watermarks(Watermark(stream, 1, last) for stream, last in until.items()))

    def _check_end(self) -> None:
        if self._until is None or self.ended:
            return
        if all(self.state.expected(stream) > last for stream, last in self._until.items()):
            self.end()

    def end(self) -> None:
        """Take nothing more."""
        if not self.ended:
            self.ended = True
            self._pending.clear()
            for route in self.routes.values():
                route.left = route.given
            self._on_end()

    # --- the books ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """Note how far the streams reach, for the ledger."""
        if self._live:
            return
        for stream in self.state.behind:
            self._route(stream)
        for stream, route in self.routes.items():
            route.reaches = max(route.reaches, self.state.reaches(stream))

    def report_all(self) -> None:
        """The store may have forgotten how far the reader is."""
        self.unreported = {key: Row(key, route.account) for key, route in self.routes.items()}
        self.reported = 0

    def on_reported(self, serial: int) -> None:
        """The store has what was reported."""
        if serial != self.reported:
            return
        self.reported = 0
        for row in self._in_report:
            if self.unreported.get(row.stream) is row:
                del self.unreported[row.stream]

    @property
    def all_routes(self) -> list[StoredRoute]:
        """What belongs to its books."""
        return list(self.routes.values())

    def report(self, serial: int) -> FromClient:
        """Say how far it is with the streams of which the store does not know; the rest follows in the next report."""
        return Report(self.number, self.join.name, serial, self.join.durable, self._rows(serial))

    def _rows(self, serial: int) -> tuple[Row, ...]:
        self.reported = serial
        self._in_report = tuple(itertools.islice(self.unreported.values(), MAX_ROWS))
        return self._in_report

    def take_stock(self) -> None:
        """Find the accounts that the store does not have yet."""
        oldest: dict[Route, Run] = {}
        for run in self.queue.unfinished():
            oldest.setdefault(run.route, run)
        in_hand: Counter[Route] = Counter()
        for run in self.queue.in_hand:
            in_hand[run.route] += run.left
        for key, route in self.routes.items():
            first = oldest.get(route)
            if first is not None and self.queue.policy not in (QueuePolicy.BLOCK, QueuePolicy.DROP_OLDEST):
                continue  # what was dropped lies between: the account is clear when the queue is empty
            account = route.done_with(first, in_hand[route])
            if account != route.account:
                route.account = account
                self.unreported[key] = Row(key, account)


def _stream_of(action: Deliver | Expired) -> StreamKey:
    return action.frame.stream if isinstance(action, Deliver) else action.stream
