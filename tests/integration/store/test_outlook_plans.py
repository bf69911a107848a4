"""Sums of usage and looks at the outbox go by an index, on both engines."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from lava_grpc.core.books import RecordFilter
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.store import outbox, schema
from tests.integration.store.test_plans import plans
from tests.integration.store.world import CUSTOMER, MERCHANT, START, World, grant, settle

HOUR: Instant = 3600 * SECOND
RECORDS, DELIVERIES, WAITING = 2000, 5000, 5


async def fill(world: World) -> None:
    """Records over months, and deliveries of which nearly all were sent long ago."""
    await world.run(grant("g1", 10**12))
    for start in range(0, RECORDS, 200):
        world.clock.instant = START + start * HOUR
        await world.run(*[settle(f"r{start + index:05}", 1) for index in range(200)])
    rows = [
        {
            "merchant_id": MERCHANT,
            "webhook_id": "wh_1",
            "delivery_id": f"msg_{index:06}",
            "customer_id": f"con_{index % 100}",
            "event": "customer.created",
            "details": "{}",
            "state": "pending" if index >= DELIVERIES - WAITING else "delivered",
            "attempts": 1,
            "due_at": START if index >= DELIVERIES - WAITING else None,
            "created_at": START,
            "ended_at": None if index >= DELIVERIES - WAITING else START,
        }
        for index in range(DELIVERIES)
    ]
    hook = {"name": "Hook", "url": "https://example.com/", "secret": "s", "created_at": START}

    def work(connection: Connection) -> None:
        connection.execute(
            insert(schema.webhooks).values(merchant_id=MERCHANT, webhook_id="wh_1", **hook)
        )
        connection.execute(insert(schema.webhook_deliveries), rows)

    await world.database.write(work)
    if world.database.store_engine.engine.dialect.name == "postgresql":
        await world.database.write(lambda c: c.exec_driver_sql("ANALYZE"))


async def test_usage_of_a_while_reads_the_records_of_that_while(world: World) -> None:
    await fill(world)
    with plans(world) as found:
        for wanted in (RecordFilter(), RecordFilter("con_9")):
            await world.books.usage_by_day(
                MERCHANT, wanted, start=START, before=START + 24 * HOUR, day=START
            )
    assert "requests_by_time" in found[0]
    assert "requests_by_" in found[1]
    assert CUSTOMER != "con_9"


async def test_the_outbox_is_looked_at_by_what_waits(world: World) -> None:
    await fill(world)
    with plans(world) as found:
        assert await world.database.read(lambda c: outbox.has_due(c, START))
        assert not await world.database.read(lambda c: outbox.has_old(c, START))
        taken = await world.database.write(
            lambda c: outbox.take(
                c,
                START,
                render=lambda _told: "{}",
                lease=SECOND,
                room=32,
                per_webhook=32,
                in_flight={},
            )
        )
    assert len(taken) == WAITING
    looks = [plan for plan in found if "deliveries" in plan]
    assert len(looks) == 4
    for plan in looks:
        whole = [
            line
            for line in plan.splitlines()
            if "Seq Scan on webhook_deliveries" in line
            or (line.startswith("SCAN") and "USING INDEX" not in line and "deliveries" in line)
            # All that is older, sent or not.
            or "USING PRIMARY KEY (merchant_id=? AND webhook_id=? AND delivery_id<?)" in line
        ]
        assert whole == [], plan
