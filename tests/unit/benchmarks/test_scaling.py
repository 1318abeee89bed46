"""What is made of the figures of scaling, and which message stands where."""

from __future__ import annotations

import json

import pytest

from benchmarks.scaling.growth import Growth, families, middle
from benchmarks.scaling.load import UnderLoad
from benchmarks.scaling.measure import Figure, Side, check_all_came
from benchmarks.scaling.memory import Sample
from benchmarks.scaling.page import log_ticks, page
from benchmarks.scaling.pings import Quantiles, half_round_trips
from benchmarks.scaling.results import Results, as_json
from benchmarks.scaling.shapes import DisorderError, Part, Places, Shape, parts_of, places
from mycelium.bench.machine import Machine

FAMILIES = families((1, 10), (1, 8), (1, 100))


def growth(ours: float, floor: float) -> Growth:
    """Ten readers cost so much, of what one costs."""
    return Growth(
        FAMILIES[0],
        {
            1: {Side.OURS: Figure(1_000.0, 2.0, 1.0), Side.FLOOR: Figure(500.0, 5.0, 1.0)},
            10: {Side.OURS: Figure(2_000.0, 2.0 * ours, 1.0), Side.FLOOR: Figure(400.0, 5.0 * floor, 1.0)},
        },
    )


def test_how_much_throughput_is_kept() -> None:
    found = growth(2.0, 1.25)
    assert [found.kept(10, side) for side in Side] == [0.5, 0.8]
    assert [found.kept_rate(10, side) for side in Side] == [2.0, 0.8]
    assert [found.kept(1, side) for side in Side] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("ours", "floor", "holds"), [(2.0, 2.0, True), (0.5, 2.0, True), (2.1, 2.0, True), (2.3, 2.0, False)]
)
def test_whether_it_falls_by_no_more_than_the_floor(ours: float, floor: float, holds: bool) -> None:
    assert growth(ours, floor).holds(10) is holds


def test_the_median_of_each_figure() -> None:
    assert middle([Figure(1, 30, 5), Figure(2, 10, 6), Figure(3, 20, 4)]) == Figure(2, 20, 5)


def test_the_smallest_of_each_family_is_measured_once() -> None:
    assert {family.shapes[1] for family in FAMILIES} == {Shape()}
    assert [family.name for family in FAMILIES] == ["fan-out", "fan-in", "topics", "topics, 64 in a row"]


def test_each_publisher_and_reader_is_in_one_process() -> None:
    publish, read = parts_of(Shape(publishers=5, readers=1))
    assert [part.publishers for part in publish] == [(0, 2, 4), (1, 3)]
    assert [part.readers for part in read] == [(0,)]


@pytest.mark.parametrize("part", [Part("p"), Part("p", topics=3, run=1), Part("p", topics=3, run=4)])
def test_numbers_have_no_holes(part: Part) -> None:
    """Neither between commands nor where one ends within a run."""
    seen = Places()
    for start, stop in ((0, 7), (7, 30), (30, 31)):
        for lane, number in places(2, part, start, stop):
            assert lane // part.topics == 2
            seen.take(lane, number)
    assert seen.wrong == 0


def test_topics_follow_one_another_in_runs() -> None:
    assert [lane for lane, _ in places(0, Part("p", topics=3, run=2), 0, 8)] == [0, 0, 1, 1, 2, 2, 0, 0]


@pytest.mark.parametrize("numbers", [[1], [0, 2], [0, 0], [0, 2, 1]])
def test_what_is_missing_twice_or_late_is_seen(numbers: list[int]) -> None:
    seen = Places()
    for number in numbers:
        seen.take(4, number)
    assert seen.wrong


@pytest.mark.parametrize(("received", "wrong"), [(9, 0), (10, 1)])
def test_nothing_is_said_of_a_run_with_losses(received: int, wrong: int) -> None:
    check_all_came("x", 10, [{"received": 4, "wrong": 0}, {"received": 6, "wrong": 0}])
    with pytest.raises(DisorderError, match=f"x: {received} of 10 messages came, {wrong} of them not in their place"):
        check_all_came("x", 10, [{"received": received, "wrong": wrong}])


def test_quantiles_of_half_round_trips() -> None:
    assert half_round_trips([2_000 * n for n in range(1_000, 0, -1)]) == Quantiles(1_000, 500.0, 990.0, 999.0)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([3.0, 4.0], [2, 5]),
        ([0.0, 90.0, 1_100.0], [50, 100, 200, 500, 1_000, 2_000]),
        ([5.0], [5, 10]),
        ([0.0], [1, 2]),
    ],
)
def test_ticks_are_around_what_is_drawn(values: list[float], ticks: list[float]) -> None:
    assert log_ticks(values) == pytest.approx(ticks)


def results() -> Results:
    machine = Machine("CPython 3.11.7", "27.0", "4.3.5", "Some <CPU>", 2, "Linux 6 x86_64", 0.5)
    samples = [Sample(1_000_000, 50.0, 20.0, 0.4, 1e6), Sample(2_000_000, None, 40.0, 0.4, 1e6)]
    quantiles = Quantiles(1_000, 100.0, 200.0, 900.0)
    load = {"tcp": {side: UnderLoad(1e6, 5e5, quantiles, quantiles) for side in Side}}
    return Results(machine, 3, [growth(2.0, 1.25)], dict.fromkeys(Side, samples), load)


def test_for_programs() -> None:
    found = json.loads(json.dumps(as_json(results())))
    assert set(found) == {"machine", "rounds", "growth", "memory", "load"}
    ten = found["growth"]["fan-out"]["10"]
    assert (ten["mycelium"]["per_core_kept"], ten["zeromq"]["per_core_kept"], ten["holds"]) == (0.5, 0.8, False)
    assert found["memory"]["mycelium"][1]["rss_mib"] is None
    assert found["load"]["tcp"]["zeromq"]["idle"]["p999_us"] == 900.0


def test_the_page_stands_alone() -> None:
    drawn = page(results())
    assert "Some &lt;CPU&gt;" in drawn
    assert drawn.count("Plotly.newPlot(") == 5
    assert 'src="http' not in drawn
