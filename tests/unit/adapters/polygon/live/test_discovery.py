"""Pools are described from what contracts say, and whoever lies is refused with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.keccak import keccak256
from adapters.polygon.live.answers import EndpointError
from adapters.polygon.live.calls import Caller, call_data
from adapters.polygon.live.discovery import PAIR_CREATED, POOL_CREATED, Discovery, Filter, created
from adapters.polygon.live.facts import PoolFacts, Venue
from adapters.polygon.logs import Log
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address
from tests.unit.adapters.polygon.live.contracts_in_memory import BLOCK, ContractsInMemory, address, text, word

V2, V3 = Protocol.UNISWAP_V2, Protocol.UNISWAP_V3
QUICK, UNI, OTHER = address(0xF2), address(0xF3), address(0xF4)
FACTORIES = {QUICK: Venue("quickswap", V2), UNI: Venue("uniswap_v3", V3)}
USDC, WETH, DAI = address(0xA1), address(0xA2), address(0xA3)
PAIR, POOL = Address("0x" + "11" * 20), Address("0x" + "22" * 20)


def market() -> ContractsInMemory:
    node = ContractsInMemory()
    node.token(USDC, "USDC", 6)
    node.token(WETH, "WETH")
    node.token(DAI, "DAI")
    node.pool(PAIR, QUICK, USDC, WETH)
    node.pool(POOL, UNI, USDC, WETH, V3)
    return node


class CacheInMemory:
    def __init__(self) -> None:
        self.facts: dict[Address, PoolFacts] = {}

    async def get_many(self, addresses: Sequence[Address]) -> dict[Address, PoolFacts]:
        return {address: self.facts[address] for address in addresses if address in self.facts}

    async def put_many(self, facts: Iterable[PoolFacts]) -> None:
        self.facts |= {one.pool: one for one in facts}


async def unfit_of(node: ContractsInMemory, pool: Address, wanted: Filter | None = None) -> str:
    """Why a pool is refused; the honest pair beside it is not."""
    pools, unfit = await Discovery(Caller(node.ask), FACTORIES, wanted=wanted).describe([pool, PAIR])
    assert pool not in pools
    assert (PAIR in pools) is (PAIR not in unfit)
    return str(unfit[pool])


async def test_pools_of_both_kinds_are_described() -> None:
    node = market()
    pools, unfit = await Discovery(Caller(node.ask), FACTORIES).describe([POOL, PAIR, POOL], BLOCK)
    usdc, weth = Token(USDC, "USDC", 6), Token(WETH, "WETH", 18)
    assert not unfit
    assert pools == {
        POOL: PoolMetadata("uniswap_v3", "usdc-weth-500", POOL, V3, usdc, weth, 500, 10),
        PAIR: PoolMetadata("quickswap", "usdc-weth", PAIR, V2, usdc, weth, 3000),
    }
    assert list(pools) == [POOL, PAIR], "in the order given"
    assert all(params[1] == {"blockHash": "0x" + BLOCK.hex()} for method, params in node.asked if method == "eth_call")


async def test_a_v2_venue_has_the_fee_of_its_configuration() -> None:
    factories = {QUICK: Venue("cheap", V2, 1000)}
    pools, _ = await Discovery(Caller(market().ask), factories).describe([PAIR])
    assert (pools[PAIR].venue, pools[PAIR].fee_pips) == ("cheap", 1000)


async def test_nothing_is_asked_for_no_pools() -> None:
    node = market()
    assert await Discovery(Caller(node.ask), FACTORIES).describe([]) == ({}, {})
    assert not node.asked


async def test_an_address_without_a_contract_is_no_pool() -> None:
    assert (await unfit_of(market(), address(77))).startswith("no_pool: it does not name")


async def test_a_pool_of_an_unknown_factory_is_refused() -> None:
    node = market()
    node.pool(address(5), OTHER, USDC, WETH)
    assert await unfit_of(node, address(5)) == f"unknown_venue: factory {OTHER} is not configured"


@pytest.mark.parametrize("factory", [QUICK, UNI])
async def test_a_contract_that_says_it_is_of_a_factory_is_not_believed(factory: Address) -> None:
    node = market()
    node.says(address(5), factory=word(factory), token0=word(USDC), token1=word(WETH))
    node.says(address(5), fee=word(500), tickSpacing=word(10))
    assert (await unfit_of(node, address(5))).startswith(f"no_pool: factory {factory} has not made it")


async def test_a_factory_that_is_configured_as_another_kind_knows_none_of_its_pools() -> None:
    node = market()
    pools, unfit = await Discovery(Caller(node.ask), {UNI: Venue("wrong", V2)}).describe([POOL])
    assert not pools
    assert unfit[POOL].cause == "no_pool"


@pytest.mark.parametrize(("fee", "spacing"), [(None, word(10)), (word(500), None), (word(2**24), word(10))])
async def test_a_v3_pool_says_its_fee_and_spacing(fee: bytes | None, spacing: bytes | None) -> None:
    node = market()
    node.says(POOL, fee=fee, tickSpacing=spacing)
    assert await unfit_of(node, POOL) == "no_pool: it does not name the fee and tick spacing of a v3 pool"


async def test_what_cannot_be_is_refused() -> None:
    node = market()
    node.pool(address(5), UNI, USDC, WETH, V3, fee=3000, spacing=0)
    assert "tick spacing 0" in await unfit_of(node, address(5))
    node.pool(address(6), QUICK, WETH, USDC)
    assert "smaller address" in await unfit_of(node, address(6))


@pytest.mark.parametrize(
    ("decimals", "reason"),
    [
        (None, "does not say its decimals"),
        (b"", "does not say"),
        (b"\x06", "does not say"),
        (word(256), "more than 255"),
    ],
)
async def test_a_token_without_decimals_makes_its_pools_unfit(decimals: bytes | None, reason: str) -> None:
    node = market()
    odd = address(0xB0)
    node.says(odd, symbol=text("ODD"), decimals=decimals)
    node.pool(address(5), QUICK, USDC, odd)
    found = await unfit_of(node, address(5))
    assert found.startswith(f"bad_token: token {odd} ")
    assert reason in found


async def test_a_token_without_a_symbol_is_called_by_its_address() -> None:
    node = market()
    odd = Address("0xdeadbeef" + "00" * 16)
    node.says(odd, symbol=None, decimals=word(0))
    node.pool(PAIR, QUICK, USDC, odd)
    pools, _ = await Discovery(Caller(node.ask), FACTORIES).describe([PAIR])
    assert pools[PAIR].instrument == "usdc-deadbeef"
    assert pools[PAIR].token1 == Token(odd, "deadbeef", 0)


async def test_a_token_is_asked_once() -> None:
    node = market()
    node.pool(address(5), QUICK, USDC, DAI)
    node.has_multicall = False
    discovery = Discovery(Caller(node.ask), FACTORIES)
    await discovery.describe([POOL, PAIR])
    await discovery.describe([address(5)])
    asked = [params[0]["to"] for method, params in node.asked if method == "eth_call"]
    assert asked.count(str(USDC)) == 2, "symbol and decimals"


def imitation(node: ContractsInMemory) -> Address:
    """A pool of a token that has another one's symbol."""
    fake = node.token(address(0xA9), "WETH")
    return node.pool(Address("0x" + "99" * 20), QUICK, USDC, fake)


async def test_a_pool_that_imitates_another_one_gets_another_name() -> None:
    node = market()
    fake = imitation(node)
    pools, unfit = await Discovery(Caller(node.ask), FACTORIES).describe([PAIR, fake])
    assert not unfit
    assert (pools[PAIR].instrument, pools[fake].instrument) == ("usdc-weth", "usdc-weth-99999999")


async def test_names_last_over_questions_and_runs() -> None:
    node = market()
    fake = imitation(node)
    discovery = Discovery(Caller(node.ask), FACTORIES)
    first = (await discovery.describe([PAIR])).pools
    second = (await discovery.describe([fake, PAIR])).pools
    assert second[PAIR] == first[PAIR]
    another_run = Discovery(Caller(node.ask), FACTORIES, known=second.values())
    assert (await another_run.describe([fake, PAIR])).pools == second


async def test_a_pool_that_is_not_wanted_takes_no_name() -> None:
    node = market()
    fake = imitation(node)
    wanted = Filter(tokens=frozenset({USDC, WETH}))
    pools, unfit = await Discovery(Caller(node.ask), FACTORIES, wanted=wanted).describe([fake, PAIR])
    assert pools[PAIR].instrument == "usdc-weth"
    assert str(unfit[fake]) == "not_wanted: USDC and WETH on quickswap"


async def test_describing_at_once_is_describing_one_after_the_other() -> None:
    node, cache = market(), CacheInMemory()
    fake = imitation(node)
    await Discovery(Caller(node.ask), FACTORIES, cache=cache).describe([fake])
    # The second question needs no answer of the node, and waits all the same.
    discovery = Discovery(Caller(node.ask), FACTORIES, cache=cache)
    first, second = await asyncio.gather(discovery.describe([PAIR]), discovery.describe([fake]))
    assert (first.pools[PAIR].instrument, second.pools[fake].instrument) == ("usdc-weth", "usdc-weth-99999999")


async def test_filters_take_venues_and_tokens() -> None:
    node = market()
    pool = (await Discovery(Caller(node.ask), FACTORIES).describe([PAIR])).pools[PAIR]
    assert Filter().wanted(pool)
    assert Filter(venues=frozenset({"quickswap"}), tokens=frozenset({USDC, WETH, DAI})).wanted(pool)
    assert not Filter(venues=frozenset({"uniswap_v3"})).wanted(pool)
    assert not Filter(tokens=frozenset({USDC, DAI})).wanted(pool)
    assert not Filter(venues=frozenset()).wanted(pool)


async def test_a_pool_must_hold_enough_of_one_token() -> None:
    node = market()
    node.says(PAIR, getReserves=word(1000) + word(5) + word(0))
    node.answers[WETH, call_data("balanceOf(address)", bytes(POOL))] = word(9)

    async def described(**minimum: int) -> set[Address]:
        wanted = Filter(minimum={{"usdc": USDC, "weth": WETH, "dai": DAI}[name]: n for name, n in minimum.items()})
        pools, unfit = await Discovery(Caller(node.ask), FACTORIES, wanted=wanted).describe([PAIR, POOL])
        assert all(reason.cause == "too_small" for reason in unfit.values())
        assert set(pools) | set(unfit) == {PAIR, POOL}
        return set(pools)

    assert await described() == {PAIR, POOL}
    assert await described(usdc=1000) == {PAIR}
    assert await described(weth=6) == {POOL}
    assert await described(usdc=1000, weth=6) == {PAIR, POOL}
    assert await described(usdc=1001) == set()
    assert await described(dai=0) == set()


async def test_what_is_cached_is_not_asked_again_and_is_the_same() -> None:
    node, cache = market(), CacheInMemory()
    first = await Discovery(Caller(node.ask), FACTORIES, cache=cache).describe([PAIR, POOL])
    assert set(cache.facts) == {PAIR, POOL}
    node.asked.clear()
    assert await Discovery(Caller(node.ask), FACTORIES, cache=cache).describe([PAIR, POOL]) == first
    assert not node.asked


async def test_a_cache_keeps_nothing_of_the_configuration() -> None:
    node, cache = market(), CacheInMemory()
    await Discovery(Caller(node.ask), FACTORIES, cache=cache).describe([PAIR, POOL])
    changed = {QUICK: Venue("renamed", V2, 2500)}
    pools, unfit = await Discovery(Caller(node.ask), changed, cache=cache).describe([PAIR, POOL])
    assert (pools[PAIR].venue, pools[PAIR].fee_pips) == ("renamed", 2500)
    assert unfit[POOL].cause == "unknown_venue"
    changed = {QUICK: Venue("quickswap", V3)}
    _, unfit = await Discovery(Caller(node.ask), changed, cache=cache).describe([PAIR])
    assert unfit[PAIR].cause == "unknown_venue", "a v2 pool is none of a v3 venue"


async def test_names_do_not_depend_on_what_is_cached() -> None:
    node, cache = market(), CacheInMemory()
    fake = imitation(node)
    await Discovery(Caller(node.ask), FACTORIES, cache=cache).describe([fake])
    pools, _ = await Discovery(Caller(node.ask), FACTORIES, cache=cache).describe([PAIR, fake])
    assert (pools[PAIR].instrument, pools[fake].instrument) == ("usdc-weth", "usdc-weth-99999999")


async def test_what_is_unfit_is_not_cached() -> None:
    node, cache = market(), CacheInMemory()
    discovery = Discovery(Caller(node.ask), FACTORIES, cache=cache)
    await discovery.describe([address(5)])
    node.pool(address(5), QUICK, USDC, DAI)
    assert address(5) in (await discovery.describe([address(5)])).pools


async def test_an_endpoints_failure_is_raised() -> None:
    node = market()

    def fail(_method: str, _params: object) -> None:
        raise EndpointError("unreachable", "no")

    node.before = fail
    discovery = Discovery(Caller(node.ask), FACTORIES)
    with pytest.raises(EndpointError):
        await discovery.describe([PAIR])
    node.before = lambda _method, _params: None
    assert PAIR in (await discovery.describe([PAIR])).pools


ANSWERS = st.one_of(st.none(), st.binary(max_size=130), st.sampled_from([USDC, WETH, QUICK, UNI, PAIR, POOL]).map(word))


@given(st.data())
def test_whatever_contracts_answer_a_pool_is_described_or_unfit(data: st.DataObject) -> None:
    node = market()
    for key in list(node.answers):
        if data.draw(st.integers(0, 3)) == 0:
            node.answers[key] = data.draw(ANSWERS)
    node.has_multicall = data.draw(st.booleans())
    wanted = Filter(minimum={USDC: 0} if data.draw(st.booleans()) else {})
    pools, unfit = asyncio.run(Discovery(Caller(node.ask), FACTORIES, wanted=wanted).describe([PAIR, POOL]))
    assert set(pools) | set(unfit) == {PAIR, POOL}
    assert not set(pools) & set(unfit)


def creation(topic: bytes, *indexed: int | Address, data: bytes) -> Log:
    return Log(QUICK, (topic, *map(word, indexed)), data, 1, 0, bytes(32), 0)


def test_topics_are_the_hashes_of_signatures() -> None:
    assert keccak256(b"PairCreated(address,address,address,uint256)") == PAIR_CREATED
    assert keccak256(b"PoolCreated(address,address,uint24,int24,address)") == POOL_CREATED


def test_a_creation_names_the_pool() -> None:
    assert created(creation(PAIR_CREATED, USDC, WETH, data=word(PAIR) + word(1))) == PAIR
    assert created(creation(POOL_CREATED, USDC, WETH, 500, data=word(10) + word(POOL))) == POOL


@pytest.mark.parametrize(
    "log",
    [
        creation(PAIR_CREATED, USDC, data=word(PAIR) + word(1)),
        creation(PAIR_CREATED, USDC, WETH, data=word(PAIR)),
        creation(PAIR_CREATED, USDC, WETH, data=word(2**160) + word(1)),
        creation(PAIR_CREATED, USDC, WETH, data=bytes(64)),
        creation(POOL_CREATED, USDC, WETH, data=word(10) + word(POOL)),
        creation(POOL_CREATED, USDC, WETH, 500, data=word(10) + word(POOL) + word(1)),
        creation(bytes(32), USDC, WETH, data=word(PAIR) + word(1)),
        msgspec.structs.replace(creation(PAIR_CREATED, data=b""), topics=()),
    ],
)
def test_another_log_names_none(log: Log) -> None:
    assert created(log) is None
