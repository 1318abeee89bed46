"""``mycelium trace``: what caused a message, and what came of it, from what the stores keep."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text
from rich.tree import Tree

from mycelium.cli.fabric import asked_stores
from mycelium.cli.guard import EXIT_FAILED
from mycelium.cli.security import OperatorOption, operator_credentials
from mycelium.cli.tap import TAP_OPERATOR, Selection, known_contracts, place_of, rights_of, select_from
from mycelium.cli.tapped import Known, Record, Records, iso
from mycelium.cli.values import brief, escaped, json_line, plain
from mycelium.core.delivery.frames import StreamKey
from mycelium.core.envelope import Envelope, source_id
from mycelium.core.errors import PathError
from mycelium.core.trace import Mark, MessageId, is_marked, marks_of
from mycelium.observe.logs import configure_logging
from mycelium.spec.model import load_spec
from mycelium.topology.load import load_topology
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.keyring import Credentials
from mycelium.transport.tap import Tap

MAX_SHOWN = 200
"""Messages that are shown of one trace. Chosen by us: what one can look through."""

_NEWEST = re.compile(r"([^@]+)@([a-z0-9_-]+)#(\d{1,20})")


@dataclass(frozen=True)
class Asked:
    """Which message is asked for.

    Args:
        text: as it was written.
        topic: of its stream.
        source: hash of the publisher's name.
        sequence: in the stream.
        epoch: of the publisher's incarnation; None for the newest that has such a message.
    """

    text: str
    topic: str
    source: int
    sequence: int
    epoch: int | None

    @classmethod
    def parse(cls, text: str) -> Asked:
        """What a person has written.

        Raises:
            ValueError: it names no message.
        """
        match = _NEWEST.fullmatch(text)
        if match is not None:
            topic, source, sequence = match.groups()
            return cls(text, topic, source_id(source), int(sequence), None)
        found = MessageId.parse(text)
        return cls(text, found.topic, found.source, found.sequence, found.epoch)

    def is_in(self, envelope: Envelope) -> bool:
        """Whether it is one of these."""
        return (
            envelope.source == self.source
            and envelope.topic == self.topic
            and self.epoch in (None, envelope.epoch)
            and 0 <= self.sequence - envelope.sequence < envelope.count
        )


@dataclass(eq=False, repr=False)  # asyncio writes out what a task has returned, whatever its size
class Story:
    """What was read that has to do with traces.

    Args:
        asked: the message that is asked for.
    """

    asked: Asked
    found: Envelope | None = None
    """The frame with it."""
    frames: dict[StreamKey, list[tuple[Envelope, Mark]]] = field(default_factory=lambda: defaultdict(list))
    """Every frame with traced messages, once for each mark, in order, by stream."""
    effects: dict[MessageId, list[MessageId]] = field(default_factory=lambda: defaultdict(list))
    """What was published while a message was handled, by its id."""
    read: int = 0
    """Messages."""

    def take(self, envelope: Envelope) -> None:
        """Take note of a frame."""
        self.read += envelope.count
        if self.asked.is_in(envelope) and (self.found is None or envelope.epoch >= self.found.epoch):
            self.found = envelope
        if not is_marked(envelope):
            return
        stream = self.frames[StreamKey(envelope.source, envelope.epoch, envelope.topic)]
        for mark in marks_of(envelope):
            stream.append((envelope, mark))
            if mark.cause is not None:
                for sequence in range(mark.first, mark.last + 1):
                    one = MessageId(envelope.source, envelope.epoch, sequence, envelope.topic)
                    self.effects[mark.cause].append(one)

    @property
    def message(self) -> MessageId:
        """The id of the message that is asked for, once it is found."""
        assert self.found is not None
        return MessageId(self.found.source, self.found.epoch, self.asked.sequence, self.found.topic)

    def traced(self, message: MessageId) -> tuple[Envelope, Mark] | None:
        """The frame and the mark of a traced message; None if it is none, or no longer kept."""
        frames = self.frames.get(StreamKey(message.source, message.epoch, message.topic), [])
        place = bisect_right(frames, message.sequence, key=lambda entry: entry[1].first) - 1
        return frames[place] if place >= 0 and message.sequence <= frames[place][1].last else None

    def causes(self) -> list[MessageId]:
        """What led to the message that is asked for, the first cause first, itself last."""
        way = [self.message]
        while (entry := self.traced(way[-1])) is not None and entry[1].cause not in (None, *way):
            assert entry[1].cause is not None
            way.append(entry[1].cause)
        return way[::-1]


def trace(
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE_ID",
            help="topic@source.epoch.sequence, as logs, spans and tap --json have it; or topic@source#sequence, of the "
            "newest incarnation.",
            show_default=False,
        ),
    ],
    begin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="From where to read what is kept: earliest, so long ago (90s, 10m, 2h, 1d), or a time.",
        ),
    ] = "earliest",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per message, for programs.")] = False,
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a store may take to answer.")] = 5.0,
    operator: OperatorOption = TAP_OPERATOR,
) -> None:
    """Show what caused a message, and what came of it: as a tree, from what the stores keep.

    Causes are known of messages that were traced: the part that [tracing] ratio says, everything that was published
    while a traced one was handled, and all on the topics of [[tracing.topics]] with ratio 1.

    Exit codes: 0 the message was found, 1 it was not, or a store does not answer, 2 a file or option is wrong, or the
    operator may not read that.

    Examples:

        mycelium trace signals.flash_arbitrage.usdc@flash_arbitrage#3

        mycelium trace market.quickswap.wmatic-usdc@polygon_adapter.1764144000000000000.41 --from 1h --json
    """
    try:
        asked = Asked.parse(message)
    except ValueError as error:
        raise typer.BadParameter(escaped(str(error)), param_hint="MESSAGE_ID") from None
    topology = load_topology(config)
    addresses = asked_stores(topology)
    spec = load_spec(topology.spec_path)
    credentials = operator_credentials(topology, operator)
    rights = None if credentials is None else rights_of(spec, operator, topology.spec_path)
    known = known_contracts(spec, topology.spec_path)
    selection = select_from(known, spec, None, None, rights, operator)
    configure_logging(level="error", stream=sys.stderr)
    terminal = Console(stderr=True, soft_wrap=True)
    with terminal.status("reading what is kept") as status:
        story, names = asyncio.run(
            _read(asked, addresses, selection, credentials, tuple(spec.services), begin, seconds, status)
        )
    if story.found is None:
        terminal.print(
            f"{escaped(message)} is not among the {story.read:,} messages that are kept; is it of another incarnation, "
            "or no longer kept?",
            style="bold red",
            highlight=False,
            markup=False,
        )
        raise typer.Exit(EXIT_FAILED)
    shown = _Shown(story, known, names)
    if as_json:
        for line in shown.lines():
            print(line)  # noqa: T201 - it is what the command is for
    else:
        shown.print(Console(highlight=False))


async def _read(
    asked: Asked,
    addresses: tuple[StoreAddress, ...],
    selection: Selection,
    credentials: Credentials | None,
    services: tuple[str, ...],
    begin: str,
    seconds: float,
    status: Status,
) -> tuple[Story, Mapping[int, str]]:
    """Read everything that is kept, once."""
    start, time_ns = place_of(begin, time.time_ns())
    story = Story(asked)
    # It subscribes to nothing: only what is kept is looked at.
    async with Tap(addresses, (), selection.wants, names=services, credentials=credentials) as tapped:
        silent = await tapped.silent(seconds)
        if silent:
            raise PathError(silent[0].control, f"{silent[0].name} has not answered in {seconds:g} s; is it running?")
        deaf = await tapped.begin(selection.wishes(), start, time_ns, seconds)
        if deaf:
            raise PathError(deaf[0].control, f"{deaf[0].name} does not say where to begin: may {asked.text} be read?")
        async for batch in tapped.kept():
            for seen in batch:
                story.take(seen.envelope)
            status.update(f"reading what is kept: {story.read:,} messages")
        sources = {stream.source for stream in story.frames} | {cause.source for cause in story.effects}
        if story.found is not None:
            sources.add(story.found.source)
        return story, {source: tapped.source_name(source) for source in sources}


class _Shown:
    """A story as people or programs read it."""

    def __init__(self, story: Story, known: Mapping[int, Known], names: Mapping[int, str]) -> None:
        self._story = story
        self._names = names
        self._records = Records(known, lambda source: names.get(source, f"{source:016x}"))
        self._left = MAX_SHOWN

    def print(self, console: Console) -> None:
        """Print it as a tree."""
        story = self._story
        way = story.causes()
        began = self._time(way[0]) or self._time(story.message) or 0
        traced = story.traced(story.message)
        if traced is None:
            console.print(self._line(story.message, began))
            console.print("it was not traced: neither its cause nor what came of it is known", style="yellow")
            return
        console.print(Text(f"trace {traced[1].context.trace_id:032x}", "dim"))
        tree = Tree(self._line(way[0], began))
        node = tree
        for message in way[1:]:
            node = node.add(self._line(message, began))
        self._grow(node, story.message, began)
        console.print(tree)
        if not self._left:
            console.print(f"… more than {MAX_SHOWN} messages", style="yellow")

    def _grow(self, node: Tree, message: MessageId, began: int) -> None:
        for effect in self._story.effects.get(message, ()):
            if not self._left:
                return
            self._left -= 1
            self._grow(node.add(self._line(effect, began)), effect, began)

    def _time(self, message: MessageId) -> int | None:
        record = self._record(message)
        return None if record is None else record.published

    def _record(self, message: MessageId) -> Record | None:
        story = self._story
        traced = story.traced(message)
        envelope = story.found if message == story.message else traced[0] if traced is not None else None
        if envelope is None:
            return None
        return next(record for record in self._records.of(envelope) if record.sequence == message.sequence)

    def _line(self, message: MessageId, began: int) -> Text:
        name = self._names.get(message.source, f"{message.source:016x}")
        record = self._record(message)
        if record is None:
            return Text(f"{message.written(name)} (no longer kept, or not for this operator)", "dim")
        asked = message == self._story.message
        line = Text.assemble(
            (f"{(record.published - began) / 1e6:+.3f} ms ", "dim"),
            (escaped(message.topic), "cyan"),
            (f" {escaped(name)}#{message.sequence} ", "dim"),
            (record.name or f"type id {record.type_id}", "bold"),
            (" ◀ asked for" if asked else "", "bold yellow"),
        )
        fields = record.fields.items() if isinstance(record.fields, Mapping) else enumerate(record.fields)
        for field_name, value in fields:
            line.append(f" {escaped(str(field_name))}=", "green")
            line.append(brief(value))
        return line

    def lines(self) -> list[str]:
        """The messages as JSON: causes, the message, then what came of it."""
        story = self._story
        found: list[tuple[str, MessageId]] = [("cause", message) for message in story.causes()[:-1]]
        found.append(("asked", story.message))
        waiting = [story.message]
        while waiting:
            effects = story.effects.get(waiting.pop(), [])
            found += [("effect", effect) for effect in effects]
            waiting += effects
        return [self._json(role, message) for role, message in found]

    def _json(self, role: str, message: MessageId) -> str:
        record = self._record(message)
        line: dict[str, Any] = {"role": role, "id": message.written(self._names.get(message.source))}
        if record is not None:
            line |= {"time": iso(record.published), "type": record.name, "fields": plain(record.fields)}
            line |= {"trace_id": record.trace_id, "cause": record.cause}
        return json_line(line)
