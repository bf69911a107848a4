"""Credit grants and balances, of customers and of the merchant's own wallet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lava_grpc.core.account import DEFAULT_PRIORITY, PRIORITY_MAX, Account, Grant, GrantSource
from lava_grpc.core.commands import AddGrant, Granted, RenewCycles
from lava_grpc.core.errors import InvariantBroken, invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import Amount, parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.time import Clock, Instant
from lava_grpc.gateway.checks import check_id, check_text, fingerprint
from lava_grpc.gateway.ports import Books, Ledger, Resources
from lava_grpc.gateway.principal import Principal

GRANT_METERS_MAX = 100
"""The most meters that one grant may be restricted to."""


@dataclass(frozen=True, slots=True)
class NewGrant:
    """Credit as a caller describes it; without a customer, for the merchant's own wallet."""

    customer: str | None
    amount: str
    source: GrantSource
    priority: int | None = None
    expires_at: Instant | None = None
    meters: Sequence[str] = ()
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class BalanceView:
    """What an account has now; `available` and `credit_limit` are None where unlimited."""

    account_id: str
    balance: Amount
    held: Amount
    available: Amount | None
    credit_limit: Amount | None


_OURS = re.compile(r"pay_(test_)?[0-9A-Z]{26}|sub_(test_)?[0-9A-Z]{26}/[0-9]+")
"""The request ids of the ledger's own grants: what was paid for, and cycles' credit."""


class Credit:
    """Grants credit and says what is left of it."""

    def __init__(
        self, resources: Resources, books: Books, ledger: Ledger, *, clock: Clock, ids: IdSource
    ) -> None:
        self._resources = resources
        self._books = books
        self._ledger = ledger
        self._clock = clock
        self._ids = ids

    async def grant(
        self, principal: Principal, new: NewGrant, *, deadline: float | None = None
    ) -> Grant:
        """Add credit durably, once for each request id."""
        merchant_id, now = principal.merchant_id, self._clock.now()
        amount = parse_amount(new.amount, "amount")
        if amount == 0:
            raise invalid("amount", "must be more than zero")
        priority = _priority(new)
        if new.request_id is not None:
            _check_request_id(new.request_id)
        account_id = await self._account_id(principal, new.customer)
        meter_ids = await self._meter_ids(merchant_id, new.meters)
        granted = await self._ledger.submit(
            # That `expires_at` lies in the future is the ledger's to say: a repeat may come late.
            AddGrant(
                merchant_id=merchant_id,
                account_id=account_id,
                grant_id=f"grt_{principal.prefix}{self._ids.ulid(now)}",
                request_id=new.request_id or f"req_{principal.prefix}{self._ids.ulid(now)}",
                fingerprint=fingerprint(
                    "grant", account_id, amount, new.source, priority, new.expires_at, meter_ids
                ),
                source=new.source,
                priority=priority,
                amount=amount,
                meter_ids=meter_ids,
                expires_at=new.expires_at,
            ),
            deadline=deadline,
        )
        if not isinstance(granted, Granted):
            raise InvariantBroken(f"a grant was answered with {type(granted).__name__}")
        return granted.grant

    async def list_grants(
        self, principal: Principal, customer: str | None, page: Page
    ) -> Slice[Grant]:
        """An account's grants, newest first; without a customer, the wallet's."""
        account_id = await self._account_id(principal, customer)
        return await self._books.list_grants(principal.merchant_id, account_id, page)

    async def balance(self, principal: Principal, customer: str, meter: str | None) -> BalanceView:
        """What a customer has, and could spend on a call priced by `meter`."""
        account_id = await self._account_id(principal, customer)
        meter_id = None
        if meter is not None:
            (meter_id,) = await self._resolved(principal.merchant_id, {"meter_id": meter})
        return await self._view(principal, account_id, meter_id)

    async def wallet(self, principal: Principal) -> BalanceView:
        """What the merchant's own wallet has."""
        return await self._view(principal, principal.merchant_id, None)

    async def _view(
        self, principal: Principal, account_id: str, meter_id: str | None
    ) -> BalanceView:
        account = await self._books.account(principal.merchant_id, account_id)
        now = self._clock.now()
        if account is not None and account.cycle_end is not None and account.cycle_end <= now:
            # A cycle that is over counts as renewed, whoever notices it first.
            await self._ledger.submit(RenewCycles(principal.merchant_id, account_id))
            account = await self._books.account(principal.merchant_id, account_id)
        if account is None:
            raise not_found("account", account_id, field="customer_id")
        return BalanceView(
            account_id=account_id,
            balance=account.balance - _overdue(account, now),
            held=account.held,
            available=account.available(meter_id, now),
            credit_limit=account.credit_limit,
        )

    async def _account_id(self, principal: Principal, customer: str | None) -> str:
        if customer is None:
            return principal.merchant_id
        check_text(customer, "customer_id")
        found = await self._resources.customer(principal.merchant_id, customer)
        if found is None:
            raise not_found("customer", customer, field="customer_id")
        return found.customer_id

    async def _meter_ids(self, merchant_id: str, meters: Sequence[str]) -> tuple[str, ...] | None:
        if len(meters) > GRANT_METERS_MAX:
            raise invalid("meter_ids", f"must have at most {GRANT_METERS_MAX} meters")
        named = {f"meter_ids[{index}]": meter for index, meter in enumerate(meters)}
        # Sorted, each once: neither order nor repetition means anything.
        return tuple(sorted(set(await self._resolved(merchant_id, named)))) or None

    async def _resolved(self, merchant_id: str, named: dict[str, str]) -> list[str]:
        found: list[str] = []
        for field, ident in named.items():
            meter = await self._resources.meter(merchant_id, check_text(ident, field))
            if meter is None:
                raise not_found("meter", ident, field=field)
            found.append(meter.meter.meter_id)
        return found


def _priority(new: NewGrant) -> int:
    if new.priority is None:
        return DEFAULT_PRIORITY[new.source]
    if not 0 <= new.priority <= PRIORITY_MAX:
        raise invalid("priority", f"must be from 0 to {PRIORITY_MAX}")
    return new.priority


def _overdue(account: Account, now: Instant) -> Amount:
    """What has expired, though no call has come by since to book it."""
    return sum(grant.remaining for grant in account.grants if grant.overdue(now))


def _check_request_id(request_id: str) -> None:
    if _OURS.fullmatch(check_id(request_id, "request_id")):
        # One that is taken would be in the way of the payment, or of the renewal.
        raise invalid("request_id", "must not be a payment's, or that of a subscription's cycle")
