"""Many calls over one stream: read while there is room, answered as they are done.

Each message is one call of the RPC's handler, and its items share a commit. A
client that reads slowly, or sends more than may be in flight, is held back by
the stream's own flow control: the service stops reading. Unary calls do not feel
them: an open stream takes none of their places, and all streams together work on
a bounded number of items at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message

from lava_grpc.api.defects import defect
from lava_grpc.api.gate import CALLS_MAX, Gate, Room
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.server.calls import (
    Context,
    StreamsCall,
    credential_of,
    refuse,
    timeout_seconds,
    unreadable,
)
from lava_grpc.server.ports import Dispatcher

STREAM_ITEMS_MAX = 1024
"""The most items in flight on one stream, unless said: read, and not yet answered."""

WRITE_BYTES_MAX = 1024 * 1024
"""Answers that are ready together go out in one message up to this size."""


@dataclass(frozen=True, slots=True)
class StreamRpc:
    """A streaming RPC: its name, and what a message of its client is."""

    name: str
    request: type[Message]
    items: str  # the repeated field of the request


class Streams:
    """The streams that are open, so that they can be ended when the service stops."""

    def __init__(self, items_max: int = STREAM_ITEMS_MAX, *, calls_max: int = CALLS_MAX) -> None:
        """`items_max` for one stream; `calls_max` streams, and as many items over all of them."""
        self.items_max = items_max
        self.gate = Gate(calls_max, name="grpc_streams")
        self.room = Room(max(calls_max, items_max))
        self._open: set[_Stream] = set()

    def call(self, rpc: StreamRpc, dispatcher: Dispatcher) -> StreamsCall:
        """What answers `rpc`."""

        async def call(_requests: object, context: Context) -> None:
            try:
                self.gate.enter()
                stream = _Stream(rpc, dispatcher, context, self)
                self._open.add(stream)
                try:
                    await stream.run()
                    return
                finally:
                    self._open.discard(stream)
                    self.gate.leave()
            except Refusal as said:
                refusal = said
            except Exception as error:  # noqa: BLE001 - gRPC would tell the caller what it says
                refusal = defect(rpc.name, error)
            await refuse(context, refusal)

        return call

    def stop(self) -> None:
        """Read no more on any: what is in flight is answered, then each stream ends."""
        for stream in self._open:
            stream.stop()


class _Stream:
    """One stream. A reader hands messages on; what is answered is written here."""

    def __init__(
        self, rpc: StreamRpc, dispatcher: Dispatcher, context: Context, streams: Streams
    ) -> None:
        self._rpc = rpc
        self._dispatcher = dispatcher
        self._context = context
        self._items_max = streams.items_max
        self._all = streams.room
        self._credential = credential_of(context)
        self._in_flight = 0
        self._room = asyncio.Event()
        self._ready: deque[tuple[bytes, int]] = deque()
        self._wake = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._refusal: Refusal | None = None

    async def run(self) -> None:
        """Until the client has said all and everything is answered; raises a Refusal.

        A client that goes away ends it wherever it stands. What was handed on by
        then is seen to its end, though nobody hears of it.
        """
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(lambda _: self._wake.set())
        try:
            await self._write(self._reader)
        finally:
            self._reader.cancel()
        if self._refusal is not None:
            raise self._refusal

    def stop(self) -> None:
        """Read no more."""
        self._end(
            Refusal(
                Reason.OVERLOADED,
                "the service is stopping; repeat what was not answered, with the same request_id",
                facts={"queue": "grpc"},
                retry_after_seconds=1.0,
            )
        )

    async def _read(self) -> None:
        try:
            while True:
                raw: Any = await self._context.read()
                if raw is grpc.aio.EOF:
                    return
                message = self._rpc.request.FromString(raw)
                # An empty one is a call too: it is refused.
                count = max(1, len(getattr(message, self._rpc.items)))
                while self._in_flight and self._in_flight + count > self._items_max:
                    self._room.clear()
                    await self._room.wait()
                # A client that does not read keeps its own room, and none of the others'.
                await self._all.take(count)
                self._in_flight += count
                asking = asyncio.create_task(self._ask(message, count))
                self._asking.add(asking)
                asking.add_done_callback(self._asking.discard)
        except DecodeError:
            self._refusal = unreadable(self._rpc.request)
        except Exception as error:  # noqa: BLE001 - gRPC would tell the caller what it says
            self._refusal = defect(self._rpc.name, error)

    async def _ask(self, message: Message, count: int) -> None:
        try:
            answer = await self._dispatcher.unary(
                self._rpc.name,
                message,
                credential=self._credential,
                timeout_seconds=timeout_seconds(self._context),
            )
            self._ready.append((answer.SerializeToString(), count))
            self._wake.set()
        except Refusal as refusal:
            # The message as a whole: its caller may no longer call, or broke a bound.
            self._in_flight -= count
            self._end(refusal)
        except Exception as error:  # noqa: BLE001 - gRPC would tell the caller what it says
            self._in_flight -= count
            self._end(defect(self._rpc.name, error))
        finally:
            self._all.give(count)

    async def _write(self, reader: asyncio.Task[None]) -> None:
        while True:
            while self._ready:
                raw, count = self._next()
                await self._context.write(raw)
                self._in_flight -= count
                self._room.set()
            if reader.done() and not self._in_flight:
                return
            self._wake.clear()
            await self._wake.wait()

    def _next(self) -> tuple[bytes, int]:
        """What is ready, as one message, and how many items it answers."""
        parts: list[bytes] = []
        size = items = 0
        while self._ready and (not parts or size + len(self._ready[0][0]) <= WRITE_BYTES_MAX):
            raw, count = self._ready.popleft()
            parts.append(raw)
            size += len(raw)
            items += count
        # Encodings of two messages, one after the other, encode both merged: repeated
        # fields follow each other.
        return b"".join(parts), items

    def _end(self, refusal: Refusal) -> None:
        """End with this refusal, unless there is one already, once the rest is answered."""
        if self._refusal is None:
            self._refusal = refusal
        if self._reader is not None:
            self._reader.cancel()
        self._wake.set()
