"""One call over gRPC: its credential, its deadline, its answer or its refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Never, TypeAlias

import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.credentials import find_credential
from lava_grpc.api.defects import defect
from lava_grpc.api.direct import Reading
from lava_grpc.api.dispatch import FORWARD
from lava_grpc.api.gate import Gate
from lava_grpc.api.status import grpc_code, rpc_status
from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.server.ports import Dispatcher

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
UnaryCall: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]
StreamCall: TypeAlias = Callable[[bytes, Context], Awaitable[None]]
StreamsCall: TypeAlias = Callable[[object, Context], Awaitable[None]]

_log = structlog.get_logger(__name__)

_DETAILS = "grpc-status-details-bin"
_BEARER = "Bearer "
_NO_DEADLINE_SECONDS = 10 * 365 * 86_400.0
"""gRPC tells of no deadline by one that is centuries away."""


def unary_call(
    method: str, request_type: type[Message], dispatcher: Dispatcher, gate: Gate
) -> UnaryCall:
    """What answers `method`. Messages are read here, so that a bad one is refused as others are."""
    read = _reader(request_type)
    direct = dispatcher.direct(method, Reading(read, credential_of, timeout_seconds))

    async def call(raw: bytes, context: Context) -> bytes:
        try:
            gate.enter()
            try:
                waited_for = None if direct is None else direct(raw, context)
                if waited_for is not None:
                    told = await waited_for
                    if isinstance(told, bytes):
                        return told
                    raise told
                answer = await dispatcher.unary(
                    method,
                    read(raw),
                    credential=credential_of(context),
                    timeout_seconds=timeout_seconds(context),
                )
                return answer.SerializeToString()
            finally:
                gate.leave()
        except Refusal as said:
            refusal = said
        except Exception as error:  # noqa: BLE001 - gRPC would tell the caller what it says
            refusal = defect(method, error)
        return await refuse(context, refusal)

    return call


def _reader(request_type: type[Message]) -> Callable[[bytes], Message]:
    parse = request_type.FromString

    def read(raw: bytes) -> Message:
        try:
            return parse(raw)
        except DecodeError:
            raise unreadable(request_type) from None

    return read


def forward_call(dispatcher: Dispatcher, gate: Gate) -> StreamCall:
    """What answers Forward."""

    async def call(raw: bytes, context: Context) -> None:
        try:
            gate.enter()
            try:
                request = pb.ForwardRequest.FromString(raw)
                await _pass_on(
                    dispatcher.forward(request, credential=credential_of(context)), context
                )
                return
            finally:
                gate.leave()
        except DecodeError:
            refusal = unreadable(pb.ForwardRequest)
        except Refusal as said:
            refusal = said
        except Exception as error:  # noqa: BLE001 - gRPC would tell the caller what it says
            refusal = defect(FORWARD, error)
        await refuse(context, refusal)

    return call


async def _pass_on(parts: AsyncIterator[pb.ForwardResponse], context: Context) -> None:
    """Write each part as it comes; `write` waits while the client does not read."""
    try:
        async for part in parts:
            await context.write(part.SerializeToString())
    finally:
        # A client that goes away cancels this call wherever it stands; its iterator must hear.
        close: Callable[[], Awaitable[None]] | None = getattr(parts, "aclose", None)
        if close is not None:
            await asyncio.shield(asyncio.ensure_future(close()))


def credential_of(context: Context) -> str:
    """The credential in the call's metadata, empty without one."""
    metadata: Any = context.invocation_metadata() or ()
    for name, value in metadata:
        if name == "authorization" and isinstance(value, str):
            if value.startswith(_BEARER):
                return value.removeprefix(_BEARER)
            break
    texts = {name: value for name, value in reversed(list(metadata)) if isinstance(value, str)}
    return find_credential(texts, {}) or ""


async def refuse(context: Context, refusal: Refusal) -> Never:
    """End the call with the refusal's code, message and details."""
    status = rpc_status(refusal)
    details = ((_DETAILS, status.SerializeToString()),)
    try:
        await context.abort(grpc_code(refusal.reason), status.message, details)
    except grpc.aio.InternalError:
        # Nobody is there to be told: the client has gone, or its deadline has passed.
        raise asyncio.CancelledError from None


def timeout_seconds(context: Context) -> float | None:
    """How long the caller still waits, None where it set no deadline."""
    left: float | None = context.time_remaining()
    return None if left is None or left > _NO_DEADLINE_SECONDS else left


def unreadable(request_type: type[Message]) -> Refusal:
    """The refusal of bytes that are no such message."""
    return invalid("request", f"is no {request_type.DESCRIPTOR.full_name} message")
