"""Tries the endpoints of a store from this host, as a client would use them: what ``mycelium check`` asks.

Nothing is published, and no reader joins: a question on the control port, a probe that comes back among the frames,
and a connection on which a broker says that it subscribes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import zmq

from mycelium.core.delivery.control import AskReaders, FromClient, Probe, Readers, encode, from_store, probe_frame
from mycelium.core.errors import PathError, WireError
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.curve import options_of
from mycelium.transport.keyring import Credentials
from mycelium.transport.sockets import Port, dealer

ASK_SECONDS = 0.2
"""Between two questions: the first one is lost if it comes before a subscription."""

_MAX_PROBE = 1 << 62

_ASKS = ", or asks for keys"
_SILENT = (
    f"something listens there and does not answer as it should: it is stopped, very busy, or something else{_ASKS}"
)

T = TypeVar("T")

Keys: TypeAlias = Mapping[int, int | bytes]
"""Options of libzmq."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One endpoint of a store, as seen from here.

    Args:
        store: the store's name.
        kind: ``control``, ``frames`` or ``publish``.
        endpoint: where.
        problem: why it cannot be used; None if it can.
    """

    store: str
    kind: str
    endpoint: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class StoreState:
    """A store, as seen from here.

    Args:
        name: the store's.
        endpoints: each of its endpoints.
        readers: the names of the readers that have joined; None if it does not answer.
    """

    name: str
    endpoints: tuple[EndpointState, ...]
    readers: frozenset[str] | None


async def look_at(address: StoreAddress, seconds: float, credentials: Credentials | None = None) -> StoreState:
    """Try every endpoint of a store.

    Args:
        address: where it should be.
        seconds: how long each may take to answer.
        credentials: somebody's, at a store that asks for keys.
    """
    keys = options_of(credentials)
    readers, frames, publish = await asyncio.gather(
        _control(address.control, seconds, keys),
        _frames(address.frames, address.control, seconds, keys),
        _publish(address.publish, seconds, keys),
    )
    answers = [("control", address.control, readers is not None), ("frames", address.frames, frames)]
    if address.publish is not None:
        answers.append(("publish", address.publish, publish))
    endpoints = []
    for kind, endpoint, answered in answers:
        problem = None if answered else await _why_not(endpoint, seconds)
        if problem == _SILENT and credentials is not None:
            problem = f"{_SILENT.removesuffix(_ASKS)}, or does not accept the key of {credentials.name}"
        if problem is not None and problem.startswith(_SILENT) and kind == "frames" and readers is None:
            problem = "something listens there; only through the control port could more be said"
        endpoints.append(EndpointState(address.name, kind, endpoint, problem))
    return StoreState(address.name, tuple(endpoints), readers)


async def _control(endpoint: str, seconds: float, keys: Keys) -> frozenset[str] | None:
    """The names of the readers that are there; None if there is no answer."""
    answer: asyncio.Future[frozenset[str]] = asyncio.get_running_loop().create_future()

    def heard(burst: list[Any]) -> None:
        for data in burst:
            try:
                said = from_store(data)
            except WireError:
                continue
            if isinstance(said, Readers) and not answer.done():
                answer.set_result(frozenset(said.names))

    port = dealer(heard, keys)
    return await _answer(answer, seconds, [(port, endpoint)], lambda: _say(port, AskReaders()))


async def _frames(endpoint: str, control: str, seconds: float, keys: Keys) -> bool:
    """Whether what the store sends arrives."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    probe = Probe(1 + secrets.randbelow(_MAX_PROBE))

    def heard(burst: list[Any]) -> None:
        if probe_frame(probe.number) in burst and not answer.done():
            answer.set_result(True)

    frames, asking = Port(zmq.SUB, heard, options=keys), dealer(lambda _burst: None, keys)
    frames.option(zmq.SUBSCRIBE, probe_frame(probe.number))
    ports = [(frames, endpoint), (asking, control)]
    return await _answer(answer, seconds, ports, lambda: _say(asking, probe)) is not None


async def _publish(endpoint: str | None, seconds: float, keys: Keys) -> bool:
    """Whether a broker subscribes to what is published there."""
    if endpoint is None:
        return False
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def heard(burst: list[Any]) -> None:
        if b"\x01" in burst and not answer.done():
            answer.set_result(True)

    return await _answer(answer, seconds, [(Port(zmq.XPUB, heard, options=keys), endpoint)], lambda: None) is not None


async def _answer(
    answer: asyncio.Future[T], seconds: float, ports: list[tuple[Port, str]], ask: Callable[[], None]
) -> T | None:
    """Connect, ask until there is an answer, and let go of everything; None if there is none."""
    end = asyncio.get_running_loop().time() + seconds
    try:
        for port, endpoint in ports:
            port.connect(endpoint)
        while not answer.done() and (left := end - asyncio.get_running_loop().time()) > 0:
            ask()
            await asyncio.wait([answer], timeout=min(ASK_SECONDS, left))
        return answer.result() if answer.done() else None
    except PathError:
        return None  # the reason is found by _why_not
    finally:
        answer.cancel()
        for port, _ in ports:
            port.close()


def _say(port: Port, said: FromClient) -> None:
    port.send(encode(said))


async def _why_not(endpoint: str, seconds: float) -> str:
    """Why an endpoint does not answer, as far as a plain connection tells."""
    try:
        async with asyncio.timeout(seconds):
            if endpoint.startswith("ipc://"):
                _, writer = await asyncio.open_unix_connection(endpoint.removeprefix("ipc://"))
            else:
                host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
                _, writer = await asyncio.open_connection(host, int(port))
    except TimeoutError:
        return f"no connection in {seconds:g} s: a firewall in between, or no such host"
    except FileNotFoundError:
        return "no such file: its process has not started on this host, or with another socket_dir"
    except ConnectionRefusedError:
        return "refused: nobody listens there"
    except OSError as error:
        number = error.errno if error.errno is not None else 0
        return (error.strerror or os.strerror(number)).lower()
    writer.close()
    return _SILENT
