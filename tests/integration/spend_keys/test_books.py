"""Spend keys in the books: verify names what is made wrong, a lost commit counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import update

from lava_grpc.core.budget import Cycle, Limits, RequestLimit, SpendLimit
from lava_grpc.core.commands import Expire, HoldPart, PlaceHold, Release, Settle, SettlePart
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.spend_key import RequestShape, SpendKey, SpendKeyStatus, UsedSpendKey
from lava_grpc.core.time import SECOND
from lava_grpc.core.usage import NOTHING
from lava_grpc.store import schema
from lava_grpc.store.database import Database
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.spend_keys import StoreSpendKeys
from tests.integration.store.world import MERCHANT, START, World, grant

pytestmark = pytest.mark.asyncio

KEY = "spk_1"


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A merchant with a wallet of 1000 and a spend key that may spend 100 a day, in 5 calls."""
    database = Database(database_url)
    world = World(database)
    await world.furnish()
    await world.run(grant("m1", 1000, account_id=MERCHANT))
    limits = Limits(SpendLimit(100, Cycle.DAILY), RequestLimit(5, Cycle.DAILY))
    await StoreSpendKeys(database).add(spend_key(limits), "hash")
    yield world
    await world.ledger.close()
    database.close()


def spend_key(limits: Limits) -> SpendKey:
    return SpendKey(
        merchant_id=MERCHANT,
        spend_key_id=KEY,
        name="n",
        preview="p",
        status=SpendKeyStatus.ACTIVE,
        request_shape=RequestShape.OPENAI,
        allowed_models=None,
        allowed_providers=None,
        limits=limits,
        expires_at=None,
        created_at=START,
    )


def place(name: str, amount: int, *, ttl_seconds: int = 60) -> PlaceHold:
    parts = (
        HoldPart(MERCHANT, Role.COST, amount=amount),
        HoldPart(KEY, Role.BUDGET, amount=amount),
    )
    return PlaceHold(
        merchant_id=MERCHANT,
        request_id=name,
        hold_id=f"res_{name}",
        fingerprint="f",
        kind=HoldKind.FORWARD,
        parts=parts,
        facts=CallFacts(),
        ttl_seconds=ttl_seconds,
    )


def settle(name: str, cost: int) -> Settle:
    parts = (SettlePart(MERCHANT, Role.COST), SettlePart(KEY, Role.BUDGET))
    return Settle(MERCHANT, name, "f", parts, CallFacts(), NOTHING, cost, hold_id=f"res_{name}")


def reason(outcome: Outcome) -> Reason | None:
    return outcome.reason if isinstance(outcome, Refusal) else None


async def used(world: World) -> UsedSpendKey:
    found = await StoreSpendKeys(world.database).find(MERCHANT, KEY)
    assert found is not None
    return found


async def findings(world: World) -> list[tuple[str, str]]:
    return [(one.rule, one.ident) for one in (await world.books.verify(MERCHANT)).findings]


async def test_every_end_of_a_call_keeps_the_books(world: World) -> None:
    await world.run(place("a", 40), place("b", 30), place("c", 20, ttl_seconds=1))
    await world.run(settle("a", 35), Release(MERCHANT, "res_b", (MERCHANT, KEY)))
    world.clock.instant += 2 * SECOND
    await world.run(Expire(MERCHANT, "res_c", (MERCHANT, KEY), charge_abandoned=True))
    found = await used(world)
    assert (found.total_spend, found.budget.requests) == (55, 3)
    # 45 are left: more is used than was held, and charged all the same.
    await world.run(place("d", 45))
    await world.run(settle("d", 60))
    assert (await used(world)).total_spend == 115
    refused = await world.ledger.apply([place("e", 1)])
    assert reason(refused[0]) is Reason.INSUFFICIENT_CREDITS
    assert await findings(world) == []


async def test_a_command_that_is_applied_again_counts_once(world: World) -> None:
    await world.run(place("a", 10))
    await world.run(place("a", 10))
    assert (await used(world)).budget.requests == 1
    assert await findings(world) == []


async def test_of_one_batch_as_many_go_through_as_the_limits_say(world: World) -> None:
    outcomes = await world.ledger.apply([place(f"r{number}", 30) for number in range(4)])
    assert [reason(one) for one in outcomes] == [None] * 3 + [Reason.INSUFFICIENT_CREDITS]
    outcomes = await world.ledger.apply([place(f"s{number}", 1) for number in range(4)])
    assert [reason(one) for one in outcomes] == [None] * 2 + [Reason.RATE_LIMITED] * 2
    assert (await used(world)).budget.requests == 5
    assert await findings(world) == []


async def test_a_revoked_key_places_no_hold_and_settles_what_it_has(world: World) -> None:
    await world.run(place("a", 10))
    assert await StoreSpendKeys(world.database).revoke(MERCHANT, KEY, START)
    outcomes = await world.ledger.apply([place("b", 10), settle("a", 8)])
    assert reason(outcomes[0]) is Reason.INVALID_CREDENTIALS
    assert reason(outcomes[1]) is None
    assert await findings(world) == []


async def test_verify_names_a_budget_that_was_passed_or_miscounted(world: World) -> None:
    await world.run(place("a", 90))
    mine = schema.budgets.c.account_id == KEY
    for values, rule in (({"spend_amount": 80}, "overspend"), ({"requests": 2}, "once")):
        await world.database.write(
            lambda c, v=values: c.execute(  # type: ignore[misc]
                update(schema.budgets).where(mine).values(v)
            )
        )
        assert (rule, KEY) in await findings(world)


async def test_two_processes_share_one_budget(postgres_url: str) -> None:
    databases = [Database(postgres_url) for _ in range(2)]
    world = World(databases[0])
    await world.furnish()
    await world.run(grant("m1", 1000, account_id=MERCHANT))
    limits = Limits(SpendLimit(60, Cycle.TOTAL), RequestLimit(25, Cycle.TOTAL))
    await StoreSpendKeys(databases[0]).add(spend_key(limits), "hash")
    stores = [
        LedgerStore(database.store_engine, world.clock, io=database.in_writer, turn=database.turn)
        for database in databases
    ]

    async def run(number: int, amount: int) -> int:
        placed = 0
        for call in range(20):
            outcomes = await stores[number].apply([place(f"{number}-{amount}-{call}", amount)])
            placed += reason(outcomes[0]) is None
        return placed

    try:
        # 20 of 3 come to 60; then nothing is left to spend, and 5 more calls may come.
        assert sum(await asyncio.gather(run(0, 3), run(1, 3))) == 20
        assert sum(await asyncio.gather(run(0, 0), run(1, 0))) == 5
        assert (await used(world)).budget.requests == 25
        assert await findings(world) == []
    finally:
        await world.ledger.close()
        for store, database in zip(stores, databases, strict=True):
            await store.close()
            database.close()
