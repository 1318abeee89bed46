"""A process that does not come to reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.running import Processes, processes

pytestmark = pytest.mark.process


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as found:
        yield found


def test_a_reader_whose_event_loop_stands_still(started: Processes) -> None:
    """For longer than a silent connection is kept, while more comes than any queue holds: it gets everything."""
    address = started.configure()
    started.broker()
    publisher = started.publisher("p", address)
    reader = started.start("tests.processes.reader", "r", address.frames, address.control, address.publish)
    reader.wait_for("ready")
    reader.tell("block 7")
    reader.wait_for("blocked")
    publisher.ask("each 1 40000 1000")
    publisher.ask("flush")
    assert reader.wait_for("done")
    assert reader.ask("read 40000") == "done 0\n"
    assert "the rest is read from the store" in reader.text
    assert reader.finish() == 0
