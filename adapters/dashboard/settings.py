"""Where the dashboard is served, and to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mycelium.service import ConfigPath
from mycelium.topology.hosts import LOCALHOST, is_address, is_loopback


class DashboardSettings(BaseModel):
    """Where the dashboard is.

    Args:
        port: it listens there; without one it serves nothing.
        host: an address of this host, or ``localhost``.
        token_file: the file with the token that opens it, as in ``[http]``. Beyond loopback there has to be one.
        system: the ``system.yaml`` whose services and contracts it draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    port: int | None = Field(default=None, ge=1, le=65535)
    host: str = "127.0.0.1"
    token_file: ConfigPath | None = None
    # The default too starts at the directory of the topology.
    system: ConfigPath = Field(default=Path("../system.yaml"), validate_default=True)

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        if self.host != LOCALHOST and not is_address(self.host):
            raise ValueError(
                f"host = {self.host!r} should be an IP address of this host, such as 127.0.0.1 or 0.0.0.0, or localhost"
            )
        if not is_loopback(self.host) and self.token_file is None:
            raise ValueError(f"token_file is missing; host = {self.host!r} can be reached from other hosts")
        return self
