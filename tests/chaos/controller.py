"""Starts everything, kills it as planned, and waits until every reader is through."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from mycelium.core.errors import PathError
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import StoreBooks, read_books
from mycelium.transport.keyring import BROKER
from mycelium.transport.ports import free_ports
from tests.chaos.hosts import Hosts
from tests.chaos.plan import Plan, participants
from tests.chaos.records import Counter
from tests.chaos.verdict import Verdict, is_done, judge

REPOSITORY = Path(__file__).parents[2]

STUCK_SECONDS = 60.0
"""Without any progress for so long, a run has failed."""

CONTRACTS = """system: chaos
contracts:
  Event:
    class: tests.chaos.messages:Event
    type_id: 900
    topic: chaos.{publisher}.{lane}
    fields: {publisher: str, lane: str, number: int, filling: bytes}
services:
"""
SERVICE = """  {name}:
    class: tests.chaos.messages:Event
    publishes: [{publishes}]
    subscribes: [{subscribes}]
    restart: never
    depends_on: []
"""
OPERATORS = "operators: {ledger: {asks: [books]}}\n"
SPEC = CONTRACTS + SERVICE.format(name="chaos", publishes="Event", subscribes="")
"""With one service, for those who need no more."""


def write_spec(directory: Path, publishers: Iterable[str], readers: Iterable[str]) -> list[str]:
    """Write a ``system.yaml`` with these services; their names."""
    texts = {name: SERVICE.format(name=name, publishes="Event", subscribes="") for name in publishers}
    texts |= {name: SERVICE.format(name=name, publishes="", subscribes="Event") for name in readers}
    (directory / "system.yaml").write_text(CONTRACTS + "".join(texts.values()) + OPERATORS)
    return list(texts)


def make_plan(directory: Path, messages: int, *, host: str = "127.0.0.1", with_keys: bool = True) -> Plan:
    """A run in an empty directory in which nothing happens."""
    frames, control, publish = free_ports(3)
    publishers, readers = participants(messages)
    names = write_spec(directory, (one.name for one in publishers), (one.service for one in readers))
    security = 'keys = "keys"' if with_keys else "insecure = true"
    (directory / "distributed.toml").write_text(
        f'[deployment]\nmode = "distributed"\nstate_dir = "state"\n'
        f'[security]\n{security}\n[broker]\nhost = "{host}"\n'
        f"frames_port = {frames}\ncontrol_port = {control}\npublish_port = {publish}\n"
        f"journal_bytes = {4 << 30}\n"
        f'[[bundles]]\nname = "all"\nservices = ["p0"]\n'
    )
    address = StoreAddress("broker", f"tcp://{host}:{frames}", f"tcp://{host}:{control}", f"tcp://{host}:{publish}")
    plan = Plan(directory, (address,), publishers, readers, (), with_keys)
    for name in (BROKER, "ledger", *names) if with_keys else ():
        plan.keyring.create(name, time.time())
    return plan


def make_bundled_plan(directory: Path, messages: int) -> Plan:
    """The same without a broker: every publisher keeps what it publishes in a journal of its own, over ipc."""
    publishers, readers = participants(messages)
    stores = tuple(
        StoreAddress(p.name, f"ipc://{directory}/{p.name}.frames", f"ipc://{directory}/{p.name}.control")
        for p in publishers
    )
    return Plan(directory, stores, publishers, readers, ())


class Controller:
    """One run.

    Args:
        plan: what is to happen.
        say: takes a line for whoever watches.
        hosts: the hosts ``broker``, ``writers`` and ``readers``, if the processes are to be on hosts of their own.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None], hosts: Hosts | None = None) -> None:
        self._plan = plan
        self._hosts = hosts
        self._say = say
        self._path = plan.save()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._counters = {publisher.name: Counter(plan.progress(publisher.name)) for publisher in plan.publishers}
        self._moved = (time.monotonic(), 0)
        self._loss = 0.0

    async def run(self) -> Verdict:
        """To the end.

        Raises:
            RuntimeError: a process ended that should not, or nothing moves any more.
        """
        plan = self._plan
        try:
            if not plan.is_bundled:
                self._start("broker")
            for reader in plan.readers:
                self._start(reader.name)
            await self._until(lambda: all((plan.directory / f"{r.name}.ready").exists() for r in plan.readers))
            for publisher in plan.publishers:
                self._start(publisher.name)
            for part, what, name, amount in plan.events:
                await self._until(lambda part=part: self._published() >= part * plan.total)  # type: ignore[misc]
                self._say(f"{part:4.0%}  {what} {name}" + (f" {amount:g}" if amount else ""))
                if what in ("kill", "stop"):
                    self._strike(what, name, amount)
                elif self._hosts is not None:
                    await self._disturb(self._hosts, what, name, amount)
            await self._until(lambda: all(self._has_published(p.name) for p in plan.publishers))
            plan.published_flag.touch()
            self._say("everything is published; waiting for the readers")
            return judge(plan, await self._all_read())
        finally:
            self._end()

    def _published(self) -> int:
        return sum(counter.value for counter in self._counters.values())

    def _has_published(self, name: str) -> bool:
        code = self._processes[name].poll()
        if code:
            raise RuntimeError(self._end_of(name, code))
        # Without a broker it stays, for those who read from it.
        return code == 0 or (self._plan.directory / f"{name}.published").exists()

    def _strike(self, what: str, name: str, seconds: float) -> None:
        process = self._processes[name]
        if process.poll() is not None:
            self._say(f"      {name} is done already")
        elif what == "kill":
            process.kill()
            process.wait()
            self._start(name)
        else:
            process.send_signal(signal.SIGSTOP)
            asyncio.get_running_loop().call_later(seconds, process.send_signal, signal.SIGCONT)

    async def _disturb(self, hosts: Hosts, what: str, name: str, amount: float) -> None:
        match what:
            case "lose":
                self._loss = amount or self._loss
                hosts.lose(name, self._loss, on=amount > 0)
            case "delay":
                hosts.delay(name, amount, on=amount > 0)
            case "partition":
                hosts.partition(name, on=True)
                await asyncio.sleep(amount)  # it lasts as long as it lasts: nobody is waited for
                hosts.partition(name, on=False)
            case "move":
                self._processes[name].kill()
                self._processes[name].wait()
                hosts.move(name, "10.77.0.99")
                self._start(name)

    def _start(self, name: str) -> None:
        plan = self._plan
        if name == "broker":
            config = str(plan.directory / "distributed.toml")
            command = [sys.executable, "-m", "mycelium", "broker", "--config", config]
            if self._hosts is not None:
                command += ["--bind", "0.0.0.0"]
        else:
            role = "publisher" if name in self._counters else "reader"
            command = [sys.executable, "-m", f"tests.chaos.{role}", str(self._path), name]
        if self._hosts is not None:
            command = [*self._hosts.command(self._host_of(name)), *command]
        with (plan.directory / f"{name}.log").open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY, env=environment)

    def _host_of(self, name: str) -> str:
        return "broker" if name == "broker" else "writers" if name in self._counters else "readers"

    async def _books(self) -> StoreBooks | None:
        """What the store has; None if it does not answer now."""
        if self._hosts is None:
            try:
                credentials = self._plan.credentials("ledger")
                parts = [await read_books(store, 5.0, credentials) for store in self._plan.stores]
            except PathError:
                return None
            return StoreBooks("all", tuple(book for part in parts for book in part.streams), {}, {})
        command = [*self._hosts.command("readers"), sys.executable, "-m", "tests.chaos.books", str(self._path)]
        asking = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=REPOSITORY)
        answer, _ = await asking.communicate()
        return msgspec.msgpack.decode(answer, type=StoreBooks) if asking.returncode == 0 else None

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._check(self._published())
            await asyncio.sleep(0.05)

    def _check(self, moved: int) -> None:
        """Nobody has ended who should not have, and something moves."""
        if moved != self._moved[1]:
            self._moved = (time.monotonic(), moved)
        elif time.monotonic() - self._moved[0] > STUCK_SECONDS:
            raise RuntimeError(f"nothing has moved for {STUCK_SECONDS:g} s; see {self._plan.directory}")
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None and not (code == 0 and name in self._counters):
                raise RuntimeError(self._end_of(name, code))

    def _end_of(self, name: str, code: int) -> str:
        """How a process has ended, with the last that it said: its log may be gone by when this is read."""
        log = self._plan.directory / f"{name}.log"
        return f"{name} ended with {code}; the end of {log}:\n{log.read_text(errors='replace')[-4_000:]}"

    async def _all_read(self) -> StoreBooks:
        while True:
            books = await self._books()
            if books is not None and is_done(self._plan, books):
                return books
            done = 0 if books is None else sum(a.cursor for book in books.streams for a in book.readers.values())
            self._check(self._published() + done)
            await asyncio.sleep(0.2)

    def _end(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is None and name != "broker":
                process.send_signal(signal.SIGCONT)
                process.terminate()
        # The broker last: the others say to it how far they have come.
        for name in sorted(self._processes, key=lambda name: name == "broker"):
            process = self._processes[name]
            if process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
