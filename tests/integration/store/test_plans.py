"""Lists and look-ups go by an index, whatever a merchant has stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from lava_grpc.core.books import RecordFilter
from lava_grpc.core.hold import HoldState
from lava_grpc.core.page import Page
from tests.integration.store.world import CUSTOMER, MERCHANT, START, World, grant, hold, settle

ROWS = 3000


@contextmanager
def plans(world: World) -> Iterator[list[str]]:
    """How the engine runs each query that is asked meanwhile, one text a query."""
    found: list[str] = []

    def explain(
        connection: Connection,
        cursor: Any,  # noqa: ANN401
        statement: str,
        parameters: Any,  # noqa: ANN401
        _context: object,
        _many: object,
    ) -> None:
        if statement.startswith("SELECT"):
            word = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{word} {statement}", parameters)
            found.append("\n".join([str(row[-1]) for row in cursor.fetchall()]))

    engine = world.database.store_engine.engine
    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def scans(plan: str) -> list[str]:
    """The lines that read a whole table that grows."""
    whole = ("Seq Scan on ", "SCAN ")  # SQLite's "SCAN ... USING INDEX" walks one in order
    tables = ("holds", "requests", "entries")
    return [
        line
        for line in plan.splitlines()
        if any(word + table in line for word in whole for table in tables)
        and "USING INDEX" not in line
    ]


async def fill(world: World) -> None:
    """Many settled holds, a few active."""
    await world.run(grant("g1", 10**12))
    for start in range(0, ROWS, 500):
        names = [f"r{index:05}" for index in range(start, start + 500)]
        await world.run(*[hold(name, 5) for name in names], *[settle(name, 1) for name in names])
    await world.run(*[hold(f"active{index}", 5) for index in range(5)])
    await analyze(world)


async def analyze(world: World) -> None:
    """What autovacuum does. Nobody does it for SQLite."""
    if world.database.store_engine.engine.dialect.name == "postgresql":
        await world.database.write(lambda c: c.exec_driver_sql("ANALYZE"))


async def test_no_list_or_look_up_reads_a_whole_table(world: World) -> None:
    await fill(world)
    books = world.books
    with plans(world) as found:
        await books.account(MERCHANT, CUSTOMER)
        await books.hold(MERCHANT, "res_r00007")
        await books.record(MERCHANT, "r00007")
        for wanted in (RecordFilter(), RecordFilter(CUSTOMER), RecordFilter(meter_id="prd_1")):
            first = await books.list_records(MERCHANT, Page(), wanted)
            await books.list_records(MERCHANT, Page(first.next_cursor), wanted)
        for account_id, request_id in ((None, None), (CUSTOMER, None), (None, "r00007")):
            await books.list_entries(MERCHANT, Page(), account_id=account_id, request_id=request_id)
        for state in (None, HoldState.ACTIVE, HoldState.SETTLED):
            await books.list_holds(MERCHANT, Page(), customer_id=None, state=state, now=START)
    assert len(found) > 15
    assert [line for plan in found for line in scans(plan)] == []


async def test_rows_of_one_account_are_not_looked_for_among_the_merchants_others(
    world: World,
) -> None:
    await fill(world)
    with plans(world) as found:
        await world.books.account(MERCHANT, CUSTOMER)
        await world.books.list_grants(MERCHANT, CUSTOMER, Page())
        await world.books.list_entries(MERCHANT, Page(), account_id=MERCHANT, request_id=None)
        await world.books.list_entries(MERCHANT, Page(), account_id=None, request_id="r00007")
        await world.books.list_records(MERCHANT, Page(), RecordFilter("con_9"))
    if world.database.store_engine.engine.dialect.name == "postgresql":
        found = found[2:]  # a table of one grant is read whole
    else:
        assert "grants_live" in found[0]
        assert "grants_by_account" in found[1]
        found = found[2:]
    assert "entries_by_account" in found[0]
    assert "entries_by_request" in found[1]
    assert "requests_by_customer" in found[2]


async def test_the_few_active_holds_are_found_among_the_many_by_their_index(
    world: World,
) -> None:
    await fill(world)
    with plans(world) as found:
        page = await world.books.list_holds(
            MERCHANT, Page(), customer_id=None, state=HoldState.ACTIVE, now=START
        )
        await world.books.list_records(MERCHANT, Page(), RecordFilter())
        await world.books.account(MERCHANT, CUSTOMER)
    assert len(page.items) == 5
    assert all("holds_active" in plan for plan in found[:2]), found


async def test_a_page_of_requests_reads_no_more_active_holds_than_it_needs(world: World) -> None:
    await fill(world)
    for start in range(0, ROWS, 500):
        await world.run(*[hold(f"p{index:05}", 5) for index in range(start, start + 500)])
    await analyze(world)
    with plans(world) as found:
        page = await world.books.list_records(MERCHANT, Page(), RecordFilter())
        await world.books.list_records(MERCHANT, Page(page.next_cursor), RecordFilter())
    assert page.items[0].request_id == f"r{ROWS - 1:05}"
    merged = [plan for plan in found if "holds_active_by_time" in plan]
    assert len(merged) == 2, found
    assert not any("holds_active " in plan for plan in merged), merged


async def test_holds_of_many_requests_are_found_by_their_requests(world: World) -> None:
    await fill(world)
    asked = [f"r{index:05}" for index in range(0, ROWS, 60)]
    with plans(world) as found:
        holds = await world.books.holds_of_requests(MERCHANT, asked)
    assert sorted(holds) == asked
    assert "holds_by_request" in found[0]
    # A merchant's id alone is all of its holds.
    assert "PRIMARY KEY (merchant_id=?)" not in found[0]
