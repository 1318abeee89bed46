"""What is asked of endpoints, and which answers are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import pytest

from adapters.polygon.keccak import keccak256
from adapters.polygon.live.chain import TIMES_ALONE, LiveChain
from adapters.polygon.live.endpoints import Endpoints
from adapters.polygon.live.follow import ChainError
from adapters.polygon.live.headers import BLOOM_BYTES, Header, bloom_of, in_bloom
from adapters.polygon.logs import Log, log_to_json
from contracts.values import Address
from tests.unit.adapters.polygon import samples
from tests.unit.adapters.polygon.live.scripted import Scripted, block, serving
from tests.unit.adapters.polygon.live.test_endpoints import Clock
from tests.unit.adapters.polygon.samples import V2_POOL

OTHER = Address("0x" + "ab" * 20)


class Watch:
    """Watches one pool, and another one from when it is told of it."""

    def __init__(self) -> None:
        self.addresses: Collection[Address] = [V2_POOL.pool]

    async def learn(self, logs: Sequence[Log]) -> bool:
        if OTHER in self.addresses or not any(log.log_index == 9 for log in logs):
            return False
        self.addresses = [V2_POOL.pool, OTHER]
        return True


def bloom(*addresses: Address) -> bytes:
    """The filter of a block that has logs of these contracts."""
    bits = bytearray(BLOOM_BYTES)
    for address in addresses:
        digest = keccak256(address)
        for pair in (0, 2, 4):
            bit = int.from_bytes(digest[pair : pair + 2], "big") & 0x7FF
            bits[BLOOM_BYTES - 1 - bit // 8] |= 1 << bit % 8
    return bytes(bits)


HEADER = Header(5, b"\5" * 32, b"\4" * 32, 1_700_000_010, bloom(V2_POOL.pool))
LOGS = [samples.v2_sync(1000, 2000, block=5, index=3)]


def at(number: int) -> Header:
    return Header(number, number.to_bytes(32, "big"), bytes(32), number)


def run(servers: Sequence[Scripted], work: Callable[[LiveChain], Awaitable[None]]) -> None:
    async def inner() -> None:
        async with serving(*servers) as endpoints:
            chain = LiveChain(Endpoints(endpoints, Clock()), Watch())
            await work(chain)

    asyncio.run(inner())


def answers(methods: dict[str, Any]) -> Scripted:
    def reply(question: dict[str, Any]) -> Any:
        answer = methods.get(question["method"], {"error": {"code": -32601, "message": "the method does not exist"}})
        return answer(question["params"]) if callable(answer) else answer

    return Scripted(reply)


def said(logs: Sequence[Log]) -> list[Any]:
    return [log_to_json(log) for log in logs]


def test_where_the_filter_has_nothing_nobody_is_asked() -> None:
    server = answers({})

    async def work(chain: LiveChain) -> None:
        assert await chain.logs_of(Header(5, HEADER.hash, HEADER.parent, 1, bloom(OTHER))) == ()

    run([server], work)
    assert not server.asked


def test_logs_that_are_missing_are_asked_of_another() -> None:
    """The filter says that there may be some. One endpoint has not indexed them yet."""
    late, good = answers({"eth_getLogs": []}), answers({"eth_getLogs": said(LOGS)})

    async def work(chain: LiveChain) -> None:
        assert [log.log_index for log in await chain.logs_of(HEADER)] == [3]

    run([late, good], work)


def test_what_all_say_is_believed() -> None:
    """A filter is met by chance, too."""
    servers = [answers({"eth_getLogs": []}) for _ in range(3)]

    async def work(chain: LiveChain) -> None:
        assert list(await chain.logs_of(HEADER)) == []

    run(servers, work)
    assert sum(len(server.asked) for server in servers) >= 2


def receipts(*logs: Log) -> list[Any]:
    """A block's, two logs in each."""
    return [{"logs": said(logs[at : at + 2])} for at in range(0, len(logs), 2)]


OTHERS = [samples.log(OTHER, (bytes([index]) * 32,), b"", block=5, index=index) for index in range(3)]
WHOLE = [*OTHERS, *LOGS]
TOLD = Header(5, HEADER.hash, HEADER.parent, HEADER.timestamp, bloom_of(WHOLE))


def test_the_filter_of_logs_is_the_one_that_says_maybe_of_them() -> None:
    assert bloom(V2_POOL.pool) == bloom_of([samples.log(V2_POOL.pool, (), b"", block=1, index=1)])
    assert all(in_bloom(TOLD.bloom, item) for log in WHOLE for item in (bytes(log.address), *log.topics))


@pytest.mark.parametrize(
    "wrong",
    [
        receipts(),
        receipts(*OTHERS),
        receipts(*LOGS),
        receipts(*WHOLE, samples.log(OTHER, (b"x" * 32,), b"", block=5, index=9)),
        None,
        7,
        [7],
        [{"logs": [7]}],
        [{"logs": 7}],
        [{}],
    ],
)
def test_what_the_whole_block_has_decides_if_it_leads_to_its_filter(wrong: Any) -> None:
    """Although both say that there is nothing."""
    liar = answers({"eth_getLogs": [], "eth_getBlockReceipts": wrong})
    good = answers({"eth_getLogs": [], "eth_getBlockReceipts": receipts(*WHOLE)})

    async def work(chain: LiveChain) -> None:
        assert [log.log_index for log in await chain.logs_of(TOLD)] == [3]

    run([liar, good], work)
    run([good], work)


def test_where_nobody_can_show_the_whole_block_it_is_tried_again() -> None:
    liar = answers({"eth_getLogs": [], "eth_getBlockReceipts": receipts(*OTHERS)})

    async def work(chain: LiveChain) -> None:
        with pytest.raises(ChainError, match="do not fit its header's filter"):
            await chain.logs_of(TOLD)

    run([liar, liar], work)


def test_a_filter_that_is_full_says_nothing() -> None:
    """As on a busy chain: then nobody is asked for whole blocks."""
    full = Header(5, HEADER.hash, HEADER.parent, 1, b"\xff" * BLOOM_BYTES)
    server = answers({"eth_getLogs": []})

    async def work(chain: LiveChain) -> None:
        assert full.may_have([V2_POOL.pool])
        assert list(await chain.logs_of(full)) == []

    run([server, server], work)
    assert {question["method"] for question in server.asked} == {"eth_getLogs"}


def test_one_alone_must_say_it_several_times() -> None:
    broken = answers({"eth_getLogs": {"error": {"code": -32603, "message": "internal error"}}})
    server = answers({"eth_getLogs": []})

    async def work(chain: LiveChain) -> None:
        for _ in range(TIMES_ALONE - 1):
            with pytest.raises(ChainError):
                await chain.logs_of(HEADER)
        assert list(await chain.logs_of(HEADER)) == []

    run([broken, server], work)


@pytest.mark.parametrize(
    "wrong",
    [
        said([samples.v2_sync(1, 2, block=6, index=3)]),
        [{**said(LOGS)[0], "removed": True}],
        [{**said(LOGS)[0], "address": "0x"}],
        "no list",
        None,
    ],
)
def test_logs_that_are_none_of_the_block_are_not_taken(wrong: Any) -> None:
    async def work(chain: LiveChain) -> None:
        assert [log.log_index for log in await chain.logs_of(HEADER)] == [3]

    run([answers({"eth_getLogs": wrong}), answers({"eth_getLogs": said(LOGS)})], work)


@pytest.mark.parametrize("wrong", [None, "x", block(at(6)), {**block(HEADER), "hash": None}])
def test_a_header_that_was_not_asked_for_is_not_taken(wrong: Any) -> None:
    methods = ("eth_getBlockByHash", "eth_getBlockByNumber")

    async def work(chain: LiveChain) -> None:
        assert await chain.header(HEADER.hash) == HEADER
        assert await chain.header_at(5) == HEADER

    run([answers(dict.fromkeys(methods, wrong)), answers(dict.fromkeys(methods, block(HEADER)))], work)


def test_nobody_has_it() -> None:
    async def work(chain: LiveChain) -> None:
        with pytest.raises(ChainError) as caught:
            await chain.header(HEADER.hash)
        assert not caught.value.is_passing

    run([answers({"eth_getBlockByHash": None})], work)


def test_time_comes_from_the_header_where_the_node_does_not_say_it() -> None:
    without = [{key: value for key, value in said(LOGS)[0].items() if key != "blockTimestamp"}]

    async def work(chain: LiveChain) -> None:
        assert [log.timestamp for log in await chain.logs_of(HEADER)] == [HEADER.timestamp]

    run([answers({"eth_getLogs": without})], work)


def test_ranges_get_smaller_until_they_are_answered() -> None:
    asked: list[int] = []

    def logs(params: list[Any]) -> Any:
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        asked.append(last - first + 1)
        if last - first + 1 > 30:
            return {"error": {"code": -32602, "message": "eth_getLogs is limited to 30 blocks range"}}
        numbers = [number for number in range(first, last + 1) if number % 10 == 0]
        return said([samples.v2_sync(1, 2, block=number, index=0) for number in numbers])

    server = answers({"eth_getLogs": logs, "eth_getBlockByNumber": lambda params: block(at(int(params[0], 16)))})

    async def work(chain: LiveChain) -> None:
        found = await chain.blocks_between(1, 205)
        assert [header.number for header, _ in found] == [*range(10, 201, 10), 205]
        assert [len(logs) for _, logs in found] == [1] * 20 + [0]
        assert all(log.block == header.number for header, logs in found for log in logs)
        assert chain.backfilled == 205

    run([server], work)
    assert max(asked[5:]) <= 64
    assert asked.count(16) > 4


def test_logs_of_a_pool_that_is_created_in_between_are_asked_for() -> None:
    created = samples.v2_sync(1, 2, block=12, index=9)
    new = samples.log(OTHER, created.topics, created.data, block=14, index=0)

    def logs(params: list[Any]) -> Any:
        wanted = {Address(text) for text in params[0]["address"]}
        return said([log for log in (created, new) if log.address in wanted])

    server = answers({"eth_getLogs": logs, "eth_getBlockByNumber": lambda params: block(at(int(params[0], 16)))})

    async def work(chain: LiveChain) -> None:
        found = await chain.blocks_between(10, 20)
        assert [(header.number, len(logs)) for header, logs in found] == [(12, 1), (14, 1), (20, 0)]

    run([server], work)


def ranged(logs: Sequence[Log]) -> Scripted:
    return answers({"eth_getLogs": said(logs), "eth_getBlockByNumber": lambda params: block(at(int(params[0], 16)))})


@pytest.mark.parametrize("liar", [0, 1, 2])
def test_of_a_range_two_must_say_the_same(liar: int) -> None:
    logs = [samples.v2_sync(1, 2, block=number, index=0) for number in (11, 12)]
    servers = [ranged([] if place == liar else logs) for place in range(3)]

    async def work(chain: LiveChain) -> None:
        found = await chain.blocks_between(10, 20)
        assert [header.number for header, _ in found] == [11, 12, 20]

    run(servers, work)
