"""The kinds of pool: constant product (Uniswap v2 and its forks) and concentrated liquidity (Uniswap v3)."""

from __future__ import annotations

from math import gcd

from contracts.market import PoolMetadata, PoolSync, Protocol
from strategies.flash_arbitrage.concentrated import (
    Q96,
    amount0_delta,
    amount1_delta,
    input_to,
    next_price_from_input,
    next_price_from_output,
)
from strategies.flash_arbitrage.constant_product import MAX_RESERVE, PIPS
from strategies.flash_arbitrage.pool import ImpossibleStateError, Pool
from strategies.flash_arbitrage.ticks import MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, MIN_TICK, range_around

MAX_LIQUIDITY = 2**128 - 1
"""A v3 pool keeps its liquidity as uint128."""


class ConstantProductPool(Pool):
    """A Uniswap v2 pair or one of its forks."""

    __slots__ = ("reserve0", "reserve1")

    def __init__(self, metadata: PoolMetadata) -> None:
        super().__init__(metadata)
        self.reserve0 = 0
        self.reserve1 = 0

    @property
    def trigger_lag(self) -> int:
        """1: a pair logs Sync directly before Swap (UniswapV2Pair.swap calls _update first)."""
        return 1

    def _update(self, sync: PoolSync) -> None:
        reserve0, reserve1 = int(sync.reserve0), int(sync.reserve1)
        if reserve0 <= 0 or reserve1 <= 0:
            raise ImpossibleStateError("reserve_not_positive", f"reserves {reserve0} and {reserve1}")
        if reserve0 > MAX_RESERVE or reserve1 > MAX_RESERVE:
            raise ImpossibleStateError("reserve_beyond_uint112", f"reserves {reserve0} and {reserve1}")
        self.reserve0, self.reserve1 = reserve0, reserve1
        net = self._net / PIPS
        self.rate0 = reserve1 / reserve0 * net
        self.rate1 = reserve0 / reserve1 * net
        self.slope0 = net / reserve0
        self.slope1 = net / reserve1

    def coefficients(self, sold: int, /) -> tuple[int, int, int]:
        """UniswapV2Library.getAmountOut before its floor."""
        reserve_in, reserve_out = (self.reserve1, self.reserve0) if sold else (self.reserve0, self.reserve1)
        return self._net * reserve_out, reserve_in * PIPS, self._net

    def largest_in(self, sold: int, /) -> int:
        """Until the reserve leaves uint112."""
        return MAX_RESERVE - (self.reserve1 if sold else self.reserve0)

    # The two quotes repeat constant_product's formulas rather than call them: they are the innermost
    # loop of the search, and their arguments are known to be good. A test holds them equal.

    def amount_out(self, sold: int, amount: int, /) -> int:
        """:func:`constant_product.amount_out`."""
        reserve_in, reserve_out = (self.reserve1, self.reserve0) if sold else (self.reserve0, self.reserve1)
        if reserve_in + amount > MAX_RESERVE:
            return 0
        after_fee = amount * self._net
        return after_fee * reserve_out // (reserve_in * PIPS + after_fee)

    def amount_in(self, sold: int, amount: int, /) -> int | None:
        """:func:`constant_product.smallest_amount_in`: here it is the smallest."""
        reserve_in, reserve_out = (self.reserve1, self.reserve0) if sold else (self.reserve0, self.reserve1)
        if amount >= reserve_out:
            return None
        return -(-reserve_in * amount * PIPS // ((reserve_out - amount) * self._net))

    def depth(self, token: int, /) -> int:
        """The reserve."""
        return self.reserve1 if token else self.reserve0


class ConcentratedPool(Pool):
    """A Uniswap v3 pool, within the range around its tick in which the liquidity is known."""

    __slots__ = ("_interval", "_largest_in", "_whole_step", "liquidity", "lower", "sqrt_price", "tick_spacing", "upper")

    def __init__(self, metadata: PoolMetadata) -> None:
        super().__init__(metadata)
        self._whole_step = PIPS // gcd(PIPS, metadata.fee_pips)
        self.tick_spacing = metadata.tick_spacing
        self.sqrt_price = 0
        self.liquidity = 0
        self.lower = self.upper = 0
        self._interval: int | None = None
        # By what is sold; None until someone asks: most states are only screened.
        self._largest_in: list[int | None] = [None, None]

    @property
    def trigger_lag(self) -> int:
        """0: the Swap log carries the state itself."""
        return 0

    def _update(self, sync: PoolSync) -> None:
        price, liquidity, tick = int(sync.sqrt_price_x96), int(sync.liquidity), sync.tick
        if not MIN_SQRT_RATIO <= price < MAX_SQRT_RATIO or not MIN_TICK <= tick <= MAX_TICK:
            raise ImpossibleStateError("price_out_of_range", f"sqrt_price_x96 {price}, tick {tick}")
        if not 0 <= liquidity <= MAX_LIQUIDITY:
            raise ImpossibleStateError("liquidity_beyond_uint128", f"liquidity {liquidity}")
        interval = tick // self.tick_spacing
        if interval != self._interval:
            self.lower, self.upper = range_around(tick, self.tick_spacing)
            self._interval = interval
        # The upper end belongs to both ranges: a price that fell exactly to it has the tick above still to cross.
        # The tick serves only to find the range, so that one in the wrong place inside it does no harm.
        if not self.lower <= price <= self.upper:
            raise ImpossibleStateError("price_not_at_tick", f"sqrt_price_x96 {price}, tick {tick}")
        self.sqrt_price, self.liquidity = price, liquidity
        self._largest_in = [None, None]
        if liquidity:
            root = price / Q96
            ratio = root * root
            net = self._net / PIPS
            self.rate0 = ratio * net
            self.rate1 = net / ratio
            self.slope0 = net * root / liquidity
            self.slope1 = net / (root * liquidity)

    def coefficients(self, sold: int, /) -> tuple[int, int, int]:
        """A constant product of ``x = L·2**96/P`` and ``y = L·P/2**96`` (v3 whitepaper, 6.2.1), times ``2**96·P``."""
        price, liquidity = self.sqrt_price, self.liquidity
        by_price, by_unit = liquidity * price * price, liquidity << 192
        slope = self._net * price << 96
        if sold:
            return self._net * by_unit, by_price * PIPS, slope
        return self._net * by_price, by_unit * PIPS, slope

    def largest_in(self, sold: int, /) -> int:
        """Until the price is at the end of the range."""
        known = self._largest_in[sold]
        if known is None:
            target = self.upper if sold else self.lower
            known = input_to(self.sqrt_price, target, self.liquidity, self.fee_pips, zero_for_one=not sold)
            self._largest_in[sold] = known
        return known

    def amount_out(self, sold: int, amount: int, /) -> int:
        """:func:`concentrated.swap_step` of an exact input within the range."""
        price, liquidity = self.sqrt_price, self.liquidity
        largest = self.largest_in(sold)
        if amount >= largest:
            if amount > largest:
                return 0
            target = self.upper if sold else self.lower
        else:
            target = next_price_from_input(price, liquidity, amount * self._net // PIPS, zero_for_one=not sold)
        if sold:
            return (liquidity << 96) * (target - price) // target // price
        return liquidity * (price - target) >> 96

    def amount_in(self, sold: int, amount: int, /) -> int | None:
        """:func:`concentrated.swap_step` of an exact output within the range, fee included.

        It may be a few units more than the smallest that would do, when one step of the price is
        worth more than one unit.
        """
        price, liquidity = self.sqrt_price, self.liquidity
        if sold:
            if amount > amount0_delta(price, self.upper, liquidity, round_up=False):
                return None
            target = min(next_price_from_output(price, liquidity, amount, zero_for_one=False), self.upper)
        else:
            if amount > amount1_delta(price, self.lower, liquidity, round_up=False):
                return None
            target = max(next_price_from_output(price, liquidity, amount, zero_for_one=True), self.lower)
        return input_to(price, target, liquidity, self.fee_pips, zero_for_one=not sold)

    def even_inputs(self, amount: int, /) -> tuple[int, ...]:
        """SwapMath takes ``floor(amount·(10⁶ - fee) / 10⁶)``: the whole fee's last input, and those without a rest."""
        fee = self.fee_pips
        if fee == 0:
            return ()
        taken = amount * fee // PIPS
        last = (taken * PIPS // fee, (taken + 1) * PIPS // fee)
        if PIPS % fee == 0:
            return last
        even = amount // self._whole_step * self._whole_step
        return (*last, even, even + self._whole_step)

    def depth(self, token: int, /) -> int:
        """The virtual reserve."""
        if token:
            return self.liquidity * self.sqrt_price >> 96
        return (self.liquidity << 96) // self.sqrt_price if self.sqrt_price else 0


def make_pool(metadata: PoolMetadata) -> Pool:
    """The pool that ``metadata`` describes, without a state yet.

    Raises:
        ImpossibleStateError: no pool can be like that.
    """
    where = f"tokens {metadata.token0.address} and {metadata.token1.address}"
    if metadata.token0.address >= metadata.token1.address:
        raise ImpossibleStateError("tokens_not_sorted", where)
    if not 0 <= metadata.fee_pips < PIPS:
        raise ImpossibleStateError("fee_out_of_range", f"fee of {metadata.fee_pips} pips")
    if metadata.protocol is Protocol.UNISWAP_V2:
        return ConstantProductPool(metadata)
    if metadata.tick_spacing <= 0:
        raise ImpossibleStateError("tick_spacing_not_positive", f"tick spacing {metadata.tick_spacing}")
    return ConcentratedPool(metadata)
