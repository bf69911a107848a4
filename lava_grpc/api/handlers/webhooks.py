"""WebhookService."""

from __future__ import annotations

from lava.v1 import webhook_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import pages, webhooks
from lava_grpc.api.messages.enums import DELIVERY_STATES, read_enum
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.webhooks import Webhooks


class WebhookHandlers:
    """The merchant's webhooks and their deliveries."""

    def __init__(self, webhooks_use_case: Webhooks) -> None:
        self._webhooks = webhooks_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.WebhookService"
        return {
            f"{service}/CreateWebhook": self.create,
            f"{service}/ListWebhooks": self.list,
            f"{service}/GetWebhook": self.get,
            f"{service}/UpdateWebhook": self.update,
            f"{service}/DeleteWebhook": self.delete,
            f"{service}/ListWebhookDeliveries": self.list_deliveries,
            f"{service}/RedeliverWebhook": self.redeliver,
        }

    async def create(
        self, request: pb.CreateWebhookRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreateWebhookResponse:
        """Make a webhook."""
        given = request.HasField("low_balance_threshold")
        webhook, secret = await self._webhooks.create(
            principal,
            name=request.name,
            url=request.url,
            low_balance=request.low_balance_threshold if given else None,
        )
        return pb.CreateWebhookResponse(webhook=webhooks.from_webhook(webhook, secret))

    async def list(
        self, request: pb.ListWebhooksRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListWebhooksResponse:
        """A page of webhooks."""
        found = await self._webhooks.list(principal, pages.to_page(request))
        return pb.ListWebhooksResponse(
            data=[webhooks.from_webhook(webhook) for webhook in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get(
        self, request: pb.GetWebhookRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetWebhookResponse:
        """One webhook."""
        webhook = await self._webhooks.get(principal, _webhook_id(request))
        return pb.GetWebhookResponse(webhook=webhooks.from_webhook(webhook))

    async def update(
        self, request: pb.UpdateWebhookRequest, principal: Principal, _deadline: float | None
    ) -> pb.UpdateWebhookResponse:
        """Change a webhook."""
        changes = webhooks.to_changes(request)
        webhook = await self._webhooks.update(principal, _webhook_id(request), changes)
        return pb.UpdateWebhookResponse(webhook=webhooks.from_webhook(webhook))

    async def delete(
        self, request: pb.DeleteWebhookRequest, principal: Principal, _deadline: float | None
    ) -> pb.DeleteWebhookResponse:
        """Delete a webhook."""
        webhook_id = _webhook_id(request)
        await self._webhooks.delete(principal, webhook_id)
        return pb.DeleteWebhookResponse(id=webhook_id, deleted=True)

    async def list_deliveries(
        self,
        request: pb.ListWebhookDeliveriesRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> pb.ListWebhookDeliveriesResponse:
        """A page of a webhook's deliveries."""
        found = await self._webhooks.deliveries(
            principal,
            _webhook_id(request),
            pages.to_page(request),
            read_enum(DELIVERY_STATES, request.state, "state"),
        )
        return pb.ListWebhookDeliveriesResponse(
            data=[webhooks.from_delivery(delivery) for delivery in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def redeliver(
        self, request: pb.RedeliverWebhookRequest, principal: Principal, _deadline: float | None
    ) -> pb.RedeliverWebhookResponse:
        """Send a delivery again."""
        delivery_id = check_text(request.delivery_id, "delivery_id")
        delivery = await self._webhooks.redeliver(principal, _webhook_id(request), delivery_id)
        return pb.RedeliverWebhookResponse(delivery=webhooks.from_delivery(delivery))


def _webhook_id(
    request: pb.GetWebhookRequest
    | pb.UpdateWebhookRequest
    | pb.DeleteWebhookRequest
    | pb.ListWebhookDeliveriesRequest
    | pb.RedeliverWebhookRequest,
) -> str:
    return check_text(request.webhook_id, "webhook_id")
