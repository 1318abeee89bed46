"""Finds the node, the compiler and the contracts that a recording needs, and compiles our own contracts.

They come from npm and are not part of the repository: the bytecode of Uniswap v2 is under the GPL and that of v3 under
the BUSL. ``tools/install-system-parts`` installs them.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mycelium.core.errors import ConfigError, Problem

INSTALLER = "tools/install-system-parts"
COMPILER_SECONDS = 120
"""Time that the compiler may take. Chosen by us: it takes one or two seconds."""

_FACTORIES = {
    "v2": "@uniswap/v2-core/build/UniswapV2Factory.json",
    "v3": "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json",
}
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_SOURCES = Path(__file__).with_name("solidity")


class MissingToolError(ConfigError):
    """A program or file that a recording needs is not there.

    Args:
        what: which one.
        looked: where it was expected.
    """

    def __init__(self, what: str, looked: str) -> None:
        super().__init__([Problem(looked, "", f"{what} is missing here; install it with: {INSTALLER}")])
        self.what = what
        self.looked = looked


@dataclass(frozen=True)
class Tools:
    """The installed parts. Build one with :meth:`find`.

    Args:
        anvil: the node's program.
        node: the JavaScript runtime, for the compiler.
        modules: the folder ``node_modules``.
    """

    anvil: Path
    node: Path
    modules: Path

    @classmethod
    def find(cls, directory: Path) -> Tools:
        """The parts installed in ``directory``.

        Args:
            directory: where ``node_modules`` is, such as ``build/node-tools``.

        Raises:
            MissingToolError: one is not there; names it and how to install it.
        """
        modules = directory.resolve() / "node_modules"
        system = f"{platform.system().lower()}-{_MACHINES.get(platform.machine().lower(), platform.machine())}"
        anvil = modules / "@foundry-rs" / f"anvil-{system}" / "bin" / "anvil"
        wanted = {
            "the EVM node anvil": anvil,
            "the Solidity compiler solc": modules / "solc" / "solc.js",
            "the Uniswap v2 contracts": modules / _FACTORIES["v2"],
            "the Uniswap v3 contracts": modules / _FACTORIES["v3"],
        }
        for what, path in wanted.items():
            if not path.is_file():
                raise MissingToolError(what, str(path))
        node = shutil.which("node")
        if node is None:
            raise MissingToolError("the JavaScript runtime node", "node on the PATH")
        return cls(anvil, Path(node), modules)

    def factory(self, version: str) -> bytes:
        """Creation code of Uniswap's factory, ``v2`` or ``v3``."""
        code: str = json.loads((self.modules / _FACTORIES[version]).read_text(encoding="utf-8"))["bytecode"]
        return bytes.fromhex(code.removeprefix("0x"))

    def compile(self, directory: Path = _SOURCES) -> dict[str, bytes]:
        """Creation code of our own contracts, by name.

        Args:
            directory: where their sources are.

        Raises:
            RuntimeError: the compiler failed or found an error; carries its message.
        """
        sources = {path.name: {"content": path.read_text(encoding="utf-8")} for path in sorted(directory.glob("*.sol"))}
        request = {
            "language": "Solidity",
            "sources": sources,
            # Without the metadata hash the bytecode depends on the source alone.
            "settings": {
                "evmVersion": "paris",
                "optimizer": {"enabled": True, "runs": 200},
                "metadata": {"bytecodeHash": "none"},
                "outputSelection": {"*": {"*": ["evm.bytecode.object"]}},
            },
        }
        done = subprocess.run(  # noqa: S603 - the compiler that the caller installed
            [str(self.node), str(self.modules / "solc" / "solc.js"), "--standard-json"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=COMPILER_SECONDS,
            check=False,
        )
        start = done.stdout.find("{")  # a line about SMT solvers stands before it
        if done.returncode or start < 0:
            raise RuntimeError(f"solc ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout[start:])
        errors = [error["formattedMessage"] for error in answer.get("errors", ()) if error["severity"] == "error"]
        if errors:
            raise RuntimeError("solc: " + "\n".join(errors))
        return {
            name: bytes.fromhex(contract["evm"]["bytecode"]["object"])
            for file in answer["contracts"].values()
            for name, contract in file.items()
            if contract["evm"]["bytecode"]["object"]
        }
