"""What a batch of commands can see, and what it changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import msgspec

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.budget import Budget
from lava_grpc.core.hold import Hold
from lava_grpc.core.money import Amount
from lava_grpc.core.payments import Payment
from lava_grpc.core.plans import Enrolment, Subscription
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.time import Instant

Key: TypeAlias = tuple[str, str]
"""Merchant id, then the row's own id."""


class EntryKind(StrEnum):
    """Why an entry was written."""

    GRANT = "grant"
    CHARGE = "charge"
    COST = "cost"
    EXPIRY = "expiry"
    COVER = "cover"
    BUDGET = "budget"


# The other side of entries. Their balances are sums over entries and never kept
# in a row, which every batch would have to lock.
ISSUANCE = "issuance"
REVENUE = "revenue"
PROVIDERS = "providers"
BUDGETS = "budgets"
BREAKAGE = "breakage"


class Entry(msgspec.Struct, frozen=True):
    """One immutable double-entry row: `amount` leaves `debit` and reaches `credit`."""

    merchant_id: str
    debit: str
    credit: str
    amount: Amount
    kind: EntryKind
    request_id: str | None
    hold_id: str | None
    grant_id: str | None
    created_at: Instant


@dataclass(slots=True)
class TierCounter:
    """Units that a customer used of a meter in the cycle that began at `cycle_start`."""

    merchant_id: str
    customer_id: str
    meter_id: str
    cycle_start: Instant
    units: int


CounterKey: TypeAlias = tuple[str, str, str, Instant]


@dataclass(frozen=True, slots=True)
class AccountCycle:
    """An account whose cycle, limit or low mark changed; see `Subscription.low_mark`."""

    account: Account
    low_mark: Amount | None


@dataclass(slots=True)
class LedgerState:
    """Everything that a batch touches, loaded under its locks.

    `apply` works on it in place: it belongs to one batch alone.
    """

    accounts: dict[Key, Account] = field(default_factory=dict)
    grants: dict[Key, Grant] = field(default_factory=dict)  # by grant id, also those not live
    grants_by_request: dict[Key, Grant] = field(default_factory=dict)
    holds: dict[Key, Hold] = field(default_factory=dict)
    holds_by_request: dict[Key, Hold] = field(default_factory=dict)
    records: dict[Key, RequestRecord] = field(default_factory=dict)
    counters: dict[CounterKey, TierCounter] = field(default_factory=dict)
    enrolments: dict[Key, Enrolment] = field(default_factory=dict)  # by account id
    payments: dict[Key, Payment] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """Rows to write. Dicts keep first-touch order and each row once."""

    accounts: dict[Key, Account] = field(default_factory=dict)
    new_grants: dict[Key, Grant] = field(default_factory=dict)
    grants: dict[Key, Grant] = field(default_factory=dict)
    new_holds: dict[Key, Hold] = field(default_factory=dict)
    holds: dict[Key, Hold] = field(default_factory=dict)
    new_records: dict[Key, RequestRecord] = field(default_factory=dict)
    records: dict[Key, RequestRecord] = field(default_factory=dict)
    counters: dict[CounterKey, TierCounter] = field(default_factory=dict)
    budgets: dict[Key, Budget] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    subscriptions: dict[Key, Subscription] = field(default_factory=dict)  # new or changed
    cycles: dict[Key, AccountCycle] = field(default_factory=dict)
    grown: dict[Key, Grant] = field(default_factory=dict)  # whose amount changed
    new_payments: dict[Key, Payment] = field(default_factory=dict)
    payments: dict[Key, Payment] = field(default_factory=dict)  # that ended

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.accounts
            or self.new_grants
            or self.grants
            or self.new_holds
            or self.holds
            or self.new_records
            or self.records
            or self.counters
            or self.budgets
            or self.entries
            or self.subscriptions
            or self.cycles
            or self.payments
        )
