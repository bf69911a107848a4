"""A gRPC server over a dispatcher that tests steer, and a channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.status import from_rpc_status
from lava_grpc.core.errors import Refusal
from lava_grpc.server.grpc_server import GrpcServer, GrpcSettings

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

AUTHORIZE = "/lava.v1.GatewayService/Authorize"
FORWARD = "/lava.v1.GatewayService/Forward"


class Steered:
    """Answers when told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Message, str, float | None]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.entered = asyncio.Event()
        self.refusal: Exception | None = None
        self.closed = asyncio.Event()
        self.chunks = 1
        self.parts: AsyncIterator[pb.ForwardResponse] | None = None

    def direct(self, _method: str, _reading: object) -> None:
        """Every call goes the long way."""

    async def unary(
        self, method: str, request: Message, *, credential: str, timeout_seconds: float | None
    ) -> Message:
        self.calls.append((method, request, credential, timeout_seconds))
        self.entered.set()
        await self.go.wait()
        if self.refusal is not None:
            raise self.refusal
        return pb.AuthorizeResponse(available="1.0000000000")

    def forward(
        self, request: pb.ForwardRequest, *, credential: str
    ) -> AsyncIterator[pb.ForwardResponse]:
        # Kept, since an iterator that nobody holds is closed by the garbage collector.
        self.parts = self._parts(request, credential)
        return self.parts

    async def _parts(
        self, request: pb.ForwardRequest, credential: str
    ) -> AsyncIterator[pb.ForwardResponse]:
        self.calls.append((FORWARD[1:], request, credential, None))
        try:
            yield pb.ForwardResponse(head=pb.ForwardHead(status=200))
            self.entered.set()
            await self.go.wait()
            for _ in range(self.chunks):
                yield pb.ForwardResponse(chunk=b"x")
            if self.refusal is not None:
                raise self.refusal
        finally:
            # A real close takes a while, and must not be cut short.
            await asyncio.sleep(0)
            self.closed.set()


class Edge:
    """A server on a dispatcher, and a channel to it."""

    def __init__(self, settings: GrpcSettings | None = None) -> None:
        self.steered = Steered()
        self.server = GrpcServer(self.steered, "127.0.0.1:0", settings=settings)
        self.port = 0
        self._channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        self.port = await self.server.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")

    async def stop(self) -> None:
        self.steered.go.set()
        await self.channel.close(None)
        await self.server.stop(None)

    @property
    def channel(self) -> grpc.aio.Channel:
        assert self._channel is not None
        return self._channel

    def authorize(
        self, raw: bytes = b"", metadata: Metadata = (), timeout: float | None = None
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        call: Any = self.channel.unary_unary(AUTHORIZE)
        made: grpc.aio.UnaryUnaryCall[bytes, bytes] = call(raw, metadata=metadata, timeout=timeout)
        return made

    def forward(
        self, raw: bytes = b"", metadata: Metadata = ()
    ) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        call: Any = self.channel.unary_stream(FORWARD)
        made: grpc.aio.UnaryStreamCall[bytes, bytes] = call(raw, metadata=metadata)
        return made


async def refused(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return told(caught.value)


def told(error: grpc.aio.AioRpcError) -> Refusal:
    trailing: Any = error.trailing_metadata()
    details: bytes = dict(trailing)["grpc-status-details-bin"]
    return from_rpc_status(status_pb2.Status.FromString(details))
