"""``python -m adapters.report DIRECTORY``: make the page of a run from the files that it left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adapters.report.page import PAGE, read_run, write_page
from mycelium.cli.guard import guarded

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def report(
    directory: Annotated[
        Path, typer.Argument(help="Where summary.json, signals.jsonl, prices.jsonl and pools.jsonl are.")
    ],
) -> None:
    """Make report.html, one file that needs no network, from the files of a run."""
    write_page(read_run(directory), directory / PAGE)
    typer.echo(f"the report is in {directory / PAGE}")


if __name__ == "__main__":
    guarded(app)
