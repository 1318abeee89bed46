"""An endpoint that says what it is told to, over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from adapters.polygon.live.endpoint import Endpoint
from adapters.polygon.live.headers import Header

Reply = Callable[[dict[str, Any]], Any]
"""From a question to a result; a response of aiohttp, or an exception that says what to do, stands for itself."""


class Silence(Exception):  # noqa: N818
    """No answer comes."""


class Scripted:
    """A server with one endpoint.

    Args:
        reply: answers questions.
        heads: what the WebSocket side tells of, one after the other; None ends the connection.
    """

    def __init__(self, reply: Reply, heads: list[Any] | None = None) -> None:
        self.reply = reply
        self.heads = [] if heads is None else heads
        self.asked: list[dict[str, Any]] = []
        self.connections = 0
        self.more = asyncio.Event()
        self.ended = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        question = json.loads(await request.read())
        self.asked.append(question)
        try:
            result = self.reply(question)
        except Silence:
            await self.ended.wait()
            result = None
        if isinstance(result, web.Response):
            return result
        if isinstance(result, dict) and "error" in result:
            return web.json_response({"jsonrpc": "2.0", "id": question["id"], **result})
        return web.json_response({"jsonrpc": "2.0", "id": question["id"], "result": result})

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "result": "0x1"})
        while self.heads:
            head = self.heads.pop(0)
            if head is None:
                return socket
            text = head if isinstance(head, str) else json.dumps(notification(head))
            await socket.send_str(text)
        await self.ended.wait()
        return socket


def notification(head: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": "0x1", "result": head}}


def block(header: Header) -> dict[str, str]:
    """A header as nodes say it."""
    said = {
        "number": hex(header.number),
        "hash": "0x" + header.hash.hex(),
        "parentHash": "0x" + header.parent.hex(),
        "timestamp": hex(header.timestamp),
    }
    return said | ({"logsBloom": "0x" + header.bloom.hex()} if header.bloom else {})


@asynccontextmanager
async def serving(*servers: Scripted, seconds: float = 0.5, websocket: bool = True) -> AsyncIterator[list[Endpoint]]:
    """The servers, running, as endpoints called ``0``, ``1``, …"""
    runners = []
    async with aiohttp.ClientSession() as session:
        found = []
        try:
            for place, server in enumerate(servers):
                application = web.Application()
                application.router.add_post("/", server.answer)
                application.router.add_get("/", server.subscribe)
                runner = web.AppRunner(application, shutdown_timeout=0.1)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                runners.append(runner)
                address = f"127.0.0.1:{runner.addresses[0][1]}"
                found.append(
                    Endpoint(
                        str(place), f"http://{address}", f"ws://{address}" if websocket else None, session, seconds
                    )
                )
            yield found
        finally:
            for server in servers:
                server.ended.set()
            for runner in runners:
                await runner.cleanup()
