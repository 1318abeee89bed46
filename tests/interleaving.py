"""Hypothesis strategies: the messages of several streams as a reader in another process may get them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from mycelium.core.message import Message, contract_of


def streams_of(messages: Iterable[Message]) -> list[list[Message]]:
    """The messages by topic, each in its order."""
    streams: dict[str, list[Message]] = {}
    for message in messages:
        template = contract_of(type(message)).topic
        topic = template.fill([getattr(message, name) for name in template.fields])
        streams.setdefault(topic, []).append(message)
    return list(streams.values())


@st.composite
def interleaved(draw: st.DrawFn, messages: Sequence[Message], *, repeats: bool = True) -> list[Message]:
    """Every stream in its order, in any order among one another; and parts of streams once more.

    A stream is behind the others by a lag of its own, from nothing to all that there is. A part comes again as after a
    crash of the reader: the stream goes back some way, and on from there.
    """
    streams = [[(place, message) for place, message in part] for part in _numbered(messages)]
    arriving: list[tuple[Any, ...]] = []
    for number, stream in enumerate(streams):
        lag = draw(st.sampled_from((0, 0, 1, 3, 20, len(messages))))
        if repeats and draw(st.booleans()):
            end = draw(st.integers(1, len(stream)))
            stream = stream[:end] + stream[draw(st.integers(0, end - 1)) :]
        latest = 0
        for order, (place, message) in enumerate(stream):
            latest = max(latest, place + lag)
            arriving.append((latest, number, order, message))
    jitter = draw(st.permutations(range(len(streams))))
    arriving.sort(key=lambda entry: (entry[0], jitter[entry[1]], entry[2]))
    return [entry[-1] for entry in arriving]


def _numbered(messages: Sequence[Message]) -> list[list[tuple[int, Message]]]:
    places = {id(message): place for place, message in enumerate(messages)}
    return [[(places[id(message)], message) for message in stream] for stream in streams_of(messages)]
