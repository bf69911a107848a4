"""ReportUsage takes a provider's answer as it came."""

from __future__ import annotations

import base64
import json
import threading
from decimal import Decimal
from typing import Any

import grpc
import httpx
import pytest
from lava.v1 import gateway_service_pb2 as pb
from lava.v1 import gateway_service_pb2_grpc as stubs

from lava_grpc.gateway import report
from lava_grpc.providers.answer import read_answer
from tests.integration.forward.calls import (
    CHAT,
    GENERATE,
    JSON,
    MESSAGES,
    METER,
    VERSION,
    chat,
    contents,
    encoded,
    forward,
    message,
    paying,
)
from tests.support.service import Running, running

KEYS = {"authorization": "Bearer k", "x-api-key": "k", "x-goog-api-key": "k"}
CALLS: list[Any] = [
    pytest.param("openai", CHAT, "/v1/chat/completions", chat(), {}, False, id="chat"),
    pytest.param(
        "openai",
        CHAT,
        "/v1/chat/completions",
        chat(stream=True, stream_options={"include_usage": True}),
        {},
        True,
        id="chat-stream",
    ),
    pytest.param("anthropic", MESSAGES, "/v1/messages", message(), VERSION, False, id="messages"),
    pytest.param(
        "anthropic", MESSAGES, "/v1/messages", message(stream=True), VERSION, True, id="stream"
    ),
    pytest.param(
        "google",
        f"{GENERATE}:streamGenerateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        contents() | {"generationConfig": {"maxOutputTokens": 100}},
        {},
        True,
        id="generate-stream",
    ),
]


async def answered(on: Running, path: str, body: object, headers: dict[str, str]) -> bytes:
    """What the provider answers to a call that the caller makes itself."""
    async with httpx.AsyncClient(base_url=on.provider.base_url) as client:
        answer = await client.post(path, content=encoded(body), headers=JSON | KEYS | headers)
        assert answer.is_success, answer.text
        return answer.content


def response(raw: bytes, *, stream: bool) -> dict[str, Any]:
    return {"response_stream": raw} if stream else {"response_json": raw.decode()}


@pytest.mark.parametrize(("ident", "url", "path", "body", "headers", "stream"), CALLS)
async def test_it_records_and_charges_what_forwarding_the_call_does(
    sqlite_url: str,
    ident: str,
    url: str,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
    stream: bool,  # noqa: FBT001 - an example's property
) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on)
        through = await forward(on, url, body, token=token, headers=headers)
        want = await on.record(through.headers["x-lava-request-id"])

        raw = await answered(on, path, body, headers)
        stub = stubs.GatewayServiceStub(on.channel)
        report = pb.ReportUsageRequest(
            request_id="after",
            customer_id=customer,
            meter_slug=METER,
            provider=ident,
            endpoint=f"POST {url}",
            **response(raw, stream=stream),
        )
        first = await stub.ReportUsage(report, metadata=on.metadata)
        again = await stub.ReportUsage(report, metadata=on.metadata)
        assert again == first

        got = await on.record("after")
        for name in ("provider", "model", "endpoint", "model_usage", "cost", "charge"):
            assert got[name] == want[name], name
        assert got["response_id"]
        await on.verified()


@pytest.mark.parametrize(("tier", "halves"), [("default", 2), ("flex", 1), ("priority", 4)])
async def test_an_answer_is_priced_by_the_tier_that_it_names(
    sqlite_url: str, tier: str, halves: int
) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    raw = {"id": "c1", "model": "gpt-5", "choices": [], "usage": usage, "service_tier": tier}
    async with running(sqlite_url) as on:
        customer, _ = await paying(on)
        report = pb.ReportUsageRequest(
            request_id="tiered",
            customer_id=customer,
            meter_slug=METER,
            provider="openai",
            response_json=json.dumps(raw),
        )
        await stubs.GatewayServiceStub(on.channel).ReportUsage(report, metadata=on.metadata)
        shown = await on.record("tiered")
        assert shown["service_tier"] == tier
        assert Decimal(shown["cost"]) == Decimal("0.001125") * halves


async def test_a_reservation_says_the_provider_and_the_endpoint(database_url: str) -> None:
    async with running(database_url) as on:
        customer, _ = await paying(on)
        stub = stubs.GatewayServiceStub(on.channel)
        held = await stub.Authorize(
            pb.AuthorizeRequest(
                customer_id=customer,
                meter_slug=METER,
                provider_call=pb.ProviderCall(
                    provider="anthropic", request_body=encoded(message())
                ),
            ),
            metadata=on.metadata,
        )
        raw = await answered(on, "/v1/messages", message(), VERSION)
        done = await stub.ReportUsage(
            pb.ReportUsageRequest(
                reservation_id=held.reservation.reservation_id, response_json=raw.decode()
            ),
            metadata=on.metadata,
        )
        assert done.request.model_usage.output_tokens == 12
        assert done.request.endpoint == f"POST {MESSAGES}"
        assert Decimal(done.request.cost) > 0
        left = await on.balance(customer)
        assert Decimal(left["balance"]) == 10 - Decimal(done.request.charge.amount)
        assert Decimal(left["held"]) == 0
        await on.verified()


async def test_over_rest_a_stream_comes_in_base64(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        await paying(on)
        body = chat(stream=True, stream_options={"include_usage": True})
        raw = await answered(on, "/v1/chat/completions", body, {})
        made = await on.rest(
            "POST",
            "/v1/requests",
            {
                "request_id": "r1",
                "provider": "openai",
                "response_stream": base64.b64encode(raw).decode(),
            },
        )
        assert made["model_usage"]["output_tokens"] == 12
        plain = await answered(on, "/v1/chat/completions", chat(), {})
        made = await on.rest(
            "POST",
            "/v1/requests",
            {"request_id": "r2", "provider": "openai", "response_json": plain.decode()},
        )
        assert made["model_usage"]["output_tokens"] == 12
        assert made["cost"] == "0.0000076500"


async def test_in_a_batch_and_on_a_stream_each_answer_stands_for_itself(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        await paying(on)
        raw = (await answered(on, "/v1/chat/completions", chat(), {})).decode()
        # Past the size from which answers are read in a thread.
        padded = json.dumps(json.loads(raw) | {"padding": "x" * 200_000})

        def reports(prefix: str) -> list[pb.ReportUsageRequest]:
            report = pb.ReportUsageRequest
            return [
                report(request_id=f"{prefix}1", provider="openai", response_json=raw),
                report(request_id=f"{prefix}2", provider="openai", response_json="{}"),
                report(request_id=f"{prefix}3", provider="openai", response_json=padded),
                report(request_id=f"{prefix}4", provider="nobody", response_json=raw),
                report(request_id=f"{prefix}5", input_tokens=7),
            ]

        def told(results: Any) -> dict[str, int | str]:  # noqa: ANN401 - of protobuf's own
            return {
                result.request_id[-1]: result.request.model_usage.total_tokens
                if result.HasField("request")
                else result.error.message
                for result in results
            }

        stub = stubs.GatewayServiceStub(on.channel)
        batch = await stub.BatchReportUsage(
            pb.BatchReportUsageRequest(reports=reports("b")), metadata=on.metadata
        )
        stream = stub.ReportUsageStream(metadata=on.metadata)
        await stream.write(pb.ReportUsageStreamRequest(reports=reports("s")))
        await stream.done_writing()
        results = [result async for answer in stream for result in answer.results]
        for found in (told(batch.results), told(results)):
            assert (found["1"], found["3"], found["5"]) == (15, 15, 7)
            assert "response_json" in str(found["2"])
            assert "provider" in str(found["4"])
        await on.verified()


async def test_counts_beside_it_stand_in_only_where_it_states_none(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        await paying(on)
        stub = stubs.GatewayServiceStub(on.channel)
        silent = pb.ReportUsageRequest(
            request_id="silent",
            provider="openai",
            model="gpt-4o-mini",
            response_json='{"id":"c1","choices":[]}',
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ReportUsage(silent, metadata=on.metadata)
        assert "response_json states no usage" in (caught.value.details() or "")

        silent.input_tokens, silent.output_tokens = 3, 12
        done = await stub.ReportUsage(silent, metadata=on.metadata)
        assert done.request.model_usage.total_tokens == 15
        assert done.request.cost == "0.0000076500"
        assert done.request.response_id == "c1"

        raw = (await answered(on, "/v1/chat/completions", chat(), {})).decode()
        stated = pb.ReportUsageRequest(
            request_id="stated", provider="openai", response_json=raw, input_tokens=900
        )
        done = await stub.ReportUsage(stated, metadata=on.metadata)
        assert done.request.model_usage.input_tokens == 3


async def test_another_answer_under_the_same_id_is_refused(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        await paying(on)
        usage = {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}
        one = {"id": "c1", "model": "gpt-4o-mini", "choices": [], "usage": usage}
        stub = stubs.GatewayServiceStub(on.channel)

        async def reported(answer: object) -> pb.ReportUsageResponse:
            raw = json.dumps(answer)
            report = pb.ReportUsageRequest(request_id="r", provider="openai", response_json=raw)
            done: pb.ReportUsageResponse = await stub.ReportUsage(report, metadata=on.metadata)
            return done

        first = await reported(one)
        assert await reported(one) == first
        # As many tokens, and still the answer of another call, or one at another price.
        for other in (one | {"id": "c2"}, one | {"service_tier": "priority"}):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reported(other)
            assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        await on.verified()


@pytest.mark.parametrize("size", [100, 20_000])
async def test_what_is_many_documents_is_not_read_on_the_event_loop(
    sqlite_url: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []

    def noting(*given: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
        readers.append(threading.current_thread())
        return read_answer(*given)

    monkeypatch.setattr(report, "read_answer", noting)
    async with running(sqlite_url) as on:
        stub = stubs.GatewayServiceStub(on.channel)
        asked = pb.ReportUsageRequest(
            request_id="r", provider="openai", response_stream=b"data: {}\n\n" * (size // 10)
        )
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ReportUsage(asked, metadata=on.metadata)
    (reader,) = readers
    assert (reader is threading.main_thread()) == (size < 8000)
