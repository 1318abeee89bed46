"""``mycelium journal``: check a store, save what is readable of a damaged one, write frames out."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mycelium.core.errors import TopicError
from mycelium.core.topics import Pattern
from mycelium.journal.errors import JournalDamagedError, JournalError, JournalFullError, salvage_command
from mycelium.journal.salvage import Progress as Tell
from mycelium.journal.salvage import Report, Selection
from mycelium.journal.salvage import check as check_store
from mycelium.journal.salvage import export as export_store
from mycelium.journal.salvage import salvage as salvage_store

app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Check, salvage and export journals that no process has open."
)

EXIT_DAMAGED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT

# Enough to see the pattern of a damage; the count says the rest.
SHOWN = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The journal's directory.", show_default=False)]


class Form(StrEnum):
    """How exported frames look."""

    JSONL = "jsonl"
    RAW = "raw"


@app.command()
def check(directory: DirectoryArgument) -> None:
    """Walk everything in a journal and report what is there, what is damaged and what is missing.

    Exit codes: 0 all is sound, 1 damage was found, 2 there is no journal or a process has it open.
    """
    with _sentences(), _bar("checking") as tell:
        report = check_store(directory, progress=tell)
    _print(report)
    if report.damage:
        _say(f"what is readable can be saved with: {salvage_command(report.path)}")
        raise typer.Exit(EXIT_DAMAGED)


@app.command()
def salvage(
    directory: DirectoryArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The new journal; must not be there yet.")],
) -> None:
    """Save all readable frames, streams and accounts into a new journal. Positions stay as they are.

    The damaged journal is not changed. Move the new one to its place afterwards.

    Exit codes: 0 all was sound and is saved, 1 damage was found and what is readable is saved, or the disk is full,
    2 there is no journal, a process has it open, or --out is there already.
    """
    with _sentences(), _bar("salvaging") as tell:
        report = salvage_store(directory, out, progress=tell)
    _print(report)
    Console(soft_wrap=True).print(f"{report.frames} frames saved in {out}", highlight=False, markup=False)
    if report.damage:
        raise typer.Exit(EXIT_DAMAGED)


@app.command()
def export(
    directory: DirectoryArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; '-' for standard output.")] = Path("-"),
    form: Annotated[
        Form, typer.Option("--format", help="Lines of JSON, or frames each after its length (u32, little-endian).")
    ] = Form.JSONL,
    topic: Annotated[str | None, typer.Option("--topic", metavar="PATTERN", help="Only these topics.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="First position, or time (2026-01-31T12:00:00, UTC by default).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last position, or the time before which to end.")] = None,
) -> None:
    """Write the frames of a journal to a file, in the order of their positions.

    Exit codes: 0 done, 1 done, but damage was found, 2 there is no journal, a process has it open, or an option is
    wrong.

    Examples:

        mycelium journal export journal --topic 'market.>' --from 2026-01-31T12:00:00 --out frames.jsonl

        mycelium journal export journal --format raw --from 1000 --to 1999 --out frames.bin
    """
    selection = _selection(topic, begin, end)
    with _sentences(), _output(out) as file, _bar("exporting") as tell:
        written, report = export_store(directory, file, selection, raw=form is Form.RAW, progress=tell)
    _say(f"{written} of {report.frames} frames written to {'standard output' if _is_stdout(out) else out}")
    _list_damage(report)
    if report.damage:
        raise typer.Exit(EXIT_DAMAGED)


def _selection(topic: str | None, begin: str | None, end: str | None) -> Selection:
    try:
        selection = Selection(pattern=None if topic is None else Pattern.parse(topic))
    except TopicError as error:
        raise typer.BadParameter(str(error), param_hint="--topic") from None
    if begin is not None:
        number, time_ns = _place(begin, "--from")
        selection = replace(selection, from_position=number or 1, from_ns=time_ns or 0)
    if end is not None:
        number, time_ns = _place(end, "--to")
        selection = replace(
            selection,
            to_position=selection.to_position if number is None else number,
            to_ns=selection.to_ns if time_ns is None else time_ns,
        )
    return selection


def _place(text: str, option: str) -> tuple[int | None, int | None]:
    """A position or a time in ns."""
    if text.isdecimal():
        return int(text), None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a position nor a time such as 2026-01-31T12:00:00", param_hint=option
        ) from None
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    return None, since // timedelta(microseconds=1) * 1_000


def _is_stdout(path: Path) -> bool:
    return str(path) == "-"


@contextlib.contextmanager
def _output(path: Path) -> Iterator[BinaryIO]:
    """The file to write to: whole or not at all."""
    if _is_stdout(path):
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The reader has seen enough, as with "| head". Nothing more may be flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None
        return
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--out") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """What a journal refuses ends with a sentence and its exit code."""
    try:
        yield
    except JournalError as error:
        _say(f"error: {error}")
        failed = isinstance(error, JournalDamagedError | JournalFullError)
        raise typer.Exit(EXIT_DAMAGED if failed else EXIT_USAGE) from None
    except KeyboardInterrupt:
        _say("stopped; nothing was left half done")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "error")
        _say(f"error: {error.strerror or error} ({name})")
        raise typer.Exit(EXIT_DAMAGED) from None


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Tell | None]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("frames"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        tell: Callable[[int, int], None] = lambda done, total: bars.update(task, completed=done, total=total)  # noqa: E731
        yield tell


def _print(report: Report) -> None:
    lines = [
        f"{report.path}: {report.frames} frames with {report.messages} messages, {report.frame_bytes} bytes",
        f"{report.streams} streams, {report.readers} durable readers with {report.accounts} accounts",
    ]
    if report.frames:
        lines.append(f"positions {report.first_position} to {report.last_position}, {report.skipped_positions} skipped")
    if report.missing_messages:
        lines.append(f"{report.missing_messages} messages are missing inside streams")
    if report.searched:
        lines.append("the pages are damaged; the file was searched for records")
    for line in lines:
        Console(soft_wrap=True).print(line, highlight=False, markup=False)
    _list_damage(report)


def _list_damage(report: Report) -> None:
    for damage in report.damage[:SHOWN]:
        _say(f"damaged: {damage}")
    if len(report.damage) > SHOWN:
        _say(f"damaged: {len(report.damage) - SHOWN} more")


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)
