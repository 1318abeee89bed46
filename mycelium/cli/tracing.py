"""From a topology to what traces a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mycelium import __version__
from mycelium.core.clock import Clock
from mycelium.core.topics import Pattern
from mycelium.observe.sampling import Ratios
from mycelium.observe.tracing import Tracer
from mycelium.topology.load import LoadedTopology


@contextmanager
def tracing(topology: LoadedTopology, system: str, process: str, clock: Clock) -> Iterator[Tracer | None]:
    """What traces this process while the block runs; None if its topology names no collector.

    Args:
        topology: what it belongs to.
        system: the name in ``system.yaml``.
        process: the name of its bundle, or ``broker``.
        clock: the time.
    """
    settings = topology.values.tracing
    if settings.endpoint is None:
        yield None
        return
    # Here, so that processes without it need neither time nor memory for it.
    from mycelium.observe.spans import SpanSender

    topics = tuple((Pattern.parse(topic.pattern), topic.ratio) for topic in settings.topics)
    sender = SpanSender(settings.endpoint, system=system, process=process, version=__version__, epoch=clock.time_ns())
    try:
        yield Tracer(Ratios(settings.ratio, settings.per_second, topics), sender, clock.time_ns)
    finally:
        sender.close()
