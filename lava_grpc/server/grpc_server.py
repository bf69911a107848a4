"""The gRPC server: binds, serves, tells of its health, drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from typing_extensions import override

from lava_grpc.api.gate import CALLS_MAX, Gate
from lava_grpc.server.ports import Dispatcher
from lava_grpc.server.services import generic_handlers, services
from lava_grpc.server.streams import STREAM_ITEMS_MAX, Streams

_MIB = 1024 * 1024
_KIB = 1024
_CHANNELZ: str = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name

LAST_WORDS_SECONDS = 1.0
"""How long answers that were just given have to leave."""

WATCHERS_MAX = 256
"""Calls of health, reflection and channelz that fit beside a full house of ours."""


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """What bounds the server. A forwarded body of 32 MiB fits a message, with its frame."""

    receive_bytes_max: int = 33 * _MIB
    send_bytes_max: int = 33 * _MIB
    metadata_bytes_max: int = 32 * _KIB
    calls_max: int = CALLS_MAX
    stream_items_max: int = STREAM_ITEMS_MAX
    # Calls that have arrived and that Python has not come to. From here on gRPC's core turns
    # some of them away, at twice as many all: without our details, but at next to no cost.
    # More would only wait past their deadlines, and each costs as much as a call that counts.
    pending_calls_max: int = 500
    keepalive_seconds: int = 60
    keepalive_timeout_seconds: int = 20
    ping_interval_seconds_min: int = 10
    reuse_port: bool = False
    channelz: bool = True


class GrpcServer:
    """Serves `dispatcher` on `address` (`host:port`; port 0 takes a free one).

    Without `credentials` it speaks plain text: bind it to loopback, or behind
    something that ends TLS. `more_handlers` are served beside ours, as they are.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        address: str,
        *,
        settings: GrpcSettings | None = None,
        credentials: grpc.ServerCredentials | None = None,
        more_handlers: Sequence[grpc.GenericRpcHandler] = (),
    ) -> None:
        self._more_handlers = tuple(more_handlers)
        self._dispatcher = dispatcher
        self._address = address
        self._settings = settings or GrpcSettings()
        self._credentials = credentials
        self._gate = Gate(self._settings.calls_max)
        self._streams = Streams(self._settings.stream_items_max, calls_max=self._settings.calls_max)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    @property
    def in_flight(self) -> int:
        """How many of our calls are being answered, each open stream as one."""
        return self._gate.in_flight + self._streams.gate.in_flight

    @property
    def items_in_flight(self) -> int:
        """How many of our calls are being answered, each item of a stream as one."""
        return self._gate.in_flight + self._streams.room.taken

    async def start(self) -> int:
        """Bind and serve; the port. Raises OSError where the address cannot be bound.

        Health says NOT_SERVING until `set_serving`.
        """
        logging.getLogger(_CORE_LOGGER).addFilter(_NOBODY_THERE)
        server = grpc.aio.server(
            handlers=[
                *generic_handlers(self._dispatcher, self._gate, self._streams),
                *self._more_handlers,
            ],
            options=_options(self._settings),
            # The bound of last resort, without our details: the gate answers before it.
            maximum_concurrent_rpcs=2 * self._settings.calls_max + WATCHERS_MAX,
        )
        names = [service.full_name for service in services()]
        names.append(health.SERVICE_NAME)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.channelz:
            channelz.add_channelz_servicer(server)
            names.append(_CHANNELZ)
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
        await self.set_serving(serving=False)
        port = _bind(server, self._address, self._credentials)
        self._server = server
        await server.start()
        return port

    async def set_serving(self, *, serving: bool) -> None:
        """What health says, of the server and of each service."""
        status = health_pb2.HealthCheckResponse
        value = status.SERVING if serving else status.NOT_SERVING
        for name in ("", *(service.full_name for service in services())):
            await self._health.set(name, value)

    async def stop(self, grace: float | None) -> None:
        """Turn health to NOT_SERVING, take no new call, and let running ones end within `grace`."""
        await self._health.enter_graceful_shutdown()
        server, self._server = self._server, None
        self._streams.stop()
        if server is not None:
            stopping = asyncio.ensure_future(server.stop(grace))
            # Those who watch our health never end by themselves: once our own calls have,
            # nobody is waited for.
            idle = asyncio.ensure_future(self._until_idle())
            await asyncio.wait([stopping, idle], return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            await server.stop(LAST_WORDS_SECONDS)
            await stopping

    async def _until_idle(self) -> None:
        await self._gate.until_idle()
        await self._streams.gate.until_idle()

    async def wait_for_termination(self) -> None:
        """Return once the server has stopped."""
        if self._server is not None:
            await self._server.wait_for_termination()


class _NobodyThere(logging.Filter):
    """Drops what gRPC says, with a traceback, of an answer whose caller had just gone."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and type(record.exc_info[1]).__name__ == "ExecuteBatchError")


_NOBODY_THERE = _NobodyThere()
_CORE_LOGGER = "grpc._cython.cygrpc"


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is not None:
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot bind {address}") from error
    if port == 0:
        raise OSError(f"cannot bind {address}")
    return port


def _options(settings: GrpcSettings) -> list[tuple[str, Any]]:
    second = 1000
    return [
        ("grpc.max_receive_message_length", settings.receive_bytes_max),
        ("grpc.max_send_message_length", settings.send_bytes_max),
        ("grpc.max_metadata_size", settings.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", 2 * settings.metadata_bytes_max),
        ("grpc.keepalive_time_ms", settings.keepalive_seconds * second),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_seconds * second),
        ("grpc.keepalive_permit_without_calls", 1),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            settings.ping_interval_seconds_min * second,
        ),
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.server.max_pending_requests", settings.pending_calls_max),
        ("grpc.server.max_pending_requests_hard_limit", 2 * settings.pending_calls_max),
        ("grpc.enable_channelz", int(settings.channelz)),
    ]
