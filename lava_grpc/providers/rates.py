"""Rates of one model, and the exact arithmetic from usage to cost.

A rate is kept as a whole number, so that a line of a cost is a sum of whole
numbers that is rounded once, half to even, at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from lava_grpc.core.money import AMOUNT_MAX, SCALE, Amount, divide_half_even
from lava_grpc.core.usage import Usage

# What a rate is per: a million tokens, an hour in microseconds, a thousand pieces, one.
MILLION = 10**6
HOUR = 3600 * 10**6
SECOND = 10**6
THOUSAND = 10**3

# Every `per` above divides this, so that all terms of a line share one denominator.
_COMMON = HOUR
# Decimals of a rate that are kept; the catalogue's longest has seventeen.
_RATE_PLACES = 24
_LINE_DENOMINATOR: int = _COMMON * 10**_RATE_PLACES // SCALE
_PRECISE = Context(prec=80)


TOKEN_KINDS = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "input_video",
    "cache_audio_read",
    "cache_image_read",
    "reasoning",
    "output_audio",
    "output_image",
    "citation",
)
"""The kinds of token that may have a rate of their own; each is a field of `Rates`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the provider charges for a call, in 10^-10 of a US dollar.

    Fees by the piece (requests, searches, pages) are in `input`; pictures by
    the piece are in `output`. `total` is the sum of the two. `priced` is False
    where nobody knows the model's price, and all amounts are then zero.
    """

    input: Amount
    output: Amount
    total: Amount
    priced: bool


UNPRICED = Cost(0, 0, 0, priced=False)
FREE = Cost(0, 0, 0, priced=True)


@dataclass(frozen=True, slots=True)
class Rate:
    """A price in whole units of `_LINE_DENOMINATOR`, dearer or not above some input sizes.

    Once the input is larger than a tier's start, the tier's price holds for
    all tokens, as every provider with such tiers bills it.
    """

    base: int = 0
    tiers: tuple[tuple[int, int], ...] = ()

    def at(self, input_tokens: int) -> int:
        """The price for a call with so many input tokens."""
        price = self.base
        for start, dearer in self.tiers:
            if input_tokens > start:
                price = dearer
        return price

    def highest(self, input_tokens_max: int) -> int:
        """The dearest price for any call with at most so many input tokens."""
        reached = [price for start, price in self.tiers if input_tokens_max > start]
        return max(self.base, *reached) if reached else self.base

    def price(self, per: int) -> Decimal:
        """US dollars per `per` units below any tier, exact: what `rate` was given."""
        return Decimal(self.base).scaleb(-_RATE_PLACES, _PRECISE) / (_COMMON // per)

    def times(self, factor: Fraction) -> Rate:
        """The rate multiplied; below the places kept, it is rounded down."""
        return Rate(
            int(self.base * factor), tuple((start, int(p * factor)) for start, p in self.tiers)
        )


ZERO = Rate()


def rate(price: Decimal, per: int, tiers: Mapping[int, Decimal] | None = None) -> Rate:
    """A rate from US dollars per `per` units."""
    return Rate(
        _whole(price, per),
        tuple((start, _whole(dearer, per)) for start, dearer in sorted((tiers or {}).items())),
    )


def _whole(price: Decimal, per: int) -> int:
    scaled = price.scaleb(_RATE_PLACES, _PRECISE)
    return int(scaled.to_integral_value(context=_PRECISE)) * (_COMMON // per)


@dataclass(frozen=True, slots=True)
class Rates:
    """What one model costs: a rate for each part of a usage.

    Parts without a price of their own are given the price of what they are part
    of when the rates are made, so every field here is what is billed.
    """

    input: Rate = ZERO
    cache_read: Rate = ZERO
    cache_write: Rate = ZERO
    cache_write_1h: Rate = ZERO
    input_audio: Rate = ZERO
    input_image: Rate = ZERO
    input_video: Rate = ZERO
    cache_audio_read: Rate = ZERO
    cache_image_read: Rate = ZERO
    output: Rate = ZERO
    reasoning: Rate = ZERO
    output_audio: Rate = ZERO
    output_image: Rate = ZERO
    citation: Rate = ZERO
    input_character: Rate = ZERO
    output_character: Rate = ZERO
    input_micro: Rate = ZERO
    output_micro: Rate = ZERO
    request: Rate = ZERO
    web_search: Rate = ZERO
    file_search: Rate = ZERO
    search_unit: Rate = ZERO
    page: Rate = ZERO
    annotated_page: Rate = ZERO
    image: Rate = ZERO
    # Sound shorter than this is billed as if it were as long.
    input_micros_min: int = 0


def with_fallbacks(find: Callable[[str], Rate | None]) -> dict[str, Any]:
    """Every kind of token with its rate, that of the kind it is part of where it has none."""
    fresh = find("input") or ZERO
    read, write = find("cache_read"), find("cache_write")
    audio, image = find("input_audio"), find("input_image")
    output = find("output") or ZERO
    return {
        "input": fresh,
        "cache_read": read or fresh,
        "cache_write": write or fresh,
        "cache_write_1h": find("cache_write_1h") or write or fresh,
        "input_audio": audio or fresh,
        "input_image": image or fresh,
        "input_video": find("input_video") or fresh,
        "cache_audio_read": find("cache_audio_read") or read or audio or fresh,
        "cache_image_read": find("cache_image_read") or read or image or fresh,
        "output": output,
        "reasoning": find("reasoning") or output,
        "output_audio": find("output_audio") or output,
        "output_image": find("output_image") or output,
        "citation": find("citation") or output,
    }


def cost(rates: Rates, usage: Usage) -> Cost:
    """The exact cost of a usage. Amounts beyond 64 bits are cut to the largest that fits."""
    into, out = _input(rates, usage), _output(rates, usage)
    charged_in = min(divide_half_even(into, _LINE_DENOMINATOR), AMOUNT_MAX // 2)
    charged_out = min(divide_half_even(out, _LINE_DENOMINATOR), AMOUNT_MAX // 2)
    return Cost(charged_in, charged_out, charged_in + charged_out, priced=True)


def round_up(price: int) -> Amount:
    """A price in the rates' units as an amount that is never below it."""
    return min(-(-price // _LINE_DENOMINATOR), AMOUNT_MAX // 2)


def _input(rates: Rates, usage: Usage) -> int:
    size = usage.input_tokens
    seconds = usage.input_micros and max(usage.input_micros, rates.input_micros_min)
    price = (
        rates.request.base
        + usage.input_characters * rates.input_character.base
        + seconds * rates.input_micro.base
        + usage.web_searches * rates.web_search.base
        + usage.file_searches * rates.file_search.base
        + usage.search_units * rates.search_unit.base
        + _pages(rates, usage)
    )
    if not size:
        return price
    return price + sum(
        tokens * part.at(size) for tokens, part in _input_parts(rates, usage) if tokens
    )


def _pages(rates: Rates, usage: Usage) -> int:
    annotated = min(usage.annotated_pages, usage.pages)
    plain = usage.pages - annotated
    return plain * rates.page.base + annotated * rates.annotated_page.base


def _input_parts(rates: Rates, usage: Usage) -> list[tuple[int, Rate]]:
    """Input tokens cut into parts that do not overlap, each with its rate.

    A provider that contradicts itself (more cached than sent) is billed for no
    more tokens than its total, cached ones first.
    """
    left = usage.input_tokens
    read = min(usage.cache_read_tokens, left)
    left -= read
    write = min(usage.cache_write_tokens, left)
    left -= write
    long_write = min(usage.cache_write_1h_tokens, write)
    read_audio = min(usage.cache_audio_read_tokens, read)
    read_image = min(usage.cache_image_read_tokens, read - read_audio)
    # Sound that was served from the cache is no fresh sound. Where the overlap is not
    # stated, it is the least that the totals allow.
    audio = min(max(0, usage.input_audio_tokens - read_audio), left)
    left -= audio
    image = min(max(0, usage.input_image_tokens - read_image), left)
    left -= image
    video = min(usage.input_video_tokens, left)
    left -= video
    return [
        (left, rates.input),
        (read - read_audio - read_image, rates.cache_read),
        (read_audio, rates.cache_audio_read),
        (read_image, rates.cache_image_read),
        (write - long_write, rates.cache_write),
        (long_write, rates.cache_write_1h),
        (audio, rates.input_audio),
        (image, rates.input_image),
        (video, rates.input_video),
    ]


def _output(rates: Rates, usage: Usage) -> int:
    size = usage.input_tokens
    left = usage.output_tokens
    price = (
        usage.output_characters * rates.output_character.base
        + usage.output_micros * rates.output_micro.base
        + usage.images * rates.image.base
    )
    for tokens, part in (
        (usage.output_audio_tokens, rates.output_audio),
        (usage.output_image_tokens, rates.output_image),
        (usage.citation_tokens, rates.citation),
        (usage.reasoning_tokens, rates.reasoning),
    ):
        taken = min(tokens, left)
        left -= taken
        price += taken * part.at(size)
    return price + left * rates.output.at(size)
