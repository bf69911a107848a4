"""`/v1/forward` over a real connection: streaming, slow clients, hanging up, breaking off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
import pytest
import uvicorn
from lava.v1 import gateway_service_pb2 as pb
from typing_extensions import override

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest.app import build_app
from tests.unit.rest.fakes import FakeDispatcher, chunk, head, summary

CALL = "/v1/forward?u=https://api.openai.com/v1/chat/completions"
PATIENCE_SECONDS = 10


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextlib.asynccontextmanager
async def serve(fake: FakeDispatcher) -> AsyncIterator[str]:
    config = uvicorn.Config(
        build_app(fake),
        host="127.0.0.1",
        port=0,
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    # Its signal handlers belong to a process of its own.
    task = asyncio.create_task(server._serve())  # noqa: SLF001
    try:
        await server.ready.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def until_closed(fake: FakeDispatcher) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await fake.closed.wait()


async def test_chunks_arrive_as_they_are_made() -> None:
    go_on = asyncio.Event()

    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        yield head(content_type="text/event-stream")
        yield chunk(b"data: 1\n\n")
        await go_on.wait()
        yield chunk(b"data: 2\n\n")
        yield summary()

    fake = FakeDispatcher(script=script)
    async with serve(fake) as base, httpx.AsyncClient(base_url=base) as http:
        async with http.stream("POST", CALL, content=b"{}") as response:
            chunks = response.aiter_raw()
            # The second is made only after the first was read here.
            assert await anext(chunks) == b"data: 1\n\n"
            go_on.set()
            assert await anext(chunks) == b"data: 2\n\n"
            assert [rest async for rest in chunks] == []
        await until_closed(fake)
        assert response.headers["x-lava-request-id"] == "req_1"
        assert "server" not in response.headers


async def test_a_head_does_not_wait_for_a_slow_body() -> None:
    go_on = asyncio.Event()

    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        yield head(content_type="text/event-stream")
        await go_on.wait()
        yield chunk(b"data: 1\n\n")
        yield summary()

    fake = FakeDispatcher(script=script)
    async with (
        serve(fake) as base,
        httpx.AsyncClient(base_url=base) as http,
        http.stream("POST", CALL, content=b"{}") as response,
    ):
        # The body is made only after the head was read here.
        assert response.status_code == 200
        go_on.set()
        assert await response.aread() == b"data: 1\n\n"


async def test_an_answer_that_breaks_off_right_after_its_head_is_told_as_a_refusal() -> None:
    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        yield head()
        raise Refusal(Reason.UPSTREAM_FAILED, "the provider broke off")

    fake = FakeDispatcher(script=script)
    async with serve(fake) as base, httpx.AsyncClient(base_url=base) as http:
        response = await http.post(CALL, content=b"{}")
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_failed"


async def test_a_client_that_hangs_up_mid_stream_closes_the_call() -> None:
    cancelled = asyncio.Event()

    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        yield head()
        yield chunk(b"first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    fake = FakeDispatcher(script=script)
    async with serve(fake) as base:
        async with (
            httpx.AsyncClient(base_url=base) as http,
            http.stream("POST", CALL) as response,
        ):
            assert await anext(response.aiter_raw()) == b"first"
        await until_closed(fake)
    assert cancelled.is_set()


async def test_a_client_that_hangs_up_before_the_head_closes_the_call() -> None:
    reached = asyncio.Event()

    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        reached.set()
        await asyncio.Event().wait()
        yield summary()

    fake = FakeDispatcher(script=script)
    async with serve(fake) as base, httpx.AsyncClient(base_url=base) as http:
        call = asyncio.create_task(http.post(CALL))
        await reached.wait()
        call.cancel()
        await until_closed(fake)


async def test_a_client_that_does_not_read_holds_the_stream_back() -> None:
    made = 0
    stuck, reads = asyncio.Event(), asyncio.Event()

    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        nonlocal made
        del request
        yield head()
        for _ in range(100):
            made += 1
            yield chunk(b"x")
        yield summary()

    async def receive() -> MutableMapping[str, Any]:
        if made:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b""}

    async def send(event: MutableMapping[str, Any]) -> None:
        if event["type"] == "http.response.body":
            stuck.set()
            await reads.wait()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/forward/https://api.openai.com/v1/x",
        "query_string": b"",
        "headers": [],
    }
    call = asyncio.create_task(build_app(FakeDispatcher(script=script))(scope, receive, send))
    await stuck.wait()
    for _ in range(20):
        # Turns of the loop in which a relay without back-pressure would go on.
        await asyncio.sleep(0)
    assert made == 1
    reads.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await call
    assert made == 100


@pytest.mark.parametrize(
    "failure", [Refusal(Reason.UPSTREAM_FAILED, "gone"), RuntimeError("a defect"), None]
)
@pytest.mark.parametrize("length", [None, "100"])
async def test_a_failure_after_the_head_is_no_clean_end(
    failure: Exception | None, length: str | None
) -> None:
    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        yield head() if length is None else head(content_length=length)
        yield chunk(b"partial")
        if failure is not None:
            raise failure

    fake = FakeDispatcher(script=script)
    async with serve(fake) as base, httpx.AsyncClient(base_url=base) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(CALL)
        await until_closed(fake)


async def test_a_connection_carries_the_next_call() -> None:
    fake = FakeDispatcher()
    async with serve(fake) as base, httpx.AsyncClient(base_url=base) as http:
        for body in (b"one", b"two" * 100_000, b"three"):
            response = await http.post(CALL, content=body)
            assert response.content == body
        assert (await http.head(CALL)).content == b""
        assert (await http.get("/healthz")).status_code == 200
        refused = await http.post("/v1/forward")
        assert refused.status_code == 400
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_ends_at_once(status: int) -> None:
    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        yield head(status, content_length="5")
        yield summary()

    fake = FakeDispatcher(script=script)
    async with serve(fake) as base, httpx.AsyncClient(base_url=base) as http:
        for _ in range(2):
            response = await http.get(CALL)
            assert response.status_code == status
            assert response.content == b""


async def test_a_client_that_hangs_up_while_sending_is_forgotten() -> None:
    fake = FakeDispatcher()
    async with serve(fake) as base:
        host, port = base.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {CALL} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx".encode())
        await writer.drain()
        writer.close()
        async with httpx.AsyncClient(base_url=base) as http:
            assert (await http.get("/healthz")).status_code == 200
    assert fake.forwarded == []
