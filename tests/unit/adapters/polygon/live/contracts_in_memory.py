"""A node with contracts that answer from a table, and Multicall3 as the real one behaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from eth_abi.abi import decode, encode

from adapters.polygon.live.answers import EndpointError
from adapters.polygon.live.calls import MULTICALL3, call_data
from contracts.market import Protocol
from contracts.values import Address

BLOCK = bytes(31) + b"\x07"

Answer: TypeAlias = bytes | None
"""What a contract returns; None where it reverts."""


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def word(value: int | Address) -> bytes:
    return bytes(value).rjust(32, b"\0") if isinstance(value, Address) else value.to_bytes(32, "big", signed=value < 0)


def text(value: str | bytes) -> bytes:
    return encode(["bytes"], [value.encode() if isinstance(value, str) else value])


class ContractsInMemory:
    """Answers ``eth_getCode`` and ``eth_call``.

    Args:
        has_multicall: whether Multicall3 is there.
    """

    def __init__(self, *, has_multicall: bool = True) -> None:
        self.has_multicall = has_multicall
        self.answers: dict[tuple[Address, bytes], Answer] = {}
        self.burners: set[Address] = set()
        """Contracts that burn all gas: in a batch, those behind them fail as well."""
        self.floods: set[Address] = set()
        """Contracts that return so much that the batch fails."""
        self.largest_batch = 10**9
        self.asked: list[tuple[str, list[Any]]] = []
        self.batches: list[int] = []
        self.before: Callable[[str, list[Any]], None] = lambda _method, _params: None

    def says(self, contract: Address, **functions: Answer) -> None:
        """What a contract's functions without arguments return."""
        for name, answer in functions.items():
            self.answers[contract, call_data(f"{name}()")] = answer

    def token(self, contract: Address, symbol: str, decimals: int = 18) -> Address:
        self.says(contract, symbol=text(symbol), decimals=word(decimals))
        return contract

    def pool(
        self,
        contract: Address,
        factory: Address,
        token0: Address,
        token1: Address,
        protocol: Protocol = Protocol.UNISWAP_V2,
        *,
        fee: int = 500,
        spacing: int = 10,
    ) -> Address:
        """A pool that its factory has made."""
        self.says(contract, factory=word(factory), token0=word(token0), token1=word(token1))
        tokens = bytes(token0), bytes(token1)
        if protocol is Protocol.UNISWAP_V3:
            self.says(contract, fee=word(fee), tickSpacing=word(spacing))
            self.answers[factory, call_data("getPool(address,address,uint24)", *tokens, fee)] = word(contract)
        else:
            self.answers[factory, call_data("getPair(address,address)", *tokens)] = word(contract)
        return contract

    async def ask(self, method: str, params: list[Any]) -> msgspec.Raw:
        self.asked.append((method, params))
        self.before(method, params)
        if method == "eth_getCode":
            return _raw(b"\x60" if self.has_multicall else b"")
        assert method == "eth_call"
        return _raw(self._call(params[0]))

    def _call(self, transaction: Mapping[str, str]) -> bytes:
        target, data = Address(transaction["to"]), bytes.fromhex(transaction["data"][2:])
        if target == MULTICALL3 and self.has_multicall:
            return self._aggregate(data)
        if target in self.burners | self.floods:
            raise EndpointError("refused", "-32000: out of gas")
        answer = self.answers.get((target, data), b"")
        if answer is None:
            raise EndpointError("refused", "3: execution reverted")
        return answer

    def _aggregate(self, data: bytes) -> bytes:
        (calls,) = decode(["(address,bool,bytes)[]"], data[4:])
        self.batches.append(len(calls))
        if len(calls) > self.largest_batch:
            raise EndpointError("too_large", "response size exceeded")
        results: list[tuple[bool, bytes]] = []
        gas = True
        for target, allow_failure, question in calls:
            assert allow_failure
            contract = Address(target)
            if contract in self.floods:
                raise EndpointError("refused", "-32000: out of gas")
            gas = gas and contract not in self.burners
            answer = self.answers.get((contract, question), b"") if gas else None
            results.append((answer is not None, answer or b""))
        return encode(["(bool,bytes)[]"], [results])


def _raw(data: bytes) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode("0x" + data.hex()))
