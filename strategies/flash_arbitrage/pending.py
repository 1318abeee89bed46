"""What has arrived before what it needs: states of unknown pools, and swaps whose state is on its way.

States and swaps travel on different topics, whose order among each other nobody promises.
"""

from __future__ import annotations

from collections import deque

from contracts.market import PoolSync, SwapEvent
from contracts.values import Address
from strategies.flash_arbitrage.pool import Pool


class Pending:
    """Bounded stores of both; what does not fit is counted.

    Args:
        max_pools: how many unknown pools' states are kept, and for how many pools swaps may wait.
        max_swaps: how many swaps wait per pool.
    """

    def __init__(self, max_pools: int, max_swaps: int) -> None:
        self._max_pools = max_pools
        self._max_swaps = max_swaps
        self._states: dict[Address, PoolSync] = {}
        self._swaps: dict[Address, deque[SwapEvent]] = {}
        self.states_given_up = 0
        self.swaps_given_up = 0

    @property
    def waiting(self) -> int:
        """How many swaps wait for a state."""
        return sum(len(swaps) for swaps in self._swaps.values())

    def keep_state(self, sync: PoolSync) -> bool:
        """Keep the state of a pool without metadata, the newest of each.

        Returns:
            False if a newer one is kept already.
        """
        held = self._states.get(sync.pool)
        if held is not None and (held.block, held.log_index) > (sync.block, sync.log_index):
            return False
        if held is None and len(self._states) >= self._max_pools:
            self.states_given_up += 1
        else:
            self._states[sync.pool] = sync
        return True

    def take_state(self, pool: Address) -> PoolSync | None:
        """The state kept for a pool that is known now."""
        return self._states.pop(pool, None)

    def keep_swap(self, swap: SwapEvent) -> None:
        """Let a swap wait for its state. When too many do, the pool's oldest is given up."""
        swaps = self._swaps.get(swap.pool)
        if swaps is None:
            if len(self._swaps) >= self._max_pools:
                self.swaps_given_up += 1
                return
            swaps = self._swaps[swap.pool] = deque()
        if len(swaps) >= self._max_swaps:
            swaps.popleft()
            self.swaps_given_up += 1
        swaps.append(swap)

    def has_swaps(self, pool: Address) -> bool:
        """Whether swaps of this pool wait."""
        return pool in self._swaps

    def take_swaps(self, pool: Pool) -> list[SwapEvent]:
        """The waiting swaps for which the pool's state is new enough now, in order of arrival."""
        swaps = self._swaps.pop(pool.address, None)
        if swaps is None:
            return []
        ready = [swap for swap in swaps if is_due(pool, swap)]
        if len(ready) < len(swaps):
            self._swaps[pool.address] = deque(swap for swap in swaps if not is_due(pool, swap))
        return ready


def is_due(pool: Pool, swap: SwapEvent) -> bool:
    """Whether the pool's state is at least that which follows from ``swap``."""
    return pool.is_at_least(swap.block, swap.log_index - pool.trigger_lag)
