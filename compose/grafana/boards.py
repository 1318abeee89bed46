"""The dashboards of Mycelium, and the command that writes them: ``make dashboards``.

Each is read from top to bottom: the first row says in one look whether something is wrong, the others where and why.
What counts a fault is not there before the first one. Such expressions say 0 instead of nothing, so that a panel
without data means one thing: nobody measures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from compose.grafana.broker import BROKER
from compose.grafana.fabric import FABRIC
from compose.grafana.panels import encoded
from compose.grafana.trading import TRADING

DIRECTORY = Path(__file__).with_name("dashboards")
BOARDS = (FABRIC, BROKER, TRADING)


def files(directory: Path = DIRECTORY) -> dict[Path, str]:
    """What each file should hold."""
    return {directory / f"{board.name}.json": encoded(board) for board in BOARDS}


def stale(directory: Path = DIRECTORY) -> list[str]:
    """Files that hold something else, are missing, or that no dashboard has made."""
    wanted = files(directory)
    there = {path: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(path.name for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))


def write(directory: Path = DIRECTORY) -> None:
    """Write them, and remove others."""
    for path in directory.glob("*.json"):
        path.unlink()
    directory.mkdir(exist_ok=True)
    for path, text in files(directory).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if names := stale():
            sys.exit(f"compose/grafana/dashboards: {', '.join(names)}: not what the code says; run make dashboards")
    elif sys.argv[1:]:
        sys.exit(f"{sys.argv[1:]}: expected --check or nothing")
    else:
        write()
