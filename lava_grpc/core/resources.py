"""What a merchant owns besides its books: itself, customers, meters and keys."""

from __future__ import annotations

from dataclasses import dataclass

from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.money import Amount
from lava_grpc.core.pricing import Meter
from lava_grpc.core.time import Instant


@dataclass(frozen=True, slots=True)
class Merchant:
    """The business; `test_mode` puts `test_` into the ids of what it owns."""

    merchant_id: str
    name: str
    test_mode: bool
    created_at: Instant
    # How much is held for its calls unless one says otherwise; None leaves it to the service.
    hold_policy: HoldPolicy | None = None


@dataclass(frozen=True, slots=True)
class CustomerPlan:
    """A customer's active subscription, in short."""

    subscription_id: str
    plan_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Customer:
    """The merchant's end customer. `metadata` is a JSON object as text, None without one.

    Its account has the same id. `credit_limit` None means unlimited.
    """

    merchant_id: str
    customer_id: str
    reference_id: str | None
    name: str | None
    email: str | None
    phone: str | None
    metadata: str | None
    credit_limit: Amount | None
    created_at: Instant
    subscription: CustomerPlan | None = None


@dataclass(frozen=True, slots=True)
class NamedMeter:
    """A pricing rule as its merchant sees it."""

    meter: Meter
    name: str
    created_at: Instant


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A merchant's credential, without the key itself: only its hash is stored."""

    merchant_id: str
    secret_key_id: str
    name: str
    hint: str
    created_at: Instant
