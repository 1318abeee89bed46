"""Messages: frozen structs with a type id and a topic, and the codec of their payloads.

A message class *is* its contract::

    class SwapEvent(Message, type_id=100, topic="market.{venue}.{instrument}"):
        venue: str
        instrument: str
        amount: U256

On the wire a message is a msgpack array of its fields in order (``array_like``): fields are only
ever appended, with defaults, so that a reader of version N reads N-1 (defaults fill in) and N+1
(what it does not know is left out). The rules are msgspec's for schema evolution.

Value types that msgpack does not have (256-bit integers, addresses) inherit :class:`WireValue`
and say themselves how they look as bytes.
"""

from __future__ import annotations

import enum
import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, dataclass_transform

import msgspec
from msgspec import inspect as msgspec_inspect

from mycelium.core.errors import ContractError, TopicError, WireError
from mycelium.core.topics import TopicTemplate

MAX_TYPE_ID = 0xFFFF

FIRST_RESERVED_TYPE_ID = 0xFF00
"""From here on type ids are the fabric's own."""
"""A type id is a u16 in the envelope. 0 is never given out, so that zeroed memory is no message."""


class WireValue:
    """A value type of our own that travels as msgpack ``bin``."""

    __slots__ = ()

    @abstractmethod
    def to_wire(self) -> bytes:
        """The value as bytes of fixed or self-evident width."""

    @classmethod
    @abstractmethod
    def from_wire(cls, data: bytes) -> Self:
        """The value from its bytes.

        Raises:
            ValueError: these bytes are no such value.
        """


def _encode_hook(value: Any) -> bytes:
    if isinstance(value, WireValue):
        return value.to_wire()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot travel in a message; inherit WireValue")


def _decode_hook(kind: type, value: Any) -> Any:
    if issubclass(kind, WireValue):
        if not isinstance(value, bytes):
            raise TypeError(f"expected bytes for {kind.__name__}, found {type(value).__name__}")
        return kind.from_wire(value)
    raise TypeError(f"{kind.__name__} cannot travel in a message; inherit WireValue")


@dataclass(frozen=True)
class FieldSpec:
    """One field of a contract as spec and lock compare it."""

    name: str
    type: str
    default: str | None = None
    """The default as Python writes it; None if the field is required."""

    def __str__(self) -> str:
        return self.type if self.default is None else f"{self.type} = {self.default}"


@dataclass(frozen=True)
class Contract:
    """What a message class promises: identity, topic and fields."""

    name: str
    type_id: int
    topic: TopicTemplate
    message_type: type[Message]

    @cached_property
    def fields(self) -> tuple[FieldSpec, ...]:
        """The fields in wire order, their types in the notation of :func:`describe_type`."""
        info = msgspec_inspect.type_info(self.message_type)
        assert isinstance(info, msgspec_inspect.StructType)
        return tuple(FieldSpec(f.name, describe_type(f.type), _default_text(f)) for f in info.fields)

    @cached_property
    def fingerprint(self) -> bytes:
        """8 bytes that change when anything a peer must agree on changes (SHA-256, truncated)."""
        lines = [f"{self.type_id} {self.topic.text}"]
        lines += [f"{f.name}: {f}" for f in self.fields]
        return hashlib.sha256("\n".join(lines).encode()).digest()[:8]

    @cached_property
    def routing_key(self) -> Any:
        """A fast callable from a message to the hashable that decides its topic."""
        return attrgetter(*self.topic.fields) if self.topic.fields else _no_key


def _default_text(field: msgspec_inspect.Field) -> str | None:
    if field.required:
        return None
    if field.default is msgspec.NODEFAULT:
        return f"{getattr(field.default_factory, '__name__', 'factory')}()"
    return repr(field.default.value if isinstance(field.default, enum.Enum) else field.default)


def _no_key(_message: object) -> None:
    return None


def describe_type(info: msgspec_inspect.Type) -> str:
    """A field's type in the notation of ``system.yaml``, the same on every Python version.

    ``int``, ``str``, ``bool``, ``bytes``, ``float``, ``U256``, ``list[T]``, ``tuple[T, ...]``,
    ``dict[K, V]``, ``T | None``, ``Name('a' | 'b')`` for an enum, ``Name(field: T, ...)`` for a struct inside.
    """
    match info:
        case msgspec_inspect.CustomType(cls=cls):
            return cls.__name__
        case msgspec_inspect.EnumType(cls=cls):
            return f"{cls.__name__}({' | '.join(repr(member.value) for member in cls)})"
        case msgspec_inspect.VarTupleType(item_type=item):
            return f"tuple[{describe_type(item)}, ...]"
        case msgspec_inspect.TupleType(item_types=items):
            return f"tuple[{', '.join(describe_type(item) for item in items)}]"
        case (
            msgspec_inspect.ListType(item_type=item)
            | msgspec_inspect.SetType(item_type=item)
            | msgspec_inspect.FrozenSetType(item_type=item)
        ):
            return f"list[{describe_type(item)}]"
        case msgspec_inspect.DictType(key_type=key, value_type=value):
            return f"dict[{describe_type(key)}, {describe_type(value)}]"
        case msgspec_inspect.UnionType(types=types):
            return " | ".join(describe_type(t) for t in types)
        case msgspec_inspect.StructType(cls=cls, fields=fields):
            inside = ", ".join(f"{f.name}: {describe_type(f.type)}" for f in fields)
            return f"{cls.__name__}({inside})"
        case _:
            return type(info).__name__.removesuffix("Type").lower()


class _MessageMeta(msgspec.StructMeta):
    """Takes ``type_id`` and ``topic`` from the class statement, which StructMeta alone would refuse."""

    def __new__(  # noqa: PYI034 - a metaclass must not use Self (PEP 673)
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        type_id: int | None = None,
        topic: str | None = None,
        **config: Any,
    ) -> _MessageMeta:
        cls = super().__new__(mcs, name, bases, namespace, **config)
        if type_id is None and topic is None:
            return cls  # an abstract base: fields shared by several contracts
        if type_id is None or topic is None:
            raise ContractError(f"{name}: type_id and topic belong together, got type_id={type_id!r}, topic={topic!r}")
        if not 1 <= type_id <= MAX_TYPE_ID:
            raise ContractError(f"{name}: type_id {type_id!r} must be a whole number from 1 to {MAX_TYPE_ID}")
        try:
            template = TopicTemplate.parse(topic)
        except TopicError as error:
            raise ContractError(f"{name}: topic {error}") from None
        for wanted in template.fields:
            if wanted not in cls.__struct_fields__:
                raise ContractError(
                    f"{name}: topic {topic!r} needs a field {wanted!r}; fields are {', '.join(cls.__struct_fields__)}"
                )
        if not cls.__struct_config__.frozen:
            raise ContractError(f"{name}: a message is a fact and must stay frozen")
        cls.__contract__ = Contract(name, type_id, template, cls)  # type: ignore[attr-defined, arg-type]
        return cls


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, metaclass=_MessageMeta, frozen=True, array_like=True, gc=False):
    """Base of every message. Subclass with ``type_id=`` and ``topic=``.

    Args of the class statement:
        type_id: 1 to 65535, never reused for another contract.
        topic: a template; each ``{field}`` names a field whose value becomes a segment.

    Raises:
        ContractError: at class creation, if the declaration breaks a rule.
    """

    if TYPE_CHECKING:
        __contract__: ClassVar[Contract]

        def __init_subclass__(cls, *, type_id: int = ..., topic: str = ..., **config: Any) -> None: ...


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of a struct that stands inside a message."""


M = TypeVar("M", bound=Message)


def contract_of(message_type: type[Message]) -> Contract:
    """The contract of a message class.

    Raises:
        ContractError: the class has none, being an abstract base.
    """
    contract = message_type.__dict__.get("__contract__")
    if not isinstance(contract, Contract):
        raise ContractError(f"{message_type.__name__} has no type_id and topic of its own and cannot be published")
    return contract


class PayloadCodec(Generic[M]):
    """Turns messages of one class into payload bytes and back: a msgpack array of messages."""

    def __init__(self, message_type: type[M]) -> None:
        self.contract: Contract = contract_of(message_type)
        self._encode = msgspec.msgpack.Encoder(enc_hook=_encode_hook).encode
        self._decode = msgspec.msgpack.Decoder(list[message_type], dec_hook=_decode_hook).decode  # type: ignore[valid-type]

    def encode(self, messages: Sequence[M]) -> bytes:
        """Payload bytes of ``messages``.

        Raises:
            ContractError: a field's value has no place in msgpack.
        """
        try:
            return self._encode(messages)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise ContractError(f"{self.contract.name}: {error}") from error

    def decode(self, payload: bytes | memoryview, count: int) -> list[M]:
        """The ``count`` messages of a payload.

        Raises:
            WireError: the bytes are no such messages, or their number is another.
        """
        try:
            messages: list[M] = self._decode(payload)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise WireError(f"payload is no list of {self.contract.name}: {error}") from error
        if len(messages) != count:
            raise WireError(f"envelope says {count} messages of {self.contract.name}, payload holds {len(messages)}")
        return messages
