"""Which provider a model's name stands for, and where its chat endpoint is.

For `POST /v1/chat/completions` and `POST /v1/messages`, which name no provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lava_grpc.core.spend_key import RequestShape
from lava_grpc.providers import price_catalogue
from lava_grpc.providers.provider import Family, Provider
from lava_grpc.providers.registry import Registry

MODEL_CHARS_MAX = 256

_ENDS = {RequestShape.OPENAI: "/chat/completions", RequestShape.ANTHROPIC: "/messages"}
# What their base URLs lack to be those of OpenAI's format.
_COMPATIBLE_PARTS = {"google": "/openai"}
# Their hosts are an account's, a region's or a project's own, so that a name tells too little.
_UNNAMED = frozenset(
    (
        *("azure", "snowflake", "databricks", "google-vertex", "bedrock"),
        *("cloudflare", "cloudflare-gateway"),
    )
)
# Makers of models by how the names of theirs begin: a new model goes to its maker at once.
_MAKERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), ident)
    for pattern, ident in (
        (r"(?:chat)?gpt-|o\d(?:-|$)|davinci-|babbage-|ft:(?:gpt|o\d)", "openai"),
        (r"claude-", "anthropic"),
        (r"gemini-|gemma-|learnlm-", "google"),
        (
            r"(?:open-)?mi[sx]tral-|ministral-|magistral-|codestral-|devstral-|pixtral-|voxtral-",
            "mistral",
        ),
        (r"deepseek-", "deepseek"),
        (r"grok-", "xai"),
        (r"command-|c4ai-", "cohere"),
        (r"kimi-|moonshot-", "moonshot"),
        (r"glm-", "zai"),
        (r"sonar(?:-|$)|r1-1776", "perplexity"),
        (r"minimax-", "minimax"),
    )
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a call goes, and the model's name there."""

    provider: Provider
    url: str
    model: str


def provider_for_model(model: str, shape: RequestShape, registry: Registry) -> Choice | None:
    """The provider that a model's name stands for; None where it stands for none.

    1. `provider/model`: the provider with this id (or this name in the price
       catalogue), if it can be called in `shape`; the model is what follows.
    2. A name that begins as its maker's names do.
    3. A name that the price catalogue lists as a provider's own, the first such
       provider of the registry.
    """
    if not model or len(model) > MODEL_CHARS_MAX:
        return None
    ident, slash, rest = model.partition("/")
    if slash and rest and (named := _named(ident.lower(), shape, registry)) is not None:
        return _choice(named, shape, rest)
    for provider in _candidates(model, registry):
        if _speaks(provider, shape):
            return _choice(provider, shape, model)
    return None


def _named(ident: str, shape: RequestShape, registry: Registry) -> Provider | None:
    found = registry.by_id(ident)
    if found is not None:
        return found if _speaks(found, shape) else None
    sellers = (p for p in registry.all() if p.price_provider == ident and _speaks(p, shape))
    return next(sellers, None)


def _candidates(model: str, registry: Registry) -> Iterator[Provider]:
    name = model.lower()
    for pattern, ident in _MAKERS:
        if pattern.match(name) and (maker := registry.by_id(ident)) is not None:
            yield maker
            return
    for provider in registry.all():
        if provider.price_provider is None:
            continue
        listed = price_catalogue.find(provider.price_provider, model)
        if listed is not None and listed.own:
            yield provider


def _speaks(provider: Provider, shape: RequestShape) -> bool:
    if provider.id in _UNNAMED:
        return False
    if shape is RequestShape.ANTHROPIC:
        return provider.family is Family.ANTHROPIC
    # Anthropic, Google and Cohere offer chat completions beside their own formats.
    own = provider.id in ("anthropic", "google", "cohere")
    return own or provider.family is Family.OPENAI


def _choice(provider: Provider, shape: RequestShape, model: str) -> Choice:
    between = _COMPATIBLE_PARTS.get(provider.id, "") if shape is RequestShape.OPENAI else ""
    url = provider.base_url.rstrip("/") + between + _ENDS[shape]
    return Choice(provider, url, model)
