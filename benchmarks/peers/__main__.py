"""``python -m benchmarks.peers``: the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.peers.lineup import FLOOR, LINEUP, MANY, ONE, Peer
from benchmarks.peers.measure import Round, run_round
from mycelium.bench.processes import RoleError

NONE = "–"

WIDTH = 132
"""Of the table where there is no terminal that says how wide it is, as in a log."""

CAPTION = (
    "/ raw: its rate to that of bare pyzmq. many /, one /: the rate of Mycelium, in batches and one by one, to its. "
    "CPU s/M: CPU seconds of all processes for a million messages."
)

Results = dict[str, list[Round]]
"""By the key of the peer."""


def measure(peers: list[Peer], messages: int, rounds: int, console: Console) -> tuple[Results, dict[str, str]]:
    """All rounds, A B C, A B C: what else the machine does meanwhile strikes all. And why some have none."""
    results: Results = {peer.key: [] for peer in peers}
    reasons = {peer.key: f"not installed: {', '.join(peer.missing())}" for peer in peers if peer.missing()}
    for number in range(1, rounds + 1):
        for peer in peers:
            if peer.key in reasons:
                continue
            with console.status(f"round {number} of {rounds}: {peer.name}"):
                try:
                    results[peer.key].append(run_round(peer, messages))
                except RoleError as error:
                    reasons[peer.key] = f"failed: {error}"
    return results, reasons


def median_rate(rounds: list[Round]) -> float | None:
    """Of the rounds in which everything arrived; None if there is none."""
    rates = [done.rate for done in rounds if done.rate is not None]
    return statistics.median(rates) if rates else None


def table(peers: list[Peer], results: Results, reasons: dict[str, str], title: str) -> Table:
    """For people."""
    shown = Table(title=title, caption=CAPTION, title_justify="left", caption_justify="left")
    shown.add_column("peer", no_wrap=True)
    for heading in ("msg/s", "min–max", "/ raw", "many /", "one /", "CPU s/M"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("arrived")
    floor, many, one = (median_rate(results.get(peer.key, [])) for peer in (FLOOR, MANY, ONE))
    for peer in peers:
        rounds = results[peer.key]
        reason = reasons.get(peer.key)
        if not rounds:
            shown.add_row(peer.name, *[NONE] * 6, escape(reason or NONE))
            continue
        rate = median_rate(rounds)
        rates = [done.rate for done in rounds if done.rate is not None]
        shown.add_row(
            peer.name,
            NONE if rate is None else f"{rate:,.0f}",
            f"{min(rates):,.0f}–{max(rates):,.0f}" if rates else NONE,
            _ratio(rate, floor),
            _ratio(many, rate),
            _ratio(one, rate),
            f"{statistics.median(done.cpu_per_million for done in rounds):.1f}",
            # What a peer did before it failed is not left out, nor is it that it failed.
            escape(f"{reason}; before, {arrived(rounds)}" if reason else arrived(rounds)),
        )
    return shown


def arrived(rounds: list[Round]) -> str:
    """``all, in order``, or what did not."""
    lost = sum(done.sent - done.received for done in rounds)
    if all(done.in_order for done in rounds):
        return "all, in order"
    return f"lost {lost:,} of {sum(done.sent for done in rounds):,}" if lost else "not in order"


def _ratio(rate: float | None, of: float | None) -> str:
    return NONE if rate is None or of is None else f"{rate / of:.2f}"


def as_json(peers: list[Peer], results: Results, reasons: dict[str, str], machine: str) -> dict[str, object]:
    """For programs."""
    return {
        "machine": machine,
        "peers": {
            peer.key: {
                "name": peer.name,
                "reason": reasons.get(peer.key),
                "median": median_rate(results[peer.key]),
                "rounds": [{**asdict(done), "rate": done.rate} for done in results[peer.key]],
            }
            for peer in peers
        },
    }


def main() -> int:
    """The command."""
    keys = [peer.key for peer in LINEUP]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000, help="in each round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each peer (default %(default)s)")
    some = f"only these of {', '.join(keys)}"
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="PEER", help=some)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round")
    parser.add_argument("--strict", action="store_true", help="fail if a peer is not installed")
    options = parser.parse_args()
    peers = [peer for peer in LINEUP if peer.key in options.only]
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    results, reasons = measure(peers, options.messages, options.rounds, console)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    title = f"{options.messages:,} messages of four integers, median of {options.rounds} rounds; {machine}"
    console.print(table(peers, results, reasons, title))
    if options.json:
        options.json.write_text(json.dumps(as_json(peers, results, reasons, machine), indent=2) + "\n")
    wrong = any(not done.in_order for rounds in results.values() for done in rounds)
    failed = [key for key, reason in reasons.items() if options.strict or reason.startswith("failed")]
    return 1 if failed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
