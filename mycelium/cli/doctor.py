"""``mycelium doctor``: looks at everything that a system needs, and says what is wrong and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mycelium.cli.doctor_checks import FILES, Finding, Verdict, files, host, machine, running
from mycelium.cli.guard import EXIT_FAILED
from mycelium.cli.security import DEFAULT_OPERATOR, OperatorOption
from mycelium.cli.system import load_system
from mycelium.core.errors import ConfigError

_SIGNS = {Verdict.GOOD: ("✓", "green"), Verdict.NOTE: ("!", "yellow"), Verdict.BAD: ("✗", "bold red")}


def doctor(
    config: Annotated[Path, typer.Option("--config", "-c", help="The topology.", envvar="MYCELIUM_CONFIG")] = Path(
        "config/monolith.toml"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each part may take to answer.")] = 2.0,
    operator: OperatorOption = DEFAULT_OPERATOR,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Look at this machine, the files, what the system needs of this host, and at the system if it runs.

    Nothing is changed, and nobody notices. What is wrong is said with what to do about it.

    Exit codes: 0 nothing is wrong, 1 something is, 2 an option is wrong.

    Examples:

        mycelium doctor

        mycelium doctor --config config/distributed.toml --json
    """
    found: list[Finding] = []
    console = Console(highlight=False)
    area = ""
    for finding in _all(config, seconds, operator):
        found.append(finding)
        if not as_json:
            if finding.area != area:
                area = finding.area
                console.print(f"[bold]{area}[/]")
            _show(console, finding)
    bad = sum(finding.verdict is Verdict.BAD for finding in found)
    if as_json:
        typer.echo(json.dumps({"good": not bad, "findings": [asdict(finding) for finding in found]}, indent=2))
    elif bad:
        console.print(f"\n[bold red]✗ {bad} thing{'s' if bad > 1 else ''} to look at[/]")
    else:
        console.print("\n[green]✓ nothing is wrong[/]")
    if bad:
        raise typer.Exit(EXIT_FAILED)


def _all(config: Path, seconds: float, operator: str) -> Iterator[Finding]:
    yield from machine()
    try:
        system = load_system(config)
    except ConfigError as error:
        yield from _wrong(error)
        return
    yield from files(system)
    yield from host(system)
    yield from running(system, seconds, operator)


def _wrong(error: ConfigError) -> Iterable[Finding]:
    return [Finding(FILES, Verdict.BAD, str(problem)) for problem in error.problems]


def _show(console: Console, finding: Finding) -> None:
    sign, style = _SIGNS[finding.verdict]
    line = Text.assemble((sign, style), " ", finding.what)
    if finding.advice:
        line.append(f"\n→ {finding.advice}", "dim")
    # Further lines stand below the text, not below the sign.
    console.print(Padding(line, (0, 0, 0, 2)))
