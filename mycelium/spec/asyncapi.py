"""The AsyncAPI 3.0 document of a system: what travels where, who sends it and who receives it, and what it says.

Who sends what is what ``system.yaml`` says; how a field looks is what the classes that it names say, in the form in
which ``mycelium tap --json`` shows messages. What AsyncAPI has no word for stands under names that begin with ``x-``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import yaml
from msgspec import inspect as msgspec_inspect

from mycelium.core.message import Contract, WireValue, describe_type
from mycelium.core.policy import Delivery
from mycelium.core.topics import TopicTemplate
from mycelium.core.unbooked import UNBOOKED
from mycelium.observe.statistics import ProcessStatistics
from mycelium.service.dead_letters import DeadLetter
from mycelium.spec.access import FABRIC
from mycelium.spec.code import SystemCode
from mycelium.spec.model import ContractSpec, SubscriptionSpec, SystemSpec

HEAD = "# Generated from system.yaml by 'mycelium spec asyncapi --write'. Change system.yaml, not this file.\n"

ABOUT = """\
What travels in the system, generated from system.yaml.

On the wire a frame carries one or more messages of one stream behind a header of 48 bytes, and each message is a
msgpack array of its fields in the order in which they stand here. The payloads below describe the fields by name, as
'mycelium tap --json' shows them: bytes are hex with 0x, 256-bit numbers and whole numbers beyond 2**53 are decimal
text. x-wire says how a value travels where that differs.
"""

CONTENT_TYPE = "application/vnd.msgpack"

Table = dict[str, Any]


def asyncapi(spec: SystemSpec, code: SystemCode) -> Table:
    """The document. The code must be all there."""
    contracts = {**{name: code.contracts[name] for name in spec.contracts}, **FABRIC}
    schemas: Table = {}
    messages = {name: _message(spec, name, contract, schemas) for name, contract in contracts.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": spec.system, "version": _version(contracts), "description": ABOUT},
        "defaultContentType": CONTENT_TYPE,
        "channels": {name: _channel(name, contract) for name, contract in contracts.items()},
        "operations": _operations(spec),
        "components": {"messages": messages, "schemas": schemas},
        "x-services": {
            name: {
                "class": service.class_,
                "description": service.description,
                "restart": service.restart.value,
                "depends_on": list(service.depends_on),
            }
            for name, service in spec.services.items()
        },
        "x-operators": {
            name: {"description": operator.description, "asks": list(operator.asks)}
            for name, operator in spec.operators.items()
        },
    }


def asyncapi_text(spec: SystemSpec, code: SystemCode) -> str:
    """The document as YAML. The same system makes the same text."""
    table = asyncapi(spec, code)
    return HEAD + yaml.dump(table, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)


class _Dumper(yaml.SafeDumper):
    """Indents lists inside of tables, and writes texts of several lines as such."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - yaml's
        del indentless
        super().increase_indent(flow, False)  # noqa: FBT003 - yaml's

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: the same value twice is written twice."""
        del data
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _version(contracts: Mapping[str, Contract]) -> str:
    """AsyncAPI wants one. It changes when anything changes that peers must agree on: that is the contracts' numbers."""
    total = 0
    for contract in contracts.values():
        total ^= int.from_bytes(contract.fingerprint, "big")
    return f"{total:016x}"


# --- channels and operations -----------------------------------------------------------------


def _channel(name: str, contract: Contract) -> Table:
    channel: Table = {
        "address": contract.topic.text,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }
    if contract.topic.fields:
        channel["parameters"] = {
            field: {"description": f"The message's field {field}: one segment, in lower case."}
            for field in contract.topic.fields
        }
    return channel


def _operations(spec: SystemSpec) -> Table:
    found: Table = {}
    for name, service in spec.services.items():
        for contract in service.publishes:
            found[f"{name}_sends_{contract}"] = _operation("send", contract, "service", name)
        letters = (DeadLetter.__name__,) if service.subscribes else ()
        for contract in (*letters, ProcessStatistics.__name__):
            found[f"{name}_sends_{contract}"] = _operation("send", contract, "service", name)
        found |= _receives(spec, name, "service", service.subscribes)
    for name, operator in spec.operators.items():
        found |= _receives(spec, name, "operator", operator.subscribes)
    return found


def _receives(spec: SystemSpec, name: str, kind: str, subscribes: Iterable[SubscriptionSpec]) -> Table:
    found: Table = {}
    for entry in subscribes:
        operation = _operation("receive", entry.contract, kind, name)
        key = f"{name}_receives_{entry.contract}"
        if entry.pattern is not None:
            operation["x-pattern"] = entry.pattern
            key = key if key not in found else f"{key}_{len(found)}"
        elif entry.contract in spec.contracts:
            operation["x-pattern"] = TopicTemplate.parse(spec.contracts[entry.contract].topic).pattern.text
        found[key] = operation
    return found


def _operation(action: str, contract: str, kind: str, name: str) -> Table:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{contract}"},
        "messages": [{"$ref": f"#/channels/{contract}/messages/{contract}"}],
        "tags": [{"name": name}, {"name": kind}],
    }


# --- messages --------------------------------------------------------------------------------


def _delivery(said: ContractSpec | None, contract: Contract) -> Delivery:
    if said is not None:
        return said.delivery
    return Delivery.LIVE if contract.type_id in UNBOOKED else Delivery.RELIABLE


def _message(spec: SystemSpec, name: str, contract: Contract, schemas: Table) -> Table:
    said = spec.contracts.get(name)
    info = msgspec_inspect.type_info(contract.message_type)
    assert isinstance(info, msgspec_inspect.StructType)
    return {
        "name": name,
        "summary": said.description if said is not None else _summary(contract.message_type),
        "contentType": CONTENT_TYPE,
        "payload": _struct(info, schemas),
        "x-type-id": contract.type_id,
        "x-delivery": _delivery(said, contract).value,
        "x-fingerprint": contract.fingerprint.hex(),
    }


def _struct(info: msgspec_inspect.StructType, schemas: Table) -> Table:
    properties: Table = {}
    for field in info.fields:
        properties[field.name] = schema = _schema(field.type, schemas)
        if not field.required and "$ref" not in schema and field.default is not msgspec.NODEFAULT:
            # By way of JSON: there is no tuple there, and none in YAML.
            schema["default"] = msgspec.json.decode(msgspec.json.encode(field.default, enc_hook=str))
    table: Table = {"type": "object", "properties": properties}
    if required := [field.name for field in info.fields if field.required]:
        table["required"] = required
    if info.array_like:
        table["x-wire"] = "array of the fields, in this order; further ones may follow"
    return table


def _schema(info: msgspec_inspect.Type, schemas: Table) -> Table:
    """JSON Schema of a field, in the form in which it is shown."""
    match info:
        case msgspec_inspect.CustomType(cls=cls):
            schemas.setdefault(cls.__name__, _value_type(cls))
            return {"$ref": f"#/components/schemas/{cls.__name__}"}
        case msgspec_inspect.StructType(cls=cls):
            if cls.__name__ not in schemas:
                schemas[cls.__name__] = {}  # it may be inside of itself
                schemas[cls.__name__] = {"description": _summary(cls), **_struct(info, schemas)}
            return {"$ref": f"#/components/schemas/{cls.__name__}"}
        case msgspec_inspect.EnumType(cls=cls):
            schemas.setdefault(cls.__name__, {"description": _summary(cls), "enum": [member.value for member in cls]})
            return {"$ref": f"#/components/schemas/{cls.__name__}"}
        case msgspec_inspect.UnionType(types=types):
            return {"anyOf": [_schema(one, schemas) for one in types]}
        case msgspec_inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _schema(value, schemas)}
        case msgspec_inspect.TupleType(item_types=items):
            each = [_schema(one, schemas) for one in items]
            return {"type": "array", "items": each, "minItems": len(each), "maxItems": len(each)}
        case (
            msgspec_inspect.VarTupleType(item_type=item)
            | msgspec_inspect.ListType(item_type=item)
            | msgspec_inspect.SetType(item_type=item)
            | msgspec_inspect.FrozenSetType(item_type=item)
        ):
            return {"type": "array", "items": _schema(item, schemas)}
        case _:
            return _simple(info)


def _simple(info: msgspec_inspect.Type) -> Table:
    match info:
        case msgspec_inspect.IntType():
            return {"type": ["integer", "string"], "pattern": "^-?[0-9]+$", "x-wire": "integer of at most 64 bits"}
        case msgspec_inspect.FloatType():
            return {"type": ["number", "string"], "x-wire": "float 64"}
        case msgspec_inspect.BytesType() | msgspec_inspect.ByteArrayType() | msgspec_inspect.MemoryViewType():
            return {"type": "string", "pattern": "^0x([0-9a-f]{2})*$", "x-wire": "bin"}
        case msgspec_inspect.StrType():
            return {"type": "string"}
        case msgspec_inspect.BoolType():
            return {"type": "boolean"}
        case msgspec_inspect.NoneType():
            return {"type": "null"}
        case _:
            return {"description": describe_type(info)}


def _value_type(cls: type) -> Table:
    """A value type of the system's own: what its class says of itself, and what it says of its bytes."""
    pattern = "^-?[0-9]+$" if issubclass(cls, int) else "^0x([0-9a-f]{2})*$"
    table: Table = {"description": _summary(cls), "type": "string", "pattern": pattern}
    on_the_wire = _summary(cls.to_wire) if issubclass(cls, WireValue) else ""
    table["x-wire"] = f"bin: {on_the_wire}" if on_the_wire and "See :class:" not in on_the_wire else "bin"
    return table


def _summary(documented: object) -> str:
    """The first paragraph of what something says of itself, in one line."""
    text = inspect.getdoc(documented) or ""
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())
