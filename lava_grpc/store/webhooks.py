"""Statements for webhooks."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, insert, select, update

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.webhooks import Webhook
from lava_grpc.store import schema
from lava_grpc.store.cursors import newest_first

_webhooks = schema.webhooks.c
_deliveries = schema.webhook_deliveries.c

_WEBHOOK = (
    _webhooks.merchant_id,
    _webhooks.webhook_id,
    _webhooks.name,
    _webhooks.url,
    _webhooks.low_balance,
    _webhooks.created_at,
)


def add(connection: Connection, webhook: Webhook, secret: str, *, webhooks_max: int) -> None:
    """Store a webhook with its secret. Refuses PERMISSION_DENIED past `webhooks_max`."""
    mine = _webhooks.merchant_id == webhook.merchant_id
    # Those who add at once wait for each other here, so that the count holds.
    merchant = select(schema.merchants.c.merchant_id).with_for_update()
    connection.execute(merchant.where(schema.merchants.c.merchant_id == webhook.merchant_id))
    count = connection.execute(select(func.count()).where(mine)).scalar_one()
    if count >= webhooks_max:
        raise Refusal(
            Reason.PERMISSION_DENIED,
            f"a merchant has at most {webhooks_max} webhooks; delete one first",
            facts={"webhooks_max": str(webhooks_max)},
        )
    connection.execute(
        insert(schema.webhooks).values(
            merchant_id=webhook.merchant_id,
            webhook_id=webhook.webhook_id,
            name=webhook.name,
            url=webhook.url,
            secret=secret,
            low_balance=webhook.low_balance,
            created_at=webhook.created_at,
        )
    )


def find(connection: Connection, merchant_id: str, webhook_id: str) -> Webhook | None:
    """The webhook."""
    query = select(*_WEBHOOK).where(
        _webhooks.merchant_id == merchant_id, _webhooks.webhook_id == webhook_id
    )
    row = connection.execute(query).first()
    return Webhook(*row) if row else None


def list_page(connection: Connection, merchant_id: str, page: Page) -> Slice[Webhook]:
    """Webhooks, newest first."""
    mine = _webhooks.merchant_id == merchant_id
    query = select(*_WEBHOOK)
    rows, cursor = newest_first(connection, query, _webhooks.webhook_id, page, mine)
    return Slice([Webhook(*row) for row in rows], cursor)


def change(
    connection: Connection, merchant_id: str, webhook_id: str, changes: Mapping[str, object]
) -> Webhook | None:
    """Set fields of `Webhook` by name; None where there is no such webhook."""
    if changes:
        connection.execute(
            update(schema.webhooks)
            .where(_webhooks.merchant_id == merchant_id, _webhooks.webhook_id == webhook_id)
            .values(dict(changes))
        )
    return find(connection, merchant_id, webhook_id)


def remove(connection: Connection, merchant_id: str, webhook_id: str) -> bool:
    """Delete a webhook, its secret and its deliveries; False where there is none."""
    done = connection.execute(
        delete(schema.webhooks).where(
            _webhooks.merchant_id == merchant_id, _webhooks.webhook_id == webhook_id
        )
    )
    connection.execute(
        delete(schema.webhook_deliveries).where(
            _deliveries.merchant_id == merchant_id, _deliveries.webhook_id == webhook_id
        )
    )
    return done.rowcount == 1
