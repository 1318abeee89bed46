"""A node of one's own on which a market trades, block after block, for whoever wants to see the system at work."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from adapters.polygon.logs import parse_log
from adapters.polygon.pools import PoolBook
from adapters.polygon.record.flow import Flow
from adapters.polygon.record.market import Market, deploy
from adapters.polygon.record.node import Node
from adapters.polygon.record.tools import Tools


class Playground:
    """A market that trades when it is told to. A context manager; leaving it ends the node.

    Args:
        tools: the installed parts.
        seed: of the trades.
        port: where the node listens; 0 for one that is free.
    """

    def __init__(self, tools: Tools, *, seed: int, port: int = 0) -> None:
        self._tools = tools
        self._seed = seed
        self.node = Node(tools.anvil, keeps_states=True, port=port)
        """The node."""

    def __enter__(self) -> Self:
        self.node.__enter__()
        try:
            self.market: Market = deploy(self.node, self._tools)
            self._book = PoolBook(self.market.pools)
            self._flow = Flow(self._seed, self.market, self._book, self.node)
            self._read(0)
        except BaseException:
            self.node.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.node.__exit__(kind, error, trace)

    def trade(self) -> int:
        """One more block with trades; its number."""
        for action in self._flow.next_block():
            self.node.send(action.desk.account, action.desk.contract, action.data)
        number = self.node.mine()
        self._read(number)
        return number

    def _read(self, first: int) -> None:
        addresses = [str(pool.pool) for pool in self.market.pools]
        query = {"fromBlock": hex(first), "toBlock": "latest", "address": addresses}
        for obj in self.node.rpc("eth_getLogs", query):
            self._book.apply(parse_log(obj))
