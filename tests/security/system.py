"""A small system with keys: a broker of its own process, its services, and those who do not belong."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zmq

from mycelium import Bus, Network
from mycelium.bench.machine import resident_mib
from mycelium.cli.fabric import broker_address
from mycelium.core.delivery.control import Offence
from mycelium.core.envelope import Envelope, encode_frame, source_id
from mycelium.journal.disk import DATA
from mycelium.topology.load import load_topology
from mycelium.transport.addresses import Fabric, StoreAddress
from mycelium.transport.curve import client_options
from mycelium.transport.keyring import BROKER, Credentials, Keyring
from mycelium.transport.ports import free_ports
from tests.chaos.controller import REPOSITORY
from tests.processes.running import Processes, Running
from tests.security.services import Tick

SPEC = """
system: attacked
contracts:
  Tick:
    class: tests.security.services:Tick
    type_id: 100
    topic: ticks.{venue}
    fields: {venue: str, number: int}
  Order:
    class: tests.security.services:Order
    type_id: 200
    topic: orders.{venue}
    fields: {venue: str, number: int}
services:
  feeder:
    class: tests.security.services:Feeder
    publishes: [Tick]
    subscribes: []
    restart: always
    depends_on: []
  trader:
    class: tests.security.services:Trader
    publishes: [Order]
    subscribes: [Tick]
    restart: always
    depends_on: []
  clearing:
    class: tests.security.services:Clearing
    publishes: []
    subscribes: [Order]
    restart: always
    depends_on: []
operators:
  ledger:
    asks: [books]
"""


SERVICES = ("clearing", "trader", "feeder")


@dataclass
class Secured:
    """A running broker with keys, as those see it who have some."""

    processes: Processes
    address: StoreAddress
    keyring: Keyring
    broker: Running

    @property
    def config(self) -> Path:
        return self.processes.config

    def credentials(self, name: str) -> Credentials:
        return self.keyring.credentials(name, time.time())

    def fabric(self) -> Fabric:
        known = {name: self.credentials(name) for name in SERVICES}
        return Fabric(stores=(self.address,), keys=known.__getitem__, close_seconds=60)

    def run(self, name: str) -> Running:
        """Start the process of a service."""
        return self.processes.start("mycelium", "run", "--bundle", name, "--config", self.config, "--quiet")

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """What a command says."""
        return subprocess.run(
            [sys.executable, "-m", "mycelium", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "250"},
            cwd=self.processes.directory,
        )

    @property
    def memory(self) -> float:
        """MiB that the broker holds beside the pages of its journal."""
        held = resident_mib(self.broker.process.pid, DATA)
        assert held is not None
        return held


def start_secured(processes: Processes, limits: str = "", broker: str = "", services: str = "") -> Secured:
    """Start a broker with keys for everybody in :data:`SPEC`; the texts are lines of the topology's tables."""
    frames, control, publish = free_ports(3)
    directory = processes.directory
    (directory / "system.yaml").write_text(SPEC)
    processes.config.write_text(
        '[deployment]\nmode = "distributed"\nstate_dir = "state"\n[security]\nkeys = "keys"\n'
        f"[broker]\nframes_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n{broker}\n"
        f"[broker.limits]\n{limits}\n"
        + "".join(f'[[bundles]]\nname = "{name}"\nservices = ["{name}"]\n' for name in SERVICES)
        + services
    )
    keyring = Keyring(directory / "keys")
    for name in (BROKER, *SERVICES, "ledger"):
        keyring.create(name, time.time())
    settings = load_topology(processes.config).values.broker
    assert settings is not None
    running = processes.start("mycelium", "broker", "--config", processes.config)
    running.wait_for("ready")
    return Secured(processes, broker_address(settings), keyring, running)


def tick(sequence: int, *, source: str = "feeder", topic: str = "ticks.x", type_id: int = 100, epoch: int = 7) -> bytes:
    """A frame of one message, as anybody who knows the wire format can make it."""
    source_number = source_id(source)
    return encode_frame(Envelope(topic, type_id, 1, source_number, epoch, sequence, 1, b"\x91\x92\xa1x\x01"))


@contextmanager
def attacker(
    kind: int, endpoint: str, credentials: Credentials | None, **options: object
) -> Iterator[zmq.Socket[bytes]]:
    """A socket of somebody's own program, in a context of its own."""
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.linger = 0
        if credentials is not None:
            for number, value in client_options(credentials, credentials.servers[0]).items():
                socket.setsockopt(number, value)
        for option, wanted in options.items():
            setattr(socket, option, wanted)
        socket.connect(endpoint)
        yield socket


def count(offences: tuple[Offence, ...], who: str, cause: str) -> int:
    """How often somebody was refused something."""
    return sum(offence.count for offence in offences if (offence.who, offence.cause) == (who, cause))


async def legitimate(at: Secured, messages: int) -> list[int]:
    """What the trader reads of what the feeder publishes meanwhile."""
    network = Network(fabric=at.fabric())
    read: list[int] = []
    async with (
        asyncio.timeout(200),
        Bus("trader", network=Network(fabric=at.fabric())) as there,
        there.subscriber(Tick, "ticks.x") as ticks,
        Bus("feeder", network=network) as here,
        here.publisher(Tick) as publisher,
    ):

        async def publish() -> None:
            for first in range(0, messages, 1_000):
                await publisher.publish_many(Tick("x", n) for n in range(first, first + 1_000))
            await publisher.flush()

        publishing = asyncio.ensure_future(publish())
        async for batch in ticks.batches():
            read += [message.number for message in batch]
            if len(read) >= messages:
                break
        await publishing
    return read
