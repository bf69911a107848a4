"""What a batch on SQLite may hold up, and what it may not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from sqlalchemy import make_url

from lava_grpc.store import sqlite
from lava_grpc.store.database import Database
from lava_grpc.store.engine import LedgerSession
from lava_grpc.store.sql import Statement

T = TypeVar("T")

ONE = Statement("lock_accounts", [("mer_1", "con_1")])
MANY = Statement("lock_accounts", [("mer_1", "con_1")] * 4000)


class InThread:
    """As the service has it, and counted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.calls = 0

    async def __call__(self, work: Callable[[], T]) -> T:
        self.calls += 1
        return await self._database.in_writer(work)


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[tuple[LedgerSession, InThread]]:
    database = Database(url)
    io = InThread(database)
    session = await database.store_engine.session(io)
    io.calls = 0
    yield session, io
    await session.close()
    database.close()


async def test_small_statements_need_no_thread_and_a_commit_does(sqlite_url: str) -> None:
    async with _session(sqlite_url) as (session, io):
        assert await session.load([ONE]) == [[]]
        assert io.calls == 0
        await session.write([])
        assert io.calls == 1


async def test_large_statements_run_in_the_thread(sqlite_url: str) -> None:
    async with _session(sqlite_url) as (session, io):
        assert await session.load([MANY]) == [[]]
        assert io.calls == 1
        await session.rollback()


async def test_after_a_slow_batch_others_run_in_the_thread(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "ON_LOOP_SECONDS_MAX", 0.0)
    monkeypatch.setattr(sqlite, "BATCHES_IN_THREAD", 2)
    async with _session(sqlite_url) as (session, io):
        calls = []
        for _ in range(4):
            await session.load([ONE])
            calls.append(io.calls)
            await session.rollback()
    assert calls == [0, 1, 1, 2]


async def test_another_writer_is_waited_for_without_blocking_the_loop(sqlite_url: str) -> None:
    path = make_url(sqlite_url).database
    assert path is not None
    async with _session(sqlite_url) as (session, io):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        loading = asyncio.create_task(session.load([ONE]))
        while not io.calls:  # noqa: ASYNC110 - counted, not told
            await asyncio.sleep(0)
        # The loop is free while the batch waits for its turn: this line is reached.
        assert not loading.done()
        other.execute("COMMIT")
        assert await asyncio.wait_for(loading, 30) == [[]]
        await session.rollback()
        other.close()
