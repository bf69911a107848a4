"""Short ways to fill an outbox and to take from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lava_grpc.core.page import Page
from lava_grpc.core.time import SECOND
from lava_grpc.core.webhooks import Attempted, Delivery, Event, Outgoing, Told, Webhook
from lava_grpc.store.webhook_store import StoreWebhooks
from tests.integration.store.world import MERCHANT, START, World

LEASE = 60 * SECOND
NOBODY: Mapping[str, int] = {}


def spelled(told: Told) -> str:
    """A body that tells what it was made from."""
    who = told.customer.customer_id if told.customer else "nobody"
    return f"{told.event.value} {who} {told.details}"


@dataclass(slots=True)
class OutboxWorld:
    """A merchant's outbox."""

    world: World
    store: StoreWebhooks = field(init=False)

    def __post_init__(self) -> None:
        self.store = StoreWebhooks(self.world.database)

    async def webhook(
        self,
        webhook_id: str = "wh_1",
        *,
        low_balance: int | None = None,
        merchant_id: str = MERCHANT,
    ) -> None:
        """A webhook; its secret is its id."""
        url = f"https://{webhook_id.replace('_', '-')}.example.com/"
        made = Webhook(merchant_id, webhook_id, "Hook", url, low_balance, START)
        await self.store.add(made, webhook_id, webhooks_max=3)

    async def take(
        self, room: int = 10, per_webhook: int = 10, in_flight: Mapping[str, int] = NOBODY
    ) -> list[Outgoing]:
        """What may be sent now."""
        return await self.store.take(
            self.world.clock.now(),
            render=spelled,
            lease=LEASE,
            room=room,
            per_webhook=per_webhook,
            in_flight=in_flight,
        )

    async def drain(self) -> list[str]:
        """Deliver all that is due; the bodies in order."""
        bodies: list[str] = []
        while taken := await self.take():
            for outgoing in taken:
                bodies.append(outgoing.body)
                await self.end(outgoing)
        return bodies

    async def end(self, sent: Outgoing, status: int | None = 200, error: str | None = None) -> None:
        """Note what became of an attempt."""
        await self.store.finish(sent, Attempted(status, error), self.world.clock.now())

    async def deliveries(self, webhook_id: str = "wh_1") -> list[Delivery]:
        """All of a webhook's, oldest first."""
        page = await self.store.list_deliveries(MERCHANT, webhook_id, Page(None, 100), None)
        return list(reversed(page.items))

    async def events(self, webhook_id: str = "wh_1") -> list[tuple[Event, str | None]]:
        """What a webhook is told, and about whom, oldest first."""
        return [(d.event, d.customer_id) for d in await self.deliveries(webhook_id)]

    def later(self, seconds: float) -> None:
        """Move the clock on."""
        self.world.clock.instant += int(seconds * SECOND)
