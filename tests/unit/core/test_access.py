"""The access list, against all topics of a small alphabet."""

from __future__ import annotations

import itertools

from hypothesis import assume, given
from hypothesis import strategies as st

from mycelium.core.access import Access, Entry, Rights
from mycelium.core.topics import Pattern

ME = "me"
SEGMENTS = ("a", "ab", "b", "z")
"""Those of the patterns, one of which begins another one, and one that stands in none of them."""

TOPICS = [".".join(parts) for length in range(1, 5) for parts in itertools.product(SEGMENTS, repeat=length)]
"""One segment longer than any pattern."""

tokens = st.sampled_from(("a", "ab", "b", "*"))
patterns = (
    st.lists(tokens, min_size=1, max_size=3)
    | st.lists(tokens, max_size=2).map(lambda found: [*found, ">"])
).map(lambda found: Pattern.parse(".".join(found)))  # fmt: skip
entries = st.builds(Entry, st.integers(1, 2), patterns)
some = st.lists(entries, max_size=3).map(tuple)


def frame(topic: str) -> bytes:
    """How a frame begins."""
    return topic.encode() + b"\0"


PREFIXES = sorted({frame(topic)[:length] for topic in TOPICS if topic.count(".") < 3 for length in range(8)})


def reading(*subscribes: Entry) -> Access:
    return Access({ME: Rights(subscribes=subscribes)})


@given(some, some)
def test_where_nothing_leaks_all_that_comes_with_a_prefix_is_for_its_reader(
    subscribes: tuple[Entry, ...], contracts: tuple[Entry, ...]
) -> None:
    access = reading(*subscribes)
    assume(not list(access.leaks(contracts)))
    granted = [prefix for prefix in PREFIXES if access.may_subscribe(ME, prefix)]
    for contract in contracts:
        for topic in filter(contract.pattern.matches, TOPICS):
            if any(frame(topic).startswith(prefix) for prefix in granted):
                assert access.may_read(ME, contract.type_id, topic), topic


@given(some, some)
def test_what_is_said_to_leak_does(subscribes: tuple[Entry, ...], contracts: tuple[Entry, ...]) -> None:
    """What is named would come, of a contract that is used, and no entry lets all of it be read."""
    access = reading(*subscribes)
    for name, entry, through in access.leaks(contracts):
        assert (name, entry in subscribes) == (ME, True)
        coming = [topic for topic in TOPICS if through.pattern.matches(topic)]
        assert coming
        for topic in coming:
            assert frame(topic).startswith(entry.pattern.prefix)
            assert any(contract.matches(through.type_id, topic) for contract in contracts)
        for mine in subscribes:
            assert not all(mine.matches(through.type_id, topic) for topic in coming)


@given(entries, some)
def test_a_reader_of_all_that_begins_so_is_not_said_to_get_too_much(entry: Entry, contracts: tuple[Entry, ...]) -> None:
    """Whatever is used: with one entry, a leak is a topic that comes and may not be read."""
    access = reading(entry)
    leaking = {contract.type_id for _, _, contract in access.leaks(contracts)}
    coming = {
        contract.type_id
        for contract in contracts
        for topic in filter(contract.pattern.matches, TOPICS)
        if frame(topic).startswith(entry.pattern.prefix) and not access.may_read(ME, contract.type_id, topic)
    }
    assert leaking == coming


@given(entries, st.integers(1, 2), patterns)
def test_one_entry_lets_join_whoever_wants_none_but_its_topics(entry: Entry, type_id: int, wanted: Pattern) -> None:
    may = reading(entry).may_join(ME, type_id, [wanted])
    assert may == all(entry.matches(type_id, topic) for topic in TOPICS if wanted.matches(topic))


@given(some, st.integers(1, 2), st.lists(patterns, max_size=3))
def test_whoever_may_join_may_read_all_that_matches(
    subscribes: tuple[Entry, ...], type_id: int, wanted: list[Pattern]
) -> None:
    access = reading(*subscribes)
    if access.may_join(ME, type_id, wanted):
        for topic in TOPICS:
            if all(pattern.matches(topic) for pattern in wanted):
                assert access.may_read(ME, type_id, topic), topic


@given(some, patterns)
def test_a_prefix_is_granted_if_an_entry_begins_it(subscribes: tuple[Entry, ...], wanted: Pattern) -> None:
    """And so whoever may join may subscribe."""
    access = reading(*subscribes)
    for prefix in (*PREFIXES, wanted.prefix):
        begun = any(prefix.startswith(entry.pattern.prefix) for entry in subscribes)
        assert access.may_subscribe(ME, prefix) == begun
    if any(access.may_join(ME, entry.type_id, [wanted]) for entry in subscribes):
        assert access.may_subscribe(ME, wanted.prefix)


@given(some, some, st.integers(0, 2), st.sampled_from(TOPICS))
def test_publishing_and_reading_are_told_apart(
    publishes: tuple[Entry, ...], subscribes: tuple[Entry, ...], type_id: int, topic: str
) -> None:
    access = Access({ME: Rights(publishes=publishes, subscribes=subscribes)})
    assert access.may_publish(ME, type_id, topic) == any(
        (entry.type_id, entry.pattern.matches(topic)) == (type_id, True) for entry in publishes
    )
    # A store that does not know the contract of a stream any more asks with 0.
    assert access.may_read(ME, type_id, topic) == any(
        entry.pattern.matches(topic) for entry in subscribes if type_id in (0, entry.type_id)
    )


@given(entries, st.sampled_from(PREFIXES), patterns)
def test_whoever_is_not_on_the_list_may_nothing(entry: Entry, prefix: bytes, wanted: Pattern) -> None:
    access = Access({ME: Rights((entry,), (entry,), is_operator=True)})
    assert ME in access
    assert "other" not in access
    assert not access.rights("other").is_operator
    assert not access.may_subscribe("other", prefix)
    assert not access.may_join("other", entry.type_id, [wanted])
    for topic in TOPICS:
        assert not access.may_publish("other", entry.type_id, topic)
        assert not access.may_read("other", 0, topic)
