"""What the machine is, and what a process on it holds."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mycelium.transport.floor import zeromq_versions


@dataclass(frozen=True, slots=True)
class Machine:
    """Where figures were measured: they are worth nothing without.

    Args:
        python: implementation and version.
        pyzmq: its version.
        libzmq: its version.
        cpu: the model's name.
        cores: that this process may use.
        kernel: system, release and architecture.
        load_average: of the minute before; None where the system does not tell.
    """

    python: str
    pyzmq: str
    libzmq: str
    cpu: str
    cores: int
    kernel: str
    load_average: float | None


def this_machine() -> Machine:
    """Describe it."""
    pyzmq, libzmq = zeromq_versions()
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    return Machine(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        pyzmq=pyzmq,
        libzmq=libzmq,
        cpu=cpu_model(told) or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def cpu_model(cpuinfo: str) -> str:
    """The name in the text of ``/proc/cpuinfo``; empty where it has none, as on many ARM machines."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return ""


def cpu_seconds(pids: Iterable[int]) -> float:
    """What processes have used so far, user and system time: from ``/proc``, in steps of 10 ms.

    Raises:
        OSError: one of them has ended, or the system does not tell (Linux does).
    """
    told = (Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace") for pid in pids)
    return sum(map(cpu_ticks, told)) / os.sysconf("SC_CLK_TCK")


def cpu_ticks(stat: str) -> int:
    """The same from the text of ``/proc/PID/stat``, in ticks of the clock."""
    # The name, in parentheses, may have spaces; what follows it does not.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_mib(pid: int, beside: str) -> float | None:
    """What a process holds in memory, in MiB; None where the system does not tell (Linux does).

    Args:
        pid: of the process.
        beside: the name of a file that it maps, whose pages do not count: the kernel takes them back when it likes.
    """
    try:
        told = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return resident_kib(told, beside) / 1024


def resident_kib(smaps: str, beside: str) -> int:
    """The same from the text of ``/proc/PID/smaps``, in KiB."""
    total, mapped = 0, ""
    for line in smaps.splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            mapped = rest[-1]  # the file, or the inode where there is none
        elif first == "Rss:" and not mapped.endswith(beside):
            total += int(rest[0])
    return total
