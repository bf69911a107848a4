"""The database as the rest of the service sees it: reads and writes off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, make_url, text

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.store.engine import StoreEngine
from lava_grpc.store.postgres import PostgresEngine
from lava_grpc.store.sqlite import SqliteEngine

T = TypeVar("T")

CONNECTIONS_MAX = 8
ATTEMPTS_MAX = 5
"""How often a management write that met a conflict is run."""


class Database:
    """One database. Statements run in threads: `reads` in several, batches in one.

    Without `prepare` no statement stays prepared on a PostgreSQL server, for poolers that
    lend its connections out for one transaction.
    """

    def __init__(
        self, url: str, *, connections_max: int = CONNECTIONS_MAX, prepare: bool = True
    ) -> None:
        self.store_engine: StoreEngine = _engine(
            url, connections_max=connections_max, prepare=prepare
        )
        self._threads = ThreadPoolExecutor(connections_max, thread_name_prefix="lava-db")
        # The thread of the ledger's batches; on SQLite every write goes through it.
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="lava-writer")
        # Where there is one writer, whose turn it is. A batch is several steps in that
        # thread: a write between them would wait, in it, for the batch to commit.
        self.turn: asyncio.Lock | None = asyncio.Lock() if self.store_engine.single_writer else None

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, run in a transaction that does not write.

        Refuses STORE_UNAVAILABLE where the database cannot be reached.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, its changes committed; run again where it met a conflict.

        What `work` raises undoes its changes. Refuses STORE_UNAVAILABLE as `read` does.
        """
        loop = asyncio.get_running_loop()
        if self.turn is None:
            return await loop.run_in_executor(self._threads, self._write, work)
        async with self.turn:
            return await loop.run_in_executor(self.writer, self._write, work)

    async def analyze(self) -> None:
        """Have the planner look at tables that have grown: see `StoreEngine.analyze`."""
        loop = asyncio.get_running_loop()
        if not self.store_engine.single_writer:
            await loop.run_in_executor(self._threads, self._write, self.store_engine.analyze)

    async def in_writer(self, work: Callable[[], T]) -> T:
        """What `work` returns, run in the ledger's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.writer, work)

    def close(self) -> None:
        """Finish what runs, and let go of every connection."""
        self.writer.shutdown()
        self._threads.shutdown()
        self.store_engine.engine.dispose()

    def _read(self, work: Callable[[Connection], T]) -> T:
        engine = self.store_engine.engine.execution_options(read_only=True)
        try:
            with engine.begin() as connection:
                return work(connection)
        except Exception as error:
            if self.store_engine.lost(error):
                raise unavailable() from error
            raise

    def _write(self, work: Callable[[Connection], T]) -> T:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                with self.store_engine.engine.begin() as connection:
                    return work(connection)
            except Exception as error:
                if attempt < ATTEMPTS_MAX and self.store_engine.retryable(error):
                    continue
                if self.store_engine.lost(error):
                    raise unavailable() from error
                raise
        raise AssertionError("unreachable")


def _engine(url: str, *, connections_max: int, prepare: bool) -> StoreEngine:
    """The engine for a SQLAlchemy `url`; raises ValueError for one that is not supported."""
    match make_url(url).get_backend_name():
        case "sqlite":
            return SqliteEngine(url, connections_max=connections_max)
        case "postgresql":
            return PostgresEngine(url, connections_max=connections_max, prepare=prepare)
        case other:
            raise ValueError(f"database {other!r} is not supported: use sqlite or postgresql")


def one_snapshot(connection: Connection) -> None:
    """Have all that a transaction reads be of one commit; to be called first in it."""
    # A transaction on SQLite reads one snapshot anyway.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def unavailable() -> Refusal:
    """The database cannot be reached; says nothing of where it is."""
    return Refusal(
        Reason.STORE_UNAVAILABLE,
        "the database cannot be reached; repeat the call with the same request_id",
        retry_after_seconds=1,
    )
