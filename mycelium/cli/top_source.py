"""Where ``mycelium top`` hears what processes say: from their stores, or from ``/metrics`` where there is none."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TypeAlias

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mycelium.cli.http import Endpoint
from mycelium.core.delivery.joining import Start
from mycelium.core.errors import PathError, WireError
from mycelium.core.message import PayloadCodec
from mycelium.observe.endpoints import METRICS
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.statistics import SECONDS, FamilyPart, HistogramRow, ProcessStatistics, Row
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.keyring import Credentials
from mycelium.transport.tap import Tap

MAX_BYTES = 16 << 20
"""Of an answer. Chosen by us: far above what a large process says, far below what a tool could use up."""

Said: TypeAlias = AsyncGenerator[ProcessStatistics, None]

_CONTRACT = PayloadCodec(ProcessStatistics).contract


# --- stores ----------------------------------------------------------------------------------


@asynccontextmanager
async def from_stores(
    addresses: tuple[StoreAddress, ...], credentials: Credentials | None, operator: str, seconds: float
) -> AsyncIterator[Said]:
    """What processes say on their stores.

    Args:
        addresses: the stores.
        credentials: of the operator, where stores ask for keys.
        operator: its name.
        seconds: how long a store may take to answer.

    Raises:
        PathError: none answers, or one does not let it read.
    """
    pattern = _CONTRACT.topic.pattern
    async with Tap(addresses, [pattern.prefix], _is_wanted, credentials=credentials) as tap:
        silent = await tap.silent(seconds)
        if len(silent) == len(addresses):
            hint = "is it running?" if credentials is None else f"is it running, and does it accept {operator}?"
            raise PathError(silent[0].control, f"{silent[0].name} has not answered in {seconds:g} s; {hint}")
        if credentials is not None:
            wishes = [(_CONTRACT.type_id, (pattern.text,))]
            deaf = await tap.begin(wishes, Start.NEW, 0, seconds)
            if deaf:
                raise PathError(
                    deaf[0].control,
                    f"{deaf[0].name} does not let {operator} read {_CONTRACT.name}: the system.yaml that it goes by "
                    "has to name it there",
                )
        async with aclosing(_heard(tap)) as said:
            yield said


def _is_wanted(type_id: int, topic: str) -> bool:
    return type_id == _CONTRACT.type_id and _CONTRACT.topic.pattern.matches(topic)


async def _heard(tap: Tap) -> Said:
    codec = PayloadCodec(ProcessStatistics)
    async for batch in tap.batches():
        for seen in batch:
            try:
                messages = codec.decode(seen.envelope.payload, seen.envelope.count)
            except WireError:
                continue  # of a newer version, or no such message at all
            for message in messages:
                yield message


# --- /metrics --------------------------------------------------------------------------------


@asynccontextmanager
async def from_metrics(
    endpoint: Endpoint, process: str, seconds: float, time_ns: Callable[[], int]
) -> AsyncIterator[Said]:
    """What a process says at ``/metrics``, asked once a second.

    Args:
        endpoint: where it serves HTTP.
        process: what to call it.
        seconds: how long it may take to answer.
        time_ns: the time.

    Raises:
        PathError: it does not answer, or not with figures.
    """
    first = await _ask(endpoint, process, seconds, time_ns)
    async with aclosing(_asked(first, endpoint, process, seconds, time_ns)) as said:
        yield said


async def _asked(
    first: ProcessStatistics, endpoint: Endpoint, process: str, seconds: float, time_ns: Callable[[], int]
) -> Said:
    yield first
    while True:
        await asyncio.sleep(SECONDS)
        try:
            yield await _ask(endpoint, process, seconds, time_ns)
        except PathError:
            continue  # it shows as gone, until it answers again


async def _ask(endpoint: Endpoint, process: str, seconds: float, time_ns: Callable[[], int]) -> ProcessStatistics:
    host = "127.0.0.1" if endpoint.host in ("0.0.0.0", "::") else endpoint.host  # noqa: S104 - where it binds
    url = f"http://{f'[{host}]' if ':' in host else host}:{endpoint.port}{METRICS}"
    headers = {} if endpoint.token is None else {"Authorization": f"Bearer {endpoint.token}"}
    try:
        answer = await asyncio.to_thread(_get, urllib.request.Request(url, headers=headers), seconds)
        return statistics_in(answer, process, time_ns())
    except urllib.error.HTTPError as error:
        raise PathError(url, f"{process} answers {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise PathError(url, f"{process} does not answer: {reason}; is it running?") from None


def _get(request: urllib.request.Request, seconds: float) -> str:
    # No proxy: the token is for this process and for nobody between.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=seconds) as answer:
        data: bytes = answer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return data.decode("utf-8")


def statistics_in(answer: str, process: str, time_ns: int) -> ProcessStatistics:
    """The message that a process would have said, from the text form of its figures.

    Args:
        answer: the text.
        process: what to call it.
        time_ns: when it was asked for.

    Raises:
        ValueError: it is not in that form.
    """
    metrics = {metric.name: metric for metric in text_string_to_metric_families(answer)}
    start = metrics.get("process_start_time_seconds")
    build = metrics.get("mycelium_build_info")
    return ProcessStatistics(
        process=process,
        epoch=round(start.samples[0].value * 1e9) if start is not None and start.samples else 0,
        time=time_ns,
        version=build.samples[0].labels.get("version", "") if build is not None and build.samples else "",
        families=tuple(_family(metric) for metric in metrics.values() if metric.type in _KINDS),
    )


_KINDS = ("counter", "gauge", "histogram")


def _family(metric: Metric) -> FamilyPart:
    names = tuple(sorted({name for sample in metric.samples for name in sample.labels} - {"le"}))
    if metric.type == "histogram":
        return FamilyPart(metric.name, metric.type, names, histograms=tuple(_histograms(metric, names)))
    wanted = metric.name + ("_total" if metric.type == "counter" else "")
    rows = tuple(Row(_values(names, one.labels), one.value) for one in metric.samples if one.name == wanted)
    return FamilyPart(metric.name, metric.type, names, rows)


def _values(names: Iterable[str], labels: Mapping[str, str]) -> tuple[str, ...]:
    """In the order of the names. A label that is left out is empty."""
    return tuple(labels.get(name, "") for name in names)


def _histograms(metric: Metric, names: tuple[str, ...]) -> list[HistogramRow]:
    """Its histograms. Of a duration only the bound is known below which it is, and it counts as that."""
    found: dict[tuple[str, ...], tuple[LatencyHistogram, dict[int, int], float]] = {}
    for sample in metric.samples:
        if not sample.name.endswith("_bucket"):
            continue
        key = _values(names, sample.labels)
        longest, buckets, before = found.get(key, (LatencyHistogram(), {}, 0.0))
        number = round(sample.value - before)
        if number > 0:
            bound = sample.labels["le"]
            # What is longer than all bounds counts as the last of them.
            nanoseconds = longest.maximum if bound == "+Inf" else round(float(bound) * 1e9)
            at = LatencyHistogram()
            at.record(nanoseconds)
            (bucket,) = at.buckets
            buckets[bucket] = buckets.get(bucket, 0) + number
        if sample.labels["le"] != "+Inf":
            longest.record(round(float(sample.labels["le"]) * 1e9))
        found[key] = (longest, buckets, sample.value)
    return [HistogramRow(key, longest.maximum, buckets) for key, (longest, buckets, _) in found.items()]
