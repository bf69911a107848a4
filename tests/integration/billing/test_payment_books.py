"""What verify says of payments: each way in which money and credit can come apart is named."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table

from lava_grpc.core.page import Page
from lava_grpc.store import schema
from tests.integration.billing.calendar import Calendar, Shop
from tests.support.ledger import ledger_on
from tests.support.service import running

PAYMENTS, GRANTS, SUBSCRIPTIONS = schema.payments, schema.grants, schema.subscriptions
ALL = Page(limit=10)


async def test_money_without_credit_and_credit_without_money_are_named(database_url: str) -> None:
    async with running(database_url, clock=Calendar(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer = await lava.customer()
        bundle = {"name": "S", "cost": "5", "credit_amount": "6"}
        plan = await shop.plan(credit_bundles=[bundle])
        body = {"customer_id": customer, "plan_id": plan["plan_id"]}
        card = {"payment_method_id": "pm_test_card"}
        begun = await lava.rest("POST", "/v1/subscriptions", body | card)
        bundle_id = plan["credit_bundles"][0]["credit_bundle_id"]
        bought = {"customer_id": customer, "credit_bundle_id": bundle_id}
        payment = (await lava.rest("POST", "/v1/payments", bought))["payment_id"]
        await lava.verified()
        subscription = begun["subscription"]["subscription_id"]
    async with ledger_on(database_url) as books:

        async def named(table: Table, ident: str, **values: Any) -> set[tuple[str, str, str]]:
            """What is named while one row, found by its id or its payment, is wrong."""
            key = table.c.request_id if table is GRANTS else list(table.columns)[1]
            kept = await books.database.read(
                lambda c: c.execute(table.select().where(key == ident)).one()
            )
            change = table.update().where(key == ident)
            await books.database.write(lambda c: c.execute(change.values(values)))
            report = await books.books.verify(None)
            back = {name: getattr(kept, name) for name in values}
            await books.database.write(lambda c: c.execute(change.values(back)))
            assert list((await books.books.verify(None)).findings) == []
            return {(one.rule, one.kind, one.ident) for one in report.findings}

        granted = (await books.books.list_grants(lava.merchant_id, customer, ALL)).items
        (grant,) = [one.grant_id for one in granted if one.request_id == payment]
        paid, credit = ("once", "payment", payment), ("once", "grant", grant)
        assert await named(PAYMENTS, payment, state="declined") == {credit}
        assert await named(PAYMENTS, payment, credit_amount=7) == {credit}
        assert await named(PAYMENTS, payment, account_id="con_other") == {credit}
        assert await named(PAYMENTS, payment, state="open") == {paid, credit}
        assert await named(PAYMENTS, payment, due_at=1) == {paid}
        assert await named(GRANTS, payment, fingerprint="other") == {paid}
        unpaid = {("cycle", "subscription", subscription)}
        first = begun["payment"]["payment_id"]
        assert await named(SUBSCRIPTIONS, subscription, unpaid=True, payment_id=None) == unpaid
        assert await named(SUBSCRIPTIONS, subscription, unpaid=True, payment_id=first) == unpaid
