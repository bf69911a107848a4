"""What verify says of cycles, and that writes of all kinds get their turn."""

from __future__ import annotations

import asyncio

from lava_grpc.core.resources import Merchant
from lava_grpc.store import schema
from lava_grpc.store.resources import StoreResources
from tests.integration.billing.calendar import Calendar, Shop
from tests.integration.store.world import customer
from tests.support.ledger import MERCHANT, grant, ledger_on, place
from tests.support.service import running


async def test_verify_names_an_account_whose_cycle_is_not_its_subscriptions(
    database_url: str,
) -> None:
    async with running(database_url, clock=Calendar()) as lava:
        shop = Shop(lava, Calendar())
        ident = await lava.customer()
        await shop.subscribe(ident, await shop.plan())
        await lava.verified()
        async with ledger_on(database_url) as books:
            changed = schema.accounts.update().where(schema.accounts.c.account_id == ident)
            await books.database.write(lambda c: c.execute(changed.values(cycle_end=1)))
            report = await books.books.verify(None)
        assert [finding.rule for finding in report.findings] == ["cycle"]
        assert report.findings[0].ident == ident


async def test_management_writes_get_their_turn_between_batches(database_url: str) -> None:
    # On SQLite both go through one thread: a write in the middle of a batch hung there.
    async with ledger_on(database_url) as on:
        account = await on.open_account("con_busy", credit=1000)
        resources = StoreResources(on.database)
        await resources.add_merchant(Merchant(MERCHANT, "Acme", test_mode=False, created_at=1))

        async def hold() -> None:
            for _ in range(20):
                await on.ledger.submit(place(account, 1))

        async def manage(name: str) -> None:
            for number in range(20):
                ident = f"con_{name}{number}"
                made = customer(ident, merchant_id=MERCHANT)
                await resources.add_customer(made)

        async with asyncio.timeout(20):
            await asyncio.gather(*[hold() for _ in range(8)], *[manage(n) for n in "abcd"])
        await on.ledger.submit(grant(account, 1))
        await on.verified()
