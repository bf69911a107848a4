"""Sends what the outbox holds, at least once each, in order for each customer.

Any number of processes may do so at once: each takes deliveries under a lease,
and what a process that died had taken is free again when its lease ends.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from lava_grpc.core.time import SECOND, Clock, Instant
from lava_grpc.core.webhooks import Attempted, Outgoing, Told
from lava_grpc.gateway.webhook_signing import signature_headers

_log = structlog.get_logger(__name__)


class Outbox(Protocol):
    """Where deliveries wait."""

    async def take(
        self,
        now: Instant,
        *,
        render: Callable[[Told], str],
        lease: Instant,
        room: int,
        per_webhook: int,
        in_flight: Mapping[str, int],
    ) -> list[Outgoing]:
        """Take what is due; nobody else gets it until `now + lease`."""
        ...

    async def finish(self, sent: Outgoing, became: Attempted, now: Instant) -> None:
        """Note what became of an attempt."""
        ...

    async def prune(self, now: Instant) -> int:
        """Remove what is old; how many, up to a bound."""
        ...


class Sender(Protocol):
    """What posts a delivery."""

    async def __call__(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int | None, str | None]:
        """The answer's status, None without one; and why it is no success, None where it is."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryBounds:
    """How much is sent at once, and how often the outbox is looked at.

    The lease must be longer than the sender may take: else a slow receiver gets
    the same delivery twice.
    """

    in_flight_max: int = 32
    per_webhook_max: int = 4
    lease_seconds: int = 60
    poll_seconds: float = 1.0
    prune_seconds: float = 60.0


_BOUNDS = DeliveryBounds()


class Deliverer:
    """Runs from `start` to `stop`. `render` spells a body."""

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        clock: Clock,
        render: Callable[[Told], str],
        bounds: DeliveryBounds = _BOUNDS,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._render = render
        self._bounds = bounds
        self._task: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._in_flight: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._prune_at = 0.0

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run(), name="lava-webhooks")

    async def stop(self, grace_seconds: float) -> None:
        """Take nothing more, and let go of what is not answered in time: its lease ends it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=grace_seconds)
            for sending in late:
                sending.cancel()
            if late:
                await asyncio.wait(late)

    async def look(self) -> int:
        """Take what is due and begin to send it; how many."""
        room = self._bounds.in_flight_max - len(self._sending)
        if room <= 0:
            return 0
        taken = await self._outbox.take(
            self._clock.now(),
            render=self._render,
            lease=self._bounds.lease_seconds * SECOND,
            room=room,
            per_webhook=self._bounds.per_webhook_max,
            in_flight=self._in_flight,
        )
        for outgoing in taken:
            self._in_flight[outgoing.webhook_id] += 1
            sending = asyncio.create_task(self._send(outgoing))
            self._sending.add(sending)
            sending.add_done_callback(self._sent)
        return len(taken)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.look()
                await self._prune()
            except Exception as error:  # noqa: BLE001 - the next look may fare better
                _log.warning("webhooks_put_off", error=type(error).__name__)
            # One that ends makes room, and frees its customer's next: look again at once.
            pause = self._bounds.poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _prune(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._prune_at:
            self._prune_at = now + self._bounds.prune_seconds
            await self._outbox.prune(self._clock.now())

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        self._wake.set()

    async def _send(self, outgoing: Outgoing) -> None:
        try:
            body = outgoing.body.encode()
            headers = signature_headers(
                outgoing.secret,
                delivery_id=outgoing.delivery_id,
                sent_at_seconds=self._clock.now() // SECOND,
                body=body,
            )
            status, error = await self._sender(outgoing.url, headers, body)
            if error is not None:
                _log.info(
                    "webhook_not_delivered",
                    webhook_id=outgoing.webhook_id,
                    delivery_id=outgoing.delivery_id,
                    attempt=outgoing.attempt,
                    error=error,
                )
            await self._outbox.finish(outgoing, Attempted(status, error), self._clock.now())
        except Exception as error:  # noqa: BLE001 - the lease ends, and it is sent again
            _log.warning(
                "webhook_outcome_lost",
                delivery_id=outgoing.delivery_id,
                error=type(error).__name__,
            )
        finally:
            self._in_flight[outgoing.webhook_id] -= 1
            if not self._in_flight[outgoing.webhook_id]:
                del self._in_flight[outgoing.webhook_id]
