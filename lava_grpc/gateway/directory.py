"""From the names that callers use to ids and meters."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from lava_grpc.core.errors import not_found
from lava_grpc.core.pricing import Meter
from lava_grpc.gateway.ports import Resources

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

    async def customer_id(self, merchant_id: str, ident: str) -> str:
        """The id of the customer with this id or reference id.

        An id is taken at its word, since the ledger refuses one without an account.
        Refuses NOT_FOUND for a reference id that nobody has.
        """
        if ident.startswith(CUSTOMER_PREFIX):
            return ident
        customer = await self._resources.customer(merchant_id, ident)
        if customer is None:
            raise not_found("customer", ident, field="customer_id")
        return customer.customer_id

    async def meter(self, merchant_id: str, ident: str) -> Meter:
        """The meter with this slug or id; refuses NOT_FOUND."""
        key = (merchant_id, ident)
        now = asyncio.get_running_loop().time()
        kept = self._meters.get(key)
        if kept is not None and kept[0] > now:
            return kept[1]
        named = await self._resources.meter(merchant_id, ident)
        if named is None:
            self._meters.pop(key, None)
            raise not_found("meter", ident, field="meter_slug")
        self._meters[key] = (now + self._meter_seconds, named.meter)
        self._meters.move_to_end(key)
        if len(self._meters) > METERS_MAX:
            self._meters.popitem(last=False)
        return named.meter

    def forget_meters(self, merchant_id: str) -> None:
        """A meter of this merchant was changed here: the change counts at once."""
        for key in [key for key in self._meters if key[0] == merchant_id]:
            del self._meters[key]
