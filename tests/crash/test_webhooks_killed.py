"""Events of a server that was killed: those that waited, and those that were on their way."""

from __future__ import annotations

from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import webhook_service_pb2 as webhooks

from lava_grpc import config
from lava_grpc.app.clock import SystemClock
from lava_grpc.app.service import Service
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.gateway.webhook_delivery import DeliveryBounds
from tests.support.process import calling, init, serving
from tests.support.receiver import receiving


class Later:
    """The machine's clock, when every lease that was taken until now has ended."""

    def now(self) -> Instant:
        """See `core.time.Clock.now`."""
        return SystemClock().now() + 2 * DeliveryBounds().lease_seconds * SECOND


async def test_every_event_of_an_acknowledged_change_arrives(database_url: str) -> None:
    merchant = await init(database_url)
    async with receiving() as receiver:
        settings = {"webhook_hosts": receiver.host, "webhook_poll_seconds": 0.02}
        async with (
            serving(database_url, **settings) as server,
            calling(server.grpc_address, merchant) as caller,
        ):
            new = webhooks.CreateWebhookRequest(name="Hook", url=receiver.base_url)
            hook = (await caller.call("WebhookService/CreateWebhook", new)).webhook
            receiver.silent = True
            made = customers.CreateCustomerRequest(reference_id="ada")
            await caller.call("CustomerService/CreateCustomer", made)
            # On its way: it has arrived, and the server will never hear that it has.
            await receiver.until(1)
            # Behind it: held back, since they are the same customer's.
            grant = credit.CreateCreditGrantRequest(
                customer_id="ada", amount="5", request_id="first"
            )
            await caller.call("CreditService/CreateCreditGrant", grant)
            delete = customers.DeleteCustomerRequest(customer_id="ada")
            await caller.call("CustomerService/DeleteCustomer", delete)
            await server.kill9()
        receiver.silent = False
        loaded = config.load(
            {
                "database_url": database_url,
                "grpc_address": "127.0.0.1:0",
                "http_address": "",
                **settings,
            }
        )
        service = Service(loaded, Later())
        await service.start()
        try:
            received = await receiver.until(5)
        finally:
            await service.stop()
    assert [delivery.event for delivery in received] == [
        "customer.created",
        "customer.created",
        "customer.wallet.topped_up",
        "customer.wallet.balance.updated",
        "customer.deleted",
    ]
    for delivery in received:
        delivery.check(hook.webhook_secret)
    first, again = received[:2]
    assert first.raw == again.raw
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
