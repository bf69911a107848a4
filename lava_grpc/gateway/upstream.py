"""The client to providers: what is sent, and the answer as it arrives.

`Upstream` is the seam. Bytes pass as they are: nothing is decompressed, no
redirect followed, no cookie kept, no header added that HTTP does not need.
A key may stand in a header or in a query, so neither is in any text here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from typing_extensions import override

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.providers.aws import AwsCredential, SigningScope


@dataclass(frozen=True, slots=True)
class AwsSigning:
    """How a call is to be signed for AWS."""

    credential: AwsCredential
    scope: SigningScope


@dataclass(frozen=True, slots=True, repr=False)
class UpstreamRequest:
    """One call to a provider. Headers are sent as given, in order, doubles too."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    # Set, the call is signed when it is sent: see `gateway.signing`.
    aws: AwsSigning | None = None

    @override
    def __repr__(self) -> str:
        return f"UpstreamRequest({self.method} {host_of(self.url)}, {len(self.body)} body bytes)"


class UpstreamAnswer(Protocol):
    """The head of an answer, and its body on demand."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Every header as the provider sent it, in order."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive, still encoded; to be read once.

        Reading no further stops the provider in turn: no more is buffered than
        the client's read buffer holds. Raises UpstreamBroken where the answer
        ends before its time, and Refusal UPSTREAM_TIMEOUT.
        """
        ...

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its end; errors as `chunks`.

        Cancelling it loses nothing: the next call goes on where this one would have.
        """
        ...

    async def close(self) -> None:
        """Have done with the answer: unless it was read to its end, the connection drops."""
        ...


class Upstream(Protocol):
    """Sends calls to providers."""

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Send one call, and return once the head of its answer is there.

        Whatever the provider answers is an answer, 500 included. Raises Refusal:
        UPSTREAM_FAILED where no answer came, UPSTREAM_TIMEOUT where none came in
        time, UPSTREAM_NOT_ALLOWED where the host resolves to no public address.
        Cancelling it drops the connection.
        """
        ...


class UpstreamBroken(Refusal):
    """The connection broke after the head of an answer: what was read of it was used."""

    def __init__(self, host: str) -> None:
        super().__init__(
            Reason.UPSTREAM_FAILED,
            f"{host} broke the connection off before its answer was complete",
            facts={"host": host},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a provider may take, each in seconds."""

    # For a free connection in the pool, and for a new one to stand.
    connect_seconds: float = 10.0
    # From sending until the head of the answer: models think before they speak.
    first_byte_seconds: float = 600.0
    # Between two chunks of the body. Time that our own client takes does not count.
    idle_seconds: float = 300.0
    # From sending to the last byte, None for no such limit.
    total_seconds: float | None = None


def host_of(url: str) -> str:
    """The host of `url`, for messages: never the user, path or query."""
    try:
        return urlsplit(url).hostname or "the upstream"
    except ValueError:
        return "the upstream"


def failed(host: str, what: str) -> Refusal:
    """No answer came: `what` completes "<host> ..."."""
    return Refusal(Reason.UPSTREAM_FAILED, f"{host} {what}", facts={"host": host})


def timed_out(host: str, what: str, seconds: float) -> Refusal:
    """No answer, or no more of it, came in time: `what` completes "<host> ..."."""
    return Refusal(
        Reason.UPSTREAM_TIMEOUT,
        f"{host} {what} within {seconds:g} s",
        facts={"host": host, "waited_seconds": f"{seconds:g}"},
    )


def refused_address(host: str) -> Refusal:
    """The host has no address that calls may be sent to."""
    return Refusal(
        Reason.UPSTREAM_NOT_ALLOWED,
        f"{host} resolves to no public address; an operator may allow it",
        facts={"host": host},
    )


class Deadline:
    """When an answer must be complete, if ever; on the event loop's clock."""

    __slots__ = ("_at", "_loop", "_total_seconds")

    def __init__(self, total_seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._total_seconds = total_seconds
        self._at = None if total_seconds is None else self._loop.time() + total_seconds

    def wait(self, seconds: float) -> tuple[asyncio.Timeout, float]:
        """A timeout of `seconds`, or of what is left if that is less; and the limit to name."""
        until = self._loop.time() + seconds
        if self._at is not None and self._total_seconds is not None and self._at < until:
            return asyncio.timeout_at(self._at), self._total_seconds
        return asyncio.timeout_at(until), seconds
