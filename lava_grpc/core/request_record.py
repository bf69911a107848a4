"""The record of one metered operation."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from lava_grpc.core.hold import CallFacts
from lava_grpc.core.money import Amount
from lava_grpc.core.pricing import Charge
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import Usage


class RequestStatus(StrEnum):
    """How far a request has come."""

    PENDING = "pending"
    COMPLETED = "completed"
    ERROR = "error"


class Flag(StrEnum):
    """What is unusual about a charge."""

    OVERRUN = "overrun"
    LATE = "late"
    OVERDRAWN = "overdrawn"
    ESTIMATED = "estimated"
    ABANDONED = "abandoned"
    UNPRICED = "unpriced"
    CLAMPED = "clamped"


class RequestRecord(msgspec.Struct, frozen=True):
    """Usage, cost and charge of one operation, and who it was for.

    `cost` is what the provider charges, `input_cost` and `output_cost` its two
    lines. `charge` is what the customer pays. `held` is what its hold took from
    the payer, None without one.
    """

    merchant_id: str
    request_id: str
    status: RequestStatus
    facts: CallFacts
    response_id: str | None
    usage: Usage
    input_cost: Amount
    output_cost: Amount
    cost: Amount
    charge: Charge
    flags: tuple[Flag, ...]
    hold_id: str | None
    held: Amount | None
    created_at: Instant
    ended_at: Instant | None
    fingerprint: str
    # The service tier that it was served in, `batch` and `fast` among them, where one is known.
    service_tier: str | None = None
