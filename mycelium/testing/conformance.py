"""What every path must do: one function per promise. Each opens the path, tries it, and checks the books.

A transport joins by describing itself as a :class:`~mycelium.testing.paths.Path` and running
:data:`CHECKS` over it. The functions need no test runner::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_path(check): await check(MY_PATH)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from mycelium.bus.bus import Bus
from mycelium.bus.subscriber import Delivery, Subscriber
from mycelium.core.envelope import Envelope
from mycelium.core.errors import ClosedError, ContractError, PathError, QueueFullError, WouldBlock
from mycelium.core.ledger import Cause, Ledger
from mycelium.core.message import Message
from mycelium.core.policy import QueuePolicy
from mycelium.core.trace import Mark, MessageId, Published, TraceContext
from mycelium.testing.paths import Ends, Path

# More than all the buffers of a path together hold.
MANY = 20_000

# How long nothing may move for a publisher to be called stuck. That something does not happen can only be
# seen by waiting for it; a machine that stands still for so long by itself would make a case fail.
STUCK_SECONDS = 0.3


class Tick(Message, type_id=1, topic="test.{lane}"):
    """The suite's message."""

    lane: str
    number: int


class Tock(Message, type_id=2, topic="test.{lane}"):
    """Another contract on the same topics."""

    lane: str
    text: str


def ticks(number: int, lane: str = "a") -> list[Tick]:
    """Numbered messages of one lane."""
    return [Tick(lane, n) for n in range(number)]


@asynccontextmanager
async def _subscribed(ends: Ends, pattern: str | None = None, **options: Any) -> AsyncIterator[Subscriber[Tick]]:
    """A subscriber at the reader, wired and in the end closed."""

    async def attach(bus: Bus) -> Subscriber[Tick]:
        subscriber = bus.subscriber(Tick, pattern, **options)
        await subscriber.attach()
        return subscriber

    subscriber = await ends.reader.call(attach)
    try:
        yield subscriber
    finally:
        await ends.reader.call(lambda _bus: subscriber.aclose())


async def _publish(ends: Ends, messages: Iterable[Message]) -> None:
    """Publish one by one at the writer, and let all of it leave."""

    async def publish(bus: Bus) -> None:
        for message in messages:
            async with bus.publisher(type(message)) as publisher:
                await publisher.publish(message)

    await ends.writer.call(publish)


async def _read(ends: Ends, subscriber: Subscriber[Tick], number: int) -> list[Tick]:
    """The next messages, one by one."""

    async def read(_bus: Bus) -> list[Tick]:
        return [await anext(subscriber) for _ in range(number)]

    return await ends.reader.call(read)


async def _read_to_end(ends: Ends, subscriber: Subscriber[Tick]) -> list[Tick]:
    """Detach, then everything that was published before."""

    async def read(_bus: Bus) -> list[Tick]:
        messages: list[Tick] = []
        detaching = asyncio.create_task(subscriber.detach())
        messages.extend([message async for message in subscriber])
        await detaching
        return messages

    return await ends.reader.call(read)


async def stands_still(ledger: Callable[[], Ledger]) -> int:
    """Wait until nothing is published or delivered any more. How many messages were published by then."""

    def moved() -> tuple[int, int]:
        books = ledger()
        return sum(books.published.values()), sum(route.delivered + route.queued for route in books.routes)

    before = (-1, -1)
    while (now := moved()) != before or now[0] == 0:
        before = now
        await asyncio.sleep(STUCK_SECONDS)
    return before[0]


def _balanced(ledger: Ledger) -> None:
    assert ledger.balanced, [route for route in ledger.routes if route.missing]
    assert not any(route.queued for route in ledger.routes)


def _dropped(ledger: Ledger, subscription: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for route in ledger.routes:
        if route.subscription == subscription:
            for cause, number in route.dropped.items():
                counts[cause] = counts.get(cause, 0) + number
    return counts


async def check_order_and_completeness(path: Path) -> None:
    """Every message arrives once, and each lane in the order in which it was published."""
    lanes = ("a", "b", "c")
    sent = [Tick(lanes[n % 3], n) for n in range(MANY)]
    async with path.open() as ends:
        async with _subscribed(ends) as subscriber:

            async def publish(bus: Bus) -> None:
                async with bus.publisher(Tick) as publisher:
                    for message in sent:
                        await publisher.publish(message)

            got, _ = await asyncio.gather(_read(ends, subscriber, MANY), ends.writer.call(publish))
    for lane in lanes:
        assert [tick for tick in got if tick.lane == lane] == [tick for tick in sent if tick.lane == lane]
    assert len(got) == MANY
    _balanced(ends.ledger())


async def check_batches(path: Path) -> None:
    """``publish_many`` and ``batches`` carry the same messages in the same order, within the limit."""
    sent = ticks(5_000)
    async with path.open() as ends:
        async with _subscribed(ends) as subscriber:

            async def publish(bus: Bus) -> None:
                async with bus.publisher(Tick) as publisher:
                    await publisher.publish_many(sent)

            async def read(_bus: Bus) -> list[list[Tick]]:
                batches, number = [], 0
                async for batch in subscriber.batches(limit=100):
                    batches.append(batch)
                    number += len(batch)
                    if number >= len(sent):
                        break
                return batches

            batches, _ = await asyncio.gather(ends.reader.call(read), ends.writer.call(publish))
    assert [tick for batch in batches for tick in batch] == sent
    assert max(map(len, batches)) <= 100
    _balanced(ends.ledger())


async def check_wildcards(path: Path) -> None:
    """Each subscription gets what its pattern says, and no topic that only begins alike."""
    sent = [Tick(lane, n) for n, lane in enumerate(("eth", "ethereum", "btc", "eth"))]
    expected = {
        "test.eth": ["eth", "eth"],
        "test.ethereum": ["ethereum"],
        "test.*": ["eth", "ethereum", "btc", "eth"],
        ">": ["eth", "ethereum", "btc", "eth"],
        "*.btc": ["btc"],
    }
    async with path.open() as ends:
        for pattern, lanes in expected.items():
            async with _subscribed(ends, pattern) as subscriber, _subscribed(ends, pattern, name="second") as second:
                await _publish(ends, sent)
                assert [tick.lane for tick in await _read_to_end(ends, subscriber)] == lanes, pattern
                assert [tick.lane for tick in await _read_to_end(ends, second)] == lanes, pattern
    _balanced(ends.ledger())


async def check_types_stay_apart(path: Path) -> None:
    """A subscription to one contract never sees another on the same topic; one publisher keeps to one of them."""
    async with path.open() as ends:
        async with _subscribed(ends, ">") as subscriber:

            async def publish(bus: Bus) -> bool:
                async with Bus("other", network=bus.network) as other, other.publisher(Tock) as publisher:
                    await publisher.publish(Tock("a", "x"))
                    async with bus.publisher(Tick) as ticking:
                        await ticking.publish(Tick("a", 1))
                    await publisher.publish(Tock("a", "y"))
                try:
                    async with bus.publisher(Tock) as wrong:
                        await wrong.publish(Tock("a", "z"))
                except ContractError:
                    return True
                return False

            assert await ends.writer.call(publish), "a topic of one publisher took two contracts"
            assert await _read_to_end(ends, subscriber) == [Tick("a", 1)]
    _balanced(ends.ledger())
    assert sum(stream.unread for stream in ends.ledger().streams) == (0 if path.keeps else 2)


async def check_block(path: Path) -> None:
    """Policy ``block``: a slow reader gets everything. The publisher waits for it, or a store keeps what it wants."""
    async with path.open() as ends:
        async with _subscribed(ends, policy=QueuePolicy.BLOCK, capacity=4) as subscriber:
            publishing = asyncio.create_task(ends.writer.call(_publish_forever(MANY)))
            published = await stands_still(ends.ledger)
            assert (published == MANY) is path.keeps, f"the publisher came to {published} of {MANY}"
            assert subscriber.statistics().queued == 4
            got = await _read(ends, subscriber, MANY)
            await publishing
    assert [tick.number for tick in got] == list(range(MANY))
    assert not _dropped(ends.ledger(), "reader:test.*")
    _balanced(ends.ledger())


def _publish_forever(number: int) -> Callable[[Bus], Awaitable[None]]:
    async def publish(bus: Bus) -> None:
        async with bus.publisher(Tick) as publisher:
            for message in ticks(number):
                await publisher.publish(message)

    return publish


async def check_drop_oldest(path: Path) -> None:
    """Policy ``drop_oldest``: the newest messages remain, the others are counted."""
    await _check_dropping(path, QueuePolicy.DROP_OLDEST, [96, 97, 98, 99])


async def check_drop_newest(path: Path) -> None:
    """Policy ``drop_newest``: the oldest messages remain, the others are counted."""
    await _check_dropping(path, QueuePolicy.DROP_NEWEST, [0, 1, 2, 3])


async def _check_dropping(path: Path, policy: QueuePolicy, remaining: Sequence[int]) -> None:
    async with path.open() as ends:
        # The second one is wired later, so it gets each message after the first one has dealt with it.
        async with _subscribed(ends, policy=policy, capacity=4, name="small") as small, _subscribed(ends) as all_of_it:
            await _publish(ends, ticks(100))
            assert await _read(ends, all_of_it, 100) == ticks(100)
            assert [tick.number for tick in await _read_to_end(ends, small)] == remaining
    assert _dropped(ends.ledger(), "small") == {Cause.QUEUE + policy: 96}
    _balanced(ends.ledger())


async def check_latest(path: Path) -> None:
    """Policy ``latest``: one message per topic remains, the newest; those it replaced are counted."""
    sent = [Tick(lane, n) for n in range(50) for lane in ("a", "b")]
    async with path.open() as ends:
        async with (
            _subscribed(ends, policy=QueuePolicy.LATEST, capacity=1, name="newest") as newest,
            _subscribed(ends) as all_of_it,
        ):
            await _publish(ends, sent)
            await _read(ends, all_of_it, 100)
            assert await _read_to_end(ends, newest) == [Tick("a", 49), Tick("b", 49)]
    assert _dropped(ends.ledger(), "newest") == {Cause.QUEUE + QueuePolicy.LATEST: 98}
    _balanced(ends.ledger())


async def check_error(path: Path) -> None:
    """Policy ``error``: the reader gets what came before the hole, the error at it, then what comes after."""
    async with path.open() as ends:
        async with (
            _subscribed(ends, policy=QueuePolicy.ERROR, capacity=4, name="strict") as strict,
            _subscribed(ends) as all_of_it,
        ):
            await _publish(ends, ticks(10))
            await _read(ends, all_of_it, 10)
            assert await _read(ends, strict, 4) == ticks(4)
            try:
                await _read(ends, strict, 1)
            except QueueFullError as error:
                assert (error.subscription, error.capacity, error.missing) == ("strict", 4, 6)
            else:
                raise AssertionError("the overflow was not reported")
            await _publish(ends, [Tick("a", 99)])
            assert await _read(ends, strict, 1) == [Tick("a", 99)]
    assert _dropped(ends.ledger(), "strict") == {Cause.QUEUE + QueuePolicy.ERROR: 6}
    _balanced(ends.ledger())


async def check_slow_reader_stops_only_its_publisher(path: Path) -> None:
    """A reader that never reads and drops costs the others nothing."""
    async with path.open() as ends:
        async with (
            _subscribed(ends, policy=QueuePolicy.DROP_OLDEST, capacity=1, name="asleep"),
            _subscribed(ends) as awake,
        ):
            reading = asyncio.create_task(_read(ends, awake, MANY))
            await ends.writer.call(_publish_forever(MANY))
            assert len(await reading) == MANY
    _balanced(ends.ledger())


async def check_cancelled_reader(path: Path) -> None:
    """A reader that is cancelled while it waits loses nothing: the next one goes on where it stopped."""
    async with path.open() as ends:
        async with _subscribed(ends) as subscriber:

            async def start(_bus: Bus) -> asyncio.Task[Tick]:
                task = asyncio.ensure_future(anext(subscriber))
                await asyncio.sleep(0)
                return task

            async def cancel(_bus: Bus) -> bool:
                waiting.cancel()
                await asyncio.wait([waiting])
                return waiting.cancelled()

            waiting = await ends.reader.call(start)
            assert await ends.reader.call(cancel)
            await _publish(ends, ticks(3))
            assert await _read_to_end(ends, subscriber) == ticks(3)
    _balanced(ends.ledger())


async def check_cancelled_publisher(path: Path) -> None:
    """A publish that is cancelled while it waits is counted, and the stream goes on. With a store it does not wait."""
    async with path.open() as ends:
        async with _subscribed(ends, capacity=1) as subscriber:
            publishing = asyncio.create_task(ends.writer.call(_publish_forever(MANY)))
            await stands_still(ends.ledger)
            publishing.cancel()
            await asyncio.wait([publishing])
            assert publishing.cancelled() is not path.keeps
            flushing = asyncio.create_task(_publish(ends, [Tick("a", -1)]))
            got = await _read_to_end_of(ends, subscriber, Tick("a", -1))
            await flushing
    numbers = [tick.number for tick in got]
    assert numbers == [*range(len(numbers) - 1), -1]
    # The reader counts it under the publisher's cause, or as the hole that it left on the way.
    assert sum(_dropped(ends.ledger(), "reader:test.*").values()) == (0 if path.keeps else 1)
    _balanced(ends.ledger())


async def _read_to_end_of(ends: Ends, subscriber: Subscriber[Tick], last: Tick) -> list[Tick]:
    async def read(_bus: Bus) -> list[Tick]:
        messages = []
        async for message in subscriber:
            messages.append(message)
            if message == last:
                break
        return messages

    return await ends.reader.call(read)


async def check_detach_loses_nothing(path: Path) -> None:
    """A detached reader still gets all that was published before, then its iteration ends."""
    async with path.open() as ends:
        async with _subscribed(ends, capacity=10) as subscriber:
            publishing = asyncio.create_task(ends.writer.call(_publish_forever(MANY)))
            got = await _read(ends, subscriber, MANY // 2)
            got += await _read_to_end(ends, subscriber)
            await publishing
    assert [tick.number for tick in got] == list(range(len(got)))
    assert not _dropped(ends.ledger(), "reader:test.*")
    _balanced(ends.ledger())


async def check_closing(path: Path) -> None:
    """Closing drops what is queued, counted, lets a waiting publisher go, and further use is refused."""
    async with path.open() as ends:
        async with _subscribed(ends, capacity=3) as subscriber:
            publishing = asyncio.create_task(ends.writer.call(_publish_forever(MANY)))
            assert await _read(ends, subscriber, 2) == ticks(2)
            await ends.reader.call(lambda _bus: subscriber.aclose())
            await publishing
            try:
                await ends.reader.call(lambda _bus: subscriber.attach())
            except ClosedError:
                pass
            else:
                raise AssertionError("a closed subscriber was attached")
    ledger = ends.ledger()
    published = sum(route.published for route in ledger.routes)
    assert _dropped(ledger, "reader:test.*") == {Cause.CLOSED: published - 2}
    _balanced(ledger)


async def check_late_subscriber(path: Path) -> None:
    """A subscriber gets everything from the moment it is wired, and nothing from before."""
    async with path.open() as ends:
        async with _subscribed(ends) as early:
            await _publish(ends, ticks(5))
            async with _subscribed(ends, name="late") as late:
                await _publish(ends, [Tick("a", n) for n in range(5, 9)])
                assert [tick.number for tick in await _read_to_end(ends, late)] == [5, 6, 7, 8]
                assert len(await _read_to_end(ends, early)) == 9
    _balanced(ends.ledger())


async def check_unread_is_counted(path: Path) -> None:
    """What nobody is subscribed to is counted as such, unless it is kept for who may come."""
    async with path.open() as ends:
        await _publish(ends, ticks(7))
        ledger = ends.ledger()
    assert [(stream.published, stream.unread) for stream in ledger.streams] == [(7, 0 if path.keeps else 7)]
    _balanced(ledger)


async def check_identity(path: Path) -> None:
    """What arrives equals what was sent; by reference it is the same object."""
    sent = Tick("a", 2**63)
    async with path.open() as ends:
        async with _subscribed(ends) as subscriber:
            await _publish(ends, [sent])
            (got,) = await _read(ends, subscriber, 1)
    assert got == sent
    assert (got is sent) is path.by_reference


async def check_deliveries_identify_messages(path: Path) -> None:
    """Every delivery carries the id of its message; sequences of a topic have no holes."""
    async with path.open() as ends:
        async with _subscribed(ends) as subscriber:
            await _publish(ends, [*ticks(2), Tick("b", 0), Tick("a", 2)])

            async def read(_bus: Bus) -> list[Any]:
                found = []
                async for delivery in subscriber.deliveries():
                    found.append(delivery)
                    if len(found) == 4:
                        break
                return found

            deliveries = await ends.reader.call(read)
    ids = sorted((d.topic, d.sequence, d.message.number) for d in deliveries)
    assert ids == [("test.a", 1, 0), ("test.a", 2, 1), ("test.a", 3, 2), ("test.b", 1, 0)]
    assert {d.source for d in deliveries} == {"writer"}
    assert len({d.epoch for d in deliveries}) == 1


async def check_publisher_mistakes(path: Path) -> None:
    """What breaks the contract fails at the call and harms nobody."""
    async with path.open() as ends:
        async with _subscribed(ends) as subscriber:

            async def publish(bus: Bus) -> int:
                failures = 0
                async with bus.publisher(Tick) as publisher:
                    for wrong in (Tock("a", "x"), Tick("Not.A.Segment", 1), "text"):
                        try:
                            await publisher.publish(wrong)  # type: ignore[arg-type]
                        except ContractError:
                            failures += 1
                    await publisher.publish(Tick("a", 1))
                return failures

            assert await ends.writer.call(publish) == 3
            assert await _read_to_end(ends, subscriber) == [Tick("a", 1)]
    _balanced(ends.ledger())


async def _handled(ends: Ends, number: int, **options: Any) -> list[int]:
    """The next messages of a subscription that is closed afterwards, by their numbers."""
    async with _subscribed(ends, **options) as subscriber:

        async def read(_bus: Bus) -> list[int]:
            got = [(await anext(subscriber)).number for _ in range(number)]
            try:
                subscriber.receive_nowait()
            except WouldBlock:
                return got
            raise AssertionError(f"more than {number} messages came")

        return await ends.reader.call(read)


async def check_start(path: Path) -> None:
    """A reader begins where it says: with all that is kept, with what came since a time, or with the newest."""
    async with path.open() as ends:
        await _publish(ends, [Tick(lane, n) for n in range(10) for lane in ("a", "b")])
        between = datetime.now(UTC)
        await _publish(ends, [Tick("a", 10), Tick("a", 11)])
        assert sorted(await _handled(ends, 22, start="earliest")) == sorted([*range(10), *range(10), 10, 11])
        assert await _handled(ends, 2, start=between) == [10, 11]
        assert sorted(await _handled(ends, 2, start="last_value")) == [9, 11]
        assert await _handled(ends, 0) == []
    _balanced(ends.ledger())


async def check_durable(path: Path) -> None:
    """A durable reader goes on behind what it was done with, whatever was published while it was away."""
    async with path.open() as ends:
        await _publish(ends, ticks(5))
        assert await _handled(ends, 0, durable="books") == []
        await _publish(ends, [Tick("a", n) for n in range(5, 500)])
        async with _subscribed(ends, durable="books", capacity=8) as subscriber:
            got = [tick.number for tick in await _read(ends, subscriber, 100)]
        # The last one was in hand when it left, so it comes again.
        await _publish(ends, [Tick("b", 0)])
        rest = await _handled(ends, 397, durable="books")
        assert got == [*range(5, 105)]
        assert [*range(104, 500)] == [number for number in rest if number]
        assert await _handled(ends, 0, durable="books") == []


async def check_durable_name_is_taken_over(path: Path) -> None:
    """Of two readers with one durable name the newer one goes on, and the older one ends."""
    async with path.open() as ends:
        async with _subscribed(ends, durable="one") as older:
            async with _subscribed(ends, durable="one") as newer:
                await _publish(ends, ticks(3))
                assert await _read(ends, newer, 3) == ticks(3)
                try:
                    await _read(ends, older, 1)
                except PathError as error:
                    assert "one" in str(error)
                else:
                    raise AssertionError("two readers go on under one durable name")


class _EveryThird:
    """Traces every third message of a stream. See :class:`~mycelium.core.trace.Tracing`."""

    inside = staticmethod(lambda: None)

    def gap(self, _topic: str) -> int:
        return 3

    def published(self, _published: Published, due: Sequence[int]) -> list[Mark]:
        return [_mark_of(sequence) for sequence in due]

    def repaired(self, _envelopes: Sequence[Envelope], _began: int, _reader: str) -> None:
        pass


def _mark_of(sequence: int) -> Mark:
    return Mark(sequence, sequence, TraceContext(sequence, 1, "a=1"), MessageId(7, 8, sequence, "cause"))


async def check_traces_go_with_their_messages(path: Path) -> None:
    """Of many messages, published alone and together, each that is traced says so to its reader, and no other does."""
    lanes = ("a", "b")
    sent = [Tick(lanes[n // 1_000 % 2], n) for n in range(MANY)]
    async with path.open() as ends:
        async with _subscribed(ends) as subscriber:

            async def publish(bus: Bus) -> None:
                bus.network.tracing = _EveryThird()
                async with bus.publisher(Tick) as publisher:
                    for start in range(0, MANY, 1_000):
                        some = sent[start : start + 1_000]
                        await publisher.publish_many(some[:700])
                        for message in some[700:]:
                            await publisher.publish(message)

            async def read(_bus: Bus) -> list[Delivery[Tick]]:
                found: list[Delivery[Tick]] = []
                async for batch in subscriber.delivery_batches(100):
                    found += batch
                    if len(found) == MANY:
                        break
                return found

            publishing = asyncio.create_task(ends.writer.call(publish))
            deliveries = await ends.reader.call(read)
            await publishing
        _balanced(ends.ledger())
    assert len(deliveries) == MANY
    for one in deliveries:
        expected = _mark_of(one.sequence) if one.sequence % 3 == 0 else None
        assert one.trace == (expected and expected.context), one.sequence
        assert one.cause == (expected and expected.cause), one.sequence


CHECKS: tuple[Callable[[Path], Awaitable[None]], ...] = (
    check_order_and_completeness,
    check_batches,
    check_wildcards,
    check_types_stay_apart,
    check_block,
    check_drop_oldest,
    check_drop_newest,
    check_latest,
    check_error,
    check_slow_reader_stops_only_its_publisher,
    check_cancelled_reader,
    check_cancelled_publisher,
    check_detach_loses_nothing,
    check_closing,
    check_late_subscriber,
    check_unread_is_counted,
    check_identity,
    check_deliveries_identify_messages,
    check_publisher_mistakes,
    check_traces_go_with_their_messages,
)
"""Every promise, in the order in which a new transport would want to meet them."""

STORE_CHECKS: tuple[Callable[[Path], Awaitable[None]], ...] = (
    check_start,
    check_durable,
    check_durable_name_is_taken_over,
)
"""What a path with a store does beyond that."""
