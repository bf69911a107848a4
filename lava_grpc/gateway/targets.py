"""Where a call may go: the decision on a target URL, made without I/O.

Hosts compare whole, after lower-casing and IDNA, and what was compared is what
is sent: no two readers of a URL can take it for two different hosts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, quote, quote_plus, unquote, urlsplit

from typing_extensions import override

from lava_grpc.core.errors import Reason, Refusal, invalid
from lava_grpc.providers.provider import AuthStyle, Family, Provider
from lava_grpc.providers.registry import Registry, auth_query

URL_CHARS_MAX = 8192
"""The longest target URL."""

_FIELD = "u"
_PORTS = {"https": 443, "http": 80}
_HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?", re.ASCII)
_UNWRITABLE = re.compile(r"[\x00-\x20\x7f\\]")
_SEPARATORS = re.compile(r"/|%2f|%5c", re.IGNORECASE)
_DOTS = frozenset((".", ".."))
# Query parameters that may carry a secret, by how APIs name them. One too many costs a record
# a parameter, one too few a key.
_SECRET_PARAMETERS = re.compile(
    r".*(?:key|token|secret|sig|signature|password|passwd|auth|credentials?)", re.IGNORECASE
)
# Where Google's clients put the key, which here would be the caller's secret for us.
_CREDENTIAL_PARAMETERS = re.compile(r"key|access_token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A target that a call may go to."""

    provider: Provider
    # Lower-case, without port or trailing dot.
    host: str
    # The original's URL, whatever it is mapped to, without secrets in its query: for records.
    identity_url: str
    # Where to send; may hold a secret of the caller's in its query.
    send_url: str

    @override
    def __repr__(self) -> str:
        return f"Target({self.provider.id}, {self.identity_url})"

    def keyed_url(self, key: str | None) -> str:
        """`send_url` with `key` in its query, where the provider takes it there."""
        if key is None:
            return self.send_url
        added = [
            f"{name}={quote_plus(value)}" for name, value in auth_query(self.provider, key).items()
        ]
        if not added:
            return self.send_url
        joint = "&" if "?" in self.send_url else "?"
        return self.send_url + joint + "&".join(added)


def resolve_target(
    url: str,
    registry: Registry,
    *,
    allowed_hosts: frozenset[str] = frozenset(),
    upstream_map: Mapping[str, str] | None = None,
) -> Target:
    """Decide whether a call may go to `url`, and where it is sent.

    `allowed_hosts` are what the operator allows beyond the registry, lower-case:
    `host` allows the scheme's own port, `host:port` that port. `upstream_map`
    (host, or host:port, to base URL) sends elsewhere: the path and query of
    `url` are appended to the base.

    Raises Refusal INVALID_FIELD (field `u`) for what is no URL to call, and
    UPSTREAM_NOT_ALLOWED (fact `host`) for a host or port that nobody listed.
    """
    parts = _split(url)
    host = _host(parts)
    port = _port(parts)
    provider = _provider(host, parts.scheme, port, registry, allowed_hosts)
    origin = f"{parts.scheme}://{_netloc(host, parts.scheme, port)}"
    path = _path(parts.path)
    query = _escaped(parts.query)
    sent = _query(query, without=_CREDENTIAL_PARAMETERS if _keyed_by_query(provider) else None)
    base = _mapped(host, port, upstream_map or {}) or origin
    return Target(
        provider=provider,
        host=host,
        identity_url=origin + path + _query(query, without=_SECRET_PARAMETERS),
        send_url=base + path + sent,
    )


def _split(url: str) -> SplitResult:
    if not url:
        raise invalid(_FIELD, "is required: the URL to call")
    if len(url) > URL_CHARS_MAX:
        raise invalid(_FIELD, f"must not be longer than {URL_CHARS_MAX} characters")
    # urlsplit drops some of these in silence, so they are looked for before.
    if _UNWRITABLE.search(url):
        raise invalid(_FIELD, "must hold no spaces, backslashes or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise invalid(_FIELD, "is not a URL") from None
    if parts.scheme not in _PORTS or not parts.netloc:
        raise invalid(_FIELD, "must be an absolute https URL")
    if "@" in parts.netloc:
        raise invalid(_FIELD, "must carry no user name or password")
    if "#" in url:
        raise invalid(_FIELD, "must have no fragment: write '#' as %23")
    return parts


def _host(parts: SplitResult) -> str:
    try:
        name = (parts.hostname or "").removesuffix(".")
        if ":" in name and "%" not in name:
            return ipaddress.IPv6Address(name).compressed
        name = name if name.isascii() else name.encode("idna").decode().lower()
    except ValueError:  # UnicodeError included
        raise invalid(_FIELD, "names no valid host") from None
    if not _HOST_NAME.fullmatch(name) or ".." in name:
        raise invalid(_FIELD, "names no valid host")
    return name


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        raise invalid(_FIELD, "names no valid port") from None
    if port == 0:
        raise invalid(_FIELD, "names no valid port")
    return port or _PORTS[parts.scheme]


def _provider(
    host: str, scheme: str, port: int, registry: Registry, allowed_hosts: frozenset[str]
) -> Provider:
    allowed = _is_allowed(host, scheme, port, allowed_hosts)
    if scheme == "http" and not (allowed and _is_loopback(host)):
        raise invalid(_FIELD, "must use https")
    known = registry.by_host(host)
    if known is not None and (allowed or port == _PORTS["https"]):
        return known
    if not allowed:
        name = _netloc(host, scheme, port)
        raise Refusal(
            Reason.UPSTREAM_NOT_ALLOWED,
            f"{name} is neither a supported provider nor a host that the operator allowed",
            facts={"host": name},
        )
    return _generic(host)


def _is_allowed(host: str, scheme: str, port: int, allowed_hosts: frozenset[str]) -> bool:
    names = {f"{host}:{port}", f"[{host}]:{port}"}
    if port == _PORTS[scheme]:
        names |= {host, f"[{host}]"}
    return not allowed_hosts.isdisjoint(names)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _generic(host: str) -> Provider:
    """A host that is metered by what its answers say in no particular format."""
    return Provider(
        id=host, label=host, base_url=f"https://{host}", family=Family.GENERIC, hosts=(host,)
    )


def _netloc(host: str, scheme: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == _PORTS[scheme] else f"{name}:{port}"


def _path(path: str) -> str:
    # A provider would resolve them, and answer for another endpoint than the one that was
    # priced; behind a mapped base they would climb out of it.
    segments = _SEPARATORS.split(path)
    # Some servers take what follows a semicolon for a parameter of the segment.
    if any(unquote(segment.partition(";")[0]) in _DOTS for segment in segments):
        raise invalid(_FIELD, "must have no '.' or '..' in its path")
    return _escaped(path) or "/"


def _escaped(text: str) -> str:
    """What is not ASCII as percent-encoded UTF-8; all else as it is."""
    return text if text.isascii() else re.sub(r"[^\x00-\x7f]+", lambda m: quote(m[0]), text)


def _keyed_by_query(provider: Provider) -> bool:
    return provider.family is Family.GEMINI or provider.auth is AuthStyle.QUERY_KEY


def _query(query: str, *, without: re.Pattern[str] | None) -> str:
    kept = query.split("&") if query else []
    if without is not None:
        kept = [pair for pair in kept if not without.fullmatch(unquote(pair.partition("=")[0]))]
    return "?" + "&".join(kept) if kept else ""


def _mapped(host: str, port: int, upstream_map: Mapping[str, str]) -> str | None:
    base = upstream_map.get(f"{host}:{port}") or upstream_map.get(host)
    return base.rstrip("/") if base else None
