"""Health over HTTP, as who watches processes sees it: real processes, real requests, and those who mean no good."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mycelium.transport.ports import free_ports
from tests.conftest import REPOSITORY
from tests.integration.test_broker_process import LARGE, ends_with
from tests.processes.disks import mounted
from tests.processes.running import PATIENCE, Processes, Running, processes
from tests.systems import SmallSystem

pytestmark = pytest.mark.process

TOKEN = "a-token-for-tests-and-nothing-else"

SLOW = """
import asyncio
from pathlib import Path

from PACKAGE.contracts import Ping, Pong
from mycelium.service import NoSettings, Service, handles


async def told(name):
    while not (Path(__file__).parent / name).exists():
        await asyncio.sleep(0.01)


class Pinger(Service[NoSettings]):
    name = "pinger"
    publishes = (Ping,)

    async def run(self):
        while True:
            await self.publish(Ping("a", 1))
            await asyncio.sleep(0.05)
            await self.breathe()


class Ponger(Service[NoSettings]):
    name = "ponger"
    publishes = (Pong,)

    async def start(self):
        await told("start")

    async def stop(self):
        await told("stop")

    @handles(Ping)
    async def on_ping(self, ping):
        pass

    @handles(Pong, "pong.a")
    async def on_pong(self, pong):
        pass
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


class Slow:
    """The small system, whose ``ponger`` starts and stops when a file is there, with HTTP."""

    def __init__(self, system: SmallSystem, started: Processes, port: int) -> None:
        self.system = system
        self.started = started
        self.port = port
        system.services.write_text(SLOW.replace("PACKAGE", system.package))
        system.change(system.topology, "[services.pinger]\nhow_many = 25", "")
        self.add(f"[http]\nport = {port}\n")

    def add(self, text: str) -> None:
        self.system.topology.write_text(self.system.topology.read_text() + text)

    def tell(self, name: str) -> None:
        (self.system.code / name).touch()

    def run(self, *arguments: object) -> Running:
        process = self.started.mycelium("run", "-q", "-c", self.system.topology, *arguments)
        process.wait_for("serving")
        return process

    def ready(self) -> Running:
        self.tell("start")
        process = self.run()
        process.wait_for("ready")
        return process


@pytest.fixture
def slow(small_system: SmallSystem, started: Processes, port: int) -> Slow:
    return Slow(small_system, started, port)


def ask(
    port: int, path: str, *, method: str = "GET", host: str = "127.0.0.1", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers of an answer."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None, {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def wait_until_ready(port: int, wanted: tuple[int, Any], path: str = "/readyz") -> None:
    deadline, found = time.monotonic() + PATIENCE, None
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):
            found = ask(port, path)[:2]
            if found == wanted:
                return
    raise AssertionError(f"{wanted} was waited for, and it stays {found}")


READY = 200, {"ready": True, "not_ready": {}}


def not_ready(**states: str) -> tuple[int, Any]:
    return 503, {"ready": False, "not_ready": states}


def test_a_process_is_alive_before_it_is_ready_and_after(slow: Slow) -> None:
    process = slow.run()
    deadline = time.monotonic() + PATIENCE
    while ask(slow.port, "/readyz")[1]["not_ready"].get("ponger") != "starting":
        assert time.monotonic() < deadline
    assert ask(slow.port, "/livez")[:2] == (200, {"alive": True})
    slow.tell("start")
    wait_until_ready(slow.port, READY)
    process.send(signal.SIGTERM)
    wait_until_ready(slow.port, not_ready(pinger="stopped", ponger="draining"))
    assert ask(slow.port, "/livez")[:2] == (200, {"alive": True})
    slow.tell("stop")
    assert process.wait() == 0, process.text
    assert "Traceback" not in process.text
    with socket.create_server(("127.0.0.1", slow.port)):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_without_a_word_also_with_clients_that_stay(slow: Slow, number: signal.Signals) -> None:
    slow.tell("stop")
    process = slow.ready()
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"GET", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            stack.enter_context(socket.create_connection(("127.0.0.1", slow.port))).sendall(sent)
        assert ask(slow.port, "/readyz")[0] == 200
        assert process.end(number) == (0 if number is signal.SIGTERM else 130), process.text
    assert "Traceback" not in process.text
    assert not [line for line in process.said if "error" in line or "warning" in line], process.text


def test_a_second_interrupt_ends_it_at_once(slow: Slow) -> None:
    process = slow.ready()
    process.send(signal.SIGINT)
    process.wait_for("stopping")
    assert process.end(signal.SIGINT) == 130
    assert "Traceback" not in process.text


def test_a_port_that_is_taken_ends_the_process_before_its_services_start(slow: Slow) -> None:
    with socket.create_server(("127.0.0.1", slow.port)):
        process = slow.started.mycelium("run", "-q", "-c", slow.system.topology)
        ends_with(process, 1, f"http://127.0.0.1:{slow.port}: cannot be served there: Address already in use")


def test_a_token_that_others_can_read_ends_the_process(slow: Slow) -> None:
    file = slow.system.topology.parent / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    slow.add('token_file = "token"\n')
    process = slow.started.mycelium("run", "-q", "-c", slow.system.topology)
    ends_with(process, 2, "http.token_file", "can be read by others", "chmod 600")
    assert TOKEN not in process.text


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_token_is_needed_for_all_but_health(slow: Slow, host: str) -> None:
    file = slow.system.topology.parent / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    slow.add(f'host = "{host}"\ntoken_file = "token"\n')
    slow.tell("stop")
    process = slow.ready()
    assert [ask(slow.port, path)[0] for path in ("/livez", "/readyz")] == [200, 200]
    status, body, headers = ask(slow.port, "/anything")
    assert (status, body, headers["www-authenticate"]) == (401, {"error": "no token"}, "Bearer")
    assert ask(slow.port, "/anything", Authorization=f"Bearer {TOKEN}")[0] == 404
    wrong = "wrong-" * 8
    statuses = [ask(slow.port, "/anything", Authorization=f"Bearer {wrong}{number}")[0] for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert [ask(slow.port, path)[0] for path in ("/livez", "/readyz")] == [200, 200]
    assert process.end() == 0
    assert wrong not in process.text
    assert TOKEN not in process.text
    assert len([line for line in process.said if "wrong token" in line]) <= 2, process.text


def test_beyond_loopback_without_a_token_there_is_health_and_nothing_else(slow: Slow) -> None:
    slow.add('host = "0.0.0.0"\n')
    slow.ready()
    assert [ask(slow.port, path)[0] for path in ("/livez", "/readyz", "/anything")] == [200, 200, 403]
    assert ask(slow.port, "/readyz", Host="this-host.example")[0] == 200


def test_who_means_no_good_is_refused_and_keeps_nobody_from_asking(slow: Slow) -> None:
    slow.tell("stop")
    process = slow.ready()
    assert ask(slow.port, "/livez", Host="evil.example")[0] == 421
    assert ask(slow.port, "/livez", Host=f"localhost:{slow.port}")[0] == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, _, headers = ask(slow.port, "/livez", method=method)
        assert (status, set(headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert ask(slow.port, "/livez", method="POST", Origin="https://evil.example")[0] == 403
    status, body, headers = ask(slow.port, "/livez", method="HEAD")
    assert (status, body, "server" in headers) == (200, None, False)
    assert headers["x-content-type-options"] == "nosniff"
    with contextlib.suppress(ConnectionError):  # it may be closed before the request is there as a whole
        assert ask(slow.port, "/livez", X="y" * 100_000)[0] in (400, 431)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", slow.port))) for _ in range(200)]
        done = threading.Event()

        def trickle() -> None:
            while not done.wait(0.02):
                for one in crowd:
                    with contextlib.suppress(OSError):
                        one.sendall(b"G")

        trickling = threading.Thread(target=trickle)
        trickling.start()
        try:
            for _ in range(100):
                began = time.monotonic()
                assert ask(slow.port, "/livez")[0] == 200
                assert ask(slow.port, "/readyz")[:2] == READY
                assert time.monotonic() - began < 2
        finally:
            done.set()
            trickling.join()
    assert process.end() == 0, process.text
    assert "Traceback" not in process.text
    assert len(process.said) < 20, process.text


def test_each_bundle_has_its_port(slow: Slow) -> None:
    one, two = free_ports(2)
    text = slow.system.topology.read_text()
    text = text[: text.index("[[bundles]]")].replace("monolith", "bundled")
    slow.system.topology.write_text(
        f'{text}ready_seconds = 1\n[inter_bundle]\nsocket_dir = "{slow.system.root}/s"\n'
        '[[bundles]]\nname = "one"\nservices = ["pinger"]\n[[bundles]]\nname = "two"\nservices = ["ponger"]\n'
        f"[http.ports]\none = {one}\ntwo = {two}\n"
    )
    slow.tell("start")
    slow.tell("stop")
    first, second = (slow.run("--bundle", name) for name in ("one", "two"))
    for port in (one, two):
        wait_until_ready(port, READY)
    ends_with(slow.started.mycelium("run", "pinger", "-q", "-c", slow.system.topology), 1, f":{one}: cannot be served")
    assert (first.end(), second.end()) == (0, 0), first.text + second.text


def test_a_broker_is_ready_while_it_can_keep_what_comes(started: Processes, port: int, tmp_path: Path) -> None:
    with mounted(tmp_path / "state", "16m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(12 << 20))
        address = started.configure()
        started.config.write_text(f"{started.config.read_text()}[http.ports]\nbroker = {port}\n")
        broker = started.broker()
        assert ask(port, "/readyz")[:2] == READY
        publisher = started.publisher("p", address)
        publisher.tell(f"publish 1 90 {LARGE}")
        wait_until_ready(port, not_ready(journal="full"))
        assert ask(port, "/livez")[0] == 200
        ballast.unlink()
        wait_until_ready(port, READY)
        publisher.wait_for("done")
        assert broker.end() == 0
        assert "stopped" in broker.said[-1]
        assert "Traceback" not in broker.text


def test_a_port_that_is_taken_ends_the_broker(started: Processes, port: int) -> None:
    started.configure()
    started.config.write_text(f"{started.config.read_text()}[http.ports]\nbroker = {port}\n")
    with socket.create_server(("127.0.0.1", port)):
        ends_with(started.mycelium("broker", "-c", started.config), 1, f"http://127.0.0.1:{port}: cannot be served")
    broker = started.broker()
    assert broker.end() == 0


def test_who_serves_nothing_does_not_pay_for_it() -> None:
    """Memory and time: nothing of it is imported until it is wanted."""
    program = (
        "import sys, mycelium.cli.main, mycelium.cli.http; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'starlette', 'uvicorn', 'h11', 'anyio'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout == "[]\n"
