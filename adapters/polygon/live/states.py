"""What pools hold and where they stand after a block, as the contracts themselves say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from adapters.polygon.decode import (
    MAX_LIQUIDITY,
    MAX_SQRT_PRICE_X96,
    MAX_TICK,
    MIN_SQRT_PRICE_X96,
    MIN_TICK,
)
from adapters.polygon.live.calls import Call, Caller, call_data, number_in, values_in
from adapters.polygon.pools import V3State
from contracts.market import PoolMetadata, Protocol
from contracts.values import Address

State: TypeAlias = tuple[int, int] | V3State
"""The reserves of a v2 pool, or a v3 pool's state."""

_RESERVES = call_data("getReserves()")
_SLOT0 = call_data("slot0()")
_LIQUIDITY = call_data("liquidity()")


async def states(caller: Caller, pools: Iterable[PoolMetadata], block: bytes) -> dict[Address, State | None]:
    """Where pools stand after a block.

    Args:
        caller: asks the contracts.
        pools: any number.
        block: the block's hash: a price and a liquidity of two blocks would be no state.

    Returns:
        For each pool its state; None for a v3 pool without a price yet, and where a pool does not say what can be.

    Raises:
        EndpointError: no endpoint answered, or none has the block.
    """
    asked = list({pool.pool: pool for pool in pools}.values())
    calls: list[Call] = []
    for pool in asked:
        questions = (_RESERVES,) if pool.protocol is Protocol.UNISWAP_V2 else (_SLOT0, _LIQUIDITY)
        calls += [Call(pool.pool, data) for data in questions]
    answers = iter(await caller.many(calls, block))
    found: dict[Address, State | None] = {}
    for pool in asked:
        if pool.protocol is Protocol.UNISWAP_V2:
            found[pool.pool] = _reserves(next(answers))
        else:
            found[pool.pool] = _v3_state(next(answers), next(answers))
    return found


async def holdings(
    caller: Caller, pools: Iterable[PoolMetadata], tokens: Iterable[Address], block: bytes | None = None
) -> dict[tuple[Address, Address], int]:
    """How much of some tokens pools hold, in smallest units.

    Args:
        caller: asks the contracts.
        pools: any number.
        tokens: those that matter; others of a pool are not asked for.
        block: hash of the block; None for the newest.

    Returns:
        By pool and token: of a v2 pool its reserve, of a v3 pool its balance. 0 where a contract does not say it.
    """
    wanted = set(tokens)
    places: list[tuple[PoolMetadata, Address]] = []
    for pool in pools:
        places += [(pool, token.address) for token in (pool.token0, pool.token1) if token.address in wanted]
    answers = await caller.many([_holding(pool, token) for pool, token in places], block)
    found: dict[tuple[Address, Address], int] = {}
    for (pool, token), answer in zip(places, answers, strict=True):
        if pool.protocol is Protocol.UNISWAP_V2:
            reserves = _reserves(answer) or (0, 0)
            found[pool.pool, token] = reserves[0 if token == pool.token0.address else 1]
        else:
            found[pool.pool, token] = number_in(answer) or 0
    return found


def large_enough(
    pool: PoolMetadata, held: Mapping[tuple[Address, Address], int], minimum: Mapping[Address, int]
) -> bool:
    """Whether a pool holds the minimum of one of its tokens at least; True if there is no minimum at all."""
    tokens = (pool.token0.address, pool.token1.address)
    return not minimum or any(held.get((pool.pool, token), 0) >= minimum[token] for token in tokens if token in minimum)


def _holding(pool: PoolMetadata, token: Address) -> Call:
    if pool.protocol is Protocol.UNISWAP_V2:
        return Call(pool.pool, _RESERVES)
    return Call(token, call_data("balanceOf(address)", bytes(pool.pool)))


def _reserves(answer: bytes | None) -> tuple[int, int] | None:
    values = values_in(answer, "uint112", "uint112")
    return None if values is None else (int(values[0]), int(values[1]))


def _v3_state(slot0: bytes | None, liquidity: bytes | None) -> V3State | None:
    # What stands behind price and tick is not the same with all forks.
    values, in_range = values_in(slot0, "uint160", "int24"), number_in(liquidity, "uint128")
    if values is None or in_range is None:
        return None
    price, tick = values
    if not (MIN_SQRT_PRICE_X96 <= price < MAX_SQRT_PRICE_X96 and MIN_TICK <= tick <= MAX_TICK):
        return None  # a price of 0: not initialised
    assert in_range <= MAX_LIQUIDITY
    return V3State(price, tick, in_range)
