"""The subscriptions of all connections, against sets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mycelium.core.topics import MAX_TOPIC_BYTES
from mycelium.transport import audience as audiences
from mycelium.transport.audience import Audience
from mycelium.transport.limits import Limits
from mycelium.transport.sockets import Received

EACH, ALL = 3, 8

prefixes = st.sampled_from([b"", b"a", b"a.", b"a\0", b"b"])
descriptors = st.integers(5, 8)


def saying(prefix: bytes, descriptor: int, first: bytes = b"\1") -> Received:
    return Received(first + prefix, "", descriptor)


class Life(RuleBasedStateMachine):
    """Connections that subscribe, unsubscribe and end; what is refused changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(audiences, "MAX_SUBSCRIPTIONS", ALL)
        self.audience = Audience(Limits(subscriptions_each=EACH))
        self.held: dict[int, set[bytes]] = {}
        self.of_all: Counter[bytes] = Counter()

    def teardown(self) -> None:
        self.patch.undo()

    @property
    def total(self) -> int:
        return sum(map(len, self.held.values())) + self.of_all.total()

    @rule(prefix=prefixes, descriptor=descriptors)
    def subscribe(self, prefix: bytes, descriptor: int) -> None:
        mine = self.held.setdefault(descriptor, set())
        why = self.audience.add(saying(prefix, descriptor))
        if self.total >= ALL:
            assert why == f"there are {ALL}, and no more are accepted"
        elif len(mine) >= EACH:
            assert why == f"there are {EACH} of this connection, and no more are accepted"
        else:
            assert why is None
            mine.add(prefix)

    @rule(prefix=prefixes)
    def subscribe_over_ipc(self, prefix: bytes) -> None:
        why = self.audience.add(saying(prefix, -1))
        assert (why is None) == (self.total < ALL)
        self.of_all[prefix] += why is None

    @rule(prefix=prefixes, descriptor=descriptors)
    def unsubscribe(self, prefix: bytes, descriptor: int) -> None:
        mine = self.held.get(descriptor, set())
        assert self.audience.remove(saying(prefix, descriptor, b"\0")) == (prefix in mine)
        mine.discard(prefix)

    @rule(prefix=prefixes)
    def unsubscribe_over_ipc(self, prefix: bytes) -> None:
        was = self.of_all[prefix] > 0
        assert self.audience.remove(saying(prefix, -1, b"\0")) == was
        self.of_all[prefix] -= was

    @rule(descriptor=descriptors)
    def end(self, descriptor: int) -> None:
        self.audience.left(descriptor)
        self.held.pop(descriptor, None)

    @rule(descriptor=descriptors, data=st.sampled_from([b"", b"\2", b"\xffa", b"\1" + b"x" * (MAX_TOPIC_BYTES + 2)]))
    def say_no_subscription(self, descriptor: int, data: bytes) -> None:
        assert self.audience.add(Received(data, "", descriptor)) == f"{len(data)} bytes are no subscription"

    @invariant()
    def the_total_is_the_sum_of_what_is_held(self) -> None:
        assert self.audience.total == self.total
        held = {descriptor: mine for descriptor, mine in self.audience.held() if mine}
        assert held == {descriptor: frozenset(mine) for descriptor, mine in self.held.items() if mine}
        for prefix in (b"", b"a", b"b"):
            known = self.of_all[prefix] > 0 or any(prefix in mine for mine in self.held.values())
            assert (prefix in self.audience) == known

    @precondition(lambda self: self.total == 0)
    @invariant()
    def nothing_stays_of_those_who_have_gone(self) -> None:
        assert not +self.audience._of_all
        assert not self.audience._of_all


TestLife = Life.TestCase


def test_the_longest_prefix_is_that_of_a_topic_with_its_end() -> None:
    audience = Audience(Limits())
    assert audience.add(saying(b"x" * (MAX_TOPIC_BYTES + 1), 5)) is None
    assert audience.add(saying(b"x" * (MAX_TOPIC_BYTES + 2), 5)) is not None


def test_a_connection_that_ends_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiences, "MAX_SUBSCRIPTIONS", 2)
    audience = Audience(Limits())
    assert audience.add(saying(b"a", 5)) is None
    assert audience.add(saying(b"b", 5)) is None
    assert audience.add(saying(b"a", 6)) is not None
    audience.left(5)
    assert audience.add(saying(b"a", 6)) is None
    assert audience.total == 1
