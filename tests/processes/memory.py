"""How much memory a process holds, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path


def resident_beside(pid: int, mapped: str) -> int:
    """Bytes that are resident, without the pages of a file that it maps: those the kernel takes back when it likes."""
    total, name = 0, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            name = rest[-1]  # of a mapping; the inode where it has none
        elif first == "Rss:" and not name.endswith(mapped):
            total += int(rest[0]) << 10
    return total
