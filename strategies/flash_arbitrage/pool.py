"""What every kind of pool has in common: a state, a description that is checked, and exact quotes.

The direction of a swap is ``sold`` everywhere: 0 when token 0 is sold to the pool for token 1, 1 the other way
round. Quotes are exact. :attr:`Pool.rate0` and its fellows are floats, for the screens only.

A pool remembers the states of the newest blocks, as the messages that told them, and the newest one from before: so it
can go back when the chain does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from contextlib import suppress
from operator import attrgetter

from contracts.market import PoolMetadata, PoolSync
from strategies.flash_arbitrage.constant_product import PIPS

REMEMBERED = 256
"""How many blocks a pool can go back. Chosen by us: what an adapter follows may be replaced 64 blocks deep."""

_MOST_STATES = 4 * REMEMBERED
"""States that are kept before those that are not needed are forgotten, all at once. Chosen by us: so it costs a pool's
state next to nothing; at some 0.6 kB each, a pool that moves all the time takes 0.6 MB."""


class ImpossibleStateError(ValueError):
    """A state or description that no pool can have.

    Attributes:
        cause: one word for the counters, such as ``reserve_not_positive``.
        detail: the values that were found.
    """

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail


class Pool(ABC):
    """A pool with the state after one event.

    ``rate0`` is the marginal price when token 0 is sold: units of token 1 per unit of token 0, fee deducted;
    ``rate1`` the same for selling token 1. Both are 0.0 while the pool cannot be used. ``slope0`` and ``slope1``
    say how the price worsens: ``x`` buys ``rate·x / (1 + slope·x)``. An exact quote is never better than that,
    since the chain rounds against the trader.
    """

    __slots__ = (
        "_has_forgotten",
        "_net",
        "_past",
        "address",
        "block",
        "fee_pips",
        "log_index",
        "rate0",
        "rate1",
        "slope0",
        "slope1",
        "token0",
        "token1",
    )

    def __init__(self, metadata: PoolMetadata) -> None:
        self.address = metadata.pool
        self.token0 = metadata.token0
        self.token1 = metadata.token1
        self.fee_pips = metadata.fee_pips
        self._net = PIPS - metadata.fee_pips
        self.block = -1
        self.log_index = -1
        self.rate0 = self.rate1 = self.slope0 = self.slope1 = 0.0
        self._past: list[PoolSync] = []
        self._has_forgotten = False

    @property
    def usable(self) -> bool:
        """Whether the pool can be quoted: it has a state, and something to trade with."""
        return self.rate0 > 0.0

    def is_at_least(self, block: int, log_index: int) -> bool:
        """Whether the state held is that of this log or of a later one."""
        return self.block > block or (self.block == block and self.log_index >= log_index)

    def update(self, sync: PoolSync) -> None:
        """Take over a state.

        Raises:
            ImpossibleStateError: no pool can be in it. This pool is then out of use until the next state,
                since the one it had is known to be past.
        """
        past = self._past
        past.append(sync)
        if len(past) > _MOST_STATES:
            self._forget()
        self.block = sync.block
        self.log_index = sync.log_index
        self.rate0 = self.rate1 = self.slope0 = self.slope1 = 0.0
        self._update(sync)

    def take_back(self, block: int) -> bool:
        """Return to the state from before this block, or to none if there was none.

        Returns:
            False if there was one but it is not remembered. The pool is then out of use until the next state.
        """
        past = self._past
        if not past or past[-1].block < block:
            return True
        while past and past[-1].block >= block:
            past.pop()
        if past:
            with suppress(ImpossibleStateError):  # it has been reported, and is as much out of use as it was
                self.update(past.pop())
            return True
        self.block = self.log_index = -1
        self.rate0 = self.rate1 = self.slope0 = self.slope1 = 0.0
        return not self._has_forgotten

    def _forget(self) -> None:
        """Keep the last state of each of the newest blocks, and the newest one from before."""
        by_block = {sync.block: sync for sync in self._past}
        last = [by_block[block] for block in sorted(by_block)]
        needed = bisect_right(last, self._past[-1].block - REMEMBERED, key=attrgetter("block")) - 1
        self._has_forgotten = self._has_forgotten or needed > 0
        self._past = last[max(0, needed) :]

    @abstractmethod
    def _update(self, sync: PoolSync) -> None:
        """Check and take over the fields of this kind of pool; set the rates."""

    @property
    @abstractmethod
    def trigger_lag(self) -> int:
        """How many log indices before its Swap log a pool reports the state which follows from the swap."""

    @abstractmethod
    def coefficients(self, sold: int, /) -> tuple[int, int, int]:
        """``(a, b, c)`` so that ``x`` in gives ``a·x / (b + c·x)`` out, before rounding."""

    @abstractmethod
    def largest_in(self, sold: int, /) -> int:
        """The largest input for which :meth:`amount_out` holds."""

    @abstractmethod
    def amount_out(self, sold: int, amount: int, /) -> int:
        """Exactly what the pool pays for ``amount``, fee included; 0 beyond :meth:`largest_in`."""

    @abstractmethod
    def amount_in(self, sold: int, amount: int, /) -> int | None:
        """An input that buys at least ``amount`` (1 or more), as small as the chain's rounding lets it be said.

        None if the pool cannot pay that much.
        """

    def even_inputs(self, amount: int, /) -> tuple[int, ...]:
        """Inputs next to ``amount`` of which rounding wastes less than of others; none if all are alike."""
        del amount
        return ()

    @abstractmethod
    def depth(self, token: int, /) -> int:
        """How much of token 0 or token 1 stands behind the current price: its reserve, for v3 its virtual reserve."""
