"""The topology as frozen values. What they must keep among one another stands in :mod:`mycelium.topology.rules`."""

from __future__ import annotations

import enum
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mycelium.core.errors import TopicError
from mycelium.core.topics import Pattern
from mycelium.journal.protocol import Durability
from mycelium.topology.hosts import LOCALHOST, is_address
from mycelium.transport.limits import DEFAULT_LIMITS

ENVIRONMENT_PREFIX = "MYCELIUM_"
ENVIRONMENT_DELIMITER = "__"

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_NAME = r"^[a-z0-9_-]+$"

SMALLEST_JOURNAL = 32 << 20
"""The largest frame that the wire format allows, 1 MiB, has to find free pages side by side. Measured with mixed sizes:
of journals of 16 MiB five of twelve had none for it some day, of 32 MiB none."""


class Mode(enum.StrEnum):
    """How the services are spread."""

    MONOLITH = "monolith"
    """All in one process."""
    BUNDLED = "bundled"
    """One process per bundle, on one host."""
    DISTRIBUTED = "distributed"
    """One process per bundle, on several hosts, through the broker."""


class Deployment(BaseModel):
    """``[deployment]``.

    Args:
        mode: how the services are spread.
        base: a topology beside this one, whose tables this one begins with.
        spec: path of ``system.yaml``, from the topology's directory; by default the nearest one at or
            above that directory.
        state_dir: where journals and outboxes go, from the topology's directory.
        drain_seconds: how long a process may take to handle what it has when it is told to stop.
        ready_seconds: how long a bundle waits for the others before it goes on without them.
    """

    model_config = _FROZEN
    mode: Mode
    base: str | None = None
    spec: Path | None = None
    state_dir: Path = Path("../build/state")
    drain_seconds: float = Field(default=10.0, gt=0, le=600)
    ready_seconds: float = Field(default=30.0, gt=0, le=3600)


class InterBundle(BaseModel):
    """``[inter_bundle]``: how bundles reach one another.

    Args:
        transport: ``ipc`` on one host, ``tcp`` between hosts.
        socket_dir: where ipc sockets are made.
        journal: what a bundle repairs its readers from: ``memory`` or, on disk, ``lmdb``.
        journal_bytes: how much of it.
    """

    model_config = _FROZEN
    transport: Literal["ipc", "tcp"] = "ipc"
    socket_dir: Path = Path("/tmp/mycelium")  # noqa: S108 - a default; its mode is set when it is made
    journal: Literal["memory", "lmdb"] = "memory"
    journal_bytes: int = Field(default=67_108_864, ge=SMALLEST_JOURNAL)

    @field_validator("socket_dir")
    @classmethod
    def _the_same_for_all(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError("should be an absolute path: every bundle must find the same one")
        return path


class Bundle(BaseModel):
    """One of ``[[bundles]]``: services that share a process, except in monolith mode, where all do.

    Args:
        name: unique.
        services: their names, as in ``system.yaml``.
    """

    model_config = _FROZEN
    name: str = Field(pattern=_NAME)
    services: tuple[str, ...] = Field(min_length=1)


def _checked_pattern(text: str) -> str:
    try:
        Pattern.parse(text)
    except TopicError as error:
        raise ValueError(str(error)) from None
    return text


TopicPattern = Annotated[str, AfterValidator(_checked_pattern)]


class BrokerTopics(BaseModel):
    """One of ``[[broker.topics]]``: how long the broker keeps frames whose topic matches. The first match applies.

    Args:
        pattern: which topics.
        max_age_seconds: how long; by default as long as ``broker.max_age_seconds`` says.
        max_bytes: how much; by default what the journal has room for.
    """

    model_config = _FROZEN
    pattern: TopicPattern
    max_age_seconds: float | None = Field(default=None, gt=0)
    max_bytes: int | None = Field(default=None, ge=1)


class BrokerLimits(BaseModel):
    """``[broker.limits]``: how much one peer may ask of the broker. Beyond, it waits or is refused.

    Args:
        connections: open at each of the three ports, of all together.
        connections_each: of one service at each port.
        handshakes: connections at each port that have not said yet who they are.
        subscriptions_each: prefixes of one connection.
        repairs_each: requests of one client that wait to be answered.
        readers_each: durable names and groups of one service.
        messages_per_second: that one service may publish; needs ``security.keys``.
    """

    model_config = _FROZEN
    connections: int = Field(default=DEFAULT_LIMITS.connections, ge=8)
    connections_each: int = Field(default=DEFAULT_LIMITS.connections_each, ge=1)
    handshakes: int = Field(default=DEFAULT_LIMITS.handshakes, ge=8)
    subscriptions_each: int = Field(default=DEFAULT_LIMITS.subscriptions_each, ge=8)
    repairs_each: int = Field(default=DEFAULT_LIMITS.repairs_each, ge=8)
    readers_each: int = Field(default=DEFAULT_LIMITS.readers_each, ge=1)
    messages_per_second: int | None = Field(default=None, ge=1)


class Broker(BaseModel):
    """``[broker]``: where the broker is, for mode distributed, and what it keeps.

    Args:
        host: where it runs.
        publish_port: publishers send here.
        frames_port: readers receive here.
        control_port: confirms, repairs, joins and books.
        journal_bytes: how much it keeps at most.
        durability: what a confirmed frame survives: ``process`` the end of the process, ``group`` and ``frame`` the
            loss of power, at most ``sync_interval_ms`` later or at once.
        sync_interval_ms: how often ``group`` writes to the disk.
        max_age_seconds: how long it keeps frames; without it, as long as there is room.
        topics: what is kept for how long by topic.
        limits: how much one peer may ask for.
    """

    model_config = _FROZEN
    host: str = "127.0.0.1"
    publish_port: int = Field(default=7710, ge=1, le=65535)
    frames_port: int = Field(default=7711, ge=1, le=65535)
    control_port: int = Field(default=7712, ge=1, le=65535)
    journal_bytes: int = Field(default=1_073_741_824, ge=SMALLEST_JOURNAL)
    durability: Durability = Durability.PROCESS
    sync_interval_ms: int = Field(default=10, ge=1, le=60_000)
    max_age_seconds: float | None = Field(default=None, gt=0)
    topics: tuple[BrokerTopics, ...] = ()
    limits: BrokerLimits = BrokerLimits()


class Start(enum.StrEnum):
    """Where handlers begin the first time."""

    NEW = "new"
    """With what is published from then on."""
    EARLIEST = "earliest"
    """With the oldest that is kept."""


class ServiceDelivery(BaseModel):
    """``[delivery.<service>]``: what is kept for a service when its process ends.

    Args:
        outbox: keep what it has published and nobody has confirmed on disk.
        durable: its handlers go on where they stopped, also after the process was away.
        start: where they begin the first time.
        group: each message goes to one member of the group of this name.
    """

    model_config = _FROZEN
    outbox: bool = False
    durable: bool = False
    start: Start = Start.NEW
    group: str | None = Field(default=None, pattern=_NAME)


class Security(BaseModel):
    """``[security]``: who may come in over tcp.

    Args:
        keys: the directory with the keys (``mycelium keys``), from the topology's directory. With it every connection
            to the broker is encrypted, and the broker lets each service do what ``system.yaml`` says and no more.
        insecure: let everybody in who reaches the broker beyond loopback, without keys and in plain text.
    """

    model_config = _FROZEN
    keys: Path | None = None
    insecure: bool = False


class Logging(BaseModel):
    """``[logging]``.

    Args:
        level: the least severe level that is shown.
        format: lines for a person, or JSON.
    """

    model_config = _FROZEN
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


BROKER = "broker"
"""What the broker's process is called among the bundles."""

_Port = Annotated[int, Field(ge=1, le=65535)]


class Http(BaseModel):
    """``[http]``: where a process answers those who watch it.

    Args:
        host: what it binds to, an address of this host or ``localhost``.
        port: of every process that ``ports`` does not name; by default those answer nowhere.
        ports: of each process, by the name of its bundle, or ``broker``.
        token_file: the file with the token, from the topology's directory.
    """

    model_config = _FROZEN
    host: str = "127.0.0.1"
    port: _Port | None = None
    ports: dict[str, _Port] = Field(default_factory=dict)
    token_file: Path | None = None

    @field_validator("host")
    @classmethod
    def _can_be_bound(cls, host: str) -> str:
        if host != LOCALHOST and not is_address(host):
            raise ValueError("should be an IP address of this host, such as 127.0.0.1 or 0.0.0.0, or localhost")
        return host

    def port_of(self, process: str | None) -> int | None:
        """Where a process answers, by the name of its bundle, or ``broker``; None for the one that has no name."""
        return self.port if process is None else self.ports.get(process, self.port)


def _is_collector(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)


class TopicSampling(BaseModel):
    """One of ``[[tracing.topics]]``: how many messages on some topics begin a trace. The first match applies.

    Args:
        pattern: which topics.
        ratio: 0 to 1.
    """

    model_config = _FROZEN
    pattern: TopicPattern
    ratio: float = Field(ge=0, le=1)


class Tracing(BaseModel):
    """``[tracing]``: which messages are followed through the system, and who is told.

    Args:
        endpoint: of an OpenTelemetry collector that takes OTLP over HTTP; without it nothing is traced.
        ratio: how many messages begin a trace, 0 to 1; what is published while a traced one is handled belongs to it.
        per_second: how many traces may begin within a second, in each process.
        topics: other ratios for some topics.
    """

    model_config = _FROZEN
    endpoint: str | None = None
    ratio: float = Field(default=0.01, ge=0, le=1)
    per_second: int = Field(default=50, ge=1)
    topics: tuple[TopicSampling, ...] = ()

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, text: str | None) -> str | None:
        if text is not None and not _is_collector(text):
            raise ValueError("should be the address of a collector, such as http://127.0.0.1:4318")
        return text


class Topology(BaseSettings):
    """How the system runs today. Read one with :func:`mycelium.topology.load.load_topology`.

    Every value can be overridden by the environment: ``MYCELIUM_DEPLOYMENT__MODE=bundled``.

    Args:
        deployment: mode and limits.
        inter_bundle: how bundles reach one another.
        bundles: which services share a process.
        broker: where the broker is, for mode distributed.
        delivery: what is kept for each service when its process ends, by its name.
        services: settings of each service, by its name; the service's own model checks them.
        http: where processes answer those who watch them.
        security: who may come in over tcp.
        logging: level and format.
        tracing: which messages are followed.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=ENVIRONMENT_DELIMITER,
    )
    deployment: Deployment
    inter_bundle: InterBundle = InterBundle()
    bundles: tuple[Bundle, ...] = Field(min_length=1)
    broker: Broker | None = None
    delivery: dict[str, ServiceDelivery] = Field(default_factory=dict)
    services: dict[str, dict[str, Any]] = Field(default_factory=dict)
    http: Http = Http()
    security: Security = Security()
    logging: Logging = Logging()
    tracing: Tracing = Tracing()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what the file says; nothing else."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @field_validator("bundles")
    @classmethod
    def _each_once(cls, bundles: tuple[Bundle, ...]) -> tuple[Bundle, ...]:
        _refuse_repeats("bundle name", (bundle.name for bundle in bundles))
        _refuse_repeats("service", (service for bundle in bundles for service in bundle.services))
        return bundles

    @property
    def placed(self) -> tuple[str, ...]:
        """The names of all services, in the order of the file."""
        return tuple(service for bundle in self.bundles for service in bundle.services)


def _refuse_repeats(what: str, names: Any) -> None:
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise ValueError(f"{what} {', '.join(map(repr, repeated))} stands more than once; each may stand once")
