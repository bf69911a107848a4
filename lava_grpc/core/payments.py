"""Money that a payment provider is asked for, and the credit that it buys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lava_grpc.core.money import Amount
from lava_grpc.core.time import Instant


class PaymentKind(StrEnum):
    """What a payment is for."""

    AUTO_TOP_UP = "auto_top_up"
    BUNDLE = "bundle"
    FUND = "fund"
    SUBSCRIPTION = "subscription"  # a plan's first cycle: it begins once it is paid
    RENEWAL = "renewal"  # a further cycle, and the overage of the one before
    OVERAGE = "overage"  # of a subscription's last cycle

    @property
    def of_plan(self) -> bool:
        """Whether the ledger itself hands out what was paid for."""
        return self in _OF_PLAN

    @property
    def insistent(self) -> bool:
        """Whether it is money for what was used or is running: asked again if declined."""
        return self in _INSISTENT


_OF_PLAN = frozenset((PaymentKind.SUBSCRIPTION, PaymentKind.RENEWAL, PaymentKind.OVERAGE))
_INSISTENT = frozenset((PaymentKind.RENEWAL, PaymentKind.OVERAGE))


class PaymentState(StrEnum):
    """A payment ends once: paid and granted, or not paid."""

    OPEN = "open"
    PAID = "paid"  # and its credit is about to be granted
    SUCCEEDED = "succeeded"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Payment:
    """`amount` for `credit_amount` on an account.

    Stored before the provider is asked. Its `charge_key` is the provider's idempotency
    key, its id the request id of the grant, so that neither money nor credit moves twice.
    While it is open somebody is at it until `due_at`, and then anybody may be. A payment
    for a plan buys the plan's cycle, and as `credit_amount` the overage that it pays for.
    """

    merchant_id: str
    payment_id: str
    account_id: str
    kind: PaymentKind
    provider: str
    payment_method_id: str | None
    credit_bundle_id: str | None
    amount: Amount
    credit_amount: Amount
    state: PaymentState
    reason: str | None
    attempts: int
    due_at: Instant | None
    created_at: Instant
    ended_at: Instant | None = None
    plan_id: str | None = None
    request_id: str | None = None
    fingerprint: str | None = None
    declines: int = 0

    @property
    def charge_key(self) -> str:
        """What the provider takes money for once: another one after each refusal."""
        return f"{self.payment_id}-{self.declines}" if self.declines else self.payment_id

    @property
    def in_doubt(self) -> bool:
        """Whether the provider was asked before and has not answered."""
        return self.attempts > 1 and self.reason is None


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """A card that a payment provider knows."""

    payment_method_id: str
    last4: str
    expiry_month: int
    expiry_year: int
    brand: str
    is_default: bool
