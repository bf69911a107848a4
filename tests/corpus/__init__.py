"""The corpus: what providers are asked and answer, and what each answer used and cost.

One TOML file for each provider and endpoint, in a directory per provider, each
pair written by hand in the published shape. `README.md` says how to add one;
`prices.json` has the prices that the stated costs are counted with.
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

from lava_grpc.core.usage import FIELDS
from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry, make_tap, prepare_body, read_call
from tests.corpus.wire import event_stream, multipart

HERE = Path(__file__).parent
PRICES_FILE = HERE / "prices.json"
AWS = "application/vnd.amazon.eventstream"
_REGISTRY = Registry()
_FILLER = re.compile(r"@text\((\d+)\)@")
_KEYS = frozenset(
    (
        "name",
        "about",
        "source",
        "method",
        "url",
        "request",
        "form",
        "request_headers",
        "status",
        "type",
        "headers",
        "answer",
        "answer_base64",
        "aws",
        "crlf",
        "taken_out",
        "usage",
        "cost",
        "stated",
        "complete",
        "failed",
        "priced",
        "facts",
        "model",
        "response_id",
        "genai",
    )
)
_FILE_KEYS = frozenset(("provider", "url", "source", "type", "pair"))


@dataclass(frozen=True)
class Expected:
    """What an answer states, by hand. `usage` names every count that is not zero."""

    usage: Mapping[str, int]
    cost: str
    # The provider stated usage; False where it has to be estimated.
    stated: bool = True
    complete: bool = True
    failed: bool = False
    # Somebody knows the model's price.
    priced: bool = True
    # What chooses a price, as `UsageReading.extra` has it.
    facts: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    response_id: str | None = None


@dataclass(frozen=True)
class Differs:
    """What genai-prices reads otherwise, and who is right."""

    why: str
    usage: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """One request and its answer."""

    id: str
    about: str
    source: str
    provider: Provider
    method: str
    url: str
    request: bytes
    request_headers: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    answer: bytes
    # What the client gets: the answer, less what the gateway alone asked for.
    passed: bytes
    expected: Expected
    genai: Differs | None

    @property
    def ok(self) -> bool:
        """Whether the provider took the call."""
        return 200 <= self.status < 300

    @property
    def kind(self) -> str:
        """The answer's content type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def streamed(self) -> bool:
        """Whether the answer is more than one document."""
        return self.kind in {
            "text/event-stream",
            AWS,
            "application/x-ndjson",
            "application/x-jsonl",
        }

    @property
    def estimated(self) -> bool:
        """Whether the record can only say what it guesses."""
        return self.ok and not (self.expected.stated and self.expected.complete)

    def read(self) -> Call:
        """The call as the gateway reads it."""
        return read_call(self.provider, self.method, self.url, self.request_headers, self.request)

    def prepared(self) -> tuple[Call, bytes]:
        """The call and the body as the gateway sends them."""
        return prepare_body(self.provider, self.read(), self.request)

    def replay(self, chunks: list[bytes]) -> tuple[bytes, UsageReading]:
        """The bytes that the client gets, and what was read of them."""
        tap = make_tap(self.provider, self.prepared()[0], self.status, self.headers)
        passed = b"".join([tap.feed(chunk) for chunk in chunks]) + tap.finish()
        return passed, tap.reading()

    @override
    def __str__(self) -> str:
        """The id, for the names of tests."""
        return self.id


@lru_cache(maxsize=1)
def pairs() -> tuple[Pair, ...]:
    """Every pair. Raises ValueError naming the file and the pair that is not well formed."""
    found = [pair for path in sorted(HERE.glob("*/*.toml")) for pair in read_file(path)]
    ids = [pair.id for pair in found]
    twice = {ident for ident in ids if ids.count(ident) > 1}
    if twice:
        raise ValueError(f"named twice: {sorted(twice)}")
    return tuple(found)


def read_file(path: Path) -> list[Pair]:
    """The pairs of one file. Raises ValueError as `pairs` does."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    place = f"{path.parent.name}/{path.stem}"
    _known(document, _FILE_KEYS, place)
    return [_pair(document, raw, place) for raw in document["pair"]]


def _pair(file: Mapping[str, Any], raw: Mapping[str, Any], place: str) -> Pair:
    ident = f"{place}:{raw['name']}"
    _known(raw, _KEYS, ident)
    url = raw.get("url") or file["url"]
    provider = _REGISTRY.by_host(urlsplit(url).hostname or "")
    if provider is None or provider.id != file["provider"]:
        raise ValueError(f"{ident}: {url} is no host of {file['provider']}")
    request, sent = _request(raw)
    answer = _answer(raw)
    kind = raw.get("type") or file.get("type") or ("application/json" if "aws" not in raw else AWS)
    passed = answer
    for text in raw.get("taken_out", ()):
        if (part := _text(text, raw)) not in passed:
            raise ValueError(f"{ident}: taken_out is not in the answer")
        passed = passed.replace(part, b"")
    return Pair(
        id=ident,
        about=raw.get("about", ""),
        source=raw.get("source") or file["source"],
        provider=provider,
        method=raw.get("method", "POST"),
        url=url,
        request=request,
        request_headers=sent | raw.get("request_headers", {}),
        status=raw.get("status", 200),
        headers={"content-type": kind, **raw.get("headers", {})},
        answer=answer,
        passed=passed,
        expected=_expected(raw, ident),
        genai=Differs(**raw["genai"]) if "genai" in raw else None,
    )


def _expected(raw: Mapping[str, Any], ident: str) -> Expected:
    usage = raw.get("usage", {})
    _known(usage, frozenset(FIELDS), ident)
    return Expected(
        usage=usage,
        cost=raw["cost"],
        **{key: raw[key] for key in ("stated", "complete", "failed", "priced") if key in raw},
        **{key: raw[key] for key in ("facts", "model", "response_id") if key in raw},
    )


def _request(raw: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    if "form" in raw:
        kind, body = multipart(raw["form"])
        return body, {"content-type": kind}
    text = _FILLER.sub(lambda found: _filler(int(found.group(1))), raw.get("request", ""))
    if text:
        json.loads(text)
    return text.encode(), {"content-type": "application/json"}


def _filler(characters: int) -> str:
    """So much English text, for prompts whose length alone counts."""
    words = "It was the best of times, it was the worst of times. "
    return (words * (characters // len(words) + 1))[:characters]


def _answer(raw: Mapping[str, Any]) -> bytes:
    if "aws" in raw:
        return event_stream(raw["aws"])
    if "answer_base64" in raw:
        return base64.b64decode(raw["answer_base64"])
    return _text(raw.get("answer", ""), raw)


def _text(text: str, raw: Mapping[str, Any]) -> bytes:
    return (text.replace("\n", "\r\n") if raw.get("crlf") else text).encode()


def _known(found: Mapping[str, Any], keys: frozenset[str], place: str) -> None:
    if unknown := sorted(found.keys() - keys):
        raise ValueError(f"{place}: {unknown[0]} is not known here")
