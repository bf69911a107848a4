"""The fake's own HTTP/1.1, so that a broken answer can be broken exactly where it should be."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httptools
from typing_extensions import override

from lava_grpc.testing.fake_provider.call import Outcome, SeenCall

BODY_BYTES_MAX = 64 * 1024 * 1024
"""The largest request; the connection of a larger one is reset."""

Serve = Callable[[SeenCall, "Connection"], Coroutine[Any, Any, None] | None]
"""Answers a call: at once, or with a coroutine that does."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """One client's connection. Calls on it are answered one after another."""

    def __init__(
        self,
        serve: Serve,
        number: int,
        gone: Callable[[Connection], None],
        changed: Callable[[], None],
    ) -> None:
        self._serve = serve
        self._number = number
        self._gone = gone
        self._changed = changed
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[SeenCall] = deque()
        self._current: SeenCall | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        if self._task is not None:
            self._task.cancel()
        if self._current is not None:
            self._current.ended(Outcome.GONE)
        self._gone(self)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.reset()

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > BODY_BYTES_MAX:
            self.reset()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._waiting.append(
            SeenCall(
                method=self._parser.get_method().decode(),
                path=self._url.decode("latin-1"),
                headers=tuple(self._headers),
                body=b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
                connection=self._number,
                changed=self._changed,
            )
        )
        self._url, self._headers, self._body, self._body_bytes = b"", [], [], 0
        self._answer_next()

    def write(self, data: bytes) -> None:
        """Send bytes, if the client is still there."""
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written."""
        await self._writable.wait()
        # Let the loop see whether the client is still there.
        await asyncio.sleep(0)

    def answered(self, call: SeenCall) -> None:
        """The answer is complete."""
        self._current = None
        if not call.keep_alive:
            self.close()
        call.ended(Outcome.ANSWERED)

    def cut(self, call: SeenCall) -> None:
        """Close in the midst of the answer: what was written still arrives."""
        call.ended(Outcome.CUT)
        self.close()

    def close(self) -> None:
        """Close once everything is written."""
        if self._transport is not None:
            self._transport.close()

    def reset(self, call: SeenCall | None = None) -> None:
        """Close with a TCP reset: the client loses what it has not read."""
        if call is not None:
            call.ended(Outcome.CUT)
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()

    def _answer_next(self) -> None:
        while self._waiting and self._current is None:
            self._current = call = self._waiting.popleft()
            playing = self._serve(call, self)
            if playing is not None:
                self._task = asyncio.get_running_loop().create_task(playing)
                self._task.add_done_callback(self._played)

    def _played(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.reset(self._current)
            raise error
        self._answer_next()
