"""No statement of the hot path concerns more than one node of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio
from msgspec import structs
from sqlalchemy import create_engine
from typer.testing import CliRunner

from lava_grpc.cli import app
from lava_grpc.core.budget import Limits
from lava_grpc.core.commands import Command, Expire, ExpireGrants, Extend, Release
from lava_grpc.core.errors import Refusal
from lava_grpc.core.resources import Merchant
from lava_grpc.core.time import SECOND
from lava_grpc.store import distribute, schema
from lava_grpc.store.database import Database
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.sharded import by_merchant
from lava_grpc.store.spend_keys import StoreSpendKeys
from lava_grpc.store.sql import Statement
from tests.integration.growth.shards import (
    SHARDS,
    Seen,
    ShardedEngine,
    make_tables,
    shard_of,
    watched,
)
from tests.integration.spend_keys.test_books import spend_key
from tests.integration.store.world import CUSTOMER, World, customer, grant, hold, settle
from tests.support.postgres import PostgresServer

MERCHANTS = tuple(f"mer_{number}" for number in range(6))


@pytest.fixture
def shards_url(shared_postgres: PostgresServer) -> Iterator[str]:
    name = shared_postgres.create_database()
    url = shared_postgres.url(name)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    make_tables(url)
    yield url
    shared_postgres.drop_database(name)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest_asyncio.fixture
async def world(shards_url: str, seen: Seen) -> AsyncIterator[World]:
    database = Database(shards_url)
    world = World(database)
    engine = ShardedEngine(shards_url, seen)
    world.ledger = LedgerStore(engine, world.clock)
    for merchant_id in MERCHANTS:
        await world.resources.add_merchant(
            Merchant(merchant_id, "m", test_mode=False, created_at=1)
        )
        await world.resources.add_customer(customer(CUSTOMER, merchant_id=merchant_id))
    yield world
    await world.ledger.close()
    engine.engine.dispose()
    database.close()


def of_all(*commands: Command) -> list[Command]:
    """Each command for each merchant, mixed."""
    return [
        structs.replace(command, merchant_id=merchant_id)
        for command in commands
        for merchant_id in MERCHANTS
    ]


async def test_holds_settlements_releases_and_ends_touch_one_shard_each(
    world: World, seen: Seen
) -> None:
    await world.run(*of_all(grant("g1", 1000), grant("g2", 5, expires_at=world.clock.now() + 5)))
    await world.run(*of_all(hold("a", 5), hold("b", 5), hold("c", 5), hold("d", 7)))
    await world.run(*of_all(settle("a", 3), Release("", "res_b", (CUSTOMER,))))
    await world.run(*of_all(settle("unheld", 3), Extend("", "res_d", (CUSTOMER,), 600)))
    world.clock.instant += 200 * SECOND
    ended = of_all(Expire("", "res_c", (CUSTOMER,)), ExpireGrants("", CUSTOMER))
    await world.run(*ended)
    assert seen.crossed() == []
    url = world.database.store_engine.engine.url.render_as_string(hide_password=False)
    homes = {shard_of(url, merchant_id) for merchant_id in MERCHANTS}
    assert len(homes) > 2, "the merchants should be spread"
    assert {s for _, shards in seen.shards for s in shards} == homes
    assert len(seen.shards) > 60
    report = await world.books.verify(None)
    assert report.findings == []
    assert report.holds_checked == 4 * len(MERCHANTS)


async def test_what_a_call_looks_up_before_its_hold_touches_one_shard(
    world: World, seen: Seen
) -> None:
    await StoreSpendKeys(world.database).add(
        replace(spend_key(Limits()), merchant_id=MERCHANTS[0]), "1" * 64
    )
    with watched(world.database, seen):
        for merchant_id in MERCHANTS:
            await world.resources.customer(merchant_id, CUSTOMER)
            await world.resources.customer(merchant_id, "by reference")
            await world.resources.meter(merchant_id, "slug")
            await world.books.account(merchant_id, CUSTOMER)
            await world.books.hold(merchant_id, "res_a")
            await world.books.hold_of_request(merchant_id, "a")
            await world.books.record(merchant_id, "a")
        await world.resources.key_owner("0" * 64)
        spend_keys = StoreSpendKeys(world.database)
        assert await spend_keys.owner("1" * 64) is not None
    assert len(seen.shards) >= 7 * len(MERCHANTS)
    assert seen.crossed() == []


async def test_a_statement_that_crosses_shards_would_be_found_out(world: World, seen: Seen) -> None:
    with watched(world.database, seen):
        await world.database.read(
            lambda c: c.exec_driver_sql("SELECT * FROM accounts WHERE account_id = 'con_1'").all()
        )
    assert len(seen.crossed()) == 1
    assert len(seen.shards[0][1]) == SHARDS


def test_a_batch_is_split_by_merchant_in_the_order_of_their_ids() -> None:
    steps = by_merchant(Statement("live_grants", [("m2", "a"), ("m1", "b"), ("m2", "c")]))
    assert [step.parameters for step in steps] == [
        (b'[["m1","b"]]', b"m1"),
        (b'[["m2","a"],["m2","c"]]', b"m2"),
    ]


def test_every_table_is_distributed_or_on_every_node() -> None:
    steps = distribute.steps()
    assert {step.table for step in steps} == set(schema.metadata.tables)
    assert len(steps) == len(schema.metadata.tables)
    reference = {step.table for step in steps if "create_reference_table" in step.sql}
    assert reference == set(distribute.REFERENCE)


def test_every_unique_key_of_a_distributed_table_names_the_merchant() -> None:
    for table in schema.metadata.sorted_tables:
        if table.name not in distribute.REFERENCE:
            assert distribute.unfit(table) == [], table.name
            assert next(iter(table.primary_key.columns.keys())) == "merchant_id"
            assert not table.foreign_keys
    assert distribute.unfit(schema.secret_keys) == ["secret_keys_by_hash"]


def test_distribute_is_refused_where_the_extension_is_missing(postgres_url: str) -> None:
    ran = CliRunner().invoke(app, ["db", "distribute", "--database-url", postgres_url])
    assert ran.exit_code == 2
    assert "no Citus extension" in ran.output


def test_distribute_is_refused_on_sqlite(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with (
        database.store_engine.engine.connect() as connection,
        pytest.raises(Refusal, match="Citus"),
    ):
        distribute.distribute(connection)
    database.close()


def test_a_dry_run_prints_the_statements(sqlite_url: str) -> None:
    ran = CliRunner().invoke(app, ["db", "distribute", "--dry-run", "--database-url", sqlite_url])
    assert ran.exit_code == 0
    lines = ran.output.splitlines()
    assert lines[:4] == [
        "SELECT create_reference_table('merchants');",
        "SELECT create_reference_table('secret_keys');",
        "SELECT create_reference_table('spend_keys');",
        "SELECT create_distributed_table('accounts', 'merchant_id');",
    ]
    assert (
        "SELECT create_distributed_table('requests', 'merchant_id', colocate_with => 'accounts');"
        in lines
    )
