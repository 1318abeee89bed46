"""A network and a disk that do what real ones do on their worst day, under the machines of delivery.

Everything here is deterministic: what is delivered, dropped, repeated or delayed, who crashes and what a crash
takes with it is decided by whoever drives the simulation, one step at a time. A publisher, a store and a
reader are each a machine of :mod:`mycelium.core.delivery` with the few lines around it that a process adds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mycelium.core.delivery.admission import Admission, Entrance, Missing
from mycelium.core.delivery.frames import Frame, StreamKey, Watermark
from mycelium.core.delivery.joining import Start, place
from mycelium.core.delivery.reader import Action, Deliver, Expired, ReaderState, Request
from mycelium.core.delivery.window import PublisherWindow


@dataclass(eq=False)
class Packet:
    """Something on its way. ``call`` is what happens at its target when it arrives."""

    source: str
    target: str
    call: Callable[[], None]


class SimulatedNetwork:
    """All packets under way. Nothing arrives by itself."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.cut: set[frozenset[str]] = set()
        self.up: set[str] = set()

    def send(self, source: str, target: str, call: Callable[[], None]) -> None:
        """Put a packet on its way, unless the two are partitioned: then it is lost."""
        if frozenset((source, target)) not in self.cut:
            self.packets.append(Packet(source, target, call))

    def arrive(self, index: int, *, keep: bool = False) -> None:
        """Let one packet arrive, in any order; with ``keep`` it is repeated and stays under way as well."""
        packet = self.packets[index % len(self.packets)]
        if not keep:
            self.packets.remove(packet)
        if packet.target in self.up and frozenset((packet.source, packet.target)) not in self.cut:
            packet.call()

    def lose(self, index: int) -> None:
        """Let one packet get lost."""
        del self.packets[index % len(self.packets)]

    def lose_all_of(self, node: str) -> None:
        """A node has crashed: its connections are gone, with what was in them."""
        self.packets = [packet for packet in self.packets if node not in (packet.source, packet.target)]


@dataclass
class SimulatedDisk:
    """Frames in the order in which they were appended. A crash may take what was not synced, a torn write included."""

    frames: list[Frame] = field(default_factory=list)
    synced: int = 0
    trimmed: dict[StreamKey, int] = field(default_factory=dict)
    """The last sequence that retention has removed, by stream."""

    def crash(self, lost: int) -> None:
        """Lose up to ``lost`` of the frames that were not synced, from the end."""
        del self.frames[max(self.synced, len(self.frames) - lost) :]


class SimulatedStore:
    """The process that keeps the journal: a broker, reduced to what decides about delivery."""

    name = "store"

    def __init__(self, network: SimulatedNetwork, disk: SimulatedDisk) -> None:
        self.network = network
        self.disk = disk
        self.refused: defaultdict[str, int] = defaultdict(int)
        self.publishers: dict[str, SimulatedPublisher] = {}
        self.readers: dict[str, SimulatedReader] = {}
        self.start()

    def start(self) -> None:
        """Come up with what the disk has."""
        self.admission: Admission = Admission(self.marks())
        self.network.up.add(self.name)

    def crash(self, lost: int) -> None:
        """Die, losing up to ``lost`` frames that were not synced."""
        self.network.up.discard(self.name)
        self.network.lose_all_of(self.name)
        self.disk.crash(lost)

    def marks(self) -> list[Watermark]:
        """How far every stream reaches."""
        first: dict[StreamKey, int] = {}
        last: dict[StreamKey, int] = {}
        for frame in self.disk.frames:
            first.setdefault(frame.stream, frame.sequence)
            last[frame.stream] = frame.last
        for stream, gone in self.disk.trimmed.items():
            first[stream] = max(first.get(stream, 0), gone + 1)
            last.setdefault(stream, gone)
        return [Watermark(stream, first[stream], last[stream]) for stream in last]

    def mark(self, stream: StreamKey) -> Watermark:
        """How far one stream reaches."""
        return next((mark for mark in self.marks() if mark.stream == stream), Watermark(stream, 1, 0))

    def trim(self, number: int) -> None:
        """Retention takes the oldest frames."""
        for frame in self.disk.frames[:number]:
            self.disk.trimmed[frame.stream] = frame.last
        removed = min(number, len(self.disk.frames))
        del self.disk.frames[:removed]
        self.disk.synced = max(0, self.disk.synced - removed)

    def sync(self) -> None:
        """Make everything durable and confirm it."""
        self.disk.synced = len(self.disk.frames)
        for publisher in self.publishers.values():
            for stream in publisher.streams:
                self._confirm(publisher, stream)

    def _durable(self, stream: StreamKey) -> int:
        last = self.disk.trimmed.get(stream, 0)
        for frame in self.disk.frames[: self.disk.synced]:
            if frame.stream == stream:
                last = frame.last
        return last

    def _confirm(self, publisher: SimulatedPublisher, stream: StreamKey) -> None:
        last = self._durable(stream)
        self.network.send(self.name, publisher.name, lambda: publisher.confirmed(stream, last))

    def publish(self, publisher: SimulatedPublisher, frame: Frame) -> None:
        """A frame has come."""
        match self.admission.judge(frame):
            case Entrance.ACCEPT:
                self.disk.frames.append(frame)
                self.admission.accepted(frame)
                for reader in self.readers.values():
                    self._forward(reader, frame)
            case Entrance.DUPLICATE:
                self._confirm(publisher, frame.stream)
            case Missing(expected=expected):
                self._go_back(publisher, frame.stream, expected)
            case Entrance.UNKNOWN:
                self.network.send(self.name, publisher.name, lambda: publisher.introduce(frame.stream))
            case verdict:
                self.refused[verdict.value] += frame.count

    def _go_back(self, publisher: SimulatedPublisher, stream: StreamKey, expected: int) -> None:
        self.network.send(self.name, publisher.name, lambda: publisher.go_back(stream, expected))

    def _forward(self, reader: SimulatedReader, frame: Frame) -> None:
        self.network.send(self.name, reader.name, lambda: reader.live(frame))

    def announced(self, stream: StreamKey, wanted: int, base: int) -> None:
        """A publisher has said from where on it can send a stream."""
        self.admission.announce(stream, wanted, base)

    def asked(self, reader: SimulatedReader, request: Request) -> None:
        """A reader wants frames."""
        found = [
            frame for frame in self.disk.frames if frame.stream == request.stream and frame.last >= request.sequence
        ][: request.credits]
        mark = self.mark(request.stream)
        self.network.send(
            self.name, reader.name, lambda: reader.answered(request.stream, request.sequence, found, mark)
        )

    def asked_for_marks(self, reader: SimulatedReader) -> None:
        """A reader wants to know how far the streams reach."""
        marks = self.marks()
        self.network.send(self.name, reader.name, lambda: reader.told(marks))


class SimulatedPublisher:
    """A publishing process.

    Args:
        name: unique in the network.
        outbox: whether the window outlives the process.
        window: how many messages may be unconfirmed.
    """

    def __init__(
        self, network: SimulatedNetwork, store: SimulatedStore, name: str, *, outbox: bool, window: int = 16
    ) -> None:
        self.name = name
        self.outbox = outbox
        self._network = network
        self._store = store
        self._window_size = window
        self._source = len(store.publishers) + 1
        self._epoch = 0
        self._left: PublisherWindow | None = None
        self.streams: set[StreamKey] = set()
        self.published: dict[StreamKey, int] = {}
        self.given_up: defaultdict[StreamKey, set[int]] = defaultdict(set)
        """Messages that a cancelled publish has left out."""
        self.confirms: dict[StreamKey, int] = {}
        store.publishers[name] = self
        self.start()

    def start(self) -> None:
        """Begin a new incarnation, after what the outbox holds of the former one."""
        self._epoch += 1
        self.window: PublisherWindow = PublisherWindow(self._window_size)
        self._network.up.add(self.name)
        if self._left is not None:
            self._resend(self._left)

    def crash(self) -> None:
        """Die. Without an outbox the window dies too."""
        self._network.up.discard(self.name)
        self._network.lose_all_of(self.name)
        if not self.outbox:
            return
        if self._left is None or self._left.is_empty:
            self._left = self.window

    @property
    def may_publish(self) -> bool:
        """Whether it is up, has room, and has sent what its former incarnation left."""
        left = self._left is not None and not self._left.is_empty
        return self.name in self._network.up and self.window.has_room and not left

    def publish(self, topic: str, count: int, given_up: int = 0) -> None:
        """Publish a frame of ``count`` messages, after ``given_up`` that were cancelled while they waited."""
        stream = StreamKey(self._source, self._epoch, topic)
        sequence = self.published.get(stream, 0) + 1 + given_up
        self.given_up[stream].update(range(sequence - given_up, sequence))
        frame = Frame(stream, sequence, count, b"x" * count)
        self.streams.add(stream)
        self.published[stream] = frame.last
        self.window.add(frame)
        self._send(frame)

    def _send(self, frame: Frame) -> None:
        self._network.send(self.name, self._store.name, lambda: self._store.publish(self, frame))

    def _windows(self) -> list[PublisherWindow]:
        return [self.window] if self._left is None else [self._left, self.window]

    def confirmed(self, stream: StreamKey, last: int) -> None:
        """The store has everything up to ``last``."""
        self.confirms[stream] = max(last, self.confirms.get(stream, 0))
        for window in self._windows():
            window.confirm(stream, last)

    def go_back(self, stream: StreamKey, sequence: int) -> None:
        """The store expects ``sequence`` next."""
        for window in self._windows():
            base = window.base(stream, sequence)
            if base is not None and base > sequence:
                self._announce(stream, sequence, base)
            for frame in window.again(stream, sequence):
                self._send(frame)

    def introduce(self, stream: StreamKey) -> None:
        """The store does not know the stream."""
        for window in self._windows():
            base = window.base(stream)
            if base is not None:
                self._announce(stream, 1, base)
                for frame in window.again(stream):
                    self._send(frame)

    def _announce(self, stream: StreamKey, wanted: int, base: int) -> None:
        self._network.send(self.name, self._store.name, lambda: self._store.announced(stream, wanted, base))

    def _resend(self, window: PublisherWindow) -> None:
        for stream, base in window.bases().items():
            self._announce(stream, 1, base)
        for frame in window.all_again():
            self._send(frame)

    def tick(self) -> None:
        """No confirm has come for long."""
        for window in self._windows():
            self._resend(window)


class SimulatedReader:
    """A reading process.

    Args:
        name: unique in the network.
        durable: whether its cursor outlives it.
        start: where it begins without one.
    """

    def __init__(
        self,
        network: SimulatedNetwork,
        store: SimulatedStore,
        name: str,
        *,
        durable: bool,
        start: Start = Start.EARLIEST,
        max_aside: int = 3,
    ) -> None:
        self.name = name
        self.durable = durable
        self._network = network
        self._store = store
        self._start = start
        self._max_aside = max_aside
        self.cursor: dict[StreamKey, int] | None = None
        self.begins: dict[StreamKey, int] = {}
        """Where each stream began for this reader: what retention took before it came is not missed."""
        self.handled: defaultdict[StreamKey, list[int]] = defaultdict(list)
        """Every message handed over, in order, repeats after a crash included."""
        self.expired: defaultdict[StreamKey, set[int]] = defaultdict(set)
        self.start()

    def start(self) -> None:
        """Come up, with the cursor if it is durable."""
        self.state: ReaderState = ReaderState(max_aside=self._max_aside, max_credits=2)
        if not self.durable or self.cursor is None:
            self.handled.clear()
            self.expired.clear()
            self.begins.clear()
        self._network.up.add(self.name)
        self._store.readers[self.name] = self
        self._ask_for_marks()

    def crash(self) -> None:
        """Die. What was handled after the cursor was stored will come again."""
        self._network.up.discard(self.name)
        self._network.lose_all_of(self.name)

    def store_cursor(self) -> None:
        """Keep how far each stream has been handled."""
        if self.state.joined:
            streams = {*self.begins, *self.handled, *self.expired}
            self.cursor = {stream: self.state.expected(stream) - 1 for stream in streams}

    def _ask_for_marks(self) -> None:
        self._network.send(self.name, self._store.name, lambda: self._store.asked_for_marks(self))

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Deliver(frame, skip):
                    self.handled[frame.stream].extend(range(frame.sequence + skip, frame.last + 1))
                case Request() as request:
                    self._request(request)
                case Expired(stream, first, last):
                    self.expired[stream].update(range(first, last + 1))

    def _request(self, request: Request) -> None:
        self._network.send(self.name, self._store.name, lambda: self._store.asked(self, request))

    def live(self, frame: Frame) -> None:
        """A frame has come by itself."""
        self._act(self.state.live(frame))

    def answered(self, stream: StreamKey, sequence: int, frames: list[Frame], mark: Watermark) -> None:
        """Frames have come that were asked for."""
        self._act(self.state.answer(stream, sequence, frames, mark))

    def told(self, marks: list[Watermark]) -> None:
        """The store has said how far the streams reach."""
        cursor = self.cursor if self.durable else None
        places = [
            place(mark, self._start, cursor=(cursor or {}).get(mark.stream), returns=cursor is not None)
            for mark in marks
        ]
        if not self.state.joined and cursor is None:
            self.begins = {found.stream: found.begin for found in places}
        self._act(self.state.join(places))

    def pause(self) -> None:
        """Its queue is full."""
        self.state.pause()

    def go_on(self) -> None:
        """There is room again."""
        self._act(self.state.go_on())

    def tick(self) -> None:
        """Nothing has come for long."""
        self._ask_for_marks()
        self._act(self.state.ask_again())
