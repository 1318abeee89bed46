"""What a process publishes beyond itself: into its own store, or to the broker.

To the own store a frame is a call. To the broker it goes through an XPUB that connects, so that the broker's
subscription tells when there is a connection; it stays in a window until the broker has confirmed it, and is
sent again when there is reason to think that it was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
import zmq

from mycelium.core.delivery.control import Announce, Confirm, FromClient, GoBack, Introduce, Refuse
from mycelium.core.delivery.frames import Frame, StreamKey
from mycelium.core.delivery.window import DEFAULT_WINDOW_MESSAGES, PublisherWindow
from mycelium.core.ledger import Tally
from mycelium.core.message import Message
from mycelium.core.unbooked import UNBOOKED
from mycelium.journal import JournalFullError
from mycelium.transport.links import Link, LinkSink
from mycelium.transport.sockets import Port
from mycelium.transport.store import Store

if TYPE_CHECKING:
    from mycelium.journal.outbox import Outbox

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("uplink")

RETRY_SECONDS = 0.1
"""Until a journal that was full is tried again."""

RESEND_NS = 1_000_000_000
RESEND_MAX_NS = 8_000_000_000
"""Without a confirm for so long, everything unconfirmed is sent again; twice as long each time."""

PUBLISH_HIGH_WATER = 1_000


class StoreLink(Link):
    """What is published goes into the store of this process.

    Args:
        store: the own store.
        live: type ids whose frames are not kept.
    """

    def __init__(self, store: Store, live: Collection[int]) -> None:
        super().__init__()
        self._store = store
        self._live = live

    def hand_over(self, frame: Frame, type_id: int) -> bool:
        """See :class:`Link`."""
        if type_id in self._live:
            self._store.pass_on(frame.data)
            return True
        try:
            self._store.keep((frame,), (type_id,))
        except JournalFullError as error:
            self._store.complaints.say("the own journal", "publishers wait: the journal is full", error=str(error))
            self._store.trim_now()
            self._loop.call_later(RETRY_SECONDS, self.room)
            return False
        return True

    def close(self) -> None:
        """Nothing: whoever made the store closes it."""


class BrokerLink(Link):
    """What is published goes to the broker.

    Args:
        endpoint: where it receives.
        say: says something to it on the control connection.
        time_ns: the time.
        live: type ids whose frames are neither kept nor sent again.
        outboxes: of the sources that have one.
        keys: options of libzmq for a broker that asks for keys.
    """

    window_messages: ClassVar[int] = DEFAULT_WINDOW_MESSAGES
    """How many messages may be unconfirmed before publishers wait."""

    def __init__(
        self,
        endpoint: str,
        say: Callable[[FromClient], None],
        time_ns: Callable[[], int],
        live: Collection[int],
        outboxes: Mapping[int, Outbox],
        keys: Mapping[int, int | bytes] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self._say = say
        self._time_ns = time_ns
        self._live = live
        self._outboxes = outboxes
        self._window = PublisherWindow(self.window_messages)
        # What former incarnations left in their outboxes. Nothing newer leaves before the broker has it: it would
        # be taken for the beginning of a newer incarnation, and what is older refused.
        self._left = PublisherWindow(1 << 62, 1 << 62)
        self._to_send: deque[Frame] = deque()
        self._connected = False
        self._heard_ns = time_ns()
        self._patience_ns = RESEND_NS
        self.refused: Tally = Tally()
        """Messages that will not arrive, by cause."""
        for outbox in outboxes.values():
            for frame in outbox.left:
                self._left.add(frame)
        self._held = not self._left.is_empty
        self._port = Port(
            zmq.XPUB,
            self._on_subscriptions,
            on_room=self._on_room,
            options={zmq.XPUB_NODROP: 1, zmq.XPUB_VERBOSER: 1, zmq.SNDHWM: PUBLISH_HIGH_WATER, zmq.RCVHWM: 0, **keys},
        )
        self._endpoint = endpoint
        if self._held:
            self.open()

    def open(self) -> None:
        """Connect, when somebody here is about to publish. A process that only reads costs the broker no connection.

        Raises:
            PathError: the endpoint is not grammatical.
        """
        self._port.connect_once(self._endpoint)

    def use_keys(self, keys: Mapping[int, int | bytes]) -> None:
        """Make the connection anew with other keys. What is lost with it is sent again."""
        self._port.connect_anew(keys)

    # --- sending -----------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """See :class:`Link`."""
        return super().is_full or not self._window.has_room

    def hand_over(self, frame: Frame, type_id: int) -> bool:
        """See :class:`Link`."""
        if type_id in self._live:
            if (not self._connected or not self._port.send(frame.data)) and type_id not in UNBOOKED:
                self.refused.add("live, and the broker is down or busy", frame.count)
            return True
        if not self._window.has_room:
            return False
        outbox = self._outboxes.get(frame.stream.source)
        if outbox is not None:
            try:
                outbox.put((frame,))
            except JournalFullError as error:
                log.warning("publishers wait: the outbox is full", error=str(error))
                self._loop.call_later(RETRY_SECONDS, self.room)
                return False
        if self.is_confirmed:
            self._heard_ns = self._time_ns()
        self._window.add(frame)
        if self._connected and self._left.is_empty:
            self._send(frame)
        return True

    def _send(self, frame: Frame) -> None:
        if self._to_send or not self._port.send(frame.data):
            self._to_send.append(frame)

    def _on_room(self) -> None:
        while self._to_send and self._port.send(self._to_send[0].data):
            self._to_send.popleft()

    def _on_subscriptions(self, burst: list[bytes]) -> None:
        connected = burst[-1][:1] == b"\x01"
        self._connected = connected
        self._to_send.clear()
        if connected:
            self._send_all()

    def _send_all(self) -> None:
        """Everything unconfirmed once more; what former incarnations left goes first, alone."""
        window = self._window if self._left.is_empty else self._left
        for stream, base in window.bases().items():
            if base > 1:
                self._say(Announce(stream, 1, base))
        self._to_send.clear()
        for frame in window.all_again():
            self._send(frame)

    def beat(self) -> None:
        """Time passes: if there has been no confirm for long, send again."""
        if self.is_confirmed or not self._connected or self._to_send:
            return
        now = self._time_ns()
        if now - self._heard_ns > self._patience_ns:
            self._heard_ns = now
            self._patience_ns = min(2 * self._patience_ns, RESEND_MAX_NS)
            log.debug("no confirm for long, sending again", messages=self._window.messages + self._left.messages)
            self._send_all()

    # --- what the broker says ----------------------------------------------------------------

    def on_said(self, said: Any) -> None:
        """The broker has said something that concerns a publisher."""
        match said:
            case Confirm(marks=marks):
                for stream, last in marks:
                    self._confirm(stream, last)
                self._confirmed()
            case GoBack(stream=stream, sequence=sequence):
                self._again(stream, sequence)
            case Introduce(stream=stream):
                self._again(stream, 0)
            case Refuse():
                self._refused(said)

    def _confirm(self, stream: StreamKey, last: int) -> None:
        self._left.confirm(stream, last)
        self._window.confirm(stream, last)
        outbox = self._outboxes.get(stream.source)
        if outbox is not None:
            outbox.confirm(stream, last)

    def _confirmed(self) -> None:
        self._heard_ns, self._patience_ns = self._time_ns(), RESEND_NS
        if self._held and self._left.is_empty:
            self._send_all()
        self._held = not self._left.is_empty
        if self._full and self._window.has_room:
            self.room()
        self.settle()

    def _again(self, stream: StreamKey, sequence: int) -> None:
        if self._to_send:
            return  # much is being sent again already; what is missed then will be asked for again
        window = self._window if self._left.is_empty else self._left
        base = window.base(stream, sequence)
        wanted = max(sequence, 1)
        if base is not None and base > wanted:
            self._say(Announce(stream, wanted, base))
        for frame in window.again(stream, sequence):
            self._send(frame)

    def _refused(self, said: Refuse) -> None:
        last = said.sequence + said.count - 1
        log.error("refused by the broker", topic=said.stream.topic, sequence=said.sequence, cause=said.cause)
        self.refused.add(said.cause, said.count)
        self._confirm(said.stream, last)
        self._confirmed()

    # --- state -------------------------------------------------------------------------------

    @property
    def is_confirmed(self) -> bool:
        """Whether everything that was handed over is confirmed."""
        return self._window.is_empty and self._left.is_empty

    @property
    def is_idle(self) -> bool:
        """See :class:`Link`."""
        return super().is_idle and self.is_confirmed

    @property
    def unconfirmed(self) -> int:
        """Messages that are not confirmed, those that have not left among them."""
        return self._window.messages + self._left.messages + self.gathered

    def close(self) -> None:
        """Close the socket. What is unconfirmed is lost, unless it is in an outbox."""
        self._port.close()
        for outbox in self._outboxes.values():
            outbox.close()


class PassingSink(LinkSink):
    """A sink for what is in no books: it leaves at once, or not at all.

    It waits for nothing and for nobody. What would wait for a broker that is away would count as unconfirmed.
    """

    __slots__ = ()

    def put(self, messages: list[Message], first: int, published: int) -> bool:
        """See :class:`~mycelium.transport.streams.Sink`."""
        while messages:
            frame, count = self._frame(messages, first, published)
            if frame is not None:
                self._link.hand_over(frame, self._stream.contract.type_id)
            messages, first = messages[count:], first + count
        return True

    def would_wait(self) -> bool:
        """See :class:`~mycelium.transport.streams.Sink`."""
        return False
