"""What calls of a customer and a model are likely to use, kept for those who ask.

Nothing is learned or read for anybody who holds upper bounds. The first call of a
customer and model that holds what is expected reads the newest records once; from
then on this process learns from what it settles itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.usage import Usage
from lava_grpc.gateway.principal import Principal
from lava_grpc.providers.expectation import Past, Sample, same_model, sample_of

PASTS_MAX = 10_000
"""How many customers' models are kept in mind; past it, the longest unused is read again."""

RECORDS_READ_MAX = 500
"""How many of the newest records are looked through for a model, once for each past."""

NO_PAST = Past()

# Whose, and of which provider's model; all of a merchant's customers where there is none.
_Key: TypeAlias = tuple[str, str | None, str, str]


class UsageHistory(Protocol):
    """The records, as far as they tell what calls use."""

    async def newest_usage(
        self, merchant_id: str, customer_id: str | None, limit: int
    ) -> Sequence[tuple[str, str | None, Usage]]:
        """Provider, model and usage of the newest records that are typical, newest first.

        One customer's, or all of the merchant's. A record is typical whose usage was
        stated and whose output nobody had limited; `limit` records are looked at.
        """
        ...


class Expectations:
    """The past of customers' and merchants' models. One for a process.

    `policy` is that of merchants who have none of their own.
    """

    def __init__(
        self,
        history: UsageHistory,
        *,
        policy: HoldPolicy = HoldPolicy.UPPER_BOUND,
        pasts_max: int = PASTS_MAX,
    ) -> None:
        self._history = history
        self._policy = policy
        self._pasts_max = pasts_max
        self._pasts: OrderedDict[_Key, Past] = OrderedDict()
        self._reading: dict[_Key, asyncio.Task[Past]] = {}

    def count_for(self, principal: Principal, asked: HoldPolicy | None) -> bool:
        """Whether what is held is what is expected: by the call's word, else the merchant's."""
        policy = asked or principal.hold_policy or self._policy
        return policy is HoldPolicy.EXPECTED

    @property
    def wanted(self) -> bool:
        """Whether anybody goes by the past."""
        return bool(self._pasts)

    async def past(
        self, merchant_id: str, customer_id: str | None, *, provider: str, model: str | None
    ) -> Past:
        """What calls of this customer and model used; else the merchant's; else nothing."""
        if model is None:
            return NO_PAST
        own = (merchant_id, customer_id, provider, model)
        past = await self._past(own)
        if past.enough or customer_id is None:
            return past
        return await self._past((merchant_id, None, provider, model))

    def learn(
        self,
        merchant_id: str,
        customer_id: str | None,
        *,
        provider: str,
        model: str | None,
        sample: Sample,
    ) -> None:
        """A call used this; noted where somebody goes by it."""
        if not self._pasts or model is None:
            return
        for whose in {customer_id, None}:
            past = self._pasts.get((merchant_id, whose, provider, model))
            if past is not None:
                past.samples.append(sample)

    def learn_reported(
        self,
        merchant_id: str,
        customer_id: str | None,
        *,
        provider: str,
        model: str | None,
        usage: Usage,
    ) -> None:
        """As `learn`, of a call that was made elsewhere: nobody saw its body."""
        if self._pasts:
            self.learn(
                merchant_id, customer_id, provider=provider, model=model, sample=sample_of(usage)
            )

    async def _past(self, key: _Key) -> Past:
        found = self._pasts.get(key)
        if found is not None:
            self._pasts.move_to_end(key)
            return found
        reading = self._reading.get(key)
        if reading is None:
            # Many calls may come at once: one reads for them all.
            reading = asyncio.ensure_future(self._read(key))
            self._reading[key] = reading
            reading.add_done_callback(lambda task: self._was_read(key, task))
        return await asyncio.shield(reading)

    async def _read(self, key: _Key) -> Past:
        merchant_id, customer_id, provider, model = key
        records = await self._history.newest_usage(merchant_id, customer_id, RECORDS_READ_MAX)
        past = Past.of(
            sample_of(usage)
            for called, answered, usage in reversed(records)
            if called == provider and answered and same_model(model, answered)
        )
        self._pasts[key] = past
        if len(self._pasts) > self._pasts_max:
            self._pasts.popitem(last=False)
        return past

    def _was_read(self, key: _Key, task: asyncio.Task[Past]) -> None:
        self._reading.pop(key, None)
        if not task.cancelled():
            # Whoever asked may have gone: then nobody else takes note of what went wrong.
            task.exception()
