"""Every recording, replayed: bytes, usage, cost and hold."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from genai_prices import data_snapshot, types
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_grpc.core.time import Instant, to_datetime
from lava_grpc.core.usage import Usage
from lava_grpc.providers.estimate import estimate, settle_estimate
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Quirk, StreamUsage
from lava_grpc.providers.registry import prepare_body
from tests.unit.providers import stated as answers
from tests.unit.providers.recordings import Recording, cut, ids, needs_recordings, recordings
from tests.unit.providers.steady import steady
from tools.providers_doc import RECORDED

pytestmark = needs_recordings

AT: Instant = 1_795_000_000_000_000  # 2026-11-18, after the last recording
PRICES = PriceBook()
every = pytest.mark.parametrize("recording", recordings(), ids=ids)
succeeded = pytest.mark.parametrize(
    "recording", [recording for recording in recordings() if recording.ok], ids=ids
)


@every
@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000, 10**9])
def test_a_client_gets_the_bytes_that_the_provider_sent(recording: Recording, size: int) -> None:
    call, _ = prepare_body(recording.provider, recording.read(), recording.request)
    passed, reading = recording.replay(call, cut(recording.answer, size))
    assert passed == recording.answer
    assert reading == recording.whole()[1]


def test_the_documentation_says_whose_traffic_was_recorded() -> None:
    assert {recording.provider.id for recording in recordings()} == RECORDED


@every
def test_asking_for_usage_changes_nothing_else_in_a_request(recording: Recording) -> None:
    call, sent = prepare_body(recording.provider, recording.read(), recording.request)
    if not call.usage_injected:
        assert sent == recording.request
        return
    before, after = json.loads(recording.request), json.loads(sent)
    assert after.pop("stream_options")["include_usage"] is True
    before.pop("stream_options", None)
    assert after == before


@succeeded
def test_the_reading_holds_the_usage_that_the_answer_states(recording: Recording) -> None:
    call, reading = recording.whole()
    expected = answers.stated(recording, call.flavor)
    assert reading.usage.as_dict() == expected
    assert reading.stated is (bool(expected) or call.flavor == "no_usage")
    assert reading.failed is (b"event: error" in recording.answer)
    assert reading.complete is not reading.failed


@every
def test_a_refused_call_uses_and_costs_nothing(recording: Recording) -> None:
    call, reading = recording.whole()
    if recording.ok:
        return
    assert reading.failed
    assert reading.usage == Usage()
    assert PRICES.cost_of(recording.provider, call, reading, AT).total == 0


@given(st.data())
@settings(steady, max_examples=60)
def test_a_reading_does_not_depend_on_where_chunks_are_cut(data: st.DataObject) -> None:
    streamed = [r for r in recordings() if r.ok and r.streamed]
    recording = data.draw(st.sampled_from(streamed))
    size = len(recording.answer)
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=20)))
    edges = [0, *cuts, size]
    chunks = [recording.answer[a:b] for a, b in pairwise(edges)]
    call, expected = recording.whole()
    assert recording.replay(call, chunks) == (recording.answer, expected)


# The shape that OpenAI documents for `stream_options.include_usage`.
_CHUNK = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}\n\n'
)


def _unasked(recording: Recording) -> Recording:
    """The same call from a client that did not ask for usage."""
    body = json.loads(recording.request)
    body.pop("stream_options", None)
    return replace(recording, request=json.dumps(body).encode())


@pytest.mark.parametrize(
    "recording",
    [
        r
        for r in recordings()
        if r.ok
        and "event-stream" in r.content_type
        and r.read().flavor == "chat"
        and r.provider.stream_usage is StreamUsage.ASK
    ],
    ids=ids,
)
@pytest.mark.parametrize("size", [1, 3, 50, 10**9])
def test_the_chunk_that_the_gateway_asked_for_is_taken_out(recording: Recording, size: int) -> None:
    unasked = _unasked(recording)
    call, _ = prepare_body(unasked.provider, unasked.read(), unasked.request)
    assert call.usage_injected
    # What the provider would have sent without and with the option: the recording's own
    # usage chunk is left out of the first.
    blocks = [b for b in recording.answer.split(b"\n\n") if b'"choices":[],' not in b]
    without = b"\n\n".join(blocks)
    if Quirk.NULL_USAGE_IF_ASKED in unasked.provider.quirks:
        without = without.replace(b',"usage":null', b"")
    head, done, tail = without.partition(b"data: [DONE]")
    passed, reading = recording.replay(call, cut(head + _CHUNK + done + tail, size))
    assert passed == without
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (11, 7)
    assert reading.complete


_EXTRACTORS = {
    ("openai", "chat"): ("openai", "chat"),
    ("openai", "responses"): ("openai", "responses"),
    ("openai", "embeddings"): ("openai", "embeddings"),
    ("anthropic", "messages"): ("anthropic", "default"),
    ("google", "generate"): ("google", "default"),
    ("google-vertex", "generate"): ("google", "default"),
    ("bedrock", "converse"): ("aws", "default"),
    ("mistral", "chat"): ("mistral", "default"),
    ("groq", "chat"): ("groq", "default"),
    ("cohere", "cohere"): ("cohere", "default"),
    # It lists no extractor for DeepSeek's responses, which are in OpenAI's shape.
    ("deepseek", "responses"): ("openai", "responses"),
    ("zai", "chat"): ("zai", "chat"),
    ("openrouter", "chat"): ("openrouter", "chat"),
    ("huggingface", "chat"): ("huggingface_nebius", "chat"),
}


def _answer_for_extractor(recording: Recording, flavor: str) -> dict[str, Any]:
    if not recording.streamed:
        document: dict[str, Any] = recording.document()
        return document
    match flavor:
        case "messages":
            return {"usage": answers.anthropic_usage(recording)}
        case "generate":
            return {"usageMetadata": answers.gemini_usage(recording)}
        case "converse":
            return {"usage": answers.converse_usage(recording)}
        case _:
            return {"usage": answers.openai_usage(recording)}


@pytest.mark.parametrize(
    "recording",
    [r for r in recordings() if r.ok and (r.provider.id, r.read().flavor) in _EXTRACTORS],
    ids=ids,
)
def test_the_cost_is_what_the_catalogue_computes_by_itself(recording: Recording) -> None:
    call, reading = recording.whole()
    if not reading.stated:
        assert PRICES.cost_of(recording.provider, call, reading, AT).total == 0
        return
    seller, flavor = _EXTRACTORS[recording.provider.id, call.flavor]
    if call.flavor == "cohere" and "/embed" in call.url:
        flavor = "embeddings"
    snapshot = data_snapshot.get_snapshot()
    extractor = snapshot.find_provider(None, seller, None)
    _, usage = extractor.extract_usage(
        _answer_for_extractor(recording, call.flavor), api_flavor=flavor
    )
    # Searches show beside the usage, where its extractors do not look.
    usage.web_searches = reading.usage.web_searches or None
    cost = PRICES.cost_of(recording.provider, call, reading, AT)
    if reading.stated_cost is not None:
        # OpenRouter picks the host and runs tools at prices that the catalogue cannot
        # know, and states what it takes from the account: that is the cost.
        assert cost.total == Decimal(reading.stated_cost) * 10**10
        return
    sold_by = call.price_provider or recording.provider.price_provider
    provider = snapshot.find_provider(None, sold_by, None)
    name = reading.model or call.model or ""
    model = provider.find_model(name, all_providers=snapshot.providers)
    if model is None:
        assert not cost.priced
        return
    context = {key: reading.extra[key] for key in ("service_tier",) if key in reading.extra}
    expected = _genai_total(model, usage, provider, context)
    assert cost.priced
    assert Decimal(cost.total) == expected * 10**10


def _genai_total(
    model: types.ModelInfo, usage: types.Usage, provider: types.Provider, context: dict[str, str]
) -> Decimal:
    return model.calc_price(
        usage, provider, genai_request_timestamp=to_datetime(AT), price_context=context
    ).total_price


@succeeded
def test_a_hold_covers_what_the_call_turned_out_to_use(recording: Recording) -> None:
    call, reading = recording.whole()
    bound = estimate(recording.provider, call, recording.request, PRICES, AT)
    cost = PRICES.cost_of(recording.provider, call, reading, AT)
    assert bound.cost >= cost.total
    assert bound.cost >= bound.output_cost >= cost.output
    assert bound.priced is cost.priced
    for name, used in reading.usage.as_dict().items():
        if name in {"input_tokens", "output_tokens", "web_searches", "search_units", "images"}:
            assert getattr(bound.usage, name) >= used, name


@pytest.mark.parametrize("recording", [r for r in recordings() if r.ok and r.streamed], ids=ids)
def test_a_stream_that_is_cut_off_is_settled_within_its_hold(recording: Recording) -> None:
    call, whole = recording.whole()
    bound = estimate(recording.provider, call, recording.request, PRICES, AT)
    for part in range(10):
        _, reading = recording.replay(
            call, [recording.answer[: len(recording.answer) * part // 10]]
        )
        guess = settle_estimate(call, reading, bound)
        assert guess.input_tokens <= bound.usage.input_tokens
        assert guess.output_tokens <= bound.usage.output_tokens
        assert guess.output_tokens >= reading.usage.output_tokens
        priced = PRICES.cost_of(recording.provider, call, whole, AT).priced
        cost = PRICES.cost(
            price_provider=call.price_provider or recording.provider.price_provider,
            model=call.model,
            usage=guess,
            at=AT,
        )
        assert cost.total <= bound.cost or not priced
