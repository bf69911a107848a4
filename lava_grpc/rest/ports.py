"""What the shim needs from the rest of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from google.protobuf.message import Message
from lava.v1 import gateway_service_pb2


class Dispatcher(Protocol):
    """Calls an RPC by name: credential, deadline and handler are its business.

    Both methods raise `core.errors.Refusal` for an expected no; whatever else
    they raise is a defect, which the shim answers with INTERNAL and no detail.
    `credential` is the text as it arrived, empty where none did.
    """

    async def unary(
        self,
        method: str,
        request: Message,
        *,
        credential: str,
        timeout_seconds: float | None,
        idempotency_key: str | None = None,
    ) -> Message:
        """The answer of `method`, e.g. `lava.v1.MeterService/CreateMeter`.

        Calls with the same `idempotency_key` are done once.
        """
        ...

    async def authenticate(self, credential: str) -> None:
        """Refuse a credential as `forward` would, before a body is looked at for it."""
        ...

    def forward(
        self, request: gateway_service_pb2.ForwardRequest, *, credential: str, in_full: bool = True
    ) -> AsyncIterator[gateway_service_pb2.ForwardResponse]:
        """A head, chunks, a summary, which is empty without `in_full`.

        When the client goes away, the pending step is cancelled and the
        iterator closed (`aclose`, where it has one).
        """
        ...
