"""Many calls give what each alone would give, whatever contracts and endpoints do."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.live.answers import EndpointError, fault
from adapters.polygon.live.calls import (
    MAX_BATCH_RETURNED,
    MAX_RETURNED,
    MULTICALL3,
    Call,
    Caller,
    address_in,
    call_data,
    number_in,
    values_in,
)
from tests.unit.adapters.polygon.live.contracts_in_memory import BLOCK, ContractsInMemory, address, word

QUESTION = call_data("number()")


def numbers(node: ContractsInMemory, count: int) -> list[Call]:
    """Calls of contracts that each say a number of their own."""
    calls = [Call(address(number), QUESTION) for number in range(1, count + 1)]
    for number, call in enumerate(calls, 1):
        node.says(call.target, number=word(number))
    return calls


@pytest.mark.parametrize("has_multicall", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 30])
async def test_answers_come_in_the_order_of_the_calls(has_multicall: bool, count: int) -> None:
    node = ContractsInMemory(has_multicall=has_multicall)
    calls = numbers(node, count)
    answers = await Caller(node.ask, batch=8).many(calls, BLOCK)
    assert [number_in(answer) for answer in answers] == list(range(1, count + 1))
    if has_multicall and count > 1:
        assert sum(node.batches) + (count % 8 == 1) == count
        assert max(node.batches) <= 8


async def test_all_is_asked_at_the_block_that_is_given() -> None:
    for has_multicall in (True, False):
        node = ContractsInMemory(has_multicall=has_multicall)
        calls = numbers(node, 3)
        await Caller(node.ask).many(calls, BLOCK)
        await Caller(node.ask).many(calls)
        blocks = [params[1] for method, params in node.asked if method == "eth_call"]
        half = len(blocks) // 2
        assert blocks == [{"blockHash": "0x" + BLOCK.hex()}] * half + ["latest"] * half


async def test_whether_multicall_is_there_is_asked_once() -> None:
    for has_multicall in (True, False):
        node = ContractsInMemory(has_multicall=has_multicall)
        caller = Caller(node.ask)
        await asyncio.gather(*(caller.many(numbers(node, 4)) for _ in range(5)))
        assert [params for method, params in node.asked if method == "eth_getCode"] == [[str(MULTICALL3), "latest"]]


async def test_an_endpoint_that_does_not_say_code_is_asked_one_by_one() -> None:
    node = ContractsInMemory()

    def refuse(method: str, _params: list[Any]) -> None:
        if method == "eth_getCode":
            raise EndpointError("refused", "-32601: the method does not exist")

    node.before = refuse
    assert all(await Caller(node.ask).many(numbers(node, 3)))
    assert not node.batches


async def test_no_more_is_under_way_than_may_be() -> None:
    node = ContractsInMemory(has_multicall=False)
    calls = numbers(node, 50)

    under_way: list[int] = []
    most: list[int] = []

    async def slow(method: str, params: list[Any]) -> msgspec.Raw:
        under_way.append(1)
        most.append(len(under_way))
        await asyncio.sleep(0)
        under_way.pop()
        return await node.ask(method, params)

    await Caller(slow, concurrent=3).many(calls)
    assert max(most) == 3


@pytest.mark.parametrize("has_multicall", [True, False])
async def test_what_reverts_or_returns_nothing_is_none(has_multicall: bool) -> None:
    node = ContractsInMemory(has_multicall=has_multicall)
    calls = numbers(node, 4)
    node.says(calls[1].target, number=None)
    node.says(calls[2].target, number=b"")
    node.says(calls[3].target, number=bytes(MAX_RETURNED + 1))
    assert await Caller(node.ask).many(calls) == [word(1), None, None, None]


@pytest.mark.parametrize("kind", ["burners", "floods"])
@pytest.mark.parametrize("place", [0, 5, 9])
async def test_what_one_contract_does_changes_no_others_answer(kind: str, place: int) -> None:
    node = ContractsInMemory()
    calls = numbers(node, 10)
    getattr(node, kind).add(calls[place].target)
    answers = await Caller(node.ask).many(calls)
    assert [number_in(answer) for answer in answers] == [None if n == place else n + 1 for n in range(10)]


async def test_a_batch_that_is_too_large_is_halved() -> None:
    node = ContractsInMemory()
    node.largest_batch = 5
    answers = await Caller(node.ask, batch=32).many(numbers(node, 32))
    assert all(answers)
    assert node.batches[0] == 32
    assert sum(size for size in node.batches if size <= 5) == 32


async def test_another_contract_at_the_address_of_multicall_is_not_believed() -> None:
    node = ContractsInMemory()
    calls = numbers(node, 4)

    one = (True, word(9))
    others = [encode(["(bool,bytes)[]"], [[one] * count]) for count in (3, 5)]
    for said in (b"", word(1), word(32) + word(4), bytes(MAX_BATCH_RETURNED + 1), *others):

        async def ask(method: str, params: list[Any], said: bytes = said) -> msgspec.Raw:
            if method == "eth_call" and params[0]["to"] == str(MULTICALL3):
                return msgspec.Raw(msgspec.json.encode("0x" + said.hex()))
            return await node.ask(method, params)

        assert await Caller(ask).many(calls) == [word(n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("cause", ["timeout", "unreachable", "rate_limited", "unknown_block", "http_status"])
@pytest.mark.parametrize("has_multicall", [True, False])
async def test_an_endpoints_failure_is_not_taken_for_a_contracts(cause: str, has_multicall: bool) -> None:
    node = ContractsInMemory(has_multicall=has_multicall)

    def fail(method: str, _params: list[Any]) -> None:
        if method == "eth_call":
            raise EndpointError(cause, "no")

    node.before = fail
    with pytest.raises(EndpointError) as caught:
        await Caller(node.ask).many(numbers(node, 4))
    assert caught.value.cause == cause


NOT_TAKEN = [
    "-32602: invalid argument 1: json: cannot unmarshal object",
    "-32601: the method does not exist",
    "-32000: required historical state unavailable (reexec=128)",
    "-32000: state is not available",
    "-32000: the block is pruned",
]


@pytest.mark.parametrize("has_multicall", [True, False])
@pytest.mark.parametrize("reason", NOT_TAKEN)
async def test_a_question_that_was_not_taken_is_no_revert(has_multicall: bool, reason: str) -> None:
    """As by a node that knows no block hashes in calls: without this, no contract would be a pool."""
    node = ContractsInMemory(has_multicall=has_multicall)

    def refuse(method: str, _params: list[Any]) -> None:
        if method == "eth_call":
            raise EndpointError("refused", reason)

    node.before = refuse
    with pytest.raises(EndpointError) as caught:
        await Caller(node.ask).many(numbers(node, 4))
    assert caught.value.reason == reason


WORDS_OF_ENDPOINTS = [message.partition(": ")[2] for message in NOT_TAKEN] + ["block not found", "timeout", "-32602"]


@pytest.mark.parametrize("words", WORDS_OF_ENDPOINTS)
async def test_a_contract_that_reverts_with_the_words_of_an_endpoint_has_reverted(words: str) -> None:
    async def ask(method: str, _params: list[Any]) -> msgspec.Raw:
        if method == "eth_getCode":
            return msgspec.Raw(b'"0x"')
        raise fault(3, f"execution reverted: {words}")

    assert await Caller(ask).many([Call(address(1), QUESTION)] * 2) == [None, None]


@pytest.mark.parametrize("result", [b"null", b"7", b'"0x123"', b'"zz"', b"{}", b"[", b"\xff"])
async def test_a_result_that_is_no_bytes_is_the_endpoints_fault(result: bytes) -> None:
    async def ask(method: str, _params: list[Any]) -> msgspec.Raw:
        return msgspec.Raw(b'"0x"' if method == "eth_getCode" else result)

    with pytest.raises(EndpointError, match="malformed"):
        await Caller(ask).many([Call(address(1), QUESTION)] * 2)


async def test_sizes_that_cannot_be_are_refused() -> None:
    for sizes in ({"batch": 0}, {"concurrent": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Caller(ContractsInMemory().ask, **sizes)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=70)), min_size=2, max_size=20), st.integers(1, 9))
def test_a_batch_says_what_single_calls_say(answers: list[bytes | None], batch: int) -> None:
    node = ContractsInMemory()
    calls = [Call(address(number), QUESTION) for number in range(1, len(answers) + 1)]
    for call, answer in zip(calls, answers, strict=True):
        node.says(call.target, number=answer)

    async def both() -> None:
        expected = [answer or None for answer in answers]
        assert await Caller(node.ask, batch=batch).many(calls) == expected
        node.has_multicall = False
        assert await Caller(node.ask).many(calls) == expected

    asyncio.run(both())


KINDS = st.sampled_from(["bytes", "address", "uint256", "uint24", "int24", "uint112", "(bool,bytes)[]"])
SMALL, LARGE = st.integers(0, 200).map(word), st.integers(2**200, 2**255 - 1).map(word)
WORDS = st.lists(st.one_of(st.binary(min_size=32, max_size=32), SMALL, LARGE), max_size=8)


@given(st.one_of(st.binary(max_size=300), WORDS.map(b"".join)), st.lists(KINDS, min_size=1, max_size=3))
def test_whatever_a_contract_returns_is_values_or_none(data: bytes, kinds: list[str]) -> None:
    values = values_in(data, *kinds)
    assert values is None or len(values) == len(kinds)
    found = address_in(data)
    assert found is None or any(found)
    number = number_in(data, "uint8")
    assert number is None or 0 <= number < 256


@pytest.mark.parametrize("length", [2**63, 2**64, 2**255])
def test_a_length_beyond_all_memory_is_none(length: int) -> None:
    assert values_in(word(32) + word(length) + bytes(32), "bytes") is None


def test_call_data_is_selector_and_arguments() -> None:
    assert call_data("decimals()").hex() == "313ce567"
    assert call_data("balanceOf(address)", bytes(address(5))) == bytes.fromhex("70a08231") + word(5)
    pool = call_data("getPool(address,address,uint24)", bytes(address(1)), bytes(address(2)), 500)
    assert pool == bytes.fromhex("1698ee82") + word(1) + word(2) + word(500)
