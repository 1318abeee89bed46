"""An EVM node of our own: starts anvil on a free loopback port and speaks JSON-RPC with it."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapters.polygon.keccak import keccak256
from contracts.values import Address
from mycelium.core.errors import MyceliumError

CHAIN_ID = 137
GENESIS_TIME = 1_700_000_000
"""Timestamp of block 0 (14 November 2023), fixed so that two recordings are alike."""
BLOCK_SECONDS = 2
"""Polygon's block time."""
GAS_LIMIT = 8_000_000
"""Per transaction; the largest, deploying a v3 factory, takes about 5 million."""

START_SECONDS = 30.0
_CALL_SECONDS = 60.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_LISTENING = re.compile(rb"Listening on 127\.0\.0\.1:(\d+)")


class NodeError(MyceliumError):
    """The node did not start, or refused a request.

    Args:
        what: what was asked of it.
        reason: its answer.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


class Node:
    """A running anvil that mines only when told to. A context manager; leaving it ends the process.

    Args:
        anvil: the program.
        keeps_states: whether calls at older blocks can be made. They fill memory and disk.
        port: to listen on; 0 for one that is free.
    """

    def __init__(self, anvil: Path, *, keeps_states: bool = False, port: int = 0) -> None:
        self._anvil = anvil
        self._keeps_states = keeps_states
        self.port: int = port
        """Where it listens."""
        self._ids = itertools.count(1)
        self._nonces: dict[Address, int] = {}
        self._time = GENESIS_TIME

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        command = [
            str(self._anvil),
            "--port",
            str(self.port),
            "--chain-id",
            str(CHAIN_ID),
            "--timestamp",
            str(GENESIS_TIME),
        ]
        # First come, first mined: the order of a block is ours.
        command += ["--no-mining", "--order", "fifo", "--base-fee", "0", "--gas-limit", "1000000000"]
        if not self._keeps_states:
            command.append("--prune-history")
        self._process = subprocess.Popen(command, stdout=self._output, stderr=subprocess.STDOUT)  # noqa: S603
        try:
            self.port = self._await_port()
            self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CALL_SECONDS)
            self.accounts = tuple(Address(text) for text in self.rpc("eth_accounts"))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._end()

    def _await_port(self) -> int:
        """anvil says its port when it is ready to be called."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._output.seek(0)
            said = self._output.read()
            if found := _LISTENING.search(said):
                return int(found[1])
            code = self._process.poll()
            if code is not None:
                raise NodeError("starting anvil", f"it ended with {code}: {said[-400:].decode(errors='replace')}")
            if time.monotonic() > deadline:
                raise NodeError("starting anvil", f"not ready after {START_SECONDS} s")
            time.sleep(_POLL_SECONDS)

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def exchange(self, method: str, *params: Any) -> dict[str, Any]:
        """Send one request and return the whole response object.

        Raises:
            NodeError: the node refused it.
        """
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        self._http.request("POST", "/", json.dumps(request), {"Content-Type": "application/json"})
        response: dict[str, Any] = json.loads(self._http.getresponse().read())
        if "error" in response:
            raise NodeError(method, str(response["error"].get("message", response["error"])))
        return response

    def rpc(self, method: str, *params: Any) -> Any:
        """Send one request and return its result.

        Raises:
            NodeError: the node refused it.
        """
        return self.exchange(method, *params)["result"]

    def send(self, sender: Address, to: Address | None, data: bytes) -> str:
        """Put a transaction into the next block, behind those sent before; returns its hash.

        Args:
            sender: one of :attr:`accounts`.
            to: the contract, None to create one.
            data: call data or creation code.
        """
        nonce = self._nonces.get(sender, 0)
        transaction = {
            "from": str(sender),
            "data": "0x" + data.hex(),
            "nonce": hex(nonce),
            "gas": hex(GAS_LIMIT),
            "gasPrice": hex(10**9),
        }
        if to is not None:
            transaction["to"] = str(to)
        sent: str = self.rpc("eth_sendTransaction", transaction)
        self._nonces[sender] = nonce + 1
        return sent

    def call(self, to: Address, data: bytes, *, sender: Address | None = None) -> bytes:
        """What a call would return after the latest block.

        Raises:
            NodeError: it would revert.
        """
        request = {"to": str(to), "data": "0x" + data.hex(), "gas": hex(GAS_LIMIT)}
        if sender is not None:
            request["from"] = str(sender)
        answer: str = self.rpc("eth_call", request, "latest")
        return bytes.fromhex(answer[2:])

    def mine(self) -> int:
        """Mine one block with everything sent, two seconds after the one before; returns its number."""
        self._time += BLOCK_SECONDS
        self.rpc("evm_setNextBlockTimestamp", self._time)
        self.rpc("evm_mine")
        return int(self.rpc("eth_blockNumber"), 16)

    def receipt(self, transaction: str) -> dict[str, Any]:
        """The receipt of a mined transaction.

        Raises:
            NodeError: it failed, or is not mined.
        """
        receipt: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction)
        if receipt is None or receipt["status"] != "0x1":
            raise NodeError(f"transaction {transaction}", "not mined" if receipt is None else "reverted")
        return receipt


def calldata(signature: str, *arguments: int | bool | Address) -> bytes:
    """Call data for a function with arguments of one word each.

    Args:
        signature: such as ``transfer(address,uint256)``.
        arguments: addresses, numbers (negative ones for ``int``) and truth values.
    """
    encoded = [
        bytes(argument).rjust(32, b"\0")
        if isinstance(argument, Address)
        else int(argument).to_bytes(32, "big", signed=argument < 0)
        for argument in arguments
    ]
    return _selector(signature) + b"".join(encoded)


_SELECTORS: dict[str, bytes] = {}


def _selector(signature: str) -> bytes:
    found = _SELECTORS.get(signature)
    if found is None:
        found = _SELECTORS[signature] = keccak256(signature.encode())[:4]
    return found
