"""Remembers what never changes about pools, so that a start need not ask the chain again.

A cache is a convenience. One that is down, full or holds garbage costs questions to the chain and nothing else: its
errors are counted, logged once per outage, and it is left alone for a while after one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adapters.polygon.live.facts import PoolFacts
from contracts.values import Address
from mycelium.core.clock import Clock
from mycelium.core.errors import MyceliumError
from mycelium.core.message import WireValue

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("pool_cache")

FORMAT = 1
"""Part of every key: a program that stores another form does not meet this one."""

PAUSE_SECONDS = 10.0
"""How long a cache is left alone after an error. Chosen by us: a cache that hangs costs a second, not every time."""
STORE_SECONDS = 1.0
"""How long a store may take to answer. Chosen by us: the chain answers in less."""
CHUNK = 500
"""Keys in one question: fewer than SQLite's 999 variables."""

_NS = 1_000_000_000


class StoreError(MyceliumError):
    """A store did not do what it was asked."""


class Store(Protocol):
    """Keeps bytes by address."""

    async def get(self, addresses: Sequence[Address]) -> dict[Address, bytes]:
        """What is stored for addresses.

        Raises:
            StoreError: it cannot say.
        """
        ...

    async def put(self, values: Mapping[Address, bytes]) -> None:
        """Store values for good.

        Raises:
            StoreError: it cannot.
        """
        ...

    async def aclose(self) -> None:
        """Give up what is open."""
        ...


class MetadataCache(Protocol):
    """Remembers facts about pools; never fails."""

    async def get_many(self, addresses: Sequence[Address]) -> dict[Address, PoolFacts]:
        """What is remembered of these pools: all, some or nothing."""
        ...

    async def put_many(self, facts: Iterable[PoolFacts]) -> None:
        """Remember facts, if possible."""
        ...


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a cache has done.

    Args:
        hits: pools that it knew.
        misses: pools that it did not know.
        garbage: stored values that are no facts.
        errors: times that its store failed.
        skipped: questions that were not put to it, since it had failed just before.
    """

    hits: int = 0
    misses: int = 0
    garbage: int = 0
    errors: int = 0
    skipped: int = 0


class StoreCache:
    """A cache over a store. Nothing here raises but a programming error.

    Args:
        store: keeps the values.
        clock: for the pause after an error.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._statistics = CacheStatistics()
        self._resume_ns = 0
        self._down = False

    def statistics(self) -> CacheStatistics:
        """What it has done so far."""
        return self._statistics

    async def get_many(self, addresses: Sequence[Address]) -> dict[Address, PoolFacts]:
        """See :class:`MetadataCache`."""
        if not addresses or self._paused():
            return {}
        try:
            values = await self._store.get(addresses)
        except StoreError as error:
            self._failed(error)
            return {}
        self._worked()
        found = {address: facts for address, value in values.items() if (facts := self._facts(address, value))}
        self._count(hits=len(found), misses=len(set(addresses)) - len(found))
        return found

    async def put_many(self, facts: Iterable[PoolFacts]) -> None:
        """See :class:`MetadataCache`."""
        values = {one.pool: _encoder.encode(one) for one in facts}
        if not values or self._paused():
            return
        try:
            await self._store.put(values)
        except StoreError as error:
            self._failed(error)
        else:
            self._worked()

    async def aclose(self) -> None:
        """Close the store."""
        try:
            await self._store.aclose()
        except StoreError as error:
            self._failed(error)

    def _facts(self, address: Address, value: bytes) -> PoolFacts | None:
        try:
            facts = _decoder.decode(value)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            problem: str | None = str(error)
        else:
            problem = facts.problem() if facts.pool == address else f"these are facts of {facts.pool}"
            if problem is None:
                return facts
        self._count(garbage=1)
        if self._statistics.garbage == 1:
            log.warning("the cache of pools holds garbage; the chain is asked", pool=str(address), problem=problem)
        return None

    def _paused(self) -> bool:
        if self._clock.time_ns() >= self._resume_ns:
            return False
        self._count(skipped=1)
        return True

    def _failed(self, error: StoreError) -> None:
        self._count(errors=1)
        self._resume_ns = self._clock.time_ns() + int(PAUSE_SECONDS * _NS)
        if not self._down:
            self._down = True
            log.warning("the cache of pools does not work; the chain is asked", error=str(error))

    def _worked(self) -> None:
        if self._down:
            self._down = False
            log.info("the cache of pools works again")

    def _count(self, **more: int) -> None:
        now = self._statistics
        self._statistics = replace(now, **{name: getattr(now, name) + number for name, number in more.items()})


def _encode_hook(value: Any) -> bytes:
    assert isinstance(value, WireValue)
    return value.to_wire()


def _decode_hook(kind: type, value: Any) -> Any:
    if not issubclass(kind, WireValue) or not isinstance(value, bytes):
        raise TypeError(f"expected bytes for {kind.__name__}, found {type(value).__name__}")
    return kind.from_wire(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
_decoder = msgspec.msgpack.Decoder(PoolFacts, dec_hook=_decode_hook)


class SqliteStore:
    """A store in a SQLite file, which several processes may use at a time.

    Args:
        path: the file; made if it is missing. A file that is no SQLite database is left as it is.
        chain_id: EIP-155 number of the chain.
    """

    def __init__(self, path: Path, chain_id: int) -> None:
        self._path = path
        self._chain_id = chain_id
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()  # a thread goes on when who waits for it is cancelled

    async def get(self, addresses: Sequence[Address]) -> dict[Address, bytes]:
        """See :class:`Store`."""
        found: dict[Address, bytes] = await asyncio.to_thread(self._try, self._select, list(addresses))
        return found

    async def put(self, values: Mapping[Address, bytes]) -> None:
        """See :class:`Store`."""
        await asyncio.to_thread(self._try, self._insert, dict(values))

    async def aclose(self) -> None:
        """See :class:`Store`."""
        await asyncio.to_thread(self._end)

    def _try(self, work: Callable[[sqlite3.Connection, Any], Any], argument: Any) -> Any:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                return work(self._connection, argument)
            except (sqlite3.Error, OSError, ValueError) as error:
                self._close()  # the file may be another one next time
                raise StoreError(f"{self._path}: {error}") from None

    def _end(self) -> None:
        with self._lock:
            self._close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=STORE_SECONDS, check_same_thread=False)
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS pools (chain INTEGER, format INTEGER, pool BLOB, facts BLOB,"
                " PRIMARY KEY (chain, format, pool)) WITHOUT ROWID"
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _select(self, connection: sqlite3.Connection, addresses: list[Address]) -> dict[Address, bytes]:
        found: dict[Address, bytes] = {}
        for first in range(0, len(addresses), CHUNK):
            chunk = [bytes(address) for address in addresses[first : first + CHUNK]]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT pool, facts FROM pools WHERE chain = ? AND format = ? AND pool IN ({marks})"  # noqa: S608
            for pool, facts in connection.execute(query, (self._chain_id, FORMAT, *chunk)):
                found[Address(pool)] = facts if isinstance(facts, bytes) else b""
        return found

    def _insert(self, connection: sqlite3.Connection, values: dict[Address, bytes]) -> None:
        rows = [(self._chain_id, FORMAT, bytes(address), facts) for address, facts in values.items()]
        with connection:  # one transaction
            connection.executemany("INSERT OR REPLACE INTO pools VALUES (?, ?, ?, ?)", rows)


class RedisStore:
    """A store in a Redis server, for adapters on several hosts. Keys never expire.

    Args:
        url: such as ``redis://127.0.0.1:6379/0``.
        chain_id: EIP-155 number of the chain.
        prefix: of all keys, for a server that others use too.

    Raises:
        ValueError: the URL is none of Redis.
    """

    def __init__(self, url: str, chain_id: int, prefix: str = "mycelium") -> None:
        # Without a pause and once: what else the client would do takes longer than asking the chain. The one time is
        # for a connection that the server has closed meanwhile.
        self._redis: Any = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=STORE_SECONDS,
            socket_connect_timeout=STORE_SECONDS,
            retry=Retry(NoBackoff(), 1),
        )
        self._prefix = f"{prefix}:pools:{chain_id}:{FORMAT}:"

    async def get(self, addresses: Sequence[Address]) -> dict[Address, bytes]:
        """See :class:`Store`."""
        found: dict[Address, bytes] = {}
        for first in range(0, len(addresses), CHUNK):
            chunk = addresses[first : first + CHUNK]
            values = await self._do(self._redis.mget, [self._key(address) for address in chunk])
            if not isinstance(values, list) or len(values) != len(chunk):
                raise StoreError(f"redis: {len(chunk)} keys were asked for, it answers something else")
            # A key that holds another thing than a text comes as if it were missing.
            found |= {address: value for address, value in zip(chunk, values, strict=True) if isinstance(value, bytes)}
        return found

    async def put(self, values: Mapping[Address, bytes]) -> None:
        """See :class:`Store`."""
        pairs = list(values.items())
        for first in range(0, len(pairs), CHUNK):
            chunk = pairs[first : first + CHUNK]
            await self._do(self._redis.mset, {self._key(address): value for address, value in chunk})

    async def aclose(self) -> None:
        """See :class:`Store`."""
        try:
            await self._redis.aclose()
        except (RedisError, OSError) as error:
            raise StoreError(f"redis: {error}") from None

    def _key(self, address: Address) -> str:
        return self._prefix + address.hex()

    async def _do(self, command: Callable[[Any], Awaitable[Any]], argument: Any) -> Any:
        try:
            # The client's limits are per read: a server that sends a byte now and then would take for ever.
            async with asyncio.timeout(2 * STORE_SECONDS):
                return await command(argument)
        except Exception as error:  # noqa: BLE001 - what is not Redis makes the client's parser fail in any way
            raise StoreError(f"redis: {type(error).__name__}: {error}") from None
