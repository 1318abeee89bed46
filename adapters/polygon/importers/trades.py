"""Finds the trades in a block's call trees and rebuilds the reserves of Uniswap v2 pairs.

Theory of operation. Traces hold no logs, but what a pair does shows in the calls it makes:

- ``swap`` of a v2 pair ends with two ``balanceOf(pair)`` calls, first of token 0, then of token 1. What they answer
  becomes the reserves (``UniswapV2Pair._update``). ``mint``, ``burn`` and ``sync`` end in the same way.
- What a swap took in follows from the reserves before it: ``in = balance after + out - reserve before``, which is right
  for tokens that take a fee on transfer too.
- The reserves before are those after the last such call in this block; else what an earlier ``getReserves`` in this
  block answered; else ``balance after + out - sum of the transfers to the pair``. The last is believed only if the
  pair's formula then holds *exactly* (see :func:`_exact`): a fee on transfer or a donation would go unseen otherwise.

The walk is in order of execution and a call takes effect when it *ends*: within a flash swap, the inner swaps come
first, as their logs do. A failed call is walked on a copy of the state which is then thrown away. Its trades are
kept, marked as not having happened, since a reverted arbitrage is of interest; and what ``getReserves`` answered in
it, before anything was changed there, was true outside as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.polygon.importers.swaps import Basis, Kind, RebuiltSwap, Trade
from adapters.polygon.importers.traces import BlockTraces, Call
from contracts.values import Address

SWAP_V2 = bytes.fromhex("022c0d9f")  # swap(uint256,uint256,address,bytes)
SWAP_V3 = bytes.fromhex("128acb08")  # swap(address,bool,int256,uint160,bytes)
SWAP_CURVE = bytes.fromhex("3df02124")  # exchange(int128,int128,uint256,uint256)
GET_RESERVES = bytes.fromhex("0902f1ac")  # getReserves()
BALANCE_OF = bytes.fromhex("70a08231")  # balanceOf(address)
TRANSFER = bytes.fromhex("a9059cbb")  # transfer(address,uint256)
TRANSFER_FROM = bytes.fromhex("23b872dd")  # transferFrom(address,address,uint256)
UPDATES = frozenset(
    bytes.fromhex(selector)
    for selector in (
        "6a627842",  # mint(address)
        "89afcb44",  # burn(address)
        "fff6cae9",  # sync()
    )
)

_UINT112_MAX = 2**112 - 1


@dataclass(slots=True)
class _State:
    """What is known at one moment of the walk."""

    reserves: dict[Address, tuple[int, int, Basis]] = field(default_factory=dict)
    paid_in: dict[tuple[Address, Address], int] = field(default_factory=dict)
    """(token, pool) -> what was transferred to the pool since its reserves were last set."""
    touched: set[Address] = field(default_factory=set)
    """Pools whose reserves changed since this copy of the state was made."""

    def copy(self) -> _State:
        return _State(dict(self.reserves), dict(self.paid_in))

    def keep_observations(self, inner: _State) -> None:
        """Learn what a rolled-back copy was told of pools that it had not changed itself."""
        for pool, known in inner.reserves.items():
            if pool not in inner.touched:
                self.reserves.setdefault(pool, known)

    def observe(self, call: Call) -> None:
        """``getReserves()`` answers (uint112, uint112, uint32)."""
        if len(call.output) == 96:
            reserves = _word(call.output, 0), _word(call.output, 1)
            if max(reserves) <= _UINT112_MAX:
                self.reserves.setdefault(call.to, (*reserves, Basis.GET_RESERVES))

    def pay(self, token: Address, pool: Address, amount: int) -> None:
        self.paid_in[token, pool] = self.paid_in.get((token, pool), 0) + amount

    def update(self, pool: Address, pair: _Balances | None) -> None:
        """The pool's reserves are now its balances, or unknown."""
        self.touched.add(pool)
        if pair is None:
            self.reserves.pop(pool, None)
        else:
            self.reserves[pool] = (pair.balance0, pair.balance1, Basis.EARLIER_CALL)
            self.paid_in.pop((pair.token0, pool), None)
            self.paid_in.pop((pair.token1, pool), None)


@dataclass(frozen=True, slots=True)
class _Balances:
    """What the last two ``balanceOf(pool)`` calls directly beneath a call answered."""

    token0: Address
    token1: Address
    balance0: int
    balance1: int


class TradeFinder:
    """Walks the call trees of one block.

    After :meth:`walk`, ``swaps`` holds the v2 swaps that happened and ``trades`` every trade, also those rolled back,
    both in the order in which they took effect.
    """

    def __init__(self) -> None:
        self.swaps: list[RebuiltSwap] = []
        self.trades: list[Trade] = []

    def walk(self, block: BlockTraces) -> None:
        """Look through all transactions of ``block`` in order."""
        state = _State()
        for root in block.roots:
            self._visit(root, state, happened=True)

    def _visit(self, call: Call, state: _State, *, happened: bool) -> None:
        if call.failed:
            inner = state.copy()
            for child in call.children:
                self._visit(child, inner, happened=False)
            state.keep_observations(inner)
            return
        for child in call.children:
            self._visit(child, state, happened=happened)
        if call.kind in ("call", "staticcall"):
            # Code run by delegatecall works on its caller's storage: the call that counts is the one to the proxy.
            self._take_effect(call, state, happened=happened)

    def _take_effect(self, call: Call, state: _State, *, happened: bool) -> None:
        selector = call.selector
        if selector == TRANSFER:
            state.pay(call.to, call.address(0), call.word(1))
        elif selector == TRANSFER_FROM:
            state.pay(call.to, call.address(1), call.word(2))
        elif selector == GET_RESERVES:
            state.observe(call)
        elif selector in UPDATES:
            state.update(call.to, _balances(call))
        elif selector == SWAP_V2:
            self._swap_v2(call, state, happened=happened)
        elif selector == SWAP_V3:
            self._swap_v3(call, happened=happened)
        elif selector == SWAP_CURVE:
            self._swap_curve(call, happened=happened)

    def _swap_v2(self, call: Call, state: _State, *, happened: bool) -> None:
        after = _balances(call)
        if after is None:
            state.update(call.to, None)
            return
        out = call.word(0), call.word(1)
        transferred = state.paid_in.get((after.token0, call.to), 0), state.paid_in.get((after.token1, call.to), 0)
        known = state.reserves.get(call.to) or _before(after, transferred, out)
        paid = (after.balance0 + out[0] - known[0], after.balance1 + out[1] - known[1]) if known else transferred
        state.update(call.to, after)
        # A balance below the reserve (a rebasing token shrank) is no negative payment: the pair counts it as 0.
        in0, in1 = max(paid[0], 0), max(paid[1], 0)
        self._add(Kind.UNISWAP_V2, call, (after.token0, after.token1), (in0 - out[0], in1 - out[1]), happened=happened)
        if happened:
            self.swaps.append(
                RebuiltSwap(
                    transaction=call.transaction,
                    transaction_index=call.transaction_index,
                    path=call.path,
                    order=len(self.swaps),
                    pool=call.to,
                    sender=call.sender,
                    recipient=call.address(2),
                    token0=after.token0,
                    token1=after.token1,
                    reserve0_before=known[0] if known else None,
                    reserve1_before=known[1] if known else None,
                    amount0_in=in0,
                    amount1_in=in1,
                    amount0_out=out[0],
                    amount1_out=out[1],
                    reserve0_after=after.balance0,
                    reserve1_after=after.balance1,
                    basis=known[2] if known else None,
                )
            )

    def _swap_v3(self, call: Call, *, happened: bool) -> None:
        """``swap`` answers both amounts, signed; it pays one token and asks its balance of the other."""
        paid = [child.to for child in call.children if child.selector == TRANSFER]
        asked = [child.to for child in call.children if child.selector == BALANCE_OF]
        if len(call.output) != 64 or not paid or not asked:
            return
        amounts = tuple(int.from_bytes(call.output[i : i + 32], "big", signed=True) for i in (0, 32))
        tokens = (asked[0], paid[0]) if asked[0] < paid[0] else (paid[0], asked[0])
        self._add(Kind.UNISWAP_V3, call, tokens, (amounts[0], amounts[1]), happened=happened)

    def _swap_curve(self, call: Call, *, happened: bool) -> None:
        """``exchange`` of a Curve pool fetches one token by ``transferFrom`` and pays the other by ``transfer``."""
        fetched = [child for child in call.children if child.selector == TRANSFER_FROM and child.address(1) == call.to]
        paid = [child for child in call.children if child.selector == TRANSFER]
        if fetched and paid:
            tokens, amounts = (fetched[0].to, paid[-1].to), (fetched[0].word(2), -paid[-1].word(1))
            self._add(Kind.CURVE, call, tokens, amounts, happened=happened)

    def _add(
        self, kind: Kind, call: Call, tokens: tuple[Address, Address], changes: tuple[int, int], *, happened: bool
    ) -> None:
        """Keep a trade if one token came in and the other went out; ``changes`` are those of the pool's balances."""
        incoming = 0 if changes[0] > 0 else 1
        if changes[incoming] > 0 > changes[1 - incoming]:
            self.trades.append(
                Trade(
                    kind=kind,
                    transaction=call.transaction,
                    transaction_index=call.transaction_index,
                    path=call.path,
                    pool=call.to,
                    token_in=tokens[incoming],
                    token_out=tokens[1 - incoming],
                    amount_in=changes[incoming],
                    amount_out=-changes[1 - incoming],
                    happened=happened,
                )
            )


def _word(data: bytes, index: int) -> int:
    return int.from_bytes(data[32 * index : 32 * index + 32], "big")


def _balances(call: Call) -> _Balances | None:
    """The balances that a pair's call ends on, None if it is no pair of the Uniswap v2 kind."""
    asked = [
        child
        for child in call.children
        if child.selector == BALANCE_OF and child.address(0) == call.to and len(child.output) == 32
    ][-2:]
    if len(asked) != 2 or not asked[0].to < asked[1].to:
        return None
    balances = _word(asked[0].output, 0), _word(asked[1].output, 0)
    if max(balances) > _UINT112_MAX:
        return None  # a pair refuses such balances (UniswapV2: OVERFLOW)
    return _Balances(asked[0].to, asked[1].to, *balances)


def _before(after: _Balances, paid: tuple[int, int], out: tuple[int, int]) -> tuple[int, int, Basis] | None:
    """Reserves before a pair's first swap of the block from the transfers to it, if they explain it exactly."""
    reserves = after.balance0 + out[0] - paid[0], after.balance1 + out[1] - paid[1]
    for incoming in (0, 1):
        other = 1 - incoming
        if (paid[other], out[incoming]) == (0, 0) and _exact(
            paid[incoming], out[other], reserves[incoming], reserves[other]
        ):
            return (*reserves, Basis.TRANSFERS)
    return None


def holds_k(amount_in: int, amount_out: int, reserve_in: int, reserve_out: int) -> bool:
    """Whether a pair with a fee of 0.3 % accepts this swap (``UniswapV2Pair.swap``, the check named K).

    Args:
        amount_in: received, in smallest units of one token.
        amount_out: paid out, in smallest units of the other.
        reserve_in: reserve of the token that came in, before.
        reserve_out: reserve of the token that went out, before.
    """
    after = ((reserve_in + amount_in) * 1000 - amount_in * 3) * (reserve_out - amount_out) * 1000
    return after >= reserve_in * reserve_out * 1000**2


def _exact(amount_in: int, amount_out: int, reserve_in: int, reserve_out: int) -> bool:
    """Whether the amounts are those of ``getAmountOut`` or ``getAmountIn`` of v2-periphery, to the last unit.

    The pair then could not have paid one unit more, or not have taken two units less (``getAmountIn`` adds one).
    """
    if min(amount_in, amount_out, reserve_in, reserve_out) <= 0 or amount_out >= reserve_out:
        return False
    return holds_k(amount_in, amount_out, reserve_in, reserve_out) and not (
        holds_k(amount_in, amount_out + 1, reserve_in, reserve_out)
        and holds_k(amount_in - 2, amount_out, reserve_in, reserve_out)
    )
