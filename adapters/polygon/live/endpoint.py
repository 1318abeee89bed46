"""One JSON-RPC endpoint: questions over HTTP, new heads over WebSocket."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
from circuitbreaker import CircuitBreaker

from adapters.polygon.live.answers import EndpointError, Fault, decoded, fault, header_in, http_fault, result_of
from adapters.polygon.live.headers import Header

MAX_ANSWER = 64 << 20
"""Bytes of one answer. Chosen by us: some 100,000 logs, ten times what endpoints give out at once."""

FAILURES, RECOVERY_SECONDS = 5, 5
"""Failures in a row after which an endpoint is left alone, and for how long. Chosen by us: a restart, not an outage."""

CLOSE_SECONDS = 0.5
"""How long a WebSocket peer may take to say goodbye: one that hangs says nothing."""

_OWN_FAULTS = frozenset({"timeout", "unreachable", "http_status", "malformed", "stale"})
"""Causes that speak against an endpoint. The others are answers: to a question that it may refuse."""

_CONNECTION = (aiohttp.ClientError, OSError)


def _speaks_against_it(_kind: type[BaseException], error: BaseException) -> bool:
    return isinstance(error, EndpointError) and error.cause in _OWN_FAULTS


class Endpoint:
    """An endpoint.

    Args:
        name: as logs and metrics call it: no secrets of its address.
        url: of its HTTP side.
        websocket: of its WebSocket side, None if it has none.
        session: makes the connections; closed by whoever has made it.
        seconds: how long one answer may take.
    """

    def __init__(
        self, name: str, url: str, websocket: str | None, session: aiohttp.ClientSession, seconds: float = 5.0
    ) -> None:
        self.name = name
        self.has_websocket: bool = websocket is not None
        self._url = url
        self._websocket = websocket or ""
        self._session = session
        self._seconds = seconds
        self._ids = itertools.count(1)
        self._breaker = CircuitBreaker(FAILURES, RECOVERY_SECONDS, _speaks_against_it, name)

    @property
    def is_open(self) -> bool:
        """Whether it may be asked: not after failures in a row, until some time has passed."""
        return not self._breaker.opened

    async def ask(self, method: str, params: list[Any]) -> msgspec.Raw:
        """Ask one question.

        Returns:
            The result, not decoded.

        Raises:
            EndpointError: it did not answer, or not with a result.
        """
        with self._breaker:
            return await self._ask(method, params)

    async def _ask(self, method: str, params: list[Any]) -> msgspec.Raw:
        number = next(self._ids)
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._session.post(self._url, data=body, headers={"Content-Type": "application/json"}) as response,
            ):
                if response.status != 200:
                    raise http_fault(response.status, response.headers.get("Retry-After"))
                return result_of(await _whole(response), number)
        except TimeoutError:
            raise EndpointError("timeout", f"{method}: no answer within {self._seconds:g} s") from None
        except _CONNECTION as error:
            raise EndpointError("unreachable", f"{method}: {_told(error)}") from None

    async def heads(self, stale_seconds: float) -> AsyncIterator[Header]:
        """New heads, as the endpoint tells of them, until it fails.

        Args:
            stale_seconds: after so long without one, it is held to be dead.

        Raises:
            EndpointError: the connection broke, or nothing came.
        """
        with self._breaker:
            try:
                async with asyncio.timeout(self._seconds):
                    connection = await self._session.ws_connect(
                        self._websocket,
                        max_msg_size=MAX_ANSWER,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                    )
                try:
                    await connection.send_bytes(_SUBSCRIBE, compress=None)
                    subscription = await self._receive(connection, self._seconds)
                    if not isinstance(subscription, str):
                        raise EndpointError("malformed", f"a subscription is a string, found {subscription!r:.80}")
                    while True:
                        yield header_in(await self._receive(connection, stale_seconds))
                finally:
                    await connection.close()
            except TimeoutError:
                raise EndpointError("timeout", "no WebSocket connection in time") from None
            except _CONNECTION as error:
                raise EndpointError("unreachable", f"WebSocket: {_told(error)}") from None

    async def _receive(self, connection: aiohttp.ClientWebSocketResponse, seconds: float) -> Any:
        """What the subscription says next: its number, then heads."""
        try:
            async with asyncio.timeout(seconds):
                message = await connection.receive()
        except TimeoutError:
            raise EndpointError("stale", f"no new head within {seconds:g} s") from None
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise EndpointError(
                "unreachable", f"the WebSocket connection ended: {message.type.name} {message.data!r:.80}"
            )
        try:
            said = msgspec.json.decode(message.data, type=_Said)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EndpointError("malformed", f"WebSocket: {error}") from None
        if said.error is not None:
            raise fault(said.error.code, said.error.message)
        return decoded(said.params.result if said.params is not None else said.result)


class _Params(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Said(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"null")
    params: _Params | None = None
    error: Fault | None = None


_SUBSCRIBE = b'{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'


_BEHIND_HOST = re.compile(r"(\w+://[^/\s'\"]+)/[^\s'\"]+")


def _told(error: Exception) -> str:
    """What an error says, without what stands behind the host of an address: providers put keys there."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP status {error.status}"
    return _BEHIND_HOST.sub(r"\1/…", f"{type(error).__name__}: {error}")[:200]


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body, which a stranger sends: no more than there may be."""
    parts, length = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        length += len(part)
        if length > MAX_ANSWER:
            raise EndpointError("too_large", f"the answer has more than {MAX_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)
