"""Closed loops of holds, many to a message: BatchAuthorize and AuthorizeStream.

Every result is looked at: only holds that were placed count.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

import grpc.aio
from lava.v1 import gateway_service_pb2 as pb

BATCH_AUTHORIZE = "/lava.v1.GatewayService/BatchAuthorize"
AUTHORIZE_STREAM = "/lava.v1.GatewayService/AuthorizeStream"

BATCH_ITEMS = 500
BATCHES_IN_FLIGHT = 3
STREAMS = 2
MESSAGE_ITEMS = 250
MESSAGES_IN_FLIGHT = 4

_OPTIONS = (("grpc.max_receive_message_length", 64 * 1024 * 1024),)


async def batches(address: str, items: Sequence[bytes], *, seconds: float, key: str) -> float:
    """Holds a second in batches. `items` are requests, serialized, that name no id."""
    metadata = (("authorization", f"Bearer {key}"),)
    source = itertools.cycle([pb.AuthorizeRequest.FromString(item) for item in items])
    raw = pb.BatchAuthorizeRequest(
        requests=itertools.islice(source, BATCH_ITEMS)
    ).SerializeToString()
    placed = 0
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        await channel.channel_ready()
        call: Any = channel.unary_unary(BATCH_AUTHORIZE)
        begun = time.perf_counter()

        async def worker() -> None:
            nonlocal placed
            while time.perf_counter() < begun + seconds:
                answer = pb.BatchAuthorizeResponse.FromString(await call(raw, metadata=metadata))
                placed += _placed(answer.results)

        await asyncio.gather(*[worker() for _ in range(BATCHES_IN_FLIGHT)])
        return placed / (time.perf_counter() - begun)


async def streams(address: str, items: Sequence[bytes], *, seconds: float, key: str) -> float:
    """Holds a second over streams, each with some messages in flight."""
    metadata = (("authorization", f"Bearer {key}"),)
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        await channel.channel_ready()
        begun = time.perf_counter()
        counts = await asyncio.gather(
            *[
                _one(channel, items, begun + seconds, f"{begun}-{n}", metadata)
                for n in range(STREAMS)
            ]
        )
        return sum(counts) / (time.perf_counter() - begun)


async def _one(
    channel: grpc.aio.Channel,
    items: Sequence[bytes],
    end: float,
    name: str,
    metadata: tuple[tuple[str, str], ...],
) -> int:
    call: Any = channel.stream_stream(AUTHORIZE_STREAM)(metadata=metadata)
    source = itertools.cycle([pb.AuthorizeRequest.FromString(item) for item in items])
    message = pb.AuthorizeStreamRequest(requests=itertools.islice(source, MESSAGE_ITEMS))
    numbers = itertools.count()
    room = asyncio.Semaphore(MESSAGES_IN_FLIGHT)
    waiting: set[str] = set()

    async def write() -> None:
        while time.perf_counter() < end:
            await room.acquire()
            for item in message.requests:
                item.request_id = f"{name}-{next(numbers)}"
                waiting.add(item.request_id)
            await call.write(message.SerializeToString())
        await call.done_writing()

    writing = asyncio.create_task(write())
    placed = answered = 0
    while (raw := await call.read()) is not grpc.aio.EOF:
        answer = pb.AuthorizeStreamResponse.FromString(raw)
        placed += _placed(answer.results)
        for result in answer.results:
            waiting.remove(result.request_id)
        answered += len(answer.results)
        while answered >= MESSAGE_ITEMS:
            answered -= MESSAGE_ITEMS
            room.release()
    await writing
    if waiting:
        raise SystemExit(f"{len(waiting)} requests of a stream were not answered")
    return placed


def _placed(results: Sequence[pb.AuthorizeResult]) -> int:
    for result in results:
        if result.WhichOneof("result") != "authorized":
            raise SystemExit(f"a hold was refused: {result.error.message}")
    return len(results)
