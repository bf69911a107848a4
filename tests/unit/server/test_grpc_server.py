"""The gRPC edge over a dispatcher that tests steer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.server.grpc_server import GrpcServer, GrpcSettings
from tests.unit.server.edge import AUTHORIZE, Edge, Metadata, refused, told


@pytest_asyncio.fixture
async def edge() -> AsyncIterator[Edge]:
    made = Edge()
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize(
    ("metadata", "credential"),
    [
        ((), ""),
        ((("authorization", "Bearer aks_live_a"),), "aks_live_a"),
        ((("authorization", "bearer  aks_live_a "),), "aks_live_a"),
        ((("authorization", "Basic YTpi"),), ""),
        ((("x-api-key", "aks_live_a"),), "aks_live_a"),
        ((("authorization", "Basic YTpi"), ("x-goog-api-key", "aks_live_a")), "aks_live_a"),
        ((("authorization", "Bearer one"), ("authorization", "Bearer two")), "one"),
        ((("authorization-bin", b"\0"), ("xi-api-key", "aks_live_a")), "aks_live_a"),
    ],
)
async def test_the_credential_is_found_where_clients_put_it(
    metadata: Metadata, credential: str, edge: Edge
) -> None:
    await edge.authorize(metadata=metadata)
    assert edge.steered.calls[0][2] == credential
    _ = [part async for part in edge.forward(metadata=metadata)]
    assert edge.steered.calls[1][2] == credential


async def test_a_call_reaches_the_dispatcher_by_its_full_name_with_its_message(edge: Edge) -> None:
    sent = pb.AuthorizeRequest(amount="1")
    answer = await edge.authorize(sent.SerializeToString())
    assert pb.AuthorizeResponse.FromString(answer).available == "1.0000000000"
    method, request, _, timeout_seconds = edge.steered.calls[0]
    assert (method, request, timeout_seconds) == (AUTHORIZE[1:], sent, None)


async def test_a_deadline_arrives_as_the_seconds_that_are_left(edge: Edge) -> None:
    await edge.authorize(timeout=30)
    left = edge.steered.calls[0][3]
    assert left is not None
    # gRPC rounds it up, to tell it in few digits.
    assert 20 < left < 31


async def test_a_refusal_carries_code_message_and_details(edge: Edge) -> None:
    edge.steered.refusal = Refusal(
        Reason.INSUFFICIENT_CREDITS, "customer é has nothing", facts={"required": "1.0"}
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.authorize()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "customer é has nothing"
    assert told(caught.value).facts == {"required": "1.0"}


async def test_a_defect_is_told_without_its_words(edge: Edge) -> None:
    edge.steered.refusal = ValueError("a secret")
    assert (await refused(edge.authorize())).message == "internal error"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [part async for part in edge.forward()]
    assert told(caught.value).reason is Reason.INTERNAL
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff"])
async def test_bytes_that_are_no_message_are_refused_as_bad_input(raw: bytes, edge: Edge) -> None:
    assert (await refused(edge.authorize(raw))).reason is Reason.INVALID_FIELD
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [part async for part in edge.forward(raw)]
    assert told(caught.value).reason is Reason.INVALID_FIELD
    assert edge.steered.calls == []


async def test_an_unknown_method_is_unimplemented(edge: Edge) -> None:
    call: Any = edge.channel.unary_unary("/lava.v1.GatewayService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_arrives_part_by_part(edge: Edge) -> None:
    edge.steered.chunks = 3
    parts = [pb.ForwardResponse.FromString(part) async for part in edge.forward()]
    assert [part.WhichOneof("part") for part in parts] == ["head", "chunk", "chunk", "chunk"]
    assert edge.steered.closed.is_set()
    assert edge.server.in_flight == 0


async def test_a_refusal_after_the_head_ends_the_stream_with_its_details(edge: Edge) -> None:
    edge.steered.refusal = Refusal(Reason.UPSTREAM_FAILED, "gone")
    call = edge.forward()
    await call.read()
    await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert told(caught.value).reason is Reason.UPSTREAM_FAILED


async def test_a_client_that_hangs_up_closes_the_iterator(edge: Edge) -> None:
    edge.steered.go.clear()
    call = edge.forward()
    await call.read()
    await edge.steered.entered.wait()
    call.cancel()
    await asyncio.wait_for(edge.steered.closed.wait(), 10)


async def test_a_client_that_does_not_read_holds_the_stream_back_and_may_still_hang_up(
    edge: Edge,
) -> None:
    edge.steered.chunks = 10_000_000
    call = edge.forward()
    await call.read()
    call.cancel()
    await asyncio.wait_for(edge.steered.closed.wait(), 10)


async def test_past_the_bound_calls_are_turned_away_and_health_still_answers() -> None:
    edge = Edge(GrpcSettings(calls_max=1))
    await edge.start()
    try:
        edge.steered.go.clear()
        first = edge.authorize()
        running = asyncio.ensure_future(first)
        await edge.steered.entered.wait()
        turned_away = await refused(edge.authorize())
        assert turned_away.reason is Reason.OVERLOADED
        assert turned_away.retry_after_seconds == 1.0
        health: Any = health_pb2_grpc.HealthStub(edge.channel)
        await health.Check(health_pb2.HealthCheckRequest())
        edge.steered.go.set()
        await running
        await edge.authorize()
    finally:
        await edge.stop()


async def test_health_says_what_it_was_told(edge: Edge) -> None:
    health: Any = health_pb2_grpc.HealthStub(edge.channel)
    status = health_pb2.HealthCheckResponse
    for name in ("", "lava.v1.GatewayService"):
        asked = health_pb2.HealthCheckRequest(service=name)
        assert (await health.Check(asked)).status == status.NOT_SERVING
        await edge.server.set_serving(serving=True)
        assert (await health.Check(asked)).status == status.SERVING
        await edge.server.set_serving(serving=False)


async def test_reflection_lists_every_service(edge: Edge) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(edge.channel)
    ask = reflection_pb2.ServerReflectionRequest(list_services="*")
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([ask]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {
        "lava.v1.GatewayService",
        "lava.v1.CustomerService",
        "lava.v1.MeterService",
        "lava.v1.CreditService",
        "lava.v1.SecretKeyService",
        "lava.v1.RequestService",
        "lava.v1.LedgerService",
        "grpc.health.v1.Health",
        "grpc.channelz.v1.Channelz",
    } <= names


async def test_an_address_in_use_is_an_error_that_names_it(edge: Edge) -> None:
    address = f"127.0.0.1:{edge.port}"
    with pytest.raises(OSError, match=address):
        await GrpcServer(edge.steered, address).start()


async def test_a_stop_with_grace_lets_running_calls_end(edge: Edge) -> None:
    edge.steered.go.clear()
    running = asyncio.ensure_future(edge.authorize())
    await edge.steered.entered.wait()
    stopping = asyncio.ensure_future(edge.server.stop(10))
    ended, _ = await asyncio.wait({stopping}, timeout=0.1)
    assert not ended
    edge.steered.go.set()
    assert await running
    await asyncio.wait_for(stopping, 10)
