"""Our services, read from their descriptors, and how gRPC is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from lava.v1 import (
    credit_bundle_service_pb2,
    credit_service_pb2,
    customer_service_pb2,
    gateway_service_pb2,
    ledger_service_pb2,
    meter_service_pb2,
    model_service_pb2,
    payment_service_pb2,
    plan_service_pb2,
    provider_key_service_pb2,
    request_service_pb2,
    secret_key_service_pb2,
    spend_key_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    webhook_service_pb2,
)

from lava_grpc.api.gate import Gate
from lava_grpc.server.calls import forward_call, unary_call
from lava_grpc.server.ports import Dispatcher
from lava_grpc.server.streams import StreamRpc, Streams

_FILES = (
    gateway_service_pb2,
    customer_service_pb2,
    meter_service_pb2,
    credit_service_pb2,
    secret_key_service_pb2,
    spend_key_service_pb2,
    provider_key_service_pb2,
    request_service_pb2,
    ledger_service_pb2,
    usage_service_pb2,
    model_service_pb2,
    webhook_service_pb2,
    plan_service_pb2,
    credit_bundle_service_pb2,
    subscription_service_pb2,
    payment_service_pb2,
)


def services() -> Iterator[ServiceDescriptor]:
    """Every service of the API."""
    for file in _FILES:
        yield from file.DESCRIPTOR.services_by_name.values()


def generic_handlers(
    dispatcher: Dispatcher, gate: Gate, streams: Streams
) -> list[grpc.GenericRpcHandler]:
    """One for each service, over `dispatcher`.

    Raises ValueError for a streaming RPC that nobody taught the server.
    """
    return [
        grpc.method_handlers_generic_handler(
            service.full_name,
            {
                method.name: _handler(service, method, dispatcher, gate, streams)
                for method in service.methods
            },
        )
        for service in services()
    ]


def _handler(
    service: ServiceDescriptor,
    method: MethodDescriptor,
    dispatcher: Dispatcher,
    gate: Gate,
    streams: Streams,
) -> grpc.RpcMethodHandler[Any, Any]:
    # Bytes in, bytes out: see `unary_call`. The stubs know only handlers that run in threads.
    name = f"{service.full_name}/{method.name}"
    behavior: Any
    if not method.client_streaming and not method.server_streaming:
        behavior = unary_call(name, GetMessageClass(method.input_type), dispatcher, gate)
        return grpc.unary_unary_rpc_method_handler(behavior)
    if method.input_type.full_name == gateway_service_pb2.ForwardRequest.DESCRIPTOR.full_name:
        behavior = forward_call(dispatcher, gate)
        return grpc.unary_stream_rpc_method_handler(behavior)
    repeated = [field.name for field in method.input_type.fields if field.is_repeated]
    if method.client_streaming and method.server_streaming and len(repeated) == 1:
        rpc = StreamRpc(name, GetMessageClass(method.input_type), repeated[0])
        behavior = streams.call(rpc, dispatcher)
        return grpc.stream_stream_rpc_method_handler(behavior)
    raise ValueError(f"{name} streams, and there is nothing that answers it")
