"""An operator's own prices: a JSON file that adds models or replaces the catalogue's price.

    {"providers": {
      "deepinfra": {
        "meta-llama/Llama-3.3-70B-Instruct": {
          "per_million_tokens": {"input": "0.23", "output": "0.40", "cache_read": "0.10"},
          "tiers": [{"above_input_tokens": 200000,
                     "per_million_tokens": {"input": "0.46", "output": "0.80"}}],
          "context_window": 131072,
          "max_output": 16384
        },
        "whisper-*": {"per_second": {"input": "0.0000075"}}
      }
    }}

A provider is named by its id in the registry or in the catalogue. A model's name
is compared whole, in any case, or up to a closing `*`; an exact name is preferred,
then the longest. What a model's entry does not price costs nothing, except that a
kind of token without a rate of its own costs what it is a kind of: cached and
multi-modal input costs `input`, reasoning and multi-modal output costs `output`.

Rates are US dollars as decimal strings (or JSON numbers, read digit by digit):

- `per_million_tokens`: `input`, `output`, `cache_read`, `cache_write`,
  `cache_write_1h`, `input_audio`, `input_image`, `input_video`, `cache_audio_read`,
  `cache_image_read`, `reasoning`, `output_audio`, `output_image`, `citation`;
- `per_million_characters` and `per_second`: `input`, `output`;
- `per_request`, `per_web_search`, `per_file_search`, `per_search_unit`,
  `per_page`, `per_annotated_page`, `per_image`;
- `tiers`: token rates that hold for the whole call once its input is larger;
- `service_tiers`: what the model costs in a service tier, `batch` or `fast`: a
  `multiplier` of the entry's rates (searches and fees for a request aside), or rates
  of its own, each key in place of the entry's. A tier without costs what the entry says.

Beside `providers`, `service_tiers` has multipliers for the catalogue's prices, and
`default_service_tier` tells in which tier an account is served that asks for none:

    {"service_tiers": {"azure": {"gpt-5*": {"priority": "1.75"}}},
     "default_service_tier": {"openai": "priority"}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, TypeVar

from lava_grpc.core.usage import COUNT_MAX
from lava_grpc.providers import counts, tiers
from lava_grpc.providers.rates import (
    MILLION,
    SECOND,
    TOKEN_KINDS,
    ZERO,
    Rate,
    Rates,
    rate,
    with_fallbacks,
)

FILE_BYTES_MAX = 16 * 1024 * 1024
RATE_MAX = 10**9
TIERS_MAX = 16
MULTIPLIER_MAX = 100
TIER_CHARS_MAX = 64

_PIECES = {
    "per_request": "request",
    "per_web_search": "web_search",
    "per_file_search": "file_search",
    "per_search_unit": "search_unit",
    "per_page": "page",
    "per_annotated_page": "annotated_page",
    "per_image": "image",
}
_RATE_KEYS = frozenset(
    ("per_million_tokens", "per_million_characters", "per_second", "tiers", *_PIECES)
)
_KEYS = _RATE_KEYS | {"service_tiers", "context_window", "max_output"}
_TOP = frozenset(("providers", "service_tiers", "default_service_tier"))


@dataclass(frozen=True, slots=True)
class PricedModel:
    """One model of the file."""

    rates: Rates
    context_window: int | None = None
    max_output: int | None = None
    # Of the service tiers that the file prices apart, in lower case.
    tiers: Mapping[str, Rates] = field(default_factory=dict)

    def in_tier(self, facts: Mapping[str, str]) -> Rates:
        """The rates of calls with these facts (`UsageReading.extra`)."""
        return self.tiers.get(tiers.tier_of(facts), self.rates) if self.tiers else self.rates


T = TypeVar("T")


class _Named(Generic[T]):
    """Things by provider and model, whose name may end in `*`."""

    def __init__(self, things: Mapping[str, Mapping[str, T]]) -> None:
        self._things = things
        self._prefixes = {
            provider: sorted(
                ((name[:-1], thing) for name, thing in named.items() if name.endswith("*")),
                key=lambda item: -len(item[0]),
            )
            for provider, named in things.items()
        }

    def of(self, provider: str) -> Mapping[str, T]:
        """All of a provider's, by name."""
        return self._things.get(provider, {})

    def find(self, provider: str, model: str) -> T | None:
        """What there is for a model: by its whole name, else by the longest start of it."""
        named = self._things.get(provider)
        if named is None:
            return None
        lower = model.lower()
        found = named.get(lower)
        if found is not None:
            return found
        return next(
            (thing for prefix, thing in self._prefixes[provider] if lower.startswith(prefix)), None
        )


class PriceFile:
    """The models of a file, by provider and name."""

    def __init__(
        self,
        models: Mapping[str, Mapping[str, PricedModel]],
        factors: Mapping[str, Mapping[str, Mapping[str, Fraction]]] | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        self._models = _Named(models)
        self._factors = _Named(factors or {})
        self._defaults = defaults or {}
        self.has_factors = bool(factors)

    def names(self, provider: str) -> tuple[str, ...]:
        """The models of a provider that the file names whole, lower-case."""
        return tuple(name for name in self._models.of(provider) if not name.endswith("*"))

    def find(self, provider: str, model: str) -> PricedModel | None:
        """The file's entry for a model, None without one."""
        return self._models.find(provider, model)

    def factors(self, provider: str, model: str) -> Mapping[str, Fraction]:
        """By service tier, what the catalogue's standard price of a model is multiplied by."""
        return self._factors.find(provider, model) or {}

    def default_tier(self, sellers: Iterable[str | None]) -> str | None:
        """The tier in which calls that ask for none are served, as far as the file tells."""
        if not self._defaults:
            return None
        told = (self._defaults.get(seller) for seller in sellers if seller)
        return next(filter(None, told), None)


def load(path: Path) -> PriceFile:
    """Read a price file. Raises ValueError naming the file and the place in it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or 'cannot be read'}") from error
    if len(raw) > FILE_BYTES_MAX:
        raise ValueError(f"{path}: must not be larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(raw, parse_float=str)
    except RecursionError:
        raise ValueError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON: {error}") from None
    try:
        return parse(document)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(document: object) -> PriceFile:
    """The models of a parsed file. Raises ValueError naming the place."""
    top = _object(document, "the file", _TOP)
    providers = _object(top.get("providers", {} if top else None), "providers")
    factors = _object(top.get("service_tiers", {}), "service_tiers")
    defaults = _object(top.get("default_service_tier", {}), "default_service_tier")
    return PriceFile(
        {
            provider: _models(models, f"providers.{provider}", _model)
            for provider, models in providers.items()
        },
        {
            provider: _models(models, f"service_tiers.{provider}", _multipliers)
            for provider, models in factors.items()
        },
        {
            provider: _tier_name(tier, f"default_service_tier.{provider}")
            for provider, tier in defaults.items()
        },
    )


def _models(value: object, place: str, read: Callable[[object, str], T]) -> dict[str, T]:
    models: dict[str, T] = {}
    for name, entry in _object(value, place).items():
        at = f"{place}.{name}"
        if not name or "*" in name[:-1]:
            raise ValueError(f"{at}: a model's name may have a '*' at its end alone")
        if name.lower() in models:
            raise ValueError(f"{at}: is there twice")
        models[name.lower()] = read(entry, at)
    return models


def _model(value: object, place: str) -> PricedModel:
    entry = _object(value, place, _KEYS)
    rates = _all_rates(entry, place)
    return PricedModel(
        rates=rates,
        context_window=_count(entry, "context_window", place),
        max_output=_count(entry, "max_output", place),
        tiers=_service_tiers(
            entry.get("service_tiers", {}),
            f"{place}.service_tiers",
            lambda tier, at: _in_tier(entry, rates, tier, at),
        ),
    )


def _service_tiers(value: object, place: str, read: Callable[[object, str], T]) -> dict[str, T]:
    listed = _object(value, place)
    if len(listed) > TIERS_MAX:
        raise ValueError(f"{place}: must have at most {TIERS_MAX} tiers")
    return {
        _tier_name(name, f"{place}.{name}"): read(tier, f"{place}.{name}")
        for name, tier in listed.items()
    }


def _tier_name(name: object, place: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= TIER_CHARS_MAX:
        raise ValueError(f"{place}: must be a tier's name of at most {TIER_CHARS_MAX} characters")
    if name.lower() in tiers.STANDARD_NAMES:
        raise ValueError(f"{place}: is the standard tier, whose rates are the model's own")
    return name.lower()


def _in_tier(entry: Mapping[str, Any], standard: Rates, value: object, place: str) -> Rates:
    own = _object(value, place, _RATE_KEYS | {"multiplier"})
    if "multiplier" in own:
        if len(own) > 1:
            raise ValueError(f"{place}: has either a multiplier or rates of its own")
        return tiers.scaled(standard, _multiplier(own["multiplier"], f"{place}.multiplier"))
    # Longer contexts go with the token rates that they are dearer than.
    kept = {key: entry[key] for key in _RATE_KEYS & entry.keys()}
    if "per_million_tokens" in own:
        kept.pop("tiers", None)
    return _all_rates(kept | own, place)


def _multipliers(value: object, place: str) -> dict[str, Fraction]:
    return _service_tiers(value, place, _multiplier)


def _multiplier(value: object, place: str) -> Fraction:
    factor = counts.decimal(value)
    if factor is None or factor > MULTIPLIER_MAX:
        raise ValueError(f"{place}: must be a decimal from 0 to {MULTIPLIER_MAX}")
    return Fraction(factor)


def _all_rates(entry: Mapping[str, Any], place: str) -> Rates:
    tokens = _tokens(entry, place)
    characters = _rates(entry.get("per_million_characters"), f"{place}.per_million_characters")
    seconds = _rates(entry.get("per_second"), f"{place}.per_second")
    pieces: dict[str, Any] = {
        field: rate(_price(entry[key], f"{place}.{key}"), 1)
        for key, field in _PIECES.items()
        if key in entry
    }
    pieces.setdefault("annotated_page", pieces.get("page", ZERO))
    return Rates(
        **with_fallbacks(tokens.get),
        input_character=_by(characters, "input", MILLION),
        output_character=_by(characters, "output", MILLION),
        input_micro=_by(seconds, "input", SECOND),
        output_micro=_by(seconds, "output", SECOND),
        **pieces,
    )


def _tokens(entry: Mapping[str, Any], place: str) -> dict[str, Rate]:
    base = _rates(entry.get("per_million_tokens"), f"{place}.per_million_tokens", TOKEN_KINDS)
    longer: dict[str, dict[int, Decimal]] = {kind: {} for kind in TOKEN_KINDS}
    for start, prices in _tiers(entry.get("tiers"), f"{place}.tiers"):
        for kind, price in prices.items():
            if kind not in base:
                raise ValueError(f"{place}.tiers: {kind} has no rate below the first tier")
            longer[kind][start] = price
    return {kind: rate(price, MILLION, longer[kind]) for kind, price in base.items()}


def _tiers(value: object, place: str) -> list[tuple[int, dict[str, Decimal]]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > TIERS_MAX:
        raise ValueError(f"{place}: must be a list of at most {TIERS_MAX} tiers")
    found: list[tuple[int, dict[str, Decimal]]] = []
    for index, item in enumerate(value):
        at = f"{place}[{index}]"
        tier = _object(item, at, frozenset(("above_input_tokens", "per_million_tokens")))
        start = _count(tier, "above_input_tokens", at)
        if start is None or (found and start <= found[-1][0]):
            raise ValueError(f"{at}.above_input_tokens: must be there, and grow from tier to tier")
        rates = _rates(tier.get("per_million_tokens"), f"{at}.per_million_tokens", TOKEN_KINDS)
        found.append((start, rates))
    return found


def _rates(
    value: object, place: str, kinds: tuple[str, ...] = ("input", "output")
) -> dict[str, Decimal]:
    if value is None:
        return {}
    entry = _object(value, place, frozenset(kinds))
    return {kind: _price(price, f"{place}.{kind}") for kind, price in entry.items()}


def _by(rates: Mapping[str, Decimal], kind: str, per: int) -> Rate:
    return rate(rates[kind], per) if kind in rates else ZERO


def _price(value: object, place: str) -> Decimal:
    price = counts.decimal(value)
    if price is None or price > RATE_MAX:
        raise ValueError(f"{place}: must be a decimal of US dollars from 0 to {RATE_MAX}")
    return price


def _count(entry: Mapping[str, Any], key: str, place: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= COUNT_MAX:
        raise ValueError(f"{place}.{key}: must be a whole number above 0")
    return value


def _object(value: object, place: str, keys: frozenset[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place}: must be an object")  # noqa: TRY004 - the file's error
    unknown = sorted(value.keys() - keys) if keys is not None else []
    if unknown:
        raise ValueError(f"{place}.{unknown[0]}: is not known here")
    return value
