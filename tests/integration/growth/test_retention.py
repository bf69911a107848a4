"""Holds that ended long ago are removed: the books still balance, and nothing is charged twice."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from lava_grpc import config
from lava_grpc.core.budget import Limits
from lava_grpc.core.commands import Expire, HoldPart, Release
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import HoldKind, Role
from lava_grpc.core.resources import Merchant
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.store import schema
from lava_grpc.store.retention import DAY, PAUSE_SECONDS, PRUNED_MAX, Retention
from lava_grpc.store.spend_keys import StoreSpendKeys
from tests.integration.spend_keys.test_books import KEY, spend_key
from tests.integration.store.world import CUSTOMER, MERCHANT, START, World, grant, hold, settle

KEPT_DAYS = 35
MONTHS_LATER: Instant = START + 60 * DAY


async def prune_all(world: World) -> int:
    """Everything that is old."""
    retention = Retention(world.database, world.clock, kept_days=KEPT_DAYS)
    total = 0
    for _ in range(50):
        total += await retention.prune()
    return total


async def count(world: World) -> int:
    """How many holds there are."""
    return await world.database.read(
        lambda c: c.execute(select(func.count()).select_from(schema.holds)).scalar_one()
    )


async def lives(world: World) -> None:
    """A hold of each kind of end, and one that is active."""
    await world.run(grant("g1", 10**6))
    await world.run(*[hold(name, 5) for name in ("settled", "over", "released", "expired")])
    await world.run(
        settle("settled", 3), settle("over", 9), Release(MERCHANT, "res_released", (CUSTOMER,))
    )
    await world.run(hold("late", 5), hold("abandoned", 5, kind=HoldKind.FORWARD))
    world.clock.instant += 200 * SECOND
    names = ("expired", "late", "abandoned")
    await world.run(*[Expire(MERCHANT, f"res_{name}", (CUSTOMER,)) for name in names])
    await world.run(settle("late", 2), settle("without a hold", 1))
    await world.run(hold("active", 5, ttl_seconds=86_400 * 365))


async def test_ended_holds_go_and_the_books_still_balance(world: World) -> None:
    await lives(world)
    assert await count(world) == 7
    world.clock.instant = MONTHS_LATER
    await world.run(hold("young", 5), settle("young", 5))
    assert await prune_all(world) == 6
    assert await count(world) == 2
    assert not (await world.books.verify(None)).findings
    assert not (await world.books.verify(MERCHANT)).findings


async def test_a_request_whose_hold_is_gone_is_not_charged_again(world: World) -> None:
    await lives(world)
    first = await world.books.record(MERCHANT, "settled")
    world.clock.instant = MONTHS_LATER
    await prune_all(world)
    assert await world.books.record(MERCHANT, "settled") == first
    (again,) = await world.run(settle("settled", 3))
    assert again.replayed  # type: ignore[union-attr]
    (held,) = await world.ledger.apply([hold("settled", 5)])
    assert isinstance(held, Refusal)
    assert held.reason is Reason.REQUEST_ID_REUSED
    assert not (await world.books.verify(None)).findings


async def test_an_abandoned_call_can_still_be_reported_and_is_charged_once(world: World) -> None:
    await lives(world)
    world.clock.instant = MONTHS_LATER
    await prune_all(world)
    (settled,) = await world.run(settle("abandoned", 4))
    assert not settled.replayed  # type: ignore[union-attr]
    (again,) = await world.run(settle("abandoned", 4))
    assert again.replayed  # type: ignore[union-attr]
    assert not (await world.books.verify(None)).findings


async def test_a_young_hold_that_is_lost_is_still_told_of(world: World) -> None:
    await lives(world)
    world.clock.instant = MONTHS_LATER
    await world.run(hold("young", 5), settle("young", 5))
    await prune_all(world)
    await world.database.write(
        lambda c: c.execute(schema.holds.delete().where(schema.holds.c.hold_id == "res_young"))
    )
    found = (await world.books.verify(None)).findings
    assert [(finding.rule, finding.ident) for finding in found] == [
        ("overspend", "young"),
        ("once", "young"),
    ]


async def test_nothing_goes_that_is_younger_than_the_days_kept(world: World) -> None:
    await lives(world)
    world.clock.instant = START + (KEPT_DAYS - 1) * DAY
    assert await prune_all(world) == 0
    assert await count(world) == 7


async def test_a_spend_keys_calls_are_still_all_accounted_for(world: World) -> None:
    await world.run(grant("g1", 10**6))
    await StoreSpendKeys(world.database).add(spend_key(Limits()), "0" * 64)
    budget = HoldPart(KEY, Role.BUDGET, amount=5)
    held = [hold(name, 5) for name in ("one", "two", "three")]
    await world.run(*[replace(each, parts=(*each.parts, budget)) for each in held])
    accounts = (CUSTOMER, KEY)
    await world.run(*[Release(MERCHANT, f"res_{name}", accounts) for name in ("one", "two")])
    assert not (await world.books.verify(None)).findings
    world.clock.instant = MONTHS_LATER
    await world.run(Expire(MERCHANT, "res_three", accounts))
    assert await prune_all(world) == 3
    assert not (await world.books.verify(None)).findings


async def test_many_go_in_batches_merchant_by_merchant(world: World) -> None:
    await world.resources.add_merchant(Merchant("mer_2", "Other", test_mode=False, created_at=1))
    await world.run(grant("g1", 10**9))
    names = [f"r{index:05}" for index in range(PRUNED_MAX + 100)]
    await world.run(*[hold(name, 5) for name in names])
    await world.run(*[settle(name, 1) for name in names])
    world.clock.instant = MONTHS_LATER
    retention = Retention(world.database, world.clock, kept_days=KEPT_DAYS)
    assert [await retention.prune() for _ in range(3)] == [PRUNED_MAX, 100, 0]
    # Both merchants are done: nothing is looked for until the pause is over.
    assert await retention.prune() == 0
    await world.run(hold("after", 5), settle("after", 1))
    world.clock.instant += 40 * DAY
    assert PAUSE_SECONDS < 40 * 86_400
    assert [await retention.prune() for _ in range(3)].count(1) == 1
    assert await count(world) == 0


def test_less_than_what_a_months_work_needs_is_refused() -> None:
    with pytest.raises(config.ConfigError, match="LAVA_HOLDS_KEPT_DAYS"):
        config.load({"holds_kept_days": 34})
    assert config.load({"holds_kept_days": 35}).holds_kept_days == 35
