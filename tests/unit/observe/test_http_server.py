"""A real server and real sockets: what clients may do to it, and that it goes on for the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from structlog.testing import capture_logs
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server

from mycelium.core.errors import PathError
from mycelium.observe import http_server
from mycelium.observe.http_guard import MAX_HEADER_BYTES, SECURITY_HEADERS, Guard
from mycelium.observe.http_server import MAX_CONNECTIONS, HttpServer
from tests.unit.observe.test_http_guard import Time

PATIENCE = 20.0
GET = b"GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /ok HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def ok(_request: Request) -> Response:
    return PlainTextResponse("fine")


async def who(request: Request) -> Response:
    assert request.client is not None
    return PlainTextResponse(f"{request.url.scheme} {request.client.host}")


async def echo(request: Request) -> Response:
    return Response(await request.body())


def broken(_request: Request) -> Response:
    raise RuntimeError("with details")


async def endless(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)
            await asyncio.sleep(0)

    return StreamingResponse(chunks())


ENDED: list[str] = []


async def held(_request: Request) -> Response:
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(5):  # what an answer may have to put in order when it is cancelled
            await asyncio.sleep(0)
        ENDED.append("held")
    raise AssertionError


APP = Starlette(
    routes=[
        Route("/ok", ok),
        Route("/who", who),
        Route("/echo", echo, methods=["POST"]),
        Route("/broken", broken),
        Route("/endless", endless),
        Route("/held", held),
    ]
)


def server(host: str = "127.0.0.1", port: int = 0) -> HttpServer:
    guard = Guard(APP, token=None, public=(), loopback=True, time_ns=Time())
    return HttpServer(guard, host, port, time_ns=Time())


@pytest.fixture(autouse=True)
def _nothing_is_logged_past_us(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither by uvicorn, whose tracebacks would be, nor by asyncio, whose are of exceptions that nobody got."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno > logging.DEBUG] == []


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[HttpServer]:
    made = server()
    async with asyncio.timeout(PATIENCE), made.serving():
        yield made


def port_of(made: HttpServer) -> int:
    return int(made.address.rpartition(":")[2])


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> bytes:
        """One answer, with its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        (length,) = (int(line.split(b":")[1]) for line in head.splitlines() if line.startswith(b"content-length"))
        return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


@contextlib.asynccontextmanager
async def connected(made: HttpServer) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(made))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def exchange(made: HttpServer, *parts: bytes) -> bytes:
    """Send some bytes, and read until the server closes the connection."""
    async with connected(made) as client:
        for part in parts:
            client.writer.write(part)
            with contextlib.suppress(ConnectionError):
                await client.writer.drain()
        return await client.rest()


async def test_it_answers_and_keeps_connections() -> None:
    async with serving() as made, connected(made) as client:
        for _ in range(3):
            client.writer.write(GET)
            answer = await client.answer()
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"fine")
            assert b"server:" not in answer.lower()
        client.writer.write(LAST)
        assert (await client.rest()).endswith(b"fine")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_where_it_is(host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        if host == "::1":
            pytest.skip("there is no IPv6 here")
    made = server(host)
    async with made.serving():
        shown = {"localhost": "127.0.0.1", "::1": "[::1]"}.get(host, host)
        assert made.address == f"http://{shown}:{port_of(made)}"
        reader, writer = await asyncio.open_connection(shown.strip("[]"), port_of(made))
        writer.write(LAST)
        assert (await reader.read()).endswith(b"fine")
        writer.close()
        await writer.wait_closed()


async def test_a_port_that_is_taken_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PathError, match=f"http://127.0.0.1:{port}: cannot be served there: Address already in use"):
            async with server(port=port).serving():
                raise AssertionError


async def test_an_address_of_another_host() -> None:
    with pytest.raises(PathError, match=r"http://192.0.2.1:8080: cannot be served there: Cannot assign requested"):
        async with server("192.0.2.1", 8080).serving():
            raise AssertionError


async def test_signals_stay_with_the_process() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    async with serving() as made:
        assert (await exchange(made, LAST)).endswith(b"fine")
        assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /ok\r\n\r\n",
        b"GET /ok HTTP/1.1\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: localhost\r\n X: y\r\n\r\n"[:-2] + b"\x00\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\n\r\n\r\n:\r\n\r\n",
    ],
    ids=str,
)
async def test_what_is_no_http_gets_an_answer_with_all_headers(sent: bytes) -> None:
    async with serving() as made:
        with capture_logs() as said:
            answer = await exchange(made, sent)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert all(name.encode() + b": " + value.encode() in answer for name, value in SECURITY_HEADERS.items())
        assert [line["event"] for line in said] == ["Invalid HTTP request received."]
        assert (await exchange(made, LAST)).endswith(b"fine")


async def test_headers_without_an_end() -> None:
    async with serving() as made:
        line = b"X: " + b"y" * 1000 + b"\r\n"
        answer = await exchange(made, GET[:-2], *[line] * 40)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), "the connection may be gone before it is read"
        answer = await exchange(made, LAST[:-2] + line * (MAX_HEADER_BYTES // len(line) + 1) + b"\r\n")
        assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431")
        assert made.closed.counts == {}, "not because it took too long"
        assert (await exchange(made, LAST)).endswith(b"fine")


@pytest.mark.parametrize("path", [b"/ok", b"/echo", b"/held"])
@pytest.mark.parametrize("apart", [False, True])
async def test_a_body_that_breaks_its_rules(path: bytes, *, apart: bool) -> None:
    """In one piece with its request, and when the request is being answered: two must not answer it."""
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving() as made:
        with capture_logs() as said:
            if apart:
                async with connected(made) as client:
                    client.writer.write(head)
                    await client.writer.drain()
                    assert (await exchange(made, LAST)).endswith(b"fine")
                    client.writer.write(b"no size\r\n")
                    await client.rest()
            else:
                await exchange(made, head + b"no size\r\n")
        assert {line["event"] for line in said} <= {"Invalid HTTP request received."}
        assert (await exchange(made, LAST)).endswith(b"fine")


async def test_a_body_that_nobody_wants_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    head = b"POST /ok HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    async with serving() as made, connected(made) as client:
        client.writer.write(head)
        assert (await client.answer()).startswith(b"HTTP/1.1 405")
        await trickle(client, b"x")
        assert dict(made.closed.counts) in ({"request not there in time": 1}, {})


async def trickle(client: Client, part: bytes) -> None:
    """Send a piece again and again until the server closes the connection."""
    closed = asyncio.create_task(client.rest())
    while not closed.done():
        client.writer.write(part)
        await asyncio.wait([closed], timeout=0.02)
    assert not closed.result()


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /ok HTTP/1.1\r\nX: "], ids=str)
async def test_a_request_that_trickles_ends_while_others_are_answered(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.5)
    async with serving() as made, connected(made) as slow, connected(made) as kept:
        slow.writer.write(sent)
        trickling = asyncio.create_task(trickle(slow, b"x" if sent else b""))
        answered = 0
        while not trickling.done():
            kept.writer.write(GET)
            assert (await kept.answer()).endswith(b"fine")
            answered += 1
        await trickling
        assert answered > 20
        assert made.closed.counts == {"request not there in time": 1}


async def test_the_second_request_of_a_connection_has_to_be_there_in_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    async with serving() as made, connected(made) as client:
        client.writer.write(GET)
        await client.answer()
        await trickle(client, b"x")
        assert made.closed.counts == {"request not there in time": 1}


async def test_an_answer_that_nobody_takes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "ANSWER_SECONDS", 0.2)
    async with serving() as made, connected(made) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(GET.replace(b"/ok", b"/endless"))
        while not made.closed.counts:
            assert (await exchange(made, LAST)).endswith(b"fine")
        assert made.closed.counts == {"answer not taken in time": 1}


async def test_of_too_many_connections_the_oldest_idle_one_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CLOSE_SECONDS", 0)
    async with serving() as made, contextlib.AsyncExitStack() as stack:
        held = await stack.enter_async_context(connected(made))
        held.writer.write(GET.replace(b"/ok", b"/held"))
        idle = [await stack.enter_async_context(connected(made)) for _ in range(MAX_CONNECTIONS - 1)]
        for one in idle:
            one.writer.write(GET[:10])
        for place in range(5):
            newest = await stack.enter_async_context(connected(made))
            newest.writer.write(GET)
            assert (await newest.answer()).endswith(b"fine")
            assert await idle[place].rest() == b""
        assert not held.reader.at_eof()
        assert made.closed.counts == {"too many connections": 5}


async def test_when_all_are_being_answered_the_newest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CLOSE_SECONDS", 0)
    async with serving() as made, contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            one = await stack.enter_async_context(connected(made))
            one.writer.write(GET.replace(b"/ok", b"/held"))
        while (answer := await exchange(made, LAST)) != b"":
            assert answer.endswith(b"fine"), "some of them were not there yet"


async def test_who_asks_is_who_has_connected() -> None:
    async with serving() as made:
        claims = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n"
        assert (await exchange(made, LAST.replace(b"/ok", b"/who")[:-2] + claims)).endswith(b"http 127.0.0.1")


async def test_a_wish_for_a_websocket_is_not_heard() -> None:
    wish = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    async with serving() as made:
        assert (await exchange(made, GET[:-2] + wish)).endswith(b"fine")


async def test_a_failure_is_logged_and_told_without_details() -> None:
    async with serving() as made:
        with capture_logs() as said:
            answer = await exchange(made, LAST.replace(b"/ok", b"/broken"))
        assert answer.startswith(b"HTTP/1.1 500")
        assert b"details" not in answer
        assert [(line["event"], line["log_level"]) for line in said] == [("Exception in ASGI application", "error")]
        assert "with details" in str(said[0]["exc_info"])


async def test_the_end_waits_for_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle, in the middle of a request, in the middle of an answer: all are closed, and nothing is left or logged."""
    ENDED.clear()
    monkeypatch.setattr(http_server, "CLOSE_SECONDS", 0)
    with capture_logs() as said:
        made = server()
        async with contextlib.AsyncExitStack() as stack, made.serving():
            for sent in (b"", GET[:10], GET, GET.replace(b"/ok", b"/held"), b"\x00\r\n\r\n"):
                client = await stack.enter_async_context(connected(made))
                client.writer.write(sent)
            assert (await exchange(made, LAST)).endswith(b"fine")
    assert [line["event"] for line in said] == [
        "serving",
        "Invalid HTTP request received.",
        "Cancel 1 running task(s), timeout graceful shutdown exceeded",
    ]
    assert ENDED == ["held"]
    assert not logging.getLogger("uvicorn.error").handlers


async def test_what_happens_inside_comes_out_and_the_server_ends() -> None:
    """At once, also if something is being answered."""
    made = server()

    async def fail() -> None:
        async with asyncio.timeout(PATIENCE), made.serving(), connected(made) as client:
            client.writer.write(GET.replace(b"/ok", b"/held"))
            assert (await exchange(made, LAST)).endswith(b"fine")
            raise KeyError

    began = time.monotonic()
    with capture_logs() as said, pytest.raises(KeyError):
        await fail()
    assert time.monotonic() - began < http_server.CLOSE_SECONDS
    assert not [line for line in said if "exc_info" in line]
    with socket.create_server(("127.0.0.1", port_of(made))):
        pass


def test_uvicorn_still_has_what_is_extended() -> None:
    """Should an update rename one of these, a limit would be gone without a word."""
    for name in ("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"):
        assert name in vars(H11Protocol), name
    assert "send_400_response" in vars(H11Protocol)
    known: Any = vars(Server)
    assert "capture_signals" in known
