"""The service that shows the system in a browser. It only listens: what it shows, it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.dashboard.picture import Picture
from adapters.dashboard.settings import DashboardSettings
from adapters.dashboard.wiring import wiring_of
from contracts.market import BlockClosed, PoolMetadata
from contracts.signals import ArbitrageSignal
from mycelium.core.errors import ConfigError, Problem
from mycelium.core.policy import QueuePolicy
from mycelium.observe.redaction import register_secret
from mycelium.observe.statistics import ProcessStatistics
from mycelium.observe.token import read_token
from mycelium.service import Service, handles
from mycelium.service.service import ServiceContext
from mycelium.spec.model import load_spec
from mycelium.topology.hosts import is_loopback

if TYPE_CHECKING:
    from adapters.dashboard.web import Clients
    from mycelium.observe.http_guard import Guard

MAX_STATISTICS = 256
"""Messages that may wait here. Chosen by us: several seconds of any system that fits a page."""
MAX_WAITING = 16_384
"""Signals, and blocks, that may wait. Chosen by us: a replay at full speed leaves little time in between."""


@dataclass(frozen=True)
class DashboardStatistics:
    """What the dashboard says of itself.

    Args:
        clients: browsers that are told what changes.
        clients_refused: how many were one too many.
        requests_refused: by cause.
    """

    clients: int
    clients_refused: int
    requests_refused: Mapping[str, int]


class Dashboard(Service[DashboardSettings]):
    """Shows the system. No handler makes a publisher wait: what it cannot take in time, it does not show.

    Descriptions of pools are the exception: they are few, come once, and amounts cannot be written without them.
    """

    name = "dashboard"
    settings_type = DashboardSettings
    publishes = ()

    def __init__(self, settings: DashboardSettings, context: ServiceContext) -> None:
        super().__init__(settings, context)
        self._serving = AsyncExitStack()
        self._picture: Picture | None = None
        self._clients: Clients | None = None
        self._guard: Guard | None = None

    async def start(self) -> None:
        """Serve, if there is a port to do it at.

        Raises:
            ConfigError: the spec, or the file with the token, cannot be used.
            PathError: the address cannot be bound.
        """
        if self.settings.port is None:
            return
        # Here, so that a dashboard that serves nothing needs no memory for it.
        from adapters.dashboard.web import Clients, application, page_files
        from mycelium.observe.http_guard import Guard
        from mycelium.observe.http_server import HttpServer

        time_ns, host = self.clock.time_ns, self.settings.host
        spec = await asyncio.to_thread(load_spec, self.settings.system)
        token = None
        if self.settings.token_file is not None:
            token = await asyncio.to_thread(_token_in, self.settings.token_file)
            register_secret(token)
        self._picture = Picture(wiring_of(spec), time_ns())
        self._clients = Clients(self._picture, time_ns)
        app = application(await asyncio.to_thread(page_files), self._picture, self._clients, time_ns)
        self._guard = Guard(app, token=token, public=(), loopback=is_loopback(host), time_ns=time_ns)
        server = HttpServer(self._guard, host, self.settings.port, time_ns=time_ns)
        await self._serving.enter_async_context(server.serving())
        self.log.info("the dashboard is served", address=server.address)

    async def stop(self) -> None:
        """End every answer, and serve no more."""
        if self._clients is not None:
            self._clients.close()
        await self._serving.aclose()

    def statistics(self) -> DashboardStatistics | None:
        """Who looks at it."""
        if self._clients is None or self._guard is None:
            return None
        return DashboardStatistics(self._clients.number, self._clients.refused, dict(self._guard.refused.counts))

    @handles(ProcessStatistics, policy=QueuePolicy.DROP_OLDEST, capacity=MAX_STATISTICS)
    async def on_statistics(self, said: ProcessStatistics) -> None:
        """A process has told its figures."""
        if self._picture is not None:
            self._picture.take_statistics(said, self.clock.time_ns())

    @handles(BlockClosed, policy=QueuePolicy.DROP_OLDEST, capacity=MAX_WAITING)
    async def on_block(self, block: BlockClosed) -> None:
        """A block is complete."""
        if self._picture is not None:
            self._picture.take_block(block)

    @handles(ArbitrageSignal, policy=QueuePolicy.DROP_OLDEST, capacity=MAX_WAITING)
    async def on_signal(self, signal: ArbitrageSignal) -> None:
        """A signal."""
        if self._picture is not None:
            self._picture.signals.take(signal)

    @handles(PoolMetadata)
    async def on_pool(self, pool: PoolMetadata) -> None:
        """How amounts of its tokens are written."""
        if self._picture is not None:
            self._picture.signals.describe(pool)


def _token_in(path: Path) -> str:
    """The token in a file, by the rules of ``[http]``."""
    key = "services.dashboard.token_file"
    try:
        return read_token(path)
    except OSError as error:
        raise ConfigError([Problem("the topology", key, f"cannot be read: {error.strerror}", str(path))]) from None
    except ValueError as error:
        raise ConfigError([Problem("the topology", key, str(error), str(path))]) from None
