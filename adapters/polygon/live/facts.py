"""What a chain says of its pools and tokens, made fit for messages, and how pools get their names.

Anybody may create tokens and pools and call them as he likes, so nothing that a contract says of itself is believed as
it is: a symbol that could break a topic or deceive a reader is replaced, and one that another token has as well does
not give two pools one topic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias
from unicodedata import bidirectional

import msgspec

from adapters.polygon.describe import MAX_FEE_PIPS
from adapters.polygon.live.calls import values_in
from adapters.polygon.naming import instrument_of, segment
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address
from mycelium.core.message import Part

MAX_SYMBOL = 32
"""Characters of a symbol. Chosen by us: what bytes32 holds; a topic with two of them and more stays below its limit."""
MAX_DECIMALS = 255
MAX_TICK_SPACING = 16383
"""``UniswapV3Factory.enableFeeAmount`` accepts smaller ones than 16384."""

SHORT_ADDRESS = 8
"""Hex digits of an address that stand for it in a name."""

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN", "RLE", "RLO", "RLI"})


@dataclass(frozen=True, slots=True)
class Venue:
    """An exchange, known by the factory that creates its pools.

    Args:
        name: a segment of topics.
        protocol: which mathematics its pools follow.
        fee_pips: swap fee of its v2 pools in millionths; they do not say it themselves. v3 pools do.
    """

    name: str
    protocol: Protocol
    fee_pips: int = 3000

    def __post_init__(self) -> None:
        if not self.name or segment(self.name) != self.name:
            raise ValueError(f"venue {self.name!r}: becomes part of a topic: a-z, 0-9, '_' and '-' are accepted")
        if not 0 <= self.fee_pips <= MAX_FEE_PIPS:
            raise ValueError(f"venue {self.name}: fee_pips {self.fee_pips} must be between 0 and {MAX_FEE_PIPS}")


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a pool is not followed.

    Args:
        cause: ``no_pool`` (it does not answer as one), ``unknown_venue``, ``bad_token``, ``not_wanted`` (filtered by
            venue or token) or ``too_small``.
        detail: what is wrong.
    """

    cause: str
    detail: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}"


class PoolFacts(Part, frozen=True):
    """What a chain says of a pool and never changes; nothing of it is from a configuration.

    Args:
        pool: its address.
        factory: the contract that created it, and has confirmed that.
        protocol: of the pool.
        token0: the token with the smaller address.
        token1: the other.
        fee_pips: of a v3 pool; 0 for v2, which does not say it.
        tick_spacing: of a v3 pool; 0 for v2.
    """

    pool: Address
    factory: Address
    protocol: Protocol
    token0: Token
    token1: Token
    fee_pips: int = 0
    tick_spacing: int = 0

    def problem(self) -> str | None:
        """What of this cannot be; None if it can."""
        if not self.token0.address < self.token1.address:
            return f"token0 {self.token0.address} must have the smaller address, token1 is {self.token1.address}"
        if not 0 <= self.fee_pips <= MAX_FEE_PIPS:
            return f"fee {self.fee_pips} is not between 0 and {MAX_FEE_PIPS}"
        lowest, highest = (1, MAX_TICK_SPACING) if self.protocol is Protocol.UNISWAP_V3 else (0, 0)
        if not lowest <= self.tick_spacing <= highest:
            return f"tick spacing {self.tick_spacing} is not between {lowest} and {highest}"
        for token in (self.token0, self.token1):
            if not 0 <= token.decimals <= MAX_DECIMALS:
                return f"token {token.address} has {token.decimals} decimals"
            if safe_symbol(token.symbol) != token.symbol:
                return f"the symbol of token {token.address} is not safe"
        return None

    def metadata(self, venue: Venue) -> PoolMetadata:
        """The message that describes the pool, with the instrument that it has if no other has it."""
        fee_pips = self.fee_pips if self.protocol is Protocol.UNISWAP_V3 else venue.fee_pips
        return PoolMetadata(
            venue=venue.name,
            instrument=instrument_of(self.protocol, self.token0, self.token1, fee_pips),
            pool=self.pool,
            protocol=self.protocol,
            token0=self.token0,
            token1=self.token1,
            fee_pips=fee_pips,
            tick_spacing=self.tick_spacing,
        )


def symbol_of(data: bytes | None, token: Address) -> str:
    """A token's symbol that is safe to show and to make topics of; the address' first digits where it has none.

    Args:
        data: what its ``symbol()`` returned: a text, or as with the first tokens 32 bytes with zeros behind it.
        token: its address.
    """
    raw = data if data is not None and len(data) == 32 else _text_in(data)
    try:
        text = raw.rstrip(b"\0").decode().strip()
    except UnicodeDecodeError:
        text = ""
    return safe_symbol(text) or token.hex()[:SHORT_ADDRESS]


def _text_in(data: bytes | None) -> bytes:
    values = values_in(data, "bytes")
    return b"" if values is None else values[0]


def safe_symbol(text: str) -> str | None:
    """A symbol as it is, if it is safe; None otherwise.

    Not safe are control and other invisible characters, writing from right to left, which turns round what stands
    beside it, more than ``MAX_SYMBOL`` characters, and a symbol of which a topic would keep nothing. It is replaced as
    a whole: without its invisible characters it would be another one's symbol.
    """
    if not 0 < len(text) <= MAX_SYMBOL or text != text.strip() or not text.isprintable():
        return None
    if any(bidirectional(character) in _RIGHT_TO_LEFT for character in text) or not segment(text).strip("-_"):
        return None
    return text


_Place: TypeAlias = tuple[str, str]


class Names:
    """Which pool has which instrument at its venue: no two have the same, since it is their topic.

    Who is named first keeps the plain instrument, and one that comes later gets the first 8 hex digits of its address
    behind it, all 40 where these are taken too: ``usdc-weth-853ee4b2``. A pool keeps its name for good. So the names
    depend on the order alone: pools that are named again in the order of the first time have the same names.

    Args:
        known: pools that have been named before, and keep their names.
    """

    def __init__(self, known: Iterable[PoolMetadata] = ()) -> None:
        self._pools: dict[_Place, Address] = {}
        self._instruments: dict[tuple[str, Address], str] = {}
        for pool in known:
            self._pools[pool.venue, pool.instrument] = pool.pool
            self._instruments[pool.venue, pool.pool] = pool.instrument

    def named(self, pool: PoolMetadata) -> PoolMetadata:
        """The pool with its name."""
        instrument = self._instruments.get((pool.venue, pool.pool))
        if instrument is None:
            plain, digits = pool.instrument, pool.pool.hex()
            # All 40 digits are never taken: a symbol is shorter, so it cannot look like them.
            free = (
                name
                for name in (plain, f"{plain}-{digits[:SHORT_ADDRESS]}", f"{plain}-{digits}")
                if (pool.venue, name) not in self._pools
            )
            instrument = next(free)
            self._pools[pool.venue, instrument] = pool.pool
            self._instruments[pool.venue, pool.pool] = instrument
        return msgspec.structs.replace(pool, instrument=instrument)
