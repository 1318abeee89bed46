"""The follower on a real node: whatever is reorganised, what was given out is what the node says in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.polygon.live.follow import ChainError, Follower, Undone
from adapters.polygon.live.headers import Header, in_bloom, parse_header
from adapters.polygon.logs import Log, parse_log
from adapters.polygon.pools import PoolBook
from adapters.polygon.record import MissingToolError, Tools
from adapters.polygon.record.flow import Flow
from adapters.polygon.record.market import Market, deploy
from adapters.polygon.record.node import Node

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return Tools.find(REPOSITORY / "build" / "node-tools")
    except MissingToolError as error:
        pytest.skip(str(error))


class NodeChain:
    """A chain as one node tells it."""

    def __init__(self, node: Node, market: Market) -> None:
        self._node = node
        self._addresses = [str(pool.pool) for pool in market.pools]

    def block(self, method: str, what: str) -> Header:
        found = self._node.rpc(method, what, False)
        if found is None:
            raise ChainError(f"no block {what}")
        return parse_header(found)

    def logs(self, **query: Any) -> list[Log]:
        return [parse_log(obj) for obj in self._node.rpc("eth_getLogs", {"address": self._addresses, **query})]

    def head(self) -> Header:
        return self.block("eth_getBlockByNumber", "latest")

    async def header(self, block_hash: bytes) -> Header:
        return self.block("eth_getBlockByHash", "0x" + block_hash.hex())

    async def header_at(self, number: int) -> Header:
        return self.block("eth_getBlockByNumber", hex(number))

    async def logs_of(self, header: Header) -> Sequence[Log]:
        return self.logs(blockHash="0x" + header.hash.hex())

    async def blocks_between(self, first: int, last: int) -> Sequence[tuple[Header, Sequence[Log]]]:
        logs: dict[int, list[Log]] = {last: []}
        for log in self.logs(fromBlock=hex(first), toBlock=hex(last)):
            logs.setdefault(log.block, []).append(log)
        return [(await self.header_at(number), logs[number]) for number in sorted(logs)]


def trade(node: Node, flow: Flow, chain: NodeChain, market: Market) -> None:
    """One more block with trades. Whoever trades knows the chain as it is now, also after a reorganisation."""
    book = PoolBook(market.pools)
    for log in chain.logs(fromBlock="0x0", toBlock="latest"):
        book.apply(log)
    flow._book = book
    for action in flow.next_block():
        node.send(action.desk.account, action.desk.contract, action.data)
    node.mine()


async def catch_up(follower: Follower, head: Header, given_out: list[Log]) -> None:
    async for step in follower.to(head):
        if isinstance(step, Undone):
            while given_out and given_out[-1].block == step.header.number:
                given_out.pop()
        else:
            given_out += step.logs


class History:
    """Lets a node go back to where it was some blocks ago, and another way from there."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._states: list[tuple[str, dict[Any, int]]] = []

    def remember(self) -> None:
        self._states.append((self._node.rpc("evm_snapshot"), dict(self._node._nonces)))

    def back(self, blocks: int) -> None:
        """So many of the blocks since :meth:`remember` was called first are gone."""
        snapshot, nonces = self._states[-blocks - 1]
        del self._states[-blocks - 1 :]
        assert self._node.rpc("evm_revert", snapshot) is True
        self._node._nonces = nonces
        self.remember()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_given_out_and_not_taken_back_is_what_the_node_says(tools: Tools, seed: int) -> None:
    rng = random.Random(seed)
    with Node(tools.anvil) as node:
        market = deploy(node, tools)
        chain, flow, history = NodeChain(node, market), Flow(seed, market, PoolBook(market.pools), node), History(node)
        follower = Follower(chain, [chain.block("eth_getBlockByNumber", "0x0")], range_size=10)
        given_out: list[Log] = []
        depths = []
        history.remember()
        for done in range(36):
            trade(node, flow, chain, market)
            history.remember()
            if done % 6 == 5:
                depth = rng.randint(1, 6)
                depths.append(depth)
                history.back(depth)
                for _ in range(depth + rng.randint(0, 1)):
                    trade(node, flow, chain, market)
                    history.remember()
            if rng.random() < 0.7:
                asyncio.run(catch_up(follower, chain.head(), given_out))
        asyncio.run(catch_up(follower, chain.head(), given_out))
        assert given_out == chain.logs(fromBlock="0x0", toBlock="latest")
        assert len(depths) == 6
        assert 1 < follower.deepest <= sum(depths)
        assert len(given_out) > 100


def test_the_bloom_filter_of_a_header_has_what_is_in_the_block(tools: Tools) -> None:
    with Node(tools.anvil) as node:
        market = deploy(node, tools)
        chain, flow = NodeChain(node, market), Flow(1, market, PoolBook(market.pools), node)
        found = absent = 0
        for _ in range(20):
            trade(node, flow, chain, market)
            header = chain.head()
            logs = chain.logs(blockHash="0x" + header.hash.hex())
            inside = {bytes(log.address) for log in logs}
            for pool in market.pools:
                address = bytes(pool.pool)
                assert in_bloom(header.bloom, address) or address not in inside
                found += address in inside
                absent += not in_bloom(header.bloom, address)
            for log in logs:
                assert all(in_bloom(header.bloom, topic) for topic in log.topics)
            assert header.may_have(inside) or not inside
        assert found > 20
        assert absent > 20, "the filter keeps something out"
