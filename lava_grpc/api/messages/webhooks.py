"""Webhooks and their deliveries."""

from __future__ import annotations

from lava.v1 import webhook_pb2
from lava.v1 import webhook_service_pb2 as pb

from lava_grpc.api.messages.enums import DELIVERY_STATES
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.money import format_amount
from lava_grpc.core.webhooks import Delivery, Webhook

_CHANGEABLE = ("name", "url", "low_balance_threshold")


def to_changes(request: pb.UpdateWebhookRequest) -> dict[str, str | None]:
    """The fields to set: those in the mask, else those that are given. None clears one.

    A name in the mask that is no field that can change is left for the use case to refuse.
    """
    mask = request.update_mask.paths
    names = list(mask) or [name for name in _CHANGEABLE if request.HasField(name)]  # type: ignore[arg-type]
    return {name: _given(request, name) for name in names}


def _given(request: pb.UpdateWebhookRequest, name: str) -> str | None:
    if name not in _CHANGEABLE or not request.HasField(name):  # type: ignore[arg-type]
        return None
    value: str = getattr(request, name)
    return value


def from_webhook(webhook: Webhook, secret: str | None = None) -> webhook_pb2.Webhook:
    """The webhook as its merchant sees it; with its secret where it was just made."""
    low = webhook.low_balance
    return webhook_pb2.Webhook(
        webhook_id=webhook.webhook_id,
        name=webhook.name,
        url=webhook.url,
        webhook_secret=secret,
        low_balance_threshold=None if low is None else format_amount(low),
        created_at=to_timestamp(webhook.created_at),
    )


def from_delivery(delivery: Delivery) -> webhook_pb2.WebhookDelivery:
    """The delivery as its merchant sees it."""
    due, ended = delivery.due_at, delivery.ended_at
    return webhook_pb2.WebhookDelivery(
        delivery_id=delivery.delivery_id,
        webhook_id=delivery.webhook_id,
        event=delivery.event.value,
        customer_id=delivery.customer_id,
        state=DELIVERY_STATES[delivery.state],
        attempts=delivery.attempts,
        response_status=delivery.response_status,
        error=delivery.error,
        created_at=to_timestamp(delivery.created_at),
        next_attempt_at=None if due is None else to_timestamp(due),
        ended_at=None if ended is None else to_timestamp(ended),
    )
