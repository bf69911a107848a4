"""What recent calls let expect: a quantile, never above the bound."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.core.usage import Usage
from lava_grpc.providers.base import Call
from lava_grpc.providers.estimate import Estimate, estimate
from lava_grpc.providers.expectation import (
    SAMPLES_MAX,
    SAMPLES_MIN,
    Past,
    Sample,
    expected,
    same_model,
    sample_of,
)
from lava_grpc.providers.prices import PriceBook
from tests.unit.providers.calls import Json, call, provider
from tests.unit.providers.steady import steady

AT = 1_795_000_000_000_000
BOOK = PriceBook()
BODY: Json = {"model": "gpt-4o", "messages": [{"content": "x" * 1000}]}
RAW = json.dumps(BODY).encode()


def _bound(**more: object) -> tuple[Call, bytes, Estimate]:
    raw = json.dumps(BODY | more).encode()
    made = call("openai", "/v1/chat/completions", raw)
    return made, raw, estimate(provider("openai"), made, raw, BOOK, AT)


def _expected(past: Past, **more: object) -> Estimate:
    made, raw, bound = _bound(**more)
    return expected(bound, made, len(raw), past)


def _past(*outputs: int, input_tokens: int = 250, body_bytes: int = 0) -> Past:
    return Past.of([Sample(input_tokens, out, body_bytes=body_bytes) for out in outputs])


def test_too_few_calls_let_nothing_be_expected() -> None:
    assert _expected(_past(*[10] * (SAMPLES_MIN - 1))) == _bound()[2]


def test_output_is_the_quantile_of_the_newest_calls() -> None:
    assert _expected(_past(*range(1, 101))).usage.output_tokens == 95
    assert _expected(_past(*[9000] * 10, *[10] * SAMPLES_MAX)).usage.output_tokens == 10
    assert _expected(_past(*[10] * 19, 500)).usage.output_tokens == 10
    assert _expected(_past(*[10] * 18, 500, 500)).usage.output_tokens == 500


def test_each_choice_is_expected_to_be_as_long() -> None:
    past = Past.of([sample_of(Usage(output_tokens=30), choices=3)] * SAMPLES_MIN)
    assert _expected(past, n=4).usage.output_tokens == 40


def test_input_follows_the_size_of_the_body_where_bodies_are_known() -> None:
    past = _past(*[10] * SAMPLES_MIN, input_tokens=100, body_bytes=400)
    raw = _bound()[1]
    assert _expected(past).usage.input_tokens == -(-len(raw) // 4)


def test_without_known_bodies_input_is_guessed_and_never_below_what_was_seen() -> None:
    past = _past(*[10] * SAMPLES_MIN, input_tokens=1)
    made, raw, bound = _bound()
    assert expected(bound, made, len(raw), past).usage.input_tokens == bound.input_guess
    seen = _past(*[10] * SAMPLES_MIN, input_tokens=900)
    assert _expected(seen).usage.input_tokens == 900


def test_the_cost_shrinks_with_the_tokens() -> None:
    found = _expected(_past(*[10] * SAMPLES_MIN, input_tokens=900))
    assert found.cost == 900 * 25_000 + 10 * 100_000
    assert found.output_cost == 10 * 100_000


def test_searches_are_expected_as_they_were_made() -> None:
    none = _expected(_past(*[10] * SAMPLES_MIN), web_search_options={})
    assert none.usage.web_searches == 0
    some = Past.of([Sample(250, 10, web_searches=2)] * SAMPLES_MIN)
    found = _expected(some, web_search_options={})
    assert found.usage.web_searches == 2
    assert none.cost < found.cost < _bound(web_search_options={})[2].cost


SAMPLES = st.builds(
    Sample,
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 100),
    st.integers(0, 10**6),
)


@steady
@given(st.lists(SAMPLES, max_size=150), st.integers(1, 5), st.none() | st.integers(1, 10**5))
def test_it_is_never_above_the_bound(samples: list[Sample], n: int, limit: int | None) -> None:
    more = {"n": n} | ({} if limit is None else {"max_tokens": limit})
    bound, found = _bound(**more)[2], _expected(Past.of(samples), **more)
    assert 0 <= found.cost <= bound.cost
    assert found.output_cost <= bound.output_cost
    assert found.usage.input_tokens <= bound.usage.input_tokens
    assert found.usage.output_tokens <= bound.usage.output_tokens
    assert found == _expected(Past.of(samples), **more)


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", True),
        ("mistral-large", "mistral-large-latest", True),
        ("claude-opus-4", "claude-opus-4@20250514", True),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4o-2024-08-06", "gpt-4o", False),
    ],
)
def test_a_record_names_the_model_with_its_date(asked: str, answered: str, *, same: bool) -> None:
    assert same_model(asked, answered) is same
