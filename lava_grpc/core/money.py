"""Exact money: whole units of 10^-10 of the currency, never a float.

Inside, an `Amount` is an `int` that fits a signed 64-bit column, so about
922 million of the currency. Outside it is a decimal string with ten places.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from lava_grpc.core.errors import Refusal, invalid

Amount: TypeAlias = int
"""An amount of money in whole units of 10^-10 (`SCALE` of them make 1.00)."""

PLACES = 10
SCALE: int = 10**PLACES
AMOUNT_MAX: Amount = 2**63 - 1
AMOUNT_MIN: Amount = -AMOUNT_MAX
_ZERO = f"0.{0:010d}"

# No exponent, no thousands separator, no leading plus: what a JSON client would
# print for a plain decimal. The length bound keeps a hostile string cheap.
_DECIMAL = re.compile(r"(-?)(\d{1,40})(?:\.(\d{1,60}))?", re.ASCII)


def parse_amount(text: str, field: str, *, negative: bool = False) -> Amount:
    """Read a decimal string into an amount.

    Refuses, naming `field`: anything that is no plain decimal, more than ten
    decimals (trailing zeros aside), a negative unless `negative`, and what 64
    bits cannot hold.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise invalid(field, "must be a decimal string such as '12.50'")
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    fraction = fraction.rstrip("0")
    if len(fraction) > PLACES:
        raise invalid(field, f"must have at most {PLACES} decimals")
    value = int(whole) * SCALE + int(fraction.ljust(PLACES, "0") or "0")
    if sign and value:
        if not negative:
            raise invalid(field, "must not be negative")
        value = -value
    return check_amount(value, field)


def format_amount(amount: Amount) -> str:
    """The amount as a decimal string with ten places: `"0.0581000000"`."""
    if amount == 0:
        return _ZERO
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), SCALE)
    return f"{sign}{whole}.{fraction:010d}"


def fits(value: int) -> bool:
    """Whether 64 bits hold `value`."""
    return AMOUNT_MIN <= value <= AMOUNT_MAX


def too_large(field: str) -> Refusal:
    """The refusal for an amount or a sum that 64 bits cannot hold."""
    return invalid(field, "is too large: amounts and sums are limited to 922337203.6854775807")


def check_amount(value: int, field: str) -> Amount:
    """`value`, or a refusal naming `field` if 64 bits cannot hold it."""
    if not fits(value):
        raise too_large(field)
    return value


def check_not_negative(value: int, field: str) -> Amount:
    """`value`, or a refusal naming `field` if it is below zero."""
    if value < 0:
        raise invalid(field, "must not be negative")
    return value


def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` rounded half to even; `denominator` is positive.

    Every line of a charge or a cost rounds once, here.
    """
    quotient, remainder = divmod(numerator, denominator)
    twice = remainder * 2
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


def divide_up(numerator: int, denominator: int) -> int:
    """`numerator / denominator` rounded towards plus infinity: for upper bounds."""
    return -(-numerator // denominator)
