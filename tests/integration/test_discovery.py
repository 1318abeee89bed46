"""Discovery on a real node with the real Uniswap contracts: what is described is what was deployed.

Odd tokens are among it. Each test runs with Multicall3 at its address and without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from eth_abi.abi import encode

from adapters.polygon.live.answers import EndpointError, result_of
from adapters.polygon.live.cache import SqliteStore, StoreCache
from adapters.polygon.live.calls import MULTICALL3, Call, Caller, call_data, number_in
from adapters.polygon.live.discovery import Discovery, Filter, created
from adapters.polygon.live.facts import Venue
from adapters.polygon.live.states import states
from adapters.polygon.logs import parse_log
from adapters.polygon.pools import PoolBook
from adapters.polygon.record import MissingToolError, Tools
from adapters.polygon.record.market import Market, deploy
from adapters.polygon.record.node import Node, calldata
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address
from mycelium.testing import ManualClock

REPOSITORY = Path(__file__).parents[2]
SOURCES = Path(__file__).with_name("solidity")

pytestmark = pytest.mark.node

V2, V3 = Protocol.UNISWAP_V2, Protocol.UNISWAP_V3


def text(value: bytes) -> bytes:
    return encode(["bytes"], [value])


def number(value: int) -> bytes:
    return value.to_bytes(32, "big")


ODD: dict[str, tuple[bytes, bytes, str | None]] = {
    "bytes32": (b"MKR".ljust(32, b"\0"), number(18), "MKR"),
    "empty": (text(b""), number(18), None),
    "reverting": (b"", number(18), None),
    "control": (text(b"US\x1b[31mDC\n"), number(6), None),
    "right to left": (text("\u202eCDSU".encode()), number(6), None),
    "no utf-8": (text(b"\xff\xfe\xfd"), number(6), None),
    "huge": (text(b"x" * 2000), number(6), None),
    "not text": (number(2**255) + number(7), number(6), None),
    "no unit": (text(b"BIG"), number(255), "BIG"),
    "imitation": (text(b"WETH"), number(18), "WETH"),
}
"""What tokens return for symbol and decimals, and the symbol that they get; None for that of their address."""

REASONS = ("block not found", "historical state is not available", "timeout", "too many requests", "-32602")
"""With which tokens refuse to say their symbols: what endpoints say of themselves."""

UNFIT = {
    "no decimals": (text(b"NODEC"), b""),
    "too many": (text(b"MANY"), number(256)),
    "short": (text(b"SHORT"), b"\x12"),
}


@dataclass
class World:
    """What is deployed."""

    node: Node
    market: Market
    multicall: str
    factories: dict[str, Address]
    pools: dict[str, Address] = field(default_factory=dict)
    """Pairs of odd tokens with USDC, by the token's name."""
    tokens: dict[str, Address] = field(default_factory=dict)
    pretender: Address = field(init=False)
    empty_v3: Address = field(init=False)
    questions: int = 0

    @property
    def venues(self) -> Mapping[Address, Venue]:
        protocols = {"quickswap": V2, "sushiswap": V2, "uniswap_v3": V3}
        return {self.factories[name]: Venue(name, protocol) for name, protocol in protocols.items()}

    @property
    def addresses(self) -> list[Address]:
        return [pool.pool for pool in self.market.pools]

    def head(self) -> bytes:
        return bytes.fromhex(self.node.rpc("eth_getBlockByNumber", "latest", False)["hash"][2:])

    def create(self, *codes: bytes) -> list[Address]:
        sent = [self.node.send(self.node.accounts[0], None, code) for code in codes]
        self.node.mine()
        return [Address(self.node.receipt(one)["contractAddress"]) for one in sent]

    def do(self, *calls: tuple[Address, bytes]) -> None:
        sent = [self.node.send(self.node.accounts[0], to, data) for to, data in calls]
        self.node.mine()
        for one in sent:
            self.node.receipt(one)

    @asynccontextmanager
    async def caller(self, **sizes: int) -> AsyncIterator[Caller]:
        async with aiohttp.ClientSession() as session:

            async def ask(method: str, params: list[Any]) -> msgspec.Raw:
                self.questions += 1
                question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                async with session.post(f"http://127.0.0.1:{self.node._http.port}/", json=question) as response:
                    return result_of(await response.read(), 1)

            yield Caller(ask, **sizes)


@pytest.fixture(scope="module")
def deployed() -> Iterator[World]:
    try:
        tools = Tools.find(REPOSITORY / "build" / "node-tools")
    except MissingToolError as error:
        pytest.skip(str(error))
    code = tools.compile(SOURCES)
    with Node(tools.anvil) as node:
        market = deploy(node, tools)
        factories = {pool.venue: Address(node.call(pool.pool, calldata("factory()"))[12:]) for pool in market.pools}
        world = World(node, market, "", factories)
        (multicall,) = world.create(code["Multicall"])
        world.multicall = node.rpc("eth_getCode", str(multicall), "latest")
        usdc = token_of(market, "USDC").address
        answers = {name: answer[:2] for name, answer in ODD.items()} | UNFIT
        codes = [code["Odd"] + encode(["bytes", "bytes"], answer) for answer in answers.values()]
        codes += [code["Excuse"] + encode(["string"], [reason]) for reason in REASONS]
        made = world.create(*codes, code["Burner"], code["Flood"])
        world.tokens = dict(zip((*answers, *REASONS, "burner", "flood"), made, strict=True))
        world.do(
            *(
                (factories["quickswap"], calldata("createPair(address,address)", usdc, token))
                for token in world.tokens.values()
            ),
            (factories["uniswap_v3"], calldata("createPool(address,address,uint24)", usdc, made[0], 3000)),
        )
        for name, token in world.tokens.items():
            query = calldata("getPair(address,address)", usdc, token)
            world.pools[name] = Address(node.call(factories["quickswap"], query)[12:])
        query = calldata("getPool(address,address,uint24)", usdc, made[0], 3000)
        world.empty_v3 = Address(node.call(factories["uniswap_v3"], query)[12:])
        low, high = sorted((usdc, made[0]))
        (world.pretender,) = world.create(
            code["Pretender"] + encode(["address"] * 3, [bytes(factories["uniswap_v3"]), bytes(low), bytes(high)])
        )
        yield world


@pytest.fixture(params=["multicall", "single calls"])
def world(deployed: World, request: pytest.FixtureRequest) -> World:
    there = request.param == "multicall"
    deployed.node.rpc("anvil_setCode", str(MULTICALL3), deployed.multicall if there else "0x")
    deployed.node.mine()
    return deployed


def token_of(market: Market, symbol: str) -> Token:
    return next(t for pool in market.pools for t in (pool.token0, pool.token1) if t.symbol == symbol)


def other_than(pool: PoolMetadata, token: Address) -> Token:
    return pool.token0 if pool.token1.address == token else pool.token1


async def test_what_is_described_is_what_was_deployed(world: World) -> None:
    async with world.caller() as caller:
        for block in (world.head(), None):
            pools, unfit = await Discovery(caller, world.venues).describe(world.addresses, block)
            assert pools == {pool.pool: pool for pool in world.market.pools}
            assert not unfit


def test_creations_in_the_logs_of_the_factories_are_the_pools(deployed: World) -> None:
    found = {}
    for obj in deployed.node.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"}):
        log = parse_log(obj)
        if (pool := created(log)) is not None:
            found[pool] = log.address
    expected = {pool.pool: deployed.factories[pool.venue] for pool in deployed.market.pools}
    expected |= dict.fromkeys(deployed.pools.values(), deployed.factories["quickswap"])
    assert found == expected | {deployed.empty_v3: deployed.factories["uniswap_v3"]}


async def test_states_are_those_that_the_events_tell(world: World) -> None:
    book = PoolBook(world.market.pools)
    for obj in world.node.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"}):
        book.apply(parse_log(obj))
    async with world.caller() as caller:
        found = await states(caller, world.market.pools, world.head())
        empty = (await Discovery(caller, world.venues).describe([world.empty_v3])).pools
        assert await states(caller, empty.values(), world.head()) == {world.empty_v3: None}
    for pool in world.market.pools:
        expected = book.v2_reserves(pool.pool) if pool.protocol is V2 else book.v3_state(pool.pool)
        assert expected is not None
        assert found[pool.pool] == expected


async def test_odd_tokens_are_called_by_what_is_safe_or_refused(world: World) -> None:
    addresses = [*world.addresses, *world.pools.values(), world.pretender]
    async with world.caller(batch=7) as caller:
        pools, unfit = await Discovery(caller, world.venues).describe(addresses, world.head())
    usdc = token_of(world.market, "USDC").address
    for name, (_, decimals, symbol) in ODD.items():
        token = other_than(pools[world.pools[name]], usdc)
        assert token.symbol == (symbol or world.tokens[name].hex()[:8]), name
        assert token.decimals == int.from_bytes(decimals, "big")
    for name in UNFIT:
        assert unfit[world.pools[name]].cause == "bad_token", name
    assert unfit[world.pretender].cause == "no_pool"
    assert set(unfit) == {world.pretender} | {world.pools[name] for name in UNFIT}
    names = {(pool.venue, pool.instrument) for pool in pools.values()}
    assert len(names) == len(pools)
    assert pools[world.pools["imitation"]].instrument.endswith("-" + world.pools["imitation"].hex()[:8])
    assert {pool.pool: pools[pool.pool] for pool in world.market.pools} == {p.pool: p for p in world.market.pools}


@pytest.mark.parametrize("kind", ["burner", "flood", *REASONS])
async def test_a_token_that_takes_all_gas_or_talks_like_an_endpoint_harms_no_other(world: World, kind: str) -> None:
    addresses = [world.pools[kind], *world.addresses]
    async with world.caller() as caller:
        pools, unfit = await Discovery(caller, world.venues).describe(addresses, world.head())
    assert not unfit
    token = other_than(pools.pop(world.pools[kind]), token_of(world.market, "USDC").address)
    assert token == Token(world.tokens[kind], world.tokens[kind].hex()[:8], 18)
    assert pools == {pool.pool: pool for pool in world.market.pools}


async def test_pools_of_other_venues_and_sizes_are_left_out(world: World) -> None:
    weth = token_of(world.market, "WETH")
    venues = {factory: venue for factory, venue in world.venues.items() if venue.name != "sushiswap"}
    wanted = Filter(minimum={weth.address: 250 * 10**18})
    async with world.caller() as caller:
        pools, unfit = await Discovery(caller, venues, wanted=wanted).describe(world.addresses, world.head())
    assert {reason.cause for reason in unfit.values()} == {"unknown_venue", "too_small"}
    assert {(pool.venue, pool.instrument) for pool in pools.values()} == {
        (pool.venue, pool.instrument)
        for pool in world.market.pools
        if pool.venue != "sushiswap" and weth in (pool.token0, pool.token1) and dollars(world, pool) >= 600_000
    }


def dollars(world: World, pool: PoolMetadata) -> int:
    """What a pool holds of ether, at the 2400 dollars of the market."""
    weth = token_of(world.market, "WETH").address
    balance = world.node.call(weth, calldata("balanceOf(address)", pool.pool))
    return int.from_bytes(balance, "big") * 2400 // 10**18


async def test_a_file_saves_all_questions(world: World, tmp_path: Path) -> None:
    async with world.caller() as caller:
        cache = StoreCache(SqliteStore(tmp_path / "pools.sqlite", 137), ManualClock())
        first = await Discovery(caller, world.venues, cache=cache).describe(world.addresses)
        await cache.aclose()

    async def nobody(_method: str, _params: list[Any]) -> msgspec.Raw:
        raise EndpointError("unreachable", "nobody is asked")

    again = StoreCache(SqliteStore(tmp_path / "pools.sqlite", 137), ManualClock())
    assert await Discovery(Caller(nobody), world.venues, cache=again).describe(world.addresses) == first
    await again.aclose()


async def test_a_block_that_the_node_does_not_have_is_its_failure(world: World) -> None:
    async with world.caller() as caller:
        with pytest.raises(EndpointError):
            await Discovery(caller, world.venues).describe(world.addresses, b"\x01" * 32)


async def test_many_calls_are_made_at_one_block(world: World) -> None:
    calls = [Call(pool.token0.address, call_data("decimals()")) for pool in world.market.pools] * 40
    before = world.questions
    async with world.caller() as caller:
        found = await asyncio.wait_for(caller.many(calls, world.head()), 60)
    has_multicall = world.node.rpc("eth_getCode", str(MULTICALL3), "latest") != "0x"
    assert world.questions - before == (1 + 5 if has_multicall else 1 + len(calls))
    assert [number_in(one) for one in found] == [pool.token0.decimals for pool in world.market.pools] * 40
