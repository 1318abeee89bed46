"""Uniswap v2: what a constant product pool pays, to the last unit.

The formulas are those of UniswapV2Library (``getAmountOut``, ``getAmountIn``), which follow from
``(x + dx·γ)(y - dy) = x·y`` in the Uniswap v2 whitepaper. The library has its fee of 0.3 % built in as
997/1000; here it is in pips (millionths). For 3000 pips numerator and denominator are both 1000 times
the library's, so that the quotient and its floor are the same numbers.

All amounts and reserves are whole numbers in the tokens' smallest units.
"""

from __future__ import annotations

PIPS = 1_000_000
"""A fee is a whole number of millionths: 3000 pips = 0.3 %."""

MAX_RESERVE = 2**112 - 1
"""A pair keeps its reserves as uint112 and reverts with OVERFLOW beyond."""


def amount_out(amount_in: int, reserve_in: int, reserve_out: int, fee_pips: int) -> int:
    """What the pool pays for ``amount_in``, rounded down as the pair allows (UniswapV2Library.getAmountOut).

    Args:
        amount_in: paid into the pool, smallest units, fee included.
        reserve_in: the pool's reserve of the token that is paid, before the swap.
        reserve_out: its reserve of the token that is bought.
        fee_pips: the fee in millionths.

    Raises:
        ValueError: nothing is paid, or the pool has none of a token. The library reverts then.
    """
    if amount_in <= 0 or reserve_in <= 0 or reserve_out <= 0:
        raise ValueError(f"no swap of {amount_in} against reserves {reserve_in} and {reserve_out}")
    after_fee = amount_in * (PIPS - fee_pips)
    return after_fee * reserve_out // (reserve_in * PIPS + after_fee)


def amount_in(amount_out: int, reserve_in: int, reserve_out: int, fee_pips: int) -> int:
    """What UniswapV2Library.getAmountIn asks for ``amount_out``: the quotient's floor and one more.

    It always suffices. When the division leaves no rest it is one unit more than needed;
    :func:`smallest_amount_in` is not.

    Args:
        amount_out: wanted, smallest units.
        reserve_in: the pool's reserve of the token that is paid, before the swap.
        reserve_out: its reserve of the token that is bought.
        fee_pips: the fee in millionths.

    Raises:
        ValueError: nothing is wanted, the pool does not have that much, or has none of a token.
    """
    _check_wanted(amount_out, reserve_in, reserve_out)
    return reserve_in * amount_out * PIPS // ((reserve_out - amount_out) * (PIPS - fee_pips)) + 1


def smallest_amount_in(amount_out: int, reserve_in: int, reserve_out: int, fee_pips: int) -> int:
    """The smallest input for which :func:`amount_out` is at least ``amount_out``.

    From ``after_fee·reserve_out ≥ amount_out·(reserve_in·10⁶ + after_fee)``, solved for the input and
    rounded up.

    Args:
        amount_out: wanted, smallest units.
        reserve_in: the pool's reserve of the token that is paid, before the swap.
        reserve_out: its reserve of the token that is bought.
        fee_pips: the fee in millionths.

    Raises:
        ValueError: nothing is wanted, the pool does not have that much, or has none of a token.
    """
    _check_wanted(amount_out, reserve_in, reserve_out)
    return -(-reserve_in * amount_out * PIPS // ((reserve_out - amount_out) * (PIPS - fee_pips)))


def _check_wanted(amount_out: int, reserve_in: int, reserve_out: int) -> None:
    if amount_out <= 0 or reserve_in <= 0 or reserve_out <= amount_out:
        raise ValueError(f"cannot buy {amount_out} from reserves {reserve_in} and {reserve_out}")
