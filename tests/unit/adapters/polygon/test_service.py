"""The source service in a real host: what it publishes, in which order, and what it counts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from adapters.polygon.capture import Header, write_capture
from adapters.polygon.decode import MAX_RESERVE
from adapters.polygon.logs import log_to_json
from adapters.polygon.pools import OTHER_EVENTS
from adapters.polygon.service import PolygonAdapter
from adapters.polygon.settings import PolygonSettings
from contracts.market import BlockClosed, PoolMetadata, PoolSync, SwapEvent
from contracts.values import Address
from mycelium.bus.clock import SystemClock
from mycelium.core.errors import ConfigError
from mycelium.core.message import Message
from mycelium.service import Host, NoSettings, Placement, Progress, Service, handles
from mycelium.service.host import Outcome
from tests.unit.adapters.polygon import samples
from tests.unit.adapters.polygon.samples import DEMO, V2_POOL, V3_POOL, header_json
from tests.unit.adapters.polygon.test_describe import ENTRY


class Listener(Service[NoSettings]):
    """Keeps what it hears."""

    name = "listener"
    heard: ClassVar[list[Message]] = []

    @handles(PoolMetadata)
    async def on_pool(self, message: PoolMetadata) -> None:
        self.heard.append(message)

    @handles(PoolSync)
    async def on_sync(self, message: PoolSync) -> None:
        self.heard.append(message)

    @handles(SwapEvent)
    async def on_swap(self, message: SwapEvent) -> None:
        self.heard.append(message)

    @handles(BlockClosed)
    async def on_block_closed(self, message: BlockClosed) -> None:
        self.heard.append(message)


def play(source: Path, **settings: Any) -> tuple[list[Message], Outcome, list[Progress]]:
    """Run adapter and listener to the end."""
    Listener.heard.clear()
    reports: list[Progress] = []
    placements = [
        Placement(PolygonAdapter, PolygonSettings(source=source, **settings)),
        Placement(Listener, NoSettings()),
    ]
    outcome = asyncio.run(Host(placements, clock=SystemClock(), report=reports.append).run())
    assert outcome.drained
    assert not outcome.failed
    assert outcome.ledger.balanced
    assert_blocks_are_closed(Listener.heard)
    return list(Listener.heard), outcome, reports


def assert_blocks_are_closed(heard: Sequence[Message]) -> None:
    """Every event is of the block that is open, and every closing counts what has been heard."""
    counts: Counter[type[Message]] = Counter()
    pools, blocks = 0, [-1]
    for message in heard:
        match message:
            case PoolMetadata():
                pools += 1
            case BlockClosed(block=block, swaps=swaps, syncs=syncs):
                assert (swaps, syncs, message.pools) == (counts[SwapEvent], counts[PoolSync], pools)
                blocks.append(block)
                counts.clear()
            case PoolSync() | SwapEvent():
                assert message.block > blocks[-1]
                counts[type(message)] += 1
    assert not counts
    assert blocks == sorted(set(blocks))


def test_everything_of_a_capture_arrives_in_order(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    logs = [
        samples.v2_sync(1000, 2000, block=1, index=0),
        samples.v2_swap(10, 0, 0, 19, block=1, index=1),
        samples.v3_swap(-5, 7, block=2, index=0),
        samples.log(V3_POOL.pool, (next(iter(OTHER_EVENTS)),), b"", block=2, index=1),
        samples.v3_mint(193910, 193920, 7, block=3, index=0),
    ]
    write_capture(path, Header(137, "a test", (V2_POOL, V3_POOL)), logs)
    heard, outcome, reports = play(path)
    assert heard[:2] == [V2_POOL, V3_POOL]
    assert [(type(m), m.block, m.log_index) for m in heard[2:] if isinstance(m, PoolSync | SwapEvent)] == [
        (PoolSync, 1, 0),
        (SwapEvent, 1, 1),
        (PoolSync, 2, 0),
        (SwapEvent, 2, 0),
        (PoolSync, 3, 0),
    ]
    assert [m for m in heard if isinstance(m, BlockClosed)] == [
        BlockClosed(137, 1, 1_700_000_000, swaps=1, syncs=1, pools=2),
        BlockClosed(137, 2, 1_700_000_000, swaps=1, syncs=1, pools=2),
        BlockClosed(137, 3, 1_700_000_000, swaps=0, syncs=1, pools=2),
    ]
    (intake,) = outcome.ledger.intakes
    assert (intake.read, intake.accepted, dict(intake.ignored)) == (5, 4, {"not_a_market_event": 1})
    assert reports[-1] == Progress("polygon_adapter", path.stat().st_size, path.stat().st_size, "bytes")


def test_every_cause_is_counted_and_the_rest_arrives(tmp_path: Path) -> None:
    stranger = Address("0x" + "99" * 20)
    header = header_json()
    header["tokens"] = [token for token in header["tokens"] if token["symbol"] != "WETH"]
    other = dict(header["pools"][0], address="0x" + "33" * 20, token0="0x" + "01" * 20, token1="0x" + "02" * 20)
    header["pools"].append(other)
    header["tokens"] += [{"address": "0x" + f"0{n}" * 20, "symbol": f"T{n}", "decimals": 18} for n in (1, 2)]
    known = Address(other["address"])

    def at(log: Any, index: int, address: Address = known) -> dict[str, Any]:
        return log_to_json(msgspec.structs.replace(log, address=address, log_index=index))

    lines = [
        at(samples.v2_sync(5, 5), 1),  # accepted
        at(samples.v2_sync(5, 5), 2, stranger),  # unknown_pool
        at(samples.v2_sync(5, 5), 3, V2_POOL.pool),  # unknown_token
        at(samples.v2_sync(MAX_RESERVE + 1, 5), 4),  # impossible_state
        at(samples.v2_sync(5, 5), 1),  # out_of_order
        at(samples.v2_sync(5, 5), 5) | {"data": "0x"},  # malformed_log, by the event's shape
        at(samples.v2_sync(5, 5), 6) | {"data": None},  # malformed_log, by its form
        at(samples.v2_sync(5, 5), 7) | {"removed": True},  # removed_log
        "no object",  # malformed_line
        at(samples.v2_sync(6, 6), 8),  # accepted
    ]
    path = tmp_path / "c.jsonl"
    text = "\n".join(json.dumps(line) for line in (header, *lines, lines[0]))
    path.write_text(text[:-9])  # truncated_capture
    heard, outcome, _ = play(path)
    assert [m.reserve0 for m in heard if isinstance(m, PoolSync)] == [5, 6]
    (intake,) = outcome.ledger.intakes
    assert dict(intake.ignored) == {"removed_log": 1}
    assert dict(intake.refused) == {
        "unknown_pool": 1,
        "unknown_token": 1,
        "impossible_state": 1,
        "out_of_order": 1,
        "malformed_log": 2,
        "malformed_line": 1,
        "truncated_capture": 1,
    }
    assert intake.read == 11


def test_a_log_that_does_not_count_closes_no_block(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    logs = [
        samples.v2_sync(1, 1, block=5, index=0),
        msgspec.structs.replace(samples.v2_sync(2, 2, block=6, index=0), removed=True),
        samples.v2_sync(3, 3, block=4, index=0),  # out of order
        samples.v2_sync(4, 4, block=5, index=1),
        samples.log(V3_POOL.pool, (next(iter(OTHER_EVENTS)),), b"", block=7, index=0),  # a block with nothing for us
    ]
    write_capture(path, Header(137, "a test", (V2_POOL, V3_POOL)), logs)
    heard, _, _ = play(path)
    assert [(m.block, m.syncs) for m in heard if isinstance(m, BlockClosed)] == [(5, 2), (7, 0)]


@pytest.mark.parametrize("after", [1, 2, 40])
def test_an_adapter_that_is_asked_to_stop_closes_the_block_it_is_in(after: int) -> None:
    Listener.heard.clear()
    stopper = asyncio.Event()

    class Stopper(Listener):
        name = "stopper"

        @handles(SwapEvent)
        async def on_swap(self, message: SwapEvent) -> None:
            self.heard.append(message)
            if len(self.heard) >= after:
                stopper.set()

    async def run() -> Outcome:
        host = Host(
            [Placement(PolygonAdapter, PolygonSettings(source=DEMO)), Placement(Stopper, NoSettings())],
            clock=SystemClock(),
        )
        running = asyncio.create_task(host.run())
        await stopper.wait()
        host.drain()
        return await running

    outcome = asyncio.run(run())
    assert outcome.drained
    assert 0 < sum(isinstance(message, SwapEvent) for message in Listener.heard) < 3095
    assert_blocks_are_closed(Listener.heard)


def test_the_shipped_capture_whole() -> None:
    heard, outcome, _ = play(DEMO)
    (intake,) = outcome.ledger.intakes
    assert not intake.refused
    assert intake.read == intake.accepted + sum(intake.ignored.values())
    assert sum(isinstance(message, SwapEvent) for message in heard) > 2000
    places = [(m.block, m.log_index) for m in heard if isinstance(m, PoolSync | SwapEvent)]
    assert places == sorted(places)


def test_a_csv_file_is_read_directly() -> None:
    heard, outcome, _ = play(samples.polygon_csv(), pools=(ENTRY,))
    (intake,) = outcome.ledger.intakes
    assert (intake.read, intake.accepted, dict(intake.refused)) == (4158, 4098, {})
    assert sum(isinstance(message, SwapEvent) for message in heard) == 3972


def test_a_capture_of_another_chain_is_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_capture(path, Header(1, "a test", ()), [])
    with pytest.raises(ConfigError, match="chain 1, the settings say 137"):
        play(path)


def test_a_missing_capture_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        play(tmp_path / "missing.jsonl")
