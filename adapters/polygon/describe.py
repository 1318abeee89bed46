"""Descriptions of pools and tokens as people and captures write them, checked and made into messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from adapters.polygon.naming import instrument_of, segment
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address
from mycelium.core.errors import Problem

MAX_FEE_PIPS = 999_999
"""A fee is below the whole amount."""


def _address(value: Any) -> Address:
    if isinstance(value, str | Address):
        return Address(value)
    # pydantic reports a ValueError as the user's mistake and lets a TypeError through.
    raise ValueError(f"expected a string of 0x and 40 hex digits, found {type(value).__name__}")


def _segment(value: Any) -> Any:
    if isinstance(value, str) and segment(value) != value:
        raise ValueError("becomes part of a topic: only a-z, 0-9, '_' and '-' are accepted")
    return value


AddressText = Annotated[Address, BeforeValidator(_address), PlainSerializer(str, return_type=str)]
"""An address, written as ``0x`` and 40 hex digits."""

VenueName = Annotated[str, Field(min_length=1, max_length=60), BeforeValidator(_segment)]


class EntryModel(BaseModel):
    """Base of what people write: nothing may stand there that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class TokenEntry(EntryModel):
    """A token: its address, symbol and decimals (0 to 255)."""

    address: AddressText
    symbol: str = Field(min_length=1, max_length=60)
    decimals: int = Field(ge=0, le=255, strict=True)

    def token(self) -> Token:
        """The token as messages carry it."""
        return Token(self.address, self.symbol, self.decimals)


class _Pool(EntryModel):
    address: AddressText
    venue: VenueName
    protocol: Protocol
    fee_pips: int = Field(ge=0, le=MAX_FEE_PIPS, strict=True)
    tick_spacing: int = Field(default=0, ge=0, le=16384, strict=True)

    @model_validator(mode="after")
    def _spacing(self) -> _Pool:
        if (self.protocol is Protocol.UNISWAP_V3) != (self.tick_spacing > 0):
            raise ValueError(f"tick_spacing {self.tick_spacing}: above 0 for uniswap_v3, 0 for uniswap_v2")
        return self


class HeaderPool(_Pool):
    """A pool in a capture's header: its tokens by address."""

    token0: AddressText
    token1: AddressText

    @model_validator(mode="after")
    def _order(self) -> HeaderPool:
        _check_order(self.token0, self.token1)
        return self


class PoolEntry(_Pool):
    """A pool in a service's settings: its tokens in full."""

    token0: TokenEntry
    token1: TokenEntry

    @model_validator(mode="after")
    def _order(self) -> PoolEntry:
        _check_order(self.token0.address, self.token1.address)
        return self

    def metadata(self) -> PoolMetadata:
        """The pool as messages describe it."""
        return pool_metadata(self, self.token0.token(), self.token1.token())


def _check_order(token0: Address, token1: Address) -> None:
    if not token0 < token1:
        raise ValueError(f"token0 {token0} must have the smaller address, token1 is {token1}")


def pool_metadata(pool: PoolEntry | HeaderPool, token0: Token, token1: Token) -> PoolMetadata:
    """The message that describes ``pool`` with these tokens."""
    return PoolMetadata(
        venue=pool.venue,
        instrument=instrument_of(pool.protocol, token0, token1, pool.fee_pips),
        pool=pool.address,
        protocol=pool.protocol,
        token0=token0,
        token1=token1,
        fee_pips=pool.fee_pips,
        tick_spacing=pool.tick_spacing,
    )


def clashes(file: str, pools: Iterable[PoolMetadata]) -> list[Problem]:
    """Pools that stand twice, or would share their topics because venue and instrument are the same."""
    problems: list[Problem] = []
    addresses: set[Address] = set()
    names: dict[tuple[str, str], Address] = {}
    for pool in pools:
        if pool.pool in addresses:
            problems.append(Problem(file, "pools", f"pool {pool.pool} is described twice"))
            continue
        addresses.add(pool.pool)
        other = names.setdefault((pool.venue, pool.instrument), pool.pool)
        if other != pool.pool:
            problems.append(
                Problem(file, "pools", f"{pool.pool} and {other} are both {pool.instrument} on {pool.venue}: one topic")
            )
    return problems
