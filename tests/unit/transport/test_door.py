"""The connections of one port: which are cut when there are too many, and that none is forgotten or counted twice.

The connections are real, of a listener that stands for libzmq's; what libzmq's monitor would say, the tests say.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mycelium.transport.door import HANDSHAKE_SECONDS, UNKNOWN, Door
from mycelium.transport.guard import REVOKED, user_of
from mycelium.transport.limits import Limits
from mycelium.transport.sockets import ConnectionEvent, Port

ALICE, BOB = user_of("alice", "1"), user_of("bob", "1")
OLD_BOB = user_of("bob", "0")
"""Bob with a key that is not accepted."""

HERE, THERE = "127.0.0.1", "127.0.0.2"


class Peer:
    """A connection, seen from both ends."""

    def __init__(self, listener: socket.socket, address: str) -> None:
        self.address = address
        self.theirs = socket.socket()
        self.theirs.bind((address, 0))
        self.theirs.connect(listener.getsockname())
        self.ours, _ = listener.accept()
        self.descriptor = self.ours.fileno()

    @property
    def is_cut(self) -> bool:
        """Whether our end has been shut down: there is nothing else that it could read."""
        self.theirs.setblocking(False)
        try:
            return self.theirs.recv(1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class Hall:
    """A door, its clock, and all that has come to it."""

    def __init__(self, **limits: int) -> None:
        self.now = 1_000.0
        self.refused: Counter[tuple[str, str]] = Counter()
        self.left: list[int] = []
        self.accepted_users = {ALICE, BOB}
        self.listener = socket.create_server((HERE, 0), backlog=128)
        self.peers: list[Peer] = []
        self._tell: Callable[[ConnectionEvent], None] = lambda _event: None
        self.door = Door(
            cast("Port", self),
            Limits(**limits),
            lambda: self.now,
            on_left=self.left.append,
            accepts=self.accepted_users.__contains__,
            refuse=lambda who, cause: self.refused.update([(who, cause)]),
        )

    def watch(self, on_event: Callable[[ConnectionEvent], None]) -> None:
        """In place of a port's."""
        self._tell = on_event

    def meet(self, address: str = HERE, *, instead_of: Peer | None = None) -> Peer:
        """A connection whose beginning the door has not heard of; with the descriptor of one that is over."""
        peer = Peer(self.listener, address)
        if instead_of is not None:
            descriptor = instead_of.ours.detach()
            os.dup2(peer.descriptor, descriptor)
            peer.ours.close()
            peer.ours, peer.descriptor = socket.socket(fileno=descriptor), descriptor
        self.peers.append(peer)
        return peer

    def come(self, address: str = HERE) -> Peer:
        peer = self.meet(address)
        self.accepted(peer)
        return peer

    def accepted(self, peer: Peer) -> None:
        self._tell(ConnectionEvent(zmq.EVENT_ACCEPTED, peer.descriptor))

    def let_in(self) -> None:
        """The handshake of some connection is done; libzmq does not say of which."""
        self._tell(ConnectionEvent(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0))

    def go(self, peer: Peer) -> None:
        self._tell(ConnectionEvent(zmq.EVENT_DISCONNECTED, peer.descriptor))
        peer.close()

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.listener.close()


@contextlib.contextmanager
def hall(**limits: int) -> Iterator[Hall]:
    made = Hall(**limits)
    try:
        yield made
    finally:
        made.close()


def test_a_flood_from_one_address_cuts_none_of_anothers() -> None:
    with hall(handshakes=8) as at:
        good = [at.come(THERE) for _ in range(3)]
        flood = [at.come() for _ in range(40)]
        assert not any(peer.is_cut for peer in good)
        assert [peer.is_cut for peer in flood] == [True] * 35 + [False] * 5, "the oldest first"
        assert at.refused == {(HERE, "too many handshakes"): 35}
        late = at.come(THERE)
        assert not late.is_cut
        assert len(at.door) == 8


def test_whoever_is_through_its_handshake_makes_room_for_others_also_while_it_is_quiet() -> None:
    """A hundred services that start at once, none of which has anything to say yet."""
    with hall(handshakes=4) as at:
        quiet = []
        for _ in range(100):
            quiet.append(at.come())
            at.let_in()
        assert not any(peer.is_cut for peer in quiet)
        flood = [at.come(THERE) for _ in range(20)]
        assert not any(peer.is_cut for peer in flood[-4:])
        assert sum(peer.is_cut for peer in (*quiet, *flood)) == 16


def test_those_who_were_let_in_and_go_later_do_not_make_room_for_a_flood() -> None:
    with hall(handshakes=4) as at:
        quiet = [at.come() for _ in range(4)]
        for _ in quiet:
            at.let_in()
        at.now += HANDSHAKE_SECONDS + 1
        flood = [at.come(THERE) for _ in range(4)]
        for peer in quiet:
            at.go(peer)
        flood += [at.come(THERE) for _ in range(4)]
        assert [peer.is_cut for peer in flood] == [True] * 4 + [False] * 4


def test_whoever_has_said_something_is_not_cut_for_those_who_have_not() -> None:
    with hall(connections=5) as at:
        good = [at.come() for _ in range(3)]
        for peer in good:
            at.door.said(peer.descriptor, ALICE)
        at.now += 2 * HANDSHAKE_SECONDS
        flood = [at.come() for _ in range(20)]
        assert not any(peer.is_cut for peer in good)
        assert sum(peer.is_cut for peer in flood) == 18
        assert at.refused == {(HERE, "too many connections"): 18}


def test_of_those_who_have_all_said_something_the_busiest_loses_its_oldest() -> None:
    with hall(connections=5) as at:
        peers = [at.come() for _ in range(5)]
        for peer, user in zip(peers, (BOB, ALICE, ALICE, ALICE, BOB), strict=True):
            at.door.said(peer.descriptor, user)
        # The one that comes has not said anything and is alone in that.
        last = at.come()
        assert [peer.is_cut for peer in (*peers, last)] == [False] * 5 + [True]
        at.door.said(at.come(THERE).descriptor, BOB)
        assert at.refused == {(HERE, "too many connections"): 1, (THERE, "too many connections"): 1}


def test_handshakes_that_are_over_do_not_count() -> None:
    """libzmq has ended it, or let it in: it merely has nothing to say."""
    with hall(handshakes=3) as at:
        quiet = [at.come() for _ in range(3)]
        at.now += HANDSHAKE_SECONDS + 0.1
        others = [at.come() for _ in range(3)]
        assert not any(peer.is_cut for peer in (*quiet, *others))
        at.come()
        assert [peer.is_cut for peer in others] == [True, False, False]


def test_a_service_has_so_many_connections_and_no_more() -> None:
    with hall(connections_each=2) as at:
        peers = [at.come() for _ in range(4)]
        for peer, user in zip(peers, (ALICE, ALICE, ALICE, BOB), strict=True):
            at.door.said(peer.descriptor, user)
            at.door.said(peer.descriptor, user)  # more than once
        assert [peer.is_cut for peer in peers] == [False, False, True, False]
        assert at.refused == {("alice", "too many connections"): 1}
        at.go(peers[0])
        again = at.come()
        at.door.said(again.descriptor, ALICE)
        assert not again.is_cut, "there is room for it"


def test_without_keys_connections_are_not_told_apart() -> None:
    with hall(connections_each=1) as at:
        at.accepted_users.add("")
        peers = [at.come() for _ in range(3)]
        for peer in peers:
            at.door.said(peer.descriptor, "")
        assert not any(peer.is_cut for peer in peers)


def test_a_key_that_is_over_has_no_connections() -> None:
    with hall() as at:
        peers = [at.come() for _ in range(4)]
        for peer, user in zip(peers, (ALICE, BOB, BOB, OLD_BOB), strict=True):
            at.door.said(peer.descriptor, user)
        assert [peer.is_cut for peer in peers] == [False, False, False, True], "it came in just before"
        at.door.cut_all(frozenset({BOB}))
        assert [peer.is_cut for peer in peers] == [False, True, True, True]
        assert at.refused == {("bob", REVOKED): 3}
        assert [at.door.user(peer.descriptor) for peer in peers] == [ALICE, "", "", ""]


def test_a_descriptor_that_another_connection_has_by_now_is_left_alone() -> None:
    with hall(handshakes=1) as at:
        first = at.come()
        # As libzmq does it before its monitor's word has come to us.
        second = at.meet(THERE, instead_of=first)
        assert second.descriptor == first.descriptor
        at.door.cut(first.descriptor, "test")
        assert not second.is_cut
        assert at.refused == {(HERE, "test"): 1}
        at._tell(ConnectionEvent(zmq.EVENT_DISCONNECTED, first.descriptor))
        at.accepted(second)
        at.door.said(second.descriptor, ALICE)
        assert at.door.user(second.descriptor) == ALICE
        at.door.cut(second.descriptor, "test")
        assert second.is_cut


def test_a_connection_that_is_over_before_it_is_heard_of() -> None:
    with hall() as at:
        peer = at.meet()
        peer.close()
        at.accepted(peer)
        at._tell(ConnectionEvent(zmq.EVENT_DISCONNECTED, peer.descriptor))
        assert at.refused == {(UNKNOWN, "handshake not completed"): 1}
        assert set(at.left) == {peer.descriptor}
        assert len(at.door) == 0


def test_what_was_heard_of_a_connection_before_its_beginning_is_not_taken_for_that_of_another() -> None:
    """Without keys a subscription can overtake libzmq's word that somebody has connected: whoever counts it goes on."""
    with hall() as at:
        at.come()
        assert at.left == []


def test_a_connection_of_whose_end_nothing_was_heard() -> None:
    with hall() as at:
        first = at.come()
        at.door.said(first.descriptor, ALICE)
        second = at.meet(THERE, instead_of=first)
        at.accepted(second)
        assert (len(at.door), at.door.user(second.descriptor)) == (1, "")
        at.door.said(second.descriptor, BOB)
        assert at.door._of_name == {"bob": 1}


def test_who_goes_without_having_said_who_it_is_is_counted_but_not_who_is_merely_quiet() -> None:
    with hall() as at:
        early, quiet, said = (at.come() for _ in range(3))
        at.door.said(said.descriptor, ALICE)
        at.go(early)
        at.go(said)
        at.now += HANDSHAKE_SECONDS
        at.go(quiet)
        assert at.refused == {(HERE, "handshake not completed"): 1}


def test_other_events_and_unknown_connections_change_nothing() -> None:
    with hall() as at:
        at._tell(ConnectionEvent(zmq.EVENT_LISTENING, 3))
        at.door.said(9_999, ALICE)
        at.door.cut(9_999, "test")
        assert at.door.user(9_999) == ""
        assert (len(at.door), at.left, dict(at.refused)) == (0, [], {})


class Life(RuleBasedStateMachine):
    """Connections of two addresses and two services that come, speak, go, and are cut, in any order."""

    LIMITS: dict[str, int] = {"handshakes": 3, "connections": 5, "connections_each": 2}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.at = Hall(**self.LIMITS)
        self.open: list[Peer] = []
        self.users: dict[Peer, str] = {}
        self.since: dict[Peer, float] = {}
        self.let_in: set[Peer] = set()
        self.opening = 0
        self.ended = 0
        self.expected: Counter[str] = Counter()

    def teardown(self) -> None:
        self.at.close()

    def some(self, draw: int) -> Peer:
        return self.open[draw % len(self.open)]

    def take_those_who_were_cut(self) -> list[Peer]:
        cut = [peer for peer in self.open if peer.is_cut]
        for peer in cut:
            self.forget(peer)
            # libzmq finds that it is over, some time later: the door has forgotten it.
            self.at.go(peer)
        return cut

    def forget(self, peer: Peer) -> None:
        self.open.remove(peer)
        if self.users.pop(peer, None) is None and self.at.now - self.since[peer] < HANDSHAKE_SECONDS:
            self.opening = max(0, self.opening - 1)
        self.let_in.discard(peer)
        self.ended += 1

    @rule(address=st.sampled_from([HERE, THERE]))
    def come(self, address: str) -> None:
        peer = self.at.come(address)
        self.open.append(peer)
        self.since[peer] = self.at.now
        silent = [one for one in self.open if one not in self.users]
        young = [one for one in silent if self.at.now - self.since[one] <= HANDSHAKE_SECONDS]
        self.opening = min(self.opening + 1, len(young))
        expected: list[Peer] = []
        if self.opening > self.LIMITS["handshakes"]:
            expected, self.expected["too many handshakes"] = young, self.expected["too many handshakes"] + 1
        elif len(self.open) > self.LIMITS["connections"]:
            expected, self.expected["too many connections"] = silent, self.expected["too many connections"] + 1
        cut = self.take_those_who_were_cut()
        assert len(cut) == bool(expected)
        for one in cut:
            most = Counter(found.address for found in expected)
            assert most[one.address] == max(most.values())
            assert one is next(found for found in expected if found.address == one.address)

    @precondition(lambda self: self.open)
    @rule(draw=st.integers(0, 9))
    def be_let_in(self, draw: int) -> None:
        self.shake_hands(self.some(draw))

    def shake_hands(self, peer: Peer) -> None:
        if peer not in self.let_in:
            self.let_in.add(peer)
            self.at.let_in()
            self.opening = max(0, self.opening - 1)

    @precondition(lambda self: self.open)
    @rule(draw=st.integers(0, 9), user=st.sampled_from([ALICE, BOB, OLD_BOB]))
    def say(self, draw: int, user: str) -> None:
        peer = self.some(draw)
        self.shake_hands(peer)
        first = peer not in self.users
        user = self.users.setdefault(peer, user)
        name = user.partition("#")[0]
        of_name = sum(one.startswith(f"{name}#") for one in self.users.values())
        self.at.door.said(peer.descriptor, user)
        cause = REVOKED if user == OLD_BOB else "too many connections" if of_name > 2 else ""
        cut = self.take_those_who_were_cut()
        assert cut == ([peer] if first and cause else [])
        if cut:
            self.expected[cause] += 1

    @precondition(lambda self: self.open)
    @rule(draw=st.integers(0, 9))
    def go(self, draw: int) -> None:
        peer = self.some(draw)
        if self.opening and peer not in self.users and self.at.now - self.since[peer] < HANDSHAKE_SECONDS:
            self.expected["handshake not completed"] += 1
        self.at.go(peer)
        self.forget(peer)

    @precondition(lambda self: self.open)
    @rule(draw=st.integers(0, 9))
    def cut(self, draw: int) -> None:
        peer = self.some(draw)
        self.at.door.cut(peer.descriptor, "test")
        assert self.take_those_who_were_cut() == [peer]
        self.expected["test"] += 1

    @rule()
    def revoke(self) -> None:
        bobs = [peer for peer in self.open if self.users.get(peer) == BOB]
        self.at.door.cut_all(frozenset({BOB}))
        assert self.take_those_who_were_cut() == bobs
        self.expected[REVOKED] += len(bobs)

    @rule(seconds=st.sampled_from([0.1, HANDSHAKE_SECONDS - 1, HANDSHAKE_SECONDS + 1]))
    def pass_time(self, seconds: float) -> None:
        self.at.now += seconds

    @invariant()
    def everybody_is_counted_once(self) -> None:
        door: Any = self.at.door
        assert len(self.at.door) == len(self.open) <= self.LIMITS["connections"]
        assert set(door._open) == {peer.descriptor for peer in self.open}
        names = Counter(user.partition("#")[0] for user in self.users.values())
        assert door._of_name == names
        assert all(count > 0 for count in door._of_name.values())
        assert set(door._unsaid) <= {peer.descriptor for peer in self.open if peer not in self.users}
        # Of each it was said that it is over, when it was cut and when libzmq had noticed.
        assert set(Counter(self.at.left)) == {*self.at.left}
        refused: Counter[str] = Counter()
        for (_, cause), count in self.at.refused.items():
            refused[cause] += count
        assert refused == +self.expected


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase


@pytest.mark.parametrize("address", ["::1"])
def test_an_address_of_version_6(address: str) -> None:
    try:
        listener = socket.create_server((address, 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with listener, hall() as at, socket.create_connection(listener.getsockname()[:2]) as theirs:
        ours, _ = listener.accept()
        with ours:
            at._tell(ConnectionEvent(zmq.EVENT_ACCEPTED, ours.fileno()))
            at.door.cut(ours.fileno(), "test")
            assert theirs.recv(1) == b""
            assert at.refused == {(address, "test"): 1}
