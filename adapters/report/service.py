"""The service that writes a run down: every signal, and the prices it came from."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from adapters.report.lines import Line, LineFile
from adapters.report.prices import price_of
from contracts.market import BlockRetracted, PoolMetadata, PoolSync
from contracts.signals import ArbitrageSignal
from contracts.values import Address
from mycelium.core.errors import ConfigError, Problem
from mycelium.service import ConfigPath, OnFailure, Retry, Service, handles

SIGNALS = "signals.jsonl"
PRICES = "prices.jsonl"
POOLS = "pools.jsonl"
PLACES = {
    SIGNALS: ("block", "log_index", "signal_id"),
    PRICES: ("block", "log_index", "pool"),
    POOLS: ("pool", "venue"),
}
"""What the lines of each file are sorted by."""

MAX_WAITING = 65_536
"""Prices that may wait for the description of their pools. Chosen by us: some 40 MB."""

ONCE = Retry(attempts=1)


class ReportSettings(BaseModel):
    """Where the files go.

    Args:
        directory: made if it is not there; files of an earlier run are replaced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    directory: ConfigPath = Path("build/report")


def signal_line(signal: ArbitrageSignal) -> dict[str, Any]:
    """A signal as ``signals.jsonl`` holds it: amounts as decimal text, since JSON numbers end at 2**53.

    Its branch is said if it is not the first: most chains have no other.
    """
    return {
        "strategy": signal.strategy,
        "asset": signal.asset,
        "signal_id": signal.signal_id.hex(),
        "block": signal.block,
        "log_index": signal.log_index,
        "timestamp": signal.timestamp,
        "hops": [
            {
                "pool": str(hop.pool),
                "token_in": str(hop.token_in),
                "token_out": str(hop.token_out),
                "amount_in": str(int(hop.amount_in)),
                "amount_out": str(int(hop.amount_out)),
            }
            for hop in signal.hops
        ],
        "gross_profit": str(int(signal.gross_profit)),
        "flash_premium": str(int(signal.flash_premium)),
        "gas_cost": str(int(signal.gas_cost)),
        "net_profit": str(int(signal.net_profit)),
    } | _of_branch(signal.branch)


def _of_branch(branch: int) -> dict[str, int]:
    return {"branch": branch} if branch else {}


class RunReport(Service[ReportSettings]):
    """Writes ``signals.jsonl``, ``prices.jsonl`` and ``pools.jsonl``, line by line as messages come.

    A line is written before its message counts as handled, so that the books say what the files hold; only a price
    waits for the description of its pool. What cannot be written stops the run: a report with holes is none.

    Messages of different topics come in any order, and may come again. When the run ends, the files are put into the
    order of the chain, without repeats: the same run leaves the same bytes, however it was spread over processes.
    Only then is it known what the chain has given up, and that is left out.
    """

    name = "run_report"
    settings_type = ReportSettings

    async def start(self) -> None:
        """Make the directory and begin new files."""
        directory = self.settings.directory
        self._pools: dict[Address, PoolMetadata] = {}
        self._waiting: dict[Address, list[PoolSync]] = {}
        self._waiting_number = 0
        self._retractions: list[tuple[int, int]] = []  # branch and block; of those that no later one covers
        self._files: dict[str, LineFile] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, place in PLACES.items():
                self._files[name] = LineFile(directory / name, itemgetter(*place))
        except OSError as error:
            key = f"services.{self.name}.directory"
            raise ConfigError([Problem(str(directory), key, f"cannot be written to: {error.strerror}")]) from None

    @handles(PoolMetadata, retry=ONCE, on_failure=OnFailure.STOP)
    async def on_metadata(self, event: PoolMetadata) -> None:
        """A pool: what its prices are prices of."""
        self._files[POOLS].write(
            {
                "pool": str(event.pool),
                "venue": event.venue,
                "instrument": event.instrument,
                "token0": event.token0.symbol,
                "token1": event.token1.symbol,
                "decimals": {event.token0.symbol.lower(): event.token0.decimals}
                | {event.token1.symbol.lower(): event.token1.decimals},
                "fee_pips": event.fee_pips,
            },
        )
        self._pools[event.pool] = event
        for state in self._waiting.pop(event.pool, ()):
            self._waiting_number -= 1
            self._write_price(state, event)

    @handles(PoolSync, retry=ONCE, on_failure=OnFailure.STOP)
    async def on_sync(self, event: PoolSync) -> None:
        """A price."""
        pool = self._pools.get(event.pool)
        if pool is not None:
            self._write_price(event, pool)
        elif self._waiting_number < MAX_WAITING:
            self._waiting_number += 1
            self._waiting.setdefault(event.pool, []).append(event)
        else:
            self._refuse_price(event)

    @handles(ArbitrageSignal, retry=ONCE, on_failure=OnFailure.STOP)
    async def on_signal(self, event: ArbitrageSignal) -> None:
        """A signal."""
        self._files[SIGNALS].write(signal_line(event))

    @handles(BlockRetracted, retry=ONCE, on_failure=OnFailure.STOP)
    async def on_block_retracted(self, event: BlockRetracted) -> None:
        """Lines that do not count."""
        if self._retractions and event.branch <= self._retractions[-1][0]:
            return
        while self._retractions and self._retractions[-1][1] >= event.block:
            self._retractions.pop()
        self._retractions.append((event.branch, event.block))

    def _is_void(self, line: Line) -> bool:
        above = bisect_right(self._retractions, line.get("branch", 0), key=itemgetter(0))
        return above < len(self._retractions) and line["block"] >= self._retractions[above][1]

    def _write_price(self, state: PoolSync, pool: PoolMetadata) -> None:
        price = price_of(state, pool)
        if price is not None:
            self._files[PRICES].write(
                {
                    "timestamp": state.timestamp,
                    "block": state.block,
                    "log_index": state.log_index,
                    "pool": str(state.pool),
                    "price": price,
                }
                | _of_branch(state.branch),
            )

    def _refuse_price(self, state: PoolSync) -> None:
        where = f"block {state.block}, log {state.log_index}"
        self.intake("pool_state").refuse("unknown_pool", where, f"pool {state.pool} is not described")

    async def stop(self) -> None:
        """Put the files in order and close them."""
        for states in self._waiting.values():
            for state in states:
                self._refuse_price(state)
        for name, repeated in (await asyncio.to_thread(self._close_files)).items():
            if repeated:
                self.intake(name).ignore("repeated", repeated)
            if void := self._files[name].void:
                self.intake(name).ignore("of a branch that is void", void)

    def _close_files(self) -> dict[str, int]:
        """Close every file, also when one of them cannot be put in order; how many lines of each were repeats."""
        repeated: dict[str, int] = {}

        def close(name: str) -> None:
            has_blocks = "block" in PLACES[name]
            repeated[name] = self._files[name].close(self._is_void if self._retractions and has_blocks else None)

        with ExitStack() as closing:
            for name in self._files:
                closing.callback(close, name)
        return repeated
