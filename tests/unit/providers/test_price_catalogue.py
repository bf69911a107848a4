"""Our arithmetic against the catalogue's own, over every model that it lists."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices import data_snapshot, types

from lava_grpc.core.time import Instant, to_datetime
from lava_grpc.core.usage import Usage
from lava_grpc.providers import rates
from lava_grpc.providers.price_catalogue import CONTEXT_KEYS, Listed, _period, find, rates_of

MINUTE = 60_000_000
NOW: Instant = 1_795_000_000_000_000  # 2026-11-18
SNAPSHOT = data_snapshot.get_snapshot()
CONTEXTS: tuple[dict[str, str], ...] = (
    {},
    {"service_tier": "priority"},
    {"service_tier": "flex"},
    {"service_tier": "default"},
    {"processing": "batch"},
    {"speed": "fast"},
    {"search_type": "web"},
)


def _usage(dice: random.Random) -> Usage:
    """A usage that does not contradict itself, small or beyond every tier."""
    size = dice.choice((0, 900, 150_000, 300_000, 1_200_000))
    read, written = size // dice.choice((2, 3, 10)), size // 10
    audio, image = size // 20, size // 30
    output = dice.randrange(0, 40_000)
    return Usage(
        input_tokens=size,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=written // 3,
        reasoning_tokens=output // 2,
        input_audio_tokens=audio,
        input_image_tokens=image,
        cache_audio_read_tokens=audio // 2,
        cache_image_read_tokens=image // 2,
        output_audio_tokens=output // 5,
        output_image_tokens=output // 7,
        citation_tokens=output // 9,
        input_characters=dice.randrange(0, 5_000),
        input_micros=dice.randrange(0, 90) * 1_000_000,
        web_searches=dice.randrange(0, 4),
        search_units=dice.randrange(0, 4),
        pages=12,
        annotated_pages=dice.choice((0, 12)),
    )


def _in_genai_words(usage: Usage) -> GenaiUsage:
    values: dict[str, int | Decimal] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
        "output_image_tokens": usage.output_image_tokens,
        "output_citation_tokens": usage.citation_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "input_image_tokens": usage.input_image_tokens,
        "cache_audio_read_tokens": usage.cache_audio_read_tokens,
        "cache_image_read_tokens": usage.cache_image_read_tokens,
        "input_characters": usage.input_characters,
        "audio_seconds": Decimal(usage.input_micros) / 10**6,
        "input_audio_seconds": Decimal(usage.input_micros) / 10**6,
        "web_searches": usage.web_searches,
        "rerank_searches": usage.search_units,
        "input_document_pages": usage.pages,
        "input_annotated_document_pages": usage.annotated_pages,
    }
    return GenaiUsage(**values)


def _listed(provider: types.Provider, model: types.ModelInfo) -> Listed:
    return Listed(provider, model, own=True, period=_period(model))


@pytest.mark.parametrize("provider", SNAPSHOT.providers, ids=lambda provider: provider.id)
def test_every_model_costs_what_the_catalogue_says(provider: types.Provider) -> None:
    dice = random.Random(provider.id)  # noqa: S311 - the same cases on every run
    for model in provider.models:
        at = NOW - dice.randrange(0, 400 * 24 * 60) * MINUTE
        context = dice.choice(CONTEXTS) if model.price_variants else {}
        usage = _usage(dice)
        listed = _listed(provider, model)
        ours = rates.cost(rates_of(listed, tuple(context.items()), at), usage)
        theirs = model.calc_price(
            _in_genai_words(usage),
            provider,
            genai_request_timestamp=to_datetime(at),
            price_context=context,
        )
        # Two lines rounded once each: at most half a unit apart from the exact sum.
        assert abs(Decimal(ours.total) - theirs.total_price * 10**10) <= 1, model.id
        assert abs(Decimal(ours.output) - theirs.output_price * 10**10) <= 1, model.id


def test_a_model_is_found_by_what_hosts_make_of_its_name() -> None:
    def model(seller: str, name: str) -> str | None:
        listed = find(seller, name)
        return listed.model.id if listed else None

    assert model("openai", "gpt-4o-2024-08-06") == "gpt-4o"
    assert model("google", "models/gemini-2.5-flash") == "gemini-2.5-flash"
    assert model("openrouter", "openai/gpt-4o:nitro") == model("openrouter", "openai/gpt-4o")
    assert model("openrouter", "anthropic/claude-sonnet-4-5") == "anthropic/claude-sonnet-4.5"
    assert model("openai", "o4-mini-2031-01-01") == "o4-mini"
    assert model("aws", "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-pro-v1:0")
    assert model("openrouter", "no/such:free") is None


def test_a_free_variant_is_never_taken_for_the_paid_model() -> None:
    listed = find("openrouter", "openai/gpt-4o:free")
    assert listed is None or listed.model.id.endswith(":free")


@pytest.mark.parametrize("name", ["", "x" * 10_000, "no-such-model", "\0", "../../x", "é"])
def test_an_unknown_name_is_unknown_and_no_error(name: str) -> None:
    assert find("openai", name) is None
    assert find("no-such-provider", "gpt-4o") is None


def test_a_provider_is_never_chosen_by_its_url() -> None:
    assert find("https://api.openai.com.evil.example", "gpt-4o") is None


def test_a_borrowed_model_has_no_service_tiers() -> None:
    borrowed, own = find("azure", "gpt-5-2025-08-07"), find("openai", "gpt-5-2025-08-07")
    assert borrowed is not None
    assert own is not None
    priority = (("service_tier", "priority"),)
    assert rates_of(own, priority, NOW).input != rates_of(own, (), NOW).input
    if not borrowed.own:
        assert rates_of(borrowed, priority, NOW) == rates_of(borrowed, (), NOW)


def test_a_price_by_the_time_of_day_changes_on_its_minute() -> None:
    listed = find("deepseek", "deepseek-reasoner")
    assert listed is not None
    midnight = NOW - NOW % (24 * 60 * MINUTE)
    change = midnight + (16 * 60 + 30) * MINUTE
    before = rates_of(listed, (), change - 1)
    after = rates_of(listed, (), change)
    # Peak hours, which the listing gives as those of the higher price, end here.
    assert before.input.base > after.input.base
    assert rates_of(listed, (), change - MINUTE) == before


def test_the_context_keys_are_those_the_catalogue_chooses_by() -> None:
    used = {
        key
        for provider in SNAPSHOT.providers
        for model in provider.models
        for variant in model.price_variants or ()
        for key in variant.when
    }
    # The upstream's route is not in any answer.
    assert used - {"route"} == set(CONTEXT_KEYS)
