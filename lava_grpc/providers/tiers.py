"""Service tiers and batches: which one a call was served in, and what is published of its price.

A tier's price is the operator's (`price_file.py`), else the catalogue's for that
model, else the discount below, else the standard one. Discounts are listed here
only where the provider publishes one figure for all its models:

- OpenAI, "Batch API" (half of the synchronous price) and "Flex processing"
  (tokens at the Batch API's rates);
- Azure, "Azure OpenAI Batch" (half of the global standard price);
- Anthropic, "Message Batches" (all usage at half of the standard price; its
  priority tier is paid for in advance, and counts at the standard price here);
- Google, "Batch API" (half of the interactive price; what a cache serves is not discounted);
- Groq, "Batch API" (half; the discounts of batch and cache do not add up). Its
  flex tier costs what on-demand does;
- Mistral, "Batch inference" (half).

Priority tiers, and the tiers of Bedrock and Vertex AI, have no such figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from lava_grpc.providers.base import Call
from lava_grpc.providers.rates import TOKEN_KINDS, Rate, Rates

BATCH = "batch"
FAST = "fast"
STANDARD = "standard"
AUTO = "auto"

STANDARD_NAMES = frozenset(("", STANDARD, AUTO, "default", "on_demand", "standard_only"))
"""What providers call a service at its usual price, or one that is theirs to choose."""

_CACHED = ("cache_read", "cache_audio_read", "cache_image_read")
_METERED = (
    *TOKEN_KINDS,
    "input_character",
    "output_character",
    "input_micro",
    "output_micro",
    "page",
    "annotated_page",
    "image",
)


@dataclass(frozen=True, slots=True)
class Discount:
    """What a tier costs of the standard price. `cached`: of cached input too."""

    factor: Fraction
    cached: bool = True


_HALF = Discount(Fraction(1, 2))
_HALF_BUT_CACHED = Discount(Fraction(1, 2), cached=False)

DISCOUNTS: Mapping[tuple[str, str], Discount] = {
    ("openai", BATCH): _HALF,
    ("openai", "flex"): _HALF,
    ("azure", BATCH): _HALF,
    ("anthropic", BATCH): _HALF,
    ("google", BATCH): _HALF_BUT_CACHED,
    ("groq", BATCH): _HALF_BUT_CACHED,
    ("mistral", BATCH): _HALF,
}
"""By the provider's id in the catalogue, and the tier."""


def tier_of(facts: Mapping[str, str]) -> str:
    """The tier that facts of a call (`UsageReading.extra`) say it was served in."""
    if facts.get("processing") == BATCH:
        return BATCH
    if facts.get("speed") == FAST:
        return FAST
    tier = facts.get("service_tier", "").lower()
    return STANDARD if tier in STANDARD_NAMES else tier


def price_facts(call: Call, answered: Mapping[str, str]) -> Mapping[str, str]:
    """The facts that choose a call's price: the answer's word, else the request's on its tier."""
    if call.service_tier is None or "service_tier" in answered:
        return answered
    return {**answered, "service_tier": call.service_tier}


def named_tier(call: Call, answered: Mapping[str, str]) -> str | None:
    """The tier for the record, as the answer or else the request names it; None if neither does."""
    facts = price_facts(call, answered)
    tier = tier_of(facts)
    return facts.get("service_tier") or None if tier == STANDARD else tier


def scaled(rates: Rates, factor: Fraction) -> Rates:
    """The rates of all that is metered multiplied; searches and fees for a request are not."""
    metered: dict[str, Rate] = {name: getattr(rates, name).times(factor) for name in _METERED}
    return replace(rates, **metered)  # type: ignore[arg-type]


def discounted(rates: Rates, discount: Discount) -> Rates:
    """The rates of a tier. Cached input never costs more than fresh input does then."""
    found = scaled(rates, discount.factor)
    if discount.cached:
        return found
    kept: dict[str, Rate] = {
        name: min(getattr(rates, name), found.input, key=lambda rate: rate.base) for name in _CACHED
    }
    return replace(found, **kept)  # type: ignore[arg-type]
