"""Usage in OpenAI's shapes, and where hosts depart from them."""

from __future__ import annotations

import pytest

from tests.unit.providers.calls import Json, call, counts, read, sse

CHAT = "/v1/chat/completions"


def _chat(ident: str, usage: Json, **answer: object) -> dict[str, int]:
    return counts(call(ident, CHAT, {"model": "m"}), {"usage": usage, **answer})


def test_a_completion_states_its_tokens_and_their_parts() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 10, "cache_write_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 7},
    }
    assert _chat("openai", usage) == {
        "input_tokens": 100,
        "output_tokens": 50,
        "cache_read_tokens": 40,
        "cache_write_tokens": 5,
        "reasoning_tokens": 20,
        "input_audio_tokens": 10,
        "output_audio_tokens": 7,
    }


def test_a_stated_zero_is_stated_and_a_missing_usage_is_not() -> None:
    made = call("openai", CHAT, {"model": "m"})
    zero = {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
    assert read(made, zero).stated
    assert read(made, {"usage": {}}).stated is False
    assert read(made, {"usage": None}).stated is False
    assert read(made, {"choices": []}).stated is False


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4},
        {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4},
        {"prompt_tokens": 9, "completion_tokens": 2, "cached_prompt_text_tokens": 4},
        {"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 4},
        {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
    ],
    ids=["moonshot", "deepseek", "xai", "databricks", "responses"],
)
def test_cached_tokens_are_found_by_each_hosts_name(usage: Json) -> None:
    expected = {"input_tokens": 9, "output_tokens": 2, "cache_read_tokens": 4}
    assert _chat("openai", usage) == expected


@pytest.mark.parametrize("bad", [-1, "many", True, None, 1.5, 10**30, [], {}])
def test_a_count_that_is_none_is_not_taken(bad: object) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": bad}
    assert _chat("openai", usage) == {"input_tokens": 5}


def test_a_whole_number_written_as_a_fraction_counts() -> None:
    assert _chat("openai", {"prompt_tokens": 5.0, "completion_tokens": 2}) == {
        "input_tokens": 5,
        "output_tokens": 2,
    }


def test_xai_bills_reasoning_beside_the_completion() -> None:
    usage: Json = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 35,
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    assert _chat("xai", usage)["output_tokens"] == 25
    # Where the total shows that it is included already, it is not added twice.
    assert _chat("xai", usage | {"completion_tokens": 25})["output_tokens"] == 25
    assert _chat("openai", usage)["output_tokens"] == 5


def test_googles_compatible_endpoint_hides_thinking_in_the_total() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35}
    made = call("google", "/v1beta/openai/chat/completions", {"model": "m"})
    found = counts(made, {"usage": usage})
    assert found == {"input_tokens": 10, "output_tokens": 25, "reasoning_tokens": 20}


def test_perplexity_bills_reasoning_and_citations_beside_the_completion() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "citation_tokens": 100,
        "reasoning_tokens": 30,
        "num_search_queries": 4,
        "cost": {"output_tokens_cost": 0.00001, "total_cost": 0.02},
    }
    made = call("perplexity", "/chat/completions", {"model": "sonar"})
    reading = read(made, {"usage": usage})
    assert reading.usage.as_dict() == {
        "input_tokens": 10,
        "output_tokens": 135,
        "reasoning_tokens": 30,
        "citation_tokens": 100,
        "web_searches": 4,
    }
    assert reading.stated_cost == "0.02"
    assert reading.extra["stated_output_cost"] == "0.00001"


def test_a_hosts_own_price_is_read_without_a_float() -> None:
    usage = b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":1.0000000001e-3}}'
    reading = read(call("openrouter", "/api/v1/chat/completions"), usage)
    assert reading.stated_cost == "0.0010000000001"
    ticks = {"prompt_tokens": 1, "completion_tokens": 1, "cost_in_usd_ticks": 12_345_678}
    assert read(call("xai", CHAT), {"usage": ticks}).stated_cost == "0.0012345678"
    guess = {"prompt_tokens": 1, "completion_tokens": 1, "estimated_cost": 0.5}
    assert read(call("deepinfra", "/v1/openai/chat/completions"), {"usage": guess}).stated_cost == (
        "0.5"
    )


def test_mistral_bills_the_length_of_sound_beside_the_tokens() -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "prompt_audio_seconds": 203}
    expected = {"input_tokens": 4, "output_tokens": 2, "input_micros": 203_000_000}
    assert _chat("mistral", usage) == expected
    assert _chat("mistral", usage | {"prompt_audio_seconds": None}).keys() == {
        "input_tokens",
        "output_tokens",
    }


def test_an_embedding_that_states_a_total_alone_used_it_as_input() -> None:
    made = call("voyageai", "/v1/embeddings", {"model": "voyage-3"})
    assert counts(made, {"usage": {"total_tokens": 12}}) == {"input_tokens": 12}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
DELTA = {
    "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
    "model": "m1",
}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": "m1"}


@pytest.mark.parametrize(
    "events",
    [
        (DELTA, STOP, {"choices": [], "usage": USAGE}, "[DONE]"),
        (DELTA, STOP | {"usage": USAGE}, "[DONE]"),
        (DELTA, STOP | {"x_groq": {"usage": USAGE}}, "[DONE]"),
        (DELTA, {"choices": [{"finish_reason": "stop", "delta": {}, "usage": USAGE}]}, "[DONE]"),
        (DELTA | {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}, STOP | {"usage": USAGE}),
        (DELTA | {"usage": None}, STOP | {"usage": None}, {"choices": [], "usage": USAGE}),
    ],
    ids=["apart", "last", "groq", "choice", "running", "nulls"],
)
def test_a_stream_may_state_usage_in_many_places(events: tuple[Json | str, ...]) -> None:
    made = call("mistral", CHAT, {"stream": True})
    reading = read(made, sse(*events), kind="text/event-stream")
    assert reading.usage.as_dict() == {"input_tokens": 3, "output_tokens": 2}
    assert reading.complete
    assert reading.output_bytes_seen == 2
    assert reading.model == "m1"


def test_text_that_looks_like_usage_is_text() -> None:
    says = 'I said "usage": {"prompt_tokens": 99, "completion_tokens": 99}, \\" "error"'
    delta = {"choices": [{"delta": {"content": says}, "finish_reason": None}]}
    made = call("mistral", CHAT, {"stream": True})
    reading = read(made, sse(delta, STOP, "[DONE]"), kind="text/event-stream")
    assert not reading.stated
    assert not reading.failed
    assert reading.output_bytes_seen == len(says)


def test_an_error_within_a_stream_is_a_failure() -> None:
    made = call("groq", "/openai/v1/chat/completions", {"stream": True})
    for event in (("error", {"error": {"message": "no"}}), {"error": {"message": "no"}}):
        reading = read(made, sse(DELTA, event), kind="text/event-stream")
        assert reading.failed
        assert not reading.complete


def test_a_response_states_its_usage_at_its_end() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 6,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    response = {
        "id": "resp_1",
        "model": "gpt-x",
        "status": "completed",
        "service_tier": "flex",
        "usage": usage,
        "output": [{"type": "web_search_call"}, {"type": "message"}],
        "tool_usage": {"web_search": {"num_requests": 3}, "image_gen": {"output_tokens": 272}},
    }
    expected = {
        "input_tokens": 10,
        "output_tokens": 6,
        "cache_read_tokens": 4,
        "reasoning_tokens": 5,
        "web_searches": 3,
    }
    made = call("openai", "/v1/responses", {"model": "gpt-x", "stream": True})
    events = sse(
        ("response.created", {"type": "response.created", "response": {"model": "gpt-x"}}),
        ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "héllo"}),
        ("response.completed", {"type": "response.completed", "response": response}),
    )
    unnamed = b"\n".join(line for line in events.split(b"\n") if not line.startswith(b"event"))
    for raw, kind in (
        (events, "text/event-stream"),
        (unnamed, "text/event-stream"),
    ):
        reading = read(made, raw, kind=kind)
        assert reading.usage.as_dict() == expected
        assert (reading.model, reading.response_id) == ("gpt-x", "resp_1")
        assert reading.extra["service_tier"] == "flex"
        assert reading.extra["web_search_calls"] == "1"
        assert reading.extra["image_gen_output_tokens"] == "272"
        assert reading.output_bytes_seen == 6
        assert reading.complete
    assert counts(made, response) == expected


def test_output_items_of_no_known_shape_are_no_searches() -> None:
    usage = {"input_tokens": 3, "output_tokens": 2}
    odd: list[object] = [
        None,
        7,
        [],
        {},
        {"type": ["web_search_call"]},
        {"type": "web_search_call", "action": 1},
    ]
    open_page = {"type": "web_search_call", "action": {"type": "open_page"}}
    listed = {"type": "web_search_call", "action": {"type": ["search"]}}
    made = call("openai", "/v1/responses", {})
    found = counts(made, {"usage": usage, "output": [*odd, open_page, listed]})
    # One has an action that says nothing, one an action of no name: both may have searched.
    assert found == {"input_tokens": 3, "output_tokens": 2, "web_searches": 2}


def test_a_response_that_failed_says_so() -> None:
    made = call("openai", "/v1/responses", {"stream": True})
    failed = {"type": "response.failed", "response": {"status": "failed", "error": {"code": "x"}}}
    reading = read(made, sse(("response.failed", failed)), kind="text/event-stream")
    assert reading.failed
    assert reading.complete


def test_pictures_are_counted_and_their_tokens_are_image_tokens() -> None:
    made = call("openai", "/v1/images/generations", {"model": "gpt-image-1", "n": 2})
    usage = {
        "input_tokens": 50,
        "output_tokens": 4000,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    }
    assert counts(made, {"data": [{}, {}], "usage": usage}) == {
        "input_tokens": 50,
        "output_tokens": 4000,
        "input_image_tokens": 40,
        "output_image_tokens": 4000,
        "images": 2,
    }
    assert counts(made, {"data": [{}]}) == {"images": 1}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"text": "x", "usage": {"type": "duration", "seconds": 3}}, {"input_micros": 3_000_000}),
        ({"text": "x", "duration": 2.345}, {"input_micros": 2_345_000}),
        (
            {
                "text": "x",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "output_tokens": 5,
                    "input_token_details": {"audio_tokens": 10, "text_tokens": 4},
                },
            },
            {"input_tokens": 14, "output_tokens": 5, "input_audio_tokens": 10},
        ),
    ],
)
def test_a_transcription_states_seconds_or_tokens(answer: Json, expected: Json) -> None:
    made = call("openai", "/v1/audio/transcriptions", b"", content_type="multipart/form-data")
    assert counts(made, answer) == expected


def test_speech_is_billed_by_what_was_to_be_spoken() -> None:
    made = call("openai", "/v1/audio/speech", {"model": "tts-1", "input": "hello"})
    reading = read(made, b"\xff\xfbsound", kind="audio/mpeg")
    assert reading.usage.as_dict() == {"input_characters": 5}
    assert reading.stated
    by_tokens = call("openai", "/v1/audio/speech", {"model": "gpt-4o-mini-tts", "input": "hello"})
    assert not read(by_tokens, b"sound", kind="audio/mpeg").stated
    eleven = call("elevenlabs", "/v1/text-to-speech/v", {"text": "hello"})
    billed = read(eleven, b"sound", kind="audio/mpeg", headers={"character-cost": "9"})
    assert billed.usage.as_dict() == {"input_characters": 9}
