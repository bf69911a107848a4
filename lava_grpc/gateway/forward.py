"""Forward: hold, send, pass the answer on, settle; all in one call.

The parts of a call's life, in order:

1. plan: where it goes, who pays, what it may cost at most (nothing written);
2. hold: durable before anything is sent;
3. send, and pass the bytes on while a tap reads usage on the side;
4. settle with what was used, or release where nothing was.

Whatever ends a call early, the fourth part is done: by the call itself, or by a
detached reader where the client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

from lava_grpc.core.commands import Held, PlaceHold, Release
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import HoldKind
from lava_grpc.core.ids import IdSource
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.time import Clock
from lava_grpc.gateway.forward_call import ForwardCall, ForwardHead, ForwardSummary
from lava_grpc.gateway.forward_end import Closing
from lava_grpc.gateway.forward_plan import ForwardPlan, Planner
from lava_grpc.gateway.headers import headers_to_return
from lava_grpc.gateway.ports import Ledger
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.upstream import Upstream

Part: TypeAlias = ForwardHead | bytes | ForwardSummary


class Forwarder:
    """Forwards calls to providers. One for a process."""

    def __init__(
        self,
        ledger: Ledger,
        planner: Planner,
        upstream: Upstream,
        closing: Closing,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._ledger = ledger
        self._planner = planner
        self._upstream = upstream
        self._closing = closing
        self._clock = clock
        self._ids = ids

    async def __call__(self, principal: Principal, call: ForwardCall) -> AsyncIterator[Part]:
        """The head, the body as it arrives, then the summary, once settled durably.

        Closing the iterator, or cancelling who waits for it, means that the client
        has gone: the call is then read on to its usage, and settled all the same.
        Raises a Refusal before the head where nothing was used; after it, where
        the answer broke off, and what was seen of it is settled.
        """
        plan = await self._planner.plan(principal, call)
        # Its body may be large, and is kept by nobody once it is sent.
        del call
        held = await self._hold(principal, plan)
        hold = held.hold
        if held.affordable_output_tokens is not None:
            plan = plan.clamped(held.affordable_output_tokens)
        opened = self._closing.open(plan, hold)
        try:
            answer = await opened.send(self._upstream.send(plan.request))
            plan = opened.plan
            yield ForwardHead(
                answer.status,
                headers_to_return(answer.headers, plan.call),
                plan.request_id,
                hold.hold_id,
                plan.clamped_output_tokens,
            )
            async for passed in opened.body():
                yield passed
            await opened.soon()
            last = b"".join(opened.tail)
            if last:
                yield last
            yield await opened.end()
        except Refusal:
            await opened.soon()
            raise
        except BaseException:
            # Closed, cancelled, or a defect of ours: the usage is not lost for it.
            opened.detach()
            raise

    async def _hold(self, principal: Principal, plan: ForwardPlan) -> Held:
        command = PlaceHold(
            merchant_id=plan.merchant_id,
            request_id=plan.request_id,
            hold_id=f"res_{principal.prefix}{self._ids.ulid(self._clock.now())}",
            fingerprint=plan.fingerprint,
            kind=HoldKind.FORWARD,
            parts=plan.hold_parts,
            facts=plan.facts,
            ttl_seconds=self._closing.hold_seconds,
            allow_partial=plan.clamp is not None,
            scale_output=plan.clamp is not None,
            output_tokens_min=plan.clamp.total_min if plan.clamp is not None else 1,
        )
        placing = self._closing.keep(self._ledger.submit(command))
        try:
            return _held_in(await asyncio.shield(placing))
        except asyncio.CancelledError:
            self._closing.keep(self._give_back(placing))
            raise

    async def _give_back(self, placing: asyncio.Task[Outcome]) -> None:
        """The client went while its hold was being placed: nothing was sent for it."""
        try:
            hold = _held_in(await placing).hold
        except Refusal:
            return
        await self._closing.surely(Release(hold.merchant_id, hold.hold_id, hold.account_ids))


def _held_in(outcome: Outcome) -> Held:
    if not isinstance(outcome, Held):
        raise TypeError(outcome)
    return outcome
