"""Pools, logs and recorded files that several tests use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.polygon.decode import V2_SWAP, V2_SYNC, V3_BURN, V3_INITIALIZE, V3_MINT, V3_SWAP, words
from adapters.polygon.logs import Log
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address

DATA = Path(__file__).parents[5] / "shared" / "data"
DEMO = Path(__file__).parents[4] / "adapters" / "polygon" / "captures" / "demo.jsonl.gz"

USDC = Token(Address("0x2791bca1f2de4661ed88a30c99a7a9449aa84174"), "USDC", 6)
WETH = Token(Address("0x7ceb23fd6bc0add59e62ac25578270cff1b9f619"), "WETH", 18)
V3_POOL = PoolMetadata(
    "uniswap_v3",
    "usdc-weth-500",
    Address("0x45dda9cb7c25131df268515131f647d726f50608"),
    Protocol.UNISWAP_V3,
    USDC,
    WETH,
    500,
    10,
)
V2_POOL = PoolMetadata(
    "quickswap",
    "usdc-weth",
    Address("0x853ee4b2a13f8a742d64c8f088be7ba2131f670d"),
    Protocol.UNISWAP_V2,
    USDC,
    WETH,
    3000,
)
SENDER = Address("0x" + "5e" * 20)
RECIPIENT = Address("0x" + "7c" * 20)
PRICE = 1287023799018574070893171027089208
"""Square root of the price of the first recorded swap, times 2**96; its tick is 193919."""


def recorded(*parts: str) -> Path:
    """A file of the recorded data; the test skips, naming it, where it is missing."""
    path = DATA.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"recorded data file is missing: {'/'.join(parts)}")
    return path


def blocks() -> list[str]:
    """Names of the recorded blocks that are there."""
    return sorted(path.name for path in (DATA / "ethereum_blocks").glob("*.json.gz"))


def polygon_csv() -> Path:
    return recorded("polygon_uniswap_v3", "2022-01-05_usdc-weth-005.raw.csv.gz")


def padded(address: Address) -> bytes:
    return bytes(address).rjust(32, b"\0")


def log(address: Address, topics: tuple[bytes, ...], data: bytes, *, block: int = 1, index: int = 0) -> Log:
    return Log(address, topics, data, block, index, bytes(31) + b"\x01", 1_700_000_000)


def v2_sync(reserve0: int, reserve1: int, **place: int) -> Log:
    return log(V2_POOL.pool, (V2_SYNC,), words(reserve0, reserve1), **place)


def v2_swap(in0: int, in1: int, out0: int, out1: int, **place: int) -> Log:
    ends = padded(SENDER), padded(RECIPIENT)
    return log(V2_POOL.pool, (V2_SWAP, *ends), words(in0, in1, out0, out1), **place)


def v3_swap(
    amount0: int, amount1: int, *, price: int = PRICE, liquidity: int = 10**18, tick: int = 193919, **place: int
) -> Log:
    ends = padded(SENDER), padded(RECIPIENT)
    return log(V3_POOL.pool, (V3_SWAP, *ends), words(amount0, amount1, price, liquidity, tick), **place)


def v3_initialize(price: int = PRICE, tick: int = 193919, **place: int) -> Log:
    return log(V3_POOL.pool, (V3_INITIALIZE,), words(price, tick), **place)


def v3_mint(lower: int, upper: int, liquidity: int, **place: int) -> Log:
    topics = V3_MINT, padded(RECIPIENT), words(lower), words(upper)
    return log(V3_POOL.pool, topics, padded(SENDER) + words(liquidity, 1, 2), **place)


def v3_burn(lower: int, upper: int, liquidity: int, **place: int) -> Log:
    topics = V3_BURN, padded(RECIPIENT), words(lower), words(upper)
    return log(V3_POOL.pool, topics, words(liquidity, 1, 2), **place)


def header_json(**changes: Any) -> dict[str, Any]:
    """A capture header that describes both pools."""
    header: dict[str, Any] = {
        "capture": 1,
        "chain_id": 137,
        "recorded_by": "a test",
        "pools": [
            {
                "address": str(pool.pool),
                "venue": pool.venue,
                "protocol": pool.protocol.value,
                "token0": str(pool.token0.address),
                "token1": str(pool.token1.address),
                "fee_pips": pool.fee_pips,
                "tick_spacing": pool.tick_spacing,
            }
            for pool in (V2_POOL, V3_POOL)
        ],
        "tokens": [
            {"address": str(token.address), "symbol": token.symbol, "decimals": token.decimals}
            for token in (USDC, WETH)
        ],
    }
    return header | changes
