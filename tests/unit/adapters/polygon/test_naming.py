"""Names on the bus are topic segments, whatever a token calls itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.polygon.naming import instrument_of
from contracts.market import Protocol, Token
from contracts.values import Address
from mycelium.core.topics import check_topic

LOW, HIGH = Address("0x" + "01" * 20), Address("0x" + "02" * 20)


def test_v3_pools_of_one_pair_are_told_apart_by_fee() -> None:
    usdc, weth = Token(LOW, "USDC", 6), Token(HIGH, "WETH", 18)
    assert instrument_of(Protocol.UNISWAP_V2, usdc, weth, 3000) == "usdc-weth"
    assert instrument_of(Protocol.UNISWAP_V3, usdc, weth, 500) == "usdc-weth-500"


def test_characters_that_no_topic_has_become_dashes() -> None:
    assert instrument_of(Protocol.UNISWAP_V2, Token(LOW, "USD₮0", 6), Token(HIGH, "a.b>*", 18), 1) == "usd-0-a-b--"


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_every_symbol_makes_a_segment(first: str, second: str) -> None:
    name = instrument_of(Protocol.UNISWAP_V3, Token(LOW, first, 0), Token(HIGH, second, 0), 100)
    assert check_topic(f"market.v.{name}").count(".") == 2
