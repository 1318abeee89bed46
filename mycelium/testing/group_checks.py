"""What every path with a store must do for groups: the conformance suite's part about streams that are shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mycelium.bus.bus import Bus
from mycelium.bus.subscriber import Delivery, Subscriber
from mycelium.testing.conformance import STUCK_SECONDS, Tick
from mycelium.testing.paths import Ends, Path, Side

LANES = tuple("abcdefgh")

SERVICE = "reader"
"""Whose instances the members are: with keys a group belongs to one service."""

PATIENCE_SECONDS = 1.0
"""After which a member that does not get on loses its streams, where a case wants that. Long enough for a busy machine:
a member that has no time to run does not get on, either."""


class Worker:
    """A member of a group that reads in a task of its own, while it is not held up.

    Args:
        subscriber: the member, attached.
        side: where it lives.
        opened: what is closed after it.
    """

    def __init__(self, subscriber: Subscriber[Tick], side: Side, opened: AsyncExitStack) -> None:
        self.subscriber = subscriber
        self.side = side
        self._opened = opened
        self.got: list[Delivery[Tick]] = []
        self.may_go_on: asyncio.Event = asyncio.Event()
        self.may_go_on.set()
        self.got_more: asyncio.Event = asyncio.Event()
        self._reading: asyncio.Future[None]

    async def start(self, _bus: Bus) -> None:
        """Begin to read."""
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for delivery in self.subscriber.deliveries():
            self.got.append(delivery)
            self.got_more.set()
            await self.may_go_on.wait()

    async def close(self, _bus: Bus) -> None:
        """Finish what is in hand and leave."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self.subscriber.aclose()
        await self._opened.aclose()

    async def leave(self) -> None:
        """:meth:`close` where it lives."""
        await self.side.call(self.close)

    @property
    def lanes(self) -> set[str]:
        """Of what it has got."""
        return {delivery.message.lane for delivery in self.got}


@asynccontextmanager
async def _worker(side: Side, **options: Any) -> AsyncIterator[Worker]:
    async def attach(bus: Bus) -> Worker:
        opened = AsyncExitStack()
        member = await opened.enter_async_context(Bus(SERVICE, network=bus.network))
        subscriber = member.subscriber(Tick, group="team", **options)
        await subscriber.attach()
        worker = Worker(subscriber, side, opened)
        await worker.start(bus)
        return worker

    worker = await side.call(attach)
    try:
        yield worker
    finally:
        await worker.leave()


def _lanes(number: int, begin: int = 0) -> list[Tick]:
    return [Tick(lane, n) for n in range(begin, begin + number) for lane in LANES]


async def _publish(ends: Ends, messages: Iterable[Tick]) -> None:
    async def publish(bus: Bus) -> None:
        async with bus.publisher(Tick) as publisher:
            for message in messages:
                await publisher.publish(message)

    await ends.writer.call(publish)


async def _until(workers: Sequence[Worker], messages: Iterable[Tick]) -> None:
    """Wait until the workers together have got these messages."""
    wanted = set(messages)
    while True:
        for worker in workers:
            worker.got_more.clear()
        if not wanted - {delivery.message for worker in workers for delivery in worker.got}:
            return
        waiting = [asyncio.ensure_future(worker.got_more.wait()) for worker in workers]
        _, late = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()


def _in_order(worker: Worker) -> None:
    for lane in worker.lanes:
        sequences = [delivery.sequence for delivery in worker.got if delivery.message.lane == lane]
        assert sequences == sorted(set(sequences)), f"lane {lane} came out of order, or twice"


async def check_group_shares(path: Path) -> None:
    """Members share the streams, in whatever process they are: nothing twice, and each lane in order."""
    async with path.open() as ends, _worker(ends.writer) as first, _worker(ends.reader) as second:
        await _publish(ends, _lanes(200))
        await _until((first, second), _lanes(200))
        assert len(first.got) + len(second.got) == len(_lanes(200)), "messages came twice"
        assert not first.lanes & second.lanes, "a lane came to two members"
        assert len(first.lanes) == len(second.lanes) == len(LANES) // 2
        _in_order(first)
        _in_order(second)
    assert ends.ledger().balanced


async def check_group_grows(path: Path) -> None:
    """A member that joins later gets streams of the others while these go on: nothing is lost, nothing comes twice."""
    async with path.open() as ends, _worker(ends.reader) as first:
        await _publish(ends, _lanes(10))
        async with _worker(ends.writer) as second:
            await _until((first, second), _lanes(10))
            sent = 10
            while not second.got:
                await _publish(ends, _lanes(10, sent))
                sent += 10
                await _until((first, second), _lanes(sent))
            assert len(first.got) + len(second.got) == len(_lanes(sent)), "messages came twice"
            _in_order(first)
            _in_order(second)
    assert ends.ledger().balanced


async def check_group_hands_over(path: Path) -> None:
    """What a member that closes was not done with goes to another one, and a whole group may stop and come back."""
    async with path.open() as ends:
        async with _worker(ends.reader, capacity=4) as first:
            first.may_go_on.clear()
            await _publish(ends, _lanes(20))
            await first.got_more.wait()
            async with _worker(ends.writer) as second:
                await first.leave()
                await _until((second,), _lanes(20))
                assert len(second.got) == len(_lanes(20)), "it was not done with anything"
                _in_order(second)
        await _publish(ends, _lanes(5, 20))
        async with _worker(ends.reader) as third:
            await _until((third,), _lanes(5, 20))
            assert {delivery.message for delivery in third.got} - set(_lanes(5, 20)) <= {second.got[-1].message}
    assert ends.ledger().balanced


async def check_group_gives_up_a_member(path: Path) -> None:
    """A member that does not get on loses its streams to another one, and does no harm when it wakes up."""
    async with path.open() as ends:
        slow, quick = (_worker(side, finish_within=PATIENCE_SECONDS) for side in (ends.reader, ends.writer))
        async with slow as asleep, quick as awake:
            await _publish(ends, _lanes(1))
            await _until((asleep, awake), _lanes(1))
            asleep.may_go_on.clear()
            # What it is done with comes only once it has asked for more: so it has the last one in hand.
            await _publish(ends, _lanes(50, 1))
            await _until((awake,), _lanes(50, 1))
            _in_order(awake)
            in_hand, had = asleep.got[-1], len(asleep.got)
            asleep.may_go_on.set()
            await asyncio.sleep(STUCK_SECONDS)
            assert len(asleep.got) == had, f"it went on with what it has lost, after {in_hand}"
            # It is a member like any other again.
            sent = 51
            while len(asleep.got) == had:
                await _publish(ends, _lanes(10, sent))
                sent += 10
                await _until((asleep, awake), _lanes(sent))
            later = [d.message for worker in (asleep, awake) for d in worker.got if d.message.number > 50]
            assert len(later) == len(set(later)), "messages came twice"
    assert ends.ledger().balanced


GROUP_CHECKS: tuple[Callable[[Path], Awaitable[None]], ...] = (
    check_group_shares,
    check_group_grows,
    check_group_hands_over,
    check_group_gives_up_a_member,
)
"""What a path with a store does for groups."""
