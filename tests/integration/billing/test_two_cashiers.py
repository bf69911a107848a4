"""Two processes, and a provider that declines, breaks off, and remembers what it took."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from lava_grpc.core.cycles import DAY
from lava_grpc.core.payments import Payment
from lava_grpc.gateway.payment_providers import ProviderAnswer, Taken, TestProvider
from tests.integration.billing.calendar import Calendar, Shop
from tests.support.service import Running, running

CUSTOMERS, ROUNDS = 6, 8
CARD = {"payment_method_id": "pm_test_card"}


@dataclass
class Moody:
    """Answers each key one way, for good; often nobody hears it."""

    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311
    answers: dict[str, ProviderAnswer] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    async def charge(self, payment: Payment) -> ProviderAnswer:
        key = payment.charge_key
        taken = Taken.DECLINED if self.chance.random() < 0.4 else Taken.SUCCEEDED
        answer = self.answers.setdefault(key, ProviderAnswer(taken))
        self.asked[key] += 1
        await asyncio.sleep(0)
        if self.chance.random() < 0.4:
            raise ConnectionError
        return answer

    def taken(self, payment_id: str) -> int:
        """How often money was taken for a payment."""
        keys = [key for key in self.answers if key == payment_id or key[:-2] == payment_id]
        return sum(self.answers[key].taken is Taken.SUCCEEDED for key in keys)


async def test_no_money_is_taken_twice_and_none_is_lost(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moody, calendar = Moody(), Calendar()

    async def charge(_: TestProvider, payment: Payment) -> ProviderAnswer:
        return await moody.charge(payment)

    monkeypatch.setattr(TestProvider, "charge", charge)
    facts: dict[str, Any] = {"clock": calendar, "payment_provider": "test"}
    async with running(database_url, **facts) as lava, running(database_url, **facts) as other:
        shop = Shop(lava, calendar)
        plans = [
            await shop.plan(
                name=str(price),
                period_amount=str(price),
                included_credit="3",
                overage_limit="5",
                billing_interval="week",
            )
            for price in (4, 6, 8)
        ]
        await lava.meter("calls", "2", kind="requests")
        customers = [await lava.customer() for _ in range(CUSTOMERS)]
        for number in range(ROUNDS):
            ask = [_ask(lava, customer, plans[number % 3]) for customer in customers]
            use = [_use(lava, customer, f"{number}{customer}") for customer in customers]
            await asyncio.gather(*ask, *use, *[_collect(one, 3) for one in (lava, other)])
            calendar.instant += 3 * DAY
        payments = await _ended(shop, [lava, other], customers, calendar)
        assert {payment["kind"] for payment in payments} >= {"subscription", "renewal"}
        for payment in payments:
            paid = payment["state"] == "succeeded"
            assert moody.taken(payment["payment_id"]) == int(paid), payment
            assert payment["reason"] is None or not paid
        assert max(moody.asked.values()) > 1
        await lava.verified()


async def _ask(lava: Running, customer: str, plan: dict[str, Any]) -> None:
    """Two at once, as a caller who hears nothing and repeats it."""
    body = {"customer_id": customer, "plan_id": plan["plan_id"], **CARD}
    answers = [lava.http.post("/v1/subscriptions", json=body) for _ in range(2)]
    assert {answer.status_code for answer in await asyncio.gather(*answers)} <= {200, 400, 409}


async def _use(lava: Running, customer: str, request_id: str) -> None:
    body = {"request_id": request_id, "customer_id": customer, "meter_slug": "calls"}
    await lava.rest("POST", "/v1/requests", body)


async def _collect(lava: Running, times: int) -> None:
    for _ in range(times):
        await lava.service.billing.collector.collect()


async def _ended(
    shop: Shop, services: list[Running], customers: list[str], calendar: Calendar
) -> list[dict[str, Any]]:
    """All payments, once each of them has ended; nobody begins a cycle meanwhile."""
    for customer in customers:
        found = await shop.subscription(customer)
        if found is not None:
            path = f"/v1/subscriptions/{found['subscription_id']}"
            await shop.lava.rest("DELETE", path)
    for _ in range(200):
        await asyncio.gather(*[_collect(one, 1) for one in services])
        pages = [
            await shop.lava.rest("GET", f"/v1/payments?customer_id={customer}&limit=100")
            for customer in customers
        ]
        payments: list[dict[str, Any]] = [one for page in pages for one in page["data"]]
        if all(payment["state"] in {"succeeded", "declined"} for payment in payments):
            return payments
        calendar.instant += DAY
    raise AssertionError([one for one in payments if one["state"] == "open"])
