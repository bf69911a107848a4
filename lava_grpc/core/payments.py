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


class PaymentState(StrEnum):
    """A payment ends once: paid and granted, or not paid."""

    OPEN = "open"
    PAID = "paid"  # and its credit is about to be granted
    SUCCEEDED = "succeeded"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Payment:
    """`amount` for `credit_amount` on an account.

    Stored before the provider is asked. Its id is the provider's idempotency key and
    the request id of the grant, so that neither money nor credit moves twice. While it
    is open somebody is at it until `due_at`, and then anybody may be.
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


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """A card that a payment provider knows."""

    payment_method_id: str
    last4: str
    expiry_month: int
    expiry_year: int
    brand: str
    is_default: bool
