"""The ``mycelium`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from mycelium import __version__
from mycelium.cli.bench import bench
from mycelium.cli.broker import broker
from mycelium.cli.check import check
from mycelium.cli.demo import demo
from mycelium.cli.doctor import doctor
from mycelium.cli.guard import guarded
from mycelium.cli.journal import app as journal_app
from mycelium.cli.keys import app as keys_app
from mycelium.cli.ledger import ledger
from mycelium.cli.record import record
from mycelium.cli.replay import replay
from mycelium.cli.run import run
from mycelium.cli.spec import app as spec_app
from mycelium.cli.tap import tap
from mycelium.cli.top import top
from mycelium.cli.trace import trace

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(demo)
app.command()(broker)
app.command()(ledger)
app.command()(check)
app.command()(doctor)
app.command()(tap)
app.command()(trace)
app.command()(top)
app.command()(record)
app.command()(replay)
app.command()(bench)
app.add_typer(spec_app, name="spec")
app.add_typer(journal_app, name="journal")
app.add_typer(keys_app, name="keys")


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
    """Run the command line."""
    guarded(app)
