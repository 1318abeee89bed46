"""A real node on which a market trades, and which goes back and another way."""

from __future__ import annotations

import copy
import random
import time
from typing import Any

from adapters.polygon.live.headers import Header, parse_header
from adapters.polygon.logs import Log, parse_log
from adapters.polygon.pools import PoolBook
from adapters.polygon.record import Tools
from adapters.polygon.record.flow import Flow
from adapters.polygon.record.market import Market, deploy
from adapters.polygon.record.node import Node, calldata
from contracts.market import PoolMetadata, SwapEvent
from contracts.values import Address

REMEMBERED = 12
"""Blocks that the world can go back."""


class World:
    """A market that trades block by block.

    Args:
        node: a fresh one.
        tools: that it was started with.
        seed: of the trades: the same seed gives the same chain.
    """

    def __init__(self, node: Node, tools: Tools, seed: int) -> None:
        self.node = node
        self.market: Market = deploy(node, tools)
        self.port: int = node.port
        self._flow = Flow(seed, self.market, PoolBook(self.market.pools), node)
        self._past: list[tuple[str, Any]] = []
        self._read(0)
        self._remember()

    @property
    def pools(self) -> tuple[PoolMetadata, ...]:
        """The market's pools."""
        return self.market.pools

    def factories(self) -> dict[str, tuple[str, Address]]:
        """By venue: its protocol, and the contract that creates its pools."""
        call = calldata("factory()")
        return {
            pool.venue: (pool.protocol.value, Address(self.node.call(pool.pool, call)[-20:])) for pool in self.pools
        }

    def head(self) -> Header:
        """The newest block."""
        return parse_header(self.node.rpc("eth_getBlockByNumber", "latest", False))

    def logs(self, first: int = 0) -> list[Log]:
        """All logs of the pools from a block on, as the node says them."""
        query = {"address": [str(pool.pool) for pool in self.pools], "fromBlock": hex(first), "toBlock": "latest"}
        return [parse_log(obj) for obj in self.node.rpc("eth_getLogs", query)]

    def swaps(self, first: int = 0) -> list[SwapEvent]:
        """What the pools' trades from a block on look like as messages of branch 0."""
        book = PoolBook(self.pools)
        return [
            message
            for log in self.logs()
            for message in _messages(book, log)
            if isinstance(message, SwapEvent) and message.block >= first
        ]

    def trade(self, rounds: int = 1) -> int:
        """One more block, with the trades of so many ordinary blocks; its number."""
        number, _, _ = self.mine(rounds)
        self.settle(number)
        return number

    def mine(self, rounds: int = 1) -> tuple[int, int, int]:
        """One more block, which :meth:`settle` has to follow.

        Returns:
            Its number; when the node was told to mine, and when it had done it, in ns of the monotonic clock.
        """
        for _ in range(rounds):
            for action in self._flow.next_block():
                self.node.send(action.desk.account, action.desk.contract, action.data)
        begun = time.monotonic_ns()
        number = self.node.mine()
        return number, begun, time.monotonic_ns()

    def settle(self, number: int) -> None:
        """Let those who trade know what has become of a block."""
        self._read(number)
        self._remember()

    def create_pair(self, venue: str, symbols: tuple[str, str]) -> tuple[Address, int]:
        """A new v2 pair, filled and traded against in the block in which it is created; its address and that block."""
        tokens = {token.symbol: token.address for pool in self.pools for token in (pool.token0, pool.token1)}
        pair = sorted(tokens[symbol] for symbol in symbols)
        factory = self.factories()[venue][1]
        create = calldata("createPair(address,address)", *pair)
        address = Address(self.node.call(factory, create)[-20:])
        provider, retail = self.market.provider, self.market.retail
        self.node.send(provider.account, factory, create)
        added = calldata("addV2(address,uint256,uint256)", address, 10**12, 10**12)
        self.node.send(provider.account, provider.contract, added)
        traded = calldata("tradeV2(address,address,uint256)", address, pair[0], 10**6)
        # Another account's transaction: the same fee, sent later, so mined later.
        self.node.send(retail.account, retail.contract, traded)
        number = self.node.mine()
        self.settle(number)
        return address, number

    def back(self, blocks: int) -> None:
        """So many of the newest blocks are gone. Those who trade know the chain as it is then."""
        snapshot, kept = self._past[-blocks - 1]
        del self._past[-blocks - 1 :]
        assert self.node.rpc("evm_revert", snapshot) is True
        nonces, book, positions = copy.deepcopy(kept)
        self.node._nonces, self._flow._book, self._flow._positions = nonces, book, positions
        # Other trades than before, or the same blocks would come again.
        self._flow._random.seed(self._flow._random.randrange(2**32))
        self._remember()

    def reorganise(self, rng: random.Random, depth: int, rounds: int = 1) -> None:
        """Replace the newest blocks by as many others, or one more."""
        self.back(depth)
        for _ in range(depth + rng.randint(0, 1)):
            self.trade(rounds)

    def _read(self, number: int) -> None:
        for log in self.logs(number):
            self._flow._book.apply(log)

    def _remember(self) -> None:
        state = copy.deepcopy((self.node._nonces, self._flow._book, self._flow._positions))
        self._past.append((self.node.rpc("evm_snapshot"), state))
        del self._past[: -REMEMBERED - 1]


def _messages(book: PoolBook, log: Log) -> tuple[Any, ...]:
    found = book.apply(log)
    return found if isinstance(found, tuple) else ()
