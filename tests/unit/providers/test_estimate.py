"""Holds are upper bounds, and guesses stay within them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.core.time import Instant
from lava_grpc.core.usage import Usage
from lava_grpc.providers import bounds
from lava_grpc.providers.base import UsageReading
from lava_grpc.providers.estimate import Estimate, estimate, settle_estimate
from lava_grpc.providers.limits import OUTPUT_TOKENS_DEFAULT
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.request_content import content_of
from tests.unit.providers.calls import Json, call, provider
from tests.unit.providers.steady import steady

AT: Instant = 1_795_000_000_000_000
BOOK = PriceBook()
CHAT = "/v1/chat/completions"


def _estimate(ident: str, path: str, body: Json | bytes, **facts: str) -> Estimate:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = call(ident, path, raw, **facts)
    return estimate(provider(ident), made, raw, BOOK, AT)


def _chat(model: str = "gpt-4o", content: object = "hello", **body: object) -> Estimate:
    messages = [{"role": "user", "content": content}]
    return _estimate("openai", CHAT, {"model": model, "messages": messages, **body})


def test_input_is_bounded_by_the_bodys_bytes() -> None:
    body: Json = {"model": "gpt-4o", "max_tokens": 10, "messages": [{"content": "x" * 5000}]}
    found = _estimate("openai", CHAT, body)
    assert found.usage.input_tokens == len(json.dumps(body)) + bounds.PROMPT_TOKENS
    assert found.usage.output_tokens == 10
    assert found.cost == found.usage.input_tokens * 25_000 + 10 * 100_000
    assert found.output_cost == 10 * 100_000


def test_input_is_bounded_by_the_context_window() -> None:
    assert _chat(content="x" * 500_000).usage.input_tokens == 128_000


def test_output_is_bounded_by_the_request_then_by_the_model() -> None:
    assert _chat(max_tokens=7, n=3).usage.output_tokens == 21
    assert _chat().usage.output_tokens == 16_384
    assert _chat("no-such-model").usage.output_tokens == OUTPUT_TOKENS_DEFAULT


@pytest.mark.parametrize(
    ("tier", "halves"),
    [(None, 2), ("default", 2), ("flex", 2), ("priority", 4), ("auto", 4), ("no-such-tier", 2)],
)
def test_a_hold_counts_on_no_discount_and_on_the_dearest_tier_that_may_come(
    tier: str | None, halves: int
) -> None:
    body = {} if tier is None else {"service_tier": tier}
    found = _chat("gpt-5", max_tokens=10, **body)
    price = (found.usage.input_tokens * 12_500 + 10 * 100_000) // 2
    assert found.cost == price * halves


def test_a_hold_covers_the_tier_that_the_operator_says_an_account_is_served_in(
    tmp_path: Path,
) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"default_service_tier": {"openai": "priority"}}')
    raw = json.dumps({"model": "gpt-5", "max_tokens": 10, "messages": []}).encode()
    made = call("openai", CHAT, raw)
    plain = estimate(provider("openai"), made, raw, BOOK, AT)
    told = estimate(provider("openai"), made, raw, PriceBook(file), AT)
    assert told.cost == plain.cost * 2


def test_an_unknown_model_is_bounded_and_not_priced() -> None:
    found = _chat("no-such-model", max_tokens=5)
    assert (found.priced, found.cost, found.output_cost) == (False, 0, 0)


def test_a_free_call_holds_nothing() -> None:
    found = _estimate("anthropic", "/v1/messages/count_tokens", {"model": "claude-opus-4-6"})
    assert found == Estimate(Usage(), 0, 0, priced=True)


def test_a_picture_by_its_address_is_bounded_by_what_a_picture_may_be() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    one, two = _chat(content=[part]), _chat(content=[part, part])
    grown = two.usage.input_tokens - one.usage.input_tokens
    assert grown >= bounds.IMAGE_TOKENS_MAX
    assert grown < bounds.IMAGE_TOKENS_MAX + 200
    assert one.input_guess < bounds.IMAGE_TOKENS_GUESS + 100
    assert _chat("gpt-4o-mini", content=[part]).usage.input_tokens > 48_169


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"type": "input_file", "file_id": "f"}]},
        {"previous_response_id": "r"},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "x"}]},
        {"messages": [{"content": [{"type": "input_audio", "input_audio": "https://x"}]}]},
        {"contents": [{"parts": [{"fileData": {"fileUri": "gs://x", "mimeType": "video/mp4"}}]}]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "application/pdf", "data": "x"}}]}]},
        {"tools": [{"googleSearch": {}}]},
        {"cachedContent": "c"},
        {"messages": [{"content": [{"document": {"source": {"bytes": "x"}}}]}]},
        {"messages": [{"content": [{"type": "document", "source": {"type": "url", "url": "x"}}]}]},
        {"web_search_options": {}, "plugins": [{"id": "web"}]},
    ],
)
def test_what_the_body_only_points_at_is_bounded_by_the_window(body: Json) -> None:
    assert content_of(body, "m").unbounded
    found = _estimate("openai", "/v1/responses", body | {"model": "gpt-4o"})
    assert found.usage.input_tokens == 128_000


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "function": {"name": "web_search"}}]},
        {"tools": [{"functionDeclarations": [{"name": "f"}]}]},
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}},
        {
            "messages": [
                {"content": [{"type": "document", "source": {"type": "text", "data": "x"}}]}
            ]
        },
        {"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "x"}}]}]},
        {"conversation": None, "plugins": []},
    ],
)
def test_what_the_body_holds_is_bounded_by_its_bytes(body: Json) -> None:
    assert not content_of(body, "m").unbounded


def test_a_body_with_too_many_values_is_not_looked_through() -> None:
    assert content_of({"input": [0] * 200_000}, "m").unbounded
    deep: Json = {}
    for _ in range(10_000):
        deep = {"a": deep}
    assert not content_of(deep, "m").unbounded


def test_an_hour_of_cache_is_held_at_its_dearer_rate() -> None:
    def held(**control: str) -> int:
        block = {"type": "text", "text": "x", "cache_control": control} if control else "x"
        body: Json = {"model": "claude-sonnet-4-5", "max_tokens": 1, "system": [block]}
        found = _estimate("anthropic", "/v1/messages", body)
        return (found.cost - found.output_cost) // found.usage.input_tokens

    assert held() == 30_000
    assert held(type="ephemeral") == 37_500
    assert held(type="ephemeral", ttl="1h") == 60_000


def test_a_dearer_tier_is_held_once_the_body_could_reach_it() -> None:
    def held(size: int) -> int:
        body: Json = {"contents": [{"parts": [{"text": "x" * size}]}]}
        found = _estimate("google", "/v1beta/models/gemini-2.5-pro:generateContent", body)
        return (found.cost - found.output_cost) // found.usage.input_tokens

    assert held(1000) == 12_500
    assert held(250_000) == 25_000


def test_a_dearer_service_tier_is_held_when_it_is_asked_for() -> None:
    standard, priority = _chat("gpt-5"), _chat("gpt-5", service_tier="priority")
    assert priority.cost > standard.cost
    # A cheaper one may be turned down, and the call served at the full price.
    assert _chat("gpt-5", service_tier="flex").output_cost == standard.output_cost


def test_sound_is_held_at_the_rate_of_sound() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "x" * 900, "format": "wav"}}
    body: Json = {"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "x"}}]}]}
    found = _estimate("google", "/v1beta/models/gemini-2.5-flash:generateContent", body)
    assert (found.cost - found.output_cost) == found.usage.input_tokens * 10_000
    assert content_of({"messages": [{"content": [part]}]}, "m").audio


def test_media_endpoints_are_bounded_by_the_piece() -> None:
    picture = _estimate("openai", "/v1/images/generations", {"model": "gpt-image-1", "n": 2})
    assert picture.usage.images == 2
    assert picture.usage.output_tokens == 2 * bounds.PICTURE_TOKENS_MAX
    spoken = _estimate("openai", "/v1/audio/speech", {"model": "tts-1", "input": "x" * 100})
    assert spoken.usage.input_characters == 100
    assert spoken.cost >= 100 * 150_000
    sound = _estimate(
        "openai",
        "/v1/audio/transcriptions",
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        + b"x" * 100_000,
        content_type="multipart/form-data; boundary=b",
    )
    assert sound.usage.input_micros >= 200_000_000
    assert sound.cost >= 200 * 1_000_000
    pages = _estimate("mistral", "/v1/ocr", {"model": "mistral-ocr-latest", "document": {}})
    assert pages.usage.pages == bounds.PAGES_MAX
    assert pages.cost > 0
    ranked = _estimate("cohere", "/v2/rerank", {"query": "q", "documents": ["a", "b"]})
    assert (ranked.usage.search_units, ranked.usage.output_tokens) == (2, 0)


def test_a_router_is_held_at_twice_the_listed_price() -> None:
    body: Json = {"model": "openai/gpt-4o", "max_tokens": 100, "messages": []}
    routed = _estimate("openrouter", "/api/v1/chat/completions", body)
    assert routed.output_cost == 2 * 100 * 100_000


def test_the_output_cost_shrinks_with_the_output() -> None:
    many, few = _chat(max_tokens=1000), _chat(max_tokens=10)
    assert many.output_cost == 100 * few.output_cost
    assert abs((many.cost - many.output_cost) - (few.cost - few.output_cost)) < 10 * 25_000


ENDS = ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"]


@steady
@given(
    path=st.sampled_from(ENDS),
    model=st.sampled_from(["gpt-4o", "gpt-5", "text-embedding-3-small", "gpt-5.6"]),
    text=st.text(max_size=300),
    limit=st.integers(1, 500),
    choices=st.integers(1, 4),
    share=st.floats(0, 1),
)
def test_no_usage_within_the_bound_costs_more_than_the_hold(
    path: str, model: str, text: str, limit: int, choices: int, share: float
) -> None:
    body: Json = {"model": model, "input": text, "max_tokens": limit, "n": choices}
    raw = json.dumps(body).encode()
    made = call("openai", path, raw)
    held = estimate(provider("openai"), made, raw, BOOK, AT)
    into = int(held.usage.input_tokens * share)
    used = Usage(
        input_tokens=into,
        output_tokens=int(held.usage.output_tokens * share),
        cache_read_tokens=into // 3,
        cache_write_tokens=into // 2,
        reasoning_tokens=held.usage.output_tokens // 4,
    )
    cost = BOOK.cost_of(provider("openai"), made, UsageReading(usage=used, stated=True), AT)
    assert cost.total <= held.cost
    assert cost.output <= held.output_cost


def test_a_cut_off_stream_is_guessed_from_what_was_seen() -> None:
    made = call("openai", CHAT, {"model": "gpt-4o", "messages": [{"content": "x" * 400}]})
    held = _estimate("openai", CHAT, {"model": "gpt-4o", "messages": [{"content": "x" * 400}]})
    guess = settle_estimate(made, UsageReading(output_bytes_seen=41), held)
    assert guess.output_tokens == 11
    assert 100 <= guess.input_tokens < 120


def test_what_was_stated_before_the_cut_stays() -> None:
    made = call("anthropic", "/v1/messages", {"model": "claude-opus-4-6", "max_tokens": 5})
    held = _estimate("anthropic", "/v1/messages", {"model": "claude-opus-4-6", "max_tokens": 5})
    seen = Usage(input_tokens=70, output_tokens=1, cache_read_tokens=60)
    guess = settle_estimate(
        made, UsageReading(usage=seen, stated=True, output_bytes_seen=900), held
    )
    assert guess == Usage(input_tokens=70, output_tokens=5, cache_read_tokens=60)


def test_speech_that_states_nothing_is_guessed_from_its_characters() -> None:
    body: Json = {"model": "gpt-4o-mini-tts", "input": "hello"}
    made = call("openai", "/v1/audio/speech", body)
    guess = settle_estimate(made, UsageReading(), _estimate("openai", "/v1/audio/speech", body))
    assert (guess.input_characters, guess.output_tokens) == (5, 7)


def test_an_empty_object_asks_for_a_search_as_it_comes() -> None:
    found = _chat("gpt-4o-search-preview", web_search_options={})
    assert found.usage.web_searches == bounds.TOOL_CALLS_MAX
    assert found.usage.input_tokens == 128_000


def test_sound_that_is_named_by_its_id_is_bounded_by_the_window() -> None:
    assert content_of({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "m").unbounded
    assert not content_of({"audio": {"voice": "alloy", "format": "wav"}}, "m").unbounded


def test_a_prompt_from_bedrocks_own_store_is_bounded_by_the_window() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:prompt/ABC"
    assert content_of({"promptVariables": {}}, arn).unbounded


def _form(name: str, value: bytes) -> bytes:
    field = b'--x\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return field % (b"model", b"whisper-1") + field % (name.encode(), value) + b"--x--\r\n"


def test_sound_by_its_address_is_as_long_as_sound_may_be() -> None:
    def seconds(name: str, value: bytes) -> int:
        found = _estimate(
            "openai",
            "/v1/audio/transcriptions",
            _form(name, value),
            content_type="multipart/form-data; boundary=x",
        )
        return found.usage.input_micros // 1_000_000

    assert seconds("url", b"https://x/y.mp3") == bounds.AUDIO_SECONDS_MAX
    assert seconds("file", b"x" * 50_000) < 200


def test_pictures_of_imagen_are_four_where_nobody_says() -> None:
    def pictures(**parameters: int) -> int:
        body: Json = {"instances": [{"prompt": "a cat"}], "parameters": parameters}
        return _estimate("google", "/v1beta/models/imagen-4.0:predict", body).usage.images

    assert (pictures(), pictures(sampleCount=2)) == (4, 2)


def test_the_calls_of_a_batch_are_bounded_each_by_its_own_limit() -> None:
    params = {"model": "claude-sonnet-4-5", "max_tokens": 1000, "messages": []}
    body: Json = {"requests": [{"custom_id": str(i), "params": params} for i in range(3)]}
    found = _estimate("anthropic", "/v1/messages/batches", body)
    assert found.usage.output_tokens == 3000
    assert found.usage.input_tokens == len(json.dumps(body)) + 3 * bounds.PROMPT_TOKENS
