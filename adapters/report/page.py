"""The page of a run: one self-contained HTML file, made from the files that the run left.

Floats are right here: what is drawn is looked at, not paid.
"""

from __future__ import annotations

import html
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import plotly.graph_objects as go
from plotly.io import to_html

from adapters.report.service import POOLS, PRICES, SIGNALS
from mycelium.core.errors import ConfigError, Problem

SUMMARY = "summary.json"
PAGE = "report.html"

MAX_POINTS = 2_000
"""Points drawn per line. Chosen by us: more than a screen has columns."""


@dataclass
class RunFiles:
    """What a run left behind.

    Args:
        summary: the figures of ``mycelium run --summary``.
        pools: by address.
        prices: in order.
        signals: in order.
    """

    summary: dict[str, Any]
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    prices: list[dict[str, Any]] = field(default_factory=list)
    signals: list[dict[str, Any]] = field(default_factory=list)


def read_run(directory: Path) -> RunFiles:
    """Read the files of a run.

    Raises:
        ConfigError: one of them is missing or is not what a run writes.
    """
    pools = {pool["pool"]: pool for pool in _lines(directory / POOLS)}
    return RunFiles(_decoded(directory / SUMMARY), pools, _lines(directory / PRICES), _lines(directory / SIGNALS))


def _lines(path: Path) -> list[Any]:
    return [_json(path, line) for line in _bytes(path).splitlines()]


def _decoded(path: Path) -> Any:
    return _json(path, _bytes(path))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "make it with 'mycelium run --summary'" if path.name == SUMMARY else "the service run_report writes it"
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}; {hint}")]) from None


def _json(path: Path, text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError([Problem(str(path), "", f"is not JSON: {error}")]) from None


def price_gaps(run: RunFiles) -> dict[str, list[tuple[int, float]]]:
    """By token pair, after each event: (timestamp, how much dearer the dearest pool is than the cheapest, in %)."""
    latest: defaultdict[str, dict[str, float]] = defaultdict(dict)
    gaps: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in run.prices:
        pool = run.pools[line["pool"]]
        pair = f"{pool['token0']}/{pool['token1']}"
        latest[pair][line["pool"]] = line["price"]
        known = latest[pair].values()
        if len(known) > 1:
            gaps[pair].append((line["timestamp"], (max(known) / min(known) - 1) * 100))
    return dict(gaps)


def write_page(run: RunFiles, path: Path) -> None:
    """Write the page of a run.

    Raises:
        OSError: it cannot be written.
    """
    figures = [
        ("Price gap between the pools of a pair", _gap_figure(run)),
        ("Prices", _price_figure(run)),
        ("Signals: net profit", _signal_figure(run)),
        ("Time from publish to handler", _latency_figure(run.summary)),
    ]
    drawn: list[str] = []
    for title, figure in figures:
        if figure is None:
            drawn.append(f"<section><h2>{title}</h2><p>There was nothing to draw.</p></section>")
            continue
        plot = to_html(
            figure,
            full_html=False,
            include_plotlyjs="plot" not in "".join(drawn),
            config={"responsive": True, "displayModeBar": False},
        )
        drawn.append(f'<section class="plot"><h2>{title}</h2>{plot}</section>')
    path.write_text(_document(run.summary, drawn), encoding="utf-8")


def _thinned(points: list[Any]) -> list[Any]:
    step = -(-len(points) // MAX_POINTS)
    return points[::step] if step > 1 else points


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _figure(y_title: str, **layout: Any) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        # Nothing of its own behind the lines and grey text: readable on a light page and on a dark one.
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#888", "size": 12},
        margin={"l": 55, "r": 10, "t": 10, "b": 40},
        height=400,
        hovermode="closest",
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
        yaxis_title=y_title,
        **layout,
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.2)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.2)", zeroline=False)
    return figure


def _gap_figure(run: RunFiles) -> go.Figure | None:
    gaps = price_gaps(run)
    if not gaps:
        return None
    figure = _figure("dearest over cheapest, %")
    for pair, points in sorted(gaps.items()):
        thin = _thinned(points)
        figure.add_scatter(
            x=[_time(at) for at, _ in thin], y=[gap for _, gap in thin], name=pair, mode="lines", line={"width": 1}
        )
    return figure


def _price_figure(run: RunFiles) -> go.Figure | None:
    """Each pool's price relative to its first one, so that pairs of any scale fit one picture."""
    by_pool: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in run.prices:
        by_pool[line["pool"]].append((line["timestamp"], line["price"]))
    if not by_pool:
        return None
    figure = _figure("change since the start, %")
    for address, points in by_pool.items():
        pool = run.pools[address]
        first = points[0][1]
        thin = _thinned(points)
        figure.add_scatter(
            x=[_time(at) for at, _ in thin],
            y=[(price / first - 1) * 100 for _, price in thin],
            name=f"{pool['venue']} {pool['instrument']}",
            mode="lines",
            line={"width": 1},
        )
    return figure


def _signal_figure(run: RunFiles) -> go.Figure | None:
    if not run.signals:
        return None
    decimals: dict[str, int] = {}
    for pool in run.pools.values():
        decimals |= pool["decimals"]
    by_asset: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for signal in run.signals:
        by_asset[signal["asset"]].append(signal)
    figure = _figure("net profit, whole tokens", yaxis_type="log")
    for asset, signals in sorted(by_asset.items()):
        thin = _thinned(signals)
        figure.add_scatter(
            x=[_time(signal["timestamp"]) for signal in thin],
            y=[int(signal["net_profit"]) / 10 ** decimals.get(asset, 0) for signal in thin],
            name=asset.upper(),
            mode="markers",
            marker={"size": 5, "opacity": 0.6},
            text=[f"{len(signal['hops'])} hops, block {signal['block']}" for signal in thin],
        )
    return figure


def _latency_figure(summary: dict[str, Any]) -> go.Figure | None:
    latency = summary.get("latency_us")
    if not latency or not latency.get("max"):
        return None
    names = {"p50": "half", "p90": "90 %", "p99": "99 %", "p999": "99.9 %", "max": "all"}
    figure = _figure("took at most, µs", xaxis_title="share of the messages")
    figure.add_bar(x=[names[key] for key in names], y=[latency[key] for key in names])
    return figure


def _document(summary: dict[str, Any], sections: list[str]) -> str:
    ledger = summary["ledger"]
    balanced = "balances" if ledger["balanced"] else "DOES NOT BALANCE"
    cards = [
        ("events", f"{summary.get('events', 0):,}"),
        ("signals", f"{summary.get('signals', 0):,}"),
        ("events per second", f"{summary['rate_per_s']:,.0f}"),
        ("latency p50 / p99, µs", f"{summary['latency_us']['p50']:,.0f} / {summary['latency_us']['p99']:,.0f}"),
        ("the ledger", balanced),
    ]
    shown = "".join(f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>" for name, value in cards)
    return _TEMPLATE.format(
        cards=shown,
        sections="\n".join(sections),
        ledger=_ledger_table(ledger),
        state="good" if ledger["balanced"] else "bad",
    )


def _ledger_table(ledger: dict[str, Any]) -> str:
    rows = [
        _row(name, *(totals[key] for key in ("published", "delivered", "dropped", "queued")))
        for name, totals in ledger["subscriptions"].items()
    ]
    routes = _table(("subscription", "published", "delivered", "dropped", "queued"), rows)
    rows = [
        _row(name, entry["read"], entry["accepted"], sum(entry["ignored"].values()), sum(entry["refused"].values()))
        for name, entry in ledger["intake"].items()
    ]
    intakes = _table(("read from outside", "read", "accepted", "ignored", "refused"), rows)
    causes = {
        f"{name}: {cause}": number
        for name, entry in ledger["intake"].items()
        for cause, number in {**entry["ignored"], **entry["refused"]}.items()
    } | {f"dropped: {cause}": number for cause, number in ledger["dropped"].items()}
    why = _table(("set aside because", "number"), [_row(cause, number) for cause, number in causes.items()])
    return intakes + routes + (why if causes else "")


def _row(name: str, *numbers: int) -> str:
    return f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{number:,}</td>' for number in numbers)}</tr>"


def _table(headings: tuple[str, ...], rows: list[str]) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mycelium: report of a run</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c2024; --paper: #fff; --line: #8883; --soft: #667;
  --good: #18794e; --bad: #ce2c31; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6e8ea; --paper: #16181a; --soft: #9aa; --good: #3dd68c; --bad: #ff9592; }} }}
body {{ margin: 0 auto; max-width: 1100px; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; margin: .5rem 0 1rem; }}
h2 {{ font-size: 1.05rem; margin: 2rem 0 .5rem; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .75rem; }}
.cards div {{ border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }}
.cards b {{ display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }}
.cards span {{ color: var(--soft); font-size: .85rem; }}
.good div:last-child b {{ color: var(--good); }}
.bad div:last-child b {{ color: var(--bad); }}
.wide {{ overflow-x: auto; margin-bottom: 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .25rem .75rem; border-bottom: 1px solid var(--line); }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
th {{ color: var(--soft); font-weight: 600; }}
</style>
</head>
<body>
<h1>Report of a run</h1>
<div class="cards {state}">{cards}</div>
{sections}
<section><h2>The ledger</h2>{ledger}</section>
</body>
</html>
"""
