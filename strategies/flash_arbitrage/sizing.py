"""How much to put into a cycle: the input with the largest profit, in whole numbers.

Theory of operation
-------------------
Before rounding, a pool turns ``x`` into ``a·x / (b + c·x)``: a constant product pool by its reserves, a v3 pool by
its virtual reserves as long as the price stays in the range. Two such steps one after the other are such a
step again, so that a whole cycle is one, with integers ``a, b, c``. With a loan premium ``p`` the profit
``a·x/(b + c·x) - (1 + p)·x`` is concave, and its maximum is at ``x* = (√(a·b/(1 + p)) - b) / c``. The root is
``math.isqrt``; no float appears.

The chain rounds at every pool, and that decides which inputs are worth asking about. Let WETH be sold for USDC:
one unit of USDC is worth some 4·10⁸ wei, and every input between two neighbouring amounts of USDC loses the
rest. So the search starts from the *anchor*: the place in the cycle whose token has the most valuable unit.
The amounts next to the real optimum there are taken, each is followed back to the smallest input that
produces it, and that input forward through the exact formulas. The best of these few is the answer.

How far it is from the true optimum
-----------------------------------
Let ``Q`` be the real profit as a function of the amount at the anchor. ``Q`` is concave and no rounded profit
exceeds it, so the true optimum is at most ``Q`` at one of the two whole numbers around the real optimum. Both
are tried; where a pool's range ends before the optimum, ``Q`` still rises there, and the amounts at its end are
tried instead. What each loses against ``Q`` is: less than one unit for the premium, less than one for the last
floor, less than ``1 + p`` for rounding the input up (twice that before a v3 pool, which rounds fee and amount
apart), and at each other place less than one unit of that token (two before a v3 pool). A unit counts with
what it costs or sells for in the start token, whichever is more. That is at most one, unless the cycle has
three pools and both inner tokens have units worth more than the start token's. Hence:

* a cycle of two pools is within 5 units of the start token;
* a cycle of three is within 5 for constant product pools and 7 with v3 pools, plus, if both inner tokens have more
  valuable units than the start token, what the units of the lesser of them lose: one, or two before a v3 pool.

To this comes what a v3 pool alone does. One step of its price is worth ``L / 2**96`` of token 1 or ``L·2**96 / P²`` of
token 0, and amounts in between are lost; both are far below a unit unless a pool is enormous or its price is
extreme, and are not searched for. And *at* the anchor it rounds ``amount·(10⁶ - fee)/10⁶`` down, so that amounts
for which that is nearly whole are tried too (:meth:`Pool.even_inputs`). In a pool so small that a few thousand
units of the anchor's token move the price, another amount can be better, by up to one unit of that token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isqrt
from typing import NamedTuple

from strategies.flash_arbitrage.graph import Leg

BASIS_POINTS = 10_000

_Rational = tuple[int, int, int]
"""``(a, b, c)`` of ``a·x / (b + c·x)``."""


class Sizing(NamedTuple):
    """A sized cycle. All in smallest units; the profit in those of the start token, before gas."""

    amounts: tuple[int, ...]
    """The input, what each pool pays on the way, and the output: one more than there are pools."""
    premium: int
    profit: int


def flash_premium(amount: int, premium_bps: int) -> int:
    """What borrowing ``amount`` costs: the share in basis points, rounded up to a whole unit."""
    return -(-amount * premium_bps // BASIS_POINTS)


def best_input(legs: Sequence[Leg], premium_bps: int) -> Sizing | None:
    """The most profitable way through a cycle, or None if no input gives a profit.

    Args:
        legs: two or three pools, all usable, each sold what the one before pays.
        premium_bps: of the flash loan, in basis points of the input.

    Returns:
        Exact amounts, with the bound on the profit that the module's text derives.
    """
    steps = [pool.coefficients(sold) for pool, sold in legs]
    a, b, c = steps[0]
    # What the first 0, 1, ... pools do together.
    until: list[_Rational] = [(1, 1, 0), (a, b, c)]
    for d, e, f in steps[1:]:
        a, b, c = a * d, b * e, c * e + f * a
        until.append((a, b, c))
    root = isqrt(a * b * BASIS_POINTS // (BASIS_POINTS + premium_bps))
    if root <= b:
        return None
    optimum = [_amount_at(place, root - b, c) for place in until[:-1]]
    best: Sizing | None = None
    anchor = _anchor(steps, optimum)
    for amount, (pool, sold) in zip(optimum, legs, strict=True):
        if amount > pool.largest_in(sold):
            break
    else:
        above = _amount_at(until[anchor], root + 1 - b, c)
        best = _best_of(legs, anchor, _around(optimum[anchor], above, anchor, legs), premium_bps)
    if best is None:
        best = _at_the_limit(legs, anchor, premium_bps)
    return best if best is not None and best.profit > 0 else None


def forward(legs: Sequence[Leg], amount: int) -> tuple[int, ...] | None:
    """The exact amounts on the way of ``amount`` through the pools; None if a pool cannot take what comes."""
    amounts = [amount]
    for pool, sold in legs:
        amount = pool.amount_out(sold, amount)
        if amount <= 0:
            return None
        amounts.append(amount)
    return tuple(amounts)


def backward(legs: Sequence[Leg], amount: int) -> int | None:
    """An input for which the pools pay at least ``amount`` in the end; None if they cannot."""
    for pool, sold in reversed(legs):
        wanted = pool.amount_in(sold, amount)
        if wanted is None:
            return None
        amount = wanted
    return amount


def _amount_at(place: _Rational, numerator: int, denominator: int) -> int:
    """What reaches a place in the cycle when ``numerator / denominator`` is put in, rounded down."""
    a, b, c = place
    return a * numerator // (b * denominator + c * numerator)


def _anchor(steps: Sequence[_Rational], optimum: Sequence[int]) -> int:
    """The place whose token has the most valuable unit, by the prices at the optimum; the earlier of equals."""
    anchor = 0
    bought, sold = 1, 1  # units here for units at the anchor
    for place, ((a, b, c), amount) in enumerate(zip(steps[:-1], optimum[:-1], strict=True), start=1):
        bought *= a * b  # the derivative of a·x / (b + c·x) is a·b / (b + c·x)²
        sold *= (b + c * amount) ** 2
        if bought < sold:
            anchor, bought, sold = place, 1, 1
    return anchor


def _around(below: int, above: int, anchor: int, legs: Sequence[Leg]) -> list[int]:
    """The amounts at the anchor that can be best: the neighbours of the real optimum.

    ``isqrt`` rounds down, so that the real optimum is known to lie from ``below`` (for the root) to ``above`` (for the
    root and one). They differ by 1 at most, and hardly ever: an amount's derivative by the root is at most
    ``a / (b·denominator)``, and the denominator is at least ``a`` times the following pool's ``c``.
    """
    targets = list(range(max(below, 1), above + 2))
    if anchor:  # at the start a unit is but a unit
        pool, _ = legs[anchor]
        targets += [amount for amount in pool.even_inputs(below) if amount > 0 and amount not in targets]
    return targets


def _best_of(legs: Sequence[Leg], anchor: int, targets: Iterable[int], premium_bps: int) -> Sizing | None:
    """The best of some amounts at the anchor; None if the pools can take none of them."""
    best: Sizing | None = None
    for target in targets:
        amount = backward(legs[:anchor], target)
        amounts = None if amount is None else forward(legs, amount)
        if amounts is not None:
            best = _better(best, amounts, premium_bps)
    return best


def _better(best: Sizing | None, amounts: tuple[int, ...], premium_bps: int) -> Sizing:
    premium = flash_premium(amounts[0], premium_bps)
    profit = amounts[-1] - amounts[0] - premium
    return Sizing(amounts, premium, profit) if best is None or profit > best.profit else best


def _at_the_limit(legs: Sequence[Leg], anchor: int, premium_bps: int) -> Sizing | None:
    """The best where a pool's range ends before the optimum: as much as the pools take, or a little less.

    The profit still rises there, so that the most is the best but for what rounding wastes: of all inputs
    that give the same amount at the anchor the smallest is wanted.
    """
    amounts = _largest(legs)
    if amounts is None:
        return None
    best = _better(None, amounts, premium_bps)
    most = amounts[anchor]
    pool, _ = legs[anchor]
    targets = [most, most - 1, *pool.even_inputs(most)]
    other = _best_of(legs, anchor, [amount for amount in targets if 0 < amount <= most], premium_bps)
    return other if other is not None and other.profit > best.profit else best


def _largest(legs: Sequence[Leg]) -> tuple[int, ...] | None:
    """The amounts of the largest input that all pools can take; None if they can take nothing."""
    reaching = [backward(legs[:place], pool.largest_in(sold)) for place, (pool, sold) in enumerate(legs)]
    amount = min(limit for limit in reaching if limit is not None)
    # The smallest input that reaches a limit may overshoot it, where one unit buys several. Then less, in growing
    # steps, since a step of a v3 price can be worth any number of units.
    step = 1
    while amount > 0:
        amounts = forward(legs, amount)
        if amounts is not None:
            return amounts
        amount -= step
        step *= 2
    return None
