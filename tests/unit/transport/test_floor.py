"""ZeroMQ alone: both ends in threads of one process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from mycelium.transport import floor
from mycelium.transport.floor import RawEnd, zeromq_versions


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RawEnd, RawEnd]]:
    monkeypatch.setattr(floor, "GIVE_UP_MS", 200)
    near, far = (f"ipc://{tmp_path}/{name}" for name in ("near", "far"))
    with (
        closing(RawEnd("near", "far", near, far, binds=True)) as first,
        closing(RawEnd("far", "near", far, near, binds=True)) as second,
    ):
        first.wait_wired()
        second.wait_wired()
        yield first, second


def test_all_that_is_sent_comes(ends: tuple[RawEnd, RawEnd]) -> None:
    near, far = ends
    started = near.send(1_000)
    received, ended = far.receive(1_000)
    assert received == 1_000
    assert started < ended


def test_what_is_lost_is_not_waited_for_for_ever(ends: tuple[RawEnd, RawEnd]) -> None:
    near, far = ends
    near.send(3)
    assert far.receive(4)[0] == 3
    assert far.receive(1)[0] == 0


def test_there_and_back(ends: tuple[RawEnd, RawEnd]) -> None:
    near, far = ends
    with ThreadPoolExecutor(1) as other:
        echoing = other.submit(far.echo, 10)
        took = near.ping(10)
        assert echoing.result() == 10
    assert len(took) == 10
    assert min(took) > 0


def test_nobody_answers(ends: tuple[RawEnd, RawEnd]) -> None:
    near, far = ends
    with pytest.raises(TimeoutError, match="ping 1 of 2 was lost"):
        near.ping(2)
    far.receive(1)
    assert far.echo(1) == 0


def test_the_versions() -> None:
    assert zeromq_versions() == (zmq.pyzmq_version(), zmq.zmq_version())
