"""Declaring contracts, and their payloads read by an independent implementation."""

from __future__ import annotations

import enum
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.core.errors import ContractError, WireError
from mycelium.core.message import Message, Part, PayloadCodec, WireValue, contract_of


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Word(int, WireValue):
    def to_wire(self) -> bytes:
        return self.to_bytes(32, "big")

    @classmethod
    def from_wire(cls, data: bytes) -> Word:
        if len(data) != 32:
            raise ValueError(f"{len(data)} bytes")
        return cls(int.from_bytes(data, "big"))


class Inner(Part, frozen=True):
    name: str
    amount: Word


class Everything(Message, type_id=7, topic="every.{kind}"):
    kind: str
    number: int
    flag: bool
    raw: bytes
    amount: Word
    inner: tuple[Inner, ...]
    maybe: int | None = None
    colour: Colour = Colour.RED
    table: dict[str, int] = msgspec.field(default_factory=dict)


words = st.integers(0, 2**256 - 1).map(Word)
everything = st.builds(
    Everything,
    kind=st.text(max_size=20),
    number=st.integers(-(2**63), 2**64 - 1),
    flag=st.booleans(),
    raw=st.binary(max_size=40),
    amount=words,
    inner=st.lists(st.builds(Inner, name=st.text(max_size=5), amount=words), max_size=3).map(tuple),
    maybe=st.none() | st.integers(-5, 5),
    colour=st.sampled_from(Colour),
    table=st.dictionaries(st.text(max_size=4), st.integers(0, 9), max_size=3),
)


def plain(message: Everything) -> list[Any]:
    """What the bytes should hold, written down independently of the codec."""
    inner = [[part.name, part.amount.to_bytes(32, "big")] for part in message.inner]
    return [
        message.kind,
        message.number,
        message.flag,
        message.raw,
        message.amount.to_bytes(32, "big"),
        inner,
        message.maybe,
        message.colour.value,
        message.table,
    ]


@given(st.lists(everything, min_size=1, max_size=3))
def test_the_msgpack_package_reads_our_bytes(messages: list[Everything]) -> None:
    assert msgpack.unpackb(PayloadCodec(Everything).encode(messages)) == [plain(message) for message in messages]


@given(st.lists(everything, min_size=1, max_size=3))
def test_we_read_the_msgpack_packages_bytes(messages: list[Everything]) -> None:
    packed = msgpack.packb([plain(message) for message in messages])
    assert PayloadCodec(Everything).decode(packed, len(messages)) == messages


@given(everything)
def test_our_bytes_are_the_same_as_the_msgpack_packages(message: Everything) -> None:
    assert PayloadCodec(Everything).encode([message]) == msgpack.packb([plain(message)])


@given(st.binary(max_size=200), st.integers(1, 3))
def test_any_bytes_give_messages_or_a_wire_error(payload: bytes, count: int) -> None:
    try:
        messages = PayloadCodec(Everything).decode(payload, count)
    except WireError:
        return
    assert len(messages) == count


def test_a_payload_of_another_number_is_refused() -> None:
    codec = PayloadCodec(Everything)
    payload = codec.encode([Everything("a", 1, True, b"", Word(1), ())] * 2)
    with pytest.raises(WireError, match="envelope says 3 messages of Everything, payload holds 2"):
        codec.decode(payload, 3)


def test_a_nested_bomb_is_refused() -> None:
    with pytest.raises(WireError):
        PayloadCodec(Everything).decode(b"\x91" * 100_000 + b"\x00", 1)


def test_a_value_type_that_is_no_bytes_on_the_wire_is_refused() -> None:
    packed = msgpack.packb([["a", 1, True, b"", 5, []]])
    with pytest.raises(WireError, match="expected bytes for Word"):
        PayloadCodec(Everything).decode(packed, 1)


class Old(Message, type_id=8, topic="evolve"):
    a: int


class New(Message, type_id=8, topic="evolve"):
    a: int
    b: str = "default"


def test_version_n_reads_version_n_minus_1_and_n_plus_1() -> None:
    assert PayloadCodec(New).decode(PayloadCodec(Old).encode([Old(1)]), 1) == [New(1, "default")]
    assert PayloadCodec(Old).decode(PayloadCodec(New).encode([New(1, "b")]), 1) == [Old(1)]


def test_a_contract_describes_itself() -> None:
    contract = contract_of(Everything)
    assert (contract.name, contract.type_id, contract.topic.text) == ("Everything", 7, "every.{kind}")
    assert {field.name: str(field) for field in contract.fields} == {
        "kind": "str",
        "number": "int",
        "flag": "bool",
        "raw": "bytes",
        "amount": "Word",
        "inner": "tuple[Inner(name: str, amount: Word), ...]",
        "maybe": "int | none = None",
        "colour": "Colour('red' | 'blue') = 'red'",
        "table": "dict[str, int] = dict()",
    }


def test_the_fingerprint_changes_with_the_fields() -> None:
    assert contract_of(Old).fingerprint != contract_of(New).fingerprint
    assert len(contract_of(Old).fingerprint) == 8


def test_a_message_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Old(1).a = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"type_id": 5}, "belong together"),
        ({"topic": "a"}, "belong together"),
        ({"type_id": 0, "topic": "a"}, "from 1 to 65535"),
        ({"type_id": 65536, "topic": "a"}, "from 1 to 65535"),
        ({"type_id": 5, "topic": "A"}, "topic 'A'"),
        ({"type_id": 5, "topic": "a.{missing}"}, "needs a field 'missing'; fields are a"),
        ({"type_id": 5, "topic": "a", "frozen": False}, "must stay frozen"),
    ],
)
def test_a_wrong_declaration_is_refused_at_once(arguments: dict[str, Any], complaint: str) -> None:
    make: Any = type(Message)
    with pytest.raises(ContractError, match=complaint):
        make("Wrong", (Message,), {"__annotations__": {"a": int}, "__module__": __name__}, **arguments)


def test_an_abstract_base_has_no_contract() -> None:
    class Shared(Message):
        a: int

    class Concrete(Shared, type_id=9, topic="c"):
        b: int

    assert contract_of(Concrete).fields[0].name == "a"
    with pytest.raises(ContractError, match="Shared has no type_id and topic"):
        contract_of(Shared)


def test_a_value_that_cannot_travel_is_named() -> None:
    with pytest.raises(ContractError, match="Old: "):
        PayloadCodec(Old).encode([Old(2**64)])
    with pytest.raises(ContractError, match="cannot travel in a message; inherit WireValue"):
        PayloadCodec(Old).encode([Old(object())])  # type: ignore[arg-type]
