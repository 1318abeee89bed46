"""Recorded market data of other formats: one pool's logs as CSV, whole blocks as traces."""

from adapters.polygon.importers.arbitrage import RecordedArbitrage, RecordedHop, find_arbitrages
from adapters.polygon.importers.block import BlockReplay, Opening, read_block, satisfies_k
from adapters.polygon.importers.swaps import Basis, Kind, RebuiltSwap, Trade
from adapters.polygon.importers.trades import TradeFinder

__all__ = [
    "Basis",
    "BlockReplay",
    "Kind",
    "Opening",
    "RebuiltSwap",
    "RecordedArbitrage",
    "RecordedHop",
    "Trade",
    "TradeFinder",
    "find_arbitrages",
    "read_block",
    "satisfies_k",
]
