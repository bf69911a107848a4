"""Prices of the `genai-prices` package, made into `Rates`.

The data is inside the package and is never fetched: its auto-update stays off.
A provider is looked up by its catalogue id alone; the package's URL patterns
are not anchored and would take `api.openai.com.evil.example` for OpenAI.
Importing the package takes about a third of a second, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from lava_grpc.core.time import SECOND, Instant, to_datetime
from lava_grpc.providers import tiers
from lava_grpc.providers.rates import (
    HOUR,
    MILLION,
    THOUSAND,
    ZERO,
    Rate,
    Rates,
    rate,
    with_fallbacks,
)

LOOKUPS_MAX = 4096
"""How many model names, known or not, are remembered with what they stand for."""

RATES_MAX = 4096
"""How many models' rates are kept ready, one entry for each tier and price period."""

MODEL_CHARS_MAX = 256

CONTEXT_KEYS = ("service_tier", "processing", "speed", "search_type")
"""The facts of a call that choose among a model's prices."""

Context = tuple[tuple[str, str], ...]

_MINUTE = 60 * SECOND
_DAY = 24 * 60 * _MINUTE
_GROQ_MICROS_MIN = 10 * SECOND
_GROQ_WHISPER = frozenset(("whisper-large-v3", "whisper-large-v3-turbo"))
_DATE = re.compile(r"[-@]20\d{2}-?\d{2}-?\d{2}$")
_VERSION = re.compile(r"(?<=-)(\d)-(\d)(?=-|$)")
# The catalogue's names where they are not ours.
_TOKEN_KEYS = {"reasoning": "output_reasoning_mtok", "citation": "output_citation_mtok"}


@dataclass(frozen=True, eq=False, slots=True)
class Listed:
    """A model of the catalogue as one provider sells it."""

    provider: Provider
    model: ModelInfo
    # The model is the provider's own entry and not one borrowed from another provider;
    # prices by service tier are known for the former alone.
    own: bool
    # How long its price holds: prices by the time of day change on a minute.
    period: Instant


@lru_cache(maxsize=1)
def _providers() -> dict[str, Provider]:
    return {provider.id: provider for provider in get_snapshot().providers}


@lru_cache(maxsize=LOOKUPS_MAX)
def find(price_provider: str, name: str) -> Listed | None:
    """The model that `name` stands for at a provider; None where the catalogue knows none."""
    provider = _providers().get(price_provider)
    if provider is None or not name or len(name) > MODEL_CHARS_MAX:
        return None
    for spelled in _spellings(name):
        model = provider.find_model(spelled, all_providers=get_snapshot().providers)
        if model is not None:
            own = any(model is listed for listed in provider.models)
            return Listed(provider, model, own, _period(model))
    return None


def names(price_provider: str) -> tuple[str, ...]:
    """The models that a provider itself is listed to sell, by their names in the catalogue."""
    provider = _providers().get(price_provider)
    return tuple(model.id for model in provider.models) if provider else ()


def _spellings(name: str) -> Iterator[str]:
    """`name`, then what is left of it without the decoration that some hosts add."""
    yield name
    # An ARN, "models/gemini-2.5-flash", "publishers/google/models/...".
    if name.startswith(("arn:", "models/", "publishers/", "accounts/", "projects/")):
        name = name.rpartition("/")[2]
        yield name
    # A route ("model:nitro", "model:host behind") leaves the price what it is; ":free" does not.
    plain, colon, tag = name.partition(":")
    if colon and tag != "free" and plain:
        name = plain
        yield name
    # "claude-sonnet-4-5" where the list says "claude-sonnet-4.5".
    dotted = _VERSION.sub(r"\1.\2", name)
    if dotted != name:
        yield dotted
    # A snapshot that the catalogue does not list yet costs what its alias does.
    undated = _DATE.sub("", name)
    if undated and undated != name:
        yield undated


def _period(model: ModelInfo) -> Instant:
    prices = model.prices if isinstance(model.prices, list) else []
    constraints = [price.constraint for price in prices]
    constraints += [variant.constraint for variant in model.price_variants or ()]
    if any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints):
        return _MINUTE
    if any(isinstance(constraint, StartDateConstraint) for constraint in constraints):
        return _DAY
    return 0


def rates_of(listed: Listed, context: Context, at: Instant) -> Rates:
    """The rates of a model for calls like this one, at that time."""
    period = listed.period
    return _rates(listed, context if listed.own else (), at - at % period if period else 0)


def tier_rates_of(listed: Listed, context: Context, at: Instant) -> Rates:
    """As `rates_of`, at the published discount of a tier where the catalogue lists none."""
    found = rates_of(listed, context, at)
    if not context:
        return found
    discount = tiers.DISCOUNTS.get((listed.provider.id, tiers.tier_of(dict(context))))
    if discount is None or _lists(listed, context, at):
        return found
    return tiers.discounted(found, discount)


def tiers_of(listed: Listed) -> tuple[str, ...]:
    """The service tiers that the catalogue has a price of the model for."""
    variants = listed.model.price_variants or () if listed.own else ()
    return tuple(sorted({v.when["service_tier"] for v in variants if "service_tier" in v.when}))


def _lists(listed: Listed, context: Context, at: Instant) -> bool:
    """Whether the catalogue itself has prices of the model for such calls."""
    facts, time = dict(context), to_datetime(at)
    return listed.own and any(
        variant.when.items() <= facts.items()
        and (variant.constraint is None or variant.constraint.active(time))
        for variant in listed.model.price_variants or ()
    )


@lru_cache(maxsize=RATES_MAX)
def _rates(listed: Listed, context: Context, at: Instant) -> Rates:
    model = listed.model
    prices = _Prices(model.get_prices(to_datetime(at), dict(context)))
    whisper = listed.provider.id == "groq" and model.id in _GROQ_WHISPER
    audio = prices.rate("audio_hours", HOUR)
    page = prices.rate("input_document_kpages", THOUSAND)
    return Rates(
        **with_fallbacks(prices.tokens),
        input_character=prices.rate("input_mchars", MILLION) or ZERO,
        input_micro=prices.rate("input_audio_hours", HOUR) or audio or ZERO,
        output_micro=prices.rate("output_audio_hours", HOUR) or audio or ZERO,
        request=prices.rate("requests_kcount", THOUSAND) or ZERO,
        web_search=prices.rate("web_searches_kcount", THOUSAND) or ZERO,
        file_search=prices.rate("storage_searches_kcount", THOUSAND) or ZERO,
        search_unit=prices.rate("rerank_searches_kcount", THOUSAND) or ZERO,
        page=page or ZERO,
        annotated_page=prices.rate("input_annotated_document_kpages", THOUSAND) or page or ZERO,
        input_micros_min=_GROQ_MICROS_MIN if whisper else 0,
    )


class _Prices:
    """One set of the catalogue's prices."""

    def __init__(self, prices: ModelPrice) -> None:
        self._prices = vars(prices)

    def tokens(self, kind: str) -> Rate | None:
        """The rate of a kind of token, as the price file names it."""
        return self.rate(_TOKEN_KEYS.get(kind, f"{kind}_mtok"), MILLION)

    def rate(self, key: str, per: int) -> Rate | None:
        """The rate under a key of the catalogue; None without one."""
        price = self._prices.get(key)
        if isinstance(price, TieredPrices):
            return rate(price.base, per, {tier.start: tier.price for tier in price.tiers})
        return rate(price, per) if isinstance(price, Decimal) else None
