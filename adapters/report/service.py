"""The service that writes a run down: every signal, and the prices it came from."""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict

from adapters.report.prices import price_of
from contracts.market import PoolMetadata, PoolSync
from contracts.signals import ArbitrageSignal
from contracts.values import Address
from mycelium.core.errors import ConfigError, PathError, Problem
from mycelium.service import ConfigPath, OnFailure, Retry, Service, handles

SIGNALS = "signals.jsonl"
PRICES = "prices.jsonl"
POOLS = "pools.jsonl"

ONCE = Retry(attempts=1)


class ReportSettings(BaseModel):
    """Where the files go.

    Args:
        directory: made if it is not there; files of an earlier run are replaced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    directory: ConfigPath = Path("build/report")


def signal_line(signal: ArbitrageSignal) -> dict[str, Any]:
    """A signal as ``signals.jsonl`` holds it: amounts as decimal text, since JSON numbers end at 2**53."""
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
    }


class RunReport(Service[ReportSettings]):
    """Writes ``signals.jsonl``, ``prices.jsonl`` and ``pools.jsonl``, line by line as messages come.

    A line is written before its message counts as handled, so that the books say what the files hold. A few
    microseconds each go to the operating system's cache, not to the disk. What cannot be written stops the run:
    a report with holes is none.
    """

    name = "run_report"
    settings_type = ReportSettings

    async def start(self) -> None:
        """Make the directory and begin new files."""
        directory = self.settings.directory
        self._pools: dict[Address, PoolMetadata] = {}
        self._files: dict[str, FileIO] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name in (SIGNALS, PRICES, POOLS):
                self._files[name] = (directory / name).open("wb", buffering=0)
        except OSError as error:
            key = f"services.{self.name}.directory"
            raise ConfigError([Problem(str(directory), key, f"cannot be written to: {error.strerror}")]) from None

    @handles(PoolMetadata, retry=ONCE, on_failure=OnFailure.STOP)
    async def on_metadata(self, event: PoolMetadata) -> None:
        """A pool: what its prices are prices of."""
        self._pools[event.pool] = event
        self._write(
            POOLS,
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

    @handles(PoolSync, retry=ONCE, on_failure=OnFailure.STOP)
    async def on_sync(self, event: PoolSync) -> None:
        """A price."""
        pool = self._pools.get(event.pool)
        price = price_of(event, pool) if pool is not None else None
        if price is not None:
            self._write(
                PRICES,
                {"timestamp": event.timestamp, "block": event.block, "pool": str(event.pool), "price": price},
            )

    @handles(ArbitrageSignal, retry=ONCE, on_failure=OnFailure.STOP)
    async def on_signal(self, event: ArbitrageSignal) -> None:
        """A signal."""
        self._write(SIGNALS, signal_line(event))

    def _write(self, name: str, line: dict[str, Any]) -> None:
        data = msgspec.json.encode(line) + b"\n"
        try:
            written = self._files[name].write(data)
        except OSError as error:
            raise PathError(str(self.settings.directory / name), f"cannot be written: {error.strerror}") from error
        if written != len(data):
            raise PathError(str(self.settings.directory / name), "cannot be written: the disk is full")

    async def stop(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
