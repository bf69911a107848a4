"""What bulk loading makes is what the ledger would have written, and is read by indexes alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import fields
from itertools import pairwise

import psycopg
import pytest_asyncio
from sqlalchemy import make_url

from benchmarks import filling
from benchmarks.filling import RARE, RARE_LABEL, RARE_METER, Size
from lava_grpc.core.books import RecordFilter
from lava_grpc.core.hold import HoldState
from lava_grpc.core.page import Page
from lava_grpc.core.resources import Merchant
from lava_grpc.core.time import SECOND
from lava_grpc.store import sharded
from lava_grpc.store.database import Database
from lava_grpc.store.postgres import BY_INDEX
from lava_grpc.store.sql import Statements
from tests.integration.store.test_plans import plans
from tests.integration.store.world import MERCHANT, START, World

SIZE = Size(2_000, 40_000)
CUSTOMER = filling.customer_id(7)
BIG = ("accounts", "grants", "holds", "requests", "request_labels", "entries", "customers")


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    database = Database(database_url)
    world = World(database)
    merchant = Merchant(MERCHANT, "Acme", test_mode=False, created_at=1)
    await world.resources.add_merchant(merchant, wallet_limit=None)
    filling.fill(database_url, MERCHANT, SIZE, START, lambda _: None)
    yield world
    await world.ledger.close()
    database.close()


def whole(plan: str) -> list[str]:
    """The lines that read a whole table that grows."""
    return [
        line
        for line in plan.splitlines()
        for name in BIG
        if f"Seq Scan on {name}" in line
        or (line.startswith(f"SCAN {name}") and "USING" not in line)
    ]


async def test_the_books_balance_and_every_look_goes_by_an_index(world: World) -> None:
    report = await world.books.verify(None)
    assert report.findings == []
    assert report.holds_checked == SIZE.requests
    books, deep = world.books, Page(filling.request_id(SIZE.requests // 2))
    with plans(world) as found:
        for wanted in (
            RecordFilter(),
            RecordFilter(CUSTOMER),
            RecordFilter(meter_id=RARE_METER),
            RecordFilter(metadata=(("team", "t7"),)),
            RecordFilter(metadata=(RARE_LABEL,)),
            RecordFilter(CUSTOMER, metadata=(RARE_LABEL,)),
            RecordFilter(meter_id="prd_0", metadata=(("team", "t7"), ("team", "t7"))),
        ):
            await books.list_records(MERCHANT, Page(), wanted)
            await books.list_records(MERCHANT, deep, wanted)
            day = 86_400 * SECOND
            await books.usage_by_day(
                MERCHANT, wanted, start=START - day, before=START, day=START - day
            )
            month = START - 30 * day
            await books.usage_by_day(MERCHANT, wanted, start=month, before=START, day=month)
        for account_id, request_id in ((None, None), (CUSTOMER, None), (None, deep.cursor)):
            await books.list_entries(MERCHANT, Page(), account_id=account_id, request_id=request_id)
        await books.list_entries(
            MERCHANT, Page(filling.entry_id(20)), account_id=None, request_id=None
        )
        for state in (None, *HoldState):
            if state not in (HoldState.RELEASED, HoldState.EXPIRED):
                await books.list_holds(MERCHANT, Page(), customer_id=None, state=state, now=START)
        await books.account(MERCHANT, CUSTOMER)
        await books.list_grants(MERCHANT, CUSTOMER, Page())
        await books.record(MERCHANT, filling.request_id(9))
        await books.hold_of_request(MERCHANT, filling.request_id(9))
        await world.resources.list_customers(MERCHANT, Page(CUSTOMER))
        await world.resources.customer(MERCHANT, "user-11")
    assert len(found) > 35
    assert [line for plan in found for line in whole(plan)] == []
    by_label = [plan for plan in found if "request_labels" in plan]
    assert len(by_label) > 8


async def test_a_customers_page_joins_no_more_accounts_than_it_shows(world: World) -> None:
    deep = filling.customer_id(SIZE.customers // 2)
    with plans(world) as found:
        page = await world.resources.list_customers(MERCHANT, Page(deep))
    assert page.items[0].customer_id == filling.customer_id(SIZE.customers // 2 - 1)
    # Each by its whole key: what is merged is read from its newest row on.
    plan = found[-1]
    assert "account_id = customers.customer_id" in plan or "merchant_id=? AND account_id=?" in plan
    assert "Merge Cond: (customers.customer_id = accounts.account_id)" not in plan


async def test_what_is_rare_is_found_among_the_many(world: World) -> None:
    for wanted in (
        RecordFilter(metadata=(RARE_LABEL,)),
        RecordFilter(meter_id=RARE_METER),
        RecordFilter(meter_id=RARE_METER, metadata=(RARE_LABEL,)),
    ):
        first = await world.books.list_records(MERCHANT, Page(limit=3), wanted)
        rest = await world.books.list_records(MERCHANT, Page(first.next_cursor, 3), wanted)
        ids = [record.request_id for record in (*first.items, *rest.items)]
        assert ids == [filling.request_id(number) for number in reversed(range(RARE))]
        assert rest.next_cursor is None


async def test_each_statement_of_the_ledger_finds_its_rows_by_their_whole_key(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    world = World(database)
    await world.resources.add_merchant(Merchant(MERCHANT, "Acme", test_mode=False, created_at=1))
    filling.fill(postgres_url, MERCHANT, SIZE, START, lambda _: None)
    ids = {"holds_by_request", "records", "granted", "update_records"}
    plans_of: dict[str, str] = {}
    # With the server's own placeholders.
    with psycopg.connect(_libpq(postgres_url), cursor_factory=psycopg.RawCursor) as connection:
        connection.execute(BY_INDEX)
        for name in [each.name for each in fields(Statements)]:
            ident = filling.request_id(5) if name in ids else CUSTOMER
            rows = json.dumps([[MERCHANT, ident, *([0] * 25)]])
            sql: str = getattr(sharded.STATEMENTS, name)
            plan = connection.execute(f"EXPLAIN {sql}".encode(), [rows, MERCHANT])
            plans_of[name] = "\n".join(str(line[0]) for line in plan)
    assert len(plans_of) > 20
    for name, found in plans_of.items():
        assert whole(found) == [], f"{name}\n{found}"
        # The merchant's id alone would go through all of its rows.
        lines = found.splitlines()
        for line, condition in pairwise(lines):
            if any(f" on {table} " in line for table in BIG) and "Index Cond" in condition:
                assert " AND " in condition, f"{name}\n{found}"
    database.close()


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_the_benchmark_runs_at_a_small_size() -> None:
    sizes = ["--customers", "200", "--requests", "2000", "--seconds", "0.2", "--rounds", "1"]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", *sizes, "--engine", "postgres"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures = json.loads(ran.stdout.splitlines()[-1])["postgres"]
    assert figures["requests"] == 2000
    assert figures["bytes_per_request"] > 1000
    assert figures["authorize_64_ratio"] > 0
    assert figures["verify_seconds"] > 0
    assert set(figures["reads_ms"]) == set(figures["reads_ms_empty"])
