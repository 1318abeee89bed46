"""Carries one service through its life."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import stamina
import structlog

from mycelium.bus.bus import interest
from mycelium.bus.subscriber import Subscriber
from mycelium.core.errors import ContractError, Draining, MyceliumError, QueueFullError
from mycelium.core.ledger import Cause
from mycelium.core.message import PayloadCodec
from mycelium.core.policy import QueuePolicy
from mycelium.core.trace import Mark
from mycelium.observe.current import HANDLING, Handling
from mycelium.observe.exemplars import Exemplars
from mycelium.observe.health import Health, HealthState
from mycelium.observe.latency import LatencyHistogram
from mycelium.observe.tracing import Tracer
from mycelium.service.dead_letters import DeadLetter
from mycelium.service.declarations import HandlerDeclaration, OnFailure, handlers_of
from mycelium.service.service import Service
from mycelium.transport.remote import PLAIN, Reading
from mycelium.transport.streams import Item


@dataclass(frozen=True, slots=True)
class _Handler:
    declared: HandlerDeclaration
    call: Callable[[Any], Awaitable[None]]
    waiting: LatencyHistogram = field(default_factory=LatencyHistogram)
    exemplars: Exemplars = field(default_factory=Exemplars)


class ServiceRunner:
    """Carries one service from created to stopped. Its host calls the steps in their order.

    Args:
        service: the instance.
        on_fatal: called when the service cannot go on.
        reading: how its handlers read from stores.
        tracer: traces what its handlers do; None if nothing is traced.
    """

    def __init__(
        self,
        service: Service[Any],
        on_fatal: Callable[[], None],
        reading: Reading = PLAIN,
        tracer: Tracer | None = None,
    ) -> None:
        self._reading = reading
        self._tracer = tracer
        self.service = service
        self.state: HealthState = HealthState.CREATED
        self._on_fatal = on_fatal
        self._log = structlog.get_logger("host").bind(service=service.name)
        self._mailboxes: list[Subscriber[Any]] = []
        self._consumers: list[asyncio.Task[None]] = []
        self._handlers: dict[str, _Handler] = {}
        self._handled = 0
        self._retried = 0
        self._dead_letters = 0
        self._error: str | None = None
        self._has_started = False

    @property
    def waiting(self) -> Mapping[str, LatencyHistogram]:
        """From publish to the handler's start, ns, by the handler's name in the ledger."""
        return {name: handler.waiting for name, handler in self._handlers.items()}

    @property
    def exemplars(self) -> Mapping[str, Exemplars]:
        """Traced messages for :attr:`waiting`, by the handler's name in the ledger."""
        return {name: handler.exemplars for name, handler in self._handlers.items()}

    @property
    def mailboxes(self) -> tuple[Subscriber[Any], ...]:
        """What its handlers read from."""
        return tuple(self._mailboxes)

    def own_statistics(self) -> object | None:
        """What the service says of itself: nothing before it has started, and nothing if it fails at it."""
        if not self._has_started:
            return None
        try:
            return self.service.statistics()
        except Exception:  # noqa: BLE001 - it may raise anything, and the figures of others are wanted all the same
            self._log.exception("a service cannot tell its figures")
            return None

    def health(self) -> Health:
        """Where it is in its life."""
        return Health(self.service.name, self.state, self._handled, self._retried, self._dead_letters, self._error)

    async def start(self) -> None:
        """Let the service prepare.

        Raises:
            Exception: what the service raised; it is failed then.
        """
        self.state = HealthState.STARTING
        try:
            await self.service.start()
        except BaseException as error:
            self._failed(error)
            raise
        self._has_started = True

    async def wire(self) -> None:
        """Attach every declared subscription. The service is ready afterwards."""
        common = []
        for declared in handlers_of(type(self.service)):
            name = f"{self.service.name}.{declared.method}"
            self._handlers[name] = _Handler(declared, getattr(self.service, declared.method))
            wanted = interest(declared.message_type, declared.pattern, name)
            if declared.policy is None:
                common.append(wanted)
            else:
                # What drops messages is not resumed: it wants the newest, not all.
                reading = self._reading if declared.policy is QueuePolicy.BLOCK else PLAIN
                self._mailboxes.append(
                    self.service.bus.mailbox(
                        [wanted], name, policy=declared.policy, capacity=declared.capacity, reading=reading
                    )
                )
        if common:
            mailbox = self.service.bus.mailbox(common, self.service.name, reading=self._reading)
            self._mailboxes.append(mailbox)
        for mailbox in self._mailboxes:
            await mailbox.attach()
            self._consumers.append(asyncio.create_task(self._consume(mailbox), name=f"handle {mailbox.name}"))
        self.state = HealthState.READY

    async def run(self) -> None:
        """Let the service work of its own accord, until it is done, fails or is asked to stop."""
        self.state = HealthState.RUNNING
        try:
            await self.service.run()
        except Draining:
            self._log.debug("stopped where it was right to stop")
        except Exception as error:  # noqa: BLE001 - it ends this service and, through the host, the process
            self._failed(error)
            # An error of ours says in its sentence what is wrong.
            self._log.error("service failed", error=str(error), exc_info=not isinstance(error, MyceliumError))
            self._on_fatal()

    async def drain(self) -> None:
        """Take no new messages, handle those that are there, let the service finish."""
        if self.state is not HealthState.FAILED:
            self.state = HealthState.DRAINING
        for mailbox in self._mailboxes:
            await mailbox.detach()
        await asyncio.gather(*self._consumers)
        try:
            await self.service.stop()
        except Exception as error:  # noqa: BLE001 - the others still have to be stopped
            self._failed(error)
            self._log.error("service failed to stop", error=str(error), exc_info=not isinstance(error, MyceliumError))
            self._on_fatal()
        await self.close()

    async def close(self) -> None:
        """Stop at once. What is still queued is dropped, counted."""
        for consumer in self._consumers:
            consumer.cancel()
        await asyncio.gather(*self._consumers, return_exceptions=True)
        for mailbox in self._mailboxes:
            await mailbox.aclose()
        await self.service.close_publishers()
        if self.state is not HealthState.FAILED:
            self.state = HealthState.STOPPED

    async def _consume(self, mailbox: Subscriber[Any]) -> None:
        tracer = self._tracer
        handling = Handling(asyncio.current_task())
        HANDLING.set(handling)
        try:
            while True:
                try:
                    item = await mailbox.take()
                except QueueFullError as error:
                    handling.item = None
                    self._overflowed(mailbox, error)
                    continue
                if item is None:
                    return
                handling.item = item
                if tracer is not None and item.sequence >= item.route.next_mark:
                    mark = item.route.take_mark(item.sequence)
                    if mark is not None:
                        await self._trace(tracer, item, mark)
                        continue
                await self._handle(item)
        except Exception as error:  # noqa: BLE001 - reported, and it ends the host
            # Handlers' errors are dealt with below us: this is a fault of ours, and nobody awaits this task yet.
            self._failed(error)
            self._log.exception("the mailbox of a service failed", mailbox=mailbox.name)
            self._on_fatal()

    async def _trace(self, tracer: Tracer, item: Item, mark: Mark) -> None:
        """:meth:`_handle` as a span, in which whatever is logged or published meanwhile has its part."""
        name = item.route.name
        with tracer.handling(item, mark, self.service.name, name) as span:
            waited = self.service.clock.time_ns() - item.published
            self._handlers[name].exemplars.note(waited, span.context.trace_id, item.published)
            await self._handle(item)

    async def _handle(self, item: Item) -> None:
        handler = self._handlers[item.route.name]
        started = self.service.clock.time_ns()
        failure: Exception | None = None
        try:
            await handler.call(item.message)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; the policy decides
            failure = error
        if failure is not None:
            await self._recover(handler, item, failure, started)
        handler.waiting.record(started - item.published)
        self._handled += 1

    def _overflowed(self, mailbox: Subscriber[Any], error: QueueFullError) -> None:
        """A handler with policy ``error`` has come to where messages are missing. They are counted already."""
        self._log.error("messages are missing", mailbox=mailbox.name, error=str(error))
        if self._handlers[mailbox.name].declared.on_failure is OnFailure.STOP:
            self._failed(error)
            self._on_fatal()

    async def _recover(self, handler: _Handler, item: Item, error: Exception, began: int) -> None:
        """A handler has failed once: call it again as declared, then give the message up."""
        retry, attempts = handler.declared.retry, 1
        if retry.attempts > 1:
            if self._tracer is not None:
                self._tracer.tried_again(f"{type(error).__name__}: {error}")
            self._log.warning(
                "handler failed and is called again",
                handler=handler.declared.method,
                topic=item.route.stream.id.topic,
                sequence=item.sequence,
                error=f"{type(error).__name__}: {error}",
            )
            await asyncio.sleep(retry.wait_initial)
            try:
                async for attempt in stamina.retry_context(
                    on=Exception,
                    attempts=retry.attempts - 1,
                    timeout=retry.timeout,
                    wait_initial=min(2 * retry.wait_initial, retry.wait_max),
                    wait_max=retry.wait_max,
                    wait_jitter=retry.wait_initial,
                ):
                    with attempt:
                        attempts += 1
                        self._retried += 1
                        await handler.call(item.message)
            except Exception as last:  # noqa: BLE001 - as above
                error = last
            else:
                return
        if self._tracer is not None:
            shown = f"{type(error).__name__}: {error}"
            self._tracer.failed(item, self.service.name, item.route.name, began, shown)
        await self._give_up(handler, item, error, attempts)

    async def _give_up(self, handler: _Handler, item: Item, error: Exception, attempts: int) -> None:
        item.route.fail(Cause.HANDLER)
        self._dead_letters += 1
        stream = item.route.stream
        shown = f"{type(error).__name__}: {error}"
        self._log.error(
            "dead letter",
            handler=handler.declared.method,
            topic=stream.id.topic,
            sequence=item.sequence,
            attempts=attempts,
            error=shown,
            # An error of ours says in its sentence what is wrong.
            exc_info=None
            if isinstance(error, MyceliumError)
            else error.with_traceback(_from_handler(error.__traceback__)),
        )
        try:
            payload = PayloadCodec(type(item.message)).encode([item.message])
        except ContractError as unencodable:
            payload, shown = b"\x90", f"{shown}; and the message cannot be kept: {unencodable}"
        letter = DeadLetter(
            service=self.service.name,
            handler=handler.declared.method,
            source=stream.id.source_name,
            epoch=stream.id.epoch,
            stream=stream.id.topic,
            sequence=item.sequence,
            type_id=stream.contract.type_id,
            payload=payload,
            attempts=attempts,
            error=shown,
        )
        async with self.service.bus.publisher(DeadLetter) as publisher:
            await publisher.publish(letter)
        if handler.declared.on_failure is OnFailure.STOP:
            self._failed(error)
            self._on_fatal()

    def _failed(self, error: BaseException) -> None:
        self.state = HealthState.FAILED
        self._error = f"{type(error).__name__}: {error}"


def _from_handler(traceback: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that is the handler's own, without the retrying around it."""
    own = traceback
    step = traceback
    while step is not None:
        if step.tb_frame.f_code.co_filename == __file__:
            own = step
        step = step.tb_next
    return own
