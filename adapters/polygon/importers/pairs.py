"""Which exchange a pair belongs to, and what its tokens are called.

Traces name neither. The exchange follows from the address: factories of the Uniswap v2 kind place a pair by CREATE2, at
``keccak256(0xff ++ factory ++ keccak256(token0 ++ token1) ++ init_code_hash)[12:]`` (EIP-1014; ``pairFor`` in Uniswap's
v2-periphery and SushiSwap's UniswapV2Library give factory and hash).
"""

from __future__ import annotations

from adapters.polygon.keccak import keccak256
from adapters.polygon.naming import instrument_of
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address

FACTORIES = (
    (
        "uniswap_v2",
        Address("0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f"),
        bytes.fromhex("96e8ac4277198ff8b6f785478aa9a39f403cb768dd02cbee326c3e7da348845f"),
    ),
    (
        "sushiswap",
        Address("0xc0aee478e3658e2610c5f7a4a2e1777ce9e4f2ac"),
        bytes.fromhex("e18a34eb0e04b04f7a0ac29a6e80748dca96319b42c54d679cb821dca90c6303"),
    ),
)
"""Name, factory and init code hash of the exchanges of Ethereum's mainnet that are recognised."""

UNKNOWN_VENUE = "v2"

KNOWN_TOKENS = {
    token.address: token
    for token in (
        Token(Address("0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"), "WETH", 18),
        Token(Address("0x6b175474e89094c44da98b954eedeac495271d0f"), "DAI", 18),
        Token(Address("0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"), "USDC", 6),
        Token(Address("0xdac17f958d2ee523a2206206994597c13d831ec7"), "USDT", 6),
        Token(Address("0x2260fac5e5542a773aa44fbcfedf7c193bc2c599"), "WBTC", 8),
    )
}

V2_FEES_PIPS = (3000, 2500, 2000, 1000, 500)
"""Fees that exchanges of the Uniswap v2 kind take: 0.3 % is Uniswap's own, 0.25 % PancakeSwap's, and so on."""


def pair_address(factory: Address, init_code_hash: bytes, token0: Address, token1: Address) -> Address:
    """Where a factory of the Uniswap v2 kind puts the pair of two tokens, the smaller address first."""
    salt = keccak256(bytes(token0) + bytes(token1))
    return Address(keccak256(b"\xff" + bytes(factory) + salt + init_code_hash)[12:])


def token_at(address: Address) -> Token:
    """The well-known token at ``address``, else one with 18 decimals and a symbol made of the address."""
    return KNOWN_TOKENS.get(address) or Token(address, "T" + address.hex()[:8], 18)


def pair_metadata(pool: Address, token0: Address, token1: Address, fee_pips: int = V2_FEES_PIPS[0]) -> PoolMetadata:
    """What is known about a pair of the Uniswap v2 kind of mainnet.

    The instrument ends in the pair's first eight hex digits: placeholder symbols and unknown venues would not be
    unique.
    """
    venue = next(
        (name for name, factory, code in FACTORIES if pair_address(factory, code, token0, token1) == pool),
        UNKNOWN_VENUE,
    )
    first, second = token_at(token0), token_at(token1)
    instrument = f"{instrument_of(Protocol.UNISWAP_V2, first, second, fee_pips)}-{pool.hex()[:8]}"
    return PoolMetadata(venue, instrument, pool, Protocol.UNISWAP_V2, first, second, fee_pips)
