"""A chain as several endpoints tell it: what the follower asks, with each answer held against what is known."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from time import monotonic_ns
from typing import Any, Protocol, TypeVar

import msgspec

from adapters.polygon.live.answers import EndpointError, decoded, header_in
from adapters.polygon.live.endpoints import Endpoints, patience
from adapters.polygon.live.follow import ChainError
from adapters.polygon.live.headers import Header, bloom_of, chance_of
from adapters.polygon.live.ranges import Range
from adapters.polygon.logs import Log, MalformedLog, parse_log
from contracts.values import Address

T = TypeVar("T")

RARE = 0.05
"""A filter that says "maybe" by chance seldom enough to be taken at its word. Chosen by us; the filters of a busy
chain are so full that they say it nearly always, and mean nothing."""

TIMES_ALONE = 4
"""How often one endpoint must say that a block has no logs of ours, where no other one answers."""

AT_ONCE = 16
"""Headers asked for at the same time when blocks are read in ranges."""


class Watch(Protocol):
    """Whose logs are wanted. There are more by and by: contracts that are created."""

    @property
    def addresses(self) -> Collection[Address]:
        """The contracts."""
        ...

    async def learn(self, logs: Sequence[Log]) -> bool:
        """Look for contracts that these logs tell of; whether there are more than before.

        Raises:
            ChainError: nobody can say what they are.
        """
        ...


class LiveChain:
    """Asks endpoints.

    Args:
        endpoints: whom.
        watch: whose logs are wanted.
    """

    def __init__(self, endpoints: Endpoints, watch: Watch) -> None:
        self._endpoints = endpoints
        self._watch = watch
        self._range = Range()
        self._headers = asyncio.Semaphore(AT_ONCE)
        self.announced: frozenset[str] = frozenset()
        """Who has told of the head: asked last for its logs, so that where there are several, two agree."""
        self._empty: tuple[bytes, Counter[str]] = (b"", Counter())  # of the block asked for last: who said so how often
        self.backfilled: int = 0
        """Blocks that were read in ranges."""
        self.waited_ns: int = 0
        """Nanoseconds that were waited for answers about single blocks."""

    async def header(self, block_hash: bytes) -> Header:
        """See :class:`~adapters.polygon.live.follow.Chain`."""
        wanted = "0x" + block_hash.hex()

        def read(raw: msgspec.Raw) -> Header:
            header = _header(raw)
            if header.hash != block_hash:
                raise EndpointError("malformed", f"block {wanted} was asked for, 0x{header.hash.hex()} came")
            return header

        return await self._ask("eth_getBlockByHash", [wanted, False], read)

    async def header_at(self, number: int) -> Header:
        """See :class:`~adapters.polygon.live.follow.Chain`."""

        def read(raw: msgspec.Raw) -> Header:
            header = _header(raw)
            if header.number != number:
                raise EndpointError("malformed", f"block {number} was asked for, {header.number} came")
            return header

        return await self._ask("eth_getBlockByNumber", [hex(number), False], read)

    async def newest(self) -> Header:
        """The newest block that the best endpoint tells of.

        Raises:
            ChainError: no endpoint answers.
        """
        return await self._ask("eth_getBlockByNumber", ["latest", False], _header)

    async def logs_of(self, header: Header) -> Sequence[Log]:
        """See :class:`~adapters.polygon.live.follow.Chain`. The header's filter says whether there may be some."""
        while True:
            logs = await self._logs_of(header)
            if not await self._watch.learn(logs):
                return logs

    async def _logs_of(self, header: Header) -> Sequence[Log]:
        addresses = self._watch.addresses
        if not header.may_have(addresses):
            return ()

        def read(raw: msgspec.Raw) -> list[Log]:
            logs = _logs(raw, header.timestamp)
            for log in logs:
                if log.block != header.number or log.removed:
                    raise EndpointError("malformed", f"block {header.number} came with a log of block {log.block}")
            return logs

        query = {"blockHash": "0x" + header.hash.hex(), "address": _texts(addresses)}
        without: list[str] = []
        while True:
            name, logs = await self._ask_named("eth_getLogs", [query], read, last=self.announced, without=without)
            if logs or not header.bloom:
                return logs
            # The filter may have one of our contracts, and no log came. Where that would be a rare chance, the logs
            # are not indexed yet, or withheld: what the whole block has decides.
            if chance_of(header.bloom, len(addresses)) < RARE:
                proven = await self._proven_logs_of(header)
                if proven is not None:
                    wanted = frozenset(addresses)
                    return [log for log in proven if log.address in wanted]
            # Else, or where nobody can show the whole block, another endpoint decides. If there is none that answers,
            # the one must say it several times, between which whoever follows the chain pauses.
            if len(self._endpoints.endpoints) == 1 or self._has_said_it_often(header.hash, name):
                return logs
            without.append(name)

    async def _proven_logs_of(self, header: Header) -> list[Log] | None:
        """All logs of a block, which lead to the filter in its header; None if no endpoint gives out whole blocks."""

        def read(raw: msgspec.Raw) -> list[Log]:
            receipts = decoded(raw)
            if receipts is None:
                raise EndpointError("unknown_block", "it does not have the block's receipts")
            if not isinstance(receipts, list):
                raise EndpointError("malformed", f"expected a list of receipts, found {type(receipts).__name__}")
            found: list[Any] = []
            for one in receipts:
                part = one.get("logs") if isinstance(one, dict) else None
                if not isinstance(part, list):
                    raise EndpointError("malformed", f"block {header.number} came with a receipt without logs")
                found += part
            logs = _parsed(found, header.timestamp)
            if bloom_of(logs) != header.bloom:
                raise EndpointError(
                    "malformed", f"the receipts of block {header.number} do not fit its header's filter"
                )
            return logs

        try:
            return await self._ask("eth_getBlockReceipts", ["0x" + header.hash.hex()], read)
        except ChainError as error:
            if error.is_refused:
                return None
            raise

    async def blocks_between(self, first: int, last: int) -> Sequence[tuple[Header, Sequence[Log]]]:
        """See :class:`~adapters.polygon.live.follow.Chain`. One question, of as many blocks as endpoints take."""
        logs: dict[int, list[Log]] = defaultdict(list)
        at = first
        while at <= last:
            end, found = await _patiently(self._ranged, at, last, self._watch.addresses)
            if await self._watch.learn(found):
                continue  # once more, for what the new ones have logged
            for log in found:
                logs[log.block].append(log)
            self.backfilled += end - at + 1
            at = end + 1
        numbers = sorted({*logs, last})
        headers = await asyncio.gather(*(self._header_soon(number) for number in numbers))
        # By number, both may be of different branches: then another try finds what is right.
        return [(header, [_stamped(log, header.timestamp) for log in logs[header.number]]) for header in headers]

    async def learn_between(self, first: int, last: int, factories: Collection[Address]) -> None:
        """Learn what these contracts have created in some blocks, both included.

        Raises:
            ChainError: no endpoint says it.
        """
        at = first
        while at <= last:
            end, found = await _patiently(self._ranged, at, last, factories)
            await self._watch.learn(found)
            at = end + 1

    async def _ranged(self, first: int, last: int, addresses: Collection[Address]) -> tuple[int, list[Log]]:
        """The logs from a block on, and up to which one: as many as endpoints give out at once."""
        while True:
            begin, end = self._range.next(first, last)
            query = {"fromBlock": hex(begin), "toBlock": hex(end), "address": _texts(addresses)}

            def read(raw: msgspec.Raw, begin: int = begin, end: int = end) -> list[Log]:
                found = _logs(raw, 0)
                for log in found:
                    if not begin <= log.block <= end:
                        raise EndpointError("malformed", f"blocks {begin} to {end} came with one of block {log.block}")
                return found

            what = f"blocks {begin} to {end}"
            try:
                name, found = await self._endpoints.ask_named("eth_getLogs", [query], read)
            except EndpointError as error:
                if error.cause in ("too_large", "timeout") and self._range.refused():
                    continue
                raise _chain_error(what, error) from None
            self._range.answered()
            if len(self._endpoints.endpoints) > 1:
                await self._agreed(what, query, read, name, found)
            return end, found

    async def _agreed(
        self, what: str, query: dict[str, Any], read: Callable[[msgspec.Raw], list[Log]], name: str, found: list[Log]
    ) -> None:
        """What is missing in a range is seen nowhere else: another endpoint must say the same.

        Raises:
            ChainError: none does.
        """
        others: list[str] = []
        while True:
            try:
                other, again = await self._endpoints.ask_named("eth_getLogs", [query], read, without=[name, *others])
            except EndpointError as error:
                if others:
                    # It is alone with it: asked for it again, another one is the first.
                    self._endpoints.failed(name, EndpointError("disagrees", what))
                    raise ChainError(f"{what}: endpoints do not agree", is_passing=True) from None
                if not found and not self._has_said_it_often(what.encode(), name):
                    raise _chain_error(what, error) from None
                return
            if [*map(_place, again)] == [*map(_place, found)]:
                return
            others.append(other)

    def _has_said_it_often(self, what: bytes, name: str) -> bool:
        """Count that an endpoint says that there is nothing; whether others do, or it has said so often enough."""
        if self._empty[0] != what:
            self._empty = (what, Counter())
        said = self._empty[1]
        said[name] += 1
        return len(said) > 1 or said.total() >= TIMES_ALONE

    async def _header_soon(self, number: int) -> Header:
        async with self._headers:
            return await _patiently(self.header_at, number)

    async def _ask(self, method: str, params: list[Any], read: Callable[[msgspec.Raw], T]) -> T:
        return (await self._ask_named(method, params, read))[1]

    async def _ask_named(
        self,
        method: str,
        params: list[Any],
        read: Callable[[msgspec.Raw], T],
        *,
        last: Collection[str] = (),
        without: Collection[str] = (),
    ) -> tuple[str, T]:
        asked = monotonic_ns()
        try:
            return await self._endpoints.ask_named(method, params, read, last=last, without=without)
        except EndpointError as error:
            raise _chain_error(f"{method} {str(params[0])[:90]}", error) from None
        finally:
            self.waited_ns += monotonic_ns() - asked


_patiently = patience.on(lambda error: isinstance(error, ChainError) and error.is_passing)


def _chain_error(what: str, error: EndpointError) -> ChainError:
    return ChainError(f"{what}: {error}", is_passing=error.is_passing, is_refused=error.cause == "refused")


def _texts(addresses: Collection[Address]) -> list[str]:
    return [*map(_text, addresses)]


_text = lru_cache(maxsize=1 << 16)(str)
"""They are the same for every block."""


def _header(raw: msgspec.Raw) -> Header:
    block = decoded(raw)
    if block is None:
        raise EndpointError("unknown_block", "it does not have the block")
    return header_in(block)


def _logs(raw: msgspec.Raw, timestamp: int) -> list[Log]:
    found = decoded(raw)
    if not isinstance(found, list):
        raise EndpointError("malformed", f"expected a list of logs, found {type(found).__name__}")
    return _parsed(found, timestamp)


def _parsed(found: list[Any], timestamp: int) -> list[Log]:
    try:
        logs = [parse_log(one) for one in found]
    except MalformedLog as error:
        raise EndpointError("malformed", error.reason) from None
    return [_stamped(log, timestamp) for log in logs]


def _place(log: Log) -> tuple[int, int, bytes]:
    return log.block, log.log_index, log.transaction


def _stamped(log: Log, timestamp: int) -> Log:
    """Not every node says the block's time with its logs."""
    return log if log.timestamp or not timestamp else msgspec.structs.replace(log, timestamp=timestamp)
