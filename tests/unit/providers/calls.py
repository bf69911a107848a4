"""Builders: a call and its answer, by provider id and path."""

from __future__ import annotations

import json
from typing import Any

from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry, make_tap, prepare_body, read_call

REGISTRY = Registry()
Json = dict[str, Any]


def provider(ident: str) -> Provider:
    """A built-in provider."""
    found = REGISTRY.by_id(ident)
    assert found is not None
    return found


def call(
    ident: str,
    path: str,
    body: Json | bytes | None = None,
    *,
    method: str = "POST",
    content_type: str = "application/json",
) -> Call:
    """The call as the gateway sends it: with usage asked for where it has to be."""
    raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    seller = provider(ident)
    url = "https://" + seller.base_url.split("/")[2] + path
    found = read_call(seller, method, url, {"Content-Type": content_type}, raw)
    return prepare_body(seller, found, raw)[0]


def read(
    made: Call,
    answer: Json | bytes,
    *,
    kind: str = "application/json",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> UsageReading:
    """What is read of an answer that comes in one piece."""
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    sent = {"content-type": kind, **(headers or {})}
    tap = make_tap(provider(made.provider), made, status, sent)
    tap.feed(raw)
    tap.finish()
    return tap.reading()


def counts(made: Call, answer: Json | bytes, **facts: Any) -> dict[str, int]:
    """The counts that are read of an answer."""
    return read(made, answer, **facts).usage.as_dict()


def sse(*events: Json | str | tuple[str, Json]) -> bytes:
    """An event stream: a document, text as it is, or a name and a document."""
    out = b""
    for event in events:
        name, data = event if isinstance(event, tuple) else ("", event)
        text = data if isinstance(data, str) else json.dumps(data)
        out += (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
    return out
