"""A recorded block as the market saw it: pairs, swaps with the reserves around them, arbitrages, rebuilt logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from adapters.polygon.decode import V2_SWAP, V2_SYNC, words
from adapters.polygon.importers.arbitrage import RecordedArbitrage, find_arbitrages
from adapters.polygon.importers.pairs import UNKNOWN_VENUE, V2_FEES_PIPS, pair_metadata
from adapters.polygon.importers.swaps import RebuiltSwap, Trade
from adapters.polygon.importers.traces import read_traces
from adapters.polygon.importers.trades import TradeFinder
from adapters.polygon.logs import Log
from adapters.polygon.naming import instrument_of
from contracts.market import PoolMetadata
from contracts.values import Address


@dataclass(frozen=True, slots=True)
class Opening:
    """A pair's reserves before its first swap of the block, in smallest units."""

    pool: Address
    reserve0: int
    reserve1: int


@dataclass(frozen=True, slots=True)
class BlockReplay:
    """What happened in a block in pairs of the Uniswap v2 kind.

    Args:
        block: block number.
        timestamp: seconds since 1970, 0 if the file does not say (most do not).
        pools: the pairs that were swapped against, in the order of their first swap.
        openings: reserves before the first swap, of each pair for which they can be derived.
        swaps: the swaps that happened, in the order in which they took effect.
        trades: all trades, with those through v3 and Curve pools and those that were rolled back.
        arbitrages: the cycles among ``trades``.
    """

    block: int
    timestamp: int
    pools: tuple[PoolMetadata, ...]
    openings: tuple[Opening, ...]
    swaps: tuple[RebuiltSwap, ...]
    trades: tuple[Trade, ...]
    arbitrages: tuple[RecordedArbitrage, ...]

    def logs(self) -> Iterator[Log]:
        """``Sync`` and ``Swap`` of every swap, as the pairs emitted them.

        ``log_index`` counts 0, 1, 2, ... over these logs alone: the traces do not hold the block's other logs.
        """
        for swap in self.swaps:
            yield _log(swap, (self.block, 2 * swap.order), self.timestamp, (V2_SYNC,), _after(swap))
            ends = (bytes(swap.sender).rjust(32, b"\0"), bytes(swap.recipient).rjust(32, b"\0"))
            amounts = (swap.amount0_in, swap.amount1_in, swap.amount0_out, swap.amount1_out)
            yield _log(swap, (self.block, 2 * swap.order + 1), self.timestamp, (V2_SWAP, *ends), amounts)

    def opening_logs(self) -> Iterator[Log]:
        """A ``Sync`` for each of ``openings``, placed in the block before, of no transaction (32 zero bytes).

        No pair emitted them there: they say where each pair stood when the block began.
        """
        for index, opening in enumerate(self.openings):
            data = words(opening.reserve0, opening.reserve1)
            yield Log(opening.pool, (V2_SYNC,), data, self.block - 1, index, bytes(32), self.timestamp)

    def described_pools(self) -> tuple[PoolMetadata, ...]:
        """The pools as a capture's header can describe them.

        A capture names an instrument after its tokens alone, so pairs of unknown venues get a venue each.
        """
        return tuple(
            msgspec.structs.replace(
                pool,
                venue=pool.venue if pool.venue != UNKNOWN_VENUE else f"{UNKNOWN_VENUE}-{pool.pool.hex()[:8]}",
                instrument=instrument_of(pool.protocol, pool.token0, pool.token1, pool.fee_pips),
            )
            for pool in self.pools
        )


def read_block(path: Path) -> BlockReplay:
    """Read a whole-block trace file and rebuild its swaps.

    Args:
        path: a ``.json`` or ``.json.gz`` file as :mod:`adapters.polygon.importers.traces` describes it.

    Raises:
        ConfigError: the file is missing or not of that format.
    """
    traces = read_traces(path)
    finder = TradeFinder()
    finder.walk(traces)
    first: dict[Address, RebuiltSwap] = {}
    for swap in finder.swaps:
        first.setdefault(swap.pool, swap)
    return BlockReplay(
        block=traces.block,
        timestamp=traces.timestamp,
        pools=tuple(
            pair_metadata(pool, swap.token0, swap.token1, _fee_pips(s for s in finder.swaps if s.pool == pool))
            for pool, swap in first.items()
        ),
        openings=tuple(
            Opening(pool, swap.reserve0_before, swap.reserve1_before)
            for pool, swap in first.items()
            if swap.reserve0_before is not None and swap.reserve1_before is not None
        ),
        swaps=tuple(finder.swaps),
        trades=tuple(finder.trades),
        arbitrages=find_arbitrages(finder.trades),
    )


def satisfies_k(swap: RebuiltSwap, fee_pips: int = V2_FEES_PIPS[0]) -> bool:
    """Whether a pair with this fee accepts the swap: the check named K in ``UniswapV2Pair.swap``.

    Args:
        swap: one with known reserves before it.
        fee_pips: swap fee in millionths.

    Raises:
        ValueError: the reserves before the swap are not known.
    """
    if swap.reserve0_before is None or swap.reserve1_before is None:
        raise ValueError(f"the reserves before swap {swap.order} are not known")
    adjusted0 = swap.reserve0_after * 10**6 - swap.amount0_in * fee_pips
    adjusted1 = swap.reserve1_after * 10**6 - swap.amount1_in * fee_pips
    return adjusted0 * adjusted1 >= swap.reserve0_before * swap.reserve1_before * 10**12


def _fee_pips(swaps: Iterable[RebuiltSwap]) -> int:
    """The highest known fee under which the pair could have accepted all ``swaps``; 0.3 % if none explains them."""
    known = [swap for swap in swaps if swap.basis is not None]
    return next((fee for fee in V2_FEES_PIPS if all(satisfies_k(swap, fee) for swap in known)), V2_FEES_PIPS[0])


def _after(swap: RebuiltSwap) -> tuple[int, int]:
    return swap.reserve0_after, swap.reserve1_after


def _log(
    swap: RebuiltSwap, place: tuple[int, int], timestamp: int, topics: tuple[bytes, ...], values: tuple[int, ...]
) -> Log:
    return Log(swap.pool, topics, words(*values), *place, swap.transaction, timestamp)
