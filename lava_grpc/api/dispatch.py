"""Calls an RPC by name: who is calling, until when, which handler, and what is said of errors.

Both edges come through here, so what must hold on both is here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.auth import Authenticator
from lava_grpc.api.defects import defect, told
from lava_grpc.api.direct import DirectMethod, OneCommands, Reading
from lava_grpc.api.gate import require_time
from lava_grpc.api.idempotency import Once
from lava_grpc.api.messages.forward import from_part, to_forward
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.gateway.forward_call import ForwardCall, ForwardHead, ForwardSummary
from lava_grpc.gateway.principal import Principal

C = TypeVar("C")

Handler: TypeAlias = Callable[[Any, Principal, float | None], Awaitable[Message]]
"""Takes the RPC's request, the caller, and a deadline on the event loop's clock."""

Handlers: TypeAlias = Mapping[str, Handler]
"""By full method name: `lava.v1.MeterService/CreateMeter`."""

FORWARD = "lava.v1.GatewayService/Forward"

PUBLIC = frozenset(("lava.v1.ModelService/ListModels", "lava.v1.ModelService/ListServices"))
"""The RPCs that answer anybody. A good credential is told to their handlers, a bad one is not."""

ANONYMOUS = Principal(merchant_id="")
"""Who calls a public RPC without a good credential; no merchant has this id."""


class Forward(Protocol):
    """The use case behind Forward."""

    def __call__(
        self, principal: Principal, call: ForwardCall
    ) -> AsyncIterator[ForwardHead | bytes | ForwardSummary]:
        """A head, the body as it arrives, a summary."""


class LocalDispatcher:
    """Calls handlers in this process."""

    def __init__(
        self,
        authenticator: Authenticator,
        handlers: Handlers,
        forward: Forward,
        *,
        once: Once | None = None,
        direct: OneCommands | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._once = once
        self._handlers = handlers
        self._direct = direct or {}
        self._forward = forward
        self._closing: set[asyncio.Future[None]] = set()

    def direct(self, method: str, reading: Reading[C]) -> DirectMethod[C] | None:
        """What takes the method's calls where each is one command; None for other methods."""
        use = self._direct.get(method)
        if use is None:
            return None
        return DirectMethod(method, use, self._authenticator, reading, self.unary)

    async def unary(
        self,
        method: str,
        request: Message,
        *,
        credential: str,
        timeout_seconds: float | None,
        idempotency_key: str | None = None,
    ) -> Message:
        """The answer of `method`; raises a Refusal, and nothing else, for every no.

        The time-out bounds when work may begin. What has begun is seen to its
        end, since a commit cannot be taken back. With an `idempotency_key` it is
        done once, see `Once`.
        """
        handler = self._handlers.get(method)
        if handler is None:
            raise Refusal(Reason.NOT_IMPLEMENTED, f"{method} is not implemented")
        deadline = None
        if timeout_seconds is not None:
            require_time(timeout_seconds)
            deadline = asyncio.get_running_loop().time() + timeout_seconds
        try:
            principal = self._authenticator.remembered(credential, spend_keys=method in PUBLIC)
            if principal is None:
                principal = await self._caller(method, credential)
            if idempotency_key is not None and self._once is not None and method not in PUBLIC:
                work = partial(handler, request, principal, deadline)
                return await self._once(
                    principal.merchant_id, idempotency_key, method, request, work
                )
            return await handler(request, principal, deadline)
        except Refusal as refusal:
            raise told(method, refusal) from None
        except Exception as error:  # noqa: BLE001 - told to the log; the caller gets no detail
            raise defect(method, error) from None

    async def _caller(self, method: str, credential: str) -> Principal:
        if method not in PUBLIC:
            return await self._authenticator(credential)
        if not credential:
            return ANONYMOUS
        try:
            return await self._authenticator(credential, spend_keys=True)
        except Refusal:
            return ANONYMOUS

    async def authenticate(self, credential: str) -> None:
        """Refuse a credential as `forward` would, before a body is looked at for it."""
        try:
            await self._authenticator(credential, spend_keys=True)
        except Refusal as refusal:
            raise told(FORWARD, refusal) from None

    async def forward(
        self, request: pb.ForwardRequest, *, credential: str, in_full: bool = True
    ) -> AsyncIterator[pb.ForwardResponse]:
        """A head, chunks, a summary; raises a Refusal, and nothing else, for every no.

        Without `in_full` the summary is empty, for an edge that has no use for it.
        Closing the iterator, or cancelling who waits for it, tells the use case
        that the client has gone; that it has heard is not cancelled. The request's
        body is taken out of it: it is not kept for as long as the answer streams.
        """
        try:
            principal = await self._authenticator(credential, spend_keys=True)
            parts = self._forward(principal, to_forward(request))
            request.ClearField("body")
            try:
                async for part in parts:
                    yield from_part(part, in_full=in_full)
            finally:
                await self._close(parts)
        except Refusal as refusal:
            raise told(FORWARD, refusal) from None
        except Exception as error:  # noqa: BLE001 - told to the log; the caller gets no detail
            raise defect(FORWARD, error) from None

    async def _close(self, parts: AsyncIterator[object]) -> None:
        """Close the iterator where it has a way to be; nothing cancels that."""
        close = getattr(parts, "aclose", None)
        if close is None:
            return
        closing = asyncio.ensure_future(close())
        # Held here, since the loop alone does not keep a task from being collected.
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await asyncio.shield(closing)
