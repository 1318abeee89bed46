"""An HTTP server in the event loop of the process that it tells about, for few clients at a time.

It must not be possible to keep it from answering, or to take memory or time from what the process is there for. So a
request has to be there soon, an answer has to be taken soon, and of too many connections the oldest of those that are
not being answered is closed: who asks and goes is served, whoever else stays. uvicorn's own limit would refuse the
newest. It has no time-outs for these either, so its connection is extended here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

import h11
import structlog
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server

from mycelium.core.errors import PathError
from mycelium.core.ledger import Tally
from mycelium.observe.http_guard import NO_STORE, SECURITY_HEADERS
from mycelium.topology.hosts import LOCALHOST
from mycelium.transport.complaints import Complaints

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("http")

REQUEST_SECONDS = 5.0
"""Until a request is there as a whole, from the first byte or, on a new connection, from its beginning."""
ANSWER_SECONDS = 10.0
"""Until a client takes more of an answer that has filled all buffers on the way."""
KEEP_SECONDS = 5
"""How long a connection may do nothing between two requests."""
CLOSE_SECONDS = 2
"""How long answers may take that are under way when the server is to end."""
MAX_CONNECTIONS = 64
"""Chosen by us: a probe, a scraper and some browsers need less."""
MAX_INCOMPLETE_BYTES = 16 << 10
"""Of the beginning of a request. As much as :data:`mycelium.observe.http_guard.MAX_HEADER_BYTES`."""

_ALL_HEADERS = {**SECURITY_HEADERS, "cache-control": NO_STORE}


class HttpServer:
    """Serves an application.

    Args:
        app: the application, behind its guard.
        host: an address of this host, or ``localhost``.
        port: 0 takes one that is free.
        time_ns: the time.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, *, time_ns: Callable[[], int]) -> None:
        self._app = app
        # The name might be resolved to something else.
        self._host = "127.0.0.1" if host == LOCALHOST else host
        self._port = port
        self._complaints = Complaints(time_ns)
        self.closed: Tally = Tally()
        """Connections that this side closed, by cause."""

    @property
    def address(self) -> str:
        """Where it is, as others ask for it."""
        return f"http://[{self._host}]:{self._port}" if ":" in self._host else f"http://{self._host}:{self._port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve for as long as the block runs.

        Raises:
            PathError: the address cannot be bound.
        """
        listening = self._bind()
        config = Config(
            self._app,
            http=cast("type[asyncio.Protocol]", partial(_Connection, _Room(self._complaints, self.closed))),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # who asks is who has connected, whatever the request says
            server_header=False,
            timeout_keep_alive=KEEP_SECONDS,
            timeout_graceful_shutdown=CLOSE_SECONDS,
            h11_max_incomplete_event_size=MAX_INCOMPLETE_BYTES,
        )
        server = _Server(config)
        with _logged(self._complaints):
            serving = asyncio.create_task(server.serve(sockets=[listening]), name="serve http")
            log.info("serving", http=self.address)
            try:
                yield
            except BaseException:
                config.timeout_graceful_shutdown = 0
                raise
            finally:
                server.should_exit = True
                await serving
                await _ended(server)

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listening = socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            raise PathError(self.address, f"cannot be served there: {error.strerror}; see [http]") from None
        self._port = listening.getsockname()[1]
        return listening


async def _ended(server: Server) -> None:
    """Wait for the answers that uvicorn has cancelled and not waited for. Nobody gets them any more."""
    for connection in list(server.server_state.connections):
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.gather(*server.server_state.tasks, return_exceptions=True)


class _Server(Server):
    """uvicorn's server, which leaves signals to the process that it is in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Room:
    """The connections that are there, the oldest first."""

    def __init__(self, complaints: Complaints, closed: Tally) -> None:
        self._complaints = complaints
        self._closed = closed
        self._inside: dict[_Connection, None] = {}

    def enter(self, connection: _Connection) -> None:
        """There is one more. One that can be spared has to go if that is too many."""
        self._inside[connection] = None
        if len(self._inside) > MAX_CONNECTIONS:
            spared = next((one for one in self._inside if not one.is_answering), connection)
            self.close(spared, "too many connections")

    def leave(self, connection: _Connection) -> None:
        """It has ended."""
        self._inside.pop(connection, None)

    def close(self, connection: _Connection, cause: str) -> None:
        """End a connection, and say why."""
        self.leave(connection)
        self._closed.add(cause)
        self._complaints.say(connection.client[0] if connection.client else "a client", cause)
        connection.transport.abort()


class _Connection(H11Protocol):
    """uvicorn's connection, which waits for its client only so long."""

    def __init__(self, room: _Room, **given: Any) -> None:
        super().__init__(**given)
        self._room = room
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    @property
    def is_answering(self) -> bool:
        """Whether a request is there whose answer is not complete."""
        # There is none before the first request, whatever uvicorn's types say.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Or the end of every answer waits 40 ms for the client's system to confirm its beginning. asyncio does it for
        # sockets that it has made itself.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._await_request()
        self._room.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_is_there()
        self._answer_is_taken()
        self._room.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._await_request()
        else:
            self._request_is_there()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(ANSWER_SECONDS, self._room.close, self, "answer not taken in time")

    def resume_writing(self) -> None:
        self._answer_is_taken()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP. uvicorn would not stop what it has begun, and both would write."""
        if self.is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        headers = {**_ALL_HEADERS, "content-type": "text/plain; charset=utf-8", "connection": "close"}
        for event in (
            h11.Response(status_code=400, reason="Bad Request", headers=list(headers.items())),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_request(self) -> None:
        if self._reading is None:
            self._reading = self.loop.call_later(REQUEST_SECONDS, self._room.close, self, "request not there in time")

    def _request_is_there(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _answer_is_taken(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None


class _Relay(logging.Handler):
    """Passes on what uvicorn logs: clients' mistakes as complaints, its own and ours as errors."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__(logging.WARNING)
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        message, failure = record.getMessage().strip(), record.exc_info
        if failure is None:
            self._complaints.say("a client", message)
        elif not isinstance(failure[1], asyncio.CancelledError):  # an answer that the end of the server has ended
            log.error(message, exc_info=failure)


@contextmanager
def _logged(complaints: Complaints) -> Iterator[None]:
    """Log what uvicorn has to say as we do."""
    logger, relay = logging.getLogger("uvicorn.error"), _Relay(complaints)
    logger.addHandler(relay)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(relay)
        logger.propagate = True
