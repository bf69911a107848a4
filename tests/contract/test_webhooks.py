"""Webhooks from end to end: made, told, signed, retried, sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from lava.v1 import webhook_pb2, webhook_service_pb2_grpc
from lava.v1 import webhook_service_pb2 as pb

from tests.support.receiver import Receiver, receiving
from tests.support.service import Running, running


@dataclass(slots=True)
class Hooked:
    """A service and a receiver that it may reach."""

    service: Running
    receiver: Receiver

    async def webhook(self, path: str = "/hook", **given: object) -> dict[str, Any]:
        """A new webhook on the receiver."""
        made: dict[str, Any] = await self.service.rest(
            "POST", "/v1/webhooks", {"name": "Hook", "url": self.receiver.base_url + path, **given}
        )
        return made

    async def deliveries(self, webhook_id: str, query: str = "") -> list[dict[str, Any]]:
        """A webhook's deliveries, newest first."""
        path = f"/v1/webhooks/{webhook_id}/deliveries{query}"
        found: list[dict[str, Any]] = (await self.service.rest("GET", path))["data"]
        return found


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - the API tells nobody
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def hooked(sqlite_url: str) -> AsyncIterator[Hooked]:
    async with receiving() as receiver:
        hosts = {receiver.host}
        async with running(sqlite_url, webhook_hosts=hosts, webhook_poll_seconds=0.02) as service:
            yield Hooked(service, receiver)


async def test_a_webhook_is_made_found_changed_and_deleted(hooked: Hooked) -> None:
    made = await hooked.webhook()
    assert made["webhook_id"].startswith("wh_test_")
    assert made["webhook_secret"].startswith("whsec_")
    assert set(made) == {"webhook_id", "name", "url", "webhook_secret", "created_at"}
    path = f"/v1/webhooks/{made['webhook_id']}"
    shown = {key: value for key, value in made.items() if key != "webhook_secret"}
    rest = hooked.service.rest
    assert await rest("GET", path) == shown
    listed = await rest("GET", "/v1/webhooks")
    assert listed == {"data": [shown], "has_more": False, "next_cursor": None}
    changed = await rest("PATCH", path, {"name": "New", "low_balance_threshold": "5"})
    assert changed == {**shown, "name": "New", "low_balance_threshold": "5.0000000000"}
    cleared = await rest("PATCH", path, {"low_balance_threshold": None})
    assert cleared == {**shown, "name": "New"}
    assert await rest("DELETE", path) == {"id": made["webhook_id"], "deleted": True}
    assert (await hooked.service.http.get(path)).status_code == 404


async def test_a_repeated_creation_shows_no_secret_again(hooked: Hooked) -> None:
    given = {"name": "Hook", "url": "https://example.com/"}
    header = {"Idempotency-Key": "make the hook"}
    first = await hooked.service.http.post("/v1/webhooks", json=given, headers=header)
    again = await hooked.service.http.post("/v1/webhooks", json=given, headers=header)
    assert (first.status_code, again.status_code) == (200, 409)
    assert "whsec_" not in again.text
    assert len((await hooked.service.rest("GET", "/v1/webhooks"))["data"]) == 1


async def test_the_same_over_grpc(hooked: Hooked) -> None:
    stub: Any = webhook_service_pb2_grpc.WebhookServiceStub(hooked.service.channel)
    new = pb.CreateWebhookRequest(name="Hook", url="https://example.com/hook")
    sent = {"metadata": hooked.service.metadata}
    made = (await stub.CreateWebhook(new, **sent)).webhook
    assert made.HasField("webhook_secret")
    get = pb.GetWebhookRequest(webhook_id=made.webhook_id)
    found = (await stub.GetWebhook(get, **sent)).webhook
    assert not found.HasField("webhook_secret")
    assert list((await stub.ListWebhooks(pb.ListWebhooksRequest(), **sent)).data) == [found]
    update = pb.UpdateWebhookRequest(webhook_id=made.webhook_id, url="https://example.com/2")
    assert (await stub.UpdateWebhook(update, **sent)).webhook.url == "https://example.com/2"
    delete = pb.DeleteWebhookRequest(webhook_id=made.webhook_id)
    assert (await stub.DeleteWebhook(delete, **sent)).deleted


async def test_events_arrive_in_order_signed_with_the_customer(hooked: Hooked) -> None:
    made = await hooked.webhook(low_balance_threshold="1")
    rest = hooked.service.rest
    ident = await hooked.service.customer(reference_id="ada", name="Ada Lovelace")
    await hooked.receiver.until(1)
    await rest("POST", f"/v1/customers/{ident}/credit_grants", {"amount": "3", "source": "top_up"})
    await hooked.receiver.until(3)
    await hooked.service.meter("calls", "2.5", kind="requests")
    call = {"customer_id": "ada", "meter_slug": "calls"}
    await rest("POST", "/v1/requests", {"request_id": "r1", **call})
    await hooked.receiver.until(5)
    await rest("POST", "/v1/requests", {"request_id": "r2", **call})
    await hooked.receiver.until(7)
    customer = await rest("GET", f"/v1/customers/{ident}")
    await rest("DELETE", f"/v1/customers/{ident}")
    received = await hooked.receiver.until(8)
    assert [delivery.event for delivery in received] == [
        "customer.created",
        "customer.wallet.topped_up",
        "customer.wallet.balance.updated",
        "customer.wallet.balance.updated",
        "customer.wallet.balance.low",
        "customer.wallet.balance.updated",
        "customer.wallet.credit.exhausted",
        "customer.deleted",
    ]
    for delivery in received:
        delivery.check(made["webhook_secret"])
        assert delivery.path == "/hook"
        assert delivery.body["data"] == customer
    assert received[4].body["details"] == {"balance": "0.5000000000"}
    assert received[5].body["details"] == {"balance": "-2.0000000000"}
    assert received[0].body == {"event": "customer.created", "data": customer}
    assert len({delivery.headers["webhook-id"] for delivery in received}) == 8


async def test_a_failure_is_listed_and_sent_again_as_it_was(hooked: Hooked) -> None:
    made = await hooked.webhook()
    hooked.receiver.statuses = [500]
    await hooked.service.customer(reference_id="ada")
    await hooked.receiver.until(1)
    webhook_id = made["webhook_id"]

    async def noted() -> bool:
        (delivery,) = await hooked.deliveries(webhook_id)
        return bool(delivery["response_status"] == 500)

    await eventually(noted)
    (failed,) = await hooked.deliveries(webhook_id, "?state=pending")
    assert (failed["attempts"], failed["error"]) == (1, "answered 500")
    assert (failed["event"], failed["ended_at"]) == ("customer.created", None)
    path = f"/v1/webhooks/{webhook_id}/deliveries/{failed['delivery_id']}/redeliver"
    again = await hooked.service.rest("POST", path)
    assert (again["state"], again["error"]) == ("pending", None)
    first, second = await hooked.receiver.until(2)
    second.check(made["webhook_secret"])
    assert first.raw == second.raw
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == failed["delivery_id"]

    async def delivered() -> bool:
        return bool(await hooked.deliveries(webhook_id, "?state=delivered"))

    await eventually(delivered)
    assert await hooked.deliveries(webhook_id, "?state=failed") == []


async def test_what_one_process_left_the_next_one_delivers(sqlite_url: str) -> None:
    async with receiving() as receiver:
        hosts = {receiver.host}
        # It looks at its outbox once, before there is anything in it.
        async with running(sqlite_url, webhook_hosts=hosts, webhook_poll_seconds=60) as first:
            given = {"name": "Hook", "url": receiver.base_url}
            made = await first.rest("POST", "/v1/webhooks", given)
            ident = await first.customer()
        assert receiver.received == []
        async with running(sqlite_url, webhook_hosts=hosts, webhook_poll_seconds=0.02):
            (delivery,) = await receiver.until(1)
            delivery.check(made["webhook_secret"])
            assert delivery.body["data"]["customer_id"] == ident


@pytest.mark.parametrize("url", ["http://example.com/", "https://10.0.0.1/", "https://localhost/"])
async def test_an_address_within_is_refused(hooked: Hooked, url: str) -> None:
    answer = await hooked.service.http.post("/v1/webhooks", json={"name": "Hook", "url": url})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_field"


def test_states_have_the_names_that_the_filter_takes() -> None:
    names = webhook_pb2.WebhookDeliveryState.keys()
    assert [name.removeprefix("WEBHOOK_DELIVERY_STATE_").lower() for name in names] == [
        "unspecified",
        "pending",
        "delivered",
        "failed",
    ]
