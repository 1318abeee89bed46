"""Everything between the settings and a chain: endpoints, heads, what is watched, and where descriptions are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

import aiohttp

from adapters.polygon.live.cache import RedisStore, SqliteStore, StoreCache
from adapters.polygon.live.calls import Caller
from adapters.polygon.live.chain import LiveChain
from adapters.polygon.live.discovery import Discovery, Filter
from adapters.polygon.live.endpoint import Endpoint
from adapters.polygon.live.endpoints import Endpoints
from adapters.polygon.live.facts import Unfit, Venue
from adapters.polygon.live.heads import Heads
from adapters.polygon.live.settings import LiveSettings
from adapters.polygon.live.watch import PoolWatch
from adapters.polygon.pools import PoolBook
from contracts.market import PoolMetadata
from contracts.values import Address
from mycelium.core.clock import Clock
from mycelium.core.errors import ConfigError, Problem


class Connection:
    """A chain, as the settings say how to reach it. An async context manager.

    Args:
        settings: what to follow.
        chain_id: the EIP-155 number that the chain must have.
        book: takes the pools.
        known: pools that are known from before, and keep their names.
        refuse: counts a pool that is not followed: which, and why.
        clock: for pauses of the cache.
        time: seconds, of a clock that only goes on.
    """

    def __init__(
        self,
        settings: LiveSettings,
        chain_id: int,
        book: PoolBook,
        known: Iterable[PoolMetadata],
        refuse: Callable[[Address, Unfit], None],
        clock: Clock,
        time: Callable[[], float],
    ) -> None:
        self._chain_id = chain_id
        self._session = aiohttp.ClientSession()
        self.endpoints = Endpoints(
            [
                Endpoint(
                    entry.label,
                    entry.url.get_secret_value(),
                    None if entry.websocket is None else entry.websocket.get_secret_value(),
                    self._session,
                    settings.answer_seconds,
                )
                for entry in settings.endpoints
            ],
            time,
        )
        """Whom to ask."""
        self.heads = Heads(
            self.endpoints, time, poll_seconds=settings.poll_seconds, stale_seconds=settings.stale_seconds
        )
        """The newest blocks."""
        self.caller = Caller(self.endpoints.ask_patiently)
        """Calls contracts."""
        self._cache = _open_cache(settings, chain_id, clock)
        discovery = Discovery(
            self.caller,
            {venue.factory: Venue(venue.name, venue.protocol, venue.fee_pips) for venue in settings.venues},
            wanted=Filter(tokens=frozenset(settings.filter.tokens) or None, minimum=settings.filter.minimum),
            cache=self._cache,
            known=known,
        )
        factories = [venue.factory for venue in settings.venues if venue.new_pools]
        self.watch = PoolWatch(book, discovery, factories, refuse)
        """Whose logs are wanted."""
        self.chain = LiveChain(self.endpoints, self.watch)
        """Blocks and logs."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all connections."""
        await self._session.close()
        await self._cache.aclose()

    async def check_chain(self) -> None:
        """Whether the endpoints are of the chain that the settings name.

        Raises:
            ConfigError: they are not.
            EndpointError: none of them answers.
        """
        answer = bytes(await self.endpoints.ask_raw("eth_chainId", []))
        if answer.strip().lower() != f'"{self._chain_id:#x}"'.encode():
            found = answer[:40].decode(errors="replace")
            raise ConfigError([Problem("", "chain_id", f"is {self._chain_id}, the endpoints are of chain {found}")])


def _open_cache(settings: LiveSettings, chain_id: int, clock: Clock) -> StoreCache:
    if settings.cache.url is not None:
        return StoreCache(RedisStore(settings.cache.url.get_secret_value(), chain_id), clock)
    path = settings.cache.file or settings.state.with_name("pools.sqlite")
    return StoreCache(SqliteStore(path, chain_id), clock)
