"""Which provider a call is for, whether it is let in, and who answers it.

A path may begin with `/openai`, `/anthropic` or `/google`; without one the rest
of it tells. Endpoints are known by the end of their path, as compatible hosts
put them under paths of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from urllib.parse import parse_qs, unquote

from lava_grpc.testing.fake_provider import (
    anthropic,
    gemini,
    openai_chat,
    openai_errors,
    openai_other,
    openai_responses,
)
from lava_grpc.testing.fake_provider.answer import Answer, Ask, RefusedError
from lava_grpc.testing.fake_provider.call import SeenCall
from lava_grpc.testing.fake_provider.fault import Fault

Handler = Callable[[Ask], Answer]


class Shape(StrEnum):
    """Whose API a path belongs to."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"


_PREFIX = re.compile(r"/(openai|anthropic|google)(?=/)")
_ENDS: Mapping[Shape, tuple[tuple[str, Handler], ...]] = {
    Shape.OPENAI: (
        ("/chat/completions", openai_chat.chat),
        ("/completions", openai_chat.completions),
        ("/responses", openai_responses.responses),
        ("/embeddings", openai_other.embeddings),
        ("/moderations", openai_other.moderations),
    ),
    Shape.ANTHROPIC: (
        ("/messages", anthropic.messages),
        ("/messages/count_tokens", anthropic.count_tokens),
    ),
    Shape.GOOGLE: (),
}
_MODEL = re.compile(r"/models/([^/:]+)(?::(\w+))?$")
_OPERATIONS: Mapping[str, Handler] = {
    "generateContent": gemini.generate,
    "streamGenerateContent": gemini.stream_generate,
    "countTokens": gemini.count_tokens,
}


def answer(call: SeenCall, fault: Fault, serial: int, keys: Collection[str] | None) -> Answer:
    """The provider's answer to `call`. `keys` are those it takes, None for nearly any."""
    path, _, query = call.path.partition("?")
    headers = dict(call.headers)
    shape, path = _placed(path, headers)
    try:
        refused = _let_in(shape, headers, query, keys)
        if refused is not None:
            return refused
        if fault.status is not None:
            return _failure(shape, fault.status, fault.body)
        handler, model = _handler(shape, call.method, path)
        body = _parsed(shape, call.body) if call.method == "POST" else {}
        ask = Ask(body, headers, query, model, serial, fault)
        return handler(ask)
    except RefusedError as no:
        return no.answer


def without_prefix(path: str) -> str:
    """`path` without the name of a provider before it."""
    return _PREFIX.sub("", path, count=1) if _PREFIX.match(path) else path


def _placed(path: str, headers: Mapping[str, str]) -> tuple[Shape, str]:
    prefix = _PREFIX.match(path)
    if prefix is not None:
        shape, path = Shape(prefix.group(1)), path[prefix.end() :]
    elif path.startswith("/v1beta") or (":" in path and _MODEL.search(path)):
        shape = Shape.GOOGLE
    elif "/messages" in path or "anthropic-version" in headers:
        shape = Shape.ANTHROPIC
    else:
        shape = Shape.OPENAI
    # Google's endpoints in OpenAI's shape.
    if shape is Shape.GOOGLE and "/openai/" in path:
        shape = Shape.OPENAI
    return shape, path.rstrip("/")


def _let_in(
    shape: Shape, headers: dict[str, str], query: str, keys: Collection[str] | None
) -> Answer | None:
    """The answer to a caller without a good key, None for one that may pass."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
    match shape:
        case Shape.OPENAI:
            if not bearer:
                return openai_errors.no_key()
            return None if _is_good(bearer, keys) else openai_errors.wrong_key(bearer)
        case Shape.ANTHROPIC:
            key = headers.get("x-api-key") or bearer
            if not key:
                return anthropic.error(401, "x-api-key header is required")
            if not _is_good(key, keys):
                return anthropic.error(401, "invalid x-api-key")
            return anthropic.check_version(headers)
        case Shape.GOOGLE:
            given = headers.get("x-goog-api-key") or parse_qs(query).get("key", [bearer])[0]
            if not given:
                return gemini.no_key()
            return None if _is_good(given, keys) else gemini.wrong_key()


def _is_good(key: str, keys: Collection[str] | None) -> bool:
    return not key.startswith("invalid") if keys is None else key in keys


def _handler(shape: Shape, method: str, path: str) -> tuple[Handler, str]:
    if method == "POST":
        for end, handler in _ENDS[shape]:
            if path.endswith(end):
                return handler, ""
    found = _MODEL.search(path)
    if found is not None and shape is Shape.GOOGLE and method == "POST":
        operation = _OPERATIONS.get(found.group(2) or "")
        if operation is not None:
            return operation, unquote(found.group(1))
    if method == "GET" and shape is not Shape.GOOGLE:
        listing = anthropic if shape is Shape.ANTHROPIC else openai_other
        if path.endswith("/models"):
            return listing.models, ""
        if found is not None:
            return listing.model, unquote(found.group(1))
    raise RefusedError(_no_route(shape, method, path))


def _no_route(shape: Shape, method: str, path: str) -> Answer:
    match shape:
        case Shape.OPENAI:
            return openai_errors.no_route(method, path)
        case Shape.ANTHROPIC:
            return anthropic.error(404, "Not Found")
        case Shape.GOOGLE:
            return gemini.error(404, f"Requested entity was not found: {path}")


def _parsed(shape: Shape, body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    match shape:
        case Shape.OPENAI:
            raise RefusedError(openai_errors.not_json())
        case Shape.ANTHROPIC:
            raise RefusedError(anthropic.error(400, "The request body is not valid JSON"))
        case Shape.GOOGLE:
            raise RefusedError(gemini.error(400, "Invalid JSON payload received."))


def _failure(shape: Shape, status: int, body: str | None) -> Answer:
    """The answer that was asked for, which may well be no failure."""
    message = f"This is the {status} that was asked for."
    match shape:
        case Shape.OPENAI:
            found = openai_errors.error(status, message)
        case Shape.ANTHROPIC:
            found = anthropic.error(status, message)
        case Shape.GOOGLE:
            found = gemini.error(status, message)
    retry = (("retry-after", "1"),) if status in (429, 503, 529) else ()
    return Answer(status, found.headers + retry, found.body if body is None else body.encode())
