"""Records a capture: deploys the market on a node of its own, lets the flow run, and writes what the node says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.polygon.capture import Header, write_capture
from adapters.polygon.logs import parse_log
from adapters.polygon.pools import PoolBook, Refused, V3State
from adapters.polygon.record.flow import Flow
from adapters.polygon.record.market import Market, deploy
from adapters.polygon.record.node import CHAIN_ID, Node, calldata
from adapters.polygon.record.tools import Tools
from contracts.market import PoolMetadata, Protocol
from contracts.values import Address
from mycelium.core.errors import MyceliumError


class RecordingError(MyceliumError):
    """What was recorded is not what happened on the node: a fault of ours, and no capture is written."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """Where a pool stands at the end, as ``eth_call`` tells.

    Args:
        pool: its address.
        reserves: ``getReserves()`` of a v2 pair, else None.
        v3: ``slot0()`` and ``liquidity()`` of a v3 pool, else None.
    """

    pool: Address
    reserves: tuple[int, int] | None
    v3: V3State | None


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded.

    Args:
        blocks: blocks with trades.
        last_block: number of the last block.
        transactions: sent in them.
        trades: those that were meant as trades.
        reverted: transactions that failed, by themselves and without consequence.
        logs: in the capture.
        pools: the pools' states after the last block.
    """

    blocks: int
    last_block: int
    transactions: int
    trades: int
    reverted: int
    logs: int
    pools: tuple[PoolState, ...]


def record(
    tools: Tools,
    *,
    seed: int,
    blocks: int,
    out: Path,
    on_block: Callable[[int], None] = lambda _done: None,
) -> Recording:
    """Record a capture. The same seed and number of blocks give the same bytes.

    Args:
        tools: the installed parts.
        seed: of the flow.
        blocks: how many blocks with trades.
        out: the capture's file.
        on_block: called after each block with the number done.

    Raises:
        NodeError: the node failed.
        RecordingError: the recorded logs do not lead to the node's own state.
        OSError: the file cannot be written.
    """
    with Node(tools.anvil) as node:
        market = deploy(node, tools)
        session = _Session(node, market, seed)
        header = Header(CHAIN_ID, f"adapters.polygon record, seed {seed}, {blocks} blocks", market.pools)
        write_capture(out, header, session.responses(blocks, on_block))
        return session.summary(blocks)


class _Session:
    def __init__(self, node: Node, market: Market, seed: int) -> None:
        self._node = node
        self._market = market
        self._book = PoolBook(market.pools)
        self._flow = Flow(seed, market, self._book, node)
        self._transactions = self._trades = self._reverted = self._logs = 0
        self._last_block = 0

    def responses(self, blocks: int, on_block: Callable[[int], None]) -> Iterator[dict[str, Any]]:
        """The node's ``eth_getLogs`` response for each block in which a pool emitted anything."""
        for number in range(1, int(self._node.rpc("eth_blockNumber"), 16) + 1):
            yield from self._logs_of(number)
        for done in range(1, blocks + 1):
            actions = self._flow.next_block()
            sent = [self._node.send(action.desk.account, action.desk.contract, action.data) for action in actions]
            number = self._node.mine()
            self._count(number, sent)
            self._trades += sum(action.is_trade for action in actions)
            yield from self._logs_of(number)
            on_block(done)
        self._compare()

    def _count(self, number: int, sent: list[str]) -> None:
        receipts = self._node.rpc("eth_getBlockReceipts", hex(number))
        if [receipt["transactionHash"] for receipt in receipts] != sent:
            raise RecordingError(f"block {number} does not hold the {len(sent)} transactions sent, in their order")
        self._transactions += len(sent)
        self._reverted += sum(receipt["status"] != "0x1" for receipt in receipts)

    def _logs_of(self, number: int) -> Iterator[dict[str, Any]]:
        addresses = [str(pool.pool) for pool in self._market.pools]
        response = self._node.exchange(
            "eth_getLogs", {"fromBlock": hex(number), "toBlock": hex(number), "address": addresses}
        )
        for obj in response["result"]:
            applied = self._book.apply(parse_log(obj))
            if isinstance(applied, Refused):
                raise RecordingError(f"a log of the node is refused: {applied.cause}: {applied.detail}")
        self._last_block = number
        self._logs += len(response["result"])
        if response["result"]:
            yield response

    def _compare(self) -> None:
        for state in self._states():
            tracked = PoolState(state.pool, self._book.v2_reserves(state.pool), self._book.v3_state(state.pool))
            if tracked != state:
                raise RecordingError(f"the logs lead to {tracked}, the node says {state}")

    def _states(self) -> tuple[PoolState, ...]:
        return tuple(pool_state(self._node, pool) for pool in self._market.pools)

    def summary(self, blocks: int) -> Recording:
        return Recording(
            blocks, self._last_block, self._transactions, self._trades, self._reverted, self._logs, self._states()
        )


def pool_state(node: Node, pool: PoolMetadata) -> PoolState:
    """Ask the node where a pool stands after the latest block."""
    if pool.protocol is Protocol.UNISWAP_V2:
        answer = node.call(pool.pool, calldata("getReserves()"))
        return PoolState(pool.pool, (_word(answer, 0), _word(answer, 1)), None)
    slot0 = node.call(pool.pool, calldata("slot0()"))
    liquidity = node.call(pool.pool, calldata("liquidity()"))
    tick = int.from_bytes(slot0[32:64], "big", signed=True)
    return PoolState(pool.pool, None, V3State(_word(slot0, 0), tick, _word(liquidity, 0)))


def _word(data: bytes, index: int) -> int:
    return int.from_bytes(data[32 * index : 32 * index + 32], "big")
