"""Reading numbers out of a provider's JSON, which promises nothing.

Answers are parsed with `parse_json`, which keeps fractions as text, so that no
amount and no duration ever passes through a float.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lava_grpc.core.usage import COUNT_MAX, MICROS_PER_SECOND

TEXT_MAX = 256
"""The longest id, model name or other text that is kept from an answer, in characters."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_NUMBER_CHARS_MAX = 40
_EXPONENT_MAX = 30


def parse_json(text: bytes | bytearray | str) -> Any:  # noqa: ANN401 - JSON is anything
    """The JSON document in `text`, fractions as `str`; None where there is none.

    A document that is `null`, cut short, nested beyond reason or not JSON at
    all gives None alike: the caller cares only for what it can read.
    """
    try:
        return json.loads(text, parse_float=str)
    except (ValueError, RecursionError):
        return None


def at(value: object, *path: str) -> object:
    """The value at `path` through nested objects, None where a step is missing."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def whole(value: object) -> int | None:
    """`value` as a count: a whole number from 0 to COUNT_MAX, else None."""
    if isinstance(value, str):
        number = decimal(value)
        # Some hosts write 12.0 for twelve.
        if number is None or number != number.to_integral_value():
            return None
        value = int(number)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= COUNT_MAX else None


def count(value: object, *path: str) -> int | None:
    """The count at `path`, None where nobody stated one."""
    return whole(at(value, *path))


def first_count(value: object, *paths: tuple[str, ...]) -> int | None:
    """The first of `paths` that states a count."""
    for path in paths:
        if (found := whole(at(value, *path))) is not None:
            return found
    return None


def total_of(value: object, *paths: tuple[str, ...]) -> int:
    """The sum of what is stated at `paths`."""
    return sum(whole(at(value, *path)) or 0 for path in paths)


def decimal(value: object) -> Decimal | None:
    """A finite, non-negative decimal from a JSON number or a decimal string."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    # The length bound comes first: str() of a huge int is slow, or refused.
    if isinstance(value, int):
        if not 0 <= value <= COUNT_MAX:
            return None
        return Decimal(value)
    if len(value) > _NUMBER_CHARS_MAX or not _NUMBER.fullmatch(value):
        return None
    number = Decimal(value)
    return None if number > COUNT_MAX or abs(number.adjusted()) > _EXPONENT_MAX else number


def micros(value: object) -> int | None:
    """Seconds as whole microseconds, rounded half-even below that."""
    seconds = decimal(value)
    if seconds is None:
        return None
    result = int((seconds * MICROS_PER_SECOND).to_integral_value())
    return result if result <= COUNT_MAX else None


def amount_text(value: object) -> str | None:
    """A stated price as a plain decimal string, with no exponent."""
    number = decimal(value)
    return None if number is None else format(number, "f")


def text(value: object) -> str | None:
    """`value` where it is a non-empty string, bounded."""
    return value[:TEXT_MAX] if isinstance(value, str) and value else None
