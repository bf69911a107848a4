"""Enum values of the protos and of the core."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TypeVar

from lava.v1 import (
    credit_pb2,
    gateway_service_pb2,
    ledger_service_pb2,
    meter_pb2,
    plan_pb2,
    provider_key_pb2,
    request_record_pb2,
    reservation_pb2,
    subscription_pb2,
    subscription_service_pb2,
    webhook_pb2,
)

from lava_grpc.core.account import GrantSource
from lava_grpc.core.cycles import Interval
from lava_grpc.core.errors import invalid
from lava_grpc.core.hold import HoldState
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.plans import PendingKind, Rollover, SubscriptionFilter, SubscriptionStatus
from lava_grpc.core.pricing import Basis, RateType, TierType
from lava_grpc.core.provider_key import ProviderKeyStatus
from lava_grpc.core.request_record import Flag, RequestStatus
from lava_grpc.core.state import EntryKind
from lava_grpc.core.webhooks import DeliveryState

E = TypeVar("E", bound=Enum)
N = TypeVar("N", bound=int)

RATE_TYPES = MappingProxyType(
    {
        RateType.FIXED: meter_pb2.RATE_TYPE_FIXED,
        RateType.PERCENTAGE: meter_pb2.RATE_TYPE_PERCENTAGE,
    }
)
TIER_TYPES = MappingProxyType(
    {
        TierType.TOKENS_1M: meter_pb2.TIER_TYPE_TOKENS_1M,
        TierType.CHARACTERS_1M: meter_pb2.TIER_TYPE_CHARACTERS_1M,
        TierType.MINUTES: meter_pb2.TIER_TYPE_MINUTES,
        TierType.REQUESTS: meter_pb2.TIER_TYPE_REQUESTS,
        TierType.SECONDS: meter_pb2.TIER_TYPE_SECONDS,
    }
)
BASES = MappingProxyType(
    {
        Basis.BOTH: meter_pb2.METER_BASIS_BOTH,
        Basis.INPUT: meter_pb2.METER_BASIS_INPUT,
        Basis.OUTPUT: meter_pb2.METER_BASIS_OUTPUT,
    }
)
GRANT_SOURCES = MappingProxyType(
    {
        GrantSource.PLAN_CYCLE: credit_pb2.GRANT_SOURCE_PLAN_CYCLE,
        GrantSource.BUNDLE: credit_pb2.GRANT_SOURCE_BUNDLE,
        GrantSource.TOP_UP: credit_pb2.GRANT_SOURCE_TOP_UP,
        GrantSource.PROMOTION: credit_pb2.GRANT_SOURCE_PROMOTION,
        GrantSource.ADJUSTMENT: credit_pb2.GRANT_SOURCE_ADJUSTMENT,
    }
)
HOLD_STATES = MappingProxyType(
    {
        HoldState.ACTIVE: reservation_pb2.RESERVATION_STATE_ACTIVE,
        HoldState.SETTLED: reservation_pb2.RESERVATION_STATE_SETTLED,
        HoldState.RELEASED: reservation_pb2.RESERVATION_STATE_RELEASED,
        HoldState.EXPIRED: reservation_pb2.RESERVATION_STATE_EXPIRED,
    }
)
HOLD_POLICIES = MappingProxyType(
    {
        HoldPolicy.UPPER_BOUND: gateway_service_pb2.HOLD_POLICY_UPPER_BOUND,
        HoldPolicy.EXPECTED: gateway_service_pb2.HOLD_POLICY_EXPECTED,
    }
)
REQUEST_STATUSES = MappingProxyType(
    {
        RequestStatus.PENDING: request_record_pb2.REQUEST_STATUS_PENDING,
        RequestStatus.COMPLETED: request_record_pb2.REQUEST_STATUS_COMPLETED,
        RequestStatus.ERROR: request_record_pb2.REQUEST_STATUS_ERROR,
    }
)
FLAGS = MappingProxyType(
    {
        Flag.OVERRUN: request_record_pb2.REQUEST_FLAG_OVERRUN,
        Flag.LATE: request_record_pb2.REQUEST_FLAG_LATE,
        Flag.OVERDRAWN: request_record_pb2.REQUEST_FLAG_OVERDRAWN,
        Flag.ESTIMATED: request_record_pb2.REQUEST_FLAG_ESTIMATED,
        Flag.ABANDONED: request_record_pb2.REQUEST_FLAG_ABANDONED,
        Flag.UNPRICED: request_record_pb2.REQUEST_FLAG_UNPRICED,
        Flag.CLAMPED: request_record_pb2.REQUEST_FLAG_CLAMPED,
    }
)
KEY_TYPES = MappingProxyType(
    {
        "managed": request_record_pb2.PROVIDER_KEY_TYPE_MANAGED,
        "unmanaged": request_record_pb2.PROVIDER_KEY_TYPE_UNMANAGED,
        "stored": request_record_pb2.PROVIDER_KEY_TYPE_STORED,
    }
)
ENTRY_KINDS = MappingProxyType(
    {
        EntryKind.GRANT: ledger_service_pb2.ENTRY_KIND_GRANT,
        EntryKind.CHARGE: ledger_service_pb2.ENTRY_KIND_CHARGE,
        EntryKind.COST: ledger_service_pb2.ENTRY_KIND_COST,
        EntryKind.EXPIRY: ledger_service_pb2.ENTRY_KIND_EXPIRY,
        EntryKind.COVER: ledger_service_pb2.ENTRY_KIND_COVER,
        EntryKind.BUDGET: ledger_service_pb2.ENTRY_KIND_BUDGET,
    }
)

DELIVERY_STATES = MappingProxyType(
    {
        DeliveryState.PENDING: webhook_pb2.WEBHOOK_DELIVERY_STATE_PENDING,
        DeliveryState.DELIVERED: webhook_pb2.WEBHOOK_DELIVERY_STATE_DELIVERED,
        DeliveryState.FAILED: webhook_pb2.WEBHOOK_DELIVERY_STATE_FAILED,
    }
)

INTERVALS = MappingProxyType(
    {
        Interval.DAY: plan_pb2.BILLING_INTERVAL_DAY,
        Interval.WEEK: plan_pb2.BILLING_INTERVAL_WEEK,
        Interval.MONTH: plan_pb2.BILLING_INTERVAL_MONTH,
        Interval.YEAR: plan_pb2.BILLING_INTERVAL_YEAR,
    }
)
ROLLOVERS = MappingProxyType(
    {
        Rollover.FULL: plan_pb2.ROLLOVER_TYPE_FULL,
        Rollover.NONE: plan_pb2.ROLLOVER_TYPE_NONE,
    }
)
SUBSCRIPTION_STATUSES = MappingProxyType(
    {
        SubscriptionStatus.ACTIVE: subscription_pb2.SUBSCRIPTION_STATUS_ACTIVE,
        SubscriptionStatus.CANCELLED: subscription_pb2.SUBSCRIPTION_STATUS_CANCELLED,
    }
)
SUBSCRIPTION_FILTERS = MappingProxyType(
    {
        SubscriptionFilter.ACTIVE: subscription_service_pb2.SUBSCRIPTION_FILTER_ACTIVE,
        SubscriptionFilter.CANCELLED: subscription_service_pb2.SUBSCRIPTION_FILTER_CANCELLED,
        SubscriptionFilter.ALL: subscription_service_pb2.SUBSCRIPTION_FILTER_ALL,
    }
)
PENDING_KINDS = MappingProxyType(
    {
        PendingKind.CANCELLATION: subscription_pb2.PENDING_CHANGE_TYPE_CANCELLATION,
        PendingKind.DOWNGRADE: subscription_pb2.PENDING_CHANGE_TYPE_DOWNGRADE,
    }
)

PROVIDER_KEY_STATUSES = MappingProxyType(
    {
        ProviderKeyStatus.ACTIVE: provider_key_pb2.PROVIDER_KEY_STATUS_ACTIVE,
        ProviderKeyStatus.PAUSED: provider_key_pb2.PROVIDER_KEY_STATUS_PAUSED,
    }
)


def read_enum(values: MappingProxyType[E, N], number: int, field: str) -> E | None:
    """The core's value; None where none is given, a refusal naming `field` for an unknown one."""
    if number == 0:
        return None
    for value, known in values.items():
        if known == number:
            return value
    raise invalid(field, "has a value that is not known")
