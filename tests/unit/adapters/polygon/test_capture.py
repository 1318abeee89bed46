"""Captures: header, the three forms of a line, every fault, and that the same content gives the same bytes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.capture import CaptureReader, Entry, Header, header_to_json, parse_header, write_capture
from adapters.polygon.lines import Fault, Position
from adapters.polygon.logs import Log, log_to_json
from contracts.values import Address
from mycelium.core.errors import ConfigError
from tests.unit.adapters.polygon import samples
from tests.unit.adapters.polygon.samples import DEMO, V2_POOL, V3_POOL, WETH, header_json

LOGS = [samples.v2_sync(10 + index, 20, index=index) for index in range(3)]
HEADER = Header(137, "a test", (V2_POOL, V3_POOL))


def capture(path: Path, *lines: Any, header: Any = None, end: bytes = b"\n") -> Path:
    texts = [
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in (header or header_json(), *lines)
    ]
    path.write_bytes(b"\n".join(texts) + end)
    return path


def read(path: Path) -> list[Entry | Fault]:
    with CaptureReader(path) as reader:
        found = list(reader)
        assert reader.consumed == reader.size
    return found


def causes(found: list[Entry | Fault]) -> list[str]:
    return [entry.cause for entry in found if isinstance(entry, Fault)]


@pytest.mark.parametrize("name", ["capture.jsonl", "capture.jsonl.gz"])
def test_there_and_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write_capture(path, HEADER, LOGS) == 3
    with CaptureReader(path) as reader:
        assert reader.header == HEADER
        assert list(reader) == [Entry(Position(number), log) for number, log in enumerate(LOGS, 2)]
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write_capture(tmp_path / "one.gz", HEADER, LOGS)
    write_capture(tmp_path / "another-name.gz", HEADER, iter(LOGS))
    packed = (tmp_path / "one.gz").read_bytes()
    assert packed == (tmp_path / "another-name.gz").read_bytes()
    assert packed[3:8] == bytes(5)  # neither a name nor a time in gzip's header


def test_lines_are_written_as_the_node_sent_them(tmp_path: Path) -> None:
    sent = {"jsonrpc": "2.0", "id": 7, "result": [log_to_json(LOGS[0]) | {"extra": "ü"}]}
    write_capture(tmp_path / "c.jsonl", HEADER, [sent])
    line = (tmp_path / "c.jsonl").read_bytes().splitlines()[1]
    assert line == json.dumps(sent, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_capture_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Any:
        yield LOGS[0]
        raise RuntimeError("the node died")

    with pytest.raises(RuntimeError, match="died"):
        write_capture(tmp_path / "c.jsonl.gz", HEADER, broken())
    assert list(tmp_path.iterdir()) == []


def test_the_three_forms_of_a_line(tmp_path: Path) -> None:
    first, second, third = map(log_to_json, LOGS)
    path = capture(
        tmp_path / "c",
        first,
        {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": "0x1", "result": second}},
        b"",
        {"jsonrpc": "2.0", "id": 1, "result": [third, "rubbish", third]},
        {"jsonrpc": "2.0", "id": 2, "result": []},
    )
    found = read(path)
    assert [(str(entry.position), type(entry)) for entry in found] == [
        ("line 2", Entry),
        ("line 3", Entry),
        ("line 5, item 1", Entry),
        ("line 5, item 2", Fault),
        ("line 5, item 3", Entry),
    ]
    assert [entry.log for entry in found if isinstance(entry, Entry)] == [*LOGS, LOGS[2]]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"{", "malformed_line"),
        (b"rubbish", "malformed_line"),
        (b"\xff\xfe", "malformed_line"),
        (b'{"address": "\xff"}', "malformed_line"),
        (b"[]", "malformed_line"),
        (b"null", "malformed_line"),
        (b"[" * 100_000, "malformed_line"),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"limit exceeded"}}', "malformed_line"),
        (b'{"jsonrpc":"2.0","id":1,"result":"0x1"}', "malformed_line"),
        (b'{"jsonrpc":"2.0","method":"eth_subscription","params":null}', "malformed_log"),
        (b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"result":{"number":"0x1"}}}', "malformed_log"),
        (b"{}", "malformed_log"),
        (b'{"address": 1e999}', "malformed_line"),
    ],
)
def test_faults_are_told_with_their_line_and_reading_goes_on(tmp_path: Path, line: bytes, cause: str) -> None:
    found = read(capture(tmp_path / "c", log_to_json(LOGS[0]), line, log_to_json(LOGS[1])))
    assert [type(entry) for entry in found] == [Entry, Fault, Entry]
    assert causes(found) == [cause]
    assert found[1].position == Position(3)


def test_a_last_line_without_end_counts_if_it_is_whole(tmp_path: Path) -> None:
    assert len(read(capture(tmp_path / "c", *map(log_to_json, LOGS), end=b""))) == 3


def test_a_plain_capture_cut_within_a_line(tmp_path: Path) -> None:
    path = capture(tmp_path / "c", *map(log_to_json, LOGS))
    path.write_bytes(path.read_bytes()[:-20])
    found = read(path)
    assert [type(entry) for entry in found] == [Entry, Entry, Fault]
    assert causes(found) == ["truncated_capture"]


def test_a_packed_capture_cut_at_every_byte(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.gz", tmp_path / "cut.gz"
    write_capture(whole, HEADER, LOGS)
    packed = whole.read_bytes()
    most = 0
    for length in range(len(packed)):
        path.write_bytes(packed[:length])
        try:
            found = read(path)
        except ConfigError:
            assert most == 0  # not even the header arrived
            continue
        assert causes(found) == ["truncated_capture"]
        logs = [entry.log for entry in found if isinstance(entry, Entry)]
        assert logs == LOGS[: len(logs)]
        assert len(logs) >= most
        most = len(logs)
    assert most == len(LOGS)


def test_a_packed_capture_with_a_flipped_bit_anywhere(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.gz", tmp_path / "flipped.gz"
    write_capture(whole, HEADER, LOGS)
    packed = whole.read_bytes()
    for position in range(len(packed)):
        flipped = bytearray(packed)
        flipped[position] ^= 0x10
        path.write_bytes(bytes(flipped))
        try:
            found = read(path)
        except ConfigError:
            continue
        # A few bits mean nothing: gzip's time and system, and what fills up the last byte of the packed data.
        assert causes(found) or [entry.log for entry in found if isinstance(entry, Entry)] == LOGS, position


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_rubbish_never_raises(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("rubbish") / "c"
    for entry in read(capture(path, *lines)):
        assert isinstance(entry, Fault)


def test_header_there_and_back() -> None:
    header = parse_header("file", json.dumps(header_json()).encode())
    assert header == HEADER
    assert header_to_json(header) == header_json()


def test_a_pool_with_an_undescribed_token_is_kept_apart() -> None:
    header = parse_header("file", json.dumps(header_json(tokens=header_json()["tokens"][:1])).encode())
    assert header.pools == ()
    assert dict(header.missing_tokens) == {V2_POOL.pool: WETH.address, V3_POOL.pool: WETH.address}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "is empty"),
        (b"\n", "no header"),
        (b"rubbish\n", "no header"),
        (b"[]\n", "valid dictionary|object"),
        (b'{"address":"0x"}\n', "capture"),
        (header_json(capture=2), "capture"),
        (header_json(chain_id=0), "chain_id"),
        (header_json(chain_id="137"), "chain_id"),
        (header_json(pools=[{}]), "pools.0.address"),
        (header_json(pools=header_json()["pools"] * 2), "described twice"),
        (header_json(tokens=header_json()["tokens"] * 2), "described twice"),
        (header_json(surplus=1), "surplus"),
    ],
)
def test_an_unusable_header_is_the_users_error(tmp_path: Path, header: Any, message: str) -> None:
    path = tmp_path / "capture.jsonl"
    path.write_bytes(header if isinstance(header, bytes) else json.dumps(header).encode() + b"\n")
    with pytest.raises(ConfigError, match=message) as caught:
        CaptureReader(path)
    assert {problem.file for problem in caught.value.problems} == {str(path)}


def test_a_header_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "c.gz"
    path.write_bytes(gzip.compress(json.dumps(header_json()).encode())[:40])
    with pytest.raises(ConfigError):
        CaptureReader(path)


def test_the_shipped_capture() -> None:
    with CaptureReader(DEMO) as reader:
        assert reader.header.chain_id == 137
        assert {pool.venue for pool in reader.header.pools} == {"quickswap", "sushiswap", "uniswap_v3"}
        assert {pool.protocol.value for pool in reader.header.pools} == {"uniswap_v2", "uniswap_v3"}
        assert {t.decimals for pool in reader.header.pools for t in (pool.token0, pool.token1)} == {6, 8, 18}
        logs: list[Log] = []
        for entry in reader:
            assert isinstance(entry, Entry), entry
            logs.append(entry.log)
    assert DEMO.stat().st_size < 1_500_000
    assert all(log.timestamp == 1_700_000_000 + 2 * log.block for log in logs)
    known: set[Address] = {pool.pool for pool in reader.header.pools}
    assert {log.address for log in logs} == known
