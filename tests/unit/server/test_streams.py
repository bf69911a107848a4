"""A stream over a dispatcher that tests steer: how much is in flight, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.server.grpc_server import GrpcServer, GrpcSettings
from tests.unit.server.edge import told

STREAM = "/lava.v1.GatewayService/AuthorizeStream"
ITEMS_MAX = 4


class Answering:
    """Answers a message when told to."""

    def __init__(self) -> None:
        self.asked: list[pb.AuthorizeStreamRequest] = []
        self.finished = 0
        self.go = asyncio.Semaphore(0)
        self.changed = asyncio.Condition()
        self.refusals: dict[str, Exception] = {}

    def direct(self, _method: str, _reading: object) -> None:
        """Every call goes the long way."""

    async def unary(
        self, method: str, request: Message, *, credential: str, timeout_seconds: float | None
    ) -> Message:
        assert (method, credential, timeout_seconds) == (STREAM[1:], "key", None)
        assert isinstance(request, pb.AuthorizeStreamRequest)
        async with self.changed:
            self.asked.append(request)
            self.changed.notify_all()
        await self.go.acquire()
        async with self.changed:
            self.finished += 1
            self.changed.notify_all()
        ids = [item.request_id for item in request.requests]
        if ids and (refusal := self.refusals.get(ids[0])) is not None:
            raise refusal
        results = [pb.AuthorizeResult(request_id=ident) for ident in ids]
        return pb.AuthorizeStreamResponse(results=results)

    def forward(
        self, request: pb.ForwardRequest, *, credential: str
    ) -> AsyncIterator[pb.ForwardResponse]:
        raise NotImplementedError

    async def until(self, *, asked: int = 0, finished: int = 0) -> None:
        async with self.changed, asyncio.timeout(10):
            await self.changed.wait_for(
                lambda: len(self.asked) >= asked and self.finished >= finished
            )


class Stream:
    """One stream of a client."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        call: Any = channel.stream_stream(STREAM)
        self.call = call(metadata=(("authorization", "Bearer key"),))

    async def say(self, *idents: str) -> None:
        items = [pb.AuthorizeRequest(request_id=ident) for ident in idents]
        await self.call.write(pb.AuthorizeStreamRequest(requests=items).SerializeToString())

    async def hear(self) -> list[str] | None:
        """The ids of the next message's results; None at the end."""
        raw = await self.call.read()
        if raw is grpc.aio.EOF:
            return None
        return [r.request_id for r in pb.AuthorizeStreamResponse.FromString(raw).results]


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest_asyncio.fixture
async def server(answering: Answering) -> AsyncIterator[GrpcServer]:
    settings = GrpcSettings(stream_items_max=ITEMS_MAX)
    made = GrpcServer(answering, "127.0.0.1:0", settings=settings)
    yield made
    await made.stop(None)


@asynccontextmanager
async def stopped_after(server: GrpcServer) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await server.stop(None)


@pytest_asyncio.fixture
async def stream(server: GrpcServer) -> AsyncIterator[Stream]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await server.start()}") as channel:
        yield Stream(channel)


async def test_no_more_is_in_flight_than_the_bound(stream: Stream, answering: Answering) -> None:
    for number in range(6):
        await stream.say(f"{number}a", f"{number}b")
    await answering.until(asked=2)
    answering.go.release()
    assert await stream.hear() == ["0a", "0b"]
    await answering.until(asked=3)
    assert len(answering.asked) == 3
    for _ in range(5):
        answering.go.release()
    await stream.call.done_writing()
    heard: list[str] = []
    while (ids := await stream.hear()) is not None:
        heard += ids
    assert heard == [f"{number}{letter}" for number in range(1, 6) for letter in "ab"]


async def test_a_message_larger_than_the_bound_goes_alone(
    stream: Stream, answering: Answering
) -> None:
    await stream.say("a")
    await stream.say(*"bcdefg")
    await answering.until(asked=1)
    answering.go.release()
    assert await stream.hear() == ["a"]
    answering.go.release()
    assert await stream.hear() == list("bcdefg")


async def test_answers_that_are_ready_together_are_written_together(
    stream: Stream, answering: Answering
) -> None:
    for ident in "abc":
        await stream.say(ident)
    await answering.until(asked=3)
    for _ in range(3):
        answering.go.release()
    heard: list[list[str]] = []
    while sum(len(ids) for ids in heard) < 3:
        heard.append(await stream.hear() or [])
    assert sorted([ident for ids in heard for ident in ids]) == ["a", "b", "c"]
    assert len(heard) < 3


async def test_a_refused_message_ends_the_stream_when_the_rest_is_answered(
    stream: Stream, answering: Answering
) -> None:
    answering.refusals["b"] = Refusal(Reason.INVALID_CREDENTIALS, "revoked")
    await stream.say("b")
    await stream.say("a")
    await answering.until(asked=2)
    answering.go.release()
    await answering.until(finished=1)
    answering.go.release()
    assert await stream.hear() == ["a"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.hear()
    assert told(caught.value).message == "revoked"


async def test_a_defect_is_told_without_its_words(stream: Stream, answering: Answering) -> None:
    answering.refusals["a"] = ValueError("a secret")
    answering.go.release()
    await stream.say("a")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.hear()
    assert told(caught.value).message == "internal error"


async def test_bytes_that_are_no_message_end_the_stream(stream: Stream) -> None:
    await stream.call.write(b"\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.hear()
    assert told(caught.value).reason is Reason.INVALID_FIELD


async def test_what_was_handed_on_is_finished_though_the_client_has_gone(
    stream: Stream, server: GrpcServer, answering: Answering
) -> None:
    await stream.say("a")
    await answering.until(asked=1)
    stream.call.cancel()
    async with asyncio.timeout(10):
        while server.in_flight:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
    answering.go.release()
    await answering.until(finished=1)


async def test_open_streams_take_no_place_of_a_unary_call(answering: Answering) -> None:
    server = GrpcServer(answering, "127.0.0.1:0", settings=GrpcSettings(calls_max=3))
    async with (
        stopped_after(server),
        grpc.aio.insecure_channel(f"127.0.0.1:{await server.start()}") as channel,
    ):
        streams = [Stream(channel) for _ in range(3)]
        for number, stream in enumerate(streams):
            await stream.say(f"{number}")
        await answering.until(asked=3)
        call: Any = channel.unary_unary("/lava.v1.GatewayService/Authorize")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff")
        assert told(caught.value).reason is Reason.INVALID_FIELD
        one_more = Stream(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one_more.hear()
        assert told(caught.value).reason is Reason.OVERLOADED
        assert told(caught.value).facts == {"queue": "grpc_streams"}
        for _ in streams:
            answering.go.release()
        assert [await stream.hear() for stream in streams] == [["0"], ["1"], ["2"]]


async def test_all_streams_together_work_on_so_many_items(answering: Answering) -> None:
    settings = GrpcSettings(calls_max=4, stream_items_max=3)
    server = GrpcServer(answering, "127.0.0.1:0", settings=settings)
    async with (
        stopped_after(server),
        grpc.aio.insecure_channel(f"127.0.0.1:{await server.start()}") as channel,
    ):
        one, other = Stream(channel), Stream(channel)
        await one.say(*"abc")
        await answering.until(asked=1)
        await other.say(*"de")
        await one.say("f")
        answering.go.release()
        assert await one.hear() == list("abc")
        await answering.until(asked=3)
        for _ in range(2):
            answering.go.release()
        # What a client has not read yet is in nobody else's way.
        assert await other.hear() == list("de")
        for stream in (one, other):
            await stream.call.done_writing()
        assert (await one.hear(), await one.hear(), await other.hear()) == (["f"], None, None)
    assert answering.finished == len(answering.asked) == 3
