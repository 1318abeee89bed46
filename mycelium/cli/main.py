"""The ``mycelium`` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from mycelium import __version__
from mycelium.cli.run import EXIT_FAILED, EXIT_INTERRUPTED, run
from mycelium.cli.spec import app as spec_app
from mycelium.core.errors import ConfigError, MyceliumError

EXIT_USAGE = 2

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.add_typer(spec_app, name="spec")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mycelium {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Mycelium: a typed ZeroMQ messaging fabric."""
    del version


def main() -> None:
    """Run the command line. What a user got wrong ends with a sentence and exit code 2, not with a traceback."""
    console = Console(stderr=True, soft_wrap=True)
    try:
        app()
    except ConfigError as error:
        for problem in error.problems:
            console.print(f"error: {problem}", highlight=False, markup=False)
        sys.exit(EXIT_USAGE)
    except MyceliumError as error:
        console.print(f"error: {error}", highlight=False, markup=False)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
