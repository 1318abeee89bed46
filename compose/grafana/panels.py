"""What a dashboard of Grafana is made of, as values, and the JSON that Grafana reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = 41
"""Of Grafana 12. Newer ones bring a dashboard up to theirs when they load it."""

WIDTH = 24
"""Of a dashboard, in Grafana's columns."""

TAG = "mycelium"
DOCS = "${docs}/how-to/metrics.md"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

GREEN, YELLOW, RED = "green", "yellow", "red"
Steps = tuple[tuple[float, str], ...]
"""From which value on which colour is shown. Below the first one it is green."""

ANY: Steps = ((1, RED),)
"""One is too many."""


@dataclass(frozen=True)
class Query:
    """What Prometheus is asked.

    Args:
        expression: PromQL, with Grafana's variables.
        legend: the name of each line; labels stand in double braces.
    """

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A picture.

    Args:
        title: of the panel.
        text: what it means, and what to do about it.
        queries: what it shows.
        unit: as Grafana calls it.
        kind: ``timeseries``, ``stat``, ``table``, ``heatmap`` or ``state-timeline``.
        width, height: in Grafana's columns and rows.
        steps: colours.
        stacked: whether lines stand on one another.
        top: the highest value of the axis, if it is known.
        words: what values are called, with their colours.
    """

    title: str
    text: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    steps: Steps = ()
    stacked: bool = False
    top: float | None = None
    words: Mapping[int, tuple[str, str]] | None = None


def stat(
    title: str,
    text: str,
    expression: str,
    *,
    unit: str = "short",
    width: int = 4,
    steps: Steps = (),
    words: Mapping[int, tuple[str, str]] | None = None,
) -> Panel:
    """One number, as large as it gets. See :class:`Panel`."""
    queries = (Query(expression),)
    return Panel(title, text, queries, unit=unit, kind="stat", width=width, height=4, steps=steps, words=words)


@dataclass(frozen=True)
class Row:
    """Panels under a headline.

    Args:
        title: the question that they answer.
        panels: from left to right; those that do not fit go below.
    """

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """What the reader chooses at the top.

    Args:
        name: as expressions have it.
        label: for people.
        query: ``label_values(...)``, in terms of the variables before it.
        many: whether several may be chosen, or all.
        anything: what all are in an expression; empty for all that there are. Services share names of figures: there
            it must not be more than those.
    """

    name: str
    label: str
    query: str
    many: bool = True
    anything: str = ".*"


@dataclass(frozen=True)
class Board:
    """A dashboard.

    Args:
        name: its file is called so, and its ``uid`` ends with it.
        title, text: for people.
        variables: besides the data source.
        rows: from top to bottom.
    """

    name: str
    title: str
    text: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """All panels."""
        for row in self.rows:
            yield from row.panels


def encoded(board: Board) -> str:
    """The dashboard as Grafana reads it: the same bytes for the same values."""
    return json.dumps(_board(board), indent=1, ensure_ascii=False) + "\n"


def _board(board: Board) -> dict[str, Any]:
    return {
        "uid": f"mycelium-{board.name}",
        "title": board.title,
        "description": board.text,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one cross hair for all panels: what happened at the same moment?
        "timezone": "browser",
        "time": {"from": "now-30m", "to": "now"},
        "refresh": "10s",
        "links": _links(),
        "templating": {"list": [_datasource(), *map(_variable, board.variables), _docs()]},
        "annotations": {"list": [_alerts()]},
        "panels": list(_placed(board.rows)),
    }


def _links() -> list[dict[str, Any]]:
    common = {"icon": "external link", "targetBlank": False, "keepTime": True, "includeVars": False, "tooltip": ""}
    boards = {"title": "Mycelium", "type": "dashboards", "tags": [TAG], "asDropdown": False, "url": ""}
    page = {"title": "What the metrics mean", "type": "link", "tags": [], "asDropdown": False, "url": DOCS}
    return [{**common, **boards}, {**common, **page, "icon": "doc", "targetBlank": True, "keepTime": False}]


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "includeAll": False, "multi": False, "refresh": 1, "regex": "", "hide": 0, "options": [],
    }  # fmt: skip


def _docs() -> dict[str, Any]:
    # Where docs/ is served. Grafana itself does it if docs/ is mounted below its folder for public files.
    default = "/public/mycelium"
    current = {"text": default, "value": default}
    return {
        "name": "docs", "label": "Documentation", "type": "textbox", "query": default, "hide": 2,
        "current": current, "options": [{**current, "selected": True}],
    }  # fmt: skip


def _variable(variable: Variable) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": variable.query,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,  # with the time range: processes come and go
        "sort": 1,
        "regex": "",
        "hide": 0,
        "includeAll": variable.many,
        "multi": variable.many,
        "options": [],
    }
    if variable.many:
        found["current"] = {"text": ["All"], "value": ["$__all"]}
        if variable.anything:
            found["allValue"] = variable.anything
    return found


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "expr": 'ALERTS{alertstate="firing", alertname=~"Mycelium.*"}',
        "iconColor": RED,
        "titleFormat": "{{alertname}}",
        "step": "30s",
    }


def _placed(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in rows:
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                left, top, height = 0, top + height, 0
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            number, left, height = number + 1, left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [_target(panel, place, query) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }
    if panel.kind == "table":
        hidden = {"Time": True, "__name__": True, "job": True}
        found["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return found


def _target(panel: Panel, place: int, query: Query) -> dict[str, Any]:
    now = panel.kind in ("stat", "table")
    return {
        "refId": chr(ord("A") + place),
        "datasource": DATASOURCE,
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "instant": now,
        "range": not now,
        "format": {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series"),
        "editorMode": "code",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": GREEN, "value": None}, *({"color": color, "value": value} for value, color in panel.steps)]
    found: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        found |= {"color": {"mode": "palette-classic"}, "min": 0, "custom": _lines(panel)}
    else:
        found["color"] = {"mode": "thresholds"}
    if panel.top is not None:
        found["max"] = panel.top
    if panel.words:
        options = {str(value): {"text": text, "color": color} for value, (text, color) in panel.words.items()}
        found["mappings"] = [{"type": "value", "options": options}]
    return found


def _lines(panel: Panel) -> dict[str, Any]:
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if panel.stacked else 5,
        "showPoints": "auto",
        "spanNulls": False,  # where nothing was measured there is a gap, and it is meant to be seen
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
    }


_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _REDUCED, "colorMode": "background", "graphMode": "none", "textMode": "auto"},
    "table": {"showHeader": True, "cellHeight": "sm"},
    "heatmap": {
        "calculate": False,
        "yAxis": {"unit": "s"},
        "color": {"mode": "scheme", "scheme": "Spectral", "reverse": True, "steps": 64},
        "cellGap": 1,
        "tooltip": {"mode": "single", "yHistogram": True},
        "legend": {"show": True},
    },
    "state-timeline": {
        "mergeValues": True,
        "showValue": "never",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single"},
    },
}
