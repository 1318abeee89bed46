from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.values import Address
from strategies.flash_arbitrage.settings import FlashArbitrageSettings

ONE = "0x" + "11" * 20
TWO = "0x" + "22" * 20


def test_values_of_a_toml_file_become_addresses() -> None:
    settings = FlashArbitrageSettings.model_validate(
        {"start_tokens": [ONE, TWO], "min_net_profit": {TWO: 5}, "wrapped_native": ONE}
    )
    assert settings.start_tokens == (Address(ONE), Address(TWO))
    assert settings.min_net_profit == {Address(TWO): 5}
    assert settings.wrapped_native == Address(ONE)
    assert FlashArbitrageSettings.model_validate(settings.model_dump()) == settings


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"start_tokens": ["0x12"]}, "0x12"),
        ({"start_tokens": [12]}, "12"),
        ({"start_tokens": []}, "start_tokens"),
        ({"start_tokens": [ONE, ONE]}, "twice"),
        ({"start_tokens": [ONE], "min_net_profit": {TWO: 1}}, TWO),
        ({"start_tokens": [ONE], "min_net_profit": {ONE: -1}}, "min_net_profit"),
        ({"flash_premium_bps": 10_001}, "flash_premium_bps"),
        ({"gas_price_wei": -1}, "gas_price_wei"),
        ({"max_signals_per_event": 0}, "max_signals_per_event"),
        ({"gas_prise": 1}, "gas_prise"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        FlashArbitrageSettings.model_validate(values)


def test_the_defaults_hold() -> None:
    assert FlashArbitrageSettings().wrapped_native in FlashArbitrageSettings().start_tokens
