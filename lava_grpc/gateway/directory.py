"""From the names that callers use to ids and meters."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from lava_grpc.core.errors import Reason, Refusal, not_found
from lava_grpc.core.pricing import Meter
from lava_grpc.gateway.ports import Resources

T = TypeVar("T")

METERS_MAX = 10_000
METER_SECONDS = 2.0
"""How long a meter is remembered: a change made by another process counts after that."""

CUSTOMER_PREFIX = "con_"


class Directory:
    """Finds customers and meters for the hot path. Meters are kept for a moment."""

    def __init__(self, resources: Resources, *, meter_seconds: float = METER_SECONDS) -> None:
        self._resources = resources
        self._meter_seconds = meter_seconds
        self._meters: OrderedDict[tuple[str, str], tuple[float, Meter]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[Meter | Refusal]] = {}

    async def customer_id(self, merchant_id: str, ident: str) -> str:
        """The id of the customer with this id or reference id.

        An id is taken at its word, since the ledger refuses one without an account.
        Refuses NOT_FOUND for a reference id that nobody has.
        """
        if self.is_customer_id(ident):
            return ident
        customer = await self._resources.customer(merchant_id, ident)
        if customer is None:
            raise not_found("customer", ident, field="customer_id")
        return customer.customer_id

    @staticmethod
    def is_customer_id(ident: str) -> bool:
        """Whether `customer_id` says the same without looking anything up."""
        return ident.startswith(CUSTOMER_PREFIX)

    def meter_at_hand(self, merchant_id: str, ident: str) -> Meter | None:
        """The meter with this slug or id, where it is remembered."""
        kept = self._meters.get((merchant_id, ident))
        if kept is None or kept[0] <= asyncio.get_running_loop().time():
            return None
        return kept[1]

    async def customer_filter(self, merchant_id: str, ident: str) -> str:
        """As `customer_id`, to filter by: a name that nobody has is taken for an id.

        It then finds nothing, as in every list.
        """
        try:
            return await self.customer_id(merchant_id, ident)
        except Refusal as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return ident

    async def customer_ids(
        self, merchant_id: str, idents: Iterable[str]
    ) -> dict[str, str | Refusal]:
        """For each name its id, or why there is none; each is looked up once."""

        async def one(ident: str) -> str | Refusal:
            try:
                return await self.customer_id(merchant_id, ident)
            except Refusal as refusal:
                return refusal

        found: dict[str, str | Refusal] = {}
        asked: list[str] = []
        for ident in set(idents):
            if self.is_customer_id(ident):
                found[ident] = ident
            else:
                asked.append(ident)
        answers = await asyncio.gather(*[one(ident) for ident in asked])
        return found | dict(zip(asked, answers, strict=True))

    async def meters(self, merchant_id: str, idents: Iterable[str]) -> dict[str, Meter | Refusal]:
        """For each name its meter, or why there is none."""

        async def one(ident: str) -> Meter | Refusal:
            try:
                return await self.meter(merchant_id, ident)
            except Refusal as refusal:
                return refusal

        asked = list(set(idents))
        answers = await asyncio.gather(*[one(ident) for ident in asked])
        return dict(zip(asked, answers, strict=True))

    async def meter(self, merchant_id: str, ident: str) -> Meter:
        """The meter with this slug or id; refuses NOT_FOUND."""
        kept = self.meter_at_hand(merchant_id, ident)
        if kept is not None:
            return kept
        key = (merchant_id, ident)
        asking = self._asking.get(key)
        if asking is None:
            # One read for all who ask meanwhile: under load there are many whenever a meter
            # has been forgotten.
            asking = self._asking[key] = asyncio.create_task(self._asked(key))
            asking.add_done_callback(lambda done: self._answered(key, done))
        return or_refused(await asyncio.shield(asking))

    async def _asked(self, key: tuple[str, str]) -> Meter | Refusal:
        named = await self._resources.meter(*key)
        if named is None:
            return not_found("meter", key[1], field="meter_slug")
        if self._asking.get(key) is not asyncio.current_task():
            # It was changed meanwhile, and this may be what it was before.
            return named.meter
        self._meters[key] = (asyncio.get_running_loop().time() + self._meter_seconds, named.meter)
        self._meters.move_to_end(key)
        if len(self._meters) > METERS_MAX:
            self._meters.popitem(last=False)
        return named.meter

    def forget_meters(self, merchant_id: str) -> None:
        """A meter of this merchant was changed here: the change counts at once."""
        for known in (self._meters, self._asking):
            for key in [key for key in known if key[0] == merchant_id]:
                del known[key]

    def _answered(self, key: tuple[str, str], asking: asyncio.Task[Meter | Refusal]) -> None:
        if self._asking.get(key) is asking:
            del self._asking[key]
        # Where all who asked have gone, nobody else takes note of it.
        if not asking.cancelled():
            asking.exception()


def or_refused(found: T | Refusal) -> T:
    """What was found; raises the Refusal where there was nothing."""
    if isinstance(found, Refusal):
        raise found
    return found
