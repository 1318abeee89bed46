"""``mycelium top`` and ``mycelium tap`` on a real terminal, typed to by a real multiplexer."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mycelium.topology.model import Mode
from tests.conftest import REPOSITORY
from tests.processes.running import Processes, processes
from tests.systems import SmallSystem
from tests.watched import WatchedSystem

TMUX = shutil.which("tmux")

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(240),
    pytest.mark.skipif(TMUX is None, reason="tmux is missing: Debian package tmux"),
]

PATIENCE = 40.0
"""Seconds: how long a screen may take to show what is waited for."""

WIDTH, HEIGHT = 100, 30

_numbers = itertools.count()


class Terminal:
    """A terminal in which one command runs, and says at last how it has ended.

    Args:
        arguments: of ``mycelium``.
        environment: further variables.
    """

    def __init__(self, *arguments: object, **environment: str) -> None:
        self._socket = f"mycelium-tests-{os.getpid()}-{next(_numbers)}"
        variables = {"PYTHONPATH": str(REPOSITORY), **environment}
        command = shlex.join(
            [
                "env",
                "-u",
                "COLUMNS",
                "-u",
                "LINES",
                *(f"{name}={value}" for name, value in variables.items()),
                sys.executable,
                "-m",
                "mycelium",
            ]
            + [str(one) for one in arguments]
        )
        size = ("-x", str(WIDTH), "-y", str(HEIGHT))
        # "cat" keeps the terminal open, so that the last words can be read.
        self.tmux(
            "-f", "/dev/null", "new-session", "-d", *size, "-c", str(REPOSITORY), f"{command}; echo ended with $?; cat"
        )

    def tmux(self, *arguments: str) -> str:
        """Tell the multiplexer something; what it says."""
        assert TMUX is not None
        done = subprocess.run(
            [TMUX, "-L", self._socket, *arguments], check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        """Press keys, by the names that tmux has for them."""
        self.tmux("send-keys", *keys)

    def screen(self, *, styled: bool = False) -> str:
        """What stands on the screen now."""
        return self.tmux("capture-pane", "-p", *(["-e"] if styled else []))

    def wait_for(self, condition: str | Callable[[str], object]) -> str:
        """The screen, once there is a text on it, or a condition holds."""
        holds = (lambda screen: condition in screen) if isinstance(condition, str) else condition
        deadline = time.monotonic() + PATIENCE
        while not holds(found := self.screen()):
            assert time.monotonic() < deadline, f"{condition!r} was waited for:\n{found}"
            time.sleep(0.1)
        return found

    def wait_for_cursor(self, text: str) -> None:
        """Wait until the cursor is in the row that begins with a text. It is shown by swapped colours."""
        self.wait_for(lambda _screen: any(line.split()[:1] == [text] for line in swapped(self.screen(styled=True))))

    def close(self) -> None:
        """End it and all that runs in it."""
        subprocess.run([str(TMUX), "-L", self._socket, "kill-server"], check=False, capture_output=True, timeout=30)


def swapped(styled: str) -> Iterator[str]:
    """What of each line stands in swapped colours. Attributes go on from line to line until something ends them."""
    is_swapped, found = False, ""
    for part in re.split(r"(\x1b\[[\d;]*m|\n)", styled):
        if part == "\n":
            yield found
            found = ""
        elif part.startswith("\x1b["):
            # Without the numbers of colours, which are no attributes.
            for attribute in re.sub(r"[34]8;(5;\d+|2;\d+;\d+;\d+)", "", part[2:-1]).split(";"):
                is_swapped = attribute == "7" or (is_swapped and attribute not in ("0", "27"))
        elif is_swapped:
            found += part


@contextmanager
def terminal(*arguments: object, **environment: str) -> Iterator[Terminal]:
    made = Terminal(*arguments, **environment)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def row(screen: str, *beginning: str) -> list[str]:
    """The words of the line that begins with these; none if there is no such line."""
    for line in screen.splitlines():
        words = line.split()
        if words[: len(beginning)] == list(beginning):
            return words
    return []


def figure(word: str) -> float:
    """A figure as it is shown; 0 for none."""
    return float(word.replace(",", "")) if re.fullmatch(r"[\d.,]+", word) else 0.0


def is_up(name: str) -> Callable[[str], bool]:
    return lambda screen: row(screen, name)[1:2] == ["up"]


def has_rate(screen: str) -> bool:
    words = row(screen, "Ping", "pinger")
    return bool(words) and 5 < figure(words[2]) < 100


def test_top_in_mode_bundled(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.BUNDLED)
    running = system.bundles()
    with terminal("top", "--config", system.config) as at:
        # Rates are there, and what is counted goes on.
        screen = at.wait_for(has_rate)
        published = figure(row(screen, "Ping", "pinger")[3])
        screen = at.wait_for(lambda screen: figure(row(screen, "Ping", "pinger")[3]) > published)
        assert "3 up" in screen
        assert "ledger balances" in screen
        assert row(screen, "ponger", "running", "ready")

        # A filter holds for all tables, and goes.
        at.type("/")
        at.wait_for("show rows with this text")
        at.type("dead", "Enter")
        at.wait_for(lambda screen: "filter: dead" in screen and not row(screen, "Ping", "pinger"))
        assert row(at.screen(), "DeadLetter", "ponger")
        at.type("Escape")
        at.wait_for(lambda screen: "filter" not in screen.splitlines()[0] and row(screen, "Ping", "pinger"))

        # Into a row and back.
        at.type("Tab")
        at.wait_for_cursor("onlooker")
        at.type("Down")
        at.wait_for_cursor("pinger")
        at.type("Enter")
        at.wait_for(lambda screen: "services: pinger left" in screen and "service=pinger" in screen)
        at.type("Escape")
        at.wait_for(lambda screen: row(screen, "left", "up"))

        # Who is killed is gone, and comes back.
        running["right"].process.kill()
        began = time.monotonic()
        screen = at.wait_for(lambda screen: row(screen, "right", "✗", "GONE"))
        assert time.monotonic() - began < 15
        assert "✗ 1 away" in screen
        styled = next(line for line in at.screen(styled=True).splitlines() if "GONE" in line and "right" in line)
        assert "\x1b[" in styled
        system.bundle("right").wait_for("ready")
        screen = at.wait_for(is_up("right"))
        assert row(at.wait_for(lambda screen: row(screen, "right")[-1:] == ["1"]), "right")[1] == "up"

        # A smaller terminal has fewer columns, and all of its last line.
        at.tmux("resize-window", "-x", "60", "-y", "20")
        screen = at.wait_for(lambda screen: screen.splitlines()[-1].split()[:4] == ["q", "quit", "?", "help"])
        assert len(screen.splitlines()) == 20
        assert "restarts" not in screen
        assert row(screen, "left", "up")
        assert has_rate(at.wait_for(has_rate))

        at.type("q")
        at.wait_for("ended with 0")


def test_top_in_mode_distributed(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.DISTRIBUTED)
    broker = system.broker()
    system.bundles()
    with terminal("top", "--config", system.config, NO_COLOR="1") as at:
        screen = at.wait_for(has_rate)
        assert row(screen, "broker", "up")
        assert not re.search(r"\x1b\[[0-9;]*[34]8[;0-9]*m|\x1b\[(3[1-7]|4[1-7])m", at.screen(styled=True)), "no colours"
        broker.process.kill()
        at.wait_for(lambda screen: row(screen, "broker", "✗", "GONE"))
        system.broker()
        at.wait_for(lambda screen: is_up("broker")(screen) and has_rate(screen))
        at.type("C-c")
        at.wait_for("ended with 130")


def test_tap_shows_messages_until_ctrl_c(small_system: SmallSystem, started: Processes) -> None:
    system = WatchedSystem(small_system, started, Mode.BUNDLED)
    system.bundles()
    with terminal("tap", "--config", system.config, "--one-line") as at:
        screen = at.wait_for(lambda screen: screen.count("number=") > HEIGHT // 2)
        shown = [line for line in screen.splitlines() if " ping.a pinger#" in line]
        assert re.fullmatch(r"[\d:.]+ ping\.a pinger#\d+ Ping lane=a number=\d+", shown[0].strip())
        assert "ProcessStatistics" not in screen
        at.type("C-c")
        assert re.search(r"\d+ messages\n", at.wait_for("ended with 0"))
    with terminal("tap", "_sys.stats.*", "--config", system.config, "--one-line") as at:
        at.wait_for(
            lambda screen: len(re.findall(r" _sys\.stats\.\w+ \w+#\d+ ProcessStatistics process=", screen)) >= 6
        )
        at.type("C-c")
        at.wait_for("ended with 0")
