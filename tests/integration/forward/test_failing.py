"""Providers that say no, break off, or keep silent."""

from __future__ import annotations

import asyncio
import socket

import grpc
import httpx
import pytest
from lava.v1 import gateway_service_pb2 as pb
from lava.v1 import reservation_pb2

from lava_grpc.testing import Fault
from lava_grpc.testing.fake_provider import Scripted
from tests.integration.forward.calls import (
    CHAT,
    MESSAGES,
    VERSION,
    chat,
    encoded,
    forward,
    message,
    opened,
    over_grpc,
    path,
    paying,
    recorded,
    request,
    sent_headers,
    unheld,
)
from tests.support.service import Running, running


@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 529])
async def test_a_providers_no_passes_and_costs_nothing(database_url: str, status: int) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on)
        on.provider.fault = Fault(status=status, body='{"error":{"message":"no"}}')
        answer = await forward(on, token=token)
        assert (answer.status_code, answer.content) == (status, b'{"error":{"message":"no"}}')
        assert ("retry-after" in answer.headers) is (status in {429, 529})
        assert not await recorded(on, answer.headers["x-lava-request-id"])
        got = await over_grpc(on, request(customer_id=customer, meter_slug="per-token"))
        assert got.head.status == status
        assert got.summary is not None
        assert got.summary.measurement == pb.MEASUREMENT_NONE
        assert got.summary.reservation.state == reservation_pb2.RESERVATION_STATE_RELEASED
        await unheld(on, customer, "10")
        await on.verified()


async def test_a_redirect_is_an_answer_and_not_a_direction(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        on.provider.script(
            "POST",
            "/openai/v1/chat/completions",
            Scripted(307, (("location", f"{on.provider.base_url}/elsewhere"),), (b"",)),
        )
        answer = await forward(on)
        assert answer.status_code == 307
        assert on.provider.calls_total == 1
        await on.verified()


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def test_a_provider_that_cannot_be_reached_is_a_502(database_url: str) -> None:
    nowhere = {"api.openai.com": f"http://127.0.0.1:{_closed_port()}"}
    async with running(database_url, upstream_map=nowhere) as on:
        customer, token = await paying(on)
        answer = await forward(on, token=token)
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "upstream_failed"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await over_grpc(on, request())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await unheld(on, customer, "10")
        await on.verified()


async def test_a_connection_reset_before_the_head_is_a_502(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on)
        on.provider.fault = Fault(reset=True)
        assert (await forward(on, token=token)).status_code == 502
        assert on.provider.calls_total == 1
        await unheld(on, customer, "10")
        await on.verified()


async def test_no_first_byte_in_time_is_a_504(sqlite_url: str) -> None:
    async with running(sqlite_url, first_byte_seconds=0.2) as on:
        customer, token = await paying(on)
        on.provider.fault = Fault(delay_ms=30_000)
        answer = await forward(on, token=token)
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "upstream_timeout"
        await on.provider.until(lambda: on.provider.connections_open == 0)
        await unheld(on, customer, "10")
        await on.verified()


async def _broken_off(on: Running, url: str, body: object, token: str) -> str:
    """A stream that breaks off on the client; the request's id."""
    async with on.http.stream(
        "POST", path(url), content=encoded(body), headers=sent_headers(on, token, VERSION)
    ) as answer:
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()
    request_id: str = answer.headers["x-lava-request-id"]
    return request_id


@pytest.mark.parametrize(
    ("url", "body", "cut", "input_tokens"),
    [
        (CHAT, chat(stream=True), 6, None),
        # Anthropic states the input, and one token of output, before anything is said.
        (MESSAGES, message(stream=True), 8, 3),
    ],
    ids=["chat", "messages"],
)
async def test_a_stream_cut_off_is_settled_with_what_was_seen(
    database_url: str, url: str, body: object, cut: int, input_tokens: int | None
) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on)
        on.provider.fault = Fault(cut_after=cut, words=60)
        request_id = await _broken_off(on, url, body, token)
        record = await on.record(request_id)
        usage = record["model_usage"]
        assert record["flags"] == ["estimated"]
        assert usage["output_tokens"] > 1
        assert usage["output_tokens"] < 60
        assert input_tokens in {None, usage["input_tokens"]}
        assert record["charge"]["amount"] != "0.0000000000"
        assert (await on.balance(customer)).get("held", "0.0000000000") == "0.0000000000"
        await on.verified()


async def test_a_json_answer_cut_off_is_settled_by_estimate(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        _, token = await paying(on)
        on.provider.fault = Fault(cut_after=200)
        request_id = await _broken_off(on, CHAT, chat(), token)
        record = await on.record(request_id)
        assert record["flags"] == ["estimated"]
        await on.verified()


async def test_a_stream_that_falls_silent_is_given_up(sqlite_url: str) -> None:
    async with running(sqlite_url, idle_seconds=0.3) as on:
        _, token = await paying(on)
        on.provider.fault = Fault(pause_after=6, words=60)
        request_id = await _broken_off(on, CHAT, chat(stream=True), token)
        record = await on.record(request_id)
        assert record["flags"] == ["estimated"]
        await on.provider.until(lambda: on.provider.connections_open == 0)
        await on.verified()


async def test_over_grpc_a_broken_stream_ends_in_an_error(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        on.provider.fault = Fault(cut_after=6, words=60, chunk_delay_ms=20)
        call = opened(on, request(body=chat(stream=True)))
        parts: list[pb.ForwardResponse] = []

        async def read() -> None:
            async for part in call:
                parts.append(part)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert parts[0].head.status == 200
        assert len(parts) > 1
        record = await on.record(parts[0].head.request_id)
        assert record["flags"] == ["estimated"]
        await on.verified()


ERROR = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
)
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
    b'"role":"assistant","model":"claude-sonnet-4-6","content":[],'
    b'"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
)


@pytest.mark.parametrize("started", [False, True])
async def test_an_error_inside_a_stream_is_charged_for_what_came_before(
    sqlite_url: str,
    started: bool,  # noqa: FBT001
) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on)
        on.provider.script(
            "POST",
            "/anthropic/v1/messages",
            Scripted(
                200,
                (("content-type", "text/event-stream"),),
                (START, ERROR) if started else (ERROR,),
            ),
        )
        answer = await forward(on, MESSAGES, message(stream=True), token=token, headers=VERSION)
        assert answer.content == (START + ERROR if started else ERROR)
        request_id = answer.headers["x-lava-request-id"]
        assert await recorded(on, request_id) is started
        if started:
            record = await on.record(request_id)
            assert record["status"] == "error"
            usage = record["model_usage"]
            assert (usage["input_tokens"], usage["output_tokens"]) == (7, 1)
        else:
            await unheld(on, customer, "10")
        await on.verified()


async def test_a_body_beyond_the_limit_is_refused(sqlite_url: str) -> None:
    async with running(sqlite_url, body_bytes_max=2048) as on:
        answer = await forward(on, body=chat(user="x" * 3000))
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == "body"
        assert on.provider.calls_total == 0
        await on.verified()


async def test_a_large_answer_passes_and_is_metered(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        on.provider.fault = Fault(huge_bytes=3_000_000)
        answer = await forward(on)
        assert len(answer.content) > 3_000_000
        record = await on.record(answer.headers["x-lava-request-id"])
        assert record["model_usage"]["output_tokens"] == 12
        assert not record.get("flags")
        await on.verified()


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("https://api.openai.com.evil.example/v1/chat/completions", 403, "upstream_not_allowed"),
        ("https://evil.example/v1", 403, "upstream_not_allowed"),
        ("https://169.254.169.254/latest/meta-data", 403, "upstream_not_allowed"),
        ("https://127.0.0.1/v1", 403, "upstream_not_allowed"),
        ("https://[::1]/v1", 403, "upstream_not_allowed"),
        ("https://localhost/v1", 403, "upstream_not_allowed"),
        ("https://api.openai.com:8443/v1/chat/completions", 403, "upstream_not_allowed"),
        ("http://api.openai.com/v1/chat/completions", 400, "invalid_field"),
        ("https://user:pw@api.openai.com/v1/chat/completions", 400, "invalid_field"),
        ("https://api.openai.com/v1/../admin", 400, "invalid_field"),
        ("ftp://api.openai.com/", 400, "invalid_field"),
        ("chat/completions", 400, "invalid_field"),
    ],
)
async def test_calls_go_only_where_they_may(
    sqlite_url: str, target: str, status: int, code: str
) -> None:
    async with running(sqlite_url) as on:
        answer = await forward(on, target, token=on.token(provider_key="sk-own"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        if status == 400:
            assert answer.json()["error"]["field"] == "u"
        assert on.provider.calls_total == 0


async def test_an_allowed_host_with_a_private_address_needs_its_own_permission(
    sqlite_url: str,
) -> None:
    async with running(sqlite_url, compatible_hosts={"localhost": {"family": "openai"}}) as on:
        answer = await forward(
            on, "https://localhost/v1/chat/completions", token=on.token(provider_key="sk-own")
        )
        assert answer.status_code == 403
        await on.verified()


async def test_failures_at_once_leave_nothing_held(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on)
        on.provider.fail_next(*[Fault(reset=True), Fault(status=500), Fault(status=429)] * 5)
        answers = await asyncio.gather(*[forward(on, token=token) for _ in range(15)])
        assert sorted(answer.status_code for answer in answers) == [429] * 5 + [500] * 5 + [502] * 5
        await unheld(on, customer, "10")
        await on.verified()
