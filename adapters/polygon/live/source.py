"""Follows a chain and publishes what happens in its pools: each event once, in the order of the chain, without a hole.

Theory of operation. :class:`Heads` says what the newest block is, :class:`Follower` by which steps it is reached. A
block that is opened becomes messages and a :class:`BlockClosed`; blocks that are undone become one
:class:`BlockRetracted`, and the book of the pools' states goes back as well.

The cursor is moved on when the messages are safe. Killed in between, the source does not know how much of the blocks
after the cursor was published; so when it is started again it takes all of them back, whatever there was, and
publishes them as blocks of the next branch. Who adds up what was published and not taken back has each event once.

A branch's number is noted before it is used, and its retraction is said again when the source starts, in case it was
killed between the two: a repeat is harmless, a missing one would be waited for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import monotonic, monotonic_ns
from typing import Any

import stamina

from adapters.polygon.live.answers import EndpointError
from adapters.polygon.live.connection import Connection
from adapters.polygon.live.cursor import Cursor, Done, Position
from adapters.polygon.live.facts import Unfit
from adapters.polygon.live.follow import ChainError, DeepReorganisation, Follower, Opened, Step
from adapters.polygon.live.headers import Header
from adapters.polygon.live.heads import Head
from adapters.polygon.live.rotation import Standing
from adapters.polygon.live.settings import LiveSettings
from adapters.polygon.live.states import states
from adapters.polygon.live.undo import Undo
from adapters.polygon.pools import Ignored, PoolBook, Refused
from contracts.market import BlockClosed, BlockRetracted, PoolMetadata, PoolSync, SwapEvent
from contracts.values import Address
from mycelium.core.errors import ConfigError, MyceliumError
from mycelium.observe.latency import LatencyHistogram
from mycelium.service import Service

COMMIT_BLOCKS = 64
"""Blocks after which the cursor is moved on while much is to be caught up; else after each one. Chosen by us: what
comes again after a kill is little, and a disk is waited for seldom."""

TRIES = 4
"""A head that nobody can show after so many tries is not believed any more."""

FIRST_PAUSE = 0.01
"""Seconds until a head is tried again, four times as long each time: others may not have it yet."""

PATIENCE = 8
"""Tries after which it is said why a head cannot be reached: some seconds."""

COMPLAIN_SECONDS = 60.0
"""How often it is said at most why nothing happens."""

IDLE_SECONDS = 1.0
"""How often it is looked whether the service is to stop, while nothing comes."""


_SHOWN = ("name", "answered", "failed", "causes", "head")


@dataclass(frozen=True)
class LiveStatistics:
    """What a live source has done.

    Args:
        block: the newest that is published; -1 before the first.
        behind: how many blocks are missing to the newest head that endpoints tell of.
        events: swaps and states published.
        blocks: blocks published, and ...
        backfilled: ... read in ranges, because they were far behind the head.
        reorganisations: how often blocks were taken back, and ...
        deepest: ... how many at once, at most.
        pools: pools that are followed.
        reconnects: how often WebSocket connections were made, by endpoint.
        publish_p50_ns, publish_p99_ns: from a head that was heard of to its last message handed over.
        own_p50_ns, own_p99_ns: of that, without waiting for endpoints.
        endpoints: how each endpoint does.
    """

    block: int
    behind: int
    events: int
    blocks: int
    backfilled: int
    reorganisations: int
    deepest: int
    pools: int
    reconnects: dict[str, int]
    publish_p50_ns: int
    publish_p99_ns: int
    own_p50_ns: int
    own_p99_ns: int
    endpoints: tuple[Standing, ...]


class LiveSource:
    """A source that follows a chain.

    Args:
        service: in whose name it publishes and counts.
        settings: what to follow.
        chain_id: the EIP-155 number that the chain must have.
        time: seconds, of a clock that only goes on.
    """

    def __init__(
        self, service: Service[Any], settings: LiveSettings, chain_id: int, time: Callable[[], float] = monotonic
    ) -> None:
        self._service = service
        self._settings = settings
        self._chain_id = chain_id
        self._time = time
        self._log = service.log
        self._intake = service.intake("chain")
        self._book = PoolBook(())
        self._undo = Undo(self._book, settings.remembered)
        self._pending: list[Done] = []
        self._pending_pools: list[PoolMetadata] = []
        self._void_from: int | None = None
        self._opening = -1
        self._counted: Counter[str] = Counter()
        self._publish, self._own = LatencyHistogram(), LatencyHistogram()
        self._quiet_until = 0.0
        self._top = b""  # the head that was reached last: with confirmations it is not the newest block
        self._opened_with_states = -1

    async def start(self) -> None:
        """Open the cursor and the connections.

        Raises:
            ConfigError: the cursor cannot be used.
        """
        settings = self._settings
        self._cursor = await asyncio.to_thread(Cursor, settings.state, self._chain_id, settings.remembered)
        try:
            self._position = await asyncio.to_thread(self._cursor.load)
        except ConfigError:
            self._cursor.close()
            raise
        known = () if self._position is None else self._position.pools
        self._connection = Connection(
            settings, self._chain_id, self._book, known, self._refuse_pool, self._service.clock, self._time
        )
        self._heads, self._chain = self._connection.heads, self._connection.chain
        self._watch = self._connection.watch

    async def run(self) -> None:
        """Follow the chain until the service is to stop.

        Raises:
            MyceliumError: the chain has left all blocks that are remembered, or is another one than configured.
        """
        tasks = [asyncio.ensure_future(self._heads.listen()), asyncio.ensure_future(self._follow())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Close everything. What was published and is safe by now is noted before."""
        await self._commit()
        figures = asdict(self.statistics())
        for endpoint in figures.pop("endpoints"):
            self._log.info(
                "endpoint", **{key: endpoint[key] for key in ("name", "answered", "failed", "causes", "head")}
            )
        self._log.info("statistics", **figures)
        await self._connection.aclose()
        await asyncio.to_thread(self._cursor.close)

    @property
    def waits_for(self) -> str | None:
        """Why the service is not ready, if it is not."""
        if not hasattr(self, "_follower"):
            return "its first block"
        if self._is_silent:
            return f"a new block: none has come for {self._heads.silence:.0f} s"
        behind = self._behind()
        return f"{behind} blocks to the newest" if behind > self._settings.synced_within else None

    def statistics(self) -> LiveStatistics:
        """What it has done so far."""
        started = hasattr(self, "_follower")
        return LiveStatistics(
            block=self._follower.last.number if started else -1,
            behind=self._behind() if started else 0,
            events=self._counted["events"],
            blocks=self._counted["blocks"],
            backfilled=self._chain.backfilled,
            reorganisations=self._counted["reorganisations"],
            deepest=self._follower.deepest if started else 0,
            pools=len(self._book.addresses),
            reconnects=dict(self._heads.reconnects),
            publish_p50_ns=self._publish.quantile(0.5),
            publish_p99_ns=self._publish.quantile(0.99),
            own_p50_ns=self._own.quantile(0.5),
            own_p99_ns=self._own.quantile(0.99),
            endpoints=self._connection.endpoints.standings,
        )

    @property
    def _is_silent(self) -> bool:
        """Whether no endpoint has told of a new block for so long that all of them may be dead."""
        return self._heads.silence > 2 * self._settings.stale_seconds

    def _complain(self, reason: str) -> None:
        """Say why nothing happens, now and then: a user who waits must see for what."""
        if self._time() < self._quiet_until:
            return
        self._quiet_until = self._time() + COMPLAIN_SECONDS
        endpoints = {one.name: one.last_failure for one in self._connection.endpoints.standings if one.last_failure}
        self._log.warning("waits", reason=reason, endpoints=endpoints)

    def _behind(self) -> int:
        head = self._heads.best()
        if head is None:
            return self._settings.synced_within + 1  # nobody tells of any block
        return max(0, head.header.number - self._settings.confirmations - self._follower.last.number)

    # --- where to begin ----------------------------------------------------------------------

    async def _begin(self) -> None:
        """Find the place to go on from, and take back what may have been published after it."""
        await self._again(self._connection.check_chain)
        if self._position is None:
            await self._again(self._begin_anew)
        else:
            await self._resume(self._position)
        self._opening = self._follower.last.number + 1

    async def _begin_anew(self) -> None:
        settings = self._settings
        head = self._heads.best()
        if head is None:
            await self._heads.changed(IDLE_SECONDS)
            raise ChainError("no endpoint tells of a block")
        start = settings.start if isinstance(settings.start, int) else head.header.number - settings.confirmations
        header = await self._chain.header_at(max(0, start))
        await self._watch.follow(settings.pools)
        if settings.discover_from is not None and settings.discover_from <= header.number:
            factories = [venue.factory for venue in settings.venues]
            await self._chain.learn_between(settings.discover_from, header.number, factories)
        pools = self._watch.take_new()
        await self._take_states(pools, header)
        known = {pool.pool: self._book.state(pool.pool) for pool in pools}
        await asyncio.to_thread(self._cursor.begin, header, pools, known)
        self._undo.begin(header.number)
        self._book.back_to(header.number)
        self._follower = self._follower_from((header,))
        self._log.info("begins", block=header.number, pools=len(pools))
        await self._describe(pools)

    async def _resume(self, position: Position) -> None:
        for pool in position.pools:
            self._book.add(pool)
        self._undo.load([header.number for header in position.blocks], position.states)
        last = position.blocks[-1]
        self._follower = self._follower_from(position.blocks)
        await self._describe(position.pools)
        if position.branch:
            await self._service.publish(BlockRetracted(self._chain_id, position.retracted, position.branch))
        self._book.branch = position.branch
        await self._retract(last.number + 1)
        await self._again(self._follow_more)
        self._log.info("goes on", block=last.number, branch=self._book.branch, pools=len(self._book.addresses))

    async def _follow_more(self) -> None:
        """Pools that the settings name and the cursor does not know yet."""
        last = self._follower.last
        if not await self._watch.follow(self._settings.pools):
            return
        pools = self._watch.take_new()
        await self._take_states(pools, last)
        known = {pool.pool: self._book.state(pool.pool) for pool in pools}
        await asyncio.to_thread(self._cursor.know, pools, last.number, known)
        await self._describe(pools)

    async def _take_states(self, pools: list[PoolMetadata], header: Header) -> None:
        try:
            found = await states(self._connection.caller, pools, header.hash)
        except EndpointError as error:
            # Few nodes keep states of the past. What comes next tells them anew, but for v3 positions.
            self._log.warning("states are not known", block=header.number, pools=len(pools), reason=str(error))
            return
        for pool, state in found.items():
            self._book.set_state(pool, state)

    def _follower_from(self, blocks: tuple[Header, ...]) -> Follower:
        settings = self._settings
        return Follower(self._chain, blocks, remembered=settings.remembered, confirmations=settings.confirmations)

    async def _again(self, work: Callable[[], Any]) -> Any:
        """Try until it works, or the service is to stop."""
        async for attempt in stamina.retry_context(
            on=(ChainError, EndpointError), attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0
        ):
            await self._service.breathe()
            with attempt:
                try:
                    return await work()
                except (ChainError, EndpointError) as error:
                    if attempt.num > 4:  # by then some seconds have passed
                        self._complain(str(error))
                    raise
        raise AssertionError("retries without end ended")

    # --- on and on ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        beginning, stopping = asyncio.ensure_future(self._begin()), asyncio.ensure_future(self._service.stopping.wait())
        try:
            # While nobody answers, pauses get long; whoever stops the service does not wait for them.
            await asyncio.wait({beginning, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not beginning.done():
                return
            beginning.result()
        finally:
            for task in (beginning, stopping):
                task.cancel()
            await asyncio.gather(beginning, stopping, return_exceptions=True)
        failures: Counter[bytes] = Counter()
        tries = 0
        while not self._service.stopping.is_set():
            head = self._heads.best(self._follower.last.hash)
            if head is None or self._is_reached(head):
                failures.clear()
                tries = 0
                if self._is_silent:
                    self._complain(f"no new block for {self._heads.silence:.0f} s")
                await self._heads.changed(IDLE_SECONDS)
                continue
            self._chain.announced = head.names
            try:
                await self._to(head)
            except ChainError as error:
                self._log.debug("another try", block=head.header.number, reason=str(error))
                failures[head.header.hash] += not error.is_passing
                if failures[head.header.hash] >= TRIES:
                    self._heads.distrust(head)
                    failures.clear()
                # By then another head may be there, or other endpoints may have it.
                tries += 1
                if tries > PATIENCE:
                    self._complain(str(error))
                await self._heads.changed(min(IDLE_SECONDS, FIRST_PAUSE * 4 ** min(tries, 8)))
            except DeepReorganisation as error:
                text = f"{error}. Nothing that was published can be relied on: begin anew with another state file"
                raise MyceliumError(text) from None

    def _is_reached(self, head: Head) -> bool:
        """Whether nothing is to be done for a head."""
        return head.header.hash in (self._follower.last.hash, self._top)

    async def _to(self, head: Head) -> None:
        """Publish all that is between the last block and a head."""
        begun, asked = monotonic_ns(), self._chain.waited_ns
        published = self._counted["blocks"]
        try:
            async for step in self._follower.to(head.header):
                await self._take(step, head)
        finally:
            await self._say_void()
        self._top = head.header.hash
        if self._counted["blocks"] > published:
            taken = monotonic_ns() - begun
            self._own.record(taken - (self._chain.waited_ns - asked))
            self._publish.record(int((self._time() - head.heard) * 1e9))
        await self._commit()

    async def _take(self, step: Step, head: Head) -> None:
        if not isinstance(step, Opened):
            number = step.header.number
            self._void_from = number if self._void_from is None else min(number, self._void_from)
            return
        await self._say_void()
        await self._open(step)
        missing = head.header.number - step.header.number
        if missing <= 0:
            return
        self._service.progress(step.header.number, head.header.number, "blocks")
        if len(self._pending) >= COMMIT_BLOCKS:
            await self._commit()
        await self._service.breathe()

    async def _open(self, step: Opened) -> None:
        with self._service.traced("block", **{"chain.id": self._chain_id, "block.number": step.header.number}):
            await self._publish_block(step)

    async def _publish_block(self, step: Opened) -> None:
        header, intake = step.header, self._intake
        new = self._watch.take_new()
        await self._describe(new)
        self._pending_pools += new
        self._undo.begin(header.number)
        syncs: list[PoolSync] = []
        swaps: list[SwapEvent] = []
        if header.number >= self._opening >= 0:
            self._opening, self._opened_with_states = -1, header.number
            syncs += self._book.opening(header.number, header.timestamp, self._book.branch)
        for log in step.logs:
            self._undo.before(log.address)
            applied = self._book.apply(log)
            if isinstance(applied, Refused):
                intake.refuse(applied.cause, f"block {log.block}, log {log.log_index}", applied.detail)
            elif isinstance(applied, Ignored):
                intake.ignore(applied.cause)
            else:
                intake.accept()
                for message in applied:
                    if isinstance(message, SwapEvent):
                        swaps.append(message)
                    else:
                        syncs.append(message)
        # All of a block at once: readers put it into order anyway, and one by one costs several times as much.
        await self._service.publish_many(PoolSync, syncs)
        await self._service.publish_many(SwapEvent, swaps)
        pools, branch = len(self._book.addresses), self._book.branch
        await self._service.publish(
            BlockClosed(self._chain_id, header.number, header.timestamp, len(swaps), len(syncs), pools, branch)
        )
        self._counted.update(blocks=1, events=len(swaps) + len(syncs))
        self._pending.append(Done(header, self._undo.changed()))
        self._log.debug("published", block=header.number, swaps=len(swaps), syncs=len(syncs), branch=branch)

    async def _say_void(self) -> None:
        """Take back the blocks that were undone."""
        if self._void_from is None:
            return
        block, self._void_from = self._void_from, None
        await self._commit()
        self._undo.back_to(block)
        self._counted["reorganisations"] += 1
        self._log.info("the chain went another way", block=block, branch=self._book.branch + 1)
        await self._retract(block)

    async def _retract(self, block: int) -> None:
        """All from a block on is void. What comes next is of the next branch."""
        branch = self._book.branch + 1
        await asyncio.to_thread(self._cursor.take_back, block, branch)
        self._book.branch = branch
        self._book.back_to(block - 1)
        await self._service.publish(BlockRetracted(self._chain_id, block, branch))
        if block <= self._opened_with_states:
            self._opening = block  # the states that the first block began with are void, too

    async def _describe(self, pools: Any) -> None:
        for pool in pools:
            await self._service.publish(pool)

    async def _commit(self) -> None:
        """Move the cursor on to what has been published, when that is safe."""
        if not self._pending:
            return
        await self._service.flush()
        pending, pools = self._pending, self._pending_pools
        self._pending, self._pending_pools = [], []
        await asyncio.to_thread(self._cursor.advance, pending, pools)

    def _refuse_pool(self, pool: Address, unfit: Unfit) -> None:
        if unfit.cause in ("not_wanted", "too_small"):
            self._service.intake("pools").ignore(unfit.cause)
        else:
            self._service.intake("pools").refuse(unfit.cause, str(pool), unfit.detail)
