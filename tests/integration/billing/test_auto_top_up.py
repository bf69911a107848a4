"""Auto top-up once credit has fallen below a set amount, on each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import httpx
import pytest

from lava_grpc import config
from lava_grpc.app.service import Service
from lava_grpc.core.payments import Payment, PaymentKind
from lava_grpc.gateway.payment_providers import ProviderAnswer, TestProvider
from tests.integration.billing.calendar import Calendar, Shop, until
from tests.support.service import running

Look: TypeAlias = Callable[[], Awaitable[list[dict[str, Any]]]]
BUNDLE = [{"name": "S", "cost": "5", "credit_amount": "6"}]


def payments_of(shop: Shop, customer: str) -> Look:
    return lambda: shop.payments(customer)


def all_ended(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda found: len(found) == count and all(one["state"] != "open" for one in found)


async def on_plan(shop: Shop, **facts: object) -> str:
    """A customer with 10 of credit whose auto top-up buys 6 at a time."""
    customer = await shop.lava.customer()
    plan = await shop.plan(
        **{
            "included_credit": "10",
            "credit_bundles": BUNDLE,
            "default_auto_top_up_bundle_index": 0,
            **facts,
        }
    )
    await shop.subscribe(customer, plan)
    return customer


async def test_one_bundle_is_bought_once_credit_falls_below_the_threshold(
    database_url: str,
) -> None:
    async with running(database_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer = await on_plan(shop, default_auto_top_up_threshold="4")
        found = await shop.subscription(customer)
        assert found["auto_top_up_threshold"] == "4.0000000000"
        assert await shop.reserve(customer, "6") == 200
        await lava.service.billing.top_ups.idle()
        assert await shop.payments(customer) == []
        # All of these are below it, and more come while the first purchase runs.
        answers = await asyncio.gather(*[shop.reserve(customer, "0.01") for _ in range(50)])
        assert set(answers) == {200}
        await until(payments_of(shop, customer), all_ended(1))
        await lava.service.billing.top_ups.idle()
        (payment,) = await shop.payments(customer)
        assert (payment["kind"], payment["state"]) == ("auto_top_up", "succeeded")
        assert (await lava.balance(customer))["available"] == "9.5000000000"
        await lava.verified()


async def test_usage_that_is_reported_calls_for_it_too(database_url: str) -> None:
    async with running(database_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer = await on_plan(shop)
        await lava.meter("calls", "5", kind="requests")
        await shop.report(customer, 1, "calls")
        await lava.service.billing.top_ups.idle()
        assert await shop.payments(customer) == []
        # Without a threshold: once nothing is left, before anybody is refused.
        await shop.report(customer, 1, "calls")
        await until(payments_of(shop, customer), all_ended(1))
        assert await shop.reserve(customer, "6") == 200
        await lava.verified()


async def test_a_bundle_is_bought_again_each_time_credit_is_low(sqlite_url: str) -> None:
    async with running(sqlite_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer = await on_plan(shop, default_auto_top_up_threshold="3")
        for count in (1, 2, 3):
            assert await shop.reserve(customer, "8" if count == 1 else "6") == 200
            await until(payments_of(shop, customer), all_ended(count))
        await lava.verified()


async def test_a_threshold_above_a_bundle_does_not_buy_without_end(sqlite_url: str) -> None:
    async with running(sqlite_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer = await on_plan(shop, default_auto_top_up_threshold="1000000")
        assert await shop.reserve(customer, "1") == 200
        await lava.service.billing.top_ups.idle()
        assert await shop.payments(customer) == []
        assert await shop.reserve(customer, "4") == 200
        await until(payments_of(shop, customer), all_ended(1))
        assert await shop.reserve(customer, "1") == 200
        await lava.service.billing.top_ups.idle()
        assert len(await shop.payments(customer)) == 1


async def test_a_subscriptions_threshold_is_set_and_cleared(sqlite_url: str) -> None:
    async with running(sqlite_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer = await on_plan(shop)
        ident = (await shop.subscription(customer))["subscription_id"]
        path = f"/v1/subscriptions/{ident}"
        await lava.rest("PATCH", path, {"auto_top_up_threshold": "9.5"})
        found = await shop.subscription(customer)
        assert found["auto_top_up_threshold"] == "9.5000000000"
        assert found["auto_top_up_bundle_id"] is not None
        await lava.rest("PATCH", path, {"auto_top_up_threshold": None})
        assert "auto_top_up_threshold" not in await shop.subscription(customer)
        await lava.rest("PATCH", path, {"auto_top_up_threshold": "5.5"})
        await lava.rest("PATCH", path, {"auto_top_up_bundle_id": None})
        assert await shop.reserve(customer, "9") == 200
        await lava.service.billing.top_ups.idle()
        assert await shop.payments(customer) == []


async def test_customers_without_auto_top_up_are_not_looked_at(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(sqlite_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        noted: list[str] = []

        def low(merchant_id: str, account_id: str) -> None:
            assert merchant_id == lava.merchant_id
            noted.append(account_id)

        monkeypatch.setattr(lava.service.billing.top_ups, "low", low)
        plain = await lava.customer("10")
        watched = await on_plan(shop, default_auto_top_up_threshold="5")
        for customer in (plain, watched):
            assert await shop.reserve(customer, "9") == 200
        assert noted == [watched]


async def test_two_services_on_one_database_buy_one_bundle(postgres_url: str) -> None:
    calendar = Calendar()
    async with running(postgres_url, clock=calendar, payment_provider="test") as lava:
        shop = Shop(lava, calendar)
        customer = await on_plan(shop, default_auto_top_up_threshold="4")
        other = Service(
            config.load(
                {
                    "database_url": postgres_url,
                    "grpc_address": "127.0.0.1:0",
                    "http_address": "127.0.0.1:0",
                    "payment_provider": "test",
                    "rest_calls_per_minute": 0,
                }
            ),
            calendar,
        )
        addresses = await other.start()
        try:
            assert await shop.reserve(customer, "6.5") == 200
            async with httpx.AsyncClient(
                base_url=f"http://{addresses.http_address}", headers=lava.http.headers, timeout=30
            ) as second:

                async def reserve(number: int) -> int:
                    http = (lava.http, second)[number % 2]
                    body = {"request_id": f"b{number}", "customer_id": customer, "amount": "0.01"}
                    return (await http.post("/v1/reservations", json=body)).status_code

                assert set(await asyncio.gather(*[reserve(n) for n in range(60)])) == {200}
            for service in (lava.service, other):
                await service.billing.top_ups.idle()
            (payment,) = await until(payments_of(shop, customer), all_ended(1))
            assert payment["state"] == "succeeded"
        finally:
            await other.stop()
        await lava.verified()


async def test_bundles_are_paid_by_the_card_that_the_plan_is(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[PaymentKind, str | None]] = []
    charge = TestProvider.charge

    async def charged(provider: TestProvider, payment: Payment) -> ProviderAnswer:
        asked.append((payment.kind, payment.payment_method_id))
        return await charge(provider, payment)

    monkeypatch.setattr(TestProvider, "charge", charged)
    async with running(sqlite_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        card, customers = "pm_test_card", [await lava.customer(), await lava.customer()]
        plan = await shop.plan(
            included_credit="0", credit_bundles=BUNDLE, default_auto_top_up_bundle_index=0
        )
        body = {"customer_id": customers[0], "plan_id": plan["plan_id"], "payment_method_id": card}
        await lava.rest("POST", "/v1/subscriptions", body)
        await shop.subscribe(customers[1], plan)
        for customer in customers:
            assert await shop.reserve(customer, "1") == 402
            await lava.service.billing.top_ups.idle()
            bundle = plan["credit_bundles"][0]["credit_bundle_id"]
            bought = {"customer_id": customer, "credit_bundle_id": bundle}
            await lava.rest("POST", "/v1/payments", bought)
    kinds = [PaymentKind.AUTO_TOP_UP, PaymentKind.BUNDLE]
    assert asked == [
        (PaymentKind.SUBSCRIPTION, card),
        *[(kind, card) for kind in kinds],
        *[(kind, None) for kind in kinds],
    ]
