"""The strategy as a service: hands the bus's events to the engine and its signals to the bus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from contracts.market import PoolMetadata, PoolSync, SwapEvent
from contracts.signals import ArbitrageSignal
from mycelium.service import Service, ServiceContext, handles
from strategies.flash_arbitrage.engine import Engine
from strategies.flash_arbitrage.settings import FlashArbitrageSettings
from strategies.flash_arbitrage.statistics import EngineStatistics


class FlashArbitrage(Service[FlashArbitrageSettings]):
    """Publishes an :class:`ArbitrageSignal` for each profitable cycle that a swap has opened.

    It never fails on what it is told: a state or a description that no pool can have is refused, counted under
    its cause and reported, and that pool is left alone until a good one arrives.
    """

    name = "flash_arbitrage"
    settings_type = FlashArbitrageSettings
    publishes = (ArbitrageSignal,)

    def __init__(self, settings: FlashArbitrageSettings, context: ServiceContext) -> None:
        super().__init__(settings, context)
        self._engine = Engine(settings)

    def statistics(self) -> EngineStatistics:
        """What the engine has counted so far."""
        return self._engine.statistics()

    @handles(PoolMetadata)
    async def on_metadata(self, event: PoolMetadata) -> None:
        """Take in a pool."""
        await self._take_in("pool_metadata", self._engine.on_metadata(event))

    @handles(PoolSync)
    async def on_sync(self, event: PoolSync) -> None:
        """Take over a pool's state."""
        await self._take_in("pool_state", self._engine.on_sync(event))

    @handles(SwapEvent)
    async def on_swap(self, event: SwapEvent) -> None:
        """Look for profit."""
        for signal in self._engine.on_swap(event):
            await self.publish(signal)

    async def stop(self) -> None:
        """Leave the counters in the log."""
        self.log.info("statistics", **asdict(self.statistics()))

    async def _take_in(self, intake: str, signals: Iterable[ArbitrageSignal]) -> None:
        refusals = self._engine.take_refusals()
        for refusal in refusals:
            self.intake(intake).refuse(*refusal)
        if not refusals:
            self.intake(intake).accept()
        for signal in signals:
            await self.publish(signal)
