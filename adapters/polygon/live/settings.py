"""Settings of the live source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from adapters.polygon.describe import MAX_FEE_PIPS, AddressText, EntryModel, VenueName
from contracts.market import Protocol
from mycelium.service.service import ConfigPath


def _is_url(*schemes: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str):
            parts = urlsplit(text)
            if parts.scheme not in schemes or not parts.hostname:
                # The rest of it may be a secret.
                raise ValueError(f"expected an address that begins with {' or '.join(f'{one}://' for one in schemes)}")
        return value

    return BeforeValidator(check)


HttpUrl = Annotated[SecretStr, _is_url("http", "https")]
WebSocketUrl = Annotated[SecretStr, _is_url("ws", "wss")]


class EndpointEntry(EntryModel):
    """A JSON-RPC endpoint.

    Args:
        url: of its HTTP side. Providers put keys into it, so it is shown nowhere.
        websocket: of its WebSocket side; without one it is asked for new blocks again and again.
        name: as logs and metrics call it; its host if nothing is said.
    """

    url: HttpUrl
    websocket: WebSocketUrl | None = None
    name: str = Field(default="", max_length=60)

    @property
    def label(self) -> str:
        """Its name, or its host and port."""
        return self.name or urlsplit(self.url.get_secret_value()).netloc.rpartition("@")[2]


class VenueEntry(EntryModel):
    """An exchange.

    Args:
        name: a segment of topics.
        protocol: which mathematics its pools follow.
        factory: the contract that creates its pools. Those that it creates from now on are followed.
        fee_pips: swap fee of its v2 pools in millionths; v3 pools say theirs themselves.
        new_pools: whether pools that are created while it runs are followed.
    """

    name: VenueName
    protocol: Protocol
    factory: AddressText
    fee_pips: int = Field(default=3000, ge=0, le=MAX_FEE_PIPS, strict=True)
    new_pools: bool = True


class CacheEntry(EntryModel):
    """Where descriptions of pools are remembered.

    Args:
        url: of a Redis server; without one, ``file`` is used.
        file: an SQLite file.
    """

    url: Annotated[SecretStr, _is_url("redis", "rediss", "unix")] | None = None
    file: ConfigPath | None = None


class FilterEntry(EntryModel):
    """Which pools are followed.

    Args:
        tokens: both tokens of a pool must be among these; all, if none are given.
        minimum: a pool must hold so much of one of these tokens, in smallest units, when it becomes known; any pool, if
            none are given. Pools that are created while it runs hold nothing yet, so this is not asked of them.
    """

    tokens: tuple[AddressText, ...] = ()
    minimum: Mapping[AddressText, int] = Field(default_factory=dict)

    @field_validator("minimum")
    @classmethod
    def _positive(cls, minimum: Mapping[Any, int]) -> Mapping[Any, int]:
        for token, amount in minimum.items():
            if amount <= 0:
                raise ValueError(f"{token} = {amount}: must be above 0")
        return minimum


class LiveSettings(EntryModel):
    """A chain to follow.

    Args:
        endpoints: in the order in which they are preferred. Four of different providers survive what public ones do.
        state: the file that says how far the chain has been published.
        venues: whose pools are followed.
        pools: these pools, each of one of the venues.
        start: the block after which to begin, the first time; ``latest`` for the newest.
        discover_from: pools that the venues have created from this block on are followed, too; none if it is not given.
        confirmations: how many blocks must stand on a block before it is published: 0 for at once.
        remembered: how many blocks can be taken back.
        filter: which of the pools are followed.
        cache: where descriptions of pools are remembered; beside ``state`` if nothing is said.
        poll_seconds: how often an endpoint without WebSocket is asked.
        stale_seconds: an endpoint that tells of no new block for so long is connected to anew.
        answer_seconds: how long an answer may take.
        synced_within: ready when not more than so many blocks are missing to the newest.
    """

    endpoints: tuple[EndpointEntry, ...] = Field(min_length=1)
    state: ConfigPath
    venues: tuple[VenueEntry, ...] = Field(min_length=1)
    pools: tuple[AddressText, ...] = ()
    start: int | Literal["latest"] = "latest"
    discover_from: int | None = Field(default=None, ge=0)
    confirmations: int = Field(default=0, ge=0, le=200)
    remembered: int = Field(default=256, ge=8, le=10_000)
    filter: FilterEntry = FilterEntry()
    cache: CacheEntry = CacheEntry()
    poll_seconds: float = Field(default=1.0, gt=0)
    stale_seconds: float = Field(default=20.0, gt=0)
    answer_seconds: float = Field(default=5.0, gt=0)
    synced_within: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _names(self) -> Self:
        labels = [endpoint.label for endpoint in self.endpoints]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"endpoints: two are called {label!r}; give one of them another name")
        factories = [venue.factory for venue in self.venues]
        if len(set(factories)) != len(factories):
            raise ValueError("venues: two of them have one factory")
        if not isinstance(self.start, str) and self.start < 0:
            raise ValueError(f"start: {self.start}: must be a block's number, or 'latest'")
        return self
