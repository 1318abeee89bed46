"""What ``/metrics`` answers, read by the parsers that come with the library."""

from __future__ import annotations

import json

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from mycelium.observe.endpoints import METRICS, PUBLIC, application
from mycelium.observe.exemplars import BOUNDS_NS
from mycelium.observe.figures import Figures
from mycelium.observe.http_guard import Guard
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.metrics import Exposition
from tests.unit.observe.test_http_guard import Time, ask

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
TOKEN = "a-token-of-just-thirty-two-chars"


def tell(figures: Figures) -> None:
    figures.counter("mycelium_c", "Counted.", "cause").add(3, 'a "b"\\\n')
    gauge = figures.gauge("mycelium_g", "Now.", "service", "name")
    gauge.add(True, "s", "")
    gauge.add(0.5, "s", "n")
    histogram = LatencyHistogram()
    for value in (500, 1_000, 20_000, 3 * 10**9, 60 * 10**9):
        histogram.record(value)
    figures.histogram("mycelium_h_seconds", "Waited.", "of").merge(histogram, "x")
    figures.gauge("mycelium_nothing", "Nothing yet.")


@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), ("text/plain", parse_text), (OPEN, parse_openmetrics)])
def test_each_form_says_the_same(accept: str, parse: object) -> None:
    assert callable(parse)
    body, form = Exposition(tell, "1.2.3").answer(accept)
    assert form.startswith("application/openmetrics-text; version=1.0.0" if accept == OPEN else "text/plain; version=")
    families = {family.name: family for family in parse(body.decode())}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["mycelium_c_total", (("cause", 'a "b"\\\n'),)] == 3
    assert samples["mycelium_g", (("service", "s"),)] == 1
    assert samples["mycelium_g", (("name", "n"), ("service", "s"))] == 0.5
    assert samples["mycelium_h_seconds_count", (("of", "x"),)] == 5
    assert samples["mycelium_h_seconds_sum", (("of", "x"),)] == pytest.approx(63.0000215, rel=1 / 64)
    assert families["mycelium_nothing"].samples == []
    (build,) = families["mycelium_build_info"].samples
    assert build.labels["version"] == "1.2.3"
    assert samples["process_resident_memory_bytes", ()] > 1e6


def test_buckets_hold_all_that_is_at_most_as_long() -> None:
    body, _ = Exposition(tell, "1").answer("")
    (family,) = [family for family in parse_text(body.decode()) if family.name == "mycelium_h_seconds"]
    found = {sample.labels["le"]: sample.value for sample in family.samples if "le" in sample.labels}
    # 1,000 ns lies in a bucket up to 1,007, so it shows as longer than 1 µs; 60 s is beyond all.
    wanted = {"1e-06": 1, "2.5e-06": 2, "2.5e-05": 3, "2.5": 3, "5.0": 4, "10.0": 4, "+Inf": 5}
    assert {le: found[le] for le in wanted} == wanted
    assert len(found) == len(BOUNDS_NS) + 1


def test_nothing_is_asked_for_before_somebody_asks() -> None:
    asked: list[Figures] = []
    exposition = Exposition(asked.append, "1")
    assert not asked
    exposition.answer("")
    assert len(asked) == 1


async def test_it_is_behind_the_token() -> None:
    accepted: list[str] = []

    def answer(accept: str) -> tuple[bytes, str]:
        accepted.append(accept)
        return b"x 1\n", "text/plain; version=0.0.4; charset=utf-8"

    guard = Guard(application(dict, answer), token=TOKEN, public=PUBLIC, loopback=False, time_ns=Time())
    refused = await ask(guard, METRICS)
    assert (refused.status, json.loads(refused.body)) == (401, {"error": "no token"})
    assert not accepted
    given = await ask(guard, METRICS, headers=[("authorization", f"Bearer {TOKEN}"), ("accept", "text/plain")])
    assert (given.status, given.body, accepted) == (200, b"x 1\n", ["text/plain"])
    assert given["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert given["cache-control"] == "no-store"


async def test_without_a_token_it_is_served_on_this_host_only() -> None:
    app = application(dict, lambda _accept: (b"", "text/plain"))
    for loopback, status in ((True, 200), (False, 403)):
        guard = Guard(app, token=None, public=PUBLIC, loopback=loopback, time_ns=Time())
        assert (await ask(guard, METRICS, host="localhost")).status == status
    assert METRICS not in PUBLIC
