"""Which tier a call is priced in, and at whose price."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from lava_grpc.core.time import Instant
from lava_grpc.core.usage import Usage
from lava_grpc.providers import price_catalogue, tiers
from lava_grpc.providers.base import UsageReading
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.registry import read_call
from tests.unit.providers.calls import call, provider

AT: Instant = 1_795_000_000_000_000
BOOK = PriceBook()
USED = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400, web_searches=1)
PATHS = {"anthropic": "/v1/messages", "google": "/v1beta/models/m:generateContent"}
# A model of each provider that the catalogue has no such tier's price of.
UNLISTED = {
    ("openai", "batch"): "text-embedding-3-small",
    ("openai", "flex"): "gpt-4.1",
    ("azure", "batch"): "gpt-4o",
    ("anthropic", "batch"): "claude-opus-4-1",
    ("google", "batch"): "gemini-2.0-flash",
    ("groq", "batch"): "llama-3.3-70b-versatile",
    ("mistral", "batch"): "mistral-nemo",
}


def cost(seller: str, model: str, book: PriceBook = BOOK, /, **facts: str) -> int:
    usage = structs.replace(USED, web_searches=0)
    return book.cost(price_provider=seller, model=model, usage=usage, extra=facts, at=AT).total


def _facts(tier: str) -> dict[str, str]:
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


@pytest.mark.parametrize(("seller", "tier"), tiers.DISCOUNTS)
def test_a_published_discount_holds_where_the_catalogue_lists_none(seller: str, tier: str) -> None:
    model = UNLISTED[seller, tier]
    listed = price_catalogue.find(seller, model)
    assert listed is not None
    context = tuple(_facts(tier).items())
    assert price_catalogue.rates_of(listed, context, AT) == price_catalogue.rates_of(listed, (), AT)
    usage = Usage(input_tokens=1000, output_tokens=100)
    standard, found = (
        BOOK.cost(price_provider=seller, model=model, usage=usage, extra=facts, at=AT)
        for facts in ({}, _facts(tier))
    )
    assert standard.total > 0
    assert found.total * 2 == standard.total


def test_what_the_catalogue_lists_comes_before_a_published_discount() -> None:
    # The catalogue's batch prices of Gemini leave what the cache serves at its price.
    batch, standard = (cost("google", "gemini-2.5-flash", **f) for f in (_facts("batch"), {}))
    assert batch == 600 * 1_500 + 400 * 300 + 100 * 12_500
    assert standard == 600 * 3_000 + 400 * 300 + 100 * 25_000


def test_cached_input_is_not_discounted_twice_nor_dearer_than_fresh() -> None:
    found = cost("google", "gemini-2.0-flash", **_facts("batch"))
    assert found == 600 * 500 + 400 * 250 + 100 * 2_000


def test_searches_are_not_discounted() -> None:
    facts = _facts("batch")
    with_search, without = (
        BOOK.cost(
            price_provider="anthropic", model="claude-opus-4-1", usage=usage, extra=facts, at=AT
        )
        for usage in (USED, structs.replace(USED, web_searches=0))
    )
    assert with_search.total - without.total == 100_000_000


def test_a_tier_that_nobody_has_a_price_of_costs_the_standard_one() -> None:
    for seller, model in (("anthropic", "claude-sonnet-4-5"), ("groq", "llama-3.3-70b-versatile")):
        for tier in ("priority", "flex", "unheard-of"):
            assert cost(seller, model, service_tier=tier) == cost(seller, model)


def test_the_answers_tier_counts_before_the_requests() -> None:
    asked = {"model": "gpt-5", "service_tier": "priority"}
    made = call("openai", "/v1/chat/completions", json.dumps(asked).encode())
    assert made.service_tier == "priority"

    def paid(**facts: str) -> int:
        reading = UsageReading(usage=Usage(input_tokens=1000), stated=True, extra=facts)
        return BOOK.cost_of(provider("openai"), made, reading, AT).total

    assert (paid(), paid(service_tier="default"), paid(service_tier="flex")) == (
        25_000_000,
        12_500_000,
        6_250_000,
    )
    assert tiers.named_tier(made, {}) == "priority"
    assert tiers.named_tier(made, {"service_tier": "default"}) == "default"
    assert tiers.named_tier(made, {"processing": "batch"}) == "batch"
    assert tiers.named_tier(replace(made, service_tier=None), {}) is None


@pytest.mark.parametrize(
    ("ident", "path", "body", "headers", "tier"),
    [
        ("openai", "/v1/responses", {"service_tier": "Flex"}, {}, "flex"),
        ("openai", "/v1/responses", {"service_tier": ["flex"]}, {}, None),
        ("google", PATHS["google"], {"serviceTier": "priority"}, {}, "priority"),
        ("bedrock", "/model/m/converse", {"serviceTier": {"type": "flex"}}, {}, "flex"),
        ("bedrock", "/model/m/invoke", {}, {"X-Amzn-Bedrock-Service-Tier": "flex"}, "flex"),
        ("openai", "/v1/responses", {}, {"X-Amzn-Bedrock-Service-Tier": "flex"}, None),
    ],
)
def test_a_request_says_its_tier_where_its_provider_has_it_said(
    ident: str, path: str, body: dict[str, object], headers: dict[str, str], tier: str | None
) -> None:
    seller = provider(ident)
    url = "https://" + seller.base_url.split("/")[2] + path
    made = read_call(seller, "POST", url, headers, json.dumps(body).encode())
    assert made.service_tier == tier


def test_the_operators_multiplier_is_of_the_catalogues_standard_price(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    factors = {"openai": {"gpt-5": {"priority": "3", "batch": "0.25"}, "*": {"turbo": "2"}}}
    file.write_text(json.dumps({"service_tiers": factors}))
    book = PriceBook(file)
    standard = cost("openai", "gpt-5")
    assert cost("openai", "gpt-5", book) == standard
    assert cost("openai", "gpt-5", book, service_tier="priority") == standard * 3
    assert cost("openai", "gpt-5", book, processing="batch") * 4 == standard
    # What it says nothing of is the catalogue's.
    assert cost("openai", "gpt-5", book, service_tier="flex") * 2 == standard
    assert cost("openai", "gpt-4o", book, service_tier="turbo") == cost("openai", "gpt-4o") * 2
