"""Groups at a store and their members: what the state machine alone does not show."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mycelium.broker.broker import Broker
from mycelium.bus.bus import Bus
from mycelium.core.delivery.control import Join, Joined, Leave, Marks, Reported
from mycelium.core.delivery.frames import Account, StreamKey
from mycelium.core.delivery.groups import MemberId
from mycelium.core.delivery.joining import Place, Start
from mycelium.core.delivery.sharing import Assign, Progress, Released, Revoke, Share, Tenure
from mycelium.core.errors import PathError, UsageError, WireError
from mycelium.journal import Journal, LmdbJournal, MemoryJournal, Retention
from mycelium.testing.conformance import Tick
from mycelium.transport import groups as grouping
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.clerk import SILENT_NS, Clerk
from mycelium.transport.exchange import Network
from mycelium.transport.members import Member
from tests.unit.transport.stores import SECONDS, TYPE_ID, address, entry, stream, until

SECOND = 1_000_000_000
PATIENCE = 5 * SECOND
ONE, TWO = MemberId(b"one", 1), MemberId(b"two", 1)
NOTHING = Account(0, 0, 0, {})


class Desk:
    """A clerk with members, and the time."""

    def __init__(self, journal: Journal | None = None, *, instance: int = 1_000) -> None:
        self.now = 0
        self.journal = journal or MemoryJournal()
        self.clerk = Clerk(self.journal, instance, lambda: self.now)

    def keep(self, *keys: StreamKey, last: int = 1) -> None:
        for key in keys:
            self.journal.append([entry(n, of=key) for n in range(self.journal.last_sequence(key) + 1, last + 1)])
            self.clerk.begun(key, TYPE_ID)
            self.clerk.groups.advance([self.clerk.holdings.mark(key)])

    def join(self, member: MemberId, *, start: Start = Start.EARLIEST, pattern: str = "test.*") -> None:
        said = Join(
            member.reader, "team", TYPE_ID, (pattern,), start, group=True, patience_ns=PATIENCE
        )  # fmt: skip
        ((_, joined),) = self.clerk.answer(member.client, said)
        assert isinstance(joined, Joined)
        assert (joined.places, joined.rows) == ((), ())

    def due(self) -> dict[MemberId, list[Any]]:
        """What members are told, but for empty questions."""
        found: dict[MemberId, list[Any]] = {}
        for member, said in self.clerk.groups.due():
            if said != Marks(member.reader, 0, ()):
                found.setdefault(member, []).append(said)
        return found

    def assigned(self) -> dict[MemberId, list[tuple[StreamKey, int, int]]]:
        """What members get: the stream, where it begins, the generation."""
        return {
            member: [
                (share.place.stream, share.place.begin, share.generation)
                for said in all_said
                if isinstance(said, Assign)
                for share in said.shares
            ]
            for member, all_said in self.due().items()
        }

    def progress(self, member: MemberId, key: StreamKey, generation: int, account: Account) -> list[Any]:
        tenure = Tenure(key, generation, account)
        assert self.clerk.answer(member.client, Progress(member.reader, 3, (tenure,))) == []
        return self.due().get(member, [])

    def pass_time(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.clerk.groups.pass_time()


def test_a_group_begins_where_its_first_member_says() -> None:
    desk = Desk()
    old, new = stream("test.old"), stream("test.new")
    desk.keep(old, last=5)
    desk.join(ONE, start=Start.NEW)
    desk.keep(new, last=2)
    assert desk.assigned() == {ONE: [(old, 6, 1001), (new, 1, 1002)]}
    # Also for those that come later, whatever they say.
    desk.clerk.answer(ONE.client, Leave(1, "team"))
    desk.join(TWO)
    assert desk.assigned() == {TWO: [(old, 6, 1003), (new, 1, 1004)]}


def test_accounts_add_up_and_are_stored_under_the_name_of_the_group() -> None:
    desk = Desk()
    key = stream()
    desk.keep(key, last=9)
    desk.join(ONE)
    desk.due()
    assert desk.progress(ONE, key, 1001, Account(0, 4, 3, {"x": 1})) == [Reported(1, 3)]
    desk.clerk.gone(ONE.client)
    assert desk.clerk.readers() == ()
    # Another life of the store: its generations are others.
    again = Desk(desk.journal, instance=2_000)
    again.join(TWO)
    assert again.assigned() == {TWO: [(key, 5, 2001)]}
    assert again.progress(TWO, key, 2001, Account(4, 9, 5, {})) == [Reported(1, 3)]
    assert again.clerk.holdings.accounts("team") == {key: Account(0, 9, 8, {"x": 1})}
    (book,) = again.clerk.books(0).streams
    assert book.readers == {"team": Account(0, 9, 8, {"x": 1})}
    assert again.clerk.all_done()


def test_whoever_is_not_a_member_is_to_let_go() -> None:
    desk = Desk()
    key = stream()
    desk.keep(key, last=9)
    desk.join(ONE)
    desk.due()
    assert desk.progress(TWO, key, 1001, Account(0, 9, 9, {})) == [Revoke(1, ((key, 1001),))]
    assert desk.progress(ONE, key, 999, Account(0, 9, 9, {})) == [Revoke(1, ((key, 999),)), Reported(1, 3)]
    assert desk.clerk.holdings.accounts("team")[key] == NOTHING


def test_a_member_that_is_done_with_more_than_there_is_is_refused() -> None:
    desk = Desk()
    key = stream()
    desk.keep(key, last=2)
    desk.join(ONE)
    with pytest.raises(WireError, match=r"done with 3 of test\.a, which reaches to 2"):
        desk.progress(ONE, key, 1001, Account(0, 3, 3, {}))


def test_a_silent_member_is_given_up() -> None:
    desk = Desk()
    keys = [stream(f"test.{n}") for n in range(4)]
    desk.join(ONE)
    desk.join(TWO)
    desk.keep(*keys)
    desk.due()
    desk.now += SILENT_NS + 1
    desk.clerk.heard(TWO.client)
    for peer in desk.clerk.silent():
        desk.clerk.gone(peer)
    assert len(desk.assigned()[TWO]) == 2
    assert not desk.clerk.all_done()


def test_a_member_that_does_not_get_on_is_told_to_let_go() -> None:
    desk = Desk()
    keys = [stream(f"test.{n}") for n in range(2)]
    desk.join(ONE)
    desk.join(TWO)
    desk.keep(*keys)
    assigned = desk.assigned()
    ((key, _, generation),), ((other, _, others),) = assigned[ONE], assigned[TWO]
    desk.progress(TWO, other, others, Account(0, 1, 1, {}))
    desk.progress(ONE, key, generation, NOTHING)
    desk.pass_time(PATIENCE)
    due = desk.due()
    assert due[ONE] == [Revoke(1, ((key, generation),))]
    assert [share.place.stream for share in due[TWO][0].shares] == [key]
    desk.clerk.answer(ONE.client, Released(1, (Tenure(key, generation, Account(0, 1, 1, {})),)))
    assert desk.clerk.holdings.accounts("team").get(key) == NOTHING, "it had been given up"


def test_many_streams_go_in_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "SHARES", 10)
    desk = Desk()
    desk.keep(*[stream(f"test.{n}") for n in range(25)])
    desk.join(ONE)
    assert [len(said.shares) for said in desk.due()[ONE]] == [10, 10, 5]


def test_members_of_one_group_may_want_different_topics() -> None:
    desk = Desk()
    desk.join(ONE, pattern="test.a")
    desk.join(TWO, pattern="test.b")
    desk.keep(stream("test.a"), stream("test.b"), stream("test.c"))
    assert {member: [got[0].topic for got in streams] for member, streams in desk.assigned().items()} == {
        ONE: ["test.a"],
        TWO: ["test.b"],
    }


def test_what_the_store_forgets_the_group_forgets() -> None:
    desk = Desk(MemoryJournal(retention=Retention(max_age_ns=1, keep_streams=0)))
    desk.keep(stream())
    desk.join(ONE)
    desk.due()
    desk.journal.trim(100)
    assert desk.journal.streams() == []
    desk.pass_time(0)
    assert desk.due() == {ONE: [Revoke(1, ((stream(), 1001),))]}


# --- members ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def alone(**fabric: Any) -> AsyncIterator[tuple[Bus, StoreAddress]]:
    """A bus that publishes into a store of its own, and reads from it."""
    own = address()
    async with Bus("only", network=Network(fabric=Fabric(own=own, **fabric))) as bus:
        yield bus, own


def _member(subscriber: Any) -> Member:
    (inlet,) = subscriber._subscription.inlets
    assert isinstance(inlet, Member)
    return inlet


def _shares(member: Member, key: StreamKey, generation: int, begin: int, last: int) -> Assign:
    return Assign(member.number, (Share(Place(key, 1, last, begin), generation),))


async def test_what_is_not_kept_cannot_be_shared() -> None:
    async with alone(live=frozenset({1})) as (bus, _):
        with pytest.raises(UsageError, match=r"group 'team': a contract of delivery class live is not kept"):
            await bus.subscriber(Tick, group="team").attach()


async def test_a_revoked_stream_leaves_the_queue_and_the_books_end_there() -> None:
    """Also in the middle of a frame that waits for room; the other streams go on."""
    async with alone() as (bus, _), bus.subscriber(Tick, group="team", capacity=2) as ticks:
        async with bus.publisher(Tick) as publisher:
            await publisher.publish_many([Tick("a", n) for n in range(10)])
            first = await anext(ticks)
            await publisher.publish_many([Tick("b", n) for n in range(3)])
        member = _member(ticks)
        await until(lambda: member._blocked and len(member.routes) == 2)
        key = next(key for key in member.routes if key.topic == "test.a")
        member.on_said(Revoke(member.number, ((key, member._generations[key]),)))
        assert member.released() is None, "the first message is still in hand"
        assert [(await anext(ticks)).lane for _ in range(3)] == ["b"] * 3
        released = member.released()
        assert first == Tick("a", 0)
        assert released is not None
        assert [tenure.account for tenure in released.tenures] == [Account(0, 1, 1, {})]
        (route,) = [route for route in bus.ledger().routes if route.topic == "test.a"]
        assert (route.published, route.delivered, route.queued, dict(route.dropped)) == (1, 1, 0, {})
        assert bus.ledger().balanced


async def test_a_stream_that_comes_back_adds_to_the_books_of_before() -> None:
    async with alone() as (bus, _), bus.subscriber(Tick, group="team") as ticks, bus.publisher(Tick) as publisher:
        await publisher.publish_many([Tick("a", n) for n in range(4)])
        for _ in range(2):
            await anext(ticks)
        member = _member(ticks)
        (key,) = member.routes
        generation = member._generations[key]
        revoke = Revoke(member.number, ((key, generation),))
        member.on_said(revoke)
        assert ticks.statistics().delivered == 2
        # It gets the stream back before it was done with what it has in hand, which comes again.
        member.on_said(_shares(member, key, generation + 1, 2, 4))
        assert [tick.number for tick in [await anext(ticks), await anext(ticks), await anext(ticks)]] == [1, 2, 3]
        # What is late, or said twice, changes nothing.
        member.on_said(revoke)
        member.on_said(_shares(member, key, generation, 1, 4))
        released = member.released()
        assert released is not None
        assert {tenure.generation for tenure in released.tenures} == {generation}
        assert key in member.routes
        assert ticks.statistics().delivered == 5
        assert bus.ledger().balanced


async def test_what_is_revoked_before_it_was_assigned_is_not_taken_any_more() -> None:
    async with alone() as (bus, _), bus.subscriber(Tick, group="team") as ticks:
        member, key = _member(ticks), stream()
        member.on_said(Revoke(member.number, ((key, 7),)))
        assert member.released() == Released(member.number, (Tenure(key, 7, NOTHING),))
        member.on_said(_shares(member, key, 7, 1, 3))
        assert member.routes == {}


async def test_a_member_that_is_detached_ends_though_a_stream_is_taken_from_it() -> None:
    async with (
        alone() as (bus, _),
        bus.subscriber(Tick, group="team", capacity=1) as ticks,
        bus.publisher(Tick) as publisher,
    ):
        await publisher.publish_many([Tick(lane, n) for n in range(3) for lane in "ab"])
        await anext(ticks)
        await ticks.detach()
        member = _member(ticks)
        await until(lambda: member.finishing)
        keys = [(key, member._generations[key]) for key in member.routes]
        member.on_said(Revoke(member.number, tuple(keys)))
        assert [tick async for tick in ticks] == []
        assert member.ended


# --- over a broker ---------------------------------------------------------------------------


class Team:
    """Workers at a broker that is started again now and then."""

    def __init__(self, at: StoreAddress) -> None:
        self.fabric = Fabric(stores=(at,))
        self.got: list[Tick] = []

    @contextlib.asynccontextmanager
    async def worker(self, name: str) -> AsyncIterator[None]:
        async with (
            Bus(name, network=Network(fabric=self.fabric)) as bus,
            bus.subscriber(Tick, group="team", start=Start.EARLIEST) as ticks,
        ):

            async def work() -> None:
                async for tick in ticks:
                    self.got.append(tick)

            working = asyncio.ensure_future(work())
            try:
                yield
            finally:
                working.cancel()
                await asyncio.wait([working])

    async def has(self, wanted: Sequence[Tick]) -> None:
        await until(lambda: set(wanted) <= set(self.got))


async def test_a_group_goes_on_when_its_store_begins_anew(tmp_path: Path) -> None:
    at = address(publish=True)

    async def begin() -> Broker:
        """A broker, once the sockets of the former one are gone: libzmq closes them in a thread of its own."""
        async with asyncio.timeout(SECONDS):
            while True:
                broker = Broker(at, LmdbJournal(tmp_path), time.time_ns)
                try:
                    broker.open()
                except PathError:
                    await end(broker)
                else:
                    return broker

    async def end(broker: Broker) -> None:
        await broker.aclose()
        broker.store.journal.close()

    team = Team(at)
    sent = [Tick(lane, n) for n in range(60) for lane in "abcd"]
    broker = await begin()
    async with (
        Bus("writer", network=Network(fabric=team.fabric)) as bus,
        bus.publisher(Tick) as publisher,
        team.worker("one"),
        team.worker("two"),
    ):
        await publisher.publish_many(sent[:120])
        await team.has(sent[:120])
        await end(broker)
        broker = await begin()
        await publisher.publish_many(sent[120:])
        await team.has(sent)
    await end(broker)


WORKER = """
import asyncio, sys
from mycelium import Bus, Network
from mycelium.testing.conformance import Tick
from mycelium.transport.addresses import Fabric, StoreAddress

async def main():
    at = StoreAddress("store", *sys.argv[1:])
    async with Bus("worker", network=Network(fabric=Fabric(stores=(at,)))) as bus:
        async with bus.subscriber(Tick, group="team", start="earliest") as ticks:
            async for tick in ticks:
                print(tick.lane, tick.number, flush=True)

asyncio.run(main())
"""


async def test_the_streams_of_a_member_that_is_killed_go_to_another() -> None:
    at = address(publish=True)
    journal = MemoryJournal()
    broker = Broker(at, journal, time.time_ns)
    broker.open()
    team = Team(at)
    lanes = "abcdefgh"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, at.frames, at.control, str(at.publish), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with (
        Bus("writer", network=Network(fabric=team.fabric)) as bus,
        bus.publisher(Tick) as publisher,
        team.worker("here"),
    ):
        await until(lambda: len(broker.store.clerk.groups._names) == 2)
        await publisher.publish_many([Tick(lane, 0) for lane in lanes])
        async with asyncio.timeout(SECONDS):
            theirs = {(await child.stdout.readline()).decode().split()[0] for _ in range(4)}
        await until(lambda: len(team.got) == 4)
        # All is reported, so that nothing is said to a member that has no work.
        (state,) = broker.store.clerk.groups._groups.values()
        await until(lambda: [account.cursor for account in state.accounts.values()] == [1] * 8)
        assert theirs | {tick.lane for tick in team.got} == set(lanes)
        child.send_signal(signal.SIGKILL)
        await child.wait()
        killed = time.monotonic()
        await publisher.publish_many([Tick(lane, 1) for lane in lanes])
        await team.has([Tick(lane, 1) for lane in lanes])
        assert time.monotonic() - killed < SILENT_NS / SECOND, "its connection told"
    await broker.aclose()
    journal.close()
