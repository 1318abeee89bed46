"""Figures by name and labels: added up, bounded, and counters that do not fall."""

from __future__ import annotations

from mycelium.observe.figures import OTHER, Figures, Remembered
from mycelium.observe.latency import LatencyHistogram


def test_what_has_the_same_labels_is_added_up() -> None:
    family = Figures().gauge("a", "text", "name")
    for value, name in ((1, "x"), (2, "y"), (3.5, "x")):
        family.add(value, name)
    assert family.values() == {("x",): 4.5, ("y",): 2}


def test_a_family_is_there_once() -> None:
    figures = Figures()
    figures.counter("a", "text").add(1)
    figures.counter("a", "text").add(2)
    assert figures.families["a"].values() == {(): 3}


def test_what_is_too_much_to_tell_apart_is_other_and_stays_so() -> None:
    remembered = Remembered(most=2)
    for round_ in (1, 2):
        family = Figures(remembered).counter("a", "text", "name", "cause")
        # In the second round the others come first, and are still the others.
        for name in ("one", "two", "three", "four") if round_ == 1 else ("four", "three", "two", "one"):
            family.add(round_, name, "c")
        assert family.values() == {
            ("one", "c"): round_,
            ("two", "c"): round_,
            (OTHER, OTHER): 2 * round_,
        }


def test_the_bound_is_for_each_family() -> None:
    figures = Figures(Remembered(most=1))
    figures.gauge("a", "text", "name").add(1, "x")
    figures.gauge("b", "text", "name").add(1, "y")
    assert figures.families["b"].values() == {("y",): 1}


def test_a_counter_does_not_fall_and_a_gauge_may() -> None:
    remembered = Remembered()
    found = []
    for value in (5, 3, 6):
        figures = Figures(remembered)
        figures.counter("up", "text", "name").add(value, "x")
        figures.gauge("any", "text", "name").add(value, "x")
        found.append([family.values()["x",] for family in figures.families.values()])
    assert found == [[5, 5], [5, 3], [6, 6]]


def test_histograms_of_one_label_are_merged_and_none_is_changed() -> None:
    one, two = LatencyHistogram(), LatencyHistogram()
    one.record(10)
    two.record(20)
    family = Figures().histogram("h", "text", "name")
    family.merge(one, "x")
    assert family.histograms["x",] is one
    family.merge(two, "x")
    assert family.histograms["x",].count == 2
    assert (one.count, two.count) == (1, 1)
