"""Forms of PromQL that dashboards share."""

from __future__ import annotations

from compose.grafana.panels import Variable

ALL = 'job="$job", instance=~"$instance"'
"""The processes that the reader has chosen."""

JOB = Variable("job", "Job", "label_values(mycelium_build_info, job)", many=False)
MEANT = "queue policy .*|subscription closed|handler error.*"
"""Causes of drops that are meant, or that dead letters count."""


def selected(metric: str, *matchers: str) -> str:
    """The series of a metric that the reader has chosen."""
    return f"{metric}{{{', '.join((ALL, *matchers))}}}"


def rate(metric: str, *matchers: str) -> str:
    """How fast a counter rises, per second."""
    return f"rate({selected(metric, *matchers)}[$__rate_interval])"


def rise(metric: str, *matchers: str, over: str = "1h") -> str:
    """By how much a counter has risen.

    One that came with its first count has not risen as far as ``increase`` can see. All that it has is new.
    """
    found = selected(metric, *matchers)
    return f"(({found} unless {found} offset {over}) or increase({found}[{over}]))"


def total(expression: str, *by: str) -> str:
    """Added up by labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def or_zero(expression: str) -> str:
    """0 where there is nothing."""
    return f"({expression}) or on() vector(0)"


def or_none(expression: str, *labels: str) -> str:
    """0 with the first label ``none`` where there is nothing. For what is there only once it has happened."""
    return f'({expression}) or on() label_replace(vector(0), "{labels[0]}", "none", "", "")'


def quantile(which: float, metric: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({which}, sum by ({', '.join((*by, 'le'))}) ({rate(metric + '_bucket', *matchers)}))"
