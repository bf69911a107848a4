"""The public catalogue: each model of each provider, how it is called, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from lava_grpc.core.time import Instant
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Family, Provider
from lava_grpc.providers.rates import Rates
from lava_grpc.providers.registry import Registry

Body: TypeAlias = dict[str, Any]

_OUTPUT_TOKENS = 64
_HELLO = "Hello"

API_REFERENCES = MappingProxyType(
    {
        "openai": "https://platform.openai.com/docs/api-reference",
        "anthropic": "https://docs.anthropic.com/en/api",
        "google": "https://ai.google.dev/api",
        "bedrock": "https://docs.aws.amazon.com/bedrock/latest/APIReference",
        "azure": "https://learn.microsoft.com/azure/ai-services/openai/reference",
        "cohere": "https://docs.cohere.com/reference",
        "mistral": "https://docs.mistral.ai/api",
        "deepseek": "https://api-docs.deepseek.com",
        "groq": "https://console.groq.com/docs/api-reference",
        "xai": "https://docs.x.ai/docs/api-reference",
        "elevenlabs": "https://elevenlabs.io/docs/api-reference",
    }
)
"""Where a provider describes its API, for those that are best known."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One model at one provider. `example` is empty where the endpoint is the provider's own."""

    provider: Provider
    model: str
    rates: Rates
    endpoint: str
    example: Body

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it takes and gives, as far as its prices tell."""
        rates = self.rates
        priced = (
            ("text", rates.input.base or rates.output.base),
            ("audio", self.priced_apart("audio")),
            ("image", self.priced_apart("image") or rates.image.base),
            ("prompt_caching", rates.cache_read != rates.input),
            ("reasoning", rates.reasoning != rates.output),
            ("web_search", rates.web_search.base),
        )
        return tuple(name for name, is_priced in priced if is_priced)

    def priced_apart(self, kind: str) -> bool:
        """Whether `audio` or `image` tokens have a price other than that of text."""
        rates = self.rates
        into, out = getattr(rates, f"input_{kind}"), getattr(rates, f"output_{kind}")
        return bool(into != rates.input or out != rates.output)


def offers(registry: Registry, prices: PriceBook, at: Instant) -> list[Offer]:
    """All offers, by provider in the registry's order, then by name."""
    return [offer for provider in registry.all() for offer in _of(provider, prices, at)]


def _of(provider: Provider, prices: PriceBook, at: Instant) -> Iterator[Offer]:
    call = _CALLS.get(provider.family, _own)
    for model, rates in prices.listed(provider, at):
        path, example = call(model)
        yield Offer(provider, model, rates, provider.base_url.rstrip("/") + path, example)


def _openai(model: str) -> tuple[str, Body]:
    name = model.lower()
    if "embed" in name or name.startswith("voyage-"):
        return "/embeddings", {"model": model, "input": _HELLO}
    return "/chat/completions", {"model": model, "messages": [{"role": "user", "content": _HELLO}]}


def _anthropic(model: str) -> tuple[str, Body]:
    messages = [{"role": "user", "content": _HELLO}]
    return "/messages", {"model": model, "max_tokens": _OUTPUT_TOKENS, "messages": messages}


def _gemini(model: str) -> tuple[str, Body]:
    contents = [{"role": "user", "parts": [{"text": _HELLO}]}]
    return f"/models/{model}:generateContent", {"contents": contents}


def _bedrock(model: str) -> tuple[str, Body]:
    messages = [{"role": "user", "content": [{"text": _HELLO}]}]
    return f"/model/{model}/converse", {"messages": messages}


def _own(_model: str) -> tuple[str, Body]:
    return "", {}


_CALLS: Mapping[Family, Callable[[str], tuple[str, Body]]] = MappingProxyType(
    {
        Family.OPENAI: _openai,
        Family.ANTHROPIC: _anthropic,
        Family.GEMINI: _gemini,
        Family.BEDROCK: _bedrock,
    }
)
