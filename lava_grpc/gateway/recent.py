"""Holds that this process placed lately, so that settling one need not read it first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

import msgspec

from lava_grpc.core.errors import not_found
from lava_grpc.core.hold import CallFacts, Hold, Role
from lava_grpc.gateway.ports import Books

HOLDS_MAX = 20_000


class HoldFacts(msgspec.Struct, frozen=True):
    """What never changes of a hold."""

    hold_id: str
    request_id: str
    account_ids: tuple[str, ...]
    roles: tuple[Role, ...]
    facts: CallFacts


class RecentHolds:
    """Facts of holds by id: remembered, else read. Never their state, which may change."""

    def __init__(self, books: Books, *, holds_max: int = HOLDS_MAX) -> None:
        self._books = books
        self._holds_max = holds_max
        self._kept: OrderedDict[tuple[str, str], HoldFacts] = OrderedDict()

    def remember(self, hold: Hold) -> None:
        """Keep the facts of a hold that was just placed."""
        self._kept[hold.merchant_id, hold.hold_id] = _facts(hold)
        if len(self._kept) > self._holds_max:
            self._kept.popitem(last=False)

    def at_hand(self, merchant_id: str, hold_id: str) -> HoldFacts | None:
        """The facts of a hold that are remembered."""
        return self._kept.get((merchant_id, hold_id))

    async def facts(self, merchant_id: str, hold_id: str) -> HoldFacts:
        """The facts of a hold; refuses NOT_FOUND."""
        kept = self._kept.get((merchant_id, hold_id))
        if kept is not None:
            return kept
        hold = await self._books.hold(merchant_id, hold_id)
        if hold is None:
            raise not_found("reservation", hold_id, field="reservation_id")
        return _facts(hold)

    async def many(self, merchant_id: str, hold_ids: Collection[str]) -> dict[str, HoldFacts]:
        """The facts of those of these holds that there are, by their ids; one read at most."""
        found: dict[str, HoldFacts] = {}
        missing: list[str] = []
        for hold_id in hold_ids:
            kept = self._kept.get((merchant_id, hold_id))
            if kept is None:
                missing.append(hold_id)
            else:
                found[hold_id] = kept
        if missing:
            read = await self._books.holds(merchant_id, missing)
            found |= {hold_id: _facts(hold) for hold_id, hold in read.items()}
        return found

    async def of_requests(
        self, merchant_id: str, request_ids: Collection[str]
    ) -> dict[str, HoldFacts]:
        """The facts of the holds of those of these requests that have one; one read."""
        if not request_ids:
            return {}
        read = await self._books.holds_of_requests(merchant_id, list(request_ids))
        return {request_id: _facts(hold) for request_id, hold in read.items()}

    async def of_request(self, merchant_id: str, request_id: str) -> HoldFacts | None:
        """The facts of the hold that was placed for a request, None where there is none."""
        hold = await self._books.hold_of_request(merchant_id, request_id)
        return None if hold is None else _facts(hold)


def _facts(hold: Hold) -> HoldFacts:
    return HoldFacts(hold.hold_id, hold.request_id, hold.account_ids, hold.roles, hold.facts)
