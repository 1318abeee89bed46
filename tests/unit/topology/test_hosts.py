"""Which hosts mean this one alone."""

from __future__ import annotations

import pytest

from mycelium.topology.hosts import is_address, is_loopback


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "127.255.0.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example", "example", "127.1", "", "1"]
)
def test_beyond(host: str) -> None:
    assert not is_loopback(host)


def test_names_are_no_addresses() -> None:
    assert [is_address(host) for host in ("0.0.0.0", "::1", "localhost", "127.1")] == [True, True, False, False]
