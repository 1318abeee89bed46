"""What ``/metrics`` answers: the figures of a process in the text format of Prometheus, or as OpenMetrics.

The figures are collected when somebody asks. So a process that nobody watches pays nothing for them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator

import prometheus_client.samples
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from mycelium.observe.exemplars import BOUNDS_NS, Exemplar, Exemplars
from mycelium.observe.figures import Family, Figures, Kind, Remembered
from mycelium.observe.latency import LatencyHistogram

_LE = (*(str(bound / 1e9) for bound in BOUNDS_NS), "+Inf")


class Exposition:
    """Answers with what a process tells of itself.

    Args:
        tell: adds all figures.
        version: of the program.
    """

    def __init__(self, tell: Callable[[Figures], None], version: str) -> None:
        self._tell = tell
        self._remembered = Remembered()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        # It reads /proc, where nothing waits for a disk.
        ProcessCollector(registry=self._registry)
        self._build = (version, platform.python_version())

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would ask for all figures to learn their names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The figures now, as the library wants them."""
        figures = Figures(self._remembered)
        build = figures.gauge("mycelium_build_info", "1, with what this process runs on.", "version", "python")
        build.add(1, *self._build)
        self._tell(figures)
        for family in figures.families.values():
            yield _metric(family)

    def answer(self, accept: str) -> tuple[bytes, str]:
        """The figures now.

        Args:
            accept: the header of whoever asks.

        Returns:
            The figures, and the form that they are in.
        """
        encode, form = choose_encoder(accept)
        return encode(self._registry), form


def _metric(family: Family) -> Metric:
    metric = Metric(family.name, family.text, family.kind.value)
    suffix = "_total" if family.kind is Kind.COUNTER else ""
    for values, value in family.values().items():
        metric.add_sample(family.name + suffix, _labels(family, values), value)
    for values, histogram in family.histograms.items():
        _add_histogram(metric, _labels(family, values), histogram, family.exemplars.get(values))
    return metric


def _labels(family: Family, values: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in zip(family.names, values, strict=True) if value}


def _add_histogram(
    metric: Metric, labels: dict[str, str], histogram: LatencyHistogram, exemplars: Exemplars | None
) -> None:
    for number, (bound, count) in enumerate(zip(_LE, (*histogram.up_to(BOUNDS_NS), histogram.count), strict=True)):
        chosen = exemplars.of_bucket(number) if exemplars is not None else None
        # The histogram counts a duration that is close below a bound as longer. An empty bucket has no exemplar.
        shown = _exemplar(chosen) if chosen is not None and count else None
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, count, exemplar=shown)
    metric.add_sample(f"{metric.name}_count", labels, histogram.count)
    metric.add_sample(f"{metric.name}_sum", labels, histogram.total / 1e9)


def _exemplar(exemplar: Exemplar) -> prometheus_client.samples.Exemplar:
    labels = {"trace_id": f"{exemplar.trace_id:032x}"}
    return prometheus_client.samples.Exemplar(labels, exemplar.nanoseconds / 1e9, exemplar.time / 1e9)
