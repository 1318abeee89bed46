"""The source service: publishes what happens in the pools of a chain, as it happens or as it was recorded."""

from __future__ import annotations

from adapters.polygon.live.source import LiveSource, LiveStatistics
from adapters.polygon.recorded import RecordedSource
from adapters.polygon.settings import PolygonSettings
from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, SwapEvent
from mycelium.service import Service, ServiceContext


class PolygonAdapter(Service[PolygonSettings]):
    """Publishes pools, their states and their trades, block by block.

    From a recording (:class:`~adapters.polygon.recorded.RecordedSource`), with which it ends, or from a chain
    (:class:`~adapters.polygon.live.source.LiveSource`), which it follows until it is asked to stop.
    """

    name = "polygon_adapter"
    settings_type = PolygonSettings
    publishes = (PoolMetadata, PoolSync, SwapEvent, BlockClosed, BlockRetracted)

    def __init__(self, settings: PolygonSettings, context: ServiceContext) -> None:
        super().__init__(settings, context)
        if settings.live is None:
            self.source: RecordedSource | LiveSource = RecordedSource(self, settings)
        else:
            self.source = LiveSource(self, settings.live, settings.chain_id)

    @property
    def waits_for(self) -> str | None:
        """The newest block, if it follows a chain and is behind."""
        return self.source.waits_for

    def statistics(self) -> LiveStatistics | None:
        """What a source that follows a chain has done so far."""
        return self.source.statistics() if isinstance(self.source, LiveSource) else None

    async def start(self) -> None:
        """Open the source.

        Raises:
            ConfigError: it cannot be used as configured.
        """
        await self.source.start()

    async def run(self) -> None:
        """Publish what the source says."""
        await self.source.run()

    async def stop(self) -> None:
        """Close the source."""
        await self.source.stop()
