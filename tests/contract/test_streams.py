"""Batches and streams of the hot path, over a real channel and real HTTP."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import status_pb2
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.status import from_rpc_status
from lava_grpc.core.errors import Reason
from tests.support.service import Running, running

IN_FLIGHT = 8

_numbers = itertools.count(1)


@pytest_asyncio.fixture
async def service(database_url: str) -> AsyncIterator[Running]:
    async with running(database_url, stream_items_max=IN_FLIGHT) as made:
        yield made
        await made.verified()


def authorize_stream(service: Running, metadata: Any = None) -> Any:  # noqa: ANN401
    call: Any = service.channel.stream_stream(
        "/lava.v1.GatewayService/AuthorizeStream",
        request_serializer=pb.AuthorizeStreamRequest.SerializeToString,
        response_deserializer=pb.AuthorizeStreamResponse.FromString,
    )
    return call(metadata=service.metadata if metadata is None else metadata)


def hold(customer: str, amount: str = "1", **facts: Any) -> pb.AuthorizeRequest:
    facts.setdefault("request_id", f"hold-{next(_numbers)}")
    return pb.AuthorizeRequest(customer_id=customer, amount=amount, **facts)


def asked(*holds: pb.AuthorizeRequest) -> pb.AuthorizeStreamRequest:
    return pb.AuthorizeStreamRequest(requests=holds)


async def results_of(call: Any) -> dict[str, pb.AuthorizeResult]:  # noqa: ANN401
    """Every result until the stream ends, by request id; each comes once."""
    found: dict[str, pb.AuthorizeResult] = {}
    while (message := await call.read()) is not grpc.aio.EOF:
        for result in message.results:
            assert result.request_id not in found
            found[result.request_id] = result
    return found


def reason(status: status_pb2.Status) -> Reason:
    return from_rpc_status(status).reason


async def test_each_of_a_batch_is_placed_or_refused_in_its_place(service: Running) -> None:
    customer = await service.customer("2")
    requests = [
        hold(customer),
        hold(customer, "x"),
        hold(customer, "50"),
        hold("con_test_nobody"),
        hold("no such reference"),
        hold(customer, meter_slug="none"),
        pb.AuthorizeRequest(customer_id=customer, amount="1"),
    ]
    call: Any = service.channel.unary_unary(
        "/lava.v1.GatewayService/BatchAuthorize",
        request_serializer=pb.BatchAuthorizeRequest.SerializeToString,
        response_deserializer=pb.BatchAuthorizeResponse.FromString,
    )
    batch = pb.BatchAuthorizeRequest(requests=requests)
    answer = await call(batch, metadata=service.metadata)
    assert [r.request_id for r in answer.results[:6]] == [r.request_id for r in requests[:6]]
    placed = [r.authorized for r in answer.results if r.WhichOneof("result") == "authorized"]
    assert [r.reservation.amount for r in placed] == ["1.0000000000"] * 2
    assert answer.results[6].request_id.startswith("req_test_")
    assert [reason(r.error) for r in answer.results[1:6]] == [
        Reason.INVALID_FIELD,
        Reason.INSUFFICIENT_CREDITS,
        Reason.NOT_FOUND,
        Reason.NOT_FOUND,
        Reason.NOT_FOUND,
    ]
    # Again with the same ids, without the one that has none: nothing more is held.
    del batch.requests[6]
    again = await call(batch, metadata=service.metadata)
    assert again.results[0].authorized.reservation == placed[0].reservation
    assert (await service.balance(customer))["held"] == "2.0000000000"


async def test_a_batch_over_rest_is_the_same(service: Running) -> None:
    customer = await service.customer("1")
    body = {"requests": [{"customer_id": customer, "amount": "1"} for _ in range(2)]}
    answer = await service.rest("POST", "/v1/reservations/batch", body)
    first, second = answer["results"]
    assert first["authorized"]["reservation"]["amount"] == "1.0000000000"
    assert second["error"]["code"] == "insufficient_credits"


async def test_a_batch_larger_than_a_commit_is_decided_once(service: Running) -> None:
    customer = await service.customer("600")
    requests = [hold(customer) for _ in range(1000)]
    call: Any = service.channel.unary_unary(
        "/lava.v1.GatewayService/BatchAuthorize",
        request_serializer=pb.BatchAuthorizeRequest.SerializeToString,
        response_deserializer=pb.BatchAuthorizeResponse.FromString,
    )
    answer = await call(pb.BatchAuthorizeRequest(requests=requests), metadata=service.metadata)
    kinds = [result.WhichOneof("result") for result in answer.results]
    assert kinds == ["authorized"] * 600 + ["error"] * 400


async def test_a_stream_answers_each_item_by_its_id_and_ends_when_all_is_said(
    service: Running,
) -> None:
    customer = await service.customer("100")
    requests = [hold(customer) for _ in range(30)]
    bad = [hold(customer, "-1"), hold(customer, request_id=""), hold("nobody")]
    call = authorize_stream(service)
    for start in range(0, 30, 5):
        await call.write(asked(*requests[start : start + 5]))
    await call.write(asked(*bad, requests[0]))
    reading = asyncio.create_task(results_of_all(call))
    await call.done_writing()
    results = await reading
    placed = [r for r in results if r.WhichOneof("result") == "authorized"]
    assert {r.request_id for r in placed} == {r.request_id for r in requests}
    assert len(placed) == 31, "the repeated one is answered again"
    refused = {r.request_id: reason(r.error) for r in results if r.WhichOneof("result") == "error"}
    assert refused == {
        bad[0].request_id: Reason.INVALID_FIELD,
        "": Reason.INVALID_FIELD,
        bad[2].request_id: Reason.NOT_FOUND,
    }
    assert await call.code() is grpc.StatusCode.OK


async def results_of_all(call: Any) -> list[pb.AuthorizeResult]:  # noqa: ANN401
    """Every result until the stream ends."""
    found: list[pb.AuthorizeResult] = []
    while (message := await call.read()) is not grpc.aio.EOF:
        found.extend(message.results)
    return found


async def test_what_was_sent_before_a_stream_was_cancelled_can_be_found_again(
    service: Running,
) -> None:
    customer = await service.customer("100")
    requests = [hold(customer) for _ in range(IN_FLIGHT)]
    call = authorize_stream(service)
    await call.write(asked(*requests))
    first = await call.read()
    call.cancel()
    assert first.results
    again = authorize_stream(service)
    await again.write(asked(*requests))
    await again.done_writing()
    results = await results_of(again)
    for result in first.results:
        found = results[result.request_id].authorized.reservation
        assert found == result.authorized.reservation
    assert (await service.balance(customer))["held"] == f"{IN_FLIGHT}.0000000000"


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_message_that_breaks_a_bound_ends_the_stream_after_the_rest(
    count: int, sqlite_url: str
) -> None:
    async with running(sqlite_url) as service:
        customer = await service.customer("100")
        good = hold(customer)
        call = authorize_stream(service)
        await call.write(asked(good))
        await call.write(asked(*[hold(customer) for _ in range(count)]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await results_of(call)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal_in(caught.value).field == "requests"
        assert (await service.balance(customer))["held"] == "1.0000000000"


def refusal_in(error: grpc.aio.AioRpcError) -> Any:  # noqa: ANN401
    trailing: Any = error.trailing_metadata()
    details: bytes = dict(trailing)["grpc-status-details-bin"]
    return from_rpc_status(status_pb2.Status.FromString(details))


async def test_nobody_streams_without_a_key(sqlite_url: str) -> None:
    async with running(sqlite_url) as service:
        call = authorize_stream(service, metadata=())
        await call.write(asked(hold("x")))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await results_of(call)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_reports_are_streamed_settle_holds_and_are_charged_once(service: Running) -> None:
    customer = await service.customer("100")
    placed = authorize_stream(service)
    requests = [hold(customer) for _ in range(4)]
    await placed.write(asked(*requests))
    await placed.done_writing()
    holds = await results_of(placed)
    call: Any = service.channel.stream_stream(
        "/lava.v1.GatewayService/ReportUsageStream",
        request_serializer=pb.ReportUsageStreamRequest.SerializeToString,
        response_deserializer=pb.ReportUsageStreamResponse.FromString,
    )(metadata=service.metadata)
    reports = [
        pb.ReportUsageRequest(
            request_id=ident,
            reservation_id=result.authorized.reservation.reservation_id,
            amount="0.5",
        )
        for ident, result in holds.items()
    ]
    # By the hold's request alone, and with no hold at all.
    reports[1].ClearField("reservation_id")
    reports.append(pb.ReportUsageRequest(request_id="after", customer_id=customer, amount="2"))
    reports.append(pb.ReportUsageRequest(request_id="lost", reservation_id="res_none"))
    await call.write(pb.ReportUsageStreamRequest(reports=reports))
    await call.write(pb.ReportUsageStreamRequest(reports=reports[:2]))
    await call.done_writing()
    told: list[pb.ReportUsageResult] = []
    while (message := await call.read()) is not grpc.aio.EOF:
        told.extend(message.results)
    charges = {r.request_id: r.request.charge.amount for r in told if r.HasField("request")}
    assert charges == dict.fromkeys(holds, "0.5000000000") | {"after": "2.0000000000"}
    assert len(told) == len(reports) + 2
    (lost,) = [r for r in told if r.HasField("error")]
    assert (lost.request_id, reason(lost.error)) == ("lost", Reason.NOT_FOUND)
    balance = await service.balance(customer)
    assert (balance["balance"], balance["held"]) == ("96.0000000000", "0.0000000000")


async def test_a_service_that_stops_answers_what_it_read_and_ends_the_stream(
    sqlite_url: str,
) -> None:
    async with running(sqlite_url) as service:
        customer = await service.customer("100")
        call = authorize_stream(service)
        await call.write(asked(hold(customer)))
        assert (await call.read()).results
        stopping = asyncio.create_task(service.service.stop())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await results_of(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert refusal_in(caught.value).retry_after_seconds
        await stopping


def test_answers_can_be_merged_by_their_encodings() -> None:
    fields: Sequence[str] = [f.name for f in pb.AuthorizeStreamResponse.DESCRIPTOR.fields]
    # Answers are merged by writing their encodings one after the other: repeated fields alone
    # can be.
    assert fields == ["results"]
    assert [f.name for f in pb.ReportUsageStreamResponse.DESCRIPTOR.fields] == ["results"]
