from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from strategies.flash_arbitrage.constant_product import MAX_RESERVE, amount_in, amount_out, smallest_amount_in
from tests.unit.strategies.flash_arbitrage.reference import v2_out

RESERVES = st.integers(1, MAX_RESERVE)
AMOUNTS = st.integers(1, 2**112)
FEES = st.sampled_from((0, 500, 2500, 3000, 10_000, 999_999))


@given(AMOUNTS, RESERVES, RESERVES)
def test_3000_pips_are_the_librarys_997_of_1000(amount: int, reserve_in: int, reserve_out: int) -> None:
    with_fee = amount * 997
    assert amount_out(amount, reserve_in, reserve_out, 3000) == with_fee * reserve_out // (reserve_in * 1000 + with_fee)


@given(st.data(), RESERVES, st.integers(2, MAX_RESERVE))
def test_3000_pips_are_the_librarys_997_of_1000_the_other_way_round(
    data: st.DataObject, reserve_in: int, reserve_out: int
) -> None:
    wanted = data.draw(st.integers(1, reserve_out - 1))
    library = reserve_in * wanted * 1000 // ((reserve_out - wanted) * 997) + 1
    assert amount_in(wanted, reserve_in, reserve_out, 3000) == library


@given(AMOUNTS, RESERVES, RESERVES, FEES)
def test_what_is_paid_is_the_floor_of_the_rational(
    amount: int, reserve_in: int, reserve_out: int, fee_pips: int
) -> None:
    assert amount_out(amount, reserve_in, reserve_out, fee_pips) == v2_out(amount, reserve_in, reserve_out, fee_pips)


@given(AMOUNTS, RESERVES, RESERVES)
def test_the_pair_accepts_the_amount_and_not_one_unit_more(amount: int, reserve_in: int, reserve_out: int) -> None:
    def accepts(paid: int) -> bool:  # the check named K of UniswapV2Pair.swap
        adjusted = (reserve_in + amount) * 1000 - amount * 3
        return adjusted * (reserve_out - paid) * 1000 >= reserve_in * reserve_out * 1000**2

    paid = amount_out(amount, reserve_in, reserve_out, 3000)
    assert accepts(paid)
    assert not accepts(paid + 1)


@given(st.data(), RESERVES, st.integers(2, MAX_RESERVE), FEES)
def test_the_smallest_input_suffices_and_one_less_does_not(
    data: st.DataObject, reserve_in: int, reserve_out: int, fee_pips: int
) -> None:
    wanted = data.draw(st.integers(1, reserve_out - 1))
    amount = smallest_amount_in(wanted, reserve_in, reserve_out, fee_pips)
    assert amount_out(amount, reserve_in, reserve_out, fee_pips) >= wanted
    assert amount - 1 == 0 or amount_out(amount - 1, reserve_in, reserve_out, fee_pips) < wanted
    assert amount <= amount_in(wanted, reserve_in, reserve_out, fee_pips) <= amount + 1


@given(AMOUNTS, RESERVES, RESERVES)
def test_it_never_pays_all_it_has(amount: int, reserve_in: int, reserve_out: int) -> None:
    assume(amount <= MAX_RESERVE)
    assert 0 <= amount_out(amount, reserve_in, reserve_out, 0) < reserve_out


@pytest.mark.parametrize("case", [(0, 10, 10), (-1, 10, 10), (1, 0, 10), (1, 10, 0)])
def test_no_swap_with_nothing(case: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=str(case[0])):
        amount_out(*case, 3000)


@pytest.mark.parametrize("case", [(0, 10, 10), (10, 10, 10), (11, 10, 10), (1, 0, 10)])
def test_no_more_can_be_wanted_than_there_is(case: tuple[int, int, int]) -> None:
    for function in (amount_in, smallest_amount_in):
        with pytest.raises(ValueError, match=str(case[0])):
            function(*case, 3000)
