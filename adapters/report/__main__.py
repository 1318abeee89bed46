"""``python -m adapters.report DIRECTORY``: make the page of a run from the files that it left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from adapters.report.page import PAGE, read_run, write_page
from mycelium.core.errors import ConfigError


def main(
    directory: Annotated[
        Path, typer.Argument(help="Where summary.json, signals.jsonl, prices.jsonl and pools.jsonl are.")
    ],
) -> None:
    """Make report.html, one file that needs no network, from the files of a run."""
    try:
        write_page(read_run(directory), directory / PAGE)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"error: {directory / PAGE} cannot be written: {error.strerror}", err=True)
        sys.exit(1)
    typer.echo(f"the report is in {directory / PAGE}")


if __name__ == "__main__":
    typer.run(main)
