"""JSON-RPC log objects: what is accepted, and that everything else is a MalformedLog."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.logs import Log, MalformedLog, log_to_json, parse_log
from contracts.values import Address

GOLDEN = {
    "address": "0x45dDa9cb7c25131DF268515131f647d726f50608",
    "topics": [
        "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67",
        "0x000000000000000000000000e592427a0aece92de3edee1f18e0157c05861564",
        "0x0000000000000000000000008b26320912935111300ddaeec15ea9a182ff6f1a",
    ],
    "data": "0x"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffff4de3bba6"
    "0000000000000000000000000000000000000000000000000af2c6b8a5ec7680"
    "0000000000000000000000000000000000003f74862e71484308ef7bb48a1738"
    "000000000000000000000000000000000000000000000000180180212f8e71b6"
    "000000000000000000000000000000000000000000000000000000000002f57f",
    "blockNumber": "0x16459e6",
    "blockHash": "0x" + "ab" * 32,
    "transactionHash": "0xa47dbaeb8275a6a6e6f5cda339c3b982e71415a2947d1cbe4b4d0723c02137f6",
    "transactionIndex": "0x0",
    "logIndex": "0x3",
    "blockTimestamp": "0x61d4df82",
    "removed": False,
}
"""The first log of the recorded Polygon day, with a checksummed address as most nodes write it."""

LOGS = st.builds(
    Log,
    address=st.binary(min_size=20, max_size=20).map(Address),
    topics=st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple),
    data=st.binary(max_size=200),
    block=st.integers(0, 2**63 - 1),
    log_index=st.integers(0, 2**63 - 1),
    transaction=st.binary(min_size=32, max_size=32),
    timestamp=st.integers(0, 2**63 - 1),
    removed=st.booleans(),
)


@given(LOGS)
def test_there_and_back(log: Log) -> None:
    assert parse_log(json.loads(json.dumps(log_to_json(log)))) == log


def test_a_real_log() -> None:
    log = parse_log(GOLDEN)
    assert log.address == Address("0x45dda9cb7c25131df268515131f647d726f50608")
    assert log.topics[0].hex() == "c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"
    assert (log.log_index, log.timestamp, log.removed) == (3, 1641340802, False)
    assert log.transaction.hex().startswith("a47dbaeb")


@pytest.mark.parametrize("left_out", ["blockTimestamp", "removed", "blockHash", "transactionIndex"])
def test_what_a_node_may_leave_out(left_out: str) -> None:
    log = parse_log({key: value for key, value in GOLDEN.items() if key != left_out})
    if left_out == "blockTimestamp":
        assert log.timestamp == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", None),
        ("address", "0x45"),
        ("address", 5),
        ("address", "45dda9cb7c25131df268515131f647d726f50608"),
        ("address", "0x45dda9cb7c25131df268515131f647d726f5060 8"),
        ("topics", None),
        ("topics", "0x"),
        ("topics", ["0x12"]),
        ("topics", [None]),
        ("topics", ["0x" + "00" * 32] * 5),
        ("data", None),
        ("data", "0x0"),
        ("data", "0x 00"),
        ("data", "0xzz"),
        ("blockNumber", None),  # pending
        ("blockNumber", 17),
        ("blockNumber", "17"),
        ("blockNumber", "0x"),
        ("blockNumber", "0x8000000000000000"),
        ("blockNumber", "0x-1"),
        ("blockNumber", "0x1_0"),
        ("blockNumber", "0x1\n"),
        ("logIndex", "-0x1"),
        ("transactionHash", "0x" + "00" * 31),
        ("blockTimestamp", "now"),
        ("removed", "no"),
    ],
)
def test_malformed_fields_are_named_and_shown(key: str, value: Any) -> None:
    with pytest.raises(MalformedLog, match=key) as caught:
        parse_log(GOLDEN | {key: value})
    assert repr(value).strip("[]")[:20] in caught.value.reason
    assert caught.value.cause == "malformed_log"


@pytest.mark.parametrize("missing", ["address", "topics", "data", "blockNumber", "logIndex", "transactionHash"])
def test_missing_fields(missing: str) -> None:
    with pytest.raises(MalformedLog, match=missing):
        parse_log({key: value for key, value in GOLDEN.items() if key != missing})


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(MalformedLog) as caught:
        parse_log(GOLDEN | {"data": "0x" + "z" * 10_000})
    assert len(caught.value.reason) < 200


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(sorted(GOLDEN)), inner, max_size=8),
    max_leaves=12,
)


@given(JSON, st.sampled_from(sorted(GOLDEN)))
def test_whatever_stands_there_the_answer_is_a_log_or_a_malformed_log(value: Any, key: str) -> None:
    for obj in (value, GOLDEN | {key: value}):
        try:
            parse_log(obj)
        except MalformedLog as error:
            assert error.reason
