"""What was measured, drawn: one self-contained HTML page."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.io import to_html

from benchmarks.scaling.growth import Growth
from benchmarks.scaling.load import PART_OF_HIGHEST
from benchmarks.scaling.measure import Side
from benchmarks.scaling.results import Results
from benchmarks.scaling.tables import describe

# Told apart by those who see no red and green, too; and by their marks.
COLOURS = {Side.OURS: "#1f6fb4", Side.FLOOR: "#c2570c"}
MARKS = {Side.OURS: "circle", Side.FLOOR: "square"}
NAMES = {Side.OURS: "Mycelium", Side.FLOOR: "ZeroMQ alone"}

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mycelium: what a message costs as there is more of everything</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; max-width: 72rem;
  padding: 1rem; }}
h1 {{ font-size: 1.4rem; line-height: 1.25; }}
h2 {{ font-size: 1.15rem; margin: 1.5rem 0 0; }}
p {{ max-width: 44rem; margin: .3rem 0; }}
html {{ overflow-y: scroll; }} /* what is drawn before the page is long has the same width as what is drawn after */
.plots {{ display: grid; grid-template-columns: minmax(0, 1fr); gap: .5rem; }}
@media (min-width: 52rem) {{ .plots {{ grid-template-columns: repeat(2, minmax(0, 1fr)); }} }}
.plots > div {{ min-width: 0; }}
footer {{ color: #555; font-size: .85rem; white-space: pre-line; margin-top: 1rem; }}
</style>
</head>
<body>
<h1>What a message costs as there is more of everything</h1>
<p>Mycelium through its broker, which keeps every message, and pyzmq alone through ZeroMQ's proxy, which keeps none.
Messages delivered are those of all readers together; CPU seconds are those of all processes.</p>
{sections}
<footer>{machine}
Median of rounds: {rounds}.</footer>
</body>
</html>
"""

FOLLOWS = {
    "fan-out": "One publisher; everyone reads everything.",
    "fan-in": "Everyone publishes on a topic of its own; one reader of everything.",
    "topics": "One publisher goes round its topics, message by message. Frames carry one topic each: they are small.",
}


def page(results: Results) -> str:
    """The page."""
    sections = list(_sections(results))
    drawn = [
        f"<h2>{html.escape(title)}</h2>\n<p>{html.escape(text)}</p>\n<div class='plots'>"
        + "\n".join(_html(figure, first=number == 0 and place == 0) for place, figure in enumerate(figures))
        + "</div>"
        for number, (title, text, figures) in enumerate(sections)
    ]
    return PAGE.format(sections="\n".join(drawn), machine=html.escape(describe(results.machine)), rounds=results.rounds)


def _html(figure: go.Figure, *, first: bool) -> str:
    text: str = to_html(
        figure,
        full_html=False,
        include_plotlyjs=first,
        config={"displayModeBar": False, "responsive": True},
        default_height="21rem",
    )
    return f"<div>{text}</div>"


def _sections(results: Results) -> Iterator[tuple[str, str, list[go.Figure]]]:
    for growth in results.growth:
        name = growth.family.name
        text = FOLLOWS.get(name, "One publisher goes round its topics, some messages of each in a row.")
        yield (
            name.capitalize(),
            text,
            [
                _growing(growth, "delivered_per_s", "Messages delivered a second"),
                _growing(growth, "cpu_per_million", "CPU seconds for a million"),
            ],
        )
    if results.memory:
        text = "One publisher, one reader; the journal throws away what is oldest when it is full."
        yield "What stands in the middle, over time", text, [_memory(results), _cpu_over_time(results)]
    if results.load:
        text = (
            "A message at a time to and fro, idle and while another publisher sends to another reader on another topic,"
            f" at {PART_OF_HIGHEST:.0%} of its highest rate."
        )
        yield "Half a round trip", text, [_latency(results, path) for path in results.load]


def _growing(growth: Growth, figure: str, title: str) -> go.Figure:
    sizes = list(growth.figures)
    lines = [
        _line(side, sizes, [getattr(growth.figures[size][side], figure) for size in sizes], NAMES[side])
        for side in Side
    ]
    drawn = _figure(lines, title, growth.family.grows)
    drawn.update_xaxes(type="log", tickvals=sizes, ticktext=[f"{size:,}" for size in sizes])
    return _logarithmic(drawn)


def _logarithmic(drawn: go.Figure) -> go.Figure:
    """With a y axis from one labelled line to another. Plotly's own has few labels where there is no power of ten."""
    ticks = log_ticks([value for trace in drawn.data for value in trace.y])
    drawn.update_yaxes(
        type="log",
        tickvals=ticks,
        ticktext=[_short(tick) for tick in ticks],
        range=[math.log10(ticks[0]), math.log10(ticks[-1])],
    )
    return drawn


def log_ticks(values: Sequence[float]) -> list[float]:
    """Ones, twos and fives between which these values are; those that are not above 0 do not count."""
    above = [value for value in values if value > 0] or [1.0]
    powers = range(math.floor(math.log10(min(above))) - 1, math.ceil(math.log10(max(above))) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max(place for place, tick in enumerate(ticks) if tick <= min(above))
    last = min(place for place, tick in enumerate(ticks) if tick >= max(above))
    return ticks[first : max(last, first + 1) + 1]


def _short(value: float) -> str:
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _memory(results: Results) -> go.Figure:
    lines = [
        _line(side, [one.messages / 1e6 for one in samples], [one.rss_mib for one in samples], f"{name}, in memory")
        for (side, samples), name in zip(results.memory.items(), ("broker", "proxy"), strict=True)
    ]
    ours = results.memory[Side.OURS]
    journal = _line(
        Side.OURS, [one.messages / 1e6 for one in ours], [one.journal_mib for one in ours], "journal, on disk"
    )
    journal.update(line={"color": "#777", "dash": "dot"}, marker={"color": "#777", "symbol": "diamond"})
    drawn = _figure([*lines, journal], "MiB", "million messages since the start")
    drawn.update_yaxes(rangemode="tozero")
    return drawn


def _cpu_over_time(results: Results) -> go.Figure:
    lines = [
        _line(side, [one.messages / 1e6 for one in samples], [one.cpu_per_million for one in samples], name)
        for (side, samples), name in zip(results.memory.items(), ("broker", "proxy"), strict=True)
    ]
    drawn = _figure(lines, "CPU seconds for a million", "million messages since the start")
    drawn.update_yaxes(rangemode="tozero")
    return drawn


def _latency(results: Results, path: str) -> go.Figure:
    quantiles = ("p50_us", "p99_us", "p999_us")
    bars = [
        go.Bar(
            name=f"{NAMES[side]}, {state}",
            x=["p50", "p99", "p99.9"],
            y=[getattr(getattr(one, state), quantile) for quantile in quantiles],
            marker={"color": COLOURS[side], "opacity": 0.45 if state == "idle" else 1.0},
        )
        for side, one in results.load[path].items()
        for state in ("idle", "loaded")
    ]
    drawn = _figure(bars, f"µs over {path}", "of all round trips")
    drawn.update_layout(margin={"t": 95})  # its legend has two lines
    return _logarithmic(drawn)


def _line(side: Side, x: list[Any], y: list[Any], name: str) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers",
        line={"color": COLOURS[side], "width": 2},
        marker={"symbol": MARKS[side], "size": 9},
    )


def _figure(traces: list[Any], title: str, across: str) -> go.Figure:
    drawn = go.Figure(traces)
    drawn.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 15}, "x": 0.01, "xanchor": "left", "y": 0.98, "yanchor": "top"},
        font={"size": 13},
        margin={"l": 10, "r": 10, "t": 70, "b": 10},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        hovermode="x unified",
    )
    drawn.update_xaxes(title=across, automargin=True, fixedrange=True)
    drawn.update_yaxes(automargin=True, fixedrange=True)
    return drawn
