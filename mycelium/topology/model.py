"""The topology as frozen values, and the rules it must keep by itself, without the spec."""

from __future__ import annotations

import enum
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ENVIRONMENT_PREFIX = "MYCELIUM_"
ENVIRONMENT_DELIMITER = "__"

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_NAME = r"^[a-z0-9_-]+$"


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
        spec: path of ``system.yaml``, from the topology's directory; by default the nearest one at or
            above that directory.
        drain_seconds: how long a process may take to handle what it has when it is told to stop.
    """

    model_config = _FROZEN
    mode: Mode
    spec: Path | None = None
    drain_seconds: float = Field(default=10.0, gt=0, le=600)


class InterBundle(BaseModel):
    """``[inter_bundle]``: how bundles reach one another.

    Args:
        transport: ``ipc`` on one host, ``tcp`` between hosts.
        socket_dir: where ipc sockets are made.
    """

    model_config = _FROZEN
    transport: Literal["ipc", "tcp"] = "ipc"
    socket_dir: Path = Path("/tmp/mycelium")  # noqa: S108 - a default; its mode is set when it is made


class Bundle(BaseModel):
    """One of ``[[bundles]]``: services that share a process, except in monolith mode, where all do.

    Args:
        name: unique.
        services: their names, as in ``system.yaml``.
        host: where the bundle runs, for mode distributed.
        port: where it can be reached, for mode distributed.
    """

    model_config = _FROZEN
    name: str = Field(pattern=_NAME)
    services: tuple[str, ...] = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535)


class Logging(BaseModel):
    """``[logging]``.

    Args:
        level: the least severe level that is shown.
        format: lines for a person, or JSON.
    """

    model_config = _FROZEN
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Topology(BaseSettings):
    """How the system runs today. Read one with :func:`mycelium.topology.load.load_topology`.

    Every value can be overridden by the environment: ``MYCELIUM_DEPLOYMENT__MODE=bundled``.

    Args:
        deployment: mode and limits.
        inter_bundle: how bundles reach one another.
        bundles: which services share a process.
        services: settings of each service, by its name; the service's own model checks them.
        logging: level and format.
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
    services: dict[str, dict[str, Any]] = Field(default_factory=dict)
    logging: Logging = Logging()

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
