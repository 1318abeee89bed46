"""Rebuilding swaps from traces: where the reserves before them come from, and what must not be believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.polygon.importers import Basis, RebuiltSwap
from tests.unit.adapters.polygon.importers.synthetic import (
    PAIR,
    TOKEN0,
    TOKEN1,
    balance,
    block,
    call,
    get_reserves,
    mint,
    run,
    swap,
    transfer,
    word,
)


def amount_out(amount_in: int, reserve_in: int, reserve_out: int) -> int:
    """``UniswapV2Library.getAmountOut``."""
    return amount_in * 997 * reserve_out // (reserve_in * 1000 + amount_in * 997)


R0, R1, IN = 5_000_000, 9_000_000, 40_000
OUT = amount_out(IN, R0, R1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "block.json"


def before(rebuilt: RebuiltSwap) -> tuple[int | None, int | None]:
    return rebuilt.reserve0_before, rebuilt.reserve1_before


def test_from_get_reserves(path: Path) -> None:
    (rebuilt,) = block(path, run(get_reserves(R0, R1), swap(0, OUT, R0 + IN, R1 - OUT))).swaps
    assert (before(rebuilt), rebuilt.basis) == ((R0, R1), Basis.GET_RESERVES)
    assert (rebuilt.amount0_in, rebuilt.amount1_in, rebuilt.amount0_out, rebuilt.amount1_out) == (IN, 0, 0, OUT)
    assert (rebuilt.transaction_index, rebuilt.path, rebuilt.order) == (0, (1,), 0)
    assert rebuilt.transaction == bytes(31) + b"\x01"


def test_from_the_swap_before(path: Path) -> None:
    first, second = block(
        path, run(get_reserves(R0, R1), swap(0, OUT, R0 + IN, R1 - OUT)), run(swap(7, 0, R0 + IN - 7, R1 - OUT + 99))
    ).swaps
    assert (before(second), second.basis) == ((R0 + IN, R1 - OUT), Basis.EARLIER_CALL)
    assert (second.amount0_in, second.amount1_in, second.amount0_out) == (0, 99, 7)
    assert (first.order, second.order) == (0, 1)


def test_a_mint_between_counts_and_not_as_a_payment(path: Path) -> None:
    _, second = block(
        path,
        run(get_reserves(R0, R1), swap(0, OUT, R0 + IN, R1 - OUT)),
        run(transfer(TOKEN0, PAIR, 500), transfer(TOKEN1, PAIR, 900), mint(R0 + IN + 500, R1 - OUT + 900)),
        run(swap(7, 0, R0 + IN + 493, R1 - OUT + 999)),
    ).swaps
    assert before(second) == (R0 + IN + 500, R1 - OUT + 900)
    assert second.amount1_in == 99


def test_an_update_that_cannot_be_read_leaves_the_reserves_unknown(path: Path) -> None:
    (rebuilt,) = block(path, run(get_reserves(R0, R1), call(PAIR, "0xfff6cae9"), swap(0, OUT, R0 + IN, R1 - OUT))).swaps
    assert (before(rebuilt), rebuilt.basis) == ((None, None), None)


def test_from_transfers_if_the_formula_holds_exactly(path: Path) -> None:
    (rebuilt,) = block(path, run(transfer(TOKEN0, PAIR, IN), swap(0, OUT, R0 + IN, R1 - OUT))).swaps
    assert (before(rebuilt), rebuilt.basis) == ((R0, R1), Basis.TRANSFERS)


def test_a_swap_paid_in_both_tokens_is_not_proven_by_its_transfers(path: Path) -> None:
    paid = transfer(TOKEN0, PAIR, IN), transfer(TOKEN1, PAIR, 5)
    (rebuilt,) = block(path, run(*paid, swap(0, OUT, R0 + IN, R1 - OUT + 5))).swaps
    assert rebuilt.basis is None


def test_a_token_that_takes_a_fee_on_transfer_is_not_believed(path: Path) -> None:
    received = IN * 98 // 100
    out = amount_out(received, R0, R1)
    (rebuilt,) = block(path, run(transfer(TOKEN0, PAIR, IN), swap(0, out, R0 + received, R1 - out))).swaps
    assert rebuilt.basis is None
    assert rebuilt.amount0_in == IN  # what was transferred, as documented


def test_a_token_that_takes_a_fee_is_rebuilt_right_when_the_reserves_are_known(path: Path) -> None:
    received = IN * 98 // 100
    (rebuilt,) = block(
        path, run(get_reserves(R0, R1), transfer(TOKEN0, PAIR, IN), swap(0, 5, R0 + received, R1 - 5))
    ).swaps
    assert rebuilt.amount0_in == received


def test_transfers_through_a_proxy_count_once(path: Path) -> None:
    moved = transfer(TOKEN0, PAIR, IN)
    delegate = call("0x" + "ee" * 20, moved["data"], kind="delegatecall", output=moved["output"])
    proxied = call(TOKEN0, moved["data"], delegate, output=moved["output"])
    (rebuilt,) = block(path, run(proxied, swap(0, OUT, R0 + IN, R1 - OUT))).swaps
    assert before(rebuilt) == (R0, R1)


def test_what_was_rolled_back_did_not_happen(path: Path) -> None:
    failed = run(get_reserves(R0, R1), swap(0, OUT, R0 + IN, R1 - OUT), error="Reverted")
    # More is transferred than the swap needed, so that the transfers prove nothing.
    replay = block(path, failed, run(transfer(TOKEN0, PAIR, IN), swap(0, OUT - 9, R0 + IN, R1 - OUT + 9)))
    (rebuilt,) = replay.swaps
    assert rebuilt.transaction_index == 1
    assert [trade.happened for trade in replay.trades] == [False, True]
    # The pair was changed in the failed transaction after it had been read: that reading is not carried over.
    assert rebuilt.basis is None


def test_a_failed_call_within_a_transaction_that_goes_on(path: Path) -> None:
    attempt = call(TRADER_HELPER, "0x", swap(0, 1, R0 + 5, R1 - 1), error="Reverted")
    (rebuilt,) = block(path, run(get_reserves(R0, R1), attempt, swap(0, OUT, R0 + IN, R1 - OUT))).swaps
    assert before(rebuilt) == (R0, R1)


TRADER_HELPER = "0x" + "ef" * 20


def test_what_a_failed_transaction_read_before_changing_anything_is_true(path: Path) -> None:
    (rebuilt,) = block(path, run(get_reserves(R0, R1), error="Out of gas"), run(swap(0, OUT, R0 + IN, R1 - OUT))).swaps
    assert (before(rebuilt), rebuilt.basis) == ((R0, R1), Basis.GET_RESERVES)


def test_transfers_of_a_failed_call_do_not_count(path: Path) -> None:
    attempt = call(TRADER_HELPER, "0x", transfer(TOKEN0, PAIR, 999), error="Reverted")
    (rebuilt,) = block(path, run(attempt, transfer(TOKEN0, PAIR, IN), swap(0, OUT, R0 + IN, R1 - OUT))).swaps
    assert before(rebuilt) == (R0, R1)


def test_within_a_flash_swap_the_inner_swap_comes_first(path: Path) -> None:
    other = "0x" + "ab" * 20
    inner = swap(0, OUT, R0 + IN, R1 - OUT, pair=other)
    callback = call(TRADER_HELPER, "0x10d1e85c", get_reserves(R0, R1, other), inner)
    outer = swap(3, 0, R0 - 3, R1 + 90, callback)
    first, second = block(path, run(get_reserves(R0, R1), outer)).swaps
    assert (str(first.pool), str(second.pool)) == (other, PAIR)
    assert first.path > second.path


def test_what_only_looks_like_a_pair_is_no_swap(path: Path) -> None:
    data = "0x022c0d9f" + word(1) * 5
    wrong_order = call(PAIR, data, balance(TOKEN1, PAIR, 5), balance(TOKEN0, PAIR, 5))
    one_balance = call(PAIR, data, balance(TOKEN0, PAIR, 5))
    of_another = call(PAIR, data, balance(TOKEN0, TRADER_HELPER, 5), balance(TOKEN1, TRADER_HELPER, 5))
    too_large = call(PAIR, data, balance(TOKEN0, PAIR, 2**112), balance(TOKEN1, PAIR, 5))
    delegated = swap(0, OUT, R0 + IN, R1 - OUT, kind="delegatecall")
    assert block(path, run(wrong_order, one_balance, of_another, too_large, delegated)).swaps == ()
