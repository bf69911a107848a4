"""Webhooks put together: what merchants manage, and the worker that delivers."""

from __future__ import annotations

import json

from lava_grpc import config
from lava_grpc.api.messages.customers import from_customer
from lava_grpc.core.ids import IdSource
from lava_grpc.core.time import Clock
from lava_grpc.core.webhooks import Told
from lava_grpc.gateway.webhook_delivery import Deliverer, DeliveryBounds
from lava_grpc.gateway.webhook_sender import HttpSender
from lava_grpc.gateway.webhooks import Webhooks
from lava_grpc.rest import json_writer
from lava_grpc.store.database import Database
from lava_grpc.store.webhook_store import StoreWebhooks


class WebhookParts:
    """The use case, and what sends: started and stopped with the service."""

    def __init__(
        self, settings: config.Settings, database: Database, *, clock: Clock, ids: IdSource
    ) -> None:
        store = StoreWebhooks(database)
        hosts = settings.webhook_hosts
        self.use_case = Webhooks(store, clock=clock, ids=ids, private_hosts=hosts)
        self._grace_seconds = settings.shutdown_seconds
        self._sender = HttpSender(hosts)
        bounds = DeliveryBounds(poll_seconds=settings.webhook_poll_seconds)
        self._deliverer = Deliverer(store, self._sender, clock, render, bounds)

    async def start(self) -> None:
        """Begin to deliver."""
        await self._sender.start()
        self._deliverer.start()

    async def stop(self) -> None:
        """Stop delivering; what is not sent is sent by whoever starts next."""
        await self._deliverer.stop(self._grace_seconds)
        await self._sender.close()


def render(told: Told) -> str:
    """The body: the event, the customer as the API shows it, and `details` where there are any."""
    customer = told.customer
    data = None if customer is None else json_writer.to_plain(from_customer(customer))
    body: dict[str, object] = {"event": told.event.value, "data": data}
    details = json.loads(told.details)
    if details:
        body["details"] = details
    return json_writer.dump(body).decode()
