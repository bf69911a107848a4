"""Which headers go to a provider, and which come back from one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lava_grpc.core.errors import invalid
from lava_grpc.providers.base import Call
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import auth_headers

Headers = tuple[tuple[str, str], ...]

HEADERS_MAX = 128
"""The most headers that a call may carry."""

# Of one connection and not of the call (RFC 9110, 7.6.1), or the client's to write anew.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "expect",
    )
)
_NOT_SENT = _HOP_BY_HOP | {
    "host",
    "content-length",
    "accept-encoding",
    "cookie",
    "cookie2",
    # Where a caller's secret for us may stand.
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "xi-api-key",
    "api-key",
    "x-provider-api-key",
    # Who our caller is.
    "forwarded",
    "via",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
}
_NOT_SENT_PREFIXES = ("proxy-", "x-lava-", "x-forwarded-")

# A cookie that one provider account gets would be shared by every customer behind it, and
# the others speak for the provider's host where ours now stands.
_NOT_RETURNED = _HOP_BY_HOP | {
    "set-cookie",
    "set-cookie2",
    "alt-svc",
    "strict-transport-security",
    "public-key-pins",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
}
_NOT_RETURNED_PREFIXES = ("proxy-", "x-lava-")

# What a tap can decode (`providers.decoding`).
_ENCODINGS = frozenset(("identity", "gzip", "x-gzip", "deflate"))
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE = re.compile(r"[\r\n\x00]")


def headers_to_send(
    headers: Iterable[tuple[str, str]], provider: Provider, key: str | None, call: Call | None
) -> Headers:
    """The caller's headers as the provider gets them, with `key` in the provider's way.

    Without a key no credential is sent at all: the caller's is one for us.
    What else the caller wrote stays as it is, in order, doubles too.

    Raises Refusal INVALID_FIELD (field `headers`) for a name or value that
    would not stay one header, and for more than HEADERS_MAX.
    """
    given = tuple(headers)
    _check(given)
    sent = _kept(given, _NOT_SENT, _NOT_SENT_PREFIXES)
    sent.append(("accept-encoding", _accepted(given, call)))
    if key is not None:
        _check(credentials := tuple(auth_headers(provider, key, call).items()))
        sent.extend(credentials)
    return tuple(sent)


def headers_to_return(headers: Iterable[tuple[str, str]], call: Call | None = None) -> Headers:
    """The provider's headers as the caller gets them.

    `content-encoding` stays, since the bytes do; so does `content-length`,
    unless a chunk is taken out of the answer on the way. Cookies do not.
    """
    given = tuple((name, value) for name, value in headers if not _BAD_VALUE.search(name + value))
    returned = _kept(given, _NOT_RETURNED, _NOT_RETURNED_PREFIXES)
    if call is not None and call.usage_injected:
        returned = [pair for pair in returned if pair[0].lower() != "content-length"]
    return tuple(returned)


def _check(headers: Headers) -> None:
    if len(headers) > HEADERS_MAX:
        raise invalid("headers", f"must be no more than {HEADERS_MAX}")
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise invalid("headers", "holds a name that is none")
        if _BAD_VALUE.search(value):
            raise invalid("headers", f"holds a line break or NUL in the value of {name[:80]}")


def _kept(
    headers: Headers, names: frozenset[str], prefixes: tuple[str, ...]
) -> list[tuple[str, str]]:
    dropped = names | _named_by_connection(headers)
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in dropped and not lower.startswith(prefixes)
    ]


def _named_by_connection(headers: Headers) -> set[str]:
    return {
        named.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for named in value.split(",")
    }


def _accepted(headers: Headers, call: Call | None) -> str:
    """What the caller accepts and a tap can read; nothing but plain bytes if a chunk goes out."""
    if call is not None and call.usage_injected:
        return "identity"
    offers = [
        offer.strip()
        for name, value in headers
        if name.lower() == "accept-encoding"
        for offer in value.split(",")
    ]
    readable = [offer for offer in offers if _coding(offer) in _ENCODINGS]
    return ", ".join(readable) or "identity"


def _coding(offer: str) -> str:
    return offer.partition(";")[0].strip().lower()
