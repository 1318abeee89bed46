"""The processes that use ZeroMQ alone: ``python -m benchmarks.scaling.raw PART WIRING``; commands as in ``typed``.

One message a send, one receive for each; no event loop, nothing is kept or sent again. What both sides have in common:
the reader looks whether each message is in its place, and everything has sockets of its own.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import msgspec
import zmq

from benchmarks.scaling.pings import LAST, STEP_SECONDS, WARM_UP_SECONDS, pings_told
from benchmarks.scaling.shapes import Part, Places, places
from mycelium.bench.roles import Answer, say

BODY = struct.Struct("<2q")
"""Lane and number, behind the topic: some 24 bytes, as in ``mycelium bench``."""

GIVE_UP_MS = 10_000
"""When nothing has come for so long, it is lost."""


@dataclass(frozen=True, slots=True)
class RawWiring:
    """How a process reaches the others.

    Args:
        sends: where publishers send, an endpoint.
        receives: where readers receive.
        binds: whether ``sends`` is its own; else a proxy is there.
        awaits: numbers of the readers that are to be there before something is sent.
    """

    sends: str
    receives: str
    binds: bool = False
    awaits: tuple[int, ...] = ()


Socket = zmq.Socket[bytes]


class RawPart:
    """Publishers and readers of one process."""

    def __init__(self, part: Part, wiring: RawWiring) -> None:
        self._part = part
        self._context = zmq.Context()
        self._published = 0
        self._readers = [(self._reader(number, wiring), Places()) for number in part.readers]
        self._publishers = [(number, self._publisher(wiring)) for number in part.publishers]
        lanes = [number * part.topics + topic for number in part.publishers for topic in range(part.topics)]
        self._topics = {lane: _topic(lane) for lane in lanes}
        for _, socket in self._publishers:
            _wait_for_readers(socket, wiring.awaits)

    def _reader(self, number: int, wiring: RawWiring) -> Socket:
        socket: Socket = self._context.socket(zmq.SUB)
        socket.rcvhwm = socket.linger = 0
        socket.connect(wiring.receives)
        socket.subscribe(b"bench." if self._part.reads is None else _topic(self._part.reads))
        socket.subscribe(_token(number))  # behind the other one: who has seen this has seen both
        return socket

    def _publisher(self, wiring: RawWiring) -> Socket:
        socket: Socket = self._context.socket(zmq.XPUB)
        socket.sndhwm = socket.linger = 0
        if wiring.binds:
            socket.bind(wiring.sends)
        else:
            socket.connect(wiring.sends)
        return socket

    def do(self, word: str, *rest: str) -> Answer:
        """Carry a command out."""
        if word == "publish":
            return self._publish(int(rest[0]))
        if word == "read":
            return self._read(int(rest[0]))
        if word == "pace":
            return self._pace(int(rest[0]), int(rest[1]))
        return self._ping(float(rest[0])) if word == "ping" else self._echo()

    def _publish(self, count: int) -> Answer:
        start, pack, topics = self._published, BODY.pack, self._topics
        self._published = stop = start + count
        started = time.monotonic()
        if len(self._publishers) == 1:
            ((number, socket),) = self._publishers
            send = socket.send
            for lane, place in places(number, self._part, start, stop):
                send(topics[lane] + pack(lane, place))
        else:  # in turn, as they would in processes of their own
            senders = [(socket.send, number) for number, socket in self._publishers]
            for place in range(start, stop):
                for send, lane in senders:
                    send(topics[lane] + pack(lane, place))
        return {"started": started}

    def _read(self, count: int) -> Answer:
        waiting = {socket: (seen, count) for socket, seen in self._readers}
        received = _read_one(*self._readers[0], count) if len(waiting) == 1 else _read_several(waiting)
        return {"received": received, "wrong": sum(seen.wrong for _, seen in self._readers), "ended": time.monotonic()}

    def _pace(self, rate: int, count: int) -> Answer:
        ((number, socket),) = self._publishers
        source = places(number, self._part, self._published, self._published + count)
        self._published += count
        step = max(1, round(rate * STEP_SECONDS))
        started = due = time.monotonic()
        while some := [self._topics[lane] + BODY.pack(lane, place) for lane, place in islice(source, step)]:
            for message in some:
                socket.send(message)
            due += len(some) / rate
            time.sleep(max(0.0, due - time.monotonic()))
        return {"started": started, "ended": time.monotonic()}

    def _ping(self, seconds: float) -> Answer:
        send, receive, now, message, last = *self._to_and_fro(), time.perf_counter_ns, *self._marks()
        took = []
        count_from = time.monotonic() + WARM_UP_SECONDS
        until = count_from + seconds
        while (at := time.monotonic()) < until:
            begun = now()
            send(message)
            receive()
            if at >= count_from:
                took.append(now() - begun)
        send(last)
        return pings_told(took)

    def _echo(self) -> Answer:
        send, receive = self._to_and_fro()
        message, _ = self._marks()
        while BODY.unpack(receive()[-BODY.size :])[1] != LAST:
            send(message)
        return {}

    def _to_and_fro(self) -> tuple[Callable[[bytes], object], Callable[[], bytes]]:
        ((_, out),), ((into, _),) = self._publishers, self._readers
        into.rcvtimeo = GIVE_UP_MS
        return out.send, into.recv

    def _marks(self) -> tuple[bytes, bytes]:
        ((lane, topic),) = self._topics.items()
        return topic + BODY.pack(lane, 0), topic + BODY.pack(lane, LAST)

    def close(self) -> None:
        """Close the sockets."""
        self._context.destroy(linger=0)


def _topic(lane: int) -> bytes:
    return b"bench.%d\0" % lane


def _token(number: int) -> bytes:
    return b"there.%d\0" % number


def _wait_for_readers(socket: Socket, numbers: tuple[int, ...]) -> None:
    wanted = {b"\x01" + _token(number) for number in numbers}
    while wanted:
        wanted.discard(socket.recv())


def _read_one(socket: Socket, seen: Places, count: int) -> int:
    socket.rcvtimeo = GIVE_UP_MS
    receive, unpack, size, take, received = socket.recv, BODY.unpack, BODY.size, seen.take, 0
    try:
        for received in range(1, count + 1):  # noqa: B007 - it is looked at after
            take(*unpack(receive()[-size:]))
    except zmq.Again:
        received -= 1
    return received


def _read_several(waiting: dict[Socket, tuple[Places, int]]) -> int:
    """From whichever has something, all that it has."""
    unpack, size, received = BODY.unpack, BODY.size, 0
    poller = zmq.Poller()
    for socket in waiting:
        poller.register(socket, zmq.POLLIN)
    while waiting:
        ready = poller.poll(GIVE_UP_MS)
        if not ready:
            break
        for socket, _ in ready:
            seen, left = waiting[socket]
            take, receive, before = seen.take, socket.recv, left
            try:
                while left:
                    take(*unpack(receive(zmq.DONTWAIT)[-size:]))
                    left -= 1
            except zmq.Again:
                pass
            received += before - left
            waiting[socket] = (seen, left)
            if not left:
                poller.unregister(socket)
                del waiting[socket]
    return received


def main(part: Part, wiring: RawWiring) -> None:
    """Be such a process, until there are no more commands."""
    end = RawPart(part, wiring)
    try:
        say("ready")
        for line in iter(sys.stdin.readline, ""):
            say(json.dumps(end.do(*line.split())))
    finally:
        end.close()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Part), msgspec.json.decode(sys.argv[2], type=RawWiring))
