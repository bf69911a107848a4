from __future__ import annotations

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.money import (
    AMOUNT_MAX,
    AMOUNT_MIN,
    SCALE,
    check_amount,
    divide_half_even,
    divide_up,
    format_amount,
    parse_amount,
)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("-0", 0),
        ("12.50", 125 * SCALE // 10),
        ("0.0000000001", 1),
        ("007", 7 * SCALE),
        ("1.50000000000000000000", 15 * SCALE // 10),
        ("922337203.6854775807", AMOUNT_MAX),
    ],
)
def test_a_decimal_string_is_read_exactly(text: str, amount: int) -> None:
    assert parse_amount(text, "amount") == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        ".5",
        "5.",
        "1,5",
        "1e3",
        "NaN",
        "0x1",
        "--1",
        "\u0661",
        "1" * 41,
    ],
)
def test_what_is_no_plain_decimal_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_amount(text, "tiers[0].rate")
    assert refused.value.reason is Reason.INVALID_FIELD
    assert refused.value.field == "tiers[0].rate"


@pytest.mark.parametrize("text", ["0.00000000001", "922337203.6854775808", "9" * 40, "-1"])
def test_what_64_bits_or_ten_places_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        parse_amount(text, "amount")


def test_a_negative_is_read_only_where_it_is_allowed() -> None:
    assert parse_amount("-1.5", "amount", negative=True) == -15 * SCALE // 10
    assert parse_amount("-922337203.6854775807", "amount", negative=True) == AMOUNT_MIN


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.0000000000"),
        (581_000_000, "0.0581000000"),
        (-1, "-0.0000000001"),
        (AMOUNT_MAX, "922337203.6854775807"),
    ],
)
def test_an_amount_is_shown_with_ten_places(amount: int, text: str) -> None:
    assert format_amount(amount) == text


@pytest.mark.parametrize(
    ("numerator", "rounded"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (7, 2), (-2, 0), (-6, -2)]
)
def test_quarters_round_half_to_even(numerator: int, rounded: int) -> None:
    assert divide_half_even(numerator, 4) == rounded


def test_an_upper_bound_rounds_up() -> None:
    assert [divide_up(n, 4) for n in (0, 1, 4, 5, -5)] == [0, 1, 1, 2, -1]


def test_a_sum_past_64_bits_is_refused_and_not_wrapped() -> None:
    assert check_amount(AMOUNT_MAX, "amount") == AMOUNT_MAX
    for value in (AMOUNT_MAX + 1, AMOUNT_MIN - 1):
        with pytest.raises(Refusal, match="too large"):
            check_amount(value, "amount")
