"""What the machine is."""

from __future__ import annotations

import os
import time

import pytest

from mycelium.bench.machine import cpu_model, cpu_seconds, cpu_ticks, resident_kib, resident_mib, this_machine

SMAPS = """\
7f00-7f10 r--s 00000000 fe:01 1234 /tmp/my-x/state/journal-broker/data.mdb
Size:               1024 kB
Rss:                 512 kB
VmFlags: rd sh mr
7f20-7f30 rw-p 00000000 00:00 0
Rss:                 100 kB
7f40-7f50 r-xp 00000000 fe:01 99 /usr/lib/some library.so
Rss:                  20 kB
Anonymous:             4 kB
"""


def test_what_is_resident_beside_a_file() -> None:
    assert resident_kib(SMAPS, "data.mdb") == 120
    assert resident_kib(SMAPS, "other") == 632


def test_a_process_holds_something() -> None:
    found = resident_mib(os.getpid(), "data.mdb")
    assert found is None or found > 1


def test_a_process_that_is_not_there() -> None:
    assert resident_mib(2**30, "data.mdb") is None


def test_what_a_process_has_used() -> None:
    assert cpu_ticks("12 (a name) with) R 1 12 12 0 -1 4194560 90 0 0 0 250 17 0 0 20 0 1 0 100") == 267
    before = cpu_seconds([os.getpid()])
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert cpu_seconds([os.getpid(), os.getpid()]) - 2 * before >= 0.04
    with pytest.raises(OSError, match="stat"):
        cpu_seconds([2**30])


def test_the_model_of_the_processor() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 3: fast\nmodel name\t: Other\n") == "Some CPU @ 3: fast"
    assert cpu_model("processor\t: 0\nCPU part\t: 0xd0c\n") == ""


def test_this_machine() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert all((machine.python, machine.pyzmq, machine.libzmq, machine.cpu, machine.kernel))
