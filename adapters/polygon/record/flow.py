"""The seeded flow of a recording: who does what in the next block.

Retail trades move prices a little, a part of them towards what the tokens are worth elsewhere, which drifts; now and
then a large one opens a gap between venues. An arbitrageur looks at one gap per block, most of the time, and closes
it with the best of a few sizes, tried out on the node itself. A provider adds and removes liquidity, in v3 pools also
where it is out of range. All random choices are whole numbers of one generator: the same seed gives the same flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from adapters.polygon.pools import PoolBook
from adapters.polygon.record.market import SYMBOLS, Desk, Market
from adapters.polygon.record.node import Node, NodeError, calldata
from contracts.market import PoolMetadata, Protocol
from contracts.values import Address

TRADES_PER_BLOCK = (3, 11)
RETAIL_SIZE = (2, 60)
"""Size of a trade, in parts of SIZE_UNIT of the pool's reserve: it moves the price by at most 0.12 %."""
LARGE_SIZE = (400, 2000)
"""Size of a large trade: it moves the price by 0.8 to 4 %, more than two fees."""
ARBITRAGE_SIZES = (20, 50, 100, 200, 400, 800, 1600)
SIZE_UNIT = 100_000
LARGE_PERCENT, ARBITRAGE_PERCENT, V3_LIQUIDITY_PERCENT, V2_LIQUIDITY_PERCENT, INFORMED_PERCENT = 2, 70, 25, 4, 50
DRIFT_PIPS = 400
"""What a token is worth elsewhere changes by at most this much per block, in millionths."""
PIPS = 10**6
Q192 = 2**192


@dataclass(frozen=True, slots=True)
class Action:
    """One transaction: a call of a desk's contract by its account; ``is_trade`` if it swaps."""

    desk: Desk
    data: bytes
    is_trade: bool


@dataclass(frozen=True, slots=True)
class _Position:
    pool: PoolMetadata
    lower: int
    upper: int
    liquidity: int


class Flow:
    """Decides what happens.

    Args:
        seed: the generator's.
        market: where.
        book: the state of all pools after the latest block; kept up to date by the caller.
        node: for trying out an arbitrage.
    """

    def __init__(self, seed: int, market: Market, book: PoolBook, node: Node) -> None:
        self._random = Random(seed)  # noqa: S311 - a market, not a secret
        self._market = market
        self._book = book
        self._node = node
        self._positions: list[_Position] = []
        # Of the smallest unit, in 10**-30 dollars, so that whole numbers are fine enough for 18 decimals.
        self._worth = {symbol: price * 10**24 // 10**decimals for symbol, decimals, price in SYMBOLS}
        by_tokens: dict[tuple[Address, Address], list[PoolMetadata]] = {}
        for pool in market.pools:
            by_tokens.setdefault((pool.token0.address, pool.token1.address), []).append(pool)
        self._rivals = [pools for pools in by_tokens.values() if len(pools) > 1]

    def next_block(self) -> list[Action]:
        """The transactions of the next block, in order. The arbitrageur pays to be first."""
        for symbol, worth in self._worth.items():
            self._worth[symbol] = worth + worth * self._random.randint(-DRIFT_PIPS, DRIFT_PIPS) // PIPS
        actions = list(self._arbitrage()) if self._percent(ARBITRAGE_PERCENT) else []
        for _ in range(self._random.randint(*TRADES_PER_BLOCK)):
            actions.append(self._trade())
        if self._percent(V3_LIQUIDITY_PERCENT):
            actions.append(self._v3_liquidity())
        if self._percent(V2_LIQUIDITY_PERCENT):
            actions.append(self._v2_liquidity())
        return actions

    def _percent(self, chance: int) -> bool:
        return self._random.randrange(100) < chance

    def reserves(self, pool: PoolMetadata) -> tuple[int, int]:
        """The pool's reserves; for v3 those that a v2 pool of the same price and depth would have."""
        if pool.protocol is Protocol.UNISWAP_V2:
            known = self._book.v2_reserves(pool.pool)
            assert known is not None, pool.instrument
            return known
        state = self._book.v3_state(pool.pool)
        assert state is not None, pool.instrument
        return (state.liquidity << 96) // state.sqrt_price_x96, (state.liquidity * state.sqrt_price_x96) >> 96

    def _trade(self) -> Action:
        pool = self._random.choice(self._market.pools)
        side = self._dear_side(pool) if self._percent(INFORMED_PERCENT) else self._random.randrange(2)
        size = self._random.randint(*(LARGE_SIZE if self._percent(LARGE_PERCENT) else RETAIL_SIZE))
        token = (pool.token0, pool.token1)[side]
        amount = max(1, self.reserves(pool)[side] * size // SIZE_UNIT)
        name = "tradeV2" if pool.protocol is Protocol.UNISWAP_V2 else "tradeV3"
        data = calldata(f"{name}(address,address,uint256)", pool.pool, token.address, amount)
        return Action(self._market.retail, data, is_trade=True)

    def _dear_side(self, pool: PoolMetadata) -> int:
        """Which token the pool pays too much for, 0 or 1."""
        price, unit = self._price(pool)
        return 0 if price * self._worth[pool.token1.symbol] > unit * self._worth[pool.token0.symbol] else 1

    def _arbitrage(self) -> Iterator[Action]:
        gap = self._widest_gap()
        if gap is None:
            return
        cheap, dear = gap
        # Token 0 costs less in the first pool: buy it there with token 1, sell it in the second.
        best: tuple[int, bytes] | None = None
        for size in ARBITRAGE_SIZES:
            amount = self.reserves(cheap)[1] * size // SIZE_UNIT
            data = calldata(
                "arbitrage(address,bool,address,bool,address,address,uint256)",
                cheap.pool,
                cheap.protocol is Protocol.UNISWAP_V3,
                dear.pool,
                dear.protocol is Protocol.UNISWAP_V3,
                cheap.token1.address,
                cheap.token0.address,
                amount,
            )
            profit = self._try_out(data)
            if profit > 0 and (best is None or profit > best[0]):
                best = (profit, data)
        if best is not None:
            yield Action(self._market.arbitrageur, best[1], is_trade=True)

    def _try_out(self, data: bytes) -> int:
        desk = self._market.arbitrageur
        try:
            return int.from_bytes(self._node.call(desk.contract, data, sender=desk.account), "big")
        except NodeError as error:
            if "no gain" not in error.reason:
                raise
            return 0

    def _widest_gap(self) -> tuple[PoolMetadata, PoolMetadata] | None:
        """The pair of pools whose prices differ most after fees: where token 0 is cheap, and where it is dear."""
        best, widest = None, PIPS
        for pools in self._rivals:
            for cheap in pools:
                for dear in pools:
                    if cheap is dear:
                        continue
                    cost, cost_unit = self._price(cheap)
                    gain, gain_unit = self._price(dear)
                    kept = (PIPS - cheap.fee_pips) * (PIPS - dear.fee_pips)
                    ratio = gain * cost_unit * kept // (cost * gain_unit * PIPS)
                    if ratio > widest:
                        best, widest = (cheap, dear), ratio
        return best

    def _price(self, pool: PoolMetadata) -> tuple[int, int]:
        """Token 1 per token 0, as a fraction of whole numbers."""
        if pool.protocol is Protocol.UNISWAP_V2:
            reserve0, reserve1 = self.reserves(pool)
            return reserve1, reserve0
        state = self._book.v3_state(pool.pool)
        assert state is not None
        return state.sqrt_price_x96**2, Q192

    def _v3_liquidity(self) -> Action:
        signature = "(address,int24,int24,uint128)"
        if self._positions and self._percent(45):
            place = self._random.randrange(len(self._positions))
            held = self._positions[place]
            part = held.liquidity if self._percent(60) else held.liquidity * self._random.randint(10, 90) // 100
            if part == held.liquidity:
                del self._positions[place]
            else:
                self._positions[place] = _Position(held.pool, held.lower, held.upper, held.liquidity - part)
            data = calldata("removeV3" + signature, held.pool.pool, held.lower, held.upper, part)
        else:
            new = self._new_position()
            self._positions.append(new)
            data = calldata("addV3" + signature, new.pool.pool, new.lower, new.upper, new.liquidity)
        return Action(self._market.provider, data, is_trade=False)

    def _new_position(self) -> _Position:
        pool = self._random.choice([pool for pool in self._market.pools if pool.protocol is Protocol.UNISWAP_V3])
        state = self._book.v3_state(pool.pool)
        assert state is not None
        spacing = pool.tick_spacing
        here = state.tick // spacing
        below, above = self._random.randint(1, 12), self._random.randint(1, 12)
        shift = self._random.choice((0, 0, below + 1, -above - 1))  # half of them out of range
        return _Position(
            pool,
            (here + shift - below) * spacing,
            (here + shift + above) * spacing,
            max(1, state.liquidity * self._random.randint(5, 60) // 100),
        )

    def _v2_liquidity(self) -> Action:
        pool = self._random.choice([pool for pool in self._market.pools if pool.protocol is Protocol.UNISWAP_V2])
        provider = self._market.provider
        permille = self._random.randint(5, 60)
        if self._percent(50):
            reserve0, reserve1 = self.reserves(pool)
            amounts = reserve0 * permille // 1000, reserve1 * permille // 1000
            data = calldata("addV2(address,uint256,uint256)", pool.pool, *amounts)
        else:
            held = self._node.call(pool.pool, calldata("balanceOf(address)", provider.contract))
            data = calldata("removeV2(address,uint256)", pool.pool, int.from_bytes(held, "big") * permille // 1000)
        return Action(provider, data, is_trade=False)
