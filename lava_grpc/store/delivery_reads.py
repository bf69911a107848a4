"""Statements for a merchant's view of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from lava_grpc.core.page import Page, Slice
from lava_grpc.core.time import Instant
from lava_grpc.core.webhooks import Delivery, DeliveryState, Event
from lava_grpc.store import schema
from lava_grpc.store.cursors import newest_first

_deliveries = schema.webhook_deliveries.c

_DELIVERY = (
    _deliveries.merchant_id,
    _deliveries.delivery_id,
    _deliveries.webhook_id,
    _deliveries.event,
    _deliveries.customer_id,
    _deliveries.state,
    _deliveries.attempts,
    _deliveries.response_status,
    _deliveries.error,
    _deliveries.created_at,
    _deliveries.due_at,
    _deliveries.ended_at,
)


def list_page(
    connection: Connection,
    merchant_id: str,
    webhook_id: str,
    page: Page,
    state: DeliveryState | None,
) -> Slice[Delivery]:
    """A webhook's deliveries, newest first."""
    query = select(*_DELIVERY)
    if state is not None:
        query = query.where(_deliveries.state == state.value)
    scope = (_deliveries.merchant_id == merchant_id, _deliveries.webhook_id == webhook_id)
    rows, cursor = newest_first(connection, query, _deliveries.delivery_id, page, *scope)
    return Slice([_delivery_of(row) for row in rows], cursor)


def send_again(
    connection: Connection, merchant_id: str, webhook_id: str, delivery_id: str, at: Instant
) -> Delivery | None:
    """Make a delivery due, with all its attempts before it; None where there is none."""
    this = (
        _deliveries.merchant_id == merchant_id,
        _deliveries.webhook_id == webhook_id,
        _deliveries.delivery_id == delivery_id,
    )
    connection.execute(
        update(schema.webhook_deliveries)
        .where(*this)
        .values(state=DeliveryState.PENDING.value, attempts=0, due_at=at, ended_at=None, error=None)
    )
    row = connection.execute(select(*_DELIVERY).where(*this)).first()
    return _delivery_of(row) if row else None


def _delivery_of(row: Sequence[Any]) -> Delivery:
    values = list(row)
    values[3] = Event(values[3])
    values[5] = DeliveryState(values[5])
    return Delivery(*values)
