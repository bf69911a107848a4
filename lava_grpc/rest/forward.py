"""`ANY /v1/forward`: the provider's answer, status, headers and bytes, as it arrives.

Written to ASGI directly: a chunk costs one `send`, which waits while the client
reads too slowly, so that nothing piles up here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.credentials import find_credential
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest.errors import CLAMPED_HEADER, REQUEST_ID_HEADER
from lava_grpc.rest.forward_request import HOP_BY_HOP, forward_request
from lava_grpc.rest.http import (
    ClientGone,
    Event,
    Incoming,
    RawHeaders,
    Receive,
    Send,
    read_body,
)
from lava_grpc.rest.ports import Dispatcher
from lava_grpc.rest.shaped import Choose, ours_in, placed
from lava_grpc.rest.target import FORWARD_PATH, Target, read_target

FORWARD_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))

HEAD_SECONDS_MAX = 0.005
"""How long a head waits for the first bytes of its body."""

_log = logging.getLogger("lava_grpc.rest")

_OURS = frozenset((REQUEST_ID_HEADER, CLAMPED_HEADER))
_NO_BODY = frozenset((204, 304))
# A provider may let browsers in; with our credentials nobody does.
_CORS = "access-control-"


def is_forward(path: str) -> bool:
    """Whether the path is the gateway's."""
    return path == FORWARD_PATH or path.startswith(f"{FORWARD_PATH}/")


class Forwarder:
    """Relays calls. `bases` maps provider aliases to base URLs."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        bases: Mapping[str, str],
        body_bytes_max: int,
        body_seconds_max: float,
        choose: Choose | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._bases = bases
        self._body_bytes_max = body_bytes_max
        self._body_seconds_max = body_seconds_max
        self._choose = choose

    async def __call__(self, request: Incoming, send: Send) -> None:
        """Relay one call, and return when it ended or the client is gone.

        Raises whatever went wrong before the answer began. After that a failure
        ends the call without completing the answer: the server then breaks the
        connection off, and the client sees that something is missing.
        """
        target = read_target(request.path, request.query, self._bases)
        message = forward_request(request, target, await self._body(request))
        await self._forwarded(request, send, target, message)

    async def shaped(self, request: Incoming, send: Send) -> None:
        """As a call of itself, to the provider that the body's model stands for."""
        if self._choose is None:
            raise Refusal(Reason.NOT_IMPLEMENTED, "this service finds no providers by model")
        target, message = await self._chosen(request, self._choose)
        await self._forwarded(request, send, target, message)

    async def _chosen(self, request: Incoming, choose: Choose) -> tuple[Target, pb.ForwardRequest]:
        body = await self._body(request)
        # Nothing is read out of a stranger's body.
        credential = find_credential(request.headers, ours_in(request.query))
        await self._dispatcher.authenticate(credential or "")
        call = await placed(choose, request.path, request.query, body)
        return call.target, forward_request(request, call.target, call.body)

    async def _body(self, request: Incoming) -> bytes:
        return await read_body(
            request, bytes_max=self._body_bytes_max, seconds_max=self._body_seconds_max
        )

    async def _forwarded(
        self, request: Incoming, send: Send, target: Target, message: pb.ForwardRequest
    ) -> None:
        credential = find_credential(request.headers, target.ours)
        parts = self._dispatcher.forward(message, credential=credential or "", in_full=False)
        relay = asyncio.create_task(_Relay(parts, send).run())
        gone = asyncio.create_task(_disconnected(request.receive))
        try:
            await asyncio.wait((relay, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Whoever is still running ends here, and not after this call.
            gone.cancel()
            relay.cancel()
            await asyncio.wait((relay, gone))
        if not relay.cancelled():
            _in_callers_words(relay)


class _Relay:
    def __init__(self, parts: AsyncIterator[pb.ForwardResponse], send: Send) -> None:
        self._parts = parts
        self._send = send
        self._started = False
        self._summarized = False
        self._head: Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            await self._pass_on()
        except ClientGone:
            raise
        except Exception as error:
            if not self._started:
                raise
            # The answer stays open: see Forwarder.
            reason = error.reason if isinstance(error, Refusal) else None
            _log.warning(
                "a forwarded call broke off after its head: %s",
                reason or type(error).__name__,
                exc_info=None if reason else error,
            )
        finally:
            await self._close()

    async def _pass_on(self) -> None:
        async for part in self._parts:
            match part.WhichOneof("part"):
                case "chunk":
                    await self._start()
                    await self._push(
                        {"type": "http.response.body", "body": part.chunk, "more_body": True}
                    )
                case "head":
                    self._hold_back(_start(part.head))
                case "summary":
                    self._summarized = True
                case _:
                    pass
        if not self._summarized:
            raise RuntimeError("a forwarded call ended without its summary")
        await self._start()
        await self._push({"type": "http.response.body", "body": b"", "more_body": False})

    def _hold_back(self, head: Event) -> None:
        """Keep the head for a moment: with the body's first bytes it leaves in one write."""
        self._head = head
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS_MAX, self._start_late)

    def _start_late(self) -> None:
        self._late = asyncio.create_task(self._begin())

    async def _start(self) -> None:
        """Send the head, if that is still to be done."""
        if self._late is not None:
            late, self._late = self._late, None
            await late
        await self._begin()

    async def _begin(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._started = True
            await self._push(head)

    async def _push(self, event: Event) -> None:
        try:
            await self._send(event)
        except OSError:
            # Some servers say in this way that the client is gone.
            raise ClientGone from None

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._late is not None:
            # It fails where the client has gone, and who closes knows that.
            self._late.cancel()
            await asyncio.gather(self._late, return_exceptions=True)
        if (close := getattr(self._parts, "aclose", None)) is not None:
            await close()


def _in_callers_words(relay: asyncio.Task[None]) -> None:
    """Raise what the relay raised; REST's name for the RPC's `url` is `u`."""
    try:
        relay.result()
    except Refusal as refusal:
        if refusal.field != "url":
            raise
        raise Refusal(
            refusal.reason,
            "u" + refusal.message.removeprefix("url")
            if refusal.message.startswith("url ")
            else refusal.message,
            field="u",
            facts=refusal.facts,
            retry_after_seconds=refusal.retry_after_seconds,
        ) from None


async def _disconnected(receive: Receive) -> None:
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass


def _start(head: pb.ForwardHead) -> Event:
    headers: RawHeaders = [(REQUEST_ID_HEADER.encode(), _encoded(head.request_id))]
    if head.HasField("clamped_output_tokens"):
        headers.append((CLAMPED_HEADER.encode(), str(head.clamped_output_tokens).encode()))
    for header in head.headers:
        name = header.name.lower()
        if name in HOP_BY_HOP or name in _OURS or name.startswith(_CORS):
            continue
        if name == "content-length" and head.status in _NO_BODY:
            # It tells of a body that is not sent; the server would wait for it.
            continue
        headers.append((_encoded(name), _encoded(header.value)))
    return {"type": "http.response.start", "status": head.status, "headers": headers}


def _encoded(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
