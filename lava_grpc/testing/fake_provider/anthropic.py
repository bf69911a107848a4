"""Anthropic's messages, token counts and list of models."""

from __future__ import annotations

from typing import Any

from lava_grpc.testing.fake_provider.answer import (
    Answer,
    Ask,
    RefusedError,
    json_answer,
    named_event,
    overlaid,
    sse_answer,
)
from lava_grpc.testing.fake_provider.openai_errors import UNKNOWN_MODEL
from lava_grpc.testing.fake_provider.words import Speech, speak, tokens_in

MODELS = {
    "claude-sonnet-4-6": "Claude Sonnet 4.6",
    "claude-opus-4-6": "Claude Opus 4.6",
    "claude-haiku-4-5": "Claude Haiku 4.5",
}

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def messages(ask: Ask) -> Answer:
    """POST /v1/messages."""
    model = _model_of(ask)
    limit = _needed(ask, "max_tokens")
    prompt = _prompt(ask)
    if not isinstance(limit, int) or limit < 1:
        raise _bad_request("max_tokens: Input should be greater than or equal to 1")
    speech = speak(prompt, words=ask.fault.words, limit=limit)
    message: dict[str, Any] = {
        "id": f"msg_{ask.serial:024d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    if ask.body.get("stream") is True:
        return _stream(ask, message, speech, prompt)
    ended = {
        **message,
        "content": [{"type": "text", "text": speech.text}],
        "stop_reason": _reason(speech),
    }
    return json_answer({**ended, **_stated(ask, prompt, speech.tokens)})


def count_tokens(ask: Ask) -> Answer:
    """POST /v1/messages/count_tokens."""
    _model_of(ask)
    return json_answer({"input_tokens": _prompt(ask)})


def models(ask: Ask) -> Answer:
    """GET /v1/models."""
    del ask
    found = [_model(ident) for ident in MODELS]
    ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]}
    return json_answer({"data": found, "has_more": False, **ends})


def model(ask: Ask) -> Answer:
    """GET /v1/models/{model}."""
    return json_answer(_model(_existing(ask.model)))


def error(status: int, message: str) -> Answer:
    """An error in Anthropic's shape."""
    kind = _TYPES.get(status, "api_error")
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return json_answer({**body, "request_id": "req_fake"}, status=status)


def check_version(ask_headers: dict[str, str]) -> Answer | None:
    """The answer to a call without a version, None for one with it."""
    if "anthropic-version" in ask_headers:
        return None
    return error(400, "anthropic-version: header is required")


def _model(ident: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": ident,
        "display_name": MODELS.get(ident, ident),
        "created_at": "2026-01-01T00:00:00Z",
    }


def _bad_request(message: str) -> RefusedError:
    return RefusedError(error(400, message))


def _needed(ask: Ask, name: str) -> object:
    if name not in ask.body:
        raise _bad_request(f"{name}: Field required")
    return ask.body[name]


def _model_of(ask: Ask) -> str:
    name = _needed(ask, "model")
    if not isinstance(name, str):
        raise _bad_request("model: Input should be a valid string")
    return _existing(name)


def _existing(name: str) -> str:
    if UNKNOWN_MODEL.search(name):
        raise RefusedError(error(404, f"model: {name}"))
    return name


def _prompt(ask: Ask) -> int:
    given = _needed(ask, "messages")
    if not given:
        raise _bad_request("messages: at least one message is required")
    return tokens_in(given) + tokens_in(ask.body.get("system"))


def _reason(speech: Speech) -> str:
    return "max_tokens" if speech.truncated else "end_turn"


def _stated(ask: Ask, prompt: int, output: int) -> dict[str, Any]:
    if ask.fault.no_usage:
        return {}
    usage = {
        "input_tokens": prompt,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    }
    return {"usage": overlaid(usage, ask.fault)}


def _stream(ask: Ask, message: dict[str, Any], speech: Speech, prompt: int) -> Answer:
    first = {**message, **_stated(ask, prompt, 1)}
    last = _stated(ask, prompt, speech.tokens)
    if last:
        last["usage"] = {
            key: value
            for key, value in last["usage"].items()
            if key not in ("cache_creation", "service_tier")
        }
    deltas = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": piece},
        }
        for piece in speech.pieces
    ]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": first},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {"type": "ping"},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": _reason(speech), "stop_sequence": None},
            **last,
        },
        {"type": "message_stop"},
    ]
    if ask.fault.no_done:
        events.pop()
    return sse_answer([named_event(event) for event in events])
