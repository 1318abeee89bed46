"""From a topology to what a process serves over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mycelium import __version__
from mycelium.broker.broker import Broker
from mycelium.core.errors import ConfigError, Problem
from mycelium.observe.figures import Figures
from mycelium.observe.redaction import register_secret
from mycelium.observe.token import read_token
from mycelium.topology.hosts import is_loopback
from mycelium.topology.load import LoadedTopology

_KEY = "http.token_file"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process serves HTTP.

    Args:
        host: what it binds to.
        port: there.
        token: what shows who may see everything, if there is one.
    """

    host: str
    port: int
    token: str | None = field(default=None, repr=False)


def endpoint_of(topology: LoadedTopology, process: str | None) -> Endpoint | None:
    """Where a process serves HTTP; None if it does not.

    Args:
        topology: what it belongs to.
        process: the name of its bundle, or ``broker``; None for the only one of a monolith.

    Raises:
        ConfigError: the file with the token cannot be read, can be by others, or holds no token.
    """
    http = topology.values.http
    port = http.port_of(process)
    if port is None:
        return None
    token = None
    if http.token_file is not None:
        path = topology.directory / http.token_file
        try:
            token = read_token(path)
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise ConfigError([Problem(topology.origin("http", "token_file"), _KEY, reason, str(path))]) from None
        register_secret(token)
    return Endpoint(http.host, port, token)


@asynccontextmanager
async def serving(
    endpoint: Endpoint | None,
    unready: Callable[[], Mapping[str, str]],
    tell: Callable[[Figures], None],
    time_ns: Callable[[], int],
) -> AsyncIterator[None]:
    """Serve HTTP for as long as the block runs, or do nothing if there is no endpoint.

    Args:
        endpoint: where.
        unready: what of this process is not ready, each with its state; empty when all is.
        tell: adds the figures of this process.
        time_ns: the time.

    Raises:
        PathError: the address cannot be bound.
    """
    if endpoint is None:
        yield
        return
    # Here, so that processes without it need no memory for it.
    from mycelium.observe.endpoints import PUBLIC, application
    from mycelium.observe.http_guard import Guard, tell_refused
    from mycelium.observe.http_server import HttpServer
    from mycelium.observe.loop_delay import LoopDelay
    from mycelium.observe.metrics import Exposition

    delay = LoopDelay()

    def tell_all(figures: Figures) -> None:
        tell(figures)
        delay.tell(figures)
        tell_refused(figures, guard.refused.counts)

    guard = Guard(
        application(unready, Exposition(tell_all, __version__).answer),
        token=endpoint.token,
        public=PUBLIC,
        loopback=is_loopback(endpoint.host),
        time_ns=time_ns,
    )
    async with HttpServer(guard, endpoint.host, endpoint.port, time_ns=time_ns).serving():
        with delay.measured():
            yield


def unready_of(broker: Broker) -> Mapping[str, str]:
    """What keeps a broker from taking what is published."""
    found = {} if broker.is_open else {"broker": "not bound"}
    if broker.failed.done() and not broker.failed.cancelled():
        found["journal"] = "failed"
    elif broker.is_full:
        found["journal"] = "full"
    return found
