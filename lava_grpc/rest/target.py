"""Where a forwarded call goes: Lava's `?u=` and its path-style variants.

The query is read raw. SDKs append their own path and query to an unencoded
`u=https://…`, so what follows its first `&` arrives as parameters of ours; they
go on to the target in their order, as they were written. `key` (a credential)
and `metadata` are ours and never go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from lava_grpc.core.errors import invalid, not_found

FORWARD_PATH = "/v1/forward"

FORWARD_TEMPLATE = f"{FORWARD_PATH}/{{target}}"
"""A target in the path; it may have slashes."""

URL_CHARS_MAX = 8 * 1024
"""The longest target."""

_OURS = frozenset(("key", "metadata"))
_OPEN = re.compile(r"(https?):/+", re.IGNORECASE)
_ENCODED = re.compile(r"https?(?::|%3a)(?:/|%2f)", re.IGNORECASE)
_VERSION = re.compile(r"v\d+[a-z0-9]*")
# What may follow a base URL that is whole, its end included.
_ENDS = ("", "/", "?", "#")
# What a URL is made of; the rest is encoded, as browsers do.
_URL_CHARS = "%/:=&?~+!$,;'@()*[]"


@dataclass(frozen=True, slots=True)
class Target:
    """The target's URL, and the parameters that were ours (`key`, `metadata`), decoded."""

    url: str
    ours: Mapping[str, str]


def read_target(path: str, query: str, bases: Mapping[str, str]) -> Target:
    """The target of a call to `path`, both as they were sent.

    `bases` maps a provider's alias to its base URL. Forms, `rest` being what
    follows `/v1/forward/`:
    1. no rest: `u` is the target;
    2. an absolute URL, plain, with a collapsed `https:/`, or encoded as a whole;
    3. an alias alone, and `u`: as 1, the alias says nothing new;
    4. an alias and a path: the path at that provider.
    In 2 and 4 `u` is a parameter of the target like any other.

    Raises INVALID_FIELD for `u`, NOT_FOUND for an alias that nobody has.
    """
    rest = path.removeprefix(FORWARD_PATH).removeprefix("/")
    alias, _, tail = rest.partition("/")
    by_path = bool(rest) and _ENCODED.match(rest) is not None
    named_by_u = not rest or (not by_path and not tail)
    found, others, ours = _read_query(query, named_by_u=named_by_u)
    if by_path:
        url = _absolute(rest)
    else:
        if rest and alias not in bases:
            raise not_found("provider", alias, field="provider")
        url = _from_u(found, ours) if found or not rest else _join(bases[alias], tail)
        if path == f"{FORWARD_PATH}/":
            url = _mended(url, bases.values())
        url = _undoubled(url, bases.values())
    return Target(_finished(url, others), ours)


def _read_query(query: str, *, named_by_u: bool) -> tuple[str, list[str], dict[str, str]]:
    """The first `u` as it was written, the target's parameters, and ours by name."""
    found = ""
    others: list[str] = []
    ours: dict[str, str] = {}
    for piece in query.split("&"):
        raw_name, _, raw = piece.partition("=")
        name = unquote_plus(raw_name)
        if name == "u" and named_by_u and not found:
            found = raw
        elif name in _OURS:
            ours.setdefault(name, _decoded(name, raw))
        elif piece:
            others.append(piece)
    return found, others, ours


def _from_u(raw: str, ours: dict[str, str]) -> str:
    if not raw:
        raise invalid("u", "is required: the absolute URL of the provider's endpoint")
    if _OPEN.match(raw) is None:
        return unquote(raw)
    # Written unencoded: its escapes are the target's, and the first parameter
    # of the target's query may be one of ours.
    url, _, query = _absolute(raw).partition("?")
    _, others, found = _read_query(query, named_by_u=False)
    for name, value in found.items():
        ours.setdefault(name, value)
    return f"{url}?{'&'.join(others)}" if others else url


def _absolute(text: str) -> str:
    """With `//` after the scheme, which proxies collapse in a path; decoded if it was encoded."""
    if _OPEN.match(text) is None:
        text = unquote(text)
    return _OPEN.sub(lambda scheme: f"{scheme.group(1).lower()}://", text, count=1)


def _join(base: str, tail: str) -> str:
    """`tail` at `base`; what both say (`…/v1` and `v1/…`) once.

    Another version than the base's is the provider's other API, at its root: Cohere's
    `v2/chat` beside `/compatibility/v1`, Google's `v1/models` beside `/v1beta`.
    """
    parts = urlsplit(base)
    have, want = parts.path.strip("/").split("/"), tail.split("/")
    for size in range(min(len(have), len(want)), 0, -1):
        if have[-size:] == want[:size]:
            want = want[size:]
            break
    else:
        if _VERSION.fullmatch(want[0]) and _VERSION.fullmatch(have[-1]):
            have = []
    path = "/".join(part for part in (*have, *want) if part)
    return f"{parts.scheme}://{parts.netloc}/{path}"


def _mended(url: str, bases: Iterable[str]) -> str:
    """The slash back that OpenAI's Python client moves.

    With `…/v1/forward?u=https://api.openai.com/v1` for its base URL, it asks for
    `/v1/forward/?u=https://api.openai.com/v1chat/completions`.
    """
    # Without a path it would end in the host, whose name may go on.
    stems = [base for base in bases if url.startswith(base) and urlsplit(base).path.strip("/")]
    if any(url[len(stem) :][:1] in _ENDS for stem in stems):
        return url
    for stem in sorted(stems, key=len, reverse=True):
        return f"{stem}/{url[len(stem) :]}"
    return url


def _undoubled(url: str, bases: Iterable[str]) -> str:
    """The version once, where a base URL that has it meets a client that writes it too.

    With `…/v1/forward?u=https://api.anthropic.com/v1` for its base URL, Anthropic's
    client asks for `…/v1/v1/messages`.
    """
    for base in bases:
        if not url.startswith(f"{base}/"):
            continue
        have = urlsplit(base).path.strip("/").split("/")
        if _VERSION.fullmatch(have[-1]) is None:
            continue
        path, mark, query = url[len(base) + 1 :].partition("?")
        want = path.split("/")
        for size in range(min(len(have), len(want)), 0, -1):
            if have[-size:] == want[:size]:
                return "/".join((base, *want[size:])) + mark + query
    return url


def _finished(url: str, others: list[str]) -> str:
    bare = url.partition("#")[0]
    if others:
        bare += ("&" if "?" in bare else "?") + "&".join(others)
    if len(bare) > URL_CHARS_MAX:
        raise invalid("u", f"has more than {URL_CHARS_MAX} characters")
    if any(ord(char) < ord(" ") or char == "\x7f" for char in bare):
        raise invalid("u", "has a control character")
    return quote(bare, safe=_URL_CHARS)


def _decoded(name: str, raw: str) -> str:
    # A base64 credential may hold a bare `+`; in JSON text it stands for a space.
    return unquote(raw) if name == "key" else unquote_plus(raw)
