"""A lower limit on output, in each family's own place, and nothing else changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.providers import counts
from lava_grpc.providers.clamp import REASONING_OUTPUT_MIN, Clamp, clamp_of
from tests.unit.providers.calls import Json, call, provider
from tests.unit.providers.steady import steady

CHAT = "/v1/chat/completions"


def clamp(ident: str, path: str, body: Json | bytes) -> Clamp | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return clamp_of(provider(ident), call(ident, path, raw), raw)


def sent(ident: str, path: str, body: Json | bytes, tokens: int = 7) -> bytes:
    found = clamp(ident, path, body)
    assert found is not None
    return found.body(tokens)


@pytest.mark.parametrize(
    ("ident", "path", "body", "want"),
    [
        ("openai", CHAT, {"model": "gpt-4o"}, {"max_completion_tokens": 7}),
        ("openai", CHAT, {"max_tokens": 90}, {"max_tokens": 7}),
        ("openai", CHAT, {"max_tokens": None}, {"max_completion_tokens": 7}),
        ("mistral", CHAT, {"max_tokens": None}, {"max_tokens": 7}),
        ("groq", "/openai" + CHAT, {"model": "m"}, {"max_tokens": 7}),
        (
            "groq",
            "/openai" + CHAT,
            {"max_completion_tokens": 90},
            {"max_completion_tokens": 7},
        ),
        ("openai", "/v1/completions", {"prompt": "x"}, {"max_tokens": 7}),
        ("openai", "/v1/responses", {"max_output_tokens": 90}, {"max_output_tokens": 7}),
        ("anthropic", "/v1/messages", {"max_tokens": 90}, {"max_tokens": 7}),
        (
            "google",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            {"generation_config": {"temperature": 1}},
            {"generation_config": {"temperature": 1, "max_output_tokens": 7}},
        ),
        (
            "google",
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
            {"generationConfig": None},
            {"generationConfig": {"maxOutputTokens": 7}},
        ),
        (
            "bedrock",
            "/model/anthropic.claude-3-haiku/converse-stream",
            {"inferenceConfig": {}},
            {"inferenceConfig": {"maxTokens": 7}},
        ),
        ("bedrock", "/model/anthropic.claude-3-haiku/invoke", {"max_tokens": 9}, {"max_tokens": 7}),
        (
            "bedrock",
            "/model/amazon.nova-lite-v1:0/invoke",
            {"inferenceConfig": {"max_new_tokens": 9}},
            {"inferenceConfig": {"max_new_tokens": 7}},
        ),
        (
            "bedrock",
            "/model/amazon.titan-text-express-v1/invoke",
            {"inputText": "x"},
            {"textGenerationConfig": {"maxTokenCount": 7}},
        ),
        ("cohere", "/v2/chat", {"max_tokens": 90}, {"max_tokens": 7}),
        ("ollama", "/api/chat", {"options": {"num_predict": -1}}, {"options": {"num_predict": 7}}),
        ("ollama", "/api/generate", {"options": {}}, {"options": {"num_predict": 7}}),
    ],
)
def test_each_family_has_its_own_place(ident: str, path: str, body: Json, want: Json) -> None:
    assert json.loads(sent(ident, path, body)) == body | want


@pytest.mark.parametrize(
    ("ident", "path", "body"),
    [
        ("openai", "/v1/embeddings", {"input": "x"}),
        ("openai", "/v1/images/generations", {"prompt": "x"}),
        ("openai", "/v1/audio/speech", {"input": "x"}),
        ("openai", "/v1/moderations", {"input": "x"}),
        ("cohere", "/v2/embed", {"texts": ["x"]}),
        ("cohere", "/v2/rerank", {"documents": ["x"]}),
        ("bedrock", "/model/amazon.titan-embed-text-v2/invoke", {"inputText": "x"}),
        ("bedrock", "/model/stability.sd3-large/invoke", {"prompt": "x"}),
        # Citations and reasoning come on top of its limit.
        ("perplexity", "/chat/completions", {"model": "sonar"}),
        ("openai", CHAT, b'{"max_tokens":'),
    ],
)
def test_where_there_is_no_limit_to_lower_there_is_no_clamp(
    ident: str, path: str, body: Json | bytes
) -> None:
    if isinstance(body, bytes):
        made = call(ident, path, {"model": "gpt-4o"})
        assert clamp_of(provider(ident), made, body) is None
        return
    assert clamp(ident, path, body) is None


@pytest.mark.parametrize(
    ("ident", "path", "body", "least"),
    [
        ("openai", CHAT, {"model": "gpt-4o"}, 1),
        ("openai", CHAT, {"model": "o3-mini"}, REASONING_OUTPUT_MIN),
        ("openai", CHAT, {"model": "gpt-5"}, REASONING_OUTPUT_MIN),
        ("openai", "/v1/responses", {"model": "gpt-4o"}, REASONING_OUTPUT_MIN),
        ("anthropic", "/v1/messages", {"thinking": {"budget_tokens": 1024}}, 1025),
        ("anthropic", "/v1/messages", {"thinking": {"type": "adaptive"}}, 1),
        (
            "bedrock",
            "/model/anthropic.claude-sonnet-4/converse",
            {"additionalModelRequestFields": {"thinking": {"budget_tokens": 2000}}},
            2001,
        ),
        (
            "google",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 512}}},
            513,
        ),
        (
            "google",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}},
            1,
        ),
    ],
)
def test_a_limit_leaves_room_for_what_is_thought_first(
    ident: str, path: str, body: Json, least: int
) -> None:
    found = clamp(ident, path, body)
    assert found is not None
    assert found.tokens_min == least


def test_choices_share_what_is_affordable() -> None:
    found = clamp("openai", CHAT, {"model": "gpt-4o", "n": 3})
    assert found is not None
    assert found.total_min == 3
    assert found.per_choice(100) == 33


def test_all_other_bytes_stay_as_they_were() -> None:
    raw = ' {\n "a" : 1.50e+3, "max_tokens" :\t90 ,"b":"\\u00e9 é" }\n'.encode()
    assert sent("mistral", CHAT, raw) == raw.replace(b"90", b"7")
    bare = ' { "a":"é" }'.encode()
    assert sent("mistral", CHAT, bare) == ' {"max_tokens":7, "a":"é" }'.encode()


def test_of_a_limit_that_stands_twice_the_last_counts() -> None:
    raw = b'{"max_tokens":5,"max_tokens":90}'
    assert sent("mistral", CHAT, raw) == b'{"max_tokens":5,"max_tokens":7}'


def test_a_limit_that_is_stated_under_two_names_is_lowered_under_both() -> None:
    raw = b'{"max_completion_tokens":80,"max_tokens":90}'
    assert sent("openai", CHAT, raw) == b'{"max_completion_tokens":7,"max_tokens":7}'


@steady
@given(
    st.dictionaries(
        st.text(max_size=6) | st.sampled_from(["model", "generationConfig", '"max_tokens"']),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=6),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=6,
        ),
        max_size=5,
    ),
    st.none() | st.integers(1, 10**6),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.sampled_from(["mistral", "google"]),
)
def test_only_the_limit_changes(
    body: dict[str, object],
    limit: int | None,
    indent: int | None,
    ascii_only: bool,  # noqa: FBT001 - an example's property
    ident: str,
) -> None:
    nested = ident == "google"
    path = "/v1beta/models/gemini-2.5-pro:generateContent" if nested else CHAT
    body.pop("generation_config", None)
    body.pop("max_completion_tokens", None)
    body.pop("max_tokens", None)
    config = body.pop("generationConfig", None)
    if nested and isinstance(config, dict | None):
        body["generationConfig"] = config if limit is None else {"maxOutputTokens": limit}
    elif not nested and limit is not None:
        body["max_tokens"] = limit
    # A body that says nothing at all is for the provider to refuse.
    body["messages"] = []
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode()

    after = json.loads(sent(ident, path, raw))

    if nested:
        assert counts.at(after, "generationConfig", "maxOutputTokens") == 7
        inner = after["generationConfig"]
        before = body.get("generationConfig") or {}
        assert inner == (before if isinstance(before, dict) else {}) | {"maxOutputTokens": 7}
        after.pop("generationConfig")
        body.pop("generationConfig", None)
        assert after == body
    else:
        assert after == body | {"max_tokens": 7}
