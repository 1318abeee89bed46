"""A small system that runs until it is told to end, in every mode, for tests of what looks on."""

from __future__ import annotations

from mycelium.cli.fabric import stores
from mycelium.topology.load import load_topology
from mycelium.topology.model import Mode
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.ports import free_ports
from tests.processes.running import Processes, Running
from tests.systems import SmallSystem

SERVICES = """
import asyncio
from dataclasses import dataclass

from PACKAGE.contracts import Ping, Pong
from mycelium.observe.statistics import ProcessStatistics
from mycelium.service import NoSettings, Service, handles


class Pinger(Service[NoSettings]):
    name = "pinger"
    publishes = (Ping,)
    pings = 0

    async def run(self):
        while not self.stopping.is_set():
            self.pings += 1
            await self.publish(Ping("ab"[self.pings % 2], self.pings))
            await asyncio.sleep(0.02)


class Ponger(Service[NoSettings]):
    name = "ponger"
    publishes = (Pong,)

    @handles(Ping)
    async def on_ping(self, ping):
        await self.publish(Pong(ping.lane, ping.number))

    @handles(Pong, "pong.a")
    async def on_pong(self, pong):
        if pong.number == 50:
            raise ValueError("fifty")


@dataclass(frozen=True)
class Heard:
    by_process: dict[str, int]


class Onlooker(Service[NoSettings]):
    name = "onlooker"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.heard = {}

    @handles(ProcessStatistics)
    async def on_statistics(self, said):
        self.heard[said.process] = self.heard.get(said.process, 0) + 1

    def statistics(self):
        return Heard(dict(self.heard))
"""

ONLOOKER = """  onlooker:
    class: PACKAGE.services:Onlooker
    publishes: []
    subscribes: [ProcessStatistics]
    restart: on_failure
    depends_on: []
operators:
  ledger:
    asks: [books]
  top:
    subscribes: [ProcessStatistics]
    asks: [books]
  tap:
    subscribes: [Ping, Pong, DeadLetter, ProcessStatistics]
"""

BUNDLES = {"left": "pinger", "right": "ponger", "side": "onlooker"}


class WatchedSystem:
    """The services of :class:`~tests.systems.SmallSystem` that go on and on, and one that handles statistics.

    Args:
        system: the files.
        started: its processes.
        mode: how it runs.
        further: lines of the topology.
    """

    def __init__(self, system: SmallSystem, started: Processes, mode: Mode, further: str = "") -> None:
        self.config = system.topology
        self._started = started
        frames, control, publish = free_ports(3)
        system.services.write_text(SERVICES.replace("PACKAGE", system.package))
        system.spec.write_text(system.spec.read_text() + ONLOOKER.replace("PACKAGE", system.package))
        self.config.write_text(
            f'[deployment]\nmode = "{mode.value}"\nstate_dir = "state"\n'
            f'[inter_bundle]\nsocket_dir = "{system.root}/s"\n'
            f"[broker]\nframes_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n"
            + "".join(f'[[bundles]]\nname = "{name}"\nservices = ["{one}"]\n' for name, one in BUNDLES.items())
            + further
        )

    @property
    def stores(self) -> tuple[StoreAddress, ...]:
        """Where to look on."""
        return stores(load_topology(self.config))

    def broker(self) -> Running:
        """Start the broker, and wait until it serves."""
        process = self._started.mycelium("broker", "--config", self.config)
        process.wait_for("ready")
        return process

    def bundle(self, name: str, *options: object) -> Running:
        """Start a bundle. It says when it is ready."""
        return self._started.mycelium("run", "--quiet", "--bundle", name, "--config", self.config, *options)

    def bundles(self) -> dict[str, Running]:
        """Start them all, and wait until they are ready; by their names."""
        found = {name: self.bundle(name, "--summary", self.summary(name)) for name in BUNDLES}
        for process in found.values():
            process.wait_for("ready")
        return found

    def summary(self, name: str) -> str:
        """Where a bundle writes its figures at its end."""
        return str(self.config.with_name(f"{name}.json"))

    def monolith(self) -> Running:
        """Start all of it in one process, and wait until it is ready."""
        process = self._started.mycelium("run", "--quiet", "--config", self.config)
        process.wait_for("ready")
        return process
