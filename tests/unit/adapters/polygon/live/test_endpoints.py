"""Questions to endpoints that fail in every way, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.polygon.live import endpoint as module
from adapters.polygon.live.answers import EndpointError
from adapters.polygon.live.endpoint import FAILURES, Endpoint
from adapters.polygon.live.endpoints import Endpoints
from tests.unit.adapters.polygon.live.scripted import Scripted, Silence, serving


def silent(_question: dict[str, Any]) -> Any:
    raise Silence


def says(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda _question: value


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (silent, "timeout"),
        (lambda _: web.Response(status=429, headers={"Retry-After": "7"}), "rate_limited"),
        (lambda _: web.Response(status=500), "http_status"),
        (lambda _: web.Response(text="<html>"), "malformed"),
        (lambda _: web.Response(text="{}"), "malformed"),
        (says({"error": {"code": -32005, "message": "limit exceeded"}}), "rate_limited"),
        (says({"error": {"code": -32000, "message": "query returned more than 10000 results"}}), "too_large"),
        (says({"error": {"code": -32000, "message": "unknown block"}}), "unknown_block"),
        (says({"error": {"code": 3, "message": "execution reverted: block not found"}}), "refused"),
    ],
)
def test_what_an_endpoint_may_answer(reply: Any, cause: str) -> None:
    async def ask() -> EndpointError:
        async with serving(Scripted(reply)) as (one,):
            with pytest.raises(EndpointError) as caught:
                await one.ask("eth_chainId", [])
            return caught.value

    error = asyncio.run(ask())
    assert error.cause == cause
    assert error.wait == (7 if "429" in error.reason else 0)


def test_nobody_is_there() -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(EndpointError, match="unreachable"):
                await Endpoint("x", "http://127.0.0.1:1", None, session).ask("eth_chainId", [])

    asyncio.run(ask())


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}/v2/SECRET", "ws://127.0.0.1:{port}/v2/SECRET", "ws://x\0y/SECRET"]
)
def test_keys_in_addresses_are_not_told(address: str) -> None:
    async def ask() -> str:
        async with serving(Scripted(silent)) as (other,), aiohttp.ClientSession() as session:
            port = other._url.rpartition(":")[2]
            one = Endpoint("x", address.format(port=port), address.format(port=port), session)
            with pytest.raises(EndpointError) as asked:
                await one.ask("eth_chainId", [])
            with pytest.raises(EndpointError) as heard:
                async for _ in one.heads(1.0):
                    pass
            return f"{asked.value} {heard.value}"

    assert "SECRET" not in asyncio.run(ask())


def test_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 1_000)

    async def ask() -> None:
        async with serving(Scripted(says("x" * 2_000))) as (one,):
            with pytest.raises(EndpointError, match="more than 1000 bytes"):
                await one.ask("eth_chainId", [])

    asyncio.run(ask())


def test_the_next_one_is_asked_and_the_better_one_first_from_then_on() -> None:
    async def ask() -> None:
        bad, good = Scripted(lambda _: web.Response(status=500)), Scripted(says("0x89"))
        async with serving(bad, good) as both:
            endpoints = Endpoints(both, Clock())
            for _ in range(3):
                assert bytes(await endpoints.ask_raw("eth_chainId", [])) == b'"0x89"'
        assert (len(bad.asked), len(good.asked)) == (1, 3)
        assert endpoints.standings[0].causes == {"http_status": 1}

    asyncio.run(ask())


def test_one_that_fails_again_and_again_is_left_alone() -> None:
    async def ask() -> None:
        bad = Scripted(lambda _: web.Response(status=500))
        async with serving(bad) as both:
            endpoints = Endpoints(both, Clock())
            for _ in range(FAILURES + 3):
                with pytest.raises(EndpointError):
                    await endpoints.ask_raw("eth_chainId", [])
        assert len(bad.asked) == FAILURES

    asyncio.run(ask())


def test_a_refusal_speaks_against_nobody() -> None:
    async def ask() -> None:
        server = Scripted(says({"error": {"code": -32000, "message": "unknown block"}}))
        async with serving(server) as (one,):
            for _ in range(3 * FAILURES):
                with pytest.raises(EndpointError):
                    await one.ask("eth_getLogs", [])
            assert one.is_open

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("method", "error", "asked"),
    [
        ("eth_call", {"code": 3, "message": "execution reverted"}, 1),
        ("eth_getLogs", {"code": -32000, "message": "block range too large"}, 1),
        ("eth_getLogs", {"code": -32601, "message": "the method does not exist"}, 2),
    ],
)
def test_what_the_others_would_say_too_is_not_asked_again(method: str, error: Any, asked: int) -> None:
    async def ask() -> None:
        servers = [Scripted(says({"error": error})) for _ in range(2)]
        async with serving(*servers) as both:
            with pytest.raises(EndpointError):
                await Endpoints(both, Clock()).ask_raw(method, [])
        assert sum(len(server.asked) for server in servers) == asked

    asyncio.run(ask())


def test_what_is_no_answer_to_the_question_counts_as_a_failure() -> None:
    def read(raw: Any) -> int:
        if bytes(raw) != b"2":
            raise EndpointError("malformed", "not 2")
        return 2

    async def ask() -> None:
        async with serving(Scripted(says(1)), Scripted(says(2))) as both:
            endpoints = Endpoints(both, Clock())
            assert await endpoints.ask("x", [], read) == 2
            assert endpoints.standings[0].causes == {"malformed": 1}

    asyncio.run(ask())


def test_whom_the_head_came_from_is_asked_last() -> None:
    async def ask() -> None:
        servers = [Scripted(says(place)) for place in range(3)]
        async with serving(*servers) as both:
            endpoints = Endpoints(both, Clock())
            assert await endpoints.ask_named("x", [], bytes, last={"0"}) == ("1", b"1")
            assert await endpoints.ask_named("x", [], bytes, last={"0", "1"}) == ("2", b"2")
            assert (await endpoints.ask_named("x", [], bytes, last={"0", "1", "2"}))[0] in {"0", "1", "2"}
            assert await endpoints.ask_named("x", [], bytes, last={"1"}, without={"0", "2"}) == ("1", b"1")

    asyncio.run(ask())


def test_who_wants_to_be_left_alone_is_and_is_waited_for_if_there_is_no_other() -> None:
    async def ask() -> None:
        answers: list[Any] = [web.Response(status=429, headers={"Retry-After": "1"}), 5]
        limited, other = Scripted(lambda _: answers.pop(0)), Scripted(says(1))
        clock = asyncio.get_running_loop().time
        async with serving(limited, other) as both:
            endpoints = Endpoints(both, clock)
            assert await endpoints.ask("x", [], bytes) == b"1"
            assert await endpoints.ask("x", [], bytes) == b"1"
            assert len(limited.asked) == 1
        answers = [web.Response(status=429, headers={"Retry-After": "1"}), 5]
        async with serving(limited) as one:
            endpoints = Endpoints(one, clock)
            with pytest.raises(EndpointError, match="429"):
                await endpoints.ask("x", [], bytes)
            began = clock()
            assert await endpoints.ask("x", [], bytes) == b"5"
            assert clock() - began > 0.9

    asyncio.run(ask())
