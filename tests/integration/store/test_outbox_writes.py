"""What is written into the outbox, and that it is written with what it tells of."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Connection

from lava_grpc.core.account import GrantSource
from lava_grpc.core.commands import Expire
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import HoldKind
from lava_grpc.core.resources import Merchant
from lava_grpc.core.webhooks import Event
from lava_grpc.store import customers
from tests.integration.store.outbox_world import OutboxWorld
from tests.integration.store.world import CUSTOMER, MERCHANT, World, customer, grant, hold, settle

UPDATED = (Event.BALANCE_UPDATED, CUSTOMER)
LOW = (Event.BALANCE_LOW, CUSTOMER)
EXHAUSTED = (Event.CREDIT_EXHAUSTED, CUSTOMER)


@pytest.fixture
def outbox(world: World) -> OutboxWorld:
    return OutboxWorld(world)


async def test_without_webhooks_nothing_is_written(outbox: OutboxWorld) -> None:
    await outbox.world.run(grant("g1", 10), settle("r1", 10))
    await outbox.webhook()
    assert await outbox.events() == []


async def test_a_customer_is_told_when_made_once_and_when_deleted(outbox: OutboxWorld) -> None:
    await outbox.webhook()
    resources = outbox.world.resources
    await resources.add_customer(customer("con_2", reference_id="two"))
    await resources.add_customer(customer("con_3", reference_id="two"))
    outbox.later(1)
    await resources.delete_customer(MERCHANT, "con_2", outbox.world.clock.now())
    await resources.delete_customer(MERCHANT, "con_2", outbox.world.clock.now())
    assert await outbox.events() == [
        (Event.CUSTOMER_CREATED, "con_2"),
        (Event.CUSTOMER_DELETED, "con_2"),
    ]
    assert await outbox.drain() == ["customer.created con_2 {}", "customer.deleted con_2 {}"]


async def test_a_change_that_is_undone_tells_nothing(outbox: OutboxWorld) -> None:
    await outbox.webhook()

    def undone(connection: Connection) -> None:
        customers.add(connection, customer("con_2"))
        raise LookupError

    with pytest.raises(LookupError):
        await outbox.world.database.write(undone)
    with pytest.raises(Refusal):
        await outbox.world.run(grant("g1", 100), settle("r1", 10, customer_id=None), grant("g2", 0))
    # The good commands of that batch stand, as does what they tell.
    assert (Event.CUSTOMER_CREATED, "con_2") not in await outbox.events()
    assert UPDATED in await outbox.events()


async def test_a_batch_tells_each_balance_once(outbox: OutboxWorld) -> None:
    await outbox.webhook()
    await outbox.world.run(
        grant("g1", 100, source=GrantSource.PROMOTION), settle("r1", 10), settle("r2", 20)
    )
    assert await outbox.events() == [UPDATED]
    (told,) = await outbox.drain()
    assert json.loads(told.split(" ", 2)[2]) == {"balance": "0.0000000070"}


async def test_a_hold_alone_and_a_replay_tell_nothing(outbox: OutboxWorld) -> None:
    await outbox.world.run(grant("g1", 100), settle("r1", 1))
    await outbox.webhook()
    await outbox.world.run(hold("r2", 50), grant("g1", 100), settle("r1", 1))
    assert await outbox.events() == []


async def test_a_top_up_is_told_with_its_grant(outbox: OutboxWorld) -> None:
    await outbox.webhook()
    await outbox.world.run(grant("g1", 100))
    assert await outbox.events() == [(Event.TOPPED_UP, CUSTOMER), UPDATED]
    first = (await outbox.drain())[0]
    assert first == ('customer.wallet.topped_up con_1 {"grant_id":"g1","amount":"0.0000000100"}')


async def test_a_balance_is_low_once_for_those_whose_threshold_it_fell_below(
    outbox: OutboxWorld,
) -> None:
    await outbox.webhook("wh_1", low_balance=50)
    await outbox.webhook("wh_2", low_balance=20)
    await outbox.webhook("wh_3")
    plain = {"source": GrantSource.PROMOTION}
    await outbox.world.run(grant("g1", 100, **plain))
    for request_id, amount in (("r1", 50), ("r2", 10), ("r3", 10)):
        outbox.later(1)
        await outbox.world.run(settle(request_id, amount))
    assert await outbox.events("wh_1") == [UPDATED, UPDATED, UPDATED, LOW, UPDATED]
    assert await outbox.events("wh_2") == [UPDATED] * 4
    outbox.later(1)
    await outbox.world.run(settle("r4", 11))
    assert (await outbox.events("wh_2"))[4:] == [UPDATED, LOW]
    assert LOW not in await outbox.events("wh_3")


async def test_credit_is_exhausted_when_the_limit_is_too(outbox: OutboxWorld) -> None:
    await outbox.webhook()
    await outbox.world.resources.change_customer(MERCHANT, CUSTOMER, {"credit_limit": 5})
    await outbox.world.run(grant("g1", 10, source=GrantSource.PROMOTION))
    for request_id, amount in (("r1", 10), ("r2", 5), ("r3", 1)):
        outbox.later(1)
        await outbox.world.run(settle(request_id, amount))
    assert await outbox.events() == [UPDATED, UPDATED, UPDATED, EXHAUSTED, UPDATED]


async def test_an_abandoned_call_is_told_by_its_request(outbox: OutboxWorld) -> None:
    await outbox.webhook()
    await outbox.world.run(grant("g1", 100), hold("r1", 10, kind=HoldKind.FORWARD, ttl_seconds=1))
    await outbox.drain()
    outbox.later(2)
    await outbox.world.run(Expire(MERCHANT, "res_r1", (CUSTOMER,), charge_abandoned=False))
    assert await outbox.drain() == ['request.abandoned con_1 {"request_id":"r1"}']
    outbox.later(1)
    await outbox.world.run(settle("r1", 4))
    assert (Event.REQUEST_ABANDONED, CUSTOMER) not in (await outbox.events())[3:]


async def test_merchants_are_told_of_their_own_alone(outbox: OutboxWorld) -> None:
    other = Merchant("mer_2", "Other", test_mode=False, created_at=1)
    await outbox.world.resources.add_merchant(other)
    await outbox.webhook("wh_1", merchant_id="mer_2")
    await outbox.world.run(grant("g1", 100))
    await outbox.world.resources.add_customer(customer("con_2"))
    assert await outbox.take() == []
