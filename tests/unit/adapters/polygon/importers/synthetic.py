"""Small call trees as Parity traces them, for what the recorded blocks do not hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapters.polygon.importers.block import BlockReplay, read_block

TOKEN0 = "0x" + "0a" * 20
TOKEN1 = "0x" + "0b" * 20
PAIR = "0x" + "cc" * 20
TRADER = "0x" + "dd" * 20


def word(value: int | str) -> str:
    return (value[2:] if isinstance(value, str) else f"{value:x}").rjust(64, "0")


def call(
    to: str,
    data: str,
    *children: dict[str, Any],
    output: str = "",
    error: str | None = None,
    kind: str = "call",
    sender: str = TRADER,
) -> dict[str, Any]:
    """One call and what it called."""
    return {
        "to": to,
        "data": data,
        "children": children,
        "output": output,
        "error": error,
        "kind": kind,
        "from": sender,
    }


def transfer(token: str, to: str, amount: int) -> dict[str, Any]:
    return call(token, "0xa9059cbb" + word(to) + word(amount), output="0x" + word(1))


def balance(token: str, owner: str, amount: int) -> dict[str, Any]:
    return call(token, "0x70a08231" + word(owner), output="0x" + word(amount), kind="staticcall")


def get_reserves(reserve0: int, reserve1: int, pair: str = PAIR) -> dict[str, Any]:
    return call(pair, "0x0902f1ac", output="0x" + word(reserve0) + word(reserve1) + word(0), kind="staticcall")


def swap(
    out0: int,
    out1: int,
    after0: int,
    after1: int,
    *inner: dict[str, Any],
    pair: str = PAIR,
    tokens: tuple[str, str] = (TOKEN0, TOKEN1),
    **options: Any,
) -> dict[str, Any]:
    data = "0x022c0d9f" + word(out0) + word(out1) + word(TRADER) + word(128) + word(0)
    ends = balance(tokens[0], pair, after0), balance(tokens[1], pair, after1)
    return call(pair, data, *inner, *ends, **options)


def mint(after0: int, after1: int) -> dict[str, Any]:
    return call(PAIR, "0x6a627842" + word(TRADER), balance(TOKEN0, PAIR, after0), balance(TOKEN1, PAIR, after1))


def block(path: Path, *transactions: dict[str, Any]) -> BlockReplay:
    """Write the transactions as a block file and read it."""
    traces: list[dict[str, Any]] = []

    def add(node: dict[str, Any], position: int, address: list[int]) -> None:
        traces.append(
            {
                "type": "call",
                "action": {"from": node["from"], "to": node["to"], "input": node["data"], "callType": node["kind"]},
                "result": None if node["error"] else {"output": node["output"] or "0x"},
                "error": node["error"],
                "transaction_hash": "0x" + word(position + 1),
                "transaction_position": position,
                "trace_address": address,
            }
        )
        for index, child in enumerate(node["children"]):
            add(child, position, [*address, index])

    for position, transaction in enumerate(transactions):
        add(transaction, position, [])
    path.write_text(json.dumps({"block_number": 7, "block_timestamp": 70, "traces": traces, "receipts": []}))
    return read_block(path)


def run(*calls: dict[str, Any], error: str | None = None) -> dict[str, Any]:
    """A transaction that makes these calls."""
    return call(TRADER, "0x", *calls, error=error)
