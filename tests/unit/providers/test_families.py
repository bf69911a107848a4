"""Usage in the shapes of Anthropic, Google, Bedrock, Cohere and the rest."""

from __future__ import annotations

import base64
import json

import pytest

from tests.unit.providers.calls import Json, call, counts, read, sse
from tests.unit.providers.test_framing import message

AWS = "application/vnd.amazon.eventstream"


USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
    "output_tokens": 7,
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "standard",
}
COUNTED = {
    "input_tokens": 60,
    "output_tokens": 7,
    "cache_read_tokens": 30,
    "cache_write_tokens": 20,
    "cache_write_1h_tokens": 5,
    "web_searches": 2,
}


def test_a_messages_input_includes_what_the_cache_read_and_wrote() -> None:
    made = call("anthropic", "/v1/messages", {"model": "claude-x"})
    reading = read(made, {"id": "msg_1", "model": "claude-y", "usage": USAGE})
    assert reading.usage.as_dict() == COUNTED
    assert (reading.model, reading.response_id) == ("claude-y", "msg_1")
    assert reading.extra["service_tier"] == "standard"


def test_a_stream_of_a_message_restates_fields_and_keeps_the_others() -> None:
    made = call("anthropic", "/v1/messages", {"stream": True})
    start = {"id": "msg_1", "model": "claude-y", "usage": USAGE | {"output_tokens": 1}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hé"}}
    events: list[tuple[str, Json]] = [
        ("message_start", {"type": "message_start", "message": start}),
        ("ping", {"type": "ping"}),
        ("content_block_delta", delta),
        ("message_delta", {"type": "message_delta", "usage": {"output_tokens": 7}}),
        ("message_stop", {"type": "message_stop"}),
    ]
    for raw in (sse(*events), sse(*[event for _, event in events])):
        reading = read(made, raw, kind="text/event-stream")
        assert reading.usage.as_dict() == COUNTED
        assert reading.complete
        assert reading.output_bytes_seen == 3
    cut = read(made, sse(*events[:3]), kind="text/event-stream")
    assert (cut.usage.input_tokens, cut.usage.output_tokens, cut.complete) == (60, 1, False)


def test_a_compaction_is_billed_beside_the_totals() -> None:
    made = call("anthropic", "/v1/messages", {})
    rounds = [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
        {"type": "message", "input_tokens": 10, "output_tokens": 7},
    ]
    found = counts(made, {"usage": {"input_tokens": 10, "output_tokens": 7, "iterations": rounds}})
    assert found == {"input_tokens": 180_010, "output_tokens": 3_507}


def test_an_error_event_fails_a_message() -> None:
    made = call("anthropic", "/v1/messages", {"stream": True})
    event = {"type": "error", "error": {"type": "overloaded_error"}}
    assert read(made, sse(("error", event)), kind="text/event-stream").failed


def test_batch_results_add_up() -> None:
    made = call("anthropic", "/v1/messages/batches/b/results", method="GET")
    line = {"result": {"type": "succeeded", "message": {"usage": USAGE}}}
    raw = "\n".join(json.dumps(line) for _ in range(3)).encode()
    reading = read(made, raw, kind="application/x-jsonl")
    assert reading.usage.as_dict() == {name: 3 * value for name, value in COUNTED.items()}
    assert reading.extra["processing"] == "batch"


GEMINI = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "toolUsePromptTokenCount": 5,
    "cachedContentTokenCount": 40,
    "totalTokenCount": 155,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 60},
        {"modality": "AUDIO", "tokenCount": 25},
        {"modality": "IMAGE", "tokenCount": 10},
        {"modality": "DOCUMENT", "tokenCount": 5},
    ],
    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 12}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 18}],
    "trafficType": "ON_DEMAND_PRIORITY",
}
GEMINI_COUNTED = {
    "input_tokens": 105,
    "output_tokens": 50,
    "cache_read_tokens": 40,
    "reasoning_tokens": 30,
    "input_audio_tokens": 25,
    "cache_audio_read_tokens": 12,
    "input_image_tokens": 15,
    "output_image_tokens": 18,
}


@pytest.mark.parametrize("ident", ["google", "google-vertex"])
def test_gemini_counts_thinking_as_output_and_tools_as_input(ident: str) -> None:
    made = call(ident, "/v1/models/gemini-x:generateContent", {})
    reading = read(made, {"modelVersion": "gemini-y", "usageMetadata": GEMINI})
    assert reading.usage.as_dict() == GEMINI_COUNTED
    assert reading.model == "gemini-y"
    assert reading.extra["service_tier"] == "priority"


def test_geminis_streams_come_as_events_or_as_one_array() -> None:
    first: Json = {
        "candidates": [{"content": {"parts": [{"text": 'a{"}'}]}}],
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 1},
    }
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": GEMINI}
    path = "/v1beta/models/m:streamGenerateContent"
    events = read(call("google", path + "?alt=sse", {}), sse(first, last), kind="text/event-stream")
    array = read(call("google", path, {}), json.dumps([first, last]).encode())
    assert events.usage.as_dict() == array.usage.as_dict() == GEMINI_COUNTED
    assert events.complete
    assert array.complete


def test_a_blocked_prompt_states_what_it_used() -> None:
    made = call("google", "/v1beta/models/m:streamGenerateContent?alt=sse", {})
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 9},
    }
    reading = read(made, sse(blocked), kind="text/event-stream")
    assert reading.usage.as_dict() == {"input_tokens": 9}
    assert reading.complete


def test_vertex_embeddings_state_tokens_by_item() -> None:
    made = call("google-vertex", "/v1/publishers/google/models/e:predict", {})
    item = {"embeddings": {"statistics": {"token_count": 4, "truncated": False}, "values": [0.1]}}
    assert counts(made, {"predictions": [item, item]}) == {"input_tokens": 8}


def test_converse_input_includes_what_the_cache_read_and_wrote() -> None:
    usage = {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 65,
        "cacheReadInputTokens": 30,
        "cacheWriteInputTokens": 20,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 12}, {"ttl": "1h", "inputTokens": 8}],
    }
    expected = {
        "input_tokens": 60,
        "output_tokens": 5,
        "cache_read_tokens": 30,
        "cache_write_tokens": 20,
        "cache_write_1h_tokens": 8,
    }
    assert counts(call("bedrock", "/model/m/converse", {}), {"usage": usage}) == expected
    text = b'{"contentBlockIndex":0,"delta":{"text":"hi"}}'
    stream = (
        message({":event-type": "contentBlockDelta"}, text)
        + message({":event-type": "messageStop"}, b'{"stopReason":"end_turn"}')
        + message({":event-type": "metadata"}, json.dumps({"usage": usage}).encode())
    )
    made = call("bedrock", "/model/m/converse-stream", {})
    reading = read(made, stream, kind=AWS)
    assert reading.usage.as_dict() == expected
    assert (reading.complete, reading.output_bytes_seen) == (True, 2)
    broken = read(made, stream[:-3], kind=AWS)
    assert (broken.stated, broken.complete) == (False, False)
    error = message({":exception-type": "throttlingException"}, b"{}")
    assert read(made, error, kind=AWS).failed


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"usage": USAGE}, COUNTED),
        (
            {"usage": {"inputTokens": 4, "outputTokens": 2}},
            {"input_tokens": 4, "output_tokens": 2},
        ),
        (
            {"usage": {"prompt_tokens": 4, "completion_tokens": 2}},
            {"input_tokens": 4, "output_tokens": 2},
        ),
        (
            {"generation": "x", "prompt_token_count": 4, "generation_token_count": 2},
            {"input_tokens": 4, "output_tokens": 2},
        ),
        (
            {"inputTextTokenCount": 4, "results": [{"tokenCount": 1}, {"tokenCount": 2}]},
            {"input_tokens": 4, "output_tokens": 3},
        ),
        ({"embedding": [0.1], "inputTextTokenCount": 4}, {"input_tokens": 4}),
    ],
    ids=["anthropic", "nova", "openai", "llama", "titan", "embedding"],
)
def test_invoke_answers_in_its_models_own_shape(answer: Json, expected: Json) -> None:
    assert counts(call("bedrock", "/model/m/invoke", {}), answer) == expected


def test_invoke_falls_back_on_the_headers_that_bedrock_sets() -> None:
    made = call("bedrock", "/model/cohere.embed-v4%3A0/invoke", {})
    headers = {"X-Amzn-Bedrock-Input-Token-Count": "12", "X-Amzn-Bedrock-Output-Token-Count": "0"}
    reading = read(made, {"embeddings": [[0.1]]}, headers=headers)
    assert reading.usage.as_dict() == {"input_tokens": 12}
    assert reading.stated


def test_an_invoke_stream_carries_the_models_events_in_base64() -> None:
    def chunk(event: Json) -> bytes:
        inner = base64.b64encode(json.dumps(event).encode()).decode()
        return message({":event-type": "chunk"}, json.dumps({"bytes": inner}).encode())

    start = {"type": "message_start", "message": {"model": "c", "usage": USAGE}}
    delta = {"type": "message_delta", "usage": {"output_tokens": 7}}
    metrics = {"inputTokenCount": 10, "outputTokenCount": 7}
    stop = {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}
    made = call("bedrock", "/model/m/invoke-with-response-stream", {})
    reading = read(made, chunk(start) + chunk(delta) + chunk(stop), kind=AWS)
    assert reading.usage.as_dict() == COUNTED
    assert reading.complete
    other = read(
        made, chunk({"text": "hi"}) + chunk({"amazon-bedrock-invocationMetrics": metrics}), kind=AWS
    )
    assert other.usage.as_dict() == {"input_tokens": 10, "output_tokens": 7}


def test_coheres_usage_is_what_it_bills() -> None:
    usage = {
        "billed_units": {"input_tokens": 5, "output_tokens": 3},
        "tokens": {"input_tokens": 500, "output_tokens": 10},
        "cached_tokens": 64,
    }
    made = call("cohere", "/v2/chat", {"model": "command-a", "stream": True})
    plain = read(made, {"id": "x", "usage": usage})
    assert plain.usage.as_dict() == {"input_tokens": 5, "output_tokens": 3}
    assert plain.extra["tokens_input"] == "500"
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}
    stream = read(made, sse({"type": "message-start", "id": "x"}, end), kind="text/event-stream")
    assert stream.usage == plain.usage
    assert stream.complete


def test_rerank_is_billed_by_searches_or_tokens() -> None:
    cohere = call("cohere", "/v2/rerank", {})
    assert counts(cohere, {"meta": {"billed_units": {"search_units": 2}}}) == {"search_units": 2}
    voyage = call("voyageai", "/v1/rerank", {})
    assert counts(voyage, {"usage": {"total_tokens": 26}}) == {"input_tokens": 26}


def test_ocr_is_billed_by_pages() -> None:
    made = call("mistral", "/v1/ocr", {"model": "mistral-ocr-latest"})
    answer: Json = {"model": "m", "pages": [], "usage_info": {"pages_processed": 3}}
    assert counts(made, answer) == {"pages": 3}
    annotated = answer | {"document_annotation": "{}"}
    assert counts(made, annotated) == {"pages": 3, "annotated_pages": 3}


def test_ollama_streams_a_document_a_line() -> None:
    made = call("ollama", "/api/chat", {"model": "m"})
    assert made.stream
    raw = (
        b'{"model":"m","message":{"content":"h\\u00e9"},"done":false}\n'
        b'{"model":"m","done":true,"prompt_eval_count":11,"eval_count":4}\n'
    )
    reading = read(made, raw, kind="application/x-ndjson")
    assert reading.usage.as_dict() == {"input_tokens": 11, "output_tokens": 4}
    assert (reading.complete, reading.output_bytes_seen) == (True, 3)


def test_sound_is_billed_by_its_length() -> None:
    made = call("deepgram", "/v1/listen", b"", content_type="audio/wav")
    answer = {"metadata": {"duration": 12.345678, "request_id": "r"}, "results": {}}
    reading = read(made, answer)
    assert reading.usage.as_dict() == {"input_micros": 12_345_678}
    assert reading.response_id == "r"


def test_an_unknown_endpoint_is_read_for_what_it_says_it_counts() -> None:
    made = call("openai", "/v1/new", {})
    assert counts(made, {"usage": {"characters": 5}}) == {"input_characters": 5}
    assert counts(made, {"usage": {"duration_seconds": "1.5"}}) == {"input_micros": 1_500_000}
    assert counts(made, {"usage": {"input_tokens": 4, "output_tokens": 1}}) == {
        "input_tokens": 4,
        "output_tokens": 1,
    }
