"""Settings of the source service."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.polygon.describe import PoolEntry
from adapters.polygon.live.settings import LiveSettings
from mycelium.service.service import ConfigPath

CSV_SUFFIXES = (".csv", ".csv.gz")


class PolygonSettings(BaseModel):
    """What to read.

    Args:
        live: a chain to follow; then there is no source.
        source: a capture (:mod:`adapters.polygon.capture`), or a CSV file of one pool's logs
            (:mod:`adapters.polygon.importers.csv_logs`), told by its name.
        pools: for a CSV file the one pool it holds; for a capture nothing, since it describes its pools itself.
        chain_id: EIP-155 number of the chain that the source must be of, 137 for Polygon.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    live: LiveSettings | None = None
    source: ConfigPath | None = None
    pools: tuple[PoolEntry, ...] = ()
    chain_id: int = Field(default=137, ge=1)

    @property
    def is_csv(self) -> bool:
        """Whether ``source`` is a CSV file."""
        return self.source is not None and self.source.name.endswith(CSV_SUFFIXES)

    @model_validator(mode="after")
    def _pools_fit(self) -> Self:
        if (self.source is None) == (self.live is None):
            found = "neither" if self.live is None else "both"
            raise ValueError(f"source, a recording, or live, a chain to follow, is needed; found {found}")
        if self.source is None:
            if self.pools:
                raise ValueError("pools: for a chain that is followed they are named in live.pools")
            return self
        if self.is_csv and len(self.pools) != 1:
            raise ValueError(
                f"pools: {self.source.name} holds the logs of one pool; describe it, found {len(self.pools)}"
            )
        if not self.is_csv and self.pools:
            raise ValueError(f"pools: the capture {self.source.name} describes its pools itself; leave them out")
        return self
