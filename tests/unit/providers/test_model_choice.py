"""Which provider a model's name stands for."""

from __future__ import annotations

import pytest

from lava_grpc.core.spend_key import RequestShape
from lava_grpc.providers.model_choice import provider_for_model
from lava_grpc.providers.registry import CompatibleHost, Family, Registry
from lava_grpc.providers.stream_options import with_text

OPENAI, ANTHROPIC = RequestShape.OPENAI, RequestShape.ANTHROPIC
REGISTRY = Registry().with_hosts(
    {
        "llm.internal": CompatibleHost(id="house"),
        "claude.internal": CompatibleHost(family=Family.ANTHROPIC, id="claudes"),
    }
)


@pytest.mark.parametrize(
    ("model", "url", "sent"),
    [
        ("gpt-4o-mini", "https://api.openai.com/v1/chat/completions", "gpt-4o-mini"),
        ("o3", "https://api.openai.com/v1/chat/completions", "o3"),
        ("gpt-99-unheard-of", "https://api.openai.com/v1/chat/completions", "gpt-99-unheard-of"),
        ("openai/gpt-4o", "https://api.openai.com/v1/chat/completions", "gpt-4o"),
        ("claude-sonnet-4-5", "https://api.anthropic.com/v1/chat/completions", "claude-sonnet-4-5"),
        (
            "gemini-2.5-flash",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            "gemini-2.5-flash",
        ),
        ("mistral-large-latest", "https://api.mistral.ai/v1/chat/completions", None),
        ("deepseek-chat", "https://api.deepseek.com/v1/chat/completions", None),
        ("grok-4", "https://api.x.ai/v1/chat/completions", None),
        ("x-ai/grok-4", "https://api.x.ai/v1/chat/completions", "grok-4"),
        ("kimi-k2-0905-preview", "https://api.moonshot.ai/v1/chat/completions", None),
        ("llama-3.3-70b-versatile", "https://api.groq.com/openai/v1/chat/completions", None),
        (
            "openrouter/meta-llama/llama-3-8b",
            "https://openrouter.ai/api/v1/chat/completions",
            "meta-llama/llama-3-8b",
        ),
        (
            "together/meta-llama/Llama-3-8b",
            "https://api.together.xyz/v1/chat/completions",
            "meta-llama/Llama-3-8b",
        ),
        ("house/anything:7b", "https://llm.internal/v1/chat/completions", "anything:7b"),
    ],
)
def test_a_chat_model_has_its_provider(model: str, url: str, sent: str | None) -> None:
    choice = provider_for_model(model, OPENAI, REGISTRY)
    assert choice is not None
    assert (choice.url, choice.model) == (url, sent or model)


@pytest.mark.parametrize(
    ("model", "url", "sent"),
    [
        ("claude-opus-4-1", "https://api.anthropic.com/v1/messages", "claude-opus-4-1"),
        ("anthropic/claude-opus-4-1", "https://api.anthropic.com/v1/messages", "claude-opus-4-1"),
        ("claudes/claude-opus-4-1", "https://claude.internal/v1/messages", "claude-opus-4-1"),
    ],
)
def test_a_messages_model_has_its_provider(model: str, url: str, sent: str) -> None:
    choice = provider_for_model(model, ANTHROPIC, REGISTRY)
    assert choice is not None
    assert (choice.url, choice.model) == (url, sent)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("nobody-makes-this", OPENAI),
        ("gpt-4o", ANTHROPIC),
        ("openai/gpt-4o", ANTHROPIC),
        ("azure/gpt-4o", OPENAI),
        ("bedrock/claude", OPENAI),
        ("elevenlabs/eleven", OPENAI),
        ("", OPENAI),
        ("openai/", OPENAI),
        ("/gpt-4o", OPENAI),
        ("x" * 300, OPENAI),
        ("https://evil.example/gpt-4o", OPENAI),
    ],
)
def test_a_name_that_stands_for_nobody_is_not_guessed_at(model: str, shape: RequestShape) -> None:
    assert provider_for_model(model, shape, REGISTRY) is None


def test_the_model_is_replaced_and_nothing_else() -> None:
    body = b'{ "model" :  "openai/gpt-4o","n": 1e400, "messages":[{"model":"x"}]}'
    assert with_text(body, "model", "gpt-4o") == body.replace(b"openai/gpt-4o", b"gpt-4o")
    assert with_text(b"[]", "model", "x") is None
    assert with_text(b"{}", "model", "x") is None
