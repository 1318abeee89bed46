"""``system.yaml`` as frozen values."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mycelium.core.errors import ConfigError, Problem, TopicError
from mycelium.core.message import FIRST_RESERVED_TYPE_ID
from mycelium.core.policy import Delivery
from mycelium.core.topics import SYSTEM_PREFIX, TopicTemplate
from mycelium.topology.problems import problems_of, read_text
from mycelium.transport.keyring import BROKER

_FROZEN = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
_CLASS = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


class RestartPolicy(enum.StrEnum):
    """What whoever runs the process does when it ends."""

    ALWAYS = "always"
    ON_FAILURE = "on_failure"
    NEVER = "never"


class ContractSpec(BaseModel):
    """One of ``contracts``.

    Args:
        class_: where the message class is, ``module:Name``.
        type_id: 1 to 65535, never reused.
        topic: the template.
        delivery: what is promised.
        fields: type by name, in wire order; ``type = default`` for one with a default.
        description: one sentence for the catalogue.
    """

    model_config = _FROZEN
    class_: str = Field(alias="class", pattern=_CLASS)
    type_id: int = Field(ge=1, le=FIRST_RESERVED_TYPE_ID - 1)
    topic: str
    delivery: Delivery = Delivery.RELIABLE
    fields: dict[str, str]
    description: str = ""

    @field_validator("topic")
    @classmethod
    def _is_template(cls, text: str) -> str:
        try:
            TopicTemplate.parse(text)
        except TopicError as error:
            raise ValueError(str(error)) from None
        if text.split(".", maxsplit=1)[0] == SYSTEM_PREFIX:
            raise ValueError(f"begins with {SYSTEM_PREFIX!r}; those topics are the fabric's own, choose another")
        return text


class SubscriptionSpec(BaseModel):
    """One of a service's ``subscribes``: a contract's name, or a table with a pattern.

    Args:
        contract: the contract's name.
        pattern: which topics; all of the contract's by default.
    """

    model_config = _FROZEN
    contract: str
    pattern: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"contract": value} if isinstance(value, str) else value


class ServiceSpec(BaseModel):
    """One of ``services``.

    Args:
        class_: where the service class is, ``module:Name``.
        publishes: contract names.
        subscribes: contracts and patterns.
        restart: what whoever runs the process does when it ends.
        depends_on: services without which this one has nothing to do.
        description: one sentence for the catalogue.
    """

    model_config = _FROZEN
    class_: str = Field(alias="class", pattern=_CLASS)
    publishes: tuple[str, ...]
    subscribes: tuple[SubscriptionSpec, ...]
    restart: RestartPolicy
    depends_on: tuple[str, ...]
    description: str = ""


class OperatorSpec(BaseModel):
    """One of ``operators``: a role for the tools of those who run the system. It publishes nothing.

    Args:
        subscribes: contracts and patterns that it may read.
        asks: what it may ask a broker; ``books``: the ledger, and who is there.
        description: one sentence for the catalogue.
    """

    model_config = _FROZEN
    subscribes: tuple[SubscriptionSpec, ...] = ()
    asks: tuple[Literal["books"], ...] = ()
    description: str = ""


class SystemSpec(BaseModel):
    """What the system is.

    Args:
        system: its name.
        counted: figures of a run's summary: contract names whose messages each one counts.
        contracts: by class name.
        services: by service name.
        operators: roles for tools, by name.
    """

    model_config = _FROZEN
    system: str
    counted: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    contracts: dict[str, ContractSpec]
    services: dict[str, ServiceSpec]
    operators: dict[str, OperatorSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_name_each(self) -> SystemSpec:
        if BROKER in self.services:
            raise ValueError(f"services.{BROKER}: is the name of the broker; call the service something else")
        for name in self.operators:
            if name in self.services or name == BROKER:
                other = "the broker" if name == BROKER else "a service"
                raise ValueError(f"operators.{name}: is the name of {other}; each has a name and keys of its own")
        return self


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_spec(path: Path) -> SystemSpec:
    """Read ``system.yaml``.

    Raises:
        ConfigError: it cannot be read, is no YAML, or breaks a rule.
    """
    try:
        table = yaml.load(read_text(path), Loader=_StrictLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        reason = getattr(error, "problem", None) or error
        raise ConfigError([Problem(str(path), "", f"is not YAML: {reason}{place}")]) from None
    if not isinstance(table, dict):
        raise ConfigError([Problem(str(path), "", "holds no table; expected system, contracts and services")])
    try:
        return SystemSpec.model_validate(table)
    except ValidationError as error:
        raise ConfigError(problems_of(error, SystemSpec, lambda _location: str(path))) from None
