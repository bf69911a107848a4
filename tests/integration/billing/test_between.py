"""What happens between a look at a customer and the payment that follows from it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from lava_grpc.core.commands import AddGrant, Command
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import SCALE
from lava_grpc.core.payments import Payment
from lava_grpc.core.plans import Enrolment
from lava_grpc.store import schema, subscriptions
from lava_grpc.store.billing import StoreBilling
from lava_grpc.store.database import Database
from tests.integration.billing.calendar import Calendar, Shop, at
from tests.support.service import running

CARD = "pm_test_card"


async def test_two_calls_for_one_plan_are_charged_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer, plan = await lava.customer(), await shop.plan(included_credit="25")
        body = {"customer_id": customer, "plan_id": plan["plan_id"], "payment_method_id": CARD}
        charging = lava.service.billing.subscriptions._charging  # noqa: SLF001
        at_once = charging.first_cycle
        inside: list[dict[str, Any]] = []

        async def late(*args: Any, **facts: Any) -> Payment | None:
            # From the look at the customer's plan to here another call ran to its end.
            monkeypatch.setattr(charging, "first_cycle", at_once)
            inside.append(await lava.rest("POST", "/v1/subscriptions", body))
            return await at_once(*args, **facts)

        monkeypatch.setattr(charging, "first_cycle", late)
        made = await lava.rest("POST", "/v1/subscriptions", body)
        assert made["subscription"] == inside[0]["subscription"]
        states = sorted(payment["state"] for payment in await shop.payments(customer))
        assert states == ["declined", "succeeded"]
        assert (await lava.balance(customer))["balance"] == "25.0000000000"
        await lava.verified()


async def test_a_bundle_that_is_paid_as_the_cycle_ends_is_granted(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calendar = Calendar()
    async with running(database_url, clock=calendar, payment_provider="test") as lava:
        shop = Shop(lava, calendar)
        customer = await shop.topping_up("5", bundle_rollover_type="none")
        bundle = (await shop.subscription(customer))["auto_top_up_bundle_id"]
        ledger = lava.service.billing.payments._cashier._ledger  # noqa: SLF001
        submit = ledger.submit

        async def as_the_cycle_ends(command: Command, *, deadline: float | None = None) -> Outcome:
            if isinstance(command, AddGrant):
                calendar.instant = at(2024, 2, 29)
            return await submit(command, deadline=deadline)

        monkeypatch.setattr(ledger, "submit", as_the_cycle_ends)
        body = {"customer_id": customer, "credit_bundle_id": bundle}
        bought = await lava.rest("POST", "/v1/payments", body)
        assert (bought["state"], bought["reason"]) == ("succeeded", None)
        assert (await lava.balance(customer))["balance"] == "6.0000000000"
        await lava.verified()


async def test_a_subscription_and_its_account_are_read_as_of_one_commit(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database_url, clock=Calendar()) as lava:
        shop = Shop(lava, Calendar())
        customer = await lava.customer()
        await shop.subscribe(customer, await shop.plan(included_credit="25"))
        database = Database(database_url)
        active = subscriptions.active

        def and_then_a_commit(connection: Connection, *key: str) -> Enrolment | None:
            found = active(connection, *key)
            with database.store_engine.engine.begin() as other:
                other.execute(schema.accounts.update().values(balance=0))
            return found

        monkeypatch.setattr(subscriptions, "active", and_then_a_commit)
        try:
            billing = StoreBilling(database)
            enrolled, account = await billing.place(lava.merchant_id, customer)
            assert enrolled is not None
            assert account is not None
            assert account.balance == 25 * SCALE
            _, account = await billing.place(lava.merchant_id, customer)
            assert account is not None
            assert account.balance == 0
        finally:
            database.close()
