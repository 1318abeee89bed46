"""Reading block files: call trees, and files that are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.polygon.importers.traces import read_traces
from mycelium.core.errors import ConfigError

ROOT: dict[str, Any] = {
    "type": "call",
    "action": {
        "from": "0x" + "01" * 20,
        "to": "0x" + "02" * 20,
        "input": "0xa9059cbb" + "00" * 31 + "05",
        "callType": "call",
    },
    "result": {"output": "0x01"},
    "transaction_hash": "0x" + "0f" * 32,
    "transaction_position": 0,
    "trace_address": [],
}


def write(path: Path, *traces: Any, **changes: Any) -> Path:
    path.write_text(json.dumps({"block_number": 5, "traces": list(traces)} | changes))
    return path


def test_calls_hang_beneath_their_parents_in_any_order_of_the_file(tmp_path: Path) -> None:
    second, first = ROOT | {"trace_address": [1]}, ROOT | {"trace_address": [0], "error": "Reverted", "result": None}
    deep = ROOT | {"trace_address": [1, 0]}
    block = read_traces(write(tmp_path / "b", deep, second, first, ROOT, block_timestamp=9))
    (root,) = block.roots
    assert (block.block, block.timestamp) == (5, 9)
    assert [(child.path, child.failed) for child in root.children] == [((0,), True), ((1,), False)]
    assert root.children[1].children[0].path == (1, 0)
    assert (root.selector.hex(), root.word(0), root.word(1), root.output) == ("a9059cbb", 5, 0, b"\x01")
    assert root.children[0].output == b""


def test_the_second_spelling_of_the_call_type(tmp_path: Path) -> None:
    action = {key: value for key, value in ROOT["action"].items() if key != "callType"} | {"call_type": "staticcall"}
    assert read_traces(write(tmp_path / "b", ROOT | {"action": action})).roots[0].kind == "staticcall"


def test_rewards_and_self_destructs_are_passed_over(tmp_path: Path) -> None:
    others: list[dict[str, Any]] = [{"type": kind, "action": {}} for kind in ("reward", "suicide")]
    assert read_traces(write(tmp_path / "b", *others)).roots == ()


def test_constructors_are_kept(tmp_path: Path) -> None:
    create = ROOT | {"type": "create", "action": {"from": "0x" + "01" * 20, "init": "0x"}, "result": None, "error": "x"}
    assert read_traces(write(tmp_path / "b", create)).roots[0].kind == "create"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no JSON"),
        (b"[]", "list of traces"),
        (b"{}", "list of traces"),
        (b'{"traces": [], "block_number": "5"}', "whole numbers"),
        (b'{"traces": [], "block_number": -5}', "whole numbers"),
        (b'{"traces": [1], "block_number": 5}', r"traces\[0\]"),
        (b'{"traces": [{"type": "call"}], "block_number": 5}', r"traces\[0\].*action"),
        (gzip.compress(b"{}", mtime=0)[:15], "cannot be read"),
    ],
)
def test_files_of_another_kind_are_the_users_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "block.json.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_traces(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_traces(tmp_path / "missing")


def test_calls_without_parent_or_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no parent"):
        read_traces(write(tmp_path / "b", ROOT, ROOT | {"trace_address": [0, 0]}))
    with pytest.raises(ConfigError, match="two calls"):
        read_traces(write(tmp_path / "b", ROOT, ROOT))
