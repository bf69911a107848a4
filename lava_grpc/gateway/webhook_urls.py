"""Which URLs events may be posted to, decided without I/O.

What a name resolves to is judged when it is connected to: see `addresses.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.gateway.addresses import is_public, literal_address

URL_CHARS_MAX = 2048
"""The longest URL of a webhook."""

_FIELD = "url"
_PORTS = {"https": 443, "http": 80}
_WRITABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?|[0-9a-f:.]+")


def check_url(url: str, private_hosts: Collection[str] = ()) -> str:
    """`url`, or a refusal naming `url`.

    `private_hosts` (`host` or `host:port`, lower-case) are those that the
    operator named: they may be on a private network, and take plain http.
    """
    if not url:
        raise invalid(_FIELD, "must not be empty")
    if len(url) > URL_CHARS_MAX:
        raise invalid(_FIELD, f"must have at most {URL_CHARS_MAX} characters")
    if _WRITABLE.fullmatch(url) is None or "\\" in url:
        raise invalid(_FIELD, "must be written in ASCII, without spaces and backslashes")
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").rstrip(".")
    except ValueError:
        raise _no_url() from None
    if parts.scheme not in _PORTS or _HOST.fullmatch(host) is None or port == 0:
        raise _no_url()
    if "@" in parts.netloc:
        raise invalid(_FIELD, "must carry no user name or password")
    if "#" in url:
        raise invalid(_FIELD, "must have no fragment")
    names = {host, f"{host}:{port or _PORTS[parts.scheme]}"}
    if names.isdisjoint(private_hosts):
        _check_public(parts.scheme, host)
    return url


def _check_public(scheme: str, host: str) -> None:
    if scheme != "https":
        raise invalid(_FIELD, "must use https")
    address = literal_address(host)
    local = host == "localhost" or host.endswith(".localhost")
    if local or (address is not None and not is_public(address)):
        raise invalid(_FIELD, "must be on the public internet")


def _no_url() -> Refusal:
    return invalid(_FIELD, "must be an absolute https URL")
