"""``mycelium replay``: publishes a recording into a running system, in the place of the services that published it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mycelium.bus.clock import SystemClock
from mycelium.cli.fabric import asked_stores, fabric_of, readers_of
from mycelium.cli.guard import EXIT_FAILED, EXIT_INTERRUPTED
from mycelium.cli.recording import DESCRIPTION, INCOMPLETE, Description, Lacks, read
from mycelium.cli.replaying import Replay, Window, read_in_order
from mycelium.cli.security import DEFAULT_OPERATOR, operator_credentials
from mycelium.cli.system import System, load_system
from mycelium.cli.tap import time_of
from mycelium.cli.values import escaped
from mycelium.core.envelope import decode_frame
from mycelium.core.errors import ConfigError, Problem, TopicError
from mycelium.core.message import Contract
from mycelium.core.topics import Pattern
from mycelium.journal import JournalDamagedError, JournalError, JournalFullError, LmdbJournal
from mycelium.journal.disk import DATA
from mycelium.journal.tables import LEAST_BYTES
from mycelium.observe.logs import configure_logging
from mycelium.spec.access import FABRIC
from mycelium.topology.model import Mode
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.books import read_clients
from mycelium.transport.clerk import SILENT_NS
from mycelium.transport.keyring import Credentials

ASK_SECONDS = 5.0
"""How long a broker may take to say who is there."""

PATIENCE_SECONDS = 1.0
"""Beyond what a broker takes to forget a client that is silent."""

SHOW_SECONDS = 0.25
NARROW = 70
"""Columns of a terminal below which there is no room for a bar."""


def replay(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The recording, of 'mycelium record'.")],
    pattern: Annotated[
        str, typer.Argument(help="Which topics: '*' stands for one segment, '>' for the rest. All by default.")
    ] = ">",
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/distributed.toml"
    ),
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only what this service published. May be repeated. All by default."),
    ] = None,
    speed: Annotated[
        str,
        typer.Option(metavar="FACTOR", help="As fast as it was recorded (1), faster (10), slower (0.5), or max."),
    ] = "1",
    loop: Annotated[str, typer.Option(metavar="N", help="How often: a number, or forever.")] = "1",
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="WHERE", help="First position in DIR, or time (2026-01-31T12:00:00, UTC)."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="WHERE", help="Last position, or the time before which to end.")
    ] = None,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Publish also a recording in which messages are missing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the terminal.")] = False,
) -> None:
    """Publish a recording into a running system, in the place of the services that published it.

    Each of them publishes under its own name, as a new incarnation, with the times of now, in the order and at the pace
    in which it was recorded. The real ones must not run. In mode bundled it takes the place of one bundle. It begins
    when the handlers that read those messages are there.

    Ctrl-C and SIGTERM end it after the message at hand, when everything is confirmed.

    Exit codes: 0 done, 1 not everything was confirmed, a store does not answer or the recording is damaged, 2 a file or
    option is wrong, or the recording is INCOMPLETE, 130 ended by Ctrl-C.

    Examples:

        mycelium replay monday --config config/distributed.toml --source polygon_adapter --speed max

        mycelium replay monday 'market.>' --from 2026-01-31T12:00:00 --loop forever
    """
    window = _window(pattern, begin, end)
    factor, rounds = _factor(speed), _rounds(loop)
    description, problem = _description(directory), _lack(directory)
    if problem is not None and not allow_incomplete:
        raise ConfigError([problem])
    system = load_system(config)
    if system.topology.values.deployment.mode is Mode.MONOLITH:
        message = (
            "runs in one process, whose services nobody can stand in for from outside; split it into bundles and say "
            "'bundled', or put a service of your own in the place of the one that publishes"
        )
        origin = system.topology.origin("deployment", "mode")
        raise ConfigError([Problem(origin, "deployment.mode", message, Mode.MONOLITH.value)])
    configure_logging(level="error", stream=sys.stderr)
    terminal = Console(stderr=True, soft_wrap=True)
    with _opened(directory) as journal:
        names, window = _sources(directory, description, journal, window, source or ())
        placed = _placed(system, sorted(names.values()))
        contracts = _contracts(system, directory, description, journal, window)
        _refuse_running(system, placed, terminal)
        there = {other for name in placed for other in _of_one_process(system, name)}
        published = {contract.message_type for contract in contracts.values()}
        work = Replay(
            journal,
            window,
            names,
            contracts,
            fabric=fabric_of(system, placed),
            clock=SystemClock(),
            speed=factor,
            rounds=rounds,
            readers=readers_of(system, published, there),
            late=lambda late: _say(
                terminal,
                f"{', '.join(sorted(late))} did not come; they miss what is published before they do",
                "yellow",
            ),
        )
        total = _total(journal, window) if terminal.is_terminal and not quiet else None
        interrupts: list[signal.Signals] = []
        try:
            asyncio.run(_run(work, terminal, total, rounds, interrupts))
        except asyncio.CancelledError:
            _say(terminal, "ended at once; what was not confirmed may be lost", "bold red")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    _end(work, terminal, interrupts, rounds)


def _end(work: Replay, terminal: Console, interrupts: Sequence[signal.Signals], rounds: int | None) -> None:
    ledger, number = work.ledger(), work.progress.published
    refused = sum(ledger.refused.values())
    confirmed = max(0, number - ledger.unconfirmed - refused)
    words = f"{number:,} message{'' if number == 1 else 's'} published, {confirmed:,} confirmed"
    if rounds != 1:
        words += f"; {work.progress.rounds:,} whole round{'' if work.progress.rounds == 1 else 's'}"
    _say(terminal, words, "dim" if confirmed == number else "bold red")
    if confirmed != number:
        for cause, count in ledger.refused.items():
            _say(terminal, f"error: {count:,} refused: {cause}", "bold red")
        raise typer.Exit(EXIT_FAILED)
    if signal.SIGINT in interrupts:
        raise typer.Exit(EXIT_INTERRUPTED)


def _say(terminal: Console, text: str, style: str) -> None:
    terminal.print(escaped(text), style=style, highlight=False, markup=False)


# --- options -------------------------------------------------------------------------------------


def _window(pattern: str, begin: str | None, end: str | None) -> Window:
    try:
        window = Window(Pattern.parse(pattern))
    except TopicError as error:
        raise typer.BadParameter(escaped(str(error)), param_hint="PATTERN") from None
    if begin is not None:
        number, time_ns = _place(begin, "--from")
        window = replace(window, from_position=number or 0, from_ns=time_ns or 0)
    if end is not None:
        number, time_ns = _place(end, "--to")
        if number is not None:
            window = replace(window, to_position=number)
        elif time_ns is not None:
            window = replace(window, to_ns=time_ns)
    return window


def _place(text: str, option: str) -> tuple[int | None, int | None]:
    """A position or a time in ns."""
    if text.isdecimal():
        return int(text), None
    try:
        return None, time_of(text)
    except (ValueError, OverflowError):
        message = f"{text!r} is neither a position nor a time such as 2026-01-31T12:00:00"
        raise typer.BadParameter(message, param_hint=option) from None


def _factor(text: str) -> float | None:
    """How many times as fast; None for as fast as possible."""
    if text == "max":
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise typer.BadParameter(f"{text!r} is no number above 0, nor max", param_hint="--speed")
    return found


def _rounds(text: str) -> int | None:
    """How often; None for ever."""
    if text == "forever":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is no number from 1, nor forever", param_hint="--loop")
    return int(text)


# --- the recording -------------------------------------------------------------------------------


def _description(directory: Path) -> Description:
    found = read(directory / DESCRIPTION, Description)
    if found is None:
        raise ConfigError([Problem(str(directory), "", f"is no recording: there is no {DESCRIPTION}")])
    return found


def _lack(directory: Path) -> Problem | None:
    """Why a recording is not to be trusted; None if it is whole."""
    lacks = read(directory / INCOMPLETE, Lacks)
    if lacks is None:
        return None
    return Problem(
        str(directory / INCOMPLETE),
        "",
        f"the recording is INCOMPLETE: {'; '.join(lacks.why)}. With --allow-incomplete it is published as it is; "
        "a recorder goes on with it with --resume",
    )


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[LmdbJournal]:
    """The journal of a recording, which nobody else may have open."""
    file = directory / DATA
    if not file.is_file():
        raise ConfigError([Problem(str(directory), "", f"is no recording: there is no {DATA}")])
    try:
        journal = LmdbJournal(directory, max_bytes=file.stat().st_size + LEAST_BYTES)
    except (JournalDamagedError, JournalFullError):
        raise
    except JournalError as error:
        raise ConfigError([Problem(str(directory), "", error.reason)]) from None
    try:
        yield journal
    finally:
        journal.close()


def _sources(
    directory: Path, description: Description, journal: LmdbJournal, window: Window, wanted: Sequence[str]
) -> tuple[dict[int, str], Window]:
    """The names of the sources that are published, and the window with no others in it."""
    here = {stream.source for stream in window.streams(journal)}
    known = {int(source, 16): name for source, name in description.sources.items()}
    names = {source: known.get(source, f"{source:016x}") for source in here}
    shown = ", ".join(sorted(names.values())) or "none"
    for name in wanted:
        if name not in names.values():
            message = f"{name!r} published nothing there; {directory} has {shown} on {window.pattern.text}"
            raise typer.BadParameter(escaped(message), param_hint="--source")
    if not names:
        raise ConfigError([Problem(str(directory), "", f"has no message on {window.pattern.text}")])
    chosen = {source: name for source, name in names.items() if not wanted or name in wanted}
    return chosen, replace(window, sources=frozenset(chosen))


def _placed(system: System, names: list[str]) -> list[str]:
    """The names, if these services can be stood in for.

    Raises:
        ConfigError: the topology does not place one, or they are not of one bundle where that must be.
    """
    topology = system.topology
    for name in names:
        if name not in topology.values.placed:
            placed = ", ".join(topology.values.placed)
            message = f"is recorded, and no service that the topology places; those are {placed}. Choose with --source"
            raise ConfigError([Problem(str(topology.path), "bundles", message, name)])
    if topology.values.deployment.mode is Mode.BUNDLED:
        bundles = {
            bundle.name: [name for name in names if name in bundle.services]
            for bundle in topology.values.bundles
            if not set(names).isdisjoint(bundle.services)
        }
        if len(bundles) > 1:
            which = "; ".join(f"{bundle} has {', '.join(found)}" for bundle, found in bundles.items())
            message = f"a replay takes the place of one bundle, and what is recorded is of several: {which}. "
            message += "Choose with --source"
            raise ConfigError([Problem(str(topology.path), "bundles", message)])
    return names


def _of_one_process(system: System, name: str) -> tuple[str, ...]:
    """The services that cannot be elsewhere when this one is replayed."""
    values = system.topology.values
    if values.deployment.mode is not Mode.BUNDLED:
        return (name,)
    return next(bundle.services for bundle in values.bundles if name in bundle.services)


def _contracts(
    system: System, directory: Path, description: Description, journal: LmdbJournal, window: Window
) -> dict[int, Contract]:
    """The contracts of what is published, by type id.

    Raises:
        ConfigError: a class is not there, or is not what was recorded.
    """
    classes = {contract.type_id: contract for contract in (*system.code.contracts.values(), *FABRIC.values())}
    places = {said.type_id: (name, said.class_) for name, said in system.spec.contracts.items()}
    file, spec = str(directory / DESCRIPTION), system.topology.spec_path
    problems: list[Problem] = []
    found: dict[int, Contract] = {}
    for type_id in sorted(_types(journal, window)):
        recorded = description.contracts.get(str(type_id))
        contract = classes.get(type_id)
        name, where = places.get(type_id, (None, str(spec)))
        key = f"contracts.{type_id}"
        if contract is None:
            said = recorded.name if recorded is not None and recorded.name is not None else "it"
            why = next((p.message for p in system.code.problems if p.key == f"contracts.{name}.class"), None)
            message = f"{said} was recorded, and {spec} has no contract with this type id"
            if why is not None:
                message = f"{said} was recorded, and {where} of {spec} is not there: {why}"
            problems.append(Problem(file, key, message))
            continue
        here = contract.fingerprint.hex()
        if recorded is not None and recorded.fingerprint not in (None, here):
            message = f"{recorded.name} was recorded with this fingerprint; {where} here has {here}"
            problems.append(Problem(file, f"{key}.fingerprint", message, recorded.fingerprint))
        found[type_id] = contract
    if problems:
        raise ConfigError(problems)
    return found


def _types(journal: LmdbJournal, window: Window) -> set[int]:
    """The contracts of the streams: each has one."""
    found = set()
    for stream in window.streams(journal):
        for record in journal.read_stream(stream, 0, limit=1, max_bytes=1):
            found.add(decode_frame(record.frame).type_id)
    return found


def _total(journal: LmdbJournal, window: Window) -> int:
    """How many messages there are to publish, in one round; about, where some are missing."""
    if window.is_whole:
        streams = frozenset(window.streams(journal))
        extents = (extent for extent in journal.streams(window.pattern) if extent.stream in streams)
        return sum(extent.last - extent.first + 1 for extent in extents)
    return sum(found.envelope.count for found in read_in_order(journal, window))


# --- the system ----------------------------------------------------------------------------------


def _refuse_running(system: System, names: list[str], terminal: Console) -> None:
    """Ask the broker whether the real ones are there. A bundle that runs has its endpoint, which cannot be had twice.

    Raises:
        ConfigError: one is there.
        PathError: the broker does not answer.
    """
    if system.topology.values.deployment.mode is not Mode.DISTRIBUTED:
        return
    (address,) = asked_stores(system.topology)
    try:
        credentials = operator_credentials(system.topology, DEFAULT_OPERATOR)
    except ConfigError:
        hint = f"there is no key of operator {DEFAULT_OPERATOR} here to ask the broker whether they run already"
        _say(terminal, f"make sure that {', '.join(names)} do not run: {hint}", "yellow")
        return
    running = asyncio.run(_running(address, credentials, names, terminal))
    if running:
        message = (
            f"{'is' if len(running) == 1 else 'are'} at the broker; end what runs, so that its messages and recorded "
            "ones do not mix"
        )
        raise ConfigError([Problem(str(system.topology.path), "bundles", message, ", ".join(running))])


async def _running(
    address: StoreAddress, credentials: Credentials | None, names: list[str], terminal: Console
) -> list[str]:
    """Which of these are at a broker. It knows one that has gone for a while: that is waited for."""
    ends = asyncio.get_running_loop().time() + SILENT_NS / 1e9 + PATIENCE_SECONDS
    said = False
    while True:
        clients = await read_clients(address, ASK_SECONDS, credentials)
        running = sorted({name for client in clients.clients for name in client.names if name in names})
        if not running or asyncio.get_running_loop().time() >= ends:
            return running
        if not said:
            said = True
            words = f"{', '.join(running)} is or was at the broker: waiting to see, {SILENT_NS / 1e9:g} s at most"
            _say(terminal, words, "dim")
        await asyncio.sleep(PATIENCE_SECONDS / 2)


# --- the run -------------------------------------------------------------------------------------


async def _run(
    work: Replay, terminal: Console, total: int | None, rounds: int | None, interrupts: list[signal.Signals]
) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def received(number: signal.Signals) -> None:
        if number in interrupts and number is signal.SIGINT and task is not None:
            task.cancel()
        interrupts.append(number)
        work.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received, number)
    showing = asyncio.ensure_future(_show(work, terminal, total, rounds)) if total is not None else None
    try:
        await work.run()
    finally:
        if showing is not None:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


async def _show(work: Replay, terminal: Console, total: int, rounds: int | None) -> None:
    """How far it is, as a bar."""
    whole = None if rounds is None else total * rounds
    narrow = terminal.width < NARROW
    columns = (
        TextColumn("{task.fields[count]}"),
        *(() if narrow else (BarColumn(),)),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=narrow),
    )
    clock = asyncio.get_running_loop().time
    with Bars(*columns, console=terminal, transient=True) as bars:
        task = bars.add_task("", total=whole, count="", rate="")
        then, before = clock(), 0
        while True:
            number = work.progress.published
            count = f"{number:,} of {whole:,}" if whole is not None else f"{number:,}"
            if rounds != 1:
                count += f", round {work.progress.rounds + 1:,}"
            rate = f"{(number - before) / max(clock() - then, 1e-9):,.0f}/s"
            then, before = clock(), number
            bars.update(task, completed=number, count=count, rate=rate)
            await asyncio.sleep(SHOW_SECONDS)
