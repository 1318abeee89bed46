"""Asks contracts many things at once: through Multicall3 where a chain has it, else one by one.

Multicall3 makes many calls in one ``eth_call`` and says of each whether it failed. It gives no call a gas limit of its
own, so a contract that burns all that there is lets those behind it fail as well, and one that returns very much lets
the whole batch fail. Contracts here are anybody's. So what fails in a batch is asked again alone, and a batch that
fails is halved: what one contract does changes no other's answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from adapters.polygon.decode import words
from adapters.polygon.keccak import keccak256
from adapters.polygon.live.answers import EndpointError, decoded
from adapters.polygon.logs import MalformedLog, parse_bytes
from contracts.values import Address

Ask: TypeAlias = Callable[[str, list[Any]], Awaitable[msgspec.Raw]]
"""Asks a node: method and parameters. Raises EndpointError, of the cause ``refused`` when a call reverts."""

MULTICALL3 = Address("0xca11bde05977b3631167028862be2a173976ca11")
"""Where Multicall3 is on every chain that has it."""

BATCH = 100
"""Calls in one. Chosen by us: some 3 million gas and 20 kB for what is asked here, below what any endpoint limits."""
CONCURRENT = 8
"""Questions under way at once. Chosen by us: public endpoints take some ten in a second."""

CALL_GAS = 5_000_000
"""For one call. Chosen by us: what is asked here takes up to 100,000, through proxies; an endless loop ends soon."""
BATCH_GAS = 30_000_000
"""For a batch. Chosen by us: a block's worth, and less than the 50 million that nodes allow a call by default."""

MAX_RETURNED = 32 * 1024
"""Bytes that one call may return. Chosen by us: a name, an address and some numbers take a few hundred."""
MAX_BATCH_RETURNED = 1024 * 1024
"""Bytes that a batch may return, before they are decoded: an endpoint may answer anything."""

_REVERTED = re.compile(r"revert", re.IGNORECASE)
"""Said of a call that a contract refused. Its own words follow, and may be those of an endpoint in trouble."""

_NOT_TAKEN = re.compile(r"^-326(00|01|02)\b|historical|archive|pruned|state (is )?(not |un)available", re.IGNORECASE)
"""Refused by the endpoint itself: it does not take such questions, by JSON-RPC's codes, or does not have the state."""

_T = TypeVar("_T")


class Call(NamedTuple):
    """A question to a contract.

    Args:
        target: the contract.
        data: selector and arguments.
    """

    target: Address
    data: bytes


def call_data(signature: str, *arguments: Any) -> bytes:
    """Selector and arguments of a function without nested types, such as ``balanceOf(address)``."""
    kinds = [kind for kind in signature[signature.index("(") + 1 : -1].split(",") if kind]
    encoded: bytes = encode(kinds, arguments)
    return keccak256(signature.encode())[:4] + encoded


def values_in(data: bytes | None, *kinds: str) -> tuple[Any, ...] | None:
    """The values that a call returned; None if it failed or these are none. What stands behind them is not looked at.

    Args:
        data: what it returned.
        kinds: ABI types. Text is asked for as ``bytes``: what is no UTF-8 is the caller's to judge.
    """
    if data is None:
        return None
    try:
        # Not strict: old compilers do not fill up the last word of a text.
        return tuple(decode(kinds, data, strict=False))
    except (DecodingError, OverflowError, ValueError):
        return None


def address_in(data: bytes | None) -> Address | None:
    """The address that a call returned; None if it is none, or the zero address."""
    values = values_in(data, "address")
    if values is None:
        return None
    found = Address(values[0])
    return found if any(found) else None


def number_in(data: bytes | None, kind: str = "uint256") -> int | None:
    """The number that a call returned; None if it is none."""
    values = values_in(data, kind)
    return None if values is None else int(values[0])


class Caller:
    """Makes calls of a chain's contracts.

    Args:
        ask: asks a node.
        batch: how many calls to make in one.
        concurrent: how many questions may be under way at once.
    """

    def __init__(self, ask: Ask, *, batch: int = BATCH, concurrent: int = CONCURRENT) -> None:
        if batch < 1 or concurrent < 1:
            raise ValueError(f"batch {batch} and concurrent {concurrent}: both must be at least 1")
        self._ask_node = ask
        self._batch_size = batch
        self._places = asyncio.Semaphore(concurrent)
        self._looking = asyncio.Lock()
        self._has_multicall: bool | None = None

    async def many(self, calls: Iterable[Call], block: bytes | None = None) -> list[bytes | None]:
        """What calls return, in their order; None where one reverts, returns nothing, or very much.

        Args:
            calls: any number.
            block: hash of the block after which they are made; None for the newest.

        Raises:
            EndpointError: no endpoint answered. A contract cannot bring this about.
        """
        asked = list(calls)
        where = "latest" if block is None else {"blockHash": "0x" + block.hex()}  # EIP-1898
        if len(asked) < 2 or self._batch_size < 2 or not await self._multicall():
            return await _together(self._alone(call, where) for call in asked)
        parts = [asked[first : first + self._batch_size] for first in range(0, len(asked), self._batch_size)]
        answers = await _together(self._batch(part, where) for part in parts)
        return [answer for part in answers for answer in part]

    async def _multicall(self) -> bool:
        """Whether the chain has Multicall3; asked once."""
        async with self._looking:
            if self._has_multicall is None:
                try:
                    code = _bytes_of(await self._ask("eth_getCode", [str(MULTICALL3), "latest"]))
                except EndpointError as error:
                    if error.cause != "refused":
                        raise
                    code = b""
                self._has_multicall = bool(code)
            return self._has_multicall

    async def _ask(self, method: str, params: list[Any]) -> msgspec.Raw:
        async with self._places:
            return await self._ask_node(method, params)

    async def _alone(self, call: Call, where: Any) -> bytes | None:
        transaction = {"to": str(call.target), "data": "0x" + call.data.hex(), "gas": hex(CALL_GAS)}
        try:
            data = _bytes_of(await self._ask("eth_call", [transaction, where]))
        except EndpointError as error:
            if not _failed_there(error):
                raise
            return None
        return data if 0 < len(data) <= MAX_RETURNED else None

    async def _batch(self, calls: Sequence[Call], where: Any) -> list[bytes | None]:
        if len(calls) == 1:
            return [await self._alone(calls[0], where)]
        try:
            answers = await self._at_once(calls, where)
        except EndpointError as error:
            if error.cause == "malformed":
                # Nothing that Multicall3 would say: at this block it is not there yet, or another contract is.
                return await _together(self._alone(call, where) for call in calls)
            if not _failed_there(error):
                raise
            middle = len(calls) // 2
            return await self._batch(calls[:middle], where) + await self._batch(calls[middle:], where)
        failed = [place for place, answer in enumerate(answers) if answer is None]
        again = await _together(self._alone(calls[place], where) for place in failed)
        for place, answer in zip(failed, again, strict=True):
            answers[place] = answer
        return answers

    async def _at_once(self, calls: Sequence[Call], where: Any) -> list[bytes | None]:
        encoded = encode(["(address,bool,bytes)[]"], [[(bytes(call.target), True, call.data) for call in calls]])
        data = "0x" + (_AGGREGATE3 + encoded).hex()
        transaction = {"to": str(MULTICALL3), "data": data, "gas": hex(BATCH_GAS)}
        answered = _bytes_of(await self._ask("eth_call", [transaction, where]))
        # Size and number of results are looked at before anything is decoded: they decide how much memory is taken.
        if len(answered) > MAX_BATCH_RETURNED:
            raise EndpointError("too_large", f"{len(calls)} calls return {len(answered)} bytes")
        if answered[:64] != words(32, len(calls)):
            raise EndpointError("malformed", f"{len(answered)} bytes are no answer of Multicall3 to {len(calls)} calls")
        values = values_in(answered, "(bool,bytes)[]")
        if values is None:
            raise EndpointError("malformed", f"{len(answered)} bytes are no answer of Multicall3")
        return [data if success and 0 < len(data) <= MAX_RETURNED else None for success, data in values[0]]


_AGGREGATE3 = keccak256(b"aggregate3((address,bool,bytes)[])")[:4]


def _failed_there(error: EndpointError) -> bool:
    """Whether it was the call that failed, by what contracts did, and not the endpoint."""
    if error.cause == "too_large" or _REVERTED.search(error.reason):
        return True
    return error.cause == "refused" and not _NOT_TAKEN.search(error.reason)


def _bytes_of(raw: msgspec.Raw) -> bytes:
    try:
        return parse_bytes("result", decoded(raw))
    except MalformedLog as error:
        raise EndpointError("malformed", error.reason) from None


async def _together(work: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """All results. When one fails, the others are given up and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return [task.result() for task in tasks]
