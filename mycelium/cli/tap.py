"""``mycelium tap``: reads along with a running system, message by message."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from mycelium.cli import completion
from mycelium.cli.conditions import Condition
from mycelium.cli.fabric import asked_stores
from mycelium.cli.security import OperatorOption, operator_credentials
from mycelium.cli.tapped import Known, Record, Records, as_json, as_text
from mycelium.cli.values import escaped, json_line
from mycelium.core.access import Rights
from mycelium.core.delivery.joining import Start
from mycelium.core.errors import ConfigError, PathError, Problem, TopicError
from mycelium.core.topics import Pattern
from mycelium.core.unbooked import UNBOOKED
from mycelium.observe.logs import configure_logging
from mycelium.spec.access import FABRIC, access_of, entries_of
from mycelium.spec.code import import_code
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import load_topology
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import read_books
from mycelium.transport.keyring import Credentials
from mycelium.transport.tap import Seen, Tap, Wish

TAP_OPERATOR = "tap"

HINT_SECONDS = 5.0
"""How long nothing may come before it is said what the reason could be."""

WRITE_SECONDS = 0.5
"""How long what is half written may take when the tap is told to end."""

_AGE = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


def tap(
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="Which topics: '*' stands for one segment, '>' for the rest. By default all that may be read, but "
            "for what processes say of themselves."
        ),
    ] = None,
    contract: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="CONTRACT",
            help="Only this contract: its name, or its type id.",
            autocompletion=completion.contracts,
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only messages of which this holds; also !=, >, <, >=, <=. May be repeated: all must hold.",
        ),
    ] = None,
    begin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="Where to begin: new, earliest, last_value, so long ago (90s, 10m, 2h, 1d), or a time "
            "(2026-01-31T12:00:00, UTC by default).",
        ),
    ] = "new",
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")] = False,
    one_line: Annotated[
        bool, typer.Option("--one-line", help="Cut each message to one line of the terminal, with …, and fold nothing.")
    ] = False,
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a store may take to answer.")] = 5.0,
    operator: OperatorOption = TAP_OPERATOR,
) -> None:
    """Read along with a running system: each message with its time, topic, source, number, contract and fields.

    It takes nothing from anybody and nobody waits for it: what it has no time to show, it leaves out, the oldest
    first, and says at the end how many. With --from it reads what is kept first, as fast as it is shown.
    A message whose contract is not in system.yaml is shown without the names of its fields.

    Messages go to standard output, all else to standard error. Ctrl-C ends it.

    Exit codes: 0 ended by Ctrl-C, by --count or by whoever reads the output, 1 a store does not answer, 2 a file or
    option is wrong, or the operator may not read that.

    Examples:

        mycelium tap

        mycelium tap 'market.quickswap.*' --where 'amount0>1e18'

        mycelium tap --type ArbitrageSignal --from 10m --json | jq .fields.net_profit
    """
    topology = load_topology(config)
    addresses = asked_stores(topology)
    spec = load_spec(topology.spec_path)
    credentials = operator_credentials(topology, operator)
    rights = None if credentials is None else rights_of(spec, operator, topology.spec_path)
    known = known_contracts(spec, topology.spec_path)
    selection = select_from(known, spec, pattern, contract, rights, operator)
    conditions = _conditions(where or [], known, selection)
    start, time_ns = place_of(begin, time.time_ns())
    configure_logging(level="error", stream=sys.stderr)
    display = Display(sys.stdout.fileno(), conditions, count, in_json=as_json, fold=not one_line)
    notes = Notes(Console(stderr=True, soft_wrap=True), in_json=as_json)
    if not selection.entries:
        notes.say(f"{selection.pattern.text} matches no topic of system.yaml; those are {_topics(spec)}")
    job = _Job(addresses, credentials, selection, known, display, notes, tuple(spec.services), seconds, operator)
    tapped = asyncio.run(job.run(start, time_ns))
    if display.closed:
        return  # whoever has read it has seen enough, as with "| head"
    figures = {"messages": display.shown, "missed": tapped.missed, "refused": tapped.refused}
    if as_json:
        notes.say_json(figures)
        return
    words = f"{display.shown:,} message{'' if display.shown == 1 else 's'}"
    if tapped.missed:
        words += f"; {tapped.missed:,} missed: they came faster than they were shown, or are no longer kept"
    if tapped.refused:
        words += f"; {tapped.refused:,} damaged frames"
    notes.say(words, style="dim")


# --- what is read ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """What a tap reads.

    Args:
        pattern: the topics that it was asked for.
        type_id: the only contract; None for all.
        entries: patterns by type id: for each contract, those that all its topics must match.
        granted: whether nothing beyond the entries may be read, because there are keys.
        left_out: type ids of contracts that are not wanted.
    """

    pattern: Pattern
    type_id: int | None
    entries: Mapping[int, tuple[tuple[Pattern, ...], ...]]
    granted: bool
    left_out: Collection[int] = ()

    def wants(self, type_id: int, topic: str) -> bool:
        """Whether a message is to be shown."""
        if self.type_id not in (None, type_id) or type_id in self.left_out or not self.pattern.matches(topic):
            return False
        if not self.granted:
            return True
        entries = self.entries.get(type_id, ())
        return any(all(pattern.matches(topic) for pattern in patterns) for patterns in entries)

    def prefixes(self) -> frozenset[bytes]:
        """What to subscribe to: all that the pattern can match, or what of it is granted."""
        if not self.granted:
            return frozenset((self.pattern.prefix,))
        # Of prefixes that must all match the longest is enough.
        return frozenset(
            max((pattern.prefix for pattern in patterns), key=len)
            for entries in self.entries.values()
            for patterns in entries
        )

    def wishes(self) -> list[Wish]:
        """What to ask a store for of what is kept."""
        return [
            (type_id, tuple(pattern.text for pattern in patterns))
            for type_id, entries in self.entries.items()
            for patterns in entries
        ]


def known_contracts(spec: SystemSpec, spec_path: Path) -> dict[int, Known]:
    """The contracts of a system and of the fabric, by type id; without a class where the code is not there."""
    code = import_code(spec, spec_path)
    known = {}
    for name, said in spec.contracts.items():
        contract = code.contracts.get(name)
        if contract is not None and contract.type_id != said.type_id:
            contract = None
        known[said.type_id] = Known(name, tuple(said.fields), contract)
    for name, contract in FABRIC.items():
        known[contract.type_id] = Known(name, tuple(field.name for field in contract.fields), contract)
    return known


def select_from(
    known: Mapping[int, Known],
    spec: SystemSpec,
    pattern: str | None,
    contract: str | None,
    rights: Rights | None,
    operator: str,
) -> Selection:
    """What to read.

    Args:
        known: the contracts.
        spec: says what travels where.
        pattern: which topics; None for all that may be read.
        contract: the only contract; None for all.
        rights: what may be read; None without keys, where that is everything.
        operator: whose they are.

    Raises:
        BadParameter: the pattern is not grammatical, or there is no such contract.
        ConfigError: it is more than may be read.
    """
    try:
        wanted = Pattern.parse(">" if pattern is None else pattern)
    except TopicError as error:
        raise typer.BadParameter(escaped(str(error)), param_hint="PATTERN") from None
    type_id = None if contract is None else _type_id(known, contract)
    topics = {entry.type_id: entry.pattern for entry in entries_of(spec).values()}
    # Every process says it once a second. Among what services say, that is noise.
    left_out = UNBOOKED if pattern is None and type_id is None else frozenset()
    asked = {one: all_topics for one, all_topics in topics.items() if type_id in (None, one) and one not in left_out}
    asked = {one: all_topics for one, all_topics in asked.items() if wanted.overlaps(all_topics)}
    if rights is None:
        if type_id is not None and type_id not in topics:
            asked[type_id] = wanted
        found = {one: ((wanted, all_topics),) for one, all_topics in asked.items()}
        return Selection(wanted, type_id, found, granted=False, left_out=left_out)
    entries: dict[int, tuple[tuple[Pattern, ...], ...]] = {}
    for one, all_topics in asked.items():
        mine = [entry.pattern for entry in rights.subscribes if entry.type_id == one]
        if pattern is not None and not any(entry.covers(wanted) or entry.covers(all_topics) for entry in mine):
            raise _not_granted(operator, known[one].name, wanted, mine)
        overlapping = tuple((wanted, entry) for entry in mine if entry.overlaps(wanted))
        if overlapping:
            entries[one] = overlapping
    if not entries:
        what = wanted.text if type_id is None else f"{contract} on {wanted.text}"
        granted = ", ".join(f"{known[entry.type_id].name} on {entry.pattern.text}" for entry in rights.subscribes)
        message = f"system.yaml lets it read {granted or 'nothing'}; that is not {what}"
        raise ConfigError([Problem("--as", operator, message)])
    return Selection(wanted, type_id, entries, granted=True)


def _not_granted(operator: str, name: str, wanted: Pattern, mine: Collection[Pattern]) -> ConfigError:
    allowed = f"it only on {', '.join(pattern.text for pattern in mine)}" if mine else "none of it"
    message = f"may not read {name} on {wanted.text}: system.yaml lets it read {allowed}"
    return ConfigError([Problem("--as", operator, message)])


def rights_of(spec: SystemSpec, operator: str, spec_path: Path) -> Rights:
    """What an operator may do.

    Raises:
        ConfigError: there is no such operator.
    """
    access = access_of(spec)
    if operator not in access:
        known = ", ".join(spec.operators) or "none"
        raise ConfigError([Problem(str(spec_path), "operators", f"has no such operator; those are {known}", operator)])
    return access.rights(operator)


def _type_id(known: Mapping[int, Known], contract: str) -> int:
    if contract.isdecimal():
        return int(contract)
    for type_id, entry in known.items():
        if entry.name == contract:
            return type_id
    names = ", ".join(entry.name for entry in known.values())
    raise typer.BadParameter(f"{contract!r} is no contract of system.yaml; those are {names}", param_hint="--type")


def _conditions(texts: Collection[str], known: Mapping[int, Known], selection: Selection) -> list[Condition]:
    names = {name for type_id in selection.entries if type_id in known for name in known[type_id].fields}
    found = []
    for text in texts:
        try:
            condition = Condition.parse(text)
        except ValueError as error:
            raise typer.BadParameter(escaped(str(error)), param_hint="--where") from None
        first = condition.path[0]
        if names and first not in names and not first.isdecimal():
            message = f"no contract that is read has a field {first!r}; there are {', '.join(sorted(names))}"
            raise typer.BadParameter(message, param_hint="--where")
        found.append(condition)
    return found


def place_of(text: str, now_ns: int) -> tuple[Start, int]:
    """Where to begin: what ``--from`` says, and the time in ns for one.

    Raises:
        BadParameter: it says nothing that is known.
    """
    if text in (Start.NEW, Start.EARLIEST, Start.LAST_VALUE):
        return Start(text), 0
    try:
        back_ns = duration_ns(text)
        return Start.TIME, max(0, time_of(text) if back_ns is None else now_ns - back_ns)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is none of new, earliest and last_value, no time ago such as 10m, and no time such as "
            "2026-01-31T12:00:00",
            param_hint="--from",
        ) from None


def duration_ns(text: str) -> int | None:
    """A time span such as ``10m``, in ns; None if it is none.

    Raises:
        OverflowError: it is longer than times go.
    """
    age = _AGE.fullmatch(text)
    return None if age is None else timedelta(**{_UNITS[age[2]]: int(age[1])}) // timedelta(microseconds=1) * 1_000


def time_of(text: str) -> int:
    """A time such as ``2026-01-31T12:00:00``, in ns since the Unix epoch; in UTC unless it says otherwise.

    Raises:
        ValueError: it is none.
    """
    found = datetime.fromisoformat(text)
    return ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1) * 1_000


# --- what is shown ---------------------------------------------------------------------------


class Notes:
    """Says on standard error what is no message.

    Args:
        console: where to.
        in_json: as JSON, for programs.
    """

    def __init__(self, console: Console, *, in_json: bool) -> None:
        self._console = console
        self._in_json = in_json
        self.is_terminal: bool = console.is_terminal

    def say(self, text: str, style: str = "yellow") -> None:
        """Say a sentence."""
        if self._in_json:
            self.say_json({"note": text})
        else:
            self._console.print(escaped(text), highlight=False, markup=False, style=style)

    def say_json(self, value: Mapping[str, Any]) -> None:
        """Say figures."""
        self._console.print(json_line(value), highlight=False, markup=False)


class Display:
    """Shows records.

    Args:
        descriptor: where to; an open file.
        conditions: that must all hold.
        count: how many records at most; None for no end.
        in_json: as JSON, instead of for a person.
        fold: whether what is too long for the terminal goes into further lines.
    """

    def __init__(
        self, descriptor: int, conditions: Collection[Condition], count: int | None, *, in_json: bool, fold: bool
    ) -> None:
        self._descriptor = descriptor
        self._conditions = tuple(conditions)
        self._count = count
        self._in_json = in_json
        self._fold = fold
        self._console = Console(highlight=False, soft_wrap=True)
        self.shown: int = 0
        self.left_out: int = 0
        """Messages of which a condition does not hold."""
        self.closed: bool = False
        """Whether nobody reads the output any more."""

    def show(self, records: Iterator[Record]) -> bool:
        """Show them; whether there may be more."""
        lines = []
        wanted = 0
        for record in records:
            if not all(condition.holds(record.fields) for condition in self._conditions):
                self.left_out += 1
                continue
            lines.append(self._line(record))
            wanted += 1
            if self._count is not None and self.shown + wanted >= self._count:
                break
        try:
            write(self._descriptor, "".join(lines).encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            self.closed = True
            return False
        self.shown += wanted
        return self._count is None or self.shown < self._count

    def _line(self, record: Record) -> str:
        if self._in_json:
            return as_json(record) + "\n"
        width = self._console.width if self._console.is_terminal else None
        with self._console.capture() as captured:
            for line in as_text(record, width, fold=self._fold):
                self._console.print(line)
        return captured.get()


def write(descriptor: int, data: bytes) -> None:
    """Write all of it, however long that takes. Past Python's buffers: nothing may wait in them when we end.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select((), (descriptor,), ())


# --- the run ---------------------------------------------------------------------------------


@dataclass
class _Job:
    addresses: tuple[StoreAddress, ...]
    credentials: Credentials | None
    selection: Selection
    known: Mapping[int, Known]
    display: Display
    notes: Notes
    services: tuple[str, ...]
    seconds: float
    operator: str

    async def run(self, start: Start, time_ns: int) -> Tap:
        """Read and show until it is over."""
        told = asyncio.Event()
        async with Tap(
            self.addresses,
            self.selection.prefixes(),
            self.selection.wants,
            names=self.services,
            credentials=self.credentials,
        ) as tapped:
            with _told_to_end(told):
                reading = asyncio.create_task(self._read(tapped, start, time_ns))
                ending = asyncio.create_task(told.wait())
                await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
                for task in (reading, ending):
                    task.cancel()
                await asyncio.gather(ending, return_exceptions=True)
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
            return tapped

    async def _read(self, tapped: Tap, start: Start, time_ns: int) -> None:
        silent = await tapped.silent(self.seconds)
        if len(silent) == len(self.addresses):
            raise self._no_answer(silent[0])
        for address in silent:
            self.notes.say(f"{address.name} has not answered in {self.seconds:g} s, and is left out until it does")
        if self.credentials is not None or start is not Start.NEW:
            wishes = await self._wishes(start)
            deaf = await tapped.begin(wishes, start, time_ns, self.seconds)
            if deaf:
                raise PathError(
                    deaf[0].control,
                    f"{deaf[0].name} does not say where to begin: it may go by another system.yaml, which lets "
                    f"{self.operator} read less",
                )
        names = ", ".join(
            self.known[one].name if one in self.known else f"type id {one}" for one in self.selection.entries
        )
        self.notes.say(f"reading {names or 'whatever comes'} on {self.selection.pattern.text}", style="dim")
        hinting = asyncio.create_task(self._hint()) if self.notes.is_terminal else None
        records = Records(self.known, tapped.source_name)
        try:
            async for batch in tapped.batches():
                if not await _in_thread(partial(self.display.show, _all(records, batch))):
                    break
        finally:
            if hinting is not None:
                hinting.cancel()
                await asyncio.gather(hinting, return_exceptions=True)

    async def _wishes(self, start: Start) -> list[Wish]:
        """What is kept is asked for by type id; those that system.yaml does not have stand in the books."""
        wishes = self.selection.wishes()
        if self.selection.granted or start is Start.NEW or self.selection.type_id is not None:
            return wishes
        strange: set[int] = set()
        for address in self.addresses:
            with contextlib.suppress(PathError):
                books = await read_books(address, self.seconds)
                strange |= {book.type_id for book in books.streams if book.type_id not in self.known}
        return [*wishes, *((type_id, (self.selection.pattern.text,)) for type_id in sorted(strange - {0}))]

    async def _hint(self) -> None:
        await asyncio.sleep(HINT_SECONDS)
        if self.display.shown:
            return
        why = "nobody publishes there at the moment; --from earliest shows what is kept"
        if self.display.left_out:
            why = f"{self.display.left_out:,} messages came, and --where holds of none of them"
        elif not self.selection.entries:
            why = "no contract of system.yaml travels there"
        self.notes.say(f"nothing to show in {HINT_SECONDS:g} s: {why}")

    def _no_answer(self, address: StoreAddress) -> PathError:
        hint = "is it running?"
        if self.credentials is not None:
            hint = f"is it running, and does it accept {self.operator}?"
        return PathError(address.control, f"{address.name} has not answered in {self.seconds:g} s; {hint}")


def _topics(spec: SystemSpec) -> str:
    topics = [f"{contract.topic} ({name})" for name, contract in spec.contracts.items()]
    return ", ".join([*topics, *(f"{contract.topic.text} ({name})" for name, contract in FABRIC.items())])


def _all(records: Records, batch: list[Seen]) -> Iterator[Record]:
    for seen in batch:
        yield from records.of(seen.envelope, seen.skip)


@contextlib.contextmanager
def _told_to_end(told: asyncio.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end it, whatever it is doing."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, told.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _in_thread(work: Callable[[], T]) -> T:
    """Do it in a thread of its own, so that what comes is still taken while a terminal or a pipe stands still.

    The thread is a daemon: where the output stands still for ever, it must not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="tap shows", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done], timeout=WRITE_SECONDS)  # else the count would be one of what was half shown
        raise
