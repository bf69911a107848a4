"""Every pair of the corpus: what is passed on, read, charged and held."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from genai_prices import data_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_grpc.core.time import Instant
from lava_grpc.core.usage import NOTHING
from lava_grpc.providers.base import UsageReading
from lava_grpc.providers.catalogue import PROVIDERS
from lava_grpc.providers.estimate import estimate, settle_estimate
from lava_grpc.providers.flavors import FLAVORS
from lava_grpc.providers.prices import PriceBook
from tests.corpus import PRICES_FILE, Pair, pairs, read_file
from tests.unit.providers.steady import steady

AT: Instant = 1_795_000_000_000_000  # 2026-11-18
PRICES = PriceBook(PRICES_FILE)
every = pytest.mark.parametrize("pair", pairs(), ids=str)
succeeded = pytest.mark.parametrize("pair", [pair for pair in pairs() if pair.ok], ids=str)


def _read(pair: Pair) -> UsageReading:
    return pair.replay([pair.answer])[1]


@every
def test_the_reading_is_what_the_answer_states(pair: Pair) -> None:
    passed, reading = pair.replay([pair.answer])
    expected = pair.expected
    assert passed == pair.passed
    assert reading.usage.as_dict() == dict(expected.usage)
    assert (reading.stated, reading.complete, reading.failed) == (
        expected.stated,
        expected.complete,
        expected.failed,
    )
    for name, value in expected.facts.items():
        assert reading.extra[name] == value
    if expected.model is not None:
        assert reading.model == expected.model
    if expected.response_id is not None:
        assert reading.response_id == expected.response_id


@every
def test_the_cost_is_the_pinned_price_of_that_usage(pair: Pair) -> None:
    reading = _read(pair)
    cost = PRICES.cost_of(pair.provider, pair.prepared()[0], reading, AT)
    if pair.expected.priced:
        assert cost.total == Decimal(pair.expected.cost) * 10**10
        assert cost.total == cost.input + cost.output
    else:
        assert not cost.priced or not pair.expected.complete


@every
def test_where_the_chunks_are_cut_changes_nothing(pair: Pair) -> None:
    whole = pair.replay([pair.answer])
    for size in (1, 3, 64):
        chunks = [pair.answer[at : at + size] for at in range(0, len(pair.answer), size)]
        assert pair.replay(chunks) == whole


@given(st.data())
@settings(steady, max_examples=80)
def test_chunks_may_be_cut_anywhere(data: st.DataObject) -> None:
    pair = data.draw(st.sampled_from([pair for pair in pairs() if pair.streamed]))
    size = len(pair.answer)
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=20)))
    chunks = [pair.answer[start:end] for start, end in pairwise([0, *cuts, size])]
    assert pair.replay(chunks) == pair.replay([pair.answer])


@succeeded
def test_a_hold_covers_what_the_answer_turned_out_to_cost(pair: Pair) -> None:
    call = pair.read()
    reading = _read(pair)
    cost = PRICES.cost_of(pair.provider, pair.prepared()[0], reading, AT)
    bound = estimate(pair.provider, call, pair.request, PRICES, AT)
    if call.billable:
        # Nobody holds anything for a model without a price until its answer states one.
        assert bound.cost >= cost.total or not bound.priced
        assert bound.usage.input_tokens >= reading.usage.input_tokens
        assert bound.usage.output_tokens >= reading.usage.output_tokens
    guess = settle_estimate(call, reading, bound)
    assert guess.output_tokens >= reading.usage.output_tokens
    guessed = replace(reading, usage=guess, stated_cost=None)
    if pair.estimated and call.billable:
        cost = PRICES.cost_of(pair.provider, call, guessed, AT)
        assert bound.cost >= cost.total or not bound.priced


# Lines have no end of their own: where those of a batch stop, its transport says.
_ENDED = [p for p in pairs() if p.ok and p.streamed and p.read().flavor != "batch_results"]


@pytest.mark.parametrize("pair", _ENDED, ids=str)
def test_an_answer_that_is_cut_off_is_never_taken_for_whole(pair: Pair) -> None:
    whole = _read(pair)
    for part in range(10):
        cut = pair.answer[: len(pair.answer) * part // 10]
        _, reading = pair.replay([cut])
        if reading.stated and reading.complete:
            assert whole.usage in {reading.usage, NOTHING}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("answr = 1", "answr is not known here"),
        ("usage = { tokens = 1 }", "tokens is not known here"),
        ('url = "https://api.openai.com.evil.example/v1/chat"', "is no host of openai"),
        ('taken_out = ["never there"]', "taken_out is not in the answer"),
    ],
)
def test_a_pair_that_is_not_well_formed_says_where(tmp_path: Path, line: str, wrong: str) -> None:
    file = tmp_path / "openai" / "chat.toml"
    file.parent.mkdir()
    facts = {"url": '"https://api.openai.com/v1/chat/completions"', "usage": "{}", "cost": '"0"'}
    facts |= dict([line.split(" = ", 1)])
    pair = "\n".join(f"{key} = {value}" for key, value in facts.items())
    file.write_text(f'provider = "openai"\nsource = "s"\n\n[[pair]]\nname = "one"\n{pair}\n')
    with pytest.raises(ValueError, match=f"openai/chat:one: .*{wrong}"):
        read_file(file)


def test_every_provider_and_every_flavor_has_its_pairs() -> None:
    assert {pair.provider.id for pair in pairs()} == {provider.id for provider in PROVIDERS}
    assert {pair.read().flavor for pair in pairs()} >= FLAVORS.keys() - {"other"}


def test_each_provider_of_chat_has_a_document_and_a_stream() -> None:
    for provider in PROVIDERS:
        mine = [p for p in pairs() if p.provider.id == provider.id and p.ok]
        if any(pair.read().flavor == "chat" for pair in mine):
            assert {pair.streamed for pair in mine} == {True, False}, provider.id


# The extractor of genai-prices for an endpoint, where it lists one for the provider.
_API_FLAVORS = {
    "chat": ("chat", "default"),
    "completions": ("chat", "default"),
    "responses": ("responses",),
    "embeddings": ("embeddings", "chat", "default"),
    "conversations": ("default",),
    "transcription": ("default",),
    "images": ("images",),
    "messages": ("anthropic", "default"),
    "generate": ("default",),
    "converse": ("default",),
    "cohere": ("default",),
    "ocr": ("ocr", "ocr_annotated"),
}
_NAMES = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "cache_audio_read_tokens": "cache_audio_read_tokens",
    "cache_image_read_tokens": "cache_image_read_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_image_tokens": "output_image_tokens",
    "input_video_tokens": "input_video_tokens",
    "web_searches": "web_searches",
    "output_citation_tokens": "citation_tokens",
    "rerank_searches": "search_units",
}


@lru_cache(maxsize=1)
def _sellers() -> dict[str, Any]:
    return {provider.id: provider for provider in data_snapshot.get_snapshot().providers}


def _other_reading(pair: Pair) -> dict[str, int] | None:
    """What genai-prices' own extractor reads; None where it knows no such shape."""
    call = pair.read()
    seller = _sellers().get(call.price_provider or pair.provider.price_provider or "")
    known = {each.api_flavor for each in (seller.extractors or ())} if seller else set()
    flavors = _API_FLAVORS.get(call.flavor, ())
    if call.flavor == "cohere" and call.url.endswith("/embed"):
        flavors = ("embeddings",)
    flavor = next((each for each in flavors if each in known), None)
    document = _document(pair)
    if seller is None or flavor is None or document is None:
        return None
    try:
        _, usage = seller.extract_usage(document, api_flavor=flavor)
    except (ValueError, LookupError):
        return None
    stated = {ours: getattr(usage, theirs, None) for theirs, ours in _NAMES.items()}
    return {name: int(value) for name, value in stated.items() if value}


def _document(pair: Pair) -> Any:  # noqa: ANN401 - JSON is anything
    """The answer, or the event of its stream that states usage, as one document."""
    if pair.kind == "application/json":
        document = json.loads(pair.answer)
        return document if isinstance(document, dict) else None
    if pair.kind != "text/event-stream" or pair.read().flavor not in {"chat", "completions"}:
        return None
    lines = [line[6:] for line in pair.answer.splitlines() if line.startswith(b"data: {")]
    stating = [chunk for chunk in map(json.loads, lines) if chunk.get("usage")]
    return stating[-1] if stating else None


@pytest.mark.parametrize("pair", [p for p in pairs() if p.ok and p.expected.complete], ids=str)
def test_genai_prices_reads_the_same_or_the_pair_says_why_not(pair: Pair) -> None:
    other = _other_reading(pair)
    if other is None:
        assert pair.genai is None
        return
    read = {name: value for name, value in pair.expected.usage.items() if name in _NAMES.values()}
    differs = {
        name: other.get(name, 0)
        for name in sorted(other.keys() | read.keys())
        if other.get(name, 0) != read.get(name, 0)
    }
    listed = dict(pair.genai.usage) if pair.genai else {}
    assert differs == {name: value for name, value in listed.items() if name in _NAMES.values()}
