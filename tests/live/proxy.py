"""Stands in front of a node as a public endpoint does, with all their faults: late, silent, limited, behind, wrong."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

CAUSES = ("delay", "drop", "close", "status_429", "rate_limited", "garbage", "no_logs", "cut", "status_500")
"""What may become of a question."""


@dataclass(frozen=True)
class Temper:
    """How bad an endpoint is.

    Args:
        faults: part of the questions that it does not answer as it should.
        lag: blocks that it is behind.
        lies: part of the heads about which it lies.
        breaks: part of the heads after which it ends the WebSocket connection, or says nothing more on it.
        largest_range: blocks that it gives out at once.
    """

    faults: float = 0.0
    lag: int = 0
    lies: float = 0.0
    breaks: float = 0.0
    largest_range: int = 10_000


class Proxy:
    """An endpoint. Started with :meth:`start`; its address is fixed from then on.

    Args:
        upstream: port of the node.
        rng: decides what goes wrong.
        temper: how bad it is.
        with_websocket: whether it has a WebSocket side.
    """

    def __init__(self, upstream: int, rng: random.Random, temper: Temper, *, with_websocket: bool = True) -> None:
        self._upstream = f"127.0.0.1:{upstream}"
        self._rng = rng
        self.temper = temper
        self._with_websocket = with_websocket
        self._hidden: deque[dict[str, Any]] = deque()
        self.counted: Counter[str] = Counter()
        """What it did, how often."""
        self.deaf = False
        """Whether it answers no question for logs."""
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._session = aiohttp.ClientSession()
        application = web.Application()
        application.router.add_post("/", self._answer)
        application.router.add_get("/", self._subscribe)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def aclose(self) -> None:
        """End it."""
        await self._runner.cleanup()
        await self._session.close()

    @property
    def entry(self) -> dict[str, str]:
        """As the adapter's settings name it."""
        entry = {"url": f"http://127.0.0.1:{self.port}"}
        if self._with_websocket:
            entry["websocket"] = f"ws://127.0.0.1:{self.port}"
        return entry

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        if self.deaf and asked["method"] == "eth_getLogs":
            return web.Response(status=500)
        cause = self._rng.choice(CAUSES) if self._rng.random() < self.temper.faults else ""
        self.counted[cause or "answered"] += 1
        match cause:
            case "delay":
                await asyncio.sleep(self._rng.random())
            case "drop":
                await asyncio.sleep(30)  # whoever asks has given up by then
            case "close":
                assert request.transport is not None
                request.transport.abort()
            case "status_429":
                return web.Response(status=429, headers={"Retry-After": "1"} if self._rng.random() < 0.5 else {})
            case "status_500":
                return web.Response(status=500, text="no")
            case "garbage":
                return web.Response(body=self._rng.randbytes(self._rng.randrange(200)))
            case "rate_limited":
                return _fault(asked, -32005, "daily request count exceeded, request rate limited")
        answer = await self._forward(asked)
        if cause == "no_logs" and asked["method"] == "eth_getLogs":
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": []}
        body = json.dumps(answer)
        return web.Response(text=body[: len(body) // 2] if cause == "cut" else body, content_type="application/json")

    async def _forward(self, asked: dict[str, Any]) -> dict[str, Any]:
        method, params = asked["method"], asked["params"]
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            blocks = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if blocks > self.temper.largest_range:
                self.counted["too_large"] += 1
                return {
                    "jsonrpc": "2.0",
                    "id": asked["id"],
                    "error": {"code": -32602, "message": f"block range is limited to {self.temper.largest_range}"},
                }
        if self.temper.lag:
            newest = int((await self._ask("eth_blockNumber"))["result"], 16) - self.temper.lag
            if method == "eth_getBlockByNumber" and params[0] == "latest":
                asked = {**asked, "params": [hex(max(0, newest)), *params[1:]]}
            answer = await self._ask(method, asked["params"], asked["id"])
            result = answer.get("result")
            if method.startswith("eth_getBlockBy") and result and int(result["number"], 16) > newest:
                return {"jsonrpc": "2.0", "id": asked["id"], "result": None}
            if method == "eth_getLogs" and any(int(log["blockNumber"], 16) > newest for log in result or ()):
                return {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32000, "message": "unknown block"}}
            return answer
        return await self._ask(method, params, asked["id"])

    async def _ask(self, method: str, params: Any = (), number: Any = 1) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
        async with self._session.post(f"http://{self._upstream}", json=body) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def _subscribe(self, request: web.Request) -> web.StreamResponse:
        if not self._with_websocket:
            return web.Response(status=404)
        down = web.WebSocketResponse()
        await down.prepare(request)
        async with self._session.ws_connect(f"ws://{self._upstream}", max_msg_size=0) as up:
            asking = asyncio.ensure_future(self._pass_on(down, up))
            try:
                await self._tell(up, down, asking)
            except ConnectionError:
                self.counted["reader_gone"] += 1
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        return down

    async def _pass_on(self, down: web.WebSocketResponse, up: aiohttp.ClientWebSocketResponse) -> None:
        async for message in down:
            await up.send_str(message.data if isinstance(message.data, str) else message.data.decode())
        await up.close()

    async def _tell(
        self, up: aiohttp.ClientWebSocketResponse, down: web.WebSocketResponse, asking: asyncio.Future[None]
    ) -> None:
        late: deque[str] = deque()
        async for message in up:
            said = json.loads(message.data)
            if "method" not in said:
                await down.send_str(message.data)
                continue
            if self._rng.random() < self.temper.breaks:
                self.counted["broken"] += 1
                if self._rng.random() < 0.5:
                    return
                await asking  # silence, until whoever listens gives up
                return
            if self._rng.random() < self.temper.lies:
                self.counted["lie"] += 1
                said["params"]["result"] = self._lie(said["params"]["result"])
            late.append(json.dumps(said))
            while len(late) > self.temper.lag:
                await down.send_str(late.popleft())

    def _lie(self, head: dict[str, Any]) -> dict[str, Any]:
        """A block that is not there: far ahead, next to the real one, or long past."""
        number = int(head["number"], 16) + self._rng.choice((-200, -1, 0, 1, 5, 1_000))
        changes = {"number": hex(max(0, number)), "hash": "0x" + self._rng.randbytes(32).hex()}
        if self._rng.random() < 0.5:
            changes["parentHash"] = "0x" + self._rng.randbytes(32).hex()
        return {**head, **changes}


def _fault(asked: dict[str, Any], code: int, message: str) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": code, "message": message}})
