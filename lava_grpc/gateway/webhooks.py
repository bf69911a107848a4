"""The merchant's webhooks, and what became of their deliveries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from lava_grpc.core.errors import Refusal, invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import Amount, parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.time import Clock, Instant
from lava_grpc.core.webhooks import Delivery, DeliveryState, Webhook
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.webhook_signing import new_secret
from lava_grpc.gateway.webhook_urls import check_url

WEBHOOKS_MAX = 20
"""How many webhooks a merchant has at most: each event goes to all of them."""

ID_PREFIX = "wh_"
_THRESHOLD = "low_balance_threshold"


class WebhookStore(Protocol):
    """Where webhooks and deliveries are kept. A look-up gives None for what is not there."""

    async def add(self, webhook: Webhook, secret: str, *, webhooks_max: int) -> None:
        """Store a webhook with its secret. Refuses PERMISSION_DENIED past `webhooks_max`."""
        ...

    async def find(self, merchant_id: str, webhook_id: str) -> Webhook | None:
        """The webhook."""
        ...

    async def list_page(self, merchant_id: str, page: Page) -> Slice[Webhook]:
        """Webhooks, newest first."""
        ...

    async def change(
        self, merchant_id: str, webhook_id: str, changes: Mapping[str, object]
    ) -> Webhook | None:
        """Set fields of `Webhook` by name."""
        ...

    async def remove(self, merchant_id: str, webhook_id: str) -> bool:
        """Delete a webhook, its secret and its deliveries; False where there is none."""
        ...

    async def list_deliveries(
        self, merchant_id: str, webhook_id: str, page: Page, state: DeliveryState | None
    ) -> Slice[Delivery]:
        """A webhook's deliveries, newest first."""
        ...

    async def send_again(
        self, merchant_id: str, webhook_id: str, delivery_id: str, at: Instant
    ) -> Delivery | None:
        """Make a delivery due at `at`, as if it had never been sent."""
        ...


class Webhooks:
    """Creates, reads, changes and deletes webhooks; lists deliveries and sends them again.

    `private_hosts` are the hosts that the operator lets webhooks name although
    they are not on the public internet.
    """

    def __init__(
        self,
        store: WebhookStore,
        *,
        clock: Clock,
        ids: IdSource,
        private_hosts: Collection[str] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._private_hosts = private_hosts

    async def create(
        self, principal: Principal, *, name: str, url: str, low_balance: str | None
    ) -> tuple[Webhook, str]:
        """A webhook and its secret, which is never shown again."""
        now = self._clock.now()
        webhook = Webhook(
            merchant_id=principal.merchant_id,
            webhook_id=f"{ID_PREFIX}{principal.prefix}{self._ids.ulid(now)}",
            name=check_text(name, "name"),
            url=check_url(url, self._private_hosts),
            low_balance=_threshold(low_balance),
            created_at=now,
        )
        secret = new_secret()
        await self._store.add(webhook, secret, webhooks_max=WEBHOOKS_MAX)
        return webhook, secret

    async def get(self, principal: Principal, webhook_id: str) -> Webhook:
        """The webhook; refuses NOT_FOUND."""
        return _found(await self._store.find(principal.merchant_id, webhook_id), webhook_id)

    async def list(self, principal: Principal, page: Page) -> Slice[Webhook]:
        """Webhooks, newest first."""
        return await self._store.list_page(principal.merchant_id, page)

    async def update(
        self, principal: Principal, webhook_id: str, changes: Mapping[str, str | None]
    ) -> Webhook:
        """Set `name`, `url` and `low_balance_threshold`, which None clears. Refuses NOT_FOUND."""
        checked: dict[str, object] = {}
        for name, value in changes.items():
            match name:
                case "name":
                    checked["name"] = check_text(value or "", "name")
                case "url":
                    checked["url"] = check_url(value or "", self._private_hosts)
                case "low_balance_threshold":
                    checked["low_balance"] = _threshold(value)
                case _:
                    raise invalid("update_mask", f"names '{name[:80]}', which cannot be changed")
        changed = await self._store.change(principal.merchant_id, webhook_id, checked)
        return _found(changed, webhook_id)

    async def delete(self, principal: Principal, webhook_id: str) -> None:
        """Delete a webhook, and whatever of it was still to be sent. Refuses NOT_FOUND."""
        if not await self._store.remove(principal.merchant_id, webhook_id):
            raise _missing(webhook_id)

    async def deliveries(
        self, principal: Principal, webhook_id: str, page: Page, state: DeliveryState | None
    ) -> Slice[Delivery]:
        """A webhook's deliveries, newest first. Refuses NOT_FOUND."""
        await self.get(principal, webhook_id)
        return await self._store.list_deliveries(principal.merchant_id, webhook_id, page, state)

    async def redeliver(self, principal: Principal, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again, with the same id and body. Refuses NOT_FOUND."""
        now = self._clock.now()
        merchant_id = principal.merchant_id
        found = await self._store.send_again(merchant_id, webhook_id, delivery_id, now)
        if found is None:
            raise not_found("delivery", delivery_id, field="delivery_id")
        return found


def _threshold(text: str | None) -> Amount | None:
    return None if text is None else parse_amount(text, _THRESHOLD)


def _found(webhook: Webhook | None, webhook_id: str) -> Webhook:
    if webhook is None:
        raise _missing(webhook_id)
    return webhook


def _missing(webhook_id: str) -> Refusal:
    return not_found("webhook", webhook_id, field="webhook_id")
