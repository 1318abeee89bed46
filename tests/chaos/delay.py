"""Holds every packet of a netfilter queue back for a while: ``python -m tests.chaos.delay QUEUE SECONDS``.

The kernel of CI has no ``tc netem``. The messages are those of ``linux/netfilter/nfnetlink_queue.h``; the packets
themselves are not copied, only their numbers come, and go back with the verdict to accept.
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator

NETLINK_NETFILTER = 12
QUEUE_SUBSYSTEM = 3
PACKET, VERDICT, CONFIG = (QUEUE_SUBSYSTEM << 8 | number for number in (0, 1, 2))
REQUEST = 1
HEADER = struct.Struct("=LHHLL")
ATTRIBUTE = struct.Struct("=HH")
BIND, COPY_META, ACCEPT = 1, 1, 1
CONFIG_COMMAND, CONFIG_PARAMETERS, CONFIG_LENGTH = 1, 2, 3
PACKET_HEADER, VERDICT_HEADER = 1, 2
MAX_QUEUED = 100_000


def _attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _message(kind: int, queue: int, attributes: bytes) -> bytes:
    body = struct.pack(">BBH", 0, 0, queue) + attributes
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST, 0, 0) + body


def _packets(data: bytes) -> Iterator[int]:
    """The numbers of the packets in what the kernel has sent."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, at)
        attribute = at + HEADER.size + 4
        while kind == PACKET and attribute + ATTRIBUTE.size <= at + length:
            size, name = ATTRIBUTE.unpack_from(data, attribute)
            if name & 0x7FFF == PACKET_HEADER:
                yield struct.unpack_from(">L", data, attribute + ATTRIBUTE.size)[0]
            attribute += size + -size % 4
        at += length + -length % 4


def main(queue: int, seconds: float) -> None:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    kernel.bind((0, 0))
    kernel.send(_message(CONFIG, queue, _attribute(CONFIG_COMMAND, struct.pack(">BBH", BIND, 0, socket.AF_INET))))
    kernel.send(_message(CONFIG, queue, _attribute(CONFIG_PARAMETERS, struct.pack(">LB", 0, COPY_META))))
    kernel.send(_message(CONFIG, queue, _attribute(CONFIG_LENGTH, struct.pack(">L", MAX_QUEUED))))
    kernel.setblocking(False)
    print("ready", flush=True)
    held: deque[tuple[float, int]] = deque()
    waiting = selectors.DefaultSelector()
    waiting.register(kernel, selectors.EVENT_READ)
    while True:
        waiting.select(None if not held else max(0.0, held[0][0] - time.monotonic()))
        now = time.monotonic()
        try:
            while True:
                held.extend((now + seconds, number) for number in _packets(kernel.recv(1 << 16)))
        except (BlockingIOError, OSError):
            pass  # nothing more, or the kernel has dropped some: that is loss, which is asked for too
        while held and held[0][0] <= now:
            _, number = held.popleft()
            kernel.send(_message(VERDICT, queue, _attribute(VERDICT_HEADER, struct.pack(">LL", ACCEPT, number))))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
