"""A cache that works saves questions; one that does not costs nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adapters.polygon.live.cache import CHUNK, PAUSE_SECONDS, CacheStatistics, SqliteStore, StoreCache, StoreError
from adapters.polygon.live.facts import PoolFacts
from contracts.market import Protocol
from contracts.values import Address
from mycelium.testing import ManualClock
from tests.unit.adapters.polygon.live.contracts_in_memory import address
from tests.unit.adapters.polygon.samples import USDC, WETH

FACTS = PoolFacts(address(7), address(9), Protocol.UNISWAP_V3, USDC, WETH, 500, 10)


def facts(number: int) -> PoolFacts:
    return msgspec.structs.replace(FACTS, pool=address(number))


class StoreInMemory:
    def __init__(self) -> None:
        self.values: dict[Address, bytes] = {}
        self.broken = False
        self.asked = 0

    async def get(self, addresses: Sequence[Address]) -> dict[Address, bytes]:
        self._ask()
        return {address: self.values[address] for address in addresses if address in self.values}

    async def put(self, values: Mapping[Address, bytes]) -> None:
        self._ask()
        self.values |= values

    async def aclose(self) -> None:
        self._ask()

    def _ask(self) -> None:
        self.asked += 1
        if self.broken:
            raise StoreError("it is broken")


async def test_what_is_put_is_got() -> None:
    cache = StoreCache(StoreInMemory(), ManualClock())
    v2 = PoolFacts(address(8), address(9), Protocol.UNISWAP_V2, USDC, WETH)
    await cache.put_many([FACTS, v2])
    assert await cache.get_many([FACTS.pool, v2.pool, address(1)]) == {FACTS.pool: FACTS, v2.pool: v2}
    assert cache.statistics() == CacheStatistics(hits=2, misses=1)


async def test_nothing_is_asked_for_nothing() -> None:
    store = StoreInMemory()
    cache = StoreCache(store, ManualClock())
    await cache.put_many([])
    assert await cache.get_many([]) == {}
    assert store.asked == 0


async def test_an_outage_is_logged_once_and_counted() -> None:
    store, clock = StoreInMemory(), ManualClock()
    cache = StoreCache(store, clock)
    await cache.put_many([FACTS])
    store.broken = True
    with capture_logs() as logged:
        for _ in range(3):
            assert await cache.get_many([FACTS.pool]) == {}
            await cache.put_many([FACTS])  # left alone so soon after
            await clock.advance(PAUSE_SECONDS)
        store.broken = False
        assert await cache.get_many([FACTS.pool]) == {FACTS.pool: FACTS}
        assert await cache.get_many([FACTS.pool]) == {FACTS.pool: FACTS}
        store.broken = True
        await cache.put_many([FACTS])
        await cache.aclose()
    assert [entry["log_level"] for entry in logged] == ["warning", "info", "warning"]
    assert "it is broken" in logged[0]["error"]
    assert cache.statistics() == CacheStatistics(hits=2, errors=5, skipped=3)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage",
        msgspec.msgpack.encode([1, 2, 3]),
        msgspec.msgpack.encode({"pool": 1}),
        msgspec.msgpack.encode([bytes(20), bytes(19), "uniswap_v2", [bytes(20), "A", 1], [bytes(20), "B", 1]]),
        msgspec.msgpack.encode([b"x", b"y", "z"]),
        b"\x91" * 5000,
    ],
)
async def test_garbage_is_as_if_it_were_not_there(value: bytes) -> None:
    store = StoreInMemory()
    cache = StoreCache(store, ManualClock())
    await cache.put_many([facts(1), facts(2)])
    store.values[address(1)] = value
    with capture_logs() as logged:
        for _ in range(2):
            assert await cache.get_many([address(1), address(2)]) == {address(2): facts(2)}
    assert len(logged) == 1
    assert cache.statistics() == CacheStatistics(hits=2, misses=2, garbage=2)
    await cache.put_many([facts(1)])
    assert await cache.get_many([address(1)]) == {address(1): facts(1)}, "it is written over"


async def test_facts_that_are_not_those_of_the_pool_or_cannot_be_are_garbage() -> None:
    store = StoreInMemory()
    cache = StoreCache(store, ManualClock())
    deceiving = msgspec.structs.replace(facts(3), token1=msgspec.structs.replace(WETH, symbol="\u202eHTEW"))
    await cache.put_many([facts(1), msgspec.structs.replace(facts(2), fee_pips=10**6), deceiving])
    store.values[address(4)] = store.values[address(1)]
    assert set(await cache.get_many([address(n) for n in (1, 2, 3, 4)])) == {address(1)}
    assert cache.statistics().garbage == 3


@given(st.binary(max_size=120))
def test_whatever_is_stored_nothing_is_raised(value: bytes) -> None:
    cache = StoreCache(StoreInMemory(), ManualClock())
    assert cache._facts(address(1), value) is None


def sqlite(path: Path, chain_id: int = 137) -> StoreCache:
    return StoreCache(SqliteStore(path, chain_id), ManualClock())


async def test_a_file_keeps_what_was_put(tmp_path: Path) -> None:
    many = [facts(number) for number in range(1, 2 * CHUNK + 50)]
    cache = sqlite(tmp_path / "pools.sqlite")
    await cache.put_many(many)
    await cache.put_many(many[:3])
    await cache.aclose()
    again = sqlite(tmp_path / "pools.sqlite")
    assert await again.get_many([one.pool for one in many]) == {one.pool: one for one in many}
    assert again.statistics().errors == 0
    await again.aclose()
    await again.aclose()


async def test_chains_do_not_meet_in_a_file(tmp_path: Path) -> None:
    one, other = sqlite(tmp_path / "pools.sqlite"), sqlite(tmp_path / "pools.sqlite", 1)
    await one.put_many([FACTS])
    assert await other.get_many([FACTS.pool]) == {}
    await one.aclose()
    await other.aclose()


async def test_two_processes_may_use_a_file(tmp_path: Path) -> None:
    one, other = sqlite(tmp_path / "pools.sqlite"), sqlite(tmp_path / "pools.sqlite")
    await one.put_many([facts(1)])
    await other.put_many([facts(2)])
    assert set(await one.get_many([address(1), address(2)])) == {address(1), address(2)}
    await one.aclose()
    await other.aclose()


async def broken(cache: StoreCache) -> None:
    """It says nothing, keeps nothing and raises nothing."""
    assert await cache.get_many([FACTS.pool]) == {}
    await cache.put_many([FACTS])
    assert cache.statistics().errors == 1
    await cache.aclose()


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 100)
    await broken(sqlite(path))
    assert path.read_text() == "not a database\n" * 100


async def test_a_file_that_cannot_be_made_is_no_reason_to_stop(tmp_path: Path) -> None:
    await broken(sqlite(tmp_path / "missing" / "pools.sqlite"))
    await broken(sqlite(tmp_path))


async def test_another_table_of_that_name_is_no_reason_to_stop(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "pools.sqlite") as connection:
        connection.execute("CREATE TABLE pools (other TEXT)")
    connection.close()
    await broken(sqlite(tmp_path / "pools.sqlite"))


async def test_a_damaged_file_is_no_reason_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "pools.sqlite"
    cache = sqlite(path)
    await cache.put_many([facts(number) for number in range(1, 200)])
    await cache.aclose()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * len(content[4096:])
    path.write_bytes(content)
    clock = ManualClock()
    again = StoreCache(SqliteStore(path, 137), clock)
    assert await again.get_many([facts(1).pool]) == {}
    assert again.statistics().errors == 1
    path.unlink()
    await clock.advance(PAUSE_SECONDS)
    await again.put_many([facts(1)])
    assert await again.get_many([facts(1).pool]) == {facts(1).pool: facts(1)}, "with another file it works"
    await again.aclose()


async def test_a_value_that_is_no_bytes_is_garbage(tmp_path: Path) -> None:
    cache = sqlite(tmp_path / "pools.sqlite")
    await cache.put_many([FACTS])
    with sqlite3.connect(tmp_path / "pools.sqlite") as connection:
        connection.execute("UPDATE pools SET facts = 'text'")
    connection.close()
    assert await cache.get_many([FACTS.pool]) == {}
    assert cache.statistics() == CacheStatistics(misses=1, garbage=1)
    await cache.aclose()


async def test_a_file_that_only_can_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pools.sqlite"
    cache = sqlite(path)
    await cache.put_many([FACTS])
    await cache.aclose()
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def read_only(file: Path, **options: Any) -> sqlite3.Connection:
        # As SQLite opens a file that may not be written; to root, who runs tests in containers, every file may.
        return connect(f"file:{file}?mode=ro", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    again = sqlite(path)
    assert await again.get_many([FACTS.pool]) == {FACTS.pool: FACTS}
    await again.put_many([facts(2)])
    assert again.statistics() == CacheStatistics(hits=1, errors=1)
    await again.aclose()


async def test_a_full_disk_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def small(file: Path, **options: Any) -> sqlite3.Connection:
        connection = connect(file, **options)
        connection.execute("PRAGMA max_page_count = 3")  # then SQLite says what it says of a full disk
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    clock = ManualClock()
    cache = StoreCache(SqliteStore(tmp_path / "pools.sqlite", 137), clock)
    await cache.put_many([FACTS])
    with capture_logs() as logged:
        await cache.put_many([facts(number) for number in range(100, 1000)])
    assert "full" in logged[0]["error"]
    await clock.advance(PAUSE_SECONDS)
    assert await cache.get_many([FACTS.pool, address(100)]) == {FACTS.pool: FACTS}, "all of a question or nothing"
    await cache.aclose()


async def test_a_file_that_is_locked_is_waited_for_a_second(tmp_path: Path) -> None:
    cache = sqlite(tmp_path / "pools.sqlite")
    await cache.put_many([FACTS])
    other = sqlite3.connect(tmp_path / "pools.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    assert await cache.get_many([FACTS.pool]) == {}
    assert cache.statistics().errors == 1
    other.rollback()
    other.close()
    await cache.aclose()
