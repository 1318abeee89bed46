"""The six market events: signatures, there and back, known values, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon import decode as module
from adapters.polygon.decode import (
    MAX_LIQUIDITY,
    MAX_RESERVE,
    MAX_SQRT_PRICE_X96,
    MAX_TICK,
    MIN_SQRT_PRICE_X96,
    MIN_TICK,
    V2Swap,
    V2Sync,
    V3Burn,
    V3Initialize,
    V3Mint,
    V3Swap,
    decode,
    words,
)
from adapters.polygon.keccak import keccak256
from adapters.polygon.logs import ImpossibleState, Log, LogError, MalformedLog, parse_log
from adapters.polygon.pools import OTHER_EVENTS
from contracts.values import Address
from tests.unit.adapters.polygon import samples
from tests.unit.adapters.polygon.samples import RECIPIENT, SENDER
from tests.unit.adapters.polygon.test_logs import GOLDEN

SIGNATURES = {
    "V2_SWAP": "Swap(address,uint256,uint256,uint256,uint256,address)",
    "V2_SYNC": "Sync(uint112,uint112)",
    "V3_SWAP": "Swap(address,address,int256,int256,uint160,uint128,int24)",
    "V3_INITIALIZE": "Initialize(uint160,int24)",
    "V3_MINT": "Mint(address,address,int24,int24,uint128,uint256,uint256)",
    "V3_BURN": "Burn(address,int24,int24,uint128,uint256,uint256)",
}
IGNORED = {
    "Transfer": "Transfer(address,address,uint256)",
    "Approval": "Approval(address,address,uint256)",
    "v2 Mint": "Mint(address,uint256,uint256)",
    "v2 Burn": "Burn(address,uint256,uint256,address)",
    "v3 Collect": "Collect(address,address,int24,int24,uint128,uint128)",
    "v3 Flash": "Flash(address,address,uint256,uint256,uint256,uint256)",
    "v3 IncreaseObservationCardinalityNext": "IncreaseObservationCardinalityNext(uint16,uint16)",
    "v3 SetFeeProtocol": "SetFeeProtocol(uint8,uint8,uint8,uint8)",
    "v3 CollectProtocol": "CollectProtocol(address,address,uint128,uint128)",
}

RESERVES = st.integers(0, MAX_RESERVE)
TICKS = st.integers(MIN_TICK, MAX_TICK)
PRICES = st.integers(MIN_SQRT_PRICE_X96, MAX_SQRT_PRICE_X96 - 1)
LIQUIDITIES = st.integers(0, MAX_LIQUIDITY)
AMOUNTS = st.integers(0, 2**255 - 1)


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items())
def test_topics_are_the_hashes_of_the_signatures(name: str, signature: str) -> None:
    assert getattr(module, name) == keccak256(signature.encode())


def test_ignored_topics_are_the_hashes_of_their_signatures() -> None:
    assert {keccak256(signature.encode()): name for name, signature in IGNORED.items()} == OTHER_EVENTS


def test_a_real_v3_swap() -> None:
    assert decode(parse_log(GOLDEN)) == V3Swap(
        sender=Address("0xe592427a0aece92de3edee1f18e0157c05861564"),
        recipient=Address("0x8b26320912935111300ddaeec15ea9a182ff6f1a"),
        amount0=-2_988_196_954,
        amount1=788_911_381_103_277_696,
        sqrt_price_x96=1_287_023_799_018_574_070_893_171_027_089_208,
        liquidity=1_729_804_611_907_121_590,
        tick=193_919,
    )


@given(RESERVES, RESERVES)
def test_v2_sync_there_and_back(reserve0: int, reserve1: int) -> None:
    assert decode(samples.v2_sync(reserve0, reserve1)) == V2Sync(reserve0, reserve1)


@given(st.tuples(RESERVES, RESERVES).filter(any), st.tuples(RESERVES, RESERVES).filter(any))
def test_v2_swap_there_and_back(paid: tuple[int, int], out: tuple[int, int]) -> None:
    assert decode(samples.v2_swap(*paid, *out)) == V2Swap(SENDER, RECIPIENT, *paid, *out)


@given(AMOUNTS, AMOUNTS, st.booleans(), PRICES, LIQUIDITIES, TICKS)
def test_v3_swap_there_and_back(first: int, second: int, up: bool, price: int, liquidity: int, tick: int) -> None:
    amounts = (first, -second) if up else (-first, second)
    log = samples.v3_swap(*amounts, price=price, liquidity=liquidity, tick=tick)
    assert decode(log) == V3Swap(SENDER, RECIPIENT, *amounts, price, liquidity, tick)


@given(PRICES, TICKS)
def test_v3_initialize_there_and_back(price: int, tick: int) -> None:
    assert decode(samples.v3_initialize(price, tick)) == V3Initialize(price, tick)


@given(st.tuples(TICKS, TICKS).filter(lambda pair: pair[0] != pair[1]).map(sorted), LIQUIDITIES)
def test_v3_positions_there_and_back(ticks: list[int], liquidity: int) -> None:
    lower, upper = ticks
    assert decode(samples.v3_mint(lower, upper, liquidity)) == V3Mint(RECIPIENT, lower, upper, liquidity, 1, 2)
    assert decode(samples.v3_burn(lower, upper, liquidity)) == V3Burn(RECIPIENT, lower, upper, liquidity, 1, 2)


VALID = {
    "v2 sync": samples.v2_sync(1, 2),
    "v2 swap": samples.v2_swap(1, 0, 0, 1),
    "v3 swap": samples.v3_swap(1, -1),
    "v3 initialize": samples.v3_initialize(),
    "v3 mint": samples.v3_mint(-10, 10, 5),
    "v3 burn": samples.v3_burn(-10, 10, 5),
}


@pytest.mark.parametrize("log", VALID.values(), ids=VALID.keys())
def test_another_length_of_data_is_malformed(log: Log) -> None:
    for data in [log.data[:length] for length in range(len(log.data))] + [log.data + b"\0", log.data + bytes(32)]:
        with pytest.raises(MalformedLog, match="bytes of data"):
            decode(msgspec.structs.replace(log, data=data))


@pytest.mark.parametrize("log", VALID.values(), ids=VALID.keys())
def test_another_number_of_topics_is_malformed(log: Log) -> None:
    for topics in [log.topics[:count] for count in range(1, len(log.topics))] + [(*log.topics, bytes(32))]:
        with pytest.raises(MalformedLog, match="topics"):
            decode(msgspec.structs.replace(log, topics=topics))


@pytest.mark.parametrize("log", VALID.values(), ids=VALID.keys())
def test_any_single_changed_byte_gives_a_value_or_a_log_error(log: Log) -> None:
    for position in range(len(log.data)):
        data = bytearray(log.data)
        data[position] ^= 0xFF
        try:
            decode(msgspec.structs.replace(log, data=bytes(data)))
        except LogError as error:
            assert error.cause in ("malformed_log", "impossible_state")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: samples.v2_sync(MAX_RESERVE + 1, 1), "reserve0"),
        (lambda: samples.v2_sync(1, MAX_RESERVE + 1), "reserve1"),
        (lambda: samples.v2_sync(1, 2**256 - 1), "reserve1"),
        (lambda: samples.v2_swap(MAX_RESERVE + 1, 0, 0, 1), "amount"),
        (lambda: samples.v2_swap(0, 0, 0, 1), "0 and 0 in"),
        (lambda: samples.v2_swap(1, 0, 0, 0), "0 and 0 out"),
        (lambda: samples.v3_swap(1, 1), "one direction"),
        (lambda: samples.v3_swap(-1, -1), "one direction"),
        (lambda: samples.v3_swap(1, -1, price=MIN_SQRT_PRICE_X96 - 1), "sqrtPriceX96"),
        (lambda: samples.v3_swap(1, -1, price=MAX_SQRT_PRICE_X96), "sqrtPriceX96"),
        (lambda: samples.v3_swap(1, -1, liquidity=MAX_LIQUIDITY + 1), "liquidity"),
        (lambda: samples.v3_swap(1, -1, tick=MAX_TICK + 1), "tick"),
        (lambda: samples.v3_swap(1, -1, tick=MIN_TICK - 1), "tick"),
        (lambda: samples.v3_initialize(price=0), "sqrtPriceX96"),
        (lambda: samples.v3_initialize(tick=2**23), "tick"),
        (lambda: samples.v3_mint(10, 10, 1), "empty"),
        (lambda: samples.v3_mint(10, -10, 1), "empty"),
        (lambda: samples.v3_mint(MIN_TICK - 1, 10, 1), "tick"),
        (lambda: samples.v3_mint(-10, 10, MAX_LIQUIDITY + 1), "Mint amount"),
        (lambda: samples.v3_burn(-10, 10, MAX_LIQUIDITY + 1), "Burn amount"),
    ],
)
def test_impossible_values(make: Callable[[], Log], match: str) -> None:
    with pytest.raises(ImpossibleState, match=match):
        decode(make())


def test_the_limits_are_those_of_the_contracts() -> None:
    assert decode(samples.v2_sync(2**112 - 1, 2**112 - 1)) == V2Sync(2**112 - 1, 2**112 - 1)
    assert decode(samples.v3_initialize(4295128739, -887272)) == V3Initialize(4295128739, -887272)
    highest = 1461446703485210103287273052203988822378723970341
    assert decode(samples.v3_initialize(highest, 887272)) == V3Initialize(highest, 887272)
    for log in (
        samples.v2_sync(2**112, 0),
        samples.v3_initialize(4295128738),
        samples.v3_initialize(highest + 1),
        samples.v3_initialize(tick=887273),
        samples.v3_initialize(tick=-887273),
        samples.v3_swap(1, -1, liquidity=2**128),
    ):
        with pytest.raises(ImpossibleState):
            decode(log)


def test_an_address_with_more_than_20_bytes_is_malformed() -> None:
    log = VALID["v2 swap"]
    with pytest.raises(MalformedLog, match="no address"):
        decode(msgspec.structs.replace(log, topics=(log.topics[0], b"\x01" * 32, log.topics[2])))


def test_other_events_and_anonymous_logs_are_none() -> None:
    assert decode(samples.log(SENDER, (), b"")) is None
    assert decode(samples.log(SENDER, (bytes(32),), b"")) is None


def test_words_refuse_what_needs_more_than_256_bits() -> None:
    assert words(-1) == b"\xff" * 32
    with pytest.raises(OverflowError):
        words(2**256)
