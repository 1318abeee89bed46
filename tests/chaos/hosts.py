"""Several hosts on one machine: network namespaces on a bridge, and what can go wrong between them.

Needs root, ``ip`` and ``iptables``. Addresses are taken from 10.77.0.0/24, inside the namespaces only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

BRIDGE_HOST = "switch"
LOSS = ("-p", "tcp", "-m", "statistic", "--mode", "random", "--probability")
QUEUE = 77


class HostsError(Exception):
    """The kernel, or what is installed, does not let us."""


def reason_against() -> str | None:
    """Why this machine cannot have such hosts; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "iptables") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (tools/install-system-parts does it)"
    name = f"mycelium-try-{os.getpid()}"
    try:
        _run("ip", "netns", "add", name)
        try:
            for match in (
                ("-j", "DROP"),
                (*LOSS, "0.05", "-j", "DROP"),
                ("-p", "tcp", "-j", "NFQUEUE", "--queue-num", "1"),
            ):
                _run("ip", "netns", "exec", name, "iptables", "-A", "INPUT", *match)
        finally:
            _run("ip", "netns", "del", name)
    except HostsError as error:
        return f"this kernel refuses: {error}"
    return None


class Hosts:
    """Hosts that are connected to one another, each a network namespace.

    Args:
        names: of the hosts.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._prefix = f"my{os.getpid()}-"
        self._names = names
        self._delays: dict[str, subprocess.Popen[bytes]] = {}
        self._hosts_files = [Path("/etc/netns") / self._space(name) / "hosts" for name in names]
        self.addresses: dict[str, str] = {name: f"10.77.0.{place + 10}" for place, name in enumerate(names)}

    def _space(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def _make(self) -> None:
        switch = self._space(BRIDGE_HOST)
        _run("ip", "netns", "add", switch)
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        for place, name in enumerate(self._names):
            space = self._space(name)
            _run("ip", "netns", "add", space)
            _run("ip", "-n", space, "link", "set", "lo", "up")
            _run(
                "ip",
                "-n",
                space,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                f"port{place}",
                "netns",
                switch,
            )
            _run("ip", "-n", switch, "link", "set", f"port{place}", "master", "bridge", "up")
            _run("ip", "-n", space, "address", "add", f"{self.addresses[name]}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")
        self._write_names()

    def _write_names(self) -> None:
        text = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in self.addresses.items())
        for path in self._hosts_files:
            path.parent.mkdir(parents=True, exist_ok=True)
            # In place: processes that run already see this very file.
            path.write_text(text)

    def command(self, name: str) -> list[str]:
        """What to put before a command so that it runs on a host."""
        return ["ip", "netns", "exec", self._space(name)]

    def move(self, name: str, address: str) -> None:
        """Give a host another address. Connections to the old one are dead; the name leads to the new one."""
        space, old = self._space(name), self.addresses[name]
        _run("ip", "-n", space, "address", "del", f"{old}/24", "dev", "eth0")
        _run("ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0")
        self.addresses[name] = address
        self._write_names()

    def partition(self, name: str, *, on: bool) -> None:
        """Let nothing reach a host, or everything again."""
        self._rule(name, on, "-i", "eth0", "-j", "DROP")

    def lose(self, name: str, share: float, *, on: bool) -> None:
        """Let a share of the packets to a host get lost."""
        self._rule(name, on, "-i", "eth0", *LOSS, f"{share}", "-j", "DROP")

    def delay(self, name: str, seconds: float, *, on: bool) -> None:
        """Let every packet to a host come later."""
        if on:
            command = [*self.command(name), sys.executable, "-m", "tests.chaos.delay", str(QUEUE), str(seconds)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise HostsError("packets cannot be delayed: NFQUEUE does not answer")
            self._delays[name] = process
        self._rule(name, on, "-i", "eth0", "-p", "tcp", "-j", "NFQUEUE", "--queue-num", str(QUEUE))
        if not on:
            self._end(self._delays.pop(name))

    def _rule(self, name: str, on: bool, *match: str) -> None:
        _run(*self.command(name), "iptables", "-w", "-A" if on else "-D", "INPUT", *match)

    def close(self) -> None:
        """Take everything down again."""
        for process in self._delays.values():
            self._end(process)
        for name in (*self._names, BRIDGE_HOST):
            subprocess.run(["ip", "netns", "del", self._space(name)], check=False, stderr=subprocess.DEVNULL)
        for path in self._hosts_files:
            shutil.rmtree(path.parent, ignore_errors=True)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise HostsError(f"{' '.join(command)}: {done.stderr.strip()}")
