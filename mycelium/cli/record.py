"""``mycelium record``: records what a running system publishes into a journal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from mycelium import __version__
from mycelium.cli.fabric import asked_stores
from mycelium.cli.guard import EXIT_FAILED
from mycelium.cli.recorder import Halted, Recorder
from mycelium.cli.recording import (
    DESCRIPTION,
    INCOMPLETE,
    Description,
    Lacks,
    RecordedContract,
    fingerprint_of,
    read,
)
from mycelium.cli.security import OperatorOption, operator_credentials
from mycelium.cli.tap import (
    TAP_OPERATOR,
    Selection,
    duration_ns,
    known_contracts,
    place_of,
    rights_of,
    select_from,
    time_of,
)
from mycelium.cli.tapped import Known, iso
from mycelium.cli.values import escaped
from mycelium.core.delivery.control import StreamBook
from mycelium.core.delivery.joining import Start
from mycelium.core.errors import ConfigError, MyceliumError, PathError, Problem
from mycelium.core.policy import Delivery
from mycelium.journal.tables import LEAST_BYTES
from mycelium.observe.logs import configure_logging
from mycelium.spec.access import FABRIC
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import load_topology
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import read_books
from mycelium.transport.gathering import STRANGE, Gathering, Loss
from mycelium.transport.keyring import Credentials

SECOND_NS = 1_000_000_000
SHOW_SECONDS = 0.25

_SIZE = re.compile(r"(\d+)\s*(B|[KMGT]i?B)?")
_FACTORS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def record(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to record; must not be there yet.")],
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="Which topics: '*' stands for one segment, '>' for the rest. All that may be read, by default."
        ),
    ] = None,
    contract: Annotated[
        str | None, typer.Option("--type", metavar="CONTRACT", help="Only this contract: its name, or its type id.")
    ] = None,
    begin: Annotated[
        str,
        typer.Option(
            "--from", metavar="WHERE", help="Where to begin: new, earliest, so long ago (90s, 10m, 2h, 1d), or a time."
        ),
    ] = "new",
    span: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", help="End after so long: 90s, 10m, 2h, 1d.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="End at this time (2026-01-31T12:00:00, UTC by default).")
    ] = None,
    max_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="What the journal may take, such as 500MB or 4GiB.")
    ] = "1GiB",
    halt: Annotated[
        bool, typer.Option("--halt", help="End as soon as anything is missing, instead of marking it and going on.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the recording that is there, without a hole or a repeat.")
    ] = False,
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a store may take to answer.")] = 5.0,
    operator: OperatorOption = TAP_OPERATOR,
) -> None:
    """Record what a running system publishes, until Ctrl-C, SIGTERM, --for or --until.

    It reads what the stores keep, again and again: when it is slow it lags, and loses nothing. What is missing all the
    same, since it was no longer kept or is damaged, is said in DIR/INCOMPLETE. That file is there while it records, and
    goes when it has ended in order with everything that the stores had at that moment. DIR is a journal, for 'mycelium
    journal' and 'mycelium replay'; DIR/recording.json says what it is a recording of.

    Exit codes: 0 complete, 1 INCOMPLETE, a store does not answer or the disk is full, 2 a file or option is wrong, or
    the operator may not read that.

    Examples:

        mycelium record monday --from earliest --for 8h

        mycelium record swaps 'market.>' --type SwapEvent --halt

        mycelium record monday --resume
    """
    topology = load_topology(config)
    addresses = asked_stores(topology)
    spec = load_spec(topology.spec_path)
    credentials = operator_credentials(topology, operator)
    former = _former(directory, resume=resume)
    if former is not None:
        pattern, contract = _same(former, spec, directory, pattern, contract)
    rights = None if credentials is None else rights_of(spec, operator, topology.spec_path)
    known = known_contracts(spec, topology.spec_path)
    selection = select_from(known, spec, pattern, contract, rights, operator)
    now = time.time_ns()
    start, time_ns = place_of(begin, now)
    if start is Start.LAST_VALUE:
        raise typer.BadParameter("a recording begins with new, earliest, or a time", param_hint="--from")
    end_ns = _end_of(span, until, now)
    size = bytes_of(max_bytes)
    configure_logging(level="error", stream=sys.stderr)
    lacks = read(directory / INCOMPLETE, Lacks) or Lacks(iso(now))
    description = former or Description(
        system=spec.system,
        mycelium=__version__,
        begun=iso(now),
        pattern=selection.pattern.text,
        contract=contract,
        contracts={},
    )
    description = msgspec.structs.replace(
        description, ended=None, contracts={**description.contracts, **_contracts(spec, known, selection)}
    )
    recorder = Recorder(directory, description, lacks, size, halts=halt, resumes=former is not None)
    live = frozenset(one.type_id for one in spec.contracts.values() if one.delivery is Delivery.LIVE)
    job = _Job(
        recorder, addresses, credentials, selection, live, tuple(spec.services), seconds, operator, start, time_ns,
        end_ns,
    )  # fmt: skip
    terminal = Console(stderr=True, soft_wrap=True)
    _carry_out(job, terminal)


def _carry_out(job: _Job, terminal: Console) -> None:
    recorder = job.recorder
    began, failure = time.monotonic(), ""
    try:
        asyncio.run(job.run(terminal))
    except Halted:
        failure = "something is missing, and --halt says to end then"
    except (MyceliumError, OSError) as error:
        if isinstance(error, PathError) and recorder.untouched:
            recorder.remove()
            raise
        failure = f"{error}" if isinstance(error, MyceliumError) else f"{error.strerror or error}"
    except asyncio.CancelledError:
        failure = "ended at once by a second signal"
    is_complete = recorder.close(failure)
    spent = time.monotonic() - began
    number = recorder.taken
    words = f"{number:,} message{'' if number == 1 else 's'} recorded in {spent:,.1f} s; {recorder.total}"
    if is_complete:
        terminal.print(escaped(f"{words}; complete"), style="dim", highlight=False, markup=False)
        return
    for line in (failure, *recorder.losses.sentences()):
        if line:
            terminal.print(escaped(f"error: {line}"), style="bold red", highlight=False, markup=False)
    where = recorder.losses.path
    terminal.print(escaped(f"{words}; INCOMPLETE, see {where}"), style="bold red", highlight=False, markup=False)
    raise typer.Exit(EXIT_FAILED)


# --- options -------------------------------------------------------------------------------------


def bytes_of(text: str, option: str = "--max-bytes") -> int:
    """A size such as ``500MB`` or ``4GiB``.

    Raises:
        BadParameter: it is none, or less than a journal needs.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size such as 500MB, 4GiB or a number of bytes", param_hint=option)
    unit = (match[2] or "B").removesuffix("B")
    size: int = int(match[1]) * (1024 if unit.endswith("i") else 1000) ** _FACTORS[unit.removesuffix("i")]
    if not LEAST_BYTES <= size < 1 << 46:
        raise typer.BadParameter(f"{text!r}: 1 MiB to 64 TiB are accepted", param_hint=option)
    return size


def _end_of(span: str | None, until: str | None, now_ns: int) -> int | None:
    """When to end, ns since the Unix epoch; None for never."""
    if span is not None and until is not None:
        raise typer.BadParameter("--for says already when to end; leave one of them out", param_hint="--until")
    try:
        if span is not None:
            found = duration_ns(span)
            if found is None:
                raise typer.BadParameter(f"{span!r} is no time span such as 90s, 10m or 2h", param_hint="--for")
            return now_ns + found
        if until is None:
            return None
        end = time_of(until)
    except (ValueError, OverflowError):
        which, text = ("--until", until) if span is None else ("--for", span)
        raise typer.BadParameter(f"{text!r} is no time such as 2026-01-31T12:00:00", param_hint=which) from None
    if end <= now_ns:
        raise typer.BadParameter(f"{until!r} is over; it is {iso(now_ns)}", param_hint="--until")
    return end


def _former(directory: Path, *, resume: bool) -> Description | None:
    """The recording that is there; None if there is to be a new one.

    Raises:
        ConfigError: there is one, or there is none, against what was said.
    """
    if not resume:
        if directory.exists():
            message = "is there already; go on with --resume if it is a recording, or name a directory that is not"
            raise ConfigError([Problem(str(directory), "", message)])
        return None
    found = read(directory / DESCRIPTION, Description)
    if found is None and not (directory / INCOMPLETE).is_file():
        raise ConfigError([Problem(str(directory), "", f"is no recording: there is no {DESCRIPTION}")])
    return found


def _same(
    former: Description, spec: SystemSpec, directory: Path, pattern: str | None, contract: str | None
) -> tuple[str | None, str | None]:
    """What a recording goes on with: the same as before.

    Raises:
        ConfigError: that is not what was asked for, or the system is another one.
    """
    file = str(directory / DESCRIPTION)
    problems = [
        Problem(file, key, f"cannot be another one when it goes on; asked for was {asked!r}", had)
        for key, had, asked in (("pattern", former.pattern, pattern), ("contract", former.contract, contract))
        if asked is not None and asked != had
    ]
    if former.system != spec.system:
        problems.append(Problem(file, "system", f"is not the one that runs, {spec.system!r}", former.system))
    for name, said in spec.contracts.items():
        had = former.contracts.get(str(said.type_id))
        if had is not None and had.fingerprint not in (None, fingerprint_of(said)):
            message = f"system.yaml has another {name}, fingerprint {fingerprint_of(said)}; begin a new recording"
            problems.append(Problem(file, f"contracts.{said.type_id}.fingerprint", message, had.fingerprint))
    if problems:
        raise ConfigError(problems)
    return (None if former.pattern == ">" else former.pattern), former.contract


def _contracts(spec: SystemSpec, known: Mapping[int, Known], selection: Selection) -> dict[str, RecordedContract]:
    said = {one.type_id: fingerprint_of(one) for one in spec.contracts.values()}
    said |= {one.type_id: one.fingerprint.hex() for one in FABRIC.values()}
    return {str(one): RecordedContract(known[one].name, said.get(one)) for one in selection.entries if one in known}


# --- the run -------------------------------------------------------------------------------------


@dataclass
class _Job:
    recorder: Recorder
    addresses: tuple[StoreAddress, ...]
    credentials: Credentials | None
    selection: Selection
    live: frozenset[int]
    services: tuple[str, ...]
    seconds: float
    operator: str
    start: Start
    time_ns: int
    end_ns: int | None

    async def run(self, terminal: Console) -> None:
        """Record until it is over."""
        live = self.live & self.selection.entries.keys()
        told = asyncio.Event()
        with _signals(told):
            await self._run(terminal, live, told)

    async def _run(self, terminal: Console, live: frozenset[int], told: asyncio.Event) -> None:
        recorder = self.recorder
        strange = {book.type_id for _, book in await self._strange(())}
        wishes = [wish for wish in self.selection.wishes() if wish[0] not in live]
        wishes += [(type_id, (self.selection.pattern.text,)) for type_id in sorted(strange)]
        async with Gathering(
            self.addresses,
            recorder,
            wishes,
            live=_prefixes(self.selection, live),
            is_live=lambda type_id, topic: type_id in live and self.selection.wants(type_id, topic),
            is_strange=self._is_strange,
            reached=recorder.reached,
            known=recorder.stores,
            began_ns=recorder.begun_ns,
            names=self.services,
            credentials=self.credentials,
            told=told,
        ) as gathering:
            recorder.names = gathering.names = {**recorder.names, **gathering.names}
            operator = self.operator if self.credentials is not None else ""
            with _shown(terminal, recorder, gathering):
                aside = [
                    asyncio.ensure_future(self._end(told)),
                    asyncio.ensure_future(self._announce(terminal, gathering.begun)),
                ]
                try:
                    await gathering.run(self.start, self.time_ns, self.seconds, operator)
                finally:
                    for task in aside:
                        task.cancel()
                    await asyncio.gather(*aside, return_exceptions=True)
            losses = [
                Loss(store, STRANGE, book.stream, book.first, book.last) for store, book in await self._strange(strange)
            ]
            if losses:
                recorder.lose(losses)

    async def _announce(self, terminal: Console, begun: asyncio.Event) -> None:
        """Say when every store has said where to begin: from there on nothing is missed."""
        await begun.wait()
        names = [contract.name or f"type id {one}" for one, contract in self.recorder.contracts.items()]
        words = f"recording {', '.join(names) or 'nothing'} on {self.selection.pattern.text}"
        terminal.print(escaped(words), style="dim", highlight=False, markup=False)

    async def _end(self, told: asyncio.Event) -> None:
        """Tell it to end when its time has come."""
        if self.end_ns is None:
            return
        await asyncio.sleep(max(0, self.end_ns - time.time_ns()) / SECOND_NS)
        told.set()

    async def _strange(self, recorded: Collection[int]) -> list[tuple[str, StreamBook]]:
        """What is kept is asked for by type id; those that ``system.yaml`` does not have stand in the books."""
        if self.credentials is not None or self.selection.type_id is not None:
            return []
        found: list[tuple[str, StreamBook]] = []
        for address in self.addresses:
            if address.publish is None:
                continue  # a bundle says it by itself, and may end while it is asked
            with contextlib.suppress(PathError):
                books = await read_books(address, self.seconds)
                found += [
                    (address.name, book)
                    for book in books.streams
                    if book.type_id not in recorded and self._is_strange(book.type_id, book.stream.topic)
                ]
        return found

    def _is_strange(self, type_id: int, topic: str) -> bool:
        known = {0, *self.live, *map(int, self.recorder.contracts)}
        return self.selection.type_id is None and type_id not in known and self.selection.pattern.matches(topic)


def _prefixes(selection: Selection, live: frozenset[int]) -> frozenset[bytes]:
    """What to subscribe to: what is not kept. Of prefixes that must all match the longest is enough."""
    return frozenset(
        max((pattern.prefix for pattern in patterns), key=len)
        for type_id in live
        for patterns in selection.entries[type_id]
    )


@contextlib.contextmanager
def _signals(told: asyncio.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends it in order, the second one at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def received() -> None:
        if told.is_set() and task is not None:
            task.cancel()
        told.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _shown(terminal: Console, recorder: Recorder, gathering: Gathering) -> Iterator[None]:
    """How far it has come: a line on a terminal, nothing elsewhere."""
    if not terminal.is_terminal:
        yield
        return
    seen: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def line() -> Text:
        seen.append((time.monotonic(), recorder.taken))
        del seen[:-20]
        (then, before), (now, number) = seen[0], seen[-1]
        rate = (number - before) / max(now - then, 1e-9)
        parts = [f"{number:,} messages", f"{rate:,.0f}/s", f"lag {gathering.lag:,}"]
        parts.append(f"{recorder.stored_bytes / (1 << 20):,.1f} MiB")
        missing = recorder.losses.lacks.missing
        if missing or recorder.losses.lacks.unknown:
            parts.insert(1, f"{missing:,} MISSING")
        text = "  ".join(parts)
        return Text(text, "red" if missing else "", no_wrap=True, overflow="ellipsis")

    with Live(get_renderable=line, console=Console(stderr=True), refresh_per_second=1 / SHOW_SECONDS, transient=True):
        yield
