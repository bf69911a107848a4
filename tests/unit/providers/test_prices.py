"""Whose price holds, and what it comes to."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import COUNT_MAX, FIELDS, Usage
from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.prices import Cost, PriceBook
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry
from tests.unit.providers.steady import steady

AT: Instant = 1_795_000_000_000_000
BOOK = PriceBook()
REGISTRY = Registry()
SMALL = Usage(input_tokens=1000, output_tokens=100)


def provider(ident: str) -> Provider:
    found = REGISTRY.by_id(ident)
    assert found is not None
    return found


def call(ident: str, model: str | None, flavor: str = "chat") -> Call:
    return Call(provider=ident, flavor=flavor, method="POST", url="https://x/", model=model)


def cost(
    ident: str,
    model: str | None,
    reading: UsageReading,
    *,
    book: PriceBook = BOOK,
    flavor: str = "chat",
) -> Cost:
    return book.cost_of(provider(ident), call(ident, model, flavor), reading, AT)


def used(usage: Usage = SMALL, *, model: str | None = None, **facts: str) -> UsageReading:
    return UsageReading(usage=usage, stated=True, model=model, extra=facts)


def book(tmp_path: Path, seller: str, **models: object) -> PriceBook:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"providers": {seller: models}}))
    return PriceBook(path)


def test_input_and_output_are_priced_each_at_its_rate() -> None:
    assert cost("openai", "gpt-4o", used()) == Cost(25_000_000, 10_000_000, 35_000_000, priced=True)


def test_the_model_that_the_answer_names_is_priced_before_the_one_asked_for() -> None:
    asked, answered = "gpt-4o", "gpt-4o-mini-2024-07-18"
    assert cost("openai", asked, used(model=answered)) == cost("openai", "gpt-4o-mini", used())
    # A deployment's name says nothing; the answer does.
    assert cost("azure", "my-deployment", used(model="gpt-4o-2024-08-06")).priced


def test_an_answers_model_that_nobody_knows_is_priced_as_the_one_asked_for() -> None:
    assert cost("openai", "gpt-4o", used(model="fp_internal")) == cost("openai", "gpt-4o", used())


@pytest.mark.parametrize(
    ("ident", "model"),
    [("openai", "no-such-model"), ("openai", None), ("nvidia", "gpt-4o"), ("groq", "x" * 9999)],
)
def test_an_unknown_model_costs_nothing_and_says_so(ident: str, model: str | None) -> None:
    assert cost(ident, model, used()) == Cost(0, 0, 0, priced=False)


def test_a_call_that_is_free_of_charge_is_priced_at_nothing() -> None:
    free = cost("perplexity", "sonar", used(Usage()), flavor="no_usage")
    assert free == Cost(0, 0, 0, priced=True)


def test_an_answer_that_used_nothing_owes_no_fee_for_the_request() -> None:
    assert cost("perplexity", "sonar", UsageReading(failed=True)).total == 0
    assert cost("perplexity", "sonar", used(Usage(input_tokens=1))).total > 100_000_000


def test_a_routers_stated_price_is_the_cost() -> None:
    reading = UsageReading(usage=SMALL, stated=True, stated_cost="0.0145476")
    priced = cost("openrouter", "openai/gpt-4o-mini", reading)
    assert priced.total == 145_476_000
    assert priced.input + priced.output == priced.total
    # Its output has the share that it has in the list price: 60 of 210.
    assert priced.output == 145_476_000 * 60 // 210


def test_the_stated_part_of_the_output_is_the_output_line() -> None:
    facts = {"stated_output_cost": "0.004"}
    reading = UsageReading(usage=SMALL, stated=True, stated_cost="0.0145476", extra=facts)
    priced = cost("openrouter", "no/such-model", reading)
    assert priced == Cost(105_476_000, 40_000_000, 145_476_000, priced=True)


def test_a_stated_zero_is_a_zero() -> None:
    reading = UsageReading(usage=SMALL, stated=True, stated_cost="0")
    assert cost("openrouter", "openai/gpt-4o", reading) == Cost(0, 0, 0, priced=True)


def test_a_stranger_s_stated_price_serves_only_where_there_is_no_other() -> None:
    reading = UsageReading(usage=SMALL, stated=True, stated_cost="9")
    assert cost("openai", "gpt-4o", reading).total == 35_000_000
    assert cost("nvidia", "some/model", reading).total == 90_000_000_000


def test_the_operators_price_wins_over_all_others(tmp_path: Path) -> None:
    mine = book(tmp_path, "openrouter", **{"openai/*": {"per_million_tokens": {"input": "1"}}})
    reading = UsageReading(usage=SMALL, stated=True, stated_cost="9")
    assert cost("openrouter", "openai/gpt-4o", reading, book=mine).total == 10_000_000
    assert cost("openrouter", "qwen/qwen3-32b", reading, book=mine).total == 90_000_000_000


def test_the_operator_may_name_a_provider_by_either_id(tmp_path: Path) -> None:
    entry = {"gpt-x": {"per_request": "1"}}
    for seller, ident in (("x-ai", "xai"), ("xai", "xai"), ("nvidia", "nvidia")):
        mine = book(tmp_path, seller, **entry)
        assert cost(ident, "gpt-x", used(), book=mine).total == 10**10


def test_a_service_tier_chooses_its_price() -> None:
    standard = cost("openai", "gpt-5", used(service_tier="default"))
    assert standard == cost("openai", "gpt-5", used())
    assert cost("openai", "gpt-5", used(service_tier="flex")).total < standard.total
    assert cost("openai", "gpt-5", used(service_tier="priority")).total > standard.total
    batch = cost("anthropic", "claude-sonnet-4-5", used(processing="batch"), flavor="messages")
    full = cost("anthropic", "claude-sonnet-4-5", used(), flavor="messages")
    assert batch.total * 2 == full.total


def test_tokens_kept_in_the_united_states_cost_a_tenth_more() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, web_searches=1)
    there = cost("anthropic", "claude-opus-4-6", used(usage, inference_geo="us"))
    anywhere = cost("anthropic", "claude-opus-4-6", used(usage, inference_geo="global"))
    search = 100_000_000
    assert (there.total - search) * 10 == (anywhere.total - search) * 11


def test_writing_to_the_cache_for_an_hour_costs_more_than_for_five_minutes() -> None:
    def written(**parts: int) -> int:
        usage = Usage(input_tokens=1000, cache_write_tokens=1000, **parts)
        return cost("anthropic", "claude-sonnet-4-5", used(usage)).total

    assert (written(), written(cache_write_1h_tokens=1000)) == (37_500_000, 60_000_000)
    assert written(cache_write_1h_tokens=400) == (600 * 37_500 + 400 * 60_000)


def test_a_long_context_costs_more_for_every_token() -> None:
    below = cost("google", "gemini-2.5-pro", used(Usage(input_tokens=200_000)))
    above = cost("google", "gemini-2.5-pro", used(Usage(input_tokens=200_001)))
    assert (below.total, above.total) == (200_000 * 12_500, 200_001 * 25_000)


def test_sound_shorter_than_groqs_least_is_billed_as_the_least() -> None:
    def heard(seconds: int) -> int:
        usage = Usage(input_micros=seconds * 1_000_000)
        return cost("groq", "whisper-large-v3", used(usage), flavor="transcription").total

    assert heard(1) == heard(10) < heard(11)
    assert heard(3600) == 1_110_000_000


def test_a_reported_usage_is_priced_by_provider_and_model() -> None:
    def reported(seller: str | None, model: str | None) -> Cost:
        return BOOK.cost(price_provider=seller, model=model, usage=SMALL, at=AT)

    assert reported("openai", "gpt-4o").total == 35_000_000
    for seller, model in ((None, "gpt-4o"), ("openai", None), ("nobody", "gpt-4o")):
        assert not reported(seller, model).priced


@steady
@given(
    st.fixed_dictionaries({}, optional={name: st.integers(0, COUNT_MAX) for name in FIELDS}),
    st.sampled_from(
        [
            ("google", "gemini-2.5-flash"),
            ("anthropic", "claude-opus-4-6"),
            ("openai", "gpt-image-1"),
        ]
    ),
)
def test_no_usage_however_odd_breaks_the_arithmetic(
    counts: dict[str, int], model: tuple[str, str]
) -> None:
    found = BOOK.cost(price_provider=model[0], model=model[1], usage=Usage(**counts), at=AT)
    assert found.priced
    assert 0 <= found.input <= AMOUNT_MAX
    assert 0 <= found.output <= AMOUNT_MAX
    assert found.total == found.input + found.output <= AMOUNT_MAX


def test_limits_come_from_the_catalogue_the_table_and_the_operator(tmp_path: Path) -> None:
    known = BOOK.model_limits(provider("anthropic"), "claude-sonnet-4-5-20250929")
    assert tuple(known) == (200_000, 64_000)
    assert tuple(BOOK.model_limits(provider("openai"), "gpt-4o")) == (128_000, 16_384)
    assert tuple(BOOK.model_limits(provider("nvidia"), "no-such-model")) == (None, None)
    assert tuple(BOOK.model_limits(provider("openai"), None)) == (None, None)
    mine = book(tmp_path, "openai", **{"gpt-4o": {"context_window": 10, "max_output": 5}})
    assert tuple(mine.model_limits(provider("openai"), "gpt-4o")) == (10, 5)


def test_a_known_model_is_priced_in_well_under_a_tenth_of_a_millisecond() -> None:
    def once() -> None:
        BOOK.cost(price_provider="openrouter", model="openai/gpt-4o", usage=SMALL, at=AT)

    once()
    best = min(_timed(once) for _ in range(20))
    assert best < 100e-6


def _timed(action: object) -> float:
    assert callable(action)
    start = time.perf_counter()
    for _ in range(50):
        action()
    return (time.perf_counter() - start) / 50
