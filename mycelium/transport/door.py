"""The connections of one port that anybody in the network can reach: who they are, how many, and which to cut.

libzmq takes every connection, gives each one some 50 kB and four seconds to say who it is, and offers no way to end
one. So the door listens to libzmq's monitor, which names descriptors, and ends a connection by shutting its socket
down; libzmq finds that its peer is gone.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import zmq

from mycelium.transport.guard import REVOKED, name_of
from mycelium.transport.limits import Limits
from mycelium.transport.sockets import ANONYMOUS, ConnectionEvent, Port

HANDSHAKE_SECONDS = 5.0
"""What is older has shown who it is, or libzmq has ended it: one more than it takes for that."""

UNKNOWN = "address unknown"


@dataclass(slots=True)
class _Connection:
    address: str
    port: int
    since: float
    user: str = ANONYMOUS
    has_said: bool = False

    @property
    def who(self) -> str:
        """Whom to name when it is refused."""
        return name_of(self.user) or self.address


class Door:
    """The connections of one bound port.

    Args:
        port: the port; :meth:`Port.bind` comes after this.
        limits: how many there may be.
        time: seconds, of a clock that only goes on.
        on_left: a connection is over, with this descriptor.
        accepts: whether a user is still accepted; libzmq asks that of those who come, and of nobody after that.
        refuse: counts a refusal: who, and the cause.
    """

    def __init__(
        self,
        port: Port,
        limits: Limits,
        time: Callable[[], float],
        *,
        on_left: Callable[[int], None] = lambda _descriptor: None,
        accepts: Callable[[str], bool] = lambda _user: True,
        refuse: Callable[[str, str], None],
    ) -> None:
        self._limits = limits
        self._time = time
        self._on_left = on_left
        self._accepts = accepts
        self._refuse = refuse
        self._open: dict[int, _Connection] = {}
        # Those of them that have not said anything and may yet be in their handshake, the oldest first.
        self._unsaid: dict[int, _Connection] = {}
        # How many are in their handshake, about: that one is through libzmq says, but not which.
        self._opening = 0
        self._of_name: Counter[str] = Counter()
        port.watch(self.on_event)

    def __len__(self) -> int:
        return len(self._open)

    def on_event(self, event: ConnectionEvent) -> None:
        """Something has become of a connection."""
        if event.kind == zmq.EVENT_ACCEPTED:
            self._accepted(event.value)
        elif event.kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._opening = max(0, self._opening - 1)
        elif event.kind == zmq.EVENT_DISCONNECTED:
            self._left(event.value)

    def said(self, descriptor: int, user: str) -> None:
        """A message has come: the connection is who it claims to be."""
        found = self._open.get(descriptor)
        if found is None or found.has_said:
            return
        self._unsaid.pop(descriptor, None)
        found.has_said, found.user = True, user
        name = name_of(user)
        self._of_name[name] += 1
        if not self._accepts(user):
            self._cut(descriptor, REVOKED)
        elif name and self._of_name[name] > self._limits.connections_each:
            self._cut(descriptor, "too many connections")

    def user(self, descriptor: int) -> str:
        """Who a connection is; nobody if it has not said anything or is over."""
        found = self._open.get(descriptor)
        return ANONYMOUS if found is None else found.user

    def cut(self, descriptor: int, cause: str) -> None:
        """End a connection, if it is not over."""
        if descriptor in self._open:
            self._cut(descriptor, cause)

    def cut_all(self, users: frozenset[str]) -> None:
        """End the connections of users that are not accepted any more."""
        for descriptor in [one for one, connection in self._open.items() if connection.user in users]:
            self._cut(descriptor, REVOKED)

    def _accepted(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._forget(descriptor)  # that it is over was not heard
        now = self._time()
        connection = self._open[descriptor] = self._unsaid[descriptor] = _Connection(*_peer_of(descriptor), now)
        while connection.since - next(iter(self._unsaid.values())).since > HANDSHAKE_SECONDS:
            del self._unsaid[next(iter(self._unsaid))]
        # One that is over without our hearing of it does not count for ever.
        self._opening = min(self._opening + 1, len(self._unsaid))
        if self._opening > self._limits.handshakes:
            self._cut_oldest_of_busiest(self._unsaid, "too many handshakes")
        elif len(self._open) > self._limits.connections:
            silent = {one: found for one, found in self._open.items() if not found.has_said}
            self._cut_oldest_of_busiest(silent or self._open, "too many connections")

    def _cut_oldest_of_busiest(self, among: Mapping[int, _Connection], cause: str) -> None:
        """Whoever has most connections loses one: a flood makes room for others by itself."""
        busiest, _ = Counter(found.who for found in among.values()).most_common(1)[0]
        self._cut(next(one for one, found in among.items() if found.who == busiest), cause)

    def _cut(self, descriptor: int, cause: str) -> None:
        found = self._forget(descriptor)
        assert found is not None, "whoever cuts has found it"
        self._refuse(found.who, cause)
        try:
            with socket.socket(fileno=os.dup(descriptor)) as one:
                # The descriptor may belong to another connection by now, whose beginning has not been heard of yet.
                if one.getpeername()[:2] == (found.address, found.port):
                    one.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is over already

    def _left(self, descriptor: int) -> None:
        # None is in its handshake: so this one was through, and had nothing to say.
        is_through = not self._opening
        found = self._forget(descriptor)
        if found is None or found.has_said or is_through:
            return
        if self._time() - found.since < HANDSHAKE_SECONDS:
            self._refuse(found.who, "handshake not completed")

    def _forget(self, descriptor: int) -> _Connection | None:
        self._on_left(descriptor)
        self._unsaid.pop(descriptor, None)
        found = self._open.pop(descriptor, None)
        if found is not None and not found.has_said:
            if self._time() - found.since < HANDSHAKE_SECONDS:  # else it was let in, and merely had nothing to say
                self._opening = max(0, self._opening - 1)
        elif found is not None:
            name = name_of(found.user)
            self._of_name[name] -= 1
            if not self._of_name[name]:
                del self._of_name[name]
        return found


def _peer_of(descriptor: int) -> tuple[str, int]:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            host, port, *_ = one.getpeername()
    except (OSError, ValueError):
        return UNKNOWN, 0  # it is over already
    return str(host), int(port)
