from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from lava_grpc.core.money import SCALE
from lava_grpc.core.pricing import (
    Basis,
    Meter,
    RateType,
    Tier,
    TierType,
    price,
    price_upper_bound,
    units_affordable,
)
from lava_grpc.core.usage import Usage

_rates = st.integers(0, 50) | st.integers(0, 10 * SCALE)
_counts = st.integers(0, 40) | st.integers(0, 3_000_000)
_counted = st.integers(0, 60) | st.integers(0, 10**9)
_costs = st.integers(0, 30) | st.integers(0, 10**15)


@st.composite
def meters(draw: st.DrawFn) -> Meter:
    steps = draw(st.lists(st.integers(1, 20) | st.integers(1, 10**6), max_size=4))
    starts = [sum(steps[:index]) for index in range(len(steps) + 1)]
    return Meter(
        "mer",
        "prd",
        "slug",
        draw(st.sampled_from(RateType)),
        draw(st.sampled_from(TierType)),
        draw(st.sampled_from(Basis)),
        tuple(Tier(start, draw(_rates)) for start in starts),
    )


usages = st.builds(
    Usage,
    input_tokens=_counts,
    output_tokens=_counts,
    input_characters=_counts,
    output_characters=_counts,
    input_micros=_counts,
    output_micros=_counts,
)


# Two lines of 1.5 each round up to 2.
_ROUNDING_UP = Meter(
    "mer",
    "prd",
    "slug",
    RateType.FIXED,
    TierType.TOKENS_1M,
    Basis.BOTH,
    (Tier(0, 1), Tier(1_500_000, 1)),
)


@example(_ROUNDING_UP, Usage(input_tokens=3_000_000), 0, 0, 0)
@given(meters(), usages, _costs, _counted, _counted)
def test_the_bound_is_never_below_the_price_however_the_counter_moves(
    meter: Meter, usage: Usage, cost: int, counted: int, moved: int
) -> None:
    bound = price_upper_bound(meter, usage, cost=cost, counted=counted, cycle_may_end=False)
    assert bound >= price(meter, usage, cost=cost, counted=counted).amount
    assert bound >= price(meter, usage, cost=cost, counted=counted + moved).amount


@given(meters(), usages, _costs, _counted, _counted)
def test_the_bound_over_a_cycles_end_holds_from_any_count(
    meter: Meter, usage: Usage, cost: int, counted: int, later: int
) -> None:
    bound = price_upper_bound(meter, usage, cost=cost, counted=counted, cycle_may_end=True)
    assert bound >= price(meter, usage, cost=cost, counted=later).amount


@given(meters(), usages, usages, _costs)
def test_less_usage_never_needs_a_larger_hold(
    meter: Meter, usage: Usage, more: Usage, cost: int
) -> None:
    both = Usage(**{name: getattr(usage, name) + getattr(more, name) for name in _COUNTED})
    small, large = (
        price_upper_bound(meter, used, cost=cost, counted=0, cycle_may_end=False)
        for used in (usage, both)
    )
    assert small <= large


_COUNTED = (
    "input_tokens",
    "output_tokens",
    "input_characters",
    "output_characters",
    "input_micros",
    "output_micros",
)


@given(meters(), usages, _costs, _counted)
def test_a_breakdown_adds_up(meter: Meter, usage: Usage, cost: int, counted: int) -> None:
    charge = price(meter, usage, cost=cost, counted=counted)
    assert charge.amount == sum(line.amount for line in charge.lines)
    assert sum(line.units for line in charge.lines) == meter.units(usage)
    assert len({line.start for line in charge.lines}) == len(charge.lines)


@given(meters(), usages, _costs, _counted)
def test_no_line_is_more_than_half_a_unit_from_exact(
    meter: Meter, usage: Usage, cost: int, counted: int
) -> None:
    charge = price(meter, usage, cost=cost, counted=counted)
    total = meter.units(usage)
    per = {TierType.REQUESTS: 1, TierType.MINUTES: 60_000_000}.get(meter.tier_type, 1_000_000)
    for line in charge.lines:
        if meter.rate_type is RateType.FIXED:
            exact = Fraction(line.rate * line.units, per)
        else:
            exact = Fraction(cost * line.rate, SCALE) * (Fraction(line.units, total or 1) or 1)
        assert abs(line.amount - exact) <= Fraction(1, 2)


@given(meters(), st.integers(0, 10**14), _counted, st.integers(0, 10**7))
def test_affordable_units_are_affordable_and_one_more_is_not(
    meter: Meter, amount: int, counted: int, units_max: int
) -> None:
    fixed = Meter("m", "p", "s", RateType.FIXED, TierType.TOKENS_1M, Basis.INPUT, meter.tiers)

    def cost_of(units: int) -> int:
        return price(fixed, Usage(input_tokens=units), cost=0, counted=counted).amount

    units = units_affordable(fixed, amount=amount, counted=counted, units_max=units_max)
    assert cost_of(units) <= amount
    assert units == units_max or cost_of(units + 1) > amount
