"""Streams of every framing: wherever they are cut, the same bytes pass and the same is read."""

from __future__ import annotations

import gzip
import json
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.registry import make_tap
from tests.unit.providers.calls import call, provider, sse
from tests.unit.providers.steady import steady
from tests.unit.providers.test_framing import message

SSE = "text/event-stream; charset=utf-8"
AWS = "application/vnd.amazon.eventstream"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
DELTA = {"model": "m", "choices": [{"index": 0, "delta": {"content": 'naïve 🙂 "{'}}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
LAST = {"choices": [], "usage": USAGE}
CHAT = sse(DELTA, DELTA, STOP, LAST, "[DONE]")
# As the standard lets a server write: a mark in front, comments, fields nobody knows, data over
# several lines, no space after the colon.
ODD = (
    b"\xef\xbb\xbf: hello\n\nid: 7\nretry: 10\nunknown\ndata:"
    + json.dumps(DELTA).encode()
    + b'\n\n: ping\ndata: {"choices": [],\ndata:  "usage":\ndata: {"prompt_tokens": 3,\n'
    b'data: "completion_tokens": 2}}\n: end\n\ndata: [DONE]\n\n'
)
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": 'naïve } ] \\ " 🙂'}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}
OLLAMA = [
    {"model": "m", "message": {"content": "naïve 🙂"}, "done": False},
    {"model": "m", "done": True, "prompt_eval_count": 3, "eval_count": 2},
]
_BLOCK = {"contentBlockIndex": 0, "delta": {"text": "naïve 🙂"}}
_METADATA = {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}}


def _aws(name: str, document: object) -> bytes:
    return message({":event-type": name}, json.dumps(document).encode())


CONVERSE = (
    _aws("contentBlockDelta", _BLOCK)
    + _aws("messageStop", {"stopReason": "end_turn"})
    + _aws("metadata", _METADATA)
)
_CHAT_CALL = call("mistral", "/v1/chat/completions", {"stream": True})
_GEMINI_PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
STREAMS: dict[str, tuple[Call, str, bytes]] = {
    "sse lf": (_CHAT_CALL, SSE, CHAT),
    "sse crlf": (_CHAT_CALL, SSE, CHAT.replace(b"\n", b"\r\n")),
    "sse cr": (_CHAT_CALL, SSE, CHAT.replace(b"\n", b"\r")),
    "sse odd": (_CHAT_CALL, SSE, ODD),
    "sse odd crlf": (_CHAT_CALL, SSE, ODD.replace(b"\n", b"\r\n")),
    "gemini sse": (call("google", _GEMINI_PATH + "?alt=sse"), SSE, sse(GEMINI)),
    "gemini array": (
        call("google", _GEMINI_PATH),
        "application/json",
        json.dumps([GEMINI, GEMINI], indent=2).encode(),
    ),
    "ndjson": (
        call("ollama", "/api/chat", {"model": "m"}),
        "application/x-ndjson",
        b"\r\n".join(json.dumps(each).encode() for each in OLLAMA),
    ),
    "aws": (call("bedrock", "/model/m/converse-stream"), AWS, CONVERSE),
}
cuts = st.lists(st.integers(0, 1200), max_size=40)


def _pieces(raw: bytes, where: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(raw)) for cut in where), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


def _passed(
    made: Call, kind: str, chunks: list[bytes], encoding: str | None = None
) -> tuple[bytes, UsageReading]:
    headers = {"content-type": kind} | ({"content-encoding": encoding} if encoding else {})
    tap = make_tap(provider(made.provider), made, 200, headers)
    passed = b"".join([tap.feed(chunk) for chunk in chunks]) + tap.finish()
    return passed, tap.reading()


@pytest.mark.parametrize("name", STREAMS)
@steady
@given(where=cuts)
def test_any_cut_gives_the_same_bytes_and_the_same_reading(name: str, where: list[int]) -> None:
    made, kind, raw = STREAMS[name]
    _, whole = _passed(made, kind, [raw])
    passed, reading = _passed(made, kind, _pieces(raw, where))
    assert passed == raw
    assert reading == whole
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (3, 2)
    assert (reading.stated, reading.complete, reading.failed) == (True, True, False)


@pytest.mark.parametrize("name", STREAMS)
def test_a_cut_at_every_byte_gives_the_same(name: str) -> None:
    made, kind, raw = STREAMS[name]
    _, whole = _passed(made, kind, [raw])
    for at in range(1, len(raw)):
        assert _passed(made, kind, [raw[:at], raw[at:]]) == (raw, whole)
    assert _passed(made, kind, [raw[n : n + 1] for n in range(len(raw))]) == (raw, whole)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@steady
@given(where=cuts)
def test_the_chunk_we_asked_for_goes_and_all_else_stays_at_any_cut(
    end: bytes, where: list[int]
) -> None:
    made = call("deepseek", "/v1/chat/completions", {"stream": True})
    assert made.usage_injected
    raw = CHAT.replace(b"\n", end)
    passed, reading = _passed(made, SSE, _pieces(raw, where))
    assert passed == sse(DELTA, DELTA, STOP, "[DONE]").replace(b"\n", end)
    assert reading.usage.output_tokens == 2


def _bare(raw: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(raw) + squeeze.flush()


@pytest.mark.parametrize("name", ["sse odd", "gemini array", "aws"])
@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", _bare)],
    ids=["gzip", "zlib", "bare deflate"],
)
@steady
@given(where=cuts)
def test_a_squeezed_stream_passes_squeezed_and_is_read_at_any_cut(
    name: str, encoding: str, encode: object, where: list[int]
) -> None:
    assert callable(encode)
    made, kind, raw = STREAMS[name]
    squeezed = encode(raw)
    _, whole = _passed(made, kind, [raw])
    assert _passed(made, kind, _pieces(squeezed, where), encoding) == (squeezed, whole)


# What each shape sends inside a stream that began well: (call, content type, stream).
_FAILED = {"error": {"message": "overloaded", "type": "server_error", "code": 503}}
_MESSAGE = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
ERRORS: dict[str, tuple[Call, str, bytes]] = {
    "openai chat": (_CHAT_CALL, SSE, sse(DELTA, _FAILED)),
    "openai chat, named": (_CHAT_CALL, SSE, sse(DELTA, ("error", _FAILED))),
    "openai responses": (
        call("openai", "/v1/responses", {"stream": True}),
        SSE,
        sse(
            ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "hi"}),
            ("error", {"type": "error", "code": "server_error", "message": "no"}),
        ),
    ),
    "openai responses, failed": (
        call("openai", "/v1/responses", {"stream": True}),
        SSE,
        sse(
            ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "hi"}),
            ("response.failed", {"type": "response.failed", "response": {"status": "failed"}}),
        ),
    ),
    "anthropic": (
        call("anthropic", "/v1/messages", {"stream": True}),
        SSE,
        sse(("message_start", _MESSAGE), ("error", _OVERLOADED)),
    ),
    "gemini sse": (
        call("google", _GEMINI_PATH + "?alt=sse"),
        SSE,
        sse({"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}, _FAILED),
    ),
    "gemini array": (
        call("google", _GEMINI_PATH),
        "application/json",
        json.dumps([{"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}, _FAILED]).encode(),
    ),
    "bedrock": (
        call("bedrock", "/model/m/converse-stream"),
        AWS,
        _aws("contentBlockDelta", _BLOCK)
        + message(
            {":message-type": "exception", ":exception-type": "modelStreamErrorException"},
            b'{"message":"no"}',
        ),
    ),
    "bedrock, unmodeled": (
        call("bedrock", "/model/m/converse-stream"),
        AWS,
        _aws("contentBlockDelta", _BLOCK)
        + message({":message-type": "error", ":error-code": "InternalError"}, b""),
    ),
    "ollama": (
        call("ollama", "/api/chat", {"model": "m"}),
        "application/x-ndjson",
        json.dumps(OLLAMA[0]).encode() + b'\n{"error":"no"}\n',
    ),
    "mistral conversations": (
        call("mistral", "/v1/conversations", {"stream": True}),
        SSE,
        sse(
            ("message.output.delta", {"type": "message.output.delta", "content": "hi"}),
            ("conversation.response.error", {"message": "no", "code": 1}),
        ),
    ),
    "cohere": (
        call("cohere", "/v2/chat", {"stream": True}),
        SSE,
        sse(
            (
                "content-delta",
                {"type": "content-delta", "delta": {"message": {"content": {"text": "hi"}}}},
            ),
            (
                "message-end",
                {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "no"}},
            ),
        ),
    ),
    "interactions": (
        call("google", "/v1beta/interactions", {"stream": True}),
        SSE,
        sse(("content.delta", {"delta": {"text": "hi"}}), ("error", _FAILED)),
    ),
}


@pytest.mark.parametrize("name", ERRORS)
@steady
@given(where=cuts)
def test_an_error_inside_a_stream_is_seen_and_what_came_before_is_kept(
    name: str, where: list[int]
) -> None:
    made, kind, raw = ERRORS[name]
    passed, reading = _passed(made, kind, _pieces(raw, where))
    assert passed == raw
    assert reading.failed
    assert reading.output_bytes_seen or reading.stated
