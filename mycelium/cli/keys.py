"""``mycelium keys``: the key pairs by which the broker knows services and operators."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mycelium.core.errors import ConfigError, Problem
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import SPEC_NAME
from mycelium.transport.keyring import BROKER, Keyring, PublicKey, fingerprint

app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Make and replace the keys by which the broker knows who is who."
)

KeysOption = Annotated[
    Path, typer.Option("--keys", "-k", help="The directory of the keys.", envvar="MYCELIUM_SECURITY__KEYS")
]
SpecOption = Annotated[Path, typer.Option("--spec", help="The spec that names services and operators.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A service, an operator, or 'broker'.")]
DEFAULT_KEYS = Path("keys")
DEFAULT_SPEC = Path(SPEC_NAME)

_DURATION = re.compile(r"([0-9]{1,12})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_DAYS = 3_650
_WIDE, _NARROW = 80, 60
_SHORT_NAME = 20
"""Columns of a terminal, and those that a name may take of a narrow one as a whole."""
_TO_THE_MINUTE = len("2027-01-31 12:00")
_TO_THE_DAY = len("2026-11-26")


@app.command()
def init(keys: KeysOption = DEFAULT_KEYS, spec: SpecOption = DEFAULT_SPEC) -> None:
    """Make key pairs for the broker and for every service and operator of system.yaml that has none.

    Secret keys are files of mode 0600. Give each process its own secret key and the broker's public key; give the
    broker its own secret key and all public ones.

    Examples:

        mycelium keys init --keys keys
    """
    keyring = Keyring(keys)
    system = load_spec(spec)
    there = {key.name for key in keyring.public_keys()} if keys.exists() else set()
    made = [name for name in (BROKER, *system.services, *system.operators) if name not in there]
    for name in made:
        keyring.create(name, time.time())
    console = Console(soft_wrap=True)
    if made:
        console.print(f"{keys}: made keys for {', '.join(made)}", highlight=False, markup=False)
    else:
        console.print(f"{keys}: everybody has keys already", highlight=False, markup=False)


@app.command()
def add(name: NameArgument, keys: KeysOption = DEFAULT_KEYS, spec: SpecOption = DEFAULT_SPEC) -> None:
    """Make the first key pair of a service or operator. A running broker takes it up by itself.

    Examples:

        mycelium keys add flash_arbitrage
    """
    _check_name(name, load_spec(spec), spec)
    pair = Keyring(keys).create(name, time.time())
    Console(soft_wrap=True).print(f"{keys}: {name} has key {fingerprint(pair.public)}", highlight=False, markup=False)


@app.command()
def rotate(
    name: NameArgument,
    overlap: Annotated[
        str, typer.Option(help="How long the old key is accepted: a number with s, m, h or d. 0s ends it at once.")
    ] = "24h",
    keys: KeysOption = DEFAULT_KEYS,
) -> None:
    """Replace a key pair. Nobody needs a restart: broker and services take the new one up by themselves.

    Until the overlap is over the old key is accepted too. Then connections that still use it are ended.

    Examples:

        mycelium keys rotate flash_arbitrage --overlap 2h
    """
    match = _DURATION.fullmatch(overlap)
    if match is None:
        raise typer.BadParameter(f"{overlap!r} is no duration such as 90s, 30m, 24h or 7d", param_hint="--overlap")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST_DAYS * _SECONDS["d"]:
        raise typer.BadParameter(f"{overlap!r} is longer than {_LONGEST_DAYS}d", param_hint="--overlap")
    now = time.time()
    keyring = Keyring(keys)
    pair = keyring.rotate(name, seconds, now)
    ended = keyring.forget(now)
    console = Console(soft_wrap=True)
    console.print(
        f"{keys}: {name} has key {fingerprint(pair.public)}; the old one until {_time(now + seconds)}",
        highlight=False,
        markup=False,
    )
    for key in ended:
        console.print(
            f"{keys}: removed key {fingerprint(key.key)} of {key.name}, which was over", highlight=False, markup=False
        )


@app.command("list")
def list_keys(
    keys: KeysOption = DEFAULT_KEYS,
    spec: SpecOption = DEFAULT_SPEC,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Show whose keys there are, since when and until when. Secret keys are never shown.

    Exit codes: 0 everybody of system.yaml has a key, 1 somebody has none, 2 a file is wrong.
    """
    now = time.time()
    found = Keyring(keys).public_keys()
    system = load_spec(spec)
    known = (BROKER, *system.services, *system.operators)
    missing = [name for name in known if name not in {key.name for key in found}]
    if as_json:
        rows = [{**asdict(key), "fingerprint": fingerprint(key.key), "accepted": key.is_accepted(now)} for key in found]
        typer.echo(json.dumps({"keys": rows, "missing": missing}, indent=2))
    else:
        _show(found, set(known), missing, now)
    if missing:
        raise typer.Exit(1)


def _show(found: list[PublicKey], known: set[str], missing: list[str], now: float) -> None:
    console = Console()
    is_narrow = console.width < _NARROW
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=console.width < _WIDE)
    names_fit = all(len(key.name) <= _SHORT_NAME for key in found)
    table.add_column("name", overflow="fold", no_wrap=names_fit)
    table.add_column("key", no_wrap=True)
    table.add_column("since" if is_narrow else "since (UTC)", overflow="fold", no_wrap=is_narrow)
    table.add_column("state", overflow="fold", min_width=len("current"))
    if not is_narrow:
        table.add_column("secret")
    for key in found:
        if key.accepted_until is None:
            state = "[green]current[/]" if key.name in known else f"[red]opens nothing: not in {SPEC_NAME}[/]"
        elif key.is_accepted(now):
            state = f"[yellow]old, until {_time(key.accepted_until)[:_TO_THE_MINUTE]}[/]"
        else:
            state = "[dim]over[/]"
        secret = "here" if key.has_secret and key.accepted_until is None else "[dim]not here[/]"
        since = key.created.replace("T", " ")[: _TO_THE_DAY if is_narrow else _TO_THE_MINUTE]
        row = [escape(key.name), fingerprint(key.key), escape(since), state, secret]
        table.add_row(*row[: len(table.columns)])
    console.print(table)
    for name in missing:
        shown = escape(name)
        console.print(f"[bold red]✗ {shown} has no key[/]; mycelium keys add {shown}", highlight=False)


def _check_name(name: str, spec: SystemSpec, file: Path) -> None:
    known = (BROKER, *spec.services, *spec.operators)
    if name not in known:
        message = f"has no service or operator of this name; those are {', '.join(known)}"
        raise ConfigError([Problem(str(file), "", message, name)])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
