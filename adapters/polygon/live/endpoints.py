"""All endpoints together: a question goes to the best, and to the next one if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import msgspec
import stamina
import structlog

from adapters.polygon.live.answers import EndpointError
from adapters.polygon.live.endpoint import Endpoint
from adapters.polygon.live.rotation import RATE_WAIT_SECONDS, Rotation, Standing

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("polygon_adapter")

LONGEST_WAIT = 30.0
"""Seconds that an endpoint is left alone at most, whatever it asks for. Chosen by us."""

T = TypeVar("T")

patience = stamina.AsyncRetryingCaller(attempts=8, timeout=None, wait_initial=0.05, wait_max=2.0)
"""Asks again when nobody answers: one question of hundreds must not throw away what the others have brought."""

_patiently = patience.on(lambda error: isinstance(error, EndpointError) and error.is_passing)


class Endpoints:
    """Several endpoints of one chain.

    Args:
        endpoints: in the order in which the user prefers them.
        time: seconds, of a clock that only goes on.
    """

    def __init__(self, endpoints: Iterable[Endpoint], time: Callable[[], float]) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._rotation = Rotation(self._endpoints)
        self._time = time

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them, in the order given."""
        return tuple(self._endpoints.values())

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How each one does, in the order given."""
        return self._rotation.standings

    def saw_head(self, name: str, number: int) -> None:
        """An endpoint has told of a block."""
        self._rotation.saw_head(name, number)

    async def ask_raw(self, method: str, params: list[Any]) -> msgspec.Raw:
        """:meth:`ask`, for a result that is not looked into."""
        return await self.ask(method, params, lambda raw: raw)

    async def ask_patiently(self, method: str, params: list[Any]) -> msgspec.Raw:
        """:meth:`ask_raw`, again and again for some seconds when nobody answers."""
        return await _patiently(self.ask_raw, method, params)

    async def ask(self, method: str, params: list[Any], read: Callable[[msgspec.Raw], T]) -> T:
        """:meth:`ask_named`, where it does not matter who has answered."""
        return (await self.ask_named(method, params, read))[1]

    async def ask_named(
        self,
        method: str,
        params: list[Any],
        read: Callable[[msgspec.Raw], T],
        *,
        last: Collection[str] = (),
        without: Collection[str] = (),
    ) -> tuple[str, T]:
        """Ask until one of them answers as it should; each is asked once.

        Args:
            method, params: of the question.
            read: makes a value of the result, or raises ``EndpointError`` if it is not what was asked for.
            last: these are asked after the others.
            without: these are not asked.

        Returns:
            Who has answered, and what.

        Raises:
            EndpointError: nobody did; the last error. A question that is refused as too large, or a call that reverts,
                is not asked again.
        """
        behind = frozenset(last)
        tried = set(without)
        error: EndpointError | None = None
        while (name := await self._next(tried, behind)) is not None:
            tried.add(name)
            try:
                value = read(await self._endpoints[name].ask(method, params))
            except EndpointError as failure:
                self.failed(name, failure)
                error = failure
                if failure.cause == "too_large" or (failure.cause == "refused" and method == "eth_call"):
                    break
            else:
                self._rotation.answered(name)
                return name, value
        raise error or EndpointError("unreachable", "all endpoints have failed lately, and are left alone for a while")

    def failed(self, name: str, error: EndpointError) -> None:
        """An endpoint has failed: it is asked less."""
        wait = error.wait or (RATE_WAIT_SECONDS if error.cause == "rate_limited" else 0.0)
        self._rotation.failed(name, error.cause, self._time(), min(wait, LONGEST_WAIT), str(error))
        log.debug("an endpoint has failed", endpoint=name, cause=error.cause, reason=error.reason)

    async def _next(self, tried: set[str], behind: frozenset[str]) -> str | None:
        """Whom to ask next; waits for one that wants to be left alone if there is no other."""
        usable = [name for name in self._rotation.order(self._time(), tried) if self._endpoints[name].is_open]
        if not usable:
            return None
        usable.sort(key=lambda name: (self._rotation.wait(name, self._time()) > 0, name in behind))
        pause = self._rotation.wait(usable[0], self._time())
        if pause:
            await asyncio.sleep(pause)  # it has asked for that
        return usable[0]
