"""The cache on a real redis-server, which ends, comes back, and holds what others have put there."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis.asyncio
from structlog.testing import capture_logs

from adapters.polygon.live.cache import CHUNK, PAUSE_SECONDS, CacheStatistics, RedisStore, StoreCache
from adapters.polygon.live.facts import PoolFacts
from contracts.market import Protocol, Token
from contracts.values import Address
from mycelium.testing import ManualClock
from mycelium.transport.ports import free_ports

START_SECONDS = 10.0
SYSTEM_PATHS = ("/usr/sbin", "/usr/local/sbin")

TOKENS = Token(Address("0x" + "a1" * 20), "USDC", 6), Token(Address("0x" + "a2" * 20), "WETH", 18)


def facts(number: int) -> PoolFacts:
    pool = Address(number.to_bytes(20, "big"))
    return PoolFacts(pool, Address("0x" + "ff" * 20), Protocol.UNISWAP_V3, *TOKENS, 500, 10)


class RedisServer:
    """A redis-server on a free port, which keeps nothing on a disk."""

    def __init__(self, program: str, directory: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(directory)]
        self._command += ["--save", "", "--appendonly", "no"]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, "redis-server has ended"
                assert time.monotonic() < deadline, "redis-server accepts no connection"
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    program = shutil.which("redis-server", path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_PATHS)))
    if program is None:
        pytest.skip("redis-server is missing; install it with: tools/install-system-parts")
    started = RedisServer(program, tmp_path)
    yield started
    started.kill()


async def test_what_is_put_is_got_by_another(server: RedisServer) -> None:
    many = [facts(number) for number in range(1, 2 * CHUNK + 50)]
    one = StoreCache(RedisStore(server.url, 137), ManualClock())
    other = StoreCache(RedisStore(server.url, 137), ManualClock())
    await one.put_many(many)
    assert await other.get_many([one.pool for one in many]) == {one.pool: one for one in many}
    assert await other.get_many([facts(10**6).pool]) == {}
    assert other.statistics() == CacheStatistics(hits=len(many), misses=1)
    await one.aclose()
    await other.aclose()


async def test_chains_and_prefixes_do_not_meet_and_keys_do_not_expire(server: RedisServer) -> None:
    stores = [RedisStore(server.url, 137), RedisStore(server.url, 1), RedisStore(server.url, 137, "other")]
    caches = [StoreCache(store, ManualClock()) for store in stores]
    await caches[0].put_many([facts(7)])
    assert [len(await cache.get_many([facts(7).pool])) for cache in caches] == [1, 0, 0]
    client = redis.asyncio.Redis.from_url(server.url)
    key = b"mycelium:pools:137:1:" + facts(7).pool.hex().encode()
    assert await client.keys() == [key]
    assert await client.ttl(key) == -1
    await client.aclose()
    for cache in caches:
        await cache.aclose()


async def test_garbage_in_a_key_is_as_if_it_were_not_there(server: RedisServer) -> None:
    cache = StoreCache(RedisStore(server.url, 137), ManualClock())
    await cache.put_many([facts(number) for number in (1, 2, 3, 4)])
    client = redis.asyncio.Redis.from_url(server.url)
    keys = [b"mycelium:pools:137:1:" + facts(number).pool.hex().encode() for number in (1, 2, 3)]
    await client.set(keys[0], b"\xffgarbage")
    await client.set(keys[1], msgspec.msgpack.encode([b"x"]))
    await client.delete(keys[2])
    await client.rpush(keys[2], "a list")
    assert await cache.get_many([facts(number).pool for number in (1, 2, 3, 4)]) == {facts(4).pool: facts(4)}
    assert cache.statistics() == CacheStatistics(hits=1, misses=3, garbage=2)
    await cache.put_many([facts(number) for number in (1, 2, 3)])
    assert len(await cache.get_many([facts(number).pool for number in (1, 2, 3, 4)])) == 4
    await client.aclose()
    await cache.aclose()


async def test_a_server_that_is_killed_and_comes_back_costs_nothing_else(server: RedisServer) -> None:
    clock = ManualClock()
    cache = StoreCache(RedisStore(server.url, 137), clock)
    await cache.put_many([facts(1)])
    with capture_logs() as logged:
        await asyncio.to_thread(server.kill)
        for _ in range(3):
            assert await cache.get_many([facts(1).pool]) == {}
            await cache.put_many([facts(1)])
            await clock.advance(PAUSE_SECONDS)
        assert [entry["log_level"] for entry in logged] == ["warning"]
        assert cache.statistics() == CacheStatistics(errors=3, skipped=3)
        await asyncio.to_thread(server.start)
        await cache.put_many([facts(1)])
        assert await cache.get_many([facts(1).pool]) == {facts(1).pool: facts(1)}
    assert [entry["log_level"] for entry in logged] == ["warning", "info"]
    await cache.aclose()


async def test_a_server_that_was_started_again_meanwhile_is_no_error(server: RedisServer) -> None:
    cache = StoreCache(RedisStore(server.url, 137), ManualClock())
    await cache.put_many([facts(1)])
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert await cache.get_many([facts(1).pool]) == {}
    assert cache.statistics() == CacheStatistics(misses=1)
    await cache.aclose()


async def test_a_server_that_hangs_is_given_up_soon(server: RedisServer) -> None:
    cache = StoreCache(RedisStore(server.url, 137), ManualClock())
    await cache.put_many([facts(1)])
    server.process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert await cache.get_many([facts(1).pool]) == {}
    assert time.monotonic() - begin < 5
    assert cache.statistics().errors == 1
    await cache.aclose()


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xfe\x00",
        b"*x\r\n",
        b"$9\r\nabc",
        b"%1\r\n%1\r\n+OK\r\n",
        b"+OK\r\n" * 9,
        b"",
    ],
)
async def test_a_server_of_another_kind_is_no_reason_to_stop(said: bytes) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    cache = StoreCache(RedisStore(f"redis://127.0.0.1:{port}", 137), ManualClock())
    assert await cache.get_many([facts(1).pool]) == {}
    assert cache.statistics().errors == 1
    await cache.aclose()
    listening.close()
    await listening.wait_closed()


async def test_nothing_of_a_password_is_logged() -> None:
    (port,) = free_ports(1)
    cache = StoreCache(RedisStore(f"redis://user:hidden-word@127.0.0.1:{port}/0", 137), ManualClock())
    with capture_logs() as logged:
        await cache.put_many([facts(1)])
    assert len(logged) == 1
    assert "hidden-word" not in str(logged)
    await cache.aclose()


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="scheme"):
        RedisStore("http://127.0.0.1", 137)
