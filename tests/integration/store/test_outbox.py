"""How deliveries are taken, retried and kept, on both engines."""

from __future__ import annotations

import asyncio

import pytest

from lava_grpc.core.account import GrantSource
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.webhooks import PAUSES_SECONDS, DeliveryState, Event
from lava_grpc.store import schema
from tests.integration.store.outbox_world import LEASE, OutboxWorld
from tests.integration.store.world import CUSTOMER, MERCHANT, World, customer, grant, settle

DAY_SECONDS = 86_400


@pytest.fixture
async def outbox(world: World) -> OutboxWorld:
    made = OutboxWorld(world)
    await made.webhook()
    return made


async def _customers(outbox: OutboxWorld, *idents: str) -> None:
    for ident in idents:
        await outbox.world.resources.add_customer(
            customer(ident, created_at=outbox.world.clock.now())
        )
        outbox.later(0.01)


async def test_what_is_taken_is_nobody_elses_until_its_lease_ends(outbox: OutboxWorld) -> None:
    await _customers(outbox, "con_2")
    (first,) = await outbox.take()
    assert (first.attempt, first.url, first.secret) == (1, "https://wh-1.example.com/", "wh_1")
    assert await outbox.take() == []
    # Its process dies here.
    outbox.later(LEASE / 1_000_000)
    (again,) = await outbox.take()
    assert (again.delivery_id, again.body, again.attempt) == (first.delivery_id, first.body, 2)
    # The first one lives after all, and fails late: that changes nothing.
    await outbox.end(first, 500, "answered 500")
    await outbox.end(again)
    (done,) = await outbox.deliveries()
    assert (done.state, done.attempts, done.response_status) == (DeliveryState.DELIVERED, 2, 200)


async def test_two_who_take_at_once_never_get_the_same(outbox: OutboxWorld) -> None:
    await _customers(outbox, *[f"con_{i}" for i in range(10, 30)])
    taken = await asyncio.gather(*[outbox.take(room=8) for _ in range(4)])
    ids = [outgoing.delivery_id for part in taken for outgoing in part]
    assert len(ids) == len(set(ids))
    while more := await outbox.take():
        ids += [outgoing.delivery_id for outgoing in more]
    assert len(ids) == len(set(ids)) == 20


async def test_a_customers_events_wait_for_the_one_before(outbox: OutboxWorld) -> None:
    await _customers(outbox, "con_2", "con_3")
    await outbox.world.resources.delete_customer(MERCHANT, "con_2", outbox.world.clock.now())
    first = await outbox.take()
    assert [outgoing.body.split()[1] for outgoing in first] == ["con_2", "con_3"]
    await outbox.end(first[1])
    await outbox.end(first[0], 503, "answered 503")
    assert await outbox.take() == []
    outbox.later(PAUSES_SECONDS[0])
    assert await outbox.drain() == ["customer.created con_2 {}", "customer.deleted con_2 {}"]


async def test_pauses_grow_until_the_last_attempt_has_failed(outbox: OutboxWorld) -> None:
    await _customers(outbox, "con_2")
    begun = outbox.world.clock.now()
    for number, pause in enumerate((*PAUSES_SECONDS, 0), start=1):
        (taken,) = await outbox.take()
        assert taken.attempt == number
        await outbox.end(taken, None, "did not answer in time")
        assert await outbox.take() == []
        if pause:
            outbox.later(pause - 0.001)
            assert await outbox.take() == []
            outbox.later(0.001)
    (failed,) = await outbox.deliveries()
    assert (failed.state, failed.due_at) == (DeliveryState.FAILED, None)
    assert failed.error == "did not answer in time"
    assert DAY_SECONDS * 0.9 < (outbox.world.clock.now() - begun) / 1_000_000 < DAY_SECONDS
    outbox.later(DAY_SECONDS)
    assert await outbox.take() == []


async def test_what_has_failed_can_be_sent_again_as_it_was(outbox: OutboxWorld) -> None:
    await _customers(outbox, "con_2")
    (taken,) = await outbox.take()
    await outbox.end(taken)
    assert await outbox.take() == []
    now = outbox.world.clock.now()
    again = await outbox.store.send_again(MERCHANT, "wh_1", taken.delivery_id, now)
    assert again is not None
    assert (again.state, again.attempts, again.ended_at) == (DeliveryState.PENDING, 0, None)
    (second,) = await outbox.take()
    assert (second.delivery_id, second.body, second.attempt) == (taken.delivery_id, taken.body, 1)
    assert await outbox.store.send_again("mer_2", "wh_1", taken.delivery_id, now) is None
    assert await outbox.store.send_again(MERCHANT, "wh_2", taken.delivery_id, now) is None


async def test_balances_that_nobody_was_told_of_are_told_as_one(outbox: OutboxWorld) -> None:
    plain = {"source": GrantSource.PROMOTION}
    await outbox.world.run(grant("g1", 100, **plain))
    (first,) = await outbox.take()
    for number in range(5):
        outbox.later(0.01)
        await outbox.world.run(settle(f"r{number}", 10))
    await outbox.end(first)
    assert await outbox.drain() == [
        'customer.wallet.balance.updated con_1 {"balance":"0.0000000050"}'
    ]
    assert len(await outbox.deliveries()) == 2


async def test_a_retry_is_never_merged_away(outbox: OutboxWorld) -> None:
    plain = {"source": GrantSource.PROMOTION}
    await outbox.world.run(grant("g1", 100, **plain))
    (first,) = await outbox.take()
    await outbox.end(first, 500, "answered 500")
    outbox.later(PAUSES_SECONDS[0])
    await outbox.world.run(settle("r1", 10))
    balances = [body.rpartition(" ")[2] for body in await outbox.drain()]
    assert balances == ['{"balance":"0.0000000100"}', '{"balance":"0.0000000090"}']


async def test_a_slow_webhook_leaves_room_for_the_others(outbox: OutboxWorld) -> None:
    await outbox.webhook("wh_2")
    await _customers(outbox, *[f"con_{i}" for i in range(10, 16)])
    taken = await outbox.take(room=6, per_webhook=3)
    assert sorted(outgoing.webhook_id for outgoing in taken) == ["wh_1"] * 3 + ["wh_2"] * 3
    more = await outbox.take(room=6, per_webhook=3, in_flight={"wh_1": 3, "wh_2": 1})
    assert [outgoing.webhook_id for outgoing in more] == ["wh_2"] * 2


async def test_a_deleted_webhook_takes_its_deliveries_with_it(outbox: OutboxWorld) -> None:
    await _customers(outbox, "con_2")
    assert not await outbox.store.remove("mer_2", "wh_1")
    assert await outbox.store.remove(MERCHANT, "wh_1")
    assert not await outbox.store.remove(MERCHANT, "wh_1")
    assert await outbox.take() == []
    assert await outbox.deliveries() == []


async def test_a_merchant_has_a_bounded_number_of_webhooks(outbox: OutboxWorld) -> None:
    await outbox.webhook("wh_2")
    await outbox.webhook("wh_3")
    with pytest.raises(Refusal) as refused:
        await outbox.webhook("wh_4")
    assert refused.value.reason is Reason.PERMISSION_DENIED


async def test_old_deliveries_go_failed_ones_later(outbox: OutboxWorld) -> None:
    await _customers(outbox, "con_2", "con_3", "con_4")
    taken = await outbox.take()
    await outbox.end(taken[0])
    failed = {"state": "failed", "ended_at": outbox.world.clock.now(), "due_at": None}
    await outbox.world.database.write(
        lambda c: c.execute(
            schema.webhook_deliveries.update()
            .where(schema.webhook_deliveries.c.delivery_id == taken[1].delivery_id)
            .values(failed)
        )
    )
    assert await outbox.store.prune(outbox.world.clock.now()) == 0
    outbox.later(7 * DAY_SECONDS)
    assert await outbox.store.prune(outbox.world.clock.now()) == 1
    left = [delivery.state for delivery in await outbox.deliveries()]
    assert left == [DeliveryState.FAILED, DeliveryState.PENDING]
    outbox.later(23 * DAY_SECONDS)
    assert await outbox.store.prune(outbox.world.clock.now()) == 1
    assert [d.state for d in await outbox.deliveries()] == [DeliveryState.PENDING]


async def test_what_a_webhook_left_behind_is_swept_up(outbox: OutboxWorld) -> None:
    # A batch that commits while its webhook is being deleted.
    await outbox.world.insert(
        schema.webhook_deliveries,
        merchant_id=MERCHANT,
        webhook_id="wh_gone",
        delivery_id="msg_1",
        customer_id=CUSTOMER,
        event=Event.BALANCE_UPDATED.value,
        details="{}",
        state="pending",
        attempts=0,
        due_at=outbox.world.clock.now(),
        created_at=outbox.world.clock.now(),
    )
    assert await outbox.take() == []
    outbox.later(DAY_SECONDS)
    assert await outbox.store.prune(outbox.world.clock.now()) == 1
    assert await outbox.deliveries("wh_gone") == []
