"""The summaries of a run's processes as one, and whether their books agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Summary = Mapping[str, Any]
"""As :func:`~mycelium.service.host.summary_of` makes it."""


def merged(summaries: Sequence[Summary], figures: Iterable[str]) -> dict[str, Any]:
    """One summary of the same form.

    Numbers are added up. ``seconds`` is the longest, and the rate is what was counted in that time. Of each quantile
    of the latency the highest is kept: that of all messages together is not above it.

    Args:
        summaries: one of each process.
        figures: the names of the counted figures.
    """
    seconds = max(summary["seconds"] for summary in summaries)
    counted = {name: sum(summary[name] for summary in summaries) for name in ("events", "signals", *figures)}
    return {
        **counted,
        "published": _added([summary["published"] for summary in summaries]),
        "seconds": seconds,
        "rate_per_s": round(counted["events"] / seconds, 1) if seconds > 0 else 0.0,
        "latency_us": {
            name: max(summary["latency_us"][name] for summary in summaries) for name in summaries[0]["latency_us"]
        },
        "drained": all(summary["drained"] for summary in summaries),
        "ledger": _added([summary["ledger"] for summary in summaries]),
        "services": {name: state for summary in summaries for name, state in summary["services"].items()},
    }


def unheard(summary: Summary, readers: Mapping[str, str]) -> list[str]:
    """Where the books of publishers and readers differ, as sentences.

    Args:
        summary: of all processes.
        readers: subscriptions that read all messages of a contract, with its name.
    """
    found = []
    for subscription, contract in readers.items():
        published = summary["published"].get(contract, 0)
        totals = summary["ledger"]["subscriptions"].get(subscription, {"published": 0})
        if totals["published"] != published:
            found.append(f"{subscription} knows of {totals['published']:,} {contract}, published are {published:,}")
    return found


def _added(values: Sequence[Any]) -> Any:
    """Numbers added up, also those in tables; what holds for all, where it is true or false."""
    if isinstance(values[0], bool):
        return all(values)
    if isinstance(values[0], int):
        return sum(values)
    names = dict.fromkeys(name for table in values for name in table)
    return {name: _added([table[name] for table in values if name in table]) for name in names}
