"""A small system in files, for tests that change one thing in it and look what is said."""

from __future__ import annotations

import sys
from pathlib import Path

CONTRACTS = """
from mycelium import Message


class Ping(Message, type_id=1, topic="ping.{lane}"):
    lane: str
    number: int


class Pong(Message, type_id=2, topic="pong.{lane}"):
    lane: str
    number: int
    note: str = ""
"""

SERVICES = """
from pydantic import BaseModel, ConfigDict

from mycelium.service import NoSettings, Service, handles
from PACKAGE.contracts import Ping, Pong


class PingerSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    how_many: int = 10


class Pinger(Service[PingerSettings]):
    name = "pinger"
    settings_type = PingerSettings
    publishes = (Ping,)

    async def run(self):
        for number in range(self.settings.how_many):
            await self.publish(Ping("a", number))
            await self.breathe()
            self.progress(number + 1, self.settings.how_many, "pings")


class Ponger(Service[NoSettings]):
    name = "ponger"
    publishes = (Pong,)

    @handles(Ping)
    async def on_ping(self, ping):
        await self.publish(Pong(ping.lane, ping.number))

    @handles(Pong, "pong.a")
    async def on_pong(self, pong):
        pass
"""

SPEC = """
system: test
counted:
  events: [Ping]
  signals: [Pong]
contracts:
  Ping:
    class: PACKAGE.contracts:Ping
    type_id: 1
    topic: ping.{lane}
    fields: {lane: str, number: int}
  Pong:
    class: PACKAGE.contracts:Pong
    type_id: 2
    topic: pong.{lane}
    fields: {lane: str, number: int, note: "str = ''"}
services:
  pinger:
    class: PACKAGE.services:Pinger
    publishes: [Ping]
    subscribes: []
    restart: on_failure
    depends_on: []
  ponger:
    class: PACKAGE.services:Ponger
    publishes: [Pong]
    subscribes: [Ping, {contract: Pong, pattern: pong.a}]
    restart: on_failure
    depends_on: [pinger]
"""

TOPOLOGY = """
[deployment]
mode = "monolith"

[[bundles]]
name = "all"
services = ["pinger", "ponger"]

[services.pinger]
how_many = 25
"""


class SmallSystem:
    """The files, below ``root``. The package has a name of its own, so that tests do not share modules."""

    _made = 0

    def __init__(self, root: Path) -> None:
        type(self)._made += 1
        self.package = f"small_system_{self._made}"
        self.root = root
        self.code = root / self.package
        self.code.mkdir()
        (root / "config").mkdir()
        self.spec = root / "system.yaml"
        self.topology = root / "config" / "all.toml"
        self.contracts = self.code / "contracts.py"
        self.services = self.code / "services.py"
        (self.code / "__init__.py").touch()
        for path, text in (
            (self.contracts, CONTRACTS),
            (self.services, SERVICES),
            (self.spec, SPEC),
            (self.topology, TOPOLOGY),
        ):
            path.write_text(text.replace("PACKAGE", self.package))

    def change(self, path: Path, old: str, new: str) -> None:
        """Replace text that must be there."""
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path}"
        path.write_text(text.replace(old, new))

    def forget(self) -> None:
        """Leave nothing behind in this process."""
        for name in [name for name in sys.modules if name.split(".")[0] == self.package]:
            del sys.modules[name]
        if str(self.root) in sys.path:
            sys.path.remove(str(self.root))
