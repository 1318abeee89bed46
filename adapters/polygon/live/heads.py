"""The newest blocks that endpoints tell of, and which of them is believed.

Each endpoint is listened to on its own. The head of the chain is the highest one that any of them tells of now; among
several of that height, the one that most of them have. An endpoint that tells of a block that nobody can show is not
listened to for a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import stamina
import structlog

from adapters.polygon.live.answers import EndpointError, decoded, header_in
from adapters.polygon.live.endpoint import Endpoint
from adapters.polygon.live.endpoints import Endpoints
from adapters.polygon.live.headers import Header

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("polygon_adapter")

DISTRUST_SECONDS = 5.0
"""How long an endpoint is not believed after it has told of a block that nobody could show. Chosen by us."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before an endpoint is tried again, with jitter, doubled each time."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head, and who tells of it.

    Args:
        header: the block's.
        names: endpoints.
        heard: when the first of them told of it, seconds of the clock that is passed in.
    """

    header: Header
    names: frozenset[str]
    heard: float


class Heads:
    """Listens to all endpoints.

    Args:
        endpoints: whom to listen to.
        time: seconds, of a clock that only goes on.
        poll_seconds: how often an endpoint without WebSocket is asked.
        stale_seconds: after so long without a new head a WebSocket connection is made anew.
    """

    def __init__(
        self, endpoints: Endpoints, time: Callable[[], float], *, poll_seconds: float = 1.0, stale_seconds: float = 20.0
    ) -> None:
        self._endpoints = endpoints
        self._time = time
        self._poll_seconds = poll_seconds
        self._stale_seconds = stale_seconds
        self._told: dict[str, Header] = {}
        self._heard: dict[bytes, float] = {}
        self._distrusted: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._news = time()
        self.reconnects: Counter[str] = Counter()
        """How often each WebSocket connection was made anew."""

    async def listen(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as group:
            for endpoint in self._endpoints.endpoints:
                group.create_task(self._listen_to(endpoint), name=f"heads of {endpoint.name}")

    def best(self, current: bytes = b"") -> Head | None:
        """The head of the chain, as far as it is known.

        Args:
            current: hash of the block that is preferred, where nothing else decides.
        """
        now = self._time()
        believed = {name: told for name, told in self._told.items() if self._distrusted.get(name, now) <= now}
        if not believed:
            return None
        votes = Counter(header.hash for header in believed.values())
        header = max(believed.values(), key=lambda one: (one.number, votes[one.hash], one.hash == current, one.hash))
        names = frozenset(name for name, told in believed.items() if told.hash == header.hash)
        return Head(header, names, self._heard[header.hash])

    async def changed(self, seconds: float) -> None:
        """Wait until an endpoint tells of a block, or so many seconds have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()

    @property
    def silence(self) -> float:
        """Seconds since anybody told of a block that was new to it."""
        return self._time() - self._news

    def distrust(self, head: Head) -> None:
        """Nobody could show this block."""
        for name in head.names:
            self._distrusted[name] = self._time() + DISTRUST_SECONDS
            self._told.pop(name, None)
            self._endpoints.failed(name, EndpointError("unknown_head", f"told of block {head.header.number}"))
        block, endpoints = head.header.number, sorted(head.names)
        log.warning("a head that nobody can show", block=block, hash="0x" + head.header.hash.hex(), endpoints=endpoints)

    def _tell(self, name: str, header: Header) -> None:
        if self._told.get(name) == header:
            return
        self._told[name] = header
        self._news = self._time()
        self._heard.setdefault(header.hash, self._time())
        if len(self._heard) > 4 * len(self._told) + 64:
            current = {told.hash for told in self._told.values()}
            self._heard = {key: heard for key, heard in self._heard.items() if key in current}
        self._endpoints.saw_head(name, header.number)
        self._changed.set()

    async def _listen_to(self, endpoint: Endpoint) -> None:
        while True:
            # Begun again after each success, so that pauses grow with failures in a row only.
            async for attempt in stamina.retry_context(
                on=EndpointError, attempts=None, timeout=None, wait_initial=FIRST_PAUSE, wait_max=LONGEST_PAUSE
            ):
                with attempt:
                    await self._hear(endpoint)

    async def _hear(self, endpoint: Endpoint) -> None:
        """Once: what it says now, then what it tells of. Returns when something came before it failed."""
        heard = 0
        if not endpoint.is_open:
            raise EndpointError("unreachable", "is left alone for a while")
        try:
            self._tell(endpoint.name, header_in(decoded(await endpoint.ask("eth_getBlockByNumber", ["latest", False]))))
            if not endpoint.has_websocket:
                await asyncio.sleep(self._poll_seconds)
                return
            self.reconnects[endpoint.name] += 1
            async for header in endpoint.heads(self._stale_seconds):
                heard += 1
                self._tell(endpoint.name, header)
        except EndpointError as error:
            self._endpoints.failed(endpoint.name, error)
            if not heard:
                raise
