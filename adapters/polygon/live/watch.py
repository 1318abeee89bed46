"""Whose logs are wanted: the pools that are followed, and the factories that create more of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from adapters.polygon.live.answers import EndpointError
from adapters.polygon.live.discovery import Discovery, created
from adapters.polygon.live.facts import Unfit
from adapters.polygon.live.follow import ChainError
from adapters.polygon.logs import Log
from adapters.polygon.pools import PoolBook
from contracts.market import PoolMetadata
from contracts.values import Address


class PoolWatch:
    """Takes pools into the book, and newly created ones as soon as their creation is seen.

    Args:
        book: the pools that are followed.
        discovery: says what pools are.
        factories: those whose new pools are followed.
        refuse: counts a pool that is not followed: which, and why.
    """

    def __init__(
        self,
        book: PoolBook,
        discovery: Discovery,
        factories: Iterable[Address],
        refuse: Callable[[Address, Unfit], None],
    ) -> None:
        self._book = book
        self._discovery = discovery
        self._factories = frozenset(factories)
        self._refuse = refuse
        self._addresses: tuple[Address, ...] = ()
        self._unfit: set[Address] = set()
        self._new: list[PoolMetadata] = []

    @property
    def addresses(self) -> Collection[Address]:
        """Pools and factories."""
        if len(self._addresses) != len(self._book.addresses) + len(self._factories):
            self._addresses = (*self._book.addresses, *self._factories)
        return self._addresses

    async def learn(self, logs: Sequence[Log]) -> bool:
        """Follow the pools whose creation these logs tell of; whether there are more than before.

        Raises:
            ChainError: nobody can say what they are.
        """
        found = [pool for log in logs if log.address in self._factories and (pool := created(log)) is not None]
        return bool(found) and await self.follow(found)

    def take_no_more(self) -> None:
        """From now on the pools are those that there are."""
        self._factories = frozenset()

    async def follow(self, pools: Iterable[Address], block: bytes | None = None) -> bool:
        """Follow these pools, those of them that can be and are wanted; whether there are more than before.

        Args:
            pools: their addresses.
            block: hash of the block at which to look at them; None for the newest.

        Raises:
            ChainError: nobody can say what they are.
        """
        asked = [pool for pool in pools if pool not in self._book.addresses and pool not in self._unfit]
        if not asked:
            return False
        try:
            described = await self._discovery.describe(asked, block)
        except EndpointError as error:
            raise ChainError(f"what pools {', '.join(map(str, asked[:3]))} are: {error}") from None
        for pool, unfit in described.unfit.items():
            self._unfit.add(pool)
            self._refuse(pool, unfit)
        for metadata in described.pools.values():
            self._book.add(metadata)
            self._new.append(metadata)
        return bool(described.pools)

    def take_new(self) -> list[PoolMetadata]:
        """Those that are followed since the last call."""
        new, self._new = self._new, []
        return new
