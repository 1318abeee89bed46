"""Grammar, patterns and the trie."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.core.errors import TopicError
from mycelium.core.topics import MAX_TOPIC_BYTES, Pattern, TopicTemplate, TopicTrie, check_topic

segments = st.sampled_from(["a", "b", "eth", "ethereum", "x-1", "_sys"])
topics = st.lists(segments, min_size=1, max_size=5).map(".".join)
patterns = st.builds(
    lambda tokens, rest: ".".join([*tokens, *rest]),
    st.lists(st.one_of(segments, st.just("*")), min_size=1, max_size=4),
    st.sampled_from([[], [">"]]),
) | st.just(">")


@pytest.mark.parametrize("topic", ["a", "market.quickswap.wmatic-usdc", "_sys.stats.x", "a" * MAX_TOPIC_BYTES])
def test_a_grammatical_topic_is_returned(topic: str) -> None:
    assert check_topic(topic) == topic


@pytest.mark.parametrize("topic", ["", ".", "a..b", "A", "a.B", "a b", "é", "a.*", "a.>", "a\n", "a\0", "a" * 256])
def test_another_is_refused_with_its_text(topic: str) -> None:
    with pytest.raises(TopicError) as caught:
        check_topic(topic)
    assert caught.value.text == topic
    assert repr(topic) in str(caught.value)


def test_the_error_names_the_segment() -> None:
    with pytest.raises(TopicError, match=r"segment 'B!' must be one or more of a-z"):
        check_topic("a.B!.c")


def test_a_template_is_filled_from_fields() -> None:
    template = TopicTemplate.parse("market.{venue}.{instrument}")
    message = SimpleNamespace(venue="quick", instrument="a-b")
    assert template.fields == ("venue", "instrument")
    assert template.topic_of(message) == "market.quick.a-b"
    assert template.key_of(message) == ("quick", "a-b")
    assert template.pattern.text == "market.*.*"


def test_a_template_without_fields_is_one_topic() -> None:
    template = TopicTemplate.parse("fixed.topic")
    assert template.topic_of(object()) == "fixed.topic"
    assert template.key_of(object()) is None


@pytest.mark.parametrize("value", ["Upper", "a.b", "", "*", "a b"])
def test_a_value_that_makes_no_segment_is_refused(value: str) -> None:
    with pytest.raises(TopicError):
        TopicTemplate.parse("m.{v}").topic_of(SimpleNamespace(v=value))


@pytest.mark.parametrize("text", ["", "a.{", "a.{b", "a.x{b}", "a.{1b}", "A.{b}"])
def test_a_template_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TopicError):
        TopicTemplate.parse(text)


@pytest.mark.parametrize(
    ("pattern", "topic", "wanted"),
    [
        ("market.eth", "market.eth", True),
        ("market.eth", "market.ethereum", False),
        ("market.*", "market.eth", True),
        ("market.*", "market", False),
        ("market.*", "market.eth.x", False),
        ("market.>", "market.eth", True),
        ("market.>", "market.eth.x", True),
        ("market.>", "market", False),
        (">", "anything.at.all", True),
        ("*.quick.*", "market.quick.a", True),
        ("*.quick.*", "market.sushi.a", False),
    ],
)
def test_what_a_pattern_matches(pattern: str, topic: str, wanted: bool) -> None:
    assert Pattern.parse(pattern).matches(topic) is wanted


@pytest.mark.parametrize("text", ["", "a.>.b", ">.a", "a.**", "a.b*", "A", "a" * 256])
def test_a_pattern_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TopicError):
        Pattern.parse(text)


@given(patterns, topics)
def test_the_prefix_lets_every_match_through(pattern: str, topic: str) -> None:
    parsed = Pattern.parse(pattern)
    frame = topic.encode() + b"\0rest"
    if parsed.matches(topic):
        assert frame.startswith(parsed.prefix)


def test_the_prefix_of_an_exact_topic_is_exact() -> None:
    assert not b"market.ethereum\0".startswith(Pattern.parse("market.eth").prefix)


@given(st.lists(patterns, max_size=8), topics)
def test_the_trie_finds_what_the_patterns_say(texts: list[str], topic: str) -> None:
    trie: TopicTrie[int] = TopicTrie()
    for number, text in enumerate(texts):
        trie.add(Pattern.parse(text), number)
    expected = [number for number, text in enumerate(texts) if Pattern.parse(text).matches(topic)]
    assert trie.match(topic) == expected


@given(st.lists(st.tuples(patterns, st.booleans()), max_size=8), topics)
def test_what_was_removed_is_not_found_and_leaves_nothing(entries: list[tuple[str, bool]], topic: str) -> None:
    trie: TopicTrie[object] = TopicTrie()
    values = [(Pattern.parse(text), object(), keep) for text, keep in entries]
    for pattern, value, _ in values:
        trie.add(pattern, value)
    for pattern, value, keep in values:
        if not keep:
            trie.remove(pattern, value)
    assert trie.match(topic) == [value for pattern, value, keep in values if keep and pattern.matches(topic)]
    for pattern, value, keep in values:
        if keep:
            trie.remove(pattern, value)
    assert not trie._root.children


def test_removing_what_is_not_there_is_an_error() -> None:
    trie: TopicTrie[int] = TopicTrie()
    trie.add(Pattern.parse("a.b"), 1)
    with pytest.raises(KeyError):
        trie.remove(Pattern.parse("a.b"), 2)
    with pytest.raises(KeyError):
        trie.remove(Pattern.parse("a.c"), 1)


@given(patterns, patterns, topics)
def test_covering_and_overlapping_agree_with_matching(first: str, second: str, topic: str) -> None:
    one, other = Pattern.parse(first), Pattern.parse(second)
    if one.matches(topic) and other.matches(topic):
        assert one.overlaps(other)
        assert other.overlaps(one)
    if one.covers(other) and other.matches(topic):
        assert one.matches(topic)


def test_patterns_without_a_common_topic_do_not_overlap() -> None:
    assert not Pattern.parse("a.*").overlaps(Pattern.parse("b.*"))
    assert not Pattern.parse("a.*").overlaps(Pattern.parse("a.*.*"))
    assert Pattern.parse("a.>").overlaps(Pattern.parse("*.b.c"))
