"""`Upstream` by way of aiohttp."""

from __future__ import annotations

import io
import select
import weakref
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.gateway.addresses import AddressRefusedError, GuardedResolver
from lava_grpc.gateway.upstream import (
    Deadline,
    Timeouts,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamRequest,
    failed,
    host_of,
    refused_address,
    timed_out,
)

CONNECTIONS_MAX = 4096
"""Open connections to all providers together; a call waits for a free one."""

READ_BUFFER_BYTES = 64 * 1024
"""What one answer may have unread in memory; aiohttp stops reading at twice this."""

KEEP_ALIVE_SECONDS = 15.0
"""How long an idle connection is kept: shorter than providers keep theirs."""

WHOLE_BODY_BYTES_MAX = 512 * 1024
"""A larger body is written piece by piece."""

_HEADER_BYTES_MAX = 64 * 1024
_DNS_SECONDS = 10
# What aiohttp would otherwise add of its own.
_AUTO_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class AiohttpUpstream:
    """The client to providers. `start` it in the loop it is used in, and `close` it.

    `upstream_map` is the operator's (host to base URL): the hosts of its base
    URLs may be private, as may `allow_private_hosts` (`host` or `host:port`).
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        connections_max: int = CONNECTIONS_MAX,
        upstream_map: Mapping[str, str] | None = None,
        allow_private_hosts: Collection[str] = (),
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._connections_max = connections_max
        self._private_hosts = frozenset(
            {host.lower() for host in allow_private_hosts}
            | {urlsplit(base).netloc.lower() for base in (upstream_map or {}).values()}
            | {host_of(base) for base in (upstream_map or {}).values() if not _has_port(base)}
        )
        self._resolver = resolver
        self._guard: GuardedResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready to send."""
        self._guard = GuardedResolver(
            self._resolver or aiohttp.ThreadedResolver(), self._private_hosts
        )
        connector = aiohttp.TCPConnector(
            ssl=True,
            resolver=self._guard,
            ttl_dns_cache=_DNS_SECONDS,
            limit=self._connections_max,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTO_HEADERS,
            trust_env=False,
            raise_for_status=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
            request_class=_FreshRequest,
            middlewares=(_never_resend,),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=self._timeouts.connect_seconds,
                sock_connect=self._timeouts.connect_seconds,
                sock_read=None,
            ),
        )

    async def close(self) -> None:
        """Drop every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if self._guard is not None:
            await self._guard.close()

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """See `Upstream.send`."""
        host = host_of(request.url)
        deadline = Deadline(self._timeouts.total_seconds)
        timeout, seconds = deadline.wait(self._timeouts.first_byte_seconds)
        try:
            url = self._checked(request.url)
            async with timeout:
                response = await self._sent(request, url)
        except aiohttp.ServerTimeoutError:
            limit = self._timeouts.connect_seconds
            raise timed_out(host, "gave no connection", limit) from None
        except TimeoutError:
            raise timed_out(host, "gave no answer", seconds) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _refusal(error, host) from None
        return _AiohttpAnswer(response, host, self._timeouts.idle_seconds, deadline)

    def _checked(self, url: str) -> URL:
        # Already encoded: the provider gets the very bytes that the caller wrote.
        parsed = URL(url, encoded=True)
        if self._guard is not None and parsed.raw_host is not None:
            self._guard.check_literal(parsed.raw_host, parsed.port or 0)
        return parsed

    async def _sent(self, request: UpstreamRequest, url: URL) -> aiohttp.ClientResponse:
        try:
            return await self._once(request, url)
        except aiohttp.ClientConnectorCertificateError:
            raise
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefusedError):
                raise
        except _StaleConnection:
            pass
        # Once more, since nothing was sent: no connection came to stand, or a kept one had
        # been closed. After the first byte a provider may have acted on a call.
        return await self._once(request, url)

    async def _once(self, request: UpstreamRequest, url: URL) -> aiohttp.ClientResponse:
        if self._session is None:
            raise aiohttp.ClientConnectionError
        return await self._session.request(
            request.method,
            url,
            headers=CIMultiDict(request.headers),
            data=_payload(request.body),
            allow_redirects=False,
        )


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    """What aiohttp sends: a large body in pieces, so that other calls have their turn."""
    return io.BytesIO(body) if len(body) > WHOLE_BODY_BYTES_MAX else body or None


def _has_port(url: str) -> bool:
    return urlsplit(url).port is not None


class _AiohttpAnswer:
    def __init__(
        self, response: aiohttp.ClientResponse, host: str, idle_seconds: float, deadline: Deadline
    ) -> None:
        self._response = response
        self._host = host
        self._idle_seconds = idle_seconds
        self._deadline = deadline

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        raw = self._response.raw_headers
        return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk

    async def close(self) -> None:
        self._response.close()

    async def read(self) -> bytes:
        content = self._response.content
        if content.is_eof() and content.exception() is None:
            # All of it is here, so there is nothing to wait for.
            return await content.readany()
        if content.exception() is not None and (last := _arrived_before(content)):
            return last
        timeout, seconds = self._deadline.wait(self._idle_seconds)
        try:
            async with timeout:
                return await content.readany()
        except TimeoutError:
            self._response.close()
            raise timed_out(self._host, "sent no more of its answer", seconds) from None
        except (aiohttp.ClientError, OSError):
            self._response.close()
            raise UpstreamBroken(self._host) from None


def _arrived_before(content: aiohttp.StreamReader) -> bytes:
    """What arrived before the connection broke: aiohttp keeps it, and raises in its place."""
    error = content.exception()
    content.set_exception(None)  # type: ignore[arg-type]
    try:
        return content.read_nowait()
    finally:
        if error is not None:
            content.set_exception(error)


# What became of a call that got no answer, in a person's words; the first that fits counts.
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "has a certificate that does not verify"),
    (aiohttp.ClientConnectorDNSError, "could not be found"),
    (aiohttp.ClientConnectorError, "could not be connected to"),
    (aiohttp.ClientResponseError, "answered with something other than HTTP"),
)


def _refusal(error: Exception, host: str) -> Refusal:
    """Our error for one of aiohttp's, whose texts may hold a URL and the key in it."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return refused_address(host)
    for kind, what in _FAILURES:
        if isinstance(error, kind):
            return failed(host, what)
    if isinstance(error, ValueError):
        return invalid("u", "is not a URL that can be called")
    return failed(host, "closed the connection without an answer")


class _StaleConnection(aiohttp.ClientError):
    """A kept connection had been closed by the provider; nothing was written to it."""


class _MaybeSent(aiohttp.ClientError):
    """The connection ended after the call went out, in part or in whole."""


async def _never_resend(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a GET or DELETE again that the provider may have seen."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        raise _MaybeSent from None


# Connections that have carried a call; aiohttp does not tell a kept one from a new one.
_used: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()


class _FreshRequest(aiohttp.ClientRequest):
    """Looks, before it writes, whether a kept connection is still open.

    A provider that closed one says so by an end of file, which the event loop
    may not have read yet. An idle connection has nothing else to read, so one
    that can be read from is not written to.
    """

    @override
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        if protocol is not None:
            if protocol in _used and _readable(protocol):
                raise _StaleConnection
            _used.add(protocol)
        return await super().send(conn)


def _readable(protocol: ResponseHandler) -> bool:
    transport = protocol.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None:
        return transport is None
    poll = select.poll()
    with suppress(OSError, ValueError):
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return True
