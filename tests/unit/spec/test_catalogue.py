"""The catalogue page says what travels where, from whom to whom."""

from __future__ import annotations

from mycelium.spec.diagram import catalogue
from mycelium.spec.model import load_spec
from tests.systems import SmallSystem


def test_every_topic_with_its_writers_and_readers(small_system: SmallSystem) -> None:
    small_system.change(small_system.spec, "subscribes: [Ping,", "subscribes: [")
    page = catalogue(load_spec(small_system.spec))
    table = page.partition("## Topics\n\n")[2].partition("\n\n")[0].splitlines()
    assert table[0] == "| topic | contract | published by | read by |"
    assert table[2:] == [
        "| `ping.{lane}` | Ping | pinger | – |",
        "| `pong.{lane}` | Pong | ponger | ponger (`pong.a`) |",
    ]
