from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.core.errors import Refusal
from lava_grpc.core.money import (
    AMOUNT_MAX,
    AMOUNT_MIN,
    SCALE,
    divide_half_even,
    divide_up,
    format_amount,
    parse_amount,
)

amounts = st.integers(AMOUNT_MIN, AMOUNT_MAX)
numerators = st.integers(-(2**100), 2**100)
denominators = st.integers(1, 2**70)


@given(amounts)
def test_what_is_shown_is_read_back_exactly(amount: int) -> None:
    assert parse_amount(format_amount(amount), "amount", negative=True) == amount


@given(amounts)
def test_ten_places_are_always_shown(amount: int) -> None:
    whole, _, places = format_amount(amount).partition(".")
    assert len(places) == 10
    assert Fraction(f"{whole}.{places}") == Fraction(amount, SCALE)


@given(st.text(alphabet="0123456789.-+eE _\n", max_size=30))
def test_a_text_is_read_exactly_or_refused(text: str) -> None:
    try:
        amount = parse_amount(text, "amount", negative=True)
    except Refusal as refusal:
        assert refusal.field == "amount"  # noqa: PT017 - a refusal is one of two good ends
    else:
        assert Fraction(text) * SCALE == amount


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_more_than_ten_decimals_are_never_rounded_away(number: object) -> None:
    text = f"{number:f}"
    try:
        amount = parse_amount(text, "amount", negative=True)
    except Refusal:
        exact = Fraction(text) * SCALE
        assert exact.denominator > 1 or abs(exact) > AMOUNT_MAX
    else:
        assert amount == Fraction(text) * SCALE


@given(numerators, denominators)
def test_half_even_is_what_exact_fractions_round_to(numerator: int, denominator: int) -> None:
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(numerators, denominators)
def test_an_upper_bound_is_the_least_whole_number_that_is_not_below(
    numerator: int, denominator: int
) -> None:
    bound = divide_up(numerator, denominator)
    assert bound - 1 < Fraction(numerator, denominator) <= bound
