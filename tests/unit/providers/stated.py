"""What an answer states of its usage, read from its JSON with no code of the package's.

The zero counts are left out, as in `Usage.as_dict`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.unit.providers.recordings import Recording

Json = dict[str, Any]


def _nothing_to_state(_: Recording) -> dict[str, int]:
    return {}


def stated(recording: Recording, flavor: str) -> dict[str, int]:
    """The usage that a recorded answer states, by the field names of `Usage`."""
    counts = _READERS[flavor](recording)
    return {name: value for name, value in counts.items() if value}


def openai_usage(recording: Recording) -> Json:
    """The last usage object of a chat completion, a response or an embedding."""
    if not recording.streamed:
        usage = recording.document().get("usage")
    else:
        usage = None
        for event in recording.sse():
            event = event.get("response", event)  # noqa: PLW2901 - a wrapper taken off
            usage = event.get("usage") or (event.get("x_groq") or {}).get("usage") or usage
    return usage or {}


def _response_searches(recording: Recording) -> int:
    """The searches among the output items of a response."""
    events = recording.sse() if recording.streamed else [recording.document()]
    found = [event.get("response", event) for event in events]
    items = [item for response in found[-1:] for item in response.get("output") or []]
    calls = [item["action"] for item in items if item["type"] == "web_search_call"]
    return sum(action["type"] == "search" for action in calls)


def _grounded(recording: Recording) -> int:
    """The searches that are billed: all of Gemini 3, one an answer before it."""
    events = recording.sse() if recording.streamed else [recording.document()]
    candidates = [c for event in events for c in event.get("candidates", [])]
    queries = [(c.get("groundingMetadata") or {}).get("webSearchQueries") for c in candidates]
    searched = [len(each) for each in queries if each]
    return (searched[-1] if "gemini-3" in recording.url else 1) if searched else 0


def anthropic_usage(recording: Recording) -> Json:
    """The usage of a message; in a stream each event restates some fields."""
    if not recording.streamed:
        found: Json = recording.document()["usage"]
        return found
    usage: Json = {}
    for event in recording.sse():
        later = event.get("usage") or (event.get("message") or {}).get("usage") or {}
        usage |= {key: value for key, value in later.items() if value is not None}
    return usage


def gemini_usage(recording: Recording) -> Json:
    """The usage metadata; in a stream every chunk restates it."""
    if not recording.streamed:
        found: Json = recording.document()["usageMetadata"]
        return found
    usage: Json = {}
    for event in recording.sse():
        usage |= event.get("usageMetadata", {})
    return usage


def converse_usage(recording: Recording) -> Json:
    """The usage of converse, or of the `metadata` message of its stream."""
    if not recording.streamed:
        found: Json = recording.document()["usage"]
        return found
    payloads = [json.loads(payload) for payload in _messages(recording.answer)]
    return next(payload["usage"] for payload in payloads if "usage" in payload)


def _messages(raw: bytes) -> Iterator[bytes]:
    while raw:
        total, headers = struct.unpack(">II", raw[:8])
        yield raw[12 + headers : total - 4]
        raw = raw[total:]


def _openai(recording: Recording) -> dict[str, int]:
    usage = openai_usage(recording)
    before = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    after = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    prompt, completion = ("prompt_tokens", "completion_tokens")
    if prompt not in usage:
        prompt, completion = ("input_tokens", "output_tokens")
    return {
        "input_tokens": usage.get(prompt, 0),
        "output_tokens": usage.get(completion, 0),
        "cache_read_tokens": before.get("cached_tokens") or 0,
        "cache_write_tokens": before.get("cache_write_tokens") or 0,
        "input_audio_tokens": before.get("audio_tokens") or 0,
        "output_audio_tokens": after.get("audio_tokens") or 0,
        "input_image_tokens": before.get("image_tokens") or 0,
        "output_image_tokens": after.get("image_tokens") or 0,
        "reasoning_tokens": after.get("reasoning_tokens") or 0,
    }


def _responses(recording: Recording) -> dict[str, int]:
    return _openai(recording) | {"web_searches": _response_searches(recording)}


def _anthropic(recording: Recording) -> dict[str, int]:
    usage = anthropic_usage(recording)
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    return {
        "input_tokens": usage["input_tokens"] + read + written,
        "output_tokens": usage["output_tokens"],
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": (usage.get("cache_creation") or {}).get(
            "ephemeral_1h_input_tokens", 0
        ),
        "web_searches": (usage.get("server_tool_use") or {}).get("web_search_requests", 0),
        "reasoning_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
    }


def _gemini(recording: Recording) -> dict[str, int]:
    usage = gemini_usage(recording)

    def of(kinds: tuple[str, ...], *lists: str) -> int:
        entries = [entry for name in lists for entry in usage.get(name, [])]
        return sum(entry.get("tokenCount", 0) for entry in entries if entry["modality"] in kinds)

    thoughts = usage.get("thoughtsTokenCount", 0)
    prompt = ("promptTokensDetails", "toolUsePromptTokensDetails")
    return {
        "input_tokens": usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
        "output_tokens": usage.get("candidatesTokenCount", 0) + thoughts,
        "reasoning_tokens": thoughts,
        "cache_read_tokens": usage.get("cachedContentTokenCount", 0),
        "input_audio_tokens": of(("AUDIO",), *prompt),
        "input_image_tokens": of(("IMAGE", "DOCUMENT"), *prompt),
        "input_video_tokens": of(("VIDEO",), *prompt),
        "web_searches": _grounded(recording),
        "output_image_tokens": of(("IMAGE",), "candidatesTokensDetails"),
        "output_audio_tokens": of(("AUDIO",), "candidatesTokensDetails"),
        "cache_audio_read_tokens": of(("AUDIO",), "cacheTokensDetails"),
        "cache_image_read_tokens": of(("IMAGE", "DOCUMENT"), "cacheTokensDetails"),
    }


def _converse(recording: Recording) -> dict[str, int]:
    usage = converse_usage(recording)
    read = usage.get("cacheReadInputTokens") or 0
    written = usage.get("cacheWriteInputTokens") or 0
    return {
        "input_tokens": usage["inputTokens"] + read + written,
        "output_tokens": usage["outputTokens"],
        "cache_read_tokens": read,
        "cache_write_tokens": written,
    }


def _cohere(recording: Recording) -> dict[str, int]:
    document = recording.document()
    billed = (document.get("usage") or document.get("meta"))["billed_units"]
    return {
        "input_tokens": billed.get("input_tokens", 0) + billed.get("image_tokens", 0),
        "output_tokens": billed.get("output_tokens", 0),
        "input_image_tokens": billed.get("image_tokens", 0),
        "search_units": billed.get("search_units", 0),
        "images": billed.get("images", 0),
    }


def _nothing(recording: Recording) -> dict[str, int]:
    """Cohere's embeddings on Bedrock state their tokens in headers, which are not recorded."""
    assert b"oken_count" not in recording.answer
    assert b"okenCount" not in recording.answer
    return {}


_READERS = {
    "chat": _openai,
    "responses": _responses,
    "embeddings": _openai,
    "messages": _anthropic,
    "generate": _gemini,
    "converse": _converse,
    "cohere": _cohere,
    "invoke": _nothing,
    "no_usage": _nothing_to_state,
}
