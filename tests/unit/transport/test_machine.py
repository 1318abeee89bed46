"""Random lives of publishers and readers in one loop, against a model: whatever happens, the books balance."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mycelium.bus.bus import Bus
from mycelium.bus.publisher import Publisher
from mycelium.bus.subscriber import Subscriber
from mycelium.core.errors import QueueFullError, WouldBlock
from mycelium.core.policy import QueuePolicy
from mycelium.testing.conformance import Tick

lanes = st.sampled_from("ab")


class Life(RuleBasedStateMachine):
    """Every public way to publish, read, cancel and close, in any order."""

    readers: Bundle[Subscriber[Tick]] = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.number = 0
        self.waiting: list[asyncio.Task[None]] = []
        self.alive: list[Subscriber[Tick]] = []
        self.last_read: dict[tuple[int, str], int] = {}
        self.bus = Bus("machine")
        self.publisher: Publisher[Tick]
        self.run(self.open())

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    async def open(self) -> None:
        await self.bus.__aenter__()
        self.publisher = self.bus.publisher(Tick)

    def next_tick(self, lane: str) -> Tick:
        self.number += 1
        return Tick(lane, self.number)

    @rule(target=readers, policy=st.sampled_from(QueuePolicy), capacity=st.integers(1, 3), lane=lanes | st.just("*"))
    def subscribe(self, policy: QueuePolicy, capacity: int, lane: str) -> Subscriber[Tick]:
        async def attach() -> Subscriber[Tick]:
            name = f"reader {self.number}"
            reader = self.bus.subscriber(Tick, f"test.{lane}", policy=policy, capacity=capacity, name=name)
            await reader.attach()
            self.alive.append(reader)
            return reader

        return self.run(attach())  # type: ignore[no-any-return]

    @rule(lane=lanes)
    def publish(self, lane: str) -> None:
        async def start() -> None:
            self.waiting.append(asyncio.ensure_future(self.publisher.publish(self.next_tick(lane))))
            await asyncio.sleep(0)

        self.run(start())

    @rule(lane=lanes)
    def publish_nowait(self, lane: str) -> None:
        async def attempt() -> None:
            try:
                self.publisher.publish_nowait(self.next_tick(lane))
            except WouldBlock:
                assert any(reader.statistics().queued for reader in self.alive)

        self.run(attempt())

    @rule()
    def cancel_a_waiting_publish(self) -> None:
        async def cancel() -> None:
            for task in self.waiting:
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task])
                    break

        self.run(cancel())

    @rule(reader=readers)
    def read(self, reader: Subscriber[Tick]) -> None:
        async def step() -> None:
            try:
                tick = reader.receive_nowait()
            except WouldBlock:
                return
            key = (id(reader), tick.lane)
            assert tick.number > self.last_read.get(key, 0), "out of order or repeated"
            self.last_read[key] = tick.number
            await asyncio.sleep(0)

        self.run(step())

    @rule(reader=readers)
    def meet_the_error(self, reader: Subscriber[Tick]) -> None:
        async def step() -> None:
            if not reader.statistics().queued:
                try:
                    async with asyncio.timeout(0):
                        await anext(reader)
                except (TimeoutError, QueueFullError, StopAsyncIteration):
                    return

        self.run(step())

    @rule(reader=readers)
    def detach(self, reader: Subscriber[Tick]) -> None:
        self.run(reader.detach())

    @rule(reader=consumes(readers))
    def close(self, reader: Subscriber[Tick]) -> None:
        self.alive.remove(reader)
        self.run(reader.aclose())

    @invariant()
    def the_books_balance(self) -> None:
        ledger = self.bus.ledger()
        assert ledger.balanced, [route for route in ledger.routes if route.missing]

    def teardown(self) -> None:
        async def finish() -> None:
            for task in self.waiting:
                task.cancel()
            await asyncio.gather(*self.waiting, return_exceptions=True)
            for reader in self.alive:
                await reader.aclose()
            await self.publisher.aclose()
            await self.bus.__aexit__(None, None, None)

        self.run(finish())
        self.runner.close()
        ledger = self.bus.ledger()
        assert ledger.balanced
        assert not any(route.queued for route in ledger.routes)


Life.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
