"""Clients that go away: their calls are read to the usage, and settled."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import AsyncExitStack

import httpx
import pytest

from lava_grpc.testing import Fault
from lava_grpc.testing.fake_provider.call import Outcome
from tests.integration.forward.calls import (
    CHAT,
    chat,
    encoded,
    hung_up,
    opened,
    path,
    paying,
    record_when_there,
    released_when_there,
    request,
    sent_headers,
)
from tests.support.service import Running, running

STREAM = chat(stream=True)


async def _gone_http(on: Running, token: str, request_id: str) -> None:
    async with hung_up(on, STREAM, request_id, token):
        pass


async def _gone_grpc(on: Running, customer: str, request_id: str) -> None:
    asked = request(
        body=STREAM, request_id=request_id, customer_id=customer, meter_slug="per-token"
    )
    call = opened(on, asked)
    async for part in call:
        if part.WhichOneof("part") == "chunk":
            break
    call.cancel()


@pytest.mark.parametrize("edge", ["rest", "grpc"])
async def test_a_stream_without_its_client_is_read_to_its_usage(
    database_url: str, edge: str
) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on)
        on.provider.fault = Fault(pause_after=4)
        if edge == "rest":
            await _gone_http(on, token, "gone")
        else:
            await _gone_grpc(on, customer, "gone")
        on.provider.resume()
        record = await record_when_there(on, "gone")

        assert on.provider.calls[0].outcome is Outcome.ANSWERED
        assert not record.get("flags")
        usage = record["model_usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (3, 12)
        assert record["charge"]["amount"] == "0.0150000000"
        await on.verified()


@pytest.mark.parametrize("edge", ["rest", "grpc"])
async def test_past_the_bound_the_provider_is_stopped(database_url: str, edge: str) -> None:
    async with running(database_url, drain_seconds=0.3) as on:
        customer, token = await paying(on)
        on.provider.fault = Fault(endless=True, chunk_delay_ms=5)
        if edge == "rest":
            await _gone_http(on, token, "endless")
        else:
            await _gone_grpc(on, customer, "endless")
        record = await record_when_there(on, "endless")

        await on.provider.until(lambda: on.provider.calls[0].outcome is Outcome.GONE)
        assert record["flags"] == ["estimated"]
        assert record["model_usage"]["output_tokens"] > 0
        assert record["charge"]["amount"] != "0.0000000000"
        await on.verified()


async def test_by_policy_the_provider_is_stopped_at_once(sqlite_url: str) -> None:
    async with running(sqlite_url, on_gone="cancel", drain_seconds=600) as on:
        _, token = await paying(on)
        on.provider.fault = Fault(pause_after=8)
        await _gone_http(on, token, "cut")
        record = await record_when_there(on, "cut")
        assert on.provider.calls[0].outcome is Outcome.GONE
        assert record["flags"] == ["estimated"]
        await on.verified()


@pytest.mark.parametrize("on_gone", ["drain", "cancel"])
async def test_a_client_that_goes_before_the_head_leaves_a_call_that_is_charged(
    sqlite_url: str, on_gone: str
) -> None:
    async with running(sqlite_url, on_gone=on_gone) as on:
        _, token = await paying(on)
        on.provider.fault = Fault(delay_ms=400)
        headers = sent_headers(on, token, {"idempotency-key": "early"})
        async with httpx.AsyncClient(base_url=on.http_url) as client:
            call = asyncio.create_task(
                client.post(path(CHAT), content=encoded(None), headers=headers)
            )
            await on.provider.until(lambda: on.provider.calls_total == 1)
            call.cancel()
            await asyncio.wait([call])
        record = await record_when_there(on, "early")
        # What is out may be billed: with its answer by that, else by estimate.
        assert bool(record.get("flags")) is (on_gone == "cancel")
        assert record["model_usage"].get("output_tokens", 0) == (12 if on_gone == "drain" else 0)
        assert record["model_usage"]["input_tokens"] > 0
        await on.verified()


async def test_a_client_that_goes_while_its_hold_is_placed_is_not_charged(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on)
        blocker = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        async with httpx.AsyncClient(base_url=on.http_url, timeout=0.3) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(
                    path(CHAT), content=encoded(None), headers=sent_headers(on, token)
                )
        blocker.execute("ROLLBACK")
        blocker.close()
        await released_when_there(on, customer)
        assert on.provider.calls_total == 0
        assert (await on.balance(customer))["balance"] == "10.0000000000"
        await on.verified()


async def test_a_hundred_clients_that_hang_up_do_not_delay_a_health_check(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        _, token = await paying(on, credit="1000")
        on.provider.fault = Fault(pause_after=4, words=400)
        async with AsyncExitStack() as clients:
            await asyncio.gather(
                *[
                    clients.enter_async_context(hung_up(on, STREAM, f"many-{n}", token))
                    for n in range(100)
                ]
            )
            closing = asyncio.create_task(clients.pop_all().aclose())
            on.provider.resume()
            slowest = 0.0
            for _ in range(30):
                begun = time.perf_counter()
                assert (await on.http.get("/healthz")).status_code == 200
                slowest = max(slowest, time.perf_counter() - begun)
            await closing
        assert slowest < 1
        for number in range(100):
            record = await record_when_there(on, f"many-{number}")
            assert not record.get("flags")
            assert record["model_usage"]["output_tokens"] == 100
        await on.verified()
