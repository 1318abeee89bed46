"""What a transaction's gas costs, in units of the token that the profit is in."""

from __future__ import annotations

from contracts.market import Token
from strategies.flash_arbitrage.graph import CycleGraph
from strategies.flash_arbitrage.settings import FlashArbitrageSettings


class GasPricer:
    """Quotes gas through the pools that are known.

    Args:
        settings: gas price, gas amounts and the token in which gas is paid.
        graph: the pools.
    """

    def __init__(self, settings: FlashArbitrageSettings, graph: CycleGraph) -> None:
        self._settings = settings
        self._graph = graph

    def in_native(self, hops: int) -> int:
        """The cost of a transaction with this many swaps, in wei of the chain's own token."""
        settings = self._settings
        return settings.gas_price_wei * (settings.gas_base + hops * settings.gas_per_hop)

    def in_token(self, token: Token, hops: int) -> int | None:
        """The same in smallest units of ``token``: what buys that much of the native token, rounded up.

        The quote is exact and comes from the pool with the most of the native token behind its price, of those that
        can pay the whole amount; of equal ones the pool that was known first.

        Returns:
            None if no known pool can pay it in exchange for ``token``.
        """
        wei = self.in_native(hops)
        native = self._settings.wrapped_native
        if wei == 0 or token.address == native:
            return wei
        sold = int(token.address > native)  # token 0 has the smaller address
        pools = [pool for pool in self._graph.between(token.address, native) if pool.usable]
        pools.sort(key=lambda pool: pool.depth(1 - sold), reverse=True)  # stable: equals stay in order of arrival
        return next((cost for pool in pools if (cost := pool.amount_in(sold, wei)) is not None), None)
