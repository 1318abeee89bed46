"""The base of every service: what it declares, what it may use, what it may override."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from mycelium.bus.bus import Bus
from mycelium.bus.publisher import Publisher
from mycelium.core.clock import Clock
from mycelium.core.errors import ContractError, Draining
from mycelium.core.message import Message
from mycelium.observe.tracing import Tracer
from mycelium.service.intake import Intake

DIRECTORY = "directory"
"""Key of the settings' validation context: the directory of the configuration file."""


def _beside_config(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get(DIRECTORY)
    return path.expanduser() if directory is None else Path(directory) / path.expanduser()


ConfigPath = Annotated[Path, AfterValidator(_beside_config)]
"""A path in a service's settings; a relative one starts at the configuration file's directory."""


class NoSettings(BaseModel):
    """The settings of a service that has none."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=BaseModel)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a service has come with a long piece of work.

    Args:
        service: which.
        done: work done, in ``unit``.
        total: work in all, None if that is not known.
        unit: what is counted.
    """

    service: str
    done: int
    total: int | None
    unit: str


@dataclass(frozen=True)
class ServiceContext:
    """What the host gives to a service.

    Args:
        bus: its own, named after it.
        stopping: set when the host begins to drain.
        report: takes progress.
        tracer: traces what it does; None if nothing is traced.
    """

    bus: Bus
    stopping: asyncio.Event
    report: Callable[[Progress], None]
    tracer: Tracer | None = None


class Service(Generic[S]):
    """Base of a service. A subclass declares; the host wires, starts, drains and stops.

    Declared in the class:
        name: one topic segment, as in ``system.yaml``.
        settings_type: a frozen pydantic model; its values come from ``[services.<name>]`` of the topology.
        publishes: the message classes it may publish.
        Handlers: async methods marked with :func:`~mycelium.service.declarations.handles`.

    Life: ``start`` → ready (every subscription is attached) → ``run`` → drain → ``stop``. A service
    without a ``run`` of its own only reacts. A process ends by itself when every ``run`` has returned.

    All messages of a service come one after another, from one mailbox: from its own process in the order in which
    they were published, from others in the order of each stream. Handlers of one service never run at the same
    time, unless one asks for a queue of its own.

    Args:
        settings: validated values of ``settings_type``.
        context: what the host gives.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[BaseModel]] = NoSettings
    publishes: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(self, settings: S, context: ServiceContext) -> None:
        self.settings = settings
        self.log: structlog.typing.FilteringBoundLogger = structlog.get_logger(self.name).bind(service=self.name)
        self._context = context
        self._publishers: dict[type[Message], Publisher[Any]] = {}
        self._intakes: dict[str, Intake] = {}

    # --- to override -------------------------------------------------------------------------

    async def start(self) -> None:
        """Prepare: open files, connect. Nothing is published or received yet."""

    async def run(self) -> None:
        """Work of its own accord. Return when there is no more, or when :attr:`stopping` is set."""

    async def stop(self) -> None:
        """Finish, after the last message has been handled: write results, close. May still publish."""

    @property
    def waits_for(self) -> str | None:
        """What it still waits for before it does what it is for, although it runs; None if it is ready.

        Asked whenever somebody wants to know whether this process is ready.
        """
        return None

    def statistics(self) -> object | None:
        """Figures of its own, which ``/metrics`` shows: a frozen dataclass, or None if it has none.

        A field of it is shown if it is a number, a mapping from names to numbers, or a tuple of pairs or of
        dataclasses with a ``name``; see docs/how-to/metrics.md. Asked whenever somebody wants to know, once the
        service has started; what it costs is paid then.
        """
        return None

    # --- to use ------------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """The time."""
        return self._context.bus.clock

    @property
    def bus(self) -> Bus:
        """The service's own bus, for what declarations do not cover."""
        return self._context.bus

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the host begins to drain."""
        return self._context.stopping

    async def publish(self, message: Message) -> None:
        """Publish a message of a declared class.

        Raises:
            ContractError: its class is not among ``publishes``.
        """
        publisher = self._publishers.get(type(message))
        if publisher is None:
            publisher = self._open_publisher(type(message))
        await publisher.publish(message)

    async def publish_many(self, message_type: type[M], messages: Sequence[M]) -> None:
        """Publish messages of one declared class, in their order: what one by one costs is paid once.

        Args:
            message_type: their class.
            messages: any number.

        Raises:
            ContractError: the class is not among ``publishes``.
        """
        publisher = self._publishers.get(message_type)
        if publisher is None:
            publisher = self._open_publisher(message_type)
        await publisher.publish_many(messages)

    def traced(self, what: str, **attributes: str | int) -> AbstractContextManager[None]:
        """A piece of work in ``run``: what is published while the block runs belongs to one trace, if it is traced.

        Handlers need it not: what they publish belongs to the trace of the message that they handle.

        Args:
            what: a name for such work, the same each time, such as ``block``.
            attributes: what tells this one from others.
        """
        tracer = self._context.tracer
        return nullcontext() if tracer is None else tracer.scope(what, self.name, attributes)

    async def flush(self) -> None:
        """Return when everything it published so far has left towards its readers, or is kept where it is to be kept.

        Raises:
            MyceliumError: it cannot be.
        """
        for publisher in self._publishers.values():
            await publisher.flush()

    def _open_publisher(self, message_type: type[Message]) -> Publisher[Any]:
        if message_type not in self.publishes:
            declared = ", ".join(kind.__name__ for kind in self.publishes) or "nothing"
            raise ContractError(
                f"service {self.name} publishes {message_type.__name__} but declares {declared}; "
                "add it to 'publishes' and to system.yaml"
            )
        publisher = self._publishers[message_type] = self._context.bus.publisher(message_type)
        return publisher

    def intake(self, name: str) -> Intake:
        """The counter of something that this service reads from outside; the same one for the same name."""
        intake = self._intakes.get(name)
        if intake is None:
            intake = self._intakes[name] = Intake(self.name, name)
        return intake

    async def breathe(self) -> None:
        """Let the others run; call it in ``run`` wherever it is right to stop.

        Raises:
            Draining: the host is draining. Let it pass.
        """
        await asyncio.sleep(0)
        if self.stopping.is_set():
            raise Draining(f"service {self.name} was asked to stop")

    def progress(self, done: int, total: int | None, unit: str) -> None:
        """Tell how far a long piece of work has come. ``total`` is None if it is not known."""
        self._context.report(Progress(self.name, done, total, unit))

    # --- for the host ------------------------------------------------------------------------

    @property
    def intakes(self) -> tuple[Intake, ...]:
        """Everything it reads from outside."""
        return tuple(self._intakes.values())

    async def close_publishers(self) -> None:
        """Return when everything it published has left."""
        for publisher in self._publishers.values():
            await publisher.aclose()

    @classmethod
    def has_run(cls) -> bool:
        """Whether it works of its own accord."""
        return cls.run is not Service.run
