"""Puts what management changes into the outbox, in the change's own transaction."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, literal, select

from lava_grpc.core.ids import encode_ulid
from lava_grpc.core.time import Instant
from lava_grpc.core.webhooks import DeliveryState, Event
from lava_grpc.store import schema
from lava_grpc.store.rows import DELIVERY_ID_PREFIX

_webhooks = schema.webhooks.c
_deliveries = schema.webhook_deliveries.c


def tell(
    connection: Connection, merchant_id: str, customer_id: str, event: Event, at: Instant
) -> None:
    """Put an event about a customer into the outbox, for each webhook of the merchant."""
    delivery_id = f"{DELIVERY_ID_PREFIX}{encode_ulid(at // 1000, secrets.randbits(79))}"
    columns: dict[str, ColumnElement[Any]] = {
        "merchant_id": _webhooks.merchant_id,
        "webhook_id": _webhooks.webhook_id,
        "delivery_id": literal(delivery_id),
        "customer_id": literal(customer_id),
        "event": literal(event.value),
        "details": literal("{}"),
        "state": literal(DeliveryState.PENDING.value),
        "attempts": literal(0),
        "due_at": literal(at, _deliveries.due_at.type),
        "created_at": literal(at, _deliveries.created_at.type),
    }
    each = select(*columns.values()).where(_webhooks.merchant_id == merchant_id)
    connection.execute(insert(schema.webhook_deliveries).from_select(list(columns), each))
