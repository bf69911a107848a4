"""Chat completions, and the older completions, in OpenAI's shapes."""

from __future__ import annotations

from typing import Any

from lava_grpc.testing.fake_provider import openai_errors as errors
from lava_grpc.testing.fake_provider.answer import (
    CREATED_SECONDS,
    Answer,
    Ask,
    data_event,
    encode,
    json_answer,
    overlaid,
    sse_answer,
)
from lava_grpc.testing.fake_provider.words import Speech, speak, tokens_in

DONE = b"data: [DONE]\n\n"

_COMPLETION_LIMIT = 16


def chat(ask: Ask) -> Answer:
    """POST /v1/chat/completions."""
    model = errors.model_of(ask)
    messages = errors.needed(ask, "messages")
    if not isinstance(messages, list) or not messages:
        raise errors.bad_request(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.",
            param="messages",
            code="empty_array",
        )
    prompt = tokens_in(messages)
    speeches = _speeches(ask, prompt, ask.limit("max_completion_tokens", "max_tokens"))
    usage = _usage(ask, prompt, speeches)
    head = {
        "id": f"chatcmpl-{ask.serial:024d}",
        "object": "chat.completion",
        "created": CREATED_SECONDS,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    if ask.body.get("stream") is True:
        return _stream(
            ask, {**head, "object": "chat.completion.chunk"}, _chat_deltas(speeches), usage
        )
    choices: list[dict[str, Any]] = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": speech.text,
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": _reason(speech),
        }
        for index, speech in enumerate(speeches)
    ]
    return json_answer({**head, "choices": choices, **({} if usage is None else {"usage": usage})})


def completions(ask: Ask) -> Answer:
    """POST /v1/completions."""
    model = errors.model_of(ask)
    prompt = tokens_in(errors.needed(ask, "prompt"))
    limit = ask.limit("max_tokens")
    speeches = _speeches(ask, prompt, _COMPLETION_LIMIT if limit is None else limit)
    usage = _usage(ask, prompt, speeches)
    head = {
        "id": f"cmpl-{ask.serial:024d}",
        "object": "text_completion",
        "created": CREATED_SECONDS,
        "model": model,
    }
    if ask.body.get("stream") is True:
        return _stream(ask, head, _text_deltas(speeches), usage)
    choices = [
        _text_choice(index, speech.text, _reason(speech)) for index, speech in enumerate(speeches)
    ]
    return json_answer({**head, "choices": choices, **({} if usage is None else {"usage": usage})})


def _speeches(ask: Ask, prompt: int, limit: int | None) -> list[Speech]:
    count = ask.limit("n") or 1
    words = ask.fault.words
    return [speak(prompt, choice=index, words=words, limit=limit) for index in range(count)]


def _usage(ask: Ask, prompt: int, speeches: list[Speech]) -> dict[str, Any] | None:
    if ask.fault.no_usage:
        return None
    completion = sum(speech.tokens for speech in speeches)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return overlaid(usage, ask.fault)


def _reason(speech: Speech) -> str:
    return "length" if speech.truncated else "stop"


def _stream(
    ask: Ask, head: dict[str, Any], choices: list[dict[str, Any]], usage: dict[str, Any] | None
) -> Answer:
    options = ask.body.get("stream_options") or {}
    asked = options.get("include_usage") is True and usage is not None
    # Every chunk but the last then says that it has none.
    end = b'],"usage":null}\n\n' if asked else b"]}\n\n"
    # What all chunks share is written once: this is what a benchmark spends its time on.
    start = b"data: " + encode(head)[:-1] + b',"choices":['
    events = [start + encode(choice) + end for choice in choices]
    if asked:
        events.append(data_event({**head, "choices": [], "usage": usage}))
    if not ask.fault.no_done:
        events.append(DONE)
    return sse_answer(events)


def _chat_deltas(speeches: list[Speech]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = []
    for index, speech in enumerate(speeches):
        role = {"role": "assistant", "content": "", "refusal": None}
        deltas.append(_delta(index, role, None))
        deltas.extend(_delta(index, {"content": piece}, None) for piece in speech.pieces)
        deltas.append(_delta(index, {}, _reason(speech)))
    return deltas


def _delta(index: int, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _text_deltas(speeches: list[Speech]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = []
    for index, speech in enumerate(speeches):
        deltas.extend(_text_choice(index, piece, None) for piece in speech.pieces)
        deltas.append(_text_choice(index, "", _reason(speech)))
    return deltas


def _text_choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
