"""The Responses API: JSON, and its typed events."""

from __future__ import annotations

from typing import Any

from lava_grpc.testing.fake_provider import openai_errors as errors
from lava_grpc.testing.fake_provider.answer import (
    CREATED_SECONDS,
    Answer,
    Ask,
    json_answer,
    named_event,
    overlaid,
    sse_answer,
)
from lava_grpc.testing.fake_provider.words import Speech, speak, tokens_in


def responses(ask: Ask) -> Answer:
    """POST /v1/responses."""
    model = errors.model_of(ask)
    prompt = tokens_in(errors.needed(ask, "input")) + tokens_in(ask.body.get("instructions"))
    limit = ask.limit("max_output_tokens")
    speech = speak(prompt, words=ask.fault.words, limit=limit)
    started = _started(ask, model, limit)
    ended = _ended(ask, started, speech, prompt)
    if ask.body.get("stream") is not True:
        return json_answer(ended)
    events = _events(started, ended, speech)
    if ask.fault.no_done:
        events.pop()
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return sse_answer([named_event(event) for event in numbered])


def _started(ask: Ask, model: str, limit: int | None) -> dict[str, Any]:
    return {
        "id": f"resp_{ask.serial:032d}",
        "object": "response",
        "created_at": CREATED_SECONDS,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": ask.body.get("instructions"),
        "max_output_tokens": limit,
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "auto",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": ask.body.get("metadata") or {},
    }


def _ended(ask: Ask, started: dict[str, Any], speech: Speech, prompt: int) -> dict[str, Any]:
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": speech.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + speech.tokens,
    }
    return {
        **started,
        "status": "incomplete" if speech.truncated else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if speech.truncated else None,
        "output": [_item(started, speech)],
        "service_tier": "default",
        "usage": None if ask.fault.no_usage else overlaid(usage, ask.fault),
    }


def _item(response: dict[str, Any], speech: Speech) -> dict[str, Any]:
    return {
        "id": f"msg_{response['id'][5:]}",
        "type": "message",
        "status": "incomplete" if speech.truncated else "completed",
        "content": [_part(speech.text)],
        "role": "assistant",
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _events(started: dict[str, Any], ended: dict[str, Any], speech: Speech) -> list[dict[str, Any]]:
    item = ended["output"][0]
    opened = {**item, "status": "in_progress", "content": []}
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    deltas = [
        {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
        for piece in speech.pieces
    ]
    return [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": opened},
        {"type": "response.content_part.added", **at, "part": _part("")},
        *deltas,
        {"type": "response.output_text.done", **at, "text": speech.text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": f"response.{ended['status']}", "response": ended},
    ]
