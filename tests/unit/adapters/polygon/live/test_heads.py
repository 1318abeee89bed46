"""Which head is believed, and what becomes of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from adapters.polygon.live.endpoints import Endpoints
from adapters.polygon.live.headers import Header
from adapters.polygon.live.heads import Heads
from tests.unit.adapters.polygon.live.scripted import Scripted, block, serving
from tests.unit.adapters.polygon.live.test_endpoints import Clock, says


def header(number: int, branch: int = 0) -> Header:
    return Header(number, bytes([branch]) * 31 + bytes([number % 256]), bytes(32), number)


async def listen(heads: Heads, until: Callable[[], bool]) -> None:
    """Listen until something holds."""
    listening = asyncio.ensure_future(heads.listen())
    try:
        async with asyncio.timeout(10):
            while not until():
                await heads.changed(0.05)
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


def telling(*by: list[Header]) -> list[Scripted]:
    """Endpoints that tell of these heads."""
    return [Scripted(says(block(header(1))), [block(head) for head in heads]) for heads in by]


@pytest.mark.parametrize(
    ("heads", "best"),
    [
        ([[header(5)], [header(7)], [header(6)]], header(7)),
        ([[header(5, 1)], [header(5, 2)], [header(5, 2)]], header(5, 2)),
        ([[header(9), header(5, 2)], [header(5, 1)], [header(5, 2)]], header(5, 2)),
    ],
    ids=["the highest", "of equals the one that most have", "what it says now, not what it said"],
)
def test_the_head_that_is_believed(heads: list[list[Header]], best: Header) -> None:
    async def run() -> None:
        servers = telling(*heads)
        async with serving(*servers) as endpoints:
            found = Heads(Endpoints(endpoints, Clock()), Clock())

            def is_there() -> bool:
                now = found.best()
                return now is not None and now.header == best and not any(server.heads for server in servers)

            await listen(found, is_there)
            now = found.best()
            assert now is not None
            assert now.names == {str(at) for at, one in enumerate(heads) if one[-1] == best}

    asyncio.run(run())


def test_where_nothing_else_decides_nothing_changes() -> None:
    async def run() -> None:
        one, other = header(5, 1), header(5, 2)
        servers = telling([one], [other])
        async with serving(*servers) as endpoints:
            found = Heads(Endpoints(endpoints, Clock()), Clock())

            def are_there() -> bool:
                a, b = found.best(one.hash), found.best(other.hash)
                return a is not None and b is not None and (a.header, b.header) == (one, other)

            await listen(found, are_there)

    asyncio.run(run())


def test_who_lies_is_not_believed_for_a_while() -> None:
    async def run() -> None:
        servers = telling([header(200)], [header(6)])
        clock = Clock()
        async with serving(*servers) as endpoints:
            found = Heads(Endpoints(endpoints, clock), clock)

            def lies() -> bool:
                now = found.best()
                return now is not None and now.header == header(200)

            await listen(found, lies)
            lie = found.best()
            assert lie is not None
            found.distrust(lie)
            now = found.best()
            assert now is None or now.header.number <= 6

    asyncio.run(run())


def test_a_connection_that_ends_is_made_anew_and_one_without_a_word_too() -> None:
    async def run() -> None:
        server = Scripted(says(block(header(1))), [block(header(2)), None, block(header(3))])
        async with serving(server) as endpoints:
            found = Heads(Endpoints(endpoints, Clock()), Clock(), stale_seconds=0.2)
            await listen(found, lambda: server.connections >= 3)
            assert found.reconnects["0"] >= 3

    asyncio.run(run())


def test_without_websocket_it_is_asked_again_and_again() -> None:
    async def run() -> None:
        numbers = iter(range(1, 100))
        server = Scripted(lambda _: block(header(next(numbers))))
        async with serving(server, websocket=False) as endpoints:
            found = Heads(Endpoints(endpoints, Clock()), Clock(), poll_seconds=0.01)

            def is_there() -> bool:
                now = found.best()
                return now is not None and now.header.number >= 5

            await listen(found, is_there)

    asyncio.run(run())


@pytest.mark.parametrize("said", ["no json", '{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}', "[]", "7"])
def test_whatever_comes_on_a_connection_ends_nothing(said: str) -> None:
    async def run() -> None:
        server = Scripted(says(block(header(1))), [said, None, block(header(4))])
        async with serving(server) as endpoints:
            found = Heads(Endpoints(endpoints, Clock()), Clock())

            def is_there() -> bool:
                now = found.best()
                return now is not None and now.header.number == 4

            await listen(found, is_there)
            assert server.connections >= 2

    asyncio.run(run())
