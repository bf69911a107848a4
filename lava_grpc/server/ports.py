"""What the gRPC edge needs from the rest of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message
from lava.v1 import gateway_service_pb2

from lava_grpc.api.direct import Answer, Reading

C = TypeVar("C")

Direct: TypeAlias = Callable[[bytes, C], Awaitable[Answer] | None]


class Dispatcher(Protocol):
    """Calls an RPC by name; raises a `core.errors.Refusal` for every no.

    `credential` is the text as it arrived, empty where none did.
    """

    async def unary(
        self, method: str, request: Message, *, credential: str, timeout_seconds: float | None
    ) -> Message:
        """The answer of `method`, e.g. `lava.v1.MeterService/CreateMeter`.

        Of an RPC that streams both ways it is one message's answer.
        """
        ...

    def direct(self, method: str, reading: Reading[C]) -> Direct[C] | None:
        """What takes the method's calls as they arrive; None where nothing does.

        It gives None for a call that must go through `unary`.
        """
        ...

    def forward(
        self, request: gateway_service_pb2.ForwardRequest, *, credential: str
    ) -> AsyncIterator[gateway_service_pb2.ForwardResponse]:
        """A head, chunks, a summary. Closed when the client goes away."""
        ...
