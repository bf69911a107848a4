"""Goes on with payments that were asked for and have not ended: nobody may be at them."""

from __future__ import annotations

import asyncio
import contextlib
import random

import structlog

from lava_grpc.core.errors import Refusal
from lava_grpc.core.time import Clock
from lava_grpc.gateway.cashier import Cashier
from lava_grpc.gateway.ports import PaymentStore

_log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
PAYMENTS_MAX = 20
"""How many payments one round takes, all at once."""


class Collector:
    """Looks for open payments that are due, now and then, and advances them.

    Several processes may find the same: one takes it, the others leave it alone.
    """

    def __init__(
        self,
        payments: PaymentStore,
        cashier: Cashier,
        clock: Clock,
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._payments = payments
        self._cashier = cashier
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._waking = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="lava-collector")

    async def stop(self) -> None:
        """Stop, in the middle of a payment if need be: it is gone on with after its lease."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def wake(self) -> None:
        """Look at once: there is something new."""
        self._waking.set()

    async def collect(self) -> int:
        """Advance what is due now, up to a bound; how many payments that were."""
        now = self._clock.now()
        due = await self._payments.due(now, PAYMENTS_MAX)
        lease = self._cashier.lease()
        found = [await self._payments.take(payment, now, lease) for payment in due]
        taken = [payment for payment in found if payment is not None]
        results = await asyncio.gather(
            *[self._cashier.advance(payment) for payment in taken], return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                _log.warning("payment put off", error=type(result).__name__)
        return len(taken)

    async def _run(self) -> None:
        while True:
            found = 0
            try:
                found = await self.collect()
            except Refusal as refusal:
                _log.warning("payments put off", reason=refusal.reason.value)
            except Exception:  # noqa: BLE001 - the next round may fare better
                _log.exception("payments put off")
            full = found >= PAYMENTS_MAX
            pause = 0.0 if full else self._poll_seconds * random.uniform(0.5, 1.5)  # noqa: S311
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._waking.wait()
            self._waking.clear()
