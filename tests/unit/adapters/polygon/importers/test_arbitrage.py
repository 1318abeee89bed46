"""Finding cycles among the trades of a transaction."""

from __future__ import annotations

from adapters.polygon.importers import Kind, Trade, find_arbitrages
from contracts.values import Address

A, B, C = (Address(bytes([n]) * 20) for n in (1, 2, 3))


def trade(pool: int, sold: Address, bought: Address, amount_in: int, amount_out: int, **changes: object) -> Trade:
    values = {
        "kind": Kind.UNISWAP_V2,
        "transaction": b"\x07" * 32,
        "transaction_index": 3,
        "path": (pool,),
        "pool": Address(bytes([0x80 + pool]) * 20),
        "token_in": sold,
        "token_out": bought,
        "amount_in": amount_in,
        "amount_out": amount_out,
        "happened": True,
    } | changes
    return Trade(**values)  # type: ignore[arg-type]


def test_two_hops_begin_where_the_amounts_do_not_meet() -> None:
    hops = trade(1, A, B, 1000, 500), trade(2, B, A, 500, 1005)
    for order in (hops, hops[::-1]):  # a flash swap turns the order around
        (found,) = find_arbitrages(order)
        assert (found.start_token, found.profit, found.succeeded, len(found.hops)) == (A, 5, True, 2)
        assert [hop.pool for hop in found.hops] == [hop.pool for hop in hops]
        assert found.constant_product
        assert (found.transaction, found.transaction_index) == (b"\x07" * 32, 3)


def test_three_hops_and_a_loss() -> None:
    (found,) = find_arbitrages(
        [trade(1, A, B, 1000, 500), trade(2, B, C, 500, 70, kind=Kind.UNISWAP_V3), trade(3, C, A, 70, 990)]
    )
    assert (len(found.hops), found.profit, found.constant_product) == (3, -10, False)


def test_a_little_may_be_left_between_hops() -> None:
    assert len(find_arbitrages([trade(1, A, B, 1000, 500), trade(2, B, A, 495, 2000)])) == 1
    assert find_arbitrages([trade(1, A, B, 1000, 500), trade(2, B, A, 494, 2000)]) == ()


def test_what_is_no_cycle() -> None:
    assert find_arbitrages([]) == ()
    assert find_arbitrages([trade(1, A, B, 1000, 500)]) == ()
    assert find_arbitrages([trade(1, A, B, 1000, 500), trade(2, B, C, 500, 70)]) == ()
    same_pool = trade(1, A, B, 1000, 500), trade(1, B, A, 500, 990)
    assert find_arbitrages(same_pool) == ()


def test_trades_of_two_transactions_make_no_cycle() -> None:
    assert find_arbitrages([trade(1, A, B, 1000, 500), trade(2, B, A, 500, 1005, transaction_index=4)]) == ()


def test_rolled_back_trades_make_a_cycle_that_did_not_succeed() -> None:
    hops = [trade(1, A, B, 1000, 500, happened=False), trade(2, B, A, 500, 1005, happened=False)]
    (found,) = find_arbitrages(hops)
    assert not found.succeeded
    assert find_arbitrages([hops[0], trade(2, B, A, 500, 1005)]) == ()


def test_two_cycles_of_one_transaction_are_two() -> None:
    found = find_arbitrages(
        [
            trade(1, A, B, 1000, 500),
            trade(2, B, A, 500, 1005),
            trade(3, A, C, 1005, 70),
            trade(4, C, A, 70, 1009),
        ]
    )
    assert sorted(cycle.profit for cycle in found) == [4, 5]
