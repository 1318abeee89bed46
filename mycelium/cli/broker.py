"""``mycelium broker``: keep and pass on what the services of a distributed system publish."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from mycelium import __version__
from mycelium.broker.broker import Broker
from mycelium.broker.security import Security
from mycelium.bus.clock import SystemClock
from mycelium.cli.fabric import broker_address, broker_journal, retention_of
from mycelium.cli.http import Endpoint, endpoint_of, serving, unready_of
from mycelium.cli.reload import Reloader
from mycelium.cli.security import check_binding, deliveries, rules_watched, security_from, warn_if_open
from mycelium.cli.tracing import tracing
from mycelium.core.envelope import build_frame, source_id
from mycelium.core.errors import ConfigError, Problem
from mycelium.core.message import PayloadCodec
from mycelium.journal import Journal
from mycelium.observe.broker_figures import tell_broker
from mycelium.observe.figures import Figures
from mycelium.observe.logs import LogFormat, configure_logging, set_level
from mycelium.observe.statistics import ProcessStatistics
from mycelium.observe.tracing import Tracer
from mycelium.service.telling import Say, Telling
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import LoadedTopology, load_topology
from mycelium.topology.model import BROKER, Topology
from mycelium.topology.model import Broker as BrokerSettings
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.limits import Limits

CHANGEABLE = frozenset({"logging.level", "broker.topics", "broker.max_age_seconds"})
"""What a running broker takes up from a changed topology."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("broker")


def broker(
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    bind: Annotated[
        str | None, typer.Option(help="Interface to bind to, such as 0.0.0.0. The topology's broker.host by default.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="Least severe level shown: debug, info, warning, error. The topology's by default."),
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="How log lines look. The topology's by default.")] = None,
) -> None:
    """Keep what services publish, pass it on, and send what their readers have missed.

    It runs until SIGTERM or Ctrl-C. What it has confirmed is in its journal and is there when it starts again, also
    after it was killed. A changed topology is taken up on SIGHUP, or by itself, as far as it concerns log level and
    retention; so are, with keys, other keys and the access list that follows from a changed system.yaml.

    Exit codes: 0 stopped by a signal, 1 an address is taken, the journal is damaged or cannot be
    written, 2 a file or option is wrong.

    Examples:

        mycelium broker --config config/distributed.toml
    """
    topology = load_topology(config)
    settings = topology.values.broker
    if settings is None:
        raise ConfigError([Problem(str(config), "broker", "is missing; a topology with a broker says where it is")])
    level = log_level if log_level is not None else topology.values.logging.level
    if level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(
            f"{level!r} is no level; choose debug, info, warning or error", param_hint="--log-level"
        )
    configure_logging(level=level, form=log_format or LogFormat(topology.values.logging.format), stream=sys.stderr)
    spec = load_spec(topology.spec_path)
    check_binding(topology, settings, bind)
    security = security_from(topology, spec)
    warn_if_open(topology, bind or settings.host)
    endpoint = endpoint_of(topology, BROKER)
    journal = broker_journal(topology, settings)
    try:
        with tracing(topology, spec.system, BROKER, SystemClock()) as tracer:
            address = broker_address(settings, bind)
            asyncio.run(_serve(topology, settings, spec, security, journal, address, endpoint, tracer))
    finally:
        journal.close()


async def _serve(
    topology: LoadedTopology,
    settings: BrokerSettings,
    spec: SystemSpec,
    security: Security | None,
    journal: Journal,
    address: StoreAddress,
    endpoint: Endpoint | None,
    tracer: Tracer | None,
) -> None:
    made = Broker(
        address,
        journal,
        SystemClock().time_ns,
        contracts=deliveries(spec),
        names=(*spec.services, BROKER),
        security=security,
        limits=Limits(**settings.limits.model_dump()),
        traced=tracer.kept if tracer is not None else None,
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def tell(figures: Figures) -> None:
        tell_broker(figures, made.statistics())
        if tracer is not None:
            tracer.tell(figures)

    def take_up(values: Topology) -> None:
        if values.broker is not None:
            journal.retain(retention_of(values.broker))
        set_level(values.logging.level)

    clock = SystemClock()
    try:
        async with serving(endpoint, partial(unready_of, made), tell, clock.time_ns):
            made.open()
            kept = journal.statistics()
            rules = [] if security is None else [rules_watched(topology, spec, security, made.renew)]
            telling = Telling(BROKER, __version__, tell, clock)
            async with (
                Reloader(topology, CHANGEABLE, take_up, rules).watching(),
                telling.saying(_say_of(made, clock.time_ns())),
            ):
                # When all is in force: whoever has waited for this may send a signal at once.
                log.info(
                    "ready",
                    publish=address.publish,
                    frames=address.frames,
                    control=address.control,
                    streams=kept.streams,
                    kept_frames=kept.frames,
                    durability=str(settings.durability.value),
                    keys=None if security is None else len(security.users),
                )
                await _first(stopping, made.failed)
    finally:
        await made.aclose()
    log.info("stopped", accepted=made.accepted, duplicates=made.duplicates, refused=dict(made.refused.counts))


def _say_of(made: Broker, epoch: int) -> Say:
    """What passes on the statistics of a broker, which has no bus to publish them on.

    Args:
        made: the broker.
        epoch: its incarnation, ns since the Unix epoch.
    """
    codec, source, numbers = PayloadCodec(ProcessStatistics), source_id(BROKER), itertools.count(1)

    async def say(said: ProcessStatistics) -> None:
        topic, payload = codec.contract.topic.topic_of(said), codec.encode([said])
        frame = build_frame(topic, codec.contract.type_id, 1, source, epoch, next(numbers), said.time, payload)
        made.store.pass_on(frame)

    return say


async def _first(stopping: asyncio.Event, failed: asyncio.Future[None]) -> None:
    """Wait until the broker is told to stop.

    Raises:
        JournalError: it cannot go on.
    """
    stopped = asyncio.ensure_future(stopping.wait())
    either: list[asyncio.Future[Any]] = [stopped, failed]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if failed.done():
        failed.result()
