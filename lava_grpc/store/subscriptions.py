"""Queries for subscriptions. The ledger alone writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, select

from lava_grpc.core.page import Page, Slice
from lava_grpc.core.plans import Enrolment, Subscription, SubscriptionStatus
from lava_grpc.store import rows, schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.sql import PLAN_COLUMNS, SUBSCRIPTION_COLUMNS

_subscriptions = schema.subscriptions.c
_plans = schema.plans.c

_SUBSCRIPTION = [_subscriptions[name] for name in SUBSCRIPTION_COLUMNS]
_PLAN = [_plans[name] for name in PLAN_COLUMNS]


def find(connection: Connection, merchant_id: str, subscription_id: str) -> Enrolment | None:
    """The subscription with this id, active or over."""
    query = select(*_SUBSCRIPTION).where(
        _subscriptions.merchant_id == merchant_id,
        _subscriptions.subscription_id == subscription_id,
    )
    return _first(connection, merchant_id, connection.execute(query).first())


def active(connection: Connection, merchant_id: str, customer_id: str) -> Enrolment | None:
    """The customer's active subscription."""
    query = select(*_SUBSCRIPTION).where(
        _subscriptions.merchant_id == merchant_id,
        _subscriptions.customer_id == customer_id,
        _subscriptions.status == SubscriptionStatus.ACTIVE.value,
    )
    return _first(connection, merchant_id, connection.execute(query).first())


def list_page(
    connection: Connection,
    merchant_id: str,
    page: Page,
    *,
    status: SubscriptionStatus | None,
    customer_id: str | None,
) -> Slice[Enrolment]:
    """Subscriptions, newest first; with one status, or with either."""
    scope = [_subscriptions.merchant_id == merchant_id]
    if status is not None:
        scope.append(_subscriptions.status == status.value)
    if customer_id is not None:
        scope.append(_subscriptions.customer_id == customer_id)
    found, cursor = newest_first(
        connection,
        select(*_SUBSCRIPTION),
        _subscriptions.subscription_id,
        page,
        *scope,
        ids_first=customer_id is not None,
    )
    listed = [rows.subscription_of(tuple(row)) for row in found]
    return Slice(_with_plans(connection, merchant_id, listed), cursor)


def _first(connection: Connection, merchant_id: str, row: Any) -> Enrolment | None:  # noqa: ANN401
    if row is None:
        return None
    return _with_plans(connection, merchant_id, [rows.subscription_of(tuple(row))])[0]


def _with_plans(
    connection: Connection, merchant_id: str, found: Sequence[Subscription]
) -> list[Enrolment]:
    """Subscriptions with their plans and those that are to follow, deleted ones too."""
    wanted = {row.plan_id for row in found}
    wanted |= {row.pending_plan_id for row in found if row.pending_plan_id is not None}
    query = select(*_PLAN).where(
        and_(_plans.merchant_id == merchant_id, _plans.plan_id.in_(wanted))
    )
    plans = {row.plan_id: rows.plan_of(tuple(row)) for row in connection.execute(query)}
    return [
        Enrolment(row, plans[row.plan_id], plans.get(row.pending_plan_id or ""), None)
        for row in found
    ]
