"""The merchant's meters: how usage is priced."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lava_grpc.core.errors import invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.pricing import Basis, Meter, RateType, Tier, TierType
from lava_grpc.core.resources import NamedMeter
from lava_grpc.core.time import Clock
from lava_grpc.gateway.checks import check_id, check_text
from lava_grpc.gateway.ports import Resources
from lava_grpc.gateway.principal import Principal

TIERS_MAX = 50
"""The most tiers of one meter."""

START_MAX = 10**15
"""The last number of units that a tier may begin at."""

_T = TypeVar("_T")
_WHOLE = re.compile(r"[0-9]{1,40}")


@dataclass(frozen=True, slots=True)
class TierText:
    """A tier as a caller writes it: a whole number, and a decimal."""

    start: str
    rate: str


@dataclass(frozen=True, slots=True)
class NewMeter:
    """A meter as a caller describes it."""

    name: str
    slug: str | None
    rate_type: RateType | None
    tier_type: TierType | None
    basis: Basis
    tiers: Sequence[TierText]


class Meters:
    """Creates, reads, changes and deletes meters.

    `changed` is told the merchant's id after a change, so that what remembers
    meters forgets them.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        clock: Clock,
        ids: IdSource,
        changed: Callable[[str], None] = lambda _merchant_id: None,
    ) -> None:
        self._resources = resources
        self._clock = clock
        self._ids = ids
        self._changed = changed

    async def create(self, principal: Principal, new: NewMeter) -> NamedMeter:
        """A meter; its slug is its id where none is given. Refuses ALREADY_EXISTS."""
        now = self._clock.now()
        meter_id = f"prd_{principal.prefix}{self._ids.ulid(now)}"
        meter = NamedMeter(
            meter=Meter(
                merchant_id=principal.merchant_id,
                meter_id=meter_id,
                slug=meter_id if new.slug is None else check_id(new.slug, "meter_slug"),
                rate_type=_given(new.rate_type, "rate_type"),
                tier_type=_given(new.tier_type, "tier_type"),
                basis=new.basis,
                tiers=tuple(read_tiers(new.tiers)),
            ),
            name=check_text(new.name, "name"),
            created_at=now,
        )
        await self._resources.add_meter(meter)
        return meter

    async def get(self, principal: Principal, ident: str) -> NamedMeter:
        """The meter with this id or slug; refuses NOT_FOUND."""
        return _found(await self._resources.meter(principal.merchant_id, ident), ident)

    async def list(self, principal: Principal, page: Page) -> Slice[NamedMeter]:
        """Meters, newest first."""
        return await self._resources.list_meters(principal.merchant_id, page)

    async def update(
        self,
        principal: Principal,
        ident: str,
        *,
        name: str | None,
        tiers: Sequence[TierText] | None,
    ) -> NamedMeter:
        """Set the name, the tiers, or both; None leaves one as it is. Refuses NOT_FOUND."""
        if name is None and tiers is None:
            return await self.get(principal, ident)
        changed = await self._resources.change_meter(
            principal.merchant_id,
            ident,
            name=None if name is None else check_text(name, "name"),
            tiers=None
            if tiers is None
            else [(tier.start, tier.rate) for tier in read_tiers(tiers)],
        )
        self._changed(principal.merchant_id)
        return _found(changed, ident)

    async def delete(self, principal: Principal, ident: str) -> str:
        """Refuse new calls with a meter; its id. Refuses NOT_FOUND."""
        meter_id = await self._resources.delete_meter(
            principal.merchant_id, ident, self._clock.now()
        )
        self._changed(principal.merchant_id)
        if meter_id is None:
            raise not_found("meter", ident, field="meter_id")
        return meter_id


def read_tiers(texts: Sequence[TierText]) -> list[Tier]:
    """The tiers: 1 to 50, ascending from "0", rates not negative; or a refusal by `tiers[0].rate`.

    Starts are whole numbers of the tier type's own unit.
    """
    if not texts:
        raise invalid("tiers", "must have at least one tier")
    if len(texts) > TIERS_MAX:
        raise invalid("tiers", f"must have at most {TIERS_MAX} tiers")
    tiers: list[Tier] = []
    for index, text in enumerate(texts):
        start = _start(text.start, f"tiers[{index}].start")
        if not tiers and start != 0:
            raise invalid("tiers[0].start", "must be '0'")
        if tiers and start <= tiers[-1].start:
            raise invalid(f"tiers[{index}].start", "must be above the one before")
        tiers.append(Tier(start, parse_amount(text.rate, f"tiers[{index}].rate")))
    return tiers


def _start(text: str, field: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise invalid(field, "must be a whole number such as '1000000'")
    start = int(text)
    if start > START_MAX:
        raise invalid(field, f"must be at most {START_MAX}")
    return start


def _given(value: _T | None, field: str) -> _T:
    if value is None:
        raise invalid(field, "is required")
    return value


def _found(meter: NamedMeter | None, ident: str) -> NamedMeter:
    if meter is None:
        raise not_found("meter", ident, field="meter_id")
    return meter
