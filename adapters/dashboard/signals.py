"""The signals that are shown: the newest first, and not more than a page can hold."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from contracts.market import PoolMetadata
from contracts.signals import ArbitrageSignal
from contracts.values import Address

MAX_SIGNALS = 200
"""Chosen by us: more than anybody reads, and some 60 KB."""
MAX_TOKENS = 10_000
"""Tokens whose decimals are remembered. Chosen by us: some 2 MB."""


def shown_amount(amount: int, decimals: int) -> str:
    """An amount in whole tokens, exactly, with all its decimals, so that those of one token stand in line.

    Args:
        amount: in the smallest unit.
        decimals: of the token.
    """
    whole, rest = divmod(abs(amount), 10**decimals)
    fraction = f".{rest:0{decimals}d}" if decimals else ""
    return f"{'-' if amount < 0 else ''}{whole:,}{fraction}"


class Signals:
    """The last signals, and how many there were."""

    def __init__(self) -> None:
        self.total: int = 0
        self._last: deque[dict[str, Any]] = deque(maxlen=MAX_SIGNALS)
        self._decimals: dict[Address, int] = {}

    def describe(self, pool: PoolMetadata) -> None:
        """Learn how amounts of a pool's tokens are written."""
        for token in (pool.token0, pool.token1):
            if len(self._decimals) < MAX_TOKENS:
                self._decimals[token.address] = token.decimals

    def take(self, signal: ArbitrageSignal) -> None:
        """One more."""
        self.total += 1
        decimals = self._decimals.get(signal.hops[0].token_in) if signal.hops else None
        raw = int(signal.net_profit)
        self._last.append(
            {
                "number": self.total,
                "id": signal.signal_id.hex(),
                "timestamp": signal.timestamp,
                "block": signal.block,
                "strategy": signal.strategy,
                "asset": signal.asset,
                "hops": len(signal.hops),
                # Text: numbers in a browser are exact up to 2**53 only.
                "net": f"{raw:,}" if decimals is None else shown_amount(raw, decimals),
                "net_raw": str(raw),
                "is_raw": decimals is None,
            }
        )

    def newest(self, since: int = 0) -> list[dict[str, Any]]:
        """The newest first, as many as are kept.

        Args:
            since: only those after so many.
        """
        return list(islice(reversed(self._last), min(self.total - since, len(self._last))))
