"""Plans, the bundles that belong to them, and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lava_grpc.core.cycles import Interval, boundary
from lava_grpc.core.money import Amount
from lava_grpc.core.time import Instant

NOTHING_LEFT: Amount = 1
"""The low mark of a subscription without a threshold: less than the smallest amount."""


class Rollover(StrEnum):
    """What becomes of unused credit when a cycle ends."""

    FULL = "full"  # it stays
    NONE = "none"  # it expires


@dataclass(frozen=True, slots=True)
class Plan:
    """What a customer gets for each cycle, and what it costs.

    `meter_ids` are the only ones that its cycle credit may be spent on, None for any.
    `overage_limit` is how far its subscribers may go past their credit; None leaves
    that to the customer's own credit limit. `auto_top_up_threshold` is what new
    subscriptions begin with.
    """

    merchant_id: str
    plan_id: str
    name: str
    period_amount: Amount
    included_credit: Amount
    interval: Interval
    rollover: Rollover
    bundle_rollover: Rollover
    meter_ids: tuple[str, ...] | None
    default_bundle_id: str | None
    overage_limit: Amount | None
    is_default: bool
    created_at: Instant
    deleted_at: Instant | None = None
    auto_top_up_threshold: Amount | None = None

    def above(self, other: Plan) -> bool:
        """Whether a change from `other` to this one is an upgrade: dearer, or more for as much."""
        return (self.period_amount, self.included_credit) > (
            other.period_amount,
            other.included_credit,
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """Credit that subscribers of one plan can buy: `credit_amount` for `cost`."""

    merchant_id: str
    credit_bundle_id: str
    plan_id: str
    name: str
    cost: Amount
    credit_amount: Amount
    created_at: Instant


class SubscriptionStatus(StrEnum):
    """A subscription that is cancelled never comes back; a customer may get a new one."""

    ACTIVE = "active"
    CANCELLED = "cancelled"


class SubscriptionFilter(StrEnum):
    """Which subscriptions a list shows."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    ALL = "all"

    @property
    def status(self) -> SubscriptionStatus | None:
        """The one status that is wanted, None for either."""
        return None if self is SubscriptionFilter.ALL else SubscriptionStatus(self.value)


class PendingKind(StrEnum):
    """What happens when the running cycle ends."""

    CANCELLATION = "cancellation"
    DOWNGRADE = "downgrade"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer's place on a plan. An active one runs through cycles.

    Cycles are numbered from 1 over the subscription's life; `anchor_cycle` is the one
    that begins at `anchor`, from which the others are counted.

    With a `payment_provider` its price and its overage are charged there; `payment_id`
    is the payment that was last asked for, and while that is `unpaid` the cycle has no
    credit. `auto_top_up_threshold`: None means that credit must have run out.
    """

    merchant_id: str
    subscription_id: str
    customer_id: str
    plan_id: str
    status: SubscriptionStatus
    auto_top_up_bundle_id: str | None
    anchor: Instant
    anchor_cycle: int
    cycle: int
    cycle_start: Instant
    cycle_end: Instant
    started_at: Instant
    cancelled_at: Instant | None = None
    pending: PendingKind | None = None
    pending_plan_id: str | None = None
    auto_top_up_threshold: Amount | None = None
    payment_provider: str | None = None
    payment_method_id: str | None = None
    payment_id: str | None = None
    unpaid: bool = False

    def ends_after(self, interval: Interval) -> Instant:
        """Where its present cycle ends, in cycles of this length."""
        return boundary(self.anchor, interval, self.cycle - self.anchor_cycle + 1)

    @property
    def charged(self) -> bool:
        """Whether a payment provider is asked for what it costs."""
        return self.payment_provider is not None

    def method_at(self, provider: str) -> str | None:
        """How whatever else its customer buys is paid, if this provider charges it."""
        return self.payment_method_id if self.payment_provider == provider else None

    @property
    def low_mark(self) -> Amount | None:
        """Auto top-up buys once less credit than this is left; None: never."""
        if self.auto_top_up_bundle_id is None:
            return None
        return self.auto_top_up_threshold or NOTHING_LEFT


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A customer's active subscription with the plans that decide how it goes on.

    `pending_plan` is what a downgrade leads to; `default_plan` is where customers are
    after a cancellation.
    """

    subscription: Subscription
    plan: Plan
    pending_plan: Plan | None
    default_plan: Plan | None


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan with what its merchant sees of it: bundles, and ids and names of linked meters."""

    plan: Plan
    bundles: tuple[Bundle, ...]
    linked_meters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PlanEdit:
    """Changes to a plan: its columns by name, and bundles to add, to change and to remove."""

    values: Mapping[str, object]
    added: tuple[Bundle, ...] = ()
    changed: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
