"""``mycelium bench`` with its real processes; how fast they are is not looked at."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.running import Processes, processes

pytestmark = pytest.mark.process

TINY = ("--seconds", 0.01, "--rounds", 1)
MARK = "BENCH_TEST_MARK"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """Every process of a test is marked in its environment, and so are those that it starts itself."""
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # A user's own settings are none of the bench's.
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__MODE", "nonsense")
    with processes(tmp_path) as found:
        yield found


def marked(directory: Path) -> list[str]:
    """The command lines of all processes that this test has started and that have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            if f"{MARK}={directory}".encode() in environment:
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended meanwhile, or is another user's
    return found


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


WITH_LATENCY = {"raw_proxy", "raw_ipc", "ipc", "tcp"}


@pytest.mark.parametrize(
    ("paths", "ratios"),
    [
        (("raw_proxy", "tcp", "tcp_one_by_one"), {"tcp/raw_proxy", "tcp_one_by_one/raw_proxy"}),
        (("raw_ipc", "ipc", "local", "tcp_uncoalesced"), {"ipc/raw_ipc"}),
    ],
)
def test_for_programs(started: Processes, paths: tuple[str, ...], ratios: set[str]) -> None:
    """All paths, in two parts: each of them takes seconds to start its processes."""
    process = started.mycelium("bench", "--json", *TINY, *(word for path in paths for word in ("--only", path)))
    process.process.wait(100)  # on a busy machine, starting ten processes takes a while
    assert process.wait() == 0, process.text
    first, _, rest = process.text.partition("\n")
    assert first == "round 1 of 1"  # to standard error
    found = json.loads(rest)
    assert set(found) == {*paths, "broker_rss_mib", "machine", "ratios"}
    for name in paths:
        assert set(found[name]) == ({"msg_per_s", "p50_us", "p99_us"} if name in WITH_LATENCY else {"msg_per_s"})
        assert all(figure > 0 for figure in found[name].values())
    assert found["broker_rss_mib"] > 0
    assert set(found["machine"]) == {"python", "pyzmq", "libzmq", "cpu", "cores", "kernel", "load_average"}
    assert set(found["ratios"]) == ratios
    assert left(started.directory) == []


def test_the_table_on_a_narrow_terminal(started: Processes) -> None:
    process = started.start("mycelium", "bench", "--only", "raw_ipc", "--only", "ipc", *TINY, columns=60)
    assert process.wait() == 0, process.text
    shown = process.text
    assert max(len(line) for line in shown.splitlines()) <= 60
    for word in ("messages/s", "p50 µs", "p99 µs", "raw_ipc", "× raw_ipc", "libzmq"):
        assert word in shown, shown
    for word in ("raw_proxy", "tcp", "broker", "…"):
        assert word not in shown, shown


def test_ctrl_c_ends_all(started: Processes) -> None:
    process = started.mycelium("bench", "--only", "tcp", "--rounds", 1, "--seconds", 60)
    process.wait_for("round 1 of 1")
    while not all(any(word in line for line in marked(started.directory)) for word in ('"near"', '"far"', "broker")):
        assert process.process.poll() is None, process.text
    assert process.end(signal.SIGINT) == 130
    assert process.text == "round 1 of 1\n"
    assert marked(started.directory) == []
    assert left(started.directory) == []


@pytest.mark.parametrize("options", [("--only", "nonsense"), ("--rounds", 0), ("--seconds", "soon")])
def test_an_option_is_wrong(started: Processes, options: tuple[object, ...]) -> None:
    process = started.mycelium("bench", *options)
    assert process.wait() == 2
    assert f"'{options[0]}'" in process.text
    assert "Traceback" not in process.text


def test_a_process_that_cannot_start(started: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said is told: here, that the path of a socket is too long."""
    deep = started.directory / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    process = started.mycelium("bench", "--only", "raw_ipc", *TINY)
    assert process.wait() == 1
    assert "error: raw_ipc: near ended with exit code 1 before it was ready" in process.text
    assert "107" in process.text
    assert left(deep) == []
