"""Descriptions of pools: what is accepted, and that each mistake is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from adapters.polygon.describe import PoolEntry, clashes
from contracts.values import Address
from mycelium.topology.problems import problems_of
from tests.unit.adapters.polygon.samples import USDC, V2_POOL, V3_POOL, WETH

ENTRY: dict[str, Any] = {
    "address": str(V3_POOL.pool),
    "venue": "uniswap_v3",
    "protocol": "uniswap_v3",
    "fee_pips": 500,
    "tick_spacing": 10,
    "token0": {"address": str(USDC.address), "symbol": "USDC", "decimals": 6},
    "token1": {"address": str(WETH.address), "symbol": "WETH", "decimals": 18},
}


def test_a_pool_in_settings() -> None:
    assert PoolEntry.model_validate(ENTRY).metadata() == V3_POOL


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"address": "0x12"}, "address", "no address"),
        ({"address": 7}, "address", "found int"),
        ({"venue": "Uni.Swap"}, "venue", "only a-z"),
        ({"venue": ""}, "venue", "at least 1"),
        ({"protocol": "balancer"}, "protocol", "uniswap_v2"),
        ({"fee_pips": -1}, "fee_pips", "greater than or equal"),
        ({"fee_pips": 1_000_000}, "fee_pips", "less than or equal"),
        ({"fee_pips": 0.3}, "fee_pips", "integer"),
        ({"tick_spacing": 0}, "", "tick_spacing 0"),
        ({"protocol": "uniswap_v2"}, "", "tick_spacing 10"),
        ({"surplus": 1}, "surplus", "is not a known key"),
        ({"token0": ENTRY["token1"], "token1": ENTRY["token0"]}, "", "smaller address"),
        ({"token1": ENTRY["token0"]}, "", "smaller address"),
        ({"token0": ENTRY["token0"] | {"decimals": 256}}, "token0.decimals", "255"),
        ({"token0": ENTRY["token0"] | {"symbol": ""}}, "token0.symbol", "at least 1"),
    ],
)
def test_each_mistake_is_named(changes: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PoolEntry.model_validate(ENTRY | changes)
    (problem,) = problems_of(caught.value, PoolEntry, lambda _key: "file")
    assert problem.key == key
    assert message in problem.message


def test_pools_described_twice_or_under_one_topic() -> None:
    rival = msgspec.structs.replace(V2_POOL, pool=Address("0x" + "11" * 20))
    assert clashes("file", [V2_POOL, V3_POOL]) == []
    assert "twice" in clashes("file", [V2_POOL, V2_POOL])[0].message
    assert "one topic" in clashes("file", [V2_POOL, rival])[0].message
