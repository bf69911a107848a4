from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.rest.app import RestSettings
from tests.unit.rest.fakes import FakeDispatcher, chunk, client, head, summary

FORWARD = "/v1/forward/openai/v1/chat/completions"


async def test_calls_past_the_bound_are_told_to_come_back_and_health_still_answers() -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def waits(_: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        entered.set()
        await go.wait()
        yield head()
        yield chunk(b"ok")
        yield summary()

    dispatcher = FakeDispatcher(script=waits)
    async with client(dispatcher, RestSettings(calls_max=1)) as http:
        first = asyncio.create_task(http.post(FORWARD, content=b"{}"))
        await entered.wait()
        refused = await http.get("/v1/meters")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.json()["error"]["details"] == {"queue": "rest"}
        assert refused.headers["retry-after"] == "1"
        assert (await http.get("/healthz")).status_code == 200
        go.set()
        assert (await first).content == b"ok"
        assert (await http.get("/v1/meters")).status_code == 200
