"""``python -m benchmarks.observing``: the rate of a system of three processes, watched in different ways.

A source publishes through a broker to a sink with a handler. Each round measures each way to be watched once, with
processes of their own, so that what disturbs the machine meets all of them alike. What counts is the median over the
rounds of the ratio to the rate of the same round without watching.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

from mycelium.transport.ports import free_ports

SINK = """
import http.server
class Taken(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taken)
print(server.server_port, flush=True)
server.serve_forever()
"""
"""A collector that takes spans and looks at none, as one on another host does for us."""

SPEC = """
system: observing
contracts:
  Measured:
    class: benchmarks.observing.services:Measured
    type_id: 1
    topic: measured.{lane}
    fields: {lane: int, number: int, first: int, second: int}
services:
  source:
    class: benchmarks.observing.services:Source
    publishes: [Measured]
    subscribes: []
    restart: on_failure
    depends_on: []
  sink:
    class: benchmarks.observing.services:Sink
    publishes: []
    subscribes: [Measured]
    restart: on_failure
    depends_on: [source]
"""

TOPOLOGY = """
[deployment]
mode = "distributed"
state_dir = "state"

[[bundles]]
name = "source"
services = ["source"]

[[bundles]]
name = "sink"
services = ["sink"]

[broker]
publish_port = {ports[0]}
frames_port = {ports[1]}
control_port = {ports[2]}

[http]
ports = {{ {http} }}

[logging]
level = "warning"

[services.source]
count = {count}
note = "note"
one_by_one = {one_by_one}

[services.sink]
count = {count}
note = "note"
"""

PATIENCE = 120.0


def ways(endpoint: str) -> Mapping[str, Mapping[str, str]]:
    """The environment of each way to be watched."""
    traced = {"MYCELIUM_TRACING__ENDPOINT": endpoint}
    return {
        "not watched": {},
        "not watched, again": {},
        "traced 1 %": {**traced, "MYCELIUM_TRACING__RATIO": "0.01"},
        "traced 1 %, unbounded": {
            **traced,
            "MYCELIUM_TRACING__RATIO": "0.01",
            "MYCELIUM_TRACING__PER_SECOND": "1000000",
        },
        "scraped each second": {"SCRAPED": "1"},
    }


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        rate: messages a second from the first publish to the last handler.
        cpu_us: µs of CPU that a message has cost, in all three processes together.
    """

    rate: float
    cpu_us: float


def run(count: int, *, one_by_one: bool, environment: Mapping[str, str]) -> Run:
    """Start the system, and let it carry so many messages."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        ports = free_ports(6)
        http = ", ".join(f"{name} = {port}" for name, port in zip(("source", "sink", "broker"), ports[3:], strict=True))
        watched = bool(environment.get("SCRAPED"))
        (directory / "system.yaml").write_text(SPEC)
        topology = directory / "all.toml"
        topology.write_text(
            TOPOLOGY.format(ports=ports, http=http if watched else "", count=count, one_by_one=str(one_by_one).lower())
        )
        everything = {**os.environ, **environment}
        command = [sys.executable, "-m", "mycelium"]
        processes = [
            subprocess.Popen([*command, *rest, "--config", str(topology)], env=everything)
            for rest in (["broker"], ["run", "--quiet", "--bundle", "sink"], ["run", "--quiet", "--bundle", "source"])
        ]
        ended, began, before = directory / "note.ended", directory / "note.began", 0.0
        try:
            deadline, scraped = time.monotonic() + PATIENCE, time.monotonic()
            while not ended.exists() or not ended.read_text():
                if not before and began.exists():
                    before = _cpu_seconds(processes)
                if time.monotonic() > deadline or _has_failed(processes):
                    raise SystemExit("a process has failed, or it takes too long")
                if watched and time.monotonic() - scraped >= 1:
                    scraped = time.monotonic()
                    for port in ports[3:]:
                        _scrape(port)
                time.sleep(0.005)
            spent = _cpu_seconds(processes) - before
            return Run(count / (float(ended.read_text()) - float(began.read_text())), spent / count * 1e6)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def _has_failed(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Whether one has, without taking note of its end: the kernel then keeps what it has used."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    states = (os.waitid(os.P_PID, process.pid, flags) for process in processes)
    return any(state is not None and state.si_status != 0 for state in states)


def _cpu_seconds(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """What they have used so far. One that has ended is a zombie until it is waited for, and still counted."""
    stats = (Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split() for process in processes)
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def _scrape(port: int) -> None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            answer.read()
    except OSError:
        return  # it is about to begin, or has ended


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observing", description=__doc__)
    parser.add_argument("--messages", type=int, default=400_000, help="of each run (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default %(default)s")
    parser.add_argument("--one-by-one", action="store_true", help="publish each message alone")
    parser.add_argument("--json", type=Path, help="write the rates to this file")
    options = parser.parse_args()
    collector = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    assert collector.stdout is not None
    endpoint = f"http://127.0.0.1:{collector.stdout.readline().strip()}"
    runs: dict[str, list[Run]] = {way: [] for way in ways(endpoint)}
    try:
        for number in range(options.rounds):
            for way, environment in ways(endpoint).items():
                found = run(options.messages, one_by_one=options.one_by_one, environment=environment)
                runs[way].append(found)
                print(
                    f"round {number + 1} of {options.rounds}: {found.rate:>10,.0f}/s {found.cpu_us:6.2f} µs  {way}",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        collector.terminate()
        collector.wait()
    base = runs["not watched"]
    for way, some in runs.items():
        rates = _ratios([one.rate for one in some], [one.rate for one in base])
        costs = _ratios([one.cpu_us for one in some], [one.cpu_us for one in base])
        print(f"{way:<24} rate × {rates}   CPU a message × {costs}")
    if options.json is not None:
        options.json.write_text(json.dumps({way: [asdict(one) for one in some] for way, some in runs.items()}))


def _ratios(found: Sequence[float], base: Sequence[float]) -> str:
    """Their median, and where the middle half lies."""
    ratios = [one / other for one, other in zip(found, base, strict=True)]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    return f"{median(ratios):.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
