"""Ports: what they do when there is no room, and in which order they tell what has happened."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

from mycelium.transport.ports import free_ports
from mycelium.transport.sockets import Port


async def test_a_port_that_is_full_does_not_try_without_end() -> None:
    """An XPUB says at any time that there is room. Trying again because of that took a core while a broker was down."""
    tries: list[bool] = []
    received: list[bytes] = []
    subscribed = asyncio.Event()

    def on_room() -> None:
        tries.append(out.send(b"again"))

    out = Port(zmq.XPUB, lambda _burst: subscribed.set(), on_room=on_room, options={zmq.XPUB_NODROP: 1, zmq.SNDHWM: 2})
    there: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.XSUB)
    there.setsockopt(zmq.RCVHWM, 2)
    there.bind("inproc://a-port-that-is-full")
    out.connect("inproc://a-port-that-is-full")
    there.send(b"\1")
    await subscribed.wait()
    try:
        while out.send(b"frame"):
            pass
        for _ in range(200):
            await asyncio.sleep(0)
        # What was sent before it was full may have left one look due.
        assert len(tries) <= 2
        assert not any(tries)
        while b"again" not in received:
            received.append(await asyncio.to_thread(there.recv))
        assert any(tries)
    finally:
        out.close()
        there.close(linger=0)


@pytest.mark.parametrize("way", ["each", "burst"])
async def test_who_has_come_is_known_before_what_it_says(way: str) -> None:
    """However late this loop looks: descriptors are used again, and what is said must not count for somebody before."""
    order: list[str] = []

    def on_each(_received: object) -> None:
        order.append("said")

    def on_burst(burst: list[object]) -> None:
        if way == "burst":
            order.extend("said" for _ in burst)

    port = Port(zmq.XPUB, on_burst, on_each=on_each if way == "each" else None, attributed=True)
    port.watch(lambda event: order.append("came") if event.kind == zmq.EVENT_ACCEPTED else None)
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        try:
            endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
            port.bind(endpoint)
            reader.linger = 0
            reader.subscribe(b"x")
            reader.connect(endpoint)
            deadline = time.monotonic() + 10
            # Nothing of this loop runs until all of it is there.
            while not int(port._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                assert time.monotonic() < deadline
            port._look()
            assert order == ["came", "said"]
        finally:
            port.close()


async def test_a_port_that_is_bound_anew_listens_again_however_often() -> None:
    """libzmq gives an endpoint back in its own time: at once it may be in use still."""
    heard: list[object] = []
    port = Port(zmq.ROUTER, heard.extend)
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    port.bind(endpoint)
    try:
        for turn in range(30):
            port.bind_anew({})
            if turn % 3 == 0:
                port.bind_anew({})  # before it is there again
            with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
                peer.linger = 0
                peer.connect(endpoint)
                peer.send(b"%d" % turn)
                async with asyncio.timeout(10):
                    while len(heard) <= turn:  # noqa: ASYNC110 - what a thread of libzmq changes
                        await asyncio.sleep(0.001)
    finally:
        port.close()
    assert [parts[1] for parts in heard] == [b"%d" % turn for turn in range(30)]  # type: ignore[index]


FULL = """
import asyncio, sys, zmq
from mycelium.transport.sockets import Port

async def main():
    heard = 0
    def count(burst):
        nonlocal heard
        heard += len(burst)
    port = Port(zmq.{kind}, count, options={{zmq.RCVHWM: 2, zmq.HEARTBEAT_IVL: 50}})
    port.bind("{endpoint}")
    if zmq.{kind} == zmq.XSUB:
        port.send(b"\\1")
    print("bound", flush=True)
    async with asyncio.timeout(20):
        while not heard:
            await asyncio.sleep(0.001)
        before = heard
        sys.stdin.readline()  # nothing is read meanwhile, so it is full
        while heard == before:
            await asyncio.sleep(0.001)
    port.close()
    print("heard more")

asyncio.run(main())
"""


@pytest.mark.process
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize(("kind", "other"), [("ROUTER", "DEALER"), ("XSUB", "XPUB")])
def test_a_peer_that_dies_while_we_are_full_does_not_end_us(
    tmp_path: Path, transport: str, kind: str, other: str
) -> None:
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}" if transport == "tcp" else f"ipc://{tmp_path}/s"
    code = FULL.format(kind=kind, endpoint=endpoint)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as full:
        assert full.stdout is not None
        assert full.stdout.readline() == "bound\n"
        flood = f"""
import zmq
peer = zmq.Context().socket(zmq.{other})
peer.sndhwm = 10_000
if peer.type == zmq.XPUB:
    peer.setsockopt(zmq.XPUB_NODROP, 1)
peer.connect("{endpoint}")
if peer.type == zmq.XPUB:
    peer.recv()
for number in range(5_000):
    peer.send(b"x" * 1_000)
print("sent", flush=True)
input()
"""
        with subprocess.Popen(
            [sys.executable, "-c", flood], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer:
            assert peer.stdout is not None
            assert peer.stdout.readline() == "sent\n"
            with pytest.raises(subprocess.TimeoutExpired):
                full.wait(0.5)  # until it is full
            peer.kill()
        with pytest.raises(subprocess.TimeoutExpired):
            full.wait(1.5)  # it would be dead by then: some heartbeats have passed
        said, errors = full.communicate("\n", timeout=30)
        assert full.returncode == 0, errors
        assert said == "heard more\n"


async def test_heartbeats_are_for_networks_only(tmp_path: Path) -> None:
    # A bound socket that was full when its peer went must not find one among what it has not read.
    for endpoint, expected in ((f"ipc://{tmp_path}/s", 0), (f"tcp://127.0.0.1:{free_ports(1)[0]}", 1_000)):
        port = Port(zmq.SUB, lambda _burst: None)
        port.connect(endpoint)
        assert port._socket.getsockopt(zmq.HEARTBEAT_IVL) == expected, endpoint
        port.close()
