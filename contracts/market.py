"""Market data: what happened in the pools of decentralised exchanges."""

from __future__ import annotations

import enum

from contracts.values import I256, U256, Address
from mycelium.core.message import Message, Part


class Protocol(enum.StrEnum):
    """Which mathematics a pool follows."""

    UNISWAP_V2 = "uniswap_v2"
    """Constant product; QuickSwap v2, SushiSwap and the other forks are of this kind."""
    UNISWAP_V3 = "uniswap_v3"
    """Concentrated liquidity."""


class Token(Part, frozen=True):
    """An ERC-20 token. One whole token is ``10 ** decimals`` of its smallest units."""

    address: Address
    symbol: str
    decimals: int


class SwapEvent(Message, type_id=100, topic="market.{venue}.{instrument}"):
    """One trade against one pool.

    ``amount0`` and ``amount1`` are the changes of the pool's balances in smallest units: positive
    was paid into the pool, negative was paid out (the sign convention of Uniswap v3's ``Swap``).
    ``block`` and ``log_index`` place the event on the chain; ``timestamp`` is the block's, in seconds.
    ``branch`` says which of its branches: see :class:`BlockRetracted`.
    """

    venue: str
    instrument: str
    pool: Address
    block: int
    log_index: int
    timestamp: int
    transaction: bytes
    amount0: I256
    amount1: I256
    branch: int = 0

    @property
    def zero_for_one(self) -> bool:
        """Whether token 0 was sold to the pool for token 1."""
        return self.amount1 < 0

    @property
    def amount_in(self) -> U256:
        """What the trader paid, net, in smallest units of the token that was sold."""
        return U256(max(0, self.amount0 if self.zero_for_one else self.amount1))

    @property
    def amount_out(self) -> U256:
        """What the trader received, net, in smallest units of the token that was bought."""
        return U256(max(0, -self.amount1 if self.zero_for_one else -self.amount0))


class PoolMetadata(Message, type_id=101, topic="pools.{venue}.{instrument}"):
    """What does not change about a pool.

    ``fee_pips`` is the swap fee in millionths (3000 = 0.3 %); ``tick_spacing`` is 0 for Uniswap v2.
    Token 0 has the smaller address.
    """

    venue: str
    instrument: str
    pool: Address
    protocol: Protocol
    token0: Token
    token1: Token
    fee_pips: int
    tick_spacing: int = 0


class PoolSync(Message, type_id=102, topic="state.{venue}.{instrument}"):
    """A pool's state after an event.

    Uniswap v2: ``reserve0`` and ``reserve1`` hold the reserves and the v3 fields are 0.
    Uniswap v3: ``sqrt_price_x96`` (square root of token1 per token0, times 2**96), ``liquidity`` in
    range and ``tick`` hold the state and the reserves are 0.
    ``block`` and ``log_index`` are those of the log that the state follows from. Where a source begins, its first block
    begins with the states that all pools had before it, with log indices below 0.
    ``branch`` says of which branch of the chain it is: see :class:`BlockRetracted`.
    """

    venue: str
    instrument: str
    pool: Address
    block: int
    log_index: int
    timestamp: int
    reserve0: U256
    reserve1: U256
    sqrt_price_x96: U256
    liquidity: U256
    tick: int
    branch: int = 0


class BlockClosed(Message, type_id=103, topic="blocks.{chain}"):
    """A source has published all that it has of a block.

    Events travel on many topics, whose order among one another nobody promises. A reader that has counted ``swaps``
    SwapEvents and ``syncs`` PoolSyncs of the block, and as many PoolMetadata as ``pools``, has everything and may put
    it into the order of the chain: by ``log_index``, the PoolSync before the SwapEvent of the same log.

    A source describes a pool before the first event of it, and closes its blocks in their order. One that is started
    again may begin again: then blocks, events and descriptions come a second time.

    ``chain`` is the EIP-155 number of the chain, ``timestamp`` the block's, in seconds; ``branch`` is that of all that
    is counted here, see :class:`BlockRetracted`.
    """

    chain: int
    block: int
    timestamp: int
    swaps: int
    syncs: int
    pools: int
    branch: int = 0


class BlockRetracted(Message, type_id=104, topic="retractions.{chain}"):
    """A source takes back all that it has published of a block and of those above it.

    The newest blocks of a chain may be replaced by others (a reorganisation), and a source that was killed in a block
    cannot know how much of it was published. So what is published belongs to a numbered branch, which begins with this:
    whatever has ``block`` or a higher one and a branch below ``branch`` is void, however late it arrives, and what
    replaces it has ``branch``. The first branch is 0, and numbers grow by one.

    ``chain`` is the EIP-155 number of the chain.
    """

    chain: int
    block: int
    branch: int
