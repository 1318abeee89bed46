"""Commands that make captures: record one on a node of one's own, or import data of other formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adapters.polygon.capture import Header, Reading, write_capture
from adapters.polygon.describe import PoolEntry
from adapters.polygon.importers import read_block
from adapters.polygon.importers.csv_logs import CsvReader
from adapters.polygon.lines import Fault
from adapters.polygon.logs import Log
from adapters.polygon.record import Tools, record
from mycelium.cli.guard import EXIT_FAILED, guarded
from mycelium.core.errors import ConfigError, Problem
from mycelium.topology.problems import problems_of

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console(stderr=True, soft_wrap=True)

Out = Annotated[Path, typer.Option("--out", help="The capture to write; gzip'd if it ends in .gz.")]


@app.command("record")
def record_command(
    out: Out,
    *,
    seed: Annotated[int, typer.Option(help="Of the flow of trades: the same seed gives the same capture.")] = 7,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks with trades.")] = 400,
    tools: Annotated[Path, typer.Option(help="Where node_modules is.")] = Path("build/node-tools"),
) -> None:
    """Record a capture: real Uniswap contracts on a local EVM node, and a seeded flow of trades."""
    installed = Tools.find(tools)
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("recording", total=blocks)
        done = record(
            installed, seed=seed, blocks=blocks, out=out, on_block=lambda number: bar.update(task, completed=number)
        )
    console.print(
        f"{out}: {done.logs:,} logs, {done.trades:,} trades in {done.blocks:,} blocks, {done.reverted} reverted, "
        f"{out.stat().st_size:,} bytes; the state of all {len(done.pools)} pools agrees with the node",
        highlight=False,
    )


@app.command("import-csv")
def import_csv(
    source: Annotated[Path, typer.Argument(help="Logs of one pool, as demeter-fetch writes them.")],
    out: Out,
    *,
    pool: Annotated[str, typer.Option(help="Address of the pool.")],
    token0: Annotated[str, typer.Option(help="ADDRESS:SYMBOL:DECIMALS of the token with the smaller address.")],
    token1: Annotated[str, typer.Option(help="ADDRESS:SYMBOL:DECIMALS of the other token.")],
    venue: Annotated[str, typer.Option(help="The exchange; a segment of topics.")] = "uniswap_v3",
    protocol: Annotated[str, typer.Option(help="uniswap_v2 or uniswap_v3.")] = "uniswap_v3",
    fee_pips: Annotated[int, typer.Option(help="Swap fee in millionths.")] = 500,
    tick_spacing: Annotated[int, typer.Option(help="Of a v3 pool; 0 for v2.")] = 10,
    chain_id: Annotated[int, typer.Option(help="EIP-155 number of the chain.")] = 137,
) -> None:
    """Make a capture of a CSV file with one pool's logs."""
    entry = {
        "address": pool,
        "venue": venue,
        "protocol": protocol,
        "fee_pips": fee_pips,
        "tick_spacing": tick_spacing,
        "token0": _token("--token0", token0),
        "token1": _token("--token1", token1),
    }
    try:
        metadata = PoolEntry.model_validate(entry).metadata()
    except ValidationError as error:
        raise ConfigError(problems_of(error, PoolEntry, lambda _key: "command line")) from error
    faults: Counter[str] = Counter()
    with CsvReader(source, metadata, chain_id=chain_id) as reader:
        written = write_capture(out, reader.header, _logs(source, reader, faults))
    console.print(f"{out}: {written:,} logs, {faults.total():,} faults", highlight=False)
    if faults:
        raise typer.Exit(EXIT_FAILED)


@app.command("import-block")
def import_block(
    source: Annotated[Path, typer.Argument(help="A whole block as Parity traces, as mev-inspect-py stores it.")],
    out: Out,
    *,
    chain_id: Annotated[int, typer.Option(help="EIP-155 number of the chain.")] = 1,
) -> None:
    """Make a capture of the Uniswap v2 swaps in a block, with the pairs' reserves before them."""
    replay = read_block(source)
    header = Header(chain_id, f"mev-inspect-py, {source.name}", replay.described_pools())

    def logs() -> Iterator[Log]:
        yield from replay.opening_logs()
        yield from replay.logs()

    write_capture(out, header, logs())
    console.print(
        f"{out}: {len(replay.swaps)} swaps in {len(replay.pools)} pairs, {len(replay.arbitrages)} cycles in the block",
        highlight=False,
    )


def _token(option: str, text: str) -> dict[str, Any]:
    address, _, rest = text.partition(":")
    symbol, _, decimals = rest.rpartition(":")
    if not symbol or not decimals.isdecimal():
        message = "expected ADDRESS:SYMBOL:DECIMALS, such as 0x2791bca1f2de4661ed88a30c99a7a9449aa84174:USDC:6"
        raise ConfigError([Problem("command line", option, message, text)])
    return {"address": address, "symbol": symbol, "decimals": int(decimals)}


def _logs(source: Path, readings: CsvReader, faults: Counter[str]) -> Iterator[Log]:
    """The logs; what is none is shown and counted."""
    reading: Reading
    for reading in readings:
        if isinstance(reading, Fault):
            faults[reading.cause] += 1
            console.print(
                f"{source}, {reading.position}: {reading.cause}: {reading.detail}", highlight=False, markup=False
            )
        else:
            yield reading.log


def main() -> None:
    """Run the command line."""
    guarded(app)
