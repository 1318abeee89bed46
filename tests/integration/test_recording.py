"""A recording on a real node with the real Uniswap contracts: the adapter's state against the chain's own.

Needs what ``tools/install-system-parts`` installs.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.polygon.capture import CaptureReader, Entry
from adapters.polygon.decode import V2_SWAP, V2_SYNC, V3_BURN, V3_INITIALIZE, V3_MINT, V3_SWAP
from adapters.polygon.keccak import keccak256
from adapters.polygon.logs import parse_log
from adapters.polygon.pools import PoolBook
from adapters.polygon.record import MissingToolError, PoolState, Recording, Tools, record
from adapters.polygon.record.market import deploy
from adapters.polygon.record.node import Node, NodeError, calldata
from adapters.polygon.record.recorder import pool_state
from contracts.market import PoolSync, Protocol, SwapEvent
from contracts.values import Address

REPOSITORY = Path(__file__).parents[2]
SEED, BLOCKS = 11, 40

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return Tools.find(REPOSITORY / "build" / "node-tools")
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def recorded(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recording]:
    path = tmp_path_factory.mktemp("recording") / "capture.jsonl.gz"
    return path, record(tools, seed=SEED, blocks=BLOCKS, out=path)


def test_the_capture_leads_to_the_state_that_the_chain_says(recorded: tuple[Path, Recording]) -> None:
    path, recording = recorded
    with CaptureReader(path) as reader:
        book = PoolBook(reader.header.pools)
        for entry in reader:
            assert isinstance(entry, Entry), entry
            book.apply(entry.log)
    assert len(recording.pools) == len(book.pools) == 12
    for state in recording.pools:
        assert state == PoolState(state.pool, book.v2_reserves(state.pool), book.v3_state(state.pool))
        assert state.v3 is None or state.v3.liquidity > 0
        assert state.reserves is None or min(state.reserves) > 0


def test_every_kind_of_event_occurs_and_all_are_counted(recorded: tuple[Path, Recording]) -> None:
    path, recording = recorded
    with CaptureReader(path) as reader:
        entries = list(reader)
        book = PoolBook(reader.header.pools)
    logs = [entry.log for entry in entries if isinstance(entry, Entry)]
    assert len(logs) == len(entries) == recording.logs
    assert {V2_SWAP, V2_SYNC, V3_SWAP, V3_INITIALIZE, V3_MINT, V3_BURN} <= {log.topics[0] for log in logs}
    messages: list[PoolSync | SwapEvent] = []
    for log in logs:
        applied = book.apply(log)
        messages += applied if isinstance(applied, tuple) else ()
    assert sum(isinstance(message, PoolSync) for message in messages) > recording.blocks
    # An arbitrage is one trade in two pools.
    assert sum(isinstance(message, SwapEvent) for message in messages) >= recording.trades - recording.reverted > 0
    assert recording.last_block == max(log.block for log in logs)


def test_one_seed_gives_one_capture_and_another_seed_another(
    tools: Tools, recorded: tuple[Path, Recording], tmp_path: Path
) -> None:
    path, recording = recorded
    assert record(tools, seed=SEED, blocks=BLOCKS, out=tmp_path / "again.gz") == recording
    assert (tmp_path / "again.gz").read_bytes() == path.read_bytes()
    record(tools, seed=SEED + 1, blocks=1, out=tmp_path / "other.gz")
    record(tools, seed=SEED, blocks=1, out=tmp_path / "short.gz")
    assert (tmp_path / "other.gz").read_bytes() != (tmp_path / "short.gz").read_bytes()


def test_the_shipped_capture_is_what_the_script_records(tools: Tools, tmp_path: Path) -> None:
    record(tools, seed=7, blocks=400, out=tmp_path / "demo.jsonl.gz")
    shipped = REPOSITORY / "adapters" / "polygon" / "captures" / "demo.jsonl.gz"
    # Unpacked: another zlib may pack the same lines into other bytes.
    assert gzip.decompress((tmp_path / "demo.jsonl.gz").read_bytes()) == gzip.decompress(shipped.read_bytes())


def test_the_command(tools: Tools, tmp_path: Path) -> None:
    out = tmp_path / "capture.jsonl.gz"
    command = [sys.executable, "-m", "adapters.polygon", "record", "--blocks", "2", "--out", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "the state of all 12 pools agrees with the node" in done.stderr
    with CaptureReader(out) as reader:
        assert len(list(reader)) > 20


def test_the_nodes_own_hash_agrees_with_ours(tools: Tools) -> None:
    with Node(tools.anvil) as node:
        for text in (b"", b"Swap(address,address,int256,int256,uint160,uint128,int24)", bytes(200)):
            assert node.rpc("web3_sha3", "0x" + text.hex()) == "0x" + keccak256(text).hex()


def test_out_of_range_liquidity_is_followed_event_by_event(tools: Tools) -> None:
    """After each single event of a v3 pool, the tracked state is compared with the pool's own."""
    with Node(tools.anvil) as node:
        market = deploy(node, tools)
        pool = next(pool for pool in market.pools if pool.protocol is Protocol.UNISWAP_V3)
        book = PoolBook(market.pools)
        desk = market.provider
        seen = 0

        def follow() -> PoolState:
            nonlocal seen
            latest = int(node.rpc("eth_blockNumber"), 16)
            for obj in node.rpc("eth_getLogs", {"fromBlock": hex(seen + 1), "toBlock": hex(latest)}):
                book.apply(parse_log(obj))
            seen = latest
            state = pool_state(node, pool)
            assert state == PoolState(pool.pool, None, book.v3_state(pool.pool))
            return state

        def act(signature: str, *arguments: int | Address) -> PoolState:
            sent = node.send(desk.account, desk.contract, calldata(signature, pool.pool, *arguments))
            node.mine()
            node.receipt(sent)
            return follow()

        start = follow().v3
        assert start is not None
        spacing = pool.tick_spacing
        here = start.tick // spacing * spacing
        position = "(address,int24,int24,uint128)"
        amount = start.liquidity
        for lower, upper, inside in (
            (here, here + spacing, True),
            (here + spacing, here + 5 * spacing, False),
            (here - 5 * spacing, here, False),
        ):
            grown = act("addV3" + position, lower, upper, amount).v3
            assert grown is not None
            assert (grown.liquidity > start.liquidity) is inside
            traded = act("tradeV3(address,address,uint256)", pool.token0.address, 10**3)
            assert traded.v3 is not None
            act("removeV3" + position, lower, upper, amount)
        # Across the edges of a position: liquidity comes and goes with the price.
        act("addV3" + position, here - 3 * spacing, here - spacing, 5 * amount)
        depth0 = (amount << 96) // start.sqrt_price_x96
        ticks = set()
        for token, size in ((pool.token0, depth0 // 400), (pool.token1, depth0 // 400)) * 3:
            size = size if token is pool.token0 else size * start.sqrt_price_x96**2 >> 192
            moved = act("tradeV3(address,address,uint256)", token.address, size).v3
            assert moved is not None
            ticks.add(moved.tick // spacing)
        assert len(ticks) > 1


def test_a_reverted_transaction_is_told(tools: Tools) -> None:
    with Node(tools.anvil) as node:
        market = deploy(node, tools)
        pool = market.pools[0]
        sent = node.send(
            market.retail.account, market.retail.contract, calldata("removeV2(address,uint256)", pool.pool, 1)
        )
        node.mine()
        with pytest.raises(NodeError, match="reverted"):
            node.receipt(sent)
