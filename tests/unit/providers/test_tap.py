"""Bytes pass as they are; usage is read on the side; one chunk is taken out."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.providers import tap as taps
from lava_grpc.providers.base import Call
from lava_grpc.providers.registry import make_tap
from tests.unit.providers.calls import call, provider, read, sse
from tests.unit.providers.recordings import cut
from tests.unit.providers.steady import steady

CHAT = "/v1/chat/completions"
EVENTS = "text/event-stream"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
DELTA = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ASKED_FOR = {"choices": [], "usage": USAGE}


def _asked() -> Call:
    made = call("openai", CHAT, {"stream": True})
    assert made.usage_injected
    return made


def _passed(made: Call, chunks: list[bytes], kind: str = EVENTS, **headers: str) -> bytes:
    sent = {"Content-Type": kind, **headers}
    tap = make_tap(provider(made.provider), made, 200, sent)
    return b"".join([tap.feed(chunk) for chunk in chunks]) + tap.finish()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@steady
@given(size=st.integers(1, 300))
def test_the_chunk_we_asked_for_is_taken_out_at_any_cut(end: bytes, size: int) -> None:
    def on_the_wire(*events: object) -> bytes:
        return sse(*events).replace(b"\n", end)  # type: ignore[arg-type]

    sent = on_the_wire(DELTA, STOP, ASKED_FOR, "[DONE]")
    assert _passed(_asked(), cut(sent, size)) == on_the_wire(DELTA, STOP, "[DONE]")


@pytest.mark.parametrize(
    "events",
    [
        (DELTA, STOP | {"usage": USAGE}, "[DONE]"),
        (DELTA, STOP, {"choices": [], "prompt_filter_results": []}, "[DONE]"),
        (DELTA, STOP, "[DONE]"),
        (DELTA, "not json", {"error": {"message": "x"}}),
    ],
)
@steady
@given(size=st.integers(1, 300))
def test_nothing_else_is_taken_out(events: tuple[object, ...], size: int) -> None:
    raw = sse(*events)  # type: ignore[arg-type]
    assert _passed(_asked(), cut(raw, size)) == raw


def test_a_null_that_came_with_the_chunk_goes_with_it() -> None:
    # OpenAI documents that asking for usage gives every other chunk a null one.
    quoted = {"choices": [{"delta": {"content": ',"usage":null'}}]}
    raw = sse(*(each | {"usage": None, "obfuscation": "x"} for each in (DELTA, quoted, STOP)))
    bare = sse(*(each | {"obfuscation": "x"} for each in (DELTA, quoted, STOP)))
    for size in (1, 7, 1000):
        assert _passed(_asked(), cut(raw + sse(ASKED_FOR), size)) == bare


def test_a_null_of_a_host_that_is_not_known_to_add_it_stays() -> None:
    raw = sse(DELTA | {"usage": None}, STOP | {"usage": None})
    made = call("deepseek", CHAT, {"stream": True})
    assert made.usage_injected
    assert _passed(made, [raw + sse(ASKED_FOR)]) == raw


def test_comments_beside_the_chunk_stay() -> None:
    raw = b": keep-alive\n" + sse(ASKED_FOR)
    assert _passed(_asked(), [raw]) == b": keep-alive\n"


def test_a_client_that_asked_for_usage_keeps_its_chunk() -> None:
    body = {"stream": True, "stream_options": {"include_usage": True}}
    raw = sse(DELTA, STOP, ASKED_FOR, "[DONE]")
    assert _passed(call("openai", CHAT, body), cut(raw, 9)) == raw


def test_a_stream_that_was_asked_for_usage_and_answers_in_json_passes() -> None:
    raw = json.dumps({"usage": USAGE}).encode()
    made = _asked()
    assert _passed(made, cut(raw, 5), "application/json") == raw
    assert read(made, raw).usage.input_tokens == 3


@steady
@given(
    st.lists(st.binary(max_size=60), max_size=8), st.sampled_from([EVENTS, "", "application/json"])
)
def test_any_bytes_pass_unchanged(chunks: list[bytes], kind: str) -> None:
    for made in (call("openai", CHAT, {"stream": True}), call("mistral", CHAT, {"stream": True})):
        raw = b"".join(chunks)
        if b'"usage"' not in raw:
            assert _passed(made, chunks, kind) == raw


def test_a_refusal_passes_unread() -> None:
    tap = make_tap(provider("openai"), _asked(), 429, {"content-type": "application/json"})
    assert tap.feed(b'{"usage":{"prompt_tokens":1}}') == b'{"usage":{"prompt_tokens":1}}'
    assert tap.finish() == b""
    reading = tap.reading()
    assert (reading.failed, reading.stated) == (True, False)
    assert reading.note == "the provider answered 429"


@pytest.mark.parametrize("size", [1, 13, 10**6])
def test_a_squeezed_answer_passes_squeezed_and_is_read(size: int) -> None:
    raw = gzip.compress(json.dumps({"usage": USAGE, "model": "m"}).encode())
    made = call("openai", CHAT)
    tap = make_tap(
        provider("openai"),
        made,
        200,
        {"content-type": "application/json", "Content-Encoding": "gzip"},
    )
    assert b"".join(tap.feed(chunk) for chunk in cut(raw, size)) == raw
    assert tap.finish() == b""
    assert tap.reading().usage.input_tokens == 3


def test_an_encoding_that_cannot_be_read_passes_and_says_so() -> None:
    made = call("openai", CHAT)
    assert (
        _passed(made, [b"\x8b\x01"], "application/json", **{"Content-Encoding": "br"})
        == b"\x8b\x01"
    )
    reading = read(made, b"\x8b", headers={"content-encoding": "br"})
    assert reading.note == "content-encoding br cannot be read"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet-stream", "text/plain; charset=x"]
)
def test_a_vague_content_type_is_looked_into(kind: str) -> None:
    document = json.dumps({"usage": USAGE}).encode()
    assert read(call("openai", CHAT), b"\n " + document, kind=kind).usage.input_tokens == 3
    stream = call("mistral", CHAT, {"stream": True})
    assert read(stream, sse(ASKED_FOR), kind=kind).usage.input_tokens == 3
    assert not read(call("openai", CHAT), b"plain words", kind=kind).stated


def test_an_answer_that_ended_early_says_so() -> None:
    reading = read(call("openai", CHAT), b'{"usage": {"prompt_tok')
    assert (reading.stated, reading.complete, reading.note) == (
        False,
        False,
        "the answer ended early",
    )
    assert reading.output_bytes_seen > 0


def test_an_answer_too_large_to_read_passes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "ANSWER_BYTES_MAX", 10)
    raw = json.dumps({"usage": USAGE}).encode()
    assert _passed(call("openai", CHAT), cut(raw, 4), "application/json") == raw
    assert read(call("openai", CHAT), raw).note == "the answer was too large to read"


def test_a_stream_that_a_last_blank_line_does_not_close_is_read() -> None:
    made = call("mistral", CHAT, {"stream": True})
    reading = read(made, sse(DELTA, STOP | {"usage": USAGE}).rstrip(b"\n"), kind=EVENTS)
    assert reading.usage.input_tokens == 3


def test_a_reading_before_the_end_knows_what_was_seen() -> None:
    made = call("openai", CHAT, {"stream": True})
    tap = make_tap(provider("openai"), made, 200, {"content-type": EVENTS})
    assert tap.feed(sse(DELTA)) == sse(DELTA)
    reading = tap.reading()
    assert (reading.output_bytes_seen, reading.stated, reading.complete) == (2, False, False)
