"""The market of a recording: tokens, venues and pools, deployed on a fresh node.

Every amount is derived with whole numbers from a price list in millionths of a dollar, so that all venues start at one
price and the flow of trades opens the gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from adapters.polygon.describe import HeaderPool, pool_metadata
from adapters.polygon.record.node import CHAIN_ID, Node, calldata
from adapters.polygon.record.tools import Tools
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address

SYMBOLS = (("USDC", 6, 1_000_000), ("WBTC", 8, 43_000_000_000), ("WMATIC", 18, 800_000), ("WETH", 18, 2_400_000_000))
"""Symbol, decimals and price of one whole token in millionths of a dollar, as of the end of 2023."""

V2, V3 = Protocol.UNISWAP_V2, Protocol.UNISWAP_V3

POOLS = (
    ("quickswap", V2, "WMATIC", "USDC", 3000, 1_500_000),
    ("quickswap", V2, "WETH", "USDC", 3000, 2_500_000),
    ("quickswap", V2, "WMATIC", "WETH", 3000, 1_200_000),
    ("quickswap", V2, "WBTC", "WETH", 3000, 900_000),
    ("sushiswap", V2, "WMATIC", "USDC", 3000, 600_000),
    ("sushiswap", V2, "WETH", "USDC", 3000, 1_100_000),
    ("sushiswap", V2, "WMATIC", "WETH", 3000, 500_000),
    ("sushiswap", V2, "WBTC", "USDC", 3000, 700_000),
    ("uniswap_v3", V3, "WETH", "USDC", 500, 2_000_000),
    ("uniswap_v3", V3, "WMATIC", "USDC", 500, 800_000),
    ("uniswap_v3", V3, "WMATIC", "WETH", 3000, 700_000),
    ("uniswap_v3", V3, "WBTC", "WETH", 3000, 900_000),
)
"""Venue, protocol, two tokens, fee in millionths, and dollars on each side."""

TICK_SPACING = {500: 10, 3000: 60}
"""``UniswapV3Factory``'s for each fee."""

MAX_TICK = 887272
FUNDS_DOLLARS = 1_000_000_000
"""What each desk holds of each token: enough that no trade fails for want of it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A contract that trades, and the account that calls it."""

    account: Address
    contract: Address


@dataclass(frozen=True)
class Market:
    """The deployed contracts.

    Args:
        pools: what the capture's header describes.
        retail: whose trades move the prices.
        provider: who adds and removes liquidity.
        arbitrageur: who closes gaps.
    """

    pools: tuple[PoolMetadata, ...]
    retail: Desk
    provider: Desk
    arbitrageur: Desk


def whole_range(spacing: int) -> tuple[int, int]:
    """The widest position that a v3 pool with this tick spacing accepts."""
    outermost = MAX_TICK // spacing * spacing
    return -outermost, outermost


def deploy(node: Node, tools: Tools) -> Market:
    """Deploy tokens, venues, desks and pools, and fill the pools.

    Raises:
        NodeError: a transaction failed.
        RuntimeError: our contracts do not compile.
    """
    return _Deployment(node, tools).run()


class _Deployment:
    def __init__(self, node: Node, tools: Tools) -> None:
        self._node = node
        self._tools = tools
        self._owner = node.accounts[0]

    def run(self) -> Market:
        code = self._tools.compile()
        symbols = [symbol for symbol, _, _ in SYMBOLS]
        creations = [code["Token"] + _token_arguments(symbol, decimals) for symbol, decimals, _ in SYMBOLS]
        creations += [code["Desk"]] * 3
        factory_v2 = self._tools.factory("v2") + bytes(self._owner).rjust(32, b"\0")
        creations += [factory_v2, factory_v2, self._tools.factory("v3")]
        created = self._create(creations)
        tokens = {
            symbol: Token(address, symbol, decimals)
            for (symbol, decimals, _), address in zip(SYMBOLS, created, strict=False)
        }
        desks = [
            Desk(account, contract)
            for account, contract in zip(
                self._node.accounts[1:4], created[len(symbols) : len(symbols) + 3], strict=True
            )
        ]
        factories = dict(zip(("quickswap", "sushiswap", "uniswap_v3"), created[-3:], strict=True))
        self._all(
            [
                (
                    tokens[symbol].address,
                    calldata("mint(address,uint256)", desk.contract, _amount(symbol, FUNDS_DOLLARS)),
                )
                for desk in desks
                for symbol in symbols
            ]
        )
        pools = self._pools(tokens, factories)
        self._fill(pools, desks[1])
        return Market(pools, *desks)

    def _create(self, codes: list[bytes]) -> list[Address]:
        sent = [self._node.send(self._owner, None, code) for code in codes]
        self._node.mine()
        return [Address(self._node.receipt(transaction)["contractAddress"]) for transaction in sent]

    def _all(self, calls: list[tuple[Address, bytes]], sender: Address | None = None) -> None:
        """Make these calls in one block; each must succeed."""
        sent = [self._node.send(sender or self._owner, to, data) for to, data in calls]
        self._node.mine()
        for transaction in sent:
            self._node.receipt(transaction)

    def _pools(self, tokens: dict[str, Token], factories: dict[str, Address]) -> tuple[PoolMetadata, ...]:
        creations, queries = [], []
        for venue, protocol, first, second, fee, _ in POOLS:
            pair = tokens[first].address, tokens[second].address
            if protocol is V2:
                creations.append((factories[venue], calldata("createPair(address,address)", *pair)))
                queries.append(calldata("getPair(address,address)", *pair))
            else:
                creations.append((factories[venue], calldata("createPool(address,address,uint24)", *pair, fee)))
                queries.append(calldata("getPool(address,address,uint24)", *pair, fee))
        self._all(creations)
        pools = []
        for (venue, protocol, first, second, fee, _), query in zip(POOLS, queries, strict=True):
            token0, token1 = sorted((tokens[first], tokens[second]), key=lambda token: token.address)
            entry = HeaderPool(
                address=Address(self._node.call(factories[venue], query)[12:]),
                venue=venue,
                protocol=protocol,
                fee_pips=fee,
                tick_spacing=TICK_SPACING[fee] if protocol is V3 else 0,
                token0=token0.address,
                token1=token1.address,
            )
            pools.append(pool_metadata(entry, token0, token1))
        return tuple(pools)

    def _fill(self, pools: tuple[PoolMetadata, ...], provider: Desk) -> None:
        prices, additions = [], []
        for pool, (*_, dollars) in zip(pools, POOLS, strict=True):
            amount0, amount1 = _amount(pool.token0.symbol, dollars), _amount(pool.token1.symbol, dollars)
            if pool.protocol is V2:
                additions.append(calldata("addV2(address,uint256,uint256)", pool.pool, amount0, amount1))
                continue
            prices.append((pool.pool, calldata("initialize(uint160)", isqrt((amount1 << 192) // amount0))))
            additions.append(
                calldata(
                    "addV3(address,int24,int24,uint128)",
                    pool.pool,
                    *whole_range(pool.tick_spacing),
                    isqrt(amount0 * amount1),
                )
            )
        self._all(prices)
        self._all([(provider.contract, data) for data in additions], provider.account)


def _amount(symbol: str, dollars: int) -> int:
    """How many smallest units of a token cost ``dollars``."""
    decimals, price = next((decimals, price) for name, decimals, price in SYMBOLS if name == symbol)
    units: int = dollars * 10 ** (6 + decimals) // price
    return units


def _token_arguments(symbol: str, decimals: int) -> bytes:
    """ABI encoding of ``(string, uint8)``: where the text begins, the number, the text's length, the text."""
    text = symbol.encode()
    head = [64, decimals, len(text)]
    return b"".join(value.to_bytes(32, "big") for value in head) + text.ljust(-(-len(text) // 32) * 32, b"\0")


__all__ = ["CHAIN_ID", "Desk", "Market", "deploy", "whole_range"]
