"""Bundles, auto top-up and the wallet's funding, on each engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from lava_grpc.app.billing import BillingParts
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.store.database import Database
from lava_grpc.store.payments import StorePayments
from tests.integration.billing.calendar import Calendar, Shop, at, until
from tests.support.service import running

Look: TypeAlias = Callable[[], Awaitable[list[dict[str, Any]]]]


@asynccontextmanager
async def open_shop(url: str, provider: str = "test") -> AsyncIterator[Shop]:
    calendar = Calendar()
    async with running(url, clock=calendar, payment_provider=provider, payment_seconds=0.3) as lava:
        yield Shop(lava, calendar)
        await lava.verified()


def payments_of(shop: Shop, customer: str) -> Look:
    return lambda: shop.payments(customer)


def ended(payments: list[dict[str, Any]]) -> bool:
    return bool(payments) and all(payment["state"] != "open" for payment in payments)


async def test_one_bundle_is_bought_however_many_calls_find_no_credit(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        # Not answered at first: nobody finds credit while all of them ask.
        customer = await shop.topping_up("5.03")
        answers = await asyncio.gather(*[shop.reserve(customer, "4") for _ in range(40)])
        assert set(answers) == {402}

        async def later() -> list[dict[str, Any]]:
            shop.calendar.wait(10)
            return await shop.payments(customer)

        (payment,) = await until(later, ended)
        assert payment == {
            "payment_id": payment["payment_id"],
            "customer_id": customer,
            "kind": "auto_top_up",
            "provider": "test",
            "credit_bundle_id": payment["credit_bundle_id"],
            "amount": "5.0300000000",
            "credit_amount": "6.0000000000",
            "state": "succeeded",
            "reason": None,
            "created_at": "2024-01-31T12:00:00Z",
            "ended_at": payment["ended_at"],
        }
        assert await shop.reserve(customer, "2") == 200
        assert (await shop.lava.balance(customer))["balance"] == "6.0000000000"


async def test_a_call_larger_than_a_bundle_does_not_buy_without_end(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.topping_up("5")
        for _ in range(5):
            assert await shop.reserve(customer, "100") == 402
            await until(payments_of(shop, customer), ended)
        assert len(await shop.payments(customer)) == 1


async def test_a_declined_card_is_left_in_peace_for_an_hour(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.topping_up("5.02")
        assert await shop.reserve(customer, "4") == 402
        (payment,) = await until(payments_of(shop, customer), ended)
        assert (payment["state"], payment["reason"]) == ("declined", "the card was declined")
        for _ in range(5):
            assert await shop.reserve(customer, "4") == 402
        assert len(await shop.payments(customer)) == 1
        shop.calendar.wait(3601)

        async def again() -> list[dict[str, Any]]:
            await shop.reserve(customer, "4")
            return await shop.payments(customer)

        assert len(await until(again, lambda found: len(found) == 2)) == 2
        assert (await shop.lava.balance(customer))["balance"] == "0.0000000000"


async def test_a_payment_that_was_not_answered_is_neither_lost_nor_taken_twice(
    database_url: str,
) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.topping_up("5.03")
        assert await shop.reserve(customer, "4") == 402
        (payment,) = await until(payments_of(shop, customer), bool)
        assert payment["state"] == "open"
        assert await shop.reserve(customer, "4") == 402

        async def later() -> list[dict[str, Any]]:
            shop.calendar.wait(10)
            return await shop.payments(customer)

        (payment,) = await until(later, ended)
        assert payment["state"] == "succeeded"
        assert (await shop.lava.balance(customer))["balance"] == "6.0000000000"


async def test_auto_top_up_that_was_stopped_buys_nothing(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.topping_up("5")
        ident = (await shop.subscription(customer))["subscription_id"]
        path = f"/v1/subscriptions/{ident}"
        await shop.lava.rest("PATCH", path, {"auto_top_up_bundle_id": None})
        assert await shop.reserve(customer, "4") == 402
        await parts_of(shop).top_ups.idle()
        assert await shop.payments(customer) == []


async def test_bundle_credit_without_rollover_goes_with_its_cycle(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.topping_up("5", bundle_rollover_type="none")
        bundle = (await shop.subscription(customer))["auto_top_up_bundle_id"]
        body = {"customer_id": customer, "credit_bundle_id": bundle}
        bought = await shop.lava.rest("POST", "/v1/payments", body)
        assert (bought["kind"], bought["state"]) == ("bundle", "succeeded")
        left = (await shop.subscription(customer))["credits"]
        assert left["bundle_remaining"] == left["total_remaining"] == "6.0000000000"
        shop.calendar.instant = at(2024, 2, 29)
        left = (await shop.subscription(customer))["credits"]
        assert left["total_remaining"] == "0.0000000000"


async def test_the_wallet_is_funded_as_the_sdk_expects(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        body = {"payment_method_id": "pm_test_card", "amount": "50"}
        found = await shop.lava.rest("POST", "/v1/wallet/fund", body)
        assert found == {
            "status": "completed",
            "payment_id": found["payment_id"],
            "balance": "50.0000000000",
        }
        refused = await shop.lava.http.post("/v1/wallet/fund", json=body | {"amount": "50.02"})
        assert refused.status_code == 400
        assert refused.json()["error"]["field"] == "payment_method_id"
        unknown = await shop.lava.http.post(
            "/v1/wallet/fund", json=body | {"payment_method_id": "pm_other"}
        )
        assert unknown.status_code == 404
        assert unknown.json()["error"]["field"] == "payment_method_id"
        methods = await shop.lava.rest("GET", "/v1/payment_methods")
        assert methods == {
            "data": [
                {
                    "payment_method_id": "pm_test_card",
                    "last4": "4242",
                    "expiry_month": 12,
                    "expiry_year": 2099,
                    "brand": "visa",
                    "is_default": True,
                    "has_error": False,
                    "error_code": None,
                    "error_message": None,
                    "error_at": None,
                }
            ]
        }


async def test_a_wallet_is_funded_once_for_each_request_id(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        body = {"payment_method_id": "pm_test_card", "amount": "50", "request_id": "fund-1"}
        answers = await asyncio.gather(
            *[shop.lava.rest("POST", "/v1/wallet/fund", body) for _ in range(10)]
        )
        assert len({answer["payment_id"] for answer in answers}) == 1
        assert (await shop.lava.rest("GET", "/v1/wallet"))["balance"] == "50.0000000000"
        other = await shop.lava.http.post("/v1/wallet/fund", json=body | {"amount": "60"})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "request_id_reused")


async def test_a_bundle_is_bought_once_for_each_request_id(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.topping_up("5")
        bundle = (await shop.subscription(customer))["auto_top_up_bundle_id"]
        body = {"customer_id": customer, "credit_bundle_id": bundle, "request_id": "buy-1"}
        answers = await asyncio.gather(
            *[shop.lava.rest("POST", "/v1/payments", body) for _ in range(10)]
        )
        assert {answer["request_id"] for answer in answers} == {"buy-1"}
        assert len({answer["payment_id"] for answer in answers}) == 1
        assert (await shop.lava.balance(customer))["balance"] == "6.0000000000"
        # Also after the plan sells it no more.
        plan = (await shop.subscription(customer))["plan_id"]
        gone = {"credit_bundles": [{"credit_bundle_id": bundle, "is_deleted": True}]}
        await shop.lava.rest("PATCH", f"/v1/plans/{plan}", gone)
        again = await shop.lava.rest("POST", "/v1/payments", body)
        assert again["payment_id"] == answers[0]["payment_id"]


async def test_an_operator_confirms_once(database_url: str) -> None:
    async with open_shop(database_url, "manual") as shop:
        body = {"payment_method_id": "invoice", "amount": "50"}
        found = await shop.lava.rest("POST", "/v1/wallet/fund", body)
        assert found == {"status": "requires_action", "payment_id": found["payment_id"]}
        path = f"/v1/payments/{found['payment_id']}"
        words = ["succeeded", "declined", "succeeded", "declined", "succeeded"]
        answers = await asyncio.gather(
            *[shop.lava.rest("POST", f"{path}/confirm", {"outcome": word}) for word in words]
        )
        ended_as = (await shop.lava.rest("GET", path))["state"]
        assert {answer["state"] for answer in answers} <= {ended_as, "open"}
        wallet = await shop.lava.rest("GET", "/v1/wallet")
        expected = "50.0000000000" if ended_as == "succeeded" else "0.0000000000"
        assert wallet["balance"] == expected


async def test_a_payment_that_was_taken_before_a_crash_is_granted_afterwards(
    database_url: str,
) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.topping_up("5")
        bundle = (await shop.subscription(customer))["auto_top_up_bundle_id"]
        database = Database(database_url)
        try:
            payments = StorePayments(database)
            payment = _payment(shop.lava.merchant_id, customer, "pay_test_1", bundle)
            assert await payments.open(payment, quiet_since=0)
            assert await payments.mark_paid(payment)
        finally:
            database.close()
        assert (await shop.lava.balance(customer))["balance"] == "0.0000000000"
        shop.calendar.wait(61)
        await until(payments_of(shop, customer), ended)
        assert (await shop.lava.balance(customer))["balance"] == "6.0000000000"


async def test_what_was_paid_for_a_customer_who_is_gone_says_so(database_url: str) -> None:
    async with open_shop(database_url, "manual") as shop:
        customer = await shop.topping_up("5")
        assert await shop.reserve(customer, "4") == 402
        (payment,) = await until(payments_of(shop, customer), bool)
        await shop.lava.rest("DELETE", f"/v1/customers/{customer}")
        path = f"/v1/payments/{payment['payment_id']}"
        found = await shop.lava.rest("POST", f"{path}/confirm", {"outcome": "succeeded"})
        assert found["state"] == "succeeded"
        assert found["reason"].startswith("paid, but not granted")


async def test_processes_that_buy_at_once_buy_one(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(2)]
    try:
        stores = [StorePayments(database) for database in databases]
        opened = await asyncio.gather(
            *[
                stores[n % 2].open(_payment("mer_1", "con_1", f"pay_{n}", "cb_1"), quiet_since=0)
                for n in range(20)
            ]
        )
        assert opened.count(True) == 1
        now = at(2024, 2, 1)
        (due,) = await stores[0].due(now, 10)
        taken = await asyncio.gather(*[stores[n % 2].take(due, now, now + 1) for n in range(20)])
        assert len([payment for payment in taken if payment is not None]) == 1
    finally:
        for database in databases:
            database.close()


@pytest.mark.parametrize("amount", ["9.99", "10000.01", "x"])
async def test_a_wallet_is_funded_within_bounds(sqlite_url: str, amount: str) -> None:
    async with open_shop(sqlite_url) as shop:
        body = {"payment_method_id": "pm_test_card", "amount": amount}
        refused = await shop.lava.http.post("/v1/wallet/fund", json=body)
        assert refused.status_code == 400


def parts_of(shop: Shop) -> BillingParts:
    """What the service runs beside its calls."""
    return shop.lava.service.billing


def _payment(merchant_id: str, account_id: str, ident: str, bundle: str) -> Payment:
    return Payment(
        merchant_id=merchant_id,
        payment_id=ident,
        account_id=account_id,
        kind=PaymentKind.AUTO_TOP_UP,
        provider="test",
        payment_method_id=None,
        credit_bundle_id=bundle,
        amount=5 * 10**10,
        credit_amount=6 * 10**10,
        state=PaymentState.OPEN,
        reason=None,
        attempts=1,
        due_at=at(2024, 1, 31) + 60 * 10**6,
        created_at=at(2024, 1, 31),
    )
