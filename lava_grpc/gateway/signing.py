"""AWS SigV4, put around the client to providers: signed is what is sent, at the moment it is.

botocore does the arithmetic. It comes with the extra `bedrock` and is imported by
the first call that needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from typing import Any

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.time import SECOND, Clock, Instant
from lava_grpc.gateway.upstream import AwsSigning, Upstream, UpstreamAnswer, UpstreamRequest

EXTRA = "bedrock"
"""The extra that signing needs."""

LARGE_BODY_BYTES = 128 * 1024
"""Bodies from this size on are hashed in a thread, so that the event loop stays free."""

_OWN_HEADERS = frozenset(
    ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
)
_TIME = "%Y%m%dT%H%M%SZ"


class SigningUpstream:
    """An upstream that signs what is to be signed, and passes all else on."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        # The first import takes long enough to be felt: it is done in a thread.
        self._imported = False

    def send(self, request: UpstreamRequest) -> Coroutine[Any, Any, UpstreamAnswer]:
        """See `Upstream.send`."""
        return self._upstream.send(request) if request.aws is None else self._signed(request)

    async def _signed(self, request: UpstreamRequest) -> UpstreamAnswer:
        now = self._clock.now()
        if self._imported and len(request.body) < LARGE_BODY_BYTES:
            signed = sign(request, now)
        else:
            signed = await asyncio.to_thread(sign, request, now)
            self._imported = True
        return await self._upstream.send(signed)


def require_botocore() -> None:
    """Refuse NOT_IMPLEMENTED (fact `extra`) where signing cannot be done."""
    if not has_botocore():
        raise Refusal(
            Reason.NOT_IMPLEMENTED,
            "AWS access keys need the extra `bedrock` on the server (pip install "
            "'lava-grpc[bedrock]'); a Bedrock API key does not",
            facts={"extra": EXTRA},
        )


@cache
def has_botocore() -> bool:
    """Whether the extra is installed."""
    return find_spec("botocore") is not None


def sign(request: UpstreamRequest, now: Instant) -> UpstreamRequest:
    """The request with its signature: of its method, host, path, query and body as they are sent.

    What the caller wrote of AWS's own credentials goes.
    """
    if request.aws is None:
        return request
    kept = tuple(pair for pair in request.headers if pair[0].lower() not in _OWN_HEADERS)
    return replace(request, headers=kept + _signature(request, kept, request.aws, now), aws=None)


def _signature(
    request: UpstreamRequest, headers: tuple[tuple[str, str], ...], how: AwsSigning, now: Instant
) -> tuple[tuple[str, str], ...]:
    # Here and not above: it is an extra, and slow to import.
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]  # noqa: PLC0415
    from botocore.credentials import Credentials  # type: ignore[import-untyped]  # noqa: PLC0415

    key = how.credential
    stamp = datetime.fromtimestamp(now // SECOND, UTC).strftime(_TIME)
    own = [("x-amz-date", stamp)]
    if key.session_token is not None:
        own.append(("x-amz-security-token", key.session_token))
    # Only what AWS wants signed. Others on the way may rewrite the rest, as they do with
    # header names that have underscores.
    signed = [(name, value) for name, value in headers if _is_signed(name.lower())]
    to_sign = AWSRequest(method=request.method, url=request.url, data=request.body)
    for name, value in (*signed, *own):
        to_sign.headers.add_header(name, value)
    to_sign.context["timestamp"] = stamp
    auth = SigV4Auth(
        Credentials(key.access_key_id, key.secret_access_key, key.session_token),
        how.scope.service,
        how.scope.region,
    )
    names = auth.signed_headers(auth.headers_to_sign(to_sign))
    text = auth.string_to_sign(to_sign, auth.canonical_request(to_sign))
    value = (
        f"AWS4-HMAC-SHA256 Credential={auth.scope(to_sign)}, SignedHeaders={names}, "
        f"Signature={auth.signature(text, to_sign)}"
    )
    return (*own, ("authorization", value))


def _is_signed(name: str) -> bool:
    return name == "content-type" or name.startswith("x-amz-")
