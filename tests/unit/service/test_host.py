"""The life of services in one process: wired before they run, drained before they stop, failures by policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from mycelium.bus.clock import SystemClock
from mycelium.core.errors import ContractError, ServiceError
from mycelium.core.ledger import Cause
from mycelium.core.message import Message, PayloadCodec
from mycelium.core.policy import QueuePolicy
from mycelium.observe.health import HealthState
from mycelium.service import (
    DeadLetter,
    Host,
    NoSettings,
    OnFailure,
    Outcome,
    Placement,
    Progress,
    Retry,
    Service,
    handles,
)
from mycelium.service.host import in_flow_order, summary_of
from mycelium.service.runner import ServiceRunner


class Number(Message, type_id=1, topic="numbers.{lane}"):
    lane: str
    value: int


class Square(Message, type_id=2, topic="squares.{lane}"):
    lane: str
    value: int


class Source(Service[NoSettings]):
    """Publishes numbers and is done."""

    name = "source"
    publishes = (Number,)
    how_many: ClassVar[int] = 100

    async def run(self) -> None:
        for value in range(self.how_many):
            await self.publish(Number("a", value))
            await self.breathe()
            self.progress(value + 1, self.how_many, "numbers")


class Squarer(Service[NoSettings]):
    """Reacts to numbers with their squares."""

    name = "squarer"
    publishes = (Square,)

    @handles(Number)
    async def on_number(self, number: Number) -> None:
        await self.publish(Square(number.lane, number.value**2))


class Collector(Service[NoSettings]):
    """Keeps the squares."""

    name = "collector"
    seen: ClassVar[list[int]]

    async def start(self) -> None:
        type(self).seen = []

    @handles(Square)
    async def on_square(self, square: Square) -> None:
        self.seen.append(square.value)


def host_of(*types: type[Service[Any]], **options: Any) -> Host:
    return Host([Placement(kind, NoSettings()) for kind in types], clock=SystemClock(), **options)


async def test_a_chain_runs_to_its_end_and_loses_nothing() -> None:
    reported: list[Progress] = []
    outcome = await host_of(Collector, Squarer, Source, report=reported.append).run()
    assert Collector.seen == [value**2 for value in range(100)]
    assert outcome.ledger.balanced
    assert outcome.drained
    assert not outcome.failed
    assert {health.state for health in outcome.health} == {HealthState.STOPPED}
    assert reported[-1] == Progress("source", 100, 100, "numbers")
    assert outcome.waiting.count == 200


async def test_the_summary_counts_what_the_spec_says() -> None:
    outcome = await host_of(Source, Squarer, Collector).run()
    summary = summary_of(outcome, {"events": ["Number"], "signals": ["Square", "Number"], "nothing": []})
    assert (summary["events"], summary["signals"], summary["nothing"]) == (100, 200, 0)
    assert summary["published"] == {"Number": 100, "Square": 100}
    assert summary["ledger"]["balanced"] is True
    assert summary["rate_per_s"] > 0
    assert 0 < summary["latency_us"]["p50"] <= summary["latency_us"]["p99"] <= summary["latency_us"]["max"]
    assert summary["ledger"]["subscriptions"]["collector.on_square"]["delivered"] == 100


async def test_readers_are_wired_before_publishers_run() -> None:
    states: list[dict[str, HealthState]] = []

    class Early(Source):
        async def run(self) -> None:
            states.append({health.service: health.state for health in host.health()})
            await super().run()

    host = host_of(Early, Squarer, Collector)
    await host.run()
    assert states == [{"source": HealthState.RUNNING, "squarer": HealthState.RUNNING, "collector": HealthState.RUNNING}]
    assert Collector.seen[0] == 0


async def test_a_host_is_ready_from_when_all_is_wired_until_it_drains() -> None:
    """And says which service is not at work: while they start, one after another, and from when they drain."""
    seen: list[dict[str, str]] = []

    class Looking(Collector):
        async def start(self) -> None:
            seen.append(dict(host.unready()))

        async def stop(self) -> None:
            seen.append(dict(host.unready()))

    class Early(Source):
        async def run(self) -> None:
            seen.append(dict(host.unready()))

    host = host_of(Early, Squarer, Looking)
    assert host.unready() == dict.fromkeys(("source", "squarer", "collector"), "created")
    await host.run()
    assert seen[0]["collector"] == "starting"
    assert set(seen[0]) == {"source", "squarer", "collector"}
    assert seen[1] == {}
    assert seen[2] == {"source": "stopped", "squarer": "stopped", "collector": "draining"}


class Endless(Source):
    """Publishes until it is told to stop."""

    async def run(self) -> None:
        value = 0
        while True:
            await self.publish(Number("a", value))
            value += 1
            await self.breathe()


async def run_until_draining(host: Host, ready: Callable[[], bool]) -> Outcome:
    running = asyncio.create_task(host.run())
    async with asyncio.timeout(10):
        while not ready():  # noqa: ASYNC110 - the condition is on the services' own state
            await asyncio.sleep(0)
    host.drain()
    return await running


async def test_draining_handles_everything_that_was_published() -> None:
    Collector.seen = []
    host = host_of(Endless, Squarer, Collector)
    outcome = await run_until_draining(host, lambda: len(Collector.seen) > 500)
    published = outcome.ledger.published["Number"]
    assert Collector.seen == [value**2 for value in range(published)]
    assert outcome.ledger.balanced
    assert not outcome.ledger.dropped
    assert outcome.drained


async def test_a_service_that_does_not_stop_is_cancelled_and_what_is_left_is_counted() -> None:
    class Stubborn(Source):
        async def run(self) -> None:
            await self.publish(Number("a", 1))
            started.set()
            await asyncio.Event().wait()

    class Stuck(Squarer):
        @handles(Number)
        async def on_number(self, number: Number) -> None:
            await asyncio.Event().wait()

    started = asyncio.Event()
    host = host_of(Stubborn, Stuck, drain_seconds=0.2)
    outcome = await run_until_draining(host, started.is_set)
    assert not outcome.drained
    assert outcome.ledger.balanced


async def test_a_host_without_work_of_its_own_waits_for_a_signal() -> None:
    host = host_of(Squarer)
    outcome = await run_until_draining(host, lambda: any(h.state is HealthState.RUNNING for h in host.health()))
    assert outcome.drained


async def test_a_failing_run_ends_the_process_after_draining() -> None:
    class Failing(Source):
        async def run(self) -> None:
            await self.publish(Number("a", 7))
            raise OSError("the cable is cut")

    outcome = await host_of(Failing, Squarer, Collector).run()
    assert [health.error for health in outcome.failed] == ["OSError: the cable is cut"]
    assert Collector.seen == [49]
    assert outcome.ledger.balanced


async def test_a_failing_start_is_raised_and_what_was_started_is_closed() -> None:
    class Failing(Squarer):
        async def start(self) -> None:
            raise OSError("no such file")

    with pytest.raises(ServiceError, match="service squarer failed in start: OSError: no such file"):
        await host_of(Source, Failing, Collector).run()


async def test_a_failing_stop_is_reported() -> None:
    class Failing(Collector):
        async def stop(self) -> None:
            raise OSError("disk full")

    outcome = await host_of(Source, Squarer, Failing).run()
    assert [health.error for health in outcome.failed] == ["OSError: disk full"]
    assert len(Failing.seen) == 100


async def test_publishing_what_is_not_declared_is_refused() -> None:
    class Undeclared(Source):
        async def run(self) -> None:
            await self.publish(Square("a", 1))

    outcome = await host_of(Undeclared).run()
    (failed,) = outcome.failed
    assert failed.error is not None
    assert "service source publishes Square but declares Number" in failed.error
    assert ContractError.__name__ in failed.error


FAST = Retry(attempts=3, wait_initial=0.001, wait_max=0.002)


class Letters(Service[NoSettings]):
    name = "letters"
    seen: ClassVar[list[DeadLetter]]

    async def start(self) -> None:
        type(self).seen = []

    @handles(DeadLetter)
    async def on_letter(self, letter: DeadLetter) -> None:
        self.seen.append(letter)


class Flaky(Service[NoSettings]):
    """Fails each number as often as ``failures`` says."""

    name = "flaky"
    failures: ClassVar[dict[int, int]]
    handled: ClassVar[list[int]]

    async def start(self) -> None:
        type(self).handled = []

    @handles(Number, retry=FAST)
    async def on_number(self, number: Number) -> None:
        if self.failures.get(number.value, 0) > 0:
            self.failures[number.value] -= 1
            raise RuntimeError(f"not now: {number.value}")
        self.handled.append(number.value)


async def test_a_failing_handler_is_retried_in_order() -> None:
    Flaky.failures = {3: 2}
    outcome = await host_of(Source, Flaky).run()
    assert Flaky.handled == list(range(100))
    (flaky,) = [health for health in outcome.health if health.service == "flaky"]
    assert (flaky.handled, flaky.retried, flaky.dead_letters) == (100, 2, 0)
    assert not outcome.ledger.dropped


async def test_a_handler_that_keeps_failing_leaves_a_dead_letter_and_the_stream_goes_on() -> None:
    Flaky.failures = {3: 99, 5: 99}
    outcome = await host_of(Source, Flaky, Letters).run()
    assert Flaky.handled == [value for value in range(100) if value not in {3, 5}]
    assert outcome.ledger.dropped == {Cause.HANDLER: 2}
    assert outcome.ledger.balanced
    first = Letters.seen[0]
    assert (first.service, first.handler, first.attempts) == ("flaky", "on_number", 3)
    assert (first.source, first.stream, first.sequence) == ("source", "numbers.a", 4)
    assert first.error == "RuntimeError: not now: 3"
    assert PayloadCodec(Number).decode(first.payload, 1) == [Number("a", 3)]


@pytest.mark.parametrize("order", [(Letters, Source, Flaky), (Flaky, Letters, Source), (Source, Flaky, Letters)])
async def test_a_dead_letter_reaches_its_reader_whatever_the_order(order: tuple[type[Service[Any]], ...]) -> None:
    Flaky.failures = {99: 99}
    outcome = await host_of(*order).run()
    assert [letter.sequence for letter in Letters.seen] == [100]
    assert not [stream for stream in outcome.ledger.streams if stream.unread]


async def test_a_handler_may_ask_to_stop_the_host() -> None:
    class Strict(Flaky):
        name = "strict"

        @handles(Number, retry=Retry(attempts=1), on_failure=OnFailure.STOP)
        async def on_number(self, number: Number) -> None:
            if number.value == 10:
                raise RuntimeError("enough")

    outcome = await host_of(Endless, Strict, Letters).run()
    assert [health.service for health in outcome.failed] == ["strict"]
    assert len(Letters.seen) == 1
    assert outcome.ledger.balanced


async def test_all_messages_of_a_service_come_in_the_order_of_their_publication() -> None:
    order: list[tuple[str, int]] = []

    class Both(Service[NoSettings]):
        name = "both"

        @handles(Number)
        async def on_number(self, number: Number) -> None:
            await asyncio.sleep(0)
            order.append(("number", number.value))

        @handles(Square)
        async def on_square(self, square: Square) -> None:
            order.append(("square", square.value))

    class Alternating(Service[NoSettings]):
        name = "alternating"
        publishes = (Number, Square)

        async def run(self) -> None:
            for value in range(20):
                await self.publish(Number("a", value))
                await self.publish(Square("a", value))

    await host_of(Alternating, Both).run()
    assert order == [(kind, value) for value in range(20) for kind in ("number", "square")]


async def test_a_handler_with_a_policy_has_a_queue_of_its_own() -> None:
    class Newest(Service[NoSettings]):
        name = "newest"
        seen: ClassVar[list[int]] = []

        @handles(Number, policy=QueuePolicy.LATEST)
        async def on_number(self, number: Number) -> None:
            self.seen.append(number.value)

    class Burst(Source):
        async def run(self) -> None:
            for value in range(10):
                await self.publish(Number("a", value))

    outcome = await host_of(Burst, Newest).run()
    assert Newest.seen == [9]
    assert outcome.ledger.dropped == {"queue policy latest": 9}
    assert outcome.ledger.balanced


@pytest.mark.parametrize("on_failure", OnFailure)
async def test_a_handler_with_policy_error_meets_the_hole_and_goes_on_or_stops(on_failure: OnFailure) -> None:
    class Strict(Service[NoSettings]):
        name = "strict"
        seen: ClassVar[list[int]] = []

        @handles(Number, policy=QueuePolicy.ERROR, capacity=4, on_failure=on_failure)
        async def on_number(self, number: Number) -> None:
            self.seen.append(number.value)

    class Burst(Source):
        async def run(self) -> None:
            for value in range(10):
                await self.publish(Number("a", value))
            await self.breathe()
            await self.publish(Number("a", 99))

    outcome = await host_of(Burst, Strict).run()
    assert Strict.seen[:4] == [0, 1, 2, 3]
    assert outcome.ledger.dropped["queue policy error"] >= 6
    assert outcome.ledger.balanced
    assert bool(outcome.failed) is (on_failure is OnFailure.STOP)


async def test_a_fault_in_the_runner_ends_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_runner: ServiceRunner, _item: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(ServiceRunner, "_handle", broken)
    outcome = await host_of(Endless, Squarer).run()
    assert [health.error for health in outcome.failed] == ["RuntimeError: a fault of ours"]


async def test_without_counted_figures_events_are_everything() -> None:
    summary = summary_of(await host_of(Source, Squarer).run(), {})
    assert (summary["events"], summary["signals"]) == (200, 0)


async def test_intakes_are_part_of_the_books() -> None:
    class Reader(Source):
        async def run(self) -> None:
            intake = self.intake("file")
            intake.accept(3)
            intake.ignore("comment", 2)
            for line in range(7):
                intake.refuse("malformed", f"line {line}", "no number")
            assert self.intake("file") is intake

    ledger = (await host_of(Reader).run()).ledger
    (entry,) = ledger.intakes
    assert (entry.read, entry.accepted, entry.ignored, entry.refused) == (12, 3, {"comment": 2}, {"malformed": 7})
    assert ledger.balanced


def test_publishers_come_before_their_readers_whatever_the_order_given() -> None:
    placements = [Placement(kind, NoSettings()) for kind in (Collector, Squarer, Source)]
    assert [placed.service_type.name for placed in in_flow_order(placements)] == ["source", "squarer", "collector"]


def test_a_circle_of_services_has_an_order_too() -> None:
    class Back(Service[NoSettings]):
        name = "back"
        publishes = (Number,)

        @handles(Square)
        async def on_square(self, square: Square) -> None: ...

    placements = [Placement(kind, NoSettings()) for kind in (Back, Squarer)]
    assert len(in_flow_order(placements)) == 2
