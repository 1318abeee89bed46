"""Makes captures: real Uniswap contracts on a real EVM node of one's own, and a seeded flow of trades."""

from adapters.polygon.record.recorder import PoolState, Recording, record
from adapters.polygon.record.tools import MissingToolError, Tools

__all__ = ["MissingToolError", "PoolState", "Recording", "Tools", "record"]
