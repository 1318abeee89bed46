"""Every type id and every name once."""

from __future__ import annotations

from typing import Any

import pytest

from mycelium.core.errors import ContractError
from mycelium.core.message import Message
from mycelium.core.registry import Registry


class First(Message, type_id=1, topic="a"):
    x: int


class Second(Message, type_id=2, topic="b"):
    x: int


def test_contracts_are_found_by_id_and_name_and_listed_by_id() -> None:
    registry = Registry([Second, First, First])
    assert [contract.name for contract in registry] == ["First", "Second"]
    assert len(registry) == 2
    by_id, by_name = registry.by_id(2), registry.by_name("First")
    assert by_id is not None
    assert by_name is not None
    assert (by_id.name, by_name.type_id) == ("Second", 1)
    assert registry.by_id(3) is None
    assert registry.by_name("Third") is None


def test_a_clash_names_both() -> None:
    class Clash(Message, type_id=1, topic="c"):
        x: int

    with pytest.raises(ContractError, match=r"Clash \(type id 1\) and .*First \(type id 1\)"):
        Registry([First, Clash])


def test_a_name_cannot_stand_for_two_classes() -> None:
    make: Any = type(Message)
    other = make("First", (Message,), {"__module__": "elsewhere"}, type_id=9, topic="d")
    with pytest.raises(ContractError, match=r"elsewhere.First"):
        Registry([First, other])
