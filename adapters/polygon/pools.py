"""Turns logs into market messages, and keeps the state of Uniswap v3 pools that the events alone do not carry.

Theory of operation. A v2 pair says its reserves in every ``Sync``. A v3 pool says price, tick and liquidity in range
after every ``Swap``; between swaps ``Mint`` and ``Burn`` change the liquidity in range if the position holds the
current tick, ``lower <= tick < upper`` (``UniswapV3Pool._modifyPosition``), and never the price. So the state is
known from the first ``Initialize`` or ``Swap`` on. What a pool's log says and the state cannot follow (a log that is
refused) makes the state unknown until the next ``Swap`` tells it again: an old state must not be sold as the present
one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from adapters.polygon.decode import (
    MAX_LIQUIDITY,
    V2_SWAP,
    V2_SYNC,
    V3_BURN,
    V3_INITIALIZE,
    V3_MINT,
    V3_SWAP,
    Event,
    V2Swap,
    V2Sync,
    V3Burn,
    V3Initialize,
    V3Mint,
    V3Swap,
    decode,
)
from adapters.polygon.logs import ImpossibleState, Log, LogError
from contracts.market import PoolMetadata, PoolSync, Protocol, SwapEvent
from contracts.values import I256, U256, Address

_PROTOCOLS = {
    V2_SWAP: Protocol.UNISWAP_V2,
    V2_SYNC: Protocol.UNISWAP_V2,
    V3_SWAP: Protocol.UNISWAP_V3,
    V3_INITIALIZE: Protocol.UNISWAP_V3,
    V3_MINT: Protocol.UNISWAP_V3,
    V3_BURN: Protocol.UNISWAP_V3,
}

OTHER_EVENTS = {
    bytes.fromhex(topic): name
    for topic, name in (
        ("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef", "Transfer"),
        ("8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925", "Approval"),
        ("4c209b5fc8ad50758f13e2e1088ba56a560dff690a1c6fef26394f4c03821c4f", "v2 Mint"),
        ("dccd412f0b1252819cb1fd330b93224ca42612892bb3f4f789976e6d81936496", "v2 Burn"),
        ("70935338e69775456a85ddef226c395fb668b63fa0115f5f20610b388e6ca9c0", "v3 Collect"),
        ("bdbdb71d7860376ba52b25a5028beea23581364a40522f6bcfb86bb1f2dca633", "v3 Flash"),
        ("ac49e518f90a358f652e4400164f05a5d8f7e35e7747279bc3a93dbf584e125a", "v3 IncreaseObservationCardinalityNext"),
        ("973d8d92bb299f4af6ce49b52a8adb85ae46b9f214c4c4fc06ac77401237b133", "v3 SetFeeProtocol"),
        ("596b573906218d3411850b26a6b437d6c4522fdb43d2d2386263f86d50b8b151", "v3 CollectProtocol"),
    )
}
"""Events of pools and tokens that change no price; after a v2 mint or burn a Sync says the reserves."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A log that is rightly not for us.

    Args:
        cause: ``not_a_market_event``, ``state_unknown`` (a v3 Mint or Burn before the pool's first Swap) or
            ``removed_log`` (taken back by a reorganisation).
        detail: which event.
    """

    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A log that cannot be used.

    Args:
        cause: ``malformed_log``, ``unknown_pool``, ``unknown_token``, ``impossible_state`` or ``out_of_order``.
        detail: what is wrong, with the value found.
    """

    cause: str
    detail: str


MarketMessages: TypeAlias = tuple[PoolSync | SwapEvent, ...]


@dataclass(frozen=True, slots=True)
class V3State:
    """A v3 pool between two events."""

    sqrt_price_x96: int
    tick: int
    liquidity: int


PoolState: TypeAlias = tuple[int, int] | V3State | None
"""Reserves of token 0 and token 1 in smallest units, or what a v3 pool is in; None if it is not known."""


class PoolBook:
    """The known pools and where they stand.

    Args:
        pools: the pools whose events are wanted.
        missing_tokens: pools that are known but for a token of theirs, with that token's address: their events are
            refused as ``unknown_token``.
    """

    def __init__(self, pools: Iterable[PoolMetadata], missing_tokens: Mapping[Address, Address] | None = None) -> None:
        self._pools = {pool.pool: pool for pool in pools}
        self._missing = dict(missing_tokens or {})
        self._reserves: dict[Address, tuple[int, int]] = {}
        self._v3: dict[Address, V3State] = {}
        self._last = (-1, -1)
        self.branch: int = 0
        """Of the messages that are made: see :class:`~contracts.market.BlockRetracted`."""

    @property
    def pools(self) -> tuple[PoolMetadata, ...]:
        """The known pools, in the order given."""
        return tuple(self._pools.values())

    @property
    def addresses(self) -> Collection[Address]:
        """Their addresses."""
        return self._pools.keys()

    def add(self, pool: PoolMetadata) -> bool:
        """Take in one more; whether it was not known."""
        is_new = pool.pool not in self._pools
        self._pools.setdefault(pool.pool, pool)
        return is_new

    def state(self, pool: Address) -> PoolState:
        """A pool's state after its last event."""
        return self._reserves.get(pool) or self._v3.get(pool)

    def set_state(self, pool: Address, state: PoolState) -> None:
        """Take over a state that is known from elsewhere."""
        self._reserves.pop(pool, None)
        self._v3.pop(pool, None)
        if isinstance(state, V3State):
            self._v3[pool] = state
        elif state is not None:
            self._reserves[pool] = state

    def back_to(self, block: int) -> None:
        """The next log is of the block after this one. States are set by :meth:`set_state`."""
        self._last = (block + 1, -1)

    def opening(self, block: int, timestamp: int, branch: int) -> Iterator[PoolSync]:
        """The states of all pools before a block, as the block's first messages: with log indices below 0."""
        known = [(pool, state) for pool in self._pools.values() if (state := self.state(pool.pool)) is not None]
        for index, (pool, state) in enumerate(known, -len(known)):
            place = Log(pool.pool, (), b"", block, index, b"", timestamp)
            if isinstance(state, V3State):
                yield _sync(pool, place, branch, state=state)
            else:
                yield _sync(pool, place, branch, reserves=state)

    def v2_reserves(self, pool: Address) -> tuple[int, int] | None:
        """The reserves after the pool's last event, in smallest units; None if they are not known."""
        return self._reserves.get(pool)

    def v3_state(self, pool: Address) -> V3State | None:
        """The pool's state after its last event; None if it is not known."""
        return self._v3.get(pool)

    def apply(self, log: Log) -> MarketMessages | Ignored | Refused:
        """What ``log`` means for the market.

        A v2 Sync gives a PoolSync, a v2 Swap a SwapEvent; a v3 Swap gives a PoolSync, then a SwapEvent of the same
        place; a v3 Initialize, Mint or Burn gives a PoolSync.

        Args:
            log: the next log of the chain: ``(block, log_index)`` must grow from call to call.
        """
        if log.removed:
            return Ignored("removed_log", f"log {log.log_index} of block {log.block} was taken back")
        place = (log.block, log.log_index)
        if place <= self._last:
            return Refused("out_of_order", f"(block, log index) {place} after {self._last}")
        self._last = place
        topic = log.topics[0] if log.topics else b""
        protocol = _PROTOCOLS.get(topic)
        if protocol is None:
            return Ignored("not_a_market_event", OTHER_EVENTS.get(topic) or f"event 0x{topic.hex()}")
        pool = self._pools.get(log.address)
        if pool is None:
            missing = self._missing.get(log.address)
            if missing is not None:
                return Refused("unknown_token", f"pool {log.address} trades token {missing}, which is not described")
            return Refused("unknown_pool", f"pool {log.address} is not described")
        if protocol is not pool.protocol:
            return Refused("malformed_log", f"pool {log.address} is {pool.protocol}, the event is {protocol}'s")
        try:
            event = decode(log)
            assert event is not None
            return self._follow(pool, log, event)
        except LogError as error:
            self._reserves.pop(log.address, None)
            self._v3.pop(log.address, None)
            return Refused(error.cause, error.reason)

    def _follow(self, pool: PoolMetadata, log: Log, event: Event) -> MarketMessages | Ignored:
        match event:
            case V2Sync(reserve0, reserve1):
                self._reserves[log.address] = (reserve0, reserve1)
                return (_sync(pool, log, self.branch, reserves=(reserve0, reserve1)),)
            case V2Swap():
                # The pair emits Sync just before Swap: these are the reserves after the swap.
                if 0 in self._reserves.get(log.address, ()):
                    raise ImpossibleState(f"after a v2 Swap the reserves are {self._reserves[log.address]}")
                change0, change1 = event.amount0_in - event.amount0_out, event.amount1_in - event.amount1_out
                return (_swap(pool, log, self.branch, change0, change1),)
            case V3Swap():
                state = V3State(event.sqrt_price_x96, event.tick, event.liquidity)
                self._v3[log.address] = state
                return (
                    _sync(pool, log, self.branch, state=state),
                    _swap(pool, log, self.branch, event.amount0, event.amount1),
                )
            case V3Initialize():
                if log.address in self._v3:
                    raise ImpossibleState("v3 Initialize of a pool that has a price")
                state = V3State(event.sqrt_price_x96, event.tick, 0)
            case V3Mint() | V3Burn():
                before = self._v3.get(log.address)
                if before is None:
                    return Ignored("state_unknown", f"{type(event).__name__} before the first Swap of {log.address}")
                state = _with_position(before, event, pool.tick_spacing)
        self._v3[log.address] = state
        return (_sync(pool, log, self.branch, state=state),)


def _with_position(before: V3State, event: V3Mint | V3Burn, tick_spacing: int) -> V3State:
    if tick_spacing and (event.tick_lower % tick_spacing or event.tick_upper % tick_spacing):
        raise ImpossibleState(
            f"a position from tick {event.tick_lower} to {event.tick_upper} in a pool with spacing {tick_spacing}"
        )
    if not event.tick_lower <= before.tick < event.tick_upper:
        return before
    liquidity = before.liquidity + (event.liquidity if isinstance(event, V3Mint) else -event.liquidity)
    if not 0 <= liquidity <= MAX_LIQUIDITY:
        raise ImpossibleState(
            f"{type(event).__name__} of {event.liquidity} leaves liquidity {liquidity} of {before.liquidity} in range"
        )
    return V3State(before.sqrt_price_x96, before.tick, liquidity)


_NO_STATE = V3State(0, 0, 0)


def _sync(
    pool: PoolMetadata, log: Log, branch: int, *, reserves: tuple[int, int] = (0, 0), state: V3State = _NO_STATE
) -> PoolSync:
    return PoolSync(
        venue=pool.venue,
        instrument=pool.instrument,
        pool=pool.pool,
        block=log.block,
        log_index=log.log_index,
        timestamp=log.timestamp,
        reserve0=U256(reserves[0]),
        reserve1=U256(reserves[1]),
        sqrt_price_x96=U256(state.sqrt_price_x96),
        liquidity=U256(state.liquidity),
        tick=state.tick,
        branch=branch,
    )


def _swap(pool: PoolMetadata, log: Log, branch: int, change0: int, change1: int) -> SwapEvent:
    return SwapEvent(
        venue=pool.venue,
        instrument=pool.instrument,
        pool=pool.pool,
        block=log.block,
        log_index=log.log_index,
        timestamp=log.timestamp,
        transaction=log.transaction,
        amount0=I256(change0),
        amount1=I256(change1),
        branch=branch,
    )
