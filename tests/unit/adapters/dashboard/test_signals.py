"""Signals: exact amounts, the newest first, and not more than are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dashboard import signals
from adapters.dashboard.signals import MAX_SIGNALS, Signals, shown_amount
from tests.unit.adapters.dashboard.sayings import signal
from tests.unit.strategies.flash_arbitrage.reference import token, v2_pool


@pytest.mark.parametrize(
    ("amount", "decimals", "shown"),
    [
        (0, 6, "0.000000"),
        (1, 18, "0.000000000000000001"),
        (-1_500_000, 6, "-1.500000"),
        (1_234_567_000_000, 6, "1,234,567.000000"),
        (-7, 0, "-7"),
        (2**255, 0, f"{2**255:,}"),
    ],
)
def test_amounts(amount: int, decimals: int, shown: str) -> None:
    assert shown_amount(amount, decimals) == shown


@given(st.integers(-(2**255), 2**255 - 1), st.integers(0, 36))
def test_no_digit_of_an_amount_is_lost(amount: int, decimals: int) -> None:
    whole, _, rest = shown_amount(amount, decimals).replace(",", "").partition(".")
    assert len(rest) == decimals
    assert int(whole + rest) == amount


def test_amounts_are_in_tokens_once_the_pool_is_described() -> None:
    found = Signals()
    found.take(signal(1, net=-(2**200)))
    found.describe(v2_pool(1, token(1, decimals=6), token(2)))
    found.take(signal(2))
    newest, oldest = found.newest()
    assert (newest["net"], newest["net_raw"], newest["is_raw"]) == ("1.500000", "1500000", False)
    assert (oldest["net"], oldest["net_raw"], oldest["is_raw"]) == (f"{-(2**200):,}", str(-(2**200)), True)
    assert (newest["strategy"], newest["asset"], newest["hops"], newest["block"]) == ("flash_arbitrage", "t1", 2, 2)


def test_the_newest_come_first_and_the_list_is_bounded() -> None:
    found = Signals()
    for number in range(MAX_SIGNALS + 5):
        found.take(signal(number))
    assert found.total == MAX_SIGNALS + 5
    assert [one["block"] for one in found.newest()] == list(range(MAX_SIGNALS + 4, 4, -1))
    assert [one["block"] for one in found.newest(since=MAX_SIGNALS + 3)] == [MAX_SIGNALS + 4, MAX_SIGNALS + 3]
    assert found.newest(since=found.total) == []


def test_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "MAX_TOKENS", 2)
    found = Signals()
    found.describe(v2_pool(1, token(3), token(4)))
    found.describe(v2_pool(2, token(1), token(2)))
    found.take(signal(1))
    assert found.newest()[0]["is_raw"]
