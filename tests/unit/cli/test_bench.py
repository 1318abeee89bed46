"""What ``mycelium bench`` shows of a report."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mycelium.bench.machine import Machine
from mycelium.bench.measure import Report
from mycelium.bench.paths import Key
from mycelium.bench.statistics import Figure, Latency
from mycelium.cli.bench import show, table_of

REPORT = Report(
    {
        Key.RAW_PROXY: Figure(400_000.4, Latency(100.44, 200.46)),
        Key.TCP: Figure(1_000_000.0, Latency(500.0, 1_500.0), 54.321),
        Key.TCP_ONE_BY_ONE: Figure(100_000.0, None, 60.0),
    },
    Machine("CPython 3.11.7", "27.0", "4.3.5", "Some [CPU]", 2, "Linux 6 x86_64", 0.5),
)


def test_for_programs() -> None:
    assert table_of(REPORT) == {
        "raw_proxy": {"msg_per_s": 400_000, "p50_us": 100.4, "p99_us": 200.5},
        "tcp": {"msg_per_s": 1_000_000, "p50_us": 500.0, "p99_us": 1_500.0},
        "tcp_one_by_one": {"msg_per_s": 100_000},
        "broker_rss_mib": 54.3,
        "machine": {
            "python": "CPython 3.11.7", "pyzmq": "27.0", "libzmq": "4.3.5", "cpu": "Some [CPU]", "cores": 2,
            "kernel": "Linux 6 x86_64", "load_average": 0.5,
        },
        "ratios": {"tcp/raw_proxy": 2.5, "tcp_one_by_one/raw_proxy": 0.25},
    }  # fmt: skip


@pytest.mark.parametrize("columns", [80, 50])
def test_for_people(columns: int) -> None:
    shown = io.StringIO()
    show(Console(file=shown, width=columns), REPORT)
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    for part in ("raw_proxy 400,000 100 200", "1,000,000 500 1,500", "2.50 ×", "holds 54 MiB", "Some [CPU], 2 cores"):
        assert part in text


def test_the_table() -> None:
    shown = io.StringIO()
    show(Console(file=shown, width=80), REPORT)
    assert [line.rstrip() for line in shown.getvalue().splitlines()][:4] == [
        "path            messages/s  p50 µs  p99 µs     compared with",
        "raw_proxy          400,000     100     200",
        "tcp              1,000,000     500   1,500  2.50 × raw_proxy",
        "tcp_one_by_one     100,000                  0.25 × raw_proxy",
    ]
