"""A provider that costs next to nothing: `python -m benchmarks.upstream`, prints its port.

Every POST gets one fixed chat completion; one whose body asks for a stream gets it in
events, the first at once. `x-bench-hold: 1` in a streaming call keeps the answer open
after its first event until the caller hangs up. Ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop
from typing_extensions import override

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USAGE = {"prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28}
_CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": "It is a benchmark, so this is all I say."},
    "finish_reason": "stop",
}
_BODY = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [_CHOICE],
        "usage": _USAGE,
    }
).encode()
WHOLE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
) + _BODY
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    made = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1}
    text = json.dumps(made | {"model": "gpt-4o-mini", "choices": choices} | more)
    data = b"data: %s\n\n" % text.encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


FIRST = _event([{"index": 0, "delta": {"role": "assistant", "content": "It"}}])
_DONE = b"data: [DONE]\n\n"
REST = (
    _event([{"index": 0, "delta": {"content": " is."}, "finish_reason": "stop"}])
    + _event([], usage=_USAGE)
    + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_DONE), _DONE)
)


class Provider(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._read = b""
        self._transport: asyncio.WriteTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # libuv's loop has transports of its own class.
        self._transport = cast("asyncio.WriteTransport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            found = _LENGTH.search(head)
            whole = end + 4 + (int(found.group(1)) if found else 0)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if self._transport is None:
            return
        if b'"stream": true' not in body and b'"stream":true' not in body:
            self._transport.write(WHOLE)
        elif b"x-bench-hold: 1" in head.lower():
            self._transport.write(_STREAM_HEAD + FIRST)
        else:
            self._transport.write(_STREAM_HEAD + FIRST + REST)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve())
