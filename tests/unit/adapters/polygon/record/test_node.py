"""Call data, and a node that cannot start."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.polygon.record.node import Node, NodeError, calldata
from contracts.values import Address


def test_call_data() -> None:
    to = Address("0x" + "0e" * 20)
    assert calldata("transfer(address,uint256)", to, 5).hex() == "a9059cbb" + "00" * 12 + "0e" * 20 + "00" * 31 + "05"
    assert calldata("f(int24,bool)", -1, True)[4:].hex() == "ff" * 32 + "00" * 31 + "01"
    assert len(calldata("getReserves()")) == 4


def test_a_node_that_ends_at_once_says_why(tmp_path: Path) -> None:
    program = tmp_path / "anvil"
    program.write_text("#!/bin/sh\necho no such option\nexit 3\n")
    program.chmod(0o700)
    with pytest.raises(NodeError, match="ended with 3: no such option"), Node(program):
        pass
