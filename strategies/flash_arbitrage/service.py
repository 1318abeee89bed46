"""The strategy as a service: hands the bus's events to the engine and its signals to the bus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from contracts.market import PoolMetadata, PoolSync, SwapEvent
from contracts.signals import ArbitrageSignal
from mycelium.service import Service, ServiceContext, handles
from strategies.flash_arbitrage.engine import Engine, Refusal
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
        signals = self._engine.on_metadata(event)
        self._book("pool_metadata", self._engine.take_refusals())
        await self._publish_all(signals)

    @handles(PoolSync)
    async def on_sync(self, event: PoolSync) -> None:
        """Take over a pool's state."""
        stale = self._engine.stale
        signals = self._engine.on_sync(event)
        if self._engine.stale > stale:
            self.intake("pool_state").ignore("older than the one held")
        else:
            self._book("pool_state", self._engine.take_refusals())
        await self._publish_all(signals)

    @handles(SwapEvent)
    async def on_swap(self, event: SwapEvent) -> None:
        """Look for profit."""
        await self._publish_all(self._engine.on_swap(event))

    async def stop(self) -> None:
        """Leave the counters in the log."""
        self.log.info("statistics", **asdict(self.statistics()))

    def _book(self, intake: str, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            self.intake(intake).refuse(*refusal)
        if not refusals:
            self.intake(intake).accept()

    async def _publish_all(self, signals: Iterable[ArbitrageSignal]) -> None:
        for signal in signals:
            await self.publish(signal)
