"""What every kind of pool has in common: a state, a description that is checked, and exact quotes.

The direction of a swap is ``sold`` everywhere: 0 when token 0 is sold to the pool for token 1, 1 the other way
round. Quotes are exact. :attr:`Pool.rate0` and its fellows are floats, for the screens only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from contracts.market import PoolMetadata, PoolSync
from strategies.flash_arbitrage.constant_product import PIPS


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
        "_net",
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
        self.block = sync.block
        self.log_index = sync.log_index
        self.rate0 = self.rate1 = self.slope0 = self.slope1 = 0.0
        self._update(sync)

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
