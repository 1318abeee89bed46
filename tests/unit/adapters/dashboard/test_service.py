"""The dashboard in a host, asked over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from adapters.dashboard import web
from adapters.dashboard.service import Dashboard
from adapters.dashboard.settings import DashboardSettings
from contracts.market import BlockClosed, PoolMetadata
from contracts.signals import ArbitrageSignal
from mycelium import Bus
from mycelium.bus.clock import SystemClock
from mycelium.core.errors import ConfigError, ServiceError
from mycelium.core.message import Message
from mycelium.observe.http_guard import SECURITY_HEADERS
from mycelium.observe.http_server import CLOSE_SECONDS
from mycelium.observe.statistics import ProcessStatistics
from mycelium.service import Host, NoSettings, Placement, Service
from mycelium.service.figures import tell_host
from mycelium.service.telling import Telling
from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.unit.adapters.dashboard.sayings import said, signal
from tests.unit.adapters.dashboard.test_stream import parsed
from tests.unit.strategies.flash_arbitrage.reference import token, v2_pool

SYSTEM = REPOSITORY / "system.yaml"
TOKEN = "correct-horse-battery-staple-and-more"
PATIENCE = 20.0


class Feed(Service[NoSettings]):
    """Publishes what a test gave it, and runs until it is told to stop."""

    name = "feed"
    publishes = (PoolMetadata, BlockClosed, ArbitrageSignal)
    messages: ClassVar[Sequence[Message]] = ()

    async def run(self) -> None:
        for message in self.messages:
            await self.publish(message)
        await self.stopping.wait()


class Answer:
    """A response that has begun.

    Args:
        head: status line and headers.
        body: where the rest is read.
    """

    def __init__(self, head: bytes, body: asyncio.StreamReader) -> None:
        status, *lines = head.decode().strip().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.body = body

    async def json(self) -> Any:
        return json.loads(await self.body.read())


class Served:
    """A dashboard that is being served.

    Args:
        port: where.
        host: in which it runs.
    """

    def __init__(self, port: int, host: Host) -> None:
        self.port = port
        self.host = host

    @contextlib.asynccontextmanager
    async def asked(self, path: str, *headers: str, method: str = "GET") -> AsyncIterator[Answer]:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
                writer.write("\r\n".join(lines).encode())
                yield Answer(await reader.readuntil(b"\r\n\r\n"), reader)
            finally:
                writer.close()
                await writer.wait_closed()

    async def state(self) -> Any:
        async with self.asked("/state") as answer:
            assert answer.status == 200
            return await answer.json()


@contextlib.asynccontextmanager
async def serving(*messages: Message, **settings: Any) -> AsyncIterator[Served]:
    Feed.messages = messages
    (port,) = free_ports(1)
    made = DashboardSettings(system=SYSTEM, port=port, **settings)
    clock = SystemClock()
    telling = Telling("monolith", "1.0", lambda figures: tell_host(figures, host.statistics()), clock)
    host = Host([Placement(Feed, NoSettings()), Placement(Dashboard, made)], clock=clock, telling=telling)
    running = asyncio.create_task(host.run())
    while not host.health() or host.unready():
        assert not running.done(), await running
        await asyncio.sleep(0)
    try:
        yield Served(port, host)
    finally:
        host.drain()
        async with asyncio.timeout(PATIENCE):
            outcome = await running
        assert outcome.drained
        assert outcome.ledger.balanced
        assert not outcome.failed


async def told(answer: Answer, kind: str) -> Any:
    """The next event of a kind."""
    text = b""
    while True:
        # It comes in chunks, each with its length before it; a line that is part of no event is left out.
        line = await answer.body.readuntil(b"\n")
        if line.startswith((b"id:", b"event:", b"data:")):
            text += line
        if line.startswith(b"data:"):
            ((_, found, data),) = parsed(text + b"\n")
            if found == kind:
                return data
            text = b""


async def test_it_shows_what_it_is_told() -> None:
    pool = v2_pool(1, token(1, decimals=6), token(2))
    async with serving(pool, BlockClosed(137, 7, 1, 0, 0, 1), signal(7)) as served, served.asked("/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        whole = await told(answer, "whole")
        while not whole["processes"] or not whole["signals_total"] or whole["block"] is None:
            whole = await told(answer, "status")
        assert whole["system"] == "polygon-arbitrage"
        assert [one["name"] for one in whole["processes"]] == ["monolith"]
        found = await served.state()
        assert [(one["asset"], one["net"]) for one in found["signals"]] == [("t1", "1.500000")]
        assert found["block"]["number"] == 7
        assert next(one for one in found["services"] if one["name"] == "dashboard")["state"] == "running"


async def test_it_reads_what_processes_tell_on_the_bus() -> None:
    async with (
        serving() as served,
        Bus("market", network=served.host._network) as bus,
        bus.publisher(ProcessStatistics) as publisher,
        served.asked("/events") as answer,
    ):
        await publisher.publish(said("market", 1, "polygon_adapter"))
        while "market" not in [one["name"] for one in (await told(answer, "status"))["processes"]]:
            pass


async def test_every_answer_has_the_headers_that_keep_a_browser_safe() -> None:
    async with serving() as served:
        for path in ("/", "/style.css", "/main.js", "/state", "/events", "/nothing"):
            async with served.asked(path) as answer:
                assert SECURITY_HEADERS.items() <= answer.headers.items(), path
                assert answer.headers["x-content-type-options"] == "nosniff"
                policy = answer.headers["content-security-policy"]
                assert policy.startswith("default-src 'self'; ")
                assert "unsafe" not in policy
                kept = path not in ("/state", "/events", "/nothing")
                assert answer.headers["cache-control"] == ("no-cache" if kept else "no-store")


async def test_a_page_that_is_known_is_not_sent_again() -> None:
    async with serving() as served:
        async with served.asked("/") as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
            tag = answer.headers["etag"]
        async with served.asked("/", f"If-None-Match: W/{tag}") as answer:
            assert (answer.status, await answer.body.read()) == (304, b"")
        async with served.asked("/", 'If-None-Match: "other"') as answer:
            assert answer.status == 200


@pytest.mark.parametrize("path", ["/../service.py", "/page/index.html", "/index.html", "/state/", "//etc/passwd"])
async def test_there_is_nothing_else(path: str) -> None:
    async with serving() as served, served.asked(path) as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "not found"})


@pytest.mark.parametrize("path", ["/", "/state", "/events"])
async def test_nothing_can_be_changed(path: str) -> None:
    async with serving() as served, served.asked(path, method="POST") as answer:
        assert answer.status == 405


async def test_too_many_clients_are_refused_and_room_is_made_when_one_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_CLIENTS", 2)
    async with serving() as served, served.asked("/events") as kept:
        async with served.asked("/events") as other:
            await told(kept, "whole")
            await told(other, "whole")
            async with served.asked("/events") as refused:
                assert (refused.status, refused.headers["retry-after"]) == (503, "5")
                assert await refused.json() == {"error": "2 are watching already"}
            statistics: Any = served.host.statistics().services["dashboard"]
            assert (statistics.clients, statistics.clients_refused) == (2, 1)
            async with served.asked("/events", method="HEAD") as head:
                assert (head.status, await head.body.read()) == (200, b"")
        async with asyncio.timeout(PATIENCE):
            while True:
                async with served.asked("/events") as again:
                    if again.status == 200:
                        break
        await told(kept, "status")


async def test_it_ends_at_once_although_somebody_watches() -> None:
    began = asyncio.get_running_loop().time()
    async with contextlib.AsyncExitStack() as watching:
        async with serving() as served:
            answer = await watching.enter_async_context(served.asked("/events"))
            await told(answer, "whole")
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < CLOSE_SECONDS  # it need not be cut off
        assert (await answer.body.read()).endswith(b"0\r\n\r\n")  # the answer is complete, not cut off


async def test_another_sites_name_is_refused() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /state HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 421 ")
        writer.close()
        await writer.wait_closed()
        statistics: Any = served.host.statistics().services["dashboard"]
        assert statistics.requests_refused == {"foreign host header": 1}


def token_file(directory: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    path = directory / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


async def test_with_a_token_nothing_is_shown_without_it(tmp_path: Path) -> None:
    async with serving(host="0.0.0.0", token_file=token_file(tmp_path)) as served:
        for path in ("/", "/main.js", "/state", "/events"):
            async with served.asked(path) as answer:
                assert answer.status == 401, path
        async with served.asked("/state", f"Authorization: Bearer {TOKEN}") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (TOKEN, 0o644, "can be read by others"),
        ("short", 0o600, "holds a token of 5 characters"),
        (None, 0, "cannot be"),
    ],
)
async def test_a_token_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, mode: int, reason: str) -> None:
    path = tmp_path / "token" if text is None else token_file(tmp_path, text, mode)
    with pytest.raises(ConfigError, match=reason) as raised:
        async with serving(token_file=path):
            pass
    assert "services.dashboard.token_file" in str(raised.value)
    assert TOKEN not in str(raised.value)


async def test_a_port_that_is_taken_is_named() -> None:
    async with serving() as served:
        settings = DashboardSettings(system=SYSTEM, port=served.port)
        host = Host([Placement(Dashboard, settings)], clock=SystemClock())
        with pytest.raises(ServiceError, match=f"http://127.0.0.1:{served.port}"):
            await host.run()


async def test_without_a_port_it_serves_nothing_and_handles_all() -> None:
    Feed.messages = (v2_pool(1, token(1), token(2)), BlockClosed(137, 7, 1, 0, 0, 1), signal(7))
    placements = [Placement(Feed, NoSettings()), Placement(Dashboard, DashboardSettings(system=Path("/nowhere")))]
    host = Host(placements, clock=SystemClock())
    host.drain()
    outcome = await host.run()
    assert outcome.ledger.balanced
    assert {health.service: health.handled for health in outcome.health} == {"feed": 0, "dashboard": 3}
    assert "dashboard" not in host.statistics().services


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"host": "example.org"}, "should be an IP address of this host"),
        ({"host": "0.0.0.0"}, "token_file is missing"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"ports": 1}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DashboardSettings.model_validate(settings)


def test_paths_start_at_the_topology() -> None:
    context = {"directory": "/srv/config"}
    found = DashboardSettings.model_validate({"token_file": "token"}, context=context)
    assert (found.token_file, found.system) == (Path("/srv/config/token"), Path("/srv/config/../system.yaml"))
