"""A closed loop of unary gRPC calls: so many in flight, for so long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import grpc.aio


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to. Latencies in milliseconds."""

    calls: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Successful calls a second."""
        return (self.calls - self.errors) / self.seconds


@dataclass(frozen=True, slots=True)
class Then:
    """The call that follows on another one's answer."""

    method: str
    request: Callable[[bytes], bytes]


async def run(
    address: str,
    method: str,
    requests: Iterator[bytes],
    *,
    in_flight: int,
    seconds: float,
    key: str = "",
    then: Then | None = None,
) -> Run:
    """Call `method` with one request after the other, serialized already, and time every call.

    With `then` each call's answer is followed by a call of its own, which counts as one more.
    """
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        follow: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            then.method if then else method
        )
        await channel.channel_ready()
        latencies: list[float] = []
        errors = 0
        end = time.perf_counter() + seconds

        async def worker() -> None:
            nonlocal errors
            while (begun := time.perf_counter()) < end:
                try:
                    answer = await call(next(requests), metadata=metadata)
                    if then is not None:
                        latencies.append(time.perf_counter() - begun)
                        begun = time.perf_counter()
                        await follow(then.request(answer), metadata=metadata)
                except grpc.aio.AioRpcError:
                    errors += 1
                latencies.append(time.perf_counter() - begun)

        started = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(in_flight)])
        elapsed = time.perf_counter() - started
    latencies.sort()
    return Run(
        len(latencies),
        elapsed,
        errors,
        1000 * latencies[len(latencies) // 2],
        1000 * latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
    )
