"""What can be set about the strategy."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PlainSerializer, PlainValidator, model_validator

from contracts.values import Address


def _address(value: Any) -> Address:
    if isinstance(value, bytes | str):
        return Address(value)
    raise ValueError(f"{value!r} is no address: expected 0x and 40 hex digits")


AddressSetting = Annotated[Address, PlainValidator(_address), PlainSerializer(str)]
"""An address, written as 0x and 40 hex digits."""

# Tokens on Polygon, in the order in which we would rather hold the profit.
_WMATIC = Address("0x0d500b1d8e8ef31e21c99d1db9a6444d3adf1270")
_USDC_E = Address("0x2791bca1f2de4661ed88a30c99a7a9449aa84174")
_USDC = Address("0x3c499c542cef5e3811e1192ce70d8cc03d5c3359")
_WETH = Address("0x7ceb23fd6bc0add59e62ac25578270cff1b9f619")
_USDT = Address("0xc2132d05d31c914a87c6611c10748aeb04b58e8f")


class FlashArbitrageSettings(BaseModel):
    """Settings of :class:`~strategies.flash_arbitrage.service.FlashArbitrage`. Amounts are in smallest units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_tokens: tuple[AddressSetting, ...] = Field(default=(_WMATIC, _USDC_E, _USDC, _WETH, _USDT), min_length=1)
    """Tokens that a flash loan gives, the preferred one first: a cycle starts at the first of these that is on it."""
    min_net_profit: dict[AddressSetting, NonNegativeInt] = Field(default_factory=dict)
    """By start token, the least net profit that is worth a signal. Without an entry, any profit is."""
    wrapped_native: AddressSetting = _WMATIC
    """The token in which gas is paid."""
    flash_premium_bps: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Premium of the flash loan in basis points of the loan; 5 is Aave v3's."""
    gas_price_wei: NonNegativeInt = 50_000_000_000
    """Price of one unit of gas; 50 gwei was usual on Polygon when this was written. 0 leaves gas out."""
    gas_base: NonNegativeInt = 250_000
    """Gas of a transaction with its flash loan but no swap. Chosen by us, on the high side."""
    gas_per_hop: NonNegativeInt = 120_000
    """Gas of one swap with its token transfers. Chosen by us, on the high side."""
    max_signals_per_event: Annotated[int, Field(ge=1)] = 4
    """Signals for one event, best first. They are alternatives: they share the pool that has just moved."""
    max_cycles_per_pool: Annotated[int, Field(ge=1)] = 2_000
    """Cycles that one event may make us look at; at 0.05 µs each this bounds the time of an event."""
    max_waiting: Annotated[int, Field(ge=1)] = 65_536
    """Messages that may wait for the rest of their block, before it is worked through without. At some 0.6 kB each this
    bounds the memory; chosen by us: many times what one topic falls behind another while a hole is repaired."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.start_tokens)) != len(self.start_tokens):
            raise ValueError("start_tokens names a token twice")
        for token in self.min_net_profit:
            if token not in self.start_tokens:
                raise ValueError(f"min_net_profit has {token}, which is not in start_tokens")
        return self
