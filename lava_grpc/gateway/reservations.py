"""Releasing, extending and reading holds."""

from __future__ import annotations

from lava_grpc.core.commands import Extend, HoldIs, Release
from lava_grpc.core.errors import not_found
from lava_grpc.core.hold import Hold, HoldState
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.time import Clock
from lava_grpc.gateway.authorize import check_ttl
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.ports import Books, Ledger
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.recent import RecentHolds


class Reservations:
    """What can be done with a hold besides settling it."""

    def __init__(
        self,
        ledger: Ledger,
        books: Books,
        directory: Directory,
        recent: RecentHolds,
        *,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._books = books
        self._directory = directory
        self._recent = recent
        self._clock = clock

    async def release(
        self, principal: Principal, reservation_id: str, *, deadline: float | None = None
    ) -> Hold:
        """Give a hold back unused; refuses RESERVATION_ENDED if it ended another way."""
        hold = await self._recent.facts(principal.merchant_id, reservation_id)
        command = Release(principal.merchant_id, reservation_id, hold.account_ids)
        return _hold_in(await self._ledger.submit(command, deadline=deadline))

    async def extend(
        self,
        principal: Principal,
        reservation_id: str,
        ttl_seconds: int | None,
        *,
        deadline: float | None = None,
    ) -> Hold:
        """Let a hold live `ttl_seconds` from now; refuses RESERVATION_ENDED."""
        ttl = check_ttl(ttl_seconds)
        hold = await self._recent.facts(principal.merchant_id, reservation_id)
        command = Extend(principal.merchant_id, reservation_id, hold.account_ids, ttl)
        return _hold_in(await self._ledger.submit(command, deadline=deadline))

    async def get(self, principal: Principal, reservation_id: str) -> Hold:
        """The hold as it is now; one whose time is up shows as expired."""
        hold = await self._books.hold(principal.merchant_id, reservation_id)
        if hold is None:
            raise not_found("reservation", reservation_id, field="reservation_id")
        if hold.state is HoldState.ACTIVE and hold.expires_at <= self._clock.now():
            hold.state = HoldState.EXPIRED
            hold.ended_at = hold.expires_at
        return hold

    async def list(
        self,
        principal: Principal,
        page: Page,
        *,
        customer_id: str | None,
        state: HoldState | None,
    ) -> Slice[Hold]:
        """Holds, newest first."""
        merchant_id = principal.merchant_id
        if customer_id is not None:
            customer_id = await self._directory.customer_filter(merchant_id, customer_id)
        now = self._clock.now()
        return await self._books.list_holds(
            merchant_id, page, customer_id=customer_id, state=state, now=now
        )


def _hold_in(outcome: Outcome) -> Hold:
    if not isinstance(outcome, HoldIs):
        raise TypeError(outcome)
    return outcome.hold
