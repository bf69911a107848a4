"""Answers of providers in the shapes that they publish, written afresh.

Sources: each provider's API reference, and the types of its official Python client.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lava_grpc.testing import Scripted

WORDS = ("Sleep", " is", " good", ".")
TEXT = "".join(WORDS)
CREATED = 1_767_225_600

Json = Mapping[str, Any]

_JSON = (("content-type", "application/json"),)
_SSE = (("content-type", "text/event-stream"),)
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Published:
    """An endpoint's answers, whole and streamed, and the usage that both state."""

    host: str
    model: str
    path: str
    stream_path: str
    whole: Json
    events: tuple[bytes, ...]
    ident: str
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cache_read_tokens: int = 0

    @property
    def scripted(self) -> Scripted:
        """The whole answer."""
        return Scripted(200, _JSON, (json.dumps(self.whole).encode(),))

    @property
    def streamed(self) -> Scripted:
        """The stream, each event a chunk of its own."""
        return Scripted(200, _SSE, self.events)


def _data(documents: Iterable[Json], *, end: str = "\n\n") -> tuple[bytes, ...]:
    return tuple(f"data: {json.dumps(document)}{end}".encode() for document in documents)


def _named(documents: Iterable[Json]) -> tuple[bytes, ...]:
    return tuple(
        f"event: {document['type']}\ndata: {json.dumps(document)}\n\n".encode()
        for document in documents
    )


def _chunks(head: Json, last: Json) -> list[Json]:
    """A chat's chunks in OpenAI's shape; `last` is laid over the one with the finish reason."""
    deltas: list[Json] = [{"role": "assistant", "content": ""}, *({"content": w} for w in WORDS)]
    pieces = [{**head, "choices": [_choice(delta=delta, finish_reason=None)]} for delta in deltas]
    final = {**head, "choices": [_choice(delta={"content": ""}, finish_reason="stop")], **last}
    return [*pieces, final]


def _choice(**facts: object) -> Json:
    return {"index": 0, "logprobs": None, **facts}


def _said(**more: object) -> list[Json]:
    message = {"role": "assistant", "content": TEXT, **more}
    return [_choice(message=message, finish_reason="stop")]


def _mistral() -> Published:
    # docs.mistral.ai/api, chat completions; usage comes with the last chunk, unasked.
    model, ident = "mistral-small-latest", "cmpl-e5cc70bb28c444948073e77776eb30ef"
    head = {"id": ident, "created": CREATED, "model": model}
    usage = {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50}
    return Published(
        host="api.mistral.ai",
        model=model,
        path="/v1/chat/completions",
        stream_path="/v1/chat/completions",
        whole={
            **head,
            "object": "chat.completion",
            "choices": _said(tool_calls=None, prefix=False),
            "usage": usage,
        },
        events=(
            *_data(_chunks({**head, "object": "chat.completion.chunk"}, {"usage": usage})),
            _DONE,
        ),
        ident=ident,
        input_tokens=16,
        output_tokens=34,
    )


def _groq() -> Published:
    # console.groq.com/docs/api-reference; a stream states usage under `x_groq`.
    model, ident = "llama-3.3-70b-versatile", "chatcmpl-f51b2cd2-bef7-417e-964e-a08f0b513c22"
    head = {"id": ident, "created": CREATED, "model": model, "system_fingerprint": "fp_179b0f92c9"}
    usage = {
        "queue_time": 0.037493756,
        "prompt_tokens": 180,
        "prompt_time": 0.000680594,
        "completion_tokens": 556,
        "completion_time": 0.463333333,
        "total_tokens": 736,
        "total_time": 0.464013927,
        "prompt_tokens_details": {"cached_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    x_groq = {"id": "req_01jbd6g2qdfw2adyrt2az8hz4w"}
    return Published(
        host="api.groq.com",
        model=model,
        path="/openai/v1/chat/completions",
        stream_path="/openai/v1/chat/completions",
        whole={
            **head,
            "object": "chat.completion",
            "choices": _said(),
            "usage": usage,
            "usage_breakdown": None,
            "x_groq": x_groq,
            "service_tier": "on_demand",
        },
        events=(
            *_data(
                _chunks(
                    {**head, "object": "chat.completion.chunk"},
                    {"x_groq": {**x_groq, "usage": usage}},
                )
            ),
            _DONE,
        ),
        ident=ident,
        input_tokens=180,
        output_tokens=556,
        reasoning_tokens=40,
        cache_read_tokens=128,
    )


def _together() -> Published:
    # docs.together.ai/reference/chat-completions; usage comes with the last chunk.
    model, ident = "meta-llama/Llama-3.3-70B-Instruct-Turbo", "oEVnRuT-4YNCb4-9219f5d1"
    head = {"id": ident, "created": CREATED, "model": model}
    usage = {"prompt_tokens": 32, "completion_tokens": 120, "total_tokens": 152}
    return Published(
        host="api.together.xyz",
        model=model,
        path="/v1/chat/completions",
        stream_path="/v1/chat/completions",
        whole={
            **head,
            "object": "chat.completion",
            "prompt": [],
            "choices": _said(tool_calls=[]),
            "usage": usage,
        },
        events=(
            *_data(
                _chunks(
                    {**head, "object": "chat.completion.chunk", "usage": None}, {"usage": usage}
                )
            ),
            _DONE,
        ),
        ident=ident,
        input_tokens=32,
        output_tokens=120,
    )


def _cohere() -> Published:
    # docs.cohere.com/v2/reference/chat and chat-stream; billed units are what is charged.
    ident = "c14c80c3-18eb-4519-9460-6c92edd8cfb4"
    usage = {
        "billed_units": {"input_tokens": 5, "output_tokens": 41},
        "tokens": {"input_tokens": 71, "output_tokens": 43},
        "cached_tokens": 48,
    }
    message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    return Published(
        host="api.cohere.ai",
        model="command-a-03-2025",
        path="/v2/chat",
        stream_path="/v2/chat",
        whole={
            "id": ident,
            "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
            "finish_reason": "COMPLETE",
            "usage": usage,
        },
        events=_named(
            (
                {"id": ident, "type": "message-start", "delta": {"message": message}},
                _content("content-start", {"type": "text", "text": ""}),
                *(_content("content-delta", {"text": word}) for word in WORDS),
                {"type": "content-end", "index": 0},
                {
                    "id": ident,
                    "type": "message-end",
                    "delta": {"finish_reason": "COMPLETE", "usage": usage},
                },
            )
        ),
        ident=ident,
        input_tokens=5,
        output_tokens=41,
    )


def _content(kind: str, content: Json) -> Json:
    return {"type": kind, "index": 0, "delta": {"message": {"content": content}}}


def _google() -> Published:
    # ai.google.dev/api/generate-content; each chunk restates the usage so far.
    model, ident = "gemini-2.5-flash", "mAitaLmkHPPlz7IPvtfUqQ4"
    path = f"/v1beta/models/{model}"
    head = {"modelVersion": model, "responseId": ident}
    prompt: Json = {
        "promptTokenCount": 108,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 108}],
        "cachedContentTokenCount": 96,
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 96}],
        "thoughtsTokenCount": 50,
    }
    usage: Json = {**prompt, "candidatesTokenCount": 20, "totalTokenCount": 178}
    pieces: list[Json] = [
        {
            "candidates": [_candidate(word)],
            "usageMetadata": {**prompt, "candidatesTokenCount": 5, "totalTokenCount": 163},
            **head,
        }
        for word in WORDS
    ]
    end: Json = {"candidates": [_candidate("", "STOP")], "usageMetadata": usage, **head}
    return Published(
        host="generativelanguage.googleapis.com",
        model=model,
        path=f"{path}:generateContent",
        stream_path=f"{path}:streamGenerateContent?alt=sse",
        whole={"candidates": [_candidate(TEXT, "STOP")], "usageMetadata": usage, **head},
        events=_data((*pieces, end), end="\r\n\r\n"),
        ident=ident,
        input_tokens=108,
        output_tokens=70,
        reasoning_tokens=50,
        cache_read_tokens=96,
    )


def _candidate(text: str, finished: str | None = None) -> Json:
    content = {"parts": [{"text": text}], "role": "model"}
    return {
        "content": content,
        "index": 0,
        **({} if finished is None else {"finishReason": finished}),
    }


MISTRAL = _mistral()
GROQ = _groq()
TOGETHER = _together()
COHERE = _cohere()
GOOGLE = _google()
