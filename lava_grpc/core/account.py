"""Accounts, grants and their burn order.

An account's `balance` is the sum of its ledger entries. Its live grants hold
that balance as `remaining` (free) and `held` (taken by running holds); where
more was used than granted, the difference is overage, and what holds took
from the credit limit is `held_credit`:

    balance  = sum(remaining + held over live grants) - overage
    held     = sum(held over live grants) + held_credit

Credit that comes free in an unrestricted grant pays for overage at once, so an
account never owes while it has such credit, and never loses it to an expiry.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from lava_grpc.core.money import Amount
from lava_grpc.core.time import Instant

if TYPE_CHECKING:
    from lava_grpc.core.budget import Budget


class AccountKind(StrEnum):
    """What an account belongs to. Its id is its owner's id."""

    CUSTOMER = "customer"
    MERCHANT = "merchant"
    SPEND_KEY = "spend_key"


class GrantSource(StrEnum):
    """Where credit came from."""

    PLAN_CYCLE = "plan_cycle"
    BUNDLE = "bundle"
    TOP_UP = "top_up"
    PROMOTION = "promotion"
    ADJUSTMENT = "adjustment"


DEFAULT_PRIORITY: dict[GrantSource, int] = {
    GrantSource.PLAN_CYCLE: 10,
    GrantSource.BUNDLE: 20,
    GrantSource.TOP_UP: 20,
    GrantSource.PROMOTION: 30,
    GrantSource.ADJUSTMENT: 30,
}
PRIORITY_MAX = 1000
_NEVER: Instant = 2**63


@dataclass(slots=True)
class Grant:
    """Credit on an account: `amount == remaining + held + burned + expired`, always."""

    merchant_id: str
    account_id: str
    grant_id: str
    source: GrantSource
    priority: int
    amount: Amount
    remaining: Amount
    held: Amount
    burned: Amount
    expired: Amount
    meter_ids: tuple[str, ...] | None  # None: any meter, or none at all
    expires_at: Instant | None
    created_at: Instant
    request_id: str
    fingerprint: str

    @property
    def live(self) -> bool:
        """Whether anything of it can still be spent, given back or expire."""
        return self.remaining > 0 or self.held > 0

    def overdue(self, now: Instant) -> bool:
        """Whether its time is up."""
        return self.expires_at is not None and self.expires_at <= now

    def eligible(self, meter_id: str | None, now: Instant) -> bool:
        """Whether a call priced by `meter_id` may spend it now."""
        if self.overdue(now):
            return False
        return self.meter_ids is None or (meter_id is not None and meter_id in self.meter_ids)

    def burn_key(self) -> tuple[int, Instant, Instant, str]:
        """Sort key: lowest priority number, then earliest expiry, then oldest."""
        expiry = self.expires_at if self.expires_at is not None else _NEVER
        return (self.priority, expiry, self.created_at, self.grant_id)


@dataclass(frozen=True, slots=True)
class OwnLimit:
    """A customer's own credit limit, None for unlimited, while its plan sets another one."""

    amount: Amount | None


@dataclass(slots=True)
class Account:
    """What a call is charged to. `credit_limit` None means unlimited.

    A spend key's follows from its budget, and is right once that was rolled.
    """

    merchant_id: str
    account_id: str
    kind: AccountKind
    balance: Amount
    held: Amount
    credit_limit: Amount | None
    closed: bool
    grants: list[Grant] = field(default_factory=list)  # live ones, in burn order
    cycle_start: Instant | None = None  # the subscription's; None: calendar months
    cycle_end: Instant | None = None
    budget: Budget | None = None  # a spend key's
    own_limit: OwnLimit | None = None  # None: `credit_limit` is the customer's own

    def limit_to(self, plan_limit: Amount | None) -> None:
        """Let a plan's overage limit count, or with None the customer's own limit again."""
        own = OwnLimit(self.credit_limit) if self.own_limit is None else self.own_limit
        self.own_limit = None if plan_limit is None else own
        self.credit_limit = own.amount if plan_limit is None else plan_limit

    def left(self, now: Instant) -> Amount:
        """What its grants have free, less overage: negative past them."""
        free = sum(g.remaining for g in self.grants if not g.overdue(now))
        return free - self.overage()

    def overage(self) -> Amount:
        """How much more was used than granted."""
        return self.granted() - self.balance

    def granted(self) -> Amount:
        """What its live grants have, free or held."""
        granted = 0
        for grant in self.grants:
            granted += grant.remaining + grant.held
        return granted

    def held_credit(self) -> Amount:
        """What running holds took from the credit limit."""
        return self.held - sum(g.held for g in self.grants)

    def credit_taken(self) -> Amount:
        """Overage and held credit together: all that was taken past the grants.

        Kept within 64 bits, so that a balance is too, whatever expires or settles.
        """
        taken = self.held - self.balance
        for grant in self.grants:
            taken += grant.remaining
        return taken

    def free_credit(self) -> Amount | None:
        """What is left of the credit limit; negative past it, None if unlimited."""
        if self.credit_limit is None:
            return None
        return self.credit_limit - self.credit_taken()

    def available(self, meter_id: str | None, now: Instant) -> Amount | None:
        """What a hold priced by `meter_id` could take now; None if unlimited.

        Negative where usage went past the limit.
        """
        if self.credit_limit is None:
            return None
        # Free credit plus eligible grants, with what both share already taken out.
        available = self.credit_limit + self.balance - self.held
        for grant in self.grants:
            if grant.remaining and not grant.eligible(meter_id, now):
                available -= grant.remaining
        return available

    def insert_grant(self, grant: Grant) -> None:
        """Add a grant, keeping burn order."""
        self.grants.append(grant)
        self.grants.sort(key=Grant.burn_key)

    def copy(self) -> Account:
        """A copy with grants of its own, to try things out on."""
        return replace(self, grants=[replace(grant) for grant in self.grants])
