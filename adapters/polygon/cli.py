"""Commands that make captures: record one on a node of one's own, or import data of other formats."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import stamina
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adapters.polygon.capture import Header, Reading, write_capture
from adapters.polygon.describe import PoolEntry
from adapters.polygon.importers import read_block
from adapters.polygon.importers.csv_logs import CsvReader
from adapters.polygon.lines import Fault
from adapters.polygon.live.capturing import Place
from adapters.polygon.live.command import live_settings, run_capture
from adapters.polygon.logs import Log
from adapters.polygon.record import Tools, record
from adapters.polygon.record.live_demo import run_live_demo
from mycelium.cli.guard import EXIT_FAILED, EXIT_INTERRUPTED, guarded
from mycelium.core.errors import ConfigError, Problem
from mycelium.observe.logs import LogFormat, configure_logging
from mycelium.topology.problems import problems_of

LIVE_CONFIG = Path("config/polygon-live.toml")

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


@app.command("capture")
def capture_command(
    out: Out,
    *,
    config: Annotated[Path, typer.Option(help="The topology whose endpoints and pools are used.")] = LIVE_CONFIG,
    first: Annotated[int | None, typer.Option("--from", min=0, help="The first block; else the newest.")] = None,
    last: Annotated[int | None, typer.Option("--to", min=0, help="The last block; else until Ctrl-C.")] = None,
    confirmations: Annotated[int, typer.Option(min=0, help="Blocks that must stand on a block that is recorded.")] = 64,
) -> None:
    """Record blocks of a live chain: a range of the past, or as they come. Started again, it goes on where it was.

    Examples:

        python -m adapters.polygon capture --from 50000000 --to 50043200 --out build/day.jsonl.gz

        python -m adapters.polygon capture --out build/live.jsonl.gz
    """
    settings, chain_id = live_settings(config)
    if first is not None and last is not None and last < first:
        raise typer.BadParameter(f"{last} comes before --from {first}", param_hint="--to")
    stamina.instrumentation.set_on_retry_hooks([])
    configure_logging(level="warning", form=LogFormat.CONSOLE, stream=sys.stderr)
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("recording", total=None)

        def on_progress(place: Place, target: int) -> None:
            end = target if last is None else last
            bar.update(task, completed=place.next - place.first, total=end + 1 - place.first)

        work = run_capture(settings, chain_id, out, first, last, confirmations=confirmations, on_progress=on_progress)
        done = asyncio.run(work)
    place = done.place
    text = f"{place.logs:,} logs of {done.pools} pools in blocks {place.first} to {place.next - 1}"
    if not done.is_complete:
        console.print(f"{text} so far; the same command goes on from there", highlight=False)
        raise typer.Exit(EXIT_INTERRUPTED)
    console.print(f"{out}: {text}, {out.stat().st_size:,} bytes", highlight=False)


@app.command("demo-live")
def demo_live(
    *,
    config: Annotated[Path, typer.Option(help="The system's topology.")] = Path("config/demo-live.toml"),
    out: Annotated[Path, typer.Option(help="Directory for state and report.")] = Path("build/demo-live"),
    seed: Annotated[int, typer.Option(help="Of the flow of trades.")] = 7,
    blocks: Annotated[int | None, typer.Option(min=1, help="Blocks to trade; else until Ctrl-C.")] = None,
    block_seconds: Annotated[float, typer.Option(min=0.0, help="From block to block.")] = 2.0,
    port: Annotated[int, typer.Option(help="Of the node; 0 for one that is free.")] = 8545,
    tools: Annotated[Path, typer.Option(help="Where node_modules is.")] = Path("build/node-tools"),
) -> None:
    """Start a node, trade on it, and run the whole system on it as it grows."""
    console.print(f"a node with a market of its own on port {port or 'any'}; Ctrl-C ends it", highlight=False)
    code = run_live_demo(
        Tools.find(tools), config, out, seed=seed, blocks=blocks, block_seconds=block_seconds, port=port
    )
    if code:
        raise typer.Exit(code)


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
