"""Groups: each stream with one member at a time, whatever members do; then a search for what breaks that."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import dataclass, field

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.groups import RETRY_NS, Give, GroupAction, GroupState, MemberId, Take

SECOND = 1_000_000_000
PATIENCE = 5 * SECOND
A, B, C = (MemberId(name.encode(), 1) for name in "abc")
STREAMS = [StreamKey(source, 1, f"t.{n}") for source, n in itertools.product((1, 2), range(4))]


def everything(_key: StreamKey) -> bool:
    return True


def group(*members: MemberId, streams: int = 0, last: int = 0) -> GroupState:
    state = GroupState(itertools.count(1))
    for member in members:
        state.join(member, everything, PATIENCE, 0)
    for key in STREAMS[:streams]:
        state.advance(key, last, 0)
    return state


def held(state: GroupState) -> dict[MemberId | None, list[StreamKey]]:
    found: dict[MemberId | None, list[StreamKey]] = {}
    for key in state.accounts:
        found.setdefault(state.holder(key), []).append(key)
    return found


def done(begin: int, cursor: int) -> Account:
    return Account(begin - 1, cursor, cursor - begin + 1, {})


def report(state: GroupState, key: StreamKey, account: Account, now: int) -> None:
    """What the holder of a stream says of it."""
    stream = state._streams[key]
    assert stream.holder is not None
    assert state.report(stream.holder, key, stream.generation, account, now) == []


def test_streams_are_shared_out_evenly_as_they_begin() -> None:
    state = group(A, B, streams=8)
    assert sorted(len(keys) for keys in held(state).values()) == [4, 4]


def test_a_stream_waits_for_a_member_that_wants_it() -> None:
    state = GroupState(itertools.count(1))
    state.join(A, lambda key: key.source == 1, PATIENCE, 0)
    assert state.advance(STREAMS[4], 1, 0) == []
    assert state.join(B, everything, PATIENCE, 0) == [Give(B, STREAMS[4], 1, 0)]


def test_a_new_member_takes_from_those_that_have_most_once_they_have_let_go() -> None:
    state = group(A, B, streams=8, last=3)
    taken = state.join(C, everything, PATIENCE, 0)
    assert [type(action) for action in taken] == [Take, Take]
    assert Counter(action.member for action in taken) == {A: 1, B: 1}
    assert C not in held(state), "nothing is held by two"
    for action in taken:
        # The account that comes with the release is what the new holder goes on from.
        account = done(1, 2)
        (given,) = state.released(action.member, action.stream, action.generation, account, 1)
        assert given == Give(C, action.stream, given.generation, 2)
        assert given.generation > action.generation
    assert sorted(len(keys) for keys in held(state).values()) == [2, 3, 3]


def test_the_account_adds_up_over_the_holders() -> None:
    state = group(A, streams=1, last=9)
    key = STREAMS[0]
    state.report(A, key, 1, Account(0, 4, 3, {"x": 1}), 0)
    assert state.join(B, everything, PATIENCE, 0) == []
    (given,) = state.leave(A, 0)
    assert given == Give(B, key, 2, 4)
    state.report(B, key, 2, Account(4, 9, 3, {"x": 1, "y": 1}), 0)
    assert state.accounts == {key: Account(0, 9, 6, {"x": 2, "y": 1})}


def test_what_is_said_in_another_generation_changes_nothing() -> None:
    state = group(A, streams=1, last=9)
    key = STREAMS[0]
    state.leave(A, 0)
    state.join(B, everything, PATIENCE, 0)
    for member, old in ((A, 1), (B, 1), (A, 2)):
        assert state.report(member, key, old, done(1, 5), 0) == [Take(member, key, old)]
        assert state.released(member, key, old, done(1, 5), 0) == []
    assert state.accounts[key].cursor == 0
    assert state.holder(key) == B


def test_a_cursor_never_goes_back_nor_begins_elsewhere() -> None:
    state = group(A, streams=1, last=9)
    key = STREAMS[0]
    state.report(A, key, 1, done(1, 5), 0)
    state.report(A, key, 1, done(1, 4), 0)
    state.report(A, key, 1, done(3, 7), 0)
    assert state.accounts[key] == done(1, 5)


def test_a_member_that_does_not_get_on_loses_everything_and_gets_nothing_until_it_has_let_go() -> None:
    state = group(A, B, streams=4, last=0)
    (mine,) = [keys for member, keys in held(state).items() if member == A]
    state.advance(mine[0], 1, 0)
    for key in STREAMS[:4]:
        report(state, key, Account(0, 0, 0, {}), 0)
    assert state.pass_time(PATIENCE - 1) == []
    taken = state.pass_time(PATIENCE)
    assert {action.stream for action in taken if isinstance(action, Take)} == set(mine)
    assert held(state) == {B: list(held(state)[B])}
    assert state.advance(STREAMS[7], 1, PATIENCE)[0].member == B
    # It has let go of one, but not of the other: what it has in hand is not finished.
    old = {action.stream: action.generation for action in taken if isinstance(action, Take)}
    assert state.released(A, mine[1], old[mine[1]], Account(0, 0, 0, {}), PATIENCE) == []
    again = state.pass_time(PATIENCE + RETRY_NS)
    assert Take(A, mine[0], old[mine[0]]) in again
    shared = state.released(A, mine[0], old[mine[0]], done(1, 1), PATIENCE)
    assert [action.member for action in shared] == [B, B], "it gets streams again"


def test_a_stream_alone_that_does_not_move_goes_alone() -> None:
    state = group(A, B, streams=4, last=2)
    a = held(state)[A]
    for key in STREAMS[:4]:
        report(state, key, done(1, 1), 0)
    for key in [key for key in STREAMS[:4] if key != a[0]]:
        report(state, key, done(1, 2), SECOND)
    taken = state.pass_time(PATIENCE)
    assert [(type(action), action.stream) for action in taken] == [(Take, a[0]), (Give, a[0])]
    # It gets on with its other stream, so that it may have one of the three that the other member has now.
    (asked,) = state.pass_time(PATIENCE + 1)
    assert isinstance(asked, Take)
    assert asked.member == B


def test_without_another_member_a_stream_stays() -> None:
    state = group(A, streams=1, last=1)
    state.report(A, STREAMS[0], 1, Account(0, 0, 0, {}), 0)
    assert state.pass_time(10 * PATIENCE) == []
    assert state.holder(STREAMS[0]) == A


def test_patience_begins_when_there_is_something_to_do() -> None:
    state = group(A, B, streams=1)
    key, holder = STREAMS[0], state.holder(STREAMS[0])
    assert holder is not None
    state.report(holder, key, 1, Account(0, 0, 0, {}), 0)
    state.advance(key, 1, 100 * PATIENCE)
    assert state.pass_time(101 * PATIENCE - 1) == []
    assert len(state.pass_time(101 * PATIENCE)) == 2


def test_who_does_not_let_go_in_time_loses_the_stream_all_the_same() -> None:
    state = group(A, streams=2)
    (taken,) = state.join(B, everything, PATIENCE, 0)
    assert taken in state.pass_time(RETRY_NS), "it is told again"
    actions = [action for action in state.pass_time(PATIENCE) if action.stream == taken.stream]
    assert actions == [taken, Give(B, taken.stream, 3, 0)]
    assert state.released(A, taken.stream, taken.generation, Account(0, 0, 0, {}), PATIENCE) == []
    assert state.holder(taken.stream) == B


def test_an_heir_that_goes_leaves_nothing_behind() -> None:
    state = group(A, streams=2)
    (taken,) = state.join(B, everything, PATIENCE, 0)
    assert state.leave(B, 0) == []
    (given,) = state.released(A, taken.stream, taken.generation, Account(0, 0, 0, {}), 0)
    assert given == Give(A, taken.stream, 3, 0)


def test_what_was_given_is_said_again_until_it_is_answered() -> None:
    state = group(A, streams=1)
    (again,) = state.pass_time(RETRY_NS)
    assert again == Give(A, STREAMS[0], 1, 0)
    state.report(A, STREAMS[0], 1, Account(0, 0, 0, {}), RETRY_NS)
    assert state.pass_time(3 * RETRY_NS) == []


def test_streams_that_are_over_do_not_count() -> None:
    state = group(A)
    for epoch in range(1, 10):
        for n in range(2):
            state.advance(StreamKey(1, epoch, f"t.{n}"), 0, 0)
    taken = state.join(B, everything, PATIENCE, 0)
    assert [(action.stream.epoch, type(action)) for action in taken] == [(9, Take)]


def test_a_stream_that_the_store_forgets_is_let_go() -> None:
    state = group(A, streams=2)
    assert state.forget([STREAMS[0], STREAMS[5]]) == [Take(A, STREAMS[0], 1)]
    assert STREAMS[0] not in state
    assert state.join(B, everything, PATIENCE, 0) == [], "each has one or none"
    assert state.report(A, STREAMS[0], 1, done(1, 1), 0) == [Take(A, STREAMS[0], 1)]


# --- a search --------------------------------------------------------------------------------


@dataclass
class _Time:
    generation: int
    joined: int
    cursor: int


@dataclass
class _Worker:
    """A member as it should be: handles in order, reports, lets go when told."""

    name: MemberId
    inbox: deque[GroupAction] = field(default_factory=deque)
    times: dict[StreamKey, _Time] = field(default_factory=dict)
    ended: dict[StreamKey, _Time] = field(default_factory=dict)
    to_say: deque[tuple[bool, StreamKey, _Time]] = field(default_factory=deque)
    has_gone: bool = False

    def hear(self) -> None:
        action = self.inbox.popleft()
        key, number = action.stream, action.generation
        mine = self.times.get(key)
        if isinstance(action, Give):
            if number > max(mine.generation if mine else 0, self.ended[key].generation if key in self.ended else 0):
                self.times[key] = _Time(number, action.cursor, action.cursor)
                self.say(key)
        elif mine is not None and mine.generation == number:
            self.ended[key] = self.times.pop(key)
            self.release(key)
        else:
            if key not in self.ended or self.ended[key].generation < number:
                self.ended[key] = _Time(number, 0, 0)
            if self.ended[key].generation == number:
                self.release(key)

    def say(self, key: StreamKey) -> None:
        time = self.times[key]
        self.to_say.append((False, key, _Time(time.generation, time.joined, time.cursor)))

    def release(self, key: StreamKey) -> None:
        self.to_say.append((True, key, self.ended[key]))


class Sharing(RuleBasedStateMachine):
    """Members come, go, die and lose messages, while streams grow. See the invariants."""

    faults = True
    workers = Bundle("workers")

    @initialize()
    def begin(self) -> None:
        self.now = 0
        self.numbers = itertools.count(1)
        self.state = GroupState(itertools.count(1))
        self.members: dict[MemberId, _Worker] = {}
        self.lasts: dict[StreamKey, int] = {}
        self.handled: Counter[tuple[StreamKey, int]] = Counter()
        self.order: dict[tuple[StreamKey, int], int] = {}
        self.given: dict[tuple[StreamKey, int], MemberId] = {}
        self.cursors: dict[StreamKey, int] = {}

    def act(self, actions: list[GroupAction]) -> None:
        for action in actions:
            if isinstance(action, Give):
                known = self.given.setdefault((action.stream, action.generation), action.member)
                assert known == action.member, "two members hold a stream in one generation"
            self.members[action.member].inbox.append(action)

    @rule(target=workers)
    def join(self) -> MemberId:
        worker = _Worker(MemberId(b"w", next(self.numbers)))
        self.members[worker.name] = worker
        self.act(self.state.join(worker.name, everything, PATIENCE, self.now))
        return worker.name

    @rule(n=st.integers(0, len(STREAMS) - 1), more=st.integers(1, 3), epoch=st.integers(1, 2))
    def publish(self, n: int, more: int, epoch: int) -> None:
        key = STREAMS[n]._replace(epoch=epoch)
        self.lasts[key] = self.lasts.get(key, 0) + more
        self.act(self.state.advance(key, self.lasts[key], self.now))

    @rule(name=workers)
    def hear(self, name: MemberId) -> None:
        worker = self.members[name]
        assume(worker.inbox)
        worker.hear()

    @rule(name=workers, n=st.integers(0, 100))
    def handle(self, name: MemberId, n: int) -> None:
        worker = self.members[name]
        ready = [key for key, time in worker.times.items() if time.cursor < self.lasts[key]]
        assume(ready and not worker.has_gone)
        self._handle(worker, ready[n % len(ready)])

    def _handle(self, worker: _Worker, key: StreamKey) -> None:
        time = worker.times[key]
        time.cursor += 1
        self.handled[key, time.cursor] += 1
        worker.say(key)

    @rule(name=workers)
    def say(self, name: MemberId) -> None:
        worker = self.members[name]
        assume(worker.to_say)
        self._say(worker)

    def _say(self, worker: _Worker) -> None:
        is_last, key, time = worker.to_say.popleft()
        account = Account(time.joined, time.cursor, time.cursor - time.joined, {})
        tell = self.state.released if is_last else self.state.report
        self.act(tell(worker.name, key, time.generation, account, self.now))

    @rule(name=workers)
    def leave(self, name: MemberId) -> None:
        worker = self.members[name]
        assume(not worker.has_gone)
        while worker.to_say:
            self._say(worker)
        worker.has_gone = True
        self.act(self.state.leave(name, self.now))

    @rule(name=workers)
    def die(self, name: MemberId) -> None:
        assume(self.faults and not self.members[name].has_gone)
        self.members[name].has_gone = True
        self.act(self.state.leave(name, self.now))

    @rule(name=workers)
    def fall_silent_and_go_on(self, name: MemberId) -> None:
        """The store takes it for gone, and it is not: its next word is heard, and it joins again."""
        assume(self.faults and not self.members[name].has_gone)
        self.act(self.state.leave(name, self.now))
        self.act(self.state.join(name, everything, PATIENCE, self.now))

    @rule(name=workers, whose=st.booleans())
    def lose_a_word(self, name: MemberId, whose: bool) -> None:
        worker = self.members[name]
        lost = worker.inbox if whose else worker.to_say
        assume(self.faults and lost)
        lost.popleft()

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds: int) -> None:
        if not self.faults:
            # Nobody is slow: all that is to be done is done before time passes.
            self.settle()
        self.now += seconds * SECOND
        self.act(self.state.pass_time(self.now))

    @invariant()
    def every_stream_is_held_while_a_member_is_there(self) -> None:
        if self.state.members:
            assert all(self.state.holder(key) in self.state.members for key in self.lasts)

    @invariant()
    def no_cursor_goes_back(self) -> None:
        for key, account in self.state.accounts.items():
            assert self.cursors.get(key, 0) <= account.cursor
            assert account.missing == 0
            self.cursors[key] = account.cursor

    @invariant()
    def loads_are_what_members_hold(self) -> None:
        for name, member in self.state._members.items():
            assert member.load == sum(stream.counts_for == name for stream in self.state._streams.values())
            assert set(member.streams) == {k for k, s in self.state._streams.items() if s.holder == name}

    def settle(self) -> None:
        """Everybody who is there does all that there is to do."""
        busy = True
        while busy:
            busy = False
            for worker in self.members.values():
                while worker.inbox:
                    worker.hear()
                    busy = True
                while worker.to_say:
                    self._say(worker)
                    busy = True
                for key, time in () if worker.has_gone else list(worker.times.items()):
                    if time.cursor < self.lasts[key]:
                        self._handle(worker, key)
                        busy = True

    def teardown(self) -> None:
        if not hasattr(self, "state") or not self.lasts:
            return
        self.join()
        for _ in range(20):
            self.settle()
            self.now += SECOND
            self.act(self.state.pass_time(self.now))
        self.settle()
        for key, last in self.lasts.items():
            assert self.state.accounts[key].cursor == last
            times = [self.handled[key, sequence] for sequence in range(1, last + 1)]
            assert min(times) >= 1, "a message was handled by nobody"
            assert self.faults or max(times) == 1, "a message was handled twice, and nothing had failed"
        loads = [self.state._members[name].load for name in self.state.members]
        assert max(loads) - min(loads) <= 1


class SharingWithoutFaults(Sharing):
    """The same while nothing is lost and nobody is slow or dies: each message is handled exactly once."""

    faults = False


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=150, stateful_step_count=60)
TestSharingWithoutFaults = SharingWithoutFaults.TestCase
TestSharingWithoutFaults.settings = settings(max_examples=100, stateful_step_count=60)
