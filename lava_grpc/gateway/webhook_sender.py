"""Posts a delivery by way of aiohttp: guarded, bounded, without redirects."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from lava_grpc.gateway.addresses import AddressRefusedError, GuardedResolver

TOTAL_SECONDS = 10.0
"""How long a receiver has to answer, from the first packet on."""

CONNECT_SECONDS = 5.0
CONNECTIONS_MAX = 64
_ANSWER_BYTES_MAX = 8 * 1024
_HEADER_BYTES_MAX = 16 * 1024
_DNS_SECONDS = 10
_OK = range(200, 300)


class HttpSender:
    """`start` it in the loop it is used in, and `close` it.

    `private_hosts` (`host` or `host:port`, lower-case) may resolve to private addresses.
    """

    def __init__(
        self,
        private_hosts: Collection[str] = (),
        *,
        total_seconds: float = TOTAL_SECONDS,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._private_hosts = private_hosts
        self._total_seconds = total_seconds
        self._resolver = resolver
        self._guard: GuardedResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready to send."""
        self._guard = GuardedResolver(
            self._resolver or aiohttp.ThreadedResolver(), self._private_hosts
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=True, resolver=self._guard, ttl_dns_cache=_DNS_SECONDS, limit=CONNECTIONS_MAX
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            raise_for_status=False,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
            headers={"User-Agent": "lava-grpc-webhooks", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(
                total=self._total_seconds, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS
            ),
        )

    async def close(self) -> None:
        """Drop every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if self._guard is not None:
            await self._guard.close()

    async def __call__(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int | None, str | None]:
        """The status of the answer, None without one; and why it is no success, None where it is.

        What is said of a failure names no address and quotes no answer.
        """
        if self._session is None or self._guard is None:
            return None, "the service is stopping"
        parsed = URL(url, encoded=True)
        try:
            self._guard.check_literal(parsed.raw_host or "", parsed.port or 0)
            async with self._session.post(
                parsed, headers=headers, data=body, allow_redirects=False
            ) as response:
                # What is left unread costs the connection, and nobody needs it.
                await response.content.read(_ANSWER_BYTES_MAX)
                status = response.status
        except TimeoutError:
            return None, "did not answer in time"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, _told(error)
        return status, None if status in _OK else f"answered {status}"


def _told(error: Exception) -> str:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AddressRefusedError):
            return "the host is not on the public internet"
        seen = seen.__cause__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host's name was not found"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "could not be connected to"
    return "broke off the connection"
