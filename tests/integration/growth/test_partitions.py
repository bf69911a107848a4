"""The table of entries in parts by month: same books, same answers, by the newest parts alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import func, select, table

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.page import Page
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.store import partitions, verify
from lava_grpc.store.database import Database
from tests.integration.store.test_plans import plans
from tests.integration.store.world import CUSTOMER, MERCHANT, START, World, grant, hold, settle

DAY: Instant = 86_400 * SECOND
# START is in January 2027.


@pytest_asyncio.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    database = Database(postgres_url)
    world = World(database)
    await world.furnish()
    yield world
    await world.ledger.close()
    database.close()


async def use(world: World, name: str, count: int = 20) -> None:
    """Holds and charges."""
    names = [f"{name}{index}" for index in range(count)]
    await world.run(*[hold(ident, 5) for ident in names])
    await world.run(*[settle(ident, 1) for ident in names])


async def count(world: World, part: str) -> int:
    """How many rows a part has."""
    query = select(func.count()).select_from(table(part))
    return await world.database.read(lambda c: c.execute(query).scalar_one())


async def test_entries_from_before_and_after_are_one_list_and_the_books_balance(
    world: World,
) -> None:
    await world.run(grant("g1", 10**6))
    await use(world, "old")
    await world.database.write(lambda c: partitions.partition(c, START, months=3))
    # The session that was open goes on, and its prepared statements with it.
    await use(world, "same-month")
    for month in range(1, 4):
        world.clock.instant = START + month * 31 * DAY
        await use(world, f"month{month}-")
    assert not (await world.books.verify(None)).findings
    page = await world.books.list_entries(
        MERCHANT, Page(limit=100), account_id=CUSTOMER, request_id=None
    )
    second = await world.books.list_entries(
        MERCHANT, Page(page.next_cursor, 100), account_id=CUSTOMER, request_id=None
    )
    kinds = [stored.entry.kind.value for stored in (*page.items, *second.items)]
    assert kinds == ["charge"] * 100 + ["grant"]
    names = ("entries_before", "entries_2027_02", "entries_2027_03", "entries_2027_04")
    rows = {name: await count(world, name) for name in names}
    assert rows == {
        "entries_before": 41,
        "entries_2027_02": 20,
        "entries_2027_03": 20,
        "entries_2027_04": 20,
    }


async def test_a_page_reads_no_more_parts_than_it_needs(world: World) -> None:
    await world.run(grant("g1", 10**6))
    await world.database.write(lambda c: partitions.partition(c, START, months=6))
    for month in range(1, 4):
        world.clock.instant = START + month * 31 * DAY
        await use(world, f"month{month}-")
    newest = await world.books.list_entries(MERCHANT, Page(), account_id=None, request_id=None)
    with plans(world) as found:
        await world.books.list_entries(
            MERCHANT, Page(newest.items[-1].entry_id), account_id=CUSTOMER, request_id=None
        )
    listed = found[-1]
    # What is newer than the cursor is pruned before anything is read.
    assert "entries_2027_04" in listed
    assert "entries_2027_05" not in listed
    assert "Seq Scan" not in listed


async def test_running_it_again_adds_the_months_to_come_and_changes_nothing_else(
    world: World,
) -> None:
    await world.run(grant("g1", 10**6))
    first = await world.database.write(lambda c: partitions.partition(c, START, months=2))
    assert len([s for s in first if "FOR VALUES FROM ('" in s]) == 2
    assert await world.database.read(lambda c: partitions.plan(c, START, months=2)) == []
    later = START + 62 * DAY
    added = await world.database.write(lambda c: partitions.partition(c, later, months=2))
    assert [s.split()[2] for s in added] == ["entries_2027_04", "entries_2027_05"]


async def test_entries_without_a_part_are_kept_in_the_rest_and_told_of(world: World) -> None:
    await world.run(grant("g1", 10**6))
    await world.database.write(lambda c: partitions.partition(c, START, months=1))
    world.clock.instant = START + 90 * DAY
    await use(world, "late")
    assert not (await world.books.verify(None)).findings
    with pytest.raises(Refusal, match="entries_rest"):
        await world.database.write(lambda c: partitions.partition(c, world.clock.instant))


async def test_sqlite_has_no_parts(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with pytest.raises(Refusal) as refused:
        await database.read(lambda c: partitions.plan(c, START))
    assert refused.value.reason is Reason.INVALID_FIELD
    database.close()


async def test_a_parted_table_is_verified_in_one_snapshot(world: World) -> None:
    await world.run(grant("g1", 10**6))
    await world.database.write(lambda c: partitions.partition(c, START))
    await use(world, "new")
    report = await world.database.read(lambda c: verify.check(c, MERCHANT))
    assert report.entries_checked == 21
    assert report.findings == []
