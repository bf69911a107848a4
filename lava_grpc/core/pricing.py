"""Meters and tiers: from usage to a charge with its breakdown.

Tiers are graduated: each slice of a customer's units in the cycle is priced by
the tier it falls in. Every line of a breakdown rounds once, half to even.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from lava_grpc.core.money import SCALE, Amount, check_amount, divide_half_even, divide_up
from lava_grpc.core.usage import MICROS_PER_SECOND, Usage


class RateType(StrEnum):
    """What a meter's rates are applied to."""

    FIXED = "fixed"
    PERCENTAGE = "percentage"


class TierType(StrEnum):
    """The unit that tiers are counted in."""

    TOKENS_1M = "tokens_1m"
    CHARACTERS_1M = "characters_1m"
    MINUTES = "minutes"
    REQUESTS = "requests"
    SECONDS = "seconds"


class Basis(StrEnum):
    """Which side of the usage a meter counts."""

    BOTH = "both"
    INPUT = "input"
    OUTPUT = "output"


# Counters hold whole numbers: tokens, characters, requests, and microseconds for
# both time units. UNIT is how many of them a tier's `start` counts, PER how many
# a fixed rate pays for.
_UNIT = {
    TierType.TOKENS_1M: 1,
    TierType.CHARACTERS_1M: 1,
    TierType.MINUTES: 60 * MICROS_PER_SECOND,
    TierType.REQUESTS: 1,
    TierType.SECONDS: MICROS_PER_SECOND,
}
_PER = {
    TierType.TOKENS_1M: 1_000_000,
    TierType.CHARACTERS_1M: 1_000_000,
    TierType.MINUTES: 60 * MICROS_PER_SECOND,
    TierType.REQUESTS: 1,
    TierType.SECONDS: MICROS_PER_SECOND,
}


@dataclass(frozen=True, slots=True)
class Tier:
    """`rate` (10^-10 units) applies from `start` on, in the tier type's own unit."""

    start: int
    rate: Amount


@dataclass(frozen=True, slots=True)
class Meter:
    """A pricing rule. Tiers ascend, the first starts at 0."""

    merchant_id: str
    meter_id: str
    slug: str
    rate_type: RateType
    tier_type: TierType
    basis: Basis
    tiers: tuple[Tier, ...]

    def units(self, usage: Usage) -> int:
        """How many counter units `usage` is to this meter."""
        match self.tier_type:
            case TierType.TOKENS_1M:
                pair = (usage.input_tokens, usage.output_tokens)
            case TierType.CHARACTERS_1M:
                pair = (usage.input_characters, usage.output_characters)
            case TierType.MINUTES | TierType.SECONDS:
                pair = (usage.input_micros, usage.output_micros)
            case TierType.REQUESTS:
                return 1
        match self.basis:
            case Basis.BOTH:
                return pair[0] + pair[1]
            case Basis.INPUT:
                return pair[0]
            case Basis.OUTPUT:
                return pair[1]


class ChargeLine(msgspec.Struct, frozen=True):
    """What one tier took: `units` are counter units (microseconds for time)."""

    start: int
    rate: Amount
    tier_type: TierType
    units: int
    amount: Amount


class Charge(msgspec.Struct, frozen=True):
    """What the customer pays: the sum of its lines."""

    amount: Amount
    rate_type: RateType | None = None
    lines: tuple[ChargeLine, ...] = ()


NO_CHARGE = Charge(0)


def price(meter: Meter, usage: Usage, *, cost: Amount, counted: int) -> Charge:
    """The charge for `usage` after `counted` units in this cycle.

    `cost` is the provider's, which a percentage meter takes its share of; it is
    spread over the tiers by the units that fall in each. Refuses a charge that
    64 bits cannot hold.
    """
    slices = _slices(meter, counted, meter.units(usage))
    total_units = sum([units for _, units in slices])
    lines = [
        ChargeLine(
            tier.start,
            tier.rate,
            meter.tier_type,
            units,
            _line_amount(meter, tier.rate, units, total_units, cost),
        )
        for tier, units in slices
    ]
    amount = check_amount(sum([line.amount for line in lines]), "charge")
    return Charge(amount, meter.rate_type, tuple(lines))


def price_upper_bound(
    meter: Meter, usage: Usage, *, cost: Amount, counted: int, cycle_may_end: bool
) -> Amount:
    """An amount that `price` cannot exceed for this usage, however the counter moves.

    Other calls may advance the counter before this one settles, and a new cycle
    may reset it, so the dearest tier that can still be reached prices it all.
    """
    reachable = meter.tiers if cycle_may_end else _tiers_from(meter, counted)
    rate = max([tier.rate for tier in reachable])
    if meter.rate_type is RateType.PERCENTAGE:
        bound = divide_up(cost * rate, SCALE)
    else:
        bound = divide_up(rate * meter.units(usage), _PER[meter.tier_type])
    if bound == 0:
        return 0
    # Each further line of the real charge may round up by half a unit.
    return check_amount(bound + len(reachable) - 1, "amount")


def units_affordable(meter: Meter, *, amount: Amount, counted: int, units_max: int) -> int:
    """How many units, at most `units_max`, a fixed meter gives for `amount` from `counted` on."""
    low, high = 0, units_max
    while low < high:
        middle = (low + high + 1) // 2
        slices = _slices(meter, counted, middle)
        asked = sum(_line_amount(meter, t.rate, u, middle, 0) for t, u in slices)
        if asked <= amount:
            low = middle
        else:
            high = middle - 1
    return low


def display_units(tier_type: TierType, units: int) -> int:
    """Counter units in the tier type's own unit, rounded down."""
    return units // _UNIT[tier_type]


def _tiers_from(meter: Meter, counted: int) -> tuple[Tier, ...]:
    """The tier that `counted` units have reached, and those after it."""
    unit = _UNIT[meter.tier_type]
    current = len(meter.tiers) - 1
    while current > 0 and meter.tiers[current].start * unit > counted:
        current -= 1
    return meter.tiers[current:]


def _slices(meter: Meter, counted: int, units: int) -> list[tuple[Tier, int]]:
    """How many of the next `units` fall in each tier; one empty slice when there are none."""
    unit = _UNIT[meter.tier_type]
    end = counted + units
    out: list[tuple[Tier, int]] = []
    current = meter.tiers[0]
    for index, tier in enumerate(meter.tiers):
        start = tier.start * unit
        if start <= counted:
            current = tier
        stop = meter.tiers[index + 1].start * unit if index + 1 < len(meter.tiers) else end
        inside = min(end, stop) - max(counted, start)
        if inside > 0:
            out.append((tier, inside))
    return out or [(current, 0)]


def _line_amount(meter: Meter, rate: Amount, units: int, total_units: int, cost: Amount) -> Amount:
    if meter.rate_type is RateType.FIXED:
        return divide_half_even(rate * units, _PER[meter.tier_type])
    if total_units == 0:
        # No units to spread the cost over: the current tier prices all of it.
        return divide_half_even(cost * rate, SCALE)
    return divide_half_even(cost * rate * units, SCALE * total_units)
