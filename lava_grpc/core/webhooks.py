"""Webhooks, the events that they are told of, and how far a delivery has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from lava_grpc.core.money import Amount
from lava_grpc.core.resources import Customer
from lava_grpc.core.time import Instant


class Event(StrEnum):
    """What a merchant is told of; docs/webhooks.md says when each is sent."""

    CUSTOMER_CREATED = "customer.created"
    CUSTOMER_DELETED = "customer.deleted"
    BALANCE_UPDATED = "customer.wallet.balance.updated"
    BALANCE_LOW = "customer.wallet.balance.low"
    CREDIT_EXHAUSTED = "customer.wallet.credit.exhausted"
    TOPPED_UP = "customer.wallet.topped_up"
    REQUEST_ABANDONED = "request.abandoned"


class DeliveryState(StrEnum):
    """How far a delivery has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a merchant is told of events, without the secret that signs them.

    `low_balance` is the balance below which BALANCE_LOW is sent, None for never.
    """

    merchant_id: str
    webhook_id: str
    name: str
    url: str
    low_balance: Amount | None
    created_at: Instant


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook. `due_at` is None once it has ended."""

    merchant_id: str
    delivery_id: str
    webhook_id: str
    event: Event
    customer_id: str | None
    state: DeliveryState
    attempts: int
    response_status: int | None
    error: str | None
    created_at: Instant
    due_at: Instant | None
    ended_at: Instant | None


@dataclass(frozen=True, slots=True)
class Told:
    """What a delivery's body says: the event, its customer as it is now, and its facts as JSON."""

    delivery_id: str
    event: Event
    customer: Customer | None
    details: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A delivery that this process is to send before its lease ends."""

    merchant_id: str
    webhook_id: str
    delivery_id: str
    # This attempt's number, from 1: an answer counts only for the attempt that it is to.
    attempt: int
    url: str
    body: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempted:
    """What became of an attempt: `error` is None where it was delivered."""

    response_status: int | None
    error: str | None


# Eleven attempts over 23 hours and 42 minutes.
PAUSES_SECONDS = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 36_000)
"""How long after each failed attempt the next one is made; past the last, it has failed."""
