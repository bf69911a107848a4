"""What a call costs: an operator's prices, the provider's own word, the catalogue.

Whose price holds, first to last:

1. the operator's price file (`price_file.py` says how one is written);
2. the price that the answer states, where the provider is one whose statement
   is its bill: a router that picks the upstream (OpenRouter, Vercel's gateway),
   or a host whose price depends on what its answer alone knows (Perplexity's
   search, xAI's tools, DeepInfra);
3. the catalogue (`price_catalogue.py`), by the model that the answer names, else
   by the one that was asked for;
4. a stated price from anybody else, rather than none.

Nothing here raises on an unknown model: its cost is zero and `priced` is False.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path

from lava_grpc.core.money import AMOUNT_MAX, PLACES, Amount, divide_half_even
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import NOTHING, Usage
from lava_grpc.providers import limits, price_catalogue, price_file, rates, tiers
from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.price_catalogue import CONTEXT_KEYS
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.rates import FREE, UNPRICED, Cost, Rate, Rates
from lava_grpc.providers.routes import NO_USAGE

__all__ = ["Cost", "PriceBook"]

_STATES_ITS_BILL = frozenset(("openrouter", "vercel-gateway", "perplexity", "xai", "deepinfra"))
_PRECISE = Context(prec=80)
# Anthropic bills tokens that must stay in the United States at 1.1 of their price; the
# catalogue leaves that out.
_GEO_FACTORS = {("anthropic", "us"): Fraction(11, 10)}


@dataclass(frozen=True, slots=True)
class Limits:
    """A model's limits in tokens, None where nobody knows."""

    context_window: int | None
    max_output: int | None

    def __iter__(self) -> Iterator[int | None]:
        return iter((self.context_window, self.max_output))


class PriceBook:
    """Prices and limits of models. Immutable, and safe to share between threads."""

    def __init__(self, overrides: Path | None = None) -> None:
        """Read the operator's file. Raises ValueError naming what is wrong in it, and where."""
        self._file = price_file.load(overrides) if overrides else price_file.PriceFile({})

    def cost_of(self, provider: Provider, call: Call, reading: UsageReading, at: Instant) -> Cost:
        """The cost of one answer, at the prices of the time `at`."""
        if call.flavor == NO_USAGE:
            return FREE
        models = (reading.model, call.model)
        used = reading.stated or reading.usage != NOTHING
        facts = tiers.price_facts(call, reading.extra)
        found = self.rates(provider, call, models, facts, at)
        # An answer that used nothing (an error, most often) costs no fee for the request either.
        listed = rates.cost(found.rates, reading.usage) if found and used else None
        trusted = provider.id in _STATES_ITS_BILL and not (found and found.by_operator)
        stated = _amount(reading.stated_cost)
        if stated is not None and (trusted or found is None):
            return _split(stated, reading.extra, listed)
        if found is None:
            return UNPRICED
        return listed or FREE

    def cost_of_parts(
        self, provider: Provider, call: Call, reading: UsageReading, at: Instant
    ) -> Cost:
        """As `cost_of`; of each part by itself where the answer tells of many calls."""
        if not reading.parts:
            return self.cost_of(provider, call, reading, at)
        costs = [
            self.cost_of(provider, call, replace(reading, model=model, usage=usage), at)
            for model, usage in reading.parts
        ]
        return Cost(
            sum([cost.input for cost in costs]),
            sum([cost.output for cost in costs]),
            sum([cost.total for cost in costs]),
            priced=all(cost.priced for cost in costs),
        )

    def cost(
        self,
        *,
        price_provider: str | None,
        model: str | None,
        usage: Usage,
        extra: Mapping[str, str] | None = None,
        at: Instant,
    ) -> Cost:
        """The cost of a usage that somebody reports, at the prices of the time `at`.

        `price_provider` is a provider's id in the catalogue or in the operator's
        file. `extra` is as `UsageReading.extra`: it chooses a service tier's price.
        """
        if price_provider is None or model is None:
            return UNPRICED
        found = self._find((price_provider,), (model,), extra or {}, at)
        return rates.cost(found.rates, usage) if found else UNPRICED

    def rates(
        self,
        provider: Provider,
        call: Call,
        models: tuple[str | None, ...],
        extra: Mapping[str, str],
        at: Instant,
    ) -> Priced | None:
        """The rates that hold for a call, of the first of `models` that has any."""
        sellers = (provider.id, call.price_provider or provider.price_provider)
        return self._find(sellers, models, extra, at)

    def model_limits(self, provider: Provider, model: str | None) -> Limits:
        """The context window and the longest answer of a model, as far as they are known."""
        if model is None:
            return Limits(None, None)
        sellers = (provider.id, provider.price_provider)
        mine = self._mine(sellers, model)
        window = mine.context_window if mine else None
        longest = mine.max_output if mine else None
        if window is None and provider.price_provider is not None:
            listed = price_catalogue.find(provider.price_provider, model)
            window = listed.model.context_window if listed else None
        return Limits(
            window, longest or limits.output_max(model[: price_catalogue.MODEL_CHARS_MAX])
        )

    def possible_tiers(self, provider: Provider, call: Call) -> tuple[str, ...]:
        """The tiers, beside the standard one, that a call may be served in by what it asks for.

        `auto` leaves it to the provider, which takes any that has a price; nothing at all
        leaves it to the account's setting, which the operator's file tells.
        """
        asked = call.service_tier
        if asked is None:
            asked = self._file.default_tier((provider.id, provider.price_provider))
            return () if asked is None else (asked,)
        if asked != tiers.AUTO:
            return () if asked in tiers.STANDARD_NAMES else (asked,)
        sellers = (provider.id, call.price_provider or provider.price_provider)
        model = call.model
        if model is None:
            return ()
        if (mine := self._mine(sellers, model)) is not None:
            return tuple(mine.tiers)
        listed = price_catalogue.find(sellers[1], model) if sellers[1] else None
        known = price_catalogue.tiers_of(listed) if listed else ()
        return (*known, *self._factors(sellers, model))

    def listed(self, provider: Provider, at: Instant) -> list[tuple[str, Rates]]:
        """A provider's models with a known price, by name, and their rates for plain calls."""
        sellers = (provider.id, provider.price_provider)
        names: dict[str, str] = {}
        if provider.price_provider is not None:
            names |= {name.lower(): name for name in price_catalogue.names(provider.price_provider)}
        for seller in filter(None, dict.fromkeys(sellers)):
            for name in self._file.names(seller):
                names.setdefault(name, name)
        found = [(name, self._find(sellers, (name,), {}, at)) for name in sorted(names.values())]
        return [(name, priced.rates) for name, priced in found if priced is not None]

    def _find(
        self,
        sellers: tuple[str | None, ...],
        models: tuple[str | None, ...],
        extra: Mapping[str, str],
        at: Instant,
    ) -> Priced | None:
        for model in models:
            if model and (mine := self._mine(sellers, model)) is not None:
                return Priced(mine.in_tier(extra), by_operator=True)
        seller = sellers[-1]
        if seller is None:
            return None
        for model in models:
            if model and (listed := price_catalogue.find(seller, model)) is not None:
                context = tuple([(key, extra[key]) for key in CONTEXT_KEYS if key in extra])
                found = self._in_tier(sellers, model, listed, context, at)
                factor = _GEO_FACTORS.get((seller, extra.get("inference_geo", "")))
                return Priced(_dearer(found, factor) if factor else found, by_operator=False)
        return None

    def _in_tier(
        self,
        sellers: tuple[str | None, ...],
        model: str,
        listed: price_catalogue.Listed,
        context: price_catalogue.Context,
        at: Instant,
    ) -> Rates:
        """The catalogue's rates, times the operator's factor for the tier where there is one."""
        if context and self._file.has_factors:
            factors = self._factors(sellers, model)
            factor = factors.get(tiers.tier_of(dict(context)))
            if factor is not None:
                return tiers.scaled(price_catalogue.rates_of(listed, (), at), factor)
        return price_catalogue.tier_rates_of(listed, context, at)

    def _factors(self, sellers: tuple[str | None, ...], model: str) -> Mapping[str, Fraction]:
        for seller in sellers:
            if seller and (factors := self._file.factors(seller, model)):
                return factors
        return {}

    def _mine(self, sellers: tuple[str | None, ...], model: str) -> price_file.PricedModel | None:
        for seller in sellers:
            if seller and (mine := self._file.find(seller, model)) is not None:
                return mine
        return None


@dataclass(frozen=True, slots=True)
class Priced:
    """Rates, and whether they are the operator's own."""

    rates: Rates
    by_operator: bool


def _dearer(found: Rates, factor: Fraction) -> Rates:
    """The rates with those of tokens multiplied."""
    multiplied: dict[str, Rate] = {
        kind: getattr(found, kind).times(factor) for kind in rates.TOKEN_KINDS
    }
    return replace(found, **multiplied)  # type: ignore[arg-type]


def _amount(stated: str | None) -> Amount | None:
    """A price in US dollars as an amount, rounded half to even."""
    if stated is None:
        return None
    amount = int(Decimal(stated).scaleb(PLACES, _PRECISE).to_integral_value(context=_PRECISE))
    return min(amount, AMOUNT_MAX)


def _split(total: Amount, extra: Mapping[str, str], listed: Cost | None) -> Cost:
    """A stated price as two lines.

    The output line is what the answer states of it, else it has the share that it
    has in the catalogue's price; what is neither is input, fees included.
    """
    output = _amount(extra.get("stated_output_cost"))
    if output is None:
        shared = listed is not None and listed.total > 0
        output = divide_half_even(total * listed.output, listed.total) if listed and shared else 0
    output = min(output, total)
    return Cost(total - output, output, total, priced=True)
