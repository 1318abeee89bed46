"""Finds out about pools from nothing but their addresses: venue, tokens, fee, name.

A pool says which factory made it. Only factories of the configuration count, and each is asked whether it did: a
contract that merely says so is no pool. The protocol is the venue's, too: a pool of a third kind may lack what tells
the two known ones apart.

**Tokens that take a fee on transfer** cannot be told by anything that is asked here; others find them by simulating
trades against a v2 pair (Uniswap's ``FeeOnTransferDetector``), which says what the token does now, to that trader, and
may change any time. Here they are not detected. What is published stays true, since reserves come from the pool's own
events and states; but a quote computed from them is what the pool pays and takes, not what reaches the trader or must
be sent. Whoever trades such tokens has to know them: leave them out with :class:`Filter`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from adapters.polygon.live.cache import MetadataCache
from adapters.polygon.live.calls import Call, Caller, address_in, call_data, number_in
from adapters.polygon.live.facts import MAX_DECIMALS, Names, PoolFacts, Unfit, Venue, symbol_of
from adapters.polygon.live.states import holdings, large_enough
from adapters.polygon.logs import Log
from contracts.market import PoolMetadata, Protocol, Token
from contracts.values import Address

PAIR_CREATED = bytes.fromhex("0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9")
"""``PairCreated(address indexed token0, address indexed token1, address pair, uint256)`` of a v2 factory."""
POOL_CREATED = bytes.fromhex("783cca1c0412dd0d695e784568c96da2e9c22ff989357a2e8b1d9b2b4e6b7118")
"""``PoolCreated(address indexed token0, address indexed token1, uint24 indexed fee, int24 tickSpacing, address pool)``
of a v3 factory."""

_PLACES = {PAIR_CREATED: (3, 0), POOL_CREATED: (4, 1)}
"""How many topics, and which of the two words of data is the pool's address."""

_TOKEN0, _TOKEN1, _FACTORY = call_data("token0()"), call_data("token1()"), call_data("factory()")
_FEE, _TICK_SPACING = call_data("fee()"), call_data("tickSpacing()")
_SYMBOL, _DECIMALS = call_data("symbol()"), call_data("decimals()")


def created(log: Log) -> Address | None:
    """The pool whose creation a log tells of; None if it is another log, or has not the form of this one.

    Any contract may emit such a log: ``log.address`` is the factory, which must be a known one.
    """
    place = _PLACES.get(log.topics[0]) if log.topics else None
    if place is None or len(log.topics) != place[0] or len(log.data) != 64:
        return None
    return address_in(log.data[32 * place[1] :][:32])


@dataclass(frozen=True, slots=True)
class Filter:
    """Which pools are wanted; all of them without further words.

    Args:
        venues: names of the wanted venues; None for all.
        tokens: both tokens of a pool must be among these; None for all.
        minimum: smallest units by token. A pool must hold so much of one of these tokens at least; one that has none
            of them is not wanted, since nothing says what it is worth. Empty for pools of any size.
    """

    venues: frozenset[str] | None = None
    tokens: frozenset[Address] | None = None
    minimum: Mapping[Address, int] = field(default_factory=dict)

    def wanted(self, pool: PoolMetadata) -> bool:
        """Whether venue and tokens are wanted; how much the pool holds is not asked here."""
        if self.venues is not None and pool.venue not in self.venues:
            return False
        return self.tokens is None or {pool.token0.address, pool.token1.address} <= self.tokens


class Described(NamedTuple):
    """What was found out.

    Args:
        pools: the pools that are to be followed.
        unfit: why the others are not.
    """

    pools: dict[Address, PoolMetadata]
    unfit: dict[Address, Unfit]


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a pool says of itself."""

    pool: Address
    factory: Address
    venue: Venue
    token0: Address
    token1: Address
    fee_pips: int = 0
    tick_spacing: int = 0

    def confirmation(self) -> Call:
        """The question to the factory whose answer is the pool, if it is one."""
        tokens = bytes(self.token0), bytes(self.token1)
        if self.venue.protocol is Protocol.UNISWAP_V2:
            return Call(self.factory, call_data("getPair(address,address)", *tokens))
        return Call(self.factory, call_data("getPool(address,address,uint24)", *tokens, self.fee_pips))


class Discovery:
    """Describes pools.

    Args:
        caller: asks the contracts.
        factories: the known venues by their factories.
        wanted: which pools to describe.
        cache: remembers what the chain said, if there is one.
        known: pools that have been described before, by another run, and keep their names.
    """

    def __init__(
        self,
        caller: Caller,
        factories: Mapping[Address, Venue],
        *,
        wanted: Filter | None = None,
        cache: MetadataCache | None = None,
        known: Iterable[PoolMetadata] = (),
    ) -> None:
        self._caller = caller
        self._factories = dict(factories)
        self._wanted = wanted or Filter()
        self._cache = cache
        self._names = Names(known)
        self._tokens: dict[Address, Token] = {}
        self._lock = asyncio.Lock()

    async def describe(self, addresses: Iterable[Address], block: bytes | None = None) -> Described:
        """What these pools are.

        Pools are named in the order given, and only those that are wanted: see :class:`~.facts.Names`. Give them
        in an order that is the same next time, such as that of their creation, so that a pool which imitates another
        one's symbols, being the younger, gets the longer name.

        Args:
            addresses: of the pools; one that comes twice counts once.
            block: hash of the block at which to ask; None for the newest.

        Raises:
            EndpointError: no endpoint answered. What contracts answer makes pools unfit, and raises nothing.
        """
        asked = list(dict.fromkeys(addresses))
        async with self._lock:  # one after the other: names depend on the order
            facts = await self._cache.get_many(asked) if self._cache else {}
            unfit: dict[Address, Unfit] = {}
            new = await self._ask([address for address in asked if address not in facts], block, unfit)
            if self._cache:
                await self._cache.put_many(new.values())
            facts |= new
            in_order = [facts[address] for address in asked if address in facts]
            wanted = await self._choose(in_order, block, unfit)
            return Described({pool.pool: self._names.named(pool) for pool in wanted}, unfit)

    async def _choose(
        self, facts: Iterable[PoolFacts], block: bytes | None, unfit: dict[Address, Unfit]
    ) -> list[PoolMetadata]:
        """Those that are wanted and hold enough."""
        candidates: list[PoolMetadata] = []
        for one in facts:
            candidate = self._candidate(one)
            if isinstance(candidate, Unfit):
                unfit[one.pool] = candidate
            else:
                candidates.append(candidate)
        minimum = self._wanted.minimum
        held = await holdings(self._caller, candidates, minimum, block)
        for pool in candidates:
            if not large_enough(pool, held, minimum):
                unfit[pool.pool] = Unfit("too_small", "it holds the minimum of no token that has one")
        return [pool for pool in candidates if pool.pool not in unfit]

    def _candidate(self, facts: PoolFacts) -> PoolMetadata | Unfit:
        venue = self._factories.get(facts.factory)
        if venue is None or venue.protocol is not facts.protocol:
            return Unfit("unknown_venue", f"factory {facts.factory} is not configured for {facts.protocol}")
        pool = facts.metadata(venue)
        if not self._wanted.wanted(pool):
            return Unfit("not_wanted", f"{pool.token0.symbol} and {pool.token1.symbol} on {pool.venue}")
        return pool

    async def _ask(
        self, pools: Sequence[Address], block: bytes | None, unfit: dict[Address, Unfit]
    ) -> dict[Address, PoolFacts]:
        """The facts of pools of known venues; for the others the reason is written down."""
        claims = await self._claims(pools, block, unfit)
        claims = await self._with_fees(claims, block, unfit)
        claims = await self._confirmed(claims, block, unfit)
        troubles = await self._learn_tokens({t: None for c in claims for t in (c.token0, c.token1)}, block)
        found: dict[Address, PoolFacts] = {}
        for claim in claims:
            trouble = troubles.get(claim.token0) or troubles.get(claim.token1)
            if trouble is not None:
                unfit[claim.pool] = trouble
                continue
            facts = PoolFacts(
                claim.pool,
                claim.factory,
                claim.venue.protocol,
                self._tokens[claim.token0],
                self._tokens[claim.token1],
                claim.fee_pips,
                claim.tick_spacing,
            )
            problem = facts.problem()
            if problem is not None:
                unfit[claim.pool] = Unfit("no_pool", problem)
            else:
                found[claim.pool] = facts
        return found

    async def _claims(self, pools: Sequence[Address], block: bytes | None, unfit: dict[Address, Unfit]) -> list[_Claim]:
        answers = iter(
            await self._caller.many(
                [Call(pool, data) for pool in pools for data in (_FACTORY, _TOKEN0, _TOKEN1)], block
            )
        )
        claims: list[_Claim] = []
        for pool in pools:
            factory, token0, token1 = (address_in(next(answers)) for _ in range(3))
            if factory is None or token0 is None or token1 is None:
                unfit[pool] = Unfit("no_pool", "it does not name a factory and two tokens")
                continue
            venue = self._factories.get(factory)
            if venue is None:
                unfit[pool] = Unfit("unknown_venue", f"factory {factory} is not configured")
                continue
            claims.append(_Claim(pool, factory, venue, token0, token1))
        return claims

    async def _with_fees(
        self, claims: Sequence[_Claim], block: bytes | None, unfit: dict[Address, Unfit]
    ) -> list[_Claim]:
        """What v3 pools say of their fees. A v2 pool does not say it."""
        v3 = [claim.pool for claim in claims if claim.venue.protocol is Protocol.UNISWAP_V3]
        answers = iter(
            await self._caller.many([Call(pool, data) for pool in v3 for data in (_FEE, _TICK_SPACING)], block)
        )
        found: list[_Claim] = []
        for claim in claims:
            if claim.venue.protocol is Protocol.UNISWAP_V3:
                fee, spacing = number_in(next(answers), "uint24"), number_in(next(answers), "int24")
                if fee is None or spacing is None:
                    unfit[claim.pool] = Unfit("no_pool", "it does not name the fee and tick spacing of a v3 pool")
                    continue
                claim = replace(claim, fee_pips=fee, tick_spacing=spacing)
            found.append(claim)
        return found

    async def _confirmed(
        self, claims: Sequence[_Claim], block: bytes | None, unfit: dict[Address, Unfit]
    ) -> list[_Claim]:
        answers = await self._caller.many([claim.confirmation() for claim in claims], block)
        found: list[_Claim] = []
        for claim, answer in zip(claims, answers, strict=True):
            if address_in(answer) == claim.pool:
                found.append(claim)
            else:
                detail = f"factory {claim.factory} has not made it: not a {claim.venue.protocol} pool of these tokens"
                unfit[claim.pool] = Unfit("no_pool", detail)
        return found

    async def _learn_tokens(self, tokens: Iterable[Address], block: bytes | None) -> dict[Address, Unfit]:
        """Make these tokens known; returns what is wrong with those that cannot be."""
        new = [token for token in tokens if token not in self._tokens]
        answers = iter(
            await self._caller.many([Call(token, data) for token in new for data in (_SYMBOL, _DECIMALS)], block)
        )
        troubles: dict[Address, Unfit] = {}
        for token in new:
            symbol, decimals = symbol_of(next(answers), token), number_in(next(answers))
            if decimals is None:
                troubles[token] = Unfit("bad_token", f"token {token} does not say its decimals")
            elif decimals > MAX_DECIMALS:
                troubles[token] = Unfit("bad_token", f"token {token} says more than {MAX_DECIMALS} decimals")
            else:
                self._tokens[token] = Token(token, symbol, decimals)
        return troubles
