"""What is missing is named, with the command that installs it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from adapters.polygon.record.tools import MissingToolError, Tools


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks complete."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for file in (
        "@foundry-rs/anvil-linux-amd64/bin/anvil",
        "solc/solc.js",
        "@uniswap/v2-core/build/UniswapV2Factory.json",
        "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json",
    ):
        path = tmp_path / "node_modules" / file
        path.parent.mkdir(parents=True)
        path.write_text('{"bytecode": "0x6001"}')
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "node"
    program.touch(0o700)
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path


def test_everything_is_there(installed: Path) -> None:
    tools = Tools.find(installed)
    assert tools.node == installed / "bin" / "node"
    assert (tools.factory("v2"), tools.factory("v3")) == (b"\x60\x01", b"\x60\x01")


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("@foundry-rs/anvil-linux-amd64/bin/anvil", "anvil"),
        ("solc/solc.js", "solc"),
        ("@uniswap/v2-core/build/UniswapV2Factory.json", "Uniswap v2"),
        ("@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json", "Uniswap v3"),
        ("../bin/node", "runtime node"),
    ],
)
def test_each_missing_part_is_named(installed: Path, file: str, what: str) -> None:
    (installed / "node_modules" / file).unlink()
    with pytest.raises(MissingToolError, match=rf"{what}.*tools/install-system-parts"):
        Tools.find(installed)
