"""The peers that we compare with: with each, every message arrives, once and in its place.

Needs the packages of ``requirements/peers.txt`` and the servers that ``tools/install-system-parts`` installs. Without
them there are only bare ZeroMQ and ourselves.
"""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.peers.__main__ import arrived, as_json, measure, median_rate, table
from benchmarks.peers.lineup import FLOOR, LINEUP, MANY, Peer
from benchmarks.peers.measure import Round, run_round

pytestmark = pytest.mark.process

MESSAGES = 2_000


@pytest.mark.parametrize("peer", [pytest.param(peer, id=peer.key) for peer in LINEUP])
def test_every_message_arrives_in_order(peer: Peer) -> None:
    if missing := peer.missing():
        pytest.skip(f"not installed: {', '.join(missing)}")
    done = run_round(peer, MESSAGES)
    assert (done.received, done.in_order) == (MESSAGES, True)
    assert done.rate is not None
    assert done.rate > 0
    assert done.cpu_seconds >= 0


def test_bare_zeromq_and_ourselves_are_always_there() -> None:
    assert [peer.key for peer in LINEUP if not peer.packages and not peer.programs] == [
        "raw",
        "raw-typed",
        "many",
        "one",
    ]


def test_what_is_not_installed_has_a_row_that_says_so() -> None:
    absent = Peer(
        "absent", "not there", "raw_peer", FLOOR.middle, packages=("no-such-package",), programs=("no-server",)
    )
    silent = Console(file=io.StringIO(), width=132)
    results, reasons = measure([absent], MESSAGES, 1, silent)
    assert (results, reasons) == ({"absent": []}, {"absent": "not installed: no-such-package, no-server"})
    silent.print(table([absent], results, reasons, "title"))
    assert isinstance(silent.file, io.StringIO)
    assert "no-server" in silent.file.getvalue()


def test_ratios_are_those_of_medians_and_what_is_lost_is_said() -> None:
    whole = [Round(100, 100, in_order=True, seconds=seconds, cpu_seconds=0.001) for seconds in (1.0, 2.0, 4.0)]
    holes = [Round(100, 97, in_order=False, seconds=None, cpu_seconds=0.001)]
    mixed = [Round(100, 100, in_order=False, seconds=None, cpu_seconds=0.001)]
    assert median_rate(whole) == 50
    assert whole[0].cpu_per_million == pytest.approx(10)
    assert (arrived(whole), arrived(holes), arrived(mixed)) == ("all, in order", "lost 3 of 100", "not in order")
    assert median_rate(holes) is None
    peers = [FLOOR, MANY]
    results = {FLOOR.key: whole, MANY.key: holes}
    shown = Console(file=io.StringIO(), width=132)
    shown.print(table(peers, results, {}, "title"))
    assert isinstance(shown.file, io.StringIO)
    assert "lost 3 of 100" in shown.file.getvalue()
    figures = as_json(peers, results, {}, "machine")["peers"]
    assert isinstance(figures, dict)
    assert (figures["raw"]["median"], figures["many"]["median"]) == (50, None)
