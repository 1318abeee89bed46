"""Writes docs/reference/command-line.md from the commands themselves: ``python -m tests.docs.command_line``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from adapters.polygon.cli import app as polygon
from mycelium.cli.main import app as mycelium
from tests.docs.pages import DOCS

PAGE = DOCS / "reference" / "command-line.md"

_HEAD = """\
# Command line

<!-- Generated from the commands by 'python -m tests.docs.command_line'. Change those, not this page. -->

Each command shows the same with `--help`.
A mistake in a file or an option is answered with a sentence and exit code 2, never with a traceback.
"""


def render() -> str:
    """The page."""
    sections = [
        *_sections("mycelium", get_command(mycelium)),
        *_sections("python -m adapters.polygon", get_command(polygon)),
    ]
    return "\n".join([_HEAD, *sections])


def _sections(name: str, command: Any) -> Iterator[str]:
    """One section for a command and each command inside it. Typer brings its own click; hence Any."""
    lines = [f"## {name}", "", "```text", (command.help or "").strip(), "```", ""]
    lines += [_entry(parameter) for parameter in command.params if not parameter.hidden]
    yield "\n".join(lines).rstrip() + "\n"
    for inside in getattr(command, "commands", {}).values():
        yield from _sections(f"{name} {inside.name}", inside)


def _entry(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    notes = []
    if parameter.required:
        notes.append("Required.")
    if parameter.default not in (None, False, ...) and not parameter.required:
        notes.append(f"Default `{parameter.default}`.")
    if parameter.envvar:
        notes.append(f"Environment variable `{parameter.envvar}`.")
    return "\n  ".join([f"- {names}: {parameter.help}", *notes])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
