"""HTTP as ASGI gives it: a request's parts, its body within bounds, a whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lava_grpc.core.errors import Refusal, invalid

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

JSON_TYPE = "application/json"


class ClientGone(Exception):  # noqa: N818 - nobody is left to tell of an error
    """The client hung up; there is nobody to answer."""


class BodyRefused(Refusal):
    """The body was not read to its end, so the connection cannot carry another request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `headers` come beside content-type and content-length."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE


class Incoming:
    """One request: its line and headers at once, its body when asked for."""

    __slots__ = ("headers", "method", "path", "query", "raw_headers", "receive")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.receive = receive
        self.method: str = scope["method"]
        # As it was sent: a %2F in a segment is no separator. Not every server gives it.
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.path = raw.decode("latin-1")
        self.query: str = scope["query_string"].decode("latin-1")
        self.raw_headers: RawHeaders = scope["headers"]
        self.headers: dict[str, str] = {}
        for name, value in self.raw_headers:
            # Of two equal headers the first counts, so that a later one cannot replace it.
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))


async def read_body(request: Incoming, *, bytes_max: int, seconds_max: float) -> bytes:
    """The whole body.

    Raises INVALID_FIELD for `body` when it is larger or slower than the
    limits, and ClientGone.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > bytes_max:
        raise _refused(f"has more than {bytes_max} bytes")
    event = await request.receive()
    if event["type"] == "http.request" and not event.get("more_body"):
        return _checked(event.get("body", b""), bytes_max)
    try:
        async with asyncio.timeout(seconds_max):
            return await _read_rest(request.receive, event, bytes_max)
    except TimeoutError:
        raise _refused(f"did not arrive within {seconds_max:g} seconds") from None


async def send_answer(send: Send, answer: Answer) -> None:
    """Send it whole."""
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *((name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _read_rest(receive: Receive, event: Event, bytes_max: int) -> bytes:
    whole = bytearray()
    while event["type"] == "http.request":
        whole += event.get("body", b"")
        _checked(whole, bytes_max)
        if not event.get("more_body"):
            return bytes(whole)
        event = await receive()
    raise ClientGone


def _checked(body: bytes | bytearray, bytes_max: int) -> bytes:
    if len(body) > bytes_max:
        raise _refused(f"has more than {bytes_max} bytes")
    return bytes(body)


def _refused(why: str) -> BodyRefused:
    said = invalid("body", why)
    return BodyRefused(said.reason, said.message, field=said.field)
