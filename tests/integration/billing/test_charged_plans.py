"""Plans whose price and overage go through the payment provider, on each engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lava_grpc.core.cycles import DAY
from lava_grpc.core.payments import Payment
from lava_grpc.core.time import SECOND
from lava_grpc.gateway.cashier import INSIST_DAYS
from lava_grpc.gateway.payment_providers import ProviderAnswer, Taken
from lava_grpc.store.database import Database
from lava_grpc.store.payments import StorePayments
from tests.integration.billing.calendar import Calendar, Shop, at, until
from tests.support.service import running

CARD = "pm_test_card"


@asynccontextmanager
async def open_shop(url: str, provider: str = "test") -> AsyncIterator[Shop]:
    calendar = Calendar()
    async with running(url, clock=calendar, payment_provider=provider, payment_seconds=0.3) as lava:
        yield Shop(lava, calendar)
        await lava.verified()


async def charge(
    shop: Shop, customer: str, plan: dict[str, Any], method: str = CARD
) -> dict[str, Any]:
    body = {"customer_id": customer, "plan_id": plan["plan_id"], "payment_method_id": method}
    made: dict[str, Any] = await shop.lava.rest("POST", "/v1/subscriptions", body)
    return made


async def subscriber(shop: Shop, **facts: object) -> str:
    customer = await shop.lava.customer()
    await charge(shop, customer, await shop.plan(**facts))
    return customer


def kinds(payments: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Oldest first."""
    return [(payment["kind"], payment["state"]) for payment in reversed(payments)]


async def test_a_plan_begins_when_its_price_is_paid(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.lava.customer()
        plan = await shop.plan(included_credit="25")
        made = await charge(shop, customer, plan)
        assert made["subscription"]["credits"]["total_remaining"] == "25.0000000000"
        assert made["subscription"]["payment_method_id"] == CARD
        assert (made["payment"]["kind"], made["payment"]["state"]) == ("subscription", "succeeded")
        assert made["payment"]["amount"] == "20.0000000000"
        assert made["payment"]["plan_id"] == plan["plan_id"]
        # Repeating it changes nothing more.
        again = await charge(shop, customer, plan)
        assert again == {"subscription": made["subscription"]}
        assert len(await shop.payments(customer)) == 1


async def test_a_declined_card_begins_nothing(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.lava.customer()
        small = await shop.plan(name="Small", period_amount="5", included_credit="5")
        await charge(shop, customer, small)
        large = await shop.plan(name="Large", period_amount="50.02", included_credit="60")
        body = {"customer_id": customer, "plan_id": large["plan_id"], "payment_method_id": CARD}
        refused = await shop.lava.http.post("/v1/subscriptions", json=body)
        assert refused.status_code == 400
        assert refused.json()["error"]["field"] == "payment_method_id"
        found = await shop.subscription(customer)
        assert (found["plan"]["name"], found["credits"]["total_remaining"]) == (
            "Small",
            "5.0000000000",
        )
        unknown = await shop.lava.http.post(
            "/v1/subscriptions", json=body | {"payment_method_id": "pm_other"}
        )
        assert unknown.status_code == 404


async def test_a_renewal_is_paid_once_and_brings_the_credit(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await subscriber(shop, included_credit="25", overage_limit="10")
        await shop.lava.meter("calls", "11", kind="requests")
        await shop.report(customer, 3, "calls")
        assert (await shop.lava.balance(customer))["available"] == "2.0000000000"
        # What passes the card limit is blocked.
        assert await shop.reserve(customer, "3") == 402
        shop.calendar.instant = at(2024, 2, 29)

        async def left() -> str:
            found = await shop.subscription(customer)
            return str(found["credits"]["total_remaining"])

        await asyncio.gather(*[left() for _ in range(10)])
        await until(left, lambda credit: credit == "25.0000000000")
        found = await shop.payments(customer)
        assert kinds(found) == [("subscription", "succeeded"), ("renewal", "succeeded")]
        assert (found[0]["amount"], found[0]["credit_amount"]) == ("28.0000000000", "8.0000000000")
        assert "unpaid_payment_id" not in await shop.subscription(customer)


async def test_a_renewal_that_is_declined_is_asked_for_again_later(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        # Declined once: the first cycle is in another way paid than by its cents.
        customer = await subscriber(shop, period_amount="20", included_credit="25")
        await overage(shop, customer, "0.04")
        shop.calendar.instant = at(2024, 2, 29)
        unpaid = await until(lambda: shop.subscription(customer), is_unpaid)
        assert unpaid["credits"]["cycle_remaining"] == "0.0000000000"

        async def reason() -> Any:  # noqa: ANN401
            return (await shop.payments(customer))[0]["reason"]

        await until(reason, lambda said: said == "the card was declined")
        assert await shop.reserve(customer, "1") == 402
        shop.calendar.instant += INSIST_DAYS[0] * DAY + SECOND
        await until(lambda: shop.subscription(customer), lambda it: not is_unpaid(it))
        paid = await shop.subscription(customer)
        assert paid["credits"]["cycle_remaining"] == "25.0000000000"
        assert kinds(await shop.payments(customer))[-1] == ("renewal", "succeeded")


async def test_a_renewal_that_was_declined_is_paid_by_the_card_that_came_since(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_shop(database_url) as shop:
        provider = shop.lava.service.billing.payments._cashier.provider  # noqa: SLF001
        asked: list[tuple[str, str | None]] = []

        async def charged(payment: Payment) -> ProviderAnswer:
            asked.append((payment.charge_key, payment.payment_method_id))
            good = len(asked) == 1 or payment.payment_method_id == "pm_new"
            return ProviderAnswer(Taken.SUCCEEDED if good else Taken.DECLINED, "expired")

        async def known(*_: str) -> bool:
            return True

        monkeypatch.setattr(provider, "charge", charged)
        monkeypatch.setattr(provider, "knows", known)
        customer, plan = await shop.lava.customer(), await shop.plan(included_credit="25")
        await charge(shop, customer, plan)
        shop.calendar.instant = at(2024, 2, 29)
        ident = (await until(lambda: shop.subscription(customer), is_unpaid))["unpaid_payment_id"]
        await until(lambda: shop.payments(customer), lambda found: found[0]["reason"] == "expired")
        changed = await charge(shop, customer, plan, "pm_new")
        assert changed["subscription"]["payment_method_id"] == "pm_new"
        shop.calendar.instant += INSIST_DAYS[0] * DAY + SECOND
        await until(lambda: shop.subscription(customer), lambda it: not is_unpaid(it))
        # Each card was asked with a key of its own.
        assert asked[1:] == [(ident, CARD), (f"{ident}-1", "pm_new")]


async def test_a_renewal_that_stays_declined_ends_the_subscription(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await subscriber(shop, period_amount="20", included_credit="25")
        await overage(shop, customer, "0.02")
        shop.calendar.instant = at(2024, 2, 29)
        await until(lambda: shop.subscription(customer), is_unpaid)
        for number, days in enumerate(INSIST_DAYS):
            before = shop.calendar.instant

            async def declined(number: int = number) -> bool:
                return await _declines(shop, customer) > number

            await until(declined, bool)
            assert (await shop.subscription(customer))["plan"]["name"] == "Pro"
            shop.calendar.instant = before + days * DAY + SECOND
        await until(lambda: shop.subscription(customer), lambda it: it["plan"]["name"] == "Free")
        found = await shop.subscription(customer)
        assert found["credits"]["total_remaining"] == "-0.0200000000"
        payment = (await shop.payments(customer))[0]
        assert (payment["state"], payment["reason"]) == ("declined", "the card was declined")


async def test_a_renewal_that_was_not_answered_is_taken_once(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await subscriber(shop, included_credit="25")
        await overage(shop, customer, "0.03")
        shop.calendar.instant = at(2024, 2, 29)
        await until(lambda: shop.subscription(customer), is_unpaid)

        async def later() -> dict[str, Any]:
            shop.calendar.wait(20)
            return await shop.subscription(customer)

        await until(later, lambda it: not is_unpaid(it))
        assert (await shop.lava.balance(customer))["balance"] == "25.0000000000"


async def test_a_payment_that_was_taken_before_a_crash_begins_the_cycle_once(
    database_url: str,
) -> None:
    async with open_shop(database_url, "manual") as shop:
        customer = await shop.lava.customer()
        made = await charge(shop, customer, await shop.plan(included_credit="25"), "invoice")
        assert made["subscription"] is None
        assert made["payment"]["state"] == "open"
        database = Database(shop.lava.service._settings.database_url)  # noqa: SLF001
        try:
            payments = StorePayments(database)
            ident = made["payment"]["payment_id"]
            payment = await payments.find(shop.lava.merchant_id, ident)
            assert payment is not None
            # The money was taken, and the process died before anything was given for it.
            assert await payments.mark_paid(payment)
        finally:
            database.close()

        async def later() -> Any:  # noqa: ANN401
            shop.calendar.wait(30)
            return await shop.subscription(customer)

        await until(later, lambda it: it is not None)
        found = await shop.subscription(customer)
        assert found["credits"]["total_remaining"] == "25.0000000000"
        # And again, as if the last answer had been lost.
        confirm = f"/v1/payments/{ident}/confirm"
        await shop.lava.rest("POST", confirm, {"outcome": "succeeded"})
        assert (await shop.lava.balance(customer))["balance"] == "25.0000000000"


async def test_an_operator_confirms_a_renewal_or_ends_it(database_url: str) -> None:
    async with open_shop(database_url, "manual") as shop:
        customer = await shop.lava.customer()
        made = await charge(shop, customer, await shop.plan(included_credit="25"), "invoice")
        confirm = f"/v1/payments/{made['payment']['payment_id']}/confirm"
        await shop.lava.rest("POST", confirm, {"outcome": "succeeded"})
        for instant, outcome in ((at(2024, 2, 29), "succeeded"), (at(2024, 3, 31), "declined")):
            shop.calendar.instant = instant
            found = await until(lambda: shop.subscription(customer), is_unpaid)
            path = f"/v1/payments/{found['unpaid_payment_id']}/confirm"
            answers = await asyncio.gather(
                *[shop.lava.rest("POST", path, {"outcome": outcome}) for _ in range(5)]
            )
            assert answers[-1]["state"] in {outcome, "open"}
        assert (await shop.subscription(customer))["plan"]["name"] == "Free"


async def test_one_plan_is_paid_for_at_a_time(database_url: str) -> None:
    async with open_shop(database_url, "manual") as shop:
        customer = await shop.lava.customer()
        plan = await shop.plan()
        answers = await asyncio.gather(*[charge(shop, customer, plan, "invoice") for _ in range(8)])
        assert len({answer["payment"]["payment_id"] for answer in answers}) == 1
        other = await shop.plan(name="Other", period_amount="50")
        body = {
            "customer_id": customer,
            "plan_id": other["plan_id"],
            "payment_method_id": "invoice",
        }
        refused = await shop.lava.http.post("/v1/subscriptions", json=body)
        assert (refused.status_code, refused.json()["error"]["field"]) == (409, "plan_id")


async def test_what_was_paid_after_an_upgrade_is_credit(database_url: str) -> None:
    async with open_shop(database_url, "manual") as shop:
        customer = await shop.lava.customer()
        made = await charge(shop, customer, await shop.plan(), "invoice")
        confirm = f"/v1/payments/{made['payment']['payment_id']}/confirm"
        await shop.lava.rest("POST", confirm, {"outcome": "succeeded"})
        shop.calendar.instant = at(2024, 2, 29)
        unpaid = (await until(lambda: shop.subscription(customer), is_unpaid))["unpaid_payment_id"]
        await shop.subscribe(customer, await shop.plan(name="Large", period_amount="50"))
        path = f"/v1/payments/{unpaid}/confirm"
        paid = await shop.lava.rest("POST", path, {"outcome": "succeeded"})
        assert paid["state"] == "succeeded"
        assert (await shop.lava.balance(customer))["balance"] == "70.0000000000"


async def test_a_customers_own_limit_comes_back_when_the_plan_is_left(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        customer = await shop.lava.customer(credit_limit="7")
        plan = await shop.plan(included_credit="0", overage_limit="3")
        made = await shop.subscribe(customer, plan)
        assert (await shop.lava.balance(customer))["available"] == "3.0000000000"
        # Set meanwhile, it waits.
        await shop.lava.rest("PATCH", f"/v1/customers/{customer}", {"credit_limit": "9"})
        assert (await shop.lava.balance(customer))["credit_limit"] == "3.0000000000"
        await shop.lava.rest("DELETE", f"/v1/subscriptions/{made['subscription_id']}")
        shop.calendar.instant = at(2024, 3, 1)
        assert (await shop.lava.balance(customer))["credit_limit"] == "9.0000000000"
        await shop.lava.rest("PATCH", f"/v1/customers/{customer}", {"credit_limit": "unlimited"})
        assert (await shop.lava.balance(customer))["credit_limit"] == "unlimited"


async def test_a_deleted_customer_is_asked_for_nothing_more(sqlite_url: str) -> None:
    async with open_shop(sqlite_url) as shop:
        customer = await subscriber(shop, period_amount="20", included_credit="25")
        await overage(shop, customer, "0.04")
        shop.calendar.instant = at(2024, 2, 29)
        unpaid = (await until(lambda: shop.subscription(customer), is_unpaid))["unpaid_payment_id"]
        path = f"/v1/payments/{unpaid}"

        async def payment() -> dict[str, Any]:
            found: dict[str, Any] = await shop.lava.rest("GET", path)
            return found

        await until(payment, lambda found: found["reason"] == "the card was declined")
        await shop.lava.rest("DELETE", f"/v1/customers/{customer}")
        shop.calendar.instant += INSIST_DAYS[0] * DAY + SECOND
        ended = await until(payment, lambda found: found["state"] != "open")
        assert (ended["state"], ended["reason"]) == ("declined", "is no longer due")


async def test_a_payment_waits_for_the_provider_that_it_was_asked_of(sqlite_url: str) -> None:
    async with open_shop(sqlite_url, "manual") as shop:
        customer = await shop.lava.customer()
        made = await charge(shop, customer, await shop.plan(included_credit="25"), "invoice")
        ident = made["payment"]["payment_id"]
        calendar = shop.calendar
        async with running(sqlite_url, clock=calendar, payment_provider="test") as other:
            for _ in range(5):
                calendar.wait(3600)
                await other.service.billing.collector.collect()
        found = await shop.lava.rest("GET", f"/v1/payments/{ident}")
        assert found["state"] == "open"
        confirm = f"/v1/payments/{ident}/confirm"
        paid = await shop.lava.rest("POST", confirm, {"outcome": "succeeded"})
        assert paid["state"] == "succeeded"


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"payment_method_id": CARD, "billed_externally": True}, "payment_method_id"),
        ({}, "plan_id"),
    ],
)
async def test_who_collects_a_price_is_said_once(
    sqlite_url: str, facts: dict[str, object], field: str
) -> None:
    async with open_shop(sqlite_url) as shop:
        customer = await shop.lava.customer()
        body = {"customer_id": customer, "plan_id": (await shop.plan())["plan_id"], **facts}
        refused = await shop.lava.http.post("/v1/subscriptions", json=body)
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, field)


async def test_a_downgrade_is_paid_as_the_plan_was(sqlite_url: str) -> None:
    async with open_shop(sqlite_url) as shop:
        customer = await subscriber(shop)
        small = await shop.plan(name="Small", period_amount="5")
        body = {"customer_id": customer, "plan_id": small["plan_id"]}
        refused = await shop.lava.http.post(
            "/v1/subscriptions", json=body | {"billed_externally": True}
        )
        assert refused.json()["error"]["field"] == "billed_externally"
        made = await shop.lava.rest("POST", "/v1/subscriptions", body)
        assert made["subscription"]["pending_change"]["name"] == "Small"
        shop.calendar.instant = at(2024, 2, 29)
        found = await until(
            lambda: shop.subscription(customer),
            lambda it: it["credits"]["cycle_remaining"] == "5.0000000000",
        )
        assert found["plan"]["name"] == "Small"
        assert (await shop.payments(customer))[0]["amount"] == "5.0000000000"


def is_unpaid(subscription: dict[str, Any]) -> bool:
    return "unpaid_payment_id" in subscription


async def overage(shop: Shop, customer: str, amount: str) -> None:
    """Use all of a customer's credit and so much more."""
    await shop.lava.meter("all", "25", kind="requests")
    await shop.lava.meter("more", amount, kind="requests")
    await shop.report(customer, 1, "all")
    await shop.report(customer, 1, "more")


async def _declines(shop: Shop, customer: str) -> int:
    database = Database(shop.lava.service._settings.database_url)  # noqa: SLF001
    try:
        payments = StorePayments(database)
        ident = (await shop.payments(customer))[0]["payment_id"]
        found = await payments.find(shop.lava.merchant_id, ident)
        assert found is not None
        return found.declines
    finally:
        database.close()
