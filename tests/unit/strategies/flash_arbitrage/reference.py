"""The exchanges' arithmetic a second time, for the tests: simple, slow, and sharing only the ticks with the package.

Those are tested against recorded prices. Rationals are `Fraction`, and there is a `floor` or `ceil` wherever the
contracts round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

from contracts.market import PoolMetadata, PoolSync, Protocol, SwapEvent, Token
from contracts.signals import ArbitrageSignal
from contracts.values import I256, U256, Address
from strategies.flash_arbitrage.ticks import range_around

Q96 = 2**96


def v2_out(amount: int, reserve_in: int, reserve_out: int, fee_pips: int) -> int:
    kept = Fraction(1_000_000 - fee_pips, 1_000_000) * amount
    return floor(kept * reserve_out / (reserve_in + kept))


def v3_out(amount: int, sqrt_price: int, liquidity: int, fee_pips: int, sold: int, end: int) -> int:
    """One exact-input swap up to the price ``end``; 0 if it would go on beyond."""
    kept = Fraction(1_000_000 - fee_pips, 1_000_000)
    if sold == 0:
        to_end = ceil(Fraction(ceil(Fraction(liquidity * Q96 * (sqrt_price - end), sqrt_price)), end))
        after = ceil(Fraction(liquidity * Q96 * sqrt_price, liquidity * Q96 + floor(kept * amount) * sqrt_price))
    else:
        to_end = ceil(Fraction(liquidity * (end - sqrt_price), Q96))
        after = sqrt_price + floor(Fraction(floor(kept * amount) * Q96, liquidity))
    if floor(kept * amount) >= to_end:
        after = end
        if to_end + ceil(to_end * (1 - kept) / kept) < amount:
            return 0
    if sold == 0:
        return floor(Fraction(liquidity * (sqrt_price - after), Q96))
    return floor(Fraction(floor(Fraction(liquidity * Q96 * (after - sqrt_price), after)), sqrt_price))


def pool_out(metadata: PoolMetadata, state: PoolSync, sold: int, amount: int) -> int:
    if metadata.protocol is Protocol.UNISWAP_V3:
        end = range_around(state.tick, metadata.tick_spacing)[sold]
        return v3_out(amount, int(state.sqrt_price_x96), int(state.liquidity), metadata.fee_pips, sold, end)
    reserves = int(state.reserve0), int(state.reserve1)
    return v2_out(amount, reserves[sold], reserves[1 - sold], metadata.fee_pips)


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def token(number: int, decimals: int = 18) -> Token:
    return Token(address(number), f"T{number}", decimals)


def v2_pool(number: int, token0: Token, token1: Token, fee_pips: int = 3000) -> PoolMetadata:
    return PoolMetadata(
        "testswap", f"pool-{number}", address(10_000 + number), Protocol.UNISWAP_V2, token0, token1, fee_pips
    )


def v3_pool(number: int, token0: Token, token1: Token, fee_pips: int = 500, tick_spacing: int = 10) -> PoolMetadata:
    return PoolMetadata(
        "testswap",
        f"pool-{number}",
        address(10_000 + number),
        Protocol.UNISWAP_V3,
        token0,
        token1,
        fee_pips,
        tick_spacing,
    )


def v2_state(pool: PoolMetadata, reserve0: int, reserve1: int, block: int = 1, log_index: int = 0) -> PoolSync:
    return PoolSync(
        pool.venue,
        pool.instrument,
        pool.pool,
        block,
        log_index,
        0,
        U256(reserve0),
        U256(reserve1),
        U256(0),
        U256(0),
        0,
    )


def v3_state(
    pool: PoolMetadata, sqrt_price: int, liquidity: int, tick: int, block: int = 1, log_index: int = 0
) -> PoolSync:
    return PoolSync(
        pool.venue,
        pool.instrument,
        pool.pool,
        block,
        log_index,
        0,
        U256(0),
        U256(0),
        U256(sqrt_price),
        U256(liquidity),
        tick,
    )


def swap(pool: PoolMetadata, block: int, log_index: int) -> SwapEvent:
    return SwapEvent(
        pool.venue, pool.instrument, pool.pool, block, log_index, 1_700_000_000, bytes(32), I256(1), I256(-1)
    )


def recompute(
    signal: ArbitrageSignal, pools: dict[Address, PoolMetadata], states: dict[Address, PoolSync]
) -> Iterable[tuple[int, int]]:
    """Per hop, what the signal says it pays and what it pays; checks that the hops make a closed chain."""
    hops = signal.hops
    assert hops[0].token_in == hops[-1].token_out
    assert all(one.token_out == two.token_in and one.amount_out == two.amount_in for one, two in pairwise(hops))
    for hop in hops:
        pool = pools[hop.pool]
        sold = (pool.token0.address, pool.token1.address).index(hop.token_in)
        assert (pool.token1, pool.token0)[sold].address == hop.token_out
        yield int(hop.amount_out), pool_out(pool, states[hop.pool], sold, int(hop.amount_in))


def assert_profitable(
    signal: ArbitrageSignal,
    pools: dict[Address, PoolMetadata],
    states: dict[Address, PoolSync],
    premium_bps: int = 0,
) -> None:
    """The signal's amounts are the chain's, and what it says of its profit is true."""
    for said, paid in recompute(signal, pools, states):
        assert said == paid
    gross = int(signal.hops[-1].amount_out) - int(signal.hops[0].amount_in)
    premium = ceil(Fraction(int(signal.hops[0].amount_in) * premium_bps, 10_000))
    assert signal.gross_profit == gross
    assert signal.flash_premium == premium
    assert signal.net_profit == gross - premium - signal.gas_cost
    assert signal.net_profit > 0


def chain_out(legs: Sequence[tuple[PoolMetadata, PoolSync, int]], amount: int) -> int:
    for pool, state, sold in legs:
        if amount <= 0:
            return 0
        amount = pool_out(pool, state, sold, amount)
    return amount
