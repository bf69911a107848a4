"""Webhooks and their deliveries. See `gateway.webhooks` and `gateway.webhook_delivery`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from lava_grpc.core.page import Page, Slice
from lava_grpc.core.time import Instant
from lava_grpc.core.webhooks import Attempted, Delivery, DeliveryState, Outgoing, Told, Webhook
from lava_grpc.store import delivery_reads, outbox, webhooks
from lava_grpc.store.database import Database


class StoreWebhooks:
    """Runs each statement of its siblings in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, webhook: Webhook, secret: str, *, webhooks_max: int) -> None:
        """Store a webhook with its secret. Refuses PERMISSION_DENIED past `webhooks_max`."""
        await self._database.write(
            lambda c: webhooks.add(c, webhook, secret, webhooks_max=webhooks_max)
        )

    async def find(self, merchant_id: str, webhook_id: str) -> Webhook | None:
        """The webhook."""
        return await self._database.read(lambda c: webhooks.find(c, merchant_id, webhook_id))

    async def list_page(self, merchant_id: str, page: Page) -> Slice[Webhook]:
        """Webhooks, newest first."""
        return await self._database.read(lambda c: webhooks.list_page(c, merchant_id, page))

    async def change(
        self, merchant_id: str, webhook_id: str, changes: Mapping[str, object]
    ) -> Webhook | None:
        """Set fields of `Webhook` by name; None where there is no such webhook."""
        return await self._database.write(
            lambda c: webhooks.change(c, merchant_id, webhook_id, changes)
        )

    async def remove(self, merchant_id: str, webhook_id: str) -> bool:
        """Delete a webhook and its deliveries; False where there is none."""
        return await self._database.write(lambda c: webhooks.remove(c, merchant_id, webhook_id))

    async def list_deliveries(
        self, merchant_id: str, webhook_id: str, page: Page, state: DeliveryState | None
    ) -> Slice[Delivery]:
        """A webhook's deliveries, newest first."""
        return await self._database.read(
            lambda c: delivery_reads.list_page(c, merchant_id, webhook_id, page, state)
        )

    async def send_again(
        self, merchant_id: str, webhook_id: str, delivery_id: str, at: Instant
    ) -> Delivery | None:
        """Make a delivery due, with all its attempts before it; None where there is none."""
        return await self._database.write(
            lambda c: delivery_reads.send_again(c, merchant_id, webhook_id, delivery_id, at)
        )

    async def take(
        self,
        now: Instant,
        *,
        render: Callable[[Told], str],
        lease: Instant,
        room: int,
        per_webhook: int,
        in_flight: Mapping[str, int],
    ) -> list[Outgoing]:
        """See `outbox.take`. Writes nothing where nothing is due."""
        if not await self._database.read(lambda c: outbox.has_due(c, now)):
            return []

        def work(connection: Connection) -> list[Outgoing]:
            return outbox.take(
                connection,
                now,
                render=render,
                lease=lease,
                room=room,
                per_webhook=per_webhook,
                in_flight=in_flight,
            )

        return await self._database.write(work)

    async def finish(self, sent: Outgoing, became: Attempted, now: Instant) -> None:
        """Note what became of an attempt."""
        await self._database.write(lambda c: outbox.finish(c, sent, became, now))

    async def prune(self, now: Instant) -> int:
        """Remove deliveries that are old; how many, up to a bound."""
        if not await self._database.read(lambda c: outbox.has_old(c, now)):
            return 0
        return await self._database.write(lambda c: outbox.prune(c, now))
