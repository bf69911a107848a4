"""Answers that are reported after the fact are read as the gateway reads them on their way past."""

from __future__ import annotations

import json

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import Usage
from lava_grpc.providers.answer import RawAnswer, call_answered, read_answer, require_usage
from lava_grpc.providers.base import UsageReading
from lava_grpc.providers.prices import PriceBook
from tests.unit.providers.calls import provider, sse
from tests.unit.providers.recordings import Recording, ids, needs_recordings, recordings

AT: Instant = 1_795_000_000_000_000
PRICES = PriceBook()
USAGE = {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}


def _read(
    ident: str,
    raw: bytes,
    *,
    stream: bool = False,
    endpoint: str | None = None,
    model: str | None = None,
) -> UsageReading:
    answer = RawAnswer(raw, stream=stream)
    call = call_answered(provider(ident), answer, endpoint=endpoint, model=model)
    reading = read_answer(provider(ident), call, answer)
    require_usage(answer, reading)
    return reading


@needs_recordings
@pytest.mark.parametrize("recording", [r for r in recordings() if r.ok], ids=ids)
def test_every_recorded_answer_is_read_and_priced_as_the_gateway_does(recording: Recording) -> None:
    call, want = recording.whole()
    if call.flavor == "no_usage":
        return
    raw = RawAnswer(recording.answer, stream=recording.streamed)
    seller = recording.provider
    after = call_answered(
        seller, raw, endpoint=f"{recording.method} {recording.url}", model=call.model
    )
    reading = read_answer(seller, after, raw)
    if not (want.stated and want.complete):
        with pytest.raises(Refusal) as caught:
            require_usage(raw, reading)
        assert caught.value.field == raw.name
        return
    require_usage(raw, reading)
    assert reading.usage == want.usage
    assert (reading.model, reading.response_id) == (want.model, want.response_id)
    assert PRICES.cost_of(seller, after, reading, AT) == PRICES.cost_of(seller, call, want, AT)


def test_without_an_endpoint_it_is_the_providers_chat() -> None:
    found = _read("openai", json.dumps({"model": "gpt-4o", "usage": USAGE}).encode())
    assert found.usage == Usage(input_tokens=3, output_tokens=12)
    stream = sse({"model": "m", "choices": []}, {"choices": [], "usage": USAGE}, "[DONE]")
    assert _read("openai", stream, stream=True).usage == found.usage


@pytest.mark.parametrize(
    "endpoint",
    [
        "POST https://api.openai.com/v1/responses",
        "https://api.openai.com/v1/responses",
        "/v1/responses",
    ],
)
def test_an_endpoint_is_named_by_its_record_its_url_or_its_path(endpoint: str) -> None:
    raw = json.dumps(
        {"id": "r", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 6}}
    ).encode()
    assert _read("openai", raw, endpoint=endpoint).usage == Usage(input_tokens=5, output_tokens=6)


def test_googles_streams_are_read_in_both_forms() -> None:
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 9}
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage}
    for raw in (sse(last), json.dumps([last]).encode()):
        found = _read("google", raw, stream=True, model="gemini-2.5-flash")
        assert found.usage == Usage(input_tokens=4, output_tokens=5)


@pytest.mark.parametrize(
    ("ident", "raw", "facts", "field"),
    [
        ("openai", b"", {}, "response_json"),
        ("openai", b"hello", {}, "response_json"),
        ("openai", b'{"usage":', {}, "response_json"),
        ("openai", b'{"a":' * 100_000, {}, "response_json"),
        ("openai", b'{"usage":{"prompt_tokens":' + b"9" * 10_000 + b"}}", {}, "response_json"),
        ("openai", b"[" * 100_000, {"stream": True}, "response_stream"),
        ("openai", b"3", {}, "response_json"),
        ("openai", b'{"choices":[]}', {}, "response_json"),
        ("openai", b'{"error":{"message":"no"}}', {}, "response_json"),
        ("openai", b"", {"stream": True}, "response_stream"),
        ("openai", b"\0\1\2", {"stream": True}, "response_stream"),
        ("openai", sse({"choices": []}), {"stream": True}, "response_stream"),
        ("bedrock", b"\0\1\2", {"stream": True, "model": "m"}, "response_stream"),
        ("openai", b"{}", {"endpoint": "nowhere"}, "endpoint"),
        ("openai", b"{}", {"endpoint": "GET /v1/models"}, "endpoint"),
        ("openai", b"{}", {"endpoint": "a b c"}, "endpoint"),
        ("google", b"{}", {}, "model"),
    ],
)
def test_what_cannot_be_charged_by_is_refused_by_its_field(
    ident: str, raw: bytes, facts: dict[str, object], field: str
) -> None:
    with pytest.raises(Refusal) as caught:
        _read(ident, raw, **facts)  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, field)
