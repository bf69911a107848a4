"""The public catalogue, made once and kept for an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lava_grpc.core.spend_key import SpendKey
from lava_grpc.core.time import SECOND, Clock, Instant
from lava_grpc.providers import offers
from lava_grpc.providers.offers import Offer
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry

KEPT: Instant = 3600 * SECOND
"""How long the catalogue is kept: some prices change with the date."""


@dataclass(frozen=True, eq=False, slots=True)
class Catalogue:
    """All offers, all providers, and the ids of those that the operator has a key for.

    The same object until it is made anew: what is made from it may be kept with it.
    """

    offers: Sequence[Offer]
    providers: Sequence[Provider]
    managed: frozenset[str]


def allowed(found: Sequence[Offer], key: SpendKey) -> list[Offer]:
    """The offers that a spend key is for."""
    providers = key.allowed_providers
    return [
        offer
        for offer in found
        if (providers is None or offer.provider.id in providers)
        and key.allows_model(offer.provider.id, offer.model)
    ]


class Catalogues:
    """Makes the catalogue when it is first asked for, in a thread: it takes a while."""

    def __init__(
        self, registry: Registry, prices: PriceBook, keyed: Collection[str], *, clock: Clock
    ) -> None:
        """`keyed` are the provider ids and hosts that the operator has keys for."""
        self._registry = registry
        self._prices = prices
        self._keyed = frozenset(keyed)
        self._clock = clock
        self._made: tuple[Instant, Catalogue] | None = None
        self._making = asyncio.Lock()

    async def current(self) -> Catalogue:
        """The catalogue at the prices of this hour."""
        async with self._making:
            now = self._clock.now()
            if self._made is None or now >= self._made[0] + KEPT:
                self._made = now, await asyncio.to_thread(self._make, now)
            return self._made[1]

    def _make(self, now: Instant) -> Catalogue:
        providers = self._registry.all()
        owners = [self._registry.by_host(name) for name in self._keyed]
        managed = {provider.id for provider in owners if provider is not None}
        managed |= {provider.id for provider in providers if provider.id in self._keyed}
        found = offers.offers(self._registry, self._prices, now)
        return Catalogue(found, providers, frozenset(managed))
