"""Unary gRPC calls over HTTP/2 by hand, for as little processor time as there is.

A client of grpc.aio costs as much for each call as the server does: offered twice the
server's peak, it takes from a machine with few cores what the server would answer with.
Here a call is two frames that are mostly made beforehand, and all that fall due together
leave in one write. It speaks just enough HTTP/2 to a server of ours on loopback.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from grpc import StatusCode
from typing_extensions import override

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_HEADER_BYTES = 9
_WINDOW = 2**31 - 1
_WINDOW_AT_FIRST = 65_535
_STREAM_MAX = 2**31 - 1
# Response headers that name nothing sent before: the same bytes then mean the same.
_OUR_SETTINGS = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _WINDOW)

_STATUS = b"grpc-status"
_HUFFMAN = 0x80
_CODES = {code.value[0]: code.name for code in StatusCode}
# What gRPC takes an HTTP/2 error for, where a stream ends without a status.
_RESETS = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED"}

Ended = Callable[[float, str], None]
"""Told when a call that began at this time has ended, and its status code's name."""


class Connection(asyncio.Protocol):
    """One connection, whose calls are all of one method, with one credential and time-out."""

    def __init__(self, method: str, key: str, timeout_seconds: float, ended: Ended) -> None:
        self._headers = _request_headers(method, key, timeout_seconds)
        self._ended = ended
        self._stream = -1
        self._begun: dict[int, float] = {}
        self._codes: dict[bytes, str] = {}
        self._window = _WINDOW_AT_FIRST
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._out: list[bytes] = []
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None
        self.ready = asyncio.Event()

    @classmethod
    async def open(
        cls, address: str, method: str, *, key: str, timeout_seconds: float, ended: Ended
    ) -> Self:
        """Connect, and wait for the server's settings."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(method, key, timeout_seconds, ended), host, int(port)
        )
        async with asyncio.timeout(10):
            await connection.ready.wait()
        return connection

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._begun)

    def call(self, message: bytes) -> None:
        """Begin a call; it leaves with the next `flush`."""
        self._stream += 2
        self._begun[self._stream] = time.perf_counter()
        body = b"\0" + len(message).to_bytes(4) + message
        if self._waiting or len(body) > self._window:
            self._waiting.append((self._stream, body))
        else:
            self._send(self._stream, body)

    def flush(self) -> None:
        """Send what was begun."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def close(self) -> None:
        """Leave; calls that have not ended never do."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.WriteTransport):
            raise TypeError(transport)
        self._transport = transport
        wider = (_WINDOW - _WINDOW_AT_FIRST).to_bytes(4)
        transport.write(
            _PREFACE + _frame(_SETTINGS, 0, 0, _OUR_SETTINGS) + _frame(_WINDOW_UPDATE, 0, 0, wider)
        )

    @override
    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= _HEADER_BYTES:
            size = int.from_bytes(data[at : at + 3])
            end = at + _HEADER_BYTES + size
            if end > len(data):
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind != _DATA:
                stream = int.from_bytes(data[at + 5 : at + 9])
                self._received(kind, flags, stream, data[at + _HEADER_BYTES : end])
            at = end
        self._rest = data[at:]
        self.flush()

    def _received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _HEADERS:
            if flags & _END_STREAM:
                self._end(stream, self._code(payload))
        elif kind == _RST_STREAM:
            self._end(stream, _RESETS.get(int.from_bytes(payload), "UNKNOWN"))
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload)
            while self._waiting and len(self._waiting[0][1]) <= self._window:
                self._send(*self._waiting.popleft())
        elif kind == _SETTINGS and not flags & _ACK:
            self._out.append(_frame(_SETTINGS, _ACK, 0, b""))
            self.ready.set()
        elif kind == _PING and not flags & _ACK:
            self._out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            raise ConnectionError("the server ended the connection")

    def _end(self, stream: int, code: str) -> None:
        begun = self._begun.pop(stream, None)
        if begun is not None:
            self._ended(begun, code)

    def _code(self, block: bytes) -> str:
        """The status code in trailers; each block of bytes is looked into once."""
        code = self._codes.get(block)
        if code is None:
            at = block.index(_STATUS) + len(_STATUS)
            size, value = block[at], block[at + 1 :]
            if size & _HUFFMAN:
                raise ValueError("a status in Huffman's code")
            code = self._codes[block] = _CODES[int(value[:size])]
        return code

    def _send(self, stream: int, body: bytes) -> None:
        self._window -= len(body)
        self._out += (
            _frame(_HEADERS, _END_HEADERS, stream, self._headers),
            _frame(_DATA, _END_STREAM, stream, body),
        )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _request_headers(method: str, key: str, timeout_seconds: float) -> bytes:
    """A header block of literals alone, which no table remembers."""
    named = (
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", f"{round(timeout_seconds * 1000)}m"),
        ("authorization", f"Bearer {key}"),
    )
    post, http = b"\x83", b"\x86"
    path, authority = b"\x04" + _text(method), b"\x01" + _text("localhost")
    return (
        post
        + http
        + path
        + authority
        + b"".join(b"\0" + _text(name) + _text(value) for name, value in named if value)
    )


def _text(value: str) -> bytes:
    raw = value.encode()
    if len(raw) >= 127:  # noqa: PLR2004 - what seven bits hold
        return b"\x7f" + bytes((len(raw) - 127,)) + raw
    return bytes((len(raw),)) + raw
