"""The public catalogue."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from lava_grpc.core.time import SECOND, Instant
from lava_grpc.providers.offers import Offer, offers
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.rates import MILLION
from lava_grpc.providers.registry import CompatibleHost, Registry

AT: Instant = 1_790_000_000 * SECOND


@pytest.fixture(scope="module")
def listed() -> dict[str, Offer]:
    found = offers(Registry(), PriceBook(), AT)
    return {f"{offer.provider.id}/{offer.model}": offer for offer in found}


def test_every_priced_provider_offers_its_own_models_once(listed: dict[str, Offer]) -> None:
    found = offers(Registry(), PriceBook(), AT)
    assert len(found) == len(listed)
    providers = {offer.provider.id for offer in found}
    assert {"openai", "anthropic", "google", "mistral", "groq"} <= providers


def test_prices_are_exact(listed: dict[str, Offer]) -> None:
    rates = listed["openai/gpt-4o"].rates
    assert rates.input.price(MILLION) == Decimal("2.5")
    assert rates.output.price(MILLION) == Decimal(10)


def test_how_a_model_is_called_follows_its_providers_format(listed: dict[str, Offer]) -> None:
    anthropic = next(offer for name, offer in listed.items() if name.startswith("anthropic/"))
    assert anthropic.endpoint == "https://api.anthropic.com/v1/messages"
    assert anthropic.example["max_tokens"] > 0
    gemini = next(offer for name, offer in listed.items() if name.startswith("google/"))
    assert gemini.endpoint.endswith(f"/v1beta/models/{gemini.model}:generateContent")
    embedding = listed["openai/text-embedding-3-small"]
    assert embedding.endpoint == "https://api.openai.com/v1/embeddings"
    assert embedding.example == {"model": "text-embedding-3-small", "input": "Hello"}


def test_capabilities_are_what_is_priced(listed: dict[str, Offer]) -> None:
    assert "prompt_caching" in listed["openai/gpt-4o"].capabilities
    assert "audio" not in listed["openai/gpt-4o"].capabilities
    assert any("audio" in offer.capabilities for offer in listed.values())


def test_an_operators_file_adds_models_and_replaces_prices(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    price = '{"per_million_tokens": {"input": "1"}}'
    file.write_text(
        f'{{"providers": {{"mine": {{"llama": {price}, "x-*": {price}}},'
        f' "openai": {{"GPT-4o": {price}}}}}}}'
    )
    host = CompatibleHost(id="mine", label="Mine", base_url="https://llm.example/v1")
    registry = Registry().with_hosts({"llm.example": host})
    found = {(o.provider.id, o.model): o for o in offers(registry, PriceBook(file), AT)}
    assert [model for provider, model in found if provider == "mine"] == ["llama"]
    assert found["mine", "llama"].endpoint == "https://llm.example/v1/chat/completions"
    assert found["openai", "gpt-4o"].rates.input.price(MILLION) == 1
    assert ("openai", "GPT-4o") not in found
