"""The strategy as a service: hands the bus's events to the engine, block by block, and its signals to the bus."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict

from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, SwapEvent
from contracts.signals import ArbitrageSignal
from mycelium.service import Service, ServiceContext, handles
from strategies.flash_arbitrage.blocks import Block, Blocks, LeftOut, TakeBack
from strategies.flash_arbitrage.engine import Engine
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from strategies.flash_arbitrage.statistics import EngineStatistics


class FlashArbitrage(Service[FlashArbitrageSettings]):
    """Publishes an :class:`ArbitrageSignal` for each profitable cycle that a swap has opened.

    A block is worked through when all of it is there, so the signals and their order are the same however the topics
    that the events travel on are interleaved, and whatever comes again. If the chain goes another way after that, its
    blocks are taken back: signals that were published for them are void, as their branch says.

    It never fails on what it is told: a state or a description that no pool can have is refused, counted under
    its cause and reported, and that pool is left alone until a good one arrives.
    """

    name = "flash_arbitrage"
    settings_type = FlashArbitrageSettings
    publishes = (ArbitrageSignal,)

    def __init__(self, settings: FlashArbitrageSettings, context: ServiceContext) -> None:
        super().__init__(settings, context)
        self._blocks = Blocks(settings.max_waiting)
        self._engine = Engine(settings)
        self._signals: deque[ArbitrageSignal] = deque()

    def statistics(self) -> EngineStatistics:
        """What the engine has counted so far."""
        return self._engine.statistics()

    @handles(PoolMetadata)
    async def on_metadata(self, event: PoolMetadata) -> None:
        """Take in a pool."""
        self._leave_out("pool_metadata", self._blocks.describe(event))
        await self._work()

    @handles(PoolSync)
    async def on_sync(self, event: PoolSync) -> None:
        """Take in a pool's state."""
        self._leave_out("market_event", self._blocks.add(event))
        await self._work()

    @handles(SwapEvent)
    async def on_swap(self, event: SwapEvent) -> None:
        """Take in a trade."""
        self._leave_out("market_event", self._blocks.add(event))
        await self._work()

    @handles(BlockClosed)
    async def on_block_closed(self, event: BlockClosed) -> None:
        """Take in how much a block has."""
        self._leave_out("block", self._blocks.close(event))
        await self._work()

    @handles(BlockRetracted)
    async def on_block_retracted(self, event: BlockRetracted) -> None:
        """Take in that the chain goes another way."""
        cause = self._blocks.retract(event)
        self._leave_out("retraction", cause)
        if cause is None:
            self.intake("retraction").accept()
        await self._work()

    async def stop(self) -> None:
        """Work through what has not become whole, and leave the counters in the log."""
        await self._work(anyway=True)
        self.log.info("statistics", **asdict(self.statistics()))

    def _leave_out(self, intake: str, cause: str | None, number: int = 1) -> None:
        if cause is not None and number:
            self.intake(intake).ignore(cause, number)

    async def _work(self, *, anyway: bool = False) -> None:
        """Work through the blocks whose turn it is. Called again after a failure, it goes on where it was."""
        while True:
            while self._signals:
                await self.publish(self._signals[0])
                self._signals.popleft()
            match self._blocks.take(anyway=anyway):
                case None:
                    return
                case Block() as block:
                    self._work_through(block)
                case TakeBack(number):
                    self._engine.take_back(number)
                case LeftOut(cause, events, closings):
                    self._leave_out("market_event", cause, events)
                    self._leave_out("block", cause, closings)

    def _work_through(self, block: Block) -> None:
        if block.missing is None:
            self.intake("block").accept()
        else:
            self.intake("block").refuse(
                "incomplete_block", f"block {block.number}", f"worked through without {block.missing}"
            )
        for pool in block.pools:
            self._engine.on_metadata(pool)
        self._book("pool_metadata", len(block.pools))
        for event in block.events:
            if isinstance(event, SwapEvent):
                self._signals.extend(self._engine.on_swap(event))
            else:
                self._engine.on_sync(event)
        self._book("market_event", len(block.events))

    def _book(self, intake: str, number: int) -> None:
        refusals = self._engine.take_refusals()
        for refusal in refusals:
            self.intake(intake).refuse(*refusal)
        if number > len(refusals):
            self.intake(intake).accept(number - len(refusals))
