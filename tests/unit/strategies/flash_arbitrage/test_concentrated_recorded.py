"""The v3 formulas against swaps which really happened: to the last unit, or the test fails."""

from __future__ import annotations

import ast
import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from strategies.flash_arbitrage.concentrated import SwapStep, swap_step
from strategies.flash_arbitrage.ticks import range_around, sqrt_ratio_at_tick

DATA = Path(__file__).parents[5] / "shared" / "data"
SWAP_TOPIC = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"


class Swap(NamedTuple):
    amount0: int
    amount1: int
    sqrt_price: int
    liquidity: int
    tick: int


class Recorded(NamedTuple):
    file: str
    fee_pips: int
    tick_spacing: int
    exact_input: int
    exact_output: int
    price_limit: int


# How many pairs of consecutive swaps stay in one range at one liquidity, and what kind of swap the second is.
# The files are fixed, so that any other count means that the formulas or the range have changed; a pair that
# no formula gives exactly would be counted as "neither" and fail.
FILES = [
    Recorded("polygon_uniswap_v3/2022-01-05_usdc-weth-005.raw.csv.gz", 500, 10, 2463, 150, 486),
    Recorded(
        "ethereum_uniswap_v3_pair/ethereum-0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640-2024-01-05.raw.csv.gz",
        500, 10, 4627, 568, 103,
    ),
    Recorded(
        "ethereum_uniswap_v3_pair/ethereum-0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8-2024-01-05.raw.csv.gz",
        3000, 60, 204, 11, 19,
    ),
]  # fmt: skip


def read_swaps(path: Path) -> Iterator[Swap]:
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            topics = ast.literal_eval(row.get("pool_topics") or row["topics"])
            if topics[0] != SWAP_TOPIC:
                continue
            data = bytes.fromhex((row.get("pool_data") or row["data"]).removeprefix("0x"))
            words = [data[at : at + 32] for at in range(0, 160, 32)]
            signed = [int.from_bytes(word, "big", signed=True) for word in words]
            yield Swap(signed[0], signed[1], signed[2], signed[3], signed[4])


def classify(before: Swap, after: Swap, recorded: Recorded) -> str | None:
    """Which formula gives the second swap exactly; None if it left the range, or the liquidity changed."""
    lower, upper = range_around(before.tick, recorded.tick_spacing)
    if before.liquidity != after.liquidity or not lower < after.sqrt_price < upper:
        return None
    sold = 0 if after.amount0 > 0 else 1
    paid, bought = (after.amount0, -after.amount1) if sold == 0 else (after.amount1, -after.amount0)
    target = upper if sold else lower
    done = (after.sqrt_price, paid, bought)
    if whole(swap_step(before.sqrt_price, target, before.liquidity, paid, recorded.fee_pips)) == done:
        return "exact_input"
    wanted = swap_step(before.sqrt_price, target, before.liquidity, bought, recorded.fee_pips, exact_input=False)
    if whole(wanted) == done:
        return "exact_output"
    # The caller of a swap may set a price at which it stops; its last step then ends at that price.
    if whole(swap_step(before.sqrt_price, after.sqrt_price, before.liquidity, paid, recorded.fee_pips)) == done:
        return "price_limit"
    return "neither"


def whole(step: SwapStep) -> tuple[int, int, int]:
    return step.sqrt_price, step.amount_in + step.fee_amount, step.amount_out


@pytest.mark.parametrize("recorded", FILES, ids=lambda recorded: recorded.file.split("/")[0] + str(recorded.fee_pips))
def test_recorded_swaps_within_a_range_obey_the_formula_exactly(recorded: Recorded) -> None:
    path = DATA / recorded.file
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{recorded.file}")
    kinds = Counter(classify(*pair, recorded) for pair in pairwise(read_swaps(path)))
    del kinds[None]
    assert kinds == {
        "exact_input": recorded.exact_input,
        "exact_output": recorded.exact_output,
        "price_limit": recorded.price_limit,
    }


@pytest.mark.parametrize("recorded", FILES, ids=lambda recorded: recorded.file.split("/")[0] + str(recorded.fee_pips))
def test_recorded_ticks_are_those_of_their_prices(recorded: Recorded) -> None:
    path = DATA / recorded.file
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{recorded.file}")
    swaps = list(read_swaps(path))
    assert len(swaps) > 200
    for swap in swaps:
        assert sqrt_ratio_at_tick(swap.tick) <= swap.sqrt_price <= sqrt_ratio_at_tick(swap.tick + 1)
