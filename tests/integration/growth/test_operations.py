"""What docs/operations/ says an operator can do: replicas, restores, poolers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from typer.testing import CliRunner

from lava_grpc.cli import app
from lava_grpc.store.database import Database
from lava_grpc.store.migrations import upgrade
from lava_grpc.store.pipeline import Pipeline, Step
from tests.integration.store.world import World, grant, hold, settle
from tests.support.postgres import PostgresServer

NAMES = [f"r{index}" for index in range(20)]


async def use(world: World) -> None:
    """Credit, holds and charges."""
    await world.furnish()
    await world.run(grant("g1", 10**6))
    await world.run(*[hold(name, 5) for name in NAMES])
    await world.run(*[settle(name, 1) for name in NAMES[:10]])


async def used(url: str) -> None:
    """A database with some history."""
    database = Database(url)
    world = World(database)
    await use(world)
    await world.ledger.close()
    database.close()


async def verified(url: str) -> str:
    """What `lava-grpc verify` prints of clean books."""
    arguments = ["verify", "--database-url", url]
    ran = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert ran.exit_code == 0, ran.output
    return ran.output


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    with PostgresServer(fsync=False) as server:
        yield server


async def test_verify_runs_on_a_replica(primary: PostgresServer) -> None:
    name = primary.create_database()
    upgrade(primary.url(name))
    replica = primary.replicate()
    try:
        await used(primary.url(name))
        # What is committed there is soon here.
        async with asyncio.timeout(30):
            while "20 holds" not in await verified(replica.url(name)):  # noqa: ASYNC110 - another process writes
                await asyncio.sleep(0.05)
        assert _writable(replica.url(name)) is False
        assert _writable(primary.url(name)) is True
    finally:
        replica.stop()


async def test_a_dump_is_restored_and_verified(primary: PostgresServer) -> None:
    name = primary.create_database()
    upgrade(primary.url(name))
    await used(primary.url(name))
    dump = primary.folder / "lava.dump"
    primary.run("pg_dump", "--format=custom", f"--file={dump}", _libpq(primary.url(name)))
    restored = primary.url(primary.create_database())
    primary.run("pg_restore", f"--dbname={_libpq(restored)}", "--exit-on-error", str(dump))
    assert "20 holds" in await verified(restored)


async def test_a_copy_of_sqlite_is_verified(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    world = World(database)
    await use(world)
    # While it is open and written to.
    copy = tmp_path / "copy.db"
    source = make_url(sqlite_url).database
    assert source is not None
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(copy)) as other:
        one.backup(other)
    await world.run(settle(NAMES[10], 1))
    assert "20 holds" in await verified(f"sqlite:///{copy}")
    await world.ledger.close()
    database.close()


LEFT_BEHIND = (
    "SELECT name FROM pg_settings WHERE source = 'session' AND name LIKE 'enable%'",
    "SELECT pg_listening_channels()",
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'",
    "SELECT 1 FROM pg_class WHERE relpersistence = 't'",
    "SELECT name FROM pg_cursors WHERE is_holdable",
    "SELECT statement FROM pg_prepared_statements WHERE from_sql",
)
"""What a session may have, and must not once a transaction is over."""


async def test_a_transaction_leaves_nothing_behind_in_its_session(postgres_url: str) -> None:
    database = Database(postgres_url)
    world = World(database)
    await use(world)
    session = await world.ledger._opened()  # noqa: SLF001 - the connection that a pooler would share
    pipeline: Pipeline = session._pipeline  # type: ignore[attr-defined] # noqa: SLF001
    left = await pipeline.run([Step(f"left_{i}", text) for i, text in enumerate(LEFT_BEHIND)])
    # Parsed by the protocol, which a pooler follows, and not by SQL, which it does not.
    assert left == [[]] * len(LEFT_BEHIND)
    idle = psycopg.pq.TransactionStatus.IDLE
    assert pipeline._libpq.transaction_status == idle  # noqa: SLF001
    await world.ledger.close()
    database.close()


def _writable(url: str) -> bool:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return not connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one()


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
