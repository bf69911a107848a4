"""Worked examples: what each kind of meter charges, line by line."""

from __future__ import annotations

import pytest

from lava_grpc.core.errors import Refusal
from lava_grpc.core.money import AMOUNT_MAX, SCALE, format_amount
from lava_grpc.core.pricing import (
    Basis,
    Meter,
    RateType,
    Tier,
    TierType,
    display_units,
    price,
    price_upper_bound,
    units_affordable,
)
from lava_grpc.core.usage import Usage
from tests.unit.core.builders import M, meter, units

MILLION = 1_000_000
THREE_TIERS = meter((0, 5), (MILLION, 3), (10 * MILLION, 1))


def test_the_documented_fixed_rate_example() -> None:
    usage = Usage(input_tokens=500, output_tokens=200)
    charge = price(meter((0, 2)), usage, cost=0, counted=0)
    assert format_amount(charge.amount) == "0.0014000000"
    assert [(line.units, line.amount) for line in charge.lines] == [(700, charge.amount)]


def test_the_documented_graduated_example() -> None:
    charge = price(THREE_TIERS, Usage(input_tokens=5 * MILLION), cost=0, counted=0)
    assert charge.amount == units(17)
    assert [(line.start, line.units, line.amount) for line in charge.lines] == [
        (0, MILLION, units(5)),
        (MILLION, 4 * MILLION, units(12)),
    ]


def test_units_of_the_cycle_so_far_decide_the_tier() -> None:
    usage = Usage(input_tokens=2 * MILLION)
    charge = price(THREE_TIERS, usage, cost=0, counted=9 * MILLION)
    assert [(line.start, line.units) for line in charge.lines] == [
        (MILLION, MILLION),
        (10 * MILLION, MILLION),
    ]
    assert charge.amount == units(4)


def test_a_boundary_belongs_to_the_tier_that_starts_there() -> None:
    below = price(THREE_TIERS, Usage(input_tokens=1), cost=0, counted=MILLION - 1)
    at = price(THREE_TIERS, Usage(input_tokens=1), cost=0, counted=MILLION)
    assert [line.start for line in below.lines] == [0]
    assert [line.start for line in at.lines] == [MILLION]


def test_splitting_usage_over_calls_costs_the_same_as_one_call() -> None:
    whole = price(THREE_TIERS, Usage(input_tokens=12 * MILLION), cost=0, counted=0).amount
    parts = [
        price(THREE_TIERS, Usage(input_tokens=4 * MILLION), cost=0, counted=done * MILLION).amount
        for done in (0, 4, 8)
    ]
    assert whole == sum(parts) == units(5 + 27 + 2)


USAGE = Usage(
    input_tokens=600_000,
    output_tokens=400_000,
    input_characters=250_000,
    output_characters=250_000,
    input_micros=60 * MILLION,
    output_micros=30 * MILLION,
)


@pytest.mark.parametrize(
    ("tier_type", "charge", "counted"),
    [
        (TierType.TOKENS_1M, 2.0, 1_000_000),
        (TierType.CHARACTERS_1M, 1.0, 500_000),
        (TierType.MINUTES, 3.0, 90 * MILLION),
        (TierType.SECONDS, 180.0, 90 * MILLION),
        (TierType.REQUESTS, 2.0, 1),
    ],
)
def test_each_tier_type_counts_its_own_unit(
    tier_type: TierType, charge: float, counted: int
) -> None:
    priced = price(meter((0, 2), tier_type=tier_type), USAGE, cost=0, counted=0)
    assert priced.amount == units(charge)
    assert [line.units for line in priced.lines] == [counted]


@pytest.mark.parametrize(
    ("basis", "charge"), [(Basis.BOTH, 2.0), (Basis.INPUT, 1.2), (Basis.OUTPUT, 0.8)]
)
def test_a_basis_counts_input_output_or_both(basis: Basis, charge: float) -> None:
    assert price(meter((0, 2), basis=basis), USAGE, cost=0, counted=0).amount == units(charge)


def test_a_tier_of_minutes_starts_after_so_many_minutes() -> None:
    per_minute = meter((0, 6), (10, 3), tier_type=TierType.MINUTES)
    usage = Usage(input_micros=12 * 60 * MILLION)
    charge = price(per_minute, usage, cost=0, counted=0)
    assert charge.amount == units(66)
    assert [line.start for line in charge.lines] == [0, 10]


def test_fractional_seconds_are_exact() -> None:
    per_second = meter((0, 0.01), tier_type=TierType.SECONDS)
    assert price(per_second, Usage(input_micros=1_500_001), cost=0, counted=0).amount == 150_000_100


def test_a_percentage_is_a_fraction_of_the_cost() -> None:
    percent = meter((0, 1.2), rate_type=RateType.PERCENTAGE)
    charge = price(percent, USAGE, cost=units(10), counted=0)
    assert charge.amount == units(12)


def test_a_percentage_across_tiers_spreads_the_cost_by_units() -> None:
    percent = meter((0, 2), (MILLION, 1), rate_type=RateType.PERCENTAGE)
    usage = Usage(input_tokens=4 * MILLION)
    charge = price(percent, usage, cost=units(8), counted=0)
    assert [line.amount for line in charge.lines] == [units(4), units(6)]


def test_a_percentage_without_units_is_priced_by_the_current_tier() -> None:
    percent = meter((0, 2), (MILLION, 1), rate_type=RateType.PERCENTAGE)
    charge = price(percent, Usage(), cost=units(8), counted=MILLION)
    assert charge.amount == units(8)
    assert [line.start for line in charge.lines] == [MILLION]


def test_no_usage_is_one_empty_line() -> None:
    charge = price(THREE_TIERS, Usage(), cost=0, counted=0)
    assert charge.amount == 0
    assert [line.units for line in charge.lines] == [0]


def test_each_line_rounds_half_even_once() -> None:
    # 10^-10 per million tokens: half a unit at 500,000 and at 1,500,000.
    tiny = Meter(M, "p", "p", RateType.FIXED, TierType.TOKENS_1M, Basis.BOTH, (Tier(0, 1),))
    amounts = [
        price(tiny, Usage(input_tokens=tokens), cost=0, counted=0).amount
        for tokens in (499_999, 500_000, 500_001, 1_500_000)
    ]
    assert amounts == [0, 0, 1, 2]


def test_a_charge_past_64_bits_is_refused() -> None:
    dear = meter((0, 900_000_000))
    with pytest.raises(Refusal, match="too large"):
        price(dear, Usage(input_tokens=2 * MILLION), cost=0, counted=0)
    with pytest.raises(Refusal, match="too large"):
        price_upper_bound(
            dear, Usage(input_tokens=2 * MILLION), cost=0, counted=0, cycle_may_end=False
        )


def test_the_bound_prices_all_by_the_dearest_tier_that_can_be_reached() -> None:
    rising = meter((0, 1), (10, 3), (20, 2), tier_type=TierType.REQUESTS)
    bounds = [
        price_upper_bound(rising, Usage(), cost=0, counted=counted, cycle_may_end=may_end)
        for counted, may_end in [(0, False), (10, False), (20, False), (20, True)]
    ]
    assert bounds == [units(3) + 2, units(3) + 1, units(2), units(3) + 2]


def test_a_free_meter_needs_no_credit() -> None:
    free = meter((0, 0), (10, 0), (20, 0))
    assert price_upper_bound(free, USAGE, cost=SCALE, counted=0, cycle_may_end=True) == 0


def test_affordable_units_are_the_most_that_the_amount_pays_for() -> None:
    bought = units_affordable(THREE_TIERS, amount=units(8), counted=0, units_max=AMOUNT_MAX)
    # Five for the first million, three for the next; half a 10^-10 more is rounded away.
    assert 2 * MILLION <= bought <= 2 * MILLION + 1
    assert units_affordable(THREE_TIERS, amount=units(8), counted=0, units_max=7) == 7
    assert units_affordable(THREE_TIERS, amount=0, counted=0, units_max=0) == 0


def test_units_are_shown_in_the_tier_types_own() -> None:
    assert display_units(TierType.MINUTES, 119 * MILLION) == 1
    assert display_units(TierType.SECONDS, 1_999_999) == 1
    assert display_units(TierType.TOKENS_1M, 123) == 123
